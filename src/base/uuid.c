/* SPDX-License-Identifier: Apache-2.0
 * base/uuid.c -- random ids.
 *
 * Each thread takes randomness from the kernel for several ids at a time. A fork would hand the
 * same octets to both processes, so the child counts up `generation` and every stock of an older
 * generation is thrown away. Where that cannot be arranged nothing is kept in stock. */
#include "uuid.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define UUID_OCTETS 16
#define STOCK_OCTETS (16 * UUID_OCTETS) /* up to 256 octets getrandom() is never interrupted half way */

struct stock {
	unsigned generation;
	size_t left;
	unsigned char octets[STOCK_OCTETS];
};

static _Thread_local struct stock stock;
static unsigned generation; /* written only by the one thread of a fresh child; 0: stocks are not safe */
static pthread_once_t prepared = PTHREAD_ONCE_INIT;

static void in_child(void)
{
	generation++;
}

static void prepare(void)
{
	if (pthread_atfork(NULL, NULL, in_child) == 0)
		generation = 1;
}

static void fill(unsigned char *out, size_t n)
{
	while (n > 0) {
		ssize_t got = getrandom(out, n, 0);

		if (got < 0 && errno != EINTR)
			abort(); /* an id that might not be unique is worse than none */
		if (got > 0) {
			out += got;
			n -= (size_t)got;
		}
	}
}

static void draw(unsigned char out[UUID_OCTETS])
{
	(void)pthread_once(&prepared, prepare);
	if (generation == 0) {
		fill(out, UUID_OCTETS);
		return;
	}
	if (stock.left == 0 || stock.generation != generation) {
		fill(stock.octets, sizeof(stock.octets));
		stock.left = sizeof(stock.octets);
		stock.generation = generation;
	}
	stock.left -= UUID_OCTETS;
	memcpy(out, stock.octets + stock.left, UUID_OCTETS);
}

static bool dash_at(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

void uuid_new(char out[UUID_LEN + 1])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char octets[UUID_OCTETS];
	char *p = out;

	draw(octets);
	octets[6] = (octets[6] & 0x0f) | 0x40; /* version 4 */
	octets[8] = (octets[8] & 0x3f) | 0x80; /* variant of RFC 4122 */
	for (size_t i = 0; i < sizeof(octets); i++) {
		if (dash_at((size_t)(p - out)))
			*p++ = '-';
		*p++ = hex[octets[i] >> 4];
		*p++ = hex[octets[i] & 15];
	}
	*p = '\0';
}

static bool is_lower_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool uuid_is_canonical(const char *s)
{
	if (!s)
		return false;
	for (size_t i = 0; i < UUID_LEN; i++) { /* stops at an early NUL: it is neither */
		if (dash_at(i) ? s[i] != '-' : !is_lower_hex(s[i]))
			return false;
	}
	return s[UUID_LEN] == '\0';
}

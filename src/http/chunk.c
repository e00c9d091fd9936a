/* SPDX-License-Identifier: Apache-2.0
 * http/chunk.c -- reads what stands between the data of a chunked body, an octet at a time.
 *
 * As strict as head.c, for the same reason: a size is 1 to 16 hex digits and nothing else (no
 * extension: nobody sends them but those who hope that two readers disagree), lines end with CR LF.
 * Trailer lines are thrown away; their number of octets is bounded. The data itself never passes
 * through here, so it can go from the socket to where it belongs without a copy. */
#include "chunk.h"

#include <assert.h>

#define MAX_DIGITS 16
#define MAX_TRAILER 4096

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

static bool size_octet(struct chunk *c, char octet)
{
	int v = hex_value(octet);

	if (v >= 0) {
		c->left = c->left << 4 | (unsigned)v; /* 16 digits fit exactly */
		return ++c->n_digits <= MAX_DIGITS;
	}
	c->at = CHUNK_AT_SIZE_LF;
	return octet == '\r' && c->n_digits > 0 && c->left <= INT64_MAX;
}

static bool trailer_octet(struct chunk *c, char octet)
{
	if (++c->n_trailer > MAX_TRAILER)
		return false;
	if (octet == '\r') {
		c->at = CHUNK_AT_TRAILER_LF;
		return true;
	}
	c->line_len++;
	return octet == '\t' || ((unsigned char)octet >= 0x20 && octet != 0x7f);
}

static bool trailer_line_end(struct chunk *c, char octet)
{
	c->at = c->line_len ? CHUNK_AT_TRAILER : CHUNK_AT_END;
	c->line_len = 0;
	return octet == '\n';
}

static bool octet_next(struct chunk *c, char octet)
{
	switch (c->at) {
	case CHUNK_AT_SIZE:
		return size_octet(c, octet);
	case CHUNK_AT_SIZE_LF:
		c->at = c->left ? CHUNK_AT_DATA : CHUNK_AT_TRAILER;
		c->n_digits = 0;
		return octet == '\n';
	case CHUNK_AT_DATA_CR:
		c->at = CHUNK_AT_DATA_LF;
		return octet == '\r';
	case CHUNK_AT_DATA_LF:
		c->at = CHUNK_AT_SIZE;
		return octet == '\n';
	case CHUNK_AT_TRAILER:
		return trailer_octet(c, octet);
	case CHUNK_AT_TRAILER_LF:
		return trailer_line_end(c, octet);
	case CHUNK_AT_DATA:
	case CHUNK_AT_END:
	case CHUNK_AT_FAULT:
		break;
	}
	return false;
}

enum chunk_verdict chunk_next(struct chunk *c, const char *in, size_t n, size_t *ret_used)
{
	size_t i = 0;

	while (i < n && c->at != CHUNK_AT_DATA && c->at != CHUNK_AT_END && c->at != CHUNK_AT_FAULT)
		if (!octet_next(c, in[i++]))
			c->at = CHUNK_AT_FAULT;
	*ret_used = i;
	switch (c->at) {
	case CHUNK_AT_DATA:
		return CHUNK_DATA;
	case CHUNK_AT_END:
		return CHUNK_END;
	case CHUNK_AT_FAULT:
		return CHUNK_BAD;
	default:
		return CHUNK_MORE;
	}
}

void chunk_took(struct chunk *c, uint64_t n)
{
	assert(c->at == CHUNK_AT_DATA && n <= c->left);
	c->left -= n;
	if (!c->left)
		c->at = CHUNK_AT_DATA_CR;
}

/* SPDX-License-Identifier: Apache-2.0
 * base/jsonw.c -- JSON in the bytes of Python's json.dumps.
 *
 * Nearly all text is plain ASCII: runs of it are found eight octets at a time and copied whole. */
#include "jsonw.h"

#include "utf8.h"

#include <string.h>

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

/* Bit 7 of every octet of @word that equals @c; the octets must be below 0x80. */
static uint64_t equal_octets(uint64_t word, unsigned char c)
{
	return ~((word ^ (ONES * c)) + ONES * 0x7f);
}

/* True if all eight octets are 0x20..0x7e without '"' and '\\'. */
static bool word_is_plain(const char *s)
{
	uint64_t word, bad;

	memcpy(&word, s, sizeof(word));
	if (word & HIGHS)
		return false;
	bad = ~(word + ONES * 0x60); /* below 0x20 */
	bad |= equal_octets(word, '"') | equal_octets(word, '\\') | equal_octets(word, 0x7f);
	return (bad & HIGHS) == 0;
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* How many octets from the start of @s need no escape. */
static size_t plain_run(const char *s, size_t n)
{
	size_t i = 0;

	while (n - i >= 8 && word_is_plain(s + i))
		i += 8;
	while (i < n && is_plain((unsigned char)s[i]))
		i++;
	return i;
}

static void add_unit(struct buf *out, unsigned unit)
{
	static const char hex[] = "0123456789abcdef";
	char text[6] = "\\u";

	for (int i = 0; i < 4; i++)
		text[2 + i] = hex[unit >> (12 - 4 * i) & 15];
	buf_add(out, text, sizeof(text));
}

static void add_escaped(struct buf *out, uint32_t c)
{
	static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* the character, then its letter */

	for (size_t i = 0; i + 1 < sizeof(shorts); i += 2) {
		if (c == (unsigned char)shorts[i]) {
			buf_addc(out, '\\');
			buf_addc(out, shorts[i + 1]);
			return;
		}
	}
	if (c < 0x10000) {
		add_unit(out, c);
		return;
	}
	c -= 0x10000;
	add_unit(out, 0xd800 | c >> 10);
	add_unit(out, 0xdc00 | (c & 0x3ff));
}

/* Nearly every text: nothing in it needs an escape, so one reservation and one copy do. */
static void quote_plain(struct buf *out, const char *s, size_t n)
{
	char *end = buf_reserve(out, n + 2);

	if (!end)
		return;
	*end++ = '"';
	memcpy(end, s, n);
	end[n] = '"';
	end[n + 1] = '\0';
	out->len += n + 2;
}

void jsonw_quote(struct buf *out, const char *s, size_t n)
{
	if (plain_run(s, n) == n) {
		quote_plain(out, s, n);
		return;
	}
	buf_addc(out, '"');
	while (n > 0) {
		size_t length = plain_run(s, n);
		uint32_t c;

		if (length > 0) {
			buf_add(out, s, length);
		} else {
			length = utf8_decode(s, n, &c);
			add_escaped(out, length ? c : 0xfffd);
			length = length ? length : 1;
		}
		s += length;
		n -= length;
	}
	buf_addc(out, '"');
}

struct jsonw jsonw_to(struct buf *out)
{
	return (struct jsonw){.out = out};
}

/* Before a value or a key. */
static void separate(struct jsonw *w)
{
	if (w->comma)
		buf_add(w->out, ", ", 2);
	w->comma = true;
}

static void open_with(struct jsonw *w, char bracket)
{
	separate(w);
	buf_addc(w->out, bracket);
	w->comma = false;
}

static void close_with(struct jsonw *w, char bracket)
{
	buf_addc(w->out, bracket);
	w->comma = true;
}

void jsonw_object(struct jsonw *w)
{
	open_with(w, '{');
}

void jsonw_object_end(struct jsonw *w)
{
	close_with(w, '}');
}

void jsonw_array(struct jsonw *w)
{
	open_with(w, '[');
}

void jsonw_array_end(struct jsonw *w)
{
	close_with(w, ']');
}

void jsonw_key(struct jsonw *w, const char *key)
{
	separate(w);
	jsonw_quote(w->out, key, strlen(key));
	buf_add(w->out, ": ", 2);
	w->comma = false; /* its value follows without one */
}

void jsonw_str(struct jsonw *w, const char *s)
{
	if (!s) {
		jsonw_null(w);
		return;
	}
	separate(w);
	jsonw_quote(w->out, s, strlen(s));
}

void jsonw_int(struct jsonw *w, int64_t v)
{
	char text[24], *p = text + sizeof(text);
	uint64_t rest = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do {
		*--p = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (v < 0)
		*--p = '-';
	jsonw_raw(w, p, (size_t)(text + sizeof(text) - p));
}

void jsonw_bool(struct jsonw *w, bool v)
{
	if (v)
		jsonw_raw(w, "true", 4);
	else
		jsonw_raw(w, "false", 5);
}

void jsonw_null(struct jsonw *w)
{
	jsonw_raw(w, "null", 4);
}

void jsonw_raw(struct jsonw *w, const char *json, size_t n)
{
	separate(w);
	buf_add(w->out, json, n);
}

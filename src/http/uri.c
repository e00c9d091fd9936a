/* SPDX-License-Identifier: Apache-2.0
 * http/uri.c -- percent-decoding. Decoded text is valid UTF-8 without NULs or it is refused, so that
 * nobody behind this file needs to ask again. */
#include "uri.h"

#include <string.h>

#include "base/err.h"
#include "base/utf8.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

ssize_t uri_decode(char *dst, const char *src, size_t n, bool plus)
{
	size_t len = 0;
	int high, low;
	char c;

	for (size_t i = 0; i < n; i++) {
		c = src[i];
		if (c == '%') {
			high = i + 1 < n ? hex_value(src[i + 1]) : -1;
			low = i + 2 < n ? hex_value(src[i + 2]) : -1;
			if (high < 0 || low < 0)
				return -1;
			c = (char)(high << 4 | low);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (!c)
			return -1;
		dst[len++] = c;
	}
	dst[len] = '\0';
	return utf8_is_valid(dst, len) ? (ssize_t)len : -1;
}

static size_t count_pieces(const char *text)
{
	size_t n = 1;

	for (; *text; text++)
		n += *text == '&';
	return n;
}

/* @piece is "name=value"; both are written to *out, which moves on. */
static int read_pair(const char *piece, size_t n, char **out, struct http_pair *ret)
{
	const char *equals = memchr(piece, '=', n);
	size_t name_len = equals ? (size_t)(equals - piece) : n;
	size_t value_len = equals ? n - name_len - 1 : 0;
	ssize_t len;

	ret->name = *out;
	len = uri_decode(*out, piece, name_len, true);
	if (len < 0)
		return ERR_INVALID;
	*out += len + 1;
	ret->value = *out;
	len = uri_decode(*out, piece + n - value_len, value_len, true);
	if (len < 0)
		return ERR_INVALID;
	*out += len + 1;
	return 0;
}

int uri_query(struct arena *arena, const char *text, const struct http_pair **ret, size_t *ret_n)
{
	size_t max = count_pieces(text);
	struct http_pair *pairs = arena_alloc(arena, max * sizeof(*pairs));
	char *out = arena_alloc(arena, strlen(text) + max + 1);
	size_t n = 0, len;
	int r;

	if (!pairs || !out)
		return ERR_NO_MEMORY;
	for (; *text; text += len + (text[len] == '&')) {
		len = strcspn(text, "&");
		if (!len)
			continue;
		r = read_pair(text, len, &out, &pairs[n]);
		if (r < 0)
			return r;
		n++;
	}
	*ret = pairs;
	*ret_n = n;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * image/text.c -- texts that clients send. */
#include "image/text.h"

#include <string.h>

#include "base/utf8.h"

bool text_count(const char *s, size_t *ret_n_chars)
{
	size_t n = strlen(s), n_chars = 0;

	while (n > 0) {
		uint32_t c;
		size_t length = utf8_decode(s, n, &c);

		if (length == 0)
			return false;
		s += length;
		n -= length;
		n_chars++;
	}
	*ret_n_chars = n_chars;
	return true;
}

static bool prints(uint32_t c)
{
	if (c < 0x20 || (c >= 0x7f && c < 0xa0))
		return false;
	if (c == 0x61c || c == 0xfeff)
		return false;
	return !(c >= 0x200b && c <= 0x200f) && !(c >= 0x2028 && c <= 0x202e) &&
	       !(c >= 0x2060 && c <= 0x206f);
}

const char *text_excerpt(const char *s, char out[TEXT_EXCERPT_SIZE])
{
	size_t n = strlen(s);
	char *o = out;

	for (int i = 0; n > 0; i++) {
		uint32_t c = 0;
		size_t length = utf8_decode(s, n, &c);

		if (i == TEXT_EXCERPT_CHARS) {
			o = mempcpy(o, "...", 3);
			break;
		}
		if (length > 0 && prints(c))
			o = mempcpy(o, s, length);
		else
			*o++ = '?';
		s += length ? length : 1;
		n -= length ? length : 1;
	}
	*o = '\0';
	return out;
}

bool text_is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* SPDX-License-Identifier: Apache-2.0
 * base/utf8.c -- UTF-8 as RFC 3629 has it. */
#include "utf8.h"

/* How long the first octet says the character is; 0 if it cannot start one. */
static size_t length_of(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (first < 0xc2)
		return 0; /* a continuation, or an overlong form of ASCII */
	if (first < 0xe0)
		return 2;
	if (first < 0xf0)
		return 3;
	return first < 0xf5 ? 4 : 0;
}

size_t utf8_decode(const char *s, size_t n, uint32_t *ret)
{
	static const unsigned char payload[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *u = (const unsigned char *)s;
	size_t length = n ? length_of(u[0]) : 0;
	uint32_t c;

	if (length == 0 || length > n)
		return 0;
	c = u[0] & payload[length];
	for (size_t i = 1; i < length; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (u[i] & 0x3f);
	}
	if (c < smallest[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return length;
}

bool utf8_is_valid(const char *s, size_t n)
{
	while (n > 0) {
		uint32_t c;
		size_t length = utf8_decode(s, n, &c);

		if (length == 0)
			return false;
		s += length;
		n -= length;
	}
	return true;
}

size_t utf8_trim(const char *s, size_t n)
{
	for (size_t back = 1; back <= 3 && back <= n; back++) {
		unsigned char u = (unsigned char)s[n - back];

		if ((u & 0xc0) == 0x80)
			continue; /* a continuation: its start is further left */
		return length_of(u) > back ? n - back : n;
	}
	return n;
}

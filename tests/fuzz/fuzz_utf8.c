/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_utf8.c -- any octets as UTF-8 and as what goes into JSON and into a line of the log. A character is
 * what it is encoded as, and JSON that we write is JSON with the same text in it. */
#include "base/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/jsonw.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static size_t encode(uint32_t c, char out[4])
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = n; i-- > 1; c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xff) | c);
	return n;
}

/* The octets up to the first that starts no character. */
static size_t valid_prefix(const char *s, size_t n)
{
	char again[4];
	uint32_t c;
	size_t at = 0, got;

	while (at < n && (got = utf8_decode(s + at, n - at, &c)) > 0) {
		require(c <= 0x10ffff && (c < 0xd800 || c > 0xdfff));
		require(got == encode(c, again) && memcmp(again, s + at, got) == 0);
		at += got;
	}
	return at;
}

static void write_and_read(const char *text)
{
	struct buf b = {0};
	struct jsonw w = jsonw_to(&b);
	json_t *read;

	jsonw_str(&w, text);
	require(!b.failed && utf8_is_valid(b.data, b.len));
	for (size_t i = 0; i < b.len; i++)
		require((unsigned char)b.data[i] >= ' ');
	read = json_loadb(b.data, b.len, JSON_DECODE_ANY, NULL);
	require(read && strcmp(json_string_value(read), text) == 0);
	json_decref(read);
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1);
	size_t n;

	require(text);
	if (size)
		memcpy(text, data, size);
	n = valid_prefix(text, size);
	require(utf8_is_valid(text, n) && utf8_is_valid(text, size) == (n == size));
	require(utf8_trim(text, n) == n && utf8_trim(text, size) <= size);
	for (size_t cut = n > 4 ? n - 4 : 0; cut <= n; cut++)
		require(utf8_is_valid(text, utf8_trim(text, cut)));
	text[n] = '\0';
	write_and_read(text);
	free(text);
	return 0;
}

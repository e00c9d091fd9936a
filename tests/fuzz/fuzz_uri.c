/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_uri.c -- anything as a segment of a path and as a query. What is decoded is text, no longer than
 * what was sent, and the same when it is decoded in its own place. */
#include "http/uri.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static bool is_text(const char *s)
{
	return utf8_is_valid(s, strlen(s));
}

static void try_decode(const char *text, size_t n, bool plus)
{
	char *apart = malloc(n + 1), *in_place = malloc(n + 1);
	ssize_t a, b;

	require(apart && in_place);
	if (n)
		memcpy(in_place, text, n);
	a = uri_decode(apart, text, n, plus);
	b = uri_decode(in_place, in_place, n, plus);
	require(a == b && a <= (ssize_t)n);
	if (a >= 0)
		require(strlen(apart) == (size_t)a && strcmp(apart, in_place) == 0 && is_text(apart));
	free(apart);
	free(in_place);
}

static void try_query(const char *text)
{
	struct arena arena = {0};
	const struct http_pair *pairs = NULL;
	size_t n = 0;
	int r = uri_query(&arena, text, &pairs, &n);

	require(r == 0 || r == ERR_INVALID || r == ERR_NO_MEMORY);
	for (size_t i = 0; r == 0 && i < n; i++)
		require(is_text(pairs[i].name) && is_text(pairs[i].value));
	arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1);

	require(text);
	if (size)
		memcpy(text, data, size);
	try_decode(text, size, false);
	try_decode(text, size, true);
	try_query(text);
	free(text);
	return 0;
}

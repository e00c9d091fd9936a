/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_range.c -- anything as Range or Content-Range, for a body of any size: eight octets of it, then
 * the value. What is asked for lies within the body. */
#include "http/range.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check(enum range_verdict v, int64_t size, int64_t first, int64_t last)
{
	if (v == RANGE_ONE)
		require(0 <= first && first <= last && last < size);
	else
		require(first == -7 && last == -7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t length, first = -7, last = -7;
	enum range_verdict v;
	char *value;

	if (size < sizeof(length))
		return 0;
	memcpy(&length, data, sizeof(length));
	length &= INT64_MAX;
	value = calloc(1, size - sizeof(length) + 1);
	require(value);
	memcpy(value, data + sizeof(length), size - sizeof(length));
	v = range_parse(value, length, &first, &last);
	check(v, length, first, last);
	first = last = -7;
	v = range_parse_content_range(value, length, &first, &last);
	check(v, length, first, last);
	free(value);
	return 0;
}

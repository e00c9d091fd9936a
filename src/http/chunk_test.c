/* SPDX-License-Identifier: Apache-2.0
 * http/chunk_test.c -- good and bad chunked bodies, each in every cut. */
#include "chunk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct reader {
	struct chunk chunk;
	char data[512];
	size_t n_data, n_used;
};

static enum chunk_verdict read_piece(struct reader *r, const char *in, size_t n)
{
	enum chunk_verdict v;
	size_t used, take;

	for (;;) {
		v = chunk_next(&r->chunk, in, n, &used);
		in += used;
		n -= used;
		r->n_used += used;
		if (v != CHUNK_DATA || !n)
			return v;
		take = n < r->chunk.left ? n : (size_t)r->chunk.left;
		memcpy(r->data + r->n_data, in, take);
		chunk_took(&r->chunk, take);
		r->n_data += take;
		r->n_used += take;
		in += take;
		n -= take;
	}
}

static enum chunk_verdict read_cut(struct reader *r, const char *in, size_t n, size_t cut)
{
	enum chunk_verdict v;

	*r = (struct reader){0};
	v = read_piece(r, in, cut);
	return v == CHUNK_BAD || v == CHUNK_END ? v : read_piece(r, in + cut, n - cut);
}

static void test_good(void **state)
{
	static const struct {
		const char *in, *data;
	} good[] = {
		{"0\r\n\r\n", ""},
		{"0000000000000000\r\n\r\n", ""},
		{"1\r\na\r\n0\r\n\r\n", "a"},
		{"3\r\nabc\r\n0000000000000002\r\nde\r\n0\r\n\r\n", "abcde"},
		{"A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n", "01234567890123456789"},
		{"2\r\n\r\n\r\n0\r\n\r\n", "\r\n"},
		{"1\r\na\r\n0\r\nX: y\r\nZ: \xc3\xa9\r\n\r\n", "a"},
	};
	struct reader r;
	char text[256];

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		size_t n = strlen(good[i].in);

		memcpy(text, good[i].in, n);
		memcpy(text + n, "GET /", 5);
		for (size_t cut = 0; cut <= n + 5; cut++) {
			assert_int_equal(read_cut(&r, text, n + 5, cut), CHUNK_END);
			assert_int_equal(r.n_used, n);
			assert_int_equal(r.n_data, strlen(good[i].data));
			assert_memory_equal(r.data, good[i].data, r.n_data);
		}
		for (size_t less = 0; less < n; less++)
			assert_in_set(read_cut(&r, text, less, less / 2),
				      ((LargestIntegralType[]){CHUNK_MORE, CHUNK_DATA}), 2);
	}
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"\r\n",
		" 1\r\na\r\n",
		"1 \r\na\r\n",
		"-1\r\n",
		"+1\r\n",
		"0x1\r\n",
		"g\r\n",
		"1;a=b\r\na\r\n",
		"1;\r\na\r\n",
		"1\na\r\n",
		"1\r\r\n",
		"1\ra",
		"1\r\nab",
		"1\r\na\n0\r\n\r\n",
		"1\r\na\r0",
		"FFFFFFFFFFFFFFFF1\r\n",
		"00000000000000001\r\n",
		"FFFFFFFFFFFFFFFF\r\n",
		"8000000000000000\r\n",
		"0\r\n\n",
		"0\r\na\nb",
		"0\r\nX: \x01\r\n\r\n",
		"0\r\n\rX",
	};
	struct reader r;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		for (size_t cut = 0; cut <= strlen(bad[i]); cut++)
			if (read_cut(&r, bad[i], strlen(bad[i]), cut) != CHUNK_BAD)
				fail_msg("accepted: %s", bad[i]);
	assert_int_equal(read_cut(&r, "0\r\nX: \0\r\n\r\n", 11, 0), CHUNK_BAD);
}

static void test_largest(void **state)
{
	struct reader r = {0};
	size_t used;

	assert_int_equal(chunk_next(&r.chunk, "7FFFFFFFFFFFFFFF\r\n", 18, &used), CHUNK_DATA);
	assert_int_equal(used, 18);
	assert_true(r.chunk.left == INT64_MAX);
	chunk_took(&r.chunk, INT64_MAX);
	assert_int_equal(chunk_next(&r.chunk, "\r\n0\r\n\r\n", 7, &used), CHUNK_END);
	assert_int_equal(chunk_next(&r.chunk, "x", 1, &used), CHUNK_END);
	assert_int_equal(used, 0);
}

static void test_trailer_bound(void **state)
{
	struct reader r = {0};
	enum chunk_verdict v = read_piece(&r, "0\r\n", 3);
	unsigned lines = 0;

	for (; v == CHUNK_MORE && lines < 10000; lines++)
		v = read_piece(&r, "X: y\r\n", 6);
	assert_int_equal(v, CHUNK_BAD);
	assert_in_range(lines, 500, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_trailer_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

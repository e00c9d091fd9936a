/* SPDX-License-Identifier: Apache-2.0
 * Tests of http/range.c. */
#include "range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TIB ((int64_t)1 << 40)

struct range_case {
	const char *value;
	int64_t size;
	enum range_verdict verdict;
	int64_t first, last;
};

typedef enum range_verdict parse_fn(const char *value, int64_t size, int64_t *ret_first, int64_t *ret_last);

static void check(parse_fn *parse, const struct range_case *c)
{
	int64_t first = -7, last = -7;
	enum range_verdict verdict = parse(c->value, c->size, &first, &last);
	bool set = c->verdict == RANGE_ONE;

	if (verdict != c->verdict || first != (set ? c->first : -7) || last != (set ? c->last : -7))
		fail_msg("'%s' of %lld: verdict %d, %lld-%lld", c->value, (long long)c->size, (int)verdict,
			 (long long)first, (long long)last);
}

static void one_range(void **state)
{
	static const struct range_case cases[] = {
		{"bytes=0-0", 10, RANGE_ONE, 0, 0},
		{"bytes=0-9", 10, RANGE_ONE, 0, 9},
		{"bytes=2-5", 10, RANGE_ONE, 2, 5},
		{"bytes=9-9", 10, RANGE_ONE, 9, 9},
		{"bytes=0-", 10, RANGE_ONE, 0, 9},
		{"bytes=9-", 10, RANGE_ONE, 9, 9},
		{"bytes=-1", 10, RANGE_ONE, 9, 9},
		{"bytes=-10", 10, RANGE_ONE, 0, 9},
		{"bytes=0-0", 1, RANGE_ONE, 0, 0},
		{"bytes=1099511627775-", TIB, RANGE_ONE, TIB - 1, TIB - 1},
		{"bytes=000000000000000000000000000001-0002", 10, RANGE_ONE, 1, 2},
		{"BYTES=1-2", 10, RANGE_ONE, 1, 2},
		{" bytes= 1-2\t", 10, RANGE_ONE, 1, 2},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(range_parse, &cases[i]);
}

static void past_the_end(void **state)
{
	static const struct range_case cases[] = {
		{"bytes=2-10", 10, RANGE_ONE, 2, 9},    {"bytes=-11", 10, RANGE_ONE, 0, 9},
		{"bytes=10-", 10, RANGE_UNSATISFIABLE}, {"bytes=10-11", 10, RANGE_UNSATISFIABLE},
		{"bytes=-0", 10, RANGE_UNSATISFIABLE},  {"bytes=0-", 0, RANGE_UNSATISFIABLE},
		{"bytes=0-0", 0, RANGE_UNSATISFIABLE},  {"bytes=-1", 0, RANGE_UNSATISFIABLE},
		{"bytes=-0", 0, RANGE_UNSATISFIABLE},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(range_parse, &cases[i]);
}

static void numbers_past_counting(void **state)
{
	static const struct range_case cases[] = {
		{"bytes=0-9223372036854775806", 10, RANGE_ONE, 0, 9},
		{"bytes=0-9223372036854775807", 10, RANGE_ONE, 0, 9},
		{"bytes=0-9223372036854775808", 10, RANGE_ONE, 0, 9},
		{"bytes=1-18446744073709551616", 10, RANGE_ONE, 1, 9},
		{"bytes=1-99999999999999999999999999999999999999999", 10, RANGE_ONE, 1, 9},
		{"bytes=-9223372036854775808", 10, RANGE_ONE, 0, 9},
		{"bytes=-18446744073709551617", 10, RANGE_ONE, 0, 9},
		{"bytes=18446744073709551616-18446744073709551617", 10, RANGE_UNSATISFIABLE},
		{"bytes=9223372036854775808-", 10, RANGE_UNSATISFIABLE},
		{"bytes=9223372036854775807-", INT64_MAX, RANGE_UNSATISFIABLE},
		{"bytes=0-9223372036854775808", INT64_MAX, RANGE_ONE, 0, INT64_MAX - 1},
		{"bytes=-9223372036854775808", INT64_MAX, RANGE_ONE, 0, INT64_MAX - 1},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(range_parse, &cases[i]);
}

static void ignored(void **state)
{
	static const char *const values[] = {
		NULL,
		"",
		" ",
		"bytes",
		"bytes=",
		"bytes=-",
		"bytes= ",
		"bytes=--1",
		"bytes=-1-",
		"bytes=1",
		"bytes=5-2",
		"bytes=11-10",
		"bytes=1-2x",
		"bytes=x1-2",
		"bytes=1 -2",
		"bytes=1- 2 3",
		"bytes=+1-2",
		"bytes=1-+2",
		"bytes=0x1-2",
		"bytes=1.0-2",
		"bytes 1-2",
		"bytes =1-2",
		"items=1-2",
		"byte=1-2",
		"bytesx=1-2",
		"bytes=0-0,1-1",
		"bytes=0-,",
		",bytes=0-",
		"bytes=0-0;1-1",
		"bytes=-5,-3",
		"bytes=\xd9\xa1-\xd9\xa2",
		"bytes=1-2\r\nX: y",
	};

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct range_case c = {values[i], 10, RANGE_NONE};

		check(range_parse, &c);
	}
	check(range_parse, &(struct range_case){"bytes=0-1", -1, RANGE_NONE});
}

static void a_thousand_ranges(void **state)
{
	char value[6 + 4000 + 1] = "bytes=";
	struct range_case c = {value, 10, RANGE_NONE};

	for (size_t i = 0; i < 1000; i++)
		memcpy(value + 6 + 4 * i, "0-0,", 5);
	check(range_parse, &c);
}

static void content_range(void **state)
{
	static const struct range_case cases[] = {
		{"bytes 0-0/10", 10, RANGE_ONE, 0, 0},
		{"bytes 2-5/10", 10, RANGE_ONE, 2, 5},
		{"bytes 2-9/*", 10, RANGE_ONE, 2, 9},
		{"Bytes 0-9/10 ", 10, RANGE_ONE, 0, 9},
		{"bytes 0-9223372036854775806/*", INT64_MAX, RANGE_ONE, 0, INT64_MAX - 1},
		{"bytes 2-5/11", 10, RANGE_UNSATISFIABLE},
		{"bytes 2-5/9", 10, RANGE_UNSATISFIABLE},
		{"bytes 2-10/10", 10, RANGE_UNSATISFIABLE},
		{"bytes 2-10/*", 10, RANGE_UNSATISFIABLE},
		{"bytes 10-11/*", 10, RANGE_UNSATISFIABLE},
		{"bytes 0-0/*", 0, RANGE_UNSATISFIABLE},
		{"bytes 0-0/0", 0, RANGE_UNSATISFIABLE},
		{"bytes 0-18446744073709551616/*", 10, RANGE_UNSATISFIABLE},
		{"bytes 0-1/18446744073709551626", 10, RANGE_UNSATISFIABLE}, /* 10 if it wrapped */
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(range_parse_content_range, &cases[i]);
}

static void content_range_ignored(void **state)
{
	static const char *const values[] = {
		NULL,
		"",
		"bytes",
		"bytes ",
		"bytes */10",
		"bytes */*",
		"bytes 1-2",
		"bytes 1-2/",
		"bytes 1-/10",
		"bytes -2/10",
		"bytes 5-2/10",
		"bytes=1-2/10",
		"bytes 1-2/10x",
		"bytes 1-2/**",
		"bytes 1-2/-10",
		"bytes 1 - 2/10",
		"bytes 1-2 /10",
		"items 1-2/10",
		"bytes 1-2/10,3-4/10",
	};

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct range_case c = {values[i], 10, RANGE_NONE};

		check(range_parse_content_range, &c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_range),
		cmocka_unit_test(past_the_end),
		cmocka_unit_test(numbers_past_counting),
		cmocka_unit_test(ignored),
		cmocka_unit_test(a_thousand_ranges),
		cmocka_unit_test(content_range),
		cmocka_unit_test(content_range_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

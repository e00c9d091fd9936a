/* SPDX-License-Identifier: Apache-2.0
 * base/clock_test.c -- forms of time, against literal texts and against libc's calendar. */
#include "clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define MOMENT (INT64_C(1795374570) * SECOND) /* 2026-11-22 19:09:30 */

static void test_forms(void **state)
{
	char t[CLOCK_TEXT_MAX];

	assert_string_equal(clock_iso(MOMENT + 999999, t), "2026-11-22T19:09:30Z");
	assert_string_equal(clock_db(MOMENT + 745623, t), "2026-11-22 19:09:30.745623");
	assert_string_equal(clock_db(MOMENT, t), "2026-11-22 19:09:30.000000");
	assert_string_equal(clock_python(MOMENT, t), "2026-11-22 19:09:30");
	assert_string_equal(clock_python(MOMENT + 42, t), "2026-11-22 19:09:30.000042");
	assert_string_equal(clock_http(MOMENT, t), "Sun, 22 Nov 2026 19:09:30 GMT");
	assert_string_equal(clock_http(0, t), "Thu, 01 Jan 1970 00:00:00 GMT");
	assert_string_equal(clock_iso(-1, t), "1969-12-31T23:59:59Z"); /* rounds down, not to zero */
	assert_string_equal(clock_db(-1, t), "1969-12-31 23:59:59.999999");
}

static void test_out_of_range_is_clamped(void **state)
{
	char t[CLOCK_TEXT_MAX];

	assert_string_equal(clock_db(INT64_MIN, t), "0001-01-01 00:00:00.000000");
	assert_string_equal(clock_db(INT64_MAX, t), "9999-12-31 23:59:59.999999");
	assert_string_equal(clock_http(INT64_MIN, t), "Mon, 01 Jan 0001 00:00:00 GMT");
	(void)clock_log(INT64_MAX, t);
	(void)clock_log(INT64_MIN, t);
}

static void test_agrees_with_libc(void **state)
{
	char ours[CLOCK_TEXT_MAX], theirs[CLOCK_TEXT_MAX];

	/* 1600 to 2400 in steps of 11 days and a bit: all months, leap years and weekdays */
	for (int64_t s = INT64_C(-11676096000); s < INT64_C(13569465600); s += 950401) {
		time_t t = (time_t)s;
		struct tm tm;
		int64_t back;

		assert_non_null(gmtime_r(&t, &tm));
		(void)strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		assert_string_equal(clock_http(s * SECOND, ours), theirs);
		assert_true(clock_parse(clock_iso(s * SECOND, ours), &back));
		assert_int_equal(back, s * SECOND);
	}
}

static void test_log_is_local(void **state)
{
	char t[CLOCK_TEXT_MAX];

	(void)setenv("TZ", "XYZ-5:30", 1);
	tzset();
	assert_string_equal(clock_log(MOMENT + 642999, t), "2026-11-23 00:39:30.642");
	(void)setenv("TZ", "UTC", 1);
	tzset();
	assert_string_equal(clock_log(MOMENT + 60 * SECOND, t), "2026-11-22 19:10:30.000");
}

static void test_clocks_run(void **state)
{
	int64_t mono = clock_mono_us();

	assert_in_range(clock_now_us() / SECOND, time(NULL) - 2, time(NULL) + 2);
	assert_true(clock_mono_us() >= mono);
}

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		int64_t us; /* from MOMENT */
	} cases[] = {
		{"2026-11-22T19:09:30Z", 0},
		{"2026-11-22 19:09:30", 0},
		{"2026-11-22T19:09:30.5", 500000},
		{"2026-11-22 19:09:30.745623", 745623},
		{"2026-11-22T19:09:30.000042Z", 42},
		{"2026-11-22T20:09:30+01:00", 0},
		{"2026-11-22T20:09:30+0100", 0},
		{"2026-11-22T13:39:30-05:30", 0},
		{"2026-11-23T00:00:00Z", INT64_C(17430) * SECOND},
		{"2026-11-22", INT64_C(-68970) * SECOND},
	};
	int64_t us;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		us = 0;
		assert_true(clock_parse(cases[i].text, &us));
		assert_int_equal(us - MOMENT, cases[i].us);
	}
	assert_true(clock_parse("2024-02-29", &us));
	assert_true(clock_parse("2000-02-29", &us));
	assert_true(clock_parse("0001-01-01", &us));
	assert_true(clock_parse("9999-12-31T23:59:59.999999", &us));
}

static void test_parse_refuses(void **state)
{
	static const char *const wrong[] = {
		"",
		"now",
		"2026",
		"2026-11",
		"2026-11-2",
		"2026-11-22T",
		"2026-11-22T19",
		"2026-11-22T19:09",
		"2026-11-22T19:09:30.",
		"2026-11-22T19:09:30.1234567",
		"2026-11-22t19:09:30",
		"2026-11-22T19:09:30z",
		"2026-11-22T19:09:30Z ",
		" 2026-11-22",
		"2026-11-22Z",
		"2026-11-22  19:09:30",
		"2026-11-22T19:09:30 Z",
		"2026-13-01",
		"2026-00-01",
		"2026-01-00",
		"2026-02-29",
		"1900-02-29",
		"2026-04-31",
		"0000-01-01",
		"2026-11-22T24:00:00",
		"2026-11-22T19:60:30",
		"2026-11-22T19:09:60",
		"2026-11-22T19:09:30+24:00",
		"2026-11-22T19:09:30+01:60",
		"2026-11-22T19:09:30+1",
		"2026-11-22T19:09:30+01",
		"+026-11-22",
		"2026-11-22T19:09:30+01:00Z",
		"2026-11-22T-1:09:30",
		"0001-01-01T00:00:00+00:01",
		"9999-12-31T23:59:59-00:01",
		"20261122T190930Z",
		"2026-11-22T19:09:30,5",
	};
	int64_t us = 77;

	assert_false(clock_parse(NULL, &us));
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (clock_parse(wrong[i], &us))
			fail_msg("'%s' was accepted", wrong[i]);
	}
	assert_int_equal(us, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_out_of_range_is_clamped),
		cmocka_unit_test(test_agrees_with_libc),
		cmocka_unit_test(test_log_is_local),
		cmocka_unit_test(test_clocks_run),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_parse_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

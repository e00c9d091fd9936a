/* SPDX-License-Identifier: Apache-2.0
 * image/when_test.c */
#include "image/when.h"

#include "image/test_help.h"

static void expect(const char *text, int64_t seconds, int64_t us)
{
	int64_t got = -1;

	if (!when_parse(text, &got) || got != seconds * 1000000 + us)
		fail_msg("%s: %lld", text, (long long)got);
}

static void all_forms_are_read(void **state)
{
	const int64_t newyear = 1420070400; /* 2015-01-01 */
	const int64_t evening = 1795374570; /* 2026-11-22T19:09:30 */

	expect("2015", newyear, 0);
	expect("2015-01", newyear, 0);
	expect("2015-01-01", newyear, 0);
	expect("20150101", newyear, 0);
	expect("20150101T000000Z", newyear, 0);
	expect("2015-01-01T00", newyear, 0);
	expect("2015-01-01T00:00", newyear, 0);
	expect("2026-11-22T19:09:30Z", evening, 0);
	expect("2026-11-22 19:09:30", evening, 0);
	expect("2026-11-22T19:09:30.5", evening, 500000);
	expect("2026-11-22T19:09:30,123456789Z", evening, 123456);
	expect("2026-11-22T20:09:30+01:00", evening, 0);
	expect("2026-11-22T20:09:30+0100", evening, 0);
	expect("2026-11-22T20:09:30+01", evening, 0);
	expect("20261122T143930-0430", evening, 0);
}

static void nothing_else_is(void **state)
{
	static const char *const texts[] = {
		"",
		"x",
		"201",
		"-2015",
		"2015-1-1",
		"2015-13-01",
		"2015-02-30",
		"2015-01-01T",
		"2015-01-01T0",
		"2015-01-01T24:00",
		"2015-01-01x",
		"2015-01-01T00:00:00z",
		"2015 ",
		"2015-01-01T00:00:60Z",
		"2015-01-01T00:00:00.",
		"2015-01-01T00:00:00+",
		"2015-01-01T00:00:00+:01",
		"2015-01-01T00:00:00 01:00",
		"2015-01-01T00:00:00Zx",
		"2015-01-01T00:00:00.5.5",
		" 2015",
		"2015-01-01\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		int64_t us = 77;

		if (when_parse(texts[i], &us))
			fail_msg("'%s' was read as %lld", texts[i], (long long)us);
		assert_int_equal(us, 77);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_forms_are_read),
		cmocka_unit_test(nothing_else_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

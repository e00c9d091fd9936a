/* SPDX-License-Identifier: Apache-2.0
 * access/rate_test.c -- so many times a minute. */
#include "access/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define START (100 * SECOND)

static int take_all(struct rate *r, const char *project, int64_t now_us)
{
	int n = 0;

	while (rate_take(r, project, now_us) == 0)
		n++;
	return n;
}

static void test_a_minutes_worth(void **state)
{
	struct rate *r;

	assert_int_equal(rate_new(60, &r, NULL), 0);
	assert_int_equal(take_all(r, "a", START), 60);
	assert_int_equal(rate_take(r, "a", START), SECOND);
	assert_int_equal(rate_take(r, "a", START + SECOND / 4),
			 SECOND - SECOND / 4); /* asking in vain costs nothing */
	assert_int_equal(take_all(r, "a", START + SECOND), 1);
	assert_int_equal(take_all(r, "a", START + 11 * SECOND), 10);
	assert_int_equal(take_all(r, "b", START), 60); /* others have their own */
	assert_int_equal(take_all(r, NULL, START), 60);
	assert_int_equal(take_all(r, "a", START + 10000 * SECOND), 60); /* no more is saved up */
	rate_free(r);
}

static void test_one_a_minute(void **state)
{
	struct rate *r;

	assert_int_equal(rate_new(1, &r, NULL), 0);
	assert_int_equal(take_all(r, "a", START), 1);
	assert_int_equal(rate_take(r, "a", START + SECOND), 59 * SECOND);
	assert_int_equal(take_all(r, "a", START + 60 * SECOND), 1);
	rate_free(r);
}

/* Those who come and go do not make a busy one forgotten. */
static void test_many_projects(void **state)
{
	struct rate *r;
	char name[32];

	assert_int_equal(rate_new(10, &r, NULL), 0);
	assert_int_equal(take_all(r, "busy", START), 10);
	for (int i = 0; i < 200000; i++) {
		(void)snprintf(name, sizeof(name), "p%d", i);
		assert_int_equal(rate_take(r, name, START), 0);
	}
	assert_true(rate_take(r, "busy", START) > 0);
	rate_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_minutes_worth),
		cmocka_unit_test(test_one_a_minute),
		cmocka_unit_test(test_many_projects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

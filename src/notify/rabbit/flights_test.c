/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/flights_test.c -- what is known of the messages of a batch. */
#include "flights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static struct flights f;

static int setup(void **state)
{
	f = (struct flights){0};
	return 0;
}

static int teardown(void **state)
{
	flights_done(&f);
	return 0;
}

static void adopt(int64_t first, size_t n, size_t n_topics)
{
	struct db_event *batch = calloc(n, sizeof(*batch));

	assert_non_null(batch);
	for (size_t i = 0; i < n; i++)
		batch[i].offset = first + (int64_t)i;
	assert_int_equal(flights_adopt(&f, batch, n, n_topics, NULL), 0);
	assert_int_equal(f.n, n * n_topics);
	free(batch);
}

/* The first @n fly under the tags 1, 2, 3 ... */
static void depart(size_t n)
{
	for (size_t i = 0; i < n; i++)
		flights_depart(&f, i, i + 1, 100 + i);
}

static void assert_states(const char *wanted)
{
	assert_int_equal(f.n, strlen(wanted));
	for (size_t i = 0; i < f.n; i++)
		assert_int_equal("wfLR"[f.all[i].state], wanted[i]);
}

static void test_confirms(void **state)
{
	adopt(1, 6, 1);
	assert_int_equal(flights_next(&f, 0), 0);
	depart(5);
	assert_int_equal(flights_next(&f, 0), 5);
	assert_int_equal(flights_confirm(&f, 2, true, true), 2);
	assert_states("LLfffw");
	assert_int_equal(flights_confirm(&f, 4, false, false), 1);
	assert_states("LLfRfw");
	assert_int_equal(flights_confirm(&f, 4, false, true), 0); /* twice, unknown, never sent */
	assert_int_equal(flights_confirm(&f, 99, false, true), 0);
	assert_int_equal(f.n_flying, 2);
	assert_int_equal(f.n_refused, 1);
	assert_int_equal(flights_landed(&f), 2);
	assert_int_equal(flights_confirm(&f, 0, true, true), 2); /* all that fly */
	assert_states("LLLRLw");
	flights_forgive(&f);
	assert_states("LLLwLw");
	assert_int_equal(flights_next(&f, 0), 3);
	assert_int_equal(flights_next(&f, 4), 5);
}

static void test_lost_connection(void **state)
{
	adopt(1, 4, 1);
	depart(4);
	flights_confirm(&f, 1, false, true);
	flights_confirm(&f, 3, false, true);
	flights_confirm(&f, 4, false, false);
	flights_lose(&f);
	assert_states("LwLw");
	assert_int_equal(f.n_flying + f.n_refused, 0);
}

/* What was reported as safe and comes again is a replay: it is published again. */
static void test_replay(void **state)
{
	adopt(1, 3, 2);
	depart(5);
	flights_confirm(&f, 4, true, true);
	flights_retire(&f, 4);
	assert_states("fw");
	adopt(1, 3, 2);
	assert_states("wwwwww");
	assert_int_equal(f.n_flying, 0);
	depart(6);
	flights_confirm(&f, 0, true, true);
	flights_retire(&f, 6);
	assert_states("");
	adopt(3, 1, 2);
	assert_states("ww");
}

/* What the relay hands over again goes on where it was. */
static void test_same_batch_again(void **state)
{
	adopt(10, 4, 1);
	depart(3);
	flights_confirm(&f, 1, false, true);
	adopt(10, 4, 1);
	assert_states("Lffw");
	adopt(11, 5, 1); /* the first is safe; more have come */
	assert_states("ffwww");
	assert_int_equal(f.n_flying, 2);
	assert_int_equal(flights_confirm(&f, 3, true, true), 2);
	adopt(13, 3, 1);
	assert_states("www");
}

static void test_another_batch(void **state)
{
	adopt(10, 3, 1);
	depart(3);
	adopt(1, 2, 1); /* a replay */
	assert_states("ww");
	assert_int_equal(f.n_flying, 0);
	assert_int_equal(flights_confirm(&f, 3, true, true), 0);
	flights_depart(&f, 0, 4, 1);
	assert_int_equal(flights_confirm(&f, 4, true, true), 1);
	adopt(2, 1, 1);
	assert_states("w");
}

static void test_shorter_batch(void **state)
{
	adopt(10, 4, 1);
	depart(4);
	adopt(10, 2, 1);
	assert_states("ff");
	assert_int_equal(f.n_flying, 2);
}

static void test_topics(void **state)
{
	adopt(7, 2, 3);
	depart(4);
	assert_int_equal(f.all[2].offset, 7);
	assert_int_equal(f.all[3].offset, 8);
	flights_confirm(&f, 3, true, true);
	adopt(8, 2, 3);
	assert_states("fwwwww");
}

static void test_find(void **state)
{
	adopt(1, 3, 1);
	depart(2);
	assert_int_equal(flights_find(&f, 101), 1);
	assert_int_equal(flights_find(&f, 102), 3);
	flights_confirm(&f, 2, false, true);
	assert_int_equal(flights_find(&f, 101), 3);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_confirms),      TEST(test_lost_connection), TEST(test_same_batch_again),
		TEST(test_another_batch), TEST(test_shorter_batch),   TEST(test_topics),
		TEST(test_find),          TEST(test_replay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

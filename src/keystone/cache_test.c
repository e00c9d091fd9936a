/* SPDX-License-Identifier: Apache-2.0
 * keystone/cache_test.c -- bounded, the least recently used goes first, and nothing is kept for longer than
 * said. */
#include "cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct cache *filled(unsigned max, unsigned n)
{
	struct cache *c;

	assert_int_equal(cache_new(max, &c, NULL), 0);
	for (unsigned i = 0; i < n; i++) {
		unsigned char key[CACHE_KEY_LEN] = {(unsigned char)i, (unsigned char)(i >> 8)};
		struct identity *identity = identity_refused((int)i);

		cache_put(c, key, identity, 100);
		identity_unref(identity);
	}
	return c;
}

static struct identity *get(struct cache *c, unsigned i, int64_t now_us)
{
	unsigned char key[CACHE_KEY_LEN] = {(unsigned char)i, (unsigned char)(i >> 8)};

	return cache_get(c, key, now_us);
}

static void test_oldest_goes_first(void **state)
{
	struct cache *c = filled(4, 4);
	unsigned char key[CACHE_KEY_LEN] = {77};
	struct identity *identity = identity_refused(77);

	assert_int_equal(get(c, 0, 1)->refusal, 0); /* it was used just now */
	cache_put(c, key, identity, 100);
	assert_int_equal(atomic_load(&identity->n_refs), 2);
	assert_null(get(c, 1, 1));
	assert_non_null(get(c, 0, 1));
	assert_ptr_equal(get(c, 77, 1), identity);
	cache_drop(c, key);
	assert_int_equal(atomic_load(&identity->n_refs), 1);
	assert_null(get(c, 77, 1));
	identity_unref(identity);
	cache_free(c);
}

static void test_many(void **state)
{
	struct cache *c = filled(1000, 5000);

	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(get(c, i, 1) != NULL, i >= 4000);
	cache_free(c);
}

static void test_time(void **state)
{
	struct cache *c = filled(4, 2);

	assert_non_null(get(c, 0, 99));
	assert_null(get(c, 0, 100));
	assert_null(get(c, 0, 99)); /* and it is gone */
	assert_non_null(get(c, 1, 99));
	cache_free(c);
}

/* Half of a key is another key. */
static void test_whole_key(void **state)
{
	struct cache *c = filled(4, 1);
	unsigned char key[CACHE_KEY_LEN] = {0};

	assert_non_null(cache_get(c, key, 1));
	key[CACHE_KEY_LEN - 1] = 1;
	assert_null(cache_get(c, key, 1));
	cache_free(c);
}

static void test_none(void **state)
{
	struct cache *c = filled(0, 3);

	assert_null(get(c, 2, 1));
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_oldest_goes_first),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_whole_key),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

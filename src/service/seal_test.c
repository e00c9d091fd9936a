/* SPDX-License-Identifier: Apache-2.0
 * service/seal_test.c -- encrypted locations: our own, and one made by Glance's crypt module. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "service/seal.h"

#define KEY "0123456789abcdef0123456789abcdef"
#define GLANCE_SEALED                                                                              \
	"U07Y4c6LYvShutfmc1GQW1oqFlppw1YSEaFwmMNoFHVPFNzgz8JwXFPlnwewXv8I"                              \
	"aaEpdt0-f0aOLN4s4SLptQPtjKnmacAJBV4iKR3cTkbzmzbeOG5QxSK5HAbusUYz"

static void test_round_trip(void **state)
{
	static const char *const keys[] = {"0123456789abcdef", "0123456789abcdef01234567", KEY};
	static const char text[] = "file:///var/lib/glance/images/c0ffee00-0000-4000-8000-000000000001";
	AUTO(arena_done) struct arena a = {0};
	struct err err = {0};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		for (size_t n = 0; n <= strlen(text); n++) {
			const char *sealed, *opened, *url = arena_printf(&a, "file://%.*s", (int)n, text);

			assert_int_equal(seal_close(keys[i], url, &a, &sealed, &err), 0);
			assert_null(strstr(sealed, "file"));
			assert_int_equal(strspn(sealed, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="),
					 strlen(sealed));
			assert_int_equal(seal_open(keys[i], sealed, &a, &opened, &err), 0);
			assert_string_equal(opened, url);
		}
	}
}

static void test_made_by_glance(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct err err = {0};
	const char *url;

	assert_int_equal(seal_open(KEY, GLANCE_SEALED, &a, &url, &err), 0);
	assert_string_equal(url, "file:///var/lib/glance/images/c0ffee00-0000-4000-8000-000000000001");
}

static void test_plain_passes(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct err err = {0};
	const char *url;

	assert_int_equal(seal_open(KEY, "file:///x", &a, &url, &err), 0);
	assert_string_equal(url, "file:///x");
	assert_int_equal(seal_close(NULL, "file:///x", &a, &url, &err), 0);
	assert_string_equal(url, "file:///x");
}

static void test_rubbish_is_refused(void **state)
{
	static const char *const rubbish[] = {"", "x", "====", "AAAA", "%%%%", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
					      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="};
	AUTO(arena_done) struct arena a = {0};
	struct err err = {0};
	const char *url;

	for (size_t i = 0; i < ARRAY_LEN(rubbish); i++)
		assert_int_equal(seal_open(KEY, rubbish[i], &a, &url, &err), ERR_INTERNAL);
}

static void test_keys(void **state)
{
	struct err err = {0};

	assert_int_equal(seal_check_key(NULL, &err), 0);
	assert_int_equal(seal_check_key(KEY, &err), 0);
	assert_int_equal(seal_check_key("short", &err), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_made_by_glance),
		cmocka_unit_test(test_plain_passes),    cmocka_unit_test(test_rubbish_is_refused),
		cmocka_unit_test(test_keys),
	};

	return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "fetch/fetch.h"
#include "stores.h"

#define ID "c0ffee00-0000-4000-8000-000000000001"

struct world {
	char dir[64], fast[96], slow[96], staging[96];
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	snprintf(w->dir, sizeof(w->dir), "/tmp/glint-stores-XXXXXX");
	if (!mkdtemp(w->dir))
		return -1;
	snprintf(w->fast, sizeof(w->fast), "%s/fast", w->dir);
	snprintf(w->slow, sizeof(w->slow), "%s/slow", w->dir);
	snprintf(w->staging, sizeof(w->staging), "%s/staging", w->dir);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", w->dir);
	free(TAKE(*state));
	return system(command) == 0 ? 0 : -1;
}

static int open_two(struct world *w, const char *default_id, const char *second_id, const char *second_dir,
		    struct stores **ret, struct err *err)
{
	const struct store_config configs[] = {
		{.id = "fast", .type = "file", .directory = w->fast, .weight = 7, .description = "the fast one"},
		{.id = second_id, .type = "file", .directory = second_dir},
	};
	const struct store_config staging = {.id = STORES_STAGING_ID, .type = "file", .directory = w->staging};

	*err = (struct err){0};
	return stores_open(configs, 2, default_id, &staging, ret, err);
}

static void finds_them(void **state)
{
	struct world *w = *state;
	AUTO(stores_close_p) struct stores *ss = NULL;
	struct err err;

	assert_int_equal(open_two(w, "slow", "slow", w->slow, &ss, &err), 0);
	assert_true(stores_have_names(ss));
	assert_int_equal(stores_count(ss), 2);
	assert_string_equal(store_id(stores_at(ss, 0)), "fast");
	assert_string_equal(store_id(stores_default(ss)), "slow");
	assert_ptr_equal(stores_find(ss, "fast"), stores_at(ss, 0));
	assert_ptr_equal(stores_find(ss, STORES_STAGING_ID), stores_staging(ss));
	assert_null(stores_find(ss, "none"));
	assert_null(stores_find(ss, ""));
	assert_int_equal(store_weight(stores_at(ss, 0)), 7);
	assert_string_equal(store_description(stores_at(ss, 0)), "the fast one");
	assert_null(store_description(stores_at(ss, 1)));
	assert_string_equal(store_type(stores_at(ss, 1)), "file");
	assert_string_equal(store_directory(stores_at(ss, 1)), w->slow);
}

static void knows_whose_a_location_is(void **state)
{
	struct world *w = *state;
	AUTO(stores_close_p) struct stores *ss = NULL;
	struct err err;

	assert_int_equal(open_two(w, "fast", "slow", w->slow, &ss, &err), 0);
	for (size_t i = 0; i < 3; i++) {
		struct store *s = i < 2 ? stores_at(ss, i) : stores_staging(ss);
		AUTO(free_p) char *url = store_url(s, ID);

		assert_ptr_equal(stores_owner(ss, url), s);
	}
	assert_null(stores_owner(ss, "file:///etc/passwd"));
}

static void refuses_what_cannot_be_told_apart(void **state)
{
	struct world *w = *state;
	struct stores *ss = NULL;
	struct err err;

	assert_int_equal(open_two(w, "none", "slow", w->slow, &ss, &err), ERR_INVALID);
	assert_int_equal(open_two(w, STORES_STAGING_ID, "slow", w->slow, &ss, &err), ERR_INVALID);
	assert_int_equal(open_two(w, "fast", "fast", w->slow, &ss, &err), ERR_INVALID);
	assert_int_equal(open_two(w, "fast", "", w->slow, &ss, &err), ERR_INVALID);
	assert_int_equal(open_two(w, "fast", "os_glance_mine", w->slow, &ss, &err), ERR_INVALID);
	assert_int_equal(open_two(w, "fast", "slow", w->fast, &ss, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "the same directory"));
	assert_int_equal(open_two(w, "fast", "slow", w->staging, &ss, &err), ERR_INVALID);
	assert_null(ss);
	stores_close(NULL);
}

/* -- remote stores -------------------------------------------------------------------------------- */

static const struct fetch_rules rules = {0};
static const struct fetch_options fetch = {.rules = &rules};

static int open_beside(struct world *w, const char *first, const char *second, const char *other, struct stores **ret,
		       struct err *err)
{
	const struct store_config configs[] = {
		{.id = first, .type = "file", .directory = w->fast},
		{.id = second, .type = "http", .fetch = &fetch},
		{.id = "more", .type = "http", .fetch = &fetch},
	};
	const struct store_config staging = {.id = STORES_STAGING_ID, .type = "file", .directory = w->staging};

	*err = (struct err){0};
	return stores_open(configs, other ? 3 : 2, other ? other : first, &staging, ret, err);
}

static void has_remote_ones(void **state)
{
	struct stores *ss = NULL;
	struct err err;

	assert_int_equal(open_beside(*state, "disk", "web", NULL, &ss, &err), 0);
	assert_true(stores_have_names(ss));
	assert_string_equal(store_id(stores_owner(ss, "HTTPS://example.org/x")), "web");
	assert_null(stores_owner(ss, "ftp://example.org/x"));
	stores_close(ss);
	assert_int_equal(open_beside(*state, "", "", NULL, &ss, &err), 0); /* beside the nameless one */
	assert_false(stores_have_names(ss));
	assert_true(store_is_remote(stores_owner(ss, "http://example.org/x")));
	assert_string_equal(store_type(stores_default(ss)), "file");
	stores_close(ss);
	assert_int_equal(open_beside(*state, "", "web", NULL, &ss, &err), ERR_INVALID);
	assert_int_equal(open_beside(*state, "disk", "web", "disk", &ss, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "both of type http"));
}

static void never_writes_to_remote_ones(void **state)
{
	const struct world *w = *state;
	const struct store_config web = {.id = "web", .type = "http", .fetch = &fetch};
	const struct store_config staging = {.id = STORES_STAGING_ID, .type = "file", .directory = w->staging};
	struct stores *ss = NULL;
	struct err err = {0};

	assert_int_equal(stores_open(&web, 1, "web", &staging, &ss, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "cannot be written to"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(finds_them, set_up, tear_down),
		cmocka_unit_test_setup_teardown(knows_whose_a_location_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refuses_what_cannot_be_told_apart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(has_remote_ones, set_up, tear_down),
		cmocka_unit_test_setup_teardown(never_writes_to_remote_ones, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

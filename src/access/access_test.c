/* SPDX-License-Identifier: Apache-2.0
 * access/access_test.c -- trusted headers, and the policy table as facts/images-api.md 14 has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "access/policy.h"
#include "access/who.h"
#include "base/err.h"

struct header {
	const char *name, *value;
};

/* @cls: headers up to one without a name. */
static const char *get_header(void *cls, const char *name, unsigned *ret_count)
{
	const char *value = NULL;

	*ret_count = 0;
	for (const struct header *h = cls; h->name; h++) {
		if (strcasecmp(h->name, name) != 0)
			continue;
		if (!value)
			value = h->value;
		++*ret_count;
	}
	return value;
}

static int identify(const struct header *headers, struct arena *a, struct who *ret)
{
	struct err err = {0};

	return who_from_headers(AUTH_TRUSTED, get_header, (void *)headers, a, ret, &err);
}

static void test_trusted_headers(void **state)
{
	static const struct header good[] = {{"x-identity-status", "Confirmed"}, {"X-User-Id", "u"},
					     {"X-Tenant-Id", "p"},               {"X-Roles", "reader, Admin ,x"},
					     {0}};
	AUTO(arena_done) struct arena a = {0};
	struct who who = {0};

	assert_int_equal(identify(good, &a, &who), 0);
	assert_string_equal(who.user_id, "u");
	assert_string_equal(who.project_id, "p");
	assert_true(who_is_admin(&who));
	assert_int_equal(who.roles, ROLE_ADMIN | ROLE_MEMBER | ROLE_READER);
}

static void test_roles_imply_lower_ones_only(void **state)
{
	static const struct header member[] = {{"X-Identity-Status", "Confirmed"}, {"X-Roles", "member"}, {0}};
	static const struct header odd[] = {{"X-Identity-Status", "Confirmed"}, {"X-Roles", ",administrator,,"}, {0}};
	AUTO(arena_done) struct arena a = {0};
	struct who who = {0};

	assert_int_equal(identify(member, &a, &who), 0);
	assert_int_equal(who.roles, ROLE_MEMBER | ROLE_READER);
	assert_string_equal(who.role_names[0], "member");
	assert_string_equal(who.role_names[1], "reader");
	assert_null(who.role_names[2]);
	assert_null(who.project_id);
	assert_int_equal(identify(odd, &a, &who), 0);
	assert_int_equal(who.roles, 0);
	assert_string_equal(who.role_names[0], "administrator");
	assert_null(who.role_names[1]);
}

static void test_bad_identities(void **state)
{
	static const struct header none[] = {{0}};
	static const struct header invalid[] = {{"X-Identity-Status", "Invalid"}, {"X-Roles", "admin"}, {0}};
	static const struct header lower[] = {{"X-Identity-Status", "confirmed"}, {"X-Roles", "admin"}, {0}};
	static const struct header twice[] = {{"X-Identity-Status", "Confirmed"}, {"X-Roles", "reader"},
					      {"X-Roles", "admin"}, {0}};
	static const struct header differ[] = {{"X-Identity-Status", "Confirmed"}, {"X-Project-Id", "a"},
					       {"X-Tenant-Id", "b"}, {0}};
	AUTO(arena_done) struct arena a = {0};
	struct who who = {0};

	assert_int_equal(identify(none, &a, &who), ERR_UNAUTHENTICATED);
	assert_int_equal(identify(invalid, &a, &who), ERR_UNAUTHENTICATED);
	assert_int_equal(identify(lower, &a, &who), ERR_UNAUTHENTICATED);
	assert_int_equal(identify(twice, &a, &who), ERR_INVALID);
	assert_int_equal(identify(differ, &a, &who), ERR_INVALID);
}

static void test_flavors(void **state)
{
	struct err err = {0};
	enum auth_mode mode;

	assert_int_equal(auth_mode_parse("", &mode, &err), 0);
	assert_int_equal(mode, AUTH_NONE);
	assert_int_equal(auth_mode_parse("trusted-auth", &mode, &err), 0);
	assert_int_equal(mode, AUTH_TRUSTED);
	assert_int_equal(auth_mode_parse("keystone", &mode, &err), 0);
	assert_int_equal(mode, AUTH_KEYSTONE);
	assert_int_equal(auth_mode_parse("keystone+caching", &mode, &err), 0);
	assert_int_equal(mode, AUTH_KEYSTONE);
	assert_int_equal(auth_mode_parse("keystone2", &mode, &err), ERR_INVALID);
}

/* -- the table ------------------------------------------------------------------------------------ */

enum { OWNER_MEMBER, OWNER_READER, SHAREE, SHAREE_READER, STRANGER, ADMIN, SERVICE, N_PEOPLE };

static const char *const admin_roles[] = {"admin", "member", "reader", NULL};
static const char *const member_roles[] = {"member", "reader", NULL};
static const char *const reader_roles[] = {"reader", NULL};
static const char *const service_roles[] = {"service", NULL};

static const struct who people[N_PEOPLE] = {
	[OWNER_MEMBER] = {.role_names = member_roles, .project_id = "own"},
	[OWNER_READER] = {.role_names = reader_roles, .project_id = "own"},
	[SHAREE] = {.role_names = member_roles, .project_id = "guest"},
	[SHAREE_READER] = {.role_names = reader_roles, .project_id = "guest"},
	[STRANGER] = {.role_names = member_roles, .project_id = "other"},
	[ADMIN] = {.roles = ROLE_ADMIN, .role_names = admin_roles, .project_id = "ops"},
	[SERVICE] = {.roles = ROLE_SERVICE, .role_names = service_roles, .project_id = "service"},
};

/* One column a person, in the order of the enum; the image is private to "own" but shared with
 * "guest" as far as membership goes. */
static const struct {
	enum policy_rule rule;
	const char *allowed;
} expected[] = {
	{POLICY_ADD_IMAGE, "y....y."},       {POLICY_DELETE_IMAGE, "y....y."},
	{POLICY_GET_IMAGE, "yyyy.y."},       {POLICY_GET_IMAGES, "yyyyyy."},
	{POLICY_MODIFY_IMAGE, "y....y."},    {POLICY_PUBLICIZE_IMAGE, ".....y."},
	{POLICY_COMMUNITIZE_IMAGE, "y....y."}, {POLICY_DOWNLOAD_IMAGE, "y.y..y."},
	{POLICY_UPLOAD_IMAGE, "y....y."},    {POLICY_DEACTIVATE, "y....y."},
	{POLICY_REACTIVATE, "y....y."},      {POLICY_ADD_MEMBER, "y....y."},
	{POLICY_DELETE_MEMBER, "y....y."},   {POLICY_GET_MEMBER, "yyyy.y."},
	{POLICY_GET_MEMBERS, "yyyy.y."},     {POLICY_MODIFY_MEMBER, "..y..y."},
	{POLICY_COPY_IMAGE, ".....y."},     {POLICY_GET_IMAGE_LOCATION, "yy...y."},
	{POLICY_DELETE_IMAGE_LOCATION, ".....y."}, {POLICY_TASKS_API_ACCESS, ".....y."},
	{POLICY_SET_IMAGE_LOCATION, "y....y."}, {POLICY_ADD_IMAGE_LOCATION, "y....yy"},
	{POLICY_FETCH_IMAGE_LOCATION, ".....yy"}, {POLICY_SERVICE_API, ".....yy"},
	{POLICY_GET_TASK, "yyyyyyy"},       {POLICY_GET_TASKS, "yyyyyyy"},
	{POLICY_ADD_TASK, "yyyyyyy"},
	{POLICY_STORES_INFO_DETAIL, ".....yy"}, {POLICY_CONTEXT_IS_ADMIN, ".....y."},
};

static void test_policy_table(void **state)
{
	struct image image;

	image_init(&image);
	image.owner = "own";
	image.visibility = IMAGE_PRIVATE;
	assert_int_equal(ARRAY_LEN(expected), N_POLICY_RULES);
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		for (size_t p = 0; p < N_PEOPLE; p++) {
			struct policy_target target = {&image, p == SHAREE || p == SHAREE_READER};
			/* Of images in general everybody may list his own. */
			if (expected[i].rule == POLICY_GET_IMAGES)
				target.image = NULL;
			bool allowed = policy_allows(NULL, expected[i].rule, &people[p], &target);

			if (allowed != (expected[i].allowed[p] == 'y'))
				fail_msg("%s for person %zu: %d", policy_name(expected[i].rule), p, allowed);
			assert_int_equal(allowed, policy_allows_named(NULL, policy_name(expected[i].rule), &people[p], &target));
		}
	}
}

static void test_visibility(void **state)
{
	struct image image;

	image_init(&image);
	image.owner = "own";
	image.visibility = IMAGE_SHARED;
	assert_true(policy_image_visible(NULL, &people[OWNER_READER], &image, false));
	assert_true(policy_image_visible(NULL, &people[SHAREE], &image, true));
	assert_false(policy_image_visible(NULL, &people[STRANGER], &image, false));
	assert_true(policy_image_visible(NULL, &people[ADMIN], &image, false));
	image.visibility = IMAGE_PRIVATE; /* what was shared and is private now reaches nobody */
	assert_false(policy_image_visible(NULL, &people[SHAREE], &image, true));
	image.visibility = IMAGE_COMMUNITY;
	assert_true(policy_image_visible(NULL, &people[STRANGER], &image, false));
	image.visibility = IMAGE_PUBLIC;
	assert_true(policy_image_visible(NULL, &people[STRANGER], &image, false));
}

static void test_no_role_no_sight(void **state)
{
	struct who nobody = {.project_id = "own"};
	struct image image;

	image_init(&image);
	image.owner = "own";
	image.visibility = IMAGE_PUBLIC;
	assert_false(policy_image_visible(NULL, &nobody, &image, false));
}

static void test_nobody_owns_what_has_no_owner(void **state)
{
	struct who nobody = {.roles = ROLE_MEMBER};

	assert_false(who_owns(&nobody, NULL));
	assert_false(who_owns(&nobody, "p"));
	assert_false(who_owns(&people[STRANGER], NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trusted_headers),
		cmocka_unit_test(test_roles_imply_lower_ones_only),
		cmocka_unit_test(test_bad_identities),
		cmocka_unit_test(test_flavors),
		cmocka_unit_test(test_policy_table),
		cmocka_unit_test(test_visibility),
		cmocka_unit_test(test_no_role_no_sight),
		cmocka_unit_test(test_nobody_owns_what_has_no_owner),
	};

	return cmocka_run_group_tests_name("access", tests, NULL, NULL);
}

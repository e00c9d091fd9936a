/* SPDX-License-Identifier: Apache-2.0
 * access/protection_test.c -- property protection files, and what they allow whom. */
#include "access/protection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"

#define ALL(who) "create = " who "\nread = " who "\nupdate = " who "\ndelete = " who "\n"

static char path[64];

static void write_file(const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fputs(text, f) < 0, 0);
	assert_int_equal(fclose(f), 0);
}

static int make_path(void **state)
{
	int fd;

	strcpy(path, "/tmp/protection-XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
	return unlink(path);
}

static struct protections *open_text(const char *text)
{
	struct protection_config config = {.path = path};
	struct protections *p = NULL;
	struct err err = {0};

	write_file(text);
	if (protections_open(&config, &p, &err) < 0)
		fail_msg("%s", err_story(&err));
	return p;
}

static bool may(struct protections *p, const char *const *roles, const char *property,
		enum property_action action)
{
	AUTO(arena_done) struct arena a = {0};
	struct who who = {.role_names = roles};
	const struct property_rights *rights;

	assert_int_equal(protections_rights(p, &who, &a, &rights, NULL), 0);
	assert_int_equal(property_allowed(rights, property, action),
			 property_allowed(rights, property, action));
	return property_allowed(rights, property, action);
}

static const char *const admin[] = {"admin", "member", NULL}, *const member[] = {"member", NULL},
			 *const none[] = {NULL};

static void test_roles(void **state)
{
	AUTO(protections_close_p)
	struct protections *p =
		open_text("# who may what\n"
			  "[^x_.*]\ncreate = admin,\n  Member\nread: @\nupdate = Admin\ndelete = !\n\n"
			  "  ; indented\n[^y_]\ncreate=\nread = member\nupdate = other\ndelete = @, "
			  "admin\nnothing = known\n");

	assert_true(may(p, admin, "x_a", PROPERTY_CREATE));
	assert_true(may(p, member, "x_a", PROPERTY_CREATE));
	assert_false(may(p, none, "x_a", PROPERTY_CREATE));
	assert_true(may(p, none, "x_a", PROPERTY_READ));
	assert_true(may(p, admin, "x_a", PROPERTY_UPDATE));
	assert_false(may(p, member, "x_a", PROPERTY_UPDATE));
	assert_false(may(p, admin, "x_a", PROPERTY_DELETE));
	assert_false(may(p, admin, "y_", PROPERTY_CREATE));
	assert_true(may(p, member, "y_", PROPERTY_READ));
	assert_false(may(p, none, "y_", PROPERTY_READ));
	assert_false(may(p, admin, "y_", PROPERTY_UPDATE));
	assert_true(may(p, none, "y_", PROPERTY_DELETE));
	for (int action = 0; action < N_PROPERTY_ACTIONS; action++) /* no section */
		assert_false(may(p, admin, "z", (enum property_action)action));
}

static void test_first_match_wins(void **state)
{
	AUTO(protections_close_p)
	struct protections *p = open_text("[secret]\n" ALL("!") "[^a]\n" ALL("member") "[.*]\n" ALL("@"));

	assert_false(may(p, admin, "a_secret_b", PROPERTY_READ)); /* anywhere in the name */
	assert_true(may(p, member, "ab", PROPERTY_READ));
	assert_false(may(p, none, "ab", PROPERTY_READ));
	assert_true(may(p, none, "ba", PROPERTY_READ));
	assert_true(may(p, none, "", PROPERTY_READ));
	assert_true(may(p, none, "Secret", PROPERTY_READ));
	assert_true(may(p, none, "\xc3\xbc", PROPERTY_READ));
}

static void test_defaults(void **state)
{
	AUTO(protections_close_p)
	struct protections *p =
		open_text("[^a$]\nread = @\n[^\\w+%%$]\n" ALL("ad%%min") "[DEFAULT]\n" ALL("!"));
	static const char *const percent[] = {"ad%min", NULL};

	assert_true(may(p, none, "a", PROPERTY_READ));
	assert_false(may(p, admin, "a", PROPERTY_CREATE));
	assert_false(may(p, admin, "DEFAULT", PROPERTY_READ));
	assert_true(may(p, percent, "\xc3\xbc%%", PROPERTY_READ)); /* only values have escapes */
}

/* More names than are remembered, asked twice. */
static void test_many_names(void **state)
{
	AUTO(protections_close_p) struct protections *p = open_text("[7$]\n" ALL("!") "[.]\n" ALL("@"));
	AUTO(arena_done) struct arena a = {0};
	struct who who = {.role_names = none};
	const struct property_rights *rights;

	assert_int_equal(protections_rights(p, &who, &a, &rights, NULL), 0);
	for (int i = 0; i < 2000; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "p%d", i % 1000);
		assert_int_equal(property_allowed(rights, name, PROPERTY_READ), i % 10 != 7);
	}
}

/* An expression that would take for ever: nobody may. */
static void test_endless_expression(void **state)
{
	AUTO(protections_close_p) struct protections *p = open_text("[^(a+)+$]\n" ALL("@") "[.*]\n" ALL("@"));
	char name[256];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_true(may(p, none, name, PROPERTY_READ));
	name[sizeof(name) - 2] = 'b';
	assert_false(may(p, none, name, PROPERTY_READ));
	assert_true(may(p, none, "b", PROPERTY_READ));
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "no section"},
		{"# nothing\n[DEFAULT]\n" ALL("@"), "no section"},
		{"create = @\n", ":1: an option before"},
		{"[a\n" ALL("@"), ":1: "},
		{"[]\n" ALL("@"), ":1: "},
		{"[a]\nnonsense\n", ":2: neither"},
		{"[a]\n= @\n", ":2: neither"},
		{"[a]\n[b]\n" ALL("@"), ":1: [a] does not say who may create"},
		{"[a]\ncreate = @\nread = @\nupdate = @\n", "may delete"},
		{"[a]\n" ALL("@") "read = admin\n", ":6: 'read' is there twice"},
		{"[a]\n" ALL("@") "\n[a]\n" ALL("!"), ":7: [a] is there twice, also in line 1"},
		{"[a]\n" ALL("@, !"), ":1: [a] names both"},
		{"[(]\n" ALL("@"), ":1: the expression '('"},
		{"[a\\Z]\n" ALL("@"), "means something else"},
		{"[a{,3}]\n" ALL("@"), "means something else"},
		{"[a]\n" ALL("%(read)s"), ":2: % stands for"},
		{"[a]\n" ALL("\xff"), ":2: not a text"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct protection_config config = {.path = path};
		struct protections *p = NULL;
		struct err err = {0};

		write_file(cases[i].text);
		assert_int_equal(protections_open(&config, &p, &err), ERR_INVALID);
		if (!strstr(err_story(&err), cases[i].why) || !strstr(err_story(&err), path))
			fail_msg("case %zu: '%s'", i, err_story(&err));
		assert_int_equal(protections_check(&config, NULL), ERR_INVALID);
	}
}

static bool ask(void *cls, const char *rule, const struct who *who)
{
	int *n = cls;

	++*n;
	return strcmp(rule, who->user_id) == 0;
}

static void test_by_rules(void **state)
{
	int n_asked = 0;
	struct protection_config config = {.path = path, .rule = ask, .cls = &n_asked};
	AUTO(protections_close_p) struct protections *p = NULL;
	AUTO(arena_done) struct arena a = {0};
	struct who who = {.user_id = "may_read"};
	const struct property_rights *rights;

	write_file("[^a]\ncreate = may_create\nread = may_read\nupdate = @\ndelete = !\n");
	assert_int_equal(protections_open(&config, &p, NULL), 0);
	assert_int_equal(protections_rights(p, &who, &a, &rights, NULL), 0);
	for (int i = 0; i < 3; i++) {
		assert_false(property_allowed(rights, "a1", PROPERTY_CREATE));
		assert_true(property_allowed(rights, "a2", PROPERTY_READ));
		assert_true(property_allowed(rights, "a3", PROPERTY_UPDATE));
		assert_false(property_allowed(rights, "a4", PROPERTY_DELETE));
		assert_false(property_allowed(rights, "b", PROPERTY_READ));
	}
	assert_int_equal(n_asked, 2);
	write_file("[^a]\n" ALL("one, two"));
	assert_int_equal(protections_check(&config, NULL), ERR_INVALID);
}

/* Who has begun keeps the rules he began with; a file that is no good changes nothing. */
static void test_refresh(void **state)
{
	AUTO(protections_close_p) struct protections *p = open_text("[a]\n" ALL("@"));
	AUTO(arena_done) struct arena a = {0};
	struct who who = {.role_names = none};
	const struct property_rights *before;

	assert_int_equal(protections_rights(p, &who, &a, &before, NULL), 0);
	assert_true(property_allowed(before, "a1", PROPERTY_READ));
	write_file("[a]\n" ALL("member") "[b]\n" ALL("@"));
	(void)protections_refresh(p); /* if the thread was not faster */
	assert_true(property_allowed(before, "a2", PROPERTY_READ));
	assert_false(may(p, none, "a", PROPERTY_READ));
	assert_true(may(p, none, "b", PROPERTY_READ));
	write_file("[a]\nread = \n");
	assert_false(protections_refresh(p));
	assert_true(may(p, member, "a", PROPERTY_READ));
	assert_int_equal(unlink(path), 0);
	assert_false(protections_refresh(p));
	assert_true(may(p, member, "a", PROPERTY_READ));
	write_file("[a]\n" ALL("!"));
	(void)protections_refresh(p);
	assert_false(may(p, member, "a", PROPERTY_READ));
}

/* What could not be read is tried again, though nothing about it seems to have changed. */
static void test_trouble_ends(void **state)
{
	AUTO(protections_close_p) struct protections *p = open_text("[a]\n" ALL("@"));
	char aside[80];

	(void)snprintf(aside, sizeof(aside), "%s-aside", path);
	write_file("[broken\n");
	(void)protections_refresh(p);
	assert_int_equal(rename(path, aside), 0);
	(void)protections_refresh(p);
	assert_int_equal(rename(aside, path), 0);
	assert_false(protections_refresh(p));
	assert_true(may(p, none, "a", PROPERTY_READ));
	write_file("[b]\n" ALL("@"));
	(void)protections_refresh(p);
	assert_true(may(p, none, "b", PROPERTY_READ));
}

static void test_none(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	const struct property_rights *rights;
	struct who who = {0};

	assert_int_equal(protections_rights(NULL, &who, &a, &rights, NULL), 0);
	assert_null(rights);
	assert_true(property_allowed(rights, "a", PROPERTY_DELETE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roles),
		cmocka_unit_test(test_first_match_wins),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_many_names),
		cmocka_unit_test(test_endless_expression),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_by_rules),
		cmocka_unit_test(test_refresh),
		cmocka_unit_test(test_trouble_ends),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}

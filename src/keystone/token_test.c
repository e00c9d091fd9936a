/* SPDX-License-Identifier: Apache-2.0
 * keystone/token_test.c -- what Keystone says is taken exactly, and nothing else for it. */
#include "keystone/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#define USER                                                                                                 \
	"\"user\": {\"id\": \"u1\", \"name\": \"demo\", \"domain\": {\"id\": \"default\", \"name\": "        \
	"\"Default\"}}"
#define PROJECT                                                                                              \
	"\"project\": {\"id\": \"p1\", \"name\": \"demo\", \"domain\": {\"id\": \"d2\", \"name\": "          \
	"\"Default\"}}"
#define EXPIRES "\"expires_at\": \"2037-11-22T19:09:30.000000Z\""
#define ROLES "\"roles\": [{\"id\": \"1\", \"name\": \"Member\"}, {\"id\": \"2\", \"name\": \"creator\"}]"
#define TOKEN(more) "{\"token\": {" USER ", " EXPIRES ", " more "}}"

static int parse(const char *text, struct identity **ret)
{
	struct err err = {0};
	int r = token_parse(text, strlen(text), ret, &err);

	assert_int_equal(err.code, r);
	return r;
}

static void test_whole(void **state)
{
	struct arena a = {0};
	struct identity *i;
	struct who who = {.request_id = "req-1", .address = "::1"};
	int64_t us;

	assert_int_equal(parse(TOKEN(PROJECT ", " ROLES ", \"is_domain\": false"), &i), 0);
	assert_int_equal(i->refusal, 0);
	assert_true(clock_parse("2037-11-22T19:09:30Z", &us) && us == i->expires_us);
	assert_int_equal(identity_copy(i, &a, &who, NULL), 0);
	identity_unref(i); /* what was copied stays */
	assert_string_equal(who.user_id, "u1");
	assert_string_equal(who.project_id, "p1");
	assert_string_equal(who.user_domain_id, "default");
	assert_string_equal(who.project_domain_id, "d2");
	assert_string_equal(who.request_id, "req-1");
	assert_string_equal(who.address, "::1");
	assert_int_equal(who.roles, ROLE_MEMBER | ROLE_READER);
	assert_string_equal(who.role_names[0], "member");
	assert_string_equal(who.role_names[1], "creator");
	assert_string_equal(who.role_names[2], "reader");
	assert_null(who.role_names[3]);
	arena_done(&a);
}

static void test_roles_of_services(void **state)
{
	static const char *const service[] = {"service", NULL}, *const two[] = {"service", "creator", NULL};
	struct identity *i;

	assert_int_equal(parse(TOKEN(PROJECT ", " ROLES), &i), 0);
	assert_false(identity_has_role(i, service));
	assert_true(identity_has_role(i, two));
	identity_unref(i);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text;
		int refusal;
	} cases[] = {
		{TOKEN("\"methods\": [\"password\"]"), ERR_FORBIDDEN},
		{TOKEN("\"system\": {\"all\": true}, " ROLES), ERR_FORBIDDEN},
		{TOKEN("\"domain\": {\"id\": \"default\"}, " ROLES), ERR_FORBIDDEN},
		{TOKEN(PROJECT ", " ROLES ", \"is_domain\": true"), ERR_FORBIDDEN},
		{TOKEN(PROJECT ", " ROLES ", \"system\": {\"all\": true}"), ERR_FORBIDDEN},
		{TOKEN(PROJECT ", " ROLES
			       ", \"application_credential\": {\"id\": \"a\", \"access_rules\": []}"),
		 ERR_UNAUTHENTICATED},
		{TOKEN(PROJECT ", " ROLES
			       ", \"application_credential\": {\"access_rules\": [{\"path\": \"/\"}]}"),
		 ERR_UNAUTHENTICATED},
		{TOKEN(PROJECT ", " ROLES
			       ", \"application_credential\": {\"id\": \"a\", \"restricted\": true}"),
		 0},
	};

	for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
		struct identity *i;

		assert_int_equal(parse(cases[n].text, &i), 0);
		if (i->refusal != cases[n].refusal)
			fail_msg("%d: %s", i->refusal, cases[n].text);
		identity_unref(i);
	}
}

static void test_rubbish(void **state)
{
	static const char *const cases[] = {
		"",
		"null",
		"[]",
		"{}",
		"<html>",
		"\"token\"",
		"{\"token\": []}",
		"{\"token\": {}}",
		"{\"token\": null}",
		"{\"token\": {" USER ", " PROJECT ", " ROLES "}}",
		"{\"token\": {" EXPIRES ", " PROJECT ", " ROLES "}}",
		"{\"token\": {" USER ", " PROJECT ", " ROLES ", \"expires_at\": \"tomorrow\"}}",
		"{\"token\": {" USER ", " PROJECT ", " ROLES ", \"expires_at\": 17}}",
		TOKEN(PROJECT),
		TOKEN(PROJECT ", \"roles\": []"),
		TOKEN(PROJECT ", \"roles\": [\"admin\"]"),
		TOKEN(PROJECT ", \"roles\": [{\"name\": 1}]"),
		TOKEN(PROJECT ", \"roles\": [{\"name\": \"\"}]"),
		TOKEN(PROJECT ", \"roles\": [{\"name\": \"a\\nb\"}]"),
		TOKEN(PROJECT ", \"roles\": {\"name\": \"admin\"}"),
		TOKEN("\"project\": {\"id\": \"\", \"domain\": {\"id\": \"d\"}}, " ROLES),
		TOKEN("\"project\": {\"id\": \"p\"}, " ROLES),
		TOKEN("\"project\": {}, " ROLES),
		TOKEN("\"project\": {\"id\": \"p\\u0000q\", \"domain\": {\"id\": \"d\"}}, " ROLES),
		TOKEN(PROJECT ", " ROLES ", " ROLES), /* twice */
		TOKEN(PROJECT ", " ROLES) "x",
	};

	for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
		struct identity *i = NULL;

		if (parse(cases[n], &i) != ERR_UNAVAILABLE)
			fail_msg("%s", cases[n]);
		assert_null(i);
	}
}

static void test_bounds(void **state)
{
	AUTO(buf_done) struct buf b = {0};
	struct identity *i = NULL;

	buf_adds(&b, "{\"token\": {" USER ", " EXPIRES ", " PROJECT ", \"roles\": [{\"name\": \"a\"}");
	for (int n = 0; n < 256; n++)
		buf_addf(&b, ", {\"name\": \"role%d\"}", n);
	buf_adds(&b, "]}}");
	assert_int_equal(parse(b.data, &i), ERR_UNAVAILABLE);
	buf_reset(&b);
	buf_addf(&b, TOKEN("\"roles\": [{\"name\": \"%0256d\"}], " PROJECT), 0);
	assert_int_equal(parse(b.data, &i), ERR_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),    cmocka_unit_test(test_roles_of_services),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

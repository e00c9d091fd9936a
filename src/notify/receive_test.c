/* SPDX-License-Identifier: Apache-2.0
 * notify/receive_test.c -- what is taken for a notification, and what is refused. */
#include "receive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static int document(const char *body, json_t **ret, struct err *err)
{
	const struct received m = {.body = body, .n_bytes = strlen(body)};

	return received_document(&m, ret, err);
}

static void assert_type(const char *body, const char *event_type)
{
	struct err err = {0};
	json_t *doc;

	if (document(body, &doc, &err) < 0)
		fail_msg("%s: %s", body, err.text);
	assert_string_equal(json_string_value(json_object_get(doc, "event_type")), event_type);
	json_decref(doc);
}

static void assert_refused(const char *body, const char *because)
{
	struct err err = {0};
	json_t *doc = NULL;

	assert_int_equal(document(body, &doc, &err), ERR_INVALID);
	assert_null(doc);
	if (!strstr(err.text, because))
		fail_msg("%s: %s", body, err.text);
}

static void test_formats(void **state)
{
	assert_type("{\"event_type\": \"image.create\", \"payload\": {}}", "image.create");
	assert_type("{\"oslo.version\": \"2.0\", \"oslo.message\": \"{\\\"event_type\\\": \\\"image.send\\\"}\"}",
		    "image.send");
	assert_type("{\"oslo.message\":\"{\\\"event_type\\\":\\\"\\\\u00dc\\\"}\",\"oslo.version\":\"2.0\"}", "\xc3\x9c");
	/* Half an envelope is a document with a strange member. */
	assert_type("{\"oslo.version\": \"2.0\", \"event_type\": \"x\"}", "x");
}

static void test_refused(void **state)
{
	assert_refused("", "is not JSON");
	assert_refused("no", "is not JSON");
	assert_refused("{\"a\": 1", "is not JSON");
	assert_refused("[1]", "is not an object");
	assert_refused("{\"oslo.version\": \"2.1\", \"oslo.message\": \"{}\"}", "version 2.0");
	assert_refused("{\"oslo.version\": 2.0, \"oslo.message\": \"{}\"}", "version 2.0");
	assert_refused("{\"oslo.version\": \"2.0\", \"oslo.message\": {}}", "no text");
	assert_refused("{\"oslo.version\": \"2.0\", \"oslo.message\": \"x\"}", "is not JSON");
	assert_refused("{\"oslo.version\": \"2.0\", \"oslo.message\": \"[]\"}", "is not an object");
}

/* The broker says how long a body is; no NUL does. */
static void test_octets_after_the_body(void **state)
{
	const struct received m = {.body = "{\"a\": 1}garbage", .n_bytes = 8};
	const struct received nul = {.body = "{\"a\": 1}\0", .n_bytes = 9};
	struct err err = {0};
	json_t *doc;

	assert_int_equal(received_document(&m, &doc, &err), 0);
	json_decref(doc);
	assert_int_equal(received_document(&nul, &doc, &err), ERR_INVALID);
}

static void test_nobody_listens_there(void **state)
{
	assert_null(receiver_find("nosuch"));
	assert_null(receiver_find(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_octets_after_the_body),
		cmocka_unit_test(test_nobody_listens_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/message_test.c -- the octets that go to a message queue, as the running system sends them. */
#include "message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#define PAYLOAD "{\"id\": \"c0ffee00-0000-4000-8000-000000000001\", \"name\": \"\\u00dc\", \"size\": null}"

static struct db_event event(const char *message_id, const char *when)
{
	struct db_event e = {.event_type = "image.create", .priority = EVENT_INFO, .payload = PAYLOAD};

	memcpy(e.message_id, message_id, UUID_LEN);
	assert_true(clock_parse(when, &e.timestamp));
	return e;
}

static void test_v1(void **state)
{
	struct db_event e = event("6c900099-7d75-4e78-b0a3-38d52b98c4ef", "2026-11-22 19:14:40.164826");
	AUTO(buf_done) struct buf out = {0};

	message_render_v1(&out, &e, "image.localhost", "939a342cf55e413b8ee38fa50e5d306e");
	assert_string_equal(buf_cstr(&out),
			    "{\"message_id\": \"6c900099-7d75-4e78-b0a3-38d52b98c4ef\", \"publisher_id\": "
			    "\"image.localhost\", \"event_type\": \"image.create\", \"priority\": \"INFO\", "
			    "\"payload\": " PAYLOAD ", \"timestamp\": \"2026-11-22 19:14:40.164826\", "
			    "\"_unique_id\": \"939a342cf55e413b8ee38fa50e5d306e\"}");
	assert_int_equal(out.len, 323);
}

static void test_v2(void **state)
{
	struct db_event e = event("6d999a2e-8501-403c-aadf-02f902bbfc3d", "2026-11-22 19:14:39.366648");
	AUTO(buf_done) struct buf out = {0};

	message_render_v2(&out, &e, "image.localhost", "86b2e68d13314ddaa91153bf8f63afc5");
	assert_string_equal(
		buf_cstr(&out),
		"{\"oslo.version\": \"2.0\", \"oslo.message\": \"{\\\"message_id\\\": "
		"\\\"6d999a2e-8501-403c-aadf-02f902bbfc3d\\\", \\\"publisher_id\\\": "
		"\\\"image.localhost\\\", "
		"\\\"event_type\\\": \\\"image.create\\\", \\\"priority\\\": \\\"INFO\\\", \\\"payload\\\": "
		"{\\\"id\\\": \\\"c0ffee00-0000-4000-8000-000000000001\\\", \\\"name\\\": \\\"\\\\u00dc\\\", "
		"\\\"size\\\": null}, \\\"timestamp\\\": \\\"2026-11-22 19:14:39.366648\\\", "
		"\\\"_unique_id\\\": \\\"86b2e68d13314ddaa91153bf8f63afc5\\\"}\"}");
	assert_int_equal(out.len, 403);
}

static void test_who(void **state)
{
	struct db_event e = event("6c900099-7d75-4e78-b0a3-38d52b98c4ef", "2026-11-22 19:14:40");
	AUTO(buf_done) struct buf all = {0}, some = {0};

	e.request_id = "req-1";
	e.user_id = "1111";
	e.project_id = "2222";
	message_render_v1(&all, &e, "x", "939a342cf55e413b8ee38fa50e5d306e");
	assert_non_null(
		strstr(buf_cstr(&all),
		       "\"timestamp\": \"2026-11-22 19:14:40\", "
		       "\"_unique_id\": \"939a342cf55e413b8ee38fa50e5d306e\", \"_context_request_id\": "
		       "\"req-1\", \"_context_user_id\": \"1111\", \"_context_project_id\": \"2222\"}"));
	e.user_id = NULL;
	message_render_v1(&some, &e, "x", "939a342cf55e413b8ee38fa50e5d306e");
	assert_non_null(strstr(buf_cstr(&some),
			       "\"_context_request_id\": \"req-1\", \"_context_project_id\": \"2222\"}"));
}

static void test_kafka(void **state)
{
	struct db_event e = event("6c900099-7d75-4e78-b0a3-38d52b98c4ef", "2026-11-22 19:14:40");
	AUTO(buf_done) struct buf nobody = {0}, somebody = {0};

	message_render_kafka(&nobody, &e, "x");
	assert_non_null(strstr(buf_cstr(&nobody), "2026-11-22 19:14:40\\\", \\\"_context\\\": {}}\"}"));
	assert_null(strstr(buf_cstr(&nobody), "_unique_id"));
	assert_ptr_equal(strstr(buf_cstr(&nobody), "{\"oslo.version\": \"2.0\", \"oslo.message\": \"{"),
			 nobody.data);
	e.request_id = "req-1";
	message_render_kafka(&somebody, &e, "x");
	assert_non_null(
		strstr(buf_cstr(&somebody), "\\\"_context\\\": {\\\"request_id\\\": \\\"req-1\\\"}}\"}"));
}

static void test_unique_id(void **state)
{
	struct db_event e = event("6c900099-7d75-4e78-b0a3-38d52b98c4ef", "2026-11-22 19:14:40");
	char first[MESSAGE_UNIQUE_ID_LEN + 1], again[MESSAGE_UNIQUE_ID_LEN + 1];

	assert_int_equal(message_unique_id(&e, "messagingv2", "notifications", first, NULL), 0);
	e.payload = "null"; /* is no part of it */
	assert_int_equal(message_unique_id(&e, "messagingv2", "notifications", again, NULL), 0);
	assert_string_equal(first, again);
	assert_int_equal(strspn(first, "0123456789abcdef"), MESSAGE_UNIQUE_ID_LEN);
	assert_int_equal(first[12], '4');
	assert_non_null(strchr("89ab", first[16]));
	assert_int_equal(message_unique_id(&e, "messaging", "notifications", again, NULL), 0);
	assert_string_not_equal(first, again);
	assert_int_equal(message_unique_id(&e, "messagingv2", "other", again, NULL), 0);
	assert_string_not_equal(first, again);
	e.message_id[0] = '7';
	assert_int_equal(message_unique_id(&e, "messagingv2", "notifications", again, NULL), 0);
	assert_string_not_equal(first, again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v1),    cmocka_unit_test(test_v2),        cmocka_unit_test(test_who),
		cmocka_unit_test(test_kafka), cmocka_unit_test(test_unique_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * limits/answer_test.c -- what Keystone says, and what it should not. */
#include "limits/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

#define MIB (INT64_C(1) << 20)

static const struct endpoint ours = {"svc", "here"}, anywhere = {"svc", ""};

/* One limit of the service and region that is ours. */
#define REGISTERED(name, value)                                                                              \
	"{\"service_id\":\"svc\",\"region_id\":\"here\",\"resource_name\":\"" name                           \
	"\",\"default_limit\":" value "}"
#define PROJECT(project, name, value)                                                                        \
	"{\"service_id\":\"svc\",\"region_id\":\"here\",\"project_id\":\"" project                           \
	"\",\"resource_name\":\"" name "\",\"resource_limit\":" value "}"

static int registered(const char *text, const struct endpoint *e, struct quota *quota)
{
	struct err err = {0};
	int r = answer_registered(text, strlen(text), e, quota, &err);

	assert_int_equal(err.code, r);
	return r;
}

static int project(const char *text, struct quota *quota)
{
	struct err err = {0};

	return answer_project(text, strlen(text), &ours, "p", quota, &err);
}

static void expect(const struct quota *q, int64_t total, int64_t staged, int64_t images, int64_t uploading)
{
	assert_int_equal(q->total_octets, total);
	assert_int_equal(q->staged_octets, staged);
	assert_int_equal(q->n_images, images);
	assert_int_equal(q->n_uploading, uploading);
}

static void test_all_four(void **state)
{
	struct quota q = {0};

	assert_int_equal(
		registered(
			"{\"registered_limits\":[" REGISTERED("image_size_total", "1000") "," REGISTERED(
				"image_stage_total",
				"2") "," REGISTERED("image_count_total",
						    "100") "," REGISTERED("image_count_uploading",
									  "-1") "," REGISTERED("volumes",
											       "7") "],"
												    "\"links"
												    "\":{}}",
			&ours, &q),
		0);
	expect(&q, 1000 * MIB, 2 * MIB, 100, QUOTA_NONE);
	assert_int_equal(project("{\"limits\":[" PROJECT("p", "image_count_total", "0") "," PROJECT(
					 "p", "image_size_total", "2147483647") "]}",
				 &q),
			 0);
	expect(&q, 2147483647 * MIB, 2 * MIB, 0, QUOTA_NONE);
}

static void test_what_is_not_registered_is_nothing(void **state)
{
	struct quota q = {0};

	assert_int_equal(
		registered("{\"registered_limits\":[" REGISTERED("image_count_total", "5") "]}", &ours, &q),
		0);
	expect(&q, 0, 0, 5, 0);
}

static void test_the_first_of_a_name_counts(void **state)
{
	struct quota q = {0};

	assert_int_equal(
		registered("{\"registered_limits\":[" REGISTERED("image_count_total", "5") "," REGISTERED(
				   "image_count_total", "6") "]}",
			   &ours, &q),
		0);
	expect(&q, 0, 0, 5, 0);
}

/* A limit of another service, region or project is none of ours, whatever was asked for. */
static void test_those_of_others(void **state)
{
	struct quota q = {0};

	assert_int_equal(registered("{\"registered_limits\":["
				    "{\"service_id\":\"svc\",\"region_id\":\"there\",\"resource_name\":"
				    "\"image_count_total\",\"default_limit\":1},"
				    "{\"service_id\":\"svc\",\"region_id\":null,\"resource_name\":\"image_"
				    "count_total\",\"default_limit\":1},"
				    "{\"service_id\":\"x\",\"region_id\":\"here\",\"resource_name\":\"image_"
				    "count_total\",\"default_limit\":1},"
				    "7,null,[]]}",
				    &ours, &q),
			 0);
	expect(&q, 0, 0, 0, 0);
	assert_int_equal(project("{\"limits\":[" PROJECT(
					 "other", "image_count_total",
					 "9") ","
					      "{\"service_id\":\"svc\",\"region_id\":\"here\",\"resource_"
					      "name\":\"image_count_total\",\"resource_limit\":9}]}",
				 &q),
			 0);
	expect(&q, 0, 0, 0, 0);
}

static void test_without_a_region_any_will_do(void **state)
{
	struct quota q = {0};

	assert_int_equal(registered("{\"registered_limits\":["
				    "{\"service_id\":\"svc\",\"region_id\":null,\"resource_name\":\"image_"
				    "count_total\",\"default_limit\":1},"
				    "{\"service_id\":\"svc\",\"region_id\":\"there\",\"resource_name\":"
				    "\"image_size_total\",\"default_limit\":1}]}",
				    &anywhere, &q),
			 0);
	expect(&q, MIB, 0, 1, 0);
}

/* What is no answer changes nothing. */
static void test_rubbish(void **state)
{
	static const char *const texts[] = {
		"",
		"null",
		"[]",
		"{}",
		"{\"registered_limits\":null}",
		"{\"registered_limits\":{}}",
		"{\"registered_limits\":[}",
		"{\"registered_limits\":[" REGISTERED("image_count_total", "5") "],\"truncated\":true}",
		"{\"registered_limits\":[" REGISTERED("image_size_total",
						      "5") "," REGISTERED("image_count_total", "\"5\"") "]}",
		"{\"registered_limits\":[" REGISTERED("image_size_total",
						      "5") "," REGISTERED("image_count_total", "null") "]}",
		"{\"registered_limits\":[" REGISTERED("image_size_total",
						      "5") "," REGISTERED("image_count_total", "1.5") "]}",
		"{\"registered_limits\":[" REGISTERED("image_size_total",
						      "5") "," REGISTERED("image_count_total", "-2") "]}",
		"{\"registered_limits\":[" REGISTERED("image_size_total", "9000000000000000000") "]}",
		"{\"registered_limits\":[],\"registered_limits\":[]}",
		"<html>"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct quota q = {7, 7, 7, 7};

		assert_int_equal(registered(texts[i], &ours, &q), ERR_UNAVAILABLE);
		expect(&q, 7, 7, 7, 7);
	}
}

static int endpoint(const char *text, struct endpoint *ret)
{
	struct err err = {0};

	*ret = (struct endpoint){0};
	return answer_endpoint(text, strlen(text), ret, &err);
}

static void test_endpoints(void **state)
{
	char id[LIMITS_MAX_ID + 1];
	static const char one[] = "{\"endpoints\":[{\"service_id\":\"s\"}]}", none[] = "{\"endpoints\":[]}",
			  two[] = "{\"endpoints\":[{\"service_id\":\"s\"},{\"service_id\":\"s\"}]}",
			  service[] = "{\"services\":[{\"id\":\"s\"}]}";
	struct err err = {0};
	struct endpoint e;

	assert_int_equal(
		endpoint("{\"endpoint\":{\"service_id\":\"s\",\"region_id\":\"r\",\"url\":\"http://x\"}}",
			 &e),
		0);
	assert_string_equal(e.service_id, "s");
	assert_string_equal(e.region_id, "r");
	assert_int_equal(endpoint("{\"endpoint\":{\"service_id\":\"s\",\"region_id\":null}}", &e), 0);
	assert_string_equal(e.region_id, "");
	assert_int_equal(endpoint("{\"endpoint\":{\"region_id\":\"r\"}}", &e), ERR_UNAVAILABLE);
	assert_int_equal(endpoint("{\"endpoint\":{\"service_id\":1}}", &e), ERR_UNAVAILABLE);
	assert_int_equal(endpoint("{}", &e), ERR_UNAVAILABLE);
	assert_int_equal(answer_only_endpoint(one, strlen(one), &e, &err), 0);
	assert_string_equal(e.service_id, "s");
	assert_int_equal(answer_only_endpoint(none, strlen(none), &e, &err), ERR_UNAVAILABLE);
	assert_int_equal(answer_only_endpoint(two, strlen(two), &e, &err), ERR_UNAVAILABLE);
	assert_int_equal(answer_only_service(service, strlen(service), id, &err), 0);
	assert_string_equal(id, "s");
}

static void test_an_id_has_a_bound(void **state)
{
	char text[LIMITS_MAX_ID + 64];
	struct endpoint e;

	(void)snprintf(text, sizeof(text), "{\"endpoint\":{\"service_id\":\"%0*d\"}}", LIMITS_MAX_ID, 1);
	assert_int_equal(endpoint(text, &e), 0);
	(void)snprintf(text, sizeof(text), "{\"endpoint\":{\"service_id\":\"%0*d\"}}", LIMITS_MAX_ID + 1, 1);
	assert_int_equal(endpoint(text, &e), ERR_UNAVAILABLE);
}

static int model(const char *text)
{
	struct err err = {0};

	return answer_model(text, strlen(text), &err);
}

static void test_models(void **state)
{
	assert_int_equal(model("{\"model\":{\"name\":\"flat\",\"description\":\"x\"}}"), 0);
	assert_int_equal(model("{\"model\":{\"name\":\"strict_two_level\"}}"), ERR_UNAVAILABLE);
	assert_int_equal(model("{\"model\":{}}"), ERR_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_four),
		cmocka_unit_test(test_what_is_not_registered_is_nothing),
		cmocka_unit_test(test_the_first_of_a_name_counts),
		cmocka_unit_test(test_those_of_others),
		cmocka_unit_test(test_without_a_region_any_will_do),
		cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_an_id_has_a_bound),
		cmocka_unit_test(test_models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

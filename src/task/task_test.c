/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "task/query.h"
#include "task/request.h"

#define ID "c0ffee00-0000-4000-8000-000000000001"

static const char *const all_methods[] = {"glance-direct", "web-download", "copy-image", NULL};

/* -- states --------------------------------------------------------------------------------------- */

static void test_states(void **state)
{
	static const char *const may[] = {".y.y", "..yy", "....", "...."}; /* pending may be given up */
	enum task_status s;

	for (unsigned from = 0; from < 4; from++)
		for (unsigned to = 0; to < 4; to++)
			assert_int_equal(task_may_become(from, to), may[from][to] == 'y');
	assert_true(task_status_parse("processing", &s) && s == TASK_PROCESSING);
	assert_false(task_status_parse("running", &s));
	assert_string_equal(task_status_name(TASK_FAILURE), "failure");
}

/* -- what may be shown ---------------------------------------------------------------------------- */

static void test_redacted_urls(void **state)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{"http://host/path", "http://host/path"},
		{"http://host:8080/a%20b", "http://host:8080/a%20b"},
		{"http://host/a@b", "http://host/a@b"},
		{"http://[::1]:80/x", "http://[::1]:80/x"},
		{"http://host", "http://host"},
		{"http://user:secret@host/path", "http://host/path"},
		{"HTTPS://user:se@cret@host/path", "HTTPS://host/path"},
		{"s3+https://key:secret@host/bucket", "s3+https://host/bucket"},
		{"https://host/x?X-Amz-Signature=secret&a=b", "https://host/x?***"},
		{"https://host?secret", "https://host?***"},
		{"https://host/x#secret", "https://host/x?***"},
		{"http://h/x;token=secret", "http://h/x?***"},
		{"http://host/x?***", "http://host/x?***"},
		{" http://user:secret@host/", "***"},
		{"//user:secret@host/", "***"},
		{"http:/user:secret@host/", "***"},
		{"http:user:secret@host/x", "***"},
		{"user:secret@host/path", "***"},
		{"http:\\\\user:secret@host\\x", "***"},
		{"http://user:se/cret@host/x", "***"},
		{"http://user:se?cret@host/x", "***"},
		{"http://user:secret@/x@secret/", "***"},
		{"http://user%3Asecret%40host/", "***"},
		{"ht\ttp://u:secret@h/", "***"},
		{"1http://u:secret@h/", "***"},
		{"<http://u:secret@h/>", "***"},
		{"see http://u:secret@h/?sig=secret", "***"},
		{"http://[::1/secret", "***"},
		{"http://", "***"},
		{"just words: with a colon?", "just words: with a colon?"},
		{"a@b", "a@b"},
		{"", ""},
	};
	struct arena a = {0};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(task_redact_url(&a, cases[i].text), cases[i].shown);
	arena_done(&a);
}

static void test_redacted_json(void **state)
{
	struct arena a = {0};

	assert_string_equal(
		task_redact_json(&a, "{\"a\": \"http://u:secret@h/?secret\", \"b\": [\"ftp://u:secret@h\", 1, null, "
				     "{\"c\": \"//u:secret@h\"}], \"\\u00fc\": \"\\u00fc\"}"),
		"{\"a\": \"http://h/?***\", \"b\": [\"ftp://h\", 1, null, {\"c\": \"***\"}], \"\\u00FC\": \"\\u00FC\"}");
	assert_string_equal(task_redact_json(&a, "\"http://u:p@h/\""), "\"http://h/\"");
	assert_string_equal(task_redact_json(&a, "[{\"http://u:p@h\": 1, \"a\": 2}]"), "[{\"***\": null}]");
	assert_string_equal(task_redact_json(&a, "{\"cut"), "{}");
	assert_string_equal(task_redact_json(&a, ""), "{}");
	arena_done(&a);
}

/* -- imports -------------------------------------------------------------------------------------- */

static int parse(const char *text, const char *header, struct arena *a, struct import_request *ret)
{
	json_t *body = json_loads(text, JSON_DECODE_ANY, NULL);
	struct err err = {0};
	int r;

	assert_non_null(body);
	r = import_request_parse(body, all_methods, header, a, ret, &err);
	assert_int_equal(r, err.code);
	json_decref(body);
	return r;
}

static void test_import_requests(void **state)
{
	struct import_request r;
	struct arena a = {0};

	assert_int_equal(parse("{\"method\": {\"name\": \"glance-direct\"}}", NULL, &a, &r), 0);
	assert_true(r.method == IMPORT_GLANCE_DIRECT && r.n_stores == 0 && r.all_stores_must_succeed && !r.all_stores);
	assert_int_equal(parse("{\"method\": {\"name\": \"web-download\", \"uri\": \"http://a/\"}, \"stores\": "
			       "[\"x\", \"y\", \"x\"], \"all_stores_must_succeed\": false}",
			       NULL, &a, &r),
			 0);
	assert_string_equal(r.uri, "http://a/");
	assert_int_equal(r.n_stores, 2);
	assert_string_equal(r.stores[1], "y");
	assert_false(r.all_stores_must_succeed);
	assert_int_equal(parse("{\"method\": {\"name\": \"copy-image\"}}", "z", &a, &r), 0);
	assert_true(r.n_stores == 1 && strcmp(r.stores[0], "z") == 0);
	assert_int_equal(parse("{\"method\": {\"name\": \"copy-image\"}, \"all_stores\": true}", NULL, &a, &r), 0);
	assert_true(r.all_stores);
	arena_done(&a);
}

static void test_bad_import_requests(void **state)
{
	static const char *const bad[] = {
		"[]",
		"7",
		"{}",
		"{\"method\": \"glance-direct\"}",
		"{\"method\": {}}",
		"{\"method\": {\"name\": 7}}",
		"{\"method\": {\"name\": \"glance-download\"}}",
		"{\"method\": {\"name\": \"web-download\"}}",
		"{\"method\": {\"name\": \"web-download\", \"uri\": 7}}",
		"{\"method\": {\"name\": \"glance-direct\"}, \"all_stores\": \"true\"}",
		"{\"method\": {\"name\": \"glance-direct\"}, \"all_stores_must_succeed\": 1}",
		"{\"method\": {\"name\": \"glance-direct\"}, \"all_stores\": true, \"stores\": [\"a\"]}",
		"{\"method\": {\"name\": \"glance-direct\"}, \"stores\": []}",
		"{\"method\": {\"name\": \"glance-direct\"}, \"stores\": \"a\"}",
		"{\"method\": {\"name\": \"glance-direct\"}, \"stores\": [\"a\", 7]}",
	};
	struct import_request r;
	struct arena a = {0};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(parse(bad[i], NULL, &a, &r), ERR_INVALID);
	assert_int_equal(parse("{\"method\": {\"name\": \"glance-direct\"}, \"stores\": [\"a\"]}", "b", &a, &r), ERR_INVALID);
	assert_int_equal(parse("{\"method\": {\"name\": \"glance-direct\"}, \"all_stores\": true}", "b", &a, &r), ERR_INVALID);
	arena_done(&a);
}

static void test_methods_can_be_off(void **state)
{
	static const char *const few[] = {"copy-image", NULL};
	json_t *body = json_loads("{\"method\": {\"name\": \"glance-direct\"}}", 0, NULL);
	struct import_request r;
	struct arena a = {0};

	assert_int_equal(import_request_parse(body, few, NULL, &a, &r, NULL), ERR_INVALID);
	json_decref(body);
	arena_done(&a);
}

static void test_input_and_back(void **state)
{
	static const char *const stores[] = {"x", "y"};
	json_t *body = json_loads("{\"method\": {\"name\": \"web-download\", \"uri\": \"http://a/\"}, \"all_stores\": true}",
				  0, NULL);
	struct import_job job;
	struct arena a = {0};
	const char *input = import_task_input(&a, ID, body, stores, 2);

	assert_string_equal(input, "{\"image_id\": \"" ID "\", \"import_req\": {\"method\": {\"name\": \"web-download\", "
				   "\"uri\": \"http://a/\"}, \"all_stores\": true}, \"backend\": [\"x\", \"y\"]}");
	assert_int_equal(import_job_parse(input, &a, &job, NULL), 0);
	assert_string_equal(job.image_id, ID);
	assert_int_equal(job.request.n_stores, 2);
	input = import_task_input(&a, ID, body, NULL, 0);
	assert_non_null(strstr(input, "\"backend\": [null]"));
	assert_int_equal(import_job_parse(input, &a, &job, NULL), 0);
	assert_int_equal(job.request.n_stores, 0);
	assert_int_equal(import_job_parse(NULL, &a, &job, NULL), ERR_INVALID);
	assert_int_equal(import_job_parse("{\"image_id\": \"../../x\", \"import_req\": {}}", &a, &job, NULL), ERR_INVALID);
	json_decref(body);
	arena_done(&a);
}

/* -- tasks ---------------------------------------------------------------------------------------- */

static int make(const char *text, struct arena *a, const char **type, const char **input)
{
	json_t *body = json_loads(text, JSON_DECODE_ANY, NULL);
	int r;

	assert_non_null(body);
	r = task_request_parse(body, a, type, input, NULL);
	json_decref(body);
	return r;
}

static void test_task_requests(void **state)
{
	static const char *const bad[] = {
		"[]",
		"{\"type\": \"import\"}",
		"{\"input\": {}}",
		"{\"type\": \"export\", \"input\": {}}",
		"{\"type\": 7, \"input\": {}}",
		"{\"type\": \"import\", \"input\": []}",
		"{\"type\": \"import\", \"input\": {}, \"colour\": \"red\"}",
		"{\"type\": \"import\", \"input\": {\"import_from\": \"file:///etc/passwd\"}}",
		"{\"type\": \"import\", \"input\": {\"import_from\": \" FILE:///etc/passwd\"}}",
		"{\"type\": \"import\", \"input\": {\"import_from\": \"filesystem:///etc/passwd\"}}",
		"{\"type\": \"api_image_import\", \"input\": {}}",
	};
	const char *type, *input;
	struct arena a = {0};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(make(bad[i], &a, &type, &input), ERR_INVALID);
	assert_int_equal(make("{\"type\": \"import\", \"input\": {\"import_from\": \"http://a/\"}}", &a, &type, &input), 0);
	assert_string_equal(type, "import");
	assert_string_equal(input, "{\"import_from\": \"http://a/\"}");
	arena_done(&a);
}

static void expect_missing(const char *input, const char *field)
{
	struct import_from f;
	struct err err = {0};
	struct arena a = {0};

	assert_int_equal(import_from_parse(input, &a, &f, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, field));
	assert_null(f.properties);
	arena_done(&a);
}

static void test_import_from(void **state)
{
	struct import_from f;
	struct arena a = {0};

	expect_missing("{}", "'import_from'");
	expect_missing("{\"import_from\": \"http://a/\"}", "'import_from_format'");
	expect_missing("{\"import_from\": \"http://a/\", \"import_from_format\": \"raw\"}", "'image_properties'");
	assert_int_equal(import_from_parse("{\"import_from\": \"http://a/\", \"import_from_format\": \"raw\", "
					   "\"image_properties\": {}}",
					   &a, &f, NULL),
			 0);
	assert_string_equal(f.uri, "http://a/");
	assert_string_equal(json_string_value(json_object_get(f.properties, "disk_format")), "qcow2");
	import_from_done(&f);
	arena_done(&a);
}

/* -- lists ---------------------------------------------------------------------------------------- */

static int query(const char *name, const char *value, struct task_query *ret)
{
	static const struct query_limits limits = {25, 1000};
	const struct query_param param = {name, value};
	static struct arena a;
	int r;

	arena_done(&a);
	r = task_query_parse(&param, name ? 1 : 0, &limits, &a, ret, NULL);
	return r;
}

static void test_queries(void **state)
{
	static const struct {
		const char *name, *value;
	} bad[] = {{"status", "done"}, {"type", "export"},  {"sort_key", "input"}, {"sort_dir", "up"}, {"limit", "-1"},
		   {"limit", "x"},     {"limit", ""},	    {"marker", "x"},	   {"colour", "red"}};
	struct task_query q;

	assert_int_equal(query(NULL, NULL, &q), 0);
	assert_true(q.limit == 25 && q.sort == TASK_BY_CREATED_AT && !q.ascending && !q.marker && !q.has_status);
	assert_true(query("limit", "99999999999999999999999", &q) == 0 && q.limit == 1000);
	assert_true(query("limit", "0", &q) == 0 && q.limit == 0);
	assert_true(query("status", "success", &q) == 0 && q.has_status && q.status == TASK_SUCCESS);
	assert_true(query("type", "api_image_import", &q) == 0 && strcmp(q.type, "api_image_import") == 0);
	assert_true(query("sort_key", "expires_at", &q) == 0 && q.sort == TASK_BY_EXPIRES_AT);
	assert_true(query("sort_dir", "asc", &q) == 0 && q.ascending);
	assert_true(query("marker", ID, &q) == 0 && strcmp(q.marker, ID) == 0);
	assert_true(query("owner", "p1", &q) == 0 && strcmp(q.owner, "p1") == 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(query(bad[i].name, bad[i].value, &q), ERR_INVALID);
	assert_int_equal(query(NULL, NULL, &q), 0); /* frees */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_redacted_urls),
		cmocka_unit_test(test_redacted_json),
		cmocka_unit_test(test_import_requests),
		cmocka_unit_test(test_bad_import_requests),
		cmocka_unit_test(test_methods_can_be_off),
		cmocka_unit_test(test_input_and_back),
		cmocka_unit_test(test_task_requests),
		cmocka_unit_test(test_import_from),
		cmocka_unit_test(test_queries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * http/router_test.c -- paths, parameters, queries. */
#include "router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "uri.h"

static const struct http_route table[] = {
	{.method = "GET", .path = "/"},
	{.method = "GET", .path = "/v2"},
	{.method = "GET", .path = "/v2/"},
	{.method = "GET", .path = "/v2/images"},
	{.method = "POST", .path = "/v2/images"},
	{.method = "GET", .path = "/v2/images/{image_id}"},
	{.method = "PATCH", .path = "/v2/images/{image_id}"},
	{.method = "DELETE", .path = "/v2/images/{id}"},
	{.method = "GET", .path = "/v2/images/detail"},
	{.method = "PUT", .path = "/v2/images/{image_id}/tags/{tag}"},
	{.method = "GET", .path = "/v2/images/detail/x"},
	{NULL},
};

struct env {
	struct router *router;
	struct router_match match;
	char scratch[512];
};

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	*state = env;
	return router_new(table, &env->router, NULL);
}

static int teardown(void **state)
{
	struct env *env = *state;

	router_free(env->router);
	free(env);
	return 0;
}

static enum router_verdict match(struct env *env, const char *method, const char *path)
{
	assert_true(strlen(path) < sizeof(env->scratch));
	return router_match(env->router, method, path, env->scratch, &env->match);
}

static void check_found(struct env *env, const char *method, const char *path, const char *route)
{
	assert_int_equal(match(env, method, path), ROUTER_FOUND);
	assert_string_equal(env->match.route->path, route);
	assert_string_equal(env->match.route->method, method);
}

static void test_found(void **state)
{
	struct env *env = *state;

	check_found(env, "GET", "/", "/");
	check_found(env, "GET", "/v2", "/v2");
	check_found(env, "GET", "/v2/", "/v2/");
	check_found(env, "POST", "/v2/images", "/v2/images");
	check_found(env, "GET", "/v2/%69mages", "/v2/images");
	check_found(env, "GET", "/v2/images/detail", "/v2/images/detail");
	assert_int_equal(env->match.n_params, 0);
	/* the literal has no such subtree: the parameter gets its chance */
	check_found(env, "PUT", "/v2/images/detail/tags/t", "/v2/images/{image_id}/tags/{tag}");
	assert_string_equal(env->match.values[0], "detail");
}

static void test_params(void **state)
{
	struct env *env = *state;

	check_found(env, "PUT", "/v2/images/a%20b/tags/x%2Fy%C3%A9+", "/v2/images/{image_id}/tags/{tag}");
	assert_int_equal(env->match.n_params, 2);
	assert_string_equal(env->match.names[0], "image_id");
	assert_string_equal(env->match.values[0], "a b");
	assert_string_equal(env->match.names[1], "tag");
	assert_string_equal(env->match.values[1], "x/y\xc3\xa9+");
	check_found(env, "DELETE", "/v2/images/7", "/v2/images/{id}");
	assert_string_equal(env->match.names[0], "id");
	check_found(env, "GET", "/v2/images/...", "/v2/images/{image_id}");
}

static void test_no_path(void **state)
{
	static const char *const paths[] = {
		"",
		"*",
		"/v3",
		"//",
		"//v2",
		"/v2//",
		"/v2//images",
		"/v2/images/",
		"/v2/images//tags/x",
		"/v2/images/..",
		"/v2/images/.",
		"/v2/images/%2e%2e",
		"/v2/images/%2E/tags/x",
		"/v2/images/../..",
		"/v2/images/x/",
		"/v2/images/x/tags",
		"/v2/images/x/tags/y/z",
		"/V2",
		"/v2%2fimages",
		"/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/"
		"a",
	};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (match(*state, "GET", paths[i]) != ROUTER_NO_PATH)
			fail_msg("matched: %s", paths[i]);
}

static void test_no_method(void **state)
{
	struct env *env = *state;

	assert_int_equal(match(env, "HEAD", "/v2/images/x"), ROUTER_NO_METHOD);
	assert_string_equal(env->match.allow, "GET, PATCH, DELETE");
	assert_int_equal(match(env, "get", "/v2/images"), ROUTER_NO_METHOD);
	assert_string_equal(env->match.allow, "GET, POST");
	assert_int_equal(match(env, "DELETE", "/v2/images/detail"), ROUTER_NO_METHOD);
	assert_string_equal(env->match.allow, "GET");
}

static void test_bad_path(void **state)
{
	static const char *const paths[] = {
		"/v2/%", "/v2/%4",  "/v2/%zz",    "/v2/images/%00", "/v2/images/a%00b", "/%ff",
		"/%c3",  "/%c0%af", "/%ed%a0%80", "/%f4%90%80%80",  "/v2/x%c3/%a9",
	};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (match(*state, "GET", paths[i]) != ROUTER_BAD_PATH)
			fail_msg("not refused: %s", paths[i]);
}

static void test_bad_tables(void **state)
{
	static const struct http_route bad[][3] = {
		{{.method = "GET", .path = "/a"}, {.method = "GET", .path = "/a"}, {NULL}},
		{{.method = "GET", .path = "/{a}"}, {.method = "GET", .path = "/{b}"}, {NULL}},
		{{.method = "GET", .path = "a"}, {NULL}},
		{{.method = "GET", .path = "/{a"}, {NULL}},
		{{.method = "GET", .path = "/{}"}, {NULL}},
		{{.method = "GET", .path = "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}"}, {NULL}},
	};
	struct router *r = NULL;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(router_new(bad[i], &r, &err), ERR_INTERNAL);
		assert_null(r);
	}
}

static void test_query(void **state)
{
	struct arena arena = {0};
	const struct http_pair *q;
	size_t n;

	assert_int_equal(uri_query(&arena, "", &q, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(uri_query(&arena, "a=1&&b&c=&=d&a=x=y%26+%2b&", &q, &n), 0);
	assert_int_equal(n, 5);
	assert_string_equal(q[0].name, "a");
	assert_string_equal(q[0].value, "1");
	assert_string_equal(q[1].name, "b");
	assert_string_equal(q[1].value, "");
	assert_string_equal(q[2].name, "c");
	assert_string_equal(q[2].value, "");
	assert_string_equal(q[3].name, "");
	assert_string_equal(q[3].value, "d");
	assert_string_equal(q[4].name, "a");
	assert_string_equal(q[4].value, "x=y& +");
	assert_int_equal(uri_query(&arena, "a=%", &q, &n), ERR_INVALID);
	assert_int_equal(uri_query(&arena, "%0=a", &q, &n), ERR_INVALID);
	assert_int_equal(uri_query(&arena, "a=%00", &q, &n), ERR_INVALID);
	assert_int_equal(uri_query(&arena, "a=%ff", &q, &n), ERR_INVALID);
	arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),    cmocka_unit_test(test_params),
		cmocka_unit_test(test_no_path),  cmocka_unit_test(test_no_method),
		cmocka_unit_test(test_bad_path), cmocka_unit_test(test_bad_tables),
		cmocka_unit_test(test_query),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

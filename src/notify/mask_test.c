/* SPDX-License-Identifier: Apache-2.0
 * notify/mask_test.c -- what is masked. The right-hand sides of texts[] are what oslo.utils 6.0.1
 * makes of the left-hand ones. */
#include "mask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

static const struct pair {
	const char *in, *out;
} texts[] = {
	{"plain text", "plain text"},
	{"password", "password"},
	{"password=x", "password=***"},
	{"password = 'x y' rest", "password = '***' rest"},
	{"PassWord2=\"it's\" tail", "PassWord2=\"***\" tail"},
	{"token='a' secret='b'", "token='***' secret='***'"},
	{"--password hunter2 next", "--password *** next"},
	{"--token\tx=y", "--token\t***=y"},
	{"adminPass 'x' y", "adminPass '***' y"},
	{"<password>x</password>", "<password>***</password>"},
	{"<token1>x</token2> <token>", "<token1>***</token2> <token>"},
	{"'auth_token': 'x', \"n\": 1", "'auth_token': '***': 1"},
	{"\"my_token9\" : u\"x\"", "\"my_token9\" : u\"***\""},
	{"\"some secret\":\"x\" and more", "\"some secret\":\"***\" and more"},
	{"'x_secret', '--opt', u'y' z", "'x_secret', '--opt', u'***' z"},
	{"password --opt value rest", "password --opt *** rest"},
	{"password --ab", "password --a***"},
	{"password -a", "password -a"},
	{"token-x  y  z", "token-x  ***  z"},
	{"secret==x", "secret=***"},
	{"secret=^x", "secret=^x"},
	{"token = ", "token = "},
	{"token=\303\274\342\202\254x\302\240y", "token=***\302\240y"},
	{"{'password': 'a\"b', 'n': 'c'}", "{'password': '***\"b', 'n': '}"},
	{"\"token\": \"x\", \"y\": \"z\"", "\"token\": \"***\", \"y\": \""},
	{"password\342\200\203=\342\200\203x", "password\342\200\203=\342\200\203***"},
	{"xsslkeyx=1 sslkey=1", "xsslkeyx=1 sslkey=***"},
	{"password=a password=b", "password=*** password=***"},
	{"token=token=x", "token=***"},
	{"secret_uuid=1", "secret_uuid=***"},
	{"cephmonkey=9", "cephmonkey=***"},
	{"'a' token 'b' 'c'", "'a' token '***' 'c'"},
	{"<secret>\n\n</secret>", "<secret>***</secret>"},
	{"password password='x'", "password password='***'"},
};

/* From the rules of notifications: any value but an object, at any object depth, never in a list. */
static const struct pair documents[] = {
	{"{}", "{}"},
	{"{\"a\": {}}", "{\"a\": {}}"},
	{"{\"a\": {\"b\": {}}, \"c\": 1}", "{\"a\": {\"b\": {}}, \"c\": 1}"},
	{"{\"token\": \"x\", \"a\": 1}", "{\"token\": \"***\", \"a\": 1}"},
	{"{\"my_TOKEN_1\": null}", "{\"my_TOKEN_1\": \"***\"}"},
	{"{\"secret\": 12.5e3, \"z\": -0.10}", "{\"secret\": \"***\", \"z\": -0.10}"},
	{"{\"secret\": [1, {\"]\": \"]}\\\"\"}], \"a\": true}", "{\"secret\": \"***\", \"a\": true}"},
	{"{\"token\": {\"a\": \"password=x\", \"passphrase\": true}}",
	 "{\"token\": {\"a\": \"password=***\", \"passphrase\": \"***\"}}"},
	{"{\"a\": [\"password=x\", {\"token\": \"y\"}]}", "{\"a\": [\"password=x\", {\"token\": \"y\"}]}"},
	{"{\"z\": \"secret='\\u00e9'\", \"a\": \"secret\"}", "{\"z\": \"secret='***'\", \"a\": \"secret\"}"},
	{"{\"a\": \"\\ud83d\\ude00 token=x \\u0000\\u007f\"}",
	 "{\"a\": \"\\ud83d\\ude00 token=*** \\u0000\\u007f\"}"},
	{"{\"\\token\": \"x\"}", "{\"\\token\": \"x\"}"}, /* a tabulator, then "oken" */
	{"\"token=x\"", "\"token=***\""},
	{"[{\"token\": 1}]", "[{\"token\": 1}]"},
	{"null", "null"},
};

static const char *const broken[] = {
	"",
	" ",
	"{",
	"}",
	"{\"token\"",
	"{\"token\":",
	"{\"token\": ",
	"{\"token\": 1",
	"{\"token\": 1,",
	"{\"token\": 1,}",
	"{\"token\" 1}",
	"{\"token\": \"x}",
	"{\"token\": [1}",
	"{\"token\": {\"a\": 1}",
	"{\"a\": \"token\\q\"}",
	"{\"a\": \"token\\ud800\"}",
	"{1: 2}",
	"{\"a\": 1} x",
	"\"token\" \"x\"",
	"{\"a\": 1}}",
	"{\"a\\token\\",
};

static void test_texts(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		AUTO(buf_done) struct buf b = {0};

		buf_adds(&b, texts[i].in);
		assert_int_equal(mask_text(&b), 0);
		assert_string_equal(buf_cstr(&b), texts[i].out);
		if (strcmp(texts[i].in, texts[i].out) != 0)
			assert_true(mask_needed(texts[i].in, strlen(texts[i].in)));
	}
}

static void test_documents(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
		AUTO(buf_done) struct buf b = {0};

		assert_int_equal(mask_json(&b, documents[i].in, strlen(documents[i].in)), 0);
		assert_string_equal(buf_cstr(&b), documents[i].out);
	}
}

/* Each input in memory of exactly its size, for the sanitizer to watch. */
static void test_broken_documents(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
		AUTO(buf_done) struct buf b = {0};
		size_t n = strlen(broken[i]);
		char *copy = malloc(n ? n : 1);

		assert_non_null(copy);
		memcpy(copy, broken[i], n);
		if (mask_json(&b, copy, n) != ERR_INVALID)
			fail_msg("taken for JSON: %s", broken[i]);
		free(copy);
	}
}

static void test_any_prefix_is_handled(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
		for (size_t n = 0; n < strlen(documents[i].in); n++) {
			AUTO(buf_done) struct buf b = {0};
			char *copy = malloc(n ? n : 1);

			assert_non_null(copy);
			memcpy(copy, documents[i].in, n);
			(void)mask_json(&b, copy, n);
			free(copy);
		}
	}
}

static void test_cheap_scan(void **state)
{
	static const char ordinary[] =
		"{\"id\": \"c0ffee00\", \"name\": \"golden pass tok en secre\", \"os_hash\": 1}";

	assert_false(mask_needed(ordinary, strlen(ordinary)));
	assert_false(mask_needed("passwor", 7));
	assert_false(mask_needed("password", 7)); /* the end is where we say */
	assert_true(mask_needed("xPASSWORDx", 10));
	assert_false(mask_needed("", 0));
	assert_false(mask_needed("\x10"
				 "\x01ssword",
				 8)); /* not letters, though they fold alike */
}

static void test_depth_does_not_recurse(void **state)
{
	AUTO(buf_done) struct buf in = {0}, out = {0};
	const size_t depth = 200000;

	for (size_t i = 0; i < depth; i++)
		buf_adds(&in, "{\"token\": ");
	buf_adds(&in, "1");
	for (size_t i = 0; i < depth; i++)
		buf_adds(&in, "}");
	assert_int_equal(mask_json(&out, in.data, in.len), 0);
	assert_non_null(strstr(out.data, "{\"token\": \"***\"}"));
}

/* Microseconds of this thread's CPU that it takes to mask @n octets of @piece repeated. */
static int64_t cost_us(const char *piece, size_t n)
{
	AUTO(buf_done) struct buf b = {0};
	struct timespec start, end;

	while (b.len < n)
		buf_adds(&b, piece);
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	assert_int_equal(mask_text(&b), 0);
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	return (end.tv_sec - start.tv_sec) * 1000000 + (end.tv_nsec - start.tv_nsec) / 1000;
}

/* The least of a few: what else the machine does, and the first touch of memory, only add to it. */
static int64_t least_cost_us(const char *piece, size_t n)
{
	int64_t least = INT64_MAX;

	for (int i = 0; i < 2; i++) {
		int64_t cost = cost_us(piece, n);

		least = cost < least ? cost : least;
	}
	return least;
}

/* Texts that would make a matcher that looks back and forth look at everything for each octet. */
static void test_hostile_text_costs_no_more(void **state)
{
	static const char *const pieces[] = {"token",   "token ", "--token ",       "token=",  "'token':",
					     "<token>", "token-", "'token','--a',", "token\"", "token1111"};

#ifdef __SANITIZE_THREAD__
	skip(); /* it reads octet by octet what the C library would search at once */
#endif
	/* 8 times the text; it would cost 64 times as much if it were quadratic: then seconds. */
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
		assert_true(least_cost_us(pieces[i], 40000) < 32 * least_cost_us(pieces[i], 5000) + 500000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_broken_documents),
		cmocka_unit_test(test_any_prefix_is_handled),
		cmocka_unit_test(test_cheap_scan),
		cmocka_unit_test(test_depth_does_not_recurse),
		cmocka_unit_test(test_hostile_text_costs_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * base/jsonw_test.c -- the bytes of json.dumps. */
#include "jsonw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void quotes_as(const char *text, size_t n, const char *expect)
{
	AUTO(buf_done) struct buf b = {0};

	jsonw_quote(&b, text, n);
	assert_string_equal(buf_cstr(&b), expect);
}

static void test_quote(void **state)
{
	static const struct {
		const char *text, *expect;
	} cases[] = {
		{"", "\"\""},
		{"plain / text with 'blanks' ~", "\"plain / text with 'blanks' ~\""},
		{"\"\\\b\f\n\r\t", "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
		{"\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\""},
		{"\xc3\x9c", "\"\\u00dc\""},
		{"\xe2\x82\xac", "\"\\u20ac\""},
		{"\xe2\x80\xa8", "\"\\u2028\""},
		{"\xf0\x9f\x98\x80", "\"\\ud83d\\ude00\""},
		{"\xf4\x8f\xbf\xbf", "\"\\udbff\\udfff\""},
		{"a\xff"
		 "b",
		 "\"a\\ufffdb\""},
		{"\xe2\x82", "\"\\ufffd\\ufffd\""},            /* cut off */
		{"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""}, /* a surrogate is no character */
		{"\xc0\xaf", "\"\\ufffd\\ufffd\""},            /* overlong */
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		quotes_as(cases[i].text, strlen(cases[i].text), cases[i].expect);
	quotes_as("a\0b", 3, "\"a\\u0000b\"");
}

/* Every octet at every place of a run: the fast path sees what the slow one sees. */
static void test_quote_every_octet_everywhere(void **state)
{
	for (unsigned c = 1; c < 256; c++) {
		char one[2] = {(char)c, 0}, alone[16];
		AUTO(buf_done) struct buf single = {0};

		jsonw_quote(&single, one, 1);
		memcpy(alone, single.data + 1, single.len - 1); /* the escape and the last quote */
		alone[single.len - 2] = '\0';
		for (size_t at = 0; at < 20; at++) {
			char text[] = "abcdefghijklmnopqrst", expect[64];

			text[at] = (char)c;
			(void)snprintf(expect, sizeof(expect), "\"%.*s%s%s\"", (int)at, text, alone,
				       text + at + 1);
			quotes_as(text, 20, expect);
		}
	}
}

static void test_document(void **state)
{
	AUTO(buf_done) struct buf b = {0};
	struct jsonw w = jsonw_to(&b);

	jsonw_object(&w);
	jsonw_key(&w, "a\"");
	jsonw_str(&w, "x");
	jsonw_key(&w, "none");
	jsonw_str(&w, NULL);
	jsonw_key(&w, "list");
	jsonw_array(&w);
	jsonw_int(&w, 0);
	jsonw_int(&w, -7);
	jsonw_int(&w, INT64_MIN);
	jsonw_int(&w, INT64_MAX);
	jsonw_bool(&w, true);
	jsonw_bool(&w, false);
	jsonw_object(&w);
	jsonw_object_end(&w);
	jsonw_array(&w);
	jsonw_array_end(&w);
	jsonw_array_end(&w);
	jsonw_key(&w, "raw");
	jsonw_raw(&w, "{\"k\":1}", 7);
	jsonw_key(&w, "null");
	jsonw_null(&w);
	jsonw_object_end(&w);
	assert_string_equal(buf_cstr(&b),
			    "{\"a\\\"\": \"x\", \"none\": null, \"list\": [0, -7, -9223372036854775808, "
			    "9223372036854775807, true, false, {}, []], \"raw\": {\"k\":1}, \"null\": null}");
}

static void test_no_memory_is_seen_at_the_end(void **state)
{
	AUTO(buf_done) struct buf b = {.failed = true};
	struct jsonw w = jsonw_to(&b);

	jsonw_object(&w);
	jsonw_key(&w, "a");
	jsonw_str(&w, "b");
	jsonw_object_end(&w);
	assert_true(b.failed);
	assert_int_equal(b.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quote),
		cmocka_unit_test(test_quote_every_octet_everywhere),
		cmocka_unit_test(test_document),
		cmocka_unit_test(test_no_memory_is_seen_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

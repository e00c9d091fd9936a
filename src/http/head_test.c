/* SPDX-License-Identifier: Apache-2.0
 * http/head_test.c -- good and bad heads, each in every cut. */
#include "head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct head_limits limits = {.max_bytes = 1024, .max_fields = 8};

/* Feed @n octets of @text in two pieces; each piece is in memory of exactly its size. */
static enum head_verdict parse_cut(struct head *h, const char *text, size_t n, size_t cut, char **ret_copy)
{
	char *first = malloc(cut + 1), *all;
	enum head_verdict v = HEAD_MORE;

	memcpy(first, text, cut);
	if (cut)
		v = head_parse(h, first, cut, &limits);
	all = malloc(n ? n : 1);
	memcpy(all, first, cut);
	memcpy(all + cut, text + cut, n - cut);
	free(first);
	if (v == HEAD_MORE)
		v = head_parse(h, all, n, &limits);
	else
		h->text = all;
	*ret_copy = all;
	return v;
}

#define OPEN "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST "POST /x HTTP/1.1\r\nHost: a\r\n"

struct bad {
	const char *text;
	size_t n; /* 0: strlen */
	int status;
};

static const struct bad bad_heads[] = {
	/* request line */
	{" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET / \r\nHost: a\r\n\r\n", 0, 400},
	{"GET /\r\n\r\n", 0, 400},
	{"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 0, 400},
	{"GET / a HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GETGETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET /a\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET *x HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET / HTTP/1.x\r\nHost: a\r\n\r\n", 0, 400},
	{"GET / http/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 0, 400},
	{"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 0, 505},
	{"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 0, 505},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 505},
	{"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, 400},
	{"\x16\x03\x01\x02", 4, 400},
	/* line ends, control characters */
	{"GET / HTTP/1.1\nHost: a\n\n", 0, 400},
	{"GET / HTTP/1.1\r\nHost: a\n\r\n", 0, 400},
	{"GET / HTTP/1.1\rHost: a\r\n\r\n", 0, 400},
	{OPEN "X: a\rb\r\n\r\n", 0, 400},
	{OPEN "X: a\0b\r\n\r\n", sizeof(OPEN "X: a\0b\r\n\r\n") - 1, 400},
	{OPEN "X: a\x1b\r\n\r\n", 0, 400},
	{OPEN "\r\r\n", 0, 400},
	/* header lines */
	{OPEN "X : b\r\n\r\n", 0, 400},
	{OPEN "X\t: b\r\n\r\n", 0, 400},
	{OPEN " X: b\r\n\r\n", 0, 400},
	{OPEN "X: a\r\n b\r\n\r\n", 0, 400},
	{OPEN "X: a\r\n\tb\r\n\r\n", 0, 400},
	{OPEN " \r\n\r\n", 0, 400},
	{OPEN "no colon\r\n\r\n", 0, 400},
	{OPEN ": b\r\n\r\n", 0, 400},
	{OPEN "X\xc3: b\r\n\r\n", 0, 400},
	{OPEN "A:1\r\nB:1\r\nC:1\r\nD:1\r\nE:1\r\nF:1\r\nG:1\r\nH:1\r\n\r\n", 0, 431},
	/* host */
	{"GET / HTTP/1.1\r\n\r\n", 0, 400},
	{OPEN "host: a\r\n\r\n", 0, 400},
	{"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 0, 400},
	{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 0, 400},
	{"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 0, 400},
	{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 0, 400},
	{"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 0, 400},
	/* framing */
	{POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 0, 400},
	{POST "Content-Length: 1\r\ncontent-length: 2\r\n\r\n", 0, 400},
	{POST "Content-Length: 1, 1\r\n\r\n", 0, 400},
	{POST "Content-Length: +1\r\n\r\n", 0, 400},
	{POST "Content-Length: -1\r\n\r\n", 0, 400},
	{POST "Content-Length: 1 1\r\n\r\n", 0, 400},
	{POST "Content-Length: 0x1\r\n\r\n", 0, 400},
	{POST "Content-Length: 1_0\r\n\r\n", 0, 400},
	{POST "Content-Length: \r\n\r\n", 0, 400},
	{POST "Content-Length: 9223372036854775808\r\n\r\n", 0, 400},
	{POST "Content-Length: 99999999999999999999999\r\n\r\n", 0, 400},
	{POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
	{POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 0, 400},
	{POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
	{POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 0, 501},
	{POST "Transfer-Encoding: chunked, chunked\r\n\r\n", 0, 400},
	{POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 0, 400},
	{POST "Transfer-Encoding: chunked;q=1\r\n\r\n", 0, 400},
	{POST "Transfer-Encoding: \"chunked\"\r\n\r\n", 0, 400},
	{POST "Transfer-Encoding:\r\n\r\n", 0, 400},
	{POST "Transfer-Encoding: \x0b"
	      "chunked\r\n\r\n",
	 0, 400},
	{POST "Transfer-Encoding: gzip\r\n\r\n", 0, 501},
	{POST "Transfer-Encoding: xchunked\r\n\r\n", 0, 501},
	{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
	{POST "Expect: 200-ok\r\n\r\n", 0, 417},
	{POST "Expect:\r\n\r\n", 0, 417},
};

static void test_bad(void **state)
{
	const struct bad *bad;
	struct head h = {0};
	size_t n;
	char *copy;

	for (size_t i = 0; i < ARRAY_LEN(bad_heads); i++) {
		bad = &bad_heads[i];
		n = bad->n ? bad->n : strlen(bad->text);
		for (size_t cut = 0; cut <= n; cut++) {
			head_reset(&h);
			if (parse_cut(&h, bad->text, n, cut, &copy) != HEAD_REFUSED ||
			    h.status != bad->status)
				fail_msg("head %zu, cut at %zu: status %d\n%s", i, cut, h.status, bad->text);
			assert_non_null(h.reason);
			free(copy);
		}
	}
	head_done(&h);
}

struct good {
	const char *text, *method, *path, *query, *host;
	int64_t length;
	bool chunked, keep_alive, expect;
};

static const struct good good_heads[] = {
	{OPEN "\r\n", "GET", "/", NULL, "a", 0, false, true, false},
	{"\r\n" OPEN "\r\n", "GET", "/", NULL, "a", 0, false, true, false},
	{"GET /a/b?c=d?e HTTP/1.1\r\nHost:b:80\r\n\r\n", "GET", "/a/b", "c=d?e", "b:80", 0, false, true,
	 false},
	{"GET /? HTTP/1.1\r\nHost: \t [::1]:9 \t\r\n\r\n", "GET", "/", "", "[::1]:9", 0, false, true, false},
	{"GET http://q.r:8/s?t HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/s", "t", "q.r:8", 0, false, true,
	 false},
	{"GET HTTPS://q/ HTTP/1.1\r\nHost: abc\r\n\r\n", "GET", "/", NULL, "q", 0, false, true, false},
	{"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", "OPTIONS", "*", NULL, "", 0, false, true, false},
	{"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT", "", NULL, "a", 0, false, true, false},
	{"GET / HTTP/1.0\r\n\r\n", "GET", "/", NULL, NULL, 0, false, false, false},
	{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/", NULL, NULL, 0, false, true, false},
	{OPEN "Connection: x, Close\r\n\r\n", "GET", "/", NULL, "a", 0, false, false, false},
	{OPEN "Connection: closed\r\n\r\n", "GET", "/", NULL, "a", 0, false, true, false},
	{POST "Content-Length: 9223372036854775807\r\n\r\n", "POST", "/x", NULL, "a", INT64_MAX, false, true,
	 false},
	{POST "content-LENGTH:007 \r\n\r\n", "POST", "/x", NULL, "a", 7, false, true, false},
	{POST "Transfer-Encoding: Chunked\r\n\r\n", "POST", "/x", NULL, "a", 0, true, true, false},
	{POST "Expect: 100-Continue\r\n\r\n", "POST", "/x", NULL, "a", 0, false, true, true},
	{"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", "POST", "/", NULL, NULL, 0, false, false, false},
	{OPEN "X: \xc3\xa9\ta\r\n\r\n", "GET", "/", NULL, "a", 0, false, true, false},
};

static void check_text(const char *got, const char *expected)
{
	if (!expected)
		assert_null(got);
	else
		assert_string_equal(got, expected);
}

static void check_good(const struct good *g, struct head *h)
{
	const char *host;

	assert_int_equal(h->size, strlen(g->text));
	assert_string_equal(head_method(h), g->method);
	assert_string_equal(head_path(h), g->path);
	check_text(head_query(h), g->query);
	head_find(h, "HOST", &host);
	check_text(host, g->host);
	assert_int_equal(h->content_length, g->length);
	assert_int_equal(h->chunked, g->chunked);
	assert_int_equal(h->keep_alive, g->keep_alive);
	assert_int_equal(h->expect_continue, g->expect);
}

static void test_good(void **state)
{
	struct head h = {0};
	char *copy;

	for (size_t i = 0; i < ARRAY_LEN(good_heads); i++) {
		size_t n = strlen(good_heads[i].text);

		for (size_t cut = 0; cut <= n; cut++) {
			head_reset(&h);
			if (parse_cut(&h, good_heads[i].text, n, cut, &copy) != HEAD_DONE)
				fail_msg("head %zu, cut at %zu: %s", i, cut, h.reason ? h.reason : "more");
			check_good(&good_heads[i], &h);
			free(copy);
		}
	}
	head_done(&h);
}

/* Every proper prefix of a good head asks for more; what follows the head is left alone. */
static void test_prefixes(void **state)
{
	static const char text[] = OPEN "A: b\r\n\r\nGET /next";
	struct head h = {0};
	char *copy;

	for (size_t n = 0; n < sizeof(OPEN "A: b\r\n\r\n") - 1; n++) {
		head_reset(&h);
		assert_int_equal(parse_cut(&h, text, n, n / 2, &copy), HEAD_MORE);
		free(copy);
	}
	head_reset(&h);
	assert_int_equal(parse_cut(&h, text, sizeof(text) - 1, 3, &copy), HEAD_DONE);
	assert_memory_equal(copy + h.size, "GET /next", 9);
	free(copy);
	head_done(&h);
}

static void test_find(void **state)
{
	char text[] = OPEN "A: 1\r\na:  2 \r\nAB: 3\r\n\r\n";
	struct head h = {0};
	const char *value;

	assert_int_equal(head_parse(&h, text, sizeof(text) - 1, &limits), HEAD_DONE);
	assert_int_equal(head_find(&h, "a", &value), 2);
	assert_string_equal(value, "1");
	assert_int_equal(head_find(&h, "ab", NULL), 1);
	assert_int_equal(head_find(&h, "abc", &value), 0);
	assert_null(value);
	head_done(&h);
}

static enum head_verdict parse_sized(struct head *h, char *text, const char *begin, size_t n)
{
	memset(text, 'a', n);
	memcpy(text, begin, strlen(begin));
	head_reset(h);
	return head_parse(h, text, n, &limits);
}

static void test_too_long(void **state)
{
	struct head h = {0};
	char text[2048];

	assert_int_equal(parse_sized(&h, text, "GET /", limits.max_bytes - 1), HEAD_MORE);
	assert_int_equal(parse_sized(&h, text, "GET /", limits.max_bytes), HEAD_REFUSED);
	assert_int_equal(h.status, 414);
	assert_int_equal(parse_sized(&h, text, OPEN "X: ", limits.max_bytes), HEAD_REFUSED);
	assert_int_equal(h.status, 431);

	assert_int_equal(parse_sized(&h, text, OPEN "X: ", limits.max_bytes - 4), HEAD_MORE);
	memcpy(text + limits.max_bytes - 4, "\r\n\r\n", 4);
	assert_int_equal(head_parse(&h, text, limits.max_bytes, &limits), HEAD_DONE);
	assert_int_equal(parse_sized(&h, text, OPEN "X: ", limits.max_bytes - 3), HEAD_MORE);
	memcpy(text + limits.max_bytes - 3, "\r\n\r\n", 4);
	assert_int_equal(head_parse(&h, text, limits.max_bytes + 1, &limits), HEAD_REFUSED);
	assert_int_equal(h.status, 431);
	head_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),  cmocka_unit_test(test_good),     cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_find), cmocka_unit_test(test_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

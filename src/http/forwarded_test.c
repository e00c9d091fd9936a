/* SPDX-License-Identifier: Apache-2.0 */
#include "forwarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static const char *const ours[] = {"127.0.0.0/8", "::1", "10.1.0.0/17", "2001:db8::/33", "unix", NULL};

static char *read_by(const char *peer, bool is_local, const char *lines, struct arena *a)
{
	const struct head_limits limits = {65536, 200};
	struct head h = {0};
	struct proxies p;
	struct forwarded f;
	char *text = arena_printf(a, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", lines), *out;

	assert_int_equal(head_parse(&h, text, strlen(text), &limits), HEAD_DONE);
	assert_int_equal(proxies_parse(ours, &p, NULL), 0);
	f = forwarded_read(&p, &h, peer, is_local, a);
	out = arena_printf(a, "%s %s %s %s", f.client ? f.client : "-", f.scheme ? f.scheme : "-",
			   f.host ? f.host : "-", f.prefix ? f.prefix : "-");
	proxies_done(&p);
	head_done(&h);
	return out;
}

static void test_table(void **state)
{
	static const struct {
		const char *peer, *lines, *expected;
	} cases[] = {
#define XFF "X-Forwarded-For: "
		/* whom we do not know is not believed */
		{"192.0.2.1",
		 XFF "6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Host: h\r\nX-Forwarded-Prefix: /p\r\n",
		 "- - - -"},
		{"10.1.128.0", XFF "6.6.6.6\r\n", "- - - -"},
		{"10.1.127.255", XFF "6.6.6.6\r\n", "6.6.6.6 - - -"},
		{"::ffff:10.1.0.1", XFF "6.6.6.6\r\n", "6.6.6.6 - - -"},
		{"2001:db8:7fff::1", XFF "6.6.6.6\r\n", "6.6.6.6 - - -"},
		{"2001:db8:8000::1", XFF "6.6.6.6\r\n", "- - - -"},
		/* the last that is no proxy, wherever it stands */
		{"127.0.0.1", XFF "6.6.6.6, 192.0.2.1\r\n", "192.0.2.1 - - -"},
		{"127.0.0.1", XFF "6.6.6.6, 192.0.2.1, 10.1.0.7 ,::1\r\n", "192.0.2.1 - - -"},
		{"127.0.0.1", XFF "6.6.6.6\r\n" XFF "192.0.2.1\r\n", "192.0.2.1 - - -"},
		{"127.0.0.1", XFF "6.6.6.6\r\n" XFF "10.1.0.7\r\n", "6.6.6.6 - - -"},
		{"127.0.0.1", XFF "10.1.0.1, 10.1.0.7\r\n", "10.1.0.1 - - -"},
		{"127.0.0.1", XFF "::ffff:192.0.2.1\r\n", "192.0.2.1 - - -"},
		{"127.0.0.1", XFF "6.6.6.6, ::ffff:10.1.0.1\r\n", "6.6.6.6 - - -"},
		{"127.0.0.1", XFF "192.0.2.1:80\r\n", "192.0.2.1 - - -"},
		{"127.0.0.1", XFF "[2001:db9::1]:80\r\n", "2001:db9::1 - - -"},
		/* what is no address ends it */
		{"127.0.0.1", XFF "6.6.6.6, unknown\r\n", "- - - -"},
		{"127.0.0.1", XFF "6.6.6.6,\r\n", "- - - -"},
		{"127.0.0.1", XFF "6.6.6.6, x, 10.1.0.1\r\n", "10.1.0.1 - - -"},
		{"127.0.0.1", XFF "[::1\r\n", "- - - -"},
		{"127.0.0.1", XFF "\r\n", "- - - -"},
		/* host and scheme */
		{"127.0.0.1",
		 "X-Forwarded-Proto: https\r\nX-Forwarded-Host: a.b:1\r\nX-Forwarded-Prefix: /p/q/\r\n",
		 "- https a.b:1 /p/q"},
		{"127.0.0.1", "X-Forwarded-Proto: HTTPS\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 8443\r\n",
		 "- https a:8443 -"},
		{"127.0.0.1", "X-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 443\r\n",
		 "- https a -"},
		{"127.0.0.1", "X-Forwarded-Host: [::2]\r\nX-Forwarded-Port: 81\r\n", "- - [::2]:81 -"},
		{"127.0.0.1", "X-Forwarded-Host: a:5\r\nX-Forwarded-Port: 81\r\n", "- - a:5 -"},
		{"127.0.0.1", "X-Forwarded-Host: a\r\nX-Forwarded-Port: 8x\r\n", "- - a -"},
		{"127.0.0.1",
		 "X-Forwarded-Proto: javascript\r\nX-Forwarded-Host: a/b\r\nX-Forwarded-Prefix: //evil\r\n",
		 "- - - -"},
		{"127.0.0.1", "X-Forwarded-Host: evil, a\r\nX-Forwarded-Proto: evil, https\r\n",
		 "- https a -"},
		{"127.0.0.1",
		 XFF "6.6.6.6, 192.0.2.1, 10.1.0.1\r\nX-Forwarded-Host: evil, a, b\r\nX-Forwarded-Proto: "
		     "https, http\r\n",
		 "192.0.2.1 https a -"},
		{"127.0.0.1", XFF "192.0.2.1, 10.1.0.1\r\nX-Forwarded-Proto: https\r\n",
		 "192.0.2.1 https - -"},
		/* RFC 7239 */
		{"127.0.0.1", "Forwarded: for=192.0.2.1;proto=https;host=a.b\r\n", "192.0.2.1 https a.b -"},
		{"127.0.0.1", "Forwarded: For=\"[2001:db9::1]:4711\" ; Proto=http;by=\"_x;,y\"\r\n",
		 "2001:db9::1 http - -"},
		{"127.0.0.1",
		 "Forwarded: for=6.6.6.6;host=evil, for=192.0.2.1;host=a, for=10.1.0.1;host=b\r\n",
		 "192.0.2.1 - a -"},
		{"127.0.0.1", "Forwarded: for=6.6.6.6\r\nForwarded: for=192.0.2.1\r\n", "192.0.2.1 - - -"},
		{"127.0.0.1", "Forwarded: for=6.6.6.6, for=unknown;proto=https\r\n", "- https - -"},
		{"127.0.0.1", "Forwarded: proto=https;host=\"a:1\"\r\n", "- https a:1 -"},
		/* quotes that somebody opens in front of what a proxy writes */
		{"127.0.0.1", "Forwarded: for=6.6.6.6;x=\", for=192.0.2.1\r\n", "- - - -"},
		{"127.0.0.1", "Forwarded: for=6.6.6.6;x=\", for=192.0.2.1;host=\"a\"\r\n", "- - - -"},
		{"127.0.0.1", "Forwarded: for=6.6.6.6;x=\", for=\"192.0.2.1\"\r\n", "- - - -"},
		{"127.0.0.1", "Forwarded: for=6.6.6.6;x=\"\r\nForwarded: for=192.0.2.1\r\n",
		 "192.0.2.1 - - -"},
		{"127.0.0.1", "Forwarded: for=\"6.6.6.6\\\"\r\n", "- - - -"},
		{"127.0.0.1", "Forwarded: 6.6.6.6\r\n", "- - - -"},
		{"127.0.0.1", "Forwarded: for=\"1\\92.0.2.1\"\r\n", "- - - -"},
		/* one of them is whoever's */
		{"127.0.0.1", XFF "192.0.2.1\r\nForwarded: for=6.6.6.6;host=evil\r\n", "- - - -"},
		{"127.0.0.1",
		 XFF "192.0.2.1\r\nForwarded: for=192.0.2.1;host=evil\r\nX-Forwarded-Host: a\r\n",
		 "192.0.2.1 - a -"},
		{"127.0.0.1", XFF "x\r\nForwarded: for=6.6.6.6\r\n", "- - - -"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct arena a = {0};
		char *got = read_by(cases[i].peer, false, cases[i].lines, &a);

		if (strcmp(got, cases[i].expected) != 0)
			fail_msg("%s %s: '%s', not '%s'", cases[i].peer, cases[i].lines, got,
				 cases[i].expected);
		arena_done(&a);
	}
}

static void test_by_socket(void **state)
{
	struct arena a = {0};

	assert_string_equal(read_by("127.0.0.1", true, XFF "192.0.2.1\r\n", &a), "192.0.2.1 - - -");
	arena_done(&a);
}

/* More of our proxies than we remember, and as much as a head holds. */
static void test_long(void **state)
{
	static char lines[60000];
	struct arena a = {0};
	size_t n = (size_t)snprintf(lines, sizeof(lines), XFF "6.6.6.6");

	while (n < 50000)
		n += (size_t)snprintf(lines + n, sizeof(lines) - n, ",::1");
	(void)snprintf(lines + n, sizeof(lines) - n, "\r\n");
	assert_string_equal(read_by("127.0.0.1", false, lines, &a), "::1 - - -");
	n = (size_t)snprintf(lines, sizeof(lines), "Forwarded: ");
	while (n < 50000)
		n += (size_t)snprintf(lines + n, sizeof(lines) - n, "a=\"b\\");
	(void)snprintf(lines + n, sizeof(lines) - n, "\r\n");
	assert_string_equal(read_by("127.0.0.1", false, lines, &a), "- - - -");
	arena_done(&a);
}

static void test_networks(void **state)
{
	static const char *const bad[] = {"",          "10.0.0.0/33", "10.0.0/8", "::1/129",
					  "10.0.0.0/", "10.0.0.0/x",  "host",     "10.0.0.0/-1"};
	struct proxies p;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const char *const list[] = {"::/0", bad[i], NULL};

		if (proxies_parse(list, &p, &err) == 0)
			fail_msg("%s is a network", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_by_socket),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_networks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/transport_test.c -- every form of transport_url, and those that are none. */
#include "transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

/* "user:password@host:port host2 / vhost ? name=value", with "-" for what was not given. */
static void describe(const struct transport *t, char *out, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < t->n_hosts; i++) {
		const struct transport_host *h = &t->hosts[i];

		len += (size_t)snprintf(out + len, n - len, "%s|%s|%s|%u ", h->user ? h->user : "-",
					h->password ? h->password : "-", h->host, h->port);
	}
	len += (size_t)snprintf(out + len, n - len, "/%s", t->vhost);
	for (size_t i = 0; i < t->n_options; i++)
		len += (size_t)snprintf(out + len, n - len, " %s=%s", t->options[i].name,
					t->options[i].value);
}

static void assert_means(const char *url, const char *meaning)
{
	struct transport t;
	struct err err = {0};
	char got[512];

	if (transport_parse(url, &t, &err) < 0)
		fail_msg("%s: %s", url, err.text);
	describe(&t, got, sizeof(got));
	assert_string_equal(got, meaning);
	assert_string_equal(t.scheme, "rabbit");
	transport_done(&t);
}

static void assert_refused(const char *url, const char *because)
{
	struct transport t = {0};
	struct err err = {0};

	assert_int_equal(transport_parse(url, &t, &err), ERR_INVALID);
	if (!strstr(err.text, because))
		fail_msg("%s: %s", url, err.text);
	assert_null(strstr(err.text, "s3cret"));
	assert_null(strstr(err.detail, "s3cret"));
	assert_null(t.hosts);
}

static void test_forms(void **state)
{
	assert_means("rabbit://", "-|-|localhost|0 /");
	assert_means("RABBIT://h", "-|-|h|0 /");
	assert_means("rabbit://h/", "-|-|h|0 /");
	assert_means("rabbit://h//", "-|-|h|0 //");
	assert_means("rabbit://u:p@h:5673/vh", "u|p|h|5673 /vh");
	assert_means("rabbit://u@h", "u|-|h|0 /");
	assert_means("rabbit://:@h", "||h|0 /");
}

static void test_hosts(void **state)
{
	assert_means("rabbit://u:p@h1:1,u2:p2@h2:2/vh", "u|p|h1|1 u2|p2|h2|2 /vh");
	assert_means("rabbit://,u:p@h1,,h2,/vh", "u|p|h1|0 -|-|h2|0 /vh");
	assert_means("rabbit://u:p@[::1]:5672/", "u|p|::1|5672 /");
	assert_means("rabbit://[fe80::1%25eth0]", "-|-|fe80::1%25eth0|0 /");
	assert_means("rabbit://u:p@h:/x", "u|p|h|0 /x");
	assert_means("rabbit://u:p@/x", "u|p|localhost|0 /x");
}

static void test_escapes(void **state)
{
	assert_means("rabbit://u%40x:p%2Fq%3A@h/", "u@x|p/q:|h|0 /");
	assert_means("rabbit://u@d:p@h/", "u@d|p|h|0 /");
	assert_means("rabbit://u:p:q@h", "u|p:q|h|0 /");
	assert_means("rabbit://u:100%@h", "u|100%|h|0 /");
	assert_means("rabbit://u:%zz%4@h", "u|%zz%4|h|0 /");
	assert_means("rabbit://u:a+b@h", "u|a+b|h|0 /");
	assert_means("rabbit://u:p@h/a/b", "u|p|h|0 /a/b");
	assert_means("rabbit://u:p@h/a%2Fb", "u|p|h|0 /a/b");
	assert_means("rabbit://u:p@h/%c3%9c", "u|p|h|0 /\xc3\x9c");
}

static void test_options(void **state)
{
	assert_means("rabbit://h?ssl=1", "-|-|h|0 / ssl=1");
	assert_means("rabbit://h/v?a=5&b=x+y%26z", "-|-|h|0 /v a=5 b=x y&z");
	assert_means("rabbit://h/v?a=1&b=2&a=3", "-|-|h|0 /v a=1,3 b=2");
	assert_means("rabbit://h/v?a=&&b&=1#a=2", "-|-|h|0 /v =1");
	assert_means("rabbit://h#x?ssl=1", "-|-|h|0 /");
	assert_means("rabbit://h/v?a=b=c?d", "-|-|h|0 /v a=b=c?d");
}

static void test_refused(void **state)
{
	assert_refused("", "no scheme");
	assert_refused("h:5672", "no scheme");
	assert_refused("://h", "no scheme");
	assert_refused("u:s3cret@h/x?y=a://", "no scheme");
	assert_refused("rabbit://u:s3cret@h:x", "port that is not a number");
	assert_refused("rabbit://u:s3cret@h:-1", "port that is not a number");
	assert_refused("rabbit://u:s3cret@h:65536", "above 65535");
	assert_refused("rabbit://h:99999999999999999999", "above 65535");
	assert_refused("rabbit://u:s3cret@[::1", "no ']'");
	assert_refused("rabbit://u:s3cret@[::1]5", "behind ']'");
	assert_refused("rabbit://u:s3cret@::1", "more than one ':'");
	assert_refused("rabbit://a,u:s3cret@h:b", "host 2 ");
	assert_refused("rabbit://u:s3cret%0a@h", "password has a control character");
	assert_refused("rabbit://u:s3cret%00@h", "control character");
	assert_refused("rabbit://u:s3cret%ff@h", "password is not UTF-8");
	assert_refused("rabbit://h/%00", "virtual host");
	assert_refused("rabbit://u:s3cret@h h", "no host name");
	assert_refused("rabbit://u:s3cret@%zz/", "no host name");
	assert_refused("rabbit://u:s3cret@h%41:5672/", "no host name");
	assert_refused("rabbit://h1,u:s3cret@[h%65]", "host 2 has a name");
}

static void test_limits(void **state)
{
	size_t n = TRANSPORT_URL_MAX + 2;
	char *url = malloc(n), many[1024] = "rabbit://";
	char options[1024] = "rabbit://h?";

	assert_non_null(url);
	memset(url, 'a', n);
	memcpy(url, "rabbit://", 9);
	url[n - 1] = '\0';
	assert_refused(url, "longer than");
	free(url);
	for (size_t i = 0; i <= TRANSPORT_HOSTS_MAX; i++)
		strncat(many, "h,", sizeof(many) - strlen(many) - 1);
	assert_refused(many, "more than 64 hosts");
	for (size_t i = 0; i <= TRANSPORT_OPTIONS_MAX; i++)
		strncat(options, "a=1&", sizeof(options) - strlen(options) - 1);
	assert_refused(options, "more than 64 options");
}

static void test_mixed(void **state)
{
	static const struct {
		const char *url;
		bool mixed;
	} cases[] = {{"rabbit://u:p@h1,h2", true},
		     {"rabbit://h1,h2", false},
		     {"rabbit://u:p@h1,u:p@h2", false},
		     {"rabbit://", false}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct transport t;

		assert_int_equal(transport_parse(cases[i].url, &t, NULL), 0);
		assert_int_equal(transport_is_mixed(&t), cases[i].mixed);
		transport_done(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),   cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_escapes), cmocka_unit_test(test_options),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_mixed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

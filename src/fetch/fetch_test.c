/* SPDX-License-Identifier: Apache-2.0
 * fetch/fetch_test.c -- which URLs and addresses are allowed, in every spelling, and that nothing is connected
 * to that is not. What sources do wrong is tested end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <poll.h>
#include <unistd.h>

#include <cmocka.h>

#include "answer.h"
#include "base/clock.h"
#include "base/err.h"
#include "internal.h"

#define REFUSED "The URL is not one that may be downloaded from here."

static const char *const loopback[] = {"127.0.0.0/8", "::1", NULL};
static const struct fetch_rules nothing_special = {0};

static int check(const struct fetch_rules *rules, const char *url, struct err *err)
{
	*err = (struct err){0};
	return fetch_check_url(rules, url, err);
}

/* -- addresses ------------------------------------------------------------------------------------ */

static void test_addresses(void **state)
{
	static const char *const refused[] = {
		"127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0",
		"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "2852039166",
		"0xa9fea9fe", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
		"224.0.0.1", "240.0.0.1", "255.255.255.255", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"[::127.0.0.1]", "[fe80::1]", "[fc00::1]", "[fd00::1]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001::1]", "127.0.0.1.", "10.1",
	};
	static const char *const fine[] = {"8.8.8.8", "134744072", "0x08080808", "172.15.0.1", "172.32.0.1", "[2a00::1]",
					   "[::ffff:8.8.8.8]", "[64:ff9b::808:808]", "example.org", "a.b-c.example."};
	char url[128];
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		(void)snprintf(url, sizeof(url), "http://%s/x", refused[i]);
		if (check(&nothing_special, url, &err) != ERR_INVALID)
			fail_msg("%s", url);
		assert_string_equal(err.text, REFUSED);
	}
	for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
		(void)snprintf(url, sizeof(url), "https://%s:8443/x?y", fine[i]);
		if (check(&nothing_special, url, &err) != 0)
			fail_msg("%s: %s", url, err.text);
	}
}

static void test_allowed_networks(void **state)
{
	static const char *const networks[] = {"10.1.0.0/16", "fd00:1::/32", "192.168.7.9", NULL};
	const struct fetch_rules rules = {.allowed_networks = networks};
	struct err err;

	assert_int_equal(check(&rules, "http://10.1.2.3/", &err), 0);
	assert_int_equal(check(&rules, "http://[fd00:1::5]/", &err), 0);
	assert_int_equal(check(&rules, "http://192.168.7.9/", &err), 0);
	assert_int_equal(check(&rules, "http://10.2.0.1/", &err), ERR_INVALID);
	assert_int_equal(check(&rules, "http://[fd00:2::5]/", &err), ERR_INVALID);
	assert_int_equal(check(&rules, "http://192.168.7.8/", &err), ERR_INVALID);
	assert_int_equal(check(&rules, "http://localhost/", &err), ERR_INVALID);
}

/* -- URLs ----------------------------------------------------------------------------------------- */

static void test_texts(void **state)
{
	static const char *const bad[] = {
		"", "x", "http://", "//example.org/", "http://exa mple.org/", "http://example.org/\n",
		"http://example.org\\@127.0.0.1/", "http://\xc3\xa4.example/", "http://example.org:0/", "http://example.org:99999/",
		"http://example.org:x/", "file:///etc/passwd", "FILE:///etc/passwd", "ftp://example.org/", "gopher://example.org/",
		"dict://example.org/", "javascript:1", "http://[::1", "http://[example.org]/", "http://..example.org/",
	};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (check(&nothing_special, bad[i], &err) != ERR_INVALID)
			fail_msg("%s", bad[i]);
	assert_int_equal(check(&nothing_special, "HTTP://Example.ORG", &err), 0);
}

static void test_credentials(void **state)
{
	static const char *const bad[] = {"http://S3CR3T@example.org/", "http://u:S3CR3T@example.org/?S3CR3T",
					  "http://:S3CR3T@example.org/", "http://u:S3CR3T@127.0.0.1/"};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(check(&nothing_special, bad[i], &err), ERR_INVALID);
		assert_null(strstr(err.text, "S3CR3T"));
		assert_null(strstr(err.detail, "S3CR3T"));
	}
}

static void test_lists(void **state)
{
	static const char *const https[] = {"https", NULL}, *const hosts[] = {"good.example", "8.8.8.8", NULL};
	static const char *const ports[] = {"80", "443", NULL};
	const struct fetch_rules allowed = {.allowed_schemes = https, .allowed_hosts = hosts, .allowed_ports = ports};
	const struct fetch_rules disallowed = {
		.disallowed_schemes = https, .disallowed_hosts = hosts, .disallowed_ports = ports};
	const struct fetch_rules both = {.allowed_hosts = hosts, .disallowed_hosts = hosts};
	struct err err;

	assert_int_equal(check(&allowed, "https://good.example/", &err), 0);
	assert_int_equal(check(&allowed, "https://GOOD.example.:443/", &err), 0);
	assert_int_equal(check(&allowed, "http://good.example/", &err), ERR_INVALID);
	assert_int_equal(check(&allowed, "https://bad.example/", &err), ERR_INVALID);
	assert_int_equal(check(&allowed, "https://xgood.example/", &err), ERR_INVALID);
	assert_int_equal(check(&allowed, "https://good.example:8443/", &err), ERR_INVALID);
	assert_int_equal(check(&disallowed, "http://other.example:8080/", &err), 0);
	assert_int_equal(check(&disallowed, "https://other.example:8080/", &err), ERR_INVALID);
	assert_int_equal(check(&disallowed, "http://good.example:8080/", &err), ERR_INVALID);
	assert_int_equal(check(&disallowed, "http://134744072:8080/", &err), ERR_INVALID); /* 8.8.8.8 */
	assert_int_equal(check(&disallowed, "http://other.example/", &err), ERR_INVALID);  /* port 80 */
	assert_int_equal(check(&both, "http://good.example/", &err), 0);                   /* allowed wins */
	assert_string_equal((check(&allowed, "http://x/", &err), err.text), REFUSED);
}

static void test_rules_are_checked(void **state)
{
	static const char *const bad_ports[] = {"80", "http", NULL}, *const bad_networks[] = {"10.0.0.1/8", NULL};
	const struct fetch_rules ports = {.disallowed_ports = bad_ports}, networks = {.allowed_networks = bad_networks};
	const struct fetch_rules good = {.allowed_networks = loopback};
	struct err err = {0};

	assert_int_equal(fetch_check_rules(&good, &err), 0);
	assert_int_equal(fetch_check_rules(&ports, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "\"http\""));
	assert_int_equal(fetch_check_rules(&networks, &err), ERR_INVALID);
}

/* -- answers -------------------------------------------------------------------------------------- */

static int answer(struct answer *h, const char *lines)
{
	int r = 0;

	answer_done(h);
	while (*lines && r == 0) {
		size_t n = strcspn(lines, "\n") + 1;

		r = answer_add(h, lines, n, NULL);
		lines += n;
	}
	return r;
}

static void test_answers(void **state)
{
	static const char *const bad[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\n\r\n",
		"HTTP/1.1\r\n\r\n",
		"Content-Length: 5\r\n",
	};
	struct answer h = {0};

	assert_int_equal(answer(&h, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 Partial\r\ncontent-length: 10\r\n"
				    "Content-Range: bytes 5-14/15\r\nETag: \"a\"\r\nLast-Modified: then\r\n\r\n"),
			 0);
	assert_true(h.is_done && h.status == 206 && h.has_length && h.length == 10 && h.has_range);
	assert_true(h.first == 5 && h.last == 14 && h.is_total_known && h.total == 15);
	assert_string_equal(h.tag, "\"a\"");
	assert_int_equal(answer(&h, "HTTP/1.1 200 OK\r\nETag: W/\"a\"\r\nContent-Encoding: gzip\r\n"
				    "Content-Encoding: identity\r\n\r\n"),
			 0);
	assert_true(h.is_encoded && !h.tag[0]);
	assert_int_equal(answer(&h, "HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n"), 0);
	assert_true(answer_is_redirect(&h));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(answer(&h, bad[i]), ERR_UNAVAILABLE);
	answer_done(&h);
}

/* -- connections ---------------------------------------------------------------------------------- */

/* A socket that listens and never answers. */
static int listen_on(uint16_t *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 8) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

static bool was_connected_to(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* A name that the text rules like, and that leads inside when it is looked up. */
static void test_rebinding(void **state)
{
	static const char *const allowed[] = {"127.0.0.0/8", NULL};
	struct fetch_rules rules = {0};
	const struct fetch_options o = {.rules = &rules, .connect_timeout_us = 2000000, .stall_timeout_us = 1000000,
					.max_octets = 1000, .max_redirects = 1};
	char url[64], resolved[64];
	const char *const answers[] = {resolved, NULL};
	struct fetch *f = NULL;
	struct err err = {0};
	uint16_t port;
	int fd = listen_on(&port);

	(void)snprintf(url, sizeof(url), "http://good.example:%u/?S3CR3T", port);
	(void)snprintf(resolved, sizeof(resolved), "good.example:%u:127.0.0.1", port);
	assert_int_equal(fetch_open_resolved(&o, url, answers, &f, &err), ERR_INVALID);
	assert_string_equal(err.text, REFUSED);
	assert_false(was_connected_to(fd));
	rules.allowed_networks = allowed; /* its harmless twin gets through, and waits for an answer in vain */
	err = (struct err){0};
	assert_int_equal(fetch_open_resolved(&o, url, answers, &f, &err), ERR_TIMEOUT);
	assert_true(was_connected_to(fd));
	assert_null(strstr(err.text, "S3CR3T"));
	assert_null(strstr(err.detail, "S3CR3T"));
	assert_null(f);
	close(fd);
}

static void test_cancelled(void **state)
{
	const struct fetch_rules rules = {.allowed_networks = loopback};
	atomic_bool cancelled = true;
	const struct fetch_options o = {.rules = &rules, .connect_timeout_us = 60000000, .stall_timeout_us = 60000000,
					.max_octets = 1000, .cancelled = &cancelled};
	int64_t began = clock_mono_us();
	struct fetch *f = NULL;
	struct err err = {0};
	char url[64];
	uint16_t port;
	int fd = listen_on(&port);

	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	assert_int_equal(fetch_open(&o, url, &f, &err), ERR_GONE);
	assert_true(clock_mono_us() - began < 5000000);
	close(fd);
	err = (struct err){0};
	cancelled = false;
	assert_int_equal(fetch_open(&o, url, &f, &err), ERR_UNAVAILABLE); /* nobody listens any more */
	assert_null(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_allowed_networks),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_credentials),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_rules_are_checked),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_rebinding),
		cmocka_unit_test(test_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

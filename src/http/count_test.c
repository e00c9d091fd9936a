/* SPDX-License-Identifier: Apache-2.0
 * http/count_test.c -- what clients did is what the metrics say, whatever they did. */
#include "testing.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/metrics.h"

static struct metrics *metrics;

static int setup(void **state)
{
	assert_int_equal(metrics_new(&metrics, NULL), 0);
	return test_setup_with(state, (struct http_config){.metrics = metrics});
}

static int teardown(void **state)
{
	int r = test_teardown(state);

	metrics_free(metrics);
	return r;
}

/* The number of a series; -1: there is no such series. */
static int64_t measured(const char *series)
{
	AUTO(buf_done) struct buf text = {0};
	char line[256];
	const char *at;

	(void)snprintf(line, sizeof(line), "\n%s ", series);
	metrics_render(metrics, &text);
	at = strstr(buf_cstr(&text), line);
	return at ? strtoll(at + strlen(line), NULL, 10) : -1;
}

/* What is counted after the octets have gone may come a moment later than the client's next step. */
static void await(const char *series, int64_t expected)
{
	int64_t until = clock_mono_us() + PATIENCE_MS * 1000;
	int64_t found = measured(series);

	while (found != expected && clock_mono_us() < until) {
		(void)sched_yield();
		found = measured(series);
	}
	if (found != expected)
		fail_msg("%s is %lld, not %lld", series, (long long)found, (long long)expected);
}

static void expect_answers(const char *method, const char *route, const char *status, int64_t expected)
{
	char series[256];

	(void)snprintf(series, sizeof(series),
		       "glint_http_requests_total{method=\"%s\",route=\"%s\",status=\"%s\"}", method, route,
		       status);
	if (measured(series) != expected)
		fail_msg("%s is %lld, not %lld", series, (long long)measured(series), (long long)expected);
}

static size_t count_lines(const char *prefix)
{
	AUTO(buf_done) struct buf text = {0};
	size_t n = 0;

	metrics_render(metrics, &text);
	for (const char *at = buf_cstr(&text); (at = strstr(at, prefix)); at += strlen(prefix))
		n += at[-1] == '\n';
	return n;
}

static void test_routes_and_statuses(void **state)
{
	int fd = dial(*state);

	expect_answers("GET", "/tiny", "200", -1);
	for (int i = 0; i < 3; i++) {
		say(fd, GET("/tiny"));
		expect(fd, 200, "tiny");
		expect_answers("GET", "/tiny", "200",
			       i + 1); /* at once: who has the answer finds it counted */
		say(fd, GET("/work"));
		expect(fd, 200, "tiny");
		say(fd, GET("/item/with-an-id?and=query"));
		expect(fd, 200, NULL);
	}
	say(fd, GET("/silent"));
	expect(fd, 500, NULL);
	say(fd, "PUT /refuse HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
	expect(fd, 403, NULL);
	expect_answers("GET", "/work", "200", 3);
	expect_answers("GET", "/item/{id}", "200", 3);
	expect_answers("GET", "/silent", "500", 1);
	expect_answers("PUT", "/refuse", "403", 1);
	await("glint_http_request_seconds_count{method=\"GET\",route=\"/item/{id}\"}", 3);
	await("glint_http_request_seconds_count{method=\"PUT\",route=\"/refuse\"}", 1);
	close(fd);
}

static void test_what_no_route_knows_is_one_row(void **state)
{
	char text[128];
	int fd = dial(*state);
	size_t n_lines;

	say(fd, GET("/nothing"));
	expect(fd, 404, NULL);
	n_lines = count_lines("glint_http_requests_total{");
	for (int i = 0; i < 300; i++) {
		(void)snprintf(text, sizeof(text), "GET /%d/\"quoted\"%%20/%d HTTP/1.1\r\n" HOST "\r\n", i,
			       i);
		say(fd, text);
		expect(fd, 404, NULL);
	}
	assert_int_equal(count_lines("glint_http_requests_total{"), n_lines);
	say(fd, "BREW /tiny HTTP/1.1\r\n" HOST "\r\n");
	expect(fd, 405, NULL);
	say(fd, GET("/%ff"));
	expect(fd, 400, NULL);
	say(fd, "GET /tiny HTTP/9.9\r\n" HOST "\r\n");
	expect(fd, 505, NULL);
	expect_answers("other", "other", "404", 301);
	expect_answers("other", "other", "405", 1);
	expect_answers("other", "other", "400", 1);
	expect_answers("other", "other", "505", 1);
	assert_int_equal(count_lines("glint_http_requests_total{"), n_lines + 3);
	close(fd);
}

static void test_octets(void **state)
{
	static const char upload[] = "PUT /stream HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n";
	static const char get[] = "GET /file?offset=0&length=3000000 HTTP/1.1\r\n" HOST "\r\n";
	char *data = calloc(1, 100000);
	int fd = dial(*state);
	struct answer a;
	size_t n_sent;

	say(fd, upload);
	say_n(fd, data, 100000);
	hear(fd, &a, true);
	n_sent = strlen(a.head) + a.n_body;
	answer_done(&a);
	say(fd, get);
	hear(fd, &a, true);
	assert_int_equal(a.n_body, 3000000);
	n_sent += strlen(a.head) + a.n_body;
	answer_done(&a);
	await("glint_http_received_bytes_total", (int64_t)(sizeof(upload) - 1 + 100000 + sizeof(get) - 1));
	await("glint_http_sent_bytes_total", (int64_t)n_sent);
	await("glint_http_request_seconds_count{method=\"GET\",route=\"/file\"}", 1);
	free(data);
	close(fd);
}

static void test_connections(void **state)
{
	int one = dial(*state), two = dial(*state);

	await("glint_http_connections", 2);
	close(one);
	await("glint_http_connections", 1);
	close(two);
	await("glint_http_connections", 0);
}

/* The answer is made, but nobody takes it: counted all the same, and its time when the client has gone. */
static void test_client_gone(void **state)
{
	int fd = dial_small(*state);

	say(fd, GET("/large?n=50000000"));
	await("glint_http_requests_total{method=\"GET\",route=\"/large\",status=\"200\"}", 1);
	assert_int_equal(measured("glint_http_request_seconds_count{method=\"GET\",route=\"/large\"}"), -1);
	close(fd);
	await("glint_http_request_seconds_count{method=\"GET\",route=\"/large\"}", 1);
}

/* Half a request is none. */
static void test_no_request(void **state)
{
	int fd = dial(*state);

	say(fd, "GET /tiny HT");
	await("glint_http_received_bytes_total", 12);
	close(fd);
	await("glint_http_connections", 0);
	assert_int_equal(count_lines("glint_http_requests_total{"), 0);
	assert_int_equal(count_lines("glint_http_request_seconds_count{"), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_routes_and_statuses),
		TEST(test_what_no_route_knows_is_one_row),
		TEST(test_octets),
		TEST(test_connections),
		TEST(test_client_gone),
		TEST(test_no_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

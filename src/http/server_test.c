/* SPDX-License-Identifier: Apache-2.0
 * http/server_test.c -- requests and answers, over raw sockets: good, bad, in pieces, in files. */
#include "testing.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void test_keep_alive(void **state)
{
	int fd = dial(*state);
	struct answer a;

	for (int i = 0; i < 3; i++) {
		say(fd, GET("/tiny"));
		expect(fd, 200, "tiny");
		say(fd, GET("/work"));
		expect(fd, 200, "tiny");
	}
	say(fd, GET("/tiny"));
	hear(fd, &a, true);
	assert_null(answer_header(&a, "Connection"));
	assert_string_equal(answer_header(&a, "X-Content-Type-Options"), "nosniff");
	assert_string_equal(answer_header(&a, "Content-Type"), "text/plain");
	assert_int_equal(strlen(answer_header(&a, "X-Openstack-Request-Id")), 40);
	assert_int_equal(strlen(answer_header(&a, "Date")), 29);
	answer_done(&a);
	say(fd, "DELETE /item/7 HTTP/1.1\r\n" HOST "\r\n");
	hear(fd, &a, false);
	assert_int_equal(a.status, 204);
	assert_null(answer_header(&a, "Content-Length"));
	answer_done(&a);
	say(fd, "GET /tiny HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
	hear(fd, &a, true);
	assert_string_equal(answer_header(&a, "Connection"), "close");
	answer_done(&a);
	expect_end(fd);
}

/* An inline handler that asked for it is called again where it may block, others are served meanwhile. */
static void test_inline_goes_to_a_worker(void **state)
{
	int fd = dial(*state);

	for (int i = 0; i < 3; i++) {
		say(fd, GET("/choosy") GET("/tiny"));
		expect(fd, 200, "http-work");
		expect(fd, 200, "tiny");
	}
}

/* The answer is given by the loop, whoever has put it off; what is pipelined behind it waits for it. */
static void test_answers_put_off(void **state)
{
	int fd = dial(*state);

	for (int i = 0; i < 50; i++) {
		say(fd, GET("/late") GET("/tiny") GET("/late-work") GET("/tiny"));
		expect(fd, 200, "http-loop");
		expect(fd, 200, "tiny");
		expect(fd, 200, "http-loop");
		expect(fd, 200, "tiny");
	}
	say(fd, GET("/late"));
	(void)close(fd); /* nobody there any more: nothing to see, but for the sanitizers */
}

/* By a thread of the handler's own, piece by piece. What is not all of it ends the connection. */
static void test_bodies_by_a_thread(void **state)
{
	struct env *env = *state;
	struct answer a;
	int fd = dial(env);

	say(fd, GET("/feed?length=3000000&n=3000000") GET("/tiny"));
	assert_true(hear(fd, &a, true));
	assert_int_equal(a.n_body, 3000000);
	answer_done(&a);
	expect(fd, 200, "tiny");
	say(fd, GET("/feed?length=0&n=0") GET("/feed?length=5000&n=3000"));
	expect(fd, 200, "");
	assert_true(hear(fd, &a, false));
	answer_done(&a);
	for (size_t n = 1, sum = 0; n > 0; sum += n) {
		char data[4096];

		n = hear_some(fd, data, sizeof(data));
		assert_true(n > 0 || sum == 3000);
	}
	wait_until(env, &env->n_fed, 3);
	assert_int_equal(env->feed_result, 0);
	close(fd);
	fd = dial(env);
	say(fd, GET("/feed?length=900000000&n=900000000"));
	assert_true(hear(fd, &a, false));
	answer_done(&a);
	close(fd);
	wait_until(env, &env->n_fed, 4);
	assert_int_equal(env->feed_result, ERR_DISCONNECTED);
}

static void test_http10(void **state)
{
	struct answer a;
	int fd = dial(*state);

	say(fd, "GET /tiny HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	hear(fd, &a, true);
	assert_string_equal(answer_header(&a, "Connection"), "keep-alive");
	answer_done(&a);
	say(fd, "GET /tiny HTTP/1.0\r\n\r\n");
	hear(fd, &a, true);
	assert_string_equal(answer_header(&a, "Connection"), "close");
	answer_done(&a);
	expect_end(fd);
}

static void test_pipelining(void **state)
{
	static const char plain[] = "POST /work HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello";
	static const char chunked[] = "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
				      "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
	int fd = dial(*state);
	char four[1024];

	(void)snprintf(four, sizeof(four), "%s%s%s%s", GET("/item/1"), plain, GET("/tiny"), chunked);
	for (int i = 0; i < 50; i++)
		say(fd, four);
	for (int i = 0; i < 50; i++) {
		expect(fd, 200, NULL);
		expect(fd, 200, "hello");
		expect(fd, 200, "tiny");
		expect(fd, 200, "abc");
	}
	close(fd);
}

static void test_octet_by_octet(void **state)
{
	static const char text[] =
		"POST /echo HTTP/1.1\r\n" HOST
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n";
	int fd = dial(*state), on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (const char *c = text; *c; c++)
		say_n(fd, c, 1);
	expect(fd, 200, "abcde");
	close(fd);
}

/* The refusal is the only answer, whatever follows, and the connection ends. */
static void test_smuggling(void **state)
{
	static const struct {
		const char *head;
		int status;
	} bad[] = {
		{"POST /echo HTTP/1.1\r\n" HOST
		 "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		 400},
		{"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\nContent-Length: 4\r\n\r\n", 400},
		{"POST /echo HTTP/1.1\r\n" HOST "Content-Length: +4\r\n\r\n", 400},
		{"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
		{"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
		 400},
		{"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF1\r\n\r\n",
		 400},
		{"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
		{"POST /echo HTTP/1.1\r\n" HOST "X: a\r\n Content-Length: 4\r\n\r\n", 400},
		{"GET /tiny HTTP/1.1\n" HOST "\n", 400},
		{"GET /tiny HTTP/1.1\r\n\r\n", 400},
		{"GET /tiny HTTP/1.1\r\n" HOST HOST "\r\n", 400},
		{"GET /tiny HTTP/3.0\r\n" HOST "\r\n", 505},
		{"GET /tiny HTTP/1.1\r\n" HOST "Expect: cake\r\n\r\n", 417},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int fd = dial(*state);
		struct answer a;

		say(fd, bad[i].head);
		say(fd, GET("/item/smuggled"));
		assert_true(hear(fd, &a, true));
		if (a.status != bad[i].status)
			fail_msg("%s\nexpected %d, got %s", bad[i].head, bad[i].status, a.head);
		assert_string_equal(answer_header(&a, "Connection"), "close");
		assert_non_null(answer_header(&a, "X-Openstack-Request-Id"));
		assert_non_null(strstr(a.body, "{\"error\": {\"code\": "));
		answer_done(&a);
		expect_end(fd);
	}
}

static void test_too_long(void **state)
{
	char text[8192];
	int fd = dial(*state);

	memset(text, 'a', sizeof(text));
	say(fd, "GET /");
	say_n(fd, text, sizeof(text));
	expect(fd, 414, NULL);
	expect_end(fd);
	fd = dial(*state);
	say(fd, "GET /tiny HTTP/1.1\r\nX: ");
	say_n(fd, text, sizeof(text));
	expect(fd, 431, NULL);
	expect_end(fd);
}

static void test_routing(void **state)
{
	static const struct {
		const char *request;
		int status;
	} cases[] = {
		{"GET /nope", 404},       {"GET /item/..", 404},      {"GET /item/%2e%2E", 404},
		{"GET /tiny/", 404},      {"GET //tiny", 404},        {"GET /item/", 404},
		{"GET /item/%00", 400},   {"GET /item/%ff", 400},     {"GET /item/%2", 400},
		{"GET /item/a?b=%", 400}, {"GET /item/a?%00", 400},   {"HEAD /echo", 405},
		{"TRACE /tiny", 405},     {"CONNECT a:443", 405},     {"get /tiny", 405},
		{"GET *", 404},           {"GET http://h/tiny", 200}, {"OPTIONS *", 404},
	};
	int fd = dial(*state);
	char text[256];
	struct answer a;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		(void)snprintf(text, sizeof(text), "%s HTTP/1.1\r\n" HOST "\r\n", cases[i].request);
		say(fd, text);
		assert_true(hear(fd, &a, strncmp(text, "HEAD", 4) != 0));
		if (a.status != cases[i].status)
			fail_msg("%s: %s", cases[i].request, a.head);
		assert_true((a.status == 405) == (answer_header(&a, "Allow") != NULL));
		answer_done(&a);
	}
	say(fd, "PATCH /tiny HTTP/1.1\r\n" HOST "\r\n");
	hear(fd, &a, true);
	assert_string_equal(answer_header(&a, "Allow"), "GET, HEAD");
	answer_done(&a);
	close(fd);
}

static void test_request(void **state)
{
	struct answer a;
	int fd = dial(*state);

	say(fd, "GET /item/a%2Fb?x=1+2&y HTTP/1.1\r\n" HOST "X-OpenStack-Request-ID: req-mine\r\n\r\n");
	hear(fd, &a, true);
	assert_string_equal(a.body, "/item/a%2Fb a/b peer=127.0.0.1 id=req-mine x=1 2 y=");
	assert_string_equal(answer_header(&a, "X-Openstack-Request-Id"), "req-mine");
	answer_done(&a);
	say(fd, "GET /headers HTTP/1.1\r\n" HOST "X-One:  1 \r\nX-ONE: 2\r\n\r\n");
	hear(fd, &a, true);
	assert_string_equal(a.body, "1");
	assert_string_equal(answer_header(&a, "X-Good"), "yes");
	assert_null(answer_header(&a, "X-Bad"));
	assert_null(answer_header(&a, "X-Split"));
	answer_done(&a);
	say(fd, "HEAD /tiny HTTP/1.1\r\n" HOST "X-Openstack-Request-Id: abc\r\n\r\n");
	hear(fd, &a, false);
	assert_string_equal(answer_header(&a, "Content-Length"), "4");
	assert_string_equal(answer_header(&a, "X-Openstack-Request-Id"), "req-abc");
	answer_done(&a);
	say(fd, GET("/silent"));
	expect(fd, 500, NULL);
	say(fd, "GET /tiny HTTP/1.1\r\n" HOST "X-Openstack-Request-Id: a b\r\n\r\n");
	expect(fd, 400, NULL);
	say(fd, "GET /tiny HTTP/1.1\r\n" HOST "X-Openstack-Request-Id: "
		"12345678901234567890123456789012345678901234567890123456789012345\r\n\r\n");
	expect(fd, 431, NULL);
	close(fd);
}

static void test_whole_body_limits(void **state)
{
	char *data = calloc(1, 100001);
	int fd = dial(*state);

	memset(data, 'b', 100000);
	say(fd, "POST /work HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
	say_n(fd, data, 100000);
	expect(fd, 200, data);
	say(fd, "POST /work HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n186a0\r\n");
	say_n(fd, data, 100000);
	say(fd, "\r\n0\r\n\r\n");
	expect(fd, 200, data);
	say(fd, "POST /work HTTP/1.1\r\n" HOST "Content-Length: 100001\r\n\r\n");
	expect(fd, 413, NULL); /* nothing of the body needed to be sent */
	expect_end(fd);
	fd = dial(*state);
	say(fd, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n7FFFFFFFFFFFFFFF\r\n");
	say_n(fd, data, 100001);
	expect(fd, 413, NULL);
	close(fd);
	free(data);
}

static void test_continue(void **state)
{
	int fd = dial(*state);

	say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
	expect(fd, 100, NULL);
	say(fd, "ab");
	expect(fd, 200, "ab");
	say(fd, "PUT /stream HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
	expect(fd, 100, NULL);
	say(fd, "1\r\na\r\n0\r\n\r\n");
	expect(fd, 200, "1 00000061");
	/* with the body at once there is nothing to wait for */
	say(fd, "PUT /stream HTTP/1.1\r\n" HOST "Content-Length: 1\r\nExpect: 100-continue\r\n\r\na");
	expect(fd, 200, "1 00000061");
	say(fd, "PUT /refuse HTTP/1.1\r\n" HOST "Content-Length: 9999999\r\nExpect: 100-continue\r\n\r\n");
	expect(fd, 403, NULL);
	expect_end(fd);
	fd = dial(*state);
	say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 9999999\r\nExpect: 100-continue\r\n\r\n");
	expect(fd, 413, NULL);
	expect_end(fd);
	fd = dial(*state);
	say(fd, "POST /nope HTTP/1.1\r\n" HOST "Content-Length: 1\r\nExpect: 100-continue\r\n\r\n");
	expect(fd, 404, NULL);
	expect_end(fd);
}

/* A client that never ends its body must see the answer all the same. */
static void test_early_answer(void **state)
{
	char data[20000];
	int fd = dial(*state);
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
	int n = snprintf(data, sizeof(data), "1000\r\n");
	size_t n_said = 0;

	memset(data + n, 'x', 0x1000);
	memcpy(data + n + 0x1000, "\r\n", 2);
	n += 0x1002;
	say(fd, "PUT /early HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
	while (poll(&p, 1, PATIENCE_MS) == 1 && !(p.revents & POLLIN)) {
		say_n(fd, data, (size_t)n);
		n_said += (size_t)n;
	}
	assert_true(n_said >= 100000);
	for (int i = 0; i < 100; i++) /* what is under way when the answer comes does no harm */
		say_n(fd, data, (size_t)n);
	expect(fd, 413, NULL);
	expect_end(fd);
}

static unsigned sum_of(const char *data, size_t n)
{
	unsigned sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = sum * 31 + (unsigned char)data[i];
	return sum;
}

static void test_stream(void **state)
{
	size_t n = 3000000;
	char *data = malloc(n), text[64];
	int fd = dial(*state);

	for (size_t i = 0; i < n; i++)
		data[i] = (char)file_octet(i);
	(void)snprintf(text, sizeof(text), "%zu %08x", n, sum_of(data, n));
	say(fd, "PUT /stream HTTP/1.1\r\n" HOST "Content-Length: 3000000\r\n\r\n");
	say_n(fd, data, n);
	expect(fd, 200, text);
	say(fd, "PUT /stream HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
	for (size_t i = 0, step = 1; i < n; i += step, step = (step * 5 + 3) % 90001 + 1) {
		char size[16];

		step = step < n - i ? step : n - i;
		(void)snprintf(size, sizeof(size), "%zx\r\n", step);
		say(fd, size);
		say_n(fd, data + i, step);
		say(fd, "\r\n");
	}
	say(fd, "0\r\n\r\n" GET("/tiny"));
	expect(fd, 200, text);
	expect(fd, 200, "tiny");
	say(fd, "PUT /stream HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n" GET("/tiny"));
	expect(fd, 200, "0 00000000");
	expect(fd, 200, "tiny");
	close(fd);
	free(data);
}

static void test_stream_disconnect(void **state)
{
	struct env *env = *state;
	int fd = dial(env);

	say(fd, "PUT /stream HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc");
	close(fd);
	wait_until(env, &env->n_body_ends, 1);
	assert_int_equal(env->body_code, ERR_DISCONNECTED);
	assert_non_null(strstr(env->body_err.text, "7 of 10"));
	fd = dial(env);
	say(fd, "PUT /stream HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc");
	shutdown(fd, SHUT_WR); /* it may still listen */
	expect(fd, 400, NULL);
	expect_end(fd);
	assert_int_equal(env->body_code, ERR_DISCONNECTED);
	fd = dial(env);
	say(fd, "PUT /stream HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc3");
	expect(fd, 400, NULL);
	expect_end(fd);
	assert_int_equal(env->body_code, ERR_INVALID);
}

static void check_file(const struct answer *a, size_t offset, size_t n)
{
	assert_int_equal(a->status, 200);
	assert_int_equal(a->n_body, n);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)a->body[i] != file_octet(offset + i))
			fail_msg("octet %zu of the file is wrong", i);
}

static void test_file(void **state)
{
	struct env *env = *state;
	struct answer a;
	int fd = dial(env);

	say(fd, GET("/file?o=0&n=8388608") GET("/inline-file?o=1000001&n=99999") GET("/tiny"));
	assert_true(hear(fd, &a, true));
	check_file(&a, 0, FILE_BYTES);
	answer_done(&a);
	assert_true(hear(fd, &a, true));
	check_file(&a, 1000001, 99999);
	answer_done(&a);
	expect(fd, 200, "tiny");
	wait_until(env, &env->n_sent_calls, 2);
	assert_true(env->complete);

	say(fd, GET("/file?o=5&n=0"));
	expect(fd, 200, "");
	wait_until(env, &env->n_sent_calls, 3);
	assert_true(env->complete && env->n_sent == 0);
	say(fd, "HEAD /file?o=0&n=8388608 HTTP/1.1\r\n" HOST "\r\n");
	assert_true(hear(fd, &a, false));
	assert_string_equal(answer_header(&a, "Content-Length"), "8388608");
	answer_done(&a);
	wait_until(env, &env->n_sent_calls, 4);
	assert_true(env->complete && env->n_sent == 0);
	say(fd, GET("/file?o=8388600&n=8"));
	assert_true(hear(fd, &a, true));
	check_file(&a, 8388600, 8);
	answer_done(&a);
	wait_until(env, &env->n_sent_calls, 5);
	assert_true(env->complete && env->n_sent == 8);
	close(fd);
}

static void test_file_short(void **state)
{
	struct env *env = *state;
	struct answer a;
	int fd = dial(env);

	say(fd, GET("/file?o=8388000&n=1000"));
	assert_true(hear(fd, &a, true));
	check_file(&a, 8388000, 608);
	answer_done(&a);
	expect_end(fd);
	wait_until(env, &env->n_sent_calls, 1);
	assert_true(!env->complete && env->n_sent == 608);
}

/* The client takes a million octets and goes. What its kernel had acknowledged counts as sent: a delayed
 * acknowledgement of two segments (64 KiB each on the loopback) less, a receive buffer more. */
static void test_file_abort(void **state)
{
	struct env *env = *state;
	static char data[1000000];
	int fd = dial_small(env);
	size_t n = 0;

	say(fd, GET("/file?o=0&n=8388608"));
	while (n < sizeof(data))
		n += hear_some(fd, data + n, sizeof(data) - n);
	close(fd);
	wait_until(env, &env->n_sent_calls, 1);
	assert_false(env->complete);
	assert_in_range(env->n_sent, 1000000 - 2 * 65536, 1400000);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, test_setup, test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keep_alive),        TEST(test_http10),       TEST(test_pipelining),
		TEST(test_answers_put_off),   TEST(test_inline_goes_to_a_worker),
		TEST(test_octet_by_octet),    TEST(test_smuggling),    TEST(test_too_long),
		TEST(test_routing),           TEST(test_request),      TEST(test_whole_body_limits),
		TEST(test_continue),          TEST(test_early_answer), TEST(test_stream),
		TEST(test_stream_disconnect), TEST(test_file),         TEST(test_file_short),
		TEST(test_file_abort),        TEST(test_bodies_by_a_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * http/server_test.c -- a real server, spoken to over raw sockets. */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"

#define PATIENCE_MS 20000 /* how long a test waits for what must come */
#define FILE_BYTES (8 << 20)

struct env {
	struct http_server *server;
	char dir[32], file[64];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	int n_sent_calls;
	int64_t n_sent;
	bool complete;
	int body_code; /* how the last STREAM body ended */
	struct err body_err;
	int n_body_ends;
	int n_blocked; /* handlers in /block */
	bool unblock;
};

/* -- handlers -------------------------------------------------------------------------------------- */

static void reply_text(struct http_request *req, int status, const char *text)
{
	struct buf b = {0};

	buf_adds(&b, text);
	http_reply(req, status, "text/plain", &b);
}

static void handle_tiny(void *cls, struct http_request *req)
{
	reply_text(req, 200, "tiny");
}

static void handle_echo(void *cls, struct http_request *req)
{
	struct buf b = {0};
	size_t n;
	const char *body = http_body(req, &n);

	assert_int_equal(body[n], 0);
	buf_add(&b, body, n);
	http_reply(req, 200, "text/plain", &b);
}

static void handle_item(void *cls, struct http_request *req)
{
	struct buf b = {0};
	size_t n;
	const struct http_pair *q = http_query(req, &n);

	buf_addf(&b, "%s %s peer=%s id=%s", http_path(req), http_param(req, "id"), http_peer(req),
		 http_request_id(req));
	for (size_t i = 0; i < n; i++)
		buf_addf(&b, " %s=%s", q[i].name, q[i].value);
	http_reply(req, 200, "text/plain", &b);
}

static void handle_headers(void *cls, struct http_request *req)
{
	http_add_header(req, "X-Good", "yes");
	http_add_header(req, "X-Bad", "a\r\nX-Split: b");
	reply_text(req, 200, http_header(req, "x-one"));
}

static void handle_silent(void *cls, struct http_request *req)
{
}

static void handle_gone(void *cls, struct http_request *req)
{
	http_reply_empty(req, 204);
}

static void body_ended(struct env *env, int code, const struct err *err)
{
	pthread_mutex_lock(&env->lock);
	env->body_code = code;
	env->body_err = *err;
	env->n_body_ends++;
	pthread_cond_broadcast(&env->changed);
	pthread_mutex_unlock(&env->lock);
}

static int status_of(int code)
{
	return code == ERR_TIMEOUT ? 408 : 400;
}

/* Answers with the number of octets and their sum. */
static void handle_stream(void *cls, struct http_request *req)
{
	struct err err = {0};
	char *data = malloc(70000), text[64];
	unsigned sum = 0;
	size_t total = 0;
	ssize_t n;

	while ((n = http_body_read(req, data, 70000, &err)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			sum = sum * 31 + (unsigned char)data[i];
		total += (size_t)n;
	}
	free(data);
	body_ended(cls, (int)n, &err);
	(void)snprintf(text, sizeof(text), "%zu %08x", total, sum);
	if (n < 0)
		http_reply_error(req, status_of((int)n), err.text);
	else
		reply_text(req, 200, text);
}

static void handle_early(void *cls, struct http_request *req)
{
	char data[4096];
	size_t total = 0;
	ssize_t n = 1;

	while (total < 100000 && n > 0) {
		n = http_body_read(req, data, sizeof(data), NULL);
		total += n > 0 ? (size_t)n : 0;
	}
	http_reply_error(req, 413, "enough");
}

static void handle_refuse(void *cls, struct http_request *req)
{
	http_reply_error(req, 403, "no");
}

static void file_sent(void *cls, int64_t n_sent, bool complete)
{
	struct env *env = cls;

	pthread_mutex_lock(&env->lock);
	env->n_sent_calls++;
	env->n_sent = n_sent;
	env->complete = complete;
	pthread_cond_broadcast(&env->changed);
	pthread_mutex_unlock(&env->lock);
}

static int64_t query_number(struct http_request *req, size_t i)
{
	size_t n;
	const struct http_pair *q = http_query(req, &n);

	return i < n ? strtoll(q[i].value, NULL, 10) : 0;
}

/* /file?offset=..&length=.. */
static void handle_file(void *cls, struct http_request *req)
{
	struct env *env = cls;
	int fd = open(env->file, O_RDONLY | O_CLOEXEC);

	http_reply_file(req, 200, "application/octet-stream", fd, query_number(req, 0), query_number(req, 1),
			file_sent, env);
}

static void handle_block(void *cls, struct http_request *req)
{
	struct env *env = cls;

	pthread_mutex_lock(&env->lock);
	env->n_blocked++;
	pthread_cond_broadcast(&env->changed);
	while (!env->unblock)
		pthread_cond_wait(&env->changed, &env->lock);
	pthread_mutex_unlock(&env->lock);
	reply_text(req, 200, "unblocked");
}

static void handle_large(void *cls, struct http_request *req)
{
	struct buf b = {0};
	size_t n = (size_t)query_number(req, 0);

	if (buf_reserve(&b, n)) {
		memset(b.data, 'x', n);
		b.data[n] = '\0';
		b.len = n;
	}
	http_reply(req, 200, "text/plain", &b);
}

static const struct http_route routes[] = {
	{"GET", "/tiny", HTTP_INLINE, handle_tiny},         {"HEAD", "/tiny", HTTP_INLINE, handle_tiny},
	{"GET", "/work", HTTP_WORKER, handle_tiny},         {"POST", "/echo", HTTP_INLINE, handle_echo},
	{"POST", "/work", HTTP_WORKER, handle_echo},        {"GET", "/item/{id}", HTTP_INLINE, handle_item},
	{"GET", "/headers", HTTP_INLINE, handle_headers},   {"GET", "/silent", HTTP_INLINE, handle_silent},
	{"DELETE", "/item/{id}", HTTP_WORKER, handle_gone}, {"PUT", "/stream", HTTP_STREAM, handle_stream},
	{"PUT", "/early", HTTP_STREAM, handle_early},       {"PUT", "/refuse", HTTP_STREAM, handle_refuse},
	{"GET", "/file", HTTP_WORKER, handle_file},         {"HEAD", "/file", HTTP_WORKER, handle_file},
	{"GET", "/inline-file", HTTP_INLINE, handle_file},  {"GET", "/block", HTTP_WORKER, handle_block},
	{"GET", "/large", HTTP_INLINE, handle_large},       {NULL},
};

/* -- set up ---------------------------------------------------------------------------------------- */

static unsigned char file_octet(size_t i)
{
	return (unsigned char)(i * 7 + i / 251);
}

static void make_file(struct env *env)
{
	unsigned char *data = malloc(FILE_BYTES);
	int fd;

	(void)snprintf(env->dir, sizeof(env->dir), "/tmp/http_test.XXXXXX");
	assert_non_null(mkdtemp(env->dir));
	(void)snprintf(env->file, sizeof(env->file), "%s/file", env->dir);
	for (size_t i = 0; i < FILE_BYTES; i++)
		data[i] = file_octet(i);
	fd = open(env->file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, data, FILE_BYTES), FILE_BYTES);
	close(fd);
	free(data);
}

static void start(struct env *env, struct http_config *c)
{
	struct err err = {0};

	c->listen = "127.0.0.1:0";
	c->routes = routes;
	c->cls = env;
	c->n_loops = 2;
	c->max_workers = 8;
	c->max_streams = 8;
	c->max_header_bytes = 4096;
	c->max_headers = 20;
	c->max_body_bytes = 100000;
	c->max_request_id_bytes = 64;
	if (http_new(c, &env->server, &err) < 0 || http_start(env->server, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup_with(void **state, struct http_config config)
{
	struct env *env = calloc(1, sizeof(*env));

	pthread_mutex_init(&env->lock, NULL);
	pthread_cond_init(&env->changed, NULL);
	make_file(env);
	start(env, &config);
	*state = env;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, (struct http_config){0});
}

#define SHORT_US 150000

static int setup_short_timeouts(void **state)
{
	return setup_with(state, (struct http_config){.idle_timeout_us = SHORT_US,
						      .header_timeout_us = SHORT_US,
						      .body_timeout_us = SHORT_US,
						      .min_rate_bytes = 1000});
}

static int setup_four_connections(void **state)
{
	return setup_with(state, (struct http_config){.max_connections = 4});
}

static int teardown(void **state)
{
	struct env *env = *state;

	http_free(env->server);
	unlink(env->file);
	rmdir(env->dir);
	pthread_cond_destroy(&env->changed);
	pthread_mutex_destroy(&env->lock);
	free(env);
	return 0;
}

/* Until *counter is @n. */
static void wait_until(struct env *env, const int *counter, int n)
{
	struct timespec deadline;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += PATIENCE_MS / 1000;
	pthread_mutex_lock(&env->lock);
	while (*counter < n && r == 0)
		r = pthread_cond_timedwait(&env->changed, &env->lock, &deadline);
	pthread_mutex_unlock(&env->lock);
	assert_int_equal(*counter, n);
}

/* -- a client -------------------------------------------------------------------------------------- */

static struct sockaddr_in address_of(struct env *env)
{
	const char *port = strrchr(http_address(env->server), ':') + 1;

	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void dial_with(struct env *env, int fd)
{
	struct sockaddr_in sa = address_of(env);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
}

static int dial(struct env *env)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	dial_with(env, fd);
	return fd;
}

static void say_n(int fd, const void *data, size_t n)
{
	assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), n);
}

static void say(int fd, const char *text)
{
	say_n(fd, text, strlen(text));
}

/* Up to @n octets; 0 at the end (a reset is one, too). */
static size_t hear_some(int fd, void *data, size_t n)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t got;

	if (poll(&p, 1, PATIENCE_MS) != 1)
		fail_msg("the server said nothing");
	got = recv(fd, data, n, 0);
	return got > 0 ? (size_t)got : 0;
}

struct answer {
	int status;
	char head[4096];
	char *body;
	size_t n_body;
};

static void answer_done(struct answer *a)
{
	free(a->body);
	a->body = NULL;
}

static const char *answer_header(const struct answer *a, const char *name)
{
	static char value[1024];
	char key[128];
	const char *at;

	(void)snprintf(key, sizeof(key), "\r\n%s: ", name);
	at = strcasestr(a->head, key);
	if (!at)
		return NULL;
	(void)snprintf(value, sizeof(value), "%.*s", (int)strcspn(at + strlen(key), "\r"), at + strlen(key));
	return value;
}

/* Reads one answer; false if the connection ended before it began. */
static bool hear_head(int fd, struct answer *a)
{
	size_t n = 0;

	*a = (struct answer){0};
	while (n < sizeof(a->head) - 1 && !strstr(a->head, "\r\n\r\n"))
		if (hear_some(fd, a->head + n, 1) == 1)
			n++;
		else
			break;
	if (!n)
		return false;
	if (sscanf(a->head, "HTTP/1.1 %d ", &a->status) != 1)
		fail_msg("no answer: %s", a->head);
	return true;
}

static bool hear(int fd, struct answer *a, bool with_body)
{
	const char *length;
	size_t n, got = 0;

	if (!hear_head(fd, a))
		return false;
	length = answer_header(a, "Content-Length");
	n = length && with_body ? strtoul(length, NULL, 10) : 0;
	a->body = calloc(1, n + 1);
	while (a->n_body < n && (got = hear_some(fd, a->body + a->n_body, n - a->n_body)) > 0)
		a->n_body += got;
	return true;
}

static void expect(int fd, int status, const char *body)
{
	struct answer a;

	assert_true(hear(fd, &a, true));
	if (a.status != status || (body && strcmp(a.body, body) != 0))
		fail_msg("expected %d %s, got: %s%s", status, body ? body : "", a.head, a.body);
	answer_done(&a);
}

static void expect_end(int fd)
{
	char c;

	assert_int_equal(hear_some(fd, &c, 1), 0);
	close(fd);
}

#define HOST "Host: localhost\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

/* -- tests ----------------------------------------------------------------------------------------- */

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
	int small = 65536;
	static char data[1000000];
	size_t n = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	dial_with(env, fd);
	say(fd, GET("/file?o=0&n=8388608"));
	while (n < sizeof(data))
		n += hear_some(fd, data + n, sizeof(data) - n);
	close(fd);
	wait_until(env, &env->n_sent_calls, 1);
	assert_false(env->complete);
	assert_in_range(env->n_sent, 1000000 - 2 * 65536, 1400000);
}

/* -- timeouts: SHORT_US for each, 1000 octets a second --------------------------------------------- */

static void test_timeouts(void **state)
{
	int idle = dial(*state), head = dial(*state), body = dial(*state), stream = dial(*state);
	int64_t begin_us = clock_mono_us();
	struct env *env = *state;

	say(head, "GET /tiny HTT");
	say(body, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nabc");
	say(stream, "PUT /stream HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nabc");
	expect(head, 408, NULL);
	expect(body, 408, NULL);
	expect(stream, 408, NULL);
	assert_int_equal(env->body_code, ERR_TIMEOUT);
	expect_end(idle);
	assert_true(clock_mono_us() - begin_us >= SHORT_US);
	expect_end(head);
	expect_end(body);
	expect_end(stream);
}

/* One octet every few milliseconds is never silent, but too slow. */
static void trickle(int fd, const char *text)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	say(fd, text);
	for (int i = 0; i < 1000 && poll(&p, 1, 20) == 0; i++)
		(void)!send(fd, "x", 1, MSG_NOSIGNAL);
}

static void test_trickle(void **state)
{
	int fd = dial(*state);

	trickle(fd, "GET /");
	expect(fd, 408, NULL);
	expect_end(fd);
	fd = dial(*state);
	trickle(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 90000\r\n\r\n");
	expect(fd, 408, NULL);
	expect_end(fd);
	fd = dial(*state);
	trickle(fd, "PUT /stream HTTP/1.1\r\n" HOST "Content-Length: 90000\r\n\r\n");
	expect(fd, 408, NULL);
	expect_end(fd);
}

/* A client that does not read its answer is cut off. */
static void test_reader_stalls(void **state)
{
	struct env *env = *state;
	struct pollfd p = {.events = POLLRDHUP};
	struct answer a;

	p.fd = dial(env);
	say(p.fd, GET("/file?o=0&n=8388608"));
	wait_until(env, &env->n_sent_calls, 1);
	assert_false(env->complete);
	assert_true(env->n_sent < FILE_BYTES);
	close(p.fd);
	p.fd = dial(env);
	say(p.fd, GET("/large?n=90000000"));
	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	close(p.fd);
	p.fd = dial(env);
	say(p.fd, GET("/large?n=9000000"));
	assert_true(hear(p.fd, &a, true));
	assert_int_equal(a.n_body, 9000000);
	answer_done(&a);
	close(p.fd);
}

/* -- many connections, too many -------------------------------------------------------------------- */

static void test_idle_connections(void **state)
{
	static int fds[2000];
	struct rlimit before, many;

	getrlimit(RLIMIT_NOFILE, &before);
	many = (struct rlimit){.rlim_cur = before.rlim_max, .rlim_max = before.rlim_max};
	setrlimit(RLIMIT_NOFILE, &many);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = dial(*state);
		if (i % 2 == 0)
			say(fds[i], GET("/tiny"));
	}
	for (size_t i = 0; i < ARRAY_LEN(fds); i += 2)
		expect(fds[i], 200, "tiny");
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		say(fds[i], GET("/work"));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		expect(fds[i], 200, "tiny");
		close(fds[i]);
	}
	setrlimit(RLIMIT_NOFILE, &before);
}

static void test_max_connections(void **state)
{
	struct pollfd p = {.events = POLLIN};
	int fds[4];

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = dial(*state);
		say(fds[i], GET("/tiny"));
		expect(fds[i], 200, "tiny");
	}
	p.fd = dial(*state); /* by the kernel, not by the server */
	say(p.fd, GET("/tiny"));
	assert_int_equal(poll(&p, 1, 250), 0);
	close(fds[0]);
	expect(p.fd, 200, "tiny");
	for (size_t i = 1; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	close(p.fd);
}

static void test_no_descriptors(void **state)
{
	struct rlimit before, none;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	getrlimit(RLIMIT_NOFILE, &before);
	none = (struct rlimit){.rlim_cur = (rlim_t)fd + 1, .rlim_max = before.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	dial_with(*state, fd);
	say(fd, GET("/tiny"));
	assert_int_equal(poll(&p, 1, 250), 0);
	setrlimit(RLIMIT_NOFILE, &before);
	expect(fd, 200, "tiny");
	close(fd);
}

/* -- stopping -------------------------------------------------------------------------------------- */

static void *stop(void *arg)
{
	struct env *env = arg;

	http_stop(env->server, (int64_t)PATIENCE_MS * 1000);
	return NULL;
}

static void test_stop_drains(void **state)
{
	struct env *env = *state;
	int idle = dial(env), busy = dial(env);
	pthread_t thread;
	struct answer a;

	say(idle, GET("/tiny"));
	expect(idle, 200, "tiny");
	say(busy, GET("/block") GET("/tiny"));
	wait_until(env, &env->n_blocked, 1);
	pthread_create(&thread, NULL, stop, env);
	expect_end(idle); /* so the stop has begun */
	pthread_mutex_lock(&env->lock);
	env->unblock = true;
	pthread_cond_broadcast(&env->changed);
	pthread_mutex_unlock(&env->lock);
	assert_true(hear(busy, &a, true));
	assert_string_equal(a.body, "unblocked");
	assert_string_equal(answer_header(&a, "Connection"), "close");
	answer_done(&a);
	expect_end(busy);
	pthread_join(thread, NULL);
}

static void test_stop_cuts(void **state)
{
	struct env *env = *state;
	int stream = dial(env), file = dial(env);
	char c;

	say(stream, "PUT /stream HTTP/1.1\r\n" HOST "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n");
	expect(stream, 100, NULL); /* the handler waits */
	say(file, GET("/file?o=0&n=8388608"));
	assert_int_equal(hear_some(file, &c, 1), 1);
	http_stop(env->server, 50000);
	/* both have returned */
	assert_int_equal(env->body_code, ERR_DISCONNECTED);
	assert_int_equal(env->n_sent_calls, 1);
	assert_false(env->complete);
	expect_end(stream);
	close(file);
}

static void test_addresses(void **state)
{
	static const char *const bad[] = {
		"",           "localhost", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999", "1.2.3.4.5:80",
		"192.0.2.1:9"};
	struct http_config config = {.routes = routes};
	struct http_server *s = NULL, *again = NULL;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		config.listen = bad[i];
		if (http_new(&config, &s, &err) == 0)
			fail_msg("listens on '%s'", bad[i]);
	}
	config.listen = "127.0.0.1:0";
	assert_int_equal(http_new(&config, &s, &err), 0);
	config.listen = http_address(s);
	assert_int_equal(http_new(&config, &again, &err), ERR_UNAVAILABLE);
	http_free(s); /* never started */
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keep_alive),
		TEST(test_http10),
		TEST(test_pipelining),
		TEST(test_octet_by_octet),
		TEST(test_smuggling),
		TEST(test_too_long),
		TEST(test_routing),
		TEST(test_request),
		TEST(test_whole_body_limits),
		TEST(test_continue),
		TEST(test_early_answer),
		TEST(test_stream),
		TEST(test_stream_disconnect),
		TEST(test_file),
		TEST(test_file_short),
		TEST(test_file_abort),
		cmocka_unit_test_setup_teardown(test_timeouts, setup_short_timeouts, teardown),
		cmocka_unit_test_setup_teardown(test_trickle, setup_short_timeouts, teardown),
		cmocka_unit_test_setup_teardown(test_reader_stalls, setup_short_timeouts, teardown),
		TEST(test_idle_connections),
		cmocka_unit_test_setup_teardown(test_max_connections, setup_four_connections, teardown),
		TEST(test_no_descriptors),
		TEST(test_stop_drains),
		TEST(test_stop_cuts),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

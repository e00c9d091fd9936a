/* SPDX-License-Identifier: Apache-2.0
 * http/testing.c -- a server with handlers that do what tests need, and a client on raw sockets. */
#include "testing.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

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

static void stream_begins(struct env *env, struct http_request *req)
{
	pthread_mutex_lock(&env->lock);
	env->streaming = req;
	pthread_mutex_unlock(&env->lock);
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
	return code == ERR_TIMEOUT ? 408 : code == ERR_GONE ? 410 : 400;
}

/* Answers with the number of octets and their sum. */
static void handle_stream(void *cls, struct http_request *req)
{
	struct err err = {0};
	char *data = malloc(70000), text[64];
	unsigned sum = 0;
	size_t total = 0;
	ssize_t n;

	stream_begins(cls, req);
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

static void answer_late(void *cls, struct http_request *req)
{
	char name[16] = "";

	(void)pthread_getname_np(pthread_self(), name, sizeof(name));
	reply_text(req, 200, name);
}

static void *resume_elsewhere(void *req)
{
	http_resume(req, answer_late, NULL);
	return NULL;
}

/* Answers later, at the word of another thread. */
static void handle_late(void *cls, struct http_request *req)
{
	pthread_t thread;

	http_suspend(req);
	if (pthread_create(&thread, NULL, resume_elsewhere, req) == 0)
		(void)pthread_detach(thread);
}

static void nothing_more(void *cls, struct http_request *req)
{
}

static bool somebody_waits(void *cls)
{
	return atomic_load((atomic_bool *)cls);
}

struct feed {
	struct http_request *req;
	struct env *env;
};

/* /feed?length=..&n=..: announces the one, sends the other. */
static void *feed(void *arg)
{
	struct http_request *req = ((struct feed *)arg)->req;
	struct env *env = ((struct feed *)arg)->env;
	int64_t n = query_number(req, 1);
	struct err err = {0};
	size_t n_sent;
	char data[1000];

	http_begin_body(req, 200, "text/plain", query_number(req, 0));
	memset(data, 'x', sizeof(data));
	while (n > 0 && err.code == 0) {
		size_t piece = n < (int64_t)sizeof(data) ? (size_t)n : sizeof(data);

		(void)http_write_body(req, data, piece, somebody_waits, &env->crowded, &n_sent, &err);
		n -= (int64_t)n_sent;
	}
	pthread_mutex_lock(&env->lock);
	env->n_fed++;
	env->feed_result = err.code;
	pthread_cond_broadcast(&env->changed);
	pthread_mutex_unlock(&env->lock);
	http_resume(req, nothing_more, NULL);
	return NULL;
}

static void handle_feed(void *cls, struct http_request *req)
{
	struct feed *f = arena_alloc(http_arena(req), sizeof(*f));
	pthread_t thread;

	assert_non_null(f);
	*f = (struct feed){req, cls};
	http_suspend(req);
	if (pthread_create(&thread, NULL, feed, f) == 0)
		(void)pthread_detach(thread);
}

/* Which thread answers, if it may choose. */
static void handle_choosy(void *cls, struct http_request *req)
{
	char name[16] = "";

	if (!http_on_worker(req)) {
		http_go_to_worker(req);
		return;
	}
	(void)pthread_getname_np(pthread_self(), name, sizeof(name));
	reply_text(req, 200, name);
}

/* What `admit` has found. */
static void handle_context(void *cls, struct http_request *req)
{
	reply_text(req, 200, http_context(req) ? http_context(req) : "nothing");
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
	{"GET", "/large", HTTP_INLINE, handle_large},       {"GET", "/choosy", HTTP_INLINE, handle_choosy},
	{"GET", "/feed", HTTP_WORKER, handle_feed},
	{"GET", "/late", HTTP_INLINE, handle_late},         {"GET", "/late-work", HTTP_WORKER, handle_late},
	{"GET", "/inline", HTTP_INLINE, handle_context},    {"GET", "/worker", HTTP_WORKER, handle_context},
	{"GET", "/open", HTTP_INLINE, handle_context, true},
	{NULL},
};

/* -- set up ---------------------------------------------------------------------------------------- */

unsigned char file_octet(size_t i)
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
	c->max_streams = c->max_streams ? c->max_streams : 8;
	c->max_header_bytes = 4096;
	c->max_headers = 20;
	c->max_body_bytes = 100000;
	c->max_request_id_bytes = 64;
	if (http_new(c, &env->server, &err) < 0 || http_start(env->server, &err) < 0)
		fail_msg("%s", err.text);
}

int test_setup_with(void **state, struct http_config config)
{
	struct env *env = calloc(1, sizeof(*env));

	pthread_mutex_init(&env->lock, NULL);
	pthread_cond_init(&env->changed, NULL);
	make_file(env);
	start(env, &config);
	*state = env;
	return 0;
}

int test_setup(void **state)
{
	return test_setup_with(state, (struct http_config){0});
}

int test_teardown(void **state)
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
void wait_until(struct env *env, const int *counter, int n)
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

void dial_with(struct env *env, int fd)
{
	struct sockaddr_in sa = address_of(env);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
}

int dial(struct env *env)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	dial_with(env, fd);
	return fd;
}

int dial_small(struct env *env)
{
	int small = 65536;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	dial_with(env, fd);
	return fd;
}

void say_n(int fd, const void *data, size_t n)
{
	assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), n);
}

void say(int fd, const char *text)
{
	say_n(fd, text, strlen(text));
}

/* Up to @n octets; 0 at the end (a reset is one, too). */
size_t hear_some(int fd, void *data, size_t n)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t got;

	if (poll(&p, 1, PATIENCE_MS) != 1)
		fail_msg("the server said nothing");
	got = recv(fd, data, n, 0);
	return got > 0 ? (size_t)got : 0;
}

void answer_done(struct answer *a)
{
	free(a->body);
	a->body = NULL;
}

const char *answer_header(const struct answer *a, const char *name)
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

bool hear(int fd, struct answer *a, bool with_body)
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

void expect(int fd, int status, const char *body)
{
	struct answer a;

	assert_true(hear(fd, &a, true));
	if (a.status != status || (body && strcmp(a.body, body) != 0))
		fail_msg("expected %d %s, got: %s%s", status, body ? body : "", a.head, a.body);
	answer_done(&a);
}

void expect_end(int fd)
{
	char c;

	assert_int_equal(hear_some(fd, &c, 1), 0);
	close(fd);
}

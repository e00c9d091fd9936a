/* SPDX-License-Identifier: Apache-2.0
 * http/limits_test.c -- clients that are slow, many, or in the way of a stop. */
#include "testing.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

#define SHORT_US 150000

static int setup_short_timeouts(void **state)
{
	return test_setup_with(state, (struct http_config){.idle_timeout_us = SHORT_US,
							   .header_timeout_us = SHORT_US,
							   .body_timeout_us = SHORT_US,
							   .min_rate_bytes = 1000});
}

/* For a reader that is in no hurry, on a machine that has others to run: */
static int setup_longer_timeout(void **state)
{
	return test_setup_with(state, (struct http_config){.body_timeout_us = 1000000, .min_rate_bytes = 1000});
}

static int setup_four_connections(void **state)
{
	return test_setup_with(state, (struct http_config){.max_connections = 4});
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

/* Far above the lowest rate, but it takes longer than the timeout until the socket has room again. */
static void test_reader_is_slow(void **state)
{
	static char data[16384];
	struct env *env = *state;
	int fd = dial_small(env);
	size_t n = 0, got = 1;

	say(fd, "GET /file?o=0&n=1500000 HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
	while (got > 0) {
		got = hear_some(fd, data, sizeof(data));
		n += got;
		(void)poll(NULL, 0, 20);
	}
	assert_true(n > 1500000);
	wait_until(env, &env->n_sent_calls, 1);
	assert_true(env->complete && env->n_sent == 1500000);
	close(fd);
}

/* A client that does not read its answer is cut off. */
static void test_reader_stalls(void **state)
{
	struct env *env = *state;
	struct pollfd p = {.events = POLLRDHUP};
	struct answer a;

	p.fd = dial_small(env); /* else the sockets alone can hold all of it */
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

/* So is one whom a thread feeds. */
static void test_fed_reader_stalls(void **state)
{
	struct env *env = *state;
	int fd = dial_small(env);

	say(fd, GET("/feed?length=90000000&n=90000000"));
	wait_until(env, &env->n_fed, 1);
	assert_int_equal(env->feed_result, ERR_TIMEOUT);
	close(fd);
}

/* -- more uploads than threads: two, and SHORT_US at 1000 octets a second while others wait ---------- */

#define UPLOAD "PUT /stream HTTP/1.1\r\n" HOST

static int setup_two_streams(void **state)
{
	return test_setup_with(state, (struct http_config){.max_streams = 2,
							   .crowded_timeout_us = SHORT_US,
							   .crowded_rate_bytes = 1000});
}

/* One whom a thread feeds gives way once it is wanted elsewhere, and not before. */
static void test_fed_reader_gives_way(void **state)
{
	struct env *env = *state;
	int fd = dial_small(env);

	say(fd, GET("/feed?length=90000000&n=90000000"));
	(void)poll(NULL, 0, 2 * SHORT_US / 1000);
	assert_int_equal(env->n_fed, 0);
	atomic_store(&env->crowded, true);
	wait_until(env, &env->n_fed, 1);
	assert_int_equal(env->feed_result, ERR_TIMEOUT);
	close(fd);
}

/* Its handler has a thread, and waits. */
static int begin_upload(struct env *env, const char *framing)
{
	int fd = dial(env);

	say(fd, UPLOAD);
	say(fd, framing);
	say(fd, "\r\nExpect: 100-continue\r\n\r\n");
	expect(fd, 100, NULL);
	return fd;
}

static bool is_silent(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 0;
}

/* A chunk now and then for some time, many times the rate. */
static void dribble(int fd)
{
	char chunk[132];

	(void)snprintf(chunk, sizeof(chunk), "7d\r\n%0125d\r\n", 0);
	for (int i = 0; i < 4 * SHORT_US / 10000; i++) {
		say(fd, chunk);
		assert_true(is_silent(fd, 10));
	}
}

static void upload(struct env *env)
{
	int fd = dial(env);

	say(fd, UPLOAD "Content-Length: 3\r\n\r\nabc");
	expect(fd, 200, NULL);
	close(fd);
}

/* Nothing happens to either until somebody wants a thread; then the one that stalls makes room. */
static void test_stalled_gives_way(void **state)
{
	int honest = begin_upload(*state, "Transfer-Encoding: chunked");
	int stalled = begin_upload(*state, "Content-Length: 9");

	dribble(honest);
	assert_true(is_silent(stalled, 0));
	upload(*state);
	expect(stalled, 408, NULL);
	expect_end(stalled);
	dribble(honest);
	upload(*state);
	say(honest, "0\r\n\r\n");
	expect(honest, 200, NULL);
	close(honest);
}

/* Both stall, but one thread is enough. */
static void test_no_more_give_way_than_wait(void **state)
{
	int fds[] = {begin_upload(*state, "Content-Length: 9"), begin_upload(*state, "Content-Length: 9")};
	bool first_stayed;

	assert_true(is_silent(fds[0], 2 * SHORT_US / 1000));
	upload(*state);
	first_stayed = is_silent(fds[0], 0);
	expect(fds[first_stayed], 408, NULL);
	expect_end(fds[first_stayed]);
	upload(*state);
	assert_true(is_silent(fds[!first_stayed], 2 * SHORT_US / 1000));
	say(fds[!first_stayed], "123456789");
	expect(fds[!first_stayed], 200, NULL);
	close(fds[!first_stayed]);
}

/* Its handler waits for a client that says nothing, and hears of it all the same. */
static void test_cancel(void **state)
{
	struct env *env = *state;
	int fd = begin_upload(env, "Content-Length: 9");

	pthread_mutex_lock(&env->lock); /* the handler cannot return without it */
	http_body_cancel(env->streaming);
	pthread_mutex_unlock(&env->lock);
	expect(fd, 410, NULL);
	assert_int_equal(env->body_code, ERR_GONE);
	expect_end(fd);
	upload(env);
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

static void *stop_now(void *arg)
{
	struct env *env = arg;

	http_stop(env->server, 0);
	return NULL;
}

static void unblock(struct env *env)
{
	pthread_mutex_lock(&env->lock);
	env->unblock = true;
	pthread_cond_broadcast(&env->changed);
	pthread_mutex_unlock(&env->lock);
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

/* Connections that have more to do than one turn are closed between two of them, while others keep their loop going.
 * What would be wrong with it a sanitizer says. */
static void test_stop_cuts_between_turns(void **state)
{
	struct env *env = *state;
	static const char request[] = GET("/tiny");
	static char many[2000 * (sizeof(request) - 1)];
	int blocked[4], busy[8];
	pthread_t thread;

	for (size_t i = 0; i < sizeof(many); i++)
		many[i] = request[i % (sizeof(request) - 1)];
	for (size_t i = 0; i < ARRAY_LEN(blocked); i++)
		say(blocked[i] = dial(env), GET("/block"));
	wait_until(env, &env->n_blocked, (int)ARRAY_LEN(blocked));
	for (size_t i = 0; i < ARRAY_LEN(busy); i++)
		(void)send(busy[i] = dial(env), many, sizeof(many), MSG_NOSIGNAL | MSG_DONTWAIT);
	pthread_create(&thread, NULL, stop_now, env);
	for (size_t i = 0; i < ARRAY_LEN(busy); i++) {
		while (hear_some(busy[i], many, sizeof(many)))
			;
		close(busy[i]);
	}
	unblock(env);
	pthread_join(thread, NULL);
	for (size_t i = 0; i < ARRAY_LEN(blocked); i++)
		expect_end(blocked[i]);
}

static void test_addresses(void **state)
{
	static const char *const bad[] = {
		"",           "localhost", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999", "1.2.3.4.5:80",
		"192.0.2.1:9"};
	static const struct http_route no_routes[] = {{NULL}};
	struct http_config config = {.routes = no_routes};
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

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, test_setup, test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_timeouts, setup_short_timeouts, test_teardown),
		cmocka_unit_test_setup_teardown(test_trickle, setup_short_timeouts, test_teardown),
		cmocka_unit_test_setup_teardown(test_reader_is_slow, setup_short_timeouts, test_teardown),
		cmocka_unit_test_setup_teardown(test_reader_stalls, setup_longer_timeout, test_teardown),
		cmocka_unit_test_setup_teardown(test_fed_reader_stalls, setup_longer_timeout, test_teardown),
		cmocka_unit_test_setup_teardown(test_fed_reader_gives_way, setup_two_streams, test_teardown),
		cmocka_unit_test_setup_teardown(test_stalled_gives_way, setup_two_streams, test_teardown),
		cmocka_unit_test_setup_teardown(test_no_more_give_way_than_wait, setup_two_streams,
						test_teardown),
		TEST(test_cancel),
		TEST(test_idle_connections),
		cmocka_unit_test_setup_teardown(test_max_connections, setup_four_connections, test_teardown),
		TEST(test_no_descriptors),
		TEST(test_stop_drains),
		TEST(test_stop_cuts),
		TEST(test_stop_cuts_between_turns),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

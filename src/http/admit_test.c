/* SPDX-License-Identifier: Apache-2.0
 * http/admit_test.c -- whoever may ask is admitted once, before a body is read or a thread is taken, at once
 * or later; and a request whose admission hangs keeps neither others waiting nor the server from stopping. */
#include "testing.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
	atomic_int n_asked;
	atomic_int n_cut;
	pthread_mutex_t lock;
	struct http_request *held[4];
	int n_held;
} door = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void let_in(void *cls, struct http_request *req)
{
	http_set_context(req, arena_strdup(http_arena(req), "known"));
}

static void turn_away(void *cls, struct http_request *req)
{
	http_reply_error(req, 401, "who are you");
}

static void *let_in_elsewhere(void *req)
{
	http_resume(req, let_in, NULL);
	return NULL;
}

static void *turn_away_elsewhere(void *req)
{
	http_resume(req, turn_away, NULL);
	return NULL;
}

static void later(struct http_request *req, void *(*run)(void *))
{
	pthread_t thread;

	http_suspend(req);
	assert_int_equal(pthread_create(&thread, NULL, run, req), 0);
	(void)pthread_detach(thread);
}

static void hold(struct http_request *req)
{
	http_suspend(req);
	pthread_mutex_lock(&door.lock);
	assert_in_range(door.n_held, 0, 3);
	door.held[door.n_held++] = req;
	pthread_mutex_unlock(&door.lock);
}

static void wait_for_held(int n)
{
	for (int i = 0; i < PATIENCE_MS; i++) {
		pthread_mutex_lock(&door.lock);
		n -= door.n_held == n ? n : 0;
		pthread_mutex_unlock(&door.lock);
		if (n == 0)
			return;
		(void)usleep(1000);
	}
	fail_msg("%d more should be held", n);
}

static void release(http_resume_fn *fn)
{
	pthread_mutex_lock(&door.lock);
	while (door.n_held > 0)
		http_resume(door.held[--door.n_held], fn, NULL);
	pthread_mutex_unlock(&door.lock);
}

static void door_admit(void *cls, struct http_request *req)
{
	const char *how = http_header(req, "X-Door");

	atomic_fetch_add(&door.n_asked, 1);
	if (!how)
		let_in(cls, req);
	else if (strcmp(how, "no") == 0)
		turn_away(cls, req);
	else if (strcmp(how, "later") == 0)
		later(req, let_in_elsewhere);
	else if (strcmp(how, "later-no") == 0)
		later(req, turn_away_elsewhere);
	else
		hold(req);
}

static void door_cutting(void *cls)
{
	atomic_fetch_add(&door.n_cut, 1);
	release(let_in);
}

static int setup(void **state)
{
	atomic_store(&door.n_asked, 0);
	atomic_store(&door.n_cut, 0);
	return test_setup_with(state, (struct http_config){.admit = door_admit, .cutting = door_cutting});
}

#define WITH(path, how) "GET " path " HTTP/1.1\r\n" HOST "X-Door: " how "\r\n\r\n"
#define POST(path, how, more)                                                                                \
	"POST " path " HTTP/1.1\r\n" HOST "X-Door: " how "\r\nContent-Length: 5\r\n" more "\r\n"
#define PUT(path, how) "PUT " path " HTTP/1.1\r\n" HOST "X-Door: " how "\r\nContent-Length: 5\r\n\r\n"

static void test_admitted(void **state)
{
	int fd = dial(*state);

	say(fd, GET("/inline") GET("/worker") WITH("/inline", "later") WITH("/worker", "later"));
	for (int i = 0; i < 4; i++)
		expect(fd, 200, "known");
	assert_int_equal(atomic_load(&door.n_asked), 4);
}

static void test_anybody(void **state)
{
	int fd = dial(*state);

	say(fd, WITH("/open", "no"));
	expect(fd, 200, "nothing");
	say(fd, WITH("/nowhere", "no"));
	expect(fd, 404, NULL);
	assert_int_equal(atomic_load(&door.n_asked), 0);
	say(fd, WITH("/inline", "no"));
	expect(fd, 401, NULL);
}

/* Not an octet of a body is asked for or awaited, whatever the route. */
static void test_refused_before_the_body(void **state)
{
	static const char *const requests[] = {
		POST("/echo", "no", ""),
		POST("/echo", "later-no", ""),
		POST("/work", "no", "Expect: 100-continue\r\n"),
		POST("/work", "later-no", "Expect: 100-continue\r\n"),
		PUT("/stream", "no"),
		PUT("/stream", "later-no"),
	};

	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		int fd = dial(*state);

		say(fd, requests[i]);
		expect(fd, 401, NULL);
		expect_end(fd);
	}
	assert_int_equal(atomic_load(&door.n_asked), (int)ARRAY_LEN(requests));
	assert_null(((struct env *)*state)->streaming);
}

/* It goes on as its route says, wherever the body is by then. */
static void test_bodies(void **state)
{
	int fd = dial(*state);

	say(fd, POST("/echo", "later", "") "hello");
	expect(fd, 200, "hello");
	say(fd, POST("/work", "later", "Expect: 100-continue\r\n"));
	expect(fd, 100, NULL);
	say(fd, "hello");
	expect(fd, 200, "hello");
	say(fd, PUT("/stream", "later") "hello");
	expect(fd, 200, NULL);
	say(fd, PUT("/stream", "later"));
	say(fd, "hello" WITH("/worker", "later"));
	expect(fd, 200, NULL);
	expect(fd, 200, "known");
	assert_int_equal(atomic_load(&door.n_asked), 5);
}

/* More of them than there are loops and workers. */
static void test_others_are_served(void **state)
{
	int held[4], fd = dial(*state);

	for (size_t i = 0; i < ARRAY_LEN(held); i++) {
		held[i] = dial(*state);
		say(held[i], WITH("/worker", "hold"));
	}
	wait_for_held(4);
	for (int i = 0; i < 20; i++) {
		say(fd, GET("/inline") GET("/worker"));
		expect(fd, 200, "known");
		expect(fd, 200, "known");
	}
	(void)close(held[0]); /* that one is not there any more */
	release(let_in);
	for (size_t i = 1; i < ARRAY_LEN(held); i++)
		expect(held[i], 200, "known");
}

static void test_stop_while_it_hangs(void **state)
{
	struct env *env = *state;
	int fd = dial(env), other = dial(env);

	say(fd, WITH("/worker", "hold"));
	say(other, POST("/echo", "hold", ""));
	wait_for_held(2);
	http_stop(env->server, 50000);
	assert_int_equal(atomic_load(&door.n_cut), 1);
	expect_end(fd);
	expect_end(other);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_admitted), TEST(test_anybody),           TEST(test_refused_before_the_body),
		TEST(test_bodies),   TEST(test_others_are_served), TEST(test_stop_while_it_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

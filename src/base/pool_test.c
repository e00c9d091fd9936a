/* SPDX-License-Identifier: Apache-2.0
 * base/pool_test.c -- the pool from within, with little patience and threads that may fail to start. */
#include "pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool no_threads;

static int create_or_fail(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return no_threads ? 11 /* EAGAIN */ : pthread_create(thread, attr, fn, arg);
}

#define IDLE_MS 20
#define pthread_create create_or_fail
#include "pool.c"
#undef pthread_create

/* What the jobs of a test share. */
struct scene {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned running, most_running, done;
	unsigned order[64];
	bool gate_open;
	struct pool *pool;
};

#define SCENE                                                                                                \
	{                                                                                                    \
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                       \
	}

static void enter(struct scene *s)
{
	(void)pthread_mutex_lock(&s->lock);
	if (++s->running > s->most_running)
		s->most_running = s->running;
	(void)pthread_cond_broadcast(&s->changed);
}

static void finish(struct scene *s)
{
	s->running--;
	s->done++;
	(void)pthread_cond_broadcast(&s->changed);
	(void)pthread_mutex_unlock(&s->lock);
}

static void count_job(void *arg)
{
	enter(arg);
	finish(arg);
}

/* Stays until the gate is opened. */
static void gate_job(void *arg)
{
	struct scene *s = arg;

	enter(s);
	while (!s->gate_open)
		(void)pthread_cond_wait(&s->changed, &s->lock);
	finish(s);
}

static void resubmit_job(void *arg)
{
	struct scene *s = arg;

	enter(s);
	assert(pool_submit(s->pool, count_job, s) == 0);
	finish(s);
}

struct numbered {
	struct scene *scene;
	unsigned number;
};

static void numbered_job(void *arg)
{
	struct numbered *n = arg;

	enter(n->scene);
	n->scene->order[n->scene->done] = n->number;
	finish(n->scene);
}

static void wait_running(struct scene *s, unsigned n)
{
	(void)pthread_mutex_lock(&s->lock);
	while (s->running < n)
		(void)pthread_cond_wait(&s->changed, &s->lock);
	(void)pthread_mutex_unlock(&s->lock);
}

static void open_gate(struct scene *s)
{
	(void)pthread_mutex_lock(&s->lock);
	s->gate_open = true;
	(void)pthread_cond_broadcast(&s->changed);
	(void)pthread_mutex_unlock(&s->lock);
}

static void wait_no_threads(struct pool *p)
{
	(void)pthread_mutex_lock(&p->lock);
	while (p->n_threads > 0)
		(void)pthread_cond_wait(&p->ended, &p->lock);
	(void)pthread_mutex_unlock(&p->lock);
}

static void test_free_drains(void **state)
{
	struct scene s = SCENE;
	struct pool *p;

	assert_int_equal(pool_new("test", 3, &p, NULL), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(pool_submit(p, count_job, &s), 0);
	pool_free(p);
	assert_int_equal(s.done, 1000);
	assert_in_range(s.most_running, 1, 3);
	pool_free(NULL);
}

static void test_as_many_threads_as_jobs_up_to_the_bound(void **state)
{
	struct scene s = SCENE;
	struct pool *p;

	assert_int_equal(pool_new("a name that is too long", 4, &p, NULL), 0);
	assert_int_equal(p->n_threads, 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(pool_submit(p, gate_job, &s), 0);
	wait_running(&s, 4); /* would wait for ever if fewer threads were started */
	assert_int_equal(p->n_threads, 4);
	open_gate(&s);
	pool_free(p);
	assert_int_equal(s.done, 10);
	assert_int_equal(s.most_running, 4);
}

static void test_order_of_submission(void **state)
{
	struct scene s = SCENE;
	struct numbered n[64];
	struct pool *p;

	assert_int_equal(pool_new("test", 1, &p, NULL), 0);
	for (unsigned i = 0; i < ARRAY_LEN(n); i++) {
		n[i] = (struct numbered){&s, i};
		assert_int_equal(pool_submit(p, numbered_job, &n[i]), 0);
	}
	pool_free(p);
	for (unsigned i = 0; i < ARRAY_LEN(n); i++)
		assert_int_equal(s.order[i], i);
}

static void test_idle_threads_end_and_come_back(void **state)
{
	struct scene s = SCENE;
	struct pool *p;

	assert_int_equal(pool_new("test", 4, &p, NULL), 0);
	for (int round = 0; round < 3; round++) {
		s.gate_open = false;
		for (int i = 0; i < 4; i++)
			assert_int_equal(pool_submit(p, gate_job, &s), 0);
		wait_running(&s, 4);
		open_gate(&s);
		wait_no_threads(p);
	}
	pool_free(p);
	assert_int_equal(s.done, 12);
}

static void test_jobs_may_submit_while_draining(void **state)
{
	struct scene s = SCENE;

	assert_int_equal(pool_new("test", 2, &s.pool, NULL), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(pool_submit(s.pool, resubmit_job, &s), 0);
	pool_free(s.pool);
	assert_int_equal(s.done, 100);
}

static void test_no_thread_to_be_had(void **state)
{
	struct scene s = SCENE;
	struct pool *p;

	assert_int_equal(pool_new("test", 4, &p, NULL), 0);
	no_threads = true;
	assert_int_equal(pool_submit(p, count_job, &s), ERR_NO_MEMORY);
	no_threads = false;
	assert_int_equal(pool_submit(p, gate_job, &s), 0);
	wait_running(&s, 1);
	no_threads = true;
	assert_int_equal(pool_submit(p, count_job, &s), 0); /* the one there is does it later */
	no_threads = false;
	open_gate(&s);
	pool_free(p);
	assert_int_equal(s.done, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_free_drains),
		cmocka_unit_test(test_as_many_threads_as_jobs_up_to_the_bound),
		cmocka_unit_test(test_order_of_submission),
		cmocka_unit_test(test_idle_threads_end_and_come_back),
		cmocka_unit_test(test_jobs_may_submit_while_draining),
		cmocka_unit_test(test_no_thread_to_be_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

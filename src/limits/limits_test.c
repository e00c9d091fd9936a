/* SPDX-License-Identifier: Apache-2.0
 * limits/limits_test.c -- the questions from within: who waits, who joins, what is kept and for how long,
 * with a source that answers when the test says so and a clock that can be put forward. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static _Atomic int64_t ahead_us;

static int64_t shifted_clock(void)
{
	return clock_mono_us() + ahead_us;
}

#define clock_mono_us shifted_clock
#include "limits.c"
#undef clock_mono_us

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define MANY 64

/* -- a source ------------------------------------------------------------------------------------- */

struct question {
	char project[64];
	limits_fn *fn;
	void *cls;
};

/* Holds what it is asked until the test answers, unless it answers at once. */
struct fake {
	pthread_mutex_t lock;
	pthread_cond_t asked;
	struct question held[MANY];
	size_t n_held, n_asked;
	bool at_once, broken, stopped, closed;
};

/* What it says of a project: the length of its name. */
static struct quota quota_for(const char *project)
{
	return (struct quota){(int64_t)strlen(project), 2, 3, QUOTA_NONE};
}

static void answer(const struct question *q, bool broken)
{
	struct quota quota = quota_for(q->project);
	struct err err = {0};
	int r = broken ? err_set(&err, ERR_UNAVAILABLE, "It is down.") : 0;

	q->fn(q->cls, r, broken ? NULL : &quota, &err);
}

static void fake_ask(void *cls, const char *project, int64_t deadline_us, limits_fn *fn, void *fn_cls)
{
	struct fake *f = cls;
	struct question q = {.fn = fn, .cls = fn_cls};
	bool at_once, broken;

	(void)deadline_us;
	(void)snprintf(q.project, sizeof(q.project), "%s", project);
	pthread_mutex_lock(&f->lock);
	f->n_asked++;
	at_once = f->at_once || f->stopped;
	broken = f->broken || f->stopped;
	if (!at_once) {
		assert(f->n_held < MANY);
		f->held[f->n_held++] = q;
	}
	pthread_cond_broadcast(&f->asked);
	pthread_mutex_unlock(&f->lock);
	if (at_once)
		answer(&q, broken);
}

/* Answers everything that it holds; returns how many. */
static size_t fake_answer(struct fake *f, bool broken)
{
	struct question held[MANY];
	size_t n;

	pthread_mutex_lock(&f->lock);
	n = f->n_held;
	memcpy(held, f->held, n * sizeof(*held));
	f->n_held = 0;
	pthread_mutex_unlock(&f->lock);
	for (size_t i = 0; i < n; i++)
		answer(&held[i], broken);
	return n;
}

static void fake_wait(struct fake *f, size_t n_asked)
{
	pthread_mutex_lock(&f->lock);
	while (f->n_asked < n_asked)
		pthread_cond_wait(&f->asked, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static size_t fake_asked(struct fake *f)
{
	size_t n;

	pthread_mutex_lock(&f->lock);
	n = f->n_asked;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static void fake_stop(void *cls)
{
	struct fake *f = cls;

	pthread_mutex_lock(&f->lock);
	f->stopped = true;
	pthread_mutex_unlock(&f->lock);
	(void)fake_answer(f, true);
}

static void fake_close(void *cls)
{
	struct fake *f = cls;

	f->closed = true;
}

/* -- those who ask -------------------------------------------------------------------------------- */

struct scene {
	struct fake fake;
	struct limits *limits;
};

struct heard {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned n;
	int r;
	struct quota quota;
};

#define HEARD                                                                                                \
	(struct heard)                                                                                       \
	{                                                                                                    \
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                       \
	}

static void hear(void *cls, int r, const struct quota *quota, const struct err *err)
{
	struct heard *h = cls;

	assert((r == 0) == (quota != NULL) && (r == 0 || err->code == r));
	pthread_mutex_lock(&h->lock);
	h->n++;
	h->r = r;
	if (quota)
		h->quota = *quota;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static unsigned times_heard(struct heard *h)
{
	unsigned n;

	pthread_mutex_lock(&h->lock);
	n = h->n;
	pthread_mutex_unlock(&h->lock);
	return n;
}

static void wait_heard(struct heard *h)
{
	pthread_mutex_lock(&h->lock);
	while (h->n == 0)
		pthread_cond_wait(&h->changed, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

static void open_scene(struct scene *s, const struct limits_config *config)
{
	struct limits_source source = {
		.ask = fake_ask, .stop = fake_stop, .close = fake_close, .cls = &s->fake};
	struct err err = {0};

	ahead_us = 0;
	s->fake = (struct fake){.lock = PTHREAD_MUTEX_INITIALIZER, .asked = PTHREAD_COND_INITIALIZER};
	assert_int_equal(limits_new(config, &source, &s->limits, &err), 0);
}

static void close_scene(struct scene *s)
{
	limits_close(s->limits);
	assert_true(s->fake.closed);
}

static const struct limits_config usual = {.cache_us = 60 * SECOND,
					   .stale_us = 600 * SECOND,
					   .timeout_us = 10 * SECOND,
					   .max_asking = 2,
					   .max_threads = 1,
					   .max_projects = 4};

static void ask(struct scene *s, const char *project, struct heard *h)
{
	limits_ask(s->limits, project, clock_mono_us() + HOUR, hear, h);
}

/* Makes it known. */
static void learn(struct scene *s, const char *project)
{
	struct heard h = HEARD;

	ask(s, project, &h);
	assert_int_equal(fake_answer(&s->fake, false), 1);
	assert_int_equal(times_heard(&h), 1);
	assert_int_equal(h.r, 0);
}

static bool recalls(struct scene *s, const char *project)
{
	struct quota quota;
	bool known = limits_recall(s->limits, project, &quota);

	if (known)
		assert_int_equal(quota.total_octets, strlen(project));
	return known;
}

/* -- answers, and how long they count ------------------------------------------------------------- */

static void test_an_answer_is_kept(void **state)
{
	struct scene s;
	struct heard first = HEARD, second = HEARD;

	open_scene(&s, &usual);
	assert_false(recalls(&s, "abc"));
	assert_int_equal(fake_asked(&s.fake), 0);
	ask(&s, "abc", &first);
	assert_int_equal(times_heard(&first), 0);
	assert_int_equal(fake_answer(&s.fake, false), 1);
	assert_int_equal(first.n, 1);
	assert_int_equal(first.r, 0);
	assert_int_equal(first.quota.total_octets, 3);
	assert_int_equal(first.quota.n_uploading, QUOTA_NONE);
	assert_true(recalls(&s, "abc"));
	ask(&s, "abc", &second); /* is answered here */
	assert_int_equal(second.n, 1);
	assert_int_equal(fake_asked(&s.fake), 1);
	close_scene(&s);
}

static void test_no_project_is_one_of_its_own(void **state)
{
	struct scene s;
	struct heard h = HEARD;
	struct quota quota;

	open_scene(&s, &usual);
	ask(&s, NULL, &h);
	assert_int_equal(fake_answer(&s.fake, false), 1);
	assert_true(limits_recall(s.limits, NULL, &quota));
	assert_int_equal(quota.total_octets, 0);
	close_scene(&s);
}

static void test_what_is_in_use_is_asked_for_before_it_is_over(void **state)
{
	struct scene s;

	open_scene(&s, &usual);
	learn(&s, "abc");
	ahead_us = 40 * SECOND;
	assert_true(recalls(&s, "abc"));
	assert_int_equal(fake_asked(&s.fake), 1);
	ahead_us = 50 * SECOND;
	for (int i = 0; i < 3; i++) {
		assert_true(recalls(&s, "abc"));
		assert_int_equal(fake_asked(&s.fake), 2);
	}
	assert_int_equal(fake_answer(&s.fake, false), 1);
	ahead_us = 90 * SECOND;
	assert_true(recalls(&s, "abc"));
	close_scene(&s);
}

static void test_what_is_over_is_asked_for(void **state)
{
	struct scene s;
	struct heard h = HEARD;

	open_scene(&s, &usual);
	learn(&s, "abc");
	ahead_us = 70 * SECOND;
	assert_false(recalls(&s, "abc"));
	ask(&s, "abc", &h);
	assert_int_equal(times_heard(&h), 0);
	assert_int_equal(fake_answer(&s.fake, false), 1);
	assert_int_equal(h.n, 1);
	close_scene(&s);
}

static void test_an_old_answer_serves_while_there_is_no_other(void **state)
{
	struct scene s;
	struct heard h = HEARD, late = HEARD;

	open_scene(&s, &usual);
	learn(&s, "abc");
	ahead_us = 70 * SECOND;
	ask(&s, "abc", &h);
	assert_int_equal(fake_answer(&s.fake, true), 1);
	assert_int_equal(h.r, 0);
	assert_int_equal(h.quota.total_octets, 3);
	assert_true(recalls(&s, "abc")); /* and now nobody waits */
	assert_int_equal(fake_asked(&s.fake), 2);
	ahead_us = 73 * SECOND;
	assert_true(recalls(&s, "abc")); /* it is tried again now and then */
	assert_true(recalls(&s, "abc"));
	assert_int_equal(fake_asked(&s.fake), 3);
	assert_int_equal(fake_answer(&s.fake, true), 1);
	ahead_us = 700 * SECOND; /* but not for ever */
	assert_false(recalls(&s, "abc"));
	ask(&s, "abc", &late);
	assert_int_equal(fake_answer(&s.fake, true), 1);
	assert_int_equal(late.r, ERR_UNAVAILABLE);
	close_scene(&s);
}

static void test_no_answer_is_not_permission(void **state)
{
	struct scene s;
	struct heard h = HEARD;

	open_scene(&s, &usual);
	ask(&s, "abc", &h);
	assert_int_equal(fake_answer(&s.fake, true), 1);
	assert_int_equal(h.n, 1);
	assert_int_equal(h.r, ERR_UNAVAILABLE);
	assert_false(recalls(&s, "abc"));
	learn(&s, "abc"); /* the next one asks again */
	close_scene(&s);
}

static void test_the_longest_unused_goes(void **state)
{
	static const char *const projects[] = {"a", "bb", "ccc", "dddd", "eeeee"};
	struct scene s;

	open_scene(&s, &usual);
	for (size_t i = 0; i < 4; i++)
		learn(&s, projects[i]);
	assert_true(recalls(&s, "a"));
	learn(&s, projects[4]);
	assert_false(recalls(&s, "bb"));
	for (size_t i = 0; i < 5; i++)
		if (i != 1)
			assert_true(recalls(&s, projects[i]));
	close_scene(&s);
}

/* -- those who wait ------------------------------------------------------------------------------- */

static void test_who_comes_later_joins(void **state)
{
	struct scene s;
	struct heard h[MANY];

	open_scene(&s, &usual);
	for (size_t i = 0; i < MANY; i++) {
		h[i] = HEARD;
		ask(&s, "abc", &h[i]);
	}
	assert_int_equal(fake_asked(&s.fake), 1);
	assert_int_equal(fake_answer(&s.fake, false), 1);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(h[i].n, 1);
		assert_int_equal(h[i].r, 0);
	}
	close_scene(&s);
}

static void test_how_many_are_asked_for_is_bounded(void **state)
{
	struct scene s;
	struct heard a = HEARD, b = HEARD, more = HEARD, joins = HEARD, over = HEARD;

	open_scene(&s, &usual);
	learn(&s, "known");
	learn(&s, "old");
	ask(&s, "a", &a);
	ask(&s, "b", &b);
	ask(&s, "c", &more);
	assert_int_equal(more.n, 1);
	assert_int_equal(more.r, ERR_UNAVAILABLE);
	assert_true(recalls(&s, "known"));
	ask(&s, "b", &joins);
	assert_int_equal(times_heard(&joins), 0);
	ahead_us = 70 * SECOND;
	ask(&s, "old", &over); /* better than none */
	assert_int_equal(over.n, 1);
	assert_int_equal(over.r, 0);
	assert_int_equal(fake_answer(&s.fake, false), 2);
	assert_int_equal(a.r + b.r + joins.r, 0);
	assert_int_equal(a.n + b.n + joins.n, 3);
	close_scene(&s);
}

static void test_nobody_waits_longer_than_he_said(void **state)
{
	struct scene s;
	struct heard first = HEARD, patient = HEARD, hasty = HEARD;

	open_scene(&s, &usual);
	limits_ask(s.limits, "abc", clock_mono_us() + SECOND / 20, hear, &first);
	ask(&s, "abc", &patient);
	limits_ask(s.limits, "abc", clock_mono_us() - 1, hear, &hasty);
	wait_heard(&hasty);
	wait_heard(&first);
	assert_int_equal(first.r, ERR_UNAVAILABLE);
	assert_int_equal(hasty.r, ERR_UNAVAILABLE);
	assert_int_equal(times_heard(&patient), 0);
	assert_int_equal(fake_answer(&s.fake, false), 1); /* the question went on without who asked it */
	assert_int_equal(patient.r, 0);
	assert_int_equal(patient.n + first.n + hasty.n, 3);
	assert_int_equal(fake_asked(&s.fake), 1);
	close_scene(&s);
}

struct getter {
	struct scene *scene;
	pthread_t thread;
	struct quota quota;
	struct err err;
	int r;
};

static void *get_main(void *arg)
{
	struct getter *g = arg;

	g->r = limits_get(g->scene->limits, "abc", clock_mono_us() + HOUR, &g->quota, &g->err);
	return NULL;
}

static void start_getter(struct getter *g, struct scene *s)
{
	g->scene = s;
	assert_int_equal(pthread_create(&g->thread, NULL, get_main, g), 0);
}

static void test_a_thread_waits(void **state)
{
	struct scene s;
	struct getter g = {0};

	open_scene(&s, &usual);
	start_getter(&g, &s);
	fake_wait(&s.fake, 1);
	assert_int_equal(fake_answer(&s.fake, false), 1);
	pthread_join(g.thread, NULL);
	assert_int_equal(g.r, 0);
	assert_int_equal(g.quota.total_octets, 3);
	close_scene(&s);
}

static void test_threads_do_not_pile_up(void **state)
{
	struct scene s;
	struct getter waits = {0}, refused = {0};

	open_scene(&s, &usual);
	start_getter(&waits, &s);
	fake_wait(&s.fake, 1);
	ahead_us = 5 * SECOND;
	refused.scene = &s;
	get_main(&refused); /* at once */
	assert_int_equal(refused.r, ERR_UNAVAILABLE);
	assert_int_equal(refused.err.code, ERR_UNAVAILABLE);
	assert_int_equal(fake_answer(&s.fake, false), 1);
	pthread_join(waits.thread, NULL);
	assert_int_equal(waits.r, 0);
	close_scene(&s);
}

/* -- the end -------------------------------------------------------------------------------------- */

static void test_a_stop_answers_everybody(void **state)
{
	struct scene s;
	struct heard waits = HEARD, late = HEARD;
	struct getter g = {0};

	open_scene(&s, &usual);
	learn(&s, "known");
	ask(&s, "a", &waits);
	start_getter(&g, &s);
	fake_wait(&s.fake, 3);
	limits_stop(s.limits);
	pthread_join(g.thread, NULL);
	assert_int_equal(g.r, ERR_UNAVAILABLE);
	assert_int_equal(waits.n, 1);
	assert_int_equal(waits.r, ERR_UNAVAILABLE);
	assert_true(recalls(&s, "known"));
	ask(&s, "b", &late);
	assert_int_equal(late.r, ERR_UNAVAILABLE);
	close_scene(&s);
}

/* -- all at once ---------------------------------------------------------------------------------- */

struct rioter {
	struct scene *scene;
	pthread_t thread;
	unsigned seed;
	atomic_uint n_heard;
};

static void count_heard(void *cls, int r, const struct quota *quota, const struct err *err)
{
	struct rioter *rioter = cls;

	(void)err;
	assert((r == 0) == (quota != NULL));
	atomic_fetch_add(&rioter->n_heard, 1);
}

static void *riot(void *arg)
{
	struct rioter *r = arg;
	struct limits *l = r->scene->limits;
	char project[16];
	struct quota quota;

	for (int i = 0; i < 2000; i++) {
		(void)snprintf(project, sizeof(project), "p%d", rand_r(&r->seed) % 8);
		if (i % 3 == 0)
			(void)limits_recall(l, project, &quota);
		else if (i % 3 == 1)
			(void)limits_get(l, project, clock_mono_us() + HOUR, &quota, NULL);
		limits_ask(l, project, clock_mono_us() + HOUR, count_heard, r);
	}
	return NULL;
}

static atomic_bool riot_over;

static void *answer_all(void *arg)
{
	struct fake *f = arg;
	unsigned n = 0;

	while (!riot_over) {
		fake_answer(f, ++n % 5 == 0);
		ahead_us += 10 * SECOND;
	}
	return NULL;
}

static void test_a_riot(void **state)
{
	struct limits_config config = usual;
	struct rioter rioters[4] = {0};
	struct scene s;
	pthread_t thread;

	config.max_asking = 6;
	open_scene(&s, &config);
	riot_over = false;
	assert_int_equal(pthread_create(&thread, NULL, answer_all, &s.fake), 0);
	for (unsigned i = 0; i < 4; i++) {
		rioters[i].scene = &s;
		rioters[i].seed = i;
		assert_int_equal(pthread_create(&rioters[i].thread, NULL, riot, &rioters[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(rioters[i].thread, NULL);
	riot_over = true;
	pthread_join(thread, NULL);
	limits_stop(s.limits);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(rioters[i].n_heard, 2000);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_is_kept),
		cmocka_unit_test(test_no_project_is_one_of_its_own),
		cmocka_unit_test(test_what_is_in_use_is_asked_for_before_it_is_over),
		cmocka_unit_test(test_what_is_over_is_asked_for),
		cmocka_unit_test(test_an_old_answer_serves_while_there_is_no_other),
		cmocka_unit_test(test_no_answer_is_not_permission),
		cmocka_unit_test(test_the_longest_unused_goes),
		cmocka_unit_test(test_who_comes_later_joins),
		cmocka_unit_test(test_how_many_are_asked_for_is_bounded),
		cmocka_unit_test(test_nobody_waits_longer_than_he_said),
		cmocka_unit_test(test_a_thread_waits),
		cmocka_unit_test(test_threads_do_not_pile_up),
		cmocka_unit_test(test_a_stop_answers_everybody),
		cmocka_unit_test(test_a_riot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * base/pool.c -- threads for work that may block.
 *
 * One lock guards everything below. Work waits in a list, oldest first; a thread is started when
 * more waits than there are idle threads, up to the bound, and ends after IDLE_MS without work.
 *
 * (1) n_threads counts the threads that will still look at the list; none ends while it has entries.
 * (2) Every thread is joined: one that ends joins the one that ended before it, pool_free() the last.
 *     So at most one ended thread is unjoined, and after pool_free() none runs. */
#include "pool.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef IDLE_MS /* the test has less patience */
#define IDLE_MS 10000
#endif

struct job {
	struct job *next;
	pool_fn *fn;
	void *arg;
};

struct pool {
	char name[16];
	unsigned max_threads;

	pthread_mutex_t lock;
	pthread_cond_t work;  /* a job was added, or closing was set */
	pthread_cond_t ended; /* n_threads became 0 */

	struct job *first, **last; /* *last is where the next job goes */
	size_t n_waiting;
	unsigned n_threads, n_idle;
	bool closing;

	pthread_t previous; /* the thread that ended last, not joined yet */
	bool has_previous;
};

static struct job *take_job(struct pool *p)
{
	struct job *job = p->first;

	if (!job)
		return NULL;
	p->first = job->next;
	if (!p->first)
		p->last = &p->first;
	p->n_waiting--;
	return job;
}

static struct timespec idle_deadline(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += IDLE_MS / 1000;
	t.tv_nsec += IDLE_MS % 1000 * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_nsec -= 1000000000L;
		t.tv_sec++;
	}
	return t;
}

/* The next job; NULL when this thread should end. Called and left with the lock held. */
static struct job *wait_for_job(struct pool *p)
{
	struct timespec deadline = idle_deadline();
	int r = 0;

	while (!p->first && !p->closing && r != ETIMEDOUT) {
		p->n_idle++;
		r = pthread_cond_timedwait(&p->work, &p->lock, &deadline);
		p->n_idle--;
	}
	return take_job(p);
}

/* Called with the lock held, releases it; the pool may be gone as soon as it does. */
static void leave(struct pool *p)
{
	pthread_t previous = p->previous;
	bool has_previous = p->has_previous;

	p->previous = pthread_self();
	p->has_previous = true;
	if (--p->n_threads == 0)
		(void)pthread_cond_broadcast(&p->ended);
	(void)pthread_mutex_unlock(&p->lock);
	if (has_previous)
		(void)pthread_join(previous, NULL);
}

static void *run(void *arg)
{
	struct pool *p = arg;
	struct job *job;

	(void)pthread_setname_np(pthread_self(), p->name);
	(void)pthread_mutex_lock(&p->lock);
	while ((job = wait_for_job(p))) {
		(void)pthread_mutex_unlock(&p->lock);
		job->fn(job->arg);
		free(job);
		(void)pthread_mutex_lock(&p->lock);
	}
	leave(p);
	return NULL;
}

/* Signals stay with the threads that ask for them. */
static bool start_thread(struct pool *p)
{
	sigset_t all, before;
	pthread_t thread;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, NULL, run, p);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return false;
	p->n_threads++;
	return true;
}

static bool init_sync(struct pool *p)
{
	pthread_condattr_t attr;
	bool ok;

	if (pthread_condattr_init(&attr) != 0)
		return false;
	ok = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 &&
	     pthread_cond_init(&p->work, &attr) == 0;
	(void)pthread_condattr_destroy(&attr);
	/* These two only initialize memory: with default attributes they cannot fail. */
	return ok && pthread_cond_init(&p->ended, NULL) == 0 && pthread_mutex_init(&p->lock, NULL) == 0;
}

int pool_new(const char *name, unsigned max_threads, struct pool **ret, struct err *err)
{
	struct pool *p;

	assert(max_threads > 0);
	p = calloc(1, sizeof(*p));
	if (!p || !init_sync(p)) {
		free(p);
		return err_nomem(err);
	}
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	p->max_threads = max_threads;
	p->last = &p->first;
	*ret = p;
	return 0;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	p->closing = true;
	(void)pthread_cond_broadcast(&p->work);
	while (p->n_threads > 0)
		(void)pthread_cond_wait(&p->ended, &p->lock);
	(void)pthread_mutex_unlock(&p->lock);
	if (p->has_previous)
		(void)pthread_join(p->previous, NULL);
	assert(!p->first);

	(void)pthread_mutex_destroy(&p->lock);
	(void)pthread_cond_destroy(&p->work);
	(void)pthread_cond_destroy(&p->ended);
	free(p);
}

/* Make sure that somebody will take the next job. False if there is nobody and cannot be. */
static bool find_hands(struct pool *p)
{
	if (p->n_idle <= p->n_waiting && p->n_threads < p->max_threads && start_thread(p))
		return true;
	if (p->n_idle > 0)
		(void)pthread_cond_signal(&p->work);
	return p->n_threads > 0;
}

int pool_submit(struct pool *p, pool_fn *fn, void *arg)
{
	struct job *job = malloc(sizeof(*job));
	bool found;

	if (!job)
		return ERR_NO_MEMORY;
	*job = (struct job){.fn = fn, .arg = arg};
	(void)pthread_mutex_lock(&p->lock);
	found = find_hands(p);
	if (found) {
		*p->last = job;
		p->last = &job->next;
		p->n_waiting++;
	}
	(void)pthread_mutex_unlock(&p->lock);
	if (!found)
		free(job);
	return found ? 0 : ERR_NO_MEMORY;
}

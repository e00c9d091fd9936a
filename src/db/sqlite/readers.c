/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/readers.c -- connections for read transactions. A thread takes one for the length of
 * its transaction; the one returned last goes out first, so that as few as possible stay warm. */
#include "db/sqlite/sqlite.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "base/clock.h"

/* Read transactions are short. Who waits so long is behind a database that does not answer. */
#define MAX_WAIT_US INT64_C(30000000)
/* Beyond these, idle connections keep no pages in memory. */
#define N_WARM 4

bool cond_init_mono(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	bool ok;

	if (pthread_condattr_init(&attr) != 0)
		return false;
	ok = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 && pthread_cond_init(cond, &attr) == 0;
	(void)pthread_condattr_destroy(&attr);
	return ok;
}

bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until)
{
	struct timespec ts = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};

	return pthread_cond_timedwait(cond, lock, &ts) != ETIMEDOUT;
}

int readers_init(struct readers *rs, struct err *err)
{
	if (!cond_init_mono(&rs->returned))
		return err_nomem(err);
	(void)pthread_mutex_init(&rs->lock, NULL);
	return 0;
}

void readers_done(struct readers *rs)
{
	assert(rs->n_idle == rs->n_open);
	while (rs->n_idle > 0)
		conn_close(rs->idle[--rs->n_idle]);
	(void)pthread_cond_destroy(&rs->returned);
	(void)pthread_mutex_destroy(&rs->lock);
}

static void give_up_place(struct readers *rs)
{
	(void)pthread_mutex_lock(&rs->lock);
	rs->n_open--;
	(void)pthread_cond_broadcast(&rs->returned); /* not everybody can use a place */
	(void)pthread_mutex_unlock(&rs->lock);
}

/* Lock held. An idle one, or NULL and the right to open one more. */
static int wait_for_place(struct readers *rs, struct conn **ret, struct err *err)
{
	int64_t until = clock_mono_us() + MAX_WAIT_US;

	while (rs->n_idle == 0 && rs->n_open == MAX_READERS) {
		if (cond_wait_until(&rs->returned, &rs->lock, until))
			continue;
		(void)err_set(err, ERR_UNAVAILABLE, "The database does not keep up; try again later.");
		if (err)
			err->retriable = true;
		return ERR_UNAVAILABLE;
	}
	if (rs->n_idle > 0) {
		*ret = rs->idle[--rs->n_idle];
	} else {
		*ret = NULL;
		rs->n_open++;
	}
	return 0;
}

/* No further one could be opened, for want of descriptors or memory: one of those that are there has to
 * do, as soon as it is back. @r and @err tell why; they stay if there is none. */
static int make_do(struct readers *rs, struct conn **ret, int r)
{
	int64_t until = clock_mono_us() + MAX_WAIT_US;

	(void)pthread_mutex_lock(&rs->lock);
	rs->n_open--;
	(void)pthread_cond_broadcast(&rs->returned);
	while (rs->n_idle == 0 && rs->n_open > 0)
		if (!cond_wait_until(&rs->returned, &rs->lock, until))
			break;
	if (rs->n_idle > 0) {
		*ret = rs->idle[--rs->n_idle];
		r = 0;
	}
	(void)pthread_mutex_unlock(&rs->lock);
	return r;
}

int readers_take(struct readers *rs, const char *path, struct conn **ret, struct err *err)
{
	struct conn *c = NULL;
	int r;

	(void)pthread_mutex_lock(&rs->lock);
	r = wait_for_place(rs, &c, err);
	(void)pthread_mutex_unlock(&rs->lock);
	if (r < 0)
		return r;
	if (!c) {
		r = conn_open(path, CONN_READER, &c, err);
		if (r < 0)
			r = make_do(rs, &c, r);
	}
	*ret = c;
	return r;
}

void readers_give_back(struct readers *rs, struct conn *c)
{
	if (sqlite3_get_autocommit(c->handle) == 0) { /* it could not even roll back */
		conn_close(c);
		give_up_place(rs);
		return;
	}
	(void)pthread_mutex_lock(&rs->lock);
	if (rs->n_idle >= N_WARM)
		(void)sqlite3_db_release_memory(c->handle);
	rs->idle[rs->n_idle++] = c;
	(void)pthread_cond_signal(&rs->returned);
	(void)pthread_mutex_unlock(&rs->lock);
}

/* SPDX-License-Identifier: Apache-2.0
 * service/janitor.c -- a thread that removes the bytes of deleted images and finishes what failed
 * uploads left, again and again until it is done. It goes by what the database says, so it also
 * finishes what a process before us began.
 *
 * The first failure to remove an image's bytes is told to the consumers (WARN image.delete); the
 * attempts are counted in the database and spaced out, up to an hour. After a round with trouble the next
 * one comes soon, and the longer the trouble lasts the later. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "service/internal.h"

#define BATCH 256
#define REST_US (INT64_C(10) * 1000000)   /* looks by itself this often */
#define RETRY_FIRST_US (INT64_C(500) * 1000) /* most trouble is short; each further pause is twice as long */
#define RETRY_MAX_US (INT64_C(3600) * 1000000)

struct janitor {
	struct service *svc;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool woken, stopping;
};

struct due {
	struct db_removal removal;
	int result; /* of the attempt */
	struct err err;
};

struct due_list {
	struct arena arena;
	struct due items[BATCH];
	size_t n;
	bool has_failed; /* one of them at least, in this round */
};

static int collect(void *cls, const struct db_removal *r, struct err *err)
{
	struct due_list *list = cls;
	struct due *due = &list->items[list->n];

	*due = (struct due){.removal = *r};
	due->removal.url = arena_strdup(&list->arena, r->url);
	if (!due->removal.url)
		return err_nomem(err);
	list->n++;
	return 0;
}

static int read_due(struct service *svc, struct due_list *list, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r;

	r = db_begin(svc->db, DB_READ, &tx, err);
	if (r < 0)
		return r;
	return db_removal_due(tx, clock_now_us(), BATCH, collect, list, err);
}

static void attempt(struct service *svc, struct due *due)
{
	due->result = service_remove_bytes(svc, due->removal.url, &due->err);
	if (due->result < 0)
		log_warning("glint.janitor", NULL, "image %s: bytes that should go are still there: %s (attempt %lld)",
			    due->removal.image_id, err_story(&due->err), (long long)due->removal.n_attempts + 1);
}

static int64_t next_attempt(const struct due *due)
{
	int64_t wait = RETRY_FIRST_US;

	for (int64_t i = 0; i < due->removal.n_attempts && wait < RETRY_MAX_US; i++)
		wait *= 2;
	return clock_now_us() + (wait < RETRY_MAX_US ? wait : RETRY_MAX_US);
}

static int warn_consumers(struct service *svc, struct db_tx *tx, const struct due *due, struct arena *a,
			  struct err *err)
{
	static const struct origin nobody;
	const char *text = arena_printf(a, "Image %s was deleted, but the store could not remove its data yet: %s",
					due->removal.image_id, due->err.text);

	if (!text)
		return err_nomem(err);
	return event_image_text(svc->notify, tx, EVENT_IMAGE_DELETE, EVENT_WARN, due->removal.image_id, text,
				&nobody, err);
}

/* Bytes also go while the image stays: staged ones, or those in one of its stores. */
static bool is_deleted(struct db_tx *tx, const struct due *due, struct arena *a)
{
	struct image image;

	return db_image_get(tx, due->removal.image_id, false, a, &image, NULL) == ERR_NOT_FOUND;
}

static int record_one(struct service *svc, struct db_tx *tx, const struct due *due, struct arena *a,
		      struct err *err)
{
	int r;

	if (due->result == 0)
		return db_removal_delete(tx, due->removal.id, err);
	if (due->removal.n_attempts == 0 && is_deleted(tx, due, a)) {
		r = warn_consumers(svc, tx, due, a, err);
		if (r < 0)
			return r;
	}
	return db_removal_retry(tx, due->removal.id, next_attempt(due), err);
}

static int record(struct service *svc, struct due_list *list, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r;

	r = db_begin(svc->db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list->n; i++) {
		r = record_one(svc, tx, &list->items[i], &list->arena, err);
		if (r < 0)
			return r;
	}
	return service_commit(svc, &tx, err);
}

/* *ret_more: a full batch was there, so there may be more. */
static int sweep(struct service *svc, struct due_list *list, bool *ret_more, struct err *err)
{
	int r;

	list->n = 0;
	r = read_due(svc, list, err);
	if (r == 0 && list->n > 0) {
		for (size_t i = 0; i < list->n; i++) {
			attempt(svc, &list->items[i]);
			list->has_failed |= list->items[i].result < 0;
		}
		r = record(svc, list, err);
	}
	*ret_more = list->n == BATCH;
	arena_done(&list->arena);
	return r;
}

static int expire_tasks(struct service *svc, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int64_t n = 0;
	int r = db_begin(svc->db, DB_WRITE, &tx, err);

	if (r == 0)
		r = db_task_expire(tx, clock_now_us(), BATCH, &n, err);
	return r < 0 || n == 0 ? r : db_commit(&tx, err);
}

/* False: not everything went well. */
static bool work(struct service *svc, struct due_list *list)
{
	struct err err = {0};
	unsigned n_recovered;
	bool more = true;
	int r = 0;

	list->has_failed = false;
	while (r == 0 && more)
		r = sweep(svc, list, &more, &err);
	if (r == 0)
		r = service_recover(svc, &n_recovered, &err);
	if (r == 0)
		r = expire_tasks(svc, &err);
	executor_wake(svc->executor); /* one that could not be picked up may be now */
	if (r < 0)
		log_warning("glint.janitor", NULL, "%s; trying again in a while", err_story(&err));
	return r == 0 && !list->has_failed;
}

static int64_t pause_after(unsigned n_bad)
{
	int64_t us = n_bad > 0 ? RETRY_FIRST_US : REST_US;

	for (unsigned i = 1; i < n_bad && us < REST_US; i++)
		us *= 2;
	return us < REST_US ? us : REST_US;
}

/* False: time to end. */
static bool rest(struct janitor *j, int64_t pause_us)
{
	int64_t until_us = clock_mono_us() + pause_us;
	struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
	bool go_on;

	pthread_mutex_lock(&j->lock);
	while (!j->woken && !j->stopping)
		if (pthread_cond_timedwait(&j->wake, &j->lock, &until) == ETIMEDOUT)
			break;
	j->woken = false;
	go_on = !j->stopping;
	pthread_mutex_unlock(&j->lock);
	return go_on;
}

static void *janitor_main(void *arg)
{
	struct janitor *j = arg;
	struct due_list *list = calloc(1, sizeof(*list));
	unsigned n_bad = 0; /* rounds in a row */

	if (!list) {
		log_error("glint.janitor", NULL, "no memory to begin with");
		return NULL;
	}
	do
		n_bad = work(j->svc, list) ? 0 : n_bad + 1;
	while (rest(j, pause_after(n_bad)));
	free(list);
	return NULL;
}

int janitor_start(struct service *svc, struct janitor **ret, struct err *err)
{
	struct janitor *j = calloc(1, sizeof(*j));
	pthread_condattr_t attr;
	int r;

	if (!j)
		return err_nomem(err);
	j->svc = svc;
	pthread_mutex_init(&j->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->wake, &attr);
	pthread_condattr_destroy(&attr);
	r = pthread_create(&j->thread, NULL, janitor_main, j);
	if (r != 0) {
		pthread_cond_destroy(&j->wake);
		pthread_mutex_destroy(&j->lock);
		free(j);
		return err_set(err, ERR_INTERNAL, "starting a thread: %s", strerror(r));
	}
	pthread_setname_np(j->thread, "glint-janitor");
	*ret = j;
	return 0;
}

static void signal_janitor(struct janitor *j, bool stop)
{
	pthread_mutex_lock(&j->lock);
	j->woken = true;
	j->stopping |= stop;
	pthread_cond_signal(&j->wake);
	pthread_mutex_unlock(&j->lock);
}

void janitor_wake(struct janitor *j)
{
	if (j)
		signal_janitor(j, false);
}

void janitor_stop(struct janitor *j)
{
	if (!j)
		return;
	signal_janitor(j, true);
	pthread_join(j->thread, NULL);
	pthread_cond_destroy(&j->wake);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

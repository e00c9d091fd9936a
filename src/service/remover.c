/* SPDX-License-Identifier: Apache-2.0
 * service/remover.c -- removes the bytes of an image that was just deleted, so that the disk is free when
 * the client hears of it; but a store that does not come back makes no client wait for ever.
 *
 * The store is called on threads of a pool of its own. Whoever asked waits for at most PATIENCE_US; then
 * the call is late, and as long as one is, nobody else tries: what has to go stands in the table of
 * removals, and is the janitor's. So a store that hangs holds no thread that requests need. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/pool.h"
#include "service/internal.h"

#define MAX_THREADS 8
#define PATIENCE_US (INT64_C(2) * 1000000)

struct remover {
	struct service *svc;
	struct pool *pool;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned n_late;
};

/* Belongs to the one that asked until it is late, then to the thread that works on it. */
struct order {
	struct remover *remover;
	struct arena arena; /* of the locations */
	const char **locations;
	size_t n;
	bool done, late;
};

static void order_free(struct order *o)
{
	arena_done(&o->arena);
	free(o);
}

static struct order *order_new(struct remover *r, const struct image *image)
{
	struct order *o = calloc(1, sizeof(*o));
	bool whole;

	if (!o)
		return NULL;
	o->remover = r;
	o->locations = arena_alloc(&o->arena, image->n_locations * sizeof(*o->locations));
	whole = o->locations;
	for (; whole && o->n < image->n_locations; o->n++) {
		o->locations[o->n] = arena_strdup(&o->arena, image->locations[o->n].url);
		whole = o->locations[o->n];
	}
	if (whole)
		return o;
	order_free(o);
	return NULL;
}

/* What fails is the janitor's. */
static void remove_all(struct service *svc, const struct order *o)
{
	for (size_t i = 0; i < o->n; i++) {
		struct err err = {0};

		(void)service_remove_bytes(svc, o->locations[i], &err);
	}
}

static void carry_out(void *arg)
{
	struct order *o = arg;
	struct remover *r = o->remover;
	bool late;

	remove_all(r->svc, o);
	pthread_mutex_lock(&r->lock);
	late = o->late;
	o->done = true;
	if (late && --r->n_late == 0)
		log_info("glint.remover", NULL, "the store answers again");
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	if (late)
		order_free(o);
}

/* False if it is late: then it is not ours any more. */
static bool wait_for(struct remover *r, struct order *o)
{
	int64_t until_us = clock_mono_us() + PATIENCE_US;
	struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
	bool done;

	pthread_mutex_lock(&r->lock);
	while (!o->done && pthread_cond_timedwait(&r->changed, &r->lock, &until) != ETIMEDOUT)
		;
	done = o->done;
	o->late = !done;
	if (o->late && r->n_late++ == 0)
		log_warning("glint.remover", NULL,
			    "a store does not answer: the bytes of deleted images go when it does, nobody waits for it");
	pthread_mutex_unlock(&r->lock);
	return done;
}

static bool is_late(struct remover *r)
{
	bool late;

	pthread_mutex_lock(&r->lock);
	late = r->n_late > 0;
	pthread_mutex_unlock(&r->lock);
	return late;
}

void remover_remove(struct remover *r, const struct image *image)
{
	struct order *o;

	if (!r || image->n_locations == 0 || is_late(r))
		return;
	o = order_new(r, image);
	if (!o)
		return;
	if (pool_submit(r->pool, carry_out, o) < 0 || wait_for(r, o))
		order_free(o);
}

int remover_new(struct service *svc, struct remover **ret, struct err *err)
{
	struct remover *r = calloc(1, sizeof(*r));
	pthread_condattr_t attr;
	int rc;

	if (!r)
		return err_nomem(err);
	rc = pool_new("glint-remove", MAX_THREADS, &r->pool, err);
	if (rc < 0) {
		free(r);
		return rc;
	}
	r->svc = svc;
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->changed, &attr);
	pthread_condattr_destroy(&attr);
	*ret = r;
	return 0;
}

void remover_free(struct remover *r)
{
	if (!r)
		return;
	pool_free(r->pool);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

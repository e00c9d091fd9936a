/* SPDX-License-Identifier: Apache-2.0
 * access/rate.c -- see rate.h.
 *
 * Of a project one time is kept: when it would have used up all that it took, at the even pace. It may take
 * more as long as that is no further ahead than a minute's worth. A time that is past says nothing, so its
 * place is free for another project; memory is fixed. If more projects than a set has places are busy at
 * once, the one with the least to its account is forgotten, which forgives it. */
#include "access/rate.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/err.h"

#define MINUTE_US INT64_C(60000000)
#define N_SETS 2048 /* a power of two */
#define N_WAYS 8

struct account {
	uint64_t project; /* hash of its id */
	int64_t paid_at_us;
};

struct rate {
	int64_t interval_us; /* between two, at the even pace */
	int64_t ahead_us;    /* how far paid_at_us may be */
	pthread_mutex_t lock;
	struct account accounts[N_SETS][N_WAYS];
};

int rate_new(int64_t per_minute, struct rate **ret, struct err *err)
{
	struct rate *r = calloc(1, sizeof(*r));

	if (!r)
		return err_nomem(err);
	r->interval_us = per_minute < MINUTE_US ? MINUTE_US / per_minute : 1;
	r->ahead_us = MINUTE_US - r->interval_us;
	pthread_mutex_init(&r->lock, NULL);
	*ret = r;
	return 0;
}

void rate_free(struct rate *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static uint64_t hash_of(const char *project)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (; project && *project; project++)
		h = (h ^ (unsigned char)*project) * UINT64_C(1099511628211);
	return h ^ h >> 32;
}

/* Its own, or the one with the least in it. */
static struct account *find_account(struct rate *r, uint64_t project)
{
	struct account *set = r->accounts[project % N_SETS], *least = set;

	for (size_t i = 0; i < N_WAYS; i++) {
		if (set[i].project == project)
			return &set[i];
		if (set[i].paid_at_us < least->paid_at_us)
			least = &set[i];
	}
	*least = (struct account){.project = project};
	return least;
}

int64_t rate_take(struct rate *r, const char *project, int64_t now_us)
{
	uint64_t hash = hash_of(project);
	struct account *a;
	int64_t wait_us;

	pthread_mutex_lock(&r->lock);
	a = find_account(r, hash);
	if (a->paid_at_us < now_us)
		a->paid_at_us = now_us;
	wait_us = a->paid_at_us - now_us - r->ahead_us;
	if (wait_us <= 0)
		a->paid_at_us += r->interval_us;
	pthread_mutex_unlock(&r->lock);
	return wait_us > 0 ? wait_us : 0;
}

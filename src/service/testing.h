/* SPDX-License-Identifier: Apache-2.0
 * service/testing.h -- for tests: a creation that is waited for. */
#pragma once

#include <pthread.h>

#include "base/err.h"
#include "service/service.h"

struct waiting {
	pthread_mutex_t lock;
	pthread_cond_t told;
	bool over;
	int r;
	struct err err;
};

static inline void note_created(void *cls, int r, const struct err *err)
{
	struct waiting *w = cls;

	(void)pthread_mutex_lock(&w->lock);
	w->r = r;
	w->err = *err;
	w->over = true;
	(void)pthread_cond_signal(&w->told);
	(void)pthread_mutex_unlock(&w->lock);
}

static inline int create_and_wait(struct service *service, const struct who *who, struct image *image, struct err *err)
{
	struct waiting w = {.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};
	struct creation c = {.who = who, .image = image, .done = note_created, .cls = &w};

	service_create(service, &c);
	(void)pthread_mutex_lock(&w.lock);
	while (!w.over)
		(void)pthread_cond_wait(&w.told, &w.lock);
	(void)pthread_mutex_unlock(&w.lock);
	*err = w.err;
	return w.r;
}

/* SPDX-License-Identifier: Apache-2.0
 * base/pool.h -- threads for work that may block. Threads start when there is work and none is
 * free, up to a bound; they end after a while without work. */
#pragma once

#include "util.h"

struct pool;
struct err;

typedef void pool_fn(void *arg);

/* @name shows in ps/top (at most 15 octets). */
int pool_new(const char *name, unsigned max_threads, struct pool **ret, struct err *err);

/* Waits until everything submitted has run, ends the threads, frees. NULL is fine. */
void pool_free(struct pool *p);

/* Run @fn(@arg) on a thread of the pool, in order of submission as far as threads are free. Never
 * blocks; the queue has no bound of its own (the caller's has: connections). Fails only without
 * memory. */
int pool_submit(struct pool *p, pool_fn *fn, void *arg);

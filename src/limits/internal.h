/* SPDX-License-Identifier: Apache-2.0
 * limits/internal.h -- what the files of this room share. */
#pragma once

#include "limits/limits.h"

struct waiter;

/* Who is asked: Keystone; in tests somebody else. */
struct limits_source {
	/* Never blocks. @fn is called exactly once, on any thread, here as well, and by @deadline_us.
	 * @project "": what counts for all, it stays until then. */
	void (*ask)(void *cls, const char *project, int64_t deadline_us, limits_fn *fn, void *fn_cls);
	void (*stop)(void *cls); /* whatever is asked ends soon, and what will be at once; waits for nobody */
	void (*close)(void *cls); /* after the last answer */
	void *cls;
};

/* The source is closed in any case: here if this fails. */
int limits_new(const struct limits_config *config, const struct limits_source *source, struct limits **ret,
	       struct err *err);

/* -- memory.c: the projects that are known or asked for; not thread-safe --------------------------- */

struct known {
	struct limits *limits;
	struct known *chain;         /* of its bucket */
	struct known *newer, *older; /* by use, of those that are not asked for */
	struct quota quota;
	int64_t got_us;   /* when the quota came; 0: never did */
	int64_t retry_us; /* not asked for again of our own accord before */
	bool failed;      /* the last question */
	bool asking;
	char project[];
};

struct memory {
	uint64_t key; /* so that nobody chooses who shares a bucket */
	struct known **buckets;
	size_t n_buckets, n_idle, max_idle;
	struct known *newest, *oldest;
};

int memory_init(struct memory *m, size_t max_idle, struct err *err);
void memory_done(struct memory *m); /* a zeroed one is fine */
struct known *memory_find(struct memory *m, const char *project);
struct known *memory_add(struct memory *m, const char *project); /* idle; NULL without memory */
void memory_touch(struct memory *m, struct known *k);            /* @k is the last used one */
void memory_hold(struct memory *m, struct known *k);             /* stays, whatever comes */
/* Is idle again. One of which nothing is known goes, and so do the longest unused when there are too many. */
void memory_release(struct memory *m, struct known *k);

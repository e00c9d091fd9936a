/* SPDX-License-Identifier: Apache-2.0
 * limits/limits.h -- what a project may take here, as Keystone's unified limits say.
 *
 * (1) Nobody waits for Keystone but who asks for a project of which nothing is known, and he no longer than
 *     he says. What is not known is never taken for "no limit": it is ERR_UNAVAILABLE.
 * (2) One question is under way for a project at a time. Whoever asks meanwhile gets its answer.
 * (3) An answer is kept for cache_us. One that is in use is asked for again before it is over, and may serve
 *     for stale_us longer while Keystone does not answer.
 * (4) Of how many projects a question is under way is bounded, and so is of how many an answer is kept: the
 *     longest unused goes first. While Keystone is slow or down, so is how many threads wait for it. */
#pragma once

#include "base/util.h"

struct err;
struct metrics;
struct limits;

#define QUOTA_NONE (-1)

/* What a project may have, each QUOTA_NONE or at least 0. */
struct quota {
	int64_t total_octets;  /* stored, all copies */
	int64_t staged_octets; /* in the staging area */
	int64_t n_images;      /* records that are not deleted */
	int64_t n_uploading;   /* images whose bytes are on their way */
};

struct limits_config {
	int64_t cache_us;     /* how long an answer counts, */
	int64_t stale_us;     /* and how much longer where Keystone does not give another */
	int64_t timeout_us;   /* of a question to Keystone, with the login that it may need */
	unsigned max_asking;  /* projects that are asked for at a time; beyond it: ERR_UNAVAILABLE */
	unsigned max_threads; /* that wait in limits_get() while Keystone is slow or down; likewise */
	size_t max_projects;  /* of which the answer is kept */
};

/* Once for each question: r 0 and the quota, or a negative ERR_* and the story. Both borrowed. */
typedef void limits_fn(void *cls, int r, const struct quota *quota, const struct err *err);

/* From memory; false: it must be asked for. Any thread, an event loop as well: never blocks. */
bool limits_recall(struct limits *l, const char *project, struct quota *ret);

/* Any thread; never blocks. @fn is called exactly once: here if that needs no waiting, else from a thread that
 * must not be kept; not later than @deadline_us (monotonic) or limits_stop(). ERR_UNAVAILABLE:
 * Keystone did not say, or too many wait. */
void limits_ask(struct limits *l, const char *project, int64_t deadline_us, limits_fn *fn, void *cls);

/* The same for a thread that may wait. */
int limits_get(struct limits *l, const char *project, int64_t deadline_us, struct quota *ret,
	       struct err *err);

/* What GET /metrics tells of @l; NULL: as of one that nobody asks. Before the first question. */
int limits_measure(struct limits *l, struct metrics *m, struct err *err);

/* Every question that waits is answered with ERR_UNAVAILABLE, and so is each later one that memory does not
 * answer. Waits for no network. NULL is fine. */
void limits_stop(struct limits *l);
void limits_close(struct limits *l); /* stops; when nobody asks any more. NULL is fine */

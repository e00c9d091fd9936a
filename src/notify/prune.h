/* SPDX-License-Identifier: Apache-2.0
 * notify/prune.h -- takes delivered events out of the journal when they are old or too many.
 * Room-internal. */
#pragma once

#include "db/db.h"

struct err;
struct pruner;

struct prune_config {
	const char *const *drivers; /* names of those that must be past an event before it goes */
	size_t n_drivers;
	int64_t max_age_us; /* negative: no limit; so too for max_bytes */
	int64_t max_bytes;
};

/* Prune what may go at @now. *ret_over: the journal is over its bound nevertheless, with events
 * that are not delivered. */
int prune_journal(struct db *db, const struct prune_config *config, int64_t now, int64_t *ret_n,
		  bool *ret_over, struct err *err);

/* A thread that does so from time to time. @config with its arrays is borrowed and outlives it. */
int pruner_start(struct db *db, const struct prune_config *config, struct pruner **ret, struct err *err);
void pruner_stop(struct pruner *p); /* waits for its end, frees; NULL is fine */

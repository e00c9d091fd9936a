/* SPDX-License-Identifier: Apache-2.0
 * notify/count.h -- what this room counts for GET /metrics. A label is the name of a driver or of an
 * event, never where anything goes. Room-internal. */
#pragma once

#include "event.h"

struct metric;
struct metrics;
struct relay;

/* All NULL: nothing is counted. The rows of the last five are the relays. */
struct counters {
	struct metric *events;
	struct metric *delivered, *retries, *set_aside, *publish_times, *delays;

	/* for what is looked up when it is asked for */
	struct db *db;
	struct relay *const *relays;
};

/* @relays, @n of them for the drivers @names, and @ret are read until the last rendering. */
int counters_init(struct counters *ret, struct metrics *m, struct db *db, struct relay *const *relays,
		  const char *const *names, size_t n, struct err *err);

/* Counts an event once @tx is committed. */
void count_event_in(const struct counters *c, struct db_tx *tx, enum event_type t,
		    enum event_priority priority);

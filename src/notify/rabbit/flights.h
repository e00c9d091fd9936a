/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/flights.h -- which messages of a batch are published, and which of those the broker
 * has confirmed. One event is one message for each topic, side by side. */
#pragma once

#include "db/db.h"

struct err;

enum flight_state { FLIGHT_WAITING, FLIGHT_FLYING, FLIGHT_LANDED, FLIGHT_REFUSED };

struct flight {
	int64_t offset; /* of the event */
	uint64_t tag;   /* once it is flying */
	size_t n_bytes;
	enum flight_state state;
};

struct flights {
	struct flight *all;
	size_t n, cap;
	size_t n_flying, n_refused;
};

void flights_done(struct flights *f); /* a zeroed struct is fine */

/* From here on it is about @batch. What is known of its first events stays known. */
int flights_adopt(struct flights *f, const struct db_event *batch, size_t n, size_t n_topics,
		  struct err *err);

size_t flights_next(const struct flights *f, size_t from); /* the first that waits; n if there is none */
void flights_depart(struct flights *f, size_t i, uint64_t tag, size_t n_bytes);
/* The broker's word for @tag, or for all up to it. How many of ours that was about. */
size_t flights_confirm(struct flights *f, uint64_t tag, bool multiple, bool ok);
void flights_lose(struct flights *f);    /* the connection is gone: what has not landed waits again */
void flights_forgive(struct flights *f); /* what was refused waits again */

size_t flights_landed(const struct flights *f);               /* counted from the first */
/* The first @n are reported as safe: if their events come again somebody wants them again. */
void flights_retire(struct flights *f, size_t n);
size_t flights_find(const struct flights *f, size_t n_bytes); /* the first flying of this size; n if none */

/* SPDX-License-Identifier: Apache-2.0
 * notify/kafka/flights.h -- the messages that the client library has been handed: one for each event
 * and topic, from then until the relay has been told about it. Driver-internal.
 *
 * They outlive a call to deliver(): what has not been acknowledged when an attempt ends stays with
 * the library, which goes on trying in order. The next attempt finds it here, waits for it again and
 * hands it over no second time. One thread uses a table. */
#pragma once

#include "base/util.h"

enum flight_state {
	FLIGHT_AIRBORNE, /* handed over, nothing heard yet */
	FLIGHT_LANDED,   /* acknowledged by all replicas in sync */
	FLIGHT_LOST,     /* given up by the library; whether it arrived is not known */
};

struct flights;

struct flight {
	struct flights *table;
	int64_t offset; /* of the event in the journal */
	size_t topic;
	enum flight_state state;
	int problem;  /* LOST: why, as librdkafka numbers it */
	bool awaited; /* by the attempt that is being made */
};

/* A zeroed struct is an empty table. */
struct flights {
	struct flight **at; /* by offset, then topic */
	size_t n, cap;
	size_t n_airborne; /* of those awaited */
	bool has_losses;   /* some flight was lost since the library was started */
};

void kafka_flights_done(struct flights *f);

/* NULL: there is none. */
struct flight *kafka_flights_find(struct flights *f, int64_t offset, size_t topic);

/* A new one, airborne and awaited, in the place of one that was lost; NULL: no memory. */
struct flight *kafka_flights_begin(struct flights *f, int64_t offset, size_t topic);

/* What an attempt waits for: nothing, then one by one. */
void kafka_flights_await_none(struct flights *f);
void kafka_flights_await(struct flights *f, struct flight *one);

/* @problem 0: landed. Only for one that is airborne. */
void kafka_flights_end(struct flight *one, int problem);

/* It did not even begin: forget it, it is no loss. */
void kafka_flights_cancel(struct flight *one);

/* The library is started anew; whatever was airborne is gone with the old one. */
void kafka_flights_restart(struct flights *f, int problem);

/* Forgets what is not airborne and either not awaited or about an event up to @offset. */
void kafka_flights_forget(struct flights *f, int64_t offset);

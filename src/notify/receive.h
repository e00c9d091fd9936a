/* SPDX-License-Identifier: Apache-2.0
 * notify/receive.h -- the other end of a message queue: what is on it, for people who want to look.
 * One receiver a kind of queue, below its driver's directory, and a line in the table in receive.c. */
#pragma once

#include <jansson.h>

#include "base/util.h"

struct conf;
struct err;
struct transport;

struct receive_config { /* borrowed, and outlives the receiver */
	const struct transport *transport;
	const char *exchange;
	const char *const *topics;
	size_t n_topics;       /* at least one */
	const char *pool;      /* a queue of its own by this name: a copy of everything; NULL: the shared queues */
	uint16_t max_unsettled; /* how many messages may be handed out and not settled */
	const struct conf *conf;
};

/* A message, valid until the next call. */
struct received {
	uint64_t tag;
	const char *routing_key;
	const void *body;
	size_t n_bytes;
	bool redelivered; /* somebody has had it before, and gave it back */
};

struct receiver {
	const char *const *schemes; /* of transport_urls, NULL-terminated */
	size_t state_size;          /* zeroed memory */

	/* Connects, declares what a listener declares, starts consuming. Waits for the network, for as
	 * long as the configuration allows. close() follows even when this fails. */
	int (*open)(void *state, const struct receive_config *config, struct err *err);
	/* Becomes readable when there may be something for next(). -1: not connected. */
	int (*fd)(const void *state);
	/* 1: *ret is a message; 0: there is none now. Does not wait. To be called at least once a
	 * second, or the other side takes us for dead. After an error only close() is left. */
	int (*next)(void *state, struct received *ret, struct err *err);
	/* It is done with: gone from the queue. @take false: it is useless, and nobody is to get it again. */
	int (*settle)(void *state, uint64_t tag, bool take, struct err *err);
	/* What is not settled goes back to the queue. Cannot fail; may wait a moment for that. */
	void (*close)(void *state);
};

/* NULL: nothing here can listen there. */
const struct receiver *receiver_find(const char *scheme);

/* The document in a message, of format 1.0 or 2.0: always an object. ERR_INVALID says what is wrong.
 * Owned by the caller. */
int received_document(const struct received *m, json_t **ret, struct err *err);

/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/queues.h -- the exchange and the queues: one queue for each topic and priority, named
 * as its routing key. Declared when first needed on a connection; looked at now and then, because a
 * queue that nobody reads grows until it takes the broker down. */
#pragma once

#include "db/db.h"
#include "wire.h"

struct queue {
	char name[256]; /* also the routing key */
	bool declared;  /* on the connection that there is */
	bool deserted;  /* the last look on that connection found no consumer, but: */
	uint32_t n_messages;
	bool unread; /* we have said that nobody reads it */
};

struct queues {
	const struct rabbit_options *options;
	struct queue *all; /* n_topics * 3, those of one topic side by side */
	size_t n;
	bool confirming;   /* the channel has been asked for confirmations */
	int64_t looked_us; /* the last look, or the first declaration on the connection; 0: none yet */
};

int queues_init(struct queues *q, const struct rabbit_options *o, struct err *err);
void queues_done(struct queues *q);   /* a zeroed struct is fine */
void queues_forget(struct queues *q); /* the connection is a new one: nothing is declared on it */

struct queue *queues_get(struct queues *q, size_t topic, enum event_priority priority);

/* Declares it and whatever has to be said first on a channel, unless that was done. */
int queues_declare(struct queues *q, struct queue *queue, struct wire *w, int64_t deadline_us,
		   struct err *err);

/* The exchange, a queue called @name, and its binding under @key: what a listener says before it
 * listens. */
int queues_declare_as(const struct rabbit_options *o, const char *name, const char *key, struct wire *w,
		      int64_t deadline_us, struct err *err);

/* Looks at those declared, if that is due. Logs when one grows between two looks that find no consumer,
 * and when that has ended. */
int queues_look(struct queues *q, struct wire *w, int64_t deadline_us, struct err *err);

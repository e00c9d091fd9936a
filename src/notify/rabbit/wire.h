/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/wire.h -- one connection to a RabbitMQ broker with one channel on it. Every wait has
 * a deadline; whatever the broker does beyond what is expected ends the connection. */
#pragma once

#include <amqp.h>

#include "options.h"
#include "resolve.h"

struct buf;
struct err;

/* Called for each confirmation that is read, within any of the calls below. @ok false: refused. */
typedef void wire_confirm_fn(void *cls, uint64_t tag, bool multiple, bool ok);

/* Called for what a consumer gets: basic.deliver, basic.cancel, headers and bodies. The frame is
 * borrowed. What it returns ends the connection if it is negative, with @err as the reason. */
typedef int wire_content_fn(void *cls, const amqp_frame_t *frame, struct err *err);

/* What the last answer said. */
struct wire_answer {
	char mechanisms[256];
	int channel_max, frame_max, heartbeat_s;
	uint32_t n_messages, n_consumers;
};

struct wire {
	amqp_connection_state_t conn; /* NULL: closed */
	const struct rabbit_options *options;
	const char *password; /* of this host; taken out of everything the broker says */
	char peer[300];       /* "host:port" */
	wire_confirm_fn *confirm; /* NULL: nothing is published here */
	wire_content_fn *content; /* NULL: nothing is consumed here */
	void *cls;
	struct resolver resolver; /* kept from connection to connection */
	struct wire_answer answer;
	uint64_t last_tag; /* of what was published on this connection */
	bool gathering;    /* what is sent may wait for more to travel with */
	bool blocked;      /* the broker has asked us to publish nothing */
	char why[128];     /* ... for this reason */
	int close_code;    /* with which the broker closed channel or connection; 0: it did not */
	char close_text[256];
	bool no_queue; /* it gave a message back: the queue that there was is no more */
};

/* Connects, logs in, opens the channel. @w is zeroed or closed; callbacks and resolver are kept. On
 * failure it is closed. */
int wire_open(struct wire *w, const struct rabbit_options *o, const struct transport_host *host,
	      int64_t deadline_us, struct err *err);
/* Says goodbye without waiting for an answer. A zeroed or closed one is fine. */
void wire_close(struct wire *w);
void wire_done(struct wire *w); /* closes it for good */
bool wire_is_open(const struct wire *w);

/* The calls below close @w when they fail. */

/* A request on the channel and its answer (AMQP_..._METHOD numbers), left in w->answer. */
int wire_call(struct wire *w, amqp_method_number_t request, void *args, amqp_method_number_t answer,
	      int64_t deadline_us, struct err *err);
/* A request on the channel that has no answer. */
int wire_send(struct wire *w, amqp_method_number_t request, void *args, struct err *err);
/* Without waiting for its confirmation, which is asked for by then; its tag is w->last_tag. If there is
 * no queue for it, it comes back before it is confirmed: the connection ends with w->no_queue. */
int wire_publish(struct wire *w, const char *key, const struct buf *body, struct err *err);
/* What was published lately may be waiting to travel with more: it leaves now. */
void wire_send_all(struct wire *w);
/* Reads what comes until @deadline_us (0: what is there) or, if that is earlier, one thing has come.
 * 1: something came, 0: nothing. Sends heartbeats when they are due. */
int wire_read(struct wire *w, int64_t deadline_us, struct err *err);
/* Waits until there is room for more to be sent. 1, or 0 at the deadline. */
int wire_wait_for_room(struct wire *w, int64_t deadline_us);

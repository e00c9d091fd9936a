/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/rabbit.c -- the drivers messaging and messagingv2 over RabbitMQ.
 *
 * (1) An event is safe once the broker has confirmed it for every topic.
 * (2) Events are published in order, on one channel. What was not confirmed when a connection broke
 *     is published again on the next one, in order, the same to the octet.
 * (3) What is unconfirmed on a connection that still stands is never published again: when deliver()
 *     comes back with RETRY because the broker is slow, the next call goes on waiting for it.
 * (4) Of a long batch a part may still be unconfirmed when deliver() comes back with UNDER_WAY, so that
 *     the broker has something to do while the relay fetches more. (3) holds for it.
 * (5) A message for which the broker has no queue comes back before it is confirmed. That ends the
 *     connection, and (2) does the rest: the queue is declared again, and what was not confirmed
 *     published again.
 * (6) No call lasts much longer than WAIT_US without progress, whatever the broker does.
 *
 * A message the broker closes the channel for because of its size is remembered (too_large), the rest
 * is published again up to it, and then it is rejected. Problems are told by the relay, as the story of
 * a RETRY; here only what comes up while there is nothing to deliver is logged. */
#include "notify/driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <zlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "notify/message.h"
#include "flights.h"
#include "options.h"
#include "queues.h"
#include "wire.h"

#define LOGGER "glint.rabbit"
#define SECOND INT64_C(1000000)
#define CONNECT_US (10 * SECOND) /* to reach a broker and log in; for all hosts that one call tries */
#define WAIT_US (5 * SECOND)     /* for a confirmation or an answer */
#define STALE_US (60 * SECOND)   /* without any confirmation of what was published: the connection is dead */
#define READ_EVERY 64            /* confirmations are read after so many messages at the latest */
#define LONG_BATCH 256           /* messages; of fewer, all are waited for */
#define KEEP_MAX ((size_t)1024 * 1024)

extern const struct notify_driver notify_driver_messaging_rabbit, notify_driver_messagingv2_rabbit;

struct rabbit {
	const struct notify_driver *driver;
	struct rabbit_options options;
	struct wire wire;
	struct queues queues;
	struct flights flights;
	size_t next_host;
	bool shuffled, ever_open;
	unsigned n_idle_failures;        /* to renew a connection for which there is nothing to do */
	int64_t pause_us, not_before_us; /* no connecting until then */
	int64_t progress_us;             /* when the last confirmation came, or the first was waited for */
	int64_t too_large; /* offset of an event that the broker refuses for its size; 0: none */
	char too_large_why[640];
	char problem[512]; /* why there is no connection */
	struct buf body, packed;
};

/* -- connecting --------------------------------------------------------------------------------- */

static void shuffle_hosts(struct rabbit *rb)
{
	struct transport_host *hosts = rb->options.hosts;
	uint32_t random;

	if (rb->shuffled && !rb->options.shuffle_always)
		return;
	rb->shuffled = true;
	for (size_t i = rb->options.n_hosts; i > 1; i--) {
		struct transport_host swapped = hosts[i - 1];

		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			return;
		hosts[i - 1] = hosts[random % i];
		hosts[random % i] = swapped;
	}
}

static void note_failure(struct rabbit *rb, const struct err *err)
{
	const struct rabbit_options *o = &rb->options;

	(void)snprintf(rb->problem, sizeof(rb->problem), "%s", err_story(err));
	rb->pause_us = rb->pause_us ? rb->pause_us + o->pause_more_us : o->pause_us;
	if (rb->pause_us > o->pause_max_us)
		rb->pause_us = o->pause_max_us;
	rb->not_before_us = clock_mono_us() + rb->pause_us;
}

static int try_hosts(struct rabbit *rb, struct err *err)
{
	int64_t deadline = clock_mono_us() + CONNECT_US;
	int r = ERR_UNAVAILABLE;

	shuffle_hosts(rb);
	for (size_t i = 0; i < rb->options.max_connects && r < 0 && clock_mono_us() < deadline; i++) {
		int64_t share = (deadline - clock_mono_us()) / (int64_t)(rb->options.max_connects - i);

		r = wire_open(&rb->wire, &rb->options, &rb->options.hosts[rb->next_host],
			      clock_mono_us() + share, err);
		if (r < 0)
			rb->next_host = (rb->next_host + 1) % rb->options.n_hosts;
	}
	return r;
}

/* A connection to publish on; between failures at least the configured pause. */
static int go_online(struct rabbit *rb, struct err *err)
{
	struct err why = {0};
	int r;

	if (wire_is_open(&rb->wire))
		return 0;
	if (clock_mono_us() < rb->not_before_us)
		return err_set(err, ERR_UNAVAILABLE, "%s", rb->problem);
	queues_forget(&rb->queues);
	flights_lose(&rb->flights);
	r = try_hosts(rb, &why);
	if (r < 0) {
		note_failure(rb, &why);
		return err_set(err, ERR_UNAVAILABLE, "%s", rb->problem);
	}
	rb->pause_us = rb->not_before_us = 0;
	rb->ever_open = true;
	log_debug(LOGGER, NULL, "driver '%s': connected to broker %s", rb->driver->name, rb->wire.peer);
	return 0;
}

static void note_confirm(void *cls, uint64_t tag, bool multiple, bool ok)
{
	struct rabbit *rb = cls;

	if (flights_confirm(&rb->flights, tag, multiple, ok) > 0)
		rb->progress_us = clock_mono_us();
}

/* -- publishing --------------------------------------------------------------------------------- */

/* What kombu calls gzip is a zlib stream. */
static int pack(struct rabbit *rb, struct err *err)
{
	uLongf n = compressBound(rb->body.len);
	char *room;

	buf_reset(&rb->packed);
	room = buf_reserve(&rb->packed, n);
	if (!room || compress2((Bytef *)room, &n, (const Bytef *)rb->body.data, rb->body.len, 9) != Z_OK)
		return err_nomem(err);
	rb->packed.len += n;
	return 0;
}

static int render(struct rabbit *rb, const struct db_event *e, const char *topic, const struct buf **ret,
		  struct err *err)
{
	char id[MESSAGE_UNIQUE_ID_LEN + 1];
	int r = message_unique_id(e, rb->driver->name, topic, id, err);

	if (r < 0)
		return r;
	buf_reset(&rb->body);
	if (rb->driver == &notify_driver_messagingv2_rabbit)
		message_render_v2(&rb->body, e, rb->options.publisher_id, id);
	else
		message_render_v1(&rb->body, e, rb->options.publisher_id, id);
	if (rb->body.failed) {
		buf_done(&rb->body);
		return err_nomem(err);
	}
	*ret = rb->options.compress ? &rb->packed : &rb->body;
	return rb->options.compress ? pack(rb, err) : 0;
}

static int publish(struct rabbit *rb, const struct db_event *e, size_t i, struct err *err)
{
	size_t topic = i % rb->options.n_topics;
	struct queue *queue = queues_get(&rb->queues, topic, e->priority);
	const struct buf *body = NULL;
	int r = queues_declare(&rb->queues, queue, &rb->wire, clock_mono_us() + WAIT_US, err);

	if (r == 0)
		r = render(rb, e, rb->options.topics[topic], &body, err);
	if (r < 0)
		return r;
	flights_depart(&rb->flights, i, rb->wire.last_tag + 1, body->len);
	return wire_publish(&rb->wire, queue->name, body, err);
}

static int read_what_is_there(struct rabbit *rb, struct err *err)
{
	int r;

	do
		r = wire_read(&rb->wire, 0, err);
	while (r > 0);
	return r;
}

/* Where nobody may overtake a message that is refused because its queue is full: one at a time. */
static bool must_wait(const struct rabbit *rb)
{
	return rb->options.overflow[0] == 'r' && rb->flights.n_flying > 0;
}

/* All that has not been published on this connection, but for what is behind a message too large. */
static int publish_rest(struct rabbit *rb, const struct db_event *batch, bool *ret_any, struct err *err)
{
	size_t n_topics = rb->options.n_topics, n_sent = 0;
	int r = 0;

	*ret_any = false;
	for (size_t i = flights_next(&rb->flights, 0); i < rb->flights.n;
	     i = flights_next(&rb->flights, i + 1)) {
		const struct db_event *e = &batch[i / n_topics];

		if (rb->wire.blocked || e->offset == rb->too_large || must_wait(rb))
			break;
		if (rb->flights.n_flying == 0)
			rb->progress_us = clock_mono_us();
		if (!wire_wait_for_room(&rb->wire, clock_mono_us() + WAIT_US))
			break;
		r = publish(rb, e, i, err);
		*ret_any = true;
		if (r == 0 && ++n_sent % READ_EVERY == 0)
			r = read_what_is_there(rb, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Of a long batch that is all on its way, some messages may still fly when the call returns. */
static bool is_enough(const struct rabbit *rb)
{
	const struct flights *f = &rb->flights;

	if (f->n_flying == 0)
		return true;
	return f->n >= LONG_BATCH && f->n_flying <= f->n / 4 && f->n_refused == 0 &&
	       flights_landed(f) >= rb->options.n_topics && flights_next(f, 0) == f->n;
}

/* Until enough of what is under way is confirmed or refused, or nothing has come for a while. */
static int await_confirms(struct rabbit *rb, struct err *err)
{
	int64_t until = clock_mono_us() + WAIT_US;

	wire_send_all(&rb->wire);
	while (!is_enough(rb) && clock_mono_us() < until) {
		int r = wire_read(&rb->wire, until, err);

		if (r < 0)
			return r;
		if (rb->progress_us + WAIT_US > until)
			until = rb->progress_us + WAIT_US;
	}
	return 0;
}

/* Publishes and waits until nothing more can be done for now. */
static int work_on(struct rabbit *rb, const struct db_event *batch, struct err *err)
{
	bool any = true;
	int r = 0;

	flights_forgive(&rb->flights);
	while (r == 0 && any) {
		r = publish_rest(rb, batch, &any, err);
		if (r == 0)
			r = await_confirms(rb, err);
		if (rb->flights.n_flying > 0 || rb->flights.n_refused > 0)
			any = false;
	}
	return r;
}

/* -- what cannot be delivered ------------------------------------------------------------------- */

/* RabbitMQ closes the channel and says which size it was that it did not like. */
static bool learn_too_large(struct rabbit *rb)
{
	static const char prefix[] = "message size ";
	const char *at =
		rb->wire.close_code == AMQP_PRECONDITION_FAILED ? strstr(rb->wire.close_text, prefix) : NULL;
	size_t n_bytes = 0, i;

	if (!at)
		return false;
	for (at += strlen(prefix); *at >= '0' && *at <= '9' && n_bytes < SIZE_MAX / 100; at++)
		n_bytes = n_bytes * 10 + (size_t)(*at - '0');
	i = flights_find(&rb->flights, n_bytes);
	if (i == rb->flights.n)
		return false;
	rb->too_large = rb->flights.all[i].offset;
	(void)snprintf(rb->too_large_why, sizeof(rb->too_large_why), "broker %s: %s", rb->wire.peer,
		       rb->wire.close_text);
	return true;
}

static enum delivery reject(struct rabbit *rb, struct err *err)
{
	err_set(err, ERR_TOO_LARGE, "%s", rb->too_large_why);
	rb->too_large = 0;
	return DELIVERY_REJECTED;
}

static int complain(struct rabbit *rb, struct err *err)
{
	int64_t silent_us = clock_mono_us() - rb->progress_us;

	if (rb->wire.blocked)
		return err_set(err, ERR_UNAVAILABLE, "broker %s has blocked us: %s", rb->wire.peer,
			       rb->wire.why);
	if (rb->flights.n_flying == 0 && rb->flights.n_refused == 0)
		return err_set(err, ERR_UNAVAILABLE, "broker %s takes nothing any more", rb->wire.peer);
	if (rb->flights.n_flying == 0)
		return err_set(err, ERR_UNAVAILABLE,
			       "broker %s refuses messages (basic.nack): a queue is full or not available",
			       rb->wire.peer);
	err_set(err, ERR_UNAVAILABLE,
		"broker %s confirms nothing of what was published, for %" PRId64 " s now", rb->wire.peer,
		silent_us / SECOND);
	if (silent_us >= STALE_US)
		wire_close(&rb->wire);
	return ERR_UNAVAILABLE;
}

/* -- the vtable --------------------------------------------------------------------------------- */

static void log_no_queue(const struct rabbit *rb, const struct err *err)
{
	log_warning(LOGGER, NULL,
		    "driver '%s': %s. Has somebody deleted it? It is declared again, and what was not "
		    "confirmed is published again",
		    rb->driver->name, err_story(err));
}

/* A connection that stood may turn out to be dead only now, or have been told limits that hold no more;
 * then there is a second try. So there is after a message too large, up to that one. */
static int deliver_all(struct rabbit *rb, const struct db_event *batch, struct err *err)
{
	bool again = true;
	int r = 0;

	while (again) {
		bool stood = wire_is_open(&rb->wire);

		r = go_online(rb, err);
		if (r < 0)
			return r;
		r = read_what_is_there(rb, err);
		if (r == 0)
			r = queues_look(&rb->queues, &rb->wire, clock_mono_us() + WAIT_US, err);
		if (r == 0)
			r = work_on(rb, batch, err);
		if (r < 0 && stood && rb->wire.no_queue)
			log_no_queue(rb, err);
		again = r < 0 && r != ERR_NO_MEMORY && (stood || learn_too_large(rb));
	}
	return r;
}

static void trim(struct buf *b)
{
	if (b->cap > KEEP_MAX)
		buf_done(b);
}

/* Told at the second failure: if there is an event before that, the relay tells it. */
static void idle_failed(struct rabbit *rb, const struct err *err)
{
	if (++rb->n_idle_failures == 2)
		log_warning(LOGGER, NULL, "driver '%s' has lost its connection; no event waits for it: %s",
			    rb->driver->name, err_story(err));
}

static void idle_went_well(struct rabbit *rb)
{
	if (rb->n_idle_failures >= 2)
		log_info(LOGGER, NULL, "driver '%s' is connected again, to broker %s", rb->driver->name,
			 rb->wire.peer);
	rb->n_idle_failures = 0;
}

static enum delivery rabbit_deliver(void *state, const struct db_event *batch, size_t n, size_t *ret_n_safe,
				    struct err *err)
{
	struct rabbit *rb = state;
	int r = flights_adopt(&rb->flights, batch, n, rb->options.n_topics, err);
	bool under_way;

	*ret_n_safe = 0;
	if (r < 0)
		return DELIVERY_RETRY;
	r = deliver_all(rb, batch, err);
	if (r == 0)
		idle_went_well(rb);
	rb->n_idle_failures = 0; /* now the relay tells what is wrong, and its end */
	under_way = r == 0 && rb->flights.n_flying > 0 && is_enough(rb);
	*ret_n_safe = flights_landed(&rb->flights) / rb->options.n_topics;
	flights_retire(&rb->flights, *ret_n_safe * rb->options.n_topics);
	trim(&rb->body);
	trim(&rb->packed);
	if (*ret_n_safe == n)
		return DELIVERY_DELIVERED;
	if (under_way)
		return DELIVERY_UNDER_WAY;
	if (batch[*ret_n_safe].offset == rb->too_large)
		return reject(rb, err);
	if (r == 0)
		complain(rb, err);
	return DELIVERY_RETRY;
}

static int look_after(struct rabbit *rb, struct err *err)
{
	int r = go_online(rb, err);

	if (r == 0)
		r = read_what_is_there(rb, err);
	if (r == 0)
		r = queues_look(&rb->queues, &rb->wire, clock_mono_us() + WAIT_US, err);
	return r;
}

/* Heartbeats go out and what comes is read. A broken connection is renewed, so that the next event
 * does not have to wait for that. */
static void rabbit_idle(void *state)
{
	struct rabbit *rb = state;
	struct err err = {0};
	int r;

	if (!rb->ever_open)
		return;
	r = look_after(rb, &err);
	if (r < 0 && clock_mono_us() >= rb->not_before_us)
		r = look_after(rb, &err);
	if (r < 0)
		idle_failed(rb, &err);
	else
		idle_went_well(rb);
}

static int rabbit_check(const struct notify_driver_config *config, struct err *err)
{
	struct rabbit_options o;
	int r = rabbit_options_load(config, &o, err);

	if (r == 0)
		rabbit_options_done(&o);
	return r;
}

static void warn(const struct rabbit *rb)
{
	const struct rabbit_options *o = &rb->options;

	if (o->is_mixed)
		log_warning(LOGGER, NULL,
			    "transport_url: some hosts have user and password and others have none; "
			    "to those we are guest");
	if (o->tls && !o->tls_check_chain)
		log_warning(LOGGER, NULL,
			    "driver '%s' does not verify the broker at all: ssl_version without "
			    "ssl_ca_file, and rabbit_tls_insecure",
			    rb->driver->name);
	else if (o->tls && !o->tls_check_host)
		log_warning(LOGGER, NULL,
			    "driver '%s' does not check that the broker's certificate is for its "
			    "host: ssl_enforce_hostname_verification, and rabbit_tls_insecure",
			    rb->driver->name);
}

static int rabbit_open(struct rabbit *rb, const struct notify_driver *driver,
		       const struct notify_driver_config *config, struct err *err)
{
	int r = rabbit_options_load(config, &rb->options, err);

	rb->driver = driver;
	rb->wire.confirm = note_confirm;
	rb->wire.cls = rb;
	if (r == 0)
		r = queues_init(&rb->queues, &rb->options, err);
	if (r == 0)
		warn(rb);
	return r;
}

static int open_v1(void *state, const struct notify_driver_config *config, struct err *err)
{
	return rabbit_open(state, &notify_driver_messaging_rabbit, config, err);
}

static int open_v2(void *state, const struct notify_driver_config *config, struct err *err)
{
	return rabbit_open(state, &notify_driver_messagingv2_rabbit, config, err);
}

static void rabbit_close(void *state)
{
	struct rabbit *rb = state;

	wire_done(&rb->wire);
	queues_done(&rb->queues);
	flights_done(&rb->flights);
	rabbit_options_done(&rb->options);
	buf_done(&rb->body);
	buf_done(&rb->packed);
}

static const char *const schemes[] = {"rabbit", "kombu", NULL};

const struct notify_driver notify_driver_messaging_rabbit = {
	.version = NOTIFY_DRIVER_VERSION,
	.name = "messaging",
	.summary = "publish each notification to RabbitMQ, in format 1.0",
	.schemes = schemes,
	.options = rabbit_option_table,
	.url_section = "oslo_messaging_rabbit",
	.state_size = sizeof(struct rabbit),
	.check = rabbit_check,
	.open = open_v1,
	.deliver = rabbit_deliver,
	.idle = rabbit_idle,
	.close = rabbit_close,
};

const struct notify_driver notify_driver_messagingv2_rabbit = {
	.version = NOTIFY_DRIVER_VERSION,
	.name = "messagingv2",
	.summary = "publish each notification to RabbitMQ, in format 2.0",
	.schemes = schemes,
	.options = rabbit_option_table,
	.url_section = "oslo_messaging_rabbit",
	.state_size = sizeof(struct rabbit),
	.check = rabbit_check,
	.open = open_v2,
	.deliver = rabbit_deliver,
	.idle = rabbit_idle,
	.close = rabbit_close,
};

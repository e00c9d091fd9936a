/* SPDX-License-Identifier: Apache-2.0
 * notify/kafka/kafka.c -- the driver that produces to Kafka, as oslo.messaging's Kafka driver does:
 * an event goes to <topic>.<priority>, in the same envelope for `messaging` and `messagingv2`.
 *
 * (1) An event is safe once every topic configured has it acknowledged by all replicas in sync.
 * (2) The key of a message is the subject of the event, so the events of an image are in one
 *     partition, and stand there in the order of the journal: messages are handed over in that
 *     order, and the client lets none pass one that failed (client.h).
 * (3) A message that is on its way is handed over no second time, however often the relay comes
 *     with it (flights.h). It is, with the same message_id, only after the client has broken.
 *
 * A broker refuses a batch for one message that it cannot take, and does not say which one. Then the
 * events of the batch are sent one by one, and the one that is refused alone is the one. If none is,
 * the batch was too large as a whole: batches are smaller from then on. */
#include "notify/driver.h"

#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "client.h"
#include "flights.h"
#include "notify/message.h"
#include "options.h"

#define SECOND INT64_C(1000000)
#define SERVE_US (SECOND / 10)
#define DOWN_US (SECOND / 2)               /* a connection that breaks may be there again at once */
#define KEEP_MAX ((size_t)4 * 1024 * 1024) /* memory for a body that is kept */
#define BATCH_BYTES_MIN 16384

extern const struct notify_driver notify_driver_kafka, notify_driver_kafka_v2;

enum step {
	STEP_DONE,    /* all that was to be handed over is safe */
	STEP_AGAIN,   /* has to be done in smaller steps */
	STEP_RETRY,   /* not now */
	STEP_REFUSED, /* the first one that is not safe can never be */
};

struct kafka_driver {
	struct arena arena;
	const char *publisher_id;
	struct kafka_settings settings;
	struct kafka_client *client;
	struct flights flights;
	struct buf body;
	int64_t alone_upto; /* events up to this offset are sent one by one */
	bool found_one;     /* that was refused alone */
};

/* -- the client --------------------------------------------------------------------------------- */

static void drop_client(struct kafka_driver *k)
{
	kafka_client_free(TAKE(k->client));
	kafka_flights_restart(&k->flights, RD_KAFKA_RESP_ERR__PURGE_INFLIGHT);
}

/* What was lost has to come first, so whatever else the client still has must not. */
static int get_client(struct kafka_driver *k, struct err *err)
{
	if (k->client && (k->flights.has_losses || kafka_client_is_broken(k->client)))
		drop_client(k);
	return k->client ? 0 : kafka_client_new(&k->settings.client, &k->client, err);
}

/* -- sending ------------------------------------------------------------------------------------ */

static int send_one(struct kafka_driver *k, const struct db_event *e, size_t topic, size_t client_topic,
		    struct err *err)
{
	struct flight *flight = kafka_flights_begin(&k->flights, e->offset, topic);
	int r;

	if (!flight)
		return err_nomem(err);
	r = kafka_client_send(k->client, client_topic, e->subject, k->body.data, k->body.len, flight, err);
	if (r < 0)
		kafka_flights_cancel(flight);
	return r;
}

static int render(struct kafka_driver *k, const struct db_event *e, struct err *err)
{
	buf_reset(&k->body);
	message_render_kafka(&k->body, e, k->publisher_id);
	return k->body.failed ? err_nomem(err) : 0;
}

/* To every topic that it is not on its way to. */
static int send_event(struct kafka_driver *k, const struct db_event *e, int64_t deadline_us, struct err *err)
{
	bool rendered = false;

	for (size_t i = 0; i < k->settings.n_topics; i++) {
		struct flight *flight = kafka_flights_find(&k->flights, e->offset, i);
		size_t topic;
		int r = 0;

		if (flight && flight->state != FLIGHT_LOST) {
			kafka_flights_await(&k->flights, flight);
			continue;
		}
		r = kafka_client_topic(k->client, kafka_topic(&k->settings, i, e->priority), deadline_us,
				       &topic, err);
		if (r == 0 && !rendered)
			r = render(k, e, err);
		if (r == 0)
			r = send_one(k, e, i, topic, err);
		if (r < 0)
			return r;
		rendered = true;
	}
	return 0;
}

/* Until all has been reported about, or there is no hope that it soon will be. */
static void wait_for_reports(struct kafka_driver *k, int64_t deadline_us)
{
	int64_t down_since = 0, now;

	while (k->flights.n_airborne > 0 && (now = clock_mono_us()) < deadline_us) {
		if (!kafka_client_is_down(k->client))
			down_since = 0;
		else if (down_since == 0)
			down_since = now;
		else if (now - down_since >= DOWN_US)
			return;
		kafka_client_serve(k->client, deadline_us - now < SERVE_US ? deadline_us - now : SERVE_US);
	}
}

/* -- what has become of it ---------------------------------------------------------------------- */

/* The first message of @e that is not safe; NULL if all are. */
static const struct flight *open_flight(struct kafka_driver *k, const struct db_event *e)
{
	for (size_t i = 0; i < k->settings.n_topics; i++) {
		const struct flight *flight = kafka_flights_find(&k->flights, e->offset, i);

		if (flight && flight->state != FLIGHT_LANDED)
			return flight;
	}
	return NULL;
}

static size_t count_safe(struct kafka_driver *k, const struct db_event *batch, size_t n)
{
	size_t i = 0;

	while (i < n && !open_flight(k, &batch[i]))
		i++;
	return i;
}

/* The broker can never take a message like this. */
static bool is_refusal(int problem)
{
	switch (problem) {
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
	case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_INVALID_RECORD:
	case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
		return true;
	default:
		return false;
	}
}

/* That of any message: the refusal of one ends all the others. */
static int refusal_in(struct kafka_driver *k, const struct db_event *batch, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct flight *flight = open_flight(k, &batch[i]);

		if (flight && flight->state == FLIGHT_LOST && is_refusal(flight->problem))
			return flight->problem;
	}
	return 0;
}

static enum step retry_later(struct kafka_driver *k, const struct flight *flight, struct err *err)
{
	const char *complaint = kafka_client_complaint(k->client);

	if (flight->state == FLIGHT_LOST)
		err_set(err, ERR_UNAVAILABLE, "Kafka did not take event: %s%s%s",
			rd_kafka_err2str(flight->problem), complaint[0] ? "; " : "", complaint);
	else if (kafka_client_is_down(k->client))
		err_set(err, ERR_UNAVAILABLE, "no Kafka broker answers: %s", complaint);
	else
		err_set(err, ERR_UNAVAILABLE, "Kafka has acknowledged nothing for %d seconds%s%s",
			(int)(k->settings.attempt_us / SECOND), complaint[0] ? "; " : "", complaint);
	if (err)
		err->retriable = true;
	return STEP_RETRY;
}

static enum step judge(struct kafka_driver *k, const struct db_event *batch, size_t n, size_t n_safe,
		       struct err *err)
{
	int refusal = refusal_in(k, batch, n);

	if (n_safe == n)
		return STEP_DONE;
	if (!refusal)
		return retry_later(k, open_flight(k, &batch[n_safe]), err);
	err_set(err, ERR_TOO_LARGE, "refused by Kafka: %s", rd_kafka_err2str(refusal));
	if (n == 1)
		return STEP_REFUSED;
	k->alone_upto = batch[n - 1].offset;
	k->found_one = false;
	return STEP_AGAIN;
}

/* -- delivery ----------------------------------------------------------------------------------- */

static enum step hand_over(struct kafka_driver *k, const struct db_event *batch, size_t n,
			   int64_t deadline_us, size_t *ret_n_safe, struct err *err)
{
	int r = get_client(k, err);
	size_t n_sent = 0;

	*ret_n_safe = 0;
	if (r < 0)
		return STEP_RETRY;
	kafka_client_serve(k->client, 0); /* what happened while we were not there */
	while (n_sent < n && (r = send_event(k, &batch[n_sent], deadline_us, err)) == 0)
		n_sent++;
	wait_for_reports(k, deadline_us);
	*ret_n_safe = count_safe(k, batch, n_sent);
	if (r == 0 || *ret_n_safe < n_sent)
		return judge(k, batch, n_sent, *ret_n_safe, err);
	return r == ERR_TOO_LARGE ? STEP_REFUSED : STEP_RETRY;
}

static void end_of_alone(struct kafka_driver *k)
{
	k->alone_upto = 0;
	if (k->found_one || k->settings.client.batch_bytes <= BATCH_BYTES_MIN)
		return;
	k->settings.client.batch_bytes /= 2;
	drop_client(k);
}

/* How many of @batch to hand over at once. */
static size_t step_size(struct kafka_driver *k, const struct db_event *batch, size_t n)
{
	if (k->alone_upto == 0)
		return n;
	if (batch[0].offset <= k->alone_upto)
		return 1;
	end_of_alone(k);
	return n;
}

static enum delivery verdict_of(struct kafka_driver *k, enum step step, bool all, struct err *err)
{
	if (step == STEP_REFUSED) {
		k->found_one = true;
		return DELIVERY_REJECTED;
	}
	if (step == STEP_DONE && !all)
		err_set(err, ERR_UNAVAILABLE,
			"Kafka is slow: events go one by one and take more than %d seconds",
			(int)(k->settings.attempt_us / SECOND));
	return step == STEP_DONE && all ? DELIVERY_DELIVERED : DELIVERY_RETRY;
}

static enum delivery kafka_deliver(void *state, const struct db_event *batch, size_t n, size_t *ret_n_safe,
				   struct err *err)
{
	struct kafka_driver *k = state;
	int64_t deadline_us = clock_mono_us() + k->settings.attempt_us;
	size_t done = 0, n_safe;
	enum step step;

	kafka_flights_await_none(&k->flights);
	do {
		size_t size = step_size(k, batch + done, n - done);

		step = hand_over(k, batch + done, size, deadline_us, &n_safe, err);
		done += n_safe;
	} while ((step == STEP_DONE || step == STEP_AGAIN) && done < n && clock_mono_us() < deadline_us);
	kafka_flights_forget(&k->flights, done ? batch[done - 1].offset : batch[0].offset - 1);
	if (k->body.cap > KEEP_MAX)
		buf_done(&k->body);
	*ret_n_safe = done;
	return verdict_of(k, step, done == n, err);
}

/* -- its life ----------------------------------------------------------------------------------- */

static int kafka_check(const struct notify_driver_config *config, struct err *err)
{
	AUTO(arena_done) struct arena arena = {0};
	struct kafka_settings settings;

	return kafka_settings_load(config, &arena, &settings, err);
}

static int kafka_open(void *state, const struct notify_driver_config *config, struct err *err)
{
	struct kafka_driver *k = state;
	int r = kafka_settings_load(config, &k->arena, &k->settings, err);

	if (r < 0)
		return r;
	k->publisher_id = arena_strdup(&k->arena, config->publisher_id);
	if (!k->publisher_id)
		return err_nomem(err);
	kafka_settings_warn(config);
	r = kafka_client_new(&k->settings.client, &k->client, err);
	return r < 0 ? err_wrap(err, r, "Kafka") : 0;
}

static void kafka_close(void *state)
{
	struct kafka_driver *k = state;

	kafka_client_free(k->client);
	kafka_flights_done(&k->flights);
	buf_done(&k->body);
	arena_done(&k->arena);
}

static const char *const schemes[] = {"kafka", NULL};

/* clang-format off */
#define KAFKA_DRIVER(its_name, its_summary) { \
	.version = NOTIFY_DRIVER_VERSION, .name = (its_name), .summary = (its_summary), \
	.schemes = schemes, .options = kafka_options, .url_section = KAFKA_SECTION, \
	.state_size = sizeof(struct kafka_driver), .check = kafka_check, \
	.open = kafka_open, .deliver = kafka_deliver, .close = kafka_close }
/* clang-format on */

const struct notify_driver notify_driver_kafka = KAFKA_DRIVER("messaging", "produce each notification to Kafka");
const struct notify_driver notify_driver_kafka_v2 =
	KAFKA_DRIVER("messagingv2", "produce each notification to Kafka; the same as messaging");

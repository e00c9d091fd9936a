/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/queues.c -- the exchange and the queues, declared frame by frame as Glance does it. */
#include "queues.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <amqp_framing.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#define LOGGER "glint.rabbit"
#define N_PRIORITIES 3
#define MAX_ARGUMENTS 8

int queues_init(struct queues *q, const struct rabbit_options *o, struct err *err)
{
	static const char *const priorities[N_PRIORITIES] = {
		[EVENT_INFO] = "info", [EVENT_WARN] = "warn", [EVENT_ERROR] = "error"};

	q->options = o;
	q->n = o->n_topics * N_PRIORITIES;
	q->all = calloc(q->n + 1, sizeof(*q->all));
	if (!q->all)
		return err_nomem(err);
	for (size_t i = 0; i < q->n; i++)
		(void)snprintf(q->all[i].name, sizeof(q->all[i].name), "%s.%s", o->topics[i / N_PRIORITIES],
			       priorities[i % N_PRIORITIES]);
	return 0;
}

void queues_done(struct queues *q)
{
	free(q->all);
	*q = (struct queues){0};
}

void queues_forget(struct queues *q)
{
	q->confirming = false;
	q->looked_us = 0; /* who was thrown out with us gets time to come back */
	for (size_t i = 0; i < q->n; i++)
		q->all[i].declared = q->all[i].deserted = false;
}

struct queue *queues_get(struct queues *q, size_t topic, enum event_priority priority)
{
	return &q->all[topic * N_PRIORITIES + (size_t)priority];
}

/* -- arguments ---------------------------------------------------------------------------------- */

struct arguments {
	amqp_table_entry_t entries[MAX_ARGUMENTS];
	int n;
};

static void add_text(struct arguments *a, const char *key, const char *text)
{
	a->entries[a->n++] = (amqp_table_entry_t){
		.key = amqp_cstring_bytes(key),
		.value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(text)}};
}

/* Zero is "not declared". As wide as it has to be, like Glance. */
static void add_number(struct arguments *a, const char *key, int64_t number)
{
	amqp_table_entry_t *e = &a->entries[a->n];

	if (number == 0)
		return;
	a->n++;
	e->key = amqp_cstring_bytes(key);
	if (number <= INT32_MAX) {
		e->value.kind = AMQP_FIELD_KIND_I32;
		e->value.value.i32 = (int32_t)number;
	} else {
		e->value.kind = AMQP_FIELD_KIND_I64;
		e->value.value.i64 = number;
	}
}

static void queue_arguments(const struct rabbit_options *o, struct arguments *a)
{
	*a = (struct arguments){0};
	if (o->ha)
		add_text(a, "x-ha-policy", "all");
	if (o->quorum) {
		add_text(a, "x-queue-type", "quorum");
		add_number(a, "x-delivery-limit", o->delivery_limit);
		add_number(a, "x-max-in-memory-length", o->max_memory_length);
		add_number(a, "x-max-in-memory-bytes", o->max_memory_bytes);
	}
	add_number(a, "x-max-length", o->max_length);
	add_number(a, "x-message-ttl", o->message_ttl_ms);
	if (*o->overflow)
		add_text(a, "x-overflow", o->overflow);
}

/* -- declaring ---------------------------------------------------------------------------------- */

static int declare_exchange(struct queues *q, struct wire *w, int64_t deadline_us, struct err *err)
{
	amqp_exchange_declare_t args = {.exchange = amqp_cstring_bytes(q->options->exchange),
					.type = amqp_cstring_bytes("topic"),
					.durable = q->options->durable,
					.auto_delete = q->options->auto_delete};

	return wire_call(w, AMQP_EXCHANGE_DECLARE_METHOD, &args, AMQP_EXCHANGE_DECLARE_OK_METHOD, deadline_us,
			 err);
}

static int declare_queue(struct queues *q, const struct queue *queue, bool passive, struct wire *w,
			 int64_t deadline_us, struct err *err)
{
	struct arguments a;
	amqp_queue_declare_t args = {.queue = amqp_cstring_bytes(queue->name),
				     .passive = passive,
				     .durable = q->options->durable,
				     .auto_delete = q->options->auto_delete};

	queue_arguments(q->options, &a);
	args.arguments = (amqp_table_t){a.n, a.entries};
	return wire_call(w, AMQP_QUEUE_DECLARE_METHOD, &args, AMQP_QUEUE_DECLARE_OK_METHOD, deadline_us, err);
}

static int bind_queue(struct queues *q, const struct queue *queue, struct wire *w, int64_t deadline_us,
		      struct err *err)
{
	amqp_queue_bind_t args = {.queue = amqp_cstring_bytes(queue->name),
				  .exchange = amqp_cstring_bytes(q->options->exchange),
				  .routing_key = amqp_cstring_bytes(queue->name)};

	return wire_call(w, AMQP_QUEUE_BIND_METHOD, &args, AMQP_QUEUE_BIND_OK_METHOD, deadline_us, err);
}

/* The exchange once more, as Glance does for each channel that it publishes on. */
static int ask_for_confirms(struct queues *q, struct wire *w, int64_t deadline_us, struct err *err)
{
	amqp_confirm_select_t args = {0};
	int r;

	if (q->confirming)
		return 0;
	r = declare_exchange(q, w, deadline_us, err);
	if (r == 0)
		r = wire_call(w, AMQP_CONFIRM_SELECT_METHOD, &args, AMQP_CONFIRM_SELECT_OK_METHOD,
			      deadline_us, err);
	q->confirming = r == 0;
	return r;
}

/* What an operator can do about a broker that has it differently. */
static int explain(const struct wire *w, const char *kind, const char *name, int r, struct err *err)
{
	if (w->close_code == AMQP_PRECONDITION_FAILED)
		return err_wrap(err, r,
				"%s '%s' is declared otherwise there (amqp_durable_queues and the like)",
				kind, name);
	return err_wrap(err, r, "declaring %s '%s'", kind, name);
}

int queues_declare(struct queues *q, struct queue *queue, struct wire *w, int64_t deadline_us,
		   struct err *err)
{
	int r;

	if (queue->declared)
		return 0;
	r = declare_exchange(q, w, deadline_us, err);
	if (r < 0)
		return explain(w, "exchange", q->options->exchange, r, err);
	r = declare_queue(q, queue, false, w, deadline_us, err);
	if (r < 0)
		return explain(w, "queue", queue->name, r, err);
	r = bind_queue(q, queue, w, deadline_us, err);
	if (r == 0)
		r = ask_for_confirms(q, w, deadline_us, err);
	queue->declared = r == 0;
	if (q->looked_us == 0)
		q->looked_us = clock_mono_us();
	return r;
}

/* -- looking ------------------------------------------------------------------------------------ */

static void say_unread(const struct queue *queue, const struct wire *w, uint32_t before)
{
	log_warning(LOGGER, NULL,
		    "nobody reads queue '%s' of broker %s, and it grows: %" PRIu32
		    " messages wait in it, %" PRIu32 " at the last look. Let a consumer read it, or bound it "
		    "with [glint] rabbit_queue_max_length or "
		    "rabbit_queue_message_ttl, or take the driver out of the configuration",
		    queue->name, w->peer, w->answer.n_messages, before);
}

static void say_read(const struct queue *queue, const struct wire *w)
{
	log_info(LOGGER, NULL,
		 "queue '%s' of broker %s is read again: %" PRIu32 " consumers, %" PRIu32
		 " messages wait in it",
		 queue->name, w->peer, w->answer.n_consumers, w->answer.n_messages);
}

/* Compares what the broker has just said about @queue with what it said at the last look. */
static void see(struct queue *queue, const struct wire *w)
{
	const struct wire_answer *now = &w->answer;
	bool grows = queue->deserted && now->n_messages > queue->n_messages;

	if (!queue->unread && now->n_consumers == 0 && grows) {
		say_unread(queue, w, queue->n_messages);
		queue->unread = true;
	} else if (queue->unread && (now->n_consumers > 0 || now->n_messages == 0)) {
		say_read(queue, w);
		queue->unread = false;
	}
	queue->deserted = now->n_consumers == 0;
	queue->n_messages = now->n_messages;
}

int queues_look(struct queues *q, struct wire *w, int64_t deadline_us, struct err *err)
{
	int64_t now = clock_mono_us();

	if (q->options->look_every_us == 0 || w->blocked || q->looked_us == 0 ||
	    now - q->looked_us < q->options->look_every_us)
		return 0;
	q->looked_us = now;
	for (size_t i = 0; i < q->n; i++) {
		struct queue *queue = &q->all[i];
		int r = queue->declared ? declare_queue(q, queue, true, w, deadline_us, err) : 0;

		if (r < 0)
			return err_wrap(err, r, "looking at queue '%s'", queue->name);
		if (queue->declared)
			see(queue, w);
	}
	return 0;
}

/* -- listening ---------------------------------------------------------------------------------- */

int queues_declare_as(const struct rabbit_options *o, const char *name, const char *key, struct wire *w,
		      int64_t deadline_us, struct err *err)
{
	struct queues q = {.options = o};
	struct queue queue = {0};
	amqp_queue_bind_t bind = {.queue = amqp_cstring_bytes(name),
				  .exchange = amqp_cstring_bytes(o->exchange),
				  .routing_key = amqp_cstring_bytes(key)};
	int r;

	if (strlen(name) >= sizeof(queue.name))
		return err_set(err, ERR_INVALID, "the queue '%.32s...' has a name that is too long", name);
	(void)snprintf(queue.name, sizeof(queue.name), "%s", name);
	r = declare_exchange(&q, w, deadline_us, err);
	if (r < 0)
		return explain(w, "exchange", o->exchange, r, err);
	r = declare_queue(&q, &queue, false, w, deadline_us, err);
	if (r < 0)
		return explain(w, "queue", name, r, err);
	return wire_call(w, AMQP_QUEUE_BIND_METHOD, &bind, AMQP_QUEUE_BIND_OK_METHOD, deadline_us, err);
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/consumer.c -- listens to queues as oslo.messaging's notification listener does: the
 * exchange, a queue for each topic and priority (or one for all, with a pool) and its bindings are
 * declared as the publisher declares them, then all queues are consumed on one channel.
 *
 * A message comes in frames: basic.deliver, a header, as many bodies as it takes. They are put
 * together as they come, so nothing here waits for the rest of a message. While one is handed out
 * no other is read; so there is at most one in memory. */
#include "notify/receive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "options.h"
#include "queues.h"
#include "wire.h"

#define OPEN_US INT64_C(20000000)                 /* to reach a broker and declare everything there */
#define CLOSE_US INT64_C(2000000)
#define MAX_BODY_BYTES ((uint64_t)128 * 1024 * 1024) /* RabbitMQ takes no larger one either */
#define CHUNK 65536

enum part { PART_NONE, PART_DELIVERED, PART_BODY, PART_WHOLE };

struct consumer {
	struct rabbit_options options;
	struct wire wire;
	char pool[256];

	enum part part; /* what of the message has come */
	struct received message;
	char key[256];
	uint64_t body_size;
	bool packed;
	struct buf body, unpacked;
};

static const char *const priorities[] = {"audit", "debug", "info", "warn", "error", "critical", "sample"};

extern const struct receiver receiver_rabbit;

/* -- messages ----------------------------------------------------------------------------------- */

static int take_deliver(struct consumer *c, const amqp_basic_deliver_t *d, struct err *err)
{
	size_t n = d->routing_key.len < sizeof(c->key) ? d->routing_key.len : sizeof(c->key) - 1;

	if (c->part != PART_NONE)
		return err_set(err, ERR_UNAVAILABLE, "sent a message in the middle of another one");
	memcpy(c->key, d->routing_key.bytes, n);
	c->key[n] = '\0';
	c->message = (struct received){
		.tag = d->delivery_tag, .routing_key = c->key, .redelivered = d->redelivered};
	c->part = PART_DELIVERED;
	return 0;
}

/* kombu says in a header how it has compressed a body; it knows more ways than we do. */
static bool is_packed(const amqp_basic_properties_t *p)
{
	static const char key[] = "compression";
	const amqp_table_t *headers = &p->headers;

	for (int i = 0; p->_flags & AMQP_BASIC_HEADERS_FLAG && i < headers->num_entries; i++) {
		const amqp_bytes_t *found = &headers->entries[i].key;

		if (found->len == strlen(key) && memcmp(found->bytes, key, found->len) == 0)
			return true;
	}
	return false;
}

static int take_header(struct consumer *c, const amqp_frame_t *f, struct err *err)
{
	if (c->part != PART_DELIVERED || f->payload.properties.class_id != AMQP_BASIC_CLASS)
		return err_set(err, ERR_UNAVAILABLE, "sent a header that belongs to no message");
	c->body_size = f->payload.properties.body_size;
	if (c->body_size > MAX_BODY_BYTES)
		return err_set(err, ERR_UNAVAILABLE, "sent a message of %llu octets", (unsigned long long)c->body_size);
	c->packed = is_packed(f->payload.properties.decoded);
	buf_reset(&c->body);
	c->part = c->body_size ? PART_BODY : PART_WHOLE;
	return 0;
}

static int take_body(struct consumer *c, const amqp_bytes_t *piece, struct err *err)
{
	if (c->part != PART_BODY || piece->len > c->body_size - c->body.len)
		return err_set(err, ERR_UNAVAILABLE, "sent more than it had announced");
	buf_add(&c->body, piece->bytes, piece->len);
	if (c->body.failed) {
		buf_done(&c->body);
		return err_nomem(err);
	}
	if (c->body.len == c->body_size)
		c->part = PART_WHOLE;
	return 0;
}

static int take_frame(void *cls, const amqp_frame_t *f, struct err *err)
{
	struct consumer *c = cls;

	if (f->frame_type == AMQP_FRAME_HEADER)
		return take_header(c, f, err);
	if (f->frame_type == AMQP_FRAME_BODY)
		return take_body(c, &f->payload.body_fragment, err);
	if (f->payload.method.id == AMQP_BASIC_CANCEL_METHOD)
		return err_set(err, ERR_UNAVAILABLE, "has deleted a queue that we listen to");
	return take_deliver(c, f->payload.method.decoded, err);
}

/* What kombu calls gzip is a zlib stream. What it cannot be unpacked stays as it is, and will not be
 * understood. */
static int unpack(struct consumer *c, struct err *err)
{
	z_stream z = {.next_in = (Bytef *)c->body.data, .avail_in = (uInt)c->body.len};
	int status = inflateInit(&z);

	if (status != Z_OK)
		return err_nomem(err);
	buf_reset(&c->unpacked);
	while (status == Z_OK && c->unpacked.len <= MAX_BODY_BYTES) {
		z.next_out = (Bytef *)buf_reserve(&c->unpacked, CHUNK);
		z.avail_out = CHUNK;
		if (!z.next_out)
			break;
		status = inflate(&z, Z_NO_FLUSH);
		c->unpacked.len += CHUNK - z.avail_out;
	}
	(void)inflateEnd(&z);
	if (c->unpacked.failed || status == Z_MEM_ERROR) {
		buf_done(&c->unpacked);
		return err_nomem(err);
	}
	if (status == Z_STREAM_END) {
		c->message.body = c->unpacked.data;
		c->message.n_bytes = c->unpacked.len;
	}
	return 0;
}

static int hand_out(struct consumer *c, struct received *ret, struct err *err)
{
	int r = 0;

	c->message.body = buf_cstr(&c->body);
	c->message.n_bytes = c->body.len;
	if (c->packed)
		r = unpack(c, err);
	c->part = PART_NONE;
	*ret = c->message;
	return r < 0 ? r : 1;
}

static int consumer_next(void *state, struct received *ret, struct err *err)
{
	struct consumer *c = state;
	int r = 1;

	if (!wire_is_open(&c->wire))
		return err_set(err, ERR_UNAVAILABLE, "not connected");
	while (r > 0 && c->part != PART_WHOLE)
		r = wire_read(&c->wire, 0, err);
	return c->part == PART_WHOLE ? hand_out(c, ret, err) : r;
}

static int consumer_settle(void *state, uint64_t tag, bool take, struct err *err)
{
	struct consumer *c = state;
	amqp_basic_ack_t ack = {.delivery_tag = tag};
	amqp_basic_reject_t reject = {.delivery_tag = tag};

	if (!wire_is_open(&c->wire))
		return err_set(err, ERR_UNAVAILABLE, "not connected");
	if (take)
		return wire_send(&c->wire, AMQP_BASIC_ACK_METHOD, &ack, err);
	return wire_send(&c->wire, AMQP_BASIC_REJECT_METHOD, &reject, err);
}

/* -- opening ------------------------------------------------------------------------------------ */

/* "notifications.info"; false if that is too long for AMQP. */
static bool key_of(char out[256], const char *topic, const char *priority)
{
	return snprintf(out, 256, "%s.%s", topic, priority) < 256;
}

static int declare_all(struct consumer *c, int64_t deadline_us, struct err *err)
{
	char key[256];
	int r = 0;

	for (size_t t = 0; t < c->options.n_topics && r == 0; t++) {
		for (size_t p = 0; p < ARRAY_LEN(priorities) && r == 0; p++) {
			if (!key_of(key, c->options.topics[t], priorities[p]))
				return err_set(err, ERR_INVALID, "the topic is too long");
			r = queues_declare_as(&c->options, *c->pool ? c->pool : key, key, &c->wire, deadline_us,
					      err);
		}
	}
	return r;
}

/* No answer is waited for: the first messages may come before it. */
static int consume(struct consumer *c, const char *queue, unsigned number, struct err *err)
{
	amqp_basic_consume_t args = {.queue = amqp_cstring_bytes(queue), .nowait = 1};
	char tag[16];

	(void)snprintf(tag, sizeof(tag), "%u", number);
	args.consumer_tag = amqp_cstring_bytes(tag);
	return wire_send(&c->wire, AMQP_BASIC_CONSUME_METHOD, &args, err);
}

static int consume_all(struct consumer *c, struct err *err)
{
	unsigned number = 0;
	char key[256];
	int r = *c->pool ? consume(c, c->pool, ++number, err) : 0;

	for (size_t t = 0; !*c->pool && t < c->options.n_topics && r == 0; t++) {
		for (size_t p = 0; p < ARRAY_LEN(priorities) && r == 0; p++) {
			(void)key_of(key, c->options.topics[t], priorities[p]);
			r = consume(c, key, ++number, err);
		}
	}
	return r;
}

static int connect_to_any(struct consumer *c, int64_t deadline_us, struct err *err)
{
	int r = ERR_UNAVAILABLE;

	for (size_t i = 0; i < c->options.n_hosts && r < 0; i++) {
		int64_t left = deadline_us - clock_mono_us();

		r = wire_open(&c->wire, &c->options, &c->options.hosts[i],
			      clock_mono_us() + left / (int64_t)(c->options.n_hosts - i), err);
	}
	return r;
}

static int load(struct consumer *c, const struct receive_config *config, struct err *err)
{
	const struct notify_driver_config options = {
		.publisher_id = "", .transport = config->transport, .control_exchange = config->exchange,
		.topics = config->topics, .n_topics = config->n_topics, .retry = -1, .conf = config->conf};

	if (config->pool && strlen(config->pool) >= sizeof(c->pool))
		return err_set(err, ERR_INVALID, "the name of the pool is too long");
	(void)snprintf(c->pool, sizeof(c->pool), "%s", config->pool ? config->pool : "");
	return rabbit_options_load(&options, &c->options, err);
}

static int consumer_open(void *state, const struct receive_config *config, struct err *err)
{
	struct consumer *c = state;
	int64_t deadline = clock_mono_us() + OPEN_US;
	amqp_basic_qos_t qos = {.prefetch_count = config->max_unsettled, .global = 1};
	int r = load(c, config, err);

	c->wire.content = take_frame;
	c->wire.cls = c;
	if (r == 0)
		r = connect_to_any(c, deadline, err);
	if (r == 0)
		r = declare_all(c, deadline, err);
	if (r == 0)
		r = wire_call(&c->wire, AMQP_BASIC_QOS_METHOD, &qos, AMQP_BASIC_QOS_OK_METHOD, deadline, err);
	return r < 0 ? r : consume_all(c, err);
}

static int consumer_fd(const void *state)
{
	const struct consumer *c = state;

	return wire_is_open(&c->wire) ? amqp_get_sockfd(c->wire.conn) : -1;
}

static int ignore(void *cls, const amqp_frame_t *f, struct err *err)
{
	return 0;
}

/* What was sent to us ahead is back in its place before the broker answers: whoever comes next finds
 * the queue in order. */
static void give_back(struct consumer *c)
{
	amqp_channel_close_t args = {.reply_code = AMQP_REPLY_SUCCESS};

	c->wire.content = ignore;
	(void)wire_call(&c->wire, AMQP_CHANNEL_CLOSE_METHOD, &args, AMQP_CHANNEL_CLOSE_OK_METHOD,
			clock_mono_us() + CLOSE_US, NULL);
}

static void consumer_close(void *state)
{
	struct consumer *c = state;

	if (wire_is_open(&c->wire))
		give_back(c);
	wire_done(&c->wire);
	buf_done(&c->body);
	buf_done(&c->unpacked);
	rabbit_options_done(&c->options);
}

static const char *const schemes[] = {"rabbit", "kombu", NULL};

const struct receiver receiver_rabbit = {
	.schemes = schemes,
	.state_size = sizeof(struct consumer),
	.open = consumer_open,
	.fd = consumer_fd,
	.next = consumer_next,
	.settle = consumer_settle,
	.close = consumer_close,
};

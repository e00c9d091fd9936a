/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/wire.c -- one connection to a RabbitMQ broker with one channel on it.
 *
 * librabbitmq moves the frames; what is said in them is said here, because its own login knows no
 * AMQPLAIN, tells the broker more about us than Glance does, and keeps every frame that comes at an
 * unexpected time, as many as a broker likes to send.
 *
 * (1) A frame is dealt with when it is read, and its memory is given back: nothing a broker sends
 *     piles up.
 * (2) What the broker says never holds our password when it comes out of here. */
#include "wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <amqp_framing.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/utf8.h"
#include "base/uuid.h"
#include "socket.h"

#define CHANNEL 1
#define PROTOCOL_HEADER 'A' /* librabbitmq's type for a frame that is none */
#define FRAME_MAX 131072    /* what RabbitMQ proposes; a larger one would only cost memory */
#define FRAME_MIN 4096      /* the least that AMQP allows */
#define CHANNEL_MAX 2047

bool wire_is_open(const struct wire *w)
{
	return w->conn;
}

/* -- what went wrong ---------------------------------------------------------------------------- */

static void drop(struct wire *w)
{
	if (w->conn)
		(void)amqp_destroy_connection(w->conn);
	w->conn = NULL;
	w->blocked = false;
}

static int lost(struct wire *w, const char *story, struct err *err)
{
	(void)err_set(err, ERR_UNAVAILABLE, "broker %s: %s", w->peer, story);
	if (err)
		err->retriable = true;
	drop(w);
	return ERR_UNAVAILABLE;
}

static int lost_status(struct wire *w, int status, struct err *err)
{
	if (status == AMQP_STATUS_NO_MEMORY) {
		drop(w);
		return err_nomem(err);
	}
	return lost(w, socket_problem(status), err);
}

static void hide(char *text, const char *secret)
{
	size_t n = secret ? strlen(secret) : 0;

	for (char *at = text; n > 0 && (at = strstr(at, secret)); at += n)
		memset(at, '*', n);
}

/* As a text of ours: printable, cut to its room, without the password. */
static void copy_text(const struct wire *w, char *out, size_t size, amqp_bytes_t from)
{
	size_t n = from.len < size - 1 ? from.len : size - 1;

	if (n > 0)
		memcpy(out, from.bytes, n);
	out[n] = '\0';
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)out[i] < 0x20 || out[i] == 0x7f)
			out[i] = ' ';
	}
	n = utf8_trim(out, n);
	out[n] = '\0';
	if (!utf8_is_valid(out, n))
		(void)snprintf(out, size, "(not a text)");
	hide(out, w->password);
}

static int closed_by_broker(struct wire *w, const char *what, int code, amqp_bytes_t text, struct err *err)
{
	char story[320];

	w->close_code = code;
	copy_text(w, w->close_text, sizeof(w->close_text), text);
	(void)snprintf(story, sizeof(story), "closed the %s: %d %s", what, code, w->close_text);
	return lost(w, story, err);
}

static int unexpected(struct wire *w, const char *what, struct err *err)
{
	char story[96];

	(void)snprintf(story, sizeof(story), "sent %.60s where that has no place", what);
	return lost(w, story, err);
}

/* -- frames ------------------------------------------------------------------------------------- */

static int send_method(struct wire *w, amqp_channel_t channel, amqp_method_number_t id, void *args,
		       struct err *err)
{
	int status;

	errno = 0;
	status = amqp_send_method(w->conn, channel, id, args);
	return status == AMQP_STATUS_OK ? 0 : lost_status(w, status, err);
}

static int take_on_connection(struct wire *w, const amqp_method_t *m, struct err *err)
{
	const amqp_connection_close_t *close = m->decoded;
	const amqp_connection_blocked_t *blocked = m->decoded;
	amqp_connection_close_ok_t ok = {0};

	switch (m->id) {
	case AMQP_CONNECTION_CLOSE_METHOD:
		(void)amqp_send_method(w->conn, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
		return closed_by_broker(w, "connection", close->reply_code, close->reply_text, err);
	case AMQP_CONNECTION_BLOCKED_METHOD:
		w->blocked = true;
		copy_text(w, w->why, sizeof(w->why), blocked->reason);
		return 0;
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		w->blocked = false;
		return 0;
	default:
		return unexpected(w, amqp_method_name(m->id), err);
	}
}

static int take_confirm(struct wire *w, const amqp_method_t *m, struct err *err)
{
	const amqp_basic_ack_t *ack = m->decoded;
	const amqp_basic_nack_t *nack = m->decoded;

	if (!w->confirm)
		return unexpected(w, amqp_method_name(m->id), err);
	if (m->id == AMQP_BASIC_ACK_METHOD)
		w->confirm(w->cls, ack->delivery_tag, ack->multiple, true);
	else
		w->confirm(w->cls, nack->delivery_tag, nack->multiple, false);
	return 0;
}

/* A message that has come back. The rest of it is not read: the connection ends here, and so it is as
 * unconfirmed as whatever else went to the queue that is not there. */
static int take_return(struct wire *w, const amqp_basic_return_t *back, struct err *err)
{
	char key[256], story[320];

	if (!w->confirm)
		return unexpected(w, "basic.return", err);
	copy_text(w, key, sizeof(key), back->routing_key);
	(void)snprintf(story, sizeof(story), "has no queue for '%.200s' (any more)", key);
	w->no_queue = true;
	return lost(w, story, err);
}

static int take_content(struct wire *w, const amqp_frame_t *f, struct err *err)
{
	struct err why = {0};

	if (!w->content || f->channel != CHANNEL)
		return unexpected(w, "content", err);
	return w->content(w->cls, f, &why) < 0 ? lost(w, err_story(&why), err) : 0;
}

static int take_on_channel(struct wire *w, const amqp_frame_t *f, struct err *err)
{
	const amqp_method_t *m = &f->payload.method;
	const amqp_channel_close_t *close = m->decoded;

	switch (m->id) {
	case AMQP_BASIC_ACK_METHOD:
	case AMQP_BASIC_NACK_METHOD:
		return take_confirm(w, m, err);
	case AMQP_BASIC_RETURN_METHOD:
		return take_return(w, m->decoded, err);
	case AMQP_BASIC_DELIVER_METHOD:
	case AMQP_BASIC_CANCEL_METHOD:
		return take_content(w, f, err);
	case AMQP_CHANNEL_CLOSE_METHOD:
		return closed_by_broker(w, "channel", close->reply_code, close->reply_text, err);
	default:
		return unexpected(w, amqp_method_name(m->id), err);
	}
}

static void keep_answer(struct wire *w, const amqp_method_t *m)
{
	const amqp_connection_start_t *start = m->decoded;
	const amqp_connection_tune_t *tune = m->decoded;
	const amqp_queue_declare_ok_t *declared = m->decoded;

	if (m->id == AMQP_CONNECTION_START_METHOD) {
		copy_text(w, w->answer.mechanisms, sizeof(w->answer.mechanisms), start->mechanisms);
	} else if (m->id == AMQP_CONNECTION_TUNE_METHOD) {
		w->answer.channel_max = tune->channel_max;
		w->answer.frame_max = tune->frame_max > INT32_MAX ? 0 : (int)tune->frame_max;
		w->answer.heartbeat_s = tune->heartbeat;
	} else if (m->id == AMQP_QUEUE_DECLARE_OK_METHOD) {
		w->answer.n_messages = declared->message_count;
		w->answer.n_consumers = declared->consumer_count;
	}
}

/* 1 if it is the answer waited for (@wanted, 0: none), else 0. */
static int take_frame(struct wire *w, const amqp_frame_t *f, amqp_channel_t channel,
		      amqp_method_number_t wanted, struct err *err)
{
	if (f->frame_type == PROTOCOL_HEADER)
		return lost(w, "speaks another version of the protocol", err);
	if (f->frame_type != AMQP_FRAME_METHOD)
		return take_content(w, f, err);
	if (wanted && f->channel == channel && f->payload.method.id == wanted) {
		keep_answer(w, &f->payload.method);
		return 1;
	}
	if (f->channel == 0)
		return take_on_connection(w, &f->payload.method, err);
	if (f->channel == CHANNEL)
		return take_on_channel(w, f, err);
	return unexpected(w, "a frame on a channel that is not open", err);
}

/* Messages of a kilobyte leave in segments of many, which is less work for both sides. The kernel sends
 * what is full, and the rest once we say so: before we wait for anything. */
static void gather(struct wire *w, bool on)
{
	int value = on;

	if (w->gathering != on)
		(void)setsockopt(amqp_get_sockfd(w->conn), IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
	w->gathering = on;
}

/* One frame. 2: the answer waited for; 1: another one; 0: none until the deadline. */
static int read_frame(struct wire *w, amqp_channel_t channel, amqp_method_number_t wanted,
		      int64_t deadline_us, struct err *err)
{
	struct timeval left = socket_time_left(deadline_us);
	amqp_frame_t f;
	int r;

	if (deadline_us)
		gather(w, false);
	errno = 0;
	r = amqp_simple_wait_frame_noblock(w->conn, &f, &left);
	if (r == AMQP_STATUS_TIMEOUT)
		return 0;
	if (r != AMQP_STATUS_OK)
		return lost_status(w, r, err);
	r = take_frame(w, &f, channel, wanted, err);
	if (r < 0)
		return r;
	amqp_maybe_release_buffers(w->conn);
	return r + 1;
}

int wire_read(struct wire *w, int64_t deadline_us, struct err *err)
{
	return read_frame(w, 0, 0, deadline_us, err);
}

static int no_answer(struct wire *w, amqp_method_number_t wanted, struct err *err)
{
	char story[256];

	if (w->blocked)
		(void)snprintf(story, sizeof(story), "has blocked us: %s", w->why);
	else
		(void)snprintf(story, sizeof(story), "does not answer (%s)", amqp_method_name(wanted));
	return lost(w, story, err);
}

static int wait_for(struct wire *w, amqp_channel_t channel, amqp_method_number_t wanted, int64_t deadline_us,
		    struct err *err)
{
	int r = 1;

	while (r == 1 && clock_mono_us() < deadline_us)
		r = read_frame(w, channel, wanted, deadline_us, err);
	if (r < 0)
		return r;
	return r == 2 ? 0 : no_answer(w, wanted, err);
}

int wire_send(struct wire *w, amqp_method_number_t request, void *args, struct err *err)
{
	return send_method(w, CHANNEL, request, args, err);
}

int wire_call(struct wire *w, amqp_method_number_t request, void *args, amqp_method_number_t answer,
	      int64_t deadline_us, struct err *err)
{
	int r = send_method(w, CHANNEL, request, args, err);

	return r < 0 ? r : wait_for(w, CHANNEL, answer, deadline_us, err);
}

int wire_wait_for_room(struct wire *w, int64_t deadline_us)
{
	struct pollfd p = {.fd = amqp_get_sockfd(w->conn), .events = POLLOUT};
	struct timeval left = socket_time_left(deadline_us);

	return poll(&p, 1, (int)(left.tv_sec * 1000 + left.tv_usec / 1000)) == 0 ? 0 : 1;
}

/* -- logging in --------------------------------------------------------------------------------- */

static void add_long_string(struct buf *b, const char *text)
{
	size_t n = strlen(text);
	unsigned char length[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16),
				   (unsigned char)(n >> 8), (unsigned char)n};

	buf_add(b, length, sizeof(length));
	buf_add(b, text, n);
}

static void add_field(struct buf *b, const char *name, const char *text)
{
	buf_addc(b, (char)strlen(name));
	buf_adds(b, name);
	buf_addc(b, 'S');
	add_long_string(b, text);
}

static const char *add_credentials(struct buf *b, enum rabbit_login how, const struct transport_host *host)
{
	switch (how) {
	case RABBIT_PLAIN:
		buf_addc(b, '\0');
		buf_adds(b, host->user);
		buf_addc(b, '\0');
		buf_adds(b, host->password);
		return "PLAIN";
	case RABBIT_EXTERNAL:
		return "EXTERNAL";
	case RABBIT_AMQPLAIN:
		break;
	}
	add_field(b, "LOGIN", host->user);
	add_field(b, "PASSWORD", host->password);
	return "AMQPLAIN";
}

static amqp_table_entry_t text_entry(const char *key, const char *text)
{
	return (amqp_table_entry_t){
		.key = amqp_cstring_bytes(key),
		.value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(text)}};
}

static amqp_table_entry_t true_entry(const char *key)
{
	return (amqp_table_entry_t){.key = amqp_cstring_bytes(key),
				    .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}};
}

static int send_start_ok(struct wire *w, const char *mechanism, const struct buf *credentials,
			 struct err *err)
{
	amqp_table_entry_t capabilities[] = {true_entry("authentication_failure_close"),
					     true_entry("connection.blocked"),
					     true_entry("consumer_cancel_notify")};
	amqp_table_entry_t properties[4] = {text_entry("product", "glint"),
					    text_entry("product_version", GLINT_VERSION)};
	char name[80], id[UUID_LEN + 1];
	amqp_connection_start_ok_t args = {.client_properties = {.num_entries = 4, .entries = properties},
					   .mechanism = amqp_cstring_bytes(mechanism),
					   .response = {credentials->len, credentials->data},
					   .locale = amqp_cstring_bytes("en_US")};

	uuid_new(id);
	(void)snprintf(name, sizeof(name), "glint:%ld:%s", (long)getpid(), id);
	properties[2].key = amqp_cstring_bytes("capabilities");
	properties[2].value.kind = AMQP_FIELD_KIND_TABLE;
	properties[2].value.value.table = (amqp_table_t){ARRAY_LEN(capabilities), capabilities};
	properties[3] = text_entry("connection_name", name);
	return send_method(w, 0, AMQP_CONNECTION_START_OK_METHOD, &args, err);
}

/* One of the words in @list, which blanks separate. */
static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; *p; p += strspn(p, " ")) {
		size_t length = strcspn(p, " ");

		if (length == n && memcmp(p, word, n) == 0)
			return true;
		p += length;
	}
	return false;
}

static int log_in(struct wire *w, const struct transport_host *host, struct err *err)
{
	AUTO(buf_done) struct buf credentials = {0};
	const char *mechanism = add_credentials(&credentials, w->options->login, host);
	char story[400];
	int r;

	if (credentials.failed) {
		drop(w);
		return err_nomem(err);
	}
	if (!has_word(w->answer.mechanisms, mechanism)) {
		(void)snprintf(story, sizeof(story), "does not let us log in by %s; it offers: %s", mechanism,
			       w->answer.mechanisms);
		return lost(w, story, err);
	}
	r = send_start_ok(w, mechanism, &credentials, err);
	if (credentials.data)
		explicit_bzero(credentials.data, credentials.len);
	return r;
}

/* -- tuning ------------------------------------------------------------------------------------- */

static int lesser(int a, int b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

static int tune(struct wire *w, struct err *err)
{
	amqp_connection_tune_ok_t ok;
	int frame_max = lesser(w->answer.frame_max, FRAME_MAX);
	int channel_max = lesser(w->answer.channel_max, CHANNEL_MAX);
	int heartbeat = w->options->heartbeat_s && w->answer.heartbeat_s
				? lesser(w->answer.heartbeat_s, w->options->heartbeat_s)
				: 0;
	int status;

	if (frame_max < FRAME_MIN)
		return lost(w, "wants frames smaller than AMQP allows", err);
	status = amqp_tune_connection(w->conn, channel_max, frame_max, heartbeat);
	if (status != AMQP_STATUS_OK)
		return lost_status(w, status, err);
	ok = (amqp_connection_tune_ok_t){(uint16_t)channel_max, (uint32_t)frame_max, (uint16_t)heartbeat};
	return send_method(w, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &ok, err);
}

static int enter_vhost(struct wire *w, int64_t deadline_us, struct err *err)
{
	amqp_connection_open_t open = {.virtual_host = amqp_cstring_bytes(w->options->vhost)};
	amqp_channel_open_t channel = {0};
	int r = send_method(w, 0, AMQP_CONNECTION_OPEN_METHOD, &open, err);

	if (r == 0)
		r = wait_for(w, 0, AMQP_CONNECTION_OPEN_OK_METHOD, deadline_us, err);
	return r < 0 ? r
		     : wire_call(w, AMQP_CHANNEL_OPEN_METHOD, &channel, AMQP_CHANNEL_OPEN_OK_METHOD,
				 deadline_us, err);
}

/* A broker that does not know authentication_failure_close just hangs up here. */
static int wait_for_tune(struct wire *w, int64_t deadline_us, struct err *err)
{
	char before[300];
	int r;

	(void)snprintf(before, sizeof(before), "%s", w->peer);
	r = wait_for(w, 0, AMQP_CONNECTION_TUNE_METHOD, deadline_us, err);
	if (r < 0 && w->close_code == 0 && err && r != ERR_NO_MEMORY)
		(void)err_set(err, r, "broker %s: ended the connection when we logged in", before);
	return r;
}

static int shake_hands(struct wire *w, const struct transport_host *host, int64_t deadline_us,
		       struct err *err)
{
	int r, status = amqp_send_header(w->conn);

	if (status != AMQP_STATUS_OK)
		return lost_status(w, status, err);
	if ((r = wait_for(w, 0, AMQP_CONNECTION_START_METHOD, deadline_us, err)) < 0 ||
	    (r = log_in(w, host, err)) < 0 || (r = wait_for_tune(w, deadline_us, err)) < 0 ||
	    (r = tune(w, err)) < 0)
		return r;
	return enter_vhost(w, deadline_us, err);
}

/* -- its life ----------------------------------------------------------------------------------- */

int wire_open(struct wire *w, const struct rabbit_options *o, const struct transport_host *host,
	      int64_t deadline_us, struct err *err)
{
	bool is_secret = strcmp(host->user, host->password) != 0;
	int r;

	*w = (struct wire){.options = o,
			   .confirm = w->confirm,
			   .content = w->content,
			   .cls = w->cls,
			   .resolver = w->resolver};
	w->password = is_secret ? host->password : NULL;
	(void)snprintf(w->peer, sizeof(w->peer), strchr(host->host, ':') ? "[%.255s]:%u" : "%.255s:%u",
		       host->host, host->port);
	w->conn = amqp_new_connection();
	if (!w->conn)
		return err_nomem(err);
	r = socket_connect(w->conn, o, host, &w->resolver, deadline_us, err);
	if (r < 0) {
		drop(w);
		return err_wrap(err, r, "broker %s", w->peer);
	}
	return shake_hands(w, host, deadline_us, err);
}

void wire_close(struct wire *w)
{
	amqp_connection_close_t args = {.reply_code = AMQP_REPLY_SUCCESS};

	if (w->conn && wire_wait_for_room(w, 0) == 1)
		(void)amqp_send_method(w->conn, 0, AMQP_CONNECTION_CLOSE_METHOD, &args);
	drop(w);
}

void wire_done(struct wire *w)
{
	wire_close(w);
	resolver_done(&w->resolver);
}

/* -- publishing --------------------------------------------------------------------------------- */

/* `mandatory`, which Glance does not say, is the one bit in which we differ. Consumers cannot see it; to
 * us it is the difference between an event for which there is no queue (somebody has deleted it, its node
 * of a cluster is down) and one that is safe: the broker confirms both. */
int wire_publish(struct wire *w, const char *key, const struct buf *body, struct err *err)
{
	amqp_table_entry_t compression = text_entry("compression", "application/x-gzip");
	amqp_basic_properties_t p = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
			  AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG,
		.content_type = amqp_cstring_bytes("application/json"),
		.content_encoding = amqp_cstring_bytes("utf-8"),
		.headers = {.num_entries = w->options->compress ? 1 : 0, .entries = &compression},
		.delivery_mode = AMQP_DELIVERY_PERSISTENT,
	};
	amqp_bytes_t octets = {body->len, body->data};
	int status;

	gather(w, true);
	errno = 0;
	status = amqp_basic_publish(w->conn, CHANNEL, amqp_cstring_bytes(w->options->exchange),
				    amqp_cstring_bytes(key), 1, 0, &p, octets);
	if (status != AMQP_STATUS_OK)
		return lost_status(w, status, err);
	w->last_tag++;
	return 0;
}

void wire_send_all(struct wire *w)
{
	if (w->conn)
		gather(w, false);
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/rabbit_test.c -- the drivers against a broker of our own, which does what the test says:
 * answers as RabbitMQ does, or plays a trick at one step of the first connection and behaves on the next.
 * The frames expected are those of the running system. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/log.h"
#include "notify/driver.h"
#include "notify/transport.h"

#define SECOND INT64_C(1000000)
#define N_EVENTS 5
#define SECRET "s3cret"

/* -- the broker --------------------------------------------------------------------------------- */

enum trick {
	NO_TRICK,
	HANG_UP,
	CLOSE_CHANNEL,
	CLOSE_CONNECTION,
	GARBAGE,
	HUGE_FRAME,
	NO_FRAME_END,
	WRONG_CHANNEL,
	UNASKED_METHOD,
	UNKNOWN_METHOD,
	CONTENT,
	BAD_STRING,
	OTHER_PROTOCOL,
	WRONG_CONFIRMS, /* of messages that there are not; the rest goes on as it should */
	NACK,
	SILENCE,
	NO_QUEUE, /* from the second message of the first connection on */
};

static struct broker {
	int listen_fd;
	unsigned port;
	pthread_t thread;
	enum trick trick;
	unsigned step;    /* the trick is played when this frame of the first connection has come */
	bool always_first; /* every connection is one to play tricks on */
	bool multiple;    /* confirm all at once, when N_EVENTS have come */
	size_t too_large; /* bodies of this size and more are refused */

	pthread_mutex_t lock; /* guards: */
	bool stopping, hang_up;
	unsigned n_connections, n_steps, n_looks;
	unsigned n_messages, n_consumers; /* of every queue */
	struct buf frames; /* all of the last connection */
	struct buf bodies; /* of all that was confirmed, one a line */
} broker = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct session {
	int fd;
	bool first, done; /* done: a trick was played; what still comes is read and not answered */
	unsigned n_frames, n_published, n_held;
	struct buf body;
	size_t body_size;
};

static void send_all(int fd, const void *data, size_t n)
{
	(void)send(fd, data, n, MSG_NOSIGNAL);
}

static void put_number(struct buf *b, uint64_t value, unsigned n_bytes)
{
	while (n_bytes-- > 0)
		buf_addc(b, (char)(value >> (8 * n_bytes)));
}

static void put_long_string(struct buf *b, const char *s)
{
	put_number(b, strlen(s), 4);
	buf_adds(b, s);
}

static void send_frame(int fd, unsigned type, unsigned channel, const struct buf *payload)
{
	AUTO(buf_done) struct buf f = {0};

	put_number(&f, type, 1);
	put_number(&f, channel, 2);
	put_number(&f, payload->len, 4);
	buf_add(&f, buf_cstr(payload), payload->len);
	put_number(&f, 0xce, 1);
	send_all(fd, f.data, f.len);
}

static void begin_method(struct buf *b, unsigned class, unsigned method)
{
	put_number(b, class, 2);
	put_number(b, method, 2);
}

static void send_method(int fd, unsigned channel, unsigned class, unsigned method)
{
	AUTO(buf_done) struct buf b = {0};

	begin_method(&b, class, method);
	send_frame(fd, 1, channel, &b);
}

static void send_start(int fd)
{
	AUTO(buf_done) struct buf b = {0};

	begin_method(&b, 10, 10);
	put_number(&b, 9, 2); /* 0-9 */
	put_number(&b, 0, 4); /* no properties */
	put_long_string(&b, "PLAIN AMQPLAIN");
	put_long_string(&b, "en_US");
	send_frame(fd, 1, 0, &b);
}

static void send_tune(int fd)
{
	AUTO(buf_done) struct buf b = {0};

	begin_method(&b, 10, 30);
	put_number(&b, 2047, 2);
	put_number(&b, 131072, 4);
	put_number(&b, 60, 2);
	send_frame(fd, 1, 0, &b);
}

static void send_declared(int fd)
{
	AUTO(buf_done) struct buf b = {0};

	begin_method(&b, 50, 11);
	put_number(&b, 1, 1);
	buf_adds(&b, "q");
	pthread_mutex_lock(&broker.lock);
	put_number(&b, broker.n_messages, 4);
	put_number(&b, broker.n_consumers, 4);
	pthread_mutex_unlock(&broker.lock);
	send_frame(fd, 1, 1, &b);
}

static void send_confirm(int fd, unsigned method, uint64_t tag, bool multiple)
{
	AUTO(buf_done) struct buf b = {0};

	begin_method(&b, 60, method);
	put_number(&b, tag, 8);
	put_number(&b, multiple, 1);
	send_frame(fd, 1, 1, &b);
}

static void put_short_string(struct buf *b, const char *s)
{
	put_number(b, strlen(s), 1);
	buf_adds(b, s);
}

/* As RabbitMQ does it: the message comes back, then it is confirmed. */
static void send_back(int fd, const struct buf *body, uint64_t tag)
{
	AUTO(buf_done) struct buf method = {0}, header = {0};

	begin_method(&method, 60, 50);
	put_number(&method, 312, 2);
	put_short_string(&method, "NO_ROUTE");
	put_short_string(&method, "glance");
	put_short_string(&method, "notifications.info");
	send_frame(fd, 1, 1, &method);
	put_number(&header, 60, 2);
	put_number(&header, 0, 2);
	put_number(&header, body->len, 8);
	put_number(&header, 0, 2);
	send_frame(fd, 2, 1, &header);
	send_frame(fd, 3, 1, body);
	send_confirm(fd, 80, tag, false);
}

static void send_close(int fd, unsigned channel, unsigned class, unsigned method, const char *text)
{
	AUTO(buf_done) struct buf b = {0};

	begin_method(&b, class, method);
	put_number(&b, 406, 2);
	put_number(&b, strlen(text), 1);
	buf_adds(&b, text);
	put_number(&b, 0, 4);
	send_frame(fd, 1, channel, &b);
}

static void send_text_method(int fd, unsigned class, unsigned method, size_t claimed, const char *text)
{
	AUTO(buf_done) struct buf b = {0};

	begin_method(&b, class, method);
	put_number(&b, claimed, 1);
	buf_adds(&b, text);
	send_frame(fd, 1, 0, &b);
}

/* False if the connection is to end. */
static bool play(struct session *s)
{
	static const char huge[] = "\x01\x00\x01\x7f\xff\xff\xf0";
	static const char garbage[] = "\xff\x13\x37garbage\x00\x01garbage garbage garbage";
	static const char no_end[] = "\x01\x00\x01\x00\x00\x00\x04\x00\x14\x00\x0b\x00";

	switch (broker.trick) {
	case CLOSE_CHANNEL:
		send_close(s->fd, 1, 20, 40, "no, " SECRET "\x01\xff");
		return true;
	case CLOSE_CONNECTION:
		send_close(s->fd, 0, 10, 50, "no, " SECRET);
		return true;
	case GARBAGE:
		send_all(s->fd, garbage, sizeof(garbage));
		return true;
	case HUGE_FRAME:
		send_all(s->fd, huge, sizeof(huge) - 1);
		return true;
	case NO_FRAME_END:
		send_all(s->fd, no_end, sizeof(no_end) - 1);
		return true;
	case WRONG_CHANNEL:
		send_method(s->fd, 77, 20, 11);
		return true;
	case UNASKED_METHOD:
		send_method(s->fd, 1, 90, 11);
		return true;
	case UNKNOWN_METHOD:
		send_method(s->fd, 1, 12345, 54321);
		return true;
	case CONTENT: {
		AUTO(buf_done) struct buf b = {0};

		buf_adds(&b, "body");
		send_frame(s->fd, 3, 1, &b);
		return true;
	}
	case BAD_STRING:
		send_text_method(s->fd, 10, 60, 200, "short");
		return true;
	case OTHER_PROTOCOL:
		send_all(s->fd, "AMQP\x00\x01\x00\x00", 8);
		return true;
	default:
		return false;
	}
}

static unsigned get_number(const char *p, unsigned n_bytes)
{
	unsigned v = 0;

	while (n_bytes-- > 0)
		v = v << 8 | (unsigned char)*p++;
	return v;
}

static void keep_body(const struct session *s)
{
	pthread_mutex_lock(&broker.lock);
	buf_add(&broker.bodies, buf_cstr(&s->body), s->body.len);
	buf_addc(&broker.bodies, '\n');
	pthread_mutex_unlock(&broker.lock);
}

static void confirm(struct session *s)
{
	if (s->first && broker.trick == WRONG_CONFIRMS) {
		send_confirm(s->fd, 80, 4711, false);
		send_confirm(s->fd, 120, UINT64_MAX, false);
	}
	if (s->first && broker.trick == NACK && s->n_published == 2) {
		broker.trick = NO_TRICK;
		send_confirm(s->fd, 120, s->n_published, false);
		return;
	}
	if (s->first && broker.trick == NO_QUEUE && s->n_published >= 2) {
		send_back(s->fd, &s->body, s->n_published);
		return;
	}
	keep_body(s);
	if (!broker.multiple)
		send_confirm(s->fd, 80, s->n_published, false);
	else if (s->n_published == N_EVENTS)
		send_confirm(s->fd, 80, s->n_published, true);
}

static void take_body(struct session *s, const char *payload, size_t n)
{
	char text[128];

	buf_add(&s->body, payload, n);
	if (s->body.len < s->body_size)
		return;
	s->n_published++;
	if (broker.too_large && s->body_size >= broker.too_large) {
		(void)snprintf(
			text, sizeof(text),
			"PRECONDITION_FAILED - message size %zu is larger than configured max size %zu",
			s->body_size, broker.too_large - 1);
		send_close(s->fd, 1, 20, 40, text);
	} else {
		confirm(s);
	}
	buf_reset(&s->body);
}

static void count_look(const char *payload)
{
	const char *flags = payload + 7 + (unsigned char)payload[6];

	pthread_mutex_lock(&broker.lock);
	broker.n_looks += *flags & 1; /* passive */
	pthread_mutex_unlock(&broker.lock);
}

static void answer_method(struct session *s, const char *payload)
{
	unsigned class = get_number(payload, 2), method = get_number(payload + 2, 2);

	if (class == 10 && method == 11)
		send_tune(s->fd);
	else if (class == 10 && method == 40)
		send_text_method(s->fd, 10, 41, 0, "");
	else if (class == 20 && method == 10) {
		AUTO(buf_done) struct buf b = {0};

		begin_method(&b, 20, 11);
		put_number(&b, 0, 4);
		send_frame(s->fd, 1, 1, &b);
	} else if (class == 50 && method == 10) {
		count_look(payload);
		send_declared(s->fd);
	} else if ((class == 40 || class == 50 || class == 85) && (method == 10 || method == 20))
		send_method(s->fd, 1, class, method + 1);
}

static bool take_frame(struct session *s, unsigned type, const char *payload, size_t n)
{
	s->n_frames++;
	if (s->first) {
		pthread_mutex_lock(&broker.lock);
		broker.n_steps = s->n_frames;
		pthread_mutex_unlock(&broker.lock);
	}
	if (s->first && broker.trick == SILENCE && s->n_frames >= broker.step)
		return true;
	if (s->first && broker.trick != NO_TRICK && broker.trick < WRONG_CONFIRMS &&
	    s->n_frames == broker.step) {
		s->done = true;
		return play(s);
	}
	if (s->done)
		return true;
	if (type == 1)
		answer_method(s, payload);
	else if (type == 2)
		s->body_size = get_number(payload + 8, 4);
	else if (type == 3)
		take_body(s, payload, n);
	return true;
}

static bool is_stopping(void)
{
	bool stopping;

	pthread_mutex_lock(&broker.lock);
	stopping = broker.stopping;
	pthread_mutex_unlock(&broker.lock);
	return stopping;
}

/* Once, if it was told to. */
static bool hangs_up(void)
{
	bool hang_up;

	pthread_mutex_lock(&broker.lock);
	hang_up = broker.hang_up;
	broker.hang_up = false;
	pthread_mutex_unlock(&broker.lock);
	return hang_up;
}

/* False at the end of the connection. */
static bool fill(int fd, struct buf *in)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char *room = buf_reserve(in, 65536);
	ssize_t n;

	while (poll(&p, 1, 5) == 0)
		if (is_stopping() || hangs_up())
			return false;
	n = recv(fd, room, 65536, 0);
	if (n > 0)
		in->len += (size_t)n;
	return n > 0;
}

static void consume(struct buf *in, size_t n)
{
	memmove(in->data, in->data + n, in->len - n);
	in->len -= n;
}

static void serve(int fd, bool first)
{
	AUTO(buf_done) struct buf in = {0};
	struct session s = {.fd = fd, .first = first};
	bool greeted = false, go_on = true;

	while (go_on && fill(fd, &in)) {
		if (!greeted && in.len >= 8) {
			consume(&in, 8);
			greeted = true;
			send_start(fd);
		}
		while (go_on && greeted && in.len >= 8 && in.len >= 8 + get_number(in.data + 3, 4)) {
			size_t n = get_number(in.data + 3, 4);

			pthread_mutex_lock(&broker.lock);
			buf_add(&broker.frames, in.data, n + 8);
			pthread_mutex_unlock(&broker.lock);
			go_on = take_frame(&s, (unsigned char)in.data[0], in.data + 7, n);
			consume(&in, n + 8);
		}
	}
	buf_done(&s.body);
	close(fd);
}

static void *broker_main(void *arg)
{
	struct pollfd p = {.fd = broker.listen_fd, .events = POLLIN};

	while (!is_stopping()) {
		int fd = poll(&p, 1, 5) == 1 ? accept(broker.listen_fd, NULL, NULL) : -1;

		if (fd < 0)
			continue;
		pthread_mutex_lock(&broker.lock);
		broker.n_connections++;
		buf_reset(&broker.frames);
		pthread_mutex_unlock(&broker.lock);
		serve(fd, broker.n_connections == 1 || broker.always_first);
	}
	return NULL;
}

static void broker_start(enum trick trick, unsigned step)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);

	broker.trick = trick;
	broker.step = step;
	broker.multiple = broker.always_first = false;
	broker.too_large = 0;
	broker.stopping = broker.hang_up = false;
	broker.n_connections = broker.n_steps = broker.n_looks = 0;
	broker.n_messages = broker.n_consumers = 0;
	broker.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(broker.listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(broker.listen_fd, 8), 0);
	assert_int_equal(getsockname(broker.listen_fd, (struct sockaddr *)&a, &n), 0);
	broker.port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&broker.thread, NULL, broker_main, NULL), 0);
}

/* What it has seen can be looked at until broker_forget(). */
static void broker_stop_keeping(void)
{
	pthread_mutex_lock(&broker.lock);
	broker.stopping = true;
	pthread_mutex_unlock(&broker.lock);
	pthread_join(broker.thread, NULL);
	close(broker.listen_fd);
}

static void broker_forget(void)
{
	buf_done(&broker.frames);
	buf_done(&broker.bodies);
}

static void broker_stop(void)
{
	broker_stop_keeping();
	broker_forget();
}

/* -- the driver --------------------------------------------------------------------------------- */

static const struct notify_driver *driver;
static void *state_of_driver;
static struct db_event events[N_EVENTS];

static void make_events(void)
{
	memset(events, 0, sizeof(events));
	for (size_t i = 0; i < N_EVENTS; i++) {
		struct db_event *e = &events[i];

		e->offset = (int64_t)i + 1;
		e->event_type = "image.create";
		e->payload = "{\"id\": \"c0ffee00-0000-4000-8000-000000000001\", \"name\": \"\\u00dc\", "
			     "\"size\": null}";
		e->timestamp = INT64_C(1795374879366648);
		(void)snprintf(e->message_id, sizeof(e->message_id),
			       "6d999a2e-8501-403c-aadf-02f902bbfc%02zu", i);
	}
}

static const char *host = "127.0.0.1";

static int try_open(const char *name, const char *options, struct err *err)
{
	static const char *const topics[] = {"notifications"};
	AUTO(conf_free_p) struct conf *conf = NULL;
	AUTO(transport_done) struct transport transport = {0};
	struct notify_driver_config config = {.publisher_id = "image.localhost",
					      .control_exchange = "glance",
					      .topics = topics,
					      .n_topics = 1,
					      .retry = -1};
	char url[128], text[512];
	int r;

	driver = notify_driver_find(name, "rabbit");
	state_of_driver = calloc(1, driver->state_size);
	assert_int_equal(conf_new(driver->options, &conf, err), 0);
	(void)snprintf(text, sizeof(text),
		       "[oslo_messaging_rabbit]\nrabbit_retry_interval = 0\n"
		       "rabbit_retry_backoff = 0\n%s",
		       options);
	if (conf_read_text(conf, "test.conf", text, strlen(text), NULL, NULL, err) < 0)
		fail_msg("%s", err->text);
	(void)snprintf(url, sizeof(url), "rabbit://u:" SECRET "@%s:%u/", host, broker.port);
	assert_int_equal(transport_parse(url, &transport, err), 0);
	config.conf = conf;
	config.transport = &transport;
	r = driver->check(&config, err);
	return r < 0 ? r : driver->open(state_of_driver, &config, err);
}

static void open_driver(const char *name, const char *options)
{
	struct err err = {0};

	make_events();
	if (try_open(name, options, &err) < 0)
		fail_msg("%s", err.text);
}

static void close_driver(void)
{
	driver->close(state_of_driver);
	free(state_of_driver);
}

static enum delivery deliver(size_t first, size_t n, size_t *ret_n_safe, struct err *err)
{
	enum delivery d = driver->deliver(state_of_driver, events + first, n, ret_n_safe, err);

	assert_null(strstr(err->text, SECRET));
	assert_null(strstr(err->detail, SECRET));
	return d;
}

/* As the relay does it: until all are safe. How many calls it took. */
static unsigned deliver_all(void)
{
	int64_t until = clock_mono_us() + 60 * SECOND;
	size_t done = 0, n_safe;
	unsigned n_calls = 0;
	struct err err = {0};

	while (done < N_EVENTS && clock_mono_us() < until) {
		enum delivery d = deliver(done, N_EVENTS - done, &n_safe, &err);

		assert_int_not_equal(d, DELIVERY_REJECTED);
		assert_true(d == DELIVERY_RETRY || n_safe == N_EVENTS - done);
		done += n_safe;
		n_calls++;
	}
	assert_int_equal(done, N_EVENTS);
	return n_calls;
}

/* Each event is there, the first copies are in order, and copies are equal. */
static void assert_bodies_in_order(void)
{
	const char *at = NULL;

	for (size_t i = 0; i < N_EVENTS; i++) {
		const char *found = strstr(buf_cstr(&broker.bodies), events[i].message_id);

		assert_non_null(found);
		assert_true(!at || found > at);
		at = found;
	}
}

/* -- what is said ------------------------------------------------------------------------------- */

static unsigned count_frames(const char *hex)
{
	AUTO(buf_done) struct buf all = {0};
	unsigned n = 0;

	pthread_mutex_lock(&broker.lock);
	for (size_t i = 0; i < broker.frames.len; i++)
		buf_addf(&all, "%02x", (unsigned char)broker.frames.data[i]);
	pthread_mutex_unlock(&broker.lock);
	for (const char *at = buf_cstr(&all); (at = strstr(at, hex)); at++)
		n++;
	return n;
}

static bool has_frame(const char *hex)
{
	return count_frames(hex) > 0;
}

static unsigned count_bodies(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < broker.bodies.len; i++)
		n += broker.bodies.data[i] == '\n';
	return n;
}

static char own_log[64];

static unsigned own_log_count(const char *text)
{
	FILE *file = fopen(own_log, "re");
	char line[2048];
	unsigned n = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, text) != NULL;
	fclose(file);
	return n;
}

#define EXCHANGE "010001000000180028000a000006676c616e636505746f7069630000000000ce"
#define QUEUE "0100010000001e0032000a0000126e6f74696669636174696f6e732e696e666f0000000000ce"
#define BIND                                                                                                 \
	"01000100000038003200140000126e6f74696669636174696f6e732e696e666f06676c616e6365126e6f74696669636174" \
	"69"                                                                                                 \
	"6f6e732e696e666f0000000000ce"
#define CONFIRM "010001000000050055000a00ce"
#define PUBLISH "01000100000021003c0028000006676c616e6365126e6f74696669636174696f6e732e696e666f01ce" /* mandatory */
#define HEADER                                                                                               \
	"0200010000002b003c00000000000000000193f800106170706c69636174696f6e2f6a736f6e057574662d380000000002" \
	"00"                                                                                                 \
	"ce"

/* In this order, octet for octet; one bit is ours. */
static void test_frames(void **state)
{
	struct err err = {0};
	size_t n_safe;

	broker_start(NO_TRICK, 0);
	open_driver("messagingv2", "");
	assert_int_equal(broker.n_connections, 0); /* nothing before the first event */
	assert_int_equal(deliver(0, 1, &n_safe, &err), DELIVERY_DELIVERED);
	assert_true(has_frame(EXCHANGE QUEUE BIND EXCHANGE CONFIRM PUBLISH HEADER));
	events[1].priority = EVENT_ERROR;
	assert_int_equal(deliver(1, 2, &n_safe, &err), DELIVERY_DELIVERED);
	close_driver();
	broker_stop_keeping();
	assert_int_equal(count_frames(EXCHANGE), 3); /* for .info, for the channel, for .error */
	assert_int_equal(count_frames(CONFIRM), 1);
	assert_int_equal(count_frames(PUBLISH), 2);
	assert_int_equal(broker.n_connections, 1);
	broker_forget();
}

/* Confirmations for several at once. */
static void test_multiple(void **state)
{
	struct err err = {0};
	size_t n_safe;

	broker_start(NO_TRICK, 0);
	broker.multiple = true;
	open_driver("messaging", "");
	assert_int_equal(deliver(0, N_EVENTS, &n_safe, &err), DELIVERY_DELIVERED);
	assert_int_equal(n_safe, N_EVENTS);
	close_driver();
	broker_stop_keeping();
	assert_bodies_in_order();
	assert_ptr_equal(strstr(buf_cstr(&broker.bodies), "{\"message_id\""), broker.bodies.data);
	broker_forget();
}

/* What is held back to travel with more must not wait until the kernel loses patience (200 ms). */
static void test_promptly(void **state)
{
	struct err err = {0};
	int64_t began;
	size_t n_safe;

	broker_start(NO_TRICK, 0);
	open_driver("messagingv2", "");
	began = clock_mono_us();
	for (size_t i = 0; i < N_EVENTS; i++)
		assert_int_equal(deliver(i, 1, &n_safe, &err), DELIVERY_DELIVERED);
	assert_true(clock_mono_us() - began < SECOND / 2);
	close_driver();
	broker_stop_keeping();
	assert_bodies_in_order();
	broker_forget();
}

/* As the relay does it: what is under way comes again together with what follows it. */
static unsigned deliver_window(const struct db_event *all, size_t n_all, size_t window)
{
	unsigned n_under_way = 0;
	size_t done = 0, n_safe;
	struct err err = {0};

	while (done < n_all) {
		size_t n = n_all - done < window ? n_all - done : window;
		enum delivery d = driver->deliver(state_of_driver, all + done, n, &n_safe, &err);

		assert_true(d == DELIVERY_DELIVERED || d == DELIVERY_UNDER_WAY);
		assert_true(d == DELIVERY_DELIVERED ? n_safe == n : n_safe > 0 && n_safe < n);
		n_under_way += d == DELIVERY_UNDER_WAY;
		done += n_safe;
	}
	return n_under_way;
}

/* Some of a long batch is still under way when the call returns; nothing is published twice for that. */
static void test_under_way(void **state)
{
	enum { N_ALL = 2000 };
	struct db_event *all = calloc(N_ALL, sizeof(*all));

	assert_non_null(all);
	broker_start(NO_TRICK, 0);
	open_driver("messagingv2", "");
	for (size_t i = 0; i < N_ALL; i++) {
		all[i] = events[0];
		all[i].offset = (int64_t)i + 1;
		(void)snprintf(all[i].message_id, sizeof(all[i].message_id), "%036zu", i);
	}
	assert_true(deliver_window(all, N_ALL, 500) >= 3);
	close_driver();
	broker_stop_keeping();
	assert_int_equal(count_bodies(), N_ALL);
	for (size_t i = 0, at = 0; i < N_ALL; i++) {
		const char *found = strstr(broker.bodies.data + at, all[i].message_id);

		assert_non_null(found);
		at = (size_t)(found - broker.bodies.data);
	}
	broker_forget();
	free(all);
}

static void test_compressed(void **state)
{
	char plain[2048];
	uLongf n = sizeof(plain);
	struct err err = {0};
	size_t n_safe;

	broker_start(NO_TRICK, 0);
	open_driver("messagingv2", "kombu_compression = gzip");
	assert_int_equal(deliver(0, 1, &n_safe, &err), DELIVERY_DELIVERED);
	close_driver();
	broker_stop_keeping();
	assert_int_equal(uncompress((Bytef *)plain, &n, (Bytef *)broker.bodies.data, broker.bodies.len - 1),
			 Z_OK);
	assert_int_equal(n, 403);
	assert_true(has_frame("0b636f6d7072657373696f6e53000000126170706c69636174696f6e2f782d677a6970"));
	broker_forget();
}

static void test_quorum(void **state)
{
	struct err err = {0};
	size_t n_safe;

	broker_start(NO_TRICK, 0);
	open_driver("messagingv2",
		    "rabbit_quorum_queue = true\nrabbit_quorum_delivery_limit = 5\n"
		    "rabbit_quroum_max_memory_length = 100\n[glint]\nrabbit_queue_max_length = 9");
	assert_int_equal(deliver(0, 1, &n_safe, &err), DELIVERY_DELIVERED);
	close_driver();
	broker_stop_keeping();
	assert_true(has_frame("0c782d71756575652d74797065530000000671756f72756d" /* x-queue-type: quorum */
			      "10782d64656c69766572792d6c696d69744900000005"
			      "16782d6d61782d696e2d6d656d6f72792d6c656e6774684900000064"
			      "0c782d6d61782d6c656e6774684900000009"));
	broker_forget();
}

/* -- what goes wrong ---------------------------------------------------------------------------- */

static void deliver_in_spite_of(enum trick trick, unsigned step)
{
	broker_start(trick, step);
	open_driver("messagingv2", "");
	(void)deliver_all();
	driver->idle(state_of_driver);
	close_driver();
	broker_stop_keeping();
	assert_bodies_in_order();
	broker_forget();
}

/* How many frames we send when all goes well. */
static unsigned count_steps(void)
{
	unsigned n;

	broker_start(NO_TRICK, 0);
	open_driver("messagingv2", "");
	assert_int_equal(deliver_all(), 1);
	n = broker.n_steps;
	close_driver();
	broker_stop();
	return n;
}

/* Every trick at every step: all arrives, in order, and nobody hears the password. */
static void test_tricks(void **state)
{
	unsigned n_steps = count_steps();

	assert_in_range(n_steps, 15, 40);
	for (enum trick trick = HANG_UP; trick <= OTHER_PROTOCOL; trick++) {
		for (unsigned step = 1; step < n_steps; step++)
			deliver_in_spite_of(trick, step);
	}
	assert_int_equal(own_log_count(SECRET), 0);
}

static void test_wrong_confirms(void **state)
{
	deliver_in_spite_of(WRONG_CONFIRMS, 0);
}

/* What is refused is published again, and what comes behind it is safe only after it. */
static void test_nack(void **state)
{
	struct err err = {0};
	size_t n_safe;

	broker_start(NACK, 0);
	open_driver("messagingv2", "");
	assert_int_equal(deliver(0, N_EVENTS, &n_safe, &err), DELIVERY_RETRY);
	assert_int_equal(n_safe, 1);
	assert_non_null(strstr(err.text, "refuses"));
	assert_int_equal(deliver(1, N_EVENTS - 1, &n_safe, &err), DELIVERY_DELIVERED);
	close_driver();
	broker_stop_keeping();
	assert_int_equal(count_bodies(), N_EVENTS); /* none twice */
	assert_int_equal(broker.n_connections, 1);
	broker_forget();
}

/* A queue that is gone, found out by the second message: what went nowhere is published again, once there
 * is a queue; said once. */
static void test_no_queue(void **state)
{
	struct err err = {0};
	size_t n_safe;

	broker_start(NO_QUEUE, 0);
	open_driver("messagingv2", "");
	assert_int_equal(deliver(0, 1, &n_safe, &err), DELIVERY_DELIVERED);
	assert_int_equal(deliver(1, N_EVENTS - 1, &n_safe, &err), DELIVERY_DELIVERED);
	assert_int_equal(own_log_count("has no queue for 'notifications.info'"), 1);
	close_driver();
	broker_stop_keeping();
	assert_int_equal(broker.n_connections, 2);
	assert_int_equal(count_frames(QUEUE), 1); /* on the second one */
	assert_int_equal(count_bodies(), N_EVENTS);
	assert_bodies_in_order();
	broker_forget();
}

/* Nor is there a queue after it was declared: that is trouble, told to the relay, and no endless loop. */
static void test_never_a_queue(void **state)
{
	struct err err = {0};
	size_t n_safe;

	broker_start(NO_QUEUE, 0);
	broker.always_first = true;
	open_driver("messagingv2", "");
	assert_int_equal(deliver(0, N_EVENTS, &n_safe, &err), DELIVERY_RETRY);
	assert_int_equal(n_safe, 1);
	assert_non_null(strstr(err.text, "has no queue for"));
	assert_int_equal(own_log_count("has no queue for"), 0);
	close_driver();
	broker_stop();
}

static void test_too_large(void **state)
{
	static char payload[3000];
	struct err err = {0};
	size_t n_safe;

	broker_start(NO_TRICK, 0);
	broker.too_large = 2000;
	open_driver("messagingv2", "");
	memset(payload, 'x', sizeof(payload) - 1);
	payload[0] = payload[sizeof(payload) - 2] = '"';
	events[2].payload = payload;
	assert_int_equal(deliver(0, N_EVENTS, &n_safe, &err), DELIVERY_REJECTED);
	assert_int_equal(n_safe, 2);
	assert_non_null(strstr(err.text, "larger than configured max size 1999"));
	assert_int_equal(deliver(3, 2, &n_safe, &err), DELIVERY_DELIVERED);
	broker.too_large = 0; /* the limit was raised: now it goes */
	assert_int_equal(deliver(2, 1, &n_safe, &err), DELIVERY_DELIVERED);
	close_driver();
	broker_stop();
}

/* The broker reads and says nothing: we come back in time, wait on, and repeat nothing. */
static void test_silence(void **state)
{
	unsigned n_steps = count_steps();
	struct err err = {0};
	int64_t started;
	size_t n_safe = 9;

	broker_start(SILENCE, n_steps - 3 * N_EVENTS + 1);
	open_driver("messagingv2", "");
	started = clock_mono_us();
	assert_int_equal(deliver(0, N_EVENTS, &n_safe, &err), DELIVERY_RETRY);
	assert_int_equal(n_safe, 0);
	assert_in_range(clock_mono_us() - started, 4 * SECOND, 9 * SECOND);
	assert_non_null(strstr(err.text, "confirms nothing"));
	assert_int_equal(deliver(0, N_EVENTS, &n_safe, &err), DELIVERY_RETRY);
	started = clock_mono_us();
	close_driver();
	assert_true(clock_mono_us() - started < SECOND);
	broker_stop_keeping();
	assert_int_equal(count_frames(PUBLISH), N_EVENTS);
	broker_forget();
}

/* A broker that never lets us in. */
static void test_mute(void **state)
{
	struct err err = {0};
	int64_t started;
	size_t n_safe;

	broker_start(SILENCE, 1);
	open_driver("messagingv2", "");
	started = clock_mono_us();
	assert_int_equal(deliver(0, 1, &n_safe, &err), DELIVERY_RETRY);
	assert_in_range(clock_mono_us() - started, 5 * SECOND, 15 * SECOND);
	close_driver();
	broker_stop();
}

/* -- names ---------------------------------------------------------------------------------------- */

static pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER; /* who has it keeps the name service hanging */

/* libc's, but for one name. */
int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **ret)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (name && strcmp(name, "hangs.test") == 0) {
		pthread_mutex_lock(&names);
		pthread_mutex_unlock(&names);
		return EAI_AGAIN;
	}
	return real(name, port, hints, ret);
}

/* A name service that does not answer is one more broker that cannot be reached, and stops nobody from
 * leaving. */
static void test_hanging_name(void **state)
{
	struct err err = {0};
	int64_t started = clock_mono_us();
	size_t n_safe;

	pthread_mutex_lock(&names);
	host = "hangs.test";
	open_driver("messagingv2", "");
	host = "127.0.0.1";
	assert_int_equal(deliver(0, 1, &n_safe, &err), DELIVERY_RETRY);
	assert_in_range(clock_mono_us() - started, 5 * SECOND, 15 * SECOND);
	assert_non_null(strstr(err.text, "hangs.test"));
	assert_non_null(strstr(err.text, "does not answer"));
	started = clock_mono_us();
	close_driver();
	assert_true(clock_mono_us() - started < SECOND);
	pthread_mutex_unlock(&names);
}

static void test_names(void **state)
{
	struct err err = {0};
	size_t n_safe;

	broker_start(NO_TRICK, 0);
	host = "localhost"; /* maybe ::1 at first */
	open_driver("messagingv2", "");
	host = "127.0.0.1";
	assert_int_equal(deliver(0, 1, &n_safe, &err), DELIVERY_DELIVERED);
	close_driver();
	broker_stop();
}

/* -- queues that nobody reads ---------------------------------------------------------------------- */

/* Until the broker was looked at once more. */
static void look_at(unsigned n_messages, unsigned n_consumers)
{
	int64_t until = clock_mono_us() + 60 * SECOND;
	unsigned before, n;

	pthread_mutex_lock(&broker.lock);
	broker.n_messages = n_messages;
	broker.n_consumers = n_consumers;
	before = n = broker.n_looks;
	pthread_mutex_unlock(&broker.lock);
	while (n == before && clock_mono_us() < until) {
		driver->idle(state_of_driver);
		(void)poll(NULL, 0, 5);
		pthread_mutex_lock(&broker.lock);
		n = broker.n_looks;
		pthread_mutex_unlock(&broker.lock);
	}
	assert_int_equal(n, before + 1);
}

static void open_and_look_often(void)
{
	struct err err = {0};
	size_t n_safe;

	broker_start(NO_TRICK, 0);
	open_driver("messagingv2", "[glint]\nrabbit_queue_check_interval = 1");
	assert_int_equal(deliver(0, 1, &n_safe, &err), DELIVERY_DELIVERED);
}

static void assert_said(unsigned n_begin, unsigned n_end)
{
	assert_int_equal(own_log_count("nobody reads queue 'notifications.info'"), n_begin);
	assert_int_equal(own_log_count("is read again"), n_end);
}

/* Two looks without a consumer and something more at the second one: said once, and once that it ended. */
static void test_unread(void **state)
{
	open_and_look_often();
	look_at(5, 0);
	assert_said(0, 0);
	look_at(5, 0);
	assert_said(0, 0);
	look_at(6, 0);
	assert_said(1, 0);
	look_at(7, 0);
	assert_said(1, 0);
	look_at(7, 1);
	assert_said(1, 1);
	look_at(9, 1);
	look_at(12, 0); /* has grown while there was one */
	assert_said(1, 1);
	close_driver();
	broker_stop();
}

static void lose_connection(void)
{
	int64_t until = clock_mono_us() + 60 * SECOND;
	unsigned n = 1;

	pthread_mutex_lock(&broker.lock);
	broker.hang_up = true;
	pthread_mutex_unlock(&broker.lock);
	while (n == 1 && clock_mono_us() < until) {
		driver->idle(state_of_driver);
		(void)poll(NULL, 0, 5);
		pthread_mutex_lock(&broker.lock);
		n = broker.n_connections;
		pthread_mutex_unlock(&broker.lock);
	}
	assert_int_equal(n, 2);
}

/* After a reconnect the queue has grown and the consumers are still on their way: that is no alarm. */
static void test_late_consumers(void **state)
{
	struct err err = {0};
	int64_t began;
	size_t n_safe;

	open_and_look_often();
	look_at(5, 1);
	look_at(5, 0);
	lose_connection();
	began = clock_mono_us();
	assert_int_equal(deliver(1, 1, &n_safe, &err), DELIVERY_DELIVERED);
	look_at(9, 0);
	assert_in_range(clock_mono_us() - began, SECOND, 60 * SECOND); /* a whole interval later */
	assert_said(0, 0);
	look_at(20, 1);
	assert_said(0, 0);
	close_driver();
	broker_stop();
}

/* A loss that nobody waits for is not told at once: an event may come, and then the relay tells it. */
static void test_lost_while_idle(void **state)
{
	struct err err = {0};
	size_t n_safe;

	broker_start(NO_TRICK, 0);
	open_driver("messagingv2", "");
	assert_int_equal(deliver(0, 1, &n_safe, &err), DELIVERY_DELIVERED);
	broker_stop();
	driver->idle(state_of_driver);
	assert_int_equal(deliver(1, 1, &n_safe, &err), DELIVERY_RETRY);
	driver->idle(state_of_driver);
	assert_int_equal(own_log_count("has lost its connection"), 0);
	driver->idle(state_of_driver);
	driver->idle(state_of_driver);
	assert_int_equal(own_log_count("has lost its connection"), 1);
	close_driver();
}

/* -- what is wrong from the start ------------------------------------------------------------------ */

static void assert_refused(const char *options, const char *because)
{
	struct err err = {0};

	broker.port = 1;
	if (try_open("messagingv2", options, &err) == 0)
		fail_msg("%s was not refused", options);
	if (!strstr(err.text, because))
		fail_msg("%s", err.text);
	free(state_of_driver);
}

static void test_refused_options(void **state)
{
	assert_refused("rabbit_quorum_queue = true\nrabbit_ha_queues = true", "exclude each other");
	assert_refused("ssl = true\nssl_version = TLSv1_2", "rabbit_tls_insecure");
	assert_refused("ssl = true\nssl_enforce_hostname_verification = false", "rabbit_tls_insecure");
	assert_refused("ssl = true\nssl_version = SSLv2\nssl_ca_file = x", "not spoken");
	assert_refused("ssl = true\nssl_key_file = x", "go together");
}

static void test_insecure_is_told(void **state)
{
	broker.port = 1;
	open_driver("messagingv2", "ssl = true\nssl_version = TLSv1_2\n[glint]\nrabbit_tls_insecure = true");
	close_driver();
	assert_int_equal(own_log_count("does not verify the broker at all"), 1);
	open_driver("messagingv2", "ssl = true\nssl_enforce_hostname_verification = false\n[glint]\n"
				   "rabbit_tls_insecure = true");
	close_driver();
	assert_int_equal(own_log_count("does not check that the broker's certificate"), 1);
}

static int setup(void **state)
{
	(void)snprintf(own_log, sizeof(own_log), "/tmp/glint-rabbit-test-%ld.log", (long)getpid());
	return log_open(own_log, LOG_DEBUG_, NULL);
}

static int teardown(void **state)
{
	log_close();
	return unlink(own_log);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_frames),    TEST(test_multiple),       TEST(test_compressed),
		TEST(test_quorum),    TEST(test_tricks),         TEST(test_nack),
		TEST(test_too_large), TEST(test_wrong_confirms), TEST(test_refused_options),
		TEST(test_silence),   TEST(test_mute),           TEST(test_insecure_is_told),
		TEST(test_promptly),  TEST(test_under_way),      TEST(test_no_queue),
		TEST(test_never_a_queue), TEST(test_hanging_name), TEST(test_names),
		TEST(test_unread),    TEST(test_late_consumers), TEST(test_lost_while_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

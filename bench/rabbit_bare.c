/* SPDX-License-Identifier: Apache-2.0
 * bench/rabbit_bare.c -- the least that a program can do to bring messages to RabbitMQ and know that they are
 * there: librabbitmq, one channel, confirms, so many messages under way at a time.
 *
 *     rabbit_bare HOST PORT USER PASSWORD VHOST COUNT WINDOW < BODY
 *
 * Declares what Glance declares, publishes the body COUNT times with Glance's properties and prints the
 * seconds from the first message to the last confirm. A yardstick: whatever goes wrong ends it. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>

#define CHANNEL 1
#define FRAME_MAX 131072
#define HEARTBEAT_S 60
#define BODY_MAX (1 << 20)
#define READ_EVERY 64 /* one look at the socket for so many messages, while the window is open */

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	(void)fprintf(stderr, "rabbit_bare: %s failed\n", what);
	exit(1);
}

static double now_s(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	check(*text && !*end, "reading a number");
	return n;
}

static amqp_connection_state_t log_in(char **argv)
{
	amqp_connection_state_t conn = amqp_new_connection();
	amqp_socket_t *s = conn ? amqp_tcp_socket_new(conn) : NULL;

	check(s && amqp_socket_open(s, argv[1], (int)number(argv[2])) == AMQP_STATUS_OK, "connecting");
	check(amqp_login(conn, argv[5], 0, FRAME_MAX, HEARTBEAT_S, AMQP_SASL_METHOD_PLAIN, argv[3], argv[4])
			      .reply_type == AMQP_RESPONSE_NORMAL,
	      "logging in");
	check(amqp_channel_open(conn, CHANNEL), "opening a channel");
	return conn;
}

static void declare(amqp_connection_state_t conn, amqp_bytes_t exchange, amqp_bytes_t queue)
{
	check(amqp_exchange_declare(conn, CHANNEL, exchange, amqp_cstring_bytes("topic"), 0, 0, 0, 0,
				    amqp_empty_table),
	      "declaring the exchange");
	check(amqp_queue_declare(conn, CHANNEL, queue, 0, 0, 0, 0, amqp_empty_table), "declaring the queue");
	check(amqp_queue_bind(conn, CHANNEL, queue, exchange, queue, amqp_empty_table), "binding");
	check(amqp_confirm_select(conn, CHANNEL), "asking for confirms");
}

/* What is confirmed: confirms may come in any order. */
struct confirms {
	unsigned char *have; /* by tag, which counts from 1 */
	uint64_t n, low;     /* how many; all tags below are confirmed */
};

static void note(struct confirms *c, uint64_t first, uint64_t last)
{
	for (uint64_t tag = first; tag <= last; tag++) {
		c->n += !c->have[tag];
		c->have[tag] = 1;
	}
	while (c->have[c->low])
		c->low++;
}

/* One frame; if @wait is false perhaps none. */
static void read_confirm(amqp_connection_state_t conn, struct confirms *c, uint64_t n_sent, bool wait)
{
	struct timeval none = {0};
	const amqp_basic_ack_t *ack;
	amqp_frame_t f;
	int r = amqp_simple_wait_frame_noblock(conn, &f, wait ? NULL : &none);

	if (r == AMQP_STATUS_TIMEOUT)
		return;
	check(r == AMQP_STATUS_OK && f.frame_type == AMQP_FRAME_METHOD &&
		      f.payload.method.id == AMQP_BASIC_ACK_METHOD,
	      "waiting for a confirm");
	ack = f.payload.method.decoded;
	check(ack->delivery_tag <= n_sent, "understanding a confirm");
	if (ack->multiple)
		note(c, c->low, ack->delivery_tag ? ack->delivery_tag : n_sent);
	else
		note(c, ack->delivery_tag, ack->delivery_tag);
	amqp_maybe_release_buffers(conn);
}

static void publish(amqp_connection_state_t conn, amqp_bytes_t exchange, amqp_bytes_t key, amqp_bytes_t body)
{
	amqp_basic_properties_t p = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
			  AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG,
		.content_type = amqp_cstring_bytes("application/json"),
		.content_encoding = amqp_cstring_bytes("utf-8"),
		.delivery_mode = AMQP_DELIVERY_PERSISTENT,
	};

	check(amqp_basic_publish(conn, CHANNEL, exchange, key, 1, 0, &p, body) == AMQP_STATUS_OK,
	      "publishing");
}

/* Seconds from the first message to the last confirm. */
static double run(amqp_connection_state_t conn, amqp_bytes_t body, uint64_t count, uint64_t window)
{
	amqp_bytes_t exchange = amqp_cstring_bytes("glance"), key = amqp_cstring_bytes("notifications.info");
	struct confirms c = {.have = calloc(1, count + 2), .low = 1};
	uint64_t n_sent = 0;
	double began;

	check(c.have, "finding memory");
	declare(conn, exchange, key);
	began = now_s();
	while (c.n < count) {
		bool full = n_sent == count || n_sent - c.n >= window;

		if (!full) {
			publish(conn, exchange, key, body);
			n_sent++;
		}
		if (full || n_sent % READ_EVERY == 0)
			read_confirm(conn, &c, n_sent, full);
	}
	free(c.have);
	return now_s() - began;
}

int main(int argc, char **argv)
{
	static char octets[BODY_MAX];
	amqp_bytes_t body = {.bytes = octets};
	amqp_connection_state_t conn;
	double seconds;

	check(argc == 8, "reading HOST PORT USER PASSWORD VHOST COUNT WINDOW");
	body.len = fread(octets, 1, sizeof(octets), stdin);
	conn = log_in(argv);
	seconds = run(conn, body, number(argv[6]), number(argv[7]));
	(void)printf("%.6f\n", seconds);
	(void)amqp_connection_close(conn, AMQP_REPLY_SUCCESS);
	return amqp_destroy_connection(conn) == AMQP_STATUS_OK ? 0 : 1;
}

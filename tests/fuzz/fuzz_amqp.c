/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_amqp.c -- anything as all that a broker says on a connection, to one who publishes (first octet even) or
 * to one who consumes (odd). Whatever it is, the connection ends, and what comes out of it keeps the promises of
 * notify/rabbit/wire.h and notify/receive.h.
 *
 * connect(2) is ours: the other end is a pair of sockets that has the whole conversation in it already. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/utf8.h"
#include "notify/rabbit/options.h"
#include "notify/rabbit/wire.h"
#include "notify/receive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PASSWORD "s3cret-of-ours"
#define PATIENCE_US 10000000 /* nothing here waits as long, unless it waits for what cannot come */

static struct {
	const uint8_t *data;
	size_t size;
	int fd; /* the broker's end */
} broker = {.fd = -1};

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void hang_up(void)
{
	if (broker.fd >= 0)
		(void)close(broker.fd);
	broker.fd = -1;
}

int connect(int fd, const struct sockaddr *address, socklen_t len)
{
	int pair[2], large = 1 << 20;

	hang_up();
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	for (int i = 0; i < 2; i++)
		(void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	require(write(pair[1], broker.data, broker.size) == (ssize_t)broker.size);
	(void)shutdown(pair[1], SHUT_WR);
	require(dup2(pair[0], fd) == fd && close(pair[0]) == 0);
	broker.fd = pair[1];
	return 0;
}

static void check_err(const struct err *err)
{
	require(err->code < 0 && *err->text && utf8_is_valid(err->text, strlen(err->text)));
	require(!strstr(err->text, PASSWORD) && !strstr(err->detail, PASSWORD));
	for (const char *c = err->text; *c; c++)
		require((unsigned char)*c >= ' ' && *c != 0x7f);
}

static void confirm(void *cls, uint64_t tag, bool multiple, bool ok)
{
	++*(unsigned *)cls;
}

static void publish(void)
{
	struct rabbit_options o = {.exchange = "glance", .vhost = "/", .login = RABBIT_PLAIN};
	struct transport_host host = {.host = "127.0.0.1", .port = 5672, .user = "glint", .password = PASSWORD};
	char text[] = "{}";
	struct buf body = {.data = text, .len = 2};
	unsigned n_confirms = 0;
	struct wire w = {.confirm = confirm, .cls = &n_confirms};
	struct err err = {0};
	int64_t deadline = clock_mono_us() + PATIENCE_US;
	int r = wire_open(&w, &o, &host, deadline, &err);

	if (r == 0)
		r = wire_publish(&w, "notifications.info", &body, &err);
	while (r >= 0)
		r = wire_read(&w, deadline, &err);
	require(!wire_is_open(&w) && clock_mono_us() < deadline);
	check_err(&err);
	wire_done(&w);
}

static struct conf *make_conf(void)
{
	struct conf *conf = NULL;

	require(conf_new(rabbit_option_table, &conf, NULL) == 0);
	return conf;
}

static void consume(void)
{
	static const char *const topics[] = {"notifications"};
	const struct receiver *r = receiver_find("rabbit");
	struct conf *conf = make_conf();
	struct transport transport;
	struct err err = {0};
	void *state = calloc(1, r->state_size);
	struct received m;
	int got;

	require(state && transport_parse("rabbit://glint:" PASSWORD "@127.0.0.1:5672/", &transport, NULL) == 0);
	const struct receive_config config = {.transport = &transport, .exchange = "glance", .topics = topics, .n_topics = 1,
					      .max_unsettled = 10, .conf = conf};

	got = r->open(state, &config, &err);
	while (got >= 0 && (got = r->next(state, &m, &err)) >= 0) {
		if (got == 1)
			require(m.routing_key && (m.body || !m.n_bytes) && r->settle(state, m.tag, true, NULL) <= 0);
	}
	check_err(&err);
	r->close(state);
	free(state);
	transport_done(&transport);
	conf_free(conf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > 65536)
		return 0;
	broker.data = data + 1;
	broker.size = size - 1;
	if (data[0] % 2)
		consume();
	else
		publish();
	hang_up();
	return 0;
}

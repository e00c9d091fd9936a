/* SPDX-License-Identifier: Apache-2.0
 * http/body.c -- reads request bodies: as much as is there (the loops), or until there is some (the
 * handlers of STREAM routes).
 *
 * What came along with the head is in the window of the request and goes first. After that, data
 * goes from the socket to the caller's memory directly; only the framing of small chunks passes
 * through the window, which begins anew behind the head whenever it is empty. */
#include "server.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

#define DIRECT_MIN 4096 /* less than this is read through the window, with whatever follows it */

static size_t smaller(size_t a, uint64_t b)
{
	return a < b ? a : (size_t)b;
}

static int64_t smaller_time(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static enum body_verdict receive(struct http_request *req, char *data, size_t n, size_t *ret_n)
{
	ssize_t got;

	do
		got = channel_receive(&req->conn->channel, data, n);
	while (got < 0 && errno == EINTR);
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return BODY_WAIT;
	if (got <= 0)
		return BODY_GONE;
	*ret_n = (size_t)got;
	count_received(req->server, (size_t)got);
	return BODY_DATA;
}

static enum body_verdict fill_window(struct http_request *req)
{
	enum body_verdict v;
	size_t n = 0;

	req->in_pos = req->in_len = req->head.size;
	v = receive(req, req->in + req->in_pos, req->in_cap - req->in_pos, &n);
	req->in_len += n;
	return v;
}

static size_t take_from_window(struct http_request *req, char *data, size_t n)
{
	n = smaller(n, req->in_len - req->in_pos);
	memcpy(data, req->in + req->in_pos, n);
	req->in_pos += n;
	return n;
}

/* From the window if there is something in it, else from the socket. */
static enum body_verdict read_data(struct http_request *req, char *data, size_t n, size_t *ret_n)
{
	*ret_n = take_from_window(req, data, n);
	return *ret_n ? BODY_DATA : receive(req, data, n, ret_n);
}

static enum body_verdict read_plain(struct http_request *req, char *data, size_t n, size_t *ret_n)
{
	enum body_verdict v;

	if (!req->body_left) {
		req->body_done = true;
		return BODY_END;
	}
	v = read_data(req, data, smaller(n, (uint64_t)req->body_left), ret_n);
	if (v == BODY_DATA)
		req->body_left -= (int64_t)*ret_n;
	req->body_done = !req->body_left;
	return v;
}

static enum body_verdict read_chunk(struct http_request *req, char *data, size_t n, size_t *ret_n)
{
	enum body_verdict v;

	n = smaller(n, req->chunk.left);
	if (n < DIRECT_MIN && req->in_pos == req->in_len) {
		v = fill_window(req);
		if (v != BODY_DATA)
			return v;
	}
	v = read_data(req, data, n, ret_n);
	if (v == BODY_DATA)
		chunk_took(&req->chunk, *ret_n);
	return v;
}

static enum body_verdict read_chunked(struct http_request *req, char *data, size_t n, size_t *ret_n)
{
	enum body_verdict v = BODY_DATA;
	size_t used;

	while (v == BODY_DATA) {
		enum chunk_verdict cv =
			chunk_next(&req->chunk, req->in + req->in_pos, req->in_len - req->in_pos, &used);

		req->in_pos += used;
		if (cv == CHUNK_DATA)
			return read_chunk(req, data, n, ret_n);
		if (cv == CHUNK_BAD)
			return BODY_BAD;
		if (cv == CHUNK_END) {
			req->body_done = true;
			return BODY_END;
		}
		v = fill_window(req);
	}
	return v;
}

enum body_verdict body_read(struct http_request *req, char *data, size_t n, size_t *ret_n)
{
	enum body_verdict v = BODY_END;
	size_t total = 0, got;

	/* Many small chunks that are there already make one piece. What ends this loop early is found
	 * again by the next call. */
	while (total < n && !req->body_done) {
		got = 0;
		v = req->head.chunked ? read_chunked(req, data + total, n - total, &got)
				      : read_plain(req, data + total, n - total, &got);
		if (v != BODY_DATA)
			break;
		total += got;
		if (req->in_pos == req->in_len)
			break;
	}
	*ret_n = total;
	if (!total)
		return v;
	pace_moved(&req->pace, (int64_t)total);
	pace_moved(&req->recent, (int64_t)total);
	return BODY_DATA;
}

bool body_send_continue(struct http_request *req)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const struct iovec iov = {(char *)text, sizeof(text) - 1};
	ssize_t n;

	if (!req->continue_due)
		return true;
	req->continue_due = false;
	if (req->body_done || req->in_pos < req->in_len)
		return true; /* it did not wait */
	n = channel_send(&req->conn->channel, &iov, 1, 0);
	if (n > 0)
		count_sent(req->server, (size_t)n);
	/* A client whose answers pile up gets none, and sends the body when it has waited enough. But half a record
	 * of TLS cannot be taken back. */
	return n == sizeof(text) - 1 || (n < 0 && !req->conn->channel.ssl &&
					 (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
}

/* -- for the handlers of STREAM routes ------------------------------------------------------------- */

/* What a handler waits for: octets, that nobody wants them any more, that somebody wants its thread. */
enum { AWAITED_CLIENT, AWAITED_WAKE, AWAITED_CROWD, N_AWAITED };

static int too_slow(struct err *err)
{
	return err_set(err, ERR_TIMEOUT, "The request body came too slowly.");
}

/* Until something has come, or @us have passed. */
static int await(struct pollfd p[N_AWAITED], int64_t us, struct err *err)
{
	for (unsigned i = 0; i < N_AWAITED; i++)
		p[i].revents = 0;
	if (poll(p, N_AWAITED, (int)((us + 999) / 1000)) < 0 && errno != EINTR)
		return err_set(err, ERR_INTERNAL, "waiting for the request body: %s", strerror(errno));
	return 0;
}

/* We have waited for @us more. May we go on? */
static int check_crowd(struct http_request *req, int64_t us, struct err *err)
{
	struct http_server *s = req->server;

	if (pace_waited(&req->recent, &s->crowded_rule, us) || !crowd_give_way(&s->crowd))
		return 0;
	req->gave_way = true;
	return too_slow(err);
}

static int wait_for_client(struct http_request *req, struct err *err)
{
	struct http_server *s = req->server;
	struct pollfd p[N_AWAITED] = {[AWAITED_CLIENT] = {.fd = req->conn->channel.fd, .events = POLLIN},
				      [AWAITED_WAKE] = {.fd = req->wake_fd, .events = POLLIN},
				      [AWAITED_CROWD] = {.fd = s->crowd.event_fd, .events = POLLIN}};
	int64_t begin_us = clock_mono_us(), waited_us = 0, before_us, left_us = s->pace_rule.window_us;
	int r;

	if (req->conn->channel.waits_for_room)
		p[AWAITED_CLIENT].events |= POLLOUT;
	while (!p[AWAITED_CLIENT].revents) {
		r = await(p, left_us, err);
		before_us = waited_us;
		waited_us = clock_mono_us() - begin_us;
		if (r == 0 && p[AWAITED_WAKE].revents)
			r = err_set(err, ERR_GONE, "The rest of the request body is not wanted any more.");
		if (r == 0)
			r = check_crowd(req, waited_us - before_us, err);
		if (r < 0)
			return r;
		left_us = s->pace_rule.window_us - waited_us;
		if (left_us <= 0)
			break;
		/* While somebody waits: not for that again, but for the end of the time in which we are measured. */
		p[AWAITED_CROWD].fd = p[AWAITED_CROWD].revents ? -1 : s->crowd.event_fd;
		if (p[AWAITED_CROWD].revents)
			left_us = smaller_time(left_us, s->crowded_rule.window_us - req->recent.waited_us);
	}
	if (!p[AWAITED_CLIENT].revents || !pace_waited(&req->pace, &s->pace_rule, waited_us))
		return too_slow(err);
	return 0;
}

static int client_gone(struct http_request *req, struct err *err)
{
	if (req->head.chunked)
		return err_set(err, ERR_DISCONNECTED,
			       "The connection ended before the end of the request body.");
	return err_set(err, ERR_DISCONNECTED,
		       "The connection ended with %" PRId64 " of %" PRId64
		       " octets of the request body missing.",
		       req->body_left, req->head.content_length);
}

ssize_t http_body_read(struct http_request *req, void *data, size_t n, struct err *err)
{
	size_t got = 0;
	int r;

	assert(req->match.route && req->match.route->run == HTTP_STREAM);
	if (n > SSIZE_MAX)
		n = SSIZE_MAX;
	if (!body_send_continue(req))
		return client_gone(req, err);
	for (;;) {
		switch (body_read(req, data, n, &got)) {
		case BODY_DATA:
			return (ssize_t)got;
		case BODY_END:
			return 0;
		case BODY_GONE:
			return client_gone(req, err);
		case BODY_BAD:
			return err_set(err, ERR_INVALID, "The chunks of the request body are broken.");
		case BODY_WAIT:
			r = wait_for_client(req, err);
			if (r < 0)
				return r;
		}
	}
}

void http_body_cancel(struct http_request *req)
{
	const uint64_t one = 1;

	if (req->wake_fd >= 0)
		(void)!write(req->wake_fd, &one, sizeof(one));
}

int64_t http_body_length(const struct http_request *req)
{
	return req->head.chunked ? -1 : req->head.content_length;
}

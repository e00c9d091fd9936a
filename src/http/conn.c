/* SPDX-License-Identifier: Apache-2.0
 * http/conn.c -- the life of a connection, as its loop sees it. (Who owns it when: server.h.)
 *
 *   GREET -> IDLE            TLS: the handshake is over    greet()
 *   IDLE, HEAD -> PARSE      octets came               receive_head()
 *   PARSE -> HEAD            the head has no end yet   parse_head()
 *   PARSE -> BODY            INLINE, WORKER, FILE      begin()
 *   PARSE, BODY -> AWAY      WORKER, FILE, STREAM      submit()
 *   PARSE, BODY -> AWAY      suspended by an INLINE    run_here()
 *   PARSE -> AWAY -> PARSE   suspended by `admit`      admit()
 *   PARSE, BODY, AWAY -> AWAY    a file is the answer  answered()
 *   PARSE, BODY, AWAY -> SEND    the socket is full    answered()
 *   any of these -> IDLE, PARSE  the answer is out     finish()
 *   any of these -> LINGER   the same, but it was the last one
 *   any but AWAY -> DEAD     http_conn_close()
 *
 * Sockets are watched edge-triggered and for both directions all the time, so a request costs one
 * recv and one send, nothing else. Each state reads or writes until it gets EAGAIN (or a
 * short count, which says the same), or else `readable` remembers that it did not. */
#include "server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/pool.h"

/* Then the other connections of the loop have their turn. */
#define MAX_STEPS 64

/* How long and how much of what a client sends is thrown away after an answer that did not wait for
 * it. If we closed at once, the kernel would answer the client's next segment with a reset, and the
 * client might never see why. */
#define LINGER_MAX_US 10000000
#define LINGER_MAX_BYTES ((int64_t)64 << 20)

#define BODY_PIECE 4096
#define BODY_PIECE_MAX 65536
#define CHUNK_WINDOW 16384 /* room for framing and small chunks behind the head */

enum step {
	STEP_ON,   /* there may be more to do at once */
	STEP_WAIT, /* for an event, a timer, or the connection's return */
};

/* -- birth and death ------------------------------------------------------------------------------- */

static void write_peer(const struct sockaddr_storage *peer, char out[INET6_ADDRSTRLEN])
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
	const void *address = &in6->sin6_addr;
	const struct in_addr this_machine = {htonl(INADDR_LOOPBACK)};
	int family = peer->ss_family;

	if (family == AF_INET) {
		address = &((const struct sockaddr_in *)peer)->sin_addr;
	} else if (family != AF_INET6) {
		address = &this_machine;
		family = AF_INET;
	} else if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		address = &in6->sin6_addr.s6_addr[12];
		family = AF_INET;
	}
	if (!inet_ntop(family, address, out, INET6_ADDRSTRLEN))
		out[0] = '\0';
}

struct http_conn *http_conn_new(struct loop *l, const struct listener *from, int fd, const struct sockaddr_storage *peer)
{
	struct http_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->loop = l;
	c->is_local = from->is_local;
	write_peer(peer, c->peer);
	if (!channel_open(&c->channel, fd, from->is_local ? NULL : l->server->tls) || !loop_watch(l, c)) {
		channel_release(&c->channel);
		free(c);
		return NULL;
	}
	c->state = c->channel.greeted ? CONN_IDLE : CONN_GREET;
	c->next = l->conns;
	if (c->next)
		c->next->prev = c;
	l->conns = c;
	loop_wait(l, c, c->state == CONN_IDLE ? TIMEOUT_IDLE : TIMEOUT_HEAD);
	return c;
}

static void release_request(struct http_conn *c)
{
	if (c->req)
		loop_give_request(c->loop, TAKE(c->req));
}

void http_conn_close(struct http_conn *c)
{
	struct loop *l = c->loop;

	assert(c->state != CONN_AWAY && c->state != CONN_DEAD);
	timer_clear(&c->timer);
	release_request(c);
	channel_close(&c->channel, c->state == CONN_IDLE);
	c->state = CONN_DEAD;
	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		l->conns = c->next;
	c->next = l->dead;
	l->dead = c;
	atomic_fetch_sub(&l->server->n_connections, 1);
	l->accept_again_us = 0;
}

static enum step closed(struct http_conn *c)
{
	http_conn_close(c);
	return STEP_WAIT;
}

/* What the socket still holds is not worth its memory: nobody takes it. */
static void reset(struct http_conn *c)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(c->channel.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	http_conn_close(c);
}

void http_conn_cut(struct http_conn *c)
{
	if (c->state != CONN_AWAY) {
		http_conn_close(c);
	} else if (!c->cut) {
		c->cut = true;
		(void)shutdown(c->channel.fd, SHUT_RDWR);
	}
}

/* -- after an answer ------------------------------------------------------------------------------- */

static enum step linger(struct http_conn *c)
{
	char waste[32768];
	ssize_t n = 1;

	for (unsigned i = 0; i < 16 && n > 0; i++) {
		n = recv(c->channel.fd, waste, sizeof(waste), MSG_DONTWAIT); /* encrypted or not */
		if (n > 0) {
			c->linger_left -= n;
			count_received(c->loop->server, (size_t)n);
		}
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		return closed(c);
	if (c->linger_left <= 0 || c->loop->now_us >= c->linger_until_us)
		return closed(c);
	loop_wait(c->loop, c, TIMEOUT_LINGER);
	return n < 0 ? STEP_WAIT : STEP_ON;
}

static enum step begin_linger(struct http_conn *c)
{
	release_request(c);
	if (!channel_end(&c->channel))
		return closed(c);
	c->linger_until_us = c->loop->now_us + LINGER_MAX_US;
	c->linger_left = LINGER_MAX_BYTES;
	c->state = CONN_LINGER;
	return STEP_ON;
}

/* The answer is with the kernel. */
static enum step finish(struct http_conn *c)
{
	if (c->req->close)
		return begin_linger(c);
	request_reset(c->req);
	if (c->req->in_len > 0) {
		c->state = CONN_PARSE;
		return STEP_ON;
	}
	release_request(c);
	c->state = CONN_IDLE;
	loop_wait(c->loop, c, TIMEOUT_IDLE);
	return STEP_ON;
}

static enum step wait_for_room(struct http_conn *c)
{
	c->waits_since_us = c->loop->now_us;
	loop_wait(c->loop, c, TIMEOUT_ROOM);
	return STEP_WAIT;
}

/* The handler has returned, or the file was sent. */
static enum step answered(struct http_conn *c)
{
	struct http_request *req = c->req;

	if (req->file) {
		timer_clear(&c->timer);
		loop_unwatch(c->loop, c);
		c->state = CONN_AWAY;
		inbox_push(&server_sender(req->server)->inbox, c);
		return STEP_WAIT;
	}
	switch (reply_flush(req, 0)) {
	case FLUSH_DONE:
		return finish(c);
	case FLUSH_BLOCKED:
		req->pace = (struct pace){0};
		c->state = CONN_SEND;
		return wait_for_room(c);
	case FLUSH_BROKEN:
		break;
	}
	return closed(c);
}

static enum step send_rest(struct http_conn *c)
{
	int64_t waited_us = c->loop->now_us - c->waits_since_us;

	switch (reply_flush(c->req, 0)) {
	case FLUSH_DONE:
		return finish(c);
	case FLUSH_BLOCKED:
		if (pace_waited(&c->req->pace, &c->loop->server->pace_rule, waited_us))
			return wait_for_room(c);
		reset(c);
		return STEP_WAIT;
	case FLUSH_BROKEN:
		break;
	}
	return closed(c);
}

/* -- running handlers ------------------------------------------------------------------------------ */

/* The connection ends with it, unless all of the request was read. */
static enum step refuse(struct http_conn *c, int status, const char *text)
{
	if (!c->req->id)
		request_make_id(c->req);
	http_reply_error(c->req, status, text);
	return answered(c);
}

/* False: the request was suspended; it is somebody else's now. */
static bool call_handler(struct http_request *req, http_handler_fn *handle)
{
	const struct log_ctx ctx = {.request_id = req->id};
	bool suspended = false;

	/* cppcheck-suppress autoVariables; it is only written to while we wait for the handler */
	req->suspended = &suspended;
	handle(req->server->config.cls, req);
	if (suspended)
		return false;
	if (req->answered || req->wants_worker || req->admitting)
		return true;
	log_error(LOG_NAME, &ctx, "the handler of %s %s did not answer", http_method(req), http_path(req));
	http_reply_error(req, 500, "The service failed to answer this request.");
	return true;
}

void http_suspend(struct http_request *req)
{
	assert(!req->answered && !req->wants_worker);
	*TAKE(req->suspended) = true;
}

void http_resume(struct http_request *req, http_resume_fn *fn, void *cls)
{
	req->resume_cls = cls;
	req->resume = fn;
	inbox_push(&req->conn->loop->inbox, req->conn);
}

void http_go_to_worker(struct http_request *req)
{
	assert(!req->on_pool && !req->answered);
	req->wants_worker = true;
}

bool http_on_worker(const struct http_request *req)
{
	return req->on_pool;
}

/* To whoever sends the answer. */
static void hand_back(struct http_conn *c)
{
	if (c->req->file) {
		loop_unwatch(c->loop, c);
		inbox_push(&server_sender(c->req->server)->inbox, c);
	} else {
		inbox_push(&c->loop->inbox, c);
	}
}

static void run_on_pool(void *arg)
{
	struct http_conn *c = arg;

	c->req->on_pool = true;
	c->req->wants_worker = false;
	if (call_handler(c->req, c->req->match.route->handle))
		hand_back(c);
}

static void run_stream(void *arg)
{
	struct http_conn *c = arg;

	c->req->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); /* without one, it hears of it later */
	(void)call_handler(c->req, c->req->match.route->handle);
	crowd_leave(&c->req->server->crowd, c->req->gave_way);
	hand_back(c);
}

static bool submit(struct http_conn *c, struct pool *pool, pool_fn *run)
{
	c->state = CONN_AWAY;
	timer_clear(&c->timer);
	return pool_submit(pool, run, c) == 0;
}

static enum step not_submitted(struct http_conn *c)
{
	c->state = CONN_PARSE;
	c->req->close = true; /* it may not be watched any more */
	return refuse(c, 503, "The service has no memory left for this request.");
}

static enum step hand_to_pool(struct http_conn *c, struct pool *pool)
{
	return submit(c, pool, run_on_pool) ? STEP_WAIT : not_submitted(c);
}

static enum step hand_to_stream(struct http_conn *c)
{
	struct http_server *s = c->req->server;

	loop_unwatch(c->loop, c); /* or each segment of the body would wake the loop */
	crowd_enter(&s->crowd);
	if (submit(c, s->streams, run_stream))
		return STEP_WAIT;
	crowd_leave(&s->crowd, false);
	return not_submitted(c);
}

/* Suspended: it comes back by our inbox, which nobody reads but us. */
static enum step gone(struct http_conn *c)
{
	c->state = CONN_AWAY;
	timer_clear(&c->timer);
	return STEP_WAIT;
}

static enum step run_here(struct http_conn *c)
{
	struct http_request *req = c->req;

	if (!call_handler(req, req->match.route->handle))
		return gone(c);
	return req->wants_worker ? hand_to_pool(c, req->server->workers) : answered(c);
}

static enum step dispatch(struct http_conn *c)
{
	struct http_request *req = c->req;

	switch (req->match.route->run) {
	case HTTP_INLINE:
		return run_here(c);
	case HTTP_WORKER:
		return hand_to_pool(c, req->server->workers);
	case HTTP_FILE:
		return hand_to_pool(c, req->server->files);
	case HTTP_STREAM:
		break;
	}
	return hand_to_stream(c);
}

static enum step unknown_path(struct http_conn *c)
{
	struct http_request *req = c->req;

	if (req->server->config.not_found)
		(void)call_handler(req, req->server->config.not_found);
	else
		http_reply_error(req, 404, "There is nothing at this path.");
	return answered(c);
}

/* -- bodies read in whole -------------------------------------------------------------------------- */

/* Room for the next piece. It grows with what has come, not with what was announced. */
static char *body_room(struct http_request *req, size_t *ret_n)
{
	size_t n = req->body.len < BODY_PIECE ? BODY_PIECE : req->body.len;
	size_t allowed = req->server->config.max_body_bytes - req->body.len + 1; /* one more shows too many */

	if (n > BODY_PIECE_MAX)
		n = BODY_PIECE_MAX;
	if (n > allowed)
		n = allowed;
	if (!req->head.chunked && n > (uint64_t)req->body_left)
		n = (size_t)req->body_left;
	*ret_n = n;
	return buf_reserve(&req->body, n);
}

static enum step wait_for_body(struct http_conn *c)
{
	c->waits_since_us = c->loop->now_us;
	return STEP_WAIT;
}

static enum step body_came(struct http_conn *c, size_t n)
{
	struct http_request *req = c->req;

	req->body.len += n;
	req->body.data[req->body.len] = '\0';
	if (req->body.len > req->server->config.max_body_bytes)
		return refuse(c, 413, "The request body is too large.");
	if (req->body_done)
		return dispatch(c);
	loop_wait(c->loop, c, TIMEOUT_BODY);
	return STEP_ON;
}

static enum step read_body(struct http_conn *c)
{
	size_t n;
	char *room = body_room(c->req, &n);

	if (!room)
		return refuse(c, 503, "The service has no memory left for the request body.");
	switch (body_read(c->req, room, n, &n)) {
	case BODY_DATA:
		return body_came(c, n);
	case BODY_END:
		return dispatch(c);
	case BODY_WAIT:
		return wait_for_body(c);
	case BODY_BAD:
		return refuse(c, 400, "The chunks of the request body are broken.");
	case BODY_GONE:
		break;
	}
	return closed(c);
}

/* An event in the state BODY: the wait is over. */
static bool body_in_time(struct http_conn *c)
{
	int64_t waited_us = c->loop->now_us - c->waits_since_us;

	c->waits_since_us = c->loop->now_us;
	return pace_waited(&c->req->pace, &c->loop->server->pace_rule, waited_us);
}

static enum step begin_body(struct http_conn *c)
{
	struct http_request *req = c->req;

	if (req->body_left > 0 && (uint64_t)req->body_left > req->server->config.max_body_bytes)
		return refuse(c, 413, "The request body is too large.");
	if (!body_send_continue(req))
		return closed(c);
	c->state = CONN_BODY;
	c->waits_since_us = c->loop->now_us;
	loop_wait(c->loop, c, TIMEOUT_BODY);
	return STEP_ON;
}

/* -- who may ask ------------------------------------------------------------------------------------ */

static enum step admitted(struct http_conn *c)
{
	struct http_request *req = c->req;

	req->admitting = false;
	if (req->answered)
		return answered(c);
	if (req->match.route->run == HTTP_STREAM || req->body_done)
		return dispatch(c);
	return begin_body(c);
}

static enum step admit(struct http_conn *c)
{
	const struct http_config *config = &c->req->server->config;

	if (!config->admit || c->req->match.route->anybody)
		return admitted(c);
	c->req->admitting = true;
	return call_handler(c->req, config->admit) ? admitted(c) : gone(c);
}

/* -- heads ----------------------------------------------------------------------------------------- */

static enum step begin(struct http_conn *c)
{
	struct http_request *req = c->req;
	const char *text = NULL;
	int status;

	req->in_pos = req->head.size;
	req->begun_us = c->loop->now_us;
	if (req->head.chunked && !request_make_room(req, CHUNK_WINDOW))
		return refuse(c, 503, "The service has no memory left for this request.");
	status = request_begin(req, &text);
	if (status)
		return refuse(c, status, text);
	if (request_is_options(req)) {
		http_reply_empty(req, 200);
		return answered(c);
	}
	if (!req->match.route)
		return unknown_path(c);
	return admit(c);
}

static enum step parse_head(struct http_conn *c)
{
	const struct http_config *config = &c->loop->server->config;
	const struct head_limits limits = {config->max_header_bytes, config->max_headers};
	struct http_request *req = c->req;

	switch (head_parse(&req->head, req->in, req->in_len, &limits)) {
	case HEAD_DONE:
		return begin(c);
	case HEAD_REFUSED:
		return refuse(c, req->head.status, req->head.reason);
	case HEAD_MORE:
		break;
	}
	if (!req->head_begun)
		loop_wait(c->loop, c, TIMEOUT_HEAD); /* once: a trickle does not move it */
	req->head_begun = true;
	c->state = CONN_HEAD;
	return STEP_ON;
}

static enum step nothing_came(struct http_conn *c, ssize_t n)
{
	if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		return closed(c);
	if (errno == EINTR)
		return STEP_ON;
	c->readable = false;
	if (c->state == CONN_IDLE)
		release_request(c);
	return STEP_WAIT;
}

static enum step receive_head(struct http_conn *c)
{
	struct http_request *req;
	size_t room;
	ssize_t n;

	if (!c->readable)
		return STEP_WAIT;
	if (!c->req)
		c->req = loop_take_request(c->loop, c);
	req = c->req;
	if (!req || !request_make_room(req, 1))
		return closed(c);
	room = req->in_cap - req->in_len;
	n = channel_receive(&c->channel, req->in + req->in_len, room);
	if (n <= 0)
		return nothing_came(c, n);
	c->readable = channel_may_have_more(&c->channel, (size_t)n, room) || c->hung_up;
	req->in_len += (size_t)n;
	count_received(req->server, (size_t)n);
	c->state = CONN_PARSE;
	return STEP_ON;
}

/* -- greeting -------------------------------------------------------------------------------------- */

static enum step greet(struct http_conn *c)
{
	switch (channel_greet(&c->channel)) {
	case CHANNEL_READY:
		c->state = CONN_IDLE;
		c->readable = true; /* a request may have come along with the last of it */
		loop_wait(c->loop, c, TIMEOUT_IDLE);
		return STEP_ON;
	case CHANNEL_WAITS:
		return STEP_WAIT;
	case CHANNEL_FAILED:
		break;
	}
	return closed(c);
}

/* -- driving --------------------------------------------------------------------------------------- */

static enum step take_step(struct http_conn *c)
{
	switch (c->state) {
	case CONN_GREET:
		return greet(c);
	case CONN_IDLE:
	case CONN_HEAD:
		return receive_head(c);
	case CONN_PARSE:
		return parse_head(c);
	case CONN_BODY:
		return read_body(c);
	case CONN_SEND:
		return send_rest(c);
	case CONN_LINGER:
		return linger(c);
	case CONN_AWAY:
	case CONN_DEAD:
		break;
	}
	return STEP_WAIT;
}

static void go_on(struct http_conn *c, enum step step)
{
	for (unsigned i = 0; step == STEP_ON && i < MAX_STEPS; i++)
		step = take_step(c);
	if (step == STEP_ON)
		ready_push(&c->loop->ready, c);
}

void http_conn_run(struct http_conn *c)
{
	if (c->state == CONN_BODY && !body_in_time(c))
		go_on(c, refuse(c, 408, "The request body came too slowly."));
	else
		go_on(c, STEP_ON);
}

void http_conn_back(struct http_conn *c)
{
	http_resume_fn *resume = TAKE(c->req->resume);

	assert(c->state == CONN_AWAY);
	c->state = CONN_PARSE;
	if (resume)
		resume(c->req->resume_cls, c->req);
	c->req->broken |= c->req->body_to_come > 0; /* the client is to see that it is not all */
	if (c->cut || (!c->in_epoll && !loop_watch(c->loop, c)))
		http_conn_close(c);
	else
		go_on(c, c->req->admitting ? admitted(c) : answered(c));
}

void http_conn_expired(struct http_conn *c)
{
	switch (c->state) {
	case CONN_HEAD:
		go_on(c, refuse(c, 408, "The request head came too slowly."));
		break;
	case CONN_BODY:
		go_on(c, refuse(c, 408, "The request body came too slowly."));
		break;
	case CONN_SEND:
		reset(c);
		break;
	default:
		http_conn_close(c);
	}
}

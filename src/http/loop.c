/* SPDX-License-Identifier: Apache-2.0
 * http/loop.c -- the event loop: accepts, lets connections run, watches the clock.
 *
 * A round: events, those that came back, those whose time is up, those that had to let others go
 * first; then the dead are freed, so that nothing earlier in the round can meet a freed one. */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#define MAX_EVENTS 128
#define MAX_ACCEPTS 16 /* in a round; the other loops want some too */
#define MAX_SPARE 64
#define FULL_PAUSE_US 100000
#define FULL_TELL_US 10000000
#define LINGER_IDLE_US 2000000

/* -- what connections ask of their loop ------------------------------------------------------------ */

bool loop_watch(struct loop *l, struct http_conn *c)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};

	c->in_epoll = epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->channel.fd, &ev) == 0;
	return c->in_epoll;
}

void loop_unwatch(struct loop *l, struct http_conn *c)
{
	if (c->in_epoll)
		(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, c->channel.fd, NULL);
	c->in_epoll = false;
}

void loop_wait(struct loop *l, struct http_conn *c, enum timeout what)
{
	timer_set(&l->timeouts[what], &c->timer, l->now_us);
}

struct http_request *loop_take_request(struct loop *l, struct http_conn *c)
{
	struct http_request *req = l->spare;

	if (req) {
		l->spare = req->next;
		l->n_spare--;
	} else {
		req = request_new(l->server);
	}
	if (req)
		req->conn = c;
	return req;
}

void loop_give_request(struct loop *l, struct http_request *req)
{
	req->in_pos = req->in_len;
	if (l->n_spare == MAX_SPARE) {
		request_free(req);
		return;
	}
	request_reset(req);
	req->conn = NULL;
	req->next = l->spare;
	l->spare = req;
	l->n_spare++;
}

/* -- accepting ------------------------------------------------------------------------------------- */

static void watch_listeners(struct loop *l)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE};
	struct http_server *s = l->server;

	l->accepting = true;
	for (size_t i = 0; i < s->n_listeners; i++) {
		ev.data.ptr = &s->listeners[i];
		l->accepting &= epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->listeners[i].fd, &ev) == 0 || errno == EEXIST;
	}
}

static void pause_accepting(struct loop *l)
{
	for (size_t i = 0; l->accepting && i < l->server->n_listeners; i++)
		(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, l->server->listeners[i].fd, NULL);
	l->accepting = false;
	l->accept_again_us = l->now_us + FULL_PAUSE_US;
}

static void tell_full(struct loop *l, const char *why)
{
	if (l->now_us - l->told_full_us < FULL_TELL_US)
		return;
	l->told_full_us = l->now_us;
	log_warning(LOG_NAME, NULL, "no more connections are accepted for now: %s", why);
}

/* When one has closed, or after a while: what we ran out of may belong to others as well. */
static void resume_accepting(struct loop *l)
{
	bool has_room = atomic_load(&l->server->n_connections) < l->server->config.max_connections;

	if (!l->accepting && has_room && l->now_us >= l->accept_again_us &&
	    !atomic_load(&l->server->stopping))
		watch_listeners(l);
}

static void add_connection(struct loop *l, const struct listener *from, int fd, const struct sockaddr_storage *peer)
{
	if (http_conn_new(l, from, fd, peer))
		return;
	(void)close(fd);
	atomic_fetch_sub(&l->server->n_connections, 1);
}

/* False: no more for now. */
static bool accept_one(struct loop *l, const struct listener *from)
{
	struct http_server *s = l->server;
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(peer);
	int fd;

	if (atomic_fetch_add(&s->n_connections, 1) >= s->config.max_connections) {
		atomic_fetch_sub(&s->n_connections, 1);
		tell_full(l, "max_connections is reached");
		pause_accepting(l);
		return false;
	}
	fd = accept4(from->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		add_connection(l, from, fd, &peer);
		return true;
	}
	atomic_fetch_sub(&s->n_connections, 1);
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		tell_full(l, strerror(errno));
		pause_accepting(l);
	}
	return errno == ECONNABORTED || errno == EINTR;
}

static void accept_some(struct loop *l, const struct listener *from)
{
	for (unsigned i = 0; i < MAX_ACCEPTS && accept_one(l, from); i++)
		;
}

/* -- a round --------------------------------------------------------------------------------------- */

static void handle_event(struct http_conn *c, uint32_t events)
{
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->hung_up = true;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->readable = true;
	if ((events & EPOLLOUT) && c->state != CONN_AWAY && c->channel.waits_for_room)
		c->readable = true;
	/* In this order: while it is away, in_ready belongs to somebody else. */
	if (c->state != CONN_AWAY && !c->in_ready)
		http_conn_run(c);
}

static void take_inbox(struct loop *l)
{
	struct http_conn *next;

	for (struct http_conn *c = inbox_take(&l->inbox); c; c = next) {
		next = c->inbox_next;
		http_conn_back(c);
	}
}

static void expire(struct loop *l)
{
	struct timer *t;

	for (unsigned i = 0; i < N_TIMEOUTS; i++)
		while ((t = timer_due(&l->timeouts[i], l->now_us)))
			http_conn_expired(http_conn_of(t));
}

static void run_ready(struct loop *l)
{
	struct http_conn *next;

	for (struct http_conn *c = ready_take(&l->ready); c; c = next) {
		next = c->ready_next;
		c->in_ready = false;
		http_conn_run(c);
	}
}

static void bury(struct loop *l)
{
	struct http_conn *c;

	if (l->dead)
		ready_drop_dead(&l->ready); /* drain() closes some that have had their turn */
	while ((c = l->dead)) {
		l->dead = c->next;
		free(c);
	}
}

static void close_idle(struct loop *l)
{
	struct http_conn *next;

	for (struct http_conn *c = l->conns; c; c = next) {
		next = c->next;
		if (c->state == CONN_IDLE || c->state == CONN_GREET)
			http_conn_close(c);
	}
}

static void cut_all(struct loop *l)
{
	struct http_server *s = l->server;
	struct http_conn *next;

	if (!atomic_exchange(&s->cutting, true) && s->config.cutting)
		s->config.cutting(s->config.cls);
	for (struct http_conn *c = l->conns; c; c = next) {
		next = c->next;
		http_conn_cut(c);
	}
}

/* True when nothing is left to wait for. */
static bool drain(struct loop *l)
{
	if (l->accepting)
		pause_accepting(l);
	if (l->now_us >= atomic_load(&l->server->cut_at_us))
		cut_all(l);
	else
		close_idle(l);
	return !l->conns;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int next_timeout_ms(const struct loop *l)
{
	const struct timer *t;
	int64_t due_us = INT64_MAX, us;

	if (l->ready.first)
		return 0;
	for (unsigned i = 0; i < N_TIMEOUTS; i++)
		if ((t = timer_first(&l->timeouts[i])))
			due_us = earlier(due_us, t->due_us);
	if (atomic_load(&l->server->stopping)) {
		if (l->now_us < atomic_load(&l->server->cut_at_us))
			due_us = earlier(due_us, atomic_load(&l->server->cut_at_us));
	} else if (!l->accepting) {
		due_us = earlier(due_us, l->now_us + FULL_PAUSE_US);
	}
	if (due_us == INT64_MAX)
		return -1;
	us = due_us - clock_mono_us();
	return us > 0 ? (int)((us + 999) / 1000) : 0;
}

static bool is_listener(const struct loop *l, const void *what)
{
	const struct http_server *s = l->server;

	return (const char *)what >= (const char *)s->listeners &&
	       (const char *)what < (const char *)(s->listeners + s->n_listeners);
}

static void handle_events(struct loop *l, const struct epoll_event *events, int n)
{
	for (int i = 0; i < n; i++) {
		void *what = events[i].data.ptr;

		if (is_listener(l, what))
			accept_some(l, what);
		else if (what == &l->inbox)
			take_inbox(l);
		else
			handle_event(what, events[i].events);
	}
}

static void *run(void *arg)
{
	struct epoll_event events[MAX_EVENTS];
	struct loop *l = arg;
	bool done = false;
	int n;

	while (!done) {
		n = epoll_wait(l->epoll_fd, events, MAX_EVENTS, next_timeout_ms(l));
		l->now_us = clock_mono_us();
		handle_events(l, events, n);
		expire(l);
		run_ready(l);
		done = atomic_load(&l->server->stopping) && drain(l);
		bury(l);
		resume_accepting(l);
	}
	return NULL;
}

/* -- begin and end --------------------------------------------------------------------------------- */

static void init_timeouts(struct loop *l, const struct http_config *config)
{
	timer_list_init(&l->timeouts[TIMEOUT_IDLE], config->idle_timeout_us);
	timer_list_init(&l->timeouts[TIMEOUT_HEAD], config->header_timeout_us);
	timer_list_init(&l->timeouts[TIMEOUT_BODY], config->body_timeout_us);
	timer_list_init(&l->timeouts[TIMEOUT_ROOM], config->body_timeout_us);
	timer_list_init(&l->timeouts[TIMEOUT_LINGER], LINGER_IDLE_US);
}

int loop_init(struct loop *l, struct http_server *s, struct err *err)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &l->inbox};
	int r;

	l->server = s;
	l->told_full_us = -FULL_TELL_US;
	ready_init(&l->ready);
	init_timeouts(l, &s->config);
	r = inbox_init(&l->inbox, err);
	if (r < 0)
		return r;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0 || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->inbox.event_fd, &ev) < 0)
		return err_set(err, ERR_INTERNAL, "epoll: %s", strerror(errno));
	return 0;
}

int loop_start(struct loop *l, struct err *err)
{
	int r;

	l->now_us = clock_mono_us();
	watch_listeners(l);
	r = server_thread(&l->thread, "http-loop", run, l, err);
	l->has_thread = r == 0;
	return r;
}

void loop_done(struct loop *l)
{
	struct http_request *req;

	while ((req = l->spare)) {
		l->spare = req->next;
		request_free(req);
	}
	inbox_done(&l->inbox);
	close_fd_p(&l->epoll_fd);
}

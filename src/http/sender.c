/* SPDX-License-Identifier: Apache-2.0
 * http/sender.c -- sends files. A sender is an event loop that does nothing else, so when sendfile(2)
 * waits for a disk, only other files wait with it.
 *
 * (1) A job ends exactly once, in finish(): the descriptor is closed, the asker is told, the
 *     connection goes back to its loop.
 * (2) n_sent counts what the socket took. When the connection ends before everything is sent, what
 *     the client's side never acknowledged is taken off again: those octets did not go out. With TLS
 *     that includes what the encryption adds, 22 octets to 16 KiB: never more than was acknowledged is told.
 * (3) Whether a client is too slow is judged by what it acknowledges. A socket says that it has room
 *     only when a good part of what waits in it has gone, which says little about a slow client. */
#include "server.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/pool.h"

#define TURN_BYTES ((size_t)1 << 20) /* then the next connection has its turn */
#define MAX_EVENTS 64
/* How much the socket takes ahead of the network: enough to keep it busy until we wake up, not so much
 * that many slow clients fill the kernel's memory. What waits are references to the pages of the file, not
 * copies. Half of it, less than a turn, costs a third more processor time with a fast client. */
#define SEND_AHEAD_BYTES (1 << 20)

/* -- the end of a job ------------------------------------------------------------------------------ */

static void tell(void *arg)
{
	struct file_job *job = arg;

	job->sent(job->cls, job->n_sent, job->complete);
	free(job);
}

void sender_tell(struct http_server *server, struct file_job *job)
{
	if (!job->sent)
		free(job);
	else if (pool_submit(server->workers, tell, job) < 0)
		tell(job); /* without memory for a queue: late and here is better than never */
}

static int64_t acknowledged(const struct http_conn *c, int64_t n_sent)
{
	int64_t waiting = (int64_t)channel_waiting(&c->channel);

	return n_sent > waiting ? n_sent - waiting : 0;
}

static void unwatch(struct sender *s, struct http_conn *c)
{
	if (c->in_epoll)
		(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, c->channel.fd, NULL);
	c->in_epoll = false;
}

/* @broken: the connection can carry no more. Otherwise, if something is missing, it ends in order, so
 * that the client gets all there was. */
static void finish(struct sender *s, struct http_conn *c, bool broken)
{
	struct http_request *req = c->req;
	struct file_job *job = TAKE(req->file);

	timer_clear(&c->timer);
	unwatch(s, c);
	(void)close(job->fd);
	job->complete = !broken && job->n_sent == job->length;
	/* What a UNIX socket took is with the other side; and it counts its memory, not octets. */
	if (broken && !c->is_local)
		job->n_sent = acknowledged(c, job->n_sent);
	req->broken |= broken;
	req->close |= !job->complete;
	sender_tell(s->server, job);
	inbox_push(&c->loop->inbox, c); /* from here on it is not ours */
}

/* -- sending --------------------------------------------------------------------------------------- */

static void wait_for_room(struct sender *s, struct http_conn *c)
{
	struct epoll_event ev = {.events = EPOLLOUT | EPOLLET, .data.ptr = c};

	c->waits_since_us = s->now_us;
	c->req->file->n_acked = acknowledged(c, c->req->file->n_sent);
	timer_set(&s->timeouts, &c->timer, s->now_us);
	if (c->in_epoll)
		return; /* the next edge comes by itself */
	c->in_epoll = epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, c->channel.fd, &ev) == 0;
	if (!c->in_epoll)
		finish(s, c, true);
}

static void send_file(struct sender *s, struct http_conn *c)
{
	struct file_job *job = c->req->file;
	size_t left = TURN_BYTES;
	ssize_t n;

	while (left > 0 && job->n_sent < job->length) {
		if ((int64_t)left > job->length - job->n_sent)
			left = (size_t)(job->length - job->n_sent);
		n = channel_send_file(&c->channel, job->fd, job->offset + job->n_sent, left, s->piece);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			wait_for_room(s, c);
			return;
		}
		if (n <= 0) {
			finish(s, c, n < 0); /* 0: the file is shorter than was said */
			return;
		}
		job->n_sent += n;
		count_sent(s->server, (size_t)n);
		left -= (size_t)n;
	}
	if (job->n_sent == job->length)
		finish(s, c, false);
	else
		ready_push(&s->ready, c);
}

static void take_turn(struct sender *s, struct http_conn *c)
{
	timer_clear(&c->timer);
	switch (reply_flush(c->req, c->req->file->length ? MSG_MORE : 0)) {
	case FLUSH_DONE:
		send_file(s, c);
		return;
	case FLUSH_BLOCKED:
		wait_for_room(s, c);
		return;
	case FLUSH_BROKEN:
		finish(s, c, true);
	}
}

static void begin(struct sender *s, struct http_conn *c)
{
	int ahead = SEND_AHEAD_BYTES;

	(void)setsockopt(c->channel.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &ahead, sizeof(ahead));
	c->in_ready = false;
	c->req->pace = (struct pace){0};
	ready_push(&s->ready, c);
}

static bool in_time(struct sender *s, struct http_conn *c, int64_t n_moved)
{
	pace_moved(&c->req->pace, n_moved);
	return pace_waited(&c->req->pace, &s->server->pace_rule, s->now_us - c->waits_since_us);
}

static int64_t moved(const struct http_conn *c)
{
	const struct file_job *job = c->req->file;

	return acknowledged(c, job->n_sent) - job->n_acked;
}

static void handle_event(struct sender *s, struct http_conn *c)
{
	if (c->in_ready)
		return;
	timer_clear(&c->timer);
	if (in_time(s, c, moved(c)))
		ready_push(&s->ready, c);
	else
		finish(s, c, true);
}

/* There was no room for as long as there may be none. */
static void handle_timeout(struct sender *s, struct http_conn *c)
{
	int64_t n = moved(c);

	if (n > 0 && in_time(s, c, n))
		wait_for_room(s, c);
	else
		finish(s, c, true);
}

/* -- the loop -------------------------------------------------------------------------------------- */

static int next_timeout_ms(const struct sender *s)
{
	const struct timer *t = timer_first(&s->timeouts);
	int64_t us;

	if (s->ready.first)
		return 0;
	if (!t)
		return -1;
	us = t->due_us - clock_mono_us();
	return us > 0 ? (int)((us + 999) / 1000) : 0;
}

static void take_inbox(struct sender *s)
{
	struct http_conn *next;

	for (struct http_conn *c = inbox_take(&s->inbox); c; c = next) {
		next = c->inbox_next;
		begin(s, c);
	}
}

static void take_turns(struct sender *s)
{
	struct http_conn *next;

	for (struct http_conn *c = ready_take(&s->ready); c; c = next) {
		next = c->ready_next;
		c->in_ready = false;
		take_turn(s, c);
	}
}

static void expire(struct sender *s)
{
	struct timer *t;

	while ((t = timer_due(&s->timeouts, s->now_us)))
		handle_timeout(s, http_conn_of(t));
}

static void *run(void *arg)
{
	struct epoll_event events[MAX_EVENTS];
	struct sender *s = arg;
	int n;

	while (!atomic_load(&s->quit)) {
		n = epoll_wait(s->epoll_fd, events, MAX_EVENTS, next_timeout_ms(s));
		s->now_us = clock_mono_us();
		for (int i = 0; i < n; i++)
			if (events[i].data.ptr)
				handle_event(s, events[i].data.ptr);
			else
				take_inbox(s);
		expire(s);
		take_turns(s);
	}
	return NULL;
}

int sender_init(struct sender *s, struct http_server *server, struct err *err)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int r;

	s->server = server;
	ready_init(&s->ready);
	timer_list_init(&s->timeouts, server->config.body_timeout_us);
	r = inbox_init(&s->inbox, err);
	if (r < 0)
		return r;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0 || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->inbox.event_fd, &ev) < 0)
		return err_set(err, ERR_INTERNAL, "epoll: %s", strerror(errno));
	return 0;
}

int sender_start(struct sender *s, struct err *err)
{
	int r = server_thread(&s->thread, "http-send", run, s, err);

	s->has_thread = r == 0;
	return r;
}

void sender_stop(struct sender *s)
{
	if (!s->has_thread)
		return;
	atomic_store(&s->quit, true);
	inbox_wake(&s->inbox);
	(void)pthread_join(s->thread, NULL);
	s->has_thread = false;
}

void sender_done(struct sender *s)
{
	inbox_done(&s->inbox);
	close_fd_p(&s->epoll_fd);
}

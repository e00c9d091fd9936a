/* SPDX-License-Identifier: Apache-2.0
 * http/inbox.c -- how a connection gets from one thread to another. The eventfd is written only when
 * the inbox was empty, so a busy inbox costs its reader one wake-up for many connections. */
#include "server.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"

int inbox_init(struct inbox *b, struct err *err)
{
	b->first = NULL;
	b->last = &b->first;
	b->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->event_fd < 0)
		return err_set(err, ERR_INTERNAL, "eventfd: %s", strerror(errno));
	(void)pthread_mutex_init(&b->lock, NULL);
	return 0;
}

void inbox_done(struct inbox *b)
{
	if (b->event_fd < 0)
		return;
	(void)close(b->event_fd);
	(void)pthread_mutex_destroy(&b->lock);
	b->event_fd = -1;
}

void inbox_wake(struct inbox *b)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(b->event_fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

void inbox_push(struct inbox *b, struct http_conn *c)
{
	bool was_empty;

	c->inbox_next = NULL;
	(void)pthread_mutex_lock(&b->lock);
	was_empty = !b->first;
	*b->last = c;
	b->last = &c->inbox_next;
	/* Before anybody can take it: what we gave may have been the last that the reader waited for, and then
	 * the inbox goes. Writing to an eventfd never waits. */
	if (was_empty)
		inbox_wake(b);
	(void)pthread_mutex_unlock(&b->lock);
}

struct http_conn *inbox_take(struct inbox *b)
{
	struct http_conn *all;
	uint64_t n;

	while (read(b->event_fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
	(void)pthread_mutex_lock(&b->lock);
	all = b->first;
	b->first = NULL;
	b->last = &b->first;
	(void)pthread_mutex_unlock(&b->lock);
	return all;
}

void ready_init(struct ready_list *l)
{
	l->first = NULL;
	l->last = &l->first;
}

void ready_push(struct ready_list *l, struct http_conn *c)
{
	if (c->in_ready)
		return;
	c->in_ready = true;
	c->ready_next = NULL;
	*l->last = c;
	l->last = &c->ready_next;
}

void ready_drop_dead(struct ready_list *l)
{
	struct http_conn **at = &l->first;

	while (*at)
		if ((*at)->state == CONN_DEAD)
			*at = (*at)->ready_next;
		else
			at = &(*at)->ready_next;
	l->last = at;
}

struct http_conn *ready_take(struct ready_list *l)
{
	struct http_conn *all = l->first;

	ready_init(l);
	return all;
}

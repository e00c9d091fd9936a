/* SPDX-License-Identifier: Apache-2.0
 * http/crowd.c -- more uploads than threads: which of them gives way?
 *
 * A thread waits for its client as long as nobody else wants it. When somebody does, event_fd becomes
 * readable; whoever then finds that its own client is too slow asks to give way. As many may as others
 * wait, no more: a crowd of stalled uploads stops nobody, and a slow one in peace is left in peace. */
#include "server.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"

int crowd_init(struct crowd *c, unsigned n_threads, struct err *err)
{
	c->n_threads = n_threads;
	c->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->event_fd < 0)
		return err_set(err, ERR_INTERNAL, "eventfd: %s", strerror(errno));
	(void)pthread_mutex_init(&c->lock, NULL);
	return 0;
}

void crowd_done(struct crowd *c)
{
	if (c->event_fd < 0)
		return;
	close_fd_p(&c->event_fd);
	(void)pthread_mutex_destroy(&c->lock);
}

static bool is_wanted(const struct crowd *c)
{
	return c->n > c->n_threads + c->n_leaving;
}

/* Readable exactly while is_wanted(). Called with the lock held. */
static void show(struct crowd *c, bool before)
{
	uint64_t one = 1;

	if (is_wanted(c) == before)
		return;
	if (before)
		(void)!read(c->event_fd, &one, sizeof(one));
	else
		(void)!write(c->event_fd, &one, sizeof(one));
}

void crowd_enter(struct crowd *c)
{
	(void)pthread_mutex_lock(&c->lock);
	bool before = is_wanted(c);

	c->n++;
	show(c, before);
	(void)pthread_mutex_unlock(&c->lock);
}

void crowd_leave(struct crowd *c, bool gave_way)
{
	(void)pthread_mutex_lock(&c->lock);
	bool before = is_wanted(c);

	c->n--;
	c->n_leaving -= gave_way;
	show(c, before);
	(void)pthread_mutex_unlock(&c->lock);
}

bool crowd_give_way(struct crowd *c)
{
	(void)pthread_mutex_lock(&c->lock);
	bool before = is_wanted(c);

	c->n_leaving += before;
	show(c, before);
	(void)pthread_mutex_unlock(&c->lock);
	return before;
}

unsigned crowd_waiting(struct crowd *c)
{
	unsigned n;

	(void)pthread_mutex_lock(&c->lock);
	n = c->n > c->n_threads ? c->n - c->n_threads : 0;
	(void)pthread_mutex_unlock(&c->lock);
	return n;
}

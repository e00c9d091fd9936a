/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/resolve.c -- the addresses of a broker's name, by a deadline.
 *
 * getaddrinfo() takes as long as it likes, and nothing can interrupt it. So it is called on a thread
 * of its own, which may be left behind.
 *
 * (1) A question belongs to the resolver; from the moment it is abandoned it belongs to its thread.
 * (2) There is one thread for a name at the most, however often it is asked for: with a name service
 *     that never answers there are as many threads as brokers in the configuration, and no more. */
#include "resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/util.h"

#define SECOND INT64_C(1000000)
#define FRESH_US (30 * SECOND) /* how long an answer holds for which nobody has waited */

struct question {
	struct question *next;
	pthread_t thread;
	char *name;

	pthread_mutex_t lock; /* guards: */
	pthread_cond_t changed;
	bool answered, abandoned;
	int64_t answered_us;
	int status, error; /* of getaddrinfo(), and errno if that says so */
	struct addresses found;
};

/* -- asking -------------------------------------------------------------------------------------- */

static void question_free(struct question *q)
{
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
	free(q->name);
	free(q);
}

static void copy_addresses(const struct addrinfo *list, struct addresses *ret)
{
	for (; list && ret->n < ARRAY_LEN(ret->text); list = list->ai_next) {
		char *text = ret->text[ret->n];

		if (getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof(ret->text[0]), NULL, 0,
				NI_NUMERICHOST) == 0)
			ret->n++;
	}
}

static void *ask(void *arg)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
	struct question *q = arg;
	struct addrinfo *list = NULL;
	int status = getaddrinfo(q->name, NULL, &hints, &list), error = errno;
	bool abandoned;

	pthread_mutex_lock(&q->lock);
	if (status == 0) {
		copy_addresses(list, &q->found);
		freeaddrinfo(list);
	}
	q->status = status;
	q->error = error;
	q->answered = true;
	q->answered_us = clock_mono_us();
	abandoned = q->abandoned;
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
	if (abandoned)
		question_free(q);
	return NULL;
}

/* Signals are for others. */
static int start_thread(struct question *q)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(&q->thread, NULL, ask, q);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static int question_new(const char *name, struct question **ret, struct err *err)
{
	struct question *q = calloc(1, sizeof(*q));
	pthread_condattr_t attr;
	int rc;

	if (!q)
		return err_nomem(err);
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->changed, &attr);
	pthread_condattr_destroy(&attr);
	q->name = strdup(name);
	rc = q->name ? start_thread(q) : ENOMEM;
	if (rc != 0) {
		question_free(q);
		return err_set(err, ERR_UNAVAILABLE, "starting a thread: %s", strerror(rc));
	}
	*ret = q;
	return 0;
}

/* -- answers ------------------------------------------------------------------------------------- */

static bool wait_until(struct question *q, int64_t deadline_us)
{
	struct timespec at = {.tv_sec = deadline_us / SECOND, .tv_nsec = deadline_us % SECOND * 1000};
	bool answered;

	pthread_mutex_lock(&q->lock);
	while (!q->answered && clock_mono_us() < deadline_us)
		(void)pthread_cond_timedwait(&q->changed, &q->lock, &at);
	answered = q->answered;
	pthread_mutex_unlock(&q->lock);
	return answered;
}

/* Never waits for long: a thread that has answered is at its end. */
static void let_go(struct question *q)
{
	pthread_t thread = q->thread;
	bool answered;

	pthread_mutex_lock(&q->lock);
	answered = q->answered;
	q->abandoned = true;
	pthread_mutex_unlock(&q->lock); /* q is the thread's own from here on, unless that has answered */
	if (!answered) {
		pthread_detach(thread);
		return;
	}
	pthread_join(thread, NULL);
	question_free(q);
}

static int answer(const struct question *q, struct addresses *ret, struct err *err)
{
	if (q->status == EAI_SYSTEM)
		return err_set(err, ERR_UNAVAILABLE, "its name cannot be resolved: %s", strerror(q->error));
	if (q->status != 0)
		return err_set(err, ERR_UNAVAILABLE, "its name cannot be resolved: %s", gai_strerror(q->status));
	if (q->found.n == 0)
		return err_set(err, ERR_UNAVAILABLE, "its name cannot be resolved: it has no address");
	*ret = q->found;
	return 0;
}

static struct question **find(struct resolver *r, const char *name)
{
	struct question **at = &r->first;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static void forget(struct question **at)
{
	struct question *q = *at;

	*at = q->next;
	let_go(q);
}

static bool is_stale(struct question *q)
{
	bool stale;

	pthread_mutex_lock(&q->lock);
	stale = q->answered && clock_mono_us() - q->answered_us > FRESH_US;
	pthread_mutex_unlock(&q->lock);
	return stale;
}

static bool is_address(const char *name)
{
	unsigned char address[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

int resolver_ask(struct resolver *r, const char *name, int64_t deadline_us, struct addresses *ret,
		 struct err *err)
{
	struct question **at;
	int rc = 0;

	if (is_address(name)) {
		ret->n = 1;
		(void)snprintf(ret->text[0], sizeof(ret->text[0]), "%s", name);
		return 0;
	}
	at = find(r, name);
	if (*at && is_stale(*at)) {
		forget(at);
		at = find(r, name);
	}
	if (!*at)
		rc = question_new(name, at, err);
	if (rc < 0)
		return rc;
	if (!wait_until(*at, deadline_us))
		return err_set(err, ERR_UNAVAILABLE,
			       "its name cannot be resolved: the name service does not answer");
	rc = answer(*at, ret, err);
	forget(at);
	return rc;
}

void resolver_done(struct resolver *r)
{
	while (r->first)
		forget(&r->first);
}

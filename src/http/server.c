/* SPDX-License-Identifier: Apache-2.0
 * http/server.c -- puts the parts together: address, loops, senders, pools; starts and stops them. */
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/pool.h"
#include "tls.h"

#define MIN_SENDERS 4 /* they wait for disks, not for cores */
#define FILE_THREADS 16 /* to open is quick, or else is stuck */
#define MAX_TIMEOUT_US ((int64_t)24 * 3600 * 1000000)

/* -- addresses ------------------------------------------------------------------------------------- */

static int open_listeners(struct http_server *s, struct err *err)
{
	const char *const *more = s->config.also;
	size_t n = 1;
	int r;

	while (more && more[n - 1])
		n++;
	s->listeners = calloc(n, sizeof(*s->listeners));
	if (!s->listeners)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		r = listener_open(i == 0 ? s->config.listen : more[i - 1], s->config.unix_mode, &s->listeners[i], err);
		if (r < 0)
			return r;
		s->n_listeners++;
	}
	return 0;
}

const char *http_address(const struct http_server *s)
{
	return s->listeners[0].address;
}

const char *http_listens(const struct http_server *s, size_t i, const char **ret_scheme)
{
	if (i >= s->n_listeners)
		return NULL;
	*ret_scheme = s->listeners[i].is_local ? "" : s->tls ? "https://" : "http://";
	return s->listeners[i].address;
}

int http_check_proxies(const char *const *list, struct err *err)
{
	struct proxies p;
	int r = proxies_parse(list, &p, err);

	if (r == 0)
		proxies_done(&p);
	return r;
}

int http_check_tls(const struct http_tls *config, struct err *err)
{
	struct tls *t;
	int r = tls_new(config, &t, err);

	if (r == 0)
		tls_free(t);
	return r;
}

bool http_is_tls(const struct http_server *s)
{
	return s->tls;
}

int http_reload(struct http_server *s, struct err *err)
{
	return s->tls ? tls_reload(s->tls, err) : 0;
}

/* -- building -------------------------------------------------------------------------------------- */

static unsigned count_cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 && n < 1024 ? (unsigned)n : 1;
}

static int64_t or_default(int64_t value, int64_t fallback)
{
	return value > 0 ? value : fallback;
}

static int64_t timeout_or(int64_t value_us, int64_t fallback_us)
{
	int64_t us = or_default(value_us, fallback_us);

	return us < MAX_TIMEOUT_US ? us : MAX_TIMEOUT_US;
}

static void set_config(struct http_server *s, const struct http_config *given)
{
	struct http_config *c = &s->config;

	*c = *given;
	c->n_loops = (unsigned)or_default(c->n_loops, count_cores());
	c->unix_mode = c->unix_mode ? c->unix_mode : 0660;
	c->max_connections = (unsigned)or_default(c->max_connections, 16384);
	c->max_workers = (unsigned)or_default(c->max_workers, 32);
	c->max_streams = (unsigned)or_default(c->max_streams, 64);
	c->max_header_bytes = c->max_header_bytes ? c->max_header_bytes : 32768;
	c->max_headers = c->max_headers ? c->max_headers : 100;
	c->max_request_id_bytes = c->max_request_id_bytes ? c->max_request_id_bytes : 64;
	c->max_body_bytes = c->max_body_bytes < SIZE_MAX ? c->max_body_bytes : SIZE_MAX - 1;
	c->idle_timeout_us = timeout_or(c->idle_timeout_us, 60000000);
	c->header_timeout_us = timeout_or(c->header_timeout_us, 30000000);
	c->body_timeout_us = timeout_or(c->body_timeout_us, 60000000);
	c->crowded_timeout_us = timeout_or(c->crowded_timeout_us, 10000000);
	s->pace_rule = (struct pace_rule){c->body_timeout_us, c->min_rate_bytes};
	s->crowded_rule = (struct pace_rule){c->crowded_timeout_us, c->crowded_rate_bytes};
}

static int init_loops(struct http_server *s, struct err *err)
{
	int r = 0;

	s->loops = calloc(s->config.n_loops, sizeof(*s->loops));
	if (!s->loops)
		return err_nomem(err);
	for (; s->n_loops < s->config.n_loops && r == 0; s->n_loops++) {
		s->loops[s->n_loops].epoll_fd = s->loops[s->n_loops].inbox.event_fd = -1;
		r = loop_init(&s->loops[s->n_loops], s, err);
	}
	return r;
}

static int init_senders(struct http_server *s, struct err *err)
{
	unsigned n = s->config.n_loops > MIN_SENDERS ? s->config.n_loops : MIN_SENDERS;
	int r = 0;

	s->senders = calloc(n, sizeof(*s->senders));
	if (!s->senders)
		return err_nomem(err);
	for (; s->n_senders < n && r == 0; s->n_senders++) {
		s->senders[s->n_senders].epoll_fd = s->senders[s->n_senders].inbox.event_fd = -1;
		r = sender_init(&s->senders[s->n_senders], s, err);
	}
	return r;
}

static int init_parts(struct http_server *s, struct err *err)
{
	int r = router_new(s->config.routes, &s->router, err);

	if (r == 0)
		r = http_counters_init(s, err);
	if (r == 0)
		r = s->config.tls ? tls_new(s->config.tls, &s->tls, err) : 0;
	if (r == 0 && s->config.trusted_proxies)
		r = proxies_parse(s->config.trusted_proxies, &s->proxies, err);
	if (r == 0)
		r = open_listeners(s, err);
	if (r == 0)
		r = init_loops(s, err);
	if (r == 0)
		r = init_senders(s, err);
	if (r == 0)
		r = pool_new("http-work", s->config.max_workers, &s->workers, err);
	if (r == 0)
		r = pool_new("http-file", FILE_THREADS, &s->files, err);
	if (r == 0)
		r = pool_new("http-stream", s->config.max_streams, &s->streams, err);
	if (r == 0)
		r = crowd_init(&s->crowd, s->config.max_streams, err);
	return r;
}

int http_new(const struct http_config *config, struct http_server **ret, struct err *err)
{
	struct http_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_nomem(err);
	s->crowd.event_fd = -1;
	set_config(s, config);
	r = init_parts(s, err);
	if (r < 0) {
		http_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* -- running --------------------------------------------------------------------------------------- */

int server_thread(pthread_t *ret, const char *name, void *(*run)(void *), void *arg, struct err *err)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return err_set(err, ERR_INTERNAL, "starting a thread: %s", strerror(r));
	(void)pthread_setname_np(*ret, name);
	return 0;
}

struct sender *server_sender(struct http_server *s)
{
	return &s->senders[atomic_fetch_add(&s->next_sender, 1) % s->n_senders];
}

int http_start(struct http_server *s, struct err *err)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	int r = 0;

	/* sendfile(2) knows no MSG_NOSIGNAL. */
	(void)sigaction(SIGPIPE, &ignore, NULL);
	s->started = true;
	for (unsigned i = 0; i < s->n_senders && r == 0; i++)
		r = sender_start(&s->senders[i], err);
	for (unsigned i = 0; i < s->n_loops && r == 0; i++)
		r = loop_start(&s->loops[i], err);
	return r;
}

/* The loops end when their last connection has; then nobody gives the senders or the pools more
 * to do, and what they have left is short. */
void http_stop(struct http_server *s, int64_t timeout_us)
{
	if (!s->started || s->stopped)
		return;
	s->stopped = true;
	atomic_store(&s->cut_at_us, clock_mono_us() + timeout_us);
	atomic_store(&s->stopping, true);
	for (size_t i = 0; i < s->n_listeners; i++)
		listener_stop(&s->listeners[i]);
	for (unsigned i = 0; i < s->n_loops; i++)
		inbox_wake(&s->loops[i].inbox);
	for (unsigned i = 0; i < s->n_loops; i++)
		if (s->loops[i].has_thread)
			(void)pthread_join(s->loops[i].thread, NULL);
	for (unsigned i = 0; i < s->n_senders; i++)
		sender_stop(&s->senders[i]);
	pool_free(TAKE(s->streams));
	pool_free(TAKE(s->files));
	pool_free(TAKE(s->workers));
}

void http_free(struct http_server *s)
{
	if (!s)
		return;
	http_stop(s, 0);
	pool_free(s->streams);
	pool_free(s->files);
	pool_free(s->workers);
	crowd_done(&s->crowd);
	for (unsigned i = 0; i < s->n_loops; i++)
		loop_done(&s->loops[i]);
	for (unsigned i = 0; i < s->n_senders; i++)
		sender_done(&s->senders[i]);
	free(s->loops);
	free(s->senders);
	for (size_t i = 0; i < s->n_listeners; i++)
		listener_close(&s->listeners[i]);
	free(s->listeners);
	tls_free(s->tls);
	proxies_done(&s->proxies);
	router_free(s->router);
	free(s);
}

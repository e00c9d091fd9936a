/* SPDX-License-Identifier: Apache-2.0
 * cmd/serve.c -- `glint serve`: opens the parts, runs, drains, stops.
 *
 * Order of opening: metrics, lock, policy, database, store, notify, limits, service (which puts right what a crash left),
 * keystone, api, http. Stopping goes the other way: no new requests, running ones finish, the relays hand out what
 * there is, everything closes. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#if HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/metrics.h"
#include "cmd/cmd.h"
#include "db/db.h"

#define METRICS_DRAIN_US INT64_C(1000000)
#define RELAY_DRAIN_US (INT64_C(5) * 1000000)
#define GUARD_US (RELAY_DRAIN_US + INT64_C(5) * 1000000) /* beyond shutdown_timeout; what is not over then hangs */
#define OWN_DESCRIPTORS 64 /* database, log, brokers, loops */

static const char help[] =
	"usage: glint serve [--config-file FILE] [--data-dir DIR] [--listen HOST:PORT]\n"
	"\n"
	"Runs the service. Without a file, everything is in DIR (default ./glint-data) and it listens on\n"
	"127.0.0.1:9292 (--listen 127.0.0.1:0 takes any free port; the one taken is printed).\n"
	"\n"
	"SIGTERM and SIGINT stop it gracefully. SIGHUP reopens its log files and reads policy files and certificates\n"
	"again.\n";

/* A thread in a call to a store that hangs can be neither interrupted nor left behind, but by the end of the
 * process. That is no worse than a crash: what was under way the next start puts right, and what was
 * committed the relays have delivered meanwhile, or will. */
struct guard {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int64_t deadline_us; /* monotonic */
	bool over;
	bool started;
};

struct server {
	struct settings settings;
	struct metrics *metrics;
	int lock_fd;
	struct policy *policy;
	struct db *db;
	struct stores *stores;
	struct notify *notify;
	struct protections *protections; /* NULL: none */
	struct limits *limits; /* NULL: no unified limits */
	struct service *service;
	struct keystone *keystone; /* NULL: it is not asked */
	struct api *api;
	struct http_server *http;
	struct http_server *metrics_http; /* NULL: metrics are told beside the API */
	struct guard guard;               /* from the order to stop until nothing is open any more */
};

/* The file of the database, if it is one: sqlite:///PATH, sqlite+DIALECT:///PATH. Owned; links are followed,
 * because the database goes by the name that they lead to. */
static char *database_file(const char *url, bool *ret_is_file)
{
	size_t n = strcspn(url, "+:");
	const char *path = strstr(url, ":///");
	char *real;

	*ret_is_file = path && n == strlen("sqlite") && strncmp(url, "sqlite", n) == 0;
	if (!*ret_is_file)
		return NULL;
	path += strlen(":///");
	real = realpath(path, NULL);
	return real ? real : strdup(path); /* not there yet */
}

/* One process a database: a second one would take our running uploads for left-overs of a crash. */
int cmd_lock_database(const char *url, int *ret_fd, struct err *err)
{
	bool is_file;
	AUTO(free_p) char *file = database_file(url, &is_file);
	AUTO(free_p) char *path = NULL;
	AUTO(close_fd_p) int fd = -1;

	if (!is_file)
		return 0;
	if (!file || asprintf(&path, "%s.lock", file) < 0) {
		path = NULL;
		return err_nomem(err);
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return err_set(err, ERR_INVALID, "opening %s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, ERR_CONFLICT, "another glint serve is running on this database (%s is locked)",
			       path);
	*ret_fd = fd;
	fd = -1;
	return 0;
}

static int open_stores(struct server *s, struct err *err)
{
	struct settings *set = &s->settings;
	unsigned n;
	int r;

	(void)mkdir(set->staging.directory, 0700); /* nobody else's; what is wrong with it stores_open() says */
	r = stores_open(set->stores, set->n_stores, set->default_store, &set->staging, &s->stores, err);

	if (r < 0)
		return r;
	set->api.stores = s->stores;
	r = stores_sweep(s->stores, &n, err);
	if (r == 0 && n > 0)
		log_warning("glint.serve", NULL, "%u unfinished upload%s removed from the store", n,
			    n == 1 ? "" : "s");
	return r;
}

static bool read_one(void *cls, size_t row, int64_t *ret)
{
	*ret = 1;
	return true;
}

static int open_metrics(struct server *s, struct err *err)
{
	struct settings *set = &s->settings;
	const char *labels[1];
	const struct metric_spec version = {.name = "glint_build_info",
					    .help = "Which glint this is.",
					    .kind = METRIC_GAUGE,
					    .rows = {labels, 1},
					    .read = read_one};
	int r = metrics_new(&s->metrics, err);

	if (r < 0)
		return r;
	set->notify.metrics = set->service.metrics = set->http.metrics = s->metrics;
	if (set->metrics_http.listen)
		set->metrics_http.cls = s->metrics;
	else
		set->api.metrics = s->metrics;
	labels[0] = metrics_labels(s->metrics, NULL, "version", GLINT_VERSION);
	return metrics_register(s->metrics, &version, NULL, err);
}

static int open_policy(struct server *s, struct err *err)
{
	int r = policy_new(&s->settings.policy, &s->policy, err);

	s->settings.service.policy = s->policy;
	return r;
}

static rlim_t larger(rlim_t a, rlim_t b)
{
	return a > b ? a : b;
}

/* A connection may need a second descriptor, for the file it sends or receives, an upload that runs a third, by
 * which it is woken; and some are ours: so that no number of idle clients takes what the others' requests need. */
static void fit_descriptors(struct http_config *http)
{
	struct rlimit limit;
	rlim_t n;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return;
	n = larger(limit.rlim_cur, 2 * OWN_DESCRIPTORS) - OWN_DESCRIPTORS;
	n = n > http->max_streams ? larger((n - http->max_streams) / 2, n / 3) : n / 3;
	if (n >= http->max_connections)
		return;
	http->max_connections = (unsigned)n;
	log_info("glint.serve", NULL, "at most %u connections at a time: the limit of open files is %llu",
		 http->max_connections, (unsigned long long)limit.rlim_cur);
}

static int open_keystone(struct server *s, struct err *err)
{
	struct settings *set = &s->settings;
	int r;

	if (set->api.auth != AUTH_KEYSTONE)
		return 0;
	set->keystone.metrics = s->metrics;
	r = keystone_new(&set->keystone, &s->keystone, err);
	set->api.keystone = s->keystone;
	return r < 0 ? err_wrap(err, r, "[keystone_authtoken]") : 0;
}

static int open_limits(struct server *s, struct err *err)
{
	struct limit_settings *set = &s->settings.limits;
	int r = set->used ? limits_open(&set->config, &set->keystone, &s->limits, err) : 0;

	s->settings.service.unified = s->limits;
	return r < 0 ? r : limits_measure(s->limits, s->metrics, err);
}

static int open_listeners(struct server *s, struct err *err)
{
	struct settings *set = &s->settings;
	int r;

	set->http.cls = s->api;
	set->http.admit = api_admit;
	set->http.cutting = api_cutting;
	set->http.tls = set->tls.cert_file ? &set->tls : NULL; /* here, because settings may have moved */
	fit_descriptors(&set->http);
	r = http_new(&set->http, &s->http, err);
	if (r < 0 || !set->metrics_http.listen)
		return r;
	r = http_new(&set->metrics_http, &s->metrics_http, err);
	return r < 0 ? err_wrap(err, r, "[glint] metrics_listen") : 0;
}

static int open_protections(struct server *s, struct err *err)
{
	struct settings *set = &s->settings;
	int r;

	if (!set->protection.path)
		return 0;
	set->protection.cls = set->service.policy;
	r = protections_open(&set->protection, &s->protections, err);
	set->service.protections = set->api.protections = s->protections;
	return r < 0 ? err_wrap(err, r, "[DEFAULT] property_protection_file") : 0;
}

static int open_parts(struct server *s, struct err *err)
{
	struct settings *set = &s->settings;
	int r;

	if ((r = open_metrics(s, err)) < 0 || (r = settings_make_data_dir(set, err)) < 0 ||
	    (r = cmd_lock_database(set->database_url, &s->lock_fd, err)) < 0 || (r = open_policy(s, err)) < 0 ||
	    (r = db_open(set->database_url, &s->db, err)) < 0 ||
	    (r = db_watch(s->db, s->metrics, err)) < 0 ||
	    (r = db_keep_texts(s->db, set->image_cache_bytes, err)) < 0 || (r = open_stores(s, err)) < 0 ||
	    (r = notify_new(s->db, &set->notify, &s->notify, err)) < 0 ||
	    (r = open_protections(s, err)) < 0 ||
	    (r = open_limits(s, err)) < 0 ||
	    (r = service_new(s->db, s->stores, s->notify, &set->service, &s->service, err)) < 0 ||
	    (r = open_keystone(s, err)) < 0 || (r = api_new(s->service, &set->api, &s->api, err)) < 0)
		return r;
	return open_listeners(s, err);
}

static int start_parts(struct server *s, struct err *err)
{
	int r;

	if ((r = policy_start(s->policy, err)) < 0 || (r = notify_start(s->notify, err)) < 0 ||
	    (r = service_start(s->service, err)) < 0)
		return r;
	r = s->metrics_http ? http_start(s->metrics_http, err) : 0;
	return r < 0 ? r : http_start(s->http, err);
}

static void close_parts(struct server *s)
{
	http_free(s->metrics_http);
	http_free(s->http);
	keystone_free(s->keystone);
	api_free(s->api);
	service_free(s->service);
	protections_close(s->protections);
	limits_close(s->limits);
	notify_free(s->notify);
	stores_close(s->stores);
	db_close(s->db);
	policy_free(s->policy);
	metrics_free(s->metrics);
	close_fd_p(&s->lock_fd);
	log_close();
	settings_done(&s->settings);
}

static void announce(const struct server *s)
{
	const char *address, *scheme;

	if (s->metrics_http && (address = http_listens(s->metrics_http, 0, &scheme))) {
		fprintf(stderr, "metrics on %s%s/metrics\n", scheme, address);
		log_info("glint.serve", NULL, "metrics are on %s%s/metrics", scheme, address);
	}
	for (size_t i = 0; (address = http_listens(s->http, i, &scheme)); i++) {
		fprintf(stderr, "listening on %s%s\n", scheme, address);
		log_info("glint.serve", NULL, "glint %s listens on %s%s", GLINT_VERSION, scheme, address);
	}
#if HAVE_SYSTEMD
	sd_notify(0, "READY=1");
#endif
}

static void reload_certificate(struct server *s)
{
	struct err err = {0};

	if (!http_is_tls(s->http))
		return;
	if (http_reload(s->http, &err) < 0)
		log_error("glint.serve", NULL, "the certificate is not taken, the one from before stays: %s",
			  err_story(&err));
	else
		log_info("glint.serve", NULL, "the certificate was read anew from %s", s->settings.tls.cert_file);
}

/* Until a signal says stop. */
static void wait_for_stop(struct server *s, const sigset_t *signals)
{
	int sig;

	for (;;) {
		if (sigwait(signals, &sig) != 0)
			continue;
		if (sig != SIGHUP)
			break;
		log_reopen();
		notify_reopen(s->notify);
		if (s->protections)
			(void)protections_refresh(s->protections);
		policy_reload(s->policy);
		log_info("glint.serve", NULL, "log files reopened");
		reload_certificate(s);
	}
	log_info("glint.serve", NULL, "stopping: running requests finish first");
#if HAVE_SYSTEMD
	sd_notify(0, "STOPPING=1");
#endif
}

/* The signals are blocked before the first thread starts, so that only sigwait() gets them. */
static void block_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
	signal(SIGPIPE, SIG_IGN); /* a write tells */
	signal(SIGXFSZ, SIG_IGN); /* a file size limit is a full store */
}

/* The low default is for programs that use select(). */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void *guard_main(void *arg)
{
	struct guard *g = arg;
	struct timespec until = {g->deadline_us / 1000000, g->deadline_us % 1000000 * 1000};

	pthread_mutex_lock(&g->lock);
	while (!g->over && pthread_cond_timedwait(&g->changed, &g->lock, &until) != ETIMEDOUT)
		;
	if (!g->over) {
		log_error("glint.serve", NULL,
			  "a store does not come back: ending without it, the next start puts right what was under way");
		_exit(CMD_FAILED);
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

static void guard_start(struct guard *g, int64_t timeout_us)
{
	pthread_condattr_t attr;

	g->deadline_us = clock_mono_us() + timeout_us;
	pthread_mutex_init(&g->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->changed, &attr);
	pthread_condattr_destroy(&attr);
	g->started = pthread_create(&g->thread, NULL, guard_main, g) == 0; /* or else it takes its time */
}

static void guard_end(struct guard *g)
{
	if (!g->started)
		return;
	pthread_mutex_lock(&g->lock);
	g->over = true;
	pthread_cond_signal(&g->changed);
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->thread, NULL);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
}

/* Requests first, and what is left of the time for tasks. */
static void stop_work(struct server *s)
{
	int64_t deadline = clock_mono_us() + s->settings.shutdown_timeout_us, left;

	http_stop(s->http, s->settings.shutdown_timeout_us);
	left = deadline - clock_mono_us();
	service_stop(s->service, left > 0 ? left : 0);
}

static int run(struct server *s, struct err *err)
{
	sigset_t signals;
	int r;

	block_signals(&signals);
	raise_descriptors();
	r = log_open(s->settings.log_path, s->settings.debug ? LOG_DEBUG_ : LOG_INFO_, err);
	if (r < 0)
		return r;
	r = open_parts(s, err);
	if (r < 0)
		return r;
	r = start_parts(s, err);
	if (r < 0)
		return r;
	announce(s);
	wait_for_stop(s, &signals);
	guard_start(&s->guard, s->settings.shutdown_timeout_us + GUARD_US);
	stop_work(s);
	if (s->metrics_http) /* last, to be watched while it stops; but its gauges ask the relays */
		http_stop(s->metrics_http, METRICS_DRAIN_US);
	notify_stop(s->notify, RELAY_DRAIN_US);
	log_info("glint.serve", NULL, "stopped");
	return 0;
}

int cmd_serve(int argc, char **argv)
{
	struct server server = {.lock_fd = -1};
	struct location_args args = {0};
	struct err err = {0};
	const struct cmd_option options[] = {
		{"--config-file", NULL, &args.config_file, NULL},
		{"--data-dir", NULL, &args.data_dir, NULL},
		{"--listen", NULL, &args.listen, NULL},
		{0},
	};
	int n, r = cmd_parse(argc, argv, options, help, &n);

	if (r != CMD_OK)
		return r;
	if (n > 0)
		return cmd_usage("serve", "\"%s\" is one word too many", argv[1]);
	if (settings_load(&args, true, &server.settings, &err) < 0)
		return cmd_fail(&err);
	umask(027);
	r = run(&server, &err) < 0 ? cmd_fail(&err) : CMD_OK;
	close_parts(&server);
	guard_end(&server.guard);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * cmd/serve.c -- `glint serve`: opens the parts, runs, drains, stops.
 *
 * Order of opening: lock, database, store, notify, service (which puts right what a crash left), api,
 * http. Stopping goes the other way: no new requests, running ones finish, the relays hand out what
 * there is, everything closes. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#if HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/err.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "db/db.h"

#define RELAY_DRAIN_US (INT64_C(5) * 1000000)

static const char help[] =
	"usage: glint serve [--config-file FILE] [--data-dir DIR] [--listen HOST:PORT]\n"
	"\n"
	"Runs the service. Without a file, everything is in DIR (default ./glint-data) and it listens on\n"
	"127.0.0.1:9292 (--listen 127.0.0.1:0 takes any free port; the one taken is printed).\n"
	"\n"
	"SIGTERM and SIGINT stop it gracefully, SIGHUP reopens its log files.\n";

struct server {
	struct settings settings;
	int lock_fd;
	struct db *db;
	struct store *store;
	struct notify *notify;
	struct service *service;
	struct api *api;
	struct http_server *http;
};

/* One process a database: a second one would take our running uploads for left-overs of a crash. */
static int take_lock(struct server *s, struct err *err)
{
	static const char scheme[] = "sqlite:///";
	const char *url = s->settings.database_url;
	AUTO(free_p) char *path = NULL;

	if (strncmp(url, scheme, strlen(scheme)) != 0)
		return 0;
	if (asprintf(&path, "%s.lock", url + strlen(scheme)) < 0) {
		path = NULL;
		return err_nomem(err);
	}
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (s->lock_fd < 0)
		return err_set(err, ERR_INVALID, "opening %s: %s", path, strerror(errno));
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, ERR_CONFLICT, "another glint serve is running on this database (%s is locked)",
			       path);
	return 0;
}

static int open_store(struct server *s, struct err *err)
{
	unsigned n;
	int r = store_open(&s->settings.store, &s->store, err);

	if (r < 0)
		return r;
	r = store_sweep(s->store, &n, err);
	if (r == 0 && n > 0)
		log_warning("glint.serve", NULL, "%u unfinished upload%s removed from the store", n,
			    n == 1 ? "" : "s");
	return r;
}

static int open_parts(struct server *s, struct err *err)
{
	struct settings *set = &s->settings;
	int r;

	if ((r = settings_make_data_dir(set, err)) < 0 || (r = take_lock(s, err)) < 0 ||
	    (r = db_open(set->database_url, &s->db, err)) < 0 || (r = open_store(s, err)) < 0 ||
	    (r = notify_new(s->db, &set->notify, &s->notify, err)) < 0 ||
	    (r = service_new(s->db, s->store, s->notify, &set->service, &s->service, err)) < 0 ||
	    (r = api_new(s->service, &set->api, &s->api, err)) < 0)
		return r;
	set->http.cls = s->api;
	return http_new(&set->http, &s->http, err);
}

static int start_parts(struct server *s, struct err *err)
{
	int r;

	if ((r = notify_start(s->notify, err)) < 0 || (r = service_start(s->service, err)) < 0)
		return r;
	return http_start(s->http, err);
}

static void close_parts(struct server *s)
{
	http_free(s->http);
	api_free(s->api);
	service_free(s->service);
	notify_free(s->notify);
	store_close(s->store);
	db_close(s->db);
	close_fd_p(&s->lock_fd);
	log_close();
	settings_done(&s->settings);
}

static void announce(const struct server *s)
{
	fprintf(stderr, "listening on http://%s\n", http_address(s->http));
	log_info("glint.serve", NULL, "glint %s listens on http://%s", GLINT_VERSION, http_address(s->http));
#if HAVE_SYSTEMD
	sd_notify(0, "READY=1");
#endif
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
		log_info("glint.serve", NULL, "log files reopened");
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

static int run(struct server *s, struct err *err)
{
	sigset_t signals;
	int r;

	block_signals(&signals);
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
	http_stop(s->http, s->settings.shutdown_timeout_us);
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
	return r;
}

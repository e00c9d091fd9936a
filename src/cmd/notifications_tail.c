/* SPDX-License-Identifier: Apache-2.0
 * cmd/notifications_tail.c -- the journal, for people or as JSON lines. Following waits for the
 * database's files to change (inotify) and looks by itself now and then. */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/jsonw.h"
#include "cmd/notifications.h"
#include "notify/message.h"

#define BATCH 500
#define LOOK_MS 1000

struct tail {
	bool json, colour;
	int64_t offset; /* of the last one printed */
	int64_t n;      /* in this batch */
};

/* -- one event ------------------------------------------------------------------------------------ */

static void put_text(struct jsonw *w, const char *key, const char *value)
{
	jsonw_key(w, key);
	jsonw_str(w, value);
}

static void event_json(struct buf *out, const struct db_event *e)
{
	struct jsonw w = jsonw_to(out);
	char time[CLOCK_TEXT_MAX];

	jsonw_object(&w);
	jsonw_key(&w, "offset");
	jsonw_int(&w, e->offset);
	put_text(&w, "subject", e->subject);
	jsonw_key(&w, "seq");
	jsonw_int(&w, e->seq);
	put_text(&w, "message_id", e->message_id);
	put_text(&w, "event_type", e->event_type);
	put_text(&w, "priority", event_priority_name(e->priority));
	put_text(&w, "timestamp", clock_python(e->timestamp, time));
	jsonw_key(&w, "payload");
	jsonw_raw(&w, e->payload, strlen(e->payload));
	put_text(&w, "request_id", e->request_id);
	put_text(&w, "user_id", e->user_id);
	put_text(&w, "project_id", e->project_id);
	jsonw_object_end(&w);
	buf_addc(out, '\n');
}

static void event_text(struct buf *out, const struct tail *t, const struct db_event *e)
{
	char time[CLOCK_TEXT_MAX];
	json_t *payload = json_loads(e->payload, JSON_DECODE_ANY, NULL);
	const struct notification_line line = {
		.number = e->offset, .when = time, .priority = event_priority_name(e->priority),
		.event_type = e->event_type, .subject = e->subject, .payload = payload};

	clock_python(e->timestamp, time);
	time[strlen("2026-11-22 19:09:30")] = '\0';
	notification_add_line(out, &line, t->colour);
	json_decref(payload);
}

static int print_event(void *cls, const struct db_event *e, struct err *err)
{
	AUTO(buf_done) struct buf line = {0};
	struct tail *t = cls;

	if (t->json)
		event_json(&line, e);
	else
		event_text(&line, t, e);
	if (line.failed)
		return err_nomem(err);
	if (fwrite(line.data, 1, line.len, stdout) != line.len)
		return err_set(err, ERR_INTERNAL, "writing: %s", strerror(errno));
	t->offset = e->offset;
	t->n++;
	return 0;
}

/* -- the journal ---------------------------------------------------------------------------------- */

static int print_new(struct db *db, struct tail *t, struct err *err)
{
	do {
		AUTO(db_abort_p) struct db_tx *tx = NULL;
		int r = db_begin(db, DB_READ, &tx, err);

		if (r < 0)
			return r;
		t->n = 0;
		r = db_event_read(tx, t->offset, BATCH, print_event, t, err);
		if (r < 0)
			return r;
	} while (t->n == BATCH);
	if (fflush(stdout) != 0)
		return err_set(err, ERR_INTERNAL, "writing: %s", strerror(errno));
	return 0;
}

/* Offsets may have gaps only where transactions failed, so counting back from the end is right up to
 * those, and never prints fewer than there are. */
static int start_offset(struct db *db, const struct tail_options *options, int64_t *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct db_journal journal;
	int r;

	r = db_begin(db, DB_READ, &tx, err);
	if (r < 0)
		return r;
	r = db_journal(tx, &journal, err);
	if (r < 0)
		return r;
	if (options->from >= 0)
		*ret = options->from - 1;
	else if (options->last < 0 || options->last > journal.last_ever)
		*ret = 0;
	else
		*ret = journal.last_ever - options->last;
	return 0;
}

/* Watches the directory of a SQLite database; -1 where there is nothing to watch. */
static int watch(const char *url)
{
	static const char scheme[] = "sqlite:///";
	char directory[4096];
	const char *slash;
	int fd;

	if (strncmp(url, scheme, strlen(scheme)) != 0)
		return -1;
	url += strlen(scheme);
	slash = strrchr(url, '/');
	snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - url) + 1 : 1, slash ? url : ".");
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd >= 0 && inotify_add_watch(fd, directory, IN_MODIFY | IN_CREATE) < 0)
		close_fd_p(&fd);
	return fd;
}

static void wait_for_change(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char events[4096];

	(void)poll(&p, 1, LOOK_MS);
	while (fd >= 0 && read(fd, events, sizeof(events)) > 0)
		;
}

int notifications_tail(struct db *db, const struct tail_options *options, struct err *err)
{
	struct tail t = {.json = options->json, .colour = isatty(STDOUT_FILENO)};
	AUTO(close_fd_p) int fd = options->follow ? watch(options->database_url) : -1;
	int r;

	r = start_offset(db, options, &t.offset, err);
	while (r == 0) {
		r = print_new(db, &t, err);
		if (r < 0 || !options->follow)
			break;
		wait_for_change(fd);
	}
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * cmd/notifications.c -- `glint notifications status | tail | replay | listen`. */
#include "cmd/notifications.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "notify/notify.h"

static const char help[] =
	"usage: glint notifications status [--json]\n"
	"       glint notifications tail [-f] [-n N|all] [--from OFFSET] [--json]\n"
	"       glint notifications replay --since TIME | --from OFFSET [--to OFFSET] [--driver NAME]\n"
	"       glint notifications listen [--transport-url URL] [--topic TOPIC] [--pool NAME] [-n N] [--json]\n"
	"       each with [--config-file FILE] [--data-dir DIR]\n"
	"\n"
	"  status    what the journal holds; how far each driver is, how far behind, and why\n"
	"  tail      the newest N (10) notifications of the journal; -f goes on with what comes\n"
	"  replay    hand out again, with the same message_id, what the journal has since TIME (UTC,\n"
	"            2026-11-22T19:30:00) or from OFFSET on, to every driver or to one. The running\n"
	"            service does it, at once; otherwise the next one that starts\n"
	"  listen    what is on the message queue, until Ctrl-C or for N messages. Takes it from the queues that\n"
	"            all listeners share; with --pool it gets copies, in a queue NAME that stays behind and\n"
	"            fills: delete it when it is not needed any more\n";

struct words {
	struct location_args where;
	const char *last, *from, *to, *since, *driver, *transport_url, *topic, *pool;
	bool follow, json;
};

/* -1 if it was not given. */
static bool parse_offset(const char *text, int64_t *ret)
{
	*ret = -1;
	return !text || cmd_number(text, 0, ret);
}

/* -- replay --------------------------------------------------------------------------------------- */

static int replay_range(struct db *db, const struct words *w, int64_t *ret_from, int64_t *ret_to,
			struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct db_journal journal;
	int64_t when;
	int r;

	r = db_begin(db, DB_READ, &tx, err);
	if (r < 0)
		return r;
	r = db_journal(tx, &journal, err);
	if (r < 0)
		return r;
	if (!parse_offset(w->from, ret_from) || !parse_offset(w->to, ret_to))
		return err_set(err, ERR_INVALID, "--from and --to take offsets, whole numbers");
	if (*ret_to < 0 || *ret_to > journal.last_ever)
		*ret_to = journal.last_ever;
	if (!w->since)
		return 0;
	if (!clock_parse(w->since, &when))
		return err_set(err, ERR_INVALID, "--since takes a time as 2026-11-22T19:30:00, in UTC");
	return db_event_find(tx, when, ret_from, err);
}

static int replay(struct db *db, const struct words *w, struct err *err)
{
	int64_t from, to, n = 0;
	int r;

	if (!w->since == !w->from)
		return err_set(err, ERR_INVALID, "replay wants one of --since and --from");
	r = replay_range(db, w, &from, &to, err);
	if (r < 0)
		return r;
	if (from <= to) {
		r = notify_replay(db, w->driver, from, to, &n, err);
		if (r < 0)
			return r;
	}
	printf("%lld notification%s will be handed out again\n", (long long)n, n == 1 ? "" : "s");
	return 0;
}

/* -- the words ------------------------------------------------------------------------------------ */

static int tail(struct db *db, const struct words *w, const char *url, struct err *err)
{
	struct tail_options options = {.last = 10, .follow = w->follow, .json = w->json, .database_url = url};

	if (w->last && strcmp(w->last, "all") == 0)
		options.last = -1;
	else if (w->last && !cmd_number(w->last, 0, &options.last))
		return err_set(err, ERR_INVALID, "-n takes a whole number or \"all\"");
	if (!parse_offset(w->from, &options.from))
		return err_set(err, ERR_INVALID, "--from takes an offset, a whole number");
	return notifications_tail(db, &options, err);
}

static int listen_to(struct settings *settings, const struct words *w, struct err *err)
{
	struct listen_options options = {
		.transport_url = w->transport_url, .topic = w->topic, .pool = w->pool, .count = -1, .json = w->json};

	if (w->last && !cmd_number(w->last, 1, &options.count))
		return err_set(err, ERR_INVALID, "-n takes a whole number");
	return notifications_listen(settings, &options, err);
}

static int run_on(struct db *db, const char *what, const struct words *w, const char *url, struct err *err)
{
	if (strcmp(what, "status") == 0)
		return notifications_status(db, w->json, err);
	if (strcmp(what, "tail") == 0)
		return tail(db, w, url, err);
	return replay(db, w, err);
}

static int open_database_and_run(const char *what, const struct words *w, struct settings *settings, struct err *err)
{
	struct db *db = NULL;
	int r = settings_require_database(settings, err);

	if (r == 0)
		r = db_open(settings->database_url, &db, err);
	if (r == 0)
		r = run_on(db, what, w, settings->database_url, err);
	db_close(db);
	return r;
}

static int open_and_run(const char *what, const struct words *w, struct err *err)
{
	struct settings settings;
	int r = settings_load(&w->where, false, &settings, err);

	if (r < 0)
		return r;
	if (strcmp(what, "listen") == 0)
		r = listen_to(&settings, w, err);
	else
		r = open_database_and_run(what, w, &settings, err);
	settings_done(&settings);
	return r;
}

static bool is_known(const char *what)
{
	static const char *const words[] = {"status", "tail", "replay", "listen"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(words[i], what) == 0)
			return true;
	}
	return false;
}

int cmd_notifications(int argc, char **argv)
{
	struct words w = {0};
	struct err err = {0};
	const struct cmd_option options[] = {
		{"--config-file", NULL, &w.where.config_file, NULL},
		{"--data-dir", NULL, &w.where.data_dir, NULL},
		{"--follow", "-f", NULL, &w.follow},
		{"--lines", "-n", &w.last, NULL},
		{"--json", NULL, NULL, &w.json},
		{"--since", NULL, &w.since, NULL},
		{"--from", NULL, &w.from, NULL},
		{"--to", NULL, &w.to, NULL},
		{"--driver", NULL, &w.driver, NULL},
		{"--transport-url", NULL, &w.transport_url, NULL},
		{"--topic", NULL, &w.topic, NULL},
		{"--pool", NULL, &w.pool, NULL},
		{0},
	};
	int n, r = cmd_parse(argc, argv, options, help, &n);

	if (r != CMD_OK)
		return r;
	if (n != 1 || !is_known(argv[1]))
		return cmd_usage("notifications", "one of status, tail, replay, listen is wanted");
	return open_and_run(argv[1], &w, &err) < 0 ? cmd_fail(&err) : CMD_OK;
}

/* SPDX-License-Identifier: Apache-2.0
 * cmd/database_usage.c -- `glint db usage`: what each project has, and the triggers that keep it. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cmd/cmd.h"
#include "db/db.h"

struct report {
	bool only_wrong;
	int n_wrong;
};

static void print_row(const char *owner, const struct db_usage *u, const char *remark)
{
	printf("%-40s %16lld %16lld %8lld %9lld%s\n", *owner ? owner : "-", (long long)u->stored_octets,
	       (long long)u->staged_octets, (long long)u->n_images, (long long)u->n_uploading, remark);
}

static int report_row(void *cls, const char *owner, const struct db_usage *kept, const struct db_usage *counted,
		      struct err *err)
{
	struct report *report = cls;
	bool wrong = memcmp(kept, counted, sizeof(*kept)) != 0;

	report->n_wrong += wrong;
	if (report->only_wrong && !wrong)
		return 0;
	print_row(owner, kept, "");
	if (wrong)
		print_row(owner, counted, "  if counted");
	return 0;
}

static int print_usage(struct db *db, bool only_wrong, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct report report = {.only_wrong = only_wrong};
	int r = db_begin(db, DB_READ, &tx, err);

	if (r < 0)
		return r;
	printf("%-40s %16s %16s %8s %9s\n", "project", "stored", "staged", "images", "uploading");
	r = db_usage_compare(tx, report_row, &report, err);
	if (r < 0 || !only_wrong || report.n_wrong == 0)
		return r;
	return err_set(err, ERR_CONFLICT, "what is kept of %d project%s is not what a count says; see glint db usage --on",
		       report.n_wrong, report.n_wrong == 1 ? "" : "s");
}

/* Not while a service counts on it. */
static int switch_usage(struct db *db, const char *url, bool on, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	AUTO(close_fd_p) int lock = -1;
	bool counted;
	int r = cmd_lock_database(url, &lock, err);

	if (r == 0)
		r = db_begin(db, DB_WRITE, &tx, err);
	if (r == 0)
		r = db_usage_keep(tx, on ? DB_USAGE_AGAIN : DB_USAGE_OFF, &counted, err);
	if (r == 0)
		r = db_commit(&tx, err);
	if (r == 0)
		puts(on ? "The usage of all projects has been counted, and is kept." :
			  "The usage of projects is not kept any more, until the next glint serve.");
	return r;
}

int cmd_db_usage(struct db *db, const char *url, const struct usage_args *args, struct err *err)
{
	if (args->on || args->off)
		return switch_usage(db, url, args->on, err);
	return print_usage(db, args->check, err);
}

/* SPDX-License-Identifier: Apache-2.0
 * cmd/database.c -- `glint db sync | check | version | purge | usage`. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "db/db.h"

#define DAY_US (INT64_C(86400) * 1000000)
#define PURGE_BATCH 1000 /* rows a transaction, so that a running service hardly notices */

static const char help[] =
	"usage: glint db sync | check | version | purge | usage [--config-file FILE] [--data-dir DIR]\n"
	"\n"
	"  sync      make the tables that are missing (serve does it by itself)\n"
	"  check     say whether the service can work with the database\n"
	"  version   print the versions of Glance's tables and of glint's own\n"
	"  purge     remove what was deleted more than --age-in-days (30) days ago: properties, tags,\n"
	"            members and locations, at most --max-rows (100; -1: all) of them. The rows of the\n"
	"            images themselves stay, so that no id is ever given out again\n"
	"  usage     print what each project has; with --check only what is not what a count of all images\n"
	"            says. --off takes away what keeps it, for when Glance upgrades the database; --on counts\n"
	"            again and goes on keeping it, as the next serve does by itself\n";

static int print_version(struct db *db, const char *format, struct err *err)
{
	struct db_version version;
	int r = db_version(db, &version, err);

	if (r == 0)
		printf(format, version.images, version.glint);
	return r;
}

static int purge_some(struct db *db, int64_t older_than, int64_t max, int64_t *ret_n, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r;

	r = db_begin(db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	r = db_purge(tx, older_than, max, ret_n, err);
	if (r < 0)
		return r;
	return db_commit(&tx, err);
}

static int purge(struct db *db, int64_t days, int64_t max, struct err *err)
{
	int64_t older_than = clock_now_us() - days * DAY_US, total = 0, n = 0;

	do {
		int64_t batch = max < 0 || max - total > PURGE_BATCH ? PURGE_BATCH : max - total;
		int r = purge_some(db, older_than, batch, &n, err);

		if (r < 0)
			return r;
		total += n;
	} while (n > 0 && (max < 0 || total < max));
	printf("%lld row%s removed\n", (long long)total, total == 1 ? "" : "s");
	return 0;
}

/* What a word is told by its options. */
struct db_args {
	int64_t days, max; /* purge */
	struct usage_args usage;
};

static int run_on(struct db *db, const char *url, const char *what, const struct db_args *args, struct err *err)
{
	if (strcmp(what, "purge") == 0)
		return purge(db, args->days, args->max, err);
	if (strcmp(what, "usage") == 0)
		return cmd_db_usage(db, url, &args->usage, err);
	if (strcmp(what, "version") == 0)
		return print_version(db, "images %s\nglint %d\n", err);
	return print_version(db, "The database is good: images %s, glint %d.\n", err);
}

static bool is_one_of(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(word, *words) == 0)
			return true;
	return false;
}

/* @max: "-1" means all. */
static bool parse_purge(const char *age, const char *rows, int64_t *ret_days, int64_t *ret_max)
{
	if (!cmd_number(age, 0, ret_days) || *ret_days > 36500)
		return false;
	if (strcmp(rows, "-1") == 0) {
		*ret_max = -1;
		return true;
	}
	return cmd_number(rows, 1, ret_max);
}

static int open_and_run(const struct location_args *args, const char *what, const struct db_args *db_args,
			struct err *err)
{
	struct settings settings;
	struct db *db = NULL;
	int r = settings_load(args, true, &settings, err);

	if (r < 0)
		return r;
	if (strcmp(what, "sync") == 0)
		r = settings_make_data_dir(&settings, err);
	else
		r = settings_require_database(&settings, err);
	if (r == 0)
		r = db_open(settings.database_url, &db, err);
	if (r == 0)
		r = run_on(db, settings.database_url, what, db_args, err);
	db_close(db);
	settings_done(&settings);
	return r;
}

int cmd_db(int argc, char **argv)
{
	static const char *const words[] = {"sync", "check", "version", "purge", "usage", NULL};
	struct location_args args = {0};
	const char *age = "30", *rows = "100";
	struct err err = {0};
	struct db_args db_args = {0};
	struct usage_args *usage = &db_args.usage;
	const struct cmd_option options[] = {
		{"--config-file", NULL, &args.config_file, NULL},
		{"--data-dir", NULL, &args.data_dir, NULL},
		{"--age-in-days", "--age_in_days", &age, NULL},
		{"--max-rows", "--max_rows", &rows, NULL},
		{"--on", NULL, NULL, &usage->on},
		{"--off", NULL, NULL, &usage->off},
		{"--check", NULL, NULL, &usage->check},
		{0},
	};
	int n, r = cmd_parse(argc, argv, options, help, &n);

	if (r != CMD_OK)
		return r;
	if (n != 1 || !is_one_of(argv[1], words))
		return cmd_usage("db", "one of sync, check, version, purge, usage is wanted");
	if (usage->on + usage->off + usage->check > (strcmp(argv[1], "usage") == 0))
		return cmd_usage("db", "one of --on, --off, --check goes with usage");
	if (!parse_purge(age, rows, &db_args.days, &db_args.max))
		return cmd_usage("db", "--age-in-days and --max-rows take whole numbers");
	return open_and_run(&args, argv[1], &db_args, &err) < 0 ? cmd_fail(&err) : CMD_OK;
}

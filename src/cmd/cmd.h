/* SPDX-License-Identifier: Apache-2.0
 * cmd/cmd.h -- the subcommands. Each gets its own words, argv[0] being its name, and returns the exit
 * status: 0, 1 when it failed, 2 when it was called wrongly. */
#pragma once

#include "cmd/settings.h"

int cmd_serve(int argc, char **argv);
int cmd_db(int argc, char **argv);
int cmd_notifications(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_policy(int argc, char **argv);

struct db;

/* `glint db usage`; at most one of them is set. */
struct usage_args {
	bool on, off, check;
};
int cmd_db_usage(struct db *db, const char *url, const struct usage_args *args, struct err *err);

/* For as long as *ret_fd is open nobody else serves from the database @url. ERR_CONFLICT: somebody does. */
int cmd_lock_database(const char *url, int *ret_fd, struct err *err);

enum cmd_exit { CMD_OK = 0, CMD_FAILED = 1, CMD_USAGE = 2 };

/* "glint: text" on standard error; returns CMD_FAILED. */
int cmd_fail(const struct err *err);
/* "glint: text, see `glint NAME --help`"; returns CMD_USAGE. */
int cmd_usage(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* One option of a command line: "--name VALUE", "--name=VALUE" or, without @value, a flag. */
struct cmd_option {
	const char *name;   /* with its dashes */
	const char *alias;  /* another spelling; NULL: none */
	const char **value; /* where its value goes */
	bool *flag;         /* or: set to true */
};

/* Reads argv[1...]; words without a dash are left at the front of argv (from argv[1] on), *ret_n of
 * them. @options ends with a NULL name. CMD_OK or CMD_USAGE (told). "--help" prints @help and exits. */
int cmd_parse(int argc, char **argv, const struct cmd_option *options, const char *help, int *ret_n);
/* A whole number from @min on; false if it is anything else. */
bool cmd_number(const char *text, int64_t min, int64_t *ret);

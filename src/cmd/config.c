/* SPDX-License-Identifier: Apache-2.0
 * cmd/config.c -- `glint config check`: what serve would say of the configuration, without serving. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cmd/cmd.h"

static const char help[] =
	"usage: glint config check [--config-file FILE] [--data-dir DIR]\n"
	"\n"
	"Reads the configuration as `glint serve` would. Prints a warning for every option that is not\n"
	"known, with its line, and the first error. Exit status: 0 if the service would start with it.\n";

static void print_drivers(const struct settings *s)
{
	printf("  notifications  ");
	if (s->notify.n_drivers == 0)
		printf("none");
	for (size_t i = 0; i < s->notify.n_drivers; i++)
		printf("%s%s", i ? ", " : "", s->notify.drivers[i]);
	printf("%s%s\n", s->log_path ? " -> " : "", s->log_path ? s->log_path : "");
}

static void print_summary(const struct settings *s, const char *file)
{
	printf("%s: good, %u warning%s\n", file ? file : "defaults", s->n_warnings, s->n_warnings == 1 ? "" : "s");
	printf("  listen         %s\n", s->listen);
	printf("  identity       %s\n",
	       s->api.auth == AUTH_TRUSTED ? "headers set by a proxy (trusted-auth)" : "none: everybody is admin");
	printf("  database       %s\n", s->database_url);
	for (size_t i = 0; i < s->n_stores; i++)
		printf("  images         %s%s%s\n", s->stores[i].directory, *s->stores[i].id ? "  " : "",
		       s->stores[i].id);
	printf("  staging        %s\n", s->staging.directory);
	print_drivers(s);
}

int cmd_config(int argc, char **argv)
{
	struct location_args args = {0};
	struct settings settings;
	struct err err = {0};
	const struct cmd_option options[] = {
		{"--config-file", NULL, &args.config_file, NULL},
		{"--data-dir", NULL, &args.data_dir, NULL},
		{0},
	};
	int n, r = cmd_parse(argc, argv, options, help, &n);

	if (r != CMD_OK)
		return r;
	if (n != 1 || strcmp(argv[1], "check") != 0)
		return cmd_usage("config", "`glint config` knows one word, check");
	if (settings_load(&args, true, &settings, &err) < 0)
		return cmd_fail(&err);
	print_summary(&settings, args.config_file);
	settings_done(&settings);
	return CMD_OK;
}

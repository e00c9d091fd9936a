/* SPDX-License-Identifier: Apache-2.0
 * cmd/config.c -- `glint config check`: what serve would say of the configuration, without serving; and
 * `glint config options`, what there is to configure. */
#include <stdio.h>
#include <string.h>

#include "access/rules.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/config_options.h"

static const char help[] =
	"usage: glint config check [--config-file FILE] [--data-dir DIR]\n"
	"       glint config options [WORD] [--markdown]\n"
	"\n"
	"  check     read the configuration as `glint serve` would. Prints a warning for every option that\n"
	"            is not known or not used, with its line, and the first error. Exit status: 0 if the\n"
	"            service would start with it\n"
	"  options   every option with its default, limits and meaning, or those with WORD in their name or\n"
	"            section; --markdown: all of them, as docs/configuration.md\n";

static void print_drivers(const struct settings *s)
{
	printf("  notifications  ");
	if (s->notify.n_drivers == 0)
		printf("none");
	for (size_t i = 0; i < s->notify.n_drivers; i++)
		printf("%s%s", i ? ", " : "", s->notify.drivers[i]);
	printf("%s%s\n", s->log_path ? " -> " : "", s->log_path ? s->log_path : "");
}

static unsigned count_rules(const struct policy *p)
{
	const struct rules *rs = policy_rules(p);
	unsigned n = 0;

	for (size_t i = 0; i < rs->n; i++)
		n += rs->rules[i].path != NULL;
	return n;
}

static void print_summary(const struct settings *s, const struct policy *policy, const char *file)
{
	printf("%s: good, %u warning%s\n", file ? file : "defaults", s->n_warnings, s->n_warnings == 1 ? "" : "s");
	for (size_t i = 0; s->listen[i]; i++)
		printf("  listen         %s\n", s->listen[i]);
	printf("  identity       %s\n",
	       s->api.auth == AUTH_TRUSTED ? "headers set by a proxy (trusted-auth)" : "none: everybody is admin");
	printf("  database       %s\n", s->database_url);
	printf("  policy         %u rules from files, the others as default\n", count_rules(policy));
	for (size_t i = 0; i < s->n_stores; i++)
		printf("  images         %s%s%s\n", s->stores[i].directory, *s->stores[i].id ? "  " : "",
		       s->stores[i].id);
	printf("  staging        %s\n", s->staging.directory);
	if (s->protection.path)
		printf("  properties     protected by %s\n", s->protection.path);
	print_drivers(s);
}

static int check(const struct location_args *args, struct err *err)
{
	AUTO(policy_free_p) struct policy *policy = NULL;
	struct settings settings;
	int r = settings_load(args, true, &settings, err);

	if (r < 0)
		return r;
	r = settings.protection.path ? protections_check(&settings.protection, err) : 0;
	if (r < 0) {
		settings_done(&settings);
		return err_wrap(err, r, "[DEFAULT] property_protection_file");
	}
	r = policy_new(&settings.policy, &policy, err);
	if (r == 0)
		print_summary(&settings, policy, args->config_file);
	settings_done(&settings);
	return r;
}

int cmd_config(int argc, char **argv)
{
	struct location_args args = {0};
	bool markdown = false;
	struct err err = {0};
	const struct cmd_option options[] = {
		{"--config-file", NULL, &args.config_file, NULL},
		{"--data-dir", NULL, &args.data_dir, NULL},
		{"--markdown", NULL, NULL, &markdown},
		{0},
	};
	int n, r = cmd_parse(argc, argv, options, help, &n);

	if (r != CMD_OK)
		return r;
	if (n == 1 && strcmp(argv[1], "check") == 0 && !markdown)
		r = check(&args, &err);
	else if ((n == 1 || (n == 2 && !markdown)) && strcmp(argv[1], "options") == 0)
		r = config_options(n == 2 ? argv[2] : NULL, markdown, &err);
	else
		return cmd_usage("config", "one of check and options is wanted");
	return r < 0 ? cmd_fail(&err) : CMD_OK;
}

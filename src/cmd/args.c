/* SPDX-License-Identifier: Apache-2.0
 * cmd/args.c -- command lines: options in any place, one way to complain. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cmd/cmd.h"

int cmd_fail(const struct err *err)
{
	fprintf(stderr, "glint: %s\n", err_story(err));
	return CMD_FAILED;
}

int cmd_usage(const char *name, const char *fmt, ...)
{
	va_list args;

	fputs("glint: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "; see `glint %s --help`\n", name);
	return CMD_USAGE;
}

/* Matches "--name" or "--name=value" (*ret_value points behind the '='). */
static bool matches(const char *word, const char *name, const char **ret_value)
{
	size_t n = name ? strlen(name) : 0;

	if (n == 0 || strncmp(word, name, n) != 0 || (word[n] != '\0' && word[n] != '='))
		return false;
	*ret_value = word[n] == '=' ? word + n + 1 : NULL;
	return true;
}

static const struct cmd_option *find(const struct cmd_option *options, const char *word, const char **ret_value)
{
	for (; options->name; options++)
		if (matches(word, options->name, ret_value) || matches(word, options->alias, ret_value))
			return options;
	return NULL;
}

int cmd_parse(int argc, char **argv, const struct cmd_option *options, const char *help, int *ret_n)
{
	int n = 0;

	for (int i = 1; i < argc; i++) {
		const struct cmd_option *option;
		const char *value = NULL;

		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(help, stdout);
			exit(CMD_OK);
		}
		if (argv[i][0] != '-' || argv[i][1] == '\0') {
			argv[1 + n++] = argv[i];
			continue;
		}
		option = find(options, argv[i], &value);
		if (!option)
			return cmd_usage(argv[0], "unknown option %s", argv[i]);
		if (option->flag) {
			if (value)
				return cmd_usage(argv[0], "%s takes no value", option->name);
			*option->flag = true;
			continue;
		}
		if (!value && i + 1 < argc)
			value = argv[++i];
		if (!value)
			return cmd_usage(argv[0], "%s needs a value", option->name);
		*option->value = value;
	}
	*ret_n = n;
	return CMD_OK;
}

bool cmd_number(const char *text, int64_t min, int64_t *ret)
{
	int64_t value = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || value > (INT64_MAX - 9) / 10)
			return false;
		value = value * 10 + (*text - '0');
	}
	*ret = value;
	return value >= min;
}

/* SPDX-License-Identifier: Apache-2.0
 * cmd/main.c -- picks the subcommand. */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"

static const char usage[] =
	"glint " GLINT_VERSION " - keeps disk images, serves them, and tells about everything that happens to them\n"
	"\n"
	"  glint serve           run the service (OpenStack Images API v2)\n"
	"  glint notifications   status, tail, replay: the journal and how far it is delivered;\n"
	"                        listen: what is on the message queue\n"
	"  glint db              sync, check, version, purge, usage: the database\n"
	"  glint config          check: read the configuration and say what is wrong with it;\n"
	"                        options: every option, its default and its meaning\n"
	"  glint policy          show: the rules of who may do what; check: may somebody do something\n"
	"  glint version\n"
	"\n"
	"`glint COMMAND --help` tells the options of each.\n";

static int cmd_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("glint " GLINT_VERSION);
	return CMD_OK;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"policy", cmd_policy},
	{"serve", cmd_serve},   {"notifications", cmd_notifications}, {"db", cmd_db}, {"config", cmd_config},
	{"version", cmd_version},
};

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		fputs(usage, stdout);
		return CMD_OK;
	}
	if (strcmp(name, "--version") == 0)
		return cmd_version(0, NULL);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	if (*name)
		fprintf(stderr, "glint: there is no command \"%s\"\n\n", name);
	fputs(usage, stderr);
	return CMD_USAGE;
}

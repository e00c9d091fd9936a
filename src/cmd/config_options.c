/* SPDX-License-Identifier: Apache-2.0
 * cmd/config_options.c -- `glint config options`: the table of options for people, as text or as the
 * Markdown of docs/configuration.md. */
#include "cmd/config_options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "cmd/options.h"

#define NO_LIMIT (INT64_MAX / 2000000) /* what arithmetic can take, no more than that */

/* What a section is about. One that is not here has no words of introduction. */
static const struct {
	const char *name, *text;
} sections[] = {
	{"DEFAULT", "The service as a whole: where it listens and logs, quotas, what its notifications are called."},
	{"database", "Where the records are."},
	{"glance_store",
	 "Where the bytes are. If `[DEFAULT] enabled_backends` names stores, each has a section of its own with the "
	 "`filesystem_store_*` options, `store_description` and `weight`, and `default_backend` here says which one new "
	 "images go to. The section `[os_glance_staging_store]` may have the `filesystem_store_datadir` of staged data."},
	{"image_format", "What images may say of themselves."},
	{"paste_deploy", "Who is asked who the caller is."},
	{"keystone_authtoken", "Where Keystone is and how glint logs in, for `flavor = keystone`."},
	{"oslo_policy", "Who may do what. docs/operations.md tells of the rules, `glint policy show` lists them."},
	{"oslo_limit", "For `[DEFAULT] use_keystone_limits`: as whom Keystone is asked for limits, and whose they are."},
	{"oslo_messaging_notifications", "Where notifications go. docs/notifications.md says what they say."},
	{"oslo_messaging_rabbit", "For `transport_url = rabbit://...`. Also as `?option=value` behind the URL."},
	{"oslo_messaging_kafka", "For `transport_url = kafka://...`. Also as `?option=value` behind the URL."},
	{"import_filtering_opts",
	 "What `web-download` may reach. Private, link-local, loopback and own addresses are refused in any case, but for "
	 "`[glint] web_download_allow_networks`."},
	{"image_import_opts", "What is done to images on import."},
	{"inject_metadata_properties", "For the plugin `inject_image_metadata`."},
	{"image_conversion", "For the plugin `image_conversion`."},
	{"glint", "What only glint has."},
};

static const char *section_text(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(sections); i++)
		if (strcmp(sections[i].name, name) == 0)
			return sections[i].text;
	return NULL;
}

static const char *type_name(enum conf_type t)
{
	static const char *const names[] = {
		[CONF_STRING] = "text",	  [CONF_INT] = "whole number",	 [CONF_BOOL] = "true or false",
		[CONF_LIST] = "list",	  [CONF_MULTI] = "text, repeatable", [CONF_CHOICE] = "choice",
		[CONF_IGNORED] = "ignored",
	};

	return names[t];
}

/* @text with @instead for each @c. */
static void print_with(const char *text, char c, const char *instead)
{
	for (; *text; text++) {
		if (*text == c)
			fputs(instead, stdout);
		else
			putchar(*text);
	}
}

/* "whole number (seconds), 0 to 86400"; "one of gzip, none". */
static void print_type(const struct conf_option *o)
{
	if (o->type == CONF_CHOICE) {
		printf("one of ");
		print_with(o->choices, '|', ", ");
		return;
	}
	printf("%s", type_name(o->type));
	if (o->unit)
		printf(" (%s)", o->unit);
	if (o->max >= NO_LIMIT)
		printf(", from %" PRId64, o->min);
	else if (o->min != 0 || o->max != 0)
		printf(", %" PRId64 " to %" PRId64, o->min, o->max);
}

static bool same_section(const struct conf_option *a, const struct conf_option *b)
{
	return strcmp(a->section, b->section) == 0;
}

/* Has an option before @o its section and is of its kind? */
static bool is_first_of_section(const struct conf_option *all, const struct conf_option *o)
{
	for (const struct conf_option *p = all; p < o; p++)
		if (same_section(p, o) && (p->type == CONF_IGNORED) == (o->type == CONF_IGNORED))
			return false;
	return true;
}

/* -- Markdown ------------------------------------------------------------------------------------- */

static void print_row(const struct conf_option *o)
{
	printf("| `%s` | ", o->name);
	print_type(o);
	printf(" | ");
	if (o->fallback && *o->fallback)
		printf("`%s`", o->fallback);
	printf(" | ");
	print_with(o->help, '|', "\\|");
	printf(" |\n");
}

static void print_section(const struct conf_option *first)
{
	const char *text = section_text(first->section);

	printf("\n## [%s]\n\n", first->section);
	if (text)
		printf("%s\n\n", text);
	printf("| Option | Type | Default | Meaning |\n|---|---|---|---|\n");
	for (const struct conf_option *o = first; o->section; o++)
		if (same_section(o, first) && o->type != CONF_IGNORED)
			print_row(o);
}

static void print_ignored(const struct conf_option *all)
{
	printf("\n## Options of Glance that are ignored\n\n"
	       "None of them stops the start. Each is a warning of `glint config check` and `glint serve`, with its line and\n"
	       "these words; `abc*` is every option that begins so. An option that is neither here nor above is a warning, too:\n"
	       "it may be mistyped.\n\n"
	       "| Section | Option | Why |\n|---|---|---|\n");
	for (const struct conf_option *o = all; o->section; o++) {
		if (o->type != CONF_IGNORED)
			continue;
		printf("| `[%s]` | `%s` | ", o->section, o->name);
		print_with(o->help, '|', "\\|");
		printf(" |\n");
	}
}

static void print_markdown(const struct conf_option *all)
{
	printf("<!-- Made by `glint config options --markdown` from the tables of options; do not edit. -->\n"
	       "# Configuration\n\n"
	       "One file, a `glance-api.conf`: sections and options have Glance's names where Glance has the option, and are\n"
	       "read in its dialect (continued lines, `$option` and `${section.option}` in values, repeated options). What only\n"
	       "glint has is in `[glint]`. `glint config check --config-file FILE` says what is wrong with a file before it\n"
	       "matters; `glint config options WORD` shows the options that WORD is part of. `DATA_DIR` is what `--data-dir`\n"
	       "says, `./glint-data` by default. A list is separated by commas. Options without a default are not set.\n"
	       "The file is read at the start; a change wants a restart.\n");
	for (const struct conf_option *o = all; o->section; o++)
		if (o->type != CONF_IGNORED && is_first_of_section(all, o))
			print_section(o);
	print_ignored(all);
}

/* -- text ----------------------------------------------------------------------------------------- */

static bool contains(const char *text, const char *word)
{
	return strcasestr(text, word) != NULL;
}

/* Words in lines of up to 90 columns, indented. */
static void print_wrapped(const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t n = strcspn(text, " ");

		column += n + 1;
		if (column > 90 || column == n + 1) {
			printf("%s    ", column > n + 1 ? "\n" : "");
			column = n + 1;
		} else {
			putchar(' ');
		}
		printf("%.*s", (int)n, text);
		text += n + (text[n] == ' ');
	}
	putchar('\n');
}

static void print_text(const struct conf_option *o)
{
	printf("[%s] %s", o->section, o->name);
	if (o->fallback && *o->fallback)
		printf(" = %s", o->fallback);
	printf("\n    ");
	print_type(o);
	putchar('\n');
	print_wrapped(o->help);
}

int config_options(const char *word, bool markdown, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	const struct conf_option *all;
	size_t n = 0;
	int r = options_all(&a, &all, err);

	if (r < 0)
		return r;
	if (markdown) {
		print_markdown(all);
		return 0;
	}
	for (const struct conf_option *o = all; o->section; o++) {
		if (word && !contains(o->section, word) && !contains(o->name, word))
			continue;
		if (n++)
			putchar('\n');
		print_text(o);
	}
	return n > 0 ? 0 : err_set(err, ERR_NOT_FOUND, "no option has \"%.64s\" in its name or section", word);
}

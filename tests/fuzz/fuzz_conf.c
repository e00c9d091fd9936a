/* SPDX-License-Identifier: Apache-2.0
 * fuzz_conf.c -- whatever a configuration file contains, it is refused with a sentence or can be asked
 * for everything, and then an alias and a second reading change nothing about that. */
#include "base/conf.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct conf_option options[] = {
	{"DEFAULT", "a", CONF_STRING, NULL, "Text."},
	{"DEFAULT", "b", CONF_STRING, "$a/${store.dir}", "Text that refers to other."},
	{"DEFAULT", "port", CONF_INT, "9292", "Bounded.", 1, 65535},
	{"DEFAULT", "number", CONF_INT, NULL, "Not bounded."},
	{"DEFAULT", "debug", CONF_BOOL, "false", "A switch."},
	{"DEFAULT", "list", CONF_LIST, "a,$port", "A list."},
	{"store", "driver", CONF_MULTI, NULL, "Repeated."},
	{"store", "flavor", CONF_CHOICE, "", "A choice.", .choices = "keystone|none|"},
	{"store", "dir", CONF_STRING, NULL, "A directory."},
	{NULL},
};

static void check_warning(void *cls, const char *path, unsigned line, const char *message)
{
	assert(strcmp(path, "fuzz.conf") == 0 && line > 0);
	assert(!strpbrk(message, "\n\r\x1b"));
}

/* Reads every octet, so that a sanitizer sees a text that does not end. */
static size_t touch_list(const struct conf *c, const char *section, const char *name)
{
	size_t n, total = 0;
	const char *const *items = conf_list(c, section, name, &n);

	for (size_t i = 0; i < n; i++)
		total += strlen(items[i]);
	assert(!items[n]);
	return total;
}

static void ask_for_everything(const struct conf *c, const char *store)
{
	int64_t port = conf_int(c, "DEFAULT", "port");
	const char *a = conf_str(c, "DEFAULT", "a"), *flavor = conf_str(c, store, "flavor");

	assert(port >= 1 && port <= 65535);
	assert(!a || strlen(a) <= 64 * 1024);
	assert(conf_str(c, "DEFAULT", "b"));
	assert(strcmp(flavor, "keystone") == 0 || strcmp(flavor, "none") == 0 || strcmp(flavor, "") == 0);
	(void)conf_int(c, "DEFAULT", "number");
	(void)conf_bool(c, "DEFAULT", "debug");
	(void)conf_str(c, store, "dir");
	(void)touch_list(c, "DEFAULT", "list");
	(void)touch_list(c, store, "driver");
}

static int read_all(struct conf *c, const char *text, size_t n, struct err *err)
{
	int r = conf_read_text(c, "fuzz.conf", text, n, check_warning, NULL, err);

	if (r < 0)
		return r;
	ask_for_everything(c, "store");
	r = conf_alias_section(c, "fast", "store", err);
	if (r < 0)
		return r;
	ask_for_everything(c, "fast");
	conf_warn_unknown(c, check_warning, NULL);
	r = conf_read_text(c, "fuzz.conf", text, n, NULL, NULL, err);
	if (r == 0)
		ask_for_everything(c, "fast");
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(conf_free_p) struct conf *c = NULL;
	struct err err = {0};
	int r;

	r = conf_new(options, &c, &err);
	assert(r == 0);
	r = read_all(c, (const char *)data, size, &err);
	assert(r == err.code);
	assert(r == 0 || (err.text[0] && !strchr(err.text, '\n')));
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_who.c -- any lines of a head as those that say who asks. Nobody is somebody without the word of the
 * proxy, no header counts that is there twice, and what goes into records is text that fits. */
#include "access/who.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_LINES 64

struct lines {
	const char *names[MAX_LINES], *values[MAX_LINES];
	size_t n;
};

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* "name: value" each; what has no colon is no line. */
static void split(char *text, struct lines *ret)
{
	for (char *rest = text; rest && ret->n < MAX_LINES;) {
		char *value = strsep(&rest, "\n");
		char *name = strsep(&value, ":");

		if (!value)
			continue;
		ret->names[ret->n] = name;
		ret->values[ret->n++] = value + strspn(value, " \t");
	}
}

static const char *find(void *cls, const char *name, unsigned *ret_count)
{
	const struct lines *l = cls;
	const char *value = NULL;

	*ret_count = 0;
	for (size_t i = 0; i < l->n; i++) {
		if (strcasecmp(l->names[i], name) != 0)
			continue;
		value = value ? value : l->values[i];
		++*ret_count;
	}
	return value;
}

static void check_id(const char *id)
{
	require(!id || (*id && strlen(id) <= 255 && utf8_is_valid(id, strlen(id))));
}

static void check(struct lines *l, const struct who *who)
{
	static const char *const names[] = {"X-Identity-Status", "X-User-Id", "X-Project-Id", "X-Tenant-Id", "X-Roles"};
	unsigned n;

	require(strcmp(find(l, names[0], &n), "Confirmed") == 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)find(l, names[i], &n);
		require(n <= 1);
	}
	check_id(who->user_id);
	check_id(who->project_id);
	require(!(who->roles & ROLE_ADMIN) || (who->roles & ROLE_MEMBER));
	require(!(who->roles & ROLE_MEMBER) || (who->roles & ROLE_READER));
	require(who->roles == 0 || find(l, "X-Roles", &n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1);
	struct arena arena = {0};
	struct lines lines = {0};
	struct who who = {0};
	struct err err = {0};
	int r;

	require(text);
	if (size)
		memcpy(text, data, size);
	split(text, &lines);
	r = who_from_headers(AUTH_TRUSTED, find, &lines, &arena, &who, &err);
	require(r == err.code && (r == 0 || r == ERR_UNAUTHENTICATED || r == ERR_INVALID || r == ERR_NO_MEMORY));
	if (r == 0)
		check(&lines, &who);
	arena_done(&arena);
	free(text);
	return 0;
}

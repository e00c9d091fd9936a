/* SPDX-License-Identifier: Apache-2.0
 * task/task.c -- the states of a task, and what of its input may be shown. */
#include "task/task.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define HIDDEN "?***"

static const char *const status_names[] = {
	[TASK_PENDING] = "pending",
	[TASK_PROCESSING] = "processing",
	[TASK_SUCCESS] = "success",
	[TASK_FAILURE] = "failure",
};

const char *task_status_name(enum task_status s)
{
	return status_names[s];
}

bool task_status_parse(const char *name, enum task_status *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(status_names); i++) {
		if (strcmp(status_names[i], name) != 0)
			continue;
		*ret = (enum task_status)i;
		return true;
	}
	return false;
}

bool task_may_become(enum task_status from, enum task_status to)
{
	switch (from) {
	case TASK_PENDING:
		return to == TASK_PROCESSING || to == TASK_FAILURE; /* one that nobody will ever pick up */
	case TASK_PROCESSING:
		return to == TASK_SUCCESS || to == TASK_FAILURE;
	default:
		return false;
	}
}

bool task_has_ended(const struct task *t)
{
	return t->status == TASK_SUCCESS || t->status == TASK_FAILURE;
}

/* -- what may be shown ---------------------------------------------------------------------------- */

/* Behind "scheme://", or "//"; NULL if that is not how @text begins. */
static const char *authority_of(const char *text)
{
	const char *p = text + strspn(text, " \t\r\n");
	size_t n = 0;

	if (isalpha((unsigned char)p[0]))
		while (isalnum((unsigned char)p[n]) || p[n] == '+' || p[n] == '-' || p[n] == '.')
			n++;
	if (n > 0 && p[n] == ':')
		n++;
	else if (n > 0)
		return NULL;
	/* A backslash is a slash to some, and one slash is two. */
	if (p[n] != '/' && p[n] != '\\')
		return NULL;
	if (n == 0 && p[1] != '/' && p[1] != '\\')
		return NULL;
	return p + n + strspn(p + n, "/\\");
}

const char *task_redact_url(struct arena *a, const char *text)
{
	const char *authority = authority_of(text), *host = authority, *query;
	size_t n;

	if (!authority)
		return text;
	n = strcspn(authority, "/\\?#");
	for (size_t i = 0; i < n; i++)
		if (authority[i] == '@')
			host = authority + i + 1;
	if (host != authority && strcspn(host, "/\\?#") == 0) /* no host: who knows what is what in it */
		return arena_printf(a, "%.*s***", (int)(authority - text), text);
	query = host + strcspn(host, "?#");
	if (host == authority && !*query)
		return text;
	return arena_printf(a, "%.*s%.*s%s", (int)(authority - text), text, (int)(query - host), host,
			    *query ? HIDDEN : "");
}

static int redact(struct arena *a, json_t *json, unsigned depth);

static json_t *redacted_string(struct arena *a, const json_t *string)
{
	const char *text = task_redact_url(a, json_string_value(string));

	return text ? json_string(text) : NULL;
}

/* A string becomes what may be shown of it; in others, those in them. -1 without memory. */
static int redact_member(struct arena *a, json_t *value, json_t **ret_new, unsigned depth)
{
	*ret_new = NULL;
	if (!json_is_string(value))
		return redact(a, value, depth);
	*ret_new = redacted_string(a, value);
	return *ret_new ? 0 : -1;
}

/* Bounded as the parser is. */
static int redact(struct arena *a, json_t *json, unsigned depth)
{
	json_t *value, *shown;
	const char *key;
	size_t i;

	if (json_is_object(json)) {
		json_object_foreach(json, key, value)
			if (redact_member(a, value, &shown, depth + 1) < 0 ||
			    (shown && json_object_set_new(json, key, shown) < 0))
				return -1;
	} else if (json_is_array(json)) {
		json_array_foreach(json, i, value)
			if (redact_member(a, value, &shown, depth + 1) < 0 ||
			    (shown && json_array_set_new(json, i, shown) < 0))
				return -1;
	}
	return 0;
}

const char *task_redact_json(struct arena *a, const char *text)
{
	json_t *json = json_loads(text, JSON_DECODE_ANY, NULL), *shown = NULL;
	const char *result = NULL;
	char *dump = NULL;

	if (!json)
		return "{}";
	if (redact_member(a, json, &shown, 0) == 0)
		dump = json_dumps(shown ? shown : json, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	if (dump)
		result = arena_strdup(a, dump);
	free(dump);
	json_decref(shown);
	json_decref(json);
	return result;
}

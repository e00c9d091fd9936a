/* SPDX-License-Identifier: Apache-2.0
 * task/task.c -- the states of a task, and what of its input may be shown. */
#include "task/task.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define HIDDEN "***"

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

/* The length of a clean "scheme://"; 0 if @text does not begin with one. */
static size_t scheme_length(const char *text)
{
	size_t n = 0;

	if (!isalpha((unsigned char)text[0]))
		return 0;
	while (isalnum((unsigned char)text[n]) || text[n] == '+' || text[n] == '-' || text[n] == '.')
		n++;
	return strncmp(text + n, "://", 3) == 0 ? n + 3 : 0;
}

/* The length of "host", "host:8080", "[::1]:8080" up to what ends an authority; 0 if it is not as clean as
 * that: somebody may have meant a part of it as a password. */
static size_t host_length(const char *text)
{
	size_t n = 0;

	if (text[0] == '[') {
		n = strspn(text + 1, "0123456789abcdefABCDEF:.") + 1;
		if (text[n++] != ']')
			return 0;
	}
	while (n == 0 || text[0] != '[') {
		if (!isalnum((unsigned char)text[n]) && (!text[n] || !strchr("._-", text[n])))
			break;
		n++;
	}
	if (n > 0 && text[n] == ':')
		n += strspn(text + n + 1, "0123456789") + 1;
	return !text[n] || strchr("/?#;", text[n]) ? n : 0;
}

/* Could there be a URL in it, or what somebody takes for one? */
static bool is_suspect(const char *text)
{
	return strstr(text, "//") || strchr(text, '\\') || (strchr(text, '@') && strchr(text, ':'));
}

const char *task_redact_url(struct arena *a, const char *text)
{
	size_t n_scheme = scheme_length(text), n;
	const char *authority = text + n_scheme, *host = authority, *query;
	const char *end = authority + strcspn(authority, "/?#;");

	for (const char *p = authority; p < end; p++)
		if (*p == '@')
			host = p + 1;
	n = n_scheme ? host_length(host) : 0;
	if (n == 0)
		return is_suspect(text) ? HIDDEN : text;
	query = host + strcspn(host, "?#;");
	if (host == authority && !*query)
		return text;
	return arena_printf(a, "%.*s%.*s%s", (int)n_scheme, text, (int)(query - host), host, *query ? "?" HIDDEN : "");
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

/* Of an object with a key that looks like a URL nothing is shown. */
static bool has_suspect_key(json_t *object)
{
	json_t *value;
	const char *key;

	json_object_foreach(object, key, value)
		if (is_suspect(key))
			return true;
	return false;
}

/* Bounded as the parser is. */
static int redact(struct arena *a, json_t *json, unsigned depth)
{
	json_t *value, *shown;
	const char *key;
	size_t i;

	if (json_is_object(json) && has_suspect_key(json)) {
		json_object_clear(json);
		return json_object_set_new(json, HIDDEN, json_null());
	}
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

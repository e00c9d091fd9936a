/* SPDX-License-Identifier: Apache-2.0
 * http/cors.c -- what browsers are told about pages of other origins. Header for header what oslo.middleware
 * does, so that consoles that talk to the service from a browser go on working; that includes "*" with
 * credentials, if it is configured so (browsers refuse the combination). */
#include "cors.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

/* Those that any page may send. */
static const char *const simple_headers[] = {"Accept",        "Accept-Language",  "Content-Type",
					     "Cache-Control", "Content-Language", "Expires",
					     "Last-Modified", "Pragma",           NULL};

static bool has(const char *const *list, const char *text)
{
	for (; *list; list++)
		if (strcmp(*list, text) == 0)
			return true;
	return false;
}

static bool has_name(const char *const *list, const char *name, size_t n)
{
	for (; *list; list++)
		if (strncasecmp(*list, name, n) == 0 && !(*list)[n])
			return true;
	return false;
}

static const struct http_cors *find_rule(const struct http_cors *rules, size_t n, const char *origin)
{
	for (size_t i = 0; i < n; i++)
		if (has(rules[i].origins, origin))
			return &rules[i];
	return NULL;
}

static void add_line(struct buf *out, const char *name, const char *value)
{
	buf_adds(out, name);
	buf_adds(out, ": ");
	buf_adds(out, value);
	buf_adds(out, "\r\n");
}

static void add_origin(const struct http_cors *rule, const char *origin, struct buf *out)
{
	add_line(out, "Vary", "Origin");
	add_line(out, "Access-Control-Allow-Origin", origin);
	if (rule->credentials)
		add_line(out, "Access-Control-Allow-Credentials", "true");
}

/* The next of a list: its length, 0 at the end. */
static size_t next_name(const char **p)
{
	size_t n;

	*p += strspn(*p, ", \t");
	n = strcspn(*p, ",");
	while (n > 0 && ((*p)[n - 1] == ' ' || (*p)[n - 1] == '\t'))
		n--;
	return n;
}

static bool may_send(const struct http_cors *rule, const char *names)
{
	for (size_t n; (n = next_name(&names)) > 0; names += n)
		if (!has_name(rule->headers, names, n) && !has_name(simple_headers, names, n))
			return false;
	return true;
}

static void add_names(struct buf *out, const char *names)
{
	bool first = true;

	for (size_t n; (n = next_name(&names)) > 0; names += n) {
		buf_adds(out, first ? "Access-Control-Allow-Headers: " : ",");
		buf_add(out, names, n);
		first = false;
	}
	if (!first)
		buf_adds(out, "\r\n");
}

static void answer_preflight(const struct http_cors *rule, const char *origin, const struct head *h,
			     struct buf *out)
{
	const char *method, *names;

	if (head_find(h, "Access-Control-Request-Method", &method) != 1 || !has(rule->methods, method) ||
	    head_find(h, "Access-Control-Request-Headers", &names) > 1 || (names && !may_send(rule, names)))
		return;
	add_origin(rule, origin, out);
	if (rule->max_age)
		buf_addf(out, "Access-Control-Max-Age: %" PRId64 "\r\n", rule->max_age);
	add_line(out, "Access-Control-Allow-Methods", method);
	if (names)
		add_names(out, names);
}

void cors_add_headers(const struct http_cors *rules, size_t n, const struct head *h, struct buf *out)
{
	const struct http_cors *rule = NULL;
	const char *origin;
	unsigned count = head_find(h, "Origin", &origin);

	if (count == 0)
		return;
	if (count == 1)
		rule = find_rule(rules, n, origin);
	if (!rule)
		rule = find_rule(rules, n, origin = "*");
	if (!rule)
		return;
	if (strcmp(head_method(h), "OPTIONS") == 0) {
		answer_preflight(rule, origin, h, out);
		return;
	}
	add_origin(rule, origin, out);
	if (rule->expose[0])
		buf_adds(out, "Access-Control-Expose-Headers: ");
	for (size_t i = 0; rule->expose[i]; i++) {
		buf_adds(out, rule->expose[i]);
		buf_adds(out, rule->expose[i + 1] ? "," : "\r\n");
	}
}

/* SPDX-License-Identifier: Apache-2.0
 * access/policy_text.c -- what a policy file says: a YAML mapping (or a JSON object, which is one) from the
 * names of rules to their texts, or to lists of lists of checks. Whatever YAML could also mean is refused. */
#include <string.h>

#include <yaml.h>

#include "access/policy_files.h"
#include "base/err.h"
#include "base/utf8.h"

#define MAX_LISTS EXPR_MAX_CHECKS
#define MAX_LIST 32 /* checks in one */

struct reader {
	yaml_parser_t parser;
	yaml_event_t event;
	bool has_event;
	const char *path; /* in the arena of the rules, so that those set by this very file are known by it */
	unsigned line; /* of the event, from 1 */
	struct rules *rules;
	struct err *err;
};

static int refuse(struct reader *rd, const char *what)
{
	return err_set(rd->err, ERR_INVALID, "%s:%u: %s", rd->path, rd->line, what);
}

static int next(struct reader *rd)
{
	if (rd->has_event)
		yaml_event_delete(&rd->event);
	rd->has_event = yaml_parser_parse(&rd->parser, &rd->event);
	if (!rd->has_event) {
		if (rd->parser.error == YAML_MEMORY_ERROR)
			return err_nomem(rd->err);
		rd->line = (unsigned)rd->parser.problem_mark.line + 1;
		return refuse(rd, rd->parser.problem ? rd->parser.problem : "this is not YAML");
	}
	rd->line = (unsigned)rd->event.start_mark.line + 1;
	return 0;
}

/* -- scalars -------------------------------------------------------------------------------------- */

static bool is_scalar(const struct reader *rd)
{
	return rd->event.type == YAML_SCALAR_EVENT;
}

/* A text, in the arena. Nothing at all is YAML's null, which oslo.policy takes for "always". */
static int take_text(struct reader *rd, const char **ret)
{
	const char *text = (const char *)rd->event.data.scalar.value;
	size_t n = rd->event.data.scalar.length;

	if (rd->event.data.scalar.anchor || rd->event.data.scalar.tag)
		return refuse(rd, "tags (!) and anchors (&) are not understood; put what begins with one in quotes");
	if (n == 0 && rd->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		return refuse(rd, "there is nothing here; write \"@\" for always, \"!\" for never");
	if (strlen(text) != n || !utf8_is_valid(text, n))
		return refuse(rd, "this is no text");
	if (n > EXPR_MAX_OCTETS)
		return refuse(rd, "this text is too long");
	*ret = arena_strndup(&rd->rules->arena, text, n);
	return *ret ? 0 : err_nomem(rd->err);
}

/* -- lists of lists ------------------------------------------------------------------------------- */

struct lists {
	const char *const **lists;
	size_t n;
	struct buf text; /* for people to read */
};

static int add_list(struct reader *rd, struct lists *l, const char **checks, size_t n)
{
	const char **copy = arena_alloc(&rd->rules->arena, (n + 1) * sizeof(*copy));

	if (!copy)
		return err_nomem(rd->err);
	if (l->n == MAX_LISTS)
		return refuse(rd, "this list is too long");
	for (size_t i = 0; i < n; i++) {
		copy[i] = checks[i];
		buf_addf(&l->text, "%s%s%s", i > 0 ? " and " : l->n > 0 ? " or (" : "(", copy[i], i + 1 == n ? ")" : "");
	}
	l->lists[l->n++] = copy;
	return 0;
}

/* [check, check]: all of them. The event is its beginning. */
static int read_inner(struct reader *rd, struct lists *l)
{
	const char *checks[MAX_LIST];
	size_t n = 0;
	int r;

	while ((r = next(rd)) == 0 && is_scalar(rd)) {
		if (n == ARRAY_LEN(checks))
			return refuse(rd, "this list is too long");
		r = take_text(rd, &checks[n++]);
		if (r < 0)
			return r;
	}
	if (r == 0 && rd->event.type != YAML_SEQUENCE_END_EVENT)
		return refuse(rd, "a list in a list has checks in it and nothing else");
	return r < 0 ? r : add_list(rd, l, checks, n);
}

static int read_outer(struct reader *rd, struct lists *l)
{
	int r;

	while ((r = next(rd)) == 0 && rd->event.type != YAML_SEQUENCE_END_EVENT) {
		const char *check = NULL;

		if (rd->event.type == YAML_SEQUENCE_START_EVENT)
			r = read_inner(rd, l);
		else if (is_scalar(rd))
			r = take_text(rd, &check);
		else
			return refuse(rd, "a list of checks, or of lists of checks, is wanted");
		if (r == 0 && check)
			r = add_list(rd, l, &check, *check ? 1 : 0);
		if (r < 0)
			return r;
	}
	return r;
}

static int read_lists(struct reader *rd, struct rule *rule)
{
	struct lists l = {0};
	int r;

	l.lists = arena_alloc(&rd->rules->arena, MAX_LISTS * sizeof(*l.lists));
	r = l.lists ? read_outer(rd, &l) : err_nomem(rd->err);
	if (r == 0)
		r = expr_from_lists(l.lists, l.n, &rd->rules->arena, &rule->expr, rd->err);
	rule->text = arena_strdup(&rd->rules->arena, buf_cstr(&l.text));
	if (r == 0 && (l.text.failed || !rule->text))
		r = err_nomem(rd->err);
	buf_done(&l.text);
	return r;
}

/* -- rules ---------------------------------------------------------------------------------------- */

static int read_value(struct reader *rd, struct rule *rule)
{
	int r;

	if (rd->event.type == YAML_SEQUENCE_START_EVENT)
		return read_lists(rd, rule);
	if (!is_scalar(rd))
		return refuse(rd, "a rule is a text, or a list of lists of checks");
	r = take_text(rd, &rule->text);
	return r < 0 ? r : expr_parse(rule->text, &rd->rules->arena, &rule->expr, rd->err);
}

static bool is_name(const char *s)
{
	size_t n = strlen(s);

	for (const char *c = s; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return false;
	return n > 0 && n <= RULES_MAX_NAME;
}

/* The event is its name. */
static int read_rule(struct reader *rd)
{
	struct rule rule = {.path = rd->path, .line = rd->line};
	const struct rule *old;
	int r;

	if (!is_scalar(rd))
		return refuse(rd, "the name of a rule is wanted");
	r = take_text(rd, &rule.name);
	if (r < 0)
		return r;
	if (!is_name(rule.name))
		return refuse(rd, "this is no name for a rule: it is empty, too long, or has blanks in it");
	old = rules_find(rd->rules, rule.name);
	if (old && old->path == rd->path)
		return refuse(rd, "this rule is in the file twice");
	r = next(rd);
	if (r < 0)
		return r;
	rule.line = rd->line;
	r = read_value(rd, &rule);
	if (r == ERR_INVALID && strncmp(rd->err->text, rd->path, strlen(rd->path)) != 0)
		return err_wrap(rd->err, r, "%s:%u: rule %s", rd->path, rule.line, rule.name);
	return r < 0 ? r : rules_set(rd->rules, &rule, rd->err);
}

static int read_mapping(struct reader *rd)
{
	int r;

	while ((r = next(rd)) == 0 && rd->event.type != YAML_MAPPING_END_EVENT) {
		r = read_rule(rd);
		if (r < 0)
			return r;
	}
	return r;
}

/* An empty file says nothing. */
static int read_document(struct reader *rd)
{
	int r = next(rd); /* the stream begins */

	if (r == 0)
		r = next(rd);
	if (r < 0 || rd->event.type == YAML_STREAM_END_EVENT)
		return r;
	r = next(rd);
	if (r < 0)
		return r;
	if (is_scalar(rd) && rd->event.data.scalar.length == 0)
		r = 0; /* nothing but comments behind a --- */
	else if (rd->event.type == YAML_MAPPING_START_EVENT)
		r = read_mapping(rd);
	else
		return refuse(rd, "names of rules and their texts are wanted, \"NAME\": \"RULE\"");
	if (r == 0)
		r = next(rd);
	if (r == 0)
		r = next(rd);
	if (r == 0 && rd->event.type != YAML_STREAM_END_EVENT)
		return refuse(rd, "there is a second document in this file");
	return r;
}

/* JSON may be indented by tabs, which YAML never is. In its texts there are none. */
static char *without_tabs(const char *text, size_t n, struct arena *a)
{
	char *copy = arena_strndup(a, text, n);
	bool is_json = copy && copy[strspn(copy, " \t\r\n")] == '{';

	for (size_t i = 0; is_json && i < n; i++)
		if (copy[i] == '\t')
			copy[i] = ' ';
	return copy;
}

int policy_text_read(const char *path, const char *text, size_t n, struct rules *rs, struct err *err)
{
	struct reader rd = {.path = arena_strdup(&rs->arena, path), .line = 1, .rules = rs, .err = err};
	AUTO(arena_done) struct arena a = {0};
	char *input = without_tabs(text, n, &a);
	int r;

	if (!rd.path || !input || !yaml_parser_initialize(&rd.parser))
		return err_nomem(err);
	yaml_parser_set_encoding(&rd.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&rd.parser, (const unsigned char *)input, n);
	r = memchr(text, '\0', n) ? refuse(&rd, "there is a NUL in this file") : read_document(&rd);
	if (rd.has_event)
		yaml_event_delete(&rd.event);
	yaml_parser_delete(&rd.parser);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * access/ruleset.c -- see ruleset.h.
 *
 * A line is read as configparser reads it: a comment is one whose first character that is no blank is # or ;,
 * a line that is indented deeper than the option before it continues its value, everything else is a
 * [section] or an option. What Python's expressions mean, PCRE2's mean, but for a few which are refused. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "access/ruleset.h"

#include <pcre2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/utf8.h"

#define MAX_SECTIONS 1000
#define MAX_TEXT ((size_t)1 << 20)
#define MAX_STEPS 200000 /* of one expression with one name; what needs more goes by no rule */
#define MAX_HEAP_KIB 1024

struct ruleset_section {
	const char *pattern;
	unsigned line;
	pcre2_code *code;
	struct ruleset_verdict verdicts[N_PROPERTY_ACTIONS];
};

static const char *const action_names[N_PROPERTY_ACTIONS] = {"create", "read", "update", "delete"};

struct reader {
	const char *path;
	bool by_rules;
	struct ruleset *rules;
	struct err *err;

	unsigned line;
	const char *section; /* NULL before the first */
	unsigned section_line;
	size_t indent;   /* of the line that the value began in */
	bool has_option; /* one that may be continued */
	struct buf name, value;
	unsigned name_line;
	const char *defaults[N_PROPERTY_ACTIONS], *values[N_PROPERTY_ACTIONS];
	size_t max_sections;
};

static int PRINTF_LIKE(3, 4) refuse(const struct reader *r, unsigned line, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_set(r->err, ERR_INVALID, "%s:%u: %s", r->path, line, why);
}

/* -- what a value says ----------------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static char *trimmed(struct arena *a, const char *s, size_t n)
{
	while (n > 0 && is_blank(*s)) {
		s++;
		n--;
	}
	while (n > 0 && is_blank(s[n - 1]))
		n--;
	return arena_strndup(a, s, n);
}

/* "a, b": the names, in lower case as those of callers are, without empty ones. */
static int split_roles(struct reader *r, const char *value, const char ***ret)
{
	size_t n = 0, max = 1;
	const char **names;

	for (const char *c = value; *c; c++)
		max += *c == ',';
	names = arena_alloc(&r->rules->arena, (max + 1) * sizeof(*names));
	for (size_t i = 0; names && i < max; i++) {
		char *name = trimmed(&r->rules->arena, value, strcspn(value, ","));

		if (!name)
			return err_nomem(r->err);
		for (char *c = name; *c; c++)
			if (*c >= 'A' && *c <= 'Z')
				*c = (char)(*c | 0x20);
		if (*name)
			names[n++] = name;
		value += strcspn(value, ",");
		value += *value != '\0';
	}
	*ret = names;
	return names ? 0 : err_nomem(r->err);
}

static bool is_among(const char *const *names, const char *name)
{
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

static int verdict_by_roles(struct reader *r, const char *value, struct ruleset_verdict *ret)
{
	const char **names;
	int result = split_roles(r, value, &names);
	bool everybody, nobody;

	if (result < 0)
		return result;
	everybody = is_among(names, "@");
	nobody = is_among(names, "!");
	if (everybody && nobody)
		return refuse(r, r->section_line,
			      "[%.64s] names both @ (everybody) and ! (nobody) for one action", r->section);
	ret->kind = nobody || !*names ? FOR_NOBODY : everybody ? FOR_EVERYBODY : FOR_ROLES;
	ret->roles = names;
	return 0;
}

static int verdict_by_rule(struct reader *r, const char *value, struct ruleset_verdict *ret)
{
	if (strchr(value, ','))
		return refuse(
			r, r->section_line,
			"[%.64s] names several rules for one action; make one of them in the policy file",
			r->section);
	ret->kind = strcmp(value, "@") == 0                       ? FOR_EVERYBODY
		    : strcmp(value, "!") == 0 || value[0] == '\0' ? FOR_NOBODY
								  : FOR_RULE;
	ret->rule = value;
	return 0;
}

/* -- a section ------------------------------------------------------------------------------------- */

/* What PCRE2 takes in another meaning than Python: a section that matches less than it does in Glance hands
 * its properties on to the next one. */
static int check_dialect(struct reader *r)
{
	static const char *const others[] = {"\\Z", "\\z", "\\R", "\\K", "\\Q", "\\N",
					     "[[:", "{,",  "(?C", "(*",  "(?&", "(?R"};

	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (strstr(r->section, others[i]))
			return refuse(r, r->section_line,
				      "the expression has %s, which means something else in Glance",
				      others[i]);
	return 0;
}

static int compile(struct reader *r, pcre2_code **ret)
{
	PCRE2_UCHAR why[120];
	PCRE2_SIZE where;
	int code, result = check_dialect(r);

	if (result < 0)
		return result;
	*ret = pcre2_compile((PCRE2_SPTR)r->section, PCRE2_ZERO_TERMINATED,
			     PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &where, NULL);
	if (*ret)
		return 0;
	if (pcre2_get_error_message(code, why, sizeof(why)) < 0)
		strcpy((char *)why, "not understood");
	return refuse(r, r->section_line, "the expression '%.64s' has a fault at character %zu: %s",
		      r->section, (size_t)where + 1, (const char *)why);
}

static bool is_default(const struct reader *r)
{
	return r->section && strcmp(r->section, "DEFAULT") == 0;
}

static int fill_section(struct reader *r, struct ruleset_section *s)
{
	int result = compile(r, &s->code);

	s->pattern = r->section;
	s->line = r->section_line;
	for (size_t i = 0; i < N_PROPERTY_ACTIONS && result == 0; i++) {
		const char *value = r->values[i] ? r->values[i] : r->defaults[i];

		if (!value)
			return refuse(r, r->section_line, "[%.64s] does not say who may %s", r->section,
				      action_names[i]);
		result = r->by_rules ? verdict_by_rule(r, value, &s->verdicts[i])
				     : verdict_by_roles(r, value, &s->verdicts[i]);
	}
	return result;
}

static int grow(struct reader *r)
{
	size_t max = r->max_sections ? 2 * r->max_sections : 16;
	struct ruleset_section *bigger;

	if (r->rules->n_sections < r->max_sections)
		return 0;
	bigger = arena_alloc(&r->rules->arena, max * sizeof(*bigger));
	if (!bigger)
		return err_nomem(r->err);
	if (r->rules->n_sections)
		memcpy(bigger, r->rules->sections, r->rules->n_sections * sizeof(*bigger));
	r->rules->sections = bigger;
	r->max_sections = max;
	return 0;
}

/* The section that was read is whole. One of [DEFAULT] may come after those that it speaks for: the reader
 * goes over the file twice. */
static int end_section(struct reader *r, bool only_defaults)
{
	int result;

	if (!r->section || only_defaults || is_default(r)) {
		memset(r->values, 0, sizeof(r->values));
		return 0;
	}
	for (size_t i = 0; i < r->rules->n_sections; i++)
		if (strcmp(r->rules->sections[i].pattern, r->section) == 0)
			return refuse(r, r->section_line, "[%.64s] is there twice, also in line %u",
				      r->section, r->rules->sections[i].line);
	if (r->rules->n_sections == MAX_SECTIONS)
		return refuse(r, r->section_line, "more than %d sections", MAX_SECTIONS);
	result = grow(r);
	if (result < 0)
		return result;
	result = fill_section(r, &r->rules->sections[r->rules->n_sections++]);
	memset(r->values, 0, sizeof(r->values));
	return result;
}

/* -- lines ----------------------------------------------------------------------------------------- */

/* %% is a percent sign; %(name)s would be another option's value. */
static int unescape(struct reader *r, char *value)
{
	char *out = value;

	for (const char *c = value; *c; c++) {
		if (*c == '%' && *++c != '%')
			return refuse(
				r, r->name_line,
				"%% stands for another value here, which is not supported; %%%% is one");
		*out++ = *c;
	}
	*out = '\0';
	return 0;
}

static int end_option(struct reader *r)
{
	char *value;
	size_t i = 0;

	if (!r->has_option)
		return 0;
	r->has_option = false;
	while (i < N_PROPERTY_ACTIONS && strcmp(action_names[i], buf_cstr(&r->name)) != 0)
		i++;
	value = trimmed(&r->rules->arena, buf_cstr(&r->value), r->value.len);
	if (!value || r->value.failed || r->name.failed)
		return err_nomem(r->err);
	if (i == N_PROPERTY_ACTIONS)
		return 0; /* Glance, too, takes no notice of it */
	if (r->values[i])
		return refuse(r, r->name_line, "'%s' is there twice in [%.64s]", action_names[i], r->section);
	r->values[i] = value;
	if (is_default(r))
		r->defaults[i] = value;
	return unescape(r, value);
}

static int begin_section(struct reader *r, const char *s, size_t n, bool only_defaults)
{
	int result = end_section(r, only_defaults);

	while (n > 0 && s[n - 1] != ']') /* what follows the last bracket does not count */
		n--;
	if (result < 0)
		return result;
	if (n < 3)
		return refuse(r, r->line, "a [section] needs an expression and a bracket at its end");
	r->section = arena_strndup(&r->rules->arena, s + 1, n - 2);
	r->section_line = r->line;
	return r->section ? 0 : err_nomem(r->err);
}

static int begin_option(struct reader *r, const char *s, size_t n)
{
	size_t sign = 0, name;

	while (sign < n && s[sign] != '=' && s[sign] != ':')
		sign++;
	name = sign;
	while (name > 0 && is_blank(s[name - 1]))
		name--;
	if (sign == n || name == 0)
		return refuse(r, r->line, "neither a [section] nor a 'name = value'");
	if (!r->section)
		return refuse(r, r->line, "an option before the first [section]");
	buf_reset(&r->name);
	buf_reset(&r->value);
	for (size_t i = 0; i < name; i++)
		buf_addc(&r->name, s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] | 0x20) : s[i]);
	buf_add(&r->value, s + sign + 1, n - sign - 1);
	r->has_option = true;
	r->name_line = r->line;
	return 0;
}

static int read_line(struct reader *r, const char *s, size_t n, bool only_defaults)
{
	size_t indent = 0;
	int result;

	while (indent < n && is_blank(s[indent]))
		indent++;
	while (n > indent && is_blank(s[n - 1]))
		n--;
	if (n == indent || s[indent] == '#' || s[indent] == ';')
		return 0;
	if (r->has_option && indent > r->indent) {
		buf_addc(&r->value, '\n');
		buf_add(&r->value, s + indent, n - indent);
		return 0;
	}
	r->indent = indent;
	result = end_option(r);
	if (result < 0)
		return result;
	return s[indent] == '[' ? begin_section(r, s + indent, n - indent, only_defaults)
				: begin_option(r, s + indent, n - indent);
}

static int read_lines(struct reader *r, const char *s, size_t n, bool only_defaults)
{
	int result = 0;

	r->line = 0;
	r->section = NULL;
	while (n > 0 && result == 0) {
		const char *end = memchr(s, '\n', n);
		size_t length = end ? (size_t)(end - s) : n, step = end ? length + 1 : n;

		r->line++;
		result = memchr(s, '\0', length) || !utf8_is_valid(s, length)
				 ? refuse(r, r->line, "not a text in UTF-8")
				 : read_line(r, s, length, only_defaults);
		s += step;
		n -= step;
	}
	if (result == 0)
		result = end_option(r);
	return result < 0 ? result : end_section(r, only_defaults);
}

/* -- the file -------------------------------------------------------------------------------------- */

int ruleset_parse(const char *path, const char *text, size_t n, bool by_rules, struct ruleset **ret,
		  struct err *err)
{
	struct ruleset *rules = calloc(1, sizeof(*rules));
	struct reader r = {.path = path, .by_rules = by_rules, .rules = rules, .err = err};
	int result;

	if (!rules)
		return err_nomem(err);
	atomic_init(&rules->refs, 1);
	result = n > MAX_TEXT ? refuse(&r, 0, "larger than %zu octets", MAX_TEXT)
			      : read_lines(&r, text, n, true);
	if (result == 0)
		result = read_lines(&r, text, n, false);
	if (result == 0 && rules->n_sections == 0)
		result = err_set(err, ERR_INVALID, "%s: the file has no section, so it protects nothing",
				 path);
	buf_done(&r.name);
	buf_done(&r.value);
	if (result < 0)
		ruleset_unref(rules);
	else
		*ret = rules;
	return result;
}

struct ruleset *ruleset_ref(struct ruleset *rules)
{
	atomic_fetch_add_explicit(&rules->refs, 1, memory_order_relaxed);
	return rules;
}

void ruleset_unref(struct ruleset *rules)
{
	if (!rules || atomic_fetch_sub_explicit(&rules->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (size_t i = 0; i < rules->n_sections; i++)
		pcre2_code_free(rules->sections[i].code);
	arena_done(&rules->arena);
	free(rules);
}

/* -- asking ---------------------------------------------------------------------------------------- */

struct ruleset_scratch {
	pcre2_match_data *data;
	pcre2_match_context *context;
};

void ruleset_scratch_free(struct ruleset_scratch *scratch)
{
	if (!scratch)
		return;
	pcre2_match_data_free(scratch->data);
	pcre2_match_context_free(scratch->context);
	free(scratch);
}

static struct ruleset_scratch *scratch_new(void)
{
	struct ruleset_scratch *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->data = pcre2_match_data_create(1, NULL);
	s->context = pcre2_match_context_create(NULL);
	if (!s->data || !s->context) {
		ruleset_scratch_free(s);
		return NULL;
	}
	(void)pcre2_set_match_limit(s->context, MAX_STEPS);
	(void)pcre2_set_depth_limit(s->context, MAX_STEPS);
	(void)pcre2_set_heap_limit(s->context, MAX_HEAP_KIB);
	return s;
}

/* An expression that does not come to an end, or has no memory for it, might have matched: then nobody may.
 */
size_t ruleset_find(const struct ruleset *rules, const char *property, struct ruleset_scratch **scratch)
{
	if (!*scratch)
		*scratch = scratch_new();
	for (size_t i = 0; *scratch && i < rules->n_sections; i++) {
		int r = pcre2_match(rules->sections[i].code, (PCRE2_SPTR)property, strlen(property), 0, 0,
				    (*scratch)->data, (*scratch)->context);

		if (r >= 0)
			return i;
		if (r != PCRE2_ERROR_NOMATCH)
			break;
	}
	return rules->n_sections;
}

const struct ruleset_verdict *ruleset_verdict(const struct ruleset *rules, size_t section,
					      enum property_action action)
{
	static const struct ruleset_verdict nobody = {.kind = FOR_NOBODY};

	return section < rules->n_sections ? &rules->sections[section].verdicts[action] : &nobody;
}

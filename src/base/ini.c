/* SPDX-License-Identifier: Apache-2.0
 * base/ini.c -- the lines of a configuration file, in the dialect of oslo.config:
 *
 *   [section]          nothing may follow the bracket
 *   # comment          also ";", and only at the very start of a line
 *   name = value       or "name: value", whichever of the two signs comes first; a value that starts
 *                      and ends with the same quote loses both
 *     and more of it   an indented line continues the value after a newline; an empty line, a
 *                      comment, a section or another option ends it
 *
 * The text must be UTF-8 without NULs. Reading takes one pass and the memory of the longest option. */
#include "ini.h"

#include "buf.h"
#include "err.h"
#include "utf8.h"

#include <string.h>

struct reader {
	const char *path;
	ini_option_fn *fn;
	void *cls;
	struct err *err;

	unsigned line;
	struct buf section; /* empty before the first */

	struct buf name, value; /* the option that may still be continued */
	unsigned name_line;     /* 0: there is none */
};

static int refuse(const struct reader *r, const char *why)
{
	return err_set(r->err, ERR_INVALID, "%s:%u: %s", r->path, r->line, why);
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void trim_left(const char **s, size_t *n)
{
	while (*n > 0 && is_blank(**s)) {
		(*s)++;
		(*n)--;
	}
}

static void trim_right(const char *s, size_t *n)
{
	while (*n > 0 && is_blank(s[*n - 1]))
		(*n)--;
}

static void set(struct buf *b, const char *s, size_t n)
{
	buf_reset(b);
	buf_add(b, s, n);
}

/* Hand on the option that was read, if any. */
static int flush(struct reader *r)
{
	unsigned line = r->name_line;

	r->name_line = 0;
	if (line == 0)
		return 0;
	if (r->name.failed || r->value.failed)
		return err_nomem(r->err);
	return r->fn(r->cls, line, buf_cstr(&r->section), buf_cstr(&r->name), buf_cstr(&r->value));
}

static int start_section(struct reader *r, const char *s, size_t n)
{
	if (s[n - 1] != ']')
		return refuse(r, "a [section] must end with ']'");
	if (n <= 2)
		return refuse(r, "the section has no name");
	set(&r->section, s + 1, n - 2);
	return r->section.failed ? err_nomem(r->err) : 0;
}

static void start_value(struct reader *r, const char *s, size_t n)
{
	trim_left(&s, &n);
	if (n > 0 && (*s == '"' || *s == '\'') && s[n - 1] == *s) {
		n = n > 1 ? n - 2 : 0;
		s++;
	}
	set(&r->value, s, n);
}

static const char *find_sign(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '=' || s[i] == ':')
			return s + i;
	}
	return NULL;
}

static int start_option(struct reader *r, const char *s, size_t n)
{
	const char *sign = find_sign(s, n);
	size_t name_length;

	if (!sign)
		return refuse(r, "neither a [section] nor a 'name = value'");
	name_length = (size_t)(sign - s);
	trim_right(s, &name_length);
	if (name_length == 0)
		return refuse(r, "the option has no name");
	if (r->section.len == 0)
		return refuse(r, "an option before the first [section]");
	set(&r->name, s, name_length);
	start_value(r, sign + 1, n - (size_t)(sign + 1 - s));
	r->name_line = r->line;
	return 0;
}

static int continue_value(struct reader *r, const char *s, size_t n)
{
	if (r->name_line == 0)
		return refuse(r, "an indented line continues a value, but there is none before it");
	trim_left(&s, &n);
	buf_addc(&r->value, '\n');
	buf_add(&r->value, s, n);
	return 0;
}

static int read_line(struct reader *r, const char *s, size_t n)
{
	int result;

	if (!utf8_is_valid(s, n))
		return refuse(r, "not UTF-8");
	trim_right(s, &n);
	if (n > 0 && (*s == ' ' || *s == '\t'))
		return continue_value(r, s, n);
	result = flush(r);
	if (result != 0 || n == 0 || *s == '#' || *s == ';')
		return result;
	return *s == '[' ? start_section(r, s, n) : start_option(r, s, n);
}

static int read_lines(struct reader *r, const char *s, size_t n)
{
	int result = 0;

	while (n > 0 && result == 0) {
		const char *end = memchr(s, '\n', n);
		size_t length = end ? (size_t)(end - s) : n;
		size_t step = end ? length + 1 : n;

		r->line++;
		result = memchr(s, '\0', length) ? refuse(r, "a NUL") : read_line(r, s, length);
		s += step;
		n -= step;
	}
	return result ? result : flush(r);
}

int ini_parse(const char *path, const char *text, size_t n, ini_option_fn *fn, void *cls, struct err *err)
{
	struct reader r = {.path = path, .fn = fn, .cls = cls, .err = err};
	size_t mark =
		n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* an editor's byte order mark */
	int result;

	result = read_lines(&r, text + mark, n - mark);
	buf_done(&r.section);
	buf_done(&r.name);
	buf_done(&r.value);
	return result;
}

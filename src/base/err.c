/* SPDX-License-Identifier: Apache-2.0
 * base/err.c -- the error type. Each text is built aside and then copied, so that the arguments may
 * point into the very error that is written. What is too long loses whole characters, never half a one. */
#include "err.h"

#include "utf8.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void vformat(char *out, size_t size, const char *fmt, va_list ap)
{
	int n = vsnprintf(out, size, fmt, ap);

	if (n < 0)
		out[0] = '\0';
	else if ((size_t)n >= size)
		out[utf8_trim(out, size - 1)] = '\0';
}

static void PRINTF_LIKE(3, 4) format(char *out, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vformat(out, size, fmt, ap);
	va_end(ap);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list ap;

	assert(code < 0);
	if (!err)
		return code;
	va_start(ap, fmt);
	vformat(text, sizeof(text), fmt, ap);
	va_end(ap);

	err->code = code;
	err->retriable = false;
	memcpy(err->text, text, sizeof(text));
	err->detail[0] = '\0';
	return code;
}

int err_nomem(struct err *err)
{
	(void)err_set(err, ERR_NO_MEMORY, "The service is out of memory.");
	if (err)
		err->retriable = true;
	return ERR_NO_MEMORY;
}

/* "what: story" in @story, or just "what" where there is no story yet. */
static void put_in_front(char *story, size_t size, const char *what)
{
	char joined[sizeof(((struct err *)NULL)->text)];

	format(joined, size, "%s%s%s", what, story[0] ? ": " : "", story);
	memcpy(story, joined, size);
}

/* Client and log read the same story: the words go in front of the text and, if there is one, of the
 * detail. */
int err_wrap(struct err *err, int code, const char *fmt, ...)
{
	char what[sizeof(err->text)];
	va_list ap;

	static_assert(sizeof(err->text) == sizeof(err->detail), "put_in_front() serves both");
	assert(code < 0);
	if (!err)
		return code;
	va_start(ap, fmt);
	vformat(what, sizeof(what), fmt, ap);
	va_end(ap);

	err->code = code;
	put_in_front(err->text, sizeof(err->text), what);
	if (err->detail[0])
		put_in_front(err->detail, sizeof(err->detail), what);
	return code;
}

int err_detail(struct err *err, const char *fmt, ...)
{
	char more[sizeof(err->detail)], joined[sizeof(err->detail)];
	va_list ap;

	if (!err)
		return 0;
	va_start(ap, fmt);
	vformat(more, sizeof(more), fmt, ap);
	va_end(ap);

	format(joined, sizeof(joined), "%s%s%s", err->detail, err->detail[0] ? "; " : "", more);
	memcpy(err->detail, joined, sizeof(joined));
	return err->code;
}

const char *err_story(const struct err *err)
{
	if (!err)
		return "";
	return err->detail[0] ? err->detail : err->text;
}

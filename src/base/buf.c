/* SPDX-License-Identifier: Apache-2.0
 * base/buf.c -- a growing byte buffer: it doubles, and keeps one octet for the NUL behind its end. */
#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIN_CAP ((size_t)128)

void buf_init(struct buf *b)
{
	*b = (struct buf){0};
}

void buf_done(struct buf *b)
{
	free(b->data);
	buf_init(b);
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

static bool grow(struct buf *b, size_t n)
{
	size_t need, cap;
	char *data;

	if (n > (size_t)PTRDIFF_MAX - 1 - b->len)
		return false;
	need = b->len + n + 1;
	cap = b->cap < MIN_CAP ? MIN_CAP : b->cap;
	while (cap < need)
		cap = cap > (size_t)PTRDIFF_MAX / 2 ? need : cap * 2;
	data = realloc(b->data, cap);
	if (!data)
		return false;
	b->data = data;
	b->cap = cap;
	return true;
}

char *buf_reserve(struct buf *b, size_t n)
{
	if (b->failed)
		return NULL;
	if (b->cap - b->len <= n && !grow(b, n)) {
		b->failed = true;
		return NULL;
	}
	return b->data + b->len;
}

void buf_add(struct buf *b, const void *data, size_t n)
{
	char *end = n ? buf_reserve(b, n) : NULL;

	if (!end)
		return;
	memcpy(end, data, n);
	end[n] = '\0';
	b->len += n;
}

void buf_addc(struct buf *b, char c)
{
	char *end = buf_reserve(b, 1);

	if (!end)
		return;
	end[0] = c;
	end[1] = '\0';
	b->len++;
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

/* Prints into the room there is; only what does not fit is printed twice. */
static void vadd(struct buf *b, const char *fmt, va_list ap)
{
	size_t room = b->cap - b->len;
	va_list again;
	char *end;
	int n;

	va_copy(again, ap);
	n = vsnprintf(room ? b->data + b->len : NULL, room, fmt, again);
	va_end(again);
	if (n < 0) {
		b->failed = true;
	} else if ((size_t)n >= room) {
		end = buf_reserve(b, (size_t)n);
		if (end)
			(void)vsnprintf(end, (size_t)n + 1, fmt, ap);
	}
	if (!b->failed)
		b->len += (size_t)n;
	else if (room)
		b->data[b->len] = '\0';
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	if (b->failed)
		return;
	va_start(ap, fmt);
	vadd(b, fmt, ap);
	va_end(ap);
}

/* Sets the NUL itself: a committed reservation may not have. */
const char *buf_cstr(const struct buf *b)
{
	if (!b->data)
		return "";
	b->data[b->len] = '\0';
	return b->data;
}

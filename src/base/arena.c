/* SPDX-License-Identifier: Apache-2.0
 * base/arena.c -- memory that lives as long as a request.
 *
 * A list of blocks; allocations are cut off the first. What does not fit opens a new first block,
 * each twice as large as the last up to MAX_BLOCK. What is too large for that gets a block of its
 * own *behind* the first, so that it does not waste the rest of it. */
#include "arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIN_BLOCK ((size_t)2048)
#define MAX_BLOCK ((size_t)64 * 1024)

struct arena_block {
	struct arena_block *next;
	alignas(max_align_t) char data[];
};

struct arena_last_act {
	struct arena_last_act *next;
	void (*fn)(void *object);
	void *object;
};

void arena_init(struct arena *a)
{
	*a = (struct arena){0};
}

void arena_done(struct arena *a)
{
	struct arena_block *next;

	for (struct arena_last_act *act = a->last_acts; act; act = act->next)
		act->fn(act->object);
	for (struct arena_block *b = a->blocks; b; b = next) {
		next = b->next;
		free(b);
	}
	arena_init(a);
}

static struct arena_block *block_new(size_t size)
{
	if (size > PTRDIFF_MAX - sizeof(struct arena_block))
		return NULL;
	return malloc(sizeof(struct arena_block) + size);
}

/* A block for this one allocation; the one that is being filled stays first. */
static void *alloc_alone(struct arena *a, size_t size)
{
	struct arena_block *b = block_new(size);

	if (!b)
		return NULL;
	if (a->blocks) {
		b->next = a->blocks->next;
		a->blocks->next = b;
	} else {
		b->next = NULL;
		a->blocks = b; /* full from the start: used == size == 0 */
	}
	return b->data;
}

static bool open_block(struct arena *a, size_t at_least)
{
	size_t size = a->size < MIN_BLOCK ? MIN_BLOCK : a->size < MAX_BLOCK ? a->size * 2 : MAX_BLOCK;
	struct arena_block *b;

	while (size < at_least)
		size *= 2;
	b = block_new(size);
	if (!b)
		return false;
	b->next = a->blocks;
	a->blocks = b;
	a->size = size;
	a->used = 0;
	return true;
}

/* Not zeroed. */
static void *take(struct arena *a, size_t n_bytes)
{
	size_t step = alignof(max_align_t);
	size_t size;
	void *p;

	if (n_bytes > PTRDIFF_MAX - step)
		return NULL;
	size = n_bytes ? (n_bytes + step - 1) / step * step : step;
	if (size > a->size - a->used) {
		if (size > MAX_BLOCK / 4)
			return alloc_alone(a, size);
		if (!open_block(a, size))
			return NULL;
	}
	p = a->blocks->data + a->used;
	a->used += size;
	return p;
}

void *arena_alloc(struct arena *a, size_t n_bytes)
{
	void *p = take(a, n_bytes);

	return p ? memset(p, 0, n_bytes) : NULL;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *copy;

	if (!s)
		return NULL;
	n = strnlen(s, n);
	copy = take(a, n + 1);
	if (!copy)
		return NULL;
	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

static char *vprint(struct arena *a, const char *fmt, va_list ap)
{
	va_list again;
	char *out;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		return NULL;
	out = take(a, (size_t)n + 1);
	if (out)
		(void)vsnprintf(out, (size_t)n + 1, fmt, ap);
	return out;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	char *out;
	va_list ap;

	va_start(ap, fmt);
	out = vprint(a, fmt, ap);
	va_end(ap);
	return out;
}

bool arena_at_end(struct arena *a, void (*fn)(void *object), void *object)
{
	struct arena_last_act *act = arena_alloc(a, sizeof(*act));

	if (!act)
		return false;
	*act = (struct arena_last_act){a->last_acts, fn, object};
	a->last_acts = act;
	return true;
}

/* SPDX-License-Identifier: Apache-2.0
 * base/arena.h -- memory that lives as long as a request: allocate freely, free once. */
#pragma once

#include "util.h"

struct arena_block;
struct arena_last_act;

/* Not thread-safe. A zeroed struct is a valid empty arena. */
struct arena {
	struct arena_block *blocks;
	struct arena_last_act *last_acts; /* the newest first */
	size_t used, size; /* of the first block, in octets */
};

void arena_init(struct arena *a);
void arena_done(struct arena *a); /* frees everything; the arena is empty and usable again */

/* Zeroed, aligned for any type. NULL when out of memory. */
void *arena_alloc(struct arena *a, size_t n_bytes);

/* Copies; NULL when out of memory, or when @s is NULL. */
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* When the arena ends, fn(@object) is called first, the latest one first: for what lives as long as a request but
 * does not lie in its arena. False, and nothing is noted, when out of memory. */
bool arena_at_end(struct arena *a, void (*fn)(void *object), void *object);

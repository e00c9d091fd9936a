/* SPDX-License-Identifier: Apache-2.0
 * keystone/cache.h -- what is known of tokens, under a hash of the whole token: a bounded number of entries, the
 * least recently used goes first. No lock of its own. */
#pragma once

#include "token.h"

#define CACHE_KEY_LEN 32

struct cache;

int cache_new(unsigned max_entries, struct cache **ret, struct err *err);
void cache_free(struct cache *c);
/* Borrowed until the next call; NULL if nothing is known, or not any more at @now_us (any clock, always the same). */
struct identity *cache_get(struct cache *c, const unsigned char key[CACHE_KEY_LEN], int64_t now_us);
/* Until @until_us. Takes a reference of its own. Without memory it is forgotten. */
void cache_put(struct cache *c, const unsigned char key[CACHE_KEY_LEN], struct identity *i, int64_t until_us);
void cache_drop(struct cache *c, const unsigned char key[CACHE_KEY_LEN]);

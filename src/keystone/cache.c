/* SPDX-License-Identifier: Apache-2.0
 * keystone/cache.c -- a hash table of entries that also stand in a list, the one used last in front. */
#include "cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

struct entry {
	struct entry *chain;       /* in the bucket */
	struct entry *prev, *next; /* in the list */
	unsigned char key[CACHE_KEY_LEN];
	struct identity *identity;
	int64_t until_us;
};

struct cache {
	unsigned max_entries, n;
	size_t n_buckets; /* a power of two */
	struct entry **buckets;
	struct entry *first, *last;
};

int cache_new(unsigned max_entries, struct cache **ret, struct err *err)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (!c)
		return err_nomem(err);
	c->max_entries = max_entries;
	for (c->n_buckets = 16; c->n_buckets < max_entries; c->n_buckets *= 2)
		;
	c->buckets = calloc(c->n_buckets, sizeof(struct entry *));
	if (!c->buckets) {
		free(c);
		return err_nomem(err);
	}
	*ret = c;
	return 0;
}

/* The key is a hash of more than the client knows, so any of its bits will do. */
static struct entry **bucket_of(struct cache *c, const unsigned char *key)
{
	size_t h;

	memcpy(&h, key, sizeof(h));
	return &c->buckets[h & (c->n_buckets - 1)];
}

static struct entry **find(struct cache *c, const unsigned char *key)
{
	struct entry **at = bucket_of(c, key);

	while (*at && memcmp((*at)->key, key, CACHE_KEY_LEN) != 0)
		at = &(*at)->chain;
	return at;
}

static void unlist(struct cache *c, struct entry *e)
{
	*(e->prev ? &e->prev->next : &c->first) = e->next;
	*(e->next ? &e->next->prev : &c->last) = e->prev;
}

static void list_first(struct cache *c, struct entry *e)
{
	e->prev = NULL;
	e->next = c->first;
	*(e->next ? &e->next->prev : &c->last) = e;
	c->first = e;
}

static void remove_at(struct cache *c, struct entry **at)
{
	struct entry *e = *at;

	*at = e->chain;
	unlist(c, e);
	identity_unref(e->identity);
	free(e);
	c->n--;
}

void cache_drop(struct cache *c, const unsigned char key[CACHE_KEY_LEN])
{
	struct entry **at = find(c, key);

	if (*at)
		remove_at(c, at);
}

struct identity *cache_get(struct cache *c, const unsigned char key[CACHE_KEY_LEN], int64_t now_us)
{
	struct entry **at = find(c, key), *e = *at;

	if (!e)
		return NULL;
	if (now_us >= e->until_us) {
		remove_at(c, at);
		return NULL;
	}
	unlist(c, e);
	list_first(c, e);
	return e->identity;
}

void cache_put(struct cache *c, const unsigned char key[CACHE_KEY_LEN], struct identity *i, int64_t until_us)
{
	struct entry *e, **bucket;

	cache_drop(c, key);
	if (c->n >= c->max_entries && c->last)
		cache_drop(c, c->last->key);
	e = c->max_entries > 0 ? calloc(1, sizeof(*e)) : NULL;
	if (!e)
		return;
	memcpy(e->key, key, CACHE_KEY_LEN);
	e->identity = identity_ref(i);
	e->until_us = until_us;
	bucket = bucket_of(c, key);
	e->chain = *bucket;
	*bucket = e;
	list_first(c, e);
	c->n++;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	while (c->last)
		cache_drop(c, c->last->key);
	free(c->buckets);
	free(c);
}

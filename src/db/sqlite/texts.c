/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/texts.c -- what pages of the list show of their images, kept in memory.
 *
 * (1) All that is kept is of one state of the database, `state` (state.c). A transaction that sees exactly
 *     this state may take and add; any other reads the database as if nothing were kept.
 * (2) `generation` counts the states. A transaction learns once which one it sees; whenever it takes or adds,
 *     that has to be the current one still.
 * (3) A commit of ours moves on to the next state and takes the images that it changed with it: each was
 *     dropped when the writer changed it, before anybody could see the change, and cannot come back before
 *     the batch has ended (`changing`). If there are too many to remember, none is added meanwhile.
 * (4) Of somebody else's commit we do not know what it changed: all is dropped. We see it when a transaction
 *     of ours, reading or writing, finds the database in a state that is neither this one nor of our making.
 *     While our writer has its transaction there can be none.
 * (5) What is kept never decides who may see an image: the page's own statements do, each time.
 *
 * The least recently shown go when there is no room. A text is shared with whoever is copying it; it is freed
 * by the last one. */
#include "db/sqlite/sqlite.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BYTES_A_BUCKET 1024 /* about what a text takes */

void texts_init(struct texts *t, const struct state_source *source)
{
	*t = (struct texts){.source = source};
	(void)pthread_mutex_init(&t->lock, NULL);
}

/* Where clients choose ids, they shall not choose which of them share a bucket. */
int texts_limit(struct texts *t, size_t max_bytes, struct err *err)
{
	size_t n = 16;

	assert(!t->buckets);
	if (max_bytes == 0 || !t->source->words)
		return 0;
	while (n < max_bytes / BYTES_A_BUCKET)
		n *= 2;
	if (getrandom(t->key, sizeof(t->key), 0) != (ssize_t)sizeof(t->key))
		return err_set(err, ERR_INTERNAL, "No randomness is to be had.");
	t->buckets = calloc(n, sizeof(*t->buckets));
	if (!t->buckets)
		return err_nomem(err);
	t->n_buckets = n;
	t->max_bytes = max_bytes;
	return 0;
}

/* -- texts ----------------------------------------------------------------------------------------- */

void text_unref(struct text *text)
{
	if (text && atomic_fetch_sub_explicit(&text->n_refs, 1, memory_order_acq_rel) == 1)
		free(text);
}

struct text *text_new(const char *id, db_render_fn *render, bool with_locations, const char *data, size_t n)
{
	struct text *text = malloc(sizeof(*text) + n);

	if (!text)
		return NULL;
	*text = (struct text){.render = render, .with_locations = with_locations, .n = n};
	atomic_init(&text->n_refs, 1);
	memcpy(text->id, id, sizeof(text->id));
	memcpy(text->data, data, n);
	return text;
}

static size_t cost(const struct text *text)
{
	return sizeof(*text) + text->n + 16; /* and what malloc() takes for itself */
}

/* -- the table; lock held -------------------------------------------------------------------------- */

static struct text **bucket(struct texts *t, const char *id)
{
	uint64_t hash = t->key[0], word;

	for (size_t i = 0; i + sizeof(word) <= UUID_LEN; i += sizeof(word)) {
		memcpy(&word, id + i, sizeof(word));
		hash = (hash ^ word) * (t->key[1] | 1);
		hash ^= hash >> 32;
	}
	memcpy(&word, id + UUID_LEN - sizeof(word), sizeof(word));
	hash = (hash ^ word) * (t->key[1] | 1);
	return &t->buckets[(hash >> 32) & (t->n_buckets - 1)];
}

static struct text **find(struct texts *t, const char *id)
{
	struct text **at = bucket(t, id);

	while (*at && memcmp((*at)->id, id, UUID_LEN) != 0)
		at = &(*at)->chain;
	return at;
}

static void unlink_use(struct texts *t, struct text *text)
{
	*(text->newer ? &text->newer->older : &t->newest) = text->older;
	*(text->older ? &text->older->newer : &t->oldest) = text->newer;
}

static void link_use(struct texts *t, struct text *text)
{
	text->newer = NULL;
	text->older = t->newest;
	*(t->newest ? &t->newest->newer : &t->oldest) = text;
	t->newest = text;
}

static void drop(struct texts *t, struct text **at)
{
	struct text *text = *at;

	*at = text->chain;
	unlink_use(t, text);
	t->n_bytes -= cost(text);
	text_unref(text);
}

static void drop_all(struct texts *t)
{
	while (t->oldest)
		drop(t, find(t, t->oldest->id));
}

static bool is_changing(const struct texts *t, const char *id)
{
	if (t->n_changing > TEXTS_MAX_CHANGING)
		return true;
	for (size_t i = 0; i < t->n_changing; i++)
		if (memcmp(t->changing[i], id, UUID_LEN) == 0)
			return true;
	return false;
}

static void move_to(struct texts *t, const struct db_state *state)
{
	t->state = *state;
	t->known = true;
	t->generation++;
}

void texts_done(struct texts *t)
{
	if (t->buckets)
		drop_all(t);
	free(t->buckets);
	(void)pthread_mutex_destroy(&t->lock);
}

/* -- reading --------------------------------------------------------------------------------------- */

/* Lock held. The reader's state is not ours: if it is the newest there is, somebody else has committed. */
static void meet_another(struct texts *t, const struct db_state *state)
{
	struct db_state now;

	if (t->writing || !state_read(t->source, &now) || !state_equal(&now, state))
		return;
	drop_all(t);
	move_to(t, state);
}

uint64_t texts_enter(struct texts *t, const struct db_state *before)
{
	struct db_state after;
	uint64_t generation = 0;

	if (!t->buckets || !state_read(t->source, &after) || !state_equal(before, &after))
		return 0;
	(void)pthread_mutex_lock(&t->lock);
	if (!t->known || !state_equal(&t->state, before))
		meet_another(t, before);
	if (t->known && state_equal(&t->state, before))
		generation = t->generation;
	(void)pthread_mutex_unlock(&t->lock);
	return generation;
}

struct text *texts_take(struct texts *t, uint64_t generation, const char *id, db_render_fn *render,
			bool with_locations)
{
	struct text *text = NULL;

	if (generation == 0)
		return NULL;
	(void)pthread_mutex_lock(&t->lock);
	if (generation == t->generation)
		text = *find(t, id);
	if (text && (text->render != render || text->with_locations != with_locations))
		text = NULL;
	if (text) {
		atomic_fetch_add_explicit(&text->n_refs, 1, memory_order_relaxed);
		unlink_use(t, text);
		link_use(t, text);
	}
	(void)pthread_mutex_unlock(&t->lock);
	return text;
}

void texts_add(struct texts *t, uint64_t generation, struct text *text)
{
	struct text **at;

	if (generation == 0 || cost(text) > t->max_bytes / 8)
		return;
	(void)pthread_mutex_lock(&t->lock);
	if (generation == t->generation && !is_changing(t, text->id)) {
		at = find(t, text->id);
		if (*at)
			drop(t, at);
		while (t->n_bytes + cost(text) > t->max_bytes)
			drop(t, find(t, t->oldest->id));
		at = bucket(t, text->id);
		text->chain = *at;
		*at = text;
		link_use(t, text);
		t->n_bytes += cost(text);
		atomic_fetch_add_explicit(&text->n_refs, 1, memory_order_relaxed);
	}
	(void)pthread_mutex_unlock(&t->lock);
}

/* -- writing; by whoever has the writer's turn ------------------------------------------------------ */

void texts_batch_begin(struct texts *t)
{
	struct db_state base;
	bool ok;

	if (!t->buckets)
		return;
	ok = state_read(t->source, &base); /* nobody else can commit now */
	(void)pthread_mutex_lock(&t->lock);
	if (!ok || !t->known || !state_equal(&t->state, &base)) {
		drop_all(t);
		move_to(t, &base);
		t->known = ok;
	}
	t->writing = true;
	(void)pthread_mutex_unlock(&t->lock);
}

void texts_change(struct texts *t, const char *id)
{
	struct text **at;

	if (!t->buckets)
		return;
	(void)pthread_mutex_lock(&t->lock);
	at = find(t, id);
	if (*at)
		drop(t, at);
	if (!is_changing(t, id)) {
		if (t->n_changing < TEXTS_MAX_CHANGING)
			memcpy(t->changing[t->n_changing], id, UUID_LEN);
		t->n_changing++;
	}
	(void)pthread_mutex_unlock(&t->lock);
}

void texts_batch_end(struct texts *t, bool committed, int last_frame)
{
	struct db_state now;
	bool same, next, ok;

	if (!t->buckets)
		return;
	ok = state_read(t->source, &now);
	(void)pthread_mutex_lock(&t->lock);
	same = ok && t->known && state_equal(&t->state, &now);
	next = ok && t->known && committed && last_frame > 0 && state_is_next(&t->state, &now, last_frame);
	if (next) {
		move_to(t, &now);
	} else if (!same || (committed && last_frame > 0)) {
		drop_all(t);
		t->known = false;
		t->generation++;
	}
	t->writing = false;
	t->n_changing = 0;
	(void)pthread_mutex_unlock(&t->lock);
}

/* SPDX-License-Identifier: Apache-2.0
 * limits/memory.c -- the projects of which something is known, or is being asked. One that is asked for
 * stays; of the others the longest unused go when there are more than may be. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "limits/internal.h"

#define PROJECTS_A_BUCKET 2

int memory_init(struct memory *m, size_t max_idle, struct err *err)
{
	size_t n = 16;

	*m = (struct memory){.max_idle = max_idle};
	while (n < max_idle / PROJECTS_A_BUCKET)
		n *= 2;
	if (getrandom(&m->key, sizeof(m->key), 0) != (ssize_t)sizeof(m->key))
		return err_set(err, ERR_INTERNAL, "No randomness is to be had.");
	m->buckets = calloc(n, sizeof(struct known *));
	if (!m->buckets)
		return err_nomem(err);
	m->n_buckets = n;
	return 0;
}

void memory_done(struct memory *m)
{
	for (size_t i = 0; i < m->n_buckets; i++) {
		while (m->buckets[i]) {
			struct known *k = m->buckets[i];

			m->buckets[i] = k->chain;
			free(k);
		}
	}
	free(m->buckets);
	*m = (struct memory){0};
}

/* Where it is, or would be. */
static struct known **place(struct memory *m, const char *project)
{
	uint64_t hash = m->key;
	struct known **at;

	for (const char *s = project; *s; s++) {
		hash = (hash ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
		hash ^= hash >> 32;
	}
	at = &m->buckets[hash & (m->n_buckets - 1)];
	while (*at && strcmp((*at)->project, project) != 0)
		at = &(*at)->chain;
	return at;
}

static void unlink_use(struct memory *m, struct known *k)
{
	*(k->newer ? &k->newer->older : &m->newest) = k->older;
	*(k->older ? &k->older->newer : &m->oldest) = k->newer;
	m->n_idle--;
}

static void link_use(struct memory *m, struct known *k)
{
	k->newer = NULL;
	k->older = m->newest;
	*(m->newest ? &m->newest->newer : &m->oldest) = k;
	m->newest = k;
	m->n_idle++;
}

static void drop(struct memory *m, struct known *k)
{
	struct known **at = place(m, k->project);

	assert(*at == k && !k->asking);
	*at = k->chain;
	unlink_use(m, k);
	free(k);
}

struct known *memory_find(struct memory *m, const char *project)
{
	return *place(m, project);
}

struct known *memory_add(struct memory *m, const char *project)
{
	size_t n = strlen(project) + 1;
	struct known **at = place(m, project), *k;

	assert(!*at);
	k = calloc(1, sizeof(*k) + n);
	if (!k)
		return NULL;
	memcpy(k->project, project, n);
	*at = k;
	link_use(m, k);
	return k;
}

void memory_touch(struct memory *m, struct known *k)
{
	if (k->asking || m->newest == k)
		return;
	unlink_use(m, k);
	link_use(m, k);
}

void memory_hold(struct memory *m, struct known *k)
{
	assert(!k->asking);
	unlink_use(m, k);
	k->asking = true;
}

void memory_release(struct memory *m, struct known *k)
{
	assert(k->asking);
	k->asking = false;
	link_use(m, k);
	if (k->got_us == 0)
		drop(m, k);
	while (m->n_idle > m->max_idle)
		drop(m, m->oldest);
}

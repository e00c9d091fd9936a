/* SPDX-License-Identifier: Apache-2.0
 * access/protection.c -- see protection.h.
 *
 * The rules in force are a struct ruleset with references: one of ours, and one of everybody who has asked it
 * something and whose request has not ended. So a file that is read anew waits for nobody and nobody for it.
 *
 * A verdict depends on the section that a name falls under and on who asks. Sections are found by matching,
 * which is what costs, so a request remembers the names it has asked about (a page has the same ones again
 * and again); and per section and action it remembers whether the caller has one of the roles. */
#include "access/protection.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/ruleset.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

#define MAX_FILE_BYTES ((size_t)1 << 20)
#define LOOK_EVERY_S 1
#define N_NAMES 128 /* that a request remembers; a power of two */

/* By what a file is known to be the same. */
struct stamp {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified, changed;
};

struct protections {
	struct protection_config config;
	pthread_mutex_t lock; /* of rules, for a few instructions */
	struct ruleset *rules;

	pthread_mutex_t reading; /* of what follows; held while the file is read */
	struct stamp stamp;
	bool in_trouble; /* it was said that the file is no good */

	pthread_t thread; /* looks at the file now and then */
	pthread_mutex_t end_lock;
	pthread_cond_t ended;
	bool end, started;
};

/* -- the file -------------------------------------------------------------------------------------- */

static int read_all(int fd, const char *path, struct buf *out, struct err *err)
{
	ssize_t n;

	do {
		char *room = buf_reserve(out, 16384);

		if (!room)
			return err_nomem(err);
		n = read(fd, room, 16384);
		if (n < 0 && errno != EINTR)
			return err_set(err, ERR_INVALID, "reading %s: %s", path, strerror(errno));
		out->len += n > 0 ? (size_t)n : 0;
		if (out->len > MAX_FILE_BYTES)
			return err_set(err, ERR_INVALID, "%s is larger than %zu octets", path,
				       MAX_FILE_BYTES);
	} while (n != 0);
	return 0;
}

static bool stamp_of(const struct stat *st, struct stamp *ret)
{
	struct stamp now;

	memset(&now, 0, sizeof(now)); /* they are compared as a whole */
	now.device = st->st_dev;
	now.inode = st->st_ino;
	now.size = st->st_size;
	now.modified = st->st_mtim;
	now.changed = st->st_ctim;
	if (memcmp(&now, ret, sizeof(now)) == 0)
		return false;
	*ret = now;
	return true;
}

static int read_rules(const struct protection_config *config, struct stamp *stamp, struct ruleset **ret,
		      struct err *err)
{
	AUTO(buf_done) struct buf text = {0};
	const char *path = config->path;
	AUTO(close_fd_p) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, ERR_INVALID, "opening %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "%s is not a file", path);
	(void)stamp_of(&st, stamp);
	r = read_all(fd, path, &text, err);
	return r < 0 ? r : ruleset_parse(path, buf_cstr(&text), text.len, config->rule, ret, err);
}

int protections_check(const struct protection_config *config, struct err *err)
{
	struct ruleset *rules = NULL;
	struct stamp stamp = {0};
	int r = read_rules(config, &stamp, &rules, err);

	ruleset_unref(rules);
	return r;
}

static void replace_rules(struct protections *p, struct ruleset *rules)
{
	struct ruleset *old;

	pthread_mutex_lock(&p->lock);
	old = p->rules;
	p->rules = rules;
	pthread_mutex_unlock(&p->lock);
	ruleset_unref(old);
}

static bool has_changed(struct protections *p)
{
	struct stat st;

	if (stat(p->config.path, &st) < 0)
		return !p->in_trouble;
	return stamp_of(&st, &p->stamp);
}

bool protections_refresh(struct protections *p)
{
	struct ruleset *rules = NULL;
	struct err err = {0};

	pthread_mutex_lock(&p->reading);
	if (has_changed(p)) {
		if (read_rules(&p->config, &p->stamp, &rules, &err) == 0) {
			replace_rules(p, rules);
			log_info("glint.access", NULL, "property protections read again from %s",
				 p->config.path);
			p->in_trouble = false;
		} else {
			p->stamp = (struct stamp){0}; /* whatever it was, it may be over the next time */
			if (!p->in_trouble)
				log_error("glint.access", NULL,
					  "property protections: %s; those that were read before stay in force",
					  err_story(&err));
			p->in_trouble = true;
		}
	}
	pthread_mutex_unlock(&p->reading);
	return rules;
}

/* -- looking after it ------------------------------------------------------------------------------ */

static void *look_after(void *arg)
{
	struct protections *p = arg;
	struct timespec until;

	pthread_mutex_lock(&p->end_lock);
	while (!p->end) {
		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += LOOK_EVERY_S;
		if (pthread_cond_timedwait(&p->ended, &p->end_lock, &until) != ETIMEDOUT)
			continue;
		pthread_mutex_unlock(&p->end_lock);
		(void)protections_refresh(p);
		pthread_mutex_lock(&p->end_lock);
	}
	pthread_mutex_unlock(&p->end_lock);
	return NULL;
}

static void init_locks(struct protections *p)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->reading, NULL);
	pthread_mutex_init(&p->end_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->ended, &attr);
	pthread_condattr_destroy(&attr);
}

static int open_and_watch(struct protections *p, struct err *err)
{
	int r;

	r = read_rules(&p->config, &p->stamp, &p->rules, err);
	if (r < 0)
		return r;
	p->started = pthread_create(&p->thread, NULL, look_after, p) == 0;
	return p->started ? 0 : err_set(err, ERR_INTERNAL, "no thread to look after %s", p->config.path);
}

int protections_open(const struct protection_config *config, struct protections **ret, struct err *err)
{
	struct protections *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_nomem(err);
	p->config = *config;
	init_locks(p);
	r = open_and_watch(p, err);
	if (r < 0)
		protections_close(p);
	else
		*ret = p;
	return r;
}

void protections_close(struct protections *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->end_lock);
	p->end = true;
	pthread_cond_signal(&p->ended);
	pthread_mutex_unlock(&p->end_lock);
	if (p->started)
		pthread_join(p->thread, NULL);
	ruleset_unref(p->rules);
	pthread_cond_destroy(&p->ended);
	pthread_mutex_destroy(&p->end_lock);
	pthread_mutex_destroy(&p->reading);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void protections_close_p(struct protections **p)
{
	protections_close(*p);
}

/* -- rights ---------------------------------------------------------------------------------------- */

struct known_name {
	const char *name; /* NULL: free */
	size_t section;
};

struct rights {
	struct property_rights face;
	struct protections *p;
	const struct who *who;
	struct arena *a;

	struct ruleset *rules; /* from the first question on */
	struct ruleset_scratch *scratch;
	uint8_t *known, *allowed; /* a section each: bits of actions */
	struct known_name *names;
};

static void rights_done(void *object)
{
	struct rights *r = object;

	ruleset_scratch_free(r->scratch);
	ruleset_unref(r->rules);
}

static bool begin(struct rights *r)
{
	size_t n;

	if (!arena_at_end(r->a, rights_done, r))
		return false;
	pthread_mutex_lock(&r->p->lock);
	r->rules = ruleset_ref(r->p->rules);
	pthread_mutex_unlock(&r->p->lock);
	n = r->rules->n_sections;
	r->known = arena_alloc(r->a, n);
	r->allowed = arena_alloc(r->a, n);
	if (r->known && r->allowed)
		r->names = arena_alloc(r->a, N_NAMES * sizeof(*r->names));
	return r->names;
}

static bool has_role(const struct who *who, const char *const *roles)
{
	for (; *roles; roles++)
		for (const char *const *own = who->role_names; own && *own; own++)
			if (strcmp(*own, *roles) == 0)
				return true;
	return false;
}

static bool decide(const struct rights *r, const struct ruleset_verdict *v)
{
	switch (v->kind) {
	case FOR_NOBODY:
		return false;
	case FOR_EVERYBODY:
		return true;
	case FOR_ROLES:
		return has_role(r->who, v->roles);
	case FOR_RULE:
		return r->p->config.rule(r->p->config.cls, v->rule, r->who);
	}
	return false;
}

static size_t hash_of(const char *s)
{
	size_t h = 5381;

	for (; *s; s++)
		h = h * 33 ^ (unsigned char)*s;
	return h;
}

static size_t section_of(struct rights *r, const char *name)
{
	struct known_name *slot = &r->names[hash_of(name) % N_NAMES];
	size_t section;

	if (slot->name && strcmp(slot->name, name) == 0)
		return slot->section;
	section = ruleset_find(r->rules, name, &r->scratch);
	if (!slot->name) {
		slot->section = section;
		slot->name = arena_strdup(r->a, name);
	}
	return section;
}

/* Whoever has no memory to find it out may not. */
static bool allows(void *cls, const char *property, enum property_action action)
{
	struct rights *r = cls;
	uint8_t bit = (uint8_t)(1u << action);
	size_t section;

	if (!r->names && (r->rules || !begin(r)))
		return false;
	section = section_of(r, property);
	if (section == r->rules->n_sections)
		return false;
	if (!(r->known[section] & bit)) {
		r->known[section] |= bit;
		if (decide(r, ruleset_verdict(r->rules, section, action)))
			r->allowed[section] |= bit;
	}
	return r->allowed[section] & bit;
}

int protections_rights(struct protections *p, const struct who *who, struct arena *a,
		       const struct property_rights **ret, struct err *err)
{
	struct rights *r;

	*ret = NULL;
	if (!p)
		return 0;
	r = arena_alloc(a, sizeof(*r));
	if (!r)
		return err_nomem(err);
	*r = (struct rights){.face = {allows, r}, .p = p, .who = who, .a = a};
	*ret = &r->face;
	return 0;
}

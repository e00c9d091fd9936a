/* SPDX-License-Identifier: Apache-2.0
 * access/policy.c -- the rules in force, and how others take their place while they are asked.
 *
 * A reader enters one of two rooms, reads which rules are in force, asks them, leaves. Who puts new ones in
 * force (one thread, the watcher) frees the old ones once it has seen each room empty after that: whoever was
 * in there may still hold them, whoever came later cannot. Sending readers to the other room meanwhile makes
 * a room empty in the end. So readers wait for nobody, and the watcher for some hundred nanoseconds. */
#include "access/policy.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access/policy_files.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#define LOOK_EVERY_US INT64_C(1000000)
#define CACHE_LINE 64

struct room {
	_Alignas(CACHE_LINE) atomic_uint n_readers;
};

struct policy {
	_Atomic(struct rules *) rules;
	struct room rooms[2];
	atomic_uint open_room;

	struct policy_config config;
	struct policy_files files; /* those that the rules in force come from; the watcher's */
	struct buf tried;          /* stamp of those last read, whatever became of it */
	struct buf seen;           /* stamp of those there were at the last look */
	char complaint[512];       /* what was logged last and still holds; "": nothing is wrong */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t watcher;
	bool started, stop, kicked;
};

/* -- asking --------------------------------------------------------------------------------------- */

static pthread_once_t defaults_once = PTHREAD_ONCE_INIT;
static struct rules *defaults; /* for those who ask no policy in particular: a constant, made when first used */

static void make_defaults(void)
{
	struct rules *rs = NULL;

	if (rules_new(&rs, NULL) < 0 || rules_link(rs, NULL) < 0) {
		rules_free(rs);
		return;
	}
	defaults = rs;
}

/* NULL without memory for the default ones: then nothing is allowed. */
static const struct rules *enter(struct policy *p, struct room **ret)
{
	if (!p) {
		pthread_once(&defaults_once, make_defaults);
		return defaults;
	}
	*ret = &p->rooms[atomic_load(&p->open_room)];
	atomic_fetch_add(&(*ret)->n_readers, 1);
	return atomic_load(&p->rules);
}

static void leave(struct policy *p, struct room *room)
{
	if (p)
		atomic_fetch_sub(&room->n_readers, 1);
}

const char *policy_name(enum policy_rule rule)
{
	assert(rule < N_POLICY_RULES);
	return rule_defaults[rule].name;
}

bool policy_allows(struct policy *policy, enum policy_rule rule, const struct who *who, const struct policy_target *target)
{
	struct room *room;
	const struct rules *rs;
	bool allowed;

	assert(rule < N_POLICY_RULES);
	if (who->is_service_itself)
		return true;
	rs = enter(policy, &room);
	allowed = rs && rules_allow(rs, &rs->rules[rule], who, target);
	leave(policy, room);
	return allowed;
}

bool policy_allows_named(struct policy *policy, const char *name, const struct who *who,
			 const struct policy_target *target)
{
	struct room *room;
	const struct rules *rs = enter(policy, &room);
	const struct rule *rule = rs ? rules_find(rs, name) : NULL;
	bool allowed = rule && rules_allow(rs, rule, who, target);

	leave(policy, room);
	return allowed;
}

bool policy_has(struct policy *policy, const char *name)
{
	struct room *room;
	const struct rules *rs = enter(policy, &room);
	bool has = rs && rules_find(rs, name);

	leave(policy, room);
	return has;
}

bool policy_is_default(struct policy *policy, enum policy_rule rule)
{
	struct room *room;
	const struct rules *rs = enter(policy, &room);
	bool is_default = rs && rules_is_default(rs, &rs->rules[rule]);

	leave(policy, room);
	return is_default;
}

int policy_check(struct policy *policy, enum policy_rule rule, const struct who *who, const struct policy_target *target,
		 struct err *err)
{
	const char *action = rule_defaults[rule].action;

	if (policy_allows(policy, rule, who, target))
		return 0;
	if (!target || !target->image || !*target->image->id)
		return err_set(err, ERR_FORBIDDEN, "You may not %s images.", action);
	return err_set(err, ERR_FORBIDDEN, "You may not %s image %s.", action, target->image->id);
}

void policy_identify(struct policy *policy, struct who *who)
{
	who->roles &= ~(unsigned)ROLE_ADMIN;
	if (policy_allows(policy, POLICY_CONTEXT_IS_ADMIN, who, NULL))
		who->roles |= ROLE_ADMIN;
}

/* An image without an owner is everybody's to see, as in Glance. */
static bool image_reaches(const struct who *who, const struct image *image, bool is_member)
{
	if (!image->owner || who_owns(who, image->owner))
		return true;
	if (image->visibility == IMAGE_PUBLIC || image->visibility == IMAGE_COMMUNITY)
		return true;
	return image->visibility == IMAGE_SHARED && is_member;
}

bool policy_image_reaches(const struct who *who, const struct image *image, bool is_member)
{
	return who_is_admin(who) || image_reaches(who, image, is_member);
}

bool policy_image_visible(struct policy *policy, const struct who *who, const struct image *image, bool is_member)
{
	struct policy_target target = {image, is_member};

	return policy_image_reaches(who, image, is_member) && policy_allows(policy, POLICY_GET_IMAGE, who, &target);
}

const struct rules *policy_rules(const struct policy *p)
{
	return atomic_load(&p->rules);
}

/* -- taking the place of others ------------------------------------------------------------------- */

static void empty_room(struct policy *p, unsigned i)
{
	atomic_store(&p->open_room, !i);
	while (atomic_load(&p->rooms[i].n_readers) > 0)
		sched_yield();
}

/* Takes @rs. */
static void put_in_force(struct policy *p, struct rules *rs)
{
	struct rules *old = atomic_exchange(&p->rules, rs);

	if (!old)
		return;
	empty_room(p, 0);
	empty_room(p, 1);
	rules_free(old);
}

static int read_rules(const struct policy_files *files, struct rules **ret, struct err *err)
{
	AUTO(rules_free_p) struct rules *rs = NULL;
	int r = rules_new(&rs, err);

	if (r == 0)
		r = policy_files_read(files, rs, err);
	if (r == 0)
		r = rules_link(rs, err);
	if (r == 0)
		*ret = TAKE(rs);
	return r;
}

static bool copy_stamp(struct buf *to, const struct buf *from)
{
	buf_reset(to);
	buf_add(to, buf_cstr(from), from->len);
	return !to->failed;
}

/* Takes @files. */
static int load(struct policy *p, struct policy_files *files, struct err *err)
{
	struct rules *rs;
	int r = copy_stamp(&p->tried, &files->stamp) ? read_rules(files, &rs, err) : err_nomem(err);

	if (r < 0)
		return r;
	put_in_force(p, rs);
	policy_files_done(&p->files);
	p->files = *files;
	*files = (struct policy_files){0};
	return 0;
}

int policy_new(const struct policy_config *config, struct policy **ret, struct err *err)
{
	AUTO(policy_files_done) struct policy_files files = {0};
	AUTO(policy_free_p) struct policy *p = aligned_alloc(CACHE_LINE, sizeof(*p));
	pthread_condattr_t attr;
	int r;

	if (!p)
		return err_nomem(err);
	memset(p, 0, sizeof(*p));
	p->config = *config;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	r = policy_files_find(config, &files, err);
	if (r == 0)
		r = load(p, &files, err);
	if (r == 0)
		*ret = TAKE(p);
	return r;
}

/* -- watching ------------------------------------------------------------------------------------- */

/* To be said once, until something else is wrong or nothing is. */
static bool is_news(struct policy *p, const char *what)
{
	if (strcmp(p->complaint, what) == 0)
		return false;
	(void)snprintf(p->complaint, sizeof(p->complaint), "%s", what);
	return true;
}

/* Without memory there is a next look. */
static void complain(struct policy *p, const struct err *err)
{
	if (err->code != ERR_NO_MEMORY && is_news(p, err_story(err)))
		log_error("glint.policy", NULL, "the rules stay as they were: %s", err_story(err));
}

static void complain_missing(struct policy *p, const char *path)
{
	if (is_news(p, path))
		log_warning("glint.policy", NULL, "the rules stay as they were: %s is gone or empty; SIGHUP, if that is meant",
			    path);
}

static void content(struct policy *p)
{
	if (*p->complaint)
		log_info("glint.policy", NULL, "nothing is wrong with the policy files any more");
	p->complaint[0] = '\0';
}

static bool has_path(const struct policy_files *files, const char *path, bool may_be_empty)
{
	for (size_t i = 0; i < files->n; i++)
		if (strcmp(files->paths[i], path) == 0)
			return may_be_empty || !files->empty[i];
	return false;
}

/* One that was read and is not there any more, or of which there is nothing left: that happens to a disk that is
 * full. NULL: none. */
static const char *find_missing(const struct policy *p, const struct policy_files *files)
{
	for (size_t i = 0; i < p->files.n; i++)
		if (!has_path(files, p->files.paths[i], p->files.empty[i]))
			return p->files.paths[i];
	return NULL;
}

static bool is_stamp(const struct buf *a, const struct buf *b)
{
	return strcmp(buf_cstr(a), buf_cstr(b)) == 0;
}

/* Takes @files. */
static void take_anew(struct policy *p, struct policy_files *files)
{
	struct err err = {0};

	if (load(p, files, &err) < 0) {
		complain(p, &err);
		if (err.code == ERR_NO_MEMORY)
			buf_reset(&p->tried);
		return;
	}
	content(p);
	log_info("glint.policy", NULL, "the policy files are read anew, %zu of them", p->files.n);
}

/* A file that is being written is not read before it has been the same for a while. A file that is gone may
 * be about to come back, so that is only believed when somebody says so. */
static void look(struct policy *p, bool told)
{
	AUTO(policy_files_done) struct policy_files files = {0};
	const char *missing;
	struct err err = {0};
	bool settled;

	if (policy_files_find(&p->config, &files, &err) < 0) {
		complain(p, &err);
		return;
	}
	settled = is_stamp(&files.stamp, &p->seen);
	if (!copy_stamp(&p->seen, &files.stamp))
		return;
	missing = find_missing(p, &files);
	if (missing && !told) {
		complain_missing(p, missing);
	} else if (is_stamp(&files.stamp, &p->files.stamp)) {
		content(p);
	} else if (told || (settled && !is_stamp(&files.stamp, &p->tried))) {
		take_anew(p, &files);
	}
}

static void wait_a_while(struct policy *p)
{
	int64_t until_us = clock_mono_us() + LOOK_EVERY_US;
	struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

	while (!p->stop && !p->kicked && pthread_cond_timedwait(&p->changed, &p->lock, &until) != ETIMEDOUT)
		;
}

static void *watch(void *arg)
{
	struct policy *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		bool told;

		wait_a_while(p);
		if (p->stop)
			break;
		told = p->kicked;
		p->kicked = false;
		pthread_mutex_unlock(&p->lock);
		look(p, told);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int policy_start(struct policy *p, struct err *err)
{
	int r = pthread_create(&p->watcher, NULL, watch, p);

	if (r != 0)
		return err_set(err, ERR_INTERNAL, "starting a thread: %s", strerror(r));
	p->started = true;
	return 0;
}

void policy_reload(struct policy *p)
{
	pthread_mutex_lock(&p->lock);
	p->kicked = true;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static void stop(struct policy *p)
{
	if (!p->started)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->watcher, NULL);
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	stop(p);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	policy_files_done(&p->files);
	buf_done(&p->tried);
	buf_done(&p->seen);
	rules_free(atomic_load(&p->rules));
	free(p);
}

void policy_free_p(struct policy **p)
{
	policy_free(*p);
}

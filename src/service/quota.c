/* SPDX-License-Identifier: Apache-2.0
 * service/quota.c -- quotas that hold whatever runs at the same time.
 *
 * What a project has stands in the database (db_usage_get()). What it is about to have is held here, in memory:
 * there is one process. For each project and kind
 *
 *     used + held <= quota
 *
 * (1) Octets are held before they are written. A sized transfer holds all of them at once; another one takes
 *     them in steps of STEP, smaller where less is left, and gives up what it has not used when another needs it.
 * (2) A hold ends after the commit that makes its octets part of `used`, or after they were removed. If they
 *     cannot be, it is kept until they are (recover.c). After a crash the start removes what uploads have left
 *     before anything else; what a task has left goes when it is picked up again.
 * (3) `used` is read first and compared later. What was committed in between, and has left `held`, would be in
 *     neither: `settled` says how much that can be at most, and counts as used.
 * (4) Between a commit and the end of its hold octets are in both. Nobody is refused for that: who finds no room
 *     while such a commit is under way waits for it and looks again.
 *
 * An image that is given to another project takes its octets along unasked; only admins can do that. */
#include "service/quota.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"

#define STEP (INT64_C(8) * 1024 * 1024)
#define PATIENCE_US (INT64_C(30) * 1000000) /* for Keystone; it has bounds of its own */
#define MIB (INT64_C(1024) * 1024)
#define N_KINDS 2

struct hold {
	struct quotas *quotas;
	struct account *account;
	enum hold_kind kind;
	struct quota quota;
	int64_t n_copies;
	int64_t octets; /* held */
	int64_t passed; /* of them there are bytes already */
	bool settling;
	char image_id[UUID_LEN + 1]; /* of one that is kept */
	struct hold *next;
};

/* A project that has holds. */
struct account {
	char *owner;
	int64_t held[N_KINDS];
	int64_t settled[N_KINDS]; /* what ended as counted, since the account was opened */
	struct hold *holds;
	struct account *next;
};

struct quotas {
	struct service *svc;
	pthread_mutex_t lock; /* held for a few instructions only */
	pthread_cond_t changed; /* a hold has settled, or will not */
	struct account *accounts;
};

/* -- what a project may have ----------------------------------------------------------------------- */

static const struct quota no_quota = {QUOTA_NONE, QUOTA_NONE, QUOTA_NONE, QUOTA_NONE};

bool quota_applies(const struct service *svc)
{
	return svc->config.unified || svc->config.user_storage_quota > 0;
}

/* The one of the configuration. Glance does not bound what waits in the staging area by it; here it must not be
 * the way around it, so it counts there once more. */
static struct quota own_quota(const struct service *svc)
{
	struct quota quota = no_quota;

	if (svc->config.user_storage_quota > 0)
		quota.total_octets = quota.staged_octets = svc->config.user_storage_quota;
	return quota;
}

int quota_of(struct service *svc, const char *owner, struct quota *ret, struct err *err)
{
	if (svc->config.unified)
		return limits_get(svc->config.unified, owner ?: "", clock_mono_us() + PATIENCE_US, ret, err);
	*ret = own_quota(svc);
	return 0;
}

void quota_ask(struct service *svc, const char *owner, limits_fn *done, void *cls)
{
	struct quota quota = own_quota(svc);
	struct err err = {0};

	if (!svc->config.unified || limits_recall(svc->config.unified, owner ?: "", &quota))
		done(cls, 0, &quota, &err);
	else
		limits_ask(svc->config.unified, owner ?: "", clock_mono_us() + PATIENCE_US, done, cls);
}

/* As oslo.limit words it; clients look for it. */
static int over_limit(const char *owner, const char *resource, int64_t limit, int64_t usage, int64_t delta,
		      struct err *err)
{
	return err_set(err, ERR_TOO_LARGE,
		       "Project %.64s is over a limit for [Resource %s is over limit of %lld due to current usage %lld "
		       "and delta %lld]",
		       owner ?: "", resource, (long long)limit, (long long)usage, (long long)delta);
}

int quota_check_images(const struct quota *quota, struct db_tx *tx, const char *owner, int64_t n_more, struct err *err)
{
	struct db_usage usage = {0};
	int r = quota->n_images >= 0 ? db_usage_get(tx, owner, &usage, err) : 0;

	if (r < 0 || quota->n_images < 0 || usage.n_images + n_more <= quota->n_images)
		return r;
	return over_limit(owner, "image_count_total", quota->n_images, usage.n_images, n_more, err);
}

int quota_check_uploading(const struct quota *quota, struct db_tx *tx, const char *owner, int64_t n_more,
			  struct err *err)
{
	struct db_usage usage = {0};
	int r = quota->n_uploading >= 0 ? db_usage_get(tx, owner, &usage, err) : 0;

	if (r < 0 || quota->n_uploading < 0 || usage.n_uploading + n_more <= quota->n_uploading)
		return r;
	return over_limit(owner, "image_count_uploading", quota->n_uploading, usage.n_uploading, n_more, err);
}

static int refuse_octets(const struct service *svc, const char *owner, enum hold_kind kind, int64_t limit,
			 int64_t room, int64_t wanted, struct err *err)
{
	if (svc->config.unified)
		return over_limit(owner, kind == HOLD_STORED ? "image_size_total" : "image_stage_total", limit / MIB,
				  (limit - room) / MIB, wanted / MIB + (wanted % MIB > 0), err);
	return err_set(err, ERR_TOO_LARGE,
		       "Image exceeds the storage quota: The size of the data %lld will exceed the limit. %lld bytes "
		       "remaining.",
		       (long long)wanted, (long long)(room > 0 ? room : 0));
}

int quota_check_stored(struct service *svc, const struct quota *quota, struct db_tx *tx, const char *owner,
		       struct err *err)
{
	int64_t limit = quota->total_octets;
	struct db_usage usage = {0};
	int r = limit >= 0 ? db_usage_get(tx, owner, &usage, err) : 0;

	if (r < 0 || limit < 0 || usage.stored_octets <= limit)
		return r;
	return refuse_octets(svc, owner, HOLD_STORED, limit, limit - usage.stored_octets, 0, err);
}

/* -- accounts: under the lock ---------------------------------------------------------------------- */

static struct account *find_account(struct quotas *q, const char *owner)
{
	for (struct account *a = q->accounts; a; a = a->next)
		if (strcmp(a->owner, owner) == 0)
			return a;
	return NULL;
}

static struct account *open_account(struct quotas *q, const char *owner)
{
	struct account *a = find_account(q, owner);

	if (a)
		return a;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->owner = strdup(owner);
	if (!a->owner) {
		free(a);
		return NULL;
	}
	a->next = q->accounts;
	q->accounts = a;
	return a;
}

static void close_account(struct quotas *q, struct account *account)
{
	struct account **p = &q->accounts;

	if (account->holds)
		return;
	while (*p != account)
		p = &(*p)->next;
	*p = account->next;
	free(account->owner);
	free(account);
}

static void unlink_hold(struct account *a, struct hold *h)
{
	struct hold **p = &a->holds;

	while (*p != h)
		p = &(*p)->next;
	*p = h->next;
}

static void set_octets(struct hold *h, int64_t octets)
{
	h->account->held[h->kind] += octets - h->octets;
	h->octets = octets;
}

/* What others have taken and not used. A sized transfer has used all of it from its beginning. */
static void reclaim(struct account *a, enum hold_kind kind)
{
	for (struct hold *h = a->holds; h; h = h->next)
		if (h->kind == kind)
			set_octets(h, h->passed);
}

static bool is_settling(const struct account *a, enum hold_kind kind)
{
	for (const struct hold *h = a->holds; h; h = h->next)
		if (h->kind == kind && h->settling)
			return true;
	return false;
}

/* -- taking ---------------------------------------------------------------------------------------- */

static int64_t limit_of(const struct hold *h)
{
	return h->kind == HOLD_STORED ? h->quota.total_octets : h->quota.staged_octets;
}

static int read_used(const struct hold *h, int64_t *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct db_usage usage;
	int r = db_begin(h->quotas->svc->db, DB_READ, &tx, err);

	if (r == 0)
		r = db_usage_get(tx, h->account->owner, &usage, err);
	if (r == 0)
		*ret = h->kind == HOLD_STORED ? usage.stored_octets : usage.staged_octets;
	return r;
}

/* What has been read, and when. */
struct look {
	int64_t used, settled;
};

/* Under the lock. How much more there is than @h has. */
static int64_t room_for(const struct hold *h, const struct look *look)
{
	const struct account *a = h->account;

	return limit_of(h) - look->used - (a->settled[h->kind] - look->settled) - a->held[h->kind];
}

/* What @h wants: to have @target octets, and up to @step if there is room; @only_ask: to know whether it could. */
struct want {
	int64_t target, step;
	bool only_ask;
};

/* Under the lock. False: there is no room. */
static bool grow(struct hold *h, const struct want *want, const struct look *look)
{
	int64_t room = room_for(h, look), more = want->target - h->octets;

	if (room < more) {
		reclaim(h->account, h->kind);
		room = room_for(h, look);
		more = want->target - h->octets;
	}
	if (room < more)
		return false;
	if (want->only_ask)
		return true;
	if (more < want->step)
		more = room < want->step ? room : want->step;
	set_octets(h, h->octets + more);
	h->passed = want->target;
	return true;
}

/* Under the lock. Has anything happened, or will it, that makes it worth another look? */
static bool look_again(struct hold *h, const struct look *look)
{
	struct account *a = h->account;

	while (a->settled[h->kind] == look->settled && is_settling(a, h->kind))
		pthread_cond_wait(&h->quotas->changed, &h->quotas->lock);
	return a->settled[h->kind] != look->settled;
}

enum taken { TAKEN, REFUSED, AGAIN };

/* A commit that failed is behind the wait of look_again(), too: then nothing has changed, and it is refused
 * by what is held. */
static int try_to_take(struct hold *h, const struct want *want, enum taken *ret, int64_t *ret_room, struct err *err)
{
	struct quotas *q = h->quotas;
	struct look look = {0};
	int r;

	pthread_mutex_lock(&q->lock);
	look.settled = h->account->settled[h->kind];
	pthread_mutex_unlock(&q->lock);
	r = read_used(h, &look.used, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&q->lock);
	*ret = grow(h, want, &look) ? TAKEN : look_again(h, &look) ? AGAIN : REFUSED;
	*ret_room = room_for(h, &look) + h->octets;
	pthread_mutex_unlock(&q->lock);
	return 0;
}

/* Each further round follows the end of another transfer. */
static int take(struct hold *h, const struct want *want, struct err *err)
{
	enum taken taken = AGAIN;
	int64_t room = 0;
	int r = 0;

	while (r == 0 && taken == AGAIN)
		r = try_to_take(h, want, &taken, &room, err);
	if (r < 0 || taken == TAKEN)
		return r;
	return refuse_octets(h->quotas->svc, h->account->owner, h->kind, limit_of(h), room, want->target,
			     err);
}

/* -- holds ----------------------------------------------------------------------------------------- */

int hold_new(struct service *svc, const char *owner, enum hold_kind kind, const struct quota *quota,
	     struct hold **ret, struct err *err)
{
	struct quotas *q = svc->quotas;
	struct hold *h = calloc(1, sizeof(*h));

	if (!h)
		return err_nomem(err);
	h->quotas = q;
	h->kind = kind;
	h->quota = *quota;
	h->n_copies = 1;
	pthread_mutex_lock(&q->lock);
	h->account = open_account(q, owner ?: "");
	if (h->account) {
		h->next = h->account->holds;
		h->account->holds = h;
	}
	pthread_mutex_unlock(&q->lock);
	if (!h->account) {
		free(h);
		return err_nomem(err);
	}
	*ret = h;
	return 0;
}

const struct quota *hold_quota(const struct hold *h)
{
	return h ? &h->quota : &no_quota;
}

bool hold_is_of(const struct hold *h, const char *owner)
{
	return !h || strcmp(h->account->owner, owner ?: "") == 0;
}

static int64_t times(int64_t octets, int64_t n)
{
	int64_t product;

	return __builtin_mul_overflow(octets, n, &product) ? INT64_MAX / 2 : product;
}

/* Without asking: what it has already is enough, or there is no limit. */
static bool passes(struct hold *h, int64_t target)
{
	bool enough;

	pthread_mutex_lock(&h->quotas->lock);
	if (limit_of(h) < 0 && target > h->octets)
		set_octets(h, target);
	enough = target <= h->octets;
	if (enough && target > h->passed)
		h->passed = target;
	pthread_mutex_unlock(&h->quotas->lock);
	return enough;
}

static int reach(struct hold *h, int64_t n_octets, int64_t step, struct err *err)
{
	struct want want = {.target = times(n_octets, h->n_copies), .step = step};

	return passes(h, want.target) ? 0 : take(h, &want, err);
}

int hold_begin(struct hold *h, size_t n_copies, int64_t size, int64_t hint, struct err *err)
{
	struct want want = {.only_ask = true};

	if (!h)
		return 0;
	h->n_copies = (int64_t)n_copies;
	if (size >= 0)
		return reach(h, size, 0, err);
	if (hint <= 0 || limit_of(h) < 0)
		return 0;
	want.target = times(hint, h->n_copies);
	return take(h, &want, err);
}

int hold_reach(struct hold *h, int64_t n_octets, struct err *err)
{
	return h ? reach(h, n_octets, STEP, err) : 0;
}

void hold_settle(struct hold *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->quotas->lock);
	h->settling = true;
	pthread_mutex_unlock(&h->quotas->lock);
}

void hold_unsettle(struct hold *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->quotas->lock);
	h->settling = false;
	pthread_cond_broadcast(&h->quotas->changed);
	pthread_mutex_unlock(&h->quotas->lock);
}

/* Under the lock. */
static void drop(struct quotas *q, struct hold *h, bool is_counted)
{
	struct account *a = h->account;

	if (is_counted)
		a->settled[h->kind] += h->passed;
	set_octets(h, 0);
	unlink_hold(a, h);
	close_account(q, a);
	free(h);
	pthread_cond_broadcast(&q->changed);
}

void hold_end(struct hold *h, bool is_counted)
{
	struct quotas *q = h ? h->quotas : NULL;

	if (!h)
		return;
	pthread_mutex_lock(&q->lock);
	drop(q, h, is_counted);
	pthread_mutex_unlock(&q->lock);
}

void hold_keep(struct hold *h, const char *image_id)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->quotas->lock);
	h->settling = false;
	memcpy(h->image_id, image_id, sizeof(h->image_id));
	set_octets(h, h->passed);
	pthread_cond_broadcast(&h->quotas->changed);
	pthread_mutex_unlock(&h->quotas->lock);
}

static struct hold *find_kept(struct quotas *q, const char *image_id)
{
	for (struct account *a = q->accounts; a; a = a->next)
		for (struct hold *h = a->holds; h; h = h->next)
			if (strcmp(h->image_id, image_id) == 0)
				return h;
	return NULL;
}

void quota_forgive(struct service *svc, const char *image_id)
{
	struct quotas *q = svc->quotas;
	struct hold *h;

	pthread_mutex_lock(&q->lock);
	while ((h = find_kept(q, image_id)))
		drop(q, h, false);
	pthread_mutex_unlock(&q->lock);
}

/* -- opening and closing --------------------------------------------------------------------------- */

int quotas_new(struct service *svc, struct quotas **ret, struct err *err)
{
	struct quotas *q = calloc(1, sizeof(*q));

	if (!q)
		return err_nomem(err);
	q->svc = svc;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->changed, NULL);
	*ret = q;
	return 0;
}

void quotas_free(struct quotas *q)
{
	if (!q)
		return;
	while (q->accounts)
		drop(q, q->accounts->holds, false); /* those that are kept */
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

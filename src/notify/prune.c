/* SPDX-License-Identifier: Apache-2.0
 * notify/prune.c -- keeps the journal within its bounds.
 *
 * (1) An event that some configured driver has not passed, or that a replay under way has yet to
 *     hand out, never goes, however old it is and however large the journal.
 * (2) Of the others go those older than max_age; while the journal is larger than max_bytes, the
 *     oldest go whatever their age.
 * (3) Cursors of drivers that are not configured any more hold nothing back.
 *
 * Looks with a read transaction and writes only if there is something to remove. Removes a few
 * hundred rows a transaction, so that nobody waits long for the writer. */
#include "prune.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#define LOGGER "glint.prune"
#define SECOND INT64_C(1000000)
#define EVERY_US (30 * SECOND)
#define ROWS_MAX 500 /* a transaction */

struct limits {
	int64_t upto, older_than, max_bytes;
};

/* -- what may go ------------------------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The offset up to which @driver needs nothing any more. */
static int passed_by(struct db_tx *tx, const char *driver, int64_t *ret, struct err *err)
{
	struct db_cursor c;
	struct db_replay replay;
	int r = db_cursor_get(tx, driver, &c, err);

	if (r < 0 && r != ERR_NOT_FOUND)
		return r;
	*ret = r < 0 ? 0 : c.offset;
	r = db_replay_next(tx, driver, &replay, err);
	if (r == 0)
		*ret = least(*ret, replay.next - 1);
	return r == ERR_NOT_FOUND ? 0 : r;
}

static int find_limits(struct db_tx *tx, const struct prune_config *config, const struct db_journal *j,
		       int64_t now, struct limits *ret, struct err *err)
{
	int64_t upto = j->last_ever, passed;

	for (size_t i = 0; i < config->n_drivers; i++) {
		int r = passed_by(tx, config->drivers[i], &passed, err);

		if (r < 0)
			return r;
		upto = least(upto, passed);
	}
	*ret = (struct limits){
		.upto = upto,
		.older_than = config->max_age_us < 0 ? INT64_MIN : now - config->max_age_us,
		.max_bytes = config->max_bytes < 0 ? INT64_MAX : config->max_bytes,
	};
	return 0;
}

static bool is_over(const struct db_journal *j, const struct limits *l)
{
	return j->n_events > 0 && j->n_bytes > l->max_bytes;
}

static bool has_work(const struct db_journal *j, const struct limits *l)
{
	return j->n_events > 0 && j->first <= l->upto &&
	       (j->oldest_timestamp < l->older_than || is_over(j, l));
}

static int look(struct db *db, const struct prune_config *config, int64_t now, struct db_journal *ret_journal,
		struct limits *ret_limits, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(db, DB_READ, &tx, err);

	if (r == 0)
		r = db_journal(tx, ret_journal, err);
	if (r == 0)
		r = find_limits(tx, config, ret_journal, now, ret_limits, err);
	return r;
}

static int remove_some(struct db *db, const struct limits *l, int64_t *ret_n, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(db, DB_WRITE, &tx, err);

	if (r == 0)
		r = db_event_prune(tx, l->upto, l->older_than, l->max_bytes, ROWS_MAX, ret_n, err);
	if (r == 0)
		r = db_commit(&tx, err);
	return r;
}

int prune_journal(struct db *db, const struct prune_config *config, int64_t now, int64_t *ret_n,
		  bool *ret_over, struct err *err)
{
	struct db_journal j = {0};
	struct limits l = {0};
	int64_t total = 0, n;
	int r;

	while ((r = look(db, config, now, &j, &l, err)) == 0 && has_work(&j, &l)) {
		r = remove_some(db, &l, &n, err);
		if (r < 0)
			return r;
		total += n;
		if (n == 0)
			break;
	}
	if (r < 0)
		return r;
	*ret_n = total;
	*ret_over = is_over(&j, &l);
	return 0;
}

/* -- the thread -------------------------------------------------------------------------------- */

struct pruner {
	struct db *db;
	const struct prune_config *config;
	pthread_t thread;
	bool over, fails; /* told already */

	pthread_mutex_t lock; /* guards: */
	pthread_cond_t changed;
	bool stopping;
};

static void note_over(struct pruner *p, bool over)
{
	if (over && !p->over)
		log_warning(LOGGER, NULL,
			    "the journal of events holds more than %" PRId64
			    " octets that are not delivered; they are kept",
			    p->config->max_bytes);
	if (!over && p->over)
		log_info(LOGGER, NULL, "the journal of events is within its bound again");
	p->over = over;
}

static void prune(struct pruner *p)
{
	struct err err = {0};
	int64_t n = 0;
	bool over = p->over;
	int r = prune_journal(p->db, p->config, clock_now_us(), &n, &over, &err);

	if (r < 0 && !p->fails)
		log_warning(LOGGER, NULL, "the journal of events cannot be pruned: %s", err_story(&err));
	if (r == 0 && n > 0)
		log_debug(LOGGER, NULL, "took %" PRId64 " delivered events out of the journal", n);
	if (r == 0)
		note_over(p, over);
	p->fails = r < 0;
}

/* False when it is time to end. */
static bool wait_for_next(struct pruner *p)
{
	int64_t until = clock_mono_us() + EVERY_US;
	struct timespec at = {.tv_sec = until / SECOND, .tv_nsec = until % SECOND * 1000};
	bool go_on;

	pthread_mutex_lock(&p->lock);
	while (!p->stopping && clock_mono_us() < until)
		(void)pthread_cond_timedwait(&p->changed, &p->lock, &at);
	go_on = !p->stopping;
	pthread_mutex_unlock(&p->lock);
	return go_on;
}

static void *pruner_main(void *arg)
{
	struct pruner *p = arg;

	do
		prune(p);
	while (wait_for_next(p));
	return NULL;
}

static void pruner_free(struct pruner *p)
{
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static struct pruner *pruner_new(struct db *db, const struct prune_config *config)
{
	struct pruner *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;

	if (!p)
		return NULL;
	p->db = db;
	p->config = config;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	return p;
}

int pruner_start(struct db *db, const struct prune_config *config, struct pruner **ret, struct err *err)
{
	struct pruner *p = pruner_new(db, config);
	sigset_t all, before;
	int rc;

	if (!p)
		return err_nomem(err);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(&p->thread, NULL, pruner_main, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		pruner_free(p);
		return err_set(err, ERR_UNAVAILABLE, "starting a thread: %s", strerror(rc));
	}
	(void)pthread_setname_np(p->thread, "pruner");
	*ret = p;
	return 0;
}

void pruner_stop(struct pruner *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pruner_free(p);
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/relay.c -- carries the journal to one driver.
 *
 * (1) Events reach the driver in the order of their offsets; the next batch begins with the first event
 *     that is neither delivered nor set aside. So no event of a subject overtakes another.
 * (2) The stored cursor never passes an event that is not safe or set aside. It may stay behind
 *     what is delivered by SAVE_US: after a crash that much is delivered again, under the same ids.
 *     An event passes for set aside once its row says so (glint_set_aside); a replay that succeeds
 *     takes the row away.
 * (3) A replay hands out only what the cursor has passed, so it runs ahead of nothing. What a driver says
 *     is under way it gets again before anything else, so it can tell what it knows by offset.
 * (4) No lock is held and no transaction is open while the driver works.
 *
 * States of the thread: looking (takes turns until there is nothing left), waiting (for a wake, or
 * LOOK_US), backing off (the driver or the database is in trouble; a wake does not shorten it).
 *
 * The lock guards the first group of members below; the rest belongs to the thread while it runs. */
#include "relay.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/utf8.h"
#include "batch.h"
#include "count.h"

#define LOGGER "glint.relay"
#define SECOND INT64_C(1000000)
#define LOOK_US (3 * SECOND)  /* other processes append and replay without waking us */
#define SAVE_US (SECOND / 10) /* a stored cursor lags by no more while we are busy */
#define BACKOFF_MIN_US (SECOND / 10)
#define BACKOFF_MAX_US (2 * SECOND) /* who is back gets everything within seconds */
#define GRACE_US SECOND /* for a call to the driver that is under way at the deadline */

enum turn { TURN_DONE, TURN_MORE, TURN_UNDER_WAY, TURN_TROUBLE };
enum trouble { TROUBLE_NONE, TROUBLE_JOURNAL, TROUBLE_DRIVER };

struct relay {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool woken, reopen, stopping, in_driver, ended, abandoned;
	int64_t deadline_us; /* once stopping */

	struct db *db;
	const struct notify_driver *driver;
	struct notify_driver_config config; /* publisher_id and log_path are ours */
	void *state;
	bool opened, started;
	pthread_t thread;

	const struct counters *counters; /* see relay_count() */
	size_t row;
	_Atomic int64_t passed; /* cursor.offset, for other threads */

	struct db_cursor cursor;
	bool dirty; /* the cursor differs from the stored one */
	bool save_fails;
	int64_t saved_us, looked_us; /* monotonic, as are all of these */
	enum trouble trouble;
	int64_t trouble_since_us, backoff_us, retry_us; /* retry_us: 0 unless backing off */
};

static const struct counters nothing; /* is counted unless somebody asks for it */

/* -- the cursor -------------------------------------------------------------------------------- */

static void note_save(struct relay *r, bool ok, const struct err *err)
{
	r->saved_us = clock_mono_us();
	if (!ok && !r->save_fails)
		log_warning(LOGGER, NULL, "driver '%s': its position cannot be stored: %s", r->driver->name,
			    err_story(err));
	if (ok && r->save_fails)
		log_info(LOGGER, NULL, "driver '%s': its position can be stored again", r->driver->name);
	r->save_fails = !ok;
	r->dirty = r->dirty && !ok;
}

/* What to store besides the cursor, in the same transaction. */
struct progress {
	const struct db_replay *replay; /* it is to go on at next; NULL: none */
	int64_t next;
	int64_t again_from, again_to;     /* offsets that the driver took the second time; none if 0 */
	const struct db_set_aside *aside; /* what it will never take; NULL: nothing */
};

static int put_progress(struct db_tx *tx, const char *driver, const struct progress *p, struct err *err)
{
	int rc = 0;

	if (p->replay)
		rc = db_replay_advance(tx, p->replay->id, p->next, err);
	if (rc == 0 && p->again_from)
		rc = db_set_aside_delete(tx, driver, p->again_from, p->again_to, err);
	if (rc == 0 && p->aside)
		rc = db_set_aside_put(tx, p->aside, err);
	return rc;
}

/* A failure costs only that more is delivered again after a crash. @p may be NULL. */
static bool save(struct relay *r, const struct progress *p)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct err err = {0};
	int rc = db_begin(r->db, DB_WRITE, &tx, &err);

	r->cursor.updated_at = clock_now_us();
	if (rc == 0 && p)
		rc = put_progress(tx, r->driver->name, p, &err);
	if (rc == 0 && r->dirty)
		rc = db_cursor_put(tx, &r->cursor, &err);
	if (rc == 0)
		rc = db_commit(&tx, &err);
	note_save(r, rc == 0, &err);
	return rc == 0;
}

static void save_if_due(struct relay *r)
{
	if (r->dirty && r->trouble != TROUBLE_JOURNAL && clock_mono_us() - r->saved_us >= SAVE_US)
		save(r, NULL);
}

/* How many events wait for this driver, roughly; 0 if the database does not say. */
static int64_t backlog(struct relay *r)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct db_journal j;

	if (db_begin(r->db, DB_READ, &tx, NULL) < 0 || db_journal(tx, &j, NULL) < 0)
		return 0;
	return j.last_ever - r->cursor.offset;
}

/* -- trouble ----------------------------------------------------------------------------------- */

static void begin_trouble(struct relay *r, enum trouble kind, const char *story)
{
	r->trouble = kind;
	r->trouble_since_us = clock_mono_us();
	log_warning(LOGGER, NULL, "driver '%s' is in trouble, events wait: %s", r->driver->name, story);
}

static enum turn in_trouble(struct relay *r, enum trouble kind, const struct err *err)
{
	const char *story = err_story(err);
	bool begins = r->trouble == TROUBLE_NONE;

	if (begins)
		begin_trouble(r, kind, story);
	r->trouble = kind;
	r->cursor.n_retries++;
	metric_add(r->counters->retries, r->row, 1);
	(void)snprintf(r->cursor.problem, sizeof(r->cursor.problem), "%s", story);
	r->cursor.problem[utf8_trim(r->cursor.problem, strlen(r->cursor.problem))] = '\0';
	r->dirty = true;
	r->backoff_us = r->backoff_us ? r->backoff_us * 2 : BACKOFF_MIN_US;
	if (r->backoff_us > BACKOFF_MAX_US)
		r->backoff_us = BACKOFF_MAX_US;
	r->retry_us = clock_mono_us() + r->backoff_us;
	if (begins && kind == TROUBLE_DRIVER)
		save(r, NULL);
	return TURN_TROUBLE;
}

static void out_of_trouble(struct relay *r)
{
	r->backoff_us = r->retry_us = 0;
	if (r->trouble == TROUBLE_NONE)
		return;
	r->trouble = TROUBLE_NONE;
	r->cursor.problem[0] = '\0';
	r->dirty = true;
	log_info(LOGGER, NULL,
		 "driver '%s' is well again after %" PRId64 " s, %" PRId64 " events are waiting",
		 r->driver->name, (clock_mono_us() - r->trouble_since_us) / SECOND, backlog(r));
	save(r, NULL);
}

/* -- delivery ---------------------------------------------------------------------------------- */

/* False if the relay was given up meanwhile: then nothing but the driver may be touched. */
static bool enter_driver(struct relay *r, bool *ret_reopen)
{
	pthread_mutex_lock(&r->lock);
	r->in_driver = !r->abandoned;
	*ret_reopen = r->reopen;
	r->reopen = false;
	pthread_mutex_unlock(&r->lock);
	return r->in_driver;
}

static bool leave_driver(struct relay *r)
{
	bool abandoned;

	pthread_mutex_lock(&r->lock);
	r->in_driver = false;
	abandoned = r->abandoned;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	return !abandoned;
}

/* False if the relay was given up meanwhile. */
static bool hand_over(struct relay *r, const struct batch *b, enum delivery *ret, size_t *ret_n_safe,
		      struct err *err)
{
	int64_t began_us;
	bool reopen;

	*ret_n_safe = 0;
	if (!enter_driver(r, &reopen))
		return false;
	if (reopen && r->driver->reopen)
		r->driver->reopen(r->state);
	began_us = clock_mono_us();
	*ret = r->driver->deliver(r->state, b->events, b->n, ret_n_safe, err);
	if (*ret == DELIVERY_DELIVERED)
		*ret_n_safe = b->n;
	assert(*ret_n_safe <= b->n && (*ret != DELIVERY_REJECTED || *ret_n_safe < b->n));
	assert(*ret != DELIVERY_UNDER_WAY || (*ret_n_safe > 0 && *ret_n_safe < b->n));
	if (!leave_driver(r))
		return false;
	metric_observe(r->counters->publish_times, r->row, clock_mono_us() - began_us);
	return true;
}

static void log_rejected(const struct relay *r, const struct db_event *e, const struct err *err)
{
	log_error(LOGGER, NULL,
		  "driver '%s' will never take event %s (%s of %s, offset %" PRId64 "), it is set aside: %s",
		  r->driver->name, e->message_id, e->event_type, e->subject, e->offset, err_story(err));
}

static void move_to(struct relay *r, int64_t offset)
{
	r->cursor.offset = offset;
	atomic_store_explicit(&r->passed, offset, memory_order_relaxed);
	r->dirty = true;
}

static void pass(struct relay *r, const struct batch *b, size_t n_safe)
{
	int64_t now = clock_now_us();

	if (n_safe == 0)
		return;
	for (size_t i = 0; i < n_safe; i++)
		metric_observe(r->counters->delays, r->row, now - b->events[i].timestamp);
	metric_add(r->counters->delivered, r->row, n_safe);
	r->cursor.n_delivered += (int64_t)n_safe;
	move_to(r, b->events[n_safe - 1].offset);
}

static struct db_set_aside aside_of(const struct relay *r, const struct db_event *e, const struct err *err)
{
	struct db_set_aside s = {.offset = e->offset, .at = clock_now_us(), .reason = err_story(err)};

	(void)snprintf(s.driver, sizeof(s.driver), "%s", r->driver->name);
	return s;
}

/* The cursor passes it only together with its row among those set aside. */
static bool set_aside(struct relay *r, const struct db_event *e, const struct err *err)
{
	struct db_set_aside aside = aside_of(r, e, err);
	struct progress p = {.aside = &aside};
	struct db_cursor before = r->cursor;

	r->cursor.n_set_aside++;
	move_to(r, e->offset);
	if (save(r, &p)) {
		metric_add(r->counters->set_aside, r->row, 1);
		log_rejected(r, e, err);
		return true;
	}
	r->cursor = before;
	move_to(r, before.offset);
	return false;
}

/* What has not been delivered yet. */
static enum turn deliver_new(struct relay *r)
{
	AUTO(batch_done) struct batch b = {0};
	struct err err = {0};
	enum delivery verdict;
	size_t n_safe;

	if (batch_read(&b, r->db, r->cursor.offset, INT64_MAX, &err) < 0)
		return in_trouble(r, TROUBLE_JOURNAL, &err);
	if (r->trouble == TROUBLE_JOURNAL)
		out_of_trouble(r);
	if (b.n == 0)
		return TURN_DONE;
	if (!hand_over(r, &b, &verdict, &n_safe, &err))
		return TURN_TROUBLE;
	pass(r, &b, n_safe);
	if (verdict == DELIVERY_RETRY) {
		r->backoff_us = n_safe ? 0 : r->backoff_us;
		return in_trouble(r, TROUBLE_DRIVER, &err);
	}
	if (verdict == DELIVERY_REJECTED && !set_aside(r, &b.events[n_safe], &err)) {
		err_set(&err, ERR_UNAVAILABLE, "an event cannot be set aside in the database");
		return in_trouble(r, TROUBLE_JOURNAL, &err);
	}
	out_of_trouble(r);
	if (verdict == DELIVERY_UNDER_WAY)
		return TURN_UNDER_WAY;
	return b.more || verdict == DELIVERY_REJECTED ? TURN_MORE : TURN_DONE;
}

/* The oldest replay asked for and its next events; an empty batch if it has none left. False if
 * there is none. */
static int read_replay(struct relay *r, struct db_replay *ret, struct batch *b, bool *ret_any,
		       struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int64_t upto;
	int rc = db_begin(r->db, DB_READ, &tx, err);

	*ret_any = false;
	if (rc == 0)
		rc = db_replay_next(tx, r->driver->name, ret, err);
	if (rc < 0)
		return rc == ERR_NOT_FOUND ? 0 : rc;
	db_abort(TAKE(tx));
	*ret_any = true;
	upto = ret->last < r->cursor.offset ? ret->last : r->cursor.offset;
	return batch_read(b, r->db, ret->next - 1, upto, err);
}

/* Where the replay goes on after @n_passed of @b; past its end if that was all. */
static int64_t replay_next(const struct db_replay *replay, const struct batch *b, size_t n_passed)
{
	if (n_passed == b->n && !b->more)
		return replay->last + 1;
	return n_passed ? b->events[n_passed - 1].offset + 1 : replay->next;
}

/* Stores how far the replay is after @n_taken of @b; the one behind them is set aside, if there is a
 * @rejected. What was set aside before and went well now is not any more. */
static void save_replay(struct relay *r, const struct db_replay *replay, const struct batch *b, size_t n_taken,
			const struct err *rejected)
{
	struct db_set_aside aside;
	struct progress p = {.replay = replay};

	p.next = replay_next(replay, b, n_taken + (rejected ? 1 : 0));
	if (n_taken > 0) {
		p.again_from = b->events[0].offset;
		p.again_to = b->events[n_taken - 1].offset;
	}
	if (rejected) {
		aside = aside_of(r, &b->events[n_taken], rejected);
		p.aside = &aside;
		log_rejected(r, &b->events[n_taken], rejected);
	}
	save(r, &p);
}

/* Until nothing of it is under way any more. False if the relay was given up meanwhile. */
static bool hand_over_again(struct relay *r, const struct batch *b, enum delivery *ret, size_t *ret_n_safe,
			    struct err *err)
{
	struct batch rest = *b; /* borrows */
	size_t n;

	*ret_n_safe = 0;
	do {
		if (!hand_over(r, &rest, ret, &n, err))
			return false;
		*ret_n_safe += n;
		rest.events += n;
		rest.n -= n;
	} while (*ret == DELIVERY_UNDER_WAY);
	return true;
}

/* What has been asked for again. Counts as neither delivered nor set aside: those count the journal. */
static enum turn deliver_again(struct relay *r)
{
	AUTO(batch_done) struct batch b = {0};
	struct db_replay replay;
	struct err err = {0};
	enum delivery verdict = DELIVERY_DELIVERED;
	size_t n_taken = 0;
	bool any;

	if (read_replay(r, &replay, &b, &any, &err) < 0)
		return in_trouble(r, TROUBLE_JOURNAL, &err);
	if (!any)
		return TURN_DONE;
	if (b.n > 0 && !hand_over_again(r, &b, &verdict, &n_taken, &err))
		return TURN_TROUBLE;
	if (verdict != DELIVERY_RETRY || n_taken > 0)
		save_replay(r, &replay, &b, n_taken, verdict == DELIVERY_REJECTED ? &err : NULL);
	if (verdict == DELIVERY_RETRY)
		return in_trouble(r, TROUBLE_DRIVER, &err);
	out_of_trouble(r);
	return r->save_fails ? TURN_DONE : TURN_MORE; /* what cannot be stored is not repeated at once */
}

/* A driver with a connection keeps it alive while there is nothing to deliver. */
static void idle(struct relay *r)
{
	bool reopen;

	if (!r->driver->idle || !enter_driver(r, &reopen))
		return;
	if (reopen && r->driver->reopen)
		r->driver->reopen(r->state);
	r->driver->idle(r->state);
	(void)leave_driver(r);
}

static enum turn take_turn(struct relay *r)
{
	enum turn fresh, again;

	r->looked_us = clock_mono_us();
	fresh = deliver_new(r);
	if (fresh == TURN_TROUBLE || fresh == TURN_UNDER_WAY)
		return fresh;
	again = deliver_again(r);
	if (fresh == TURN_DONE && again == TURN_DONE)
		idle(r);
	return again == TURN_DONE ? fresh : again;
}

/* -- the thread -------------------------------------------------------------------------------- */

/* When there is something to do without anybody waking us. */
static int64_t next_time(const struct relay *r)
{
	int64_t save_at = r->saved_us + SAVE_US, look_at = r->looked_us + LOOK_US;

	if (r->retry_us)
		return r->retry_us;
	return r->dirty && !r->save_fails && save_at < look_at ? save_at : look_at;
}

static void wait_until(struct relay *r, int64_t mono_us)
{
	struct timespec at = {.tv_sec = mono_us / SECOND, .tv_nsec = mono_us % SECOND * 1000};

	(void)pthread_cond_timedwait(&r->changed, &r->lock, &at);
}

/* True if the round that begins now is the last one. */
static bool wait_for_work(struct relay *r)
{
	int64_t until = next_time(r);
	bool last;

	pthread_mutex_lock(&r->lock);
	while (!r->stopping && (r->retry_us || !r->woken) && clock_mono_us() < until)
		wait_until(r, until);
	r->woken = false;
	last = r->stopping;
	pthread_mutex_unlock(&r->lock);
	return last;
}

static bool may_go_on(struct relay *r)
{
	bool may;

	pthread_mutex_lock(&r->lock);
	may = !r->stopping || clock_mono_us() < r->deadline_us;
	pthread_mutex_unlock(&r->lock);
	return may;
}

static bool end(struct relay *r)
{
	bool abandoned;

	pthread_mutex_lock(&r->lock);
	r->ended = true;
	abandoned = r->abandoned;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	return abandoned;
}

static bool is_abandoned(struct relay *r)
{
	bool abandoned;

	pthread_mutex_lock(&r->lock);
	abandoned = r->abandoned;
	pthread_mutex_unlock(&r->lock);
	return abandoned;
}

static void *relay_main(void *arg)
{
	struct relay *r = arg;
	bool last = false;

	while (!last && !is_abandoned(r)) {
		enum turn t;

		last = wait_for_work(r);
		do {
			t = take_turn(r);
			if (!is_abandoned(r))
				save_if_due(r);
		} while ((t == TURN_MORE || t == TURN_UNDER_WAY) && may_go_on(r));
	}
	if (r->dirty && !is_abandoned(r))
		save(r, NULL);
	if (end(r))
		relay_free(r);
	return NULL;
}

/* -- its life ---------------------------------------------------------------------------------- */

static void warn_of_gap(const struct db_cursor *c, const struct db_journal *j)
{
	int64_t first = j->n_events ? j->first : j->last_ever + 1;

	if (c->offset + 1 < first)
		log_warning(LOGGER, NULL,
			    "driver '%s' was not configured for a while; %" PRId64
			    " events of that time are no longer in the journal",
			    c->driver, first - c->offset - 1);
}

/* A driver that has never run begins at the end of the journal. */
static int load_cursor(struct relay *r, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct db_journal j;
	int rc = db_begin(r->db, DB_WRITE, &tx, err);

	if (rc == 0)
		rc = db_journal(tx, &j, err);
	if (rc == 0)
		rc = db_cursor_get(tx, r->driver->name, &r->cursor, err);
	if (rc == 0)
		warn_of_gap(&r->cursor, &j);
	if (rc != ERR_NOT_FOUND)
		return rc;
	r->cursor = (struct db_cursor){.offset = j.last_ever, .updated_at = clock_now_us()};
	(void)snprintf(r->cursor.driver, sizeof(r->cursor.driver), "%s", r->driver->name);
	rc = db_cursor_put(tx, &r->cursor, err);
	return rc < 0 ? rc : db_commit(&tx, err);
}

static int copy_config(struct relay *r, const struct notify_driver_config *config, struct err *err)
{
	r->config = *config;
	r->config.log_path = NULL;
	r->config.publisher_id = strdup(config->publisher_id);
	if (config->log_path)
		r->config.log_path = strdup(config->log_path);
	if (!r->config.publisher_id || (config->log_path && !r->config.log_path))
		return err_nomem(err);
	return 0;
}

static void init_lock(struct relay *r)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->changed, &attr);
	pthread_condattr_destroy(&attr);
}


int relay_new(struct db *db, const struct notify_driver *driver, const struct notify_driver_config *config,
	      struct relay **ret, struct err *err)
{
	AUTO(relay_free_p) struct relay *r = calloc(1, sizeof(*r));
	int rc;

	assert(strlen(driver->name) < sizeof(r->cursor.driver));
	if (!r)
		return err_nomem(err);
	init_lock(r);
	r->db = db;
	r->driver = driver;
	r->counters = &nothing;
	r->state = calloc(1, driver->state_size ? driver->state_size : 1);
	if (!r->state)
		return err_nomem(err);
	rc = copy_config(r, config, err);
	if (rc == 0)
		rc = load_cursor(r, err);
	if (rc < 0)
		return rc;
	atomic_init(&r->passed, r->cursor.offset);
	r->looked_us = clock_mono_us() - LOOK_US; /* look at once */
	*ret = TAKE(r);
	return 0;
}

void relay_free(struct relay *r)
{
	if (!r)
		return;
	if (r->opened)
		r->driver->close(r->state);
	free(r->state);
	free((char *)r->config.publisher_id);
	free((char *)r->config.log_path);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void relay_free_p(struct relay **r)
{
	relay_free(*r);
}

void relay_count(struct relay *r, const struct counters *counters, size_t row)
{
	r->counters = counters;
	r->row = row;
}

int64_t relay_passed(const struct relay *r)
{
	return atomic_load_explicit(&r->passed, memory_order_relaxed);
}

/* Signals are for the main thread. */
static int start_thread(struct relay *r)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(&r->thread, NULL, relay_main, r);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		(void)pthread_setname_np(r->thread, "relay");
	return rc;
}

int relay_start(struct relay *r, struct err *err)
{
	int rc;

	assert(!r->opened);
	r->opened = true; /* close() follows even if open() fails */
	rc = r->driver->open(r->state, &r->config, err);
	if (rc < 0)
		return err_wrap(err, rc, "notification driver '%s'", r->driver->name);
	rc = start_thread(r);
	if (rc != 0)
		return err_set(err, ERR_UNAVAILABLE, "starting a thread: %s", strerror(rc));
	r->started = true;
	return 0;
}

void relay_wake(struct relay *r)
{
	pthread_mutex_lock(&r->lock);
	if (!r->woken)
		pthread_cond_broadcast(&r->changed);
	r->woken = true;
	pthread_mutex_unlock(&r->lock);
}

void relay_reopen(struct relay *r)
{
	pthread_mutex_lock(&r->lock);
	r->reopen = true;
	pthread_mutex_unlock(&r->lock);
}

void relay_stop(struct relay *r, int64_t deadline_us)
{
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	r->deadline_us = deadline_us;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

/* True if the thread has ended or surely will; false if it hangs in the driver. */
static bool wait_for_end(struct relay *r)
{
	int64_t give_up_us = r->deadline_us + GRACE_US;

	pthread_mutex_lock(&r->lock);
	while (!r->ended && !(r->in_driver && clock_mono_us() >= give_up_us))
		wait_until(r, r->in_driver ? give_up_us : clock_mono_us() + SECOND);
	r->abandoned = !r->ended;
	pthread_mutex_unlock(&r->lock);
	return !r->abandoned;
}

bool relay_finish(struct relay *r)
{
	const char *name = r->driver->name;
	pthread_t thread = r->thread;

	if (!r->started)
		return true;
	if (!wait_for_end(r)) { /* r is the thread's own from here on */
		log_error(LOGGER, NULL,
			  "driver '%s' does not come back; what it has not delivered stays in the journal",
			  name);
		pthread_detach(thread);
		return false;
	}
	pthread_join(thread, NULL);
	r->started = false;
	return true;
}

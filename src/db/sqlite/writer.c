/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/writer.c -- group commit: the one connection that writes goes from hand to hand, and
 * transactions that come while others are under way share one COMMIT, one fsync.
 *
 *   BEGIN IMMEDIATE                                        the first of a batch
 *     SAVEPOINT tx ... RELEASE tx | ROLLBACK TO tx         each transaction, one at a time
 *   COMMIT                                                 whoever finds nobody waiting
 *
 * (1) Who has the turn (writer.taken) uses the connection alone. It is handed from transaction to
 *     transaction under the lock, oldest first.
 * (2) A batch is left open only together with the turn: there is always somebody who will end it.
 * (3) db_commit() returns success only after the COMMIT of its batch has. If that fails, or SQLite
 *     gives the whole batch up on the way, every member gets the error and nothing of it happened.
 * (4) A transaction in which a statement failed is never committed (conn.doomed).
 * (5) What a failed COMMIT has left in the write-ahead log is overwritten before the next transaction
 *     begins. If only its fsync failed, all of it may be there, and a restart would find it committed.
 * (6) A db_write() takes its turn like the others, but all of them are run by one thread: many in a row cost
 *     no change of threads. Nobody waits for them; whoever ends their batch tells their outcome.
 * (7) A batch ends after MAX_MEMBERS transactions or MAX_AGE_US, so that the first does not wait for
 *     ever and other processes get at the database. */
#include "db/sqlite/sqlite.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/metrics.h"

#define MAX_MEMBERS 256
#define MAX_AGE_US INT64_C(10000)
/* A turn lasts milliseconds. Who waits so long is behind a database that does not answer. */
#define MAX_TURN_WAIT_US INT64_C(30000000)

static void push(struct tx_queue *q, struct sqlite_tx *tx)
{
	tx->next = NULL;
	if (q->last)
		q->last->next = tx;
	else
		q->first = tx;
	q->last = tx;
}

static struct sqlite_tx *pop(struct tx_queue *q)
{
	struct sqlite_tx *tx = q->first;

	if (tx) {
		q->first = tx->next;
		if (!q->first)
			q->last = NULL;
	}
	return tx;
}

static void remove_from(struct tx_queue *q, const struct sqlite_tx *tx)
{
	struct sqlite_tx **at = &q->first, *before = NULL;

	while (*at != tx) {
		before = *at;
		at = &before->next;
	}
	*at = tx->next;
	if (q->last == tx)
		q->last = before;
}

static void stop_thread(struct writer *w)
{
	(void)pthread_mutex_lock(&w->lock);
	w->stop = true;
	(void)pthread_cond_signal(&w->job_wake);
	(void)pthread_mutex_unlock(&w->lock);
	if (w->running)
		(void)pthread_join(w->thread, NULL);
}

int writer_init(struct writer *w, const struct db *db, struct texts *texts, const char *path, struct err *err)
{
	w->db = db;
	w->texts = texts;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->job_wake, NULL);
	return conn_open(path, CONN_WRITER, &w->conn, err);
}

void writer_done(struct writer *w)
{
	stop_thread(w);
	assert(!w->taken);
	conn_close(TAKE(w->conn));
	(void)pthread_cond_destroy(&w->job_wake);
	(void)pthread_mutex_destroy(&w->lock);
}

/* -- the turn ----------------------------------------------------------------------------------- */

static int waited_too_long(struct err *err)
{
	(void)err_set(err, ERR_UNAVAILABLE, "The database does not keep up; try again later.");
	if (err)
		err->retriable = true;
	return ERR_UNAVAILABLE;
}

static int wait_for_turn(struct writer *w, struct sqlite_tx *tx, struct err *err)
{
	int64_t until = clock_mono_us() + MAX_TURN_WAIT_US;

	(void)pthread_mutex_lock(&w->lock);
	if (!w->taken) {
		w->taken = tx->has_turn = true;
	} else {
		push(&w->waiting, tx);
		while (!tx->has_turn && cond_wait_until(&tx->wake, &w->lock, until))
			;
		if (!tx->has_turn)
			remove_from(&w->waiting, tx);
	}
	(void)pthread_mutex_unlock(&w->lock);
	return tx->has_turn ? 0 : waited_too_long(err);
}

/* Lock held. */
static void give_turn(struct writer *w, struct sqlite_tx *tx)
{
	w->taken = tx->has_turn = true;
	if (tx->fn) {
		w->turn = tx;
		(void)pthread_cond_signal(&w->job_wake);
	} else {
		(void)pthread_cond_signal(&tx->wake);
	}
}

/* Lock held. */
static void hand_on(struct writer *w)
{
	struct sqlite_tx *next = pop(&w->waiting);

	w->taken = false;
	if (next)
		give_turn(w, next);
}

/* -- the batch; by whoever has the turn --------------------------------------------------------- */

static void roll_back_all(struct writer *w)
{
	if (sqlite3_get_autocommit(w->conn->handle) == 0)
		(void)sqlite3_exec(w->conn->handle, "ROLLBACK", NULL, NULL, NULL);
	w->conn->in_transaction = false;
}

/* The next frames go where those of the failed COMMIT are; any change does. (5) */
static int overwrite_failed(struct writer *w, struct err *err)
{
	static const char change[] = "INSERT INTO glint_meta (name, value) VALUES ('failed_commits', 1)"
				     " ON CONFLICT (name) DO UPDATE SET value = value + 1";
	int r;

	w->conn->lost = false;
	r = conn_run(w->conn, "BEGIN IMMEDIATE", err);
	if (r == 0)
		r = conn_run(w->conn, change, err);
	if (r == 0)
		r = conn_run(w->conn, "COMMIT", err);
	roll_back_all(w);
	w->commit_failed = r < 0;
	return r;
}

static int open_batch(struct writer *w, struct err *err)
{
	int r = 0;

	roll_back_all(w); /* what could not be rolled back at its end */
	if (w->commit_failed)
		r = overwrite_failed(w, err);
	if (r < 0)
		return r;
	w->conn->doomed = w->conn->lost = false;
	r = conn_run(w->conn, "BEGIN IMMEDIATE", err);
	if (r < 0)
		return r;
	w->conn->in_transaction = w->batch_open = true;
	texts_batch_begin(w->texts);
	w->n_members = 0;
	w->opened_at = clock_mono_us();
	return 0;
}

static int commit_members(struct writer *w, struct err *err)
{
	int64_t began_at = clock_mono_us();
	int r;

	w->last_frame = 0;
	r = conn_run(w->conn, "COMMIT", err);
	if (r == 0) {
		metric_observe(w->db->commit_times, 0, clock_mono_us() - began_at);
		metric_observe(w->db->commit_sizes, 0, w->n_members);
	}
	return r;
}

/* COMMIT what the members released; without any there is nothing to commit. A batch that SQLite gave up
 * (conn.lost) fails here with what it gave up for. */
static int commit_batch(struct writer *w, struct err *err)
{
	bool commits = w->n_members > 0;
	int r = commits ? commit_members(w, err) : 0;

	if (r < 0 || !commits)
		roll_back_all(w);
	texts_batch_end(w->texts, r == 0 && commits, w->last_frame);
	w->conn->in_transaction = w->conn->lost = w->batch_open = false;
	if (r < 0)
		(void)overwrite_failed(w, NULL); /* before anybody hears of it; else open_batch() does */
	return r;
}

/* Lock held. Returns those nobody waits for, to be told by tell() when it is not. */
static struct tx_queue settle(struct writer *w, int outcome, const struct err *why)
{
	struct tx_queue to_tell = {0};
	struct sqlite_tx *tx;

	while ((tx = pop(&w->members))) {
		tx->outcome = outcome;
		if (outcome < 0 && tx->err)
			*tx->err = *why;
		tx->settled = true;
		if (tx->fn)
			push(&to_tell, tx);
		else
			(void)pthread_cond_signal(&tx->wake);
	}
	return to_tell;
}

static void tell(struct tx_queue *q)
{
	struct sqlite_tx *tx;

	while ((tx = pop(q))) {
		if (tx->outcome == 0)
			db_tx_count(&tx->base);
		tx->done(tx->cls, tx->outcome, &tx->story);
		free(tx);
	}
}

static bool may_stay_open(const struct writer *w)
{
	return w->batch_open && !w->conn->lost && w->n_members < MAX_MEMBERS &&
	       clock_mono_us() - w->opened_at < MAX_AGE_US;
}

/* Give up the turn: to the next in the same batch, or after ending the batch. */
static void end_turn(struct writer *w)
{
	struct tx_queue to_tell = {0};
	struct err why = {0};
	int outcome = 0;

	(void)pthread_mutex_lock(&w->lock);
	if (!w->waiting.first || !may_stay_open(w)) {
		(void)pthread_mutex_unlock(&w->lock);
		if (w->batch_open)
			outcome = commit_batch(w, &why);
		(void)pthread_mutex_lock(&w->lock);
		to_tell = settle(w, outcome, &why);
	}
	hand_on(w);
	(void)pthread_mutex_unlock(&w->lock);
	tell(&to_tell);
}

/* Undo this transaction alone. If even that fails, the batch cannot be trusted any more. */
static void undo(struct writer *w)
{
	struct conn *c = w->conn;

	if (!c->lost &&
	    (conn_run(c, "ROLLBACK TO glint", NULL) < 0 || conn_run(c, "RELEASE glint", NULL) < 0)) {
		roll_back_all(w);
		c->lost = true;
	}
}

/* -- one transaction ---------------------------------------------------------------------------- */

/* With the turn. A failure gives it up. */
static int begin_in_batch(struct writer *w, struct sqlite_tx *tx, struct err *err)
{
	int r = 0;

	w->conn->doomed = false;
	if (!w->batch_open)
		r = open_batch(w, err);
	if (r == 0)
		r = conn_run(w->conn, "SAVEPOINT glint", err);
	if (r < 0)
		end_turn(w);
	else
		tx->conn = w->conn;
	return r;
}

int writer_begin(struct writer *w, struct sqlite_tx *tx, struct err *err)
{
	int r = wait_for_turn(w, tx, err);

	return r < 0 ? r : begin_in_batch(w, tx, err);
}

/* What the failed statement said, to a caller who did not listen. */
static int refuse(const struct conn *c, struct err *err)
{
	if (err)
		*err = c->why;
	return c->why.code;
}

/* Into the batch, and on with the turn. A failure undoes it, which gives up the turn, too. */
static int release(struct writer *w, struct sqlite_tx *tx, struct err *err)
{
	int r;

	if (w->conn->doomed || conn_run(w->conn, "RELEASE glint", NULL) < 0) {
		r = refuse(w->conn, err);
		writer_abort(w, tx);
		return r;
	}
	w->n_members++;
	(void)pthread_mutex_lock(&w->lock);
	push(&w->members, tx);
	(void)pthread_mutex_unlock(&w->lock);
	end_turn(w);
	return 0;
}

int writer_commit(struct writer *w, struct sqlite_tx *tx, struct err *err)
{
	int r;

	tx->err = err;
	r = release(w, tx, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&w->lock);
	while (!tx->settled)
		(void)pthread_cond_wait(&tx->wake, &w->lock);
	(void)pthread_mutex_unlock(&w->lock);
	return tx->outcome;
}

void writer_abort(struct writer *w, struct sqlite_tx *tx)
{
	assert(tx->has_turn);
	undo(w);
	end_turn(w);
}

/* -- transactions that nobody waits for --------------------------------------------------------- */

static void tell_failure(struct sqlite_tx *tx, int r)
{
	struct tx_queue one = {0};

	tx->outcome = r;
	push(&one, tx);
	tell(&one);
}

/* With the turn, which it gives up whatever happens. */
static int run_in_turn(struct writer *w, struct sqlite_tx *tx)
{
	struct err *err = &tx->story;
	int r;

	if (clock_mono_us() - tx->since > MAX_TURN_WAIT_US) {
		end_turn(w);
		return waited_too_long(err);
	}
	r = begin_in_batch(w, tx, err);
	if (r < 0)
		return r;
	r = tx->fn(tx->cls, &tx->base, err);
	if (r == 0)
		return release(w, tx, err);
	writer_abort(w, tx);
	return r;
}

/* Once it is released it is told, and freed, with its batch. */
static void run(struct writer *w, struct sqlite_tx *tx)
{
	int r = run_in_turn(w, tx);

	if (r != 0)
		tell_failure(tx, r);
}

static void *run_jobs(void *arg)
{
	struct writer *w = arg;

	(void)pthread_mutex_lock(&w->lock);
	for (;;) {
		struct sqlite_tx *tx = TAKE(w->turn);

		if (tx) {
			(void)pthread_mutex_unlock(&w->lock);
			run(w, tx);
			(void)pthread_mutex_lock(&w->lock);
		} else if (w->stop) {
			break;
		} else {
			(void)pthread_cond_wait(&w->job_wake, &w->lock);
		}
	}
	(void)pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Lock held. Signals are for the program's own threads. */
static bool has_thread(struct writer *w)
{
	sigset_t all, before;

	if (w->running)
		return true;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	w->running = pthread_create(&w->thread, NULL, run_jobs, w) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (w->running)
		(void)pthread_setname_np(w->thread, "writer");
	return w->running;
}

void writer_submit(struct writer *w, struct sqlite_tx *tx)
{
	bool ok;

	tx->since = clock_mono_us();
	(void)pthread_mutex_lock(&w->lock);
	ok = has_thread(w);
	if (ok && w->taken)
		push(&w->waiting, tx);
	else if (ok)
		give_turn(w, tx);
	(void)pthread_mutex_unlock(&w->lock);
	if (!ok)
		tell_failure(tx, err_nomem(&tx->story));
}

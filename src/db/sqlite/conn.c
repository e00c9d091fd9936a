/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/conn.c -- see conn.h.
 *
 * (1) After a statement has failed other than by query_insert()'s expected conflict, the transaction
 *     is doomed: whoever ends it rolls it back, even if the caller did not look at the failure.
 * (2) Some failures (a full disk, an I/O error) make SQLite roll back the whole transaction at once.
 *     From then on each statement would commit by itself; so none runs until the owner of the
 *     connection has ended the transaction (conn.lost). */
#include "db/sqlite/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <pthread.h>

#include "base/clock.h"
#include "image/image.h"

/* How long a statement waits for a lock of another process: the command line, sqlite3, Glance. */
#define MAX_BUSY_WAIT_US INT64_C(5000000)
/* Other processes that write all the time leave short gaps only: look often. */
#define BUSY_POLL_NS 1000000

/* -- opening ------------------------------------------------------------------------------------ */

static int on_busy(void *cls, int n_times)
{
	struct conn *c = cls;

	if (n_times == 0)
		c->busy_until = clock_mono_us() + c->max_busy_wait_us;
	if (clock_mono_us() >= c->busy_until)
		return 0;
	(void)nanosleep(&(struct timespec){.tv_nsec = BUSY_POLL_NS}, NULL);
	return 1;
}

/* Every CONN_TICK steps. Steps are counted on over the end of a statement, so short ones come here, too. */
static int on_progress(void *cls)
{
	struct conn *c = cls;

	if (c->ticks_left < 0)
		return 0;
	return c->ticks_left == 0 || --c->ticks_left == 0;
}

/* SQLite's count of its own memory takes one lock for all threads at every allocation. */
static void configure_library(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* What SQLite creates gets 0644; names, owners and locations of images are nobody else's business.
 * Only a file that is not there may be opened and closed here: closing drops SQLite's locks. */
static int create_private(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	if (fd >= 0) {
		(void)close(fd);
	} else if (errno != EEXIST) {
		int r = err_set(err, ERR_UNAVAILABLE, "The database cannot be created.");

		(void)err_detail(err, "The database cannot be created: '%s': %s", path, strerror(errno));
		return r;
	}
	return 0;
}

/* Changing the mode needs the file alone and does not always ask the busy handler. */
static int switch_to_wal(struct conn *c, struct err *err)
{
	int64_t until = clock_mono_us() + c->max_busy_wait_us;
	int r;

	for (;;) {
		AUTO(query_done) struct query q = {0};

		c->doomed = false;
		r = query_open_built(c, "PRAGMA journal_mode = WAL", &q, err);
		if (r == 0)
			r = query_next(&q, err);
		if (r > 0 && !strcmp(column_text(&q, 0) ?: "", "wal"))
			return 0;
		if (r >= 0)
			return err_set(err, ERR_UNAVAILABLE,
				       "The database cannot use write-ahead logging where it is.");
		if (!c->why.retriable || clock_mono_us() >= until)
			return r;
		(void)nanosleep(&(struct timespec){.tv_nsec = BUSY_POLL_NS}, NULL);
	}
}

/* Caches are small: a reader's is emptied by SQLite whenever somebody else has written, and the
 * kernel has the file in memory anyway. temp_store: savepoints keep what they undo in memory.
 * wal_autocheckpoint is off because checkpoint.c does it where it stalls nobody. */
static int set_up(struct conn *c, enum conn_role role, struct err *err)
{
	static const char common[] = "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
				     "PRAGMA temp_store = MEMORY; PRAGMA secure_delete = FAST;"
				     "PRAGMA wal_autocheckpoint = 0;";
	int r;

	if (role == CONN_WRITER) {
		r = switch_to_wal(c, err);
		if (r < 0)
			return r;
	}
	r = conn_exec(c, common, err);
	if (r < 0)
		return r;
	if (role == CONN_READER)
		return conn_exec(c, "PRAGMA query_only = ON; PRAGMA cache_size = -1024;", err);
	if (role == CONN_CHECKPOINTER)
		return conn_exec(c, "PRAGMA cache_size = -64;", err);
	return conn_exec(c, "PRAGMA cache_size = -4096; PRAGMA journal_size_limit = 67108864;", err);
}

static int open_handle(struct conn *c, const char *path, struct err *err)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	int rc = sqlite3_open_v2(path, &c->handle, flags, NULL), r;

	if (!c->handle)
		return err_nomem(err);
	if (rc == SQLITE_OK) {
		(void)sqlite3_busy_handler(c->handle, on_busy, c);
		sqlite3_progress_handler(c->handle, CONN_TICK, on_progress, c);
		return 0;
	}
	r = conn_fail(c, rc, err);
	(void)err_detail(err, "'%s'", path);
	return r;
}

int conn_open(const char *path, enum conn_role role, struct conn **ret, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	AUTO(conn_close_p) struct conn *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_nomem(err);
	c->max_busy_wait_us = MAX_BUSY_WAIT_US;
	c->ticks_left = -1;
	(void)pthread_once(&once, configure_library);
	if (role == CONN_WRITER) {
		r = create_private(path, err);
		if (r < 0)
			return r;
	}
	r = open_handle(c, path, err);
	if (r < 0)
		return r;
	r = set_up(c, role, err);
	if (r < 0)
		return r;
	c->doomed = false;
	*ret = TAKE(c);
	return 0;
}

void conn_close(struct conn *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < CONN_FIXED_SLOTS; i++)
		(void)sqlite3_finalize(c->fixed[i].stmt);
	for (size_t i = 0; i < CONN_MAX_BUILT; i++) {
		(void)sqlite3_finalize(c->built[i].stmt);
		free(c->built[i].sql);
	}
	(void)sqlite3_close(c->handle);
	free(c);
}

void conn_close_p(struct conn **c)
{
	conn_close(*c);
}

int conn_exec(struct conn *c, const char *sql, struct err *err)
{
	int rc = sqlite3_exec(c->handle, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : conn_fail(c, rc, err);
}

/* -- failures ----------------------------------------------------------------------------------- */

static int set_failure(struct err *err, int code, bool retriable, const char *text)
{
	(void)err_set(err, code, "%s", text);
	err->retriable = retriable;
	return code;
}

static bool disk_is_full(sqlite3 *handle, int rc)
{
	if ((rc & 0xff) == SQLITE_FULL)
		return true;
	return (rc & 0xff) == SQLITE_IOERR &&
	       (sqlite3_system_errno(handle) == ENOSPC || sqlite3_system_errno(handle) == EDQUOT);
}

static int tell(struct conn *c, int rc, struct err *err)
{
	if (disk_is_full(c->handle, rc))
		return set_failure(err, ERR_UNAVAILABLE, true,
				   "The database has no room left; try again later.");
	if (rc == SQLITE_CONSTRAINT_FOREIGNKEY)
		return set_failure(err, ERR_NOT_FOUND, false, "What the record refers to does not exist.");
	switch (rc & 0xff) {
	case SQLITE_INTERRUPT:
		return set_failure(err, ERR_TOO_LONG, true, "The database needs longer than this request may wait.");
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return set_failure(err, ERR_UNAVAILABLE, true, "The database is busy; try again later.");
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return set_failure(err, ERR_UNAVAILABLE, false, "The database cannot be read or written.");
	case SQLITE_NOMEM:
		return err_nomem(err);
	case SQLITE_TOOBIG:
		return set_failure(err, ERR_TOO_LARGE, false, "A value is too large for the database.");
	case SQLITE_NOTADB:
		return set_failure(err, ERR_INVALID, false, "The file is not an SQLite database.");
	case SQLITE_CORRUPT:
		return set_failure(err, ERR_INTERNAL, false, "The database is damaged.");
	default:
		return set_failure(err, ERR_INTERNAL, false, "The database refused a statement.");
	}
}

int conn_fail(struct conn *c, int rc, struct err *err)
{
	struct err why = {0};

	(void)tell(c, rc, &why);
	(void)err_detail(&why, "sqlite: %s (%d)", sqlite3_errmsg(c->handle), rc);
	if (!c->doomed)
		c->why = why;
	c->doomed = true;
	if (c->in_transaction && sqlite3_get_autocommit(c->handle))
		c->lost = true;
	if (err)
		*err = why;
	return why.code;
}

/* -- prepared statements ------------------------------------------------------------------------ */

static int prepare(struct conn *c, const char *sql, unsigned flags, sqlite3_stmt **ret, struct err *err)
{
	int rc = sqlite3_prepare_v3(c->handle, sql, -1, flags, ret, NULL);

	return rc == SQLITE_OK ? 0 : conn_fail(c, rc, err);
}

static struct fixed_statement *find_fixed(struct conn *c, const char *sql)
{
	size_t i = ((uintptr_t)sql >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 56;

	while (c->fixed[i].sql && c->fixed[i].sql != sql)
		i = (i + 1) % CONN_FIXED_SLOTS;
	return &c->fixed[i];
}

/* The transaction is gone: what would run now would not be part of it. */
static int check_alive(const struct conn *c, struct err *err)
{
	if (c->lost && err)
		*err = c->why;
	return c->lost ? c->why.code : 0;
}

/* A callback may ask again, with the statement it is called from still under way: @cached is lent
 * only once, the second time another is prepared. */
static int lend(struct conn *c, sqlite3_stmt *cached, const char *sql, struct query *ret, struct err *err)
{
	*ret = (struct query){.conn = c, .stmt = cached};
	if (!sqlite3_stmt_busy(cached))
		return 0;
	ret->stmt = NULL;
	ret->own = true;
	return prepare(c, sql, 0, &ret->stmt, err);
}

int query_open(struct conn *c, const char *sql, struct query *ret, struct err *err)
{
	struct fixed_statement *f = find_fixed(c, sql);
	int r = check_alive(c, err);

	if (r < 0)
		return r;
	if (!f->sql) {
		r = prepare(c, sql, SQLITE_PREPARE_PERSISTENT, &f->stmt, err);
		if (r < 0)
			return r;
		f->sql = sql;
	}
	return lend(c, f->stmt, sql, ret, err);
}

/* The one with this text, else the one to put it in: free, or longest unused and not under way. */
static struct built_statement *find_built(struct conn *c, const char *sql)
{
	struct built_statement *oldest = NULL;

	for (size_t i = 0; i < CONN_MAX_BUILT; i++) {
		struct built_statement *b = &c->built[i];

		if (b->sql && !strcmp(b->sql, sql))
			return b;
		if (b->stmt && sqlite3_stmt_busy(b->stmt))
			continue;
		if (!oldest || b->used_at < oldest->used_at)
			oldest = b;
	}
	return oldest;
}

static int replace_built(struct conn *c, struct built_statement *b, const char *sql, struct err *err)
{
	(void)sqlite3_finalize(TAKE(b->stmt));
	free(TAKE(b->sql));
	b->used_at = 0;
	b->sql = strdup(sql);
	if (!b->sql)
		return conn_fail(c, SQLITE_NOMEM, err);
	return prepare(c, sql, SQLITE_PREPARE_PERSISTENT, &b->stmt, err);
}

int query_open_built(struct conn *c, const char *sql, struct query *ret, struct err *err)
{
	struct built_statement *b = find_built(c, sql);
	int r = check_alive(c, err);

	if (r < 0)
		return r;
	if (!b) {
		*ret = (struct query){.conn = c, .own = true};
		return prepare(c, sql, 0, &ret->stmt, err);
	}
	if (!b->stmt || strcmp(b->sql, sql) != 0) {
		r = replace_built(c, b, sql, err);
		if (r < 0)
			return r;
	}
	b->used_at = ++c->n_built_uses;
	return lend(c, b->stmt, sql, ret, err);
}

void query_done(struct query *q)
{
	if (!q->stmt)
		return;
	if (q->own) {
		(void)sqlite3_finalize(q->stmt);
	} else {
		(void)sqlite3_reset(q->stmt);
		(void)sqlite3_clear_bindings(q->stmt);
	}
	q->stmt = NULL;
}

/* -- binding ------------------------------------------------------------------------------------ */

static void bound(struct query *q, int rc)
{
	if (rc != SQLITE_OK && q->bind_rc == SQLITE_OK)
		q->bind_rc = rc;
}

void bind_text(struct query *q, const char *s)
{
	bound(q, sqlite3_bind_text(q->stmt, ++q->n_bound, s, -1, SQLITE_STATIC));
}

void bind_int(struct query *q, int64_t v)
{
	bound(q, sqlite3_bind_int64(q->stmt, ++q->n_bound, v));
}

void bind_octets(struct query *q, const void *data, size_t n)
{
	bound(q, sqlite3_bind_blob64(q->stmt, ++q->n_bound, data, n, SQLITE_STATIC));
}

void bind_size(struct query *q, int64_t octets)
{
	if (octets == IMAGE_SIZE_UNKNOWN)
		bind_text(q, NULL);
	else
		bind_int(q, octets);
}

void bind_time(struct query *q, int64_t us)
{
	char text[CLOCK_TEXT_MAX];

	if (us == 0)
		bind_text(q, NULL);
	else
		bound(q, sqlite3_bind_text(q->stmt, ++q->n_bound, clock_db(us, text), -1, SQLITE_TRANSIENT));
}

void bind_value(struct query *q, const sqlite3_value *v)
{
	bound(q, sqlite3_bind_value(q->stmt, ++q->n_bound, v));
}

/* -- running ------------------------------------------------------------------------------------ */

static int step(struct query *q)
{
	return q->bind_rc != SQLITE_OK ? q->bind_rc : sqlite3_step(q->stmt);
}

int query_next(struct query *q, struct err *err)
{
	int rc, r = check_alive(q->conn, err);

	if (r < 0)
		return r;
	rc = step(q);
	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : conn_fail(q->conn, rc, err);
}

int query_run(struct query *q, struct err *err)
{
	int r;

	do
		r = query_next(q, err);
	while (r > 0);
	return r;
}

int query_insert(struct query *q, const char *taken, struct err *err)
{
	int rc, r = check_alive(q->conn, err);

	if (r < 0)
		return r;
	rc = step(q);
	if (rc == SQLITE_DONE)
		return 0;
	if (rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_UNIQUE ||
	    rc == SQLITE_CONSTRAINT_ROWID)
		return err_set(err, ERR_CONFLICT, "%s", taken);
	return conn_fail(q->conn, rc, err);
}

int conn_run(struct conn *c, const char *sql, struct err *err)
{
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	return r < 0 ? r : query_run(&q, err);
}

int64_t query_changes(const struct query *q)
{
	return sqlite3_changes64(q->conn->handle);
}

/* -- columns ------------------------------------------------------------------------------------ */

const char *column_text(const struct query *q, int i)
{
	return (const char *)sqlite3_column_text(q->stmt, i);
}

const void *column_octets(const struct query *q, int i, size_t *ret_n)
{
	const void *octets = sqlite3_column_blob(q->stmt, i);

	*ret_n = octets ? (size_t)sqlite3_column_bytes(q->stmt, i) : 0;
	return octets;
}

int64_t column_int(const struct query *q, int i)
{
	return sqlite3_column_int64(q->stmt, i);
}

int64_t column_size(const struct query *q, int i)
{
	if (sqlite3_column_type(q->stmt, i) == SQLITE_NULL)
		return IMAGE_SIZE_UNKNOWN;
	return sqlite3_column_int64(q->stmt, i);
}

int column_copy(const struct query *q, int i, struct arena *a, const char **ret, struct err *err)
{
	const char *text;

	if (sqlite3_column_type(q->stmt, i) == SQLITE_NULL) {
		*ret = NULL;
		return 0;
	}
	text = column_text(q, i);
	if (text && a)
		text = arena_strdup(a, text);
	if (!text)
		return err_nomem(err);
	*ret = text;
	return 0;
}

int column_fill(const struct query *q, int i, char *out, size_t n, struct err *err)
{
	const char *text;
	int r = column_copy(q, i, NULL, &text, err);

	if (r == 0)
		(void)snprintf(out, n, "%s", text ?: "");
	return r;
}

bool column_time(const struct query *q, int i, int64_t *ret)
{
	const char *text = column_text(q, i);

	*ret = 0;
	if (!text) /* NULL, or without memory */
		return sqlite3_column_type(q->stmt, i) == SQLITE_NULL;
	return clock_parse(text, ret);
}

/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/conn.h -- one connection to the file, its prepared statements, and what SQLite's result
 * codes mean to us. A connection belongs to one thread at a time. */
#pragma once

#include <sqlite3.h>

#include "base/arena.h"
#include "base/err.h"

/* Statements whose text is built at run time: those used last stay prepared. */
#define CONN_MAX_BUILT 16
/* Statements whose text is a constant are found by its address; a power of two, never half full. */
#define CONN_FIXED_SLOTS 256

/* Steps of SQLite's machine; some tens of microseconds. */
#define CONN_TICK 1000

struct fixed_statement {
	const char *sql; /* NULL: free */
	sqlite3_stmt *stmt;
};

struct built_statement {
	char *sql;
	sqlite3_stmt *stmt;
	uint64_t used_at;
};

struct conn {
	sqlite3 *handle;
	struct fixed_statement fixed[CONN_FIXED_SLOTS];
	struct built_statement built[CONN_MAX_BUILT];
	uint64_t n_built_uses;
	int64_t max_busy_wait_us; /* how long SQLite may wait for somebody else's lock ... */
	int64_t busy_until;       /* ... and until when, while it does */
	int ticks_left;           /* of CONN_TICK steps each; then ERR_TOO_LONG. Negative: no end */

	/* Of the transaction under way: cleared by whoever begins one. */
	bool in_transaction; /* we began one and have not ended it */
	bool doomed;         /* a statement failed: nothing of this transaction may be committed */
	bool lost;           /* SQLite rolled all of it back by itself: not one more statement may run */
	struct err why;      /* what doomed it */
};

enum conn_role { CONN_WRITER, CONN_READER, CONN_CHECKPOINTER };

/* A writer creates the file where it is missing and switches it to write-ahead logging. */
int conn_open(const char *path, enum conn_role role, struct conn **ret, struct err *err);
void conn_close(struct conn *c); /* NULL is fine */
void conn_close_p(struct conn **c);

/* Run @sql, which may be several statements and returns no rows of interest. Not prepared. */
int conn_exec(struct conn *c, const char *sql, struct err *err);

/* Tell the story of SQLite's @rc; dooms the transaction under way. Returns the code. */
int conn_fail(struct conn *c, int rc, struct err *err);

/* A statement being run. Open, bind in the order of the parameters, then query_next() or query_run(),
 * then query_done() (AUTO(query_done) on the variable). What is bound as text is borrowed until
 * then. A zeroed struct is fine for query_done(). */
struct query {
	struct conn *conn;
	sqlite3_stmt *stmt;
	int n_bound;
	int bind_rc; /* the first failure */
	bool own;    /* not from the cache */
};

/* @sql is a constant, known by its address from now on. */
int query_open(struct conn *c, const char *sql, struct query *ret, struct err *err);
/* @sql is any text; copied. */
int query_open_built(struct conn *c, const char *sql, struct query *ret, struct err *err);
void query_done(struct query *q);

void bind_text(struct query *q, const char *s); /* NULL binds NULL */
void bind_int(struct query *q, int64_t v);
void bind_size(struct query *q, int64_t octets); /* IMAGE_SIZE_UNKNOWN binds NULL */
void bind_time(struct query *q, int64_t us);     /* as the Images tables write it; 0 binds NULL */
void bind_octets(struct query *q, const void *data, size_t n); /* borrowed like text */
void bind_value(struct query *q, const sqlite3_value *v);

/* A constant statement without parameters and rows, prepared once. */
int conn_run(struct conn *c, const char *sql, struct err *err);

int query_next(struct query *q, struct err *err); /* 1: a row; 0: no more */
int query_run(struct query *q, struct err *err);  /* to its end */
/* The same for an INSERT: ERR_CONFLICT with @taken as its text if the key is in use, which dooms
 * nothing. */
int query_insert(struct query *q, const char *taken, struct err *err);
int64_t query_changes(const struct query *q); /* rows the statement that just ended changed */

/* Columns of the row, counted from 0. Text is borrowed until the next step, or copied to @a. */
const char *column_text(const struct query *q, int i); /* NULL for NULL, and without memory */
const void *column_octets(const struct query *q, int i, size_t *ret_n); /* likewise */
int64_t column_int(const struct query *q, int i);
int64_t column_size(const struct query *q, int i);
int column_copy(const struct query *q, int i, struct arena *a, const char **ret, struct err *err);
/* Into @out, which has room for @n with its end, cut if it is longer; NULL gives "". */
int column_fill(const struct query *q, int i, char *out, size_t n, struct err *err);
/* NULL gives 0; false if it is no time. */
bool column_time(const struct query *q, int i, int64_t *ret);

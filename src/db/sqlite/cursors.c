/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/cursors.c -- how far each notification driver has got in the journal, which stretches of
 * it are to be handed out again, and which events it can never take. */
#include "db/sqlite/sqlite.h"

#define CURSOR_COLUMNS "driver, offset, n_delivered, n_retries, n_set_aside, updated_at, problem"

static int cursor_from_row(const struct query *q, struct db_cursor *ret, struct err *err)
{
	int r = column_fill(q, 0, ret->driver, sizeof(ret->driver), err);

	ret->offset = column_int(q, 1);
	ret->n_delivered = column_int(q, 2);
	ret->n_retries = column_int(q, 3);
	ret->n_set_aside = column_int(q, 4);
	ret->updated_at = column_int(q, 5);
	return r < 0 ? r : column_fill(q, 6, ret->problem, sizeof(ret->problem), err);
}

int sqlite_cursor_get(struct db_tx *tx, const char *driver, struct db_cursor *ret, struct err *err)
{
	static const char sql[] = "SELECT " CURSOR_COLUMNS " FROM glint_cursors WHERE driver = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, driver);
	r = query_next(&q, err);
	if (r < 0)
		return r;
	if (r == 0)
		return err_set(err, ERR_NOT_FOUND, "The notification driver '%.31s' has never run.", driver);
	return cursor_from_row(&q, ret, err);
}

int sqlite_cursor_put(struct db_tx *tx, const struct db_cursor *c, struct err *err)
{
	static const char sql[] = "INSERT OR REPLACE INTO glint_cursors (" CURSOR_COLUMNS ")"
				  " VALUES (?, ?, ?, ?, ?, ?, ?)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, c->driver);
	bind_int(&q, c->offset);
	bind_int(&q, c->n_delivered);
	bind_int(&q, c->n_retries);
	bind_int(&q, c->n_set_aside);
	bind_int(&q, c->updated_at);
	bind_text(&q, c->problem);
	return query_run(&q, err);
}

int sqlite_cursor_delete(struct db_tx *tx, const char *driver, struct err *err)
{
	static const char sql[] = "DELETE FROM glint_cursors WHERE driver = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, driver);
	return query_run(&q, err);
}

int sqlite_cursor_list(struct db_tx *tx, db_cursor_fn *fn, void *cls, struct err *err)
{
	static const char sql[] = "SELECT " CURSOR_COLUMNS " FROM glint_cursors ORDER BY driver";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	while ((r = query_next(&q, err)) > 0) {
		struct db_cursor c;

		r = cursor_from_row(&q, &c, err);
		if (r == 0)
			r = fn(cls, &c, err);
		if (r != 0)
			return r;
	}
	return r;
}

/* -- replays ------------------------------------------------------------------------------------ */

int sqlite_replay_insert(struct db_tx *tx, const struct db_replay *replay, struct err *err)
{
	static const char sql[] = "INSERT INTO glint_replays (driver, next, last) VALUES (?, ?, ?)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, replay->driver);
	bind_int(&q, replay->next);
	bind_int(&q, replay->last);
	return query_run(&q, err);
}

int sqlite_replay_next(struct db_tx *tx, const char *driver, struct db_replay *ret, struct err *err)
{
	static const char sql[] = "SELECT id, driver, next, last FROM glint_replays WHERE driver = ?"
				  " ORDER BY id LIMIT 1";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, driver);
	r = query_next(&q, err);
	if (r < 0)
		return r;
	if (r == 0)
		return err_set(err, ERR_NOT_FOUND, "There is nothing to replay for '%.31s'.", driver);
	ret->id = column_int(&q, 0);
	ret->next = column_int(&q, 2);
	ret->last = column_int(&q, 3);
	return column_fill(&q, 1, ret->driver, sizeof(ret->driver), err);
}

static int finish_replay(struct db_tx *tx, int64_t id, int64_t next, struct err *err)
{
	static const char sql[] = "DELETE FROM glint_replays WHERE id = ? AND last < ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, id);
	bind_int(&q, next);
	return query_run(&q, err);
}

int sqlite_replay_advance(struct db_tx *tx, int64_t id, int64_t next, struct err *err)
{
	static const char sql[] = "UPDATE glint_replays SET next = ? WHERE id = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, next);
	bind_int(&q, id);
	r = query_run(&q, err);
	return r < 0 ? r : finish_replay(tx, id, next, err);
}

/* -- set aside ---------------------------------------------------------------------------------- */

int sqlite_set_aside_put(struct db_tx *tx, const struct db_set_aside *s, struct err *err)
{
	static const char sql[] = "INSERT OR REPLACE INTO glint_set_aside (driver, offset, at, reason)"
				  " VALUES (?, ?, ?, ?)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, s->driver);
	bind_int(&q, s->offset);
	bind_int(&q, s->at);
	bind_text(&q, s->reason);
	return query_run(&q, err);
}

int sqlite_set_aside_delete(struct db_tx *tx, const char *driver, int64_t from, int64_t to, struct err *err)
{
	static const char sql[] = "DELETE FROM glint_set_aside WHERE driver = ? AND offset BETWEEN ? AND ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, driver);
	bind_int(&q, from);
	bind_int(&q, to);
	return query_run(&q, err);
}

int sqlite_set_aside_count(struct db_tx *tx, const char *driver, int64_t *ret, struct err *err)
{
	static const char sql[] = "SELECT count(*) FROM glint_set_aside WHERE driver = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, driver);
	r = query_next(&q, err);
	if (r < 0)
		return r;
	*ret = r > 0 ? column_int(&q, 0) : 0;
	return 0;
}

int sqlite_set_aside_list(struct db_tx *tx, const char *driver, int64_t after, int64_t max,
			  db_set_aside_fn *fn, void *cls, struct err *err)
{
	static const char sql[] = "SELECT driver, offset, at, reason FROM glint_set_aside"
				  " WHERE driver = ? AND offset > ? ORDER BY offset LIMIT ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, driver);
	bind_int(&q, after);
	bind_int(&q, max < 0 ? 0 : max);
	while ((r = query_next(&q, err)) > 0) {
		struct db_set_aside s = {.offset = column_int(&q, 1), .at = column_int(&q, 2)};

		r = column_fill(&q, 0, s.driver, sizeof(s.driver), err);
		if (r == 0)
			r = column_copy(&q, 3, NULL, &s.reason, err);
		if (r == 0)
			r = fn(cls, &s, err);
		if (r != 0)
			return r;
	}
	return r;
}

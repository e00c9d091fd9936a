/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/removals.c -- bytes in the store whose image is gone. */
#include "db/sqlite/sqlite.h"

int sqlite_removal_insert(struct db_tx *tx, const struct db_removal *r, struct err *err)
{
	static const char sql[] = "INSERT INTO glint_removals (image_id, url, n_attempts, next_attempt_at)"
				  " VALUES (?, ?, ?, ?)";
	AUTO(query_done) struct query q = {0};
	int rc = query_open(tx_conn(tx), sql, &q, err);

	if (rc < 0)
		return rc;
	bind_text(&q, r->image_id);
	bind_text(&q, r->url);
	bind_int(&q, r->n_attempts);
	bind_int(&q, r->next_attempt_at);
	return query_run(&q, err);
}

static int hand_over(struct query *q, db_removal_fn *fn, void *cls, struct err *err)
{
	struct db_removal removal = {
		.id = column_int(q, 0),
		.n_attempts = column_int(q, 3),
		.next_attempt_at = column_int(q, 4),
	};
	int r = column_copy(q, 2, NULL, &removal.url, err);

	if (r == 0)
		r = column_fill(q, 1, removal.image_id, sizeof(removal.image_id), err);
	return r < 0 ? r : fn(cls, &removal, err);
}

int sqlite_removal_due(struct db_tx *tx, int64_t now, int64_t max, db_removal_fn *fn, void *cls,
		       struct err *err)
{
	static const char sql[] = "SELECT id, image_id, url, n_attempts, next_attempt_at FROM glint_removals"
				  " WHERE next_attempt_at <= ? ORDER BY next_attempt_at, id LIMIT ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, now);
	bind_int(&q, max < 0 ? 0 : max);
	while ((r = query_next(&q, err)) > 0) {
		r = hand_over(&q, fn, cls, err);
		if (r != 0)
			return r;
	}
	return r;
}

int sqlite_removal_retry(struct db_tx *tx, int64_t id, int64_t next_attempt_at, struct err *err)
{
	static const char sql[] = "UPDATE glint_removals SET n_attempts = n_attempts + 1, next_attempt_at = ?"
				  " WHERE id = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, next_attempt_at);
	bind_int(&q, id);
	return query_run(&q, err);
}

int sqlite_removal_delete(struct db_tx *tx, int64_t id, struct err *err)
{
	static const char sql[] = "DELETE FROM glint_removals WHERE id = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, id);
	return query_run(&q, err);
}

int sqlite_removal_count(struct db_tx *tx, int64_t *ret_n, int64_t *ret_n_failed_before, struct err *err)
{
	static const char sql[] = "SELECT count(*), count(CASE WHEN n_attempts > 0 THEN 1 END)"
				  " FROM glint_removals";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	r = query_next(&q, err);
	if (r < 0)
		return r;
	*ret_n = column_int(&q, 0);
	*ret_n_failed_before = column_int(&q, 1);
	return 0;
}

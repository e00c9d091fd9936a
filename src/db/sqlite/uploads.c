/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/uploads.c -- which node is writing the bytes of which image. */
#include "db/sqlite/sqlite.h"

int sqlite_upload_insert(struct db_tx *tx, const struct db_upload *u, struct err *err)
{
	static const char sql[] = "INSERT INTO glint_uploads (image_id, node, store, started_at) VALUES (?, ?, ?, ?)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, u->image_id);
	bind_text(&q, u->node);
	bind_text(&q, u->store);
	bind_int(&q, u->started_at);
	return query_insert(&q, "An upload of this image is already under way.", err);
}

/* The texts go to @a, or are borrowed from the row when it is NULL. */
static int upload_from_row(struct query *q, struct arena *a, struct db_upload *ret, struct err *err)
{
	int r = column_fill(q, 0, ret->image_id, sizeof(ret->image_id), err);

	ret->started_at = column_int(q, 2);
	if (r == 0)
		r = column_copy(q, 1, a, &ret->node, err);
	return r < 0 ? r : column_copy(q, 3, a, &ret->store, err);
}

int sqlite_upload_get(struct db_tx *tx, const char *image_id, struct arena *a, struct db_upload *ret,
		      struct err *err)
{
	static const char sql[] = "SELECT image_id, node, started_at, store FROM glint_uploads WHERE image_id = ?";
	AUTO(query_done) struct query q = {0};
	struct db_upload u;
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, image_id);
	r = query_next(&q, err);
	if (r == 0)
		return err_set(err, ERR_NOT_FOUND, "No upload of image %.64s is under way.", image_id);
	if (r > 0)
		r = upload_from_row(&q, a, &u, err);
	if (r == 0)
		*ret = u;
	return r;
}

int sqlite_upload_delete(struct db_tx *tx, const char *image_id, struct err *err)
{
	static const char sql[] = "DELETE FROM glint_uploads WHERE image_id = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, image_id);
	return query_run(&q, err);
}

int sqlite_upload_list(struct db_tx *tx, const char *node, db_upload_fn *fn, void *cls, struct err *err)
{
	static const char sql[] = "SELECT image_id, node, started_at, store FROM glint_uploads"
				  " WHERE ?1 IS NULL OR node = ?1 ORDER BY started_at, image_id";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, node);
	while ((r = query_next(&q, err)) > 0) {
		struct db_upload u;

		r = upload_from_row(&q, NULL, &u, err);
		if (r == 0)
			r = fn(cls, &u, err);
		if (r != 0)
			return r;
	}
	return r;
}

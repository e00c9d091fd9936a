/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/members.c -- with which projects an image is shared. A member that was removed keeps its
 * row, marked deleted; when it is added again it gets another. */
#include "db/sqlite/sqlite.h"

#include <stdio.h>

#define MEMBER_COLUMNS "image_id, member, status, created_at, updated_at, deleted_at, deleted"

static int not_found(const char *image_id, const char *member_id, struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "Image %.64s has no member %.255s.", image_id, member_id);
}

/* Strings go to @a, or are borrowed from the row when it is NULL. */
static int member_from_row(struct query *q, struct arena *a, struct image_member *ret, struct err *err)
{
	const char *image_id = column_text(q, 0), *status = column_text(q, 2);

	(void)snprintf(ret->image_id, sizeof(ret->image_id), "%s", image_id ?: "");
	if (!status || !member_status_parse(status, &ret->status))
		return err_set(err, ERR_INTERNAL, "A member of image %.64s has an unknown status.",
			       ret->image_id);
	if (!column_time(q, 3, &ret->created_at) || !column_time(q, 4, &ret->updated_at) ||
	    !column_time(q, 5, &ret->deleted_at))
		return err_set(err, ERR_INTERNAL, "A member of image %.64s has an unreadable time.",
			       ret->image_id);
	ret->deleted = column_int(q, 6) != 0;
	return column_copy(q, 1, a, &ret->member_id, err);
}

int sqlite_member_get(struct db_tx *tx, const char *image_id, const char *member_id, struct arena *a,
		      struct image_member *ret, struct err *err)
{
	static const char sql[] = "SELECT " MEMBER_COLUMNS " FROM image_members"
				  " WHERE image_id = ? AND member = ? AND +deleted = 0";
	AUTO(query_done) struct query q = {0};
	struct image_member m;
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, image_id);
	bind_text(&q, member_id);
	r = query_next(&q, err);
	if (r == 0)
		return not_found(image_id, member_id, err);
	if (r > 0)
		r = member_from_row(&q, a, &m, err);
	if (r == 0)
		*ret = m;
	return r;
}

int sqlite_member_list(struct db_tx *tx, const char *image_id, const char *only, db_member_fn *fn, void *cls,
		       struct err *err)
{
	static const char sql[] = "SELECT " MEMBER_COLUMNS " FROM image_members"
				  " WHERE image_id = ?1 AND +deleted = 0 AND (?2 IS NULL OR member = ?2)"
				  " ORDER BY id";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, image_id);
	bind_text(&q, only);
	while ((r = query_next(&q, err)) > 0) {
		struct image_member m;

		r = member_from_row(&q, NULL, &m, err);
		if (r == 0)
			r = fn(cls, &m, err);
		if (r != 0)
			return r;
	}
	return r;
}

int sqlite_member_count(struct db_tx *tx, const char *image_id, int64_t *ret, struct err *err)
{
	static const char sql[] = "SELECT count(*) FROM image_members WHERE image_id = ? AND +deleted = 0";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, image_id);
	r = query_next(&q, err);
	if (r < 0)
		return r;
	*ret = column_int(&q, 0);
	return 0;
}

int sqlite_member_insert(struct db_tx *tx, const struct image_member *m, struct err *err)
{
	/* The unique key does not help: in it deleted_at is NULL, and NULLs all differ. */
	static const char sql[] =
		"INSERT INTO image_members"
		" (image_id, member, can_share, status, created_at, updated_at, deleted)"
		" SELECT ?1, ?2, 0, ?3, ?4, ?5, 0 WHERE NOT EXISTS (SELECT 1 FROM image_members"
		" WHERE image_id = ?1 AND member = ?2 AND +deleted = 0)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, m->image_id);
	bind_text(&q, m->member_id);
	bind_text(&q, member_status_name(m->status));
	bind_time(&q, m->created_at);
	bind_time(&q, m->updated_at);
	r = query_run(&q, err);
	if (r == 0 && query_changes(&q) == 0)
		return err_set(err, ERR_CONFLICT, "Image %s already has the member %.255s.", m->image_id,
			       m->member_id);
	return r;
}

int sqlite_member_update(struct db_tx *tx, const struct image_member *m, struct err *err)
{
	static const char sql[] = "UPDATE image_members SET status = ?, updated_at = ?"
				  " WHERE image_id = ? AND member = ? AND +deleted = 0";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, member_status_name(m->status));
	bind_time(&q, m->updated_at);
	bind_text(&q, m->image_id);
	bind_text(&q, m->member_id);
	r = query_run(&q, err);
	if (r == 0 && query_changes(&q) == 0)
		return not_found(m->image_id, m->member_id, err);
	return r;
}

int sqlite_member_delete(struct db_tx *tx, const char *image_id, const char *member_id, int64_t now,
			 struct err *err)
{
	/* OR REPLACE: removed, added and removed again within the same microsecond. */
	static const char sql[] = "UPDATE OR REPLACE image_members SET deleted = 1, deleted_at = ?"
				  " WHERE image_id = ? AND member = ? AND +deleted = 0";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_time(&q, now);
	bind_text(&q, image_id);
	bind_text(&q, member_id);
	r = query_run(&q, err);
	if (r == 0 && query_changes(&q) == 0)
		return not_found(image_id, member_id, err);
	return r;
}

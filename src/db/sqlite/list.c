/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/list.c -- a page of images: list_sql.c says how, here it is run. Properties and tags come
 * by one prepared statement each per image: in one process that costs less than gathering them. */
#include "db/sqlite/sqlite.h"

#include <string.h>

#include "db/sqlite/list_sql.h"

/* Leaves @q on the marker's row. */
static int find_marker(struct conn *c, const struct image_query *iq, struct query *q, bool *ret_nulls,
		       struct err *err)
{
	int r = query_open(c, list_marker_sql, q, err);

	if (r < 0)
		return r;
	bind_text(q, iq->marker);
	bind_int(q, iq->sees_everything);
	bind_text(q, iq->project);
	r = query_next(q, err);
	if (r == 0)
		return err_set(err, ERR_INVALID, "The marker is not the id of an image that can be listed.");
	for (int i = 0; r > 0 && i < N_SORTABLE; i++)
		ret_nulls[i] = sqlite3_column_type(q->stmt, i) == SQLITE_NULL;
	return r < 0 ? r : 0;
}

static void bind_params(struct query *q, const struct list_sql *sql, const struct query *marker)
{
	for (size_t i = 0; i < sql->n_params; i++) {
		const struct list_param *p = &sql->params[i];

		switch (p->kind) {
		case PARAM_TEXT:
			bind_text(q, p->text);
			break;
		case PARAM_INT:
			bind_int(q, p->number);
			break;
		case PARAM_MARKER:
			bind_value(q, sqlite3_column_value(marker->stmt, (int)p->field));
			break;
		}
	}
}

static int hand_over(struct conn *c, const struct image_query *iq, struct query *q, db_image_fn *fn, void *cls,
		     struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img;
	int r = image_from_row(q, NULL, &img, err);

	if (r == 0)
		r = image_load_properties(c, &a, &img, err);
	if (r == 0)
		r = image_load_tags(c, &a, &img, err);
	if (r == 0 && iq->with_locations)
		r = image_load_locations(c, &a, &img, err);
	return r < 0 ? r : fn(cls, &img, err);
}

static int run_page(struct conn *c, const struct image_query *iq, const struct list_sql *sql,
		    const struct query *marker, db_image_fn *fn, void *cls, struct err *err)
{
	AUTO(query_done) struct query q = {0};
	int r = query_open_built(c, sql->text.data, &q, err);

	if (r < 0)
		return r;
	bind_params(&q, sql, marker);
	while ((r = query_next(&q, err)) > 0) {
		r = hand_over(c, iq, &q, fn, cls, err);
		if (r != 0)
			return r;
	}
	return r;
}

int sqlite_image_list(struct db_tx *tx, const struct image_query *iq, db_image_fn *fn, void *cls,
		      struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(list_sql_done) struct list_sql sql = {0};
	AUTO(query_done) struct query marker = {0};
	bool nulls[N_SORTABLE] = {false};
	int r;

	if (iq->marker) {
		r = find_marker(tx_conn(tx), iq, &marker, nulls, err);
		if (r < 0)
			return r;
	}
	if (!list_sql_build(iq, iq->marker ? nulls : NULL, &a, &sql))
		return err_nomem(err);
	return sql.text.len ? run_page(tx_conn(tx), iq, &sql, &marker, fn, cls, err) : 0;
}

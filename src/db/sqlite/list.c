/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/list.c -- a page of images: list_sql.c says of which branches it is made, here they are run
 * side by side and the foremost of their rows taken, until the page is full. A branch gives only what an
 * index has; the image's own row, its properties and tags come by one prepared statement each: in one
 * process that costs less than gathering them. Of what is asked for as text, most is in memory (texts.c). */
#include "db/sqlite/sqlite.h"

#include <string.h>

#include "db/sqlite/list_sql.h"

#define KEYS 2 /* the first column that is sorted by */

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

/* A branch has parameters up to the last one that it uses. */
static void bind_params(struct query *q, const struct list_sql *sql, const struct query *marker)
{
	int n = sqlite3_bind_parameter_count(q->stmt);

	for (int i = 0; i < n && i < (int)sql->n_params; i++) {
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

/* -- the branches, side by side ------------------------------------------------------------------- */

struct hand {
	const struct image_query *iq;
	struct query branches[LIST_MAX_BRANCHES];
	bool has_row[LIST_MAX_BRANCHES]; /* it stands on one */
	size_t n;
	int64_t last; /* rowid of the row taken last; 0: none yet */
};

static void hand_done(struct hand *h)
{
	for (size_t i = 0; i < h->n; i++)
		query_done(&h->branches[i]);
}

/* A branch that has ended gives its statement back: a callback may list, too. */
static int draw(struct hand *h, size_t i, struct err *err)
{
	int r = query_next(&h->branches[i], err);

	h->has_row[i] = r > 0;
	if (r == 0)
		query_done(&h->branches[i]);
	return r < 0 ? r : 0;
}

static int hand_open(struct hand *h, struct conn *c, const struct list_sql *sql, const struct query *marker,
		     struct err *err)
{
	for (size_t i = 0; i < sql->n_branches; i++) {
		int r = query_open_built(c, sql->branches[i].data, &h->branches[i], err);

		if (r < 0)
			return r;
		h->n++;
		bind_params(&h->branches[i], sql, marker);
		r = draw(h, i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* NULL before numbers before texts, as SQLite sorts. */
static int rank(int type)
{
	return type == SQLITE_NULL ? 0 : type == SQLITE_INTEGER || type == SQLITE_FLOAT ? 1 : 2;
}

static int compare_texts(const struct query *a, const struct query *b, int i)
{
	const char *ta = column_text(a, i), *tb = column_text(b, i);
	int na = sqlite3_column_bytes(a->stmt, i), nb = sqlite3_column_bytes(b->stmt, i);
	int c = ta && tb ? memcmp(ta, tb, (size_t)(na < nb ? na : nb)) : 0;

	return c ? c : na - nb;
}

static int compare_columns(const struct query *a, const struct query *b, int i)
{
	int ra = rank(sqlite3_column_type(a->stmt, i)), rb = rank(sqlite3_column_type(b->stmt, i));
	int64_t na, nb;

	if (ra != rb || ra == 0)
		return ra - rb;
	if (ra == 2)
		return compare_texts(a, b, i);
	na = column_int(a, i);
	nb = column_int(b, i);
	return (na > nb) - (na < nb);
}

static bool comes_first(const struct hand *h, size_t a, size_t b)
{
	for (size_t k = 0; k < h->iq->n_sorts; k++) {
		int c = compare_columns(&h->branches[a], &h->branches[b], KEYS + (int)k);

		if (c != 0)
			return h->iq->sorts[k].descending ? c > 0 : c < 0;
	}
	return false;
}

/* The branch with the foremost row; h->n if none has one. */
static size_t foremost(const struct hand *h)
{
	size_t best = h->n;

	for (size_t i = 0; i < h->n; i++)
		if (h->has_row[i] && (best == h->n || comes_first(h, i, best)))
			best = i;
	return best;
}

/* -- a row ----------------------------------------------------------------------------------------- */

/* What becomes of the rows: they are given as images, or as texts. */
struct page {
	struct sqlite_tx *tx;
	const struct image_query *iq;
	db_image_fn *image;
	db_render_fn *render;
	db_text_fn *text;
	void *cls;
	uint64_t generation; /* see texts_enter() */
};

static int load(struct conn *c, bool with_locations, struct query *row, struct arena *a, struct image *ret,
		struct err *err)
{
	int r = image_from_row(row, NULL, ret, err);

	if (r == 0)
		r = image_load_properties(c, a, ret, err);
	if (r == 0)
		r = image_load_tags(c, a, ret, err);
	if (r == 0 && with_locations)
		r = image_load_locations(c, a, ret, err);
	return r;
}

static int load_and_give(const struct page *p, int64_t rowid, db_image_fn *fn, void *cls, struct err *err)
{
	static const char sql[] = "SELECT " IMAGE_COLUMNS " FROM images AS i WHERE i.rowid = ?";
	struct conn *c = p->tx->conn;
	AUTO(arena_done) struct arena a = {0};
	AUTO(query_done) struct query q = {0};
	struct image img;
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, rowid);
	r = query_next(&q, err);
	if (r <= 0)
		return r;
	r = load(c, p->iq->with_locations, &q, &a, &img, err);
	return r < 0 ? r : fn(cls, &img, err);
}

static int render_and_keep(void *cls, const struct image *img, struct err *err)
{
	struct page *p = cls;
	AUTO(buf_done) struct buf out = {0};
	struct text *text;
	int r;

	p->render(&out, img);
	text = out.failed ? NULL : text_new(img->id, p->render, p->iq->with_locations, buf_cstr(&out), out.len);
	if (!text)
		return err_nomem(err);
	texts_add(&p->tx->db->texts, p->generation, text);
	r = p->text(p->cls, text->id, text->data, text->n, err);
	text_unref(text);
	return r;
}

static int give_text(struct page *p, const char *id, int64_t rowid, struct err *err)
{
	struct text *text = NULL;
	int r;

	if (id && strlen(id) == UUID_LEN)
		text = texts_take(&p->tx->db->texts, p->generation, id, p->render, p->iq->with_locations);
	if (!text)
		return load_and_give(p, rowid, render_and_keep, p, err);
	r = p->text(p->cls, text->id, text->data, text->n, err);
	text_unref(text);
	return r;
}

static int give(struct page *p, const struct query *row, struct err *err)
{
	if (p->image)
		return load_and_give(p, column_int(row, 0), p->image, p->cls, err);
	return give_text(p, column_text(row, 1), column_int(row, 0), err);
}

/* -- the page -------------------------------------------------------------------------------------- */

static int run_page(struct page *p, struct hand *h, struct err *err)
{
	int64_t n_left = h->iq->limit;
	int r = 0;

	for (size_t i; r == 0 && n_left > 0 && (i = foremost(h)) < h->n; ) {
		int64_t rowid = column_int(&h->branches[i], 0);

		if (rowid != h->last) { /* what is in several branches stands at their front at once */
			h->last = rowid;
			n_left--;
			r = give(p, &h->branches[i], err);
		}
		if (r == 0)
			r = draw(h, i, err);
	}
	return r;
}

static int list(struct page *p, struct err *err)
{
	const struct image_query *iq = p->iq;
	struct conn *c = p->tx->conn;
	AUTO(arena_done) struct arena a = {0};
	AUTO(list_sql_done) struct list_sql sql = {0};
	AUTO(query_done) struct query marker = {0};
	AUTO(hand_done) struct hand h = {.iq = iq};
	bool nulls[N_SORTABLE] = {false};
	int r;

	if (iq->marker) {
		r = find_marker(c, iq, &marker, nulls, err);
		if (r < 0)
			return r;
	}
	if (!list_sql_build(iq, iq->marker ? nulls : NULL, &a, &sql))
		return err_nomem(err);
	r = hand_open(&h, c, &sql, &marker, err);
	if (r < 0)
		return r;
	if (h.n > 0 && p->tx->has_before) /* by now the snapshot is taken */
		p->generation = texts_enter(&p->tx->db->texts, &p->tx->before);
	return run_page(p, &h, err);
}

int sqlite_image_list(struct db_tx *tx, const struct image_query *iq, db_image_fn *fn, void *cls,
		      struct err *err)
{
	struct page p = {.tx = (struct sqlite_tx *)tx, .iq = iq, .image = fn, .cls = cls};

	return list(&p, err);
}

int sqlite_image_list_texts(struct db_tx *tx, const struct image_query *iq, db_render_fn *render,
			    db_text_fn *fn, void *cls, struct err *err)
{
	struct page p = {.tx = (struct sqlite_tx *)tx, .iq = iq, .render = render, .text = fn, .cls = cls};

	return list(&p, err);
}

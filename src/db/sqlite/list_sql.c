/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/list_sql.c -- see list_sql.h.
 *
 * What a caller can see is the union of a few sets: his own images, the public ones, those shared with
 * him ... Each is a branch: a statement of its own that walks an index in the wanted order and stops
 * after a page's worth of rows. list.c takes from them as from a hand of cards, so a page costs the
 * same however many images there are, and images the caller cannot see are never looked at.
 *
 * The order is total (created_at, id at its end), and a page begins after the marker's values in that
 * order, NULL being smaller than everything, as SQLite sorts: rows are neither repeated nor skipped.
 *
 * A column behind a plus sign is one whose index SQLite shall not use. It has no statistics and would
 * at times rather sort half of the table. */
#include "db/sqlite/list_sql.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "db/sqlite/sqlite.h"

struct builder {
	const struct image_query *q;
	const bool *marker_nulls;
	struct arena *a;
	struct list_sql *out;
	size_t max_params;
	bool failed;
	struct buf shared; /* conditions that hold in every branch */
	struct buf order;
	bool narrow; /* a filter on name, id or checksum finds the few rows faster than the order */
	size_t limit_param, project_param;
};

struct column {
	const char *name;
	bool nullable;
};

static const struct column columns[] = {
	[FIELD_ID] = {"i.id", false},
	[FIELD_NAME] = {"i.name", true},
	[FIELD_STATUS] = {"i.status", false},
	[FIELD_CONTAINER_FORMAT] = {"i.container_format", true},
	[FIELD_DISK_FORMAT] = {"i.disk_format", true},
	[FIELD_SIZE] = {"i.size", true},
	[FIELD_CREATED_AT] = {"i.created_at", false},
	[FIELD_UPDATED_AT] = {"i.updated_at", true},
	[FIELD_OWNER] = {"i.owner", true},
	[FIELD_CHECKSUM] = {"i.checksum", true},
	[FIELD_OS_HASH_ALGO] = {"i.os_hash_algo", true},
	[FIELD_OS_HASH_VALUE] = {"i.os_hash_value", true},
	[FIELD_VIRTUAL_SIZE] = {"i.virtual_size", true},
	[FIELD_MIN_DISK] = {"i.min_disk", false},
	[FIELD_MIN_RAM] = {"i.min_ram", false},
	[FIELD_PROTECTED] = {"i.protected", false},
	[FIELD_PROPERTY] = {"p.value", true},
};

const char list_marker_sql[] =
	"SELECT i.id, i.name, i.status, i.container_format, i.disk_format, i.size, i.created_at, i.updated_at"
	" FROM images AS i WHERE i.id = ?1 AND +i.deleted = 0"
	" AND (?2 OR +i.visibility IN ('public', 'community') OR +i.owner = ?3"
	" OR (+i.owner IS NULL AND +i.visibility = 'shared')"
	" OR (+i.visibility = 'shared' AND EXISTS (SELECT 1 FROM image_members AS m"
	" WHERE m.image_id = i.id AND m.member = ?3 AND +m.deleted = 0)))";

/* -- parameters --------------------------------------------------------------------------------- */

/* Returns its number, from 1. Numbered, because the branches share them. */
static size_t add_param(struct builder *b, struct list_param p)
{
	struct list_sql *out = b->out;

	if (out->n_params == b->max_params) {
		size_t max = b->max_params ? 2 * b->max_params : 16;
		struct list_param *bigger = arena_alloc(b->a, max * sizeof(*bigger));

		if (!bigger) {
			b->failed = true;
			return 1;
		}
		if (out->n_params)
			memcpy(bigger, out->params, out->n_params * sizeof(*bigger));
		out->params = bigger;
		b->max_params = max;
	}
	out->params[out->n_params++] = p;
	return out->n_params;
}

static size_t add_text(struct builder *b, const char *text)
{
	return add_param(b, (struct list_param){.kind = PARAM_TEXT, .text = text});
}

static size_t add_int(struct builder *b, int64_t number)
{
	return add_param(b, (struct list_param){.kind = PARAM_INT, .number = number});
}

/* -- filters ------------------------------------------------------------------------------------ */

static const char *const operators[] = {
	[OP_EQ] = "=", [OP_NEQ] = "<>", [OP_GT] = ">", [OP_GTE] = ">=", [OP_LT] = "<", [OP_LTE] = "<=",
};

static void add_list(struct builder *b, struct buf *sql, const char *const *texts, size_t n)
{
	buf_adds(sql, " IN (");
	for (size_t i = 0; i < n; i++)
		buf_addf(sql, "%s?%zu", i ? ", " : "", add_text(b, texts[i]));
	buf_addc(sql, ')');
}

static void compare_text(struct builder *b, struct buf *sql, const char *column, const struct image_filter *f)
{
	if (f->n_texts == 0) {
		buf_adds(sql, "0");
		return;
	}
	buf_adds(sql, column);
	if (f->op == OP_IN)
		add_list(b, sql, f->texts, f->n_texts);
	else
		buf_addf(sql, " %s ?%zu", operators[f->op], add_text(b, f->texts[0]));
}

/* A time without fraction is stored with ".000000" by some and without by others; the shorter text is
 * the smaller one, so it depends on the side which of them is the border. */
static void compare_time(struct builder *b, struct buf *sql, const char *column, const struct image_filter *f)
{
	char text[CLOCK_TEXT_MAX];
	const char *with = arena_strdup(b->a, clock_db(f->number, text));
	const char *without = f->number % 1000000 ? with : arena_strndup(b->a, text, strcspn(text, "."));
	const char *border = f->op == OP_GTE || f->op == OP_LT ? without : with;

	if (!with || !without)
		b->failed = true;
	else if (f->op == OP_EQ || f->op == OP_NEQ)
		buf_addf(sql, "%s %s (?%zu, ?%zu)", column, f->op == OP_EQ ? "IN" : "NOT IN",
			 add_text(b, with), add_text(b, without));
	else
		buf_addf(sql, "%s %s ?%zu", column, operators[f->op], add_text(b, border));
}

static void compare(struct builder *b, struct buf *sql, const struct image_filter *f)
{
	const char *column = columns[f->field].name;

	switch (f->field) {
	case FIELD_CREATED_AT:
	case FIELD_UPDATED_AT:
		compare_time(b, sql, column, f);
		break;
	case FIELD_SIZE:
	case FIELD_VIRTUAL_SIZE:
	case FIELD_MIN_DISK:
	case FIELD_MIN_RAM:
	case FIELD_PROTECTED:
		buf_addf(sql, "%s %s ?%zu", column, operators[f->op], add_int(b, f->number));
		break;
	default:
		compare_text(b, sql, column, f);
	}
}

static void add_filter(struct builder *b, const struct image_filter *f)
{
	buf_adds(&b->shared, " AND ");
	if (f->field == FIELD_PROPERTY) {
		buf_addf(&b->shared,
			 "EXISTS (SELECT 1 FROM image_properties AS p WHERE p.image_id = i.id"
			 " AND p.name = ?%zu AND +p.deleted = 0 AND ",
			 add_text(b, f->property));
		compare(b, &b->shared, f);
		buf_addc(&b->shared, ')');
	} else {
		compare(b, &b->shared, f);
	}
}

static bool finds_few(const struct image_filter *f)
{
	if (f->op != OP_EQ && f->op != OP_IN)
		return false;
	return f->field == FIELD_ID || f->field == FIELD_NAME || f->field == FIELD_CHECKSUM ||
	       f->field == FIELD_OS_HASH_VALUE;
}

/* -- order and marker --------------------------------------------------------------------------- */

static const char *direction(const struct image_sort *s)
{
	return s->descending ? "DESC" : "ASC";
}

static const char *sort_column(const struct image_sort *s)
{
	assert(s->field < N_SORTABLE);
	return columns[s->field].name;
}

static void build_order(struct builder *b)
{
	for (size_t i = 0; i < b->q->n_sorts; i++)
		buf_addf(&b->order, "%s%s %s", i ? ", " : " ORDER BY ", sort_column(&b->q->sorts[i]),
			 direction(&b->q->sorts[i]));
}

/* 0 for NULL, which is compared with by other words. */
static size_t marker_param(struct builder *b, const struct image_sort *s)
{
	if (b->marker_nulls[s->field])
		return 0;
	return add_param(b, (struct list_param){.kind = PARAM_MARKER, .field = s->field});
}

static void key_equal(struct builder *b, const struct image_sort *s, size_t param)
{
	if (b->marker_nulls[s->field])
		buf_addf(&b->shared, "%s IS NULL", sort_column(s));
	else
		buf_addf(&b->shared, "%s = ?%zu", sort_column(s), param);
}

/* @or_equal: "=" or "" */
static void key_after(struct builder *b, const struct image_sort *s, size_t param, const char *or_equal)
{
	const char *column = sort_column(s);

	if (b->marker_nulls[s->field] && s->descending) /* nothing is smaller than NULL */
		buf_addf(&b->shared, *or_equal ? "%s IS NULL" : "0", column);
	else if (b->marker_nulls[s->field]) /* everything else is greater */
		buf_addf(&b->shared, *or_equal ? "1" : "%s IS NOT NULL", column);
	else if (s->descending && columns[s->field].nullable)
		buf_addf(&b->shared, "(%s <%s ?%zu OR %s IS NULL)", column, or_equal, param, column);
	else
		buf_addf(&b->shared, "%s %c%s ?%zu", column, s->descending ? '<' : '>', or_equal, param);
}

/* Keys without NULL that all go the same way can be compared as a row, which an index can follow. */
static bool is_plain(const struct image_query *q)
{
	for (size_t i = 0; i < q->n_sorts; i++)
		if (columns[q->sorts[i].field].nullable || q->sorts[i].descending != q->sorts[0].descending)
			return false;
	return true;
}

static void after_marker_plain(struct builder *b)
{
	const struct image_query *q = b->q;

	buf_adds(&b->shared, " AND (");
	for (size_t i = 0; i < q->n_sorts; i++)
		buf_addf(&b->shared, "%s%s", i ? ", " : "", sort_column(&q->sorts[i]));
	buf_addf(&b->shared, ") %c (", q->sorts[0].descending ? '<' : '>');
	for (size_t i = 0; i < q->n_sorts; i++)
		buf_addf(&b->shared, "%s?%zu", i ? ", " : "", marker_param(b, &q->sorts[i]));
	buf_addc(&b->shared, ')');
}

/* k0 after v0, or k0 = v0 and (k1 after v1, or k1 = v1 and ( ... )). The first condition says nothing
 * new, but an index can follow it. */
static void after_marker(struct builder *b)
{
	const struct image_query *q = b->q;

	buf_adds(&b->shared, " AND ");
	for (size_t i = 0; i < q->n_sorts; i++) {
		size_t param = marker_param(b, &q->sorts[i]);

		if (i == 0) {
			key_after(b, &q->sorts[0], param, "=");
			buf_adds(&b->shared, " AND (");
		}
		key_after(b, &q->sorts[i], param, "");
		if (i + 1 < q->n_sorts) {
			buf_adds(&b->shared, " OR (");
			key_equal(b, &q->sorts[i], param);
			buf_adds(&b->shared, " AND (");
		}
	}
	for (size_t i = 0; i + 1 < q->n_sorts; i++)
		buf_adds(&b->shared, "))");
	buf_addc(&b->shared, ')');
}

static void build_shared(struct builder *b)
{
	const struct image_query *q = b->q;
	const char *plus;

	for (size_t i = 0; i < q->n_filters; i++)
		b->narrow |= finds_few(&q->filters[i]);
	plus = b->narrow ? "+" : "";
	/* A killed image is one whose upload failed long ago: Glance never lists it. */
	buf_addf(&b->shared, "%si.deleted = 0 AND %si.os_hidden = ?%zu AND i.status <> 'killed'", plus, plus,
		 add_int(b, q->os_hidden));
	for (size_t i = 0; i < q->n_filters; i++)
		add_filter(b, &q->filters[i]);
	for (size_t i = 0; i < q->n_tags; i++)
		buf_addf(&b->shared,
			 " AND EXISTS (SELECT 1 FROM image_tags AS t WHERE t.image_id = i.id"
			 " AND t.value = ?%zu AND +t.deleted = 0)",
			 add_text(b, q->tags[i]));
	if (b->marker_nulls && is_plain(q))
		after_marker_plain(b);
	else if (b->marker_nulls)
		after_marker(b);
}

/* -- branches ----------------------------------------------------------------------------------- */

struct branch {
	enum { ALL, OWN, OWN_OF, OF, SHARED_WITH_ME } set; /* OWN_OF: own, and of this visibility */
	enum image_visibility visibility;
};

/* By everybody's rights: an administrator sees all, but other projects' community images only if he
 * asks for them, like everybody else. */
static size_t branches_of_admin(const struct image_query *q, struct branch *out)
{
	size_t n = 0;

	if (q->visibility_filter == SHOW_ALL) {
		out[n++] = (struct branch){.set = ALL};
	} else if (q->visibility_filter == SHOW_ONE) {
		out[n++] = (struct branch){.set = OF, .visibility = q->visibility};
	} else {
		out[n++] = (struct branch){.set = OF, .visibility = IMAGE_PRIVATE};
		out[n++] = (struct branch){.set = OF, .visibility = IMAGE_SHARED};
		out[n++] = (struct branch){.set = OF, .visibility = IMAGE_PUBLIC};
		if (q->project)
			out[n++] = (struct branch){.set = OWN_OF, .visibility = IMAGE_COMMUNITY};
	}
	return n;
}

static size_t branches_of_one(const struct image_query *q, struct branch *out)
{
	size_t n = 0;

	if (q->visibility == IMAGE_PUBLIC || q->visibility == IMAGE_COMMUNITY) {
		out[n++] = (struct branch){.set = OF, .visibility = q->visibility};
	} else if (q->project) {
		out[n++] = (struct branch){.set = OWN_OF, .visibility = q->visibility};
		if (q->visibility == IMAGE_SHARED)
			out[n++] = (struct branch){.set = SHARED_WITH_ME};
	}
	return n;
}

static size_t branches_of(const struct image_query *q, struct branch *out)
{
	size_t n = 0;

	if (q->sees_everything)
		return branches_of_admin(q, out);
	if (q->visibility_filter == SHOW_ONE)
		return branches_of_one(q, out);
	out[n++] = (struct branch){.set = OF, .visibility = IMAGE_PUBLIC};
	if (q->visibility_filter == SHOW_ALL)
		out[n++] = (struct branch){.set = OF, .visibility = IMAGE_COMMUNITY};
	if (q->project) {
		out[n++] = (struct branch){.set = OWN};
		out[n++] = (struct branch){.set = SHARED_WITH_ME};
	}
	return n;
}

static const char *members_wanted(enum member_filter f)
{
	switch (f) {
	case MEMBERS_PENDING:
		return " AND m.status = 'pending'";
	case MEMBERS_REJECTED:
		return " AND m.status = 'rejected'";
	case MEMBERS_ALL:
		return "";
	case MEMBERS_ACCEPTED:
		break;
	}
	return " AND m.status = 'accepted'";
}

/* "FROM ... WHERE" and the conditions of this branch, up to an AND. */
static void branch_from(const struct builder *b, const struct branch *branch, struct buf *sql)
{
	const char *visibility = image_visibility_name(branch->visibility);
	const char *plus = b->narrow ? "+" : "";

	switch (branch->set) {
	case ALL:
		buf_adds(sql, " FROM images AS i WHERE ");
		break;
	case OWN:
		buf_addf(sql, " FROM images AS i WHERE %si.owner = ?%zu AND ", plus, b->project_param);
		break;
	case OWN_OF:
		buf_addf(sql, " FROM images AS i WHERE %si.owner = ?%zu AND +i.visibility = '%s' AND ", plus,
			 b->project_param, visibility);
		break;
	case OF:
		buf_addf(sql, " FROM images AS i WHERE %si.visibility = '%s' AND ", plus, visibility);
		break;
	case SHARED_WITH_ME:
		buf_addf(sql,
			 " FROM image_members AS m CROSS JOIN images AS i ON i.id = m.image_id"
			 " WHERE m.member = ?%zu AND m.deleted = 0%s AND +i.visibility = 'shared' AND ",
			 b->project_param, members_wanted(b->q->members));
		break;
	}
}

static void write_branch(const struct builder *b, const struct branch *branch, struct buf *sql)
{
	buf_adds(sql, "SELECT i.rowid, i.id");
	for (size_t i = 0; i < b->q->n_sorts; i++)
		buf_addf(sql, ", %s", sort_column(&b->q->sorts[i]));
	branch_from(b, branch, sql);
	buf_add(sql, b->shared.data, b->shared.len);
	buf_add(sql, b->order.data, b->order.len);
	buf_addf(sql, " LIMIT ?%zu", b->limit_param);
}

bool list_sql_build(const struct image_query *q, const bool *marker_nulls, struct arena *a,
		    struct list_sql *ret)
{
	struct builder b = {.q = q, .marker_nulls = marker_nulls, .a = a, .out = ret};
	struct branch branches[LIST_MAX_BRANCHES];
	size_t n = branches_of(q, branches);
	bool ok;

	*ret = (struct list_sql){0};
	b.limit_param = add_int(&b, q->limit < 0 ? 0 : q->limit);
	b.project_param = add_text(&b, q->project);
	build_shared(&b);
	build_order(&b);
	ok = !b.failed && !b.shared.failed && !b.order.failed;
	for (size_t i = 0; i < n && ok; i++) {
		write_branch(&b, &branches[i], &ret->branches[i]);
		ret->n_branches++;
		ok = !ret->branches[i].failed;
	}
	buf_done(&b.shared);
	buf_done(&b.order);
	return ok;
}

void list_sql_done(struct list_sql *l)
{
	for (size_t i = 0; i < l->n_branches; i++)
		buf_done(&l->branches[i]);
}

/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/images.c -- images with their properties, tags and locations.
 *
 * (1) Nothing is removed when an image, property or tag goes: the row stays, marked deleted, until
 *     sqlite_purge(). The rows of the images themselves stay for ever, so that no id comes twice.
 * (2) A property has one row for ever: the name is unique within the image, and setting a removed one
 *     again revives its row. A tag that is set again gets another row.
 *
 * "+deleted = 0" instead of "deleted = 0": there is an index on deleted alone, and without the plus
 * sign SQLite may take it and walk every row there is. */
#include "db/sqlite/sqlite.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

/* Before anybody can see it. */
static void note_change(struct db_tx *tx, const char *id)
{
	if (strlen(id) == UUID_LEN)
		texts_change(&((struct sqlite_tx *)tx)->db->texts, id);
}

static int not_found(const char *id, struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "No image found with ID %.64s", id);
}

/* -- reading ------------------------------------------------------------------------------------ */

static int bad_row(const struct image *img, const char *what, const char *value, struct err *err)
{
	(void)err_set(err, ERR_INTERNAL, "Image %s is stored with %s that is not known.", img->id, what);
	if (err)
		(void)err_detail(err, "%s (%.64s)", err->text, value ?: "null");
	return ERR_INTERNAL;
}

static int read_words(struct query *q, struct image *img, struct err *err)
{
	const char *id = column_text(q, 0), *status = column_text(q, 3), *visibility = column_text(q, 16);
	int n = snprintf(img->id, sizeof(img->id), "%s", id ?: "");

	if (n <= 0 || (size_t)n >= sizeof(img->id))
		return bad_row(img, "an id", id, err);
	if (!status || !image_status_parse(status, &img->status))
		return bad_row(img, "a status", status, err);
	if (!visibility || !image_visibility_parse(visibility, &img->visibility))
		return bad_row(img, "a visibility", visibility, err);
	return 0;
}

static int read_times(struct query *q, struct image *img, struct err *err)
{
	int64_t *const times[] = {&img->created_at, &img->updated_at, &img->deleted_at};

	for (int i = 0; i < (int)ARRAY_LEN(times); i++)
		if (!column_time(q, 4 + i, times[i]))
			return bad_row(img, "a time", column_text(q, 4 + i), err);
	return 0;
}

static int read_texts(struct query *q, struct arena *a, struct image *img, struct err *err)
{
	const struct {
		int column;
		const char **to;
	} texts[] = {
		{1, &img->name},           {8, &img->disk_format}, {9, &img->container_format},
		{10, &img->checksum},      {11, &img->owner},      {18, &img->os_hash_algo},
		{19, &img->os_hash_value},
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		int r = column_copy(q, texts[i].column, a, texts[i].to, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int image_from_row(struct query *q, struct arena *a, struct image *ret, struct err *err)
{
	int r;

	*ret = (struct image){
		.size = column_size(q, 2),
		.deleted = column_int(q, 7) != 0,
		.min_disk = column_int(q, 12),
		.min_ram = column_int(q, 13),
		.is_protected = column_int(q, 14) != 0,
		.virtual_size = column_size(q, 15),
		.os_hidden = column_int(q, 17) != 0,
	};
	r = read_words(q, ret, err);
	if (r == 0)
		r = read_times(q, ret, err);
	return r < 0 ? r : read_texts(q, a, ret, err);
}

/* Room for one more in an array that lives in @a. */
static void *one_more(struct arena *a, void *array, size_t n, size_t size)
{
	void *bigger;

	if (n & (n - 1) || n == 1 || n == 2) /* full only at 0, 4, 8, 16 ... */
		return array;
	bigger = arena_alloc(a, (n ? 2 * n : 4) * size);
	if (bigger && n)
		memcpy(bigger, array, n * size);
	return bigger;
}

int image_load_properties(struct conn *c, struct arena *a, struct image *img, struct err *err)
{
	static const char sql[] = "SELECT name, value FROM image_properties"
				  " WHERE image_id = ? AND +deleted = 0 ORDER BY id";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, img->id);
	while ((r = query_next(&q, err)) > 0) {
		struct image_property *p = one_more(a, img->properties, img->n_properties, sizeof(*p));

		if (!p)
			return err_nomem(err);
		img->properties = p;
		p += img->n_properties;
		r = column_copy(&q, 0, a, &p->name, err);
		if (r == 0)
			r = column_copy(&q, 1, a, &p->value, err);
		if (r < 0)
			return r;
		img->n_properties++;
	}
	return r;
}

int image_load_tags(struct conn *c, struct arena *a, struct image *img, struct err *err)
{
	static const char sql[] = "SELECT value FROM image_tags"
				  " WHERE image_id = ? AND +deleted = 0 ORDER BY id";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, img->id);
	while ((r = query_next(&q, err)) > 0) {
		const char **tags = one_more(a, img->tags, img->n_tags, sizeof(*tags));

		if (!tags)
			return err_nomem(err);
		img->tags = tags;
		r = column_copy(&q, 0, a, &tags[img->n_tags], err);
		if (r < 0)
			return r;
		img->n_tags++;
	}
	return r;
}

static int location_from_row(struct query *q, struct arena *a, struct image_location *ret, struct err *err)
{
	int r = column_copy(q, 0, a, &ret->url, err);

	if (r == 0)
		r = column_copy(q, 1, a, &ret->metadata, err);
	if (r == 0 && ret->metadata && !strcmp(ret->metadata, "{}"))
		ret->metadata = NULL;
	return r;
}

int image_load_locations(struct conn *c, struct arena *a, struct image *img, struct err *err)
{
	static const char sql[] = "SELECT value, meta_data FROM image_locations"
				  " WHERE image_id = ? AND +deleted = 0 AND status = 'active' ORDER BY id";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, img->id);
	while ((r = query_next(&q, err)) > 0) {
		struct image_location *l = one_more(a, img->locations, img->n_locations, sizeof(*l));

		if (!l)
			return err_nomem(err);
		img->locations = l;
		r = location_from_row(&q, a, &l[img->n_locations], err);
		if (r < 0)
			return r;
		img->n_locations++;
	}
	return r;
}

static int read_image(struct conn *c, const char *id, bool with_deleted, struct arena *a, struct image *ret,
		      struct err *err)
{
	static const char sql[] = "SELECT " IMAGE_COLUMNS " FROM images AS i WHERE i.id = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, id);
	r = query_next(&q, err);
	if (r < 0)
		return r;
	if (r == 0 || (column_int(&q, 7) != 0 && !with_deleted))
		return not_found(id, err);
	return image_from_row(&q, a, ret, err);
}

int sqlite_image_get(struct db_tx *tx, const char *id, bool with_deleted, struct arena *a, struct image *ret,
		     struct err *err)
{
	struct conn *c = tx_conn(tx);
	struct image img;
	int r = read_image(c, id, with_deleted, a, &img, err);

	if (r == 0)
		r = image_load_properties(c, a, &img, err);
	if (r == 0)
		r = image_load_tags(c, a, &img, err);
	if (r == 0)
		r = image_load_locations(c, a, &img, err);
	if (r == 0)
		*ret = img;
	return r;
}

/* -- columns of images that are written ---------------------------------------------------------- */

enum column_kind {
	COLUMN_TEXT,
	COLUMN_INT,
	COLUMN_SIZE,
	COLUMN_TIME,
	COLUMN_BOOL,
	COLUMN_STATUS,
	COLUMN_VISIBILITY
};

struct column {
	const char *name;
	enum column_kind kind;
	size_t at; /* in struct image */
};

/* In this order in insert_image() too. */
static const struct column columns[] = {
	{"name", COLUMN_TEXT, offsetof(struct image, name)},
	{"size", COLUMN_SIZE, offsetof(struct image, size)},
	{"status", COLUMN_STATUS, offsetof(struct image, status)},
	{"created_at", COLUMN_TIME, offsetof(struct image, created_at)},
	{"updated_at", COLUMN_TIME, offsetof(struct image, updated_at)},
	{"disk_format", COLUMN_TEXT, offsetof(struct image, disk_format)},
	{"container_format", COLUMN_TEXT, offsetof(struct image, container_format)},
	{"checksum", COLUMN_TEXT, offsetof(struct image, checksum)},
	{"owner", COLUMN_TEXT, offsetof(struct image, owner)},
	{"min_disk", COLUMN_INT, offsetof(struct image, min_disk)},
	{"min_ram", COLUMN_INT, offsetof(struct image, min_ram)},
	{"protected", COLUMN_BOOL, offsetof(struct image, is_protected)},
	{"virtual_size", COLUMN_SIZE, offsetof(struct image, virtual_size)},
	{"visibility", COLUMN_VISIBILITY, offsetof(struct image, visibility)},
	{"os_hidden", COLUMN_BOOL, offsetof(struct image, os_hidden)},
	{"os_hash_algo", COLUMN_TEXT, offsetof(struct image, os_hash_algo)},
	{"os_hash_value", COLUMN_TEXT, offsetof(struct image, os_hash_value)},
};

static const char *text_at(const struct column *col, const struct image *img)
{
	const char *at = (const char *)img + col->at;

	switch (col->kind) {
	case COLUMN_TEXT:
		return *(const char *const *)at;
	case COLUMN_STATUS:
		return image_status_name(img->status);
	case COLUMN_VISIBILITY:
		return image_visibility_name(img->visibility);
	default:
		return NULL;
	}
}

static int64_t number_at(const struct column *col, const struct image *img)
{
	const char *at = (const char *)img + col->at;

	switch (col->kind) {
	case COLUMN_INT:
	case COLUMN_SIZE:
	case COLUMN_TIME:
		return *(const int64_t *)at;
	case COLUMN_BOOL:
		return *(const bool *)at;
	default:
		return 0;
	}
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same(const struct column *col, const struct image *a, const struct image *b)
{
	return number_at(col, a) == number_at(col, b) && same_text(text_at(col, a), text_at(col, b));
}

static void bind_column(struct query *q, const struct column *col, const struct image *img)
{
	switch (col->kind) {
	case COLUMN_TEXT:
	case COLUMN_STATUS:
	case COLUMN_VISIBILITY:
		bind_text(q, text_at(col, img));
		break;
	case COLUMN_INT:
	case COLUMN_BOOL:
		bind_int(q, number_at(col, img));
		break;
	case COLUMN_SIZE:
		bind_size(q, number_at(col, img));
		break;
	case COLUMN_TIME:
		bind_time(q, number_at(col, img));
		break;
	}
}

/* -- properties and tags ------------------------------------------------------------------------ */

static int put_property(struct conn *c, const char *image_id, const struct image_property *p, int64_t now,
			struct err *err)
{
	static const char sql[] = "INSERT INTO image_properties"
				  " (image_id, name, value, created_at, updated_at, deleted)"
				  " VALUES (?1, ?2, ?3, ?4, ?4, 0) ON CONFLICT (image_id, name) DO UPDATE SET"
				  " value = excluded.value, updated_at = excluded.updated_at, deleted = 0,"
				  " deleted_at = NULL";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, image_id);
	bind_text(&q, p->name);
	bind_text(&q, p->value);
	bind_time(&q, now);
	return query_run(&q, err);
}

static int put_tag(struct conn *c, const char *image_id, const char *tag, int64_t now, struct err *err)
{
	static const char sql[] = "INSERT INTO image_tags (image_id, value, created_at, updated_at, deleted)"
				  " VALUES (?1, ?2, ?3, ?3, 0)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, image_id);
	bind_text(&q, tag);
	bind_time(&q, now);
	return query_run(&q, err);
}

/* @sql marks something of the image as deleted: parameters time, image, and name unless NULL. */
static int mark_deleted(struct conn *c, const char *sql, int64_t now, const char *image_id, const char *name,
			struct err *err)
{
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_time(&q, now);
	bind_text(&q, image_id);
	if (name)
		bind_text(&q, name);
	return query_run(&q, err);
}

static int drop_property(struct conn *c, const char *image_id, const char *name, int64_t now, struct err *err)
{
	static const char sql[] = "UPDATE image_properties SET deleted = 1, deleted_at = ?"
				  " WHERE image_id = ? AND name = ? AND +deleted = 0";

	return mark_deleted(c, sql, now, image_id, name, err);
}

static int drop_tag(struct conn *c, const char *image_id, const char *tag, int64_t now, struct err *err)
{
	static const char sql[] = "UPDATE image_tags SET deleted = 1, deleted_at = ?"
				  " WHERE image_id = ? AND value = ? AND +deleted = 0";

	return mark_deleted(c, sql, now, image_id, tag, err);
}

/* A sorted copy, so that comparing two images with thousands of properties stays cheap. */
static void *sorted(const void *array, size_t n, size_t size, int (*compare)(const void *, const void *))
{
	void *copy = calloc(n + 1, size);

	if (copy && n) {
		memcpy(copy, array, n * size);
		qsort(copy, n, size, compare);
	}
	return copy;
}

static int compare_properties(const void *a, const void *b)
{
	const struct image_property *pa = a, *pb = b;

	return strcmp(pa->name, pb->name);
}

static int compare_tags(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int update_properties(struct conn *c, const struct image *before, const struct image *after,
			     struct err *err)
{
	const size_t size = sizeof(struct image_property);
	AUTO(free_p) void *old = sorted(before->properties, before->n_properties, size, compare_properties);
	AUTO(free_p) void *new = sorted(after->properties, after->n_properties, size, compare_properties);
	int r = old && new ? 0 : err_nomem(err);

	for (size_t i = 0; r == 0 && i < after->n_properties; i++) {
		const struct image_property *p = &after->properties[i];
		const struct image_property *was =
			bsearch(p, old, before->n_properties, size, compare_properties);

		if (!was || !same_text(was->value, p->value))
			r = put_property(c, after->id, p, after->updated_at, err);
	}
	for (size_t i = 0; r == 0 && i < before->n_properties; i++) {
		const struct image_property *p = &before->properties[i];

		if (!bsearch(p, new, after->n_properties, size, compare_properties))
			r = drop_property(c, after->id, p->name, after->updated_at, err);
	}
	return r;
}

static int update_tags(struct conn *c, const struct image *before, const struct image *after, struct err *err)
{
	AUTO(free_p) void *old = sorted(before->tags, before->n_tags, sizeof(char *), compare_tags);
	AUTO(free_p) void *new = sorted(after->tags, after->n_tags, sizeof(char *), compare_tags);
	int r = old && new ? 0 : err_nomem(err);

	for (size_t i = 0; r == 0 && i < after->n_tags; i++)
		if (!bsearch(&after->tags[i], old, before->n_tags, sizeof(char *), compare_tags))
			r = put_tag(c, after->id, after->tags[i], after->updated_at, err);
	for (size_t i = 0; r == 0 && i < before->n_tags; i++)
		if (!bsearch(&before->tags[i], new, after->n_tags, sizeof(char *), compare_tags))
			r = drop_tag(c, after->id, before->tags[i], after->updated_at, err);
	return r;
}

/* -- writing ------------------------------------------------------------------------------------ */

static int insert_row(struct conn *c, const struct image *img, struct err *err)
{
	static const char sql[] =
		"INSERT INTO images (id, name, size, status, created_at, updated_at, disk_format, "
		"container_format,"
		" checksum, owner, min_disk, min_ram, protected, virtual_size, visibility, os_hidden, "
		"os_hash_algo,"
		" os_hash_value, deleted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, img->id);
	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		bind_column(&q, &columns[i], img);
	r = query_insert(&q, "", err);
	if (r == ERR_CONFLICT)
		return err_set(err, r, "Image ID %s already exists!", img->id);
	return r;
}

int sqlite_image_insert(struct db_tx *tx, const struct image *img, struct err *err)
{
	struct conn *c = tx_conn(tx);
	int r = insert_row(c, img, err); /* its id is new: nothing is kept of it */

	for (size_t i = 0; r == 0 && i < img->n_properties; i++)
		r = put_property(c, img->id, &img->properties[i], img->created_at, err);
	for (size_t i = 0; r == 0 && i < img->n_tags; i++)
		r = put_tag(c, img->id, img->tags[i], img->created_at, err);
	return r;
}

/* Only what differs is written: most of the columns have an index of their own to move along. */
static int write_update(struct buf *sql, const struct image *before, const struct image *after)
{
	int n = 0;

	buf_adds(sql, "UPDATE images SET ");
	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		if (!same(&columns[i], before, after))
			buf_addf(sql, "%s%s = ?", n++ ? ", " : "", columns[i].name);
	buf_adds(sql, " WHERE id = ?");
	return n;
}

static int update_row(struct conn *c, const struct image *before, const struct image *after, struct err *err)
{
	AUTO(buf_done) struct buf sql = {0};
	AUTO(query_done) struct query q = {0};
	int r;

	if (write_update(&sql, before, after) == 0)
		return 0;
	if (sql.failed)
		return err_nomem(err);
	r = query_open_built(c, sql.data, &q, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		if (!same(&columns[i], before, after))
			bind_column(&q, &columns[i], after);
	bind_text(&q, after->id);
	r = query_run(&q, err);
	if (r == 0 && query_changes(&q) == 0)
		return not_found(after->id, err);
	return r;
}

int sqlite_image_update(struct db_tx *tx, const struct image *before, const struct image *after,
			struct err *err)
{
	struct conn *c = tx_conn(tx);
	int r;

	note_change(tx, after->id);
	r = update_row(c, before, after, err);
	if (r == 0)
		r = update_properties(c, before, after, err);
	if (r == 0)
		r = update_tags(c, before, after, err);
	return r;
}

static int delete_row(struct conn *c, const char *id, int64_t now, struct err *err)
{
	static const char sql[] = "UPDATE images SET deleted = 1, deleted_at = ?1, updated_at = ?1,"
				  " status = 'deleted' WHERE id = ?2 AND +deleted = 0";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_time(&q, now);
	bind_text(&q, id);
	r = query_run(&q, err);
	if (r == 0 && query_changes(&q) == 0)
		return not_found(id, err);
	return r;
}

int sqlite_image_delete(struct db_tx *tx, const char *id, int64_t now, struct err *err)
{
	static const char properties[] = "UPDATE image_properties SET deleted = 1, deleted_at = ?"
					 " WHERE image_id = ? AND +deleted = 0";
	static const char tags[] = "UPDATE image_tags SET deleted = 1, deleted_at = ?"
				   " WHERE image_id = ? AND +deleted = 0";
	/* OR REPLACE: as in sqlite_member_delete(). */
	static const char members[] = "UPDATE OR REPLACE image_members SET deleted = 1, deleted_at = ?"
				      " WHERE image_id = ? AND +deleted = 0";
	static const char locations[] = "UPDATE image_locations SET deleted = 1, deleted_at = ?1,"
					" updated_at = ?1, status = 'deleted'"
					" WHERE image_id = ?2 AND +deleted = 0";
	static const char *const all[] = {properties, tags, members, locations};
	int r;

	note_change(tx, id);
	r = delete_row(tx_conn(tx), id, now, err);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(all); i++)
		r = mark_deleted(tx_conn(tx), all[i], now, id, NULL, err);
	return r;
}

int sqlite_location_add(struct db_tx *tx, const char *image_id, const char *url, const char *metadata,
			int64_t now, struct err *err)
{
	static const char sql[] = "INSERT INTO image_locations"
				  " (image_id, value, meta_data, status, created_at, updated_at, deleted)"
				  " VALUES (?1, ?2, ?3, 'active', ?4, ?4, 0)";
	AUTO(query_done) struct query q = {0};
	int r;

	note_change(tx, image_id);
	r = query_open(tx_conn(tx), sql, &q, err);
	if (r < 0)
		return r;
	bind_text(&q, image_id);
	bind_text(&q, url);
	bind_text(&q, metadata ?: "{}"); /* Glance wants an object */
	bind_time(&q, now);
	return query_run(&q, err);
}

/* -- purging ------------------------------------------------------------------------------------ */

int sqlite_location_remove(struct db_tx *tx, const char *image_id, const char *url, int64_t now, struct err *err)
{
	static const char sql[] = "UPDATE image_locations SET deleted = 1, deleted_at = ?1, updated_at = ?1,"
				  " status = 'deleted' WHERE image_id = ?2 AND value = ?3 AND +deleted = 0";
	AUTO(query_done) struct query q = {0};
	int r;

	note_change(tx, image_id);
	r = query_open(tx_conn(tx), sql, &q, err);
	if (r < 0)
		return r;
	bind_time(&q, now);
	bind_text(&q, image_id);
	bind_text(&q, url);
	r = query_run(&q, err);
	if (r == 0 && query_changes(&q) == 0)
		return err_set(err, ERR_NOT_FOUND, "Image %.64s has no such location.", image_id);
	return r;
}

int sqlite_purge(struct db_tx *tx, int64_t older_than, int64_t max_rows, int64_t *ret_n, struct err *err)
{
#define PURGE(table)                                                                                         \
	"DELETE FROM " table " WHERE id IN (SELECT id FROM " table                                           \
	" WHERE deleted = 1 AND deleted_at < ? LIMIT ?)"
	static const char properties[] = PURGE("image_properties"), tags[] = PURGE("image_tags");
	static const char members[] = PURGE("image_members"), locations[] = PURGE("image_locations");
#undef PURGE
	static const char *const all[] = {properties, tags, members, locations};
	int64_t n = 0, n_pieces = 0, n_tasks = 0;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(all) && n < max_rows; i++) {
		AUTO(query_done) struct query q = {0};

		r = query_open(tx_conn(tx), all[i], &q, err);
		if (r < 0)
			return r;
		bind_time(&q, older_than);
		bind_int(&q, max_rows - n);
		r = query_run(&q, err);
		if (r < 0)
			return r;
		n += query_changes(&q);
	}
	r = pieces_purge(tx, older_than, max_rows - n, &n_pieces, err);
	n += n_pieces;
	if (r == 0)
		r = task_purge(tx, older_than, max_rows - n, &n_tasks, err);
	if (r == 0)
		*ret_n = n + n_tasks;
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/usage.c -- what each project has, kept by triggers in glint_usage.
 *
 * (1) While the triggers are there, a row of glint_usage says what a count of the images would say, in every
 *     transaction and whoever makes the changes: Glance's own statements fire them, too.
 * (2) Each trigger takes away what the old row stood for and adds what the new one does. Rows of another table
 *     are read as they are: the one statement that fires a trigger changes only one of the three tables.
 * (3) Triggers are known by their whole text, so another version's are replaced, and a set of which some are
 *     missing (Glance's migrations may make a table anew) is made again together with the numbers. */
#include "db/sqlite/sqlite.h"

#include "base/buf.h"

#define IMPORTING_PROPERTY "'os_glance_importing_to_stores'"

/* What the row of images under the name @i stands for. */
#define COUNTS(i) "(" i ".deleted = 0 AND " i ".status NOT IN ('killed', 'deleted', 'pending_delete'))"
#define SIZE(i) "max(ifnull(" i ".size, 0), 0)"
#define N_LOCATIONS(i)                                                                                       \
	"(SELECT count(*) FROM image_locations l WHERE l.image_id = " i ".id AND +l.deleted = 0"             \
	" AND l.status = 'active')"
#define STORED(i) "CASE WHEN " i ".size > 0 THEN " i ".size * " N_LOCATIONS(i) " ELSE 0 END"
#define STAGED(i) "CASE WHEN " i ".status IN ('uploading', 'importing') THEN " SIZE(i) " ELSE 0 END"
#define IS_UPLOADING(i) i ".status IN ('saving', 'uploading', 'importing')"
#define IS_COPYING(i)                                                                                        \
	"EXISTS (SELECT 1 FROM image_properties p WHERE p.image_id = " i ".id AND p.name = " IMPORTING_PROPERTY \
	" AND p.value <> '' AND +p.deleted = 0)"
#define N_UPLOADING(i) "(" IS_UPLOADING(i) " OR " IS_COPYING(i) ")"

#define INSERT_USAGE "INSERT INTO glint_usage (owner, stored, staged, n_images, n_uploading) "
#define ADD_UP                                                                                               \
	" ON CONFLICT (owner) DO UPDATE SET stored = stored + excluded.stored, staged = staged + excluded.staged," \
	" n_images = n_images + excluded.n_images, n_uploading = n_uploading + excluded.n_uploading; "

/* @sign + or -; @i OLD or NEW. */
#define IMAGE(sign, i)                                                                                       \
	INSERT_USAGE "SELECT ifnull(" i ".owner, ''), " sign "(" STORED(i) "), " sign "(" STAGED(i) "), " sign "1, " \
		     sign N_UPLOADING(i) " WHERE " COUNTS(i) ADD_UP
#define LOCATION(sign, row)                                                                                  \
	INSERT_USAGE "SELECT ifnull(i.owner, ''), " sign SIZE("i") ", 0, 0, 0 FROM images i"                \
		     " WHERE i.id = " row ".image_id AND " row ".deleted = 0 AND " row ".status = 'active' AND " \
		     COUNTS("i") ADD_UP
#define PROPERTY(sign, row)                                                                                  \
	INSERT_USAGE "SELECT ifnull(i.owner, ''), 0, 0, 0, " sign "1 FROM images i"                         \
		     " WHERE i.id = " row ".image_id AND " row ".deleted = 0 AND " row ".value <> '' AND "   \
		     COUNTS("i") " AND NOT " IS_UPLOADING("i") ADD_UP

#define DIFFERS(column) "OLD." column " IS NOT NEW." column

static const struct trigger {
	const char *name;
	const char *text; /* behind the name */
} triggers[] = {
	{"glint_usage_image_made", " AFTER INSERT ON images BEGIN " IMAGE("+", "NEW") "END"},
	{"glint_usage_image_changed",
	 " AFTER UPDATE ON images WHEN " DIFFERS("status") " OR " DIFFERS("size") " OR " DIFFERS("owner") " OR " DIFFERS(
		 "deleted") " BEGIN " IMAGE("-", "OLD") IMAGE("+", "NEW") "END"},
	{"glint_usage_image_gone", " AFTER DELETE ON images BEGIN " IMAGE("-", "OLD") "END"},
	{"glint_usage_location_made", " AFTER INSERT ON image_locations BEGIN " LOCATION("+", "NEW") "END"},
	{"glint_usage_location_changed",
	 " AFTER UPDATE ON image_locations WHEN " DIFFERS("status") " OR " DIFFERS("deleted") " OR " DIFFERS(
		 "image_id") " BEGIN " LOCATION("-", "OLD") LOCATION("+", "NEW") "END"},
	{"glint_usage_location_gone", " AFTER DELETE ON image_locations BEGIN " LOCATION("-", "OLD") "END"},
	{"glint_usage_property_made", " AFTER INSERT ON image_properties WHEN NEW.name = " IMPORTING_PROPERTY
				      " BEGIN " PROPERTY("+", "NEW") "END"},
	{"glint_usage_property_changed", " AFTER UPDATE ON image_properties WHEN NEW.name = " IMPORTING_PROPERTY
					 " BEGIN " PROPERTY("-", "OLD") PROPERTY("+", "NEW") "END"},
	{"glint_usage_property_gone", " AFTER DELETE ON image_properties WHEN OLD.name = " IMPORTING_PROPERTY
				      " BEGIN " PROPERTY("-", "OLD") "END"},
};

/* What a count of the images says. */
#define COUNTED                                                                                              \
	"SELECT ifnull(i.owner, '') AS owner, sum(" STORED("i") ") AS stored, sum(" STAGED("i") ") AS staged," \
	" count(*) AS n_images, sum(" N_UPLOADING("i") ") AS n_uploading FROM images i WHERE " COUNTS("i") " GROUP BY 1"

static void read_numbers(const struct query *q, int first, struct db_usage *ret)
{
	ret->stored_octets = column_int(q, first);
	ret->staged_octets = column_int(q, first + 1);
	ret->n_images = column_int(q, first + 2);
	ret->n_uploading = column_int(q, first + 3);
}

int sqlite_usage_get(struct db_tx *tx, const char *owner, struct db_usage *ret, struct err *err)
{
	static const char sql[] = "SELECT stored, staged, n_images, n_uploading FROM glint_usage WHERE owner = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, owner ?: "");
	r = query_next(&q, err);
	if (r < 0)
		return r;
	*ret = (struct db_usage){0};
	if (r > 0)
		read_numbers(&q, 0, ret);
	return 0;
}

int sqlite_usage_compare(struct db_tx *tx, db_usage_fn *fn, void *cls, struct err *err)
{
	static const char sql[] =
		"SELECT owner, sum(k1), sum(k2), sum(k3), sum(k4), sum(c1), sum(c2), sum(c3), sum(c4) FROM ("
		"SELECT owner, stored AS k1, staged AS k2, n_images AS k3, n_uploading AS k4,"
		" 0 AS c1, 0 AS c2, 0 AS c3, 0 AS c4 FROM glint_usage"
		" UNION ALL SELECT owner, 0, 0, 0, 0, stored, staged, n_images, n_uploading FROM (" COUNTED "))"
		" GROUP BY owner ORDER BY owner";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	while ((r = query_next(&q, err)) > 0) {
		struct db_usage kept, counted;

		read_numbers(&q, 1, &kept);
		read_numbers(&q, 5, &counted);
		r = fn(cls, column_text(&q, 0) ?: "", &kept, &counted, err);
		if (r != 0)
			return r;
	}
	return r;
}

/* -- the triggers ---------------------------------------------------------------------------------- */

/* SQLite keeps the text of a trigger as it was given. */
static int has_trigger(struct conn *c, const struct trigger *t, bool *ret, struct err *err)
{
	static const char sql[] = "SELECT sql = 'CREATE TRIGGER ' || ?1 || ?2 FROM sqlite_schema"
				  " WHERE type = 'trigger' AND name = ?1";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, t->name);
	bind_text(&q, t->text);
	r = query_next(&q, err);
	if (r >= 0)
		*ret = r > 0 && column_int(&q, 0) == 1;
	return r < 0 ? r : 0;
}

static int has_triggers(struct conn *c, bool *ret, struct err *err)
{
	int r = 0;

	*ret = true;
	for (size_t i = 0; i < ARRAY_LEN(triggers) && *ret && r == 0; i++)
		r = has_trigger(c, &triggers[i], ret, err);
	return r;
}

static int drop_triggers(struct conn *c, struct err *err)
{
	AUTO(buf_done) struct buf sql = {0};

	for (size_t i = 0; i < ARRAY_LEN(triggers); i++)
		buf_addf(&sql, "DROP TRIGGER IF EXISTS %s;", triggers[i].name);
	return sql.failed ? err_nomem(err) : conn_exec(c, buf_cstr(&sql), err);
}

static int make_triggers(struct conn *c, struct err *err)
{
	AUTO(buf_done) struct buf sql = {0};

	for (size_t i = 0; i < ARRAY_LEN(triggers); i++)
		buf_addf(&sql, "CREATE TRIGGER %s%s;", triggers[i].name, triggers[i].text);
	return sql.failed ? err_nomem(err) : conn_exec(c, buf_cstr(&sql), err);
}

int sqlite_usage_keep(struct db_tx *tx, enum db_usage_mode mode, bool *ret_counted, struct err *err)
{
	struct conn *c = tx_conn(tx);
	bool there = false;
	int r = mode == DB_USAGE_ENSURE ? has_triggers(c, &there, err) : 0;

	*ret_counted = false;
	if (r < 0 || there)
		return r;
	r = drop_triggers(c, err);
	if (r < 0 || mode == DB_USAGE_OFF)
		return r;
	r = make_triggers(c, err);
	if (r == 0)
		r = conn_exec(c, "DELETE FROM glint_usage;" INSERT_USAGE COUNTED, err);
	*ret_counted = r == 0;
	return r;
}

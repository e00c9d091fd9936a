/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/tasks.c -- tasks as Glance keeps them: what is shown in lists in `tasks`, input, result and
 * message in `task_info`. A task that has expired is marked deleted and keeps its rows until a purge.
 *
 * A page continues behind the marker's own values, so it costs the same wherever it is. */
#include "db/sqlite/sqlite.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#define TASK_COLUMNS                                                                                            \
	"t.id, t.type, t.status, t.owner, t.image_id, t.request_id, t.user_id, t.expires_at, t.created_at, "   \
	"t.updated_at, t.deleted_at, t.deleted, i.input, i.result, i.message"
#define TASK_TABLES "tasks t LEFT JOIN task_info i ON i.task_id = t.id"

static int not_found(const char *id, struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "No task found with ID %.64s", id);
}

/* -- reading ------------------------------------------------------------------------------------ */

static int read_times(struct query *q, struct task *t, struct err *err)
{
	int64_t *const times[] = {&t->expires_at, &t->created_at, &t->updated_at, &t->deleted_at};

	for (int i = 0; i < (int)ARRAY_LEN(times); i++)
		if (!column_time(q, 7 + i, times[i]))
			return err_set(err, ERR_INTERNAL, "Task %s is stored with a time that is none.", t->id);
	return 0;
}

static int read_texts(struct query *q, struct arena *a, struct task *t, struct err *err)
{
	const struct {
		int column;
		const char **to;
	} texts[] = {{1, &t->type},	  {3, &t->owner},  {4, &t->image_id}, {5, &t->request_id},
		     {6, &t->user_id}, {12, &t->input}, {13, &t->result},  {14, &t->message}};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(texts) && r == 0; i++)
		r = column_copy(q, texts[i].column, a, texts[i].to, err);
	if (t->message && !*t->message)
		t->message = NULL; /* Glance writes none as nothing */
	return r;
}

/* Strings go to @a, or are borrowed from the row when it is NULL. */
static int task_from_row(struct query *q, struct arena *a, struct task *ret, struct err *err)
{
	const char *id = column_text(q, 0), *status = column_text(q, 2);
	int r;

	*ret = (struct task){0};
	(void)snprintf(ret->id, sizeof(ret->id), "%s", id ?: "");
	if (!status || !task_status_parse(status, &ret->status))
		return err_set(err, ERR_INTERNAL, "Task %s is stored with a status that is not known.", ret->id);
	r = read_times(q, ret, err);
	if (r < 0)
		return r;
	ret->deleted = column_int(q, 11) != 0;
	return read_texts(q, a, ret, err);
}

int sqlite_task_get(struct db_tx *tx, const char *id, struct arena *a, struct task *ret, struct err *err)
{
	static const char sql[] = "SELECT " TASK_COLUMNS " FROM " TASK_TABLES " WHERE t.id = ? AND +t.deleted = 0";
	AUTO(query_done) struct query q = {0};
	struct task t;
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, id);
	r = query_next(&q, err);
	if (r == 0)
		return not_found(id, err);
	if (r > 0)
		r = task_from_row(&q, a, &t, err);
	if (r == 0)
		*ret = t;
	return r;
}

/* -- writing ------------------------------------------------------------------------------------ */

static int insert_info(struct db_tx *tx, const struct task *t, struct err *err)
{
	static const char sql[] = "INSERT INTO task_info (task_id, input, result, message) VALUES (?, ?, ?, ?)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, t->id);
	bind_text(&q, t->input);
	bind_text(&q, t->result);
	bind_text(&q, t->message ?: "");
	return query_run(&q, err);
}

int sqlite_task_insert(struct db_tx *tx, const struct task *t, struct err *err)
{
	static const char sql[] = "INSERT INTO tasks (id, type, status, owner, image_id, request_id, user_id,"
				  " expires_at, created_at, updated_at, deleted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, t->id);
	bind_text(&q, t->type);
	bind_text(&q, task_status_name(t->status));
	bind_text(&q, t->owner ?: "");
	bind_text(&q, t->image_id);
	bind_text(&q, t->request_id);
	bind_text(&q, t->user_id);
	bind_time(&q, t->expires_at);
	bind_time(&q, t->created_at);
	bind_time(&q, t->updated_at);
	r = query_insert(&q, "A task of this id is there already.", err);
	return r < 0 ? r : insert_info(tx, t, err);
}

/* A task that Glance made may have no row there. */
static int update_info(struct db_tx *tx, const struct task *t, struct err *err)
{
	static const char sql[] = "INSERT INTO task_info (task_id, input, result, message) VALUES (?1, ?2, ?3, ?4)"
				  " ON CONFLICT (task_id) DO UPDATE SET input = ?2, result = ?3, message = ?4";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, t->id);
	bind_text(&q, t->input);
	bind_text(&q, t->result);
	bind_text(&q, t->message ?: "");
	return query_run(&q, err);
}

int sqlite_task_update(struct db_tx *tx, enum task_status from, const struct task *t, struct err *err)
{
	static const char sql[] = "UPDATE tasks SET status = ?, image_id = ?, expires_at = ?, updated_at = ?"
				  " WHERE id = ? AND status = ? AND +deleted = 0";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, task_status_name(t->status));
	bind_text(&q, t->image_id);
	bind_time(&q, t->expires_at);
	bind_time(&q, t->updated_at);
	bind_text(&q, t->id);
	bind_text(&q, task_status_name(from));
	r = query_run(&q, err);
	if (r < 0)
		return r;
	if (query_changes(&q) == 0)
		return err_set(err, ERR_CONFLICT, "Task %s is not %s any more.", t->id, task_status_name(from));
	return update_info(tx, t, err);
}

static int note_message(struct db_tx *tx, const char *id, const char *message, struct err *err)
{
	static const char sql[] = "UPDATE task_info SET message = ? WHERE task_id = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, message);
	bind_text(&q, id);
	return query_run(&q, err);
}

int sqlite_task_note(struct db_tx *tx, const char *id, const char *message, int64_t now, struct err *err)
{
	static const char sql[] = "UPDATE tasks SET updated_at = ? WHERE id = ? AND status = 'processing'"
				  " AND +deleted = 0";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_time(&q, now);
	bind_text(&q, id);
	r = query_run(&q, err);
	if (r < 0)
		return r;
	return query_changes(&q) > 0 ? note_message(tx, id, message, err) : 0;
}

int sqlite_task_expire(struct db_tx *tx, int64_t now, int64_t max_rows, int64_t *ret_n, struct err *err)
{
	static const char sql[] = "UPDATE tasks SET deleted = 1, deleted_at = ?1 WHERE id IN (SELECT id FROM tasks"
				  " WHERE deleted = 0 AND expires_at <= ?1 LIMIT ?2)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_time(&q, now);
	bind_int(&q, max_rows);
	r = query_run(&q, err);
	if (r == 0)
		*ret_n = query_changes(&q);
	return r;
}

/* -- lists -------------------------------------------------------------------------------------- */

/* NULL sorts before everything, in both directions the same row order reversed. */
static const char *const sort_columns[] = {
	[TASK_BY_CREATED_AT] = "t.created_at",
	[TASK_BY_UPDATED_AT] = "ifnull(t.updated_at, '')",
	[TASK_BY_EXPIRES_AT] = "ifnull(t.expires_at, '')",
	[TASK_BY_STATUS] = "t.status",
	[TASK_BY_TYPE] = "t.type",
	[TASK_BY_ID] = "t.id",
};

#define ALIVE "(t.expires_at IS NULL OR t.expires_at > ?1)"
#define VISIBLE "+t.deleted = 0 AND " ALIVE " AND (?2 OR t.owner = ?3)"

static void bind_who(struct query *q, const struct task_query *tq)
{
	bind_time(q, tq->now);
	bind_int(q, tq->sees_everything);
	bind_text(q, tq->project);
}

static int check_marker(struct conn *c, const struct task_query *tq, struct err *err)
{
	static const char sql[] = "SELECT 1 FROM tasks t WHERE " VISIBLE " AND t.id = ?4";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_who(&q, tq);
	bind_text(&q, tq->marker);
	r = query_next(&q, err);
	if (r == 0)
		return err_set(err, ERR_INVALID, "The marker is not the id of a task that can be listed.");
	return r < 0 ? r : 0;
}

static void add_filter(struct buf *sql, const char *condition, const char *value)
{
	if (value)
		buf_adds(sql, condition);
}

static void build(struct buf *sql, const struct task_query *tq)
{
	const char *by = sort_columns[tq->sort], *dir = tq->ascending ? "ASC" : "DESC";

	/* With one image's tasks, few, its own index is the right one: the plus sign keeps the others out. */
	buf_adds(sql, "SELECT " TASK_COLUMNS " FROM " TASK_TABLES " WHERE " ALIVE);
	buf_adds(sql, tq->image_id ? " AND +t.deleted = 0" : " AND t.deleted = 0");
	if (!tq->sees_everything)
		buf_adds(sql, " AND t.owner = ?3");
	add_filter(sql, " AND t.image_id = ?4", tq->image_id);
	add_filter(sql, " AND t.type = ?5", tq->type);
	add_filter(sql, " AND t.owner = ?6", tq->owner);
	if (tq->has_status)
		buf_adds(sql, " AND t.status = ?7");
	if (tq->marker)
		buf_addf(sql, " AND (%s, t.created_at, t.id) %s (SELECT %s, t.created_at, t.id FROM tasks t WHERE t.id = ?8)",
			 by, tq->ascending ? ">" : "<", by);
	buf_adds(sql, " ORDER BY ");
	if (tq->sort != TASK_BY_CREATED_AT)
		buf_addf(sql, "%s %s, ", by, dir);
	buf_addf(sql, "t.created_at %s, t.id %s LIMIT ?9", dir, dir);
}

static void bind_list(struct query *q, const struct task_query *tq)
{
	bind_who(q, tq);
	bind_text(q, tq->image_id);
	bind_text(q, tq->type);
	bind_text(q, tq->owner);
	bind_text(q, tq->has_status ? task_status_name(tq->status) : NULL);
	bind_text(q, tq->marker);
	bind_int(q, tq->limit);
}

int sqlite_task_list(struct db_tx *tx, const struct task_query *tq, db_task_fn *fn, void *cls, struct err *err)
{
	AUTO(buf_done) struct buf sql = {0};
	AUTO(query_done) struct query q = {0};
	int r = tq->marker ? check_marker(tx_conn(tx), tq, err) : 0;

	if (r < 0)
		return r;
	build(&sql, tq);
	if (sql.failed)
		return err_nomem(err);
	r = query_open_built(tx_conn(tx), sql.data, &q, err);
	if (r < 0)
		return r;
	bind_list(&q, tq);
	while ((r = query_next(&q, err)) > 0) {
		struct task t;

		r = task_from_row(&q, NULL, &t, err);
		if (r == 0)
			r = fn(cls, &t, err);
		if (r != 0)
			return r;
	}
	return r;
}

/* -- what is old -------------------------------------------------------------------------------- */

int task_purge(struct db_tx *tx, int64_t older_than, int64_t max_rows, int64_t *ret_n, struct err *err)
{
#define OLD "(SELECT id FROM tasks WHERE deleted = 1 AND deleted_at < ? ORDER BY id LIMIT ?)"
	static const char info[] = "DELETE FROM task_info WHERE task_id IN " OLD;
	static const char tasks[] = "DELETE FROM tasks WHERE id IN " OLD;
#undef OLD
	static const char *const both[] = {info, tasks}; /* the second refers to the first */

	*ret_n = 0;
	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		AUTO(query_done) struct query q = {0};
		int r = query_open(tx_conn(tx), both[i], &q, err);

		if (r < 0)
			return r;
		bind_time(&q, older_than);
		bind_int(&q, max_rows);
		r = query_run(&q, err);
		if (r < 0)
			return r;
		*ret_n = query_changes(&q);
	}
	return 0;
}

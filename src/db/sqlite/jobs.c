/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/jobs.c -- the tasks that wait to be run, or are being run, oldest first. */
#include "db/sqlite/sqlite.h"

#define JOB_COLUMNS "task_id, node, n_runs, is_prepared"

int sqlite_job_insert(struct db_tx *tx, const char *task_id, struct err *err)
{
	static const char sql[] = "INSERT INTO glint_jobs (task_id, n_runs, is_prepared) VALUES (?, 0, 0)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, task_id);
	return query_insert(&q, "The task is in the queue already.", err);
}

/* The row that @q is about to give. */
static int read_job(struct query *q, struct arena *a, struct db_job *ret, struct err *err)
{
	int r = query_next(q, err);

	if (r == 0)
		return err_set(err, ERR_NOT_FOUND, "No such task is in the queue.");
	if (r < 0)
		return r;
	r = column_fill(q, 0, ret->task_id, sizeof(ret->task_id), err);
	ret->n_runs = column_int(q, 2);
	ret->is_prepared = column_int(q, 3) != 0;
	return r < 0 ? r : column_copy(q, 1, a, &ret->node, err);
}

int sqlite_job_get(struct db_tx *tx, const char *task_id, struct arena *a, struct db_job *ret, struct err *err)
{
	static const char sql[] = "SELECT " JOB_COLUMNS " FROM glint_jobs WHERE task_id = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, task_id);
	return read_job(&q, a, ret, err);
}

int sqlite_job_next(struct db_tx *tx, struct arena *a, struct db_job *ret, struct err *err)
{
	static const char sql[] = "SELECT " JOB_COLUMNS " FROM glint_jobs WHERE node IS NULL ORDER BY id LIMIT 1";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	return r < 0 ? r : read_job(&q, a, ret, err);
}

int sqlite_job_update(struct db_tx *tx, const struct db_job *j, struct err *err)
{
	static const char sql[] = "UPDATE glint_jobs SET node = ?, n_runs = ?, is_prepared = ? WHERE task_id = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, j->node);
	bind_int(&q, j->n_runs);
	bind_int(&q, j->is_prepared);
	bind_text(&q, j->task_id);
	r = query_run(&q, err);
	if (r == 0 && query_changes(&q) == 0)
		return err_set(err, ERR_NOT_FOUND, "No such task is in the queue.");
	return r;
}

int sqlite_job_delete(struct db_tx *tx, const char *task_id, struct err *err)
{
	static const char sql[] = "DELETE FROM glint_jobs WHERE task_id = ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, task_id);
	return query_run(&q, err);
}

int sqlite_job_release(struct db_tx *tx, const char *node, int64_t *ret_n, struct err *err)
{
	static const char sql[] = "UPDATE glint_jobs SET node = NULL WHERE node IS NOT NULL"
				  " AND (?1 IS NULL OR node = ?1)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, node);
	r = query_run(&q, err);
	if (r == 0)
		*ret_n = query_changes(&q);
	return r;
}

int sqlite_job_count(struct db_tx *tx, int64_t *ret_waiting, int64_t *ret_running, struct err *err)
{
	static const char sql[] = "SELECT count(*), count(node) FROM glint_jobs";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r == 0)
		r = query_next(&q, err);
	if (r < 0)
		return r;
	*ret_running = column_int(&q, 1);
	*ret_waiting = column_int(&q, 0) - *ret_running;
	return 0;
}

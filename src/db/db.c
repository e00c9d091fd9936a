/* SPDX-License-Identifier: Apache-2.0
 * db/db.c -- the table of drivers, which one serves a URL, and the way from db.h into its vtable. */
#include "db/db.h"

#include <string.h>

#include "base/err.h"
#include "base/metrics.h"
#include "db/driver.h"

extern const struct db_driver db_driver_sqlite;

const struct db_driver *const db_drivers[] = {
	&db_driver_sqlite,
	NULL,
};

/* SQLAlchemy's URLs name a dialect behind a plus sign ("sqlite+pysqlite"); to us it says nothing. */
static const struct db_driver *driver_for(const char *url, size_t n_scheme)
{
	const char *plus = memchr(url, '+', n_scheme);
	size_t n = plus ? (size_t)(plus - url) : n_scheme;

	for (size_t i = 0; db_drivers[i]; i++)
		if (strlen(db_drivers[i]->scheme) == n && !strncmp(db_drivers[i]->scheme, url, n))
			return db_drivers[i];
	return NULL;
}

int db_open(const char *url, struct db **ret, struct err *err)
{
	const char *end = strstr(url, "://");
	const struct db_driver *driver;
	struct db *db;
	int r;

	if (!end)
		return err_set(err, ERR_INVALID,
			       "The database connection is not a URL like sqlite:////path.");
	driver = driver_for(url, (size_t)(end - url));
	if (!driver)
		return err_set(err, ERR_INVALID, "No database driver serves URLs that begin with '%.*s://'.",
			       (int)(end - url), url);
	r = driver->open(end + 3, &db, err);
	if (r < 0)
		return r;
	db->driver = driver;
	*ret = db;
	return 0;
}

int db_watch(struct db *db, struct metrics *m, struct err *err)
{
	static const int64_t sizes[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
	const struct metric_spec times = {
		.name = "glint_db_commit_seconds",
		.help = "How long the database took to make changes durable, each commit once.",
		.kind = METRIC_HISTOGRAM,
		.unit = METRIC_MICROSECONDS,
		.bounds = metric_short_times,
		.n_bounds = ARRAY_LEN(metric_short_times),
	};
	const struct metric_spec batches = {
		.name = "glint_db_commit_transactions",
		.help = "How many transactions were made durable by one commit.",
		.kind = METRIC_HISTOGRAM,
		.bounds = sizes,
		.n_bounds = ARRAY_LEN(sizes),
	};
	int r = metrics_register(m, &times, &db->commit_times, err);

	return r < 0 ? r : metrics_register(m, &batches, &db->commit_sizes, err);
}

void db_close(struct db *db)
{
	if (db)
		db->driver->close(db);
}

void db_close_p(struct db **db)
{
	db_close(*db);
}

void db_tx_init(struct db_tx *tx, const struct db_driver *driver)
{
	tx->driver = driver;
	tx->n_counts = 0;
}

void db_tx_count(const struct db_tx *tx)
{
	for (unsigned i = 0; i < tx->n_counts; i++)
		metric_add(tx->counts[i].counter, tx->counts[i].series, 1);
}

int db_begin(struct db *db, enum db_mode mode, struct db_tx **ret, struct err *err)
{
	struct db_tx *tx;
	int r = db->driver->begin(db, mode, &tx, err);

	if (r < 0)
		return r;
	db_tx_init(tx, db->driver);
	*ret = tx;
	return 0;
}

int db_commit(struct db_tx **tx, struct err *err)
{
	struct db_tx *mine = TAKE(*tx);
	const struct db_tx counts = *mine; /* commit() frees it */
	int r = mine->driver->commit(mine, err);

	if (r == 0)
		db_tx_count(&counts);
	return r;
}

void db_write(struct db *db, db_write_fn *fn, db_done_fn *done, void *cls)
{
	db->driver->write(db, fn, done, cls);
}

/* More of them than we remember, which no use case has, are counted without waiting for the commit. */
void db_count(struct db_tx *tx, struct metric *counter, size_t series)
{
	if (tx->n_counts == DB_TX_MAX_COUNTS) {
		metric_add(counter, series, 1);
		return;
	}
	tx->counts[tx->n_counts].counter = counter;
	tx->counts[tx->n_counts++].series = series;
}

void db_abort(struct db_tx *tx)
{
	if (tx)
		tx->driver->abort(tx);
}

void db_abort_p(struct db_tx **tx)
{
	db_abort(*tx);
}

int db_version(struct db *db, struct db_version *ret, struct err *err)
{
	return db->driver->version_of(db, ret, err);
}

int db_image_get(struct db_tx *tx, const char *id, bool with_deleted, struct arena *a, struct image *ret,
		 struct err *err)
{
	return tx->driver->image_get(tx, id, with_deleted, a, ret, err);
}

int db_image_insert(struct db_tx *tx, const struct image *img, struct err *err)
{
	return tx->driver->image_insert(tx, img, err);
}

int db_image_update(struct db_tx *tx, const struct image *before, const struct image *after, struct err *err)
{
	return tx->driver->image_update(tx, before, after, err);
}

int db_image_delete(struct db_tx *tx, const char *id, int64_t now, struct err *err)
{
	return tx->driver->image_delete(tx, id, now, err);
}

int db_location_add(struct db_tx *tx, const char *image_id, const char *url, const char *metadata,
		    int64_t now, struct err *err)
{
	return tx->driver->location_add(tx, image_id, url, metadata, now, err);
}

int db_location_remove(struct db_tx *tx, const char *image_id, const char *url, int64_t now, struct err *err)
{
	return tx->driver->location_remove(tx, image_id, url, now, err);
}

int db_image_list(struct db_tx *tx, const struct image_query *q, db_image_fn *fn, void *cls, struct err *err)
{
	return tx->driver->image_list(tx, q, fn, cls, err);
}

int db_image_list_texts(struct db_tx *tx, const struct image_query *q, db_render_fn *render, db_text_fn *fn,
			void *cls, struct err *err)
{
	return tx->driver->image_list_texts(tx, q, render, fn, cls, err);
}

int db_keep_texts(struct db *db, size_t max_bytes, struct err *err)
{
	return db->driver->keep_texts(db, max_bytes, err);
}

int db_member_get(struct db_tx *tx, const char *image_id, const char *member_id, struct arena *a,
		  struct image_member *ret, struct err *err)
{
	return tx->driver->member_get(tx, image_id, member_id, a, ret, err);
}

int db_member_list(struct db_tx *tx, const char *image_id, const char *only, db_member_fn *fn, void *cls,
		   struct err *err)
{
	return tx->driver->member_list(tx, image_id, only, fn, cls, err);
}

int db_member_count(struct db_tx *tx, const char *image_id, int64_t *ret, struct err *err)
{
	return tx->driver->member_count(tx, image_id, ret, err);
}

int db_member_insert(struct db_tx *tx, const struct image_member *m, struct err *err)
{
	return tx->driver->member_insert(tx, m, err);
}

int db_member_update(struct db_tx *tx, const struct image_member *m, struct err *err)
{
	return tx->driver->member_update(tx, m, err);
}

int db_member_delete(struct db_tx *tx, const char *image_id, const char *member_id, int64_t now,
		     struct err *err)
{
	return tx->driver->member_delete(tx, image_id, member_id, now, err);
}

int db_upload_insert(struct db_tx *tx, const struct db_upload *u, struct err *err)
{
	return tx->driver->upload_insert(tx, u, err);
}

int db_upload_get(struct db_tx *tx, const char *image_id, struct arena *a, struct db_upload *ret,
		  struct err *err)
{
	return tx->driver->upload_get(tx, image_id, a, ret, err);
}

int db_upload_delete(struct db_tx *tx, const char *image_id, struct err *err)
{
	return tx->driver->upload_delete(tx, image_id, err);
}

int db_upload_list(struct db_tx *tx, const char *node, db_upload_fn *fn, void *cls, struct err *err)
{
	return tx->driver->upload_list(tx, node, fn, cls, err);
}

int db_removal_insert(struct db_tx *tx, const struct db_removal *r, struct err *err)
{
	return tx->driver->removal_insert(tx, r, err);
}

int db_removal_due(struct db_tx *tx, int64_t now, int64_t max, db_removal_fn *fn, void *cls, struct err *err)
{
	return tx->driver->removal_due(tx, now, max, fn, cls, err);
}

int db_removal_retry(struct db_tx *tx, int64_t id, int64_t next_attempt_at, struct err *err)
{
	return tx->driver->removal_retry(tx, id, next_attempt_at, err);
}

int db_removal_delete(struct db_tx *tx, int64_t id, struct err *err)
{
	return tx->driver->removal_delete(tx, id, err);
}

int db_removal_count(struct db_tx *tx, int64_t *ret_n, int64_t *ret_n_failed_before, struct err *err)
{
	return tx->driver->removal_count(tx, ret_n, ret_n_failed_before, err);
}

int db_pieces_put(struct db_tx *tx, const char *image_id, int64_t part, const void *digests, size_t n_octets,
		  struct err *err)
{
	return tx->driver->pieces_put(tx, image_id, part, digests, n_octets, err);
}

int db_pieces_get(struct db_tx *tx, const char *image_id, int64_t part, void *digests, size_t max, size_t *ret_n,
		  struct err *err)
{
	return tx->driver->pieces_get(tx, image_id, part, digests, max, ret_n, err);
}

int db_task_insert(struct db_tx *tx, const struct task *t, struct err *err)
{
	return tx->driver->task_insert(tx, t, err);
}

int db_task_get(struct db_tx *tx, const char *id, struct arena *a, struct task *ret, struct err *err)
{
	return tx->driver->task_get(tx, id, a, ret, err);
}

int db_task_update(struct db_tx *tx, enum task_status from, const struct task *t, struct err *err)
{
	return tx->driver->task_update(tx, from, t, err);
}

int db_task_note(struct db_tx *tx, const char *id, const char *message, int64_t now, struct err *err)
{
	return tx->driver->task_note(tx, id, message, now, err);
}

int db_task_list(struct db_tx *tx, const struct task_query *q, db_task_fn *fn, void *cls, struct err *err)
{
	return tx->driver->task_list(tx, q, fn, cls, err);
}

int db_task_expire(struct db_tx *tx, int64_t now, int64_t max_rows, int64_t *ret_n, struct err *err)
{
	return tx->driver->task_expire(tx, now, max_rows, ret_n, err);
}

int db_job_insert(struct db_tx *tx, const char *task_id, struct err *err)
{
	return tx->driver->job_insert(tx, task_id, err);
}

int db_job_get(struct db_tx *tx, const char *task_id, struct arena *a, struct db_job *ret, struct err *err)
{
	return tx->driver->job_get(tx, task_id, a, ret, err);
}

int db_job_next(struct db_tx *tx, struct arena *a, struct db_job *ret, struct err *err)
{
	return tx->driver->job_next(tx, a, ret, err);
}

int db_job_update(struct db_tx *tx, const struct db_job *j, struct err *err)
{
	return tx->driver->job_update(tx, j, err);
}

int db_job_delete(struct db_tx *tx, const char *task_id, struct err *err)
{
	return tx->driver->job_delete(tx, task_id, err);
}

int db_job_release(struct db_tx *tx, const char *node, int64_t *ret_n, struct err *err)
{
	return tx->driver->job_release(tx, node, ret_n, err);
}

int db_job_count(struct db_tx *tx, int64_t *ret_waiting, int64_t *ret_running, struct err *err)
{
	return tx->driver->job_count(tx, ret_waiting, ret_running, err);
}

int db_event_insert(struct db_tx *tx, const struct db_event *e, struct err *err)
{
	return tx->driver->event_insert(tx, e, err);
}

int db_event_read(struct db_tx *tx, int64_t after, int64_t max, db_event_fn *fn, void *cls, struct err *err)
{
	return tx->driver->event_read(tx, after, max, fn, cls, err);
}

int db_event_find(struct db_tx *tx, int64_t when, int64_t *ret_offset, struct err *err)
{
	return tx->driver->event_find(tx, when, ret_offset, err);
}

int db_journal(struct db_tx *tx, struct db_journal *ret, struct err *err)
{
	return tx->driver->journal(tx, ret, err);
}

int db_event_prune(struct db_tx *tx, int64_t upto, int64_t older_than, int64_t max_bytes, int64_t max_rows,
		   int64_t *ret_n, struct err *err)
{
	return tx->driver->event_prune(tx, upto, older_than, max_bytes, max_rows, ret_n, err);
}

int db_cursor_get(struct db_tx *tx, const char *driver, struct db_cursor *ret, struct err *err)
{
	return tx->driver->cursor_get(tx, driver, ret, err);
}

int db_cursor_put(struct db_tx *tx, const struct db_cursor *c, struct err *err)
{
	return tx->driver->cursor_put(tx, c, err);
}

int db_cursor_delete(struct db_tx *tx, const char *driver, struct err *err)
{
	return tx->driver->cursor_delete(tx, driver, err);
}

int db_cursor_list(struct db_tx *tx, db_cursor_fn *fn, void *cls, struct err *err)
{
	return tx->driver->cursor_list(tx, fn, cls, err);
}

int db_replay_insert(struct db_tx *tx, const struct db_replay *r, struct err *err)
{
	return tx->driver->replay_insert(tx, r, err);
}

int db_replay_next(struct db_tx *tx, const char *driver, struct db_replay *ret, struct err *err)
{
	return tx->driver->replay_next(tx, driver, ret, err);
}

int db_replay_advance(struct db_tx *tx, int64_t id, int64_t next, struct err *err)
{
	return tx->driver->replay_advance(tx, id, next, err);
}

int db_set_aside_put(struct db_tx *tx, const struct db_set_aside *s, struct err *err)
{
	return tx->driver->set_aside_put(tx, s, err);
}

int db_set_aside_delete(struct db_tx *tx, const char *driver, int64_t from, int64_t to, struct err *err)
{
	return tx->driver->set_aside_delete(tx, driver, from, to, err);
}

int db_set_aside_count(struct db_tx *tx, const char *driver, int64_t *ret, struct err *err)
{
	return tx->driver->set_aside_count(tx, driver, ret, err);
}

int db_set_aside_list(struct db_tx *tx, const char *driver, int64_t after, int64_t max, db_set_aside_fn *fn,
		      void *cls, struct err *err)
{
	return tx->driver->set_aside_list(tx, driver, after, max, fn, cls, err);
}

int db_usage_get(struct db_tx *tx, const char *owner, struct db_usage *ret, struct err *err)
{
	return tx->driver->usage_get(tx, owner, ret, err);
}

int db_usage_keep(struct db_tx *tx, enum db_usage_mode mode, bool *ret_counted, struct err *err)
{
	return tx->driver->usage_keep(tx, mode, ret_counted, err);
}

int db_usage_compare(struct db_tx *tx, db_usage_fn *fn, void *cls, struct err *err)
{
	return tx->driver->usage_compare(tx, fn, cls, err);
}

int db_purge(struct db_tx *tx, int64_t older_than, int64_t max_rows, int64_t *ret_n, struct err *err)
{
	return tx->driver->purge(tx, older_than, max_rows, ret_n, err);
}

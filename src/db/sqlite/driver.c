/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/driver.c -- the SQLite driver: opening a file, and transactions on either a connection
 * of the pool (readers.c) or the one that writes (writer.c).
 *
 * Lock order: the locks of writer, readers and checkpointer are never held together. */
#include "db/sqlite/sqlite.h"

#include <stdlib.h>
#include <string.h>

extern const struct db_driver db_driver_sqlite;

/* -- opening ------------------------------------------------------------------------------------ */

/* SQLAlchemy's form: behind "sqlite://" an empty host and a slash, then the path as it is. */
static int path_of(const char *location, char **ret, struct err *err)
{
	if (location[0] != '/' || !location[1] || !strcmp(location, "/:memory:"))
		return err_set(err, ERR_INVALID,
			       "The database connection names no file; write sqlite:////absolute/path.");
	if (strchr(location, '?'))
		return err_set(err, ERR_INVALID,
			       "Parameters behind a '?' are not supported in a sqlite URL.");
	*ret = strdup(location + 1);
	return *ret ? 0 : err_nomem(err);
}

static int open_parts(struct sqlite_db *db, struct err *err)
{
	int r = writer_init(&db->writer, &db->base, &db->texts, db->path, err);

	if (r < 0)
		return r;
	r = schema_ensure(db->writer.conn, err);
	if (r < 0)
		return r;
	r = readers_init(&db->readers, err);
	if (r < 0)
		return r;
	state_source_open(&db->states, db->writer.conn);
	checkpointer_init(&db->checkpointer, db->path);
	checkpointer_watch(&db->checkpointer, &db->writer);
	return 0;
}

static int sqlite_open(const char *location, struct db **ret, struct err *err)
{
	struct sqlite_db *db = calloc(1, sizeof(*db));
	int r;

	if (!db)
		return err_nomem(err);
	texts_init(&db->texts, &db->states);
	r = path_of(location, &db->path, err);
	if (r == 0) {
		r = open_parts(db, err);
		if (r < 0)
			writer_done(&db->writer);
	}
	if (r < 0) {
		texts_done(&db->texts);
		free(db->path);
		free(db);
		return r;
	}
	*ret = &db->base;
	return 0;
}

/* The writer goes last: the last connection moves the rest of the log into the file. */
static void sqlite_close(struct db *base)
{
	struct sqlite_db *db = (struct sqlite_db *)base;

	checkpointer_done(&db->checkpointer);
	readers_done(&db->readers);
	writer_done(&db->writer);
	texts_done(&db->texts);
	free(db->path);
	free(db);
}

static int sqlite_keep_texts(struct db *base, size_t max_bytes, struct err *err)
{
	struct sqlite_db *db = (struct sqlite_db *)base;

	return texts_limit(&db->texts, max_bytes, err);
}

/* -- transactions ------------------------------------------------------------------------------- */

#define BRIEF_TICKS 25

static int begin_read(struct sqlite_db *db, struct sqlite_tx *tx, struct err *err)
{
	int r = readers_take(&db->readers, db->path, &tx->conn, err);

	if (r < 0)
		return r;
	tx->conn->doomed = tx->conn->lost = false;
	tx->conn->ticks_left = tx->mode == DB_READ_BRIEF ? BRIEF_TICKS : -1;
	tx->has_before = state_read(&db->states, &tx->before);
	r = conn_run(tx->conn, "BEGIN", err);
	if (r < 0)
		readers_give_back(&db->readers, tx->conn);
	else
		tx->conn->in_transaction = true;
	return r;
}

/* Nothing was written: how it ends makes no difference. */
static void end_read(struct sqlite_tx *tx)
{
	tx->conn->in_transaction = tx->conn->lost = false;
	tx->conn->ticks_left = -1;
	if (sqlite3_get_autocommit(tx->conn->handle) == 0)
		(void)conn_run(tx->conn, "ROLLBACK", NULL);
	readers_give_back(&tx->db->readers, tx->conn);
}

static void free_tx(struct sqlite_tx *tx)
{
	if (tx->mode == DB_WRITE)
		(void)pthread_cond_destroy(&tx->wake);
	free(tx);
}

static int sqlite_begin(struct db *base, enum db_mode mode, struct db_tx **ret, struct err *err)
{
	struct sqlite_db *db = (struct sqlite_db *)base;
	struct sqlite_tx *tx = calloc(1, sizeof(*tx));
	int r;

	if (!tx || (mode == DB_WRITE && !cond_init_mono(&tx->wake))) {
		free(tx);
		return err_nomem(err);
	}
	tx->db = db;
	tx->mode = mode;
	r = mode == DB_WRITE ? writer_begin(&db->writer, tx, err) : begin_read(db, tx, err);
	if (r < 0) {
		free_tx(tx);
		return r;
	}
	*ret = &tx->base;
	return 0;
}

static void sqlite_write(struct db *base, db_write_fn *fn, db_done_fn *done, void *cls)
{
	struct sqlite_db *db = (struct sqlite_db *)base;
	struct sqlite_tx *tx = calloc(1, sizeof(*tx));
	struct err err = {0};

	if (!tx) {
		done(cls, err_nomem(&err), &err);
		return;
	}
	db_tx_init(&tx->base, &db_driver_sqlite);
	tx->db = db;
	tx->mode = DB_WRITE;
	tx->fn = fn;
	tx->done = done;
	tx->cls = cls;
	tx->err = &tx->story;
	writer_submit(&db->writer, tx);
}

static int sqlite_commit(struct db_tx *base, struct err *err)
{
	struct sqlite_tx *tx = (struct sqlite_tx *)base;
	int r = 0;

	if (tx->mode == DB_WRITE)
		r = writer_commit(&tx->db->writer, tx, err);
	else
		end_read(tx);
	free_tx(tx);
	return r;
}

static void sqlite_abort(struct db_tx *base)
{
	struct sqlite_tx *tx = (struct sqlite_tx *)base;

	if (tx->mode == DB_WRITE)
		writer_abort(&tx->db->writer, tx);
	else
		end_read(tx);
	free_tx(tx);
}

static int sqlite_version(struct db *base, struct db_version *ret, struct err *err)
{
	struct db_version version;
	struct db_tx *tx = NULL;
	int r = sqlite_begin(base, DB_READ, &tx, err);

	if (r < 0)
		return r;
	r = schema_version(tx_conn(tx), &version, err);
	sqlite_abort(tx);
	if (r == 0)
		*ret = version;
	return r;
}

const struct db_driver db_driver_sqlite = {
	.version = DB_DRIVER_VERSION,
	.name = "sqlite",
	.summary = "one file on this machine",
	.scheme = "sqlite",
	.open = sqlite_open,
	.close = sqlite_close,
	.begin = sqlite_begin,
	.commit = sqlite_commit,
	.abort = sqlite_abort,
	.write = sqlite_write,
	.version_of = sqlite_version,
	.image_get = sqlite_image_get,
	.image_insert = sqlite_image_insert,
	.image_update = sqlite_image_update,
	.image_delete = sqlite_image_delete,
	.location_add = sqlite_location_add,
	.location_remove = sqlite_location_remove,
	.image_list = sqlite_image_list,
	.image_list_texts = sqlite_image_list_texts,
	.keep_texts = sqlite_keep_texts,
	.member_get = sqlite_member_get,
	.member_list = sqlite_member_list,
	.member_count = sqlite_member_count,
	.member_insert = sqlite_member_insert,
	.member_update = sqlite_member_update,
	.member_delete = sqlite_member_delete,
	.upload_insert = sqlite_upload_insert,
	.upload_get = sqlite_upload_get,
	.upload_delete = sqlite_upload_delete,
	.upload_list = sqlite_upload_list,
	.removal_insert = sqlite_removal_insert,
	.removal_due = sqlite_removal_due,
	.removal_retry = sqlite_removal_retry,
	.removal_delete = sqlite_removal_delete,
	.removal_count = sqlite_removal_count,
	.pieces_put = sqlite_pieces_put,
	.pieces_get = sqlite_pieces_get,
	.task_insert = sqlite_task_insert,
	.task_get = sqlite_task_get,
	.task_update = sqlite_task_update,
	.task_note = sqlite_task_note,
	.task_list = sqlite_task_list,
	.task_expire = sqlite_task_expire,
	.job_insert = sqlite_job_insert,
	.job_get = sqlite_job_get,
	.job_next = sqlite_job_next,
	.job_update = sqlite_job_update,
	.job_delete = sqlite_job_delete,
	.job_release = sqlite_job_release,
	.job_count = sqlite_job_count,
	.event_insert = sqlite_event_insert,
	.event_read = sqlite_event_read,
	.event_find = sqlite_event_find,
	.journal = sqlite_journal,
	.event_prune = sqlite_event_prune,
	.cursor_get = sqlite_cursor_get,
	.cursor_put = sqlite_cursor_put,
	.cursor_delete = sqlite_cursor_delete,
	.cursor_list = sqlite_cursor_list,
	.replay_insert = sqlite_replay_insert,
	.replay_next = sqlite_replay_next,
	.replay_advance = sqlite_replay_advance,
	.set_aside_put = sqlite_set_aside_put,
	.set_aside_delete = sqlite_set_aside_delete,
	.set_aside_count = sqlite_set_aside_count,
	.set_aside_list = sqlite_set_aside_list,
	.usage_get = sqlite_usage_get,
	.usage_keep = sqlite_usage_keep,
	.usage_compare = sqlite_usage_compare,
	.purge = sqlite_purge,
};

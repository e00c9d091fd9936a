/* SPDX-License-Identifier: Apache-2.0
 * db/db.h -- transactions and rows, whatever the database. Drivers: db/driver.h.
 *
 * Everything is read and written through a transaction. A read transaction sees one consistent
 * state. A write transaction is serial with every other one: what it read cannot change before it
 * commits. db_commit() returns once the change is durable; the driver commits whatever transactions
 * are waiting at that moment together. So a write transaction is short: no I/O but the database's
 * between db_begin() and db_commit().
 *
 * Threads: any number may begin transactions at a time; one transaction belongs to one thread. */
#pragma once

#include "image/image.h"
#include "image/query.h"
#include "task/query.h"

struct buf;
struct db;
struct db_tx;
struct err;
struct metric;
struct metrics;

/* @url as in [database] connection: "sqlite:////absolute/path" or "sqlite:///relative/path".
 * Creates the database and glint's own tables where they are missing (see db_check). */
int db_open(const char *url, struct db **ret, struct err *err);
void db_close(struct db *db); /* no transaction may be open */
void db_close_p(struct db **db);
/* Counts in @m (NULL: nowhere) how long commits take and how many transactions share one. Before the
 * first transaction; @m outlives it. */
int db_watch(struct db *db, struct metrics *m, struct err *err);

/* DB_READ_BRIEF: what would take more than about a millisecond fails with ERR_TOO_LONG. For threads that have
 * others to serve; who gets it reads again where it may take its time. */
enum db_mode { DB_READ, DB_READ_BRIEF, DB_WRITE };
/* Once a DB_WRITE has begun, nothing of a db_commit() that failed before can come back, crash or not. */
int db_begin(struct db *db, enum db_mode mode, struct db_tx **ret, struct err *err);
/* Takes *tx whether or not it succeeds. On failure nothing of the transaction happened. */
int db_commit(struct db_tx **tx, struct err *err);
void db_abort(struct db_tx *tx); /* NULL is fine; also the right end of a read transaction */
void db_abort_p(struct db_tx **tx);
/* A write transaction that nobody waits for: @fn is called in it, on a thread of the database, and it is
 * committed if @fn succeeds. Then, once it is durable or has failed, @done is called, exactly once and soon
 * again: others may wait for the thread it is called on. Many of these cost less than as many threads that
 * take turns. db_close() only after the last @done. */
typedef int db_write_fn(void *cls, struct db_tx *tx, struct err *err);
typedef void db_done_fn(void *cls, int r, const struct err *err);
void db_write(struct db *db, db_write_fn *fn, db_done_fn *done, void *cls);
/* Adds one to this series of a counter (NULL: nothing) if @tx is committed. */
void db_count(struct db_tx *tx, struct metric *counter, size_t series);

/* The schema. version: of the Images tables, e.g. "wallaby_contract01"; glint's own as a number. */
struct db_version {
	char images[64];
	int glint;
};
int db_version(struct db *db, struct db_version *ret, struct err *err);

/* -- images ------------------------------------------------------------------------------------ */

/* With properties, tags and active locations. ERR_NOT_FOUND if there is none; deleted ones are
 * found only with @with_deleted. Strings go to @a. */
int db_image_get(struct db_tx *tx, const char *id, bool with_deleted, struct arena *a, struct image *ret,
		 struct err *err);

/* ERR_CONFLICT if the id was ever used. Writes properties and tags, not locations. */
int db_image_insert(struct db_tx *tx, const struct image *img, struct err *err);

/* Make the stored image @before look like @after: base columns, properties, tags. Both come from
 * this transaction. A removed property keeps its row, marked deleted, and is revived when set again. */
int db_image_update(struct db_tx *tx, const struct image *before, const struct image *after, struct err *err);

/* Soft delete as Glance does it: image, properties, tags, members and locations, all at @now. */
int db_image_delete(struct db_tx *tx, const char *id, int64_t now, struct err *err);

int db_location_add(struct db_tx *tx, const char *image_id, const char *url, const char *metadata,
		    int64_t now, struct err *err);

/* The location @url is no longer one of the image's: marked deleted at @now. ERR_NOT_FOUND. */
int db_location_remove(struct db_tx *tx, const char *image_id, const char *url, int64_t now, struct err *err);

/* Called for each row in order. @img and what it points to live for the call. Return non-zero to
 * stop; that value is passed on. Locations are loaded only with query.with_locations. */
typedef int db_image_fn(void *cls, const struct image *img, struct err *err);

/* The page that @q asks for. ERR_INVALID if the marker is not an image the caller can see. */
int db_image_list(struct db_tx *tx, const struct image_query *q, db_image_fn *fn, void *cls, struct err *err);

/* What a caller makes of an image: of the same one always the same, whoever asks. */
typedef void db_render_fn(struct buf *out, const struct image *img);
/* Called for each row in order with what @render made of it; @text lives for the call. Return as above. */
typedef int db_text_fn(void *cls, const char *id, const char *text, size_t n, struct err *err);

/* The page that @q asks for, as texts. The driver may keep them (db_keep_texts) and hand them out again as long
 * as the image is what it was when @render saw it, down to the last tag, whoever changed it. */
int db_image_list_texts(struct db_tx *tx, const struct image_query *q, db_render_fn *render, db_text_fn *fn,
			void *cls, struct err *err);
/* Use up to @max_bytes of memory for it; none is used unless asked for. Before the first transaction. */
int db_keep_texts(struct db *db, size_t max_bytes, struct err *err);

/* -- members ----------------------------------------------------------------------------------- */

int db_member_get(struct db_tx *tx, const char *image_id, const char *member_id, struct arena *a,
		  struct image_member *ret, struct err *err);
typedef int db_member_fn(void *cls, const struct image_member *m, struct err *err);
/* Oldest first. @only NULL: all of them. */
int db_member_list(struct db_tx *tx, const char *image_id, const char *only, db_member_fn *fn, void *cls,
		   struct err *err);
int db_member_count(struct db_tx *tx, const char *image_id, int64_t *ret, struct err *err);
/* ERR_CONFLICT if there already is one that is not deleted. */
int db_member_insert(struct db_tx *tx, const struct image_member *m, struct err *err);
int db_member_update(struct db_tx *tx, const struct image_member *m, struct err *err); /* status, updated_at */
int db_member_delete(struct db_tx *tx, const char *image_id, const char *member_id, int64_t now,
		     struct err *err);

/* -- uploads under way (glint's own) ----------------------------------------------------------- */

/* One row while a node writes an image's bytes. It is what a restart after a crash, and a delete
 * during the upload, go by. */
struct db_upload {
	char image_id[UUID_LEN + 1];
	const char *node;  /* host name of the process's machine */
	const char *store; /* id of the store that the bytes go to; "" for the nameless one */
	int64_t started_at;
};
int db_upload_insert(struct db_tx *tx, const struct db_upload *u, struct err *err);
int db_upload_get(struct db_tx *tx, const char *image_id, struct arena *a, struct db_upload *ret,
		  struct err *err); /* ERR_NOT_FOUND */
int db_upload_delete(struct db_tx *tx, const char *image_id, struct err *err); /* absent is fine */
typedef int db_upload_fn(void *cls, const struct db_upload *u, struct err *err);
/* Those of @node; NULL: of any. */
int db_upload_list(struct db_tx *tx, const char *node, db_upload_fn *fn, void *cls, struct err *err);

/* -- bytes to remove (glint's own) ------------------------------------------------------------- */

/* A location whose image is gone: written in the transaction that deletes the image, removed once
 * the store has removed the bytes. */
struct db_removal {
	int64_t id; /* set by the database */
	char image_id[UUID_LEN + 1];
	const char *url;
	int64_t n_attempts, next_attempt_at;
};
int db_removal_insert(struct db_tx *tx, const struct db_removal *r, struct err *err);
typedef int db_removal_fn(void *cls, const struct db_removal *r, struct err *err);
/* Those with next_attempt_at <= @now, oldest first, at most @max. */
int db_removal_due(struct db_tx *tx, int64_t now, int64_t max, db_removal_fn *fn, void *cls, struct err *err);
int db_removal_retry(struct db_tx *tx, int64_t id, int64_t next_attempt_at, struct err *err); /* n_attempts + 1 */
int db_removal_delete(struct db_tx *tx, int64_t id, struct err *err);
int db_removal_count(struct db_tx *tx, int64_t *ret_n, int64_t *ret_n_failed_before, struct err *err);

/* -- what bytes elsewhere have to be (glint's own) ----------------------------------------------- */

/* The digests of the pieces of an image's data, one behind the other, in parts. They are written once: an image's
 * data never changes, and never do they. They go when the image is purged. */
int db_pieces_put(struct db_tx *tx, const char *image_id, int64_t part, const void *digests, size_t n_octets,
		  struct err *err); /* a part that is there stays */
/* At most @max octets. ERR_NOT_FOUND: there is no such part. */
int db_pieces_get(struct db_tx *tx, const char *image_id, int64_t part, void *digests, size_t max, size_t *ret_n,
		  struct err *err);

/* -- tasks ---------------------------------------------------------------------------------------- */

int db_task_insert(struct db_tx *tx, const struct task *t, struct err *err); /* ERR_CONFLICT: the id is taken */
/* ERR_NOT_FOUND if there is none or it is deleted. Strings go to @a. */
int db_task_get(struct db_tx *tx, const char *id, struct arena *a, struct task *ret, struct err *err);
/* Make the stored task, whose status has to be @from (else ERR_CONFLICT), look like @t: status, image_id,
 * input, result, message, expires_at, updated_at. */
int db_task_update(struct db_tx *tx, enum task_status from, const struct task *t, struct err *err);
/* A message while it is processing, and updated_at; nothing happens to a task in another state. */
int db_task_note(struct db_tx *tx, const char *id, const char *message, int64_t now, struct err *err);
typedef int db_task_fn(void *cls, const struct task *t, struct err *err);
/* The page that @q asks for, with input, result and message. ERR_INVALID if the marker is not a task that
 * the caller can see. */
int db_task_list(struct db_tx *tx, const struct task_query *q, db_task_fn *fn, void *cls, struct err *err);
/* Those with expires_at <= @now are marked deleted, at most @max_rows. */
int db_task_expire(struct db_tx *tx, int64_t now, int64_t max_rows, int64_t *ret_n, struct err *err);

/* A task that is to be run, or is being run: one row from the task's creation to its end (glint's own).
 * The queue of the executor; what a restart goes by. */
struct db_job {
	char task_id[UUID_LEN + 1];
	const char *node;  /* who runs it; NULL: it waits */
	int64_t n_runs;    /* how often it was begun */
	bool is_prepared;  /* its image.prepare has been told: bytes may be on their way */
};
int db_job_insert(struct db_tx *tx, const char *task_id, struct err *err);
int db_job_get(struct db_tx *tx, const char *task_id, struct arena *a, struct db_job *ret, struct err *err);
/* The one that waits longest; ERR_NOT_FOUND. */
int db_job_next(struct db_tx *tx, struct arena *a, struct db_job *ret, struct err *err);
int db_job_update(struct db_tx *tx, const struct db_job *j, struct err *err); /* node, n_runs, is_prepared */
int db_job_delete(struct db_tx *tx, const char *task_id, struct err *err);    /* absent is fine */
/* All that @node (NULL: any) runs wait again: at start, nobody works on them. */
int db_job_release(struct db_tx *tx, const char *node, int64_t *ret_n, struct err *err);
int db_job_count(struct db_tx *tx, int64_t *ret_waiting, int64_t *ret_running, struct err *err);

/* -- the journal of events, and how far each driver has delivered it (glint's own) --------------- */

enum event_priority { EVENT_INFO, EVENT_WARN, EVENT_ERROR };

struct db_event {
	int64_t offset;      /* set by the database: grows in commit order, never reused */
	const char *subject; /* id of the image, task ... the event is about */
	int64_t seq;         /* set by the database: 1, 2, 3 ... within the subject, no gap ever */
	char message_id[UUID_LEN + 1];
	const char *event_type;
	enum event_priority priority;
	int64_t timestamp;                                /* microseconds since the epoch */
	const char *payload;                              /* one JSON value as text */
	const char *request_id, *user_id, *project_id;    /* who did it; NULL: nobody we know */
};

/* Appends; fills nothing in. The sequence of a subject goes on across pruning. */
int db_event_insert(struct db_tx *tx, const struct db_event *e, struct err *err);
typedef int db_event_fn(void *cls, const struct db_event *e, struct err *err);
/* Those with offset > @after, in order, at most @max rows. */
int db_event_read(struct db_tx *tx, int64_t after, int64_t max, db_event_fn *fn, void *cls, struct err *err);
/* First offset whose timestamp is >= @when; one past the end if there is none. */
int db_event_find(struct db_tx *tx, int64_t when, int64_t *ret_offset, struct err *err);

struct db_journal {
	int64_t first, last;       /* offsets of the oldest and newest row; 0 when empty (see last_ever) */
	int64_t last_ever;         /* newest offset ever given out */
	int64_t n_events;
	int64_t n_bytes;           /* of payload and names, roughly what they take */
	int64_t oldest_timestamp;
};
int db_journal(struct db_tx *tx, struct db_journal *ret, struct err *err);

/* Remove at most @max_rows rows, oldest first, with offset <= @upto and (timestamp < @older_than or
 * the journal holds more than @max_bytes). *ret_n: how many went. */
int db_event_prune(struct db_tx *tx, int64_t upto, int64_t older_than, int64_t max_bytes, int64_t max_rows,
		   int64_t *ret_n, struct err *err);

struct db_cursor {
	char driver[32];
	int64_t offset;     /* everything up to here is delivered or set aside */
	int64_t n_delivered, n_retries, n_set_aside;
	int64_t updated_at;
	char problem[256];  /* what it is struggling with; empty while all is well */
};
/* ERR_NOT_FOUND when the driver has never run. */
int db_cursor_get(struct db_tx *tx, const char *driver, struct db_cursor *ret, struct err *err);
int db_cursor_put(struct db_tx *tx, const struct db_cursor *c, struct err *err); /* insert or replace */
int db_cursor_delete(struct db_tx *tx, const char *driver, struct err *err);
typedef int db_cursor_fn(void *cls, const struct db_cursor *c, struct err *err);
int db_cursor_list(struct db_tx *tx, db_cursor_fn *fn, void *cls, struct err *err);

/* A replay: `glint notifications replay` writes it (from another process), the relay picks it up. */
struct db_replay {
	int64_t id; /* set by the database */
	char driver[32];
	int64_t next, last; /* offsets still to hand out again, both inclusive */
};
int db_replay_insert(struct db_tx *tx, const struct db_replay *r, struct err *err);
int db_replay_next(struct db_tx *tx, const char *driver, struct db_replay *ret, struct err *err); /* oldest; ERR_NOT_FOUND */
int db_replay_advance(struct db_tx *tx, int64_t id, int64_t next, struct err *err); /* done when past last: row removed */

/* An event that a driver can never take, and why. Its row goes with the event (db_event_prune). */
struct db_set_aside {
	char driver[32];
	int64_t offset;
	int64_t at;         /* when it was tried last */
	const char *reason; /* one line, without passwords */
};
int db_set_aside_put(struct db_tx *tx, const struct db_set_aside *s, struct err *err); /* insert or replace */
/* Those of @driver from offset @from to @to, inclusive; none is fine. */
int db_set_aside_delete(struct db_tx *tx, const char *driver, int64_t from, int64_t to, struct err *err);
int db_set_aside_count(struct db_tx *tx, const char *driver, int64_t *ret, struct err *err);
typedef int db_set_aside_fn(void *cls, const struct db_set_aside *s, struct err *err);
/* Of @driver, those with offset > @after, in order, at most @max rows. */
int db_set_aside_list(struct db_tx *tx, const char *driver, int64_t after, int64_t max, db_set_aside_fn *fn,
		      void *cls, struct err *err);

/* -- what each project has (glint's own) -------------------------------------------------------- */

/* Deleted images, and those whose bytes only wait to be removed, do not count. */
struct db_usage {
	int64_t stored_octets; /* the size of each image, for each of its locations */
	int64_t staged_octets; /* of images that are uploading or importing */
	int64_t n_images;
	int64_t n_uploading;   /* saving, uploading or importing, or being copied to another store */
};
/* As of this transaction, what it changed included; takes no longer however many images there are. @owner NULL:
 * of the images that have none. Right as long as it is kept (db_usage_keep). */
int db_usage_get(struct db_tx *tx, const char *owner, struct db_usage *ret, struct err *err);
/* ENSURE: keep it, also while others (Glance) change the images. *ret_counted: it was not, or not wholly, kept
 * before, so all images were counted. AGAIN: count in any case. OFF: leave the images' tables as Glance made
 * them, until the next time. */
enum db_usage_mode { DB_USAGE_ENSURE, DB_USAGE_AGAIN, DB_USAGE_OFF };
int db_usage_keep(struct db_tx *tx, enum db_usage_mode mode, bool *ret_counted, struct err *err);
/* For each owner what is kept, and what a count of all images says. */
typedef int db_usage_fn(void *cls, const char *owner, const struct db_usage *kept, const struct db_usage *counted,
			struct err *err);
int db_usage_compare(struct db_tx *tx, db_usage_fn *fn, void *cls, struct err *err);

/* -- housekeeping ------------------------------------------------------------------------------ */

/* Rows of properties, tags, members, locations, tasks and of the pieces of images that were soft-deleted before @older_than go
 * away, at most @max_rows; the images' own rows stay, so that an id is never given out twice. */
int db_purge(struct db_tx *tx, int64_t older_than, int64_t max_rows, int64_t *ret_n, struct err *err);

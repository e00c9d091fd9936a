/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/sqlite.h -- the parts of the SQLite driver, among themselves. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "db/driver.h"
#include "db/sqlite/conn.h"

struct sqlite_db;

/* state.c: names for the states of the database. */
#define STATE_WORDS 12

struct db_state {
	uint32_t word[STATE_WORDS];
};

struct state_source {
	const volatile _Atomic uint32_t *words; /* of SQLite's shared memory; NULL: states have no names */
};

/* @writer is open and stays open as long as @s is used. */
void state_source_open(struct state_source *s, struct conn *writer);
/* The state as of now. False: it is changing, or has no name. */
bool state_read(const struct state_source *s, struct db_state *ret);
bool state_equal(const struct db_state *a, const struct db_state *b);
/* Does @after name the state right behind @before, made by the commit that ended with @last_frame? */
bool state_is_next(const struct db_state *before, const struct db_state *after, int last_frame);

struct sqlite_tx {
	struct db_tx base;
	struct sqlite_db *db;
	struct conn *conn;
	enum db_mode mode;

	/* Reading: */
	struct db_state before; /* there was this state when we began */
	bool has_before;

	/* DB_WRITE, under writer.lock: */
	struct sqlite_tx *next; /* in one of the writer's two queues */
	pthread_cond_t wake;
	bool has_turn; /* the connection is ours */
	bool settled;  /* the batch we are in has ended, with this outcome: */
	int outcome;
	struct err *err; /* of the db_commit() that waits; borrowed, may be NULL */

	/* db_write(), whose transactions take their turns like others; NULL otherwise: */
	db_write_fn *fn;
	db_done_fn *done;
	void *cls;
	int64_t since;
	struct err story;
};

static inline struct conn *tx_conn(struct db_tx *tx)
{
	return ((struct sqlite_tx *)tx)->conn;
}

struct tx_queue {
	struct sqlite_tx *first, *last;
};

/* texts.c: what pages of the list show of their images, in memory. */
#define TEXTS_MAX_CHANGING 64

struct text {
	struct text *chain, *newer, *older;
	atomic_uint n_refs;
	db_render_fn *render; /* who made it, and of what */
	bool with_locations;
	char id[UUID_LEN + 1];
	size_t n;
	char data[];
};

struct texts {
	const struct state_source *source;
	pthread_mutex_t lock;
	struct text **buckets; /* NULL: nothing is kept */
	size_t n_buckets, n_bytes, max_bytes;
	uint64_t key[2];
	struct text *newest, *oldest; /* by their last use */

	struct db_state state; /* that all of them are of, if known */
	bool known;
	uint64_t generation;

	/* The batch of our writer that is open. */
	bool writing;
	char changing[TEXTS_MAX_CHANGING][UUID_LEN];
	size_t n_changing; /* more than there is room for: nobody knows which */
};

void texts_init(struct texts *t, const struct state_source *source);
void texts_done(struct texts *t);
int texts_limit(struct texts *t, size_t max_bytes, struct err *err); /* once; until then nothing is kept */

struct text *text_new(const char *id, db_render_fn *render, bool with_locations, const char *data, size_t n);
void text_unref(struct text *text); /* NULL is fine */

/* For a reader whose snapshot has been taken since @before was the state of the database: what to hand to
 * the two below. 0: nothing can be taken or added. */
uint64_t texts_enter(struct texts *t, const struct db_state *before);
struct text *texts_take(struct texts *t, uint64_t generation, const char *id, db_render_fn *render,
			bool with_locations); /* a reference; NULL: there is none */
void texts_add(struct texts *t, uint64_t generation, struct text *text); /* takes a reference of its own */

/* Around each transaction of the writer's connection: it has begun, it has changed something of an image, it has
 * ended. @last_frame: where in the log its commit ended; 0 if it wrote nothing. */
void texts_batch_begin(struct texts *t);
void texts_change(struct texts *t, const char *id);
void texts_batch_end(struct texts *t, bool committed, int last_frame);

/* writer.c: the one connection that writes, and the batch of transactions it has open. */
struct writer {
	const struct db *db; /* whose commits are observed */
	struct texts *texts;
	struct conn *conn;
	int last_frame; /* of the last commit, if it wrote any */
	pthread_mutex_t lock;
	bool taken;              /* somebody has the turn */
	struct sqlite_tx *turn;  /* of a db_write(): its thread has to do it */
	pthread_cond_t job_wake; /* there is one, or stop */
	pthread_t thread;        /* runs them; begins with the first */
	bool running, stop;
	struct tx_queue waiting; /* for the turn */
	struct tx_queue members; /* released into the batch, waiting for its COMMIT */

	/* Of whoever has the turn: */
	bool batch_open;
	bool commit_failed; /* and what it wrote may be there */
	unsigned n_members;
	int64_t opened_at;
};

int writer_init(struct writer *w, const struct db *db, struct texts *texts, const char *path, struct err *err);
void writer_done(struct writer *w);
int writer_begin(struct writer *w, struct sqlite_tx *tx, struct err *err);
int writer_commit(struct writer *w, struct sqlite_tx *tx, struct err *err); /* waits until it is durable */
void writer_abort(struct writer *w, struct sqlite_tx *tx);
void writer_submit(struct writer *w, struct sqlite_tx *tx); /* takes @tx; its `done` tells the outcome */

/* readers.c: connections for read transactions, as many as there were at a time, within a bound. */
#define MAX_READERS 96 /* more than there are threads of requests by default, so that an event loop finds one, too */

struct readers {
	pthread_mutex_t lock;
	pthread_cond_t returned;
	struct conn *idle[MAX_READERS];
	unsigned n_idle, n_open;
};

int readers_init(struct readers *rs, struct err *err);
void readers_done(struct readers *rs);
int readers_take(struct readers *rs, const char *path, struct conn **ret, struct err *err);
void readers_give_back(struct readers *rs, struct conn *c); /* takes @c */

/* checkpoint.c: moves what is in the write-ahead log into the database file. */
struct checkpointer {
	const char *path; /* borrowed */
	struct writer *writer;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool running, wanted, stop;
	int last_step;
};

void checkpointer_init(struct checkpointer *cp, const char *path);
void checkpointer_done(struct checkpointer *cp);
void checkpointer_watch(struct checkpointer *cp, struct writer *w); /* and tells it where its commits end */

struct sqlite_db {
	struct db base;
	char *path;
	struct state_source states;
	struct texts texts;
	struct writer writer;
	struct readers readers;
	struct checkpointer checkpointer;
};

/* A condition variable that times out by the monotonic clock; false when that cannot be had. */
bool cond_init_mono(pthread_cond_t *cond);
/* False once @until (clock_mono_us) has passed. */
bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until);

/* schema.c */
int schema_ensure(struct conn *writer, struct err *err);
int schema_version(struct conn *c, struct db_version *ret, struct err *err);

/* images.c */
int sqlite_image_get(struct db_tx *tx, const char *id, bool with_deleted, struct arena *a, struct image *ret,
		     struct err *err);
int sqlite_image_insert(struct db_tx *tx, const struct image *img, struct err *err);
int sqlite_image_update(struct db_tx *tx, const struct image *before, const struct image *after,
			struct err *err);
int sqlite_image_delete(struct db_tx *tx, const char *id, int64_t now, struct err *err);
int sqlite_location_add(struct db_tx *tx, const char *image_id, const char *url, const char *metadata,
			int64_t now, struct err *err);
int sqlite_location_remove(struct db_tx *tx, const char *image_id, const char *url, int64_t now, struct err *err);
int sqlite_purge(struct db_tx *tx, int64_t older_than, int64_t max_rows, int64_t *ret_n, struct err *err);

/* The columns of images in the order image_from_row() reads them, of the table under the name i. */
#define IMAGE_COLUMNS                                                                                        \
	"i.id, i.name, i.size, i.status, i.created_at, i.updated_at, i.deleted_at, i.deleted, "              \
	"i.disk_format, i.container_format, i.checksum, i.owner, i.min_disk, i.min_ram, i.protected, "       \
	"i.virtual_size, i.visibility, i.os_hidden, i.os_hash_algo, i.os_hash_value"
/* Strings go to @a, or are borrowed from the row when it is NULL. A row with a status, visibility
 * or time that we do not know is ERR_INTERNAL and names the image. */
int image_from_row(struct query *q, struct arena *a, struct image *ret, struct err *err);
int image_load_properties(struct conn *c, struct arena *a, struct image *img, struct err *err);
int image_load_locations(struct conn *c, struct arena *a, struct image *img, struct err *err);
int image_load_tags(struct conn *c, struct arena *a, struct image *img, struct err *err);

/* list.c */
int sqlite_image_list(struct db_tx *tx, const struct image_query *q, db_image_fn *fn, void *cls,
		      struct err *err);

int sqlite_image_list_texts(struct db_tx *tx, const struct image_query *q, db_render_fn *render,
			    db_text_fn *fn, void *cls, struct err *err);

/* members.c */
int sqlite_member_get(struct db_tx *tx, const char *image_id, const char *member_id, struct arena *a,
		      struct image_member *ret, struct err *err);
int sqlite_member_list(struct db_tx *tx, const char *image_id, const char *only, db_member_fn *fn, void *cls,
		       struct err *err);
int sqlite_member_count(struct db_tx *tx, const char *image_id, int64_t *ret, struct err *err);
int sqlite_member_insert(struct db_tx *tx, const struct image_member *m, struct err *err);
int sqlite_member_update(struct db_tx *tx, const struct image_member *m, struct err *err);
int sqlite_member_delete(struct db_tx *tx, const char *image_id, const char *member_id, int64_t now,
			 struct err *err);

/* uploads.c */
int sqlite_upload_insert(struct db_tx *tx, const struct db_upload *u, struct err *err);
int sqlite_upload_get(struct db_tx *tx, const char *image_id, struct arena *a, struct db_upload *ret,
		      struct err *err);
int sqlite_upload_delete(struct db_tx *tx, const char *image_id, struct err *err);
int sqlite_upload_list(struct db_tx *tx, const char *node, db_upload_fn *fn, void *cls, struct err *err);

/* removals.c */
int sqlite_pieces_put(struct db_tx *tx, const char *image_id, int64_t part, const void *digests, size_t n_octets,
		      struct err *err);
int sqlite_pieces_get(struct db_tx *tx, const char *image_id, int64_t part, void *digests, size_t max, size_t *ret_n,
		      struct err *err);

int sqlite_removal_insert(struct db_tx *tx, const struct db_removal *r, struct err *err);
int sqlite_removal_due(struct db_tx *tx, int64_t now, int64_t max, db_removal_fn *fn, void *cls,
		       struct err *err);
int sqlite_removal_retry(struct db_tx *tx, int64_t id, int64_t next_attempt_at, struct err *err);
int sqlite_removal_delete(struct db_tx *tx, int64_t id, struct err *err);
int sqlite_removal_count(struct db_tx *tx, int64_t *ret_n, int64_t *ret_n_failed_before, struct err *err);

/* usage.c */
int sqlite_usage_get(struct db_tx *tx, const char *owner, struct db_usage *ret, struct err *err);
int sqlite_usage_keep(struct db_tx *tx, enum db_usage_mode mode, bool *ret_counted, struct err *err);
int sqlite_usage_compare(struct db_tx *tx, db_usage_fn *fn, void *cls, struct err *err);

/* tasks.c, jobs.c */
int sqlite_task_insert(struct db_tx *tx, const struct task *t, struct err *err);
int sqlite_task_get(struct db_tx *tx, const char *id, struct arena *a, struct task *ret, struct err *err);
int sqlite_task_update(struct db_tx *tx, enum task_status from, const struct task *t, struct err *err);
int sqlite_task_note(struct db_tx *tx, const char *id, const char *message, int64_t now, struct err *err);
int sqlite_task_list(struct db_tx *tx, const struct task_query *q, db_task_fn *fn, void *cls, struct err *err);
int sqlite_task_expire(struct db_tx *tx, int64_t now, int64_t max_rows, int64_t *ret_n, struct err *err);
int sqlite_job_insert(struct db_tx *tx, const char *task_id, struct err *err);
int sqlite_job_get(struct db_tx *tx, const char *task_id, struct arena *a, struct db_job *ret, struct err *err);
int sqlite_job_next(struct db_tx *tx, struct arena *a, struct db_job *ret, struct err *err);
int sqlite_job_update(struct db_tx *tx, const struct db_job *j, struct err *err);
int sqlite_job_delete(struct db_tx *tx, const char *task_id, struct err *err);
int sqlite_job_release(struct db_tx *tx, const char *node, int64_t *ret_n, struct err *err);
int sqlite_job_count(struct db_tx *tx, int64_t *ret_waiting, int64_t *ret_running, struct err *err);
int pieces_purge(struct db_tx *tx, int64_t older_than, int64_t max_rows, int64_t *ret_n, struct err *err);
int task_purge(struct db_tx *tx, int64_t older_than, int64_t max_rows, int64_t *ret_n, struct err *err);

/* journal.c */
int sqlite_event_insert(struct db_tx *tx, const struct db_event *e, struct err *err);
int sqlite_event_read(struct db_tx *tx, int64_t after, int64_t max, db_event_fn *fn, void *cls,
		      struct err *err);
int sqlite_event_find(struct db_tx *tx, int64_t when, int64_t *ret_offset, struct err *err);
int sqlite_journal(struct db_tx *tx, struct db_journal *ret, struct err *err);
int sqlite_event_prune(struct db_tx *tx, int64_t upto, int64_t older_than, int64_t max_bytes,
		       int64_t max_rows, int64_t *ret_n, struct err *err);

/* cursors.c */
int sqlite_cursor_get(struct db_tx *tx, const char *driver, struct db_cursor *ret, struct err *err);
int sqlite_cursor_put(struct db_tx *tx, const struct db_cursor *c, struct err *err);
int sqlite_cursor_delete(struct db_tx *tx, const char *driver, struct err *err);
int sqlite_cursor_list(struct db_tx *tx, db_cursor_fn *fn, void *cls, struct err *err);
int sqlite_replay_insert(struct db_tx *tx, const struct db_replay *r, struct err *err);
int sqlite_replay_next(struct db_tx *tx, const char *driver, struct db_replay *ret, struct err *err);
int sqlite_replay_advance(struct db_tx *tx, int64_t id, int64_t next, struct err *err);
int sqlite_set_aside_put(struct db_tx *tx, const struct db_set_aside *s, struct err *err);
int sqlite_set_aside_delete(struct db_tx *tx, const char *driver, int64_t from, int64_t to, struct err *err);
int sqlite_set_aside_count(struct db_tx *tx, const char *driver, int64_t *ret, struct err *err);
int sqlite_set_aside_list(struct db_tx *tx, const char *driver, int64_t after, int64_t max,
			  db_set_aside_fn *fn, void *cls, struct err *err);

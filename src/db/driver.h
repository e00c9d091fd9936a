/* SPDX-License-Identifier: Apache-2.0
 * db/driver.h -- what every database driver must do: the functions of db/db.h, one for one, under
 * the same contract. One directory a driver, one line in the table in db.c. */
#pragma once

#include "db/db.h"

#define DB_DRIVER_VERSION 1

struct db_driver;
struct metric;

#define DB_TX_MAX_COUNTS 8

/* What db.c knows of an open database and of a transaction. The driver's own structs begin with
 * these; it allocates and frees them, db.c fills them in after open() and begin(). */
struct db {
	const struct db_driver *driver;
	struct metric *commit_times, *commit_sizes; /* the driver observes each COMMIT here; may be NULL */
};

struct db_tx {
	const struct db_driver *driver;
	struct {
		struct metric *counter;
		size_t series;
	} counts[DB_TX_MAX_COUNTS]; /* to be made when it is committed */
	unsigned n_counts;
};

struct db_driver {
	unsigned version;
	const char *name;    /* "sqlite" */
	const char *summary; /* one line for help texts */
	const char *scheme;  /* of the URLs it serves, without "://" and without "+dialect" */

	/* @location is the URL behind "scheme://". It may hold a password: never in a text. */
	int (*open)(const char *location, struct db **ret, struct err *err);
	void (*close)(struct db *db); /* never NULL; cannot fail */

	int (*begin)(struct db *db, enum db_mode mode, struct db_tx **ret, struct err *err);
	int (*commit)(struct db_tx *tx, struct err *err); /* takes tx */
	void (*abort)(struct db_tx *tx);                  /* takes tx, never NULL; cannot fail */
	void (*write)(struct db *db, db_write_fn *fn, db_done_fn *done, void *cls); /* by db_tx_init(), db_tx_count() */
	int (*version_of)(struct db *db, struct db_version *ret, struct err *err); /* db_version() */

	int (*image_get)(struct db_tx *tx, const char *id, bool with_deleted, struct arena *a,
			 struct image *ret, struct err *err);
	int (*image_insert)(struct db_tx *tx, const struct image *img, struct err *err);
	int (*image_update)(struct db_tx *tx, const struct image *before, const struct image *after,
			    struct err *err);
	int (*image_delete)(struct db_tx *tx, const char *id, int64_t now, struct err *err);
	int (*location_add)(struct db_tx *tx, const char *image_id, const char *url, const char *metadata,
			    int64_t now, struct err *err);
	int (*location_remove)(struct db_tx *tx, const char *image_id, const char *url, int64_t now,
			       struct err *err);
	int (*image_list)(struct db_tx *tx, const struct image_query *q, db_image_fn *fn, void *cls,
			  struct err *err);

	int (*image_list_texts)(struct db_tx *tx, const struct image_query *q, db_render_fn *render,
				db_text_fn *fn, void *cls, struct err *err);
	int (*keep_texts)(struct db *db, size_t max_bytes, struct err *err); /* may keep none */

	int (*member_get)(struct db_tx *tx, const char *image_id, const char *member_id, struct arena *a,
			  struct image_member *ret, struct err *err);
	int (*member_list)(struct db_tx *tx, const char *image_id, const char *only, db_member_fn *fn,
			   void *cls, struct err *err);
	int (*member_count)(struct db_tx *tx, const char *image_id, int64_t *ret, struct err *err);
	int (*member_insert)(struct db_tx *tx, const struct image_member *m, struct err *err);
	int (*member_update)(struct db_tx *tx, const struct image_member *m, struct err *err);
	int (*member_delete)(struct db_tx *tx, const char *image_id, const char *member_id, int64_t now,
			     struct err *err);

	int (*upload_insert)(struct db_tx *tx, const struct db_upload *u, struct err *err);
	int (*upload_get)(struct db_tx *tx, const char *image_id, struct arena *a, struct db_upload *ret,
			  struct err *err);
	int (*upload_delete)(struct db_tx *tx, const char *image_id, struct err *err);
	int (*upload_list)(struct db_tx *tx, const char *node, db_upload_fn *fn, void *cls, struct err *err);

	int (*removal_insert)(struct db_tx *tx, const struct db_removal *r, struct err *err);
	int (*removal_due)(struct db_tx *tx, int64_t now, int64_t max, db_removal_fn *fn, void *cls,
			   struct err *err);
	int (*removal_retry)(struct db_tx *tx, int64_t id, int64_t next_attempt_at, struct err *err);
	int (*removal_delete)(struct db_tx *tx, int64_t id, struct err *err);
	int (*removal_count)(struct db_tx *tx, int64_t *ret_n, int64_t *ret_n_failed_before, struct err *err);

	int (*pieces_put)(struct db_tx *tx, const char *image_id, int64_t part, const void *digests, size_t n_octets,
			  struct err *err);
	int (*pieces_get)(struct db_tx *tx, const char *image_id, int64_t part, void *digests, size_t max, size_t *ret_n,
			  struct err *err);

	int (*task_insert)(struct db_tx *tx, const struct task *t, struct err *err);
	int (*task_get)(struct db_tx *tx, const char *id, struct arena *a, struct task *ret, struct err *err);
	int (*task_update)(struct db_tx *tx, enum task_status from, const struct task *t, struct err *err);
	int (*task_note)(struct db_tx *tx, const char *id, const char *message, int64_t now, struct err *err);
	int (*task_list)(struct db_tx *tx, const struct task_query *q, db_task_fn *fn, void *cls, struct err *err);
	int (*task_expire)(struct db_tx *tx, int64_t now, int64_t max_rows, int64_t *ret_n, struct err *err);
	int (*job_insert)(struct db_tx *tx, const char *task_id, struct err *err);
	int (*job_get)(struct db_tx *tx, const char *task_id, struct arena *a, struct db_job *ret, struct err *err);
	int (*job_next)(struct db_tx *tx, struct arena *a, struct db_job *ret, struct err *err);
	int (*job_update)(struct db_tx *tx, const struct db_job *j, struct err *err);
	int (*job_delete)(struct db_tx *tx, const char *task_id, struct err *err);
	int (*job_release)(struct db_tx *tx, const char *node, int64_t *ret_n, struct err *err);
	int (*job_count)(struct db_tx *tx, int64_t *ret_waiting, int64_t *ret_running, struct err *err);

	int (*event_insert)(struct db_tx *tx, const struct db_event *e, struct err *err);
	int (*event_read)(struct db_tx *tx, int64_t after, int64_t max, db_event_fn *fn, void *cls,
			  struct err *err);
	int (*event_find)(struct db_tx *tx, int64_t when, int64_t *ret_offset, struct err *err);
	int (*journal)(struct db_tx *tx, struct db_journal *ret, struct err *err);
	int (*event_prune)(struct db_tx *tx, int64_t upto, int64_t older_than, int64_t max_bytes,
			   int64_t max_rows, int64_t *ret_n, struct err *err);

	int (*cursor_get)(struct db_tx *tx, const char *driver, struct db_cursor *ret, struct err *err);
	int (*cursor_put)(struct db_tx *tx, const struct db_cursor *c, struct err *err);
	int (*cursor_delete)(struct db_tx *tx, const char *driver, struct err *err);
	int (*cursor_list)(struct db_tx *tx, db_cursor_fn *fn, void *cls, struct err *err);

	int (*replay_insert)(struct db_tx *tx, const struct db_replay *r, struct err *err);
	int (*replay_next)(struct db_tx *tx, const char *driver, struct db_replay *ret, struct err *err);
	int (*replay_advance)(struct db_tx *tx, int64_t id, int64_t next, struct err *err);

	int (*set_aside_put)(struct db_tx *tx, const struct db_set_aside *s, struct err *err);
	int (*set_aside_delete)(struct db_tx *tx, const char *driver, int64_t from, int64_t to,
				struct err *err);
	int (*set_aside_count)(struct db_tx *tx, const char *driver, int64_t *ret, struct err *err);
	int (*set_aside_list)(struct db_tx *tx, const char *driver, int64_t after, int64_t max,
			      db_set_aside_fn *fn, void *cls, struct err *err);

	int (*usage_get)(struct db_tx *tx, const char *owner, struct db_usage *ret, struct err *err);
	int (*usage_keep)(struct db_tx *tx, enum db_usage_mode mode, bool *ret_counted, struct err *err);
	int (*usage_compare)(struct db_tx *tx, db_usage_fn *fn, void *cls, struct err *err);

	int (*purge)(struct db_tx *tx, int64_t older_than, int64_t max_rows, int64_t *ret_n, struct err *err);
};

/* For transactions that the driver begins itself: before it is handed out, and once it is durable. */
void db_tx_init(struct db_tx *tx, const struct db_driver *driver);
void db_tx_count(const struct db_tx *tx);

extern const struct db_driver *const db_drivers[]; /* NULL-terminated */

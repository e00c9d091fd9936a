/* SPDX-License-Identifier: Apache-2.0
 * service/run.h -- a task that runs in this process. */
#pragma once

#include "base/err.h"
#include "service/internal.h"

struct run;

/* What each type of task does. Everything may block but what gets a transaction. */
struct task_kind {
	const char *type;
	/* In the transaction that picks the task up, each time it is picked up (is_first: for the first time).
	 * For a task that cannot run: run_refuse(), nothing changed, and 0. */
	int (*begin)(struct run *run, struct db_tx *tx, struct err *err);
	/* The work. 0: the task has ended, in the database too. Otherwise clean() and fail() follow. */
	int (*work)(struct run *run, struct err *err);
	/* Whatever bytes it has left go. May be called again; also before it runs once more. */
	int (*clean)(struct run *run, struct err *err);
	/* In the transaction that ends it as a failure: put the image back. */
	int (*fail)(struct run *run, struct db_tx *tx, const char *reason, struct err *err);
};

struct run {
	struct service *svc;
	const struct task_kind *kind;
	struct arena arena; /* for as long as it runs */
	struct task task;   /* as picked up */
	struct db_job job;
	struct who who;     /* on whose behalf */
	struct origin origin;
	bool is_first;      /* it was pending; otherwise it goes on after a crash or a stop */
	char ahead[UUID_LEN + 1]; /* the task that the next two are for: */
	const char *quota_owner;
	struct quota quota; /* known before the transaction that picks it up: to ask may take a while */
	struct hold *hold;  /* of what it stores; NULL: of nothing yet */
	struct err refusal; /* code 0: it can run */
	bool begin_failed;  /* of the kind: nothing has happened */
	bool is_hopeless;   /* so it is not asked again; the refusal says why */
	/* Its flags stop the work: image deleted, or the process ends. In the list of uploads while an
	 * image is known. */
	struct upload upload;
	bool listed;
	bool gives_up;      /* clean() is not followed by another run */
	void *plan;         /* of the kind, in the arena */
	int64_t noted_at;   /* monotonic */
	struct run *next;
};

extern const struct task_kind task_kind_import, task_kind_api_image_import, task_kind_location_import;

void run_refuse(struct run *run, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Refuses it if @image, which it is about to take, would be one more on its way than its owner may have, or is not
 * the owner's any more whose quota was asked for. */
int run_check_quota(struct run *run, struct db_tx *tx, const struct image *image, struct err *err);

/* "Copied N MiB", once in a while; an upload's progress function, cls is the run. */
void run_progress(void *cls, int64_t n_octets);

/* In the transaction that finishes the work: the task's success, its result, and no job any more. */
int run_succeed(struct run *run, struct db_tx *tx, const char *image_id, const char *message, struct err *err);

/* A task of @type with @input, and its place in the queue. */
int task_enqueue(struct service *svc, struct db_tx *tx, const struct who *who, const char *type, const char *input,
		 const char *image_id, struct task *ret, struct err *err);

/* SPDX-License-Identifier: Apache-2.0
 * task/task.h -- what a task is, its states, and what may follow what. Pure logic: no I/O.
 *
 * Facts: tables `tasks` and `task_info` of the Images database; pending -> processing -> success or
 * failure, and nothing else. */
#pragma once

#include "base/arena.h"
#include "base/uuid.h"

struct err;

enum task_status { TASK_PENDING, TASK_PROCESSING, TASK_SUCCESS, TASK_FAILURE };

/* The types we run. A database of Glance's may hold others; they are shown and never run. */
#define TASK_TYPE_IMPORT "import"
#define TASK_TYPE_API_IMAGE_IMPORT "api_image_import"
#define TASK_TYPE_LOCATION_IMPORT "location_import"

/* All strings live in the arena of whoever made the task. Times are microseconds since the epoch,
 * UTC; 0 means none. */
struct task {
	char id[UUID_LEN + 1];
	const char *type;
	enum task_status status;
	const char *owner;                            /* project; "" if there was none */
	const char *image_id, *request_id, *user_id;  /* NULL: none */
	const char *input, *result;                   /* a JSON object as text; NULL: none */
	const char *message;                          /* NULL: none */
	int64_t expires_at, created_at, updated_at, deleted_at;
	bool deleted;
};

const char *task_status_name(enum task_status s);
bool task_status_parse(const char *name, enum task_status *ret);

bool task_may_become(enum task_status from, enum task_status to);
bool task_has_ended(const struct task *t);

/* What may be shown of a URL: user name, password, query, parameters and fragment are gone
 * ("http://host/path?***"). Of a text that only looks like a URL nothing is shown ("***"); any other one is
 * returned as it is. Arena, constant, or @text itself; NULL without memory. */
const char *task_redact_url(struct arena *a, const char *text);

/* The same for every string at any depth of a JSON text; an object with a key like that becomes
 * {"***": null}. What is not JSON becomes "{}".
 * Compact separators as in notifications (", " and ": "). Arena; NULL without memory. */
const char *task_redact_json(struct arena *a, const char *json);

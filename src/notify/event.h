/* SPDX-License-Identifier: Apache-2.0
 * notify/event.h -- what happened: the events there are, their payloads, and the one way to emit
 * them. Payloads: DESIGN "Payloads"; keys and order as the running system sends them. */
#pragma once

#include "db/db.h"
#include "image/image.h"
#include "image/rights.h"
#include "task/task.h"

struct buf;
struct err;
struct notify; /* which events are wanted, see notify/notify.h */

enum event_type {
	EVENT_IMAGE_CREATE,
	EVENT_IMAGE_PREPARE,
	EVENT_IMAGE_UPLOAD,
	EVENT_IMAGE_ACTIVATE,
	EVENT_IMAGE_SEND,
	EVENT_IMAGE_UPDATE,
	EVENT_IMAGE_DELETE,
	EVENT_IMAGE_MEMBER_CREATE,
	EVENT_IMAGE_MEMBER_UPDATE,
	EVENT_IMAGE_MEMBER_DELETE,
	EVENT_TASK_CREATE,
	EVENT_TASK_RUN,
	EVENT_TASK_PROCESSING,
	EVENT_TASK_SUCCESS,
	EVENT_TASK_FAILURE,
	N_EVENT_TYPES,
};

/* Who did it. Borrowed; any member may be NULL. Of an image's properties its events tell what @rights let be read. */
struct origin {
	const char *request_id, *user_id, *project_id;
	const struct property_rights *rights;
};

struct send_report {
	int64_t bytes_sent;
	const char *image_id, *owner_id, *receiver_tenant_id, *receiver_user_id, *destination_ip;
};

const char *event_type_name(enum event_type t); /* "image.create" */

/* Append to the outbox inside @tx: if it commits, the event exists; if not, it never did. An event
 * that is disabled, or that no driver wants, is not written. There is no other way to emit. */

/* INFO, payload = the image (image.prepare and image.upload with their two arrays, image.prepare
 * with `backend` if @backend is not NULL; image.delete: the whole image or its id alone). */
int event_image(struct notify *n, struct db_tx *tx, enum event_type t, const struct image *img,
		const char *backend, const struct origin *who, struct err *err);
/* ERROR or WARN, payload = a text, which names the image. */
int event_image_text(struct notify *n, struct db_tx *tx, enum event_type t, enum event_priority priority,
		     const char *image_id, const char *text, const struct origin *who, struct err *err);
int event_image_send(struct notify *n, struct db_tx *tx, enum event_priority priority,
		     const struct send_report *report, const struct origin *who, struct err *err);
int event_member(struct notify *n, struct db_tx *tx, enum event_type t, const struct image_member *m,
		 const struct origin *who, struct err *err);

/* INFO of task.*, subject: the task. Keys as the running system sends them (id type status result owner
 * message expires_at created_at updated_at deleted deleted_at), then those the document adds (task_id
 * task_type task_input). result only in task.success, message only in task.failure, null otherwise;
 * expires_at is the time of sending while the task has none. What task_input and message say of URLs is
 * redacted (task/task.h). */
int event_task(struct notify *n, struct db_tx *tx, enum event_type t, const struct task *task,
	       const struct origin *who, struct err *err);
/* ERROR (or WARN) of task.*: a text, which names the task. */
int event_task_text(struct notify *n, struct db_tx *tx, enum event_type t, enum event_priority priority,
		    const char *task_id, const char *text, const struct origin *who, struct err *err);

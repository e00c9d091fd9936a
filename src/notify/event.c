/* SPDX-License-Identifier: Apache-2.0
 * notify/event.c -- the events there are, and the one way to emit them: a row in the journal, in
 * the transaction that makes the change.
 *
 * (1) If the transaction commits, its events exist; if it does not, they never did.
 * (2) message_id is made here, once; every driver and every redelivery carries the same.
 * (3) The subject of all events about an image and its members is the image: a consumer can put
 *     them in order by their sequence. The subject of the events about a task is the task. */
#include "event.h"

#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "internal.h"
#include "payload.h"

static const char *const type_names[] = {
	[EVENT_IMAGE_CREATE] = "image.create",
	[EVENT_IMAGE_PREPARE] = "image.prepare",
	[EVENT_IMAGE_UPLOAD] = "image.upload",
	[EVENT_IMAGE_ACTIVATE] = "image.activate",
	[EVENT_IMAGE_SEND] = "image.send",
	[EVENT_IMAGE_UPDATE] = "image.update",
	[EVENT_IMAGE_DELETE] = "image.delete",
	[EVENT_IMAGE_MEMBER_CREATE] = "image.member.create",
	[EVENT_IMAGE_MEMBER_UPDATE] = "image.member.update",
	[EVENT_IMAGE_MEMBER_DELETE] = "image.member.delete",
	[EVENT_TASK_CREATE] = "task.create",
	[EVENT_TASK_RUN] = "task.run",
	[EVENT_TASK_PROCESSING] = "task.processing",
	[EVENT_TASK_SUCCESS] = "task.success",
	[EVENT_TASK_FAILURE] = "task.failure",
};

const char *event_type_name(enum event_type t)
{
	assert((size_t)t < ARRAY_LEN(type_names));
	return type_names[t];
}

bool event_is_in(const char *event_type, const char *listed)
{
	size_t n = strlen(listed);

	return n > 0 && strncmp(event_type, listed, n) == 0 &&
	       (event_type[n] == '\0' || event_type[n] == '.');
}

static int append(struct notify *n, struct db_tx *tx, enum event_type t, enum event_priority priority, const char *subject,
		  const struct buf *payload, int64_t now, const struct origin *who, struct err *err)
{
	struct db_event e = {
		.subject = subject,
		.event_type = event_type_name(t),
		.priority = priority,
		.timestamp = now,
		.payload = payload->data,
	};

	if (payload->failed)
		return err_nomem(err);
	uuid_new(e.message_id);
	if (who) {
		e.request_id = who->request_id;
		e.user_id = who->user_id;
		e.project_id = who->project_id;
	}
	notify_count(n, tx, t, priority);
	return db_event_insert(tx, &e, err);
}

int event_image(struct notify *n, struct db_tx *tx, enum event_type t, const struct image *img,
		const char *backend, const struct origin *who, struct err *err)
{
	AUTO(buf_done) struct buf payload = {0};
	int64_t now = clock_now_us();

	assert(t <= EVENT_IMAGE_DELETE && t != EVENT_IMAGE_SEND);
	if (!notify_wants(n, event_type_name(t)))
		return 0;
	if (t == EVENT_IMAGE_DELETE && notify_delete_payload_is_id(n))
		payload_image_id(&payload, img);
	else
		payload_image(&payload, t, img, backend, who ? who->rights : NULL, now);
	return append(n, tx, t, EVENT_INFO, img->id, &payload, now, who, err);
}

int event_image_text(struct notify *n, struct db_tx *tx, enum event_type t, enum event_priority priority,
		     const char *image_id, const char *text, const struct origin *who, struct err *err)
{
	AUTO(buf_done) struct buf payload = {0};

	assert(t <= EVENT_IMAGE_DELETE && t != EVENT_IMAGE_SEND && priority != EVENT_INFO);
	if (!notify_wants(n, event_type_name(t)))
		return 0;
	payload_text(&payload, "Image", image_id, text);
	return append(n, tx, t, priority, image_id, &payload, clock_now_us(), who, err);
}

int event_image_send(struct notify *n, struct db_tx *tx, enum event_priority priority,
		     const struct send_report *report, const struct origin *who, struct err *err)
{
	AUTO(buf_done) struct buf payload = {0};

	if (!notify_wants(n, event_type_name(EVENT_IMAGE_SEND)))
		return 0;
	payload_send(&payload, report);
	return append(n, tx, EVENT_IMAGE_SEND, priority, report->image_id, &payload, clock_now_us(), who, err);
}

int event_member(struct notify *n, struct db_tx *tx, enum event_type t, const struct image_member *m,
		 const struct origin *who, struct err *err)
{
	AUTO(buf_done) struct buf payload = {0};
	int64_t now = clock_now_us();

	assert(t >= EVENT_IMAGE_MEMBER_CREATE && t <= EVENT_IMAGE_MEMBER_DELETE);
	if (!notify_wants(n, event_type_name(t)))
		return 0;
	payload_member(&payload, t, m, now);
	return append(n, tx, t, EVENT_INFO, m->image_id, &payload, now, who, err);
}

int event_task(struct notify *n, struct db_tx *tx, enum event_type t, const struct task *task, const struct origin *who,
	       struct err *err)
{
	AUTO(buf_done) struct buf payload = {0};
	int64_t now = clock_now_us();

	assert(t >= EVENT_TASK_CREATE && t <= EVENT_TASK_FAILURE);
	if (!notify_wants(n, event_type_name(t)))
		return 0;
	payload_task(&payload, t, task, now);
	return append(n, tx, t, EVENT_INFO, task->id, &payload, now, who, err);
}

int event_task_text(struct notify *n, struct db_tx *tx, enum event_type t, enum event_priority priority,
		    const char *task_id, const char *text, const struct origin *who, struct err *err)
{
	AUTO(buf_done) struct buf payload = {0};

	assert(t >= EVENT_TASK_CREATE && t <= EVENT_TASK_FAILURE && priority != EVENT_INFO);
	if (!notify_wants(n, event_type_name(t)))
		return 0;
	payload_text(&payload, "Task", task_id, text);
	return append(n, tx, t, priority, task_id, &payload, clock_now_us(), who, err);
}

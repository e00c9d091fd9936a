/* SPDX-License-Identifier: Apache-2.0
 * notify/payload.h -- the payload of each event as one line of JSON. Room-internal; events are
 * emitted through notify/event.h. Check @out->failed at the end. */
#pragma once

#include "event.h"

/* What a payload may grow to, whatever the properties, tags and names of an image: twice this, as
 * the envelope of a message bus may quote every quote once more, is still below the million octets
 * that such buses accept by default. */
#define PAYLOAD_MAX ((size_t)400 * 1024)

/* INFO of image.*; @t decides on the members behind the common ones. @now: deletion time if the
 * image has none. Properties that @rights do not let be read are not told. Properties and tags that would take
 * it over the limit are left out, and then `"truncated": true` is the last member. */
void payload_image(struct buf *out, enum event_type t, const struct image *img, const char *backend,
		   const struct property_rights *rights, int64_t now);
void payload_image_id(struct buf *out, const struct image *img);
/* @text, with @kind ("Image") and the id in front unless the id is in it; cut, and saying so, if it is very
 * long. */
void payload_text(struct buf *out, const char *kind, const char *id, const char *text);
void payload_send(struct buf *out, const struct send_report *report);
void payload_member(struct buf *out, enum event_type t, const struct image_member *m, int64_t now);
/* INFO of task.*; @now: what expires_at is while the task has no end. An input too long to send is null, and
 * then `"truncated": true` is the last member. */
void payload_task(struct buf *out, enum event_type t, const struct task *task, int64_t now);

/* SPDX-License-Identifier: Apache-2.0
 * notify/message.h -- the document a consumer receives, made from a row of the journal: message_id,
 * publisher_id, event_type, priority, payload, timestamp, in this order. */
#pragma once

#include "db/db.h"

struct buf;
struct err;

const char *event_priority_name(enum event_priority p); /* "INFO" */

/* Appends the document as one line of JSON without newline. */
void message_render(struct buf *out, const struct db_event *e, const char *publisher_id);

/* What goes to a message queue. `_unique_id` is the last member of the document, but for those that
 * tell who did it, each only if it is known: _context_request_id, _context_user_id and
 * _context_project_id. Check @out->failed. */
void message_render_v1(struct buf *out, const struct db_event *e, const char *publisher_id,
		       const char *unique_id);
/* Format 2.0: the same document, quoted, in its envelope. */
void message_render_v2(struct buf *out, const struct db_event *e, const char *publisher_id,
		       const char *unique_id);
/* What oslo.messaging's Kafka driver sends for either format: the envelope; no `_unique_id`; the last
 * member of the document is `_context`, an object that tells who did it. */
void message_render_kafka(struct buf *out, const struct db_event *e, const char *publisher_id);

#define MESSAGE_UNIQUE_ID_LEN 32

/* The _unique_id under which @driver sends @e to @topic, whenever it does: what is sent again because
 * nobody knows whether it arrived is the same to the octet. Looks like a random UUID without dashes.
 * ERR_NO_MEMORY. */
int message_unique_id(const struct db_event *e, const char *driver, const char *topic,
		      char out[MESSAGE_UNIQUE_ID_LEN + 1], struct err *err);

/* message_render() with secrets masked as oslo.utils does for log files: see message.c. */
int message_render_masked(struct buf *out, const struct db_event *e, const char *publisher_id);

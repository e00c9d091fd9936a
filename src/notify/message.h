/* SPDX-License-Identifier: Apache-2.0
 * notify/message.h -- the document a consumer receives, made from a row of the journal: message_id,
 * publisher_id, event_type, priority, payload, timestamp, in this order. */
#pragma once

#include "db/db.h"

struct buf;

const char *event_priority_name(enum event_priority p); /* "INFO" */

/* Appends the document as one line of JSON without newline. */
void message_render(struct buf *out, const struct db_event *e, const char *publisher_id);

/* The same with secrets masked as oslo.utils does for log files: see message.c. */
int message_render_masked(struct buf *out, const struct db_event *e, const char *publisher_id);

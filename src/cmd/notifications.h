/* SPDX-License-Identifier: Apache-2.0
 * cmd/notifications.h -- the words below `glint notifications`. */
#pragma once

#include <jansson.h>

#include "cmd/cmd.h"
#include "db/db.h"

struct tail_options {
	int64_t last;  /* how many of the newest to begin with; -1: all */
	int64_t from;  /* or: from this offset on; -1: not given */
	bool follow, json;
	const char *database_url;
};

struct listen_options {
	const char *transport_url; /* NULL: as configured */
	const char *topic;         /* NULL: as configured */
	const char *pool;          /* NULL: take from the queues that everybody shares */
	int64_t count;             /* end after so many; -1: go on */
	bool json;
};

/* A notification as people see it. All borrowed. */
struct notification_line {
	int64_t number;
	const char *when; /* as the document has it, to the second */
	const char *priority, *event_type, *subject;
	const json_t *payload; /* NULL: none */
};

struct buf;

void notification_add_line(struct buf *out, const struct notification_line *n, bool colour);

int notifications_status(struct db *db, bool json, struct err *err);
int notifications_tail(struct db *db, const struct tail_options *options, struct err *err);
int notifications_listen(struct settings *settings, const struct listen_options *options, struct err *err);

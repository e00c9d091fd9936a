/* SPDX-License-Identifier: Apache-2.0
 * cmd/notifications.h -- the words below `glint notifications`. */
#pragma once

#include "cmd/cmd.h"
#include "db/db.h"

struct tail_options {
	int64_t last;  /* how many of the newest to begin with; -1: all */
	int64_t from;  /* or: from this offset on; -1: not given */
	bool follow, json;
	const char *database_url;
};

int notifications_status(struct db *db, bool json, struct err *err);
int notifications_tail(struct db *db, const struct tail_options *options, struct err *err);

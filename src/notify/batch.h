/* SPDX-License-Identifier: Apache-2.0
 * notify/batch.h -- some events of the journal, copied out of it. Room-internal. */
#pragma once

#include "db/db.h"

#define BATCH_EVENTS_MAX 2048                 /* one fdatasync or one round trip for so many */
#define BATCH_BYTES_MAX ((size_t)4 * 1024 * 1024) /* a bound on memory; one event may go past it */

struct batch {
	struct arena arena;
	struct db_event *events; /* oldest first */
	size_t n, n_bytes;
	int64_t upto;
	bool more; /* there may be more of them in the journal */
};

void batch_done(struct batch *b);

/* Those with offset > @after and <= @upto that the limits above allow. */
int batch_read(struct batch *b, struct db *db, int64_t after, int64_t upto, struct err *err);

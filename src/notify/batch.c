/* SPDX-License-Identifier: Apache-2.0
 * notify/batch.c -- copies events out of the journal, so that no transaction is open while a driver
 * takes its time with them. */
#include "batch.h"

#include <string.h>

#include "base/err.h"

#define STOP 1 /* what the callback returns when the batch is full or past its end */

void batch_done(struct batch *b)
{
	arena_done(&b->arena);
	*b = (struct batch){0};
}

/* NULL stays NULL; false if there is no memory. */
static bool copy(struct batch *b, const char **text)
{
	if (!*text)
		return true;
	b->n_bytes += strlen(*text);
	*text = arena_strdup(&b->arena, *text);
	return *text;
}

static int add(void *cls, const struct db_event *e, struct err *err)
{
	struct batch *b = cls;
	struct db_event *to = &b->events[b->n];

	if (e->offset > b->upto)
		return STOP;
	*to = *e;
	if (!copy(b, &to->subject) || !copy(b, &to->event_type) || !copy(b, &to->payload) ||
	    !copy(b, &to->request_id) || !copy(b, &to->user_id) || !copy(b, &to->project_id))
		return err_nomem(err);
	b->n++;
	b->more = b->n == BATCH_EVENTS_MAX || b->n_bytes >= BATCH_BYTES_MAX;
	return b->more ? STOP : 0;
}

int batch_read(struct batch *b, struct db *db, int64_t after, int64_t upto, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r;

	*b = (struct batch){.upto = upto};
	b->events = arena_alloc(&b->arena, BATCH_EVENTS_MAX * sizeof(*b->events));
	if (!b->events)
		return err_nomem(err);
	r = db_begin(db, DB_READ, &tx, err);
	if (r == 0)
		r = db_event_read(tx, after, BATCH_EVENTS_MAX, add, b, err);
	if (r < 0)
		batch_done(b);
	return r < 0 ? r : 0;
}

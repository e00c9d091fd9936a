/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/journal.c -- the events, from their commit to their pruning.
 *
 * (1) offset grows in commit order, because write transactions are serial, and is never reused, also
 *     not after all rows were pruned (AUTOINCREMENT).
 * (2) seq counts 1, 2, 3 ... within a subject. The counter is a row of its own that the same
 *     transaction moves, so it has no gap after a rollback and goes on after pruning.
 * (3) Rows go from the old end only: the rows that are left are consecutive. What the journal
 *     holds in all can be told from its first and last row (glint_events.starts). */
#include "db/sqlite/sqlite.h"

#include <stdio.h>
#include <string.h>

/* What a row takes besides its texts, roughly: numbers, header, its share of the tree. */
#define ROW_BYTES 64

static int64_t text_size(const char *s)
{
	return s ? (int64_t)strlen(s) : 0;
}

static int64_t event_size(const struct db_event *e)
{
	return ROW_BYTES + text_size(e->subject) + text_size(e->message_id) + text_size(e->event_type) +
	       text_size(e->payload) + text_size(e->request_id) + text_size(e->user_id) +
	       text_size(e->project_id);
}

static int next_in_sequence(struct conn *c, const char *subject, int64_t *ret, struct err *err)
{
	static const char sql[] = "INSERT INTO glint_sequences (subject, last) VALUES (?, 1)"
				  " ON CONFLICT (subject) DO UPDATE SET last = last + 1 RETURNING last";
	AUTO(query_done) struct query q = {0};
	int64_t seq;
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, subject);
	r = query_next(&q, err);
	if (r < 0)
		return r;
	seq = column_int(&q, 0);
	r = query_run(&q, err);
	if (r == 0)
		*ret = seq;
	return r;
}

int sqlite_event_insert(struct db_tx *tx, const struct db_event *e, struct err *err)
{
	static const char sql[] =
		"INSERT INTO glint_events (seq, timestamp, n_bytes, starts, priority, subject, event_type,"
		" message_id, request_id, user_id, project_id, payload) VALUES (?, ?, ?,"
		" coalesce((SELECT starts + n_bytes FROM glint_events ORDER BY offset DESC LIMIT 1), 0),"
		" ?, ?, ?, ?, ?, ?, ?, ?)";
	AUTO(query_done) struct query q = {0};
	int64_t seq = 0;
	int r = next_in_sequence(tx_conn(tx), e->subject, &seq, err);

	if (r == 0)
		r = query_open(tx_conn(tx), sql, &q, err);
	if (r < 0)
		return r;
	bind_int(&q, seq);
	bind_int(&q, e->timestamp);
	bind_int(&q, event_size(e));
	bind_int(&q, e->priority);
	bind_text(&q, e->subject);
	bind_text(&q, e->event_type);
	bind_text(&q, e->message_id);
	bind_text(&q, e->request_id);
	bind_text(&q, e->user_id);
	bind_text(&q, e->project_id);
	bind_text(&q, e->payload);
	return query_run(&q, err);
}

/* -- reading ------------------------------------------------------------------------------------ */

/* Texts are borrowed from the row. */
static int event_from_row(struct query *q, struct db_event *ret, struct err *err)
{
	const char **texts[] = {&ret->subject, &ret->event_type, &ret->request_id,
				&ret->user_id, &ret->project_id, &ret->payload};
	int64_t priority = column_int(q, 3);
	int r;

	ret->offset = column_int(q, 0);
	ret->seq = column_int(q, 1);
	ret->timestamp = column_int(q, 2);
	if (priority < EVENT_INFO || priority > EVENT_ERROR)
		return err_set(err, ERR_INTERNAL, "Event %lld has an unknown priority.",
			       (long long)ret->offset);
	ret->priority = (enum event_priority)priority;
	r = column_fill(q, 4, ret->message_id, sizeof(ret->message_id), err);
	for (int i = 0; r == 0 && i < (int)ARRAY_LEN(texts); i++)
		r = column_copy(q, 5 + i, NULL, texts[i], err);
	return r;
}

int sqlite_event_read(struct db_tx *tx, int64_t after, int64_t max, db_event_fn *fn, void *cls,
		      struct err *err)
{
	static const char sql[] = "SELECT offset, seq, timestamp, priority, message_id, subject, event_type,"
				  " request_id, user_id, project_id, payload FROM glint_events"
				  " WHERE offset > ? ORDER BY offset LIMIT ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, after);
	bind_int(&q, max < 0 ? 0 : max);
	while ((r = query_next(&q, err)) > 0) {
		struct db_event e;

		r = event_from_row(&q, &e, err);
		if (r == 0)
			r = fn(cls, &e, err);
		if (r != 0)
			return r;
	}
	return r;
}

/* The newest offset ever given out, pruned or not. */
static int last_offset(struct conn *c, int64_t *ret, struct err *err)
{
	static const char sql[] = "SELECT seq FROM sqlite_sequence WHERE name = 'glint_events'";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r == 0)
		r = query_next(&q, err);
	if (r < 0)
		return r;
	*ret = r > 0 ? column_int(&q, 0) : 0;
	return 0;
}

int sqlite_event_find(struct db_tx *tx, int64_t when, int64_t *ret_offset, struct err *err)
{
	/* Clocks are set back now and then, so the times are not sorted: look from the start. */
	static const char sql[] =
		"SELECT offset FROM glint_events WHERE timestamp >= ? ORDER BY offset LIMIT 1";
	AUTO(query_done) struct query q = {0};
	int64_t last = 0;
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, when);
	r = query_next(&q, err);
	if (r > 0) {
		*ret_offset = column_int(&q, 0);
		return 0;
	}
	if (r == 0)
		r = last_offset(tx_conn(tx), &last, err);
	if (r == 0)
		*ret_offset = last + 1;
	return r;
}

struct end {
	int64_t offset, timestamp, n_bytes, starts; /* offset 0: no row */
};

static int read_end(struct conn *c, const char *sql, struct end *ret, struct err *err)
{
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r == 0)
		r = query_next(&q, err);
	*ret = (struct end){0};
	if (r > 0)
		*ret = (struct end){column_int(&q, 0), column_int(&q, 1), column_int(&q, 2),
				    column_int(&q, 3)};
	return r < 0 ? r : 0;
}

static int read_ends(struct conn *c, struct end *ret_first, struct end *ret_last, struct err *err)
{
	static const char first[] = "SELECT offset, timestamp, n_bytes, starts FROM glint_events"
				    " ORDER BY offset LIMIT 1";
	static const char last[] = "SELECT offset, timestamp, n_bytes, starts FROM glint_events"
				   " ORDER BY offset DESC LIMIT 1";
	int r = read_end(c, first, ret_first, err);

	return r < 0 ? r : read_end(c, last, ret_last, err);
}

int sqlite_journal(struct db_tx *tx, struct db_journal *ret, struct err *err)
{
	struct end first, last;
	int64_t last_ever = 0;
	int r = read_ends(tx_conn(tx), &first, &last, err);

	if (r == 0)
		r = last_offset(tx_conn(tx), &last_ever, err);
	if (r < 0)
		return r;
	*ret = (struct db_journal){
		.first = first.offset,
		.last = last.offset,
		.last_ever = last_ever,
		.n_events = first.offset ? last.offset - first.offset + 1 : 0,
		.n_bytes = last.starts + last.n_bytes - first.starts,
		.oldest_timestamp = first.timestamp,
	};
	return 0;
}

/* -- pruning ------------------------------------------------------------------------------------ */

struct prune {
	int64_t upto, older_than, max_bytes, max_rows;
	int64_t end; /* of the journal, in octets, on the scale of glint_events.starts */
};

/* The last row that may go: 0 if none may. Stops at the first that must stay. */
static int find_boundary(struct conn *c, const struct prune *p, int64_t *ret, struct err *err)
{
	static const char sql[] = "SELECT offset, timestamp, starts FROM glint_events WHERE offset <= ?"
				  " ORDER BY offset LIMIT ?";
	AUTO(query_done) struct query q = {0};
	int64_t boundary = 0;
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, p->upto);
	bind_int(&q, p->max_rows < 0 ? 0 : p->max_rows);
	while ((r = query_next(&q, err)) > 0) {
		bool too_old = column_int(&q, 1) < p->older_than;
		bool too_much = p->end - column_int(&q, 2) > p->max_bytes;

		if (!too_old && !too_much)
			break;
		boundary = column_int(&q, 0);
	}
	if (r >= 0)
		*ret = boundary;
	return r < 0 ? r : 0;
}

static int forget_set_aside(struct conn *c, int64_t boundary, struct err *err)
{
	static const char sql[] = "DELETE FROM glint_set_aside WHERE offset <= ?";
	AUTO(query_done) struct query q = {0};
	int r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, boundary);
	return query_run(&q, err);
}

static int delete_upto(struct conn *c, int64_t boundary, int64_t *ret_n, struct err *err)
{
	static const char sql[] = "DELETE FROM glint_events WHERE offset <= ?";
	AUTO(query_done) struct query q = {0};
	int r = forget_set_aside(c, boundary, err);

	if (r == 0)
		r = query_open(c, sql, &q, err);

	if (r < 0)
		return r;
	bind_int(&q, boundary);
	r = query_run(&q, err);
	if (r == 0)
		*ret_n = query_changes(&q);
	return r;
}

int sqlite_event_prune(struct db_tx *tx, int64_t upto, int64_t older_than, int64_t max_bytes,
		       int64_t max_rows, int64_t *ret_n, struct err *err)
{
	struct conn *c = tx_conn(tx);
	struct prune p = {upto, older_than, max_bytes, max_rows, 0};
	struct end first, last;
	int64_t boundary;
	int r = read_ends(c, &first, &last, err);

	if (r < 0)
		return r;
	p.end = last.starts + last.n_bytes;
	r = find_boundary(c, &p, &boundary, err);
	if (r < 0)
		return r;
	if (boundary == 0) {
		*ret_n = 0;
		return 0;
	}
	return delete_upto(c, boundary, ret_n, err);
}

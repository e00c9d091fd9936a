/* SPDX-License-Identifier: Apache-2.0
 * cmd/notifications_status.c -- what the journal holds and how far each driver is. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/jsonw.h"
#include "cmd/notifications.h"

#define SET_ASIDE_MAX 20 /* listed for each driver; the count says how many there are */

struct status {
	struct db_tx *tx;
	struct db_journal journal;
	int64_t n_removals, n_removals_failed;
	struct buf *out;
	struct jsonw w;
	bool json;
	unsigned n_drivers;
};

struct first_event {
	int64_t timestamp;
};

static int take_timestamp(void *cls, const struct db_event *e, struct err *err)
{
	struct first_event *first = cls;

	first->timestamp = e->timestamp;
	return 0;
}

/* How long the oldest event that @driver has not delivered has been waiting, in seconds; 0: none. */
static int lag_seconds(struct db_tx *tx, int64_t offset, int64_t *ret, struct err *err)
{
	struct first_event first = {0};
	int r = db_event_read(tx, offset, 1, take_timestamp, &first, err);

	*ret = first.timestamp ? (clock_now_us() - first.timestamp) / 1000000 : 0;
	return r;
}

static void add_number(struct jsonw *w, const char *key, int64_t value)
{
	jsonw_key(w, key);
	jsonw_int(w, value);
}

/* -- what a driver can never take ----------------------------------------------------------------- */

static int add_set_aside(void *cls, const struct db_set_aside *a, struct err *err)
{
	struct status *s = cls;
	char at[CLOCK_TEXT_MAX];

	if (s->json) {
		jsonw_object(&s->w);
		add_number(&s->w, "offset", a->offset);
		jsonw_key(&s->w, "at");
		jsonw_str(&s->w, clock_iso(a->at, at));
		jsonw_key(&s->w, "reason");
		jsonw_str(&s->w, a->reason);
		jsonw_object_end(&s->w);
	} else {
		buf_addf(s->out, "  %-12s set aside: %lld, %s: %s\n", "", (long long)a->offset,
			 clock_iso(a->at, at), a->reason);
	}
	return 0;
}

static int list_set_aside(struct status *s, const char *driver, int64_t n, struct err *err)
{
	int r;

	if (s->json) {
		jsonw_key(&s->w, "set_aside_events");
		jsonw_array(&s->w);
	}
	r = db_set_aside_list(s->tx, driver, 0, SET_ASIDE_MAX, add_set_aside, s, err);
	if (s->json)
		jsonw_array_end(&s->w);
	else if (n > SET_ASIDE_MAX)
		buf_addf(s->out, "  %-12s and %lld more\n", "", (long long)(n - SET_ASIDE_MAX));
	return r;
}

/* -- a driver ------------------------------------------------------------------------------------- */

static void driver_json(struct jsonw *w, const struct db_cursor *c, int64_t behind, int64_t lag)
{
	jsonw_object(w);
	jsonw_key(w, "driver");
	jsonw_str(w, c->driver);
	add_number(w, "offset", c->offset);
	add_number(w, "behind", behind);
	add_number(w, "behind_seconds", lag);
	add_number(w, "delivered", c->n_delivered);
	add_number(w, "retries", c->n_retries);
	add_number(w, "set_aside", c->n_set_aside);
	jsonw_key(w, "problem");
	jsonw_str(w, *c->problem ? c->problem : NULL);
}

static void driver_text(struct buf *out, const struct db_cursor *c, int64_t behind, int64_t lag)
{
	buf_addf(out, "  %-12s at %lld", c->driver, (long long)c->offset);
	if (behind == 0)
		buf_adds(out, ", up to date");
	else
		buf_addf(out, ", %lld behind, the oldest waiting for %lld s", (long long)behind, (long long)lag);
	buf_addf(out, "; %lld delivered, %lld retries, %lld set aside\n", (long long)c->n_delivered,
		 (long long)c->n_retries, (long long)c->n_set_aside);
	if (*c->problem)
		buf_addf(out, "  %-12s problem: %s\n", "", c->problem);
}

static int add_driver(void *cls, const struct db_cursor *c, struct err *err)
{
	struct status *s = cls;
	int64_t behind = s->journal.last_ever - c->offset, lag, n_aside;
	int r = lag_seconds(s->tx, c->offset, &lag, err);

	if (r == 0)
		r = db_set_aside_count(s->tx, c->driver, &n_aside, err);
	if (r < 0)
		return r;
	s->n_drivers++;
	if (s->json)
		driver_json(&s->w, c, behind, lag);
	else
		driver_text(s->out, c, behind, lag);
	r = list_set_aside(s, c->driver, n_aside, err);
	if (s->json)
		jsonw_object_end(&s->w);
	return r;
}

static void journal_json(struct status *s)
{
	struct jsonw *w = &s->w;

	jsonw_key(w, "journal");
	jsonw_object(w);
	add_number(w, "first", s->journal.first);
	add_number(w, "last", s->journal.last_ever);
	add_number(w, "events", s->journal.n_events);
	add_number(w, "bytes", s->journal.n_bytes);
	jsonw_object_end(w);
	jsonw_key(w, "removals");
	jsonw_object(w);
	add_number(w, "pending", s->n_removals);
	add_number(w, "failed_before", s->n_removals_failed);
	jsonw_object_end(w);
}

static void journal_text(struct status *s)
{
	const struct db_journal *j = &s->journal;
	char since[CLOCK_TEXT_MAX];

	if (j->n_events == 0)
		buf_addf(s->out, "journal: empty; %lld notifications ever\n", (long long)j->last_ever);
	else
		buf_addf(s->out, "journal: %lld notifications (%lld to %lld), %lld KiB, since %s\n",
			 (long long)j->n_events, (long long)j->first, (long long)j->last,
			 (long long)(j->n_bytes + 1023) / 1024, clock_iso(j->oldest_timestamp, since));
	if (s->n_removals > 0)
		buf_addf(s->out, "store: the bytes of %lld deleted images are still to be removed (%lld failed before)\n",
			 (long long)s->n_removals, (long long)s->n_removals_failed);
}

static int add_drivers(struct status *s, struct err *err)
{
	int r;

	if (s->json) {
		jsonw_key(&s->w, "drivers");
		jsonw_array(&s->w);
	} else {
		buf_adds(s->out, "drivers:\n");
	}
	r = db_cursor_list(s->tx, add_driver, s, err);
	if (s->json)
		jsonw_array_end(&s->w);
	else if (s->n_drivers == 0)
		buf_adds(s->out, "  none has ever run\n");
	return r;
}

static int render(struct status *s, struct err *err)
{
	int r;

	if (s->json) {
		jsonw_object(&s->w);
		journal_json(s);
	} else {
		journal_text(s);
	}
	r = add_drivers(s, err);
	if (s->json) {
		jsonw_object_end(&s->w);
		buf_addc(s->out, '\n');
	}
	return r < 0 ? r : s->out->failed ? err_nomem(err) : 0;
}

int notifications_status(struct db *db, bool json, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	AUTO(buf_done) struct buf out = {0};
	struct status s = {.out = &out, .w = jsonw_to(&out), .json = json};
	int r;

	r = db_begin(db, DB_READ, &tx, err);
	if (r < 0)
		return r;
	s.tx = tx;
	if ((r = db_journal(tx, &s.journal, err)) < 0 ||
	    (r = db_removal_count(tx, &s.n_removals, &s.n_removals_failed, err)) < 0 ||
	    (r = render(&s, err)) < 0)
		return r;
	fwrite(out.data, 1, out.len, stdout);
	return 0;
}

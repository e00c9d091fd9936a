/* SPDX-License-Identifier: Apache-2.0
 * notify/count.c -- the metrics of events and of their delivery.
 *
 * What is delivered, tried again and set aside is counted by the relays as it happens, from 0 in each
 * process (the cursor in the database goes on over restarts). What waits is looked up when asked for. */
#include "count.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/metrics.h"
#include "message.h"
#include "relay.h"

#define N_PRIORITIES (EVENT_ERROR + 1)

/* -- looked up ------------------------------------------------------------------------------------- */

static bool read_journal(const struct counters *c, struct db_journal *ret)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;

	return db_begin(c->db, DB_READ, &tx, NULL) == 0 && db_journal(tx, ret, NULL) == 0;
}

static bool read_journal_events(void *cls, size_t row, int64_t *ret)
{
	struct db_journal j;

	if (!read_journal(cls, &j))
		return false;
	*ret = j.n_events;
	return true;
}

static bool read_journal_bytes(void *cls, size_t row, int64_t *ret)
{
	struct db_journal j;

	if (!read_journal(cls, &j))
		return false;
	*ret = j.n_bytes;
	return true;
}

/* The relay may go on while we look: what it has passed is asked for first, so that the difference is
 * never below 0. */
static bool read_backlog(void *cls, size_t row, int64_t *ret)
{
	const struct counters *c = cls;
	int64_t passed = relay_passed(c->relays[row]);
	struct db_journal j;

	if (!read_journal(c, &j))
		return false;
	*ret = j.last_ever - passed;
	return true;
}

static int take_timestamp(void *cls, const struct db_event *e, struct err *err)
{
	int64_t *timestamp = cls;

	*timestamp = e->timestamp;
	return 0;
}

static bool read_oldest(void *cls, size_t row, int64_t *ret)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	const struct counters *c = cls;
	int64_t passed = relay_passed(c->relays[row]), timestamp = 0;

	if (db_begin(c->db, DB_READ, &tx, NULL) < 0 ||
	    db_event_read(tx, passed, 1, take_timestamp, &timestamp, NULL) < 0)
		return false;
	*ret = timestamp ? clock_now_us() - timestamp : 0;
	return true;
}

/* -- registering ----------------------------------------------------------------------------------- */

static int register_events(struct counters *c, struct metrics *m, struct err *err)
{
	const char *types[N_EVENT_TYPES], *priorities[N_PRIORITIES];
	const struct metric_spec spec = {
		.name = "glint_events_total",
		.help = "Events written to the journal.",
		.rows = {types, ARRAY_LEN(types)},
		.columns = {priorities, ARRAY_LEN(priorities)},
	};

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		types[i] = metrics_labels(m, NULL, "type", event_type_name((enum event_type)i));
	for (size_t i = 0; i < ARRAY_LEN(priorities); i++)
		priorities[i] =
			metrics_labels(m, NULL, "priority", event_priority_name((enum event_priority)i));
	return metrics_register(m, &spec, &c->events, err);
}

static int register_journal(struct counters *c, struct metrics *m, struct err *err)
{
	const struct metric_spec events = {
		.name = "glint_journal_events",
		.help = "Events in the journal, delivered or not.",
		.kind = METRIC_GAUGE,
		.read = read_journal_events,
		.cls = c,
	};
	const struct metric_spec bytes = {
		.name = "glint_journal_bytes",
		.help = "What the events in the journal take, roughly.",
		.kind = METRIC_GAUGE,
		.read = read_journal_bytes,
		.cls = c,
	};
	int r = metrics_register(m, &events, NULL, err);

	return r < 0 ? r : metrics_register(m, &bytes, NULL, err);
}

static int register_counts(struct counters *c, struct metrics *m, struct metric_axis rows, struct err *err)
{
	const struct {
		const char *name, *help;
		struct metric **metric;
	} table[] = {
		{"glint_notifications_delivered_total", "Notifications that are safe with the driver.",
		 &c->delivered},
		{"glint_notifications_retries_total",
		 "Times that a driver or the journal failed, to be tried again.", &c->retries},
		{"glint_notifications_set_aside_total", "Notifications that the driver can never take.",
		 &c->set_aside},
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(table) && r == 0; i++) {
		const struct metric_spec spec = {.name = table[i].name, .help = table[i].help, .rows = rows};

		r = metrics_register(m, &spec, table[i].metric, err);
	}
	return r;
}

static int register_waiting(struct counters *c, struct metrics *m, struct metric_axis rows, struct err *err)
{
	const struct metric_spec backlog = {
		.name = "glint_notifications_backlog",
		.help = "Events that wait for the driver.",
		.kind = METRIC_GAUGE,
		.rows = rows,
		.read = read_backlog,
		.cls = c,
	};
	const struct metric_spec oldest = {
		.name = "glint_notifications_oldest_seconds",
		.help = "Age of the oldest event that waits for the driver; 0: none does.",
		.kind = METRIC_GAUGE,
		.unit = METRIC_MICROSECONDS,
		.rows = rows,
		.read = read_oldest,
		.cls = c,
	};
	int r = metrics_register(m, &backlog, NULL, err);

	return r < 0 ? r : metrics_register(m, &oldest, NULL, err);
}

static int register_times(struct counters *c, struct metrics *m, struct metric_axis rows, struct err *err)
{
	const struct metric_spec publish = {
		.name = "glint_notifications_publish_seconds",
		.help = "How long the driver took for what it was handed at once, whether it was delivered "
			"or not.",
		.kind = METRIC_HISTOGRAM,
		.unit = METRIC_MICROSECONDS,
		.rows = rows,
		.bounds = metric_short_times,
		.n_bounds = ARRAY_LEN(metric_short_times),
	};
	const struct metric_spec delays = {
		.name = "glint_notifications_delay_seconds",
		.help = "Time from an event to its safe delivery.",
		.kind = METRIC_HISTOGRAM,
		.unit = METRIC_MICROSECONDS,
		.rows = rows,
		.bounds = metric_long_times,
		.n_bounds = ARRAY_LEN(metric_long_times),
	};
	int r = metrics_register(m, &publish, &c->publish_times, err);

	return r < 0 ? r : metrics_register(m, &delays, &c->delays, err);
}

static int register_drivers(struct counters *c, struct metrics *m, struct metric_axis rows, struct err *err)
{
	int r = register_counts(c, m, rows, err);

	if (r == 0)
		r = register_waiting(c, m, rows, err);
	return r < 0 ? r : register_times(c, m, rows, err);
}

static void free_labels_p(const char ***labels)
{
	free((void *)*labels);
}

int counters_init(struct counters *ret, struct metrics *m, struct db *db, struct relay *const *relays,
		  const char *const *names, size_t n, struct err *err)
{
	AUTO(free_labels_p) const char **labels = calloc(n + 1, sizeof(*labels));
	int r;

	if (!labels)
		return err_nomem(err);
	ret->db = db;
	ret->relays = relays;
	for (size_t i = 0; i < n; i++)
		labels[i] = metrics_labels(m, NULL, "driver", names[i]);
	r = register_events(ret, m, err);
	if (r == 0)
		r = register_journal(ret, m, err);
	if (r == 0 && n > 0)
		r = register_drivers(ret, m, (struct metric_axis){labels, n}, err);
	return r;
}

/* -- counting -------------------------------------------------------------------------------------- */

void count_event_in(const struct counters *c, struct db_tx *tx, enum event_type t,
		    enum event_priority priority)
{
	db_count(tx, c->events, (size_t)t * N_PRIORITIES + (size_t)priority);
}

/* SPDX-License-Identifier: Apache-2.0
 * base/metrics.h -- numbers about the running process, and their text for Prometheus (format 0.0.4).
 *
 * A metric is one name with a table of series: rows, and for counters also columns, each with its labels.
 * All series there can be are known when the metric is registered, so no request ever adds one. Whoever
 * counts needs no lock and shares no cache line with other cores. Where there is no struct metrics there
 * are no metrics either, and counting in a metric that is NULL does nothing: a part need not ask. */
#pragma once

#include "util.h"

struct buf;
struct err;
struct metric;
struct metrics;

enum metric_kind {
	METRIC_COUNTER,   /* only grows; metric_add() */
	METRIC_GAUGE,     /* asked for when it is rendered */
	METRIC_HISTOGRAM, /* how many were how large; metric_observe() */
};

enum metric_unit {
	METRIC_ONES,
	METRIC_MICROSECONDS, /* rendered as seconds */
};

/* The labels along one side of the table: a text of metrics_labels() each. */
struct metric_axis {
	const char *const *labels;
	size_t n; /* 0: no labels on this side */
};

/* The value of row @row now; false: it cannot be told, and is left out. May block. */
typedef bool metric_read_fn(void *cls, size_t row, int64_t *ret);

struct metric_spec {
	const char *name, *help; /* help: one line */
	enum metric_kind kind;
	enum metric_unit unit;
	struct metric_axis rows, columns; /* columns: COUNTER */
	bool sparse;                      /* leave out what is still 0; not for a GAUGE */
	const int64_t *bounds;            /* HISTOGRAM: upper bounds (inclusive), growing; +Inf is added */
	size_t n_bounds;
	metric_read_fn *read;             /* GAUGE */
	void *cls;
};

/* Upper bounds in microseconds: of what takes milliseconds, of requests with and without large bodies,
 * and of what may take hours. */
extern const int64_t metric_short_times[14], metric_request_times[14], metric_long_times[14];

int metrics_new(struct metrics **ret, struct err *err);
void metrics_free(struct metrics *m);
void metrics_free_p(struct metrics **m);

/* `name="value"`, in the memory of @m; @more (NULL: none) is put in front. NULL without memory, or if
 * @m is NULL. */
const char *metrics_labels(struct metrics *m, const char *more, const char *name, const char *value);

/* Before the first rendering, by one thread. Everything in @spec is copied (of texts: the pointers), so
 * name, help and bounds must be constants and labels come from metrics_labels(); a label that is NULL is
 * ERR_NO_MEMORY. With a NULL @m: 0, and *ret is NULL. @ret may be NULL for a GAUGE. */
int metrics_register(struct metrics *m, const struct metric_spec *spec, struct metric **ret, struct err *err);

/* Any thread, any number at a time. The series is row * columns + column; 0 where there are no labels. */
void metric_add(struct metric *metric, size_t series, uint64_t n);
void metric_observe(struct metric *metric, size_t row, int64_t value); /* below 0 counts as 0 */

/* Everything, in the order of registration; any thread. Calls the read functions of gauges: what they
 * read has to be there still. */
void metrics_render(const struct metrics *m, struct buf *out);

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

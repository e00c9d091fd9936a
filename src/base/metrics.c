/* SPDX-License-Identifier: Apache-2.0
 * base/metrics.c -- counting without waiting for each other.
 *
 * (1) The cells of a metric exist once a shard, and a thread adds in the shard of the core it runs on. A
 *     shard fills whole cache lines, so cores do not take lines from each other. Should a thread be moved
 *     between asking for its core and adding, two add in one shard: the additions are atomic, it is only
 *     slower.
 * (2) What is rendered is the sum over the shards. Nothing is ever reset, so a series never goes back.
 * (3) The count of a histogram is the sum of its buckets as they were read, so the two always agree. */
#include "metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "buf.h"
#include "err.h"

#define LINE_BYTES ((size_t)64)
#define MAX_SHARDS 64

struct metric {
	struct metric *next;
	struct metric_spec spec;
	const char **labels; /* owned: those of the rows, then those of the columns */
	size_t n_series;
	size_t n_cells;          /* a series: 1; of a histogram one a bucket, then the sum */
	size_t stride;           /* from one shard to the next */
	size_t n_shards;         /* a power of two */
	_Atomic uint64_t *cells; /* NULL for a gauge */
};

struct metrics {
	struct arena arena; /* label texts */
	size_t n_shards;
	struct metric *first, **last;
};

const int64_t metric_short_times[14] = {100,   250,   500,    1000,   2500,   5000,    10000,
					25000, 50000, 100000, 250000, 500000, 1000000, 5000000};
const int64_t metric_request_times[14] = {250,    500,    1000,    2500,    5000,     10000,     50000,
					  100000, 500000, 1000000, 5000000, 30000000, 120000000, 600000000};
const int64_t metric_long_times[14] = {1000,     5000,      10000,      50000,     100000,
				       500000,   1000000,   2500000,    5000000,   10000000,
				       60000000, 300000000, 1800000000, 7200000000};

/* -- building -------------------------------------------------------------------------------------- */

/* One a core, as a power of two. */
static size_t count_shards(void)
{
	long cores = sysconf(_SC_NPROCESSORS_CONF);
	size_t n = 1;

	while (n < MAX_SHARDS && (long)n < cores)
		n *= 2;
	return n;
}

int metrics_new(struct metrics **ret, struct err *err)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (!m)
		return err_nomem(err);
	m->n_shards = count_shards();
	m->last = &m->first;
	*ret = m;
	return 0;
}

static void metric_free(struct metric *metric)
{
	if (!metric)
		return;
	free(metric->cells);
	free(metric->labels);
	free(metric);
}

static void metric_free_p(struct metric **metric)
{
	metric_free(*metric);
}

void metrics_free(struct metrics *m)
{
	struct metric *metric;

	if (!m)
		return;
	while ((metric = m->first)) {
		m->first = metric->next;
		metric_free(metric);
	}
	arena_done(&m->arena);
	free(m);
}

void metrics_free_p(struct metrics **m)
{
	metrics_free(*m);
}

static bool is_name(const char *s)
{
	return *s && !s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")] && (*s < '0' || *s > '9');
}

static void add_escaped(struct buf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			buf_adds(out, "\\n");
		else if (*s == '"' || *s == '\\')
			buf_addf(out, "\\%c", *s);
		else
			buf_addc(out, *s);
	}
}

const char *metrics_labels(struct metrics *m, const char *more, const char *name, const char *value)
{
	AUTO(buf_done) struct buf b = {0};

	if (!m)
		return NULL;
	assert(is_name(name));
	if (more)
		buf_addf(&b, "%s,", more);
	buf_addf(&b, "%s=\"", name);
	add_escaped(&b, value);
	buf_addc(&b, '"');
	return b.failed ? NULL : arena_strdup(&m->arena, buf_cstr(&b));
}

static void check_spec(const struct metric_spec *spec)
{
	assert(is_name(spec->name) && !strpbrk(spec->help, "\\\n"));
	assert((spec->kind == METRIC_GAUGE) == (spec->read != NULL));
	assert((spec->kind == METRIC_HISTOGRAM) == (spec->n_bounds > 0));
	assert(spec->kind == METRIC_COUNTER || spec->columns.n == 0);
	assert(spec->kind != METRIC_GAUGE || !spec->sparse);
	for (size_t i = 1; i < spec->n_bounds; i++)
		assert(spec->bounds[i - 1] < spec->bounds[i]);
}

/* False if there is no memory, now or when a label was made. */
static bool copy_labels(struct metric *metric, const struct metric_spec *spec)
{
	size_t n_rows = spec->rows.n, n = n_rows + spec->columns.n;

	metric->labels = calloc(n ? n : 1, sizeof(*metric->labels));
	if (!metric->labels)
		return false;
	for (size_t i = 0; i < n; i++) {
		metric->labels[i] = i < n_rows ? spec->rows.labels[i] : spec->columns.labels[i - n_rows];
		if (!metric->labels[i])
			return false;
	}
	metric->spec.rows.labels = metric->labels;
	metric->spec.columns.labels = metric->labels + n_rows;
	return true;
}

static bool make_cells(struct metric *metric, size_t n_shards)
{
	size_t n = metric->n_series * metric->n_cells, a_line = LINE_BYTES / sizeof(*metric->cells);

	metric->n_shards = n_shards;
	metric->stride = (n + a_line - 1) / a_line * a_line;
	metric->cells = aligned_alloc(LINE_BYTES, n_shards * metric->stride * sizeof(*metric->cells));
	if (!metric->cells)
		return false;
	for (size_t i = 0; i < n_shards * metric->stride; i++)
		atomic_init(&metric->cells[i], 0);
	return true;
}

static size_t at_least_one(size_t n)
{
	return n ? n : 1;
}

int metrics_register(struct metrics *m, const struct metric_spec *spec, struct metric **ret, struct err *err)
{
	AUTO(metric_free_p) struct metric *metric = NULL;

	if (!m) {
		if (ret)
			*ret = NULL;
		return 0;
	}
	check_spec(spec);
	metric = calloc(1, sizeof(*metric));
	if (!metric)
		return err_nomem(err);
	metric->spec = *spec;
	metric->n_series = at_least_one(spec->rows.n) * at_least_one(spec->columns.n);
	metric->n_cells = spec->kind == METRIC_HISTOGRAM ? spec->n_bounds + 2 : 1;
	if (!copy_labels(metric, spec) || (spec->kind != METRIC_GAUGE && !make_cells(metric, m->n_shards)))
		return err_nomem(err);
	if (ret)
		*ret = metric;
	*m->last = metric;
	m->last = &metric->next;
	metric = NULL; /* the list has it */
	return 0;
}

/* -- counting -------------------------------------------------------------------------------------- */

/* Those of @series in the shard of this core. A core that is not known gets some shard, too. */
static _Atomic uint64_t *cells_here(const struct metric *metric, size_t series)
{
	size_t shard = (unsigned)sched_getcpu() & (metric->n_shards - 1);

	assert(series < metric->n_series);
	return metric->cells + shard * metric->stride + series * metric->n_cells;
}

static void add(_Atomic uint64_t *cell, uint64_t n)
{
	(void)atomic_fetch_add_explicit(cell, n, memory_order_relaxed);
}

void metric_add(struct metric *metric, size_t series, uint64_t n)
{
	if (!metric)
		return;
	assert(metric->spec.kind == METRIC_COUNTER);
	add(cells_here(metric, series), n);
}

void metric_observe(struct metric *metric, size_t row, int64_t value)
{
	_Atomic uint64_t *cells;
	size_t bucket = 0;

	if (!metric)
		return;
	assert(metric->spec.kind == METRIC_HISTOGRAM);
	if (value < 0)
		value = 0;
	while (bucket < metric->spec.n_bounds && value > metric->spec.bounds[bucket])
		bucket++;
	cells = cells_here(metric, row);
	add(&cells[bucket], 1);
	add(&cells[metric->spec.n_bounds + 1], (uint64_t)value);
}

/* -- rendering ------------------------------------------------------------------------------------- */

static uint64_t total(const struct metric *metric, size_t cell)
{
	uint64_t sum = 0;

	for (size_t shard = 0; shard < metric->n_shards; shard++)
		sum += atomic_load_explicit(&metric->cells[shard * metric->stride + cell],
					    memory_order_relaxed);
	return sum;
}

/* Exact, and without the zeros at the end: Prometheus reads doubles, people read this. */
static void add_value(struct buf *out, enum metric_unit unit, uint64_t value)
{
	uint64_t fraction = unit == METRIC_MICROSECONDS ? value % 1000000 : 0;
	int n_digits = 6;

	buf_addf(out, "%" PRIu64, unit == METRIC_MICROSECONDS ? value / 1000000 : value);
	if (!fraction)
		return;
	for (; fraction % 10 == 0; fraction /= 10)
		n_digits--;
	buf_addf(out, ".%0*" PRIu64, n_digits, fraction);
}

/* "name_suffix{labels" with the labels of the series; what is added before the end is the caller's. */
static void begin_sample(struct buf *out, const struct metric *metric, const char *suffix, size_t series,
			 const char *last_label)
{
	const struct metric_axis *rows = &metric->spec.rows, *columns = &metric->spec.columns;
	const char *texts[] = {rows->n ? rows->labels[series / at_least_one(columns->n)] : NULL,
			       columns->n ? columns->labels[series % columns->n] : NULL, last_label};
	bool any = false;

	buf_adds(out, metric->spec.name);
	buf_adds(out, suffix);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (!texts[i])
			continue;
		buf_addc(out, any ? ',' : '{');
		buf_adds(out, texts[i]);
		any = true;
	}
	if (any && !last_label)
		buf_addc(out, '}');
}

static void add_sample(struct buf *out, const struct metric *metric, const char *suffix, size_t series,
		       enum metric_unit unit, uint64_t value)
{
	begin_sample(out, metric, suffix, series, NULL);
	buf_addc(out, ' ');
	add_value(out, unit, value);
	buf_addc(out, '\n');
}

static void add_bucket(struct buf *out, const struct metric *metric, size_t row, size_t bucket, uint64_t n)
{
	begin_sample(out, metric, "_bucket", row, "le=\"");
	if (bucket < metric->spec.n_bounds)
		add_value(out, metric->spec.unit, (uint64_t)metric->spec.bounds[bucket]);
	else
		buf_adds(out, "+Inf");
	buf_addf(out, "\"} %" PRIu64 "\n", n);
}

static uint64_t count_observations(const struct metric *metric, size_t row)
{
	uint64_t n = 0;

	for (size_t i = 0; i <= metric->spec.n_bounds; i++)
		n += total(metric, row * metric->n_cells + i);
	return n;
}

static void render_histogram(struct buf *out, const struct metric *metric, size_t row)
{
	size_t first = row * metric->n_cells;
	uint64_t n = 0;

	if (metric->spec.sparse && !count_observations(metric, row))
		return;
	for (size_t i = 0; i <= metric->spec.n_bounds; i++) {
		n += total(metric, first + i);
		add_bucket(out, metric, row, i, n);
	}
	add_sample(out, metric, "_sum", row, metric->spec.unit,
		   total(metric, first + metric->spec.n_bounds + 1));
	add_sample(out, metric, "_count", row, METRIC_ONES, n);
}

static void render_counter(struct buf *out, const struct metric *metric, size_t series)
{
	uint64_t n = total(metric, series);

	if (n || !metric->spec.sparse)
		add_sample(out, metric, "", series, metric->spec.unit, n);
}

static void render_gauge(struct buf *out, const struct metric *metric, size_t row)
{
	int64_t value;

	if (metric->spec.read(metric->spec.cls, row, &value))
		add_sample(out, metric, "", row, metric->spec.unit, value > 0 ? (uint64_t)value : 0);
}

static void render(struct buf *out, const struct metric *metric)
{
	static void (*const renderers[])(struct buf *, const struct metric *, size_t) = {
		[METRIC_COUNTER] = render_counter,
		[METRIC_GAUGE] = render_gauge,
		[METRIC_HISTOGRAM] = render_histogram,
	};
	static const char *const types[] = {"counter", "gauge", "histogram"};
	const struct metric_spec *spec = &metric->spec;

	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", spec->name, spec->help, spec->name, types[spec->kind]);
	for (size_t i = 0; i < metric->n_series; i++)
		renderers[spec->kind](out, metric, i);
}

void metrics_render(const struct metrics *m, struct buf *out)
{
	for (const struct metric *metric = m->first; metric; metric = metric->next)
		render(out, metric);
}

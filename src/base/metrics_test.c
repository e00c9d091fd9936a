/* SPDX-License-Identifier: Apache-2.0
 * base/metrics_test.c -- what is counted is what is rendered; from within, so that memory can run out. */
#include "metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int n_allocations_left = -1; /* negative: as many as you like */

static bool may_allocate(void)
{
	if (n_allocations_left < 0)
		return true;
	return n_allocations_left-- > 0 || (n_allocations_left = 0);
}

static void *calloc_or_fail(size_t n, size_t size)
{
	return may_allocate() ? calloc(n, size) : NULL;
}

static void *aligned_or_fail(size_t alignment, size_t size)
{
	return may_allocate() ? aligned_alloc(alignment, size) : NULL;
}

#define calloc calloc_or_fail
#define aligned_alloc aligned_or_fail
#include "metrics.c"
#undef calloc
#undef aligned_alloc

static struct metrics *new_metrics(void)
{
	struct metrics *m = NULL;

	assert_int_equal(metrics_new(&m, NULL), 0);
	return m;
}

static struct metric *new_metric(struct metrics *m, struct metric_spec spec)
{
	struct metric *metric = NULL;

	assert_int_equal(metrics_register(m, &spec, &metric, NULL), 0);
	return metric;
}

static void expect_text(const struct metrics *m, const char *expected)
{
	AUTO(buf_done) struct buf out = {0};

	metrics_render(m, &out);
	assert_false(out.failed);
	assert_string_equal(buf_cstr(&out), expected);
}

static void test_nothing(void **state)
{
	AUTO(metrics_free_p) struct metrics *m = new_metrics();

	expect_text(m, "");
	metrics_free(NULL);
}

static void test_counter_without_labels(void **state)
{
	AUTO(metrics_free_p) struct metrics *m = new_metrics();
	struct metric *c = new_metric(m, (struct metric_spec){.name = "c_total", .help = "All of them."});

	expect_text(m, "# HELP c_total All of them.\n# TYPE c_total counter\nc_total 0\n");
	metric_add(c, 0, 1);
	metric_add(c, 0, UINT64_C(10000000000));
	expect_text(m, "# HELP c_total All of them.\n# TYPE c_total counter\nc_total 10000000001\n");
}

static void test_rows_and_columns(void **state)
{
	AUTO(metrics_free_p) struct metrics *m = new_metrics();
	const char *rows[] = {metrics_labels(m, metrics_labels(m, NULL, "a", "1"), "b", "{x}"),
			      metrics_labels(m, NULL, "a", "2")};
	const char *columns[] = {metrics_labels(m, NULL, "c", "u"), metrics_labels(m, NULL, "c", "v"),
				 metrics_labels(m, NULL, "c", "w")};
	struct metric_spec spec = {.name = "t", .help = "T.", .rows = {rows, 2}, .columns = {columns, 3}};
	struct metric *c = new_metric(m, spec);

	metric_add(c, 0 * 3 + 2, 7);
	metric_add(c, 1 * 3 + 0, 8);
	expect_text(m, "# HELP t T.\n# TYPE t counter\n"
		       "t{a=\"1\",b=\"{x}\",c=\"u\"} 0\n"
		       "t{a=\"1\",b=\"{x}\",c=\"v\"} 0\n"
		       "t{a=\"1\",b=\"{x}\",c=\"w\"} 7\n"
		       "t{a=\"2\",c=\"u\"} 8\n"
		       "t{a=\"2\",c=\"v\"} 0\n"
		       "t{a=\"2\",c=\"w\"} 0\n");
}

static void test_sparse(void **state)
{
	static const int64_t bounds[] = {1};
	AUTO(metrics_free_p) struct metrics *m = new_metrics();
	const char *rows[] = {metrics_labels(m, NULL, "a", "1"), metrics_labels(m, NULL, "a", "2")};
	struct metric *c = new_metric(
		m, (struct metric_spec){.name = "c", .help = "C.", .rows = {rows, 2}, .sparse = true});
	struct metric *h = new_metric(m, (struct metric_spec){.name = "h",
							      .help = "H.",
							      .kind = METRIC_HISTOGRAM,
							      .rows = {rows, 2},
							      .sparse = true,
							      .bounds = bounds,
							      .n_bounds = 1});

	expect_text(m, "# HELP c C.\n# TYPE c counter\n# HELP h H.\n# TYPE h histogram\n");
	metric_add(c, 1, 1);
	metric_observe(h, 0, 0); /* its sum is 0, but it is not nothing */
	expect_text(m, "# HELP c C.\n# TYPE c counter\nc{a=\"2\"} 1\n# HELP h H.\n# TYPE h histogram\n"
		       "h_bucket{a=\"1\",le=\"1\"} 1\nh_bucket{a=\"1\",le=\"+Inf\"} 1\n"
		       "h_sum{a=\"1\"} 0\nh_count{a=\"1\"} 1\n");
}

static void test_escaping(void **state)
{
	AUTO(metrics_free_p) struct metrics *m = new_metrics();

	assert_string_equal(metrics_labels(m, NULL, "a", "q\"b\\n\nz\xc3\xa9"),
			    "a=\"q\\\"b\\\\n\\nz\xc3\xa9\"");
	assert_string_equal(metrics_labels(m, "x=\"1\"", "a", ""), "x=\"1\",a=\"\"");
}

static void test_histogram_edges(void **state)
{
	static const int64_t bounds[] = {0, 10, 1000};
	AUTO(metrics_free_p) struct metrics *m = new_metrics();
	struct metric *h = new_metric(m, (struct metric_spec){.name = "h",
							      .help = "H.",
							      .kind = METRIC_HISTOGRAM,
							      .bounds = bounds,
							      .n_bounds = ARRAY_LEN(bounds)});

	metric_observe(h, 0, -5); /* a clock went back: as 0 */
	metric_observe(h, 0, 0);
	metric_observe(h, 0, 1);
	metric_observe(h, 0, 10); /* bounds are inclusive */
	metric_observe(h, 0, 11);
	metric_observe(h, 0, 1000);
	metric_observe(h, 0, 1001);
	metric_observe(h, 0, INT64_MAX);
	expect_text(m, "# HELP h H.\n# TYPE h histogram\n"
		       "h_bucket{le=\"0\"} 2\nh_bucket{le=\"10\"} 4\nh_bucket{le=\"1000\"} 6\n"
		       "h_bucket{le=\"+Inf\"} 8\nh_sum 9223372036854777830\nh_count 8\n");
}

static void test_seconds(void **state)
{
	static const int64_t bounds[] = {1, 250, 1000000, 2500000, 7200000000};
	AUTO(metrics_free_p) struct metrics *m = new_metrics();
	struct metric *h = new_metric(m, (struct metric_spec){.name = "h_seconds",
							      .help = "H.",
							      .kind = METRIC_HISTOGRAM,
							      .unit = METRIC_MICROSECONDS,
							      .bounds = bounds,
							      .n_bounds = ARRAY_LEN(bounds)});

	metric_observe(h, 0, 1200010);
	metric_observe(h, 0, 60000000);
	expect_text(m, "# HELP h_seconds H.\n# TYPE h_seconds histogram\n"
		       "h_seconds_bucket{le=\"0.000001\"} 0\nh_seconds_bucket{le=\"0.00025\"} 0\n"
		       "h_seconds_bucket{le=\"1\"} 0\nh_seconds_bucket{le=\"2.5\"} 1\n"
		       "h_seconds_bucket{le=\"7200\"} 2\nh_seconds_bucket{le=\"+Inf\"} 2\n"
		       "h_seconds_sum 61.20001\nh_seconds_count 2\n");
}

static bool read_row(void *cls, size_t row, int64_t *ret)
{
	const int64_t *values = cls;

	*ret = values[row];
	return values[row] != 13;
}

static void test_gauge(void **state)
{
	int64_t values[] = {42, 13, -1};
	AUTO(metrics_free_p) struct metrics *m = new_metrics();
	const char *rows[] = {metrics_labels(m, NULL, "a", "1"), metrics_labels(m, NULL, "a", "2"),
			      metrics_labels(m, NULL, "a", "3")};
	struct metric_spec spec = {
		.name = "g", .help = "G.", .kind = METRIC_GAUGE, .read = read_row, .cls = values};

	spec.rows = (struct metric_axis){rows, 3};
	assert_int_equal(metrics_register(m, &spec, NULL, NULL), 0);
	expect_text(m, "# HELP g G.\n# TYPE g gauge\ng{a=\"1\"} 42\ng{a=\"3\"} 0\n"); /* 13: not known */
	values[0] = 41;
	spec = (struct metric_spec){.name = "g_seconds", .help = "S.", .kind = METRIC_GAUGE};
	spec.unit = METRIC_MICROSECONDS;
	spec.read = read_row;
	spec.cls = values;
	assert_int_equal(metrics_register(m, &spec, NULL, NULL), 0);
	expect_text(m, "# HELP g G.\n# TYPE g gauge\ng{a=\"1\"} 41\ng{a=\"3\"} 0\n"
		       "# HELP g_seconds S.\n# TYPE g_seconds gauge\ng_seconds 0.000041\n");
}

static void test_without_metrics(void **state)
{
	struct metric *metric = (struct metric *)state; /* to be overwritten */
	struct metric_spec spec = {.name = "c", .help = "C."};

	assert_null(metrics_labels(NULL, NULL, "a", "1"));
	assert_int_equal(metrics_register(NULL, &spec, &metric, NULL), 0);
	assert_null(metric);
	assert_int_equal(metrics_register(NULL, &spec, NULL, NULL), 0);
	metric_add(metric, 0, 1);
	metric_observe(metric, 0, 1);
}

static void test_series_of_cores_share_no_line(void **state)
{
	AUTO(metrics_free_p) struct metrics *m = new_metrics();
	struct metric *c = new_metric(m, (struct metric_spec){.name = "c", .help = "C."});

	assert_int_equal((uintptr_t)c->cells % LINE_BYTES, 0);
	assert_true(c->stride * sizeof(*c->cells) % LINE_BYTES == 0 && c->stride > 0);
	assert_int_equal(c->n_shards & (c->n_shards - 1), 0);
}

/* -- many at once ---------------------------------------------------------------------------------- */

#define N_THREADS 4
#define N_TIMES 20000

struct crowd {
	struct metrics *m;
	struct metric *counter, *histogram;
	atomic_uint n_running;
};

static void *count_much(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < N_TIMES; i++) {
		metric_add(crowd->counter, (size_t)i % 2, 2);
		metric_observe(crowd->histogram, 0, i % 3);
	}
	atomic_fetch_sub(&crowd->n_running, 1);
	return NULL;
}

static uint64_t number_after(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	assert_non_null(at);
	return strtoull(at + strlen(name), NULL, 10);
}

/* While they count: nothing goes back, and a histogram agrees with itself. */
static void look_on(struct crowd *crowd)
{
	uint64_t before = 0, n = 0;

	while (atomic_load(&crowd->n_running) > 0) {
		AUTO(buf_done) struct buf out = {0};

		metrics_render(crowd->m, &out);
		n = number_after(buf_cstr(&out), "\nc{a=\"1\"} ");
		assert_true(n >= before && n % 2 == 0);
		before = n;
		assert_int_equal(number_after(buf_cstr(&out), "h_bucket{le=\"+Inf\"} "),
				 number_after(buf_cstr(&out), "\nh_count "));
	}
}

static void test_many_threads(void **state)
{
	static const int64_t bounds[] = {0, 1};
	AUTO(metrics_free_p) struct metrics *m = new_metrics();
	const char *rows[] = {metrics_labels(m, NULL, "a", "1"), metrics_labels(m, NULL, "a", "2")};
	struct crowd crowd = {.m = m, .n_running = N_THREADS};
	pthread_t threads[N_THREADS];
	char expected[512];

	crowd.counter = new_metric(m, (struct metric_spec){.name = "c", .help = "C.", .rows = {rows, 2}});
	crowd.histogram = new_metric(m, (struct metric_spec){.name = "h",
							     .help = "H.",
							     .kind = METRIC_HISTOGRAM,
							     .bounds = bounds,
							     .n_bounds = ARRAY_LEN(bounds)});
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_much, &crowd), 0);
	look_on(&crowd);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	(void)snprintf(expected, sizeof(expected),
		       "# HELP c C.\n# TYPE c counter\nc{a=\"1\"} %d\nc{a=\"2\"} %d\n"
		       "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"0\"} %d\nh_bucket{le=\"1\"} %d\n"
		       "h_bucket{le=\"+Inf\"} %d\nh_sum %d\nh_count %d\n",
		       N_THREADS * N_TIMES, N_THREADS * N_TIMES, N_THREADS * 6667, N_THREADS * 13334,
		       N_THREADS * N_TIMES, N_THREADS * (6667 + 2 * 6666), N_THREADS * N_TIMES);
	expect_text(m, expected);
}

/* -- memory runs out ------------------------------------------------------------------------------- */

static int build(void)
{
	static const int64_t bounds[] = {1, 2};
	AUTO(metrics_free_p) struct metrics *m = NULL;
	struct err err = {0};
	const char *rows[1];
	struct metric_spec spec = {.name = "h", .help = "H.", .kind = METRIC_HISTOGRAM, .bounds = bounds};
	struct metric *h;
	int r = metrics_new(&m, &err);

	if (r == 0) {
		rows[0] = metrics_labels(m, NULL, "a", "1");
		spec.rows = (struct metric_axis){rows, 1};
		spec.n_bounds = ARRAY_LEN(bounds);
		r = metrics_register(m, &spec, &h, &err);
	}
	assert_int_equal(r, err.code);
	return r;
}

static void test_no_memory(void **state)
{
	const char *missing[] = {NULL};
	struct metric_spec spec = {.name = "c", .help = "C.", .rows = {missing, 1}};
	AUTO(metrics_free_p) struct metrics *m = new_metrics();
	int n = 0;

	for (n_allocations_left = n; build() < 0; n_allocations_left = ++n)
		assert_true(n < 10);
	assert_true(n >= 4);
	n_allocations_left = -1;
	assert_int_equal(metrics_register(m, &spec, NULL, NULL), ERR_NO_MEMORY);
	expect_text(m, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),          cmocka_unit_test(test_counter_without_labels),
		cmocka_unit_test(test_rows_and_columns), cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_escaping),         cmocka_unit_test(test_histogram_edges),
		cmocka_unit_test(test_seconds),          cmocka_unit_test(test_gauge),
		cmocka_unit_test(test_without_metrics),  cmocka_unit_test(test_series_of_cores_share_no_line),
		cmocka_unit_test(test_many_threads),     cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * http/count.c -- what the server tells GET /metrics.
 *
 * The labels are bounded by the table of routes and by the statuses we know: whatever matches no route,
 * whatever is not even a request, is in one row of its own. An answer is counted before its first octet
 * goes out, so who has read it finds it counted; its time when the last one has gone. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/metrics.h"

#define MAX_STATUSES 64

static size_t count_routes(const struct http_route *routes)
{
	size_t n = 0;

	while (routes[n].method)
		n++;
	return n;
}

static const char *route_labels(struct metrics *m, const char *method, const char *path)
{
	return metrics_labels(m, metrics_labels(m, NULL, "method", method), "route", path);
}

static void free_labels_p(const char ***labels)
{
	free((void *)*labels);
}

/* The columns: each status that has a title, then all others. */
static size_t make_status_labels(struct http_counters *c, struct metrics *m, const char *labels[MAX_STATUSES])
{
	char text[16];
	size_t n = 0;

	for (int status = 100; status < 600 && n < MAX_STATUSES - 1; status++) {
		if (!http_status_is_known(status))
			continue;
		(void)snprintf(text, sizeof(text), "%d", status);
		labels[n++] = metrics_labels(m, NULL, "status", text);
		c->columns[status] = (unsigned char)n; /* 0: no column of its own */
	}
	labels[n++] = metrics_labels(m, NULL, "status", "other");
	return n;
}

static int register_requests(struct http_counters *c, struct metrics *m, struct metric_axis routes,
			     struct err *err)
{
	const char *statuses[MAX_STATUSES];
	size_t n_statuses = make_status_labels(c, m, statuses);
	const struct metric_spec requests = {
		.name = "glint_http_requests_total",
		.help = "Answers by route and status.",
		.rows = routes,
		.columns = {statuses, n_statuses},
		.sparse = true,
	};
	const struct metric_spec times = {
		.name = "glint_http_request_seconds",
		.help = "Time from the end of a request's headers to the last octet of its answer, by route.",
		.kind = METRIC_HISTOGRAM,
		.unit = METRIC_MICROSECONDS,
		.rows = routes,
		.sparse = true,
		.bounds = metric_request_times,
		.n_bounds = ARRAY_LEN(metric_request_times),
	};
	int r = metrics_register(m, &requests, &c->requests, err);

	c->n_columns = n_statuses;
	return r < 0 ? r : metrics_register(m, &times, &c->times, err);
}

static bool read_connections(void *cls, size_t row, int64_t *ret)
{
	struct http_server *s = cls;

	*ret = atomic_load(&s->n_connections);
	return true;
}

static bool read_waiting(void *cls, size_t row, int64_t *ret)
{
	struct http_server *s = cls;

	*ret = crowd_waiting(&s->crowd);
	return true;
}

static int register_traffic(struct http_server *s, struct metrics *m, struct err *err)
{
	const struct metric_spec received = {.name = "glint_http_received_bytes_total",
					     .help = "Octets that clients sent, headers included."};
	const struct metric_spec sent = {.name = "glint_http_sent_bytes_total",
					 .help = "Octets that were sent to clients, headers included."};
	const struct metric_spec connections = {.name = "glint_http_connections",
						.help = "Open connections.",
						.kind = METRIC_GAUGE,
						.read = read_connections,
						.cls = s};
	const struct metric_spec waiting = {.name = "glint_uploads_waiting",
					    .help = "Uploads that wait because max_uploads run.",
					    .kind = METRIC_GAUGE,
					    .read = read_waiting,
					    .cls = s};
	int r = metrics_register(m, &received, &s->counters.received, err);

	if (r == 0)
		r = metrics_register(m, &sent, &s->counters.sent, err);
	if (r == 0)
		r = metrics_register(m, &connections, NULL, err);
	return r < 0 ? r : metrics_register(m, &waiting, NULL, err);
}

int http_counters_init(struct http_server *s, struct err *err)
{
	const struct http_route *routes = s->config.routes;
	struct metrics *m = s->config.metrics;
	size_t n = count_routes(routes);
	AUTO(free_labels_p) const char **labels = NULL;
	int r;

	if (!m)
		return 0;
	labels = calloc(n + 1, sizeof(*labels));
	if (!labels)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++)
		labels[i] = route_labels(m, routes[i].method, routes[i].path);
	labels[n] = route_labels(m, "other", "other");
	s->counters.n_routes = n;
	r = register_requests(&s->counters, m, (struct metric_axis){labels, n + 1}, err);
	return r < 0 ? r : register_traffic(s, m, err);
}

/* -- counting -------------------------------------------------------------------------------------- */

static size_t row_of(const struct http_request *req)
{
	const struct http_server *s = req->server;

	return req->match.route ? (size_t)(req->match.route - s->config.routes) : s->counters.n_routes;
}

static size_t column_of(const struct http_counters *c, int status)
{
	unsigned own = status >= 0 && (size_t)status < ARRAY_LEN(c->columns) ? c->columns[status] : 0;

	return own ? own - 1 : c->n_columns - 1;
}

void count_answer(const struct http_request *req, int status)
{
	const struct http_counters *c = &req->server->counters;

	if (c->requests)
		metric_add(c->requests, row_of(req) * c->n_columns + column_of(c, status), 1);
}

void count_end(const struct http_request *req)
{
	const struct http_counters *c = &req->server->counters;

	if (c->times && req->answered && req->begun_us)
		metric_observe(c->times, row_of(req), clock_mono_us() - req->begun_us);
}

void count_received(const struct http_server *s, size_t n)
{
	metric_add(s->counters.received, 0, n);
}

void count_sent(const struct http_server *s, size_t n)
{
	metric_add(s->counters.sent, 0, n);
}

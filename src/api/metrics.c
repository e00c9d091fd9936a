/* SPDX-License-Identifier: Apache-2.0
 * api/metrics.c -- GET /metrics, for Prometheus.
 *
 * What it tells is nobody's business outside. Beside the API it answers only who connects from this very
 * machine; a proxy here, which brings in the whole world, gives itself away by its headers. With a listener
 * of its own, whoever reaches that one may read it, and here there is nothing at this path. */
#include <arpa/inet.h>

#include "api/internal.h"
#include "base/metrics.h"

static bool is_loopback(const char *address)
{
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET, address, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
	return inet_pton(AF_INET6, address, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool is_forwarded(const struct http_request *req)
{
	static const char *const headers[] = {"X-Forwarded-For",  "Forwarded", "X-Real-IP",
					      "X-Forwarded-Host", "Via",       "X-Forwarded-Proto"};

	for (size_t i = 0; i < ARRAY_LEN(headers); i++)
		if (http_header_count(req, headers[i]) > 0)
			return true;
	return false;
}

static void reply_metrics(const struct metrics *m, struct http_request *req)
{
	AUTO(buf_done) struct buf body = {0};

	metrics_render(m, &body);
	http_reply(req, 200, METRICS_CONTENT_TYPE, &body);
}

void metrics_show(void *cls, struct http_request *req)
{
	const struct api *api = cls;

	if (!api->config.metrics || !is_loopback(http_peer(req)) || is_forwarded(req))
		http_reply_error(req, 404, "There is nothing at this path.");
	else
		reply_metrics(api->config.metrics, req);
}

static void metrics_show_all(void *cls, struct http_request *req)
{
	reply_metrics(cls, req);
}

const struct http_route metrics_routes[] = {
	{"GET", "/metrics", HTTP_WORKER, metrics_show_all},
	{0},
};

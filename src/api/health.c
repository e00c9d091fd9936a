/* SPDX-License-Identifier: Apache-2.0
 * api/health.c -- /healthcheck for load balancers, as oslo.middleware answers it: OK, or 503 while
 * the operator has put the file of disable_by_file_path in place. */
#include <unistd.h>

#include "api/internal.h"

void health_check(void *cls, struct http_request *req)
{
	AUTO(buf_done) struct buf body = {0};
	const struct api *api = cls;
	const char *file = api->config.healthcheck_disable_file;
	bool disabled = file && access(file, F_OK) == 0;

	buf_adds(&body, disabled ? "DISABLED BY FILE" : "OK");
	http_reply(req, disabled ? 503 : 200, "text/plain; charset=UTF-8", &body);
}

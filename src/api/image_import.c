/* SPDX-License-Identifier: Apache-2.0
 * api/image_import.c -- POST /v2/images/{image_id}/import. */
#include "api/internal.h"

static int import_image(struct call *c)
{
	AUTO(json_decref_p) json_t *body = NULL;
	const char *store = stores_have_names(c->api->config.stores) ? http_header(c->req, "X-Image-Meta-Store") : NULL;
	struct import_request request;
	char task_id[UUID_LEN + 1];
	int r = call_json(c, &body, &c->err);

	if (r == 0)
		r = import_request_parse(body, c->api->config.import_methods, store, c->arena, &request, &c->err);
	if (r < 0)
		return r;
	return service_import(c->api->service, &c->who, http_param(c->req, "image_id"), &request, body, task_id, &c->err);
}

void image_import(void *cls, struct http_request *req)
{
	struct call c;

	if (!call_enter(&c, cls, req))
		return;
	if (import_image(&c) < 0)
		call_fail(&c);
	else
		http_reply_empty(req, 202);
}

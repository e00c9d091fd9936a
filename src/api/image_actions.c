/* SPDX-License-Identifier: Apache-2.0
 * api/image_actions.c -- /v2/images/{image_id}/actions/{deactivate,reactivate}. */
#include "api/internal.h"

typedef int action_fn(struct service *svc, const struct who *who, const char *id, struct err *err);

static void act(void *cls, struct http_request *req, action_fn *action)
{
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (action(c.api->service, &c.who, http_param(req, "image_id"), &c.err) < 0)
		call_fail(&c);
	else
		http_reply_empty(req, 204);
}

void image_deactivate(void *cls, struct http_request *req)
{
	act(cls, req, service_deactivate);
}

void image_reactivate(void *cls, struct http_request *req)
{
	act(cls, req, service_reactivate);
}

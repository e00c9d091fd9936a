/* SPDX-License-Identifier: Apache-2.0
 * api/tags.c -- /v2/images/{image_id}/tags/{tag}. */
#include "api/internal.h"

void tags_add(void *cls, struct http_request *req)
{
	const char *tag = http_param(req, "tag");
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (image_check_tag(tag, &c.err) < 0 ||
	    service_add_tag(c.api->service, &c.who, http_param(req, "image_id"), tag, &c.err) < 0)
		call_fail(&c);
	else
		http_reply_empty(req, 204);
}

void tags_remove(void *cls, struct http_request *req)
{
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (service_remove_tag(c.api->service, &c.who, http_param(req, "image_id"), http_param(req, "tag"),
			       &c.err) < 0)
		call_fail(&c);
	else
		http_reply_empty(req, 204);
}

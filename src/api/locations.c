/* SPDX-License-Identifier: Apache-2.0
 * api/locations.c -- /v2/images/{image_id}/locations. */
#include <string.h>

#include "api/internal.h"
#include "task/location.h"

/* -- GET ------------------------------------------------------------------------------------------ */

void locations_json(struct jsonw *w, const struct image_location *list, size_t n)
{
	jsonw_array(w);
	for (size_t i = 0; i < n; i++) {
		const char *metadata = list[i].metadata ? list[i].metadata : "{}";
		AUTO(json_decref_p) json_t *valid = json_loads(metadata, 0, NULL);

		jsonw_object(w);
		jsonw_key(w, "url");
		jsonw_str(w, list[i].url);
		jsonw_key(w, "metadata");
		if (json_is_object(valid))
			jsonw_raw(w, metadata, strlen(metadata));
		else
			jsonw_raw(w, "{}", 2);
		jsonw_object_end(w);
	}
	jsonw_array_end(w);
}

void locations_list(void *cls, struct http_request *req)
{
	AUTO(buf_done) struct buf body = {0};
	struct jsonw w = jsonw_to(&body);
	struct image image;
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (service_location_list(c.api->service, &c.who, http_param(req, "image_id"), c.arena, &image,
				  &c.err) < 0) {
		call_fail(&c);
		return;
	}
	locations_json(&w, image.locations, image.n_locations);
	call_reply(&c, 200, &body);
}

/* -- POST ----------------------------------------------------------------------------------------- */

static int add(struct call *c)
{
	AUTO(json_decref_p) json_t *body = NULL;
	const json_t *validation_data = NULL;
	const char *url = NULL;
	int r = call_json(c, &body, &c->err);

	if (r == 0)
		r = location_request_parse(body, &url, &validation_data, &c->err);
	return r < 0 ? r
		     : service_location_add(c->api->service, &c->who, http_param(c->req, "image_id"), url,
					    validation_data, &c->err);
}

void locations_add(void *cls, struct http_request *req)
{
	struct call c;

	if (!call_enter(&c, cls, req))
		return;
	if (add(&c) < 0)
		call_fail(&c);
	else
		http_reply_empty(req, 202);
}

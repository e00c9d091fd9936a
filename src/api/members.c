/* SPDX-License-Identifier: Apache-2.0
 * api/members.c -- /v2/images/{image_id}/members and below. */
#include <string.h>

#include "api/internal.h"
#include "base/clock.h"

#define MEMBER_ID_MAX 255 /* octets: the width of the column */

static const char *image_id(const struct call *c)
{
	return http_param(c->req, "image_id");
}

static const char *member_id(const struct call *c)
{
	return http_param(c->req, "member_id");
}

void member_json(struct jsonw *w, const struct image_member *m)
{
	char created[CLOCK_TEXT_MAX], updated[CLOCK_TEXT_MAX];

	jsonw_object(w);
	jsonw_key(w, "member_id");
	jsonw_str(w, m->member_id);
	jsonw_key(w, "image_id");
	jsonw_str(w, m->image_id);
	jsonw_key(w, "status");
	jsonw_str(w, member_status_name(m->status));
	jsonw_key(w, "created_at");
	jsonw_str(w, clock_iso(m->created_at, created));
	jsonw_key(w, "updated_at");
	jsonw_str(w, clock_iso(m->updated_at, updated));
	jsonw_key(w, "schema");
	jsonw_str(w, "/v2/schemas/member");
	jsonw_object_end(w);
}

static void reply_member(struct call *c, const struct image_member *m)
{
	AUTO(buf_done) struct buf body = {0};
	struct jsonw w = jsonw_to(&body);

	member_json(&w, m);
	call_reply(c, 200, &body);
}

/* The one text member that the body has to have. Copied to the arena. */
static int text_from_body(struct call *c, const char *key, const char **ret)
{
	AUTO(json_decref_p) json_t *body = NULL;
	const char *value;
	int r;

	r = call_json(c, &body, &c->err);
	if (r < 0)
		return r;
	value = json_string_value(json_object_get(body, key));
	if (!value || !*value || strlen(value) > MEMBER_ID_MAX)
		return err_set(&c->err, ERR_INVALID, "The body is an object with \"%s\", a text of 1 to %d octets.",
			       key, MEMBER_ID_MAX);
	*ret = arena_strdup(c->arena, value);
	return *ret ? 0 : err_nomem(&c->err);
}

static int add(struct call *c, struct image_member *ret)
{
	const char *member;
	int r = text_from_body(c, "member", &member);

	if (r < 0)
		return r;
	return service_member_add(c->api->service, &c->who, image_id(c), member, c->arena, ret, &c->err);
}

void members_add(void *cls, struct http_request *req)
{
	struct image_member m;
	struct call c;

	if (!call_enter(&c, cls, req))
		return;
	if (add(&c, &m) < 0)
		call_fail(&c);
	else
		reply_member(&c, &m);
}

static int update(struct call *c, struct image_member *ret)
{
	enum member_status status;
	const char *text;
	int r = text_from_body(c, "status", &text);

	if (r < 0)
		return r;
	if (!member_status_parse(text, &status))
		return err_set(&c->err, ERR_INVALID, "Status must be \"pending\", \"accepted\" or \"rejected\".");
	return service_member_set(c->api->service, &c->who, image_id(c), member_id(c), status, c->arena, ret,
				  &c->err);
}

void members_update(void *cls, struct http_request *req)
{
	struct image_member m;
	struct call c;

	if (!call_enter(&c, cls, req))
		return;
	if (update(&c, &m) < 0)
		call_fail(&c);
	else
		reply_member(&c, &m);
}

void members_show(void *cls, struct http_request *req)
{
	struct image_member m;
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (service_member_show(c.api->service, &c.who, image_id(&c), member_id(&c), c.arena, &m, &c.err) < 0)
		call_fail(&c);
	else
		reply_member(&c, &m);
}

void members_remove(void *cls, struct http_request *req)
{
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (service_member_remove(c.api->service, &c.who, image_id(&c), member_id(&c), &c.err) < 0)
		call_fail(&c);
	else
		http_reply_empty(req, 204);
}

static int add_row(void *cls, const struct image_member *m, struct err *err)
{
	struct jsonw *w = cls;

	member_json(w, m);
	return w->out->failed ? err_nomem(err) : 0;
}

void members_list(void *cls, struct http_request *req)
{
	AUTO(buf_done) struct buf body = {0};
	struct jsonw w = jsonw_to(&body);
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	jsonw_object(&w);
	jsonw_key(&w, "members");
	jsonw_array(&w);
	if (service_member_list(c.api->service, &c.who, image_id(&c), add_row, &w, &c.err) < 0) {
		call_fail(&c);
		return;
	}
	jsonw_array_end(&w);
	jsonw_key(&w, "schema");
	jsonw_str(&w, "/v2/schemas/members");
	jsonw_object_end(&w);
	call_reply(&c, 200, &body);
}

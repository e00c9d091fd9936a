/* SPDX-License-Identifier: Apache-2.0
 * api/tasks.c -- /v2/tasks and /v2/images/{image_id}/tasks. What a task was asked for is shown without
 * credentials. */
#include <string.h>

#include "access/policy.h"
#include "api/internal.h"
#include "base/clock.h"

static void put_str(struct jsonw *w, const char *key, const char *value)
{
	jsonw_key(w, key);
	jsonw_str(w, value);
}

static void put_time(struct jsonw *w, const char *key, int64_t us)
{
	char text[CLOCK_TEXT_MAX];

	put_str(w, key, us ? clock_iso(us, text) : NULL);
}

static void put_json(struct jsonw *w, const char *key, const char *json)
{
	jsonw_key(w, key);
	jsonw_raw(w, json ? json : "null", json ? strlen(json) : strlen("null"));
}

static void put_input(struct jsonw *w, const char *key, const char *input)
{
	AUTO(arena_done) struct arena a = {0};
	const char *shown = input ? task_redact_json(&a, input) : NULL;

	w->out->failed |= input && !shown;
	put_json(w, key, shown);
}

static void put_optional(struct jsonw *w, const char *key, const char *value)
{
	if (value)
		put_str(w, key, value);
}

static void put_links(struct jsonw *w, const struct task *t)
{
	jsonw_key(w, "self");
	buf_addf(w->out, "\"/v2/tasks/%s\"", t->id); /* a UUID: nothing in it needs escaping */
	w->comma = true;
	put_str(w, "schema", "/v2/schemas/task");
}

static void put_task(struct jsonw *w, const struct task *t)
{
	jsonw_object(w);
	put_str(w, "id", t->id);
	put_input(w, "input", t->input);
	put_str(w, "type", t->type);
	put_str(w, "status", task_status_name(t->status));
	put_str(w, "owner", t->owner);
	put_str(w, "message", t->message ? t->message : "");
	put_json(w, "result", t->result);
	put_time(w, "created_at", t->created_at);
	put_time(w, "updated_at", t->updated_at);
	put_links(w, t);
	put_optional(w, "image_id", t->image_id);
	put_optional(w, "request_id", t->request_id);
	put_optional(w, "user_id", t->user_id);
	if (t->expires_at)
		put_time(w, "expires_at", t->expires_at);
	jsonw_object_end(w);
}

/* Lists show less of each. */
static void put_stub(struct jsonw *w, const struct task *t)
{
	jsonw_object(w);
	put_str(w, "id", t->id);
	put_str(w, "type", t->type);
	put_str(w, "status", task_status_name(t->status));
	put_str(w, "owner", t->owner);
	put_time(w, "created_at", t->created_at);
	put_time(w, "updated_at", t->updated_at);
	put_links(w, t);
	if (t->expires_at)
		put_time(w, "expires_at", t->expires_at);
	jsonw_object_end(w);
}

/* -- create, show --------------------------------------------------------------------------------- */

static void reply_task(struct call *c, int status, const struct task *t)
{
	AUTO(buf_done) struct buf body = {0};
	struct jsonw w = jsonw_to(&body);

	put_task(&w, t);
	call_reply(c, status, &body);
}

static int check_type(struct call *c, const char *type)
{
	if (strcmp(type, TASK_TYPE_API_IMAGE_IMPORT) == 0)
		return err_set(&c->err, ERR_INVALID,
			       "A task of this type is made by POST /v2/images/IMAGE/import, which checks what it asks for.");
	if (!c->api->config.allow_task_import)
		return err_set(&c->err, ERR_FORBIDDEN,
			       "Making tasks of this type is switched off ([glint] allow_task_import); use "
			       "POST /v2/images/IMAGE/import.");
	return 0;
}

static int create(struct call *c, struct task *ret)
{
	AUTO(json_decref_p) json_t *body = NULL;
	const char *type = NULL, *input = NULL;
	int r = policy_check(service_policy(c->api->service), POLICY_TASKS_API_ACCESS, &c->who, NULL, &c->err);

	if (r == 0)
		r = call_json(c, &body, &c->err);
	if (r == 0)
		r = task_request_parse(body, c->arena, &type, &input, &c->err);
	if (r == 0)
		r = check_type(c, type);
	return r < 0 ? r : service_task_create(c->api->service, &c->who, type, input, c->arena, ret, &c->err);
}

void tasks_create(void *cls, struct http_request *req)
{
	struct call c;
	struct task t;

	if (!call_enter(&c, cls, req))
		return;
	if (create(&c, &t) < 0) {
		call_fail(&c);
		return;
	}
	http_add_header(req, "Location", arena_printf(c.arena, "%s/v2/tasks/%s", call_base_url(&c), t.id));
	reply_task(&c, 201, &t);
}

void tasks_show(void *cls, struct http_request *req)
{
	struct call c;
	struct task t;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (service_task_show(c.api->service, &c.who, http_param(req, "task_id"), c.arena, &t, &c.err) < 0)
		call_fail(&c);
	else
		reply_task(&c, 200, &t);
}

/* -- list ----------------------------------------------------------------------------------------- */

struct page {
	struct jsonw w;
	int64_t n, limit;
	char last_id[UUID_LEN + 1];
	bool more; /* a row beyond the page */
};

static int add_row(void *cls, const struct task *t, struct err *err)
{
	struct page *page = cls;

	if (page->n == page->limit) {
		page->more = true;
		return 1;
	}
	page->n++;
	memcpy(page->last_id, t->id, sizeof(page->last_id));
	put_stub(&page->w, t);
	return page->w.out->failed ? err_nomem(err) : 0;
}

/* Asks for one row more than the page has, to know whether there is a next one. */
static int fill_page(struct call *c, struct page *page)
{
	struct task_query query;
	size_t n;
	const struct query_param *params = paging_params(c, &n);
	int r;

	if (!params)
		return err_nomem(&c->err);
	r = task_query_parse(params, n, &c->api->config.pages, c->arena, &query, &c->err);
	if (r < 0)
		return r;
	page->limit = query.limit;
	if (query.limit > 0)
		query.limit++;
	return service_task_list(c->api->service, &c->who, &query, add_row, page, &c->err);
}

void tasks_list(void *cls, struct http_request *req)
{
	AUTO(buf_done) struct buf body = {0};
	struct page page = {.w = jsonw_to(&body)};
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	jsonw_object(&page.w);
	jsonw_key(&page.w, "tasks");
	jsonw_array(&page.w);
	if (fill_page(&c, &page) < 0) {
		call_fail(&c);
		return;
	}
	jsonw_array_end(&page.w);
	paging_link(&page.w, "first", &c, "/v2/tasks", NULL);
	put_str(&page.w, "schema", "/v2/schemas/tasks");
	if (page.more)
		paging_link(&page.w, "next", &c, "/v2/tasks", page.last_id);
	jsonw_object_end(&page.w);
	call_reply(&c, 200, &body);
}

/* -- of an image ---------------------------------------------------------------------------------- */

/* "2026-11-22T19:11:00.463365": this list alone has times like that. */
static void put_exact_time(struct jsonw *w, const char *key, int64_t us)
{
	char text[CLOCK_TEXT_MAX], *blank;

	if (us) {
		clock_db(us, text);
		blank = strchr(text, ' ');
		if (blank)
			*blank = 'T';
	}
	put_str(w, key, us ? text : NULL);
}

static int add_image_task(void *cls, const struct task *t, struct err *err)
{
	struct jsonw *w = cls;

	jsonw_object(w);
	put_str(w, "id", t->id);
	put_str(w, "type", t->type);
	put_str(w, "status", task_status_name(t->status));
	put_str(w, "owner", t->owner);
	put_exact_time(w, "expires_at", t->expires_at);
	put_exact_time(w, "created_at", t->created_at);
	put_exact_time(w, "updated_at", t->updated_at);
	put_exact_time(w, "deleted_at", t->deleted_at);
	jsonw_key(w, "deleted");
	jsonw_bool(w, t->deleted);
	put_str(w, "image_id", t->image_id);
	put_str(w, "request_id", t->request_id);
	put_str(w, "user_id", t->user_id);
	put_input(w, "input", t->input);
	put_json(w, "result", t->result);
	put_str(w, "message", t->message ? t->message : "");
	jsonw_object_end(w);
	return w->out->failed ? err_nomem(err) : 0;
}

void image_tasks_list(void *cls, struct http_request *req)
{
	AUTO(buf_done) struct buf body = {0};
	struct jsonw w = jsonw_to(&body);
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	jsonw_object(&w);
	jsonw_key(&w, "tasks");
	jsonw_array(&w);
	if (service_image_tasks(c.api->service, &c.who, http_param(req, "image_id"), add_image_task, &w, &c.err) < 0) {
		call_fail(&c);
		return;
	}
	jsonw_array_end(&w);
	jsonw_object_end(&w);
	call_reply(&c, 200, &body);
}

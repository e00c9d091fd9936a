/* SPDX-License-Identifier: Apache-2.0
 * api/info.c -- what this installation offers: /v2/info/import, /v2/info/stores; what the caller's project may
 * have of it and has: /v2/info/usage; and an image's bytes in one of the stores: /v2/stores/{store_id}/{image_id}. */
#include "access/policy.h"
#include "api/internal.h"

#define CHUNK_SIZE 65536 /* what clients of a file store are told */

static void put_str(struct jsonw *w, const char *key, const char *value)
{
	jsonw_key(w, key);
	jsonw_str(w, value);
}

void info_import(void *cls, struct http_request *req)
{
	AUTO(buf_done) struct buf body = {0};
	struct jsonw w = jsonw_to(&body);
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	jsonw_object(&w);
	jsonw_key(&w, "import-methods");
	jsonw_object(&w);
	put_str(&w, "description", "Import methods available.");
	put_str(&w, "type", "array");
	jsonw_key(&w, "value");
	jsonw_array(&w);
	for (const char *const *m = c.api->config.import_methods; *m; m++)
		jsonw_str(&w, *m);
	jsonw_array_end(&w);
	jsonw_object_end(&w);
	jsonw_object_end(&w);
	call_reply(&c, 200, &body);
}

/* -- stores --------------------------------------------------------------------------------------- */

static void put_directory(struct jsonw *w, const struct store *s)
{
	put_str(w, "data_dir", store_directory(s));
	jsonw_key(w, "chunk_size");
	jsonw_int(w, CHUNK_SIZE);
	jsonw_key(w, "thin_provisioning");
	jsonw_bool(w, store_is_thin(s));
}

static void put_details(struct jsonw *w, const struct store *s)
{
	put_str(w, "type", store_type(s));
	jsonw_key(w, "weight");
	jsonw_int(w, store_weight(s));
	jsonw_key(w, "properties");
	jsonw_object(w);
	if (!store_is_remote(s))
		put_directory(w, s);
	jsonw_object_end(w);
}

static void put_store(struct jsonw *w, const struct store *s, bool is_default, bool details)
{
	jsonw_object(w);
	put_str(w, "id", store_id(s));
	if (store_description(s))
		put_str(w, "description", store_description(s));
	if (is_default)
		put_str(w, "default", "true"); /* a text, as clients know it */
	if (store_is_remote(s))
		put_str(w, "read-only", "true");
	if (details)
		put_details(w, s);
	jsonw_object_end(w);
}

static void reply_stores(struct call *c, bool details)
{
	AUTO(buf_done) struct buf body = {0};
	struct jsonw w = jsonw_to(&body);
	const struct stores *ss = c->api->config.stores;

	jsonw_object(&w);
	jsonw_key(&w, "stores");
	jsonw_array(&w);
	for (size_t i = 0; i < stores_count(ss); i++)
		put_store(&w, stores_at(ss, i), stores_at(ss, i) == stores_default(ss), details);
	jsonw_array_end(&w);
	jsonw_object_end(&w);
	call_reply(c, 200, &body);
}

static int check_named(struct call *c)
{
	if (stores_have_names(c->api->config.stores))
		return 0;
	return err_set(&c->err, ERR_NOT_FOUND, "There are no named stores here (enabled_backends).");
}

void info_stores(void *cls, struct http_request *req)
{
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (check_named(&c) < 0)
		call_fail(&c);
	else
		reply_stores(&c, false);
}

void info_stores_detail(void *cls, struct http_request *req)
{
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (check_named(&c) < 0 ||
	    policy_check(service_policy(c.api->service), POLICY_STORES_INFO_DETAIL, &c.who, NULL, &c.err) < 0)
		call_fail(&c);
	else
		reply_stores(&c, true);
}

/* -- usage ---------------------------------------------------------------------------------------- */

struct usage_call {
	struct call call;
	struct quota quota;
	int result;
};

static void put_resource(struct jsonw *w, const char *name, int64_t limit, int64_t usage, unsigned shift)
{
	jsonw_key(w, name);
	jsonw_object(w);
	jsonw_key(w, "usage");
	jsonw_int(w, usage >> shift);
	jsonw_key(w, "limit");
	jsonw_int(w, limit == QUOTA_NONE ? -1 : limit >> shift);
	jsonw_object_end(w);
}

/* Octets are told in whole mebibytes, the unit of the limits. */
static void put_usage(struct jsonw *w, const struct quota *may, const struct db_usage *has)
{
	put_resource(w, "image_size_total", may->total_octets, has->stored_octets, 20);
	put_resource(w, "image_stage_total", may->staged_octets, has->staged_octets, 20);
	put_resource(w, "image_count_total", may->n_images, has->n_images, 0);
	put_resource(w, "image_count_uploading", may->n_uploading, has->n_uploading, 0);
}

/* @may NULL: there are no limits, and so nothing to tell. */
static void reply_usage(struct call *c, const struct quota *may, const struct db_usage *has)
{
	AUTO(buf_done) struct buf body = {0};
	struct jsonw w = jsonw_to(&body);

	jsonw_object(&w);
	jsonw_key(&w, "usage");
	jsonw_object(&w);
	if (may)
		put_usage(&w, may, has);
	jsonw_object_end(&w);
	jsonw_object_end(&w);
	call_reply(c, 200, &body);
}

static void answer_usage(void *cls, struct http_request *req)
{
	struct usage_call *u = cls;
	struct call *c = &u->call;
	struct db_usage has;

	(void)req;
	if (u->result < 0 || service_usage(c->api->service, &c->who, &has, &c->err) < 0)
		call_fail(c);
	else
		reply_usage(c, &u->quota, &has);
}

static void on_limits(void *cls, int r, const struct quota *quota, const struct err *err)
{
	struct usage_call *u = cls;

	u->result = r;
	if (r == 0)
		u->quota = *quota;
	else
		u->call.err = *err;
	http_resume(u->call.req, answer_usage, u);
}

/* No thread waits for Keystone: the request is away until the limits are known. */
void info_usage(void *cls, struct http_request *req)
{
	struct usage_call *u = arena_alloc(http_arena(req), sizeof(*u));
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (!service_has_limits(c.api->service)) {
		reply_usage(&c, NULL, NULL);
	} else if (!u) {
		err_nomem(&c.err);
		call_fail(&c);
	} else {
		u->call = c;
		http_suspend(req);
		service_ask_limits(c.api->service, &u->call.who, on_limits, u);
	}
}

void store_image_delete(void *cls, struct http_request *req)
{
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (check_named(&c) < 0 || service_delete_from_store(c.api->service, &c.who, http_param(req, "image_id"),
							     http_param(req, "store_id"), &c.err) < 0)
		call_fail(&c);
	else
		http_reply_empty(req, 204);
}

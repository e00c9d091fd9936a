/* SPDX-License-Identifier: Apache-2.0
 * api/info.c -- what this installation offers: /v2/info/import, /v2/info/stores, and an image's bytes in one
 * of the stores: /v2/stores/{store_id}/{image_id}. */
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

static void put_details(struct jsonw *w, const struct store *s)
{
	put_str(w, "type", store_type(s));
	jsonw_key(w, "weight");
	jsonw_int(w, store_weight(s));
	jsonw_key(w, "properties");
	jsonw_object(w);
	put_str(w, "data_dir", store_directory(s));
	jsonw_key(w, "chunk_size");
	jsonw_int(w, CHUNK_SIZE);
	jsonw_key(w, "thin_provisioning");
	jsonw_bool(w, store_is_thin(s));
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

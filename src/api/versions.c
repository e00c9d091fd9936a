/* SPDX-License-Identifier: Apache-2.0
 * api/versions.c -- the list of API versions, which clients read as a list of features: v2.6 is the
 * import API, v2.8 and v2.10-2.13 several stores, v2.15 usage, v2.17 locations. A version that we do not
 * serve is not in it. */
#include <string.h>

#include "api/internal.h"

static const struct {
	const char *id;
	bool named_stores; /* only where stores have names */
} versions[] = {
	{"v2.17", false}, {"v2.15", false}, {"v2.13", true}, {"v2.12", true},  {"v2.11", true},  {"v2.10", true},  {"v2.9", false},
	{"v2.8", true},  {"v2.7", false},  {"v2.6", false},  {"v2.5", false},  {"v2.4", false},
	{"v2.3", false}, {"v2.2", false},  {"v2.1", false},  {"v2.0", false},
};

static void add_version(struct jsonw *w, const char *id, bool current, const char *href)
{
	jsonw_object(w);
	jsonw_key(w, "id");
	jsonw_str(w, id);
	jsonw_key(w, "status");
	jsonw_str(w, current ? "CURRENT" : "SUPPORTED");
	jsonw_key(w, "links");
	jsonw_array(w);
	jsonw_object(w);
	jsonw_key(w, "rel");
	jsonw_str(w, "self");
	jsonw_key(w, "href");
	jsonw_str(w, href);
	jsonw_object_end(w);
	jsonw_array_end(w);
	jsonw_object_end(w);
}

static void reply_versions(void *cls, struct http_request *req, int status)
{
	AUTO(buf_done) struct buf body = {0};
	struct jsonw w = jsonw_to(&body);
	struct call c = {.api = cls, .req = req, .arena = http_arena(req)};
	bool named = stores_have_names(c.api->config.stores), current = true;
	const char *href = arena_printf(c.arena, "%s/v2/", call_base_url(&c));

	jsonw_object(&w);
	jsonw_key(&w, "versions");
	jsonw_array(&w);
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		if (versions[i].named_stores && !named)
			continue;
		add_version(&w, versions[i].id, current, href);
		current = false;
	}
	jsonw_array_end(&w);
	jsonw_object_end(&w);
	call_reply(&c, status, &body);
}

void versions_choices(void *cls, struct http_request *req)
{
	reply_versions(cls, req, 300);
}

void versions_list(void *cls, struct http_request *req)
{
	reply_versions(cls, req, 200);
}

/* Below /v2 nothing of that name exists; anything else is a version that we do not have. */
void api_not_found(void *cls, struct http_request *req)
{
	const char *path = http_path(req);

	if (strncmp(path, "/v2/", 4) == 0 || strncmp(path, "/healthcheck", 12) == 0)
		http_reply_error(req, 404, "There is nothing at this path.");
	else
		reply_versions(cls, req, 300);
}

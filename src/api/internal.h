/* SPDX-License-Identifier: Apache-2.0
 * api/internal.h -- what the resources share. */
#pragma once

#include <pthread.h>

#include "api/api.h"
#include "base/err.h"
#include "base/json.h"
#include "base/jsonw.h"

struct pool;

/* Downloads of what lies elsewhere. */
struct far_crowd {
	pthread_mutex_t lock;
	unsigned n;         /* have a thread or wait for one */
	unsigned n_leaving; /* of these, those that have agreed to give way */
};

struct api {
	struct service *service;
	struct api_config config;
	struct rate *create_rate, *change_rate; /* NULL: no limit */
	struct pool *far;
	struct far_crowd far_crowd;
	struct buf schemas[6]; /* rendered once; see schemas.c */
};

/* One request on its way through a handler. */
struct call {
	struct api *api;
	struct http_request *req;
	struct arena *arena;
	struct who who;
	struct err err;
};

/* Who asks has been found out by api_admit(). False: the answer has been given. */
bool call_enter(struct call *c, void *cls, struct http_request *req);
/* The same for a route that takes no body: one that comes is refused. */
bool call_enter_bodyless(struct call *c, void *cls, struct http_request *req);

/* identity.c: by tokens. The answer, or call_admit() with what was found, may come later. */
void identity_ask(struct call *c);
/* The handler will find c->who. */
void call_admit(struct call *c);

/* Answer with the failure in c->err. */
void call_fail(struct call *c);
/* Answer 200 (or @status) with JSON; takes what is in @body. */
void call_reply(struct call *c, int status, struct buf *body);

/* The body as JSON. @ret is owned by the caller. ERR_INVALID names what is wrong and where. */
int call_json(struct call *c, json_t **ret, struct err *err);

/* "http://host:port" without a slash at the end, as the client should see it. Arena or borrowed. */
const char *call_base_url(struct call *c);

/* image_json.c: as @c's caller may see it. */
void image_json(struct jsonw *w, const struct image *image, const struct call *c);
/* The same in two steps: what is the same for everybody may be kept in between. */
void image_json_text(struct buf *out, const struct image *image);
void image_json_protected_text(struct buf *out, const struct image *image); /* where properties are protected */
void image_json_of_text(struct jsonw *w, const char *text, size_t n, const struct call *c);

/* locations.c */
void locations_json(struct jsonw *w, const struct image_location *list, size_t n);

/* paging.c: the link @key to @path with the parameters of this request, and @marker in place of its own
 * (NULL: none). */
void paging_link(struct jsonw *w, const char *key, const struct call *c, const char *path, const char *marker);
/* The parameters of this request; NULL without memory. */
const struct query_param *paging_params(struct call *c, size_t *ret_n);

/* members.c */
void member_json(struct jsonw *w, const struct image_member *m);

/* schemas.c */
int schemas_render(struct api *api, struct err *err);

/* The handlers, by resource. */
http_handler_fn versions_choices, versions_list;
http_handler_fn health_check;
http_handler_fn metrics_show;
http_handler_fn images_list, images_create, images_show, images_update, images_delete;
http_handler_fn image_data_upload, image_data_download, image_data_stage;
http_handler_fn locations_add, locations_list;
http_handler_fn image_import, image_tasks_list;
http_handler_fn tasks_list, tasks_create, tasks_show;
http_handler_fn info_import, info_stores, info_stores_detail, info_usage, store_image_delete;
http_handler_fn image_deactivate, image_reactivate;
http_handler_fn tags_add, tags_remove;
http_handler_fn members_list, members_add, members_show, members_update, members_remove;
http_handler_fn schema_image, schema_images, schema_member, schema_members, schema_task, schema_tasks;

/* SPDX-License-Identifier: Apache-2.0
 * api/api.h -- the Images API v2: one file a resource. A handler reads the request, calls one service
 * function and writes the answer. */
#pragma once

#include "access/who.h"
#include "http/http.h"
#include "image/query.h"
#include "service/service.h"

struct api_config {
	enum auth_mode auth;
	struct keystone *keystone;            /* AUTH_KEYSTONE; borrowed */
	struct image_limits limits;           /* lists borrowed */
	struct query_limits pages;
	const char *public_endpoint;          /* NULL: as the request says */
	const struct stores *stores;          /* those with names: images say where they are */
	const char *const *import_methods;    /* enabled_import_methods, NULL-terminated */
	bool allow_task_import;               /* POST /v2/tasks with type import */
	unsigned max_far;                     /* downloads at a time of data that lies elsewhere */
	int64_t crowded_timeout_us;           /* one whose source sends nothing for so long gives way to one that waits */
	bool shows_direct_url, shows_locations; /* show_image_direct_url, show_multiple_locations */
	const char *healthcheck_disable_file; /* NULL: none */
	int64_t project_create_rate, project_change_rate; /* a minute; 0: no limit */
	struct protections *protections;      /* access/protection.h; NULL: properties are not protected */
	const struct metrics *metrics;        /* told to this machine; NULL: they are not told here */
};

struct api;
struct keystone;
struct metrics;
struct protections;

/* The service is borrowed. */
int api_new(struct service *service, const struct api_config *config, struct api **ret, struct err *err);
void api_free(struct api *api);
void api_free_p(struct api **api);

extern const struct http_route metrics_routes[]; /* of a listener for nothing else; its handler wants a struct metrics */
extern const struct http_route api_routes[]; /* handlers want a struct api */
http_handler_fn api_admit; /* finds out who asks, and refuses whoever may ask nothing at all */
void api_cutting(void *cls); /* whoever waits for somebody else is told that it has failed */
http_handler_fn api_not_found;

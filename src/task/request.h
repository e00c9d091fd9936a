/* SPDX-License-Identifier: Apache-2.0
 * task/request.h -- the bodies of POST /v2/images/{id}/import and POST /v2/tasks, checked. Pure logic;
 * who may ask for it, and in which state the image has to be, is decided elsewhere. */
#pragma once

#include <jansson.h>

#include "task/task.h"

enum import_method { IMPORT_GLANCE_DIRECT, IMPORT_WEB_DOWNLOAD, IMPORT_COPY_IMAGE };

const char *import_method_name(enum import_method m); /* "glance-direct" */
bool import_method_parse(const char *name, enum import_method *ret);

#define IMPORT_MAX_STORES 64

struct import_request {
	enum import_method method;
	const char *uri;               /* web-download; NULL otherwise */
	const char *const *stores;     /* as asked for, each once, in this order; none: the default store */
	size_t n_stores;
	bool all_stores;
	bool all_stores_must_succeed;  /* default true */
};

/* @enabled: enabled_import_methods, NULL-terminated. @store_header: X-Image-Meta-Store or NULL.
 * ERR_INVALID with one sentence for: no object, no method or name, a method that is not enabled, a
 * member of the wrong type, web-download without uri, all_stores beside stores or the header, stores
 * beside the header, too many stores, an empty list. Strings are copied to @a. */
int import_request_parse(const json_t *body, const char *const *enabled, const char *store_header,
			 struct arena *a, struct import_request *ret, struct err *err);

/* The input of a task for this import, as JSON text: {"image_id": ..., "import_req": @body, "backend":
 * [stores]}, @stores being those really meant (n_stores 0: [null]). Arena; NULL without memory. */
const char *import_task_input(struct arena *a, const char *image_id, const json_t *body,
			      const char *const *stores, size_t n_stores);

/* And back, for whoever runs the task: what import_task_input() wrote. ERR_INVALID if it is not. */
struct import_job {
	char image_id[UUID_LEN + 1];
	struct import_request request; /* stores: those really meant; none: the nameless one */
};
int import_job_parse(const char *input, struct arena *a, struct import_job *ret, struct err *err);

/* POST /v2/tasks: {"type": ..., "input": {...}}. *ret_type borrowed, *ret_input a new JSON text.
 * ERR_INVALID: no object, `type` or `input` missing or of a wrong type, unknown type, other members
 * that no task has, a source that is a file ("file://", "filesystem://": refused at once), or for
 * api_image_import an input without `image_id`. That the rest of the input is complete is found out
 * when the task runs, as clients know it. */
int task_request_parse(const json_t *body, struct arena *a, const char **ret_type, const char **ret_input,
		       struct err *err);

/* The input of a task of type import: {"import_from": URL, "import_from_format": FORMAT,
 * "image_properties": {...}}. ERR_INVALID "Input does not contain 'import_from_format' field" and the
 * like. @ret_properties is a new reference: decref. An empty image_properties gets disk_format qcow2 and
 * container_format bare. */
struct import_from {
	const char *uri, *format;
	json_t *properties;
};
int import_from_parse(const char *input, struct arena *a, struct import_from *ret, struct err *err);
void import_from_done(struct import_from *f);

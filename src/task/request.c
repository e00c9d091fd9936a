/* SPDX-License-Identifier: Apache-2.0
 * task/request.c -- what a client asks for, from JSON and back. */
#include "task/request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

static const char *const method_names[] = {
	[IMPORT_GLANCE_DIRECT] = "glance-direct",
	[IMPORT_WEB_DOWNLOAD] = "web-download",
	[IMPORT_COPY_IMAGE] = "copy-image",
};

const char *import_method_name(enum import_method m)
{
	return method_names[m];
}

bool import_method_parse(const char *name, enum import_method *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(method_names); i++) {
		if (strcmp(method_names[i], name) != 0)
			continue;
		*ret = (enum import_method)i;
		return true;
	}
	return false;
}

/* -- POST /v2/images/{id}/import ------------------------------------------------------------------ */

static bool is_in(const char *const *list, const char *name)
{
	for (; *list; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

static int parse_method(const json_t *body, const char *const *enabled, struct arena *a, struct import_request *ret,
			struct err *err)
{
	const json_t *method = json_object_get(body, "method"), *uri;
	const char *name;

	if (!json_is_object(method))
		return err_set(err, ERR_INVALID, "An import request needs an object 'method'.");
	name = json_string_value(json_object_get(method, "name"));
	if (!name)
		return err_set(err, ERR_INVALID, "The 'method' of an import request needs a 'name'.");
	if (!import_method_parse(name, &ret->method) || (enabled && !is_in(enabled, name)))
		return err_set(err, ERR_INVALID, "There is no import method of this name here.");
	uri = json_object_get(method, "uri");
	if (ret->method != IMPORT_WEB_DOWNLOAD)
		return 0;
	if (!json_is_string(uri) || strlen(json_string_value(uri)) != json_string_length(uri))
		return err_set(err, ERR_INVALID, "The method web-download needs a 'uri'.");
	ret->uri = arena_strdup(a, json_string_value(uri));
	return ret->uri ? 0 : err_nomem(err);
}

static int parse_flag(const json_t *body, const char *name, bool *ret, struct err *err)
{
	const json_t *flag = json_object_get(body, name);

	if (flag && !json_is_boolean(flag))
		return err_set(err, ERR_INVALID, "'%s' has to be true or false.", name);
	if (flag)
		*ret = json_is_true(flag);
	return 0;
}

static bool has_store(const char *const *stores, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(stores[i], id) == 0)
			return true;
	return false;
}

static int copy_stores(const json_t *list, struct arena *a, struct import_request *ret, struct err *err)
{
	const char **stores = arena_alloc(a, json_array_size(list) * sizeof(*stores));

	if (!stores)
		return err_nomem(err);
	ret->stores = stores;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *id = json_string_value(json_array_get(list, i));

		if (!id)
			return err_set(err, ERR_INVALID, "'stores' has to be a list of names.");
		if (has_store(stores, ret->n_stores, id))
			continue;
		stores[ret->n_stores] = arena_strdup(a, id);
		if (!stores[ret->n_stores++])
			return err_nomem(err);
	}
	return 0;
}

static int parse_list(const json_t *list, struct arena *a, struct import_request *ret, struct err *err)
{
	if (!json_is_array(list) || json_array_size(list) == 0)
		return err_set(err, ERR_INVALID, "'stores' has to be a list of names.");
	if (json_array_size(list) > IMPORT_MAX_STORES)
		return err_set(err, ERR_INVALID, "An import goes to at most %d stores.", IMPORT_MAX_STORES);
	return copy_stores(list, a, ret, err);
}

static int parse_header(const char *header, struct arena *a, struct import_request *ret, struct err *err)
{
	const char **stores = arena_alloc(a, sizeof(*stores));

	if (!stores)
		return err_nomem(err);
	stores[0] = arena_strdup(a, header);
	ret->stores = stores;
	ret->n_stores = 1;
	return stores[0] ? 0 : err_nomem(err);
}

static int parse_stores(const json_t *body, const char *header, struct arena *a, struct import_request *ret,
			struct err *err)
{
	const json_t *list = json_object_get(body, "stores");

	if (ret->all_stores && (list || header))
		return err_set(err, ERR_INVALID, "'all_stores' goes with neither 'stores' nor X-Image-Meta-Store.");
	if (list && header)
		return err_set(err, ERR_INVALID, "'stores' and X-Image-Meta-Store do not go together.");
	if (list)
		return parse_list(list, a, ret, err);
	return header ? parse_header(header, a, ret, err) : 0;
}

int import_request_parse(const json_t *body, const char *const *enabled, const char *store_header, struct arena *a,
			 struct import_request *ret, struct err *err)
{
	int r;

	*ret = (struct import_request){.all_stores_must_succeed = true};
	if (!json_is_object(body))
		return err_set(err, ERR_INVALID, "An import request is a JSON object.");
	r = parse_method(body, enabled, a, ret, err);
	if (r == 0)
		r = parse_flag(body, "all_stores", &ret->all_stores, err);
	if (r == 0)
		r = parse_flag(body, "all_stores_must_succeed", &ret->all_stores_must_succeed, err);
	return r < 0 ? r : parse_stores(body, store_header, a, ret, err);
}

/* -- the input of the task ------------------------------------------------------------------------ */

static json_t *list_stores(const char *const *stores, size_t n)
{
	json_t *list = json_array();

	if (n == 0 && json_array_append_new(list, json_null()) < 0)
		goto fail;
	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(list, json_string(stores[i])) < 0)
			goto fail;
	return list;
fail:
	json_decref(list);
	return NULL;
}

const char *import_task_input(struct arena *a, const char *image_id, const json_t *body, const char *const *stores,
			      size_t n_stores)
{
	json_t *list = list_stores(stores, n_stores);
	json_t *input = list ? json_pack("{s:s, s:O, s:O}", "image_id", image_id, "import_req", body, "backend", list) :
			       NULL;
	char *text = input ? json_dumps(input, JSON_ENSURE_ASCII) : NULL;
	const char *result = text ? arena_strdup(a, text) : NULL;

	free(text);
	json_decref(input);
	json_decref(list);
	return result;
}

static bool is_nameless(const json_t *list)
{
	return json_array_size(list) == 1 && json_is_null(json_array_get(list, 0));
}

static int parse_job(const json_t *input, struct arena *a, struct import_job *ret, struct err *err)
{
	const char *id = json_string_value(json_object_get(input, "image_id"));
	const json_t *list = json_object_get(input, "backend");
	int r;

	if (!id)
		return err_set(err, ERR_INVALID, "Input does not contain 'image_id' field");
	if (!uuid_is_canonical(id))
		return err_set(err, ERR_INVALID, "Input has an 'image_id' that is none");
	r = import_request_parse(json_object_get(input, "import_req"), NULL, NULL, a, &ret->request, err);
	if (r < 0)
		return r;
	memcpy(ret->image_id, id, UUID_LEN + 1);
	ret->request.stores = NULL;
	ret->request.n_stores = 0;
	return !list || is_nameless(list) ? 0 : parse_list(list, a, &ret->request, err);
}

/* Jansson does not tell a text that is no JSON from memory that ran out in the middle of it. We have written this
 * one, so it is tried twice before a task is given up for it. */
static int load_input(const char *text, json_t **ret, struct err *err)
{
	json_t *input = NULL;

	for (int tries = 0; text && !input && tries < 2; tries++)
		input = json_loads(text, 0, NULL);
	if (!json_is_object(input)) {
		json_decref(input);
		return err_set(err, ERR_INVALID, "The task has no input that it could be run with");
	}
	*ret = input;
	return 0;
}

/* Those in the request itself are only what was asked for. */
int import_job_parse(const char *text, struct arena *a, struct import_job *ret, struct err *err)
{
	json_t *input = NULL;
	int r;

	*ret = (struct import_job){0};
	r = load_input(text, &input, err);
	if (r == 0)
		r = parse_job(input, a, ret, err);
	json_decref(input);
	return r;
}

/* -- POST /v2/tasks ------------------------------------------------------------------------------- */

static const char *const task_members[] = {"type",       "input",      "id",       "status",  "result",
					   "owner",      "message",    "image_id", "user_id", "request_id",
					   "expires_at", "created_at", "updated_at", "self",  "schema",
					   NULL};

static int check_members(const json_t *body, struct err *err)
{
	const json_t *value;
	const char *key;

	json_object_foreach((json_t *)body, key, value)
		if (!is_in(task_members, key))
			return err_set(err, ERR_INVALID, "A task has no such member; it is made of 'type' and 'input'.");
	return 0;
}

static bool is_file_url(const char *uri)
{
	uri += strspn(uri, " \t\r\n");
	return strncasecmp(uri, "file:", 5) == 0 || strncasecmp(uri, "filesystem:", 11) == 0;
}

static int check_input(const char *type, const json_t *input, struct err *err)
{
	const char *from = json_string_value(json_object_get(input, "import_from"));

	if (strcmp(type, TASK_TYPE_IMPORT) == 0) {
		if (from && is_file_url(from))
			return err_set(err, ERR_INVALID, "Imports from files are not allowed; use a source that is not local.");
		return 0;
	}
	if (!json_object_get(input, "image_id"))
		return err_set(err, ERR_INVALID, "Input does not contain 'image_id' field");
	return 0;
}

static const char *known_type(const char *type)
{
	if (type && strcmp(type, TASK_TYPE_IMPORT) == 0)
		return TASK_TYPE_IMPORT;
	return type && strcmp(type, TASK_TYPE_API_IMAGE_IMPORT) == 0 ? TASK_TYPE_API_IMAGE_IMPORT : NULL;
}

static int check_task(const json_t *body, const char **ret_type, struct err *err)
{
	const json_t *type = json_object_get(body, "type"), *input = json_object_get(body, "input");
	int r;

	if (!json_is_object(body))
		return err_set(err, ERR_INVALID, "A task is a JSON object.");
	if (!type || !input)
		return err_set(err, ERR_INVALID, "A task needs a '%s'.", type ? "input" : "type");
	*ret_type = known_type(json_string_value(type));
	if (!*ret_type)
		return err_set(err, ERR_INVALID, "The type of a task is import or api_image_import.");
	if (!json_is_object(input))
		return err_set(err, ERR_INVALID, "The input of a task is a JSON object.");
	r = check_members(body, err);
	return r < 0 ? r : check_input(*ret_type, input, err);
}

int task_request_parse(const json_t *body, struct arena *a, const char **ret_type, const char **ret_input,
		       struct err *err)
{
	int r = check_task(body, ret_type, err);
	char *text;

	if (r < 0)
		return r;
	text = json_dumps(json_object_get(body, "input"), JSON_ENSURE_ASCII);
	*ret_input = text ? arena_strdup(a, text) : NULL;
	free(text);
	return *ret_input ? 0 : err_nomem(err);
}

/* -- the input of a task of type import ----------------------------------------------------------- */

static int copy_field(const json_t *input, const char *name, struct arena *a, const char **ret, struct err *err)
{
	const char *value = json_string_value(json_object_get(input, name));

	if (!value)
		return err_set(err, ERR_INVALID, "Input does not contain '%s' field", name);
	*ret = arena_strdup(a, value);
	return *ret ? 0 : err_nomem(err);
}

static int default_properties(json_t *properties, struct err *err)
{
	if (json_object_size(properties) > 0)
		return 0;
	if (json_object_set_new(properties, "disk_format", json_string("qcow2")) < 0 ||
	    json_object_set_new(properties, "container_format", json_string("bare")) < 0)
		return err_nomem(err);
	return 0;
}

static int parse_from(const json_t *input, struct arena *a, struct import_from *ret, struct err *err)
{
	const json_t *properties = json_object_get(input, "image_properties");
	int r = copy_field(input, "import_from", a, &ret->uri, err);

	if (r == 0)
		r = copy_field(input, "import_from_format", a, &ret->format, err);
	if (r < 0)
		return r;
	if (!json_is_object(properties))
		return err_set(err, ERR_INVALID, "Input does not contain 'image_properties' field");
	ret->properties = json_copy((json_t *)properties);
	return ret->properties ? default_properties(ret->properties, err) : err_nomem(err);
}

int import_from_parse(const char *text, struct arena *a, struct import_from *ret, struct err *err)
{
	json_t *input = NULL;
	int r;

	*ret = (struct import_from){0};
	r = load_input(text, &input, err);
	if (r == 0)
		r = parse_from(input, a, ret, err);
	json_decref(input);
	if (r < 0)
		import_from_done(ret);
	return r;
}

void import_from_done(struct import_from *f)
{
	json_decref(f->properties);
	f->properties = NULL;
}

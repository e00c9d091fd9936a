/* SPDX-License-Identifier: Apache-2.0
 * limits/answer.c -- what Keystone says, read strictly. */
#include "limits/answer.h"

#include <string.h>

#include "base/err.h"
#include "base/json.h"

static const struct {
	const char *name;
	size_t offset;
	unsigned shift; /* of the unit that operators know to ours: mebibytes to octets */
} resources[] = {
	{"image_size_total", offsetof(struct quota, total_octets), 20},
	{"image_stage_total", offsetof(struct quota, staged_octets), 20},
	{"image_count_total", offsetof(struct quota, n_images), 0},
	{"image_count_uploading", offsetof(struct quota, n_uploading), 0},
};

static int refuse(struct err *err, const char *what)
{
	return err_set(err, ERR_UNAVAILABLE, "Keystone's answer is not as it should be: %s.", what);
}

static int parse(const char *text, size_t n, json_t **ret, struct err *err)
{
	int r = json_read(text, n, JSON_REJECT_DUPLICATES, ret, NULL, err);

	return r == ERR_INVALID ? refuse(err, "no JSON") : r;
}

/* The list @key of @json. One that was cut is none. */
static int get_list(json_t *json, const char *key, json_t **ret, struct err *err)
{
	json_t *list = json_object_get(json, key);

	if (!json_is_array(list))
		return refuse(err, "a list is missing");
	if (json_is_true(json_object_get(json, "truncated")))
		return refuse(err, "the list was cut short ([DEFAULT] list_limit of Keystone)");
	*ret = list;
	return 0;
}

static const char *get_string(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* @fallback (NULL: none) for what is null or not there. */
static int get_id(const json_t *object, const char *key, const char *fallback, char ret[LIMITS_MAX_ID + 1],
		  struct err *err)
{
	const json_t *value = json_object_get(object, key);
	const char *id = !value || json_is_null(value) ? fallback : json_string_value(value);

	if (!id || strlen(id) > LIMITS_MAX_ID)
		return refuse(err, "an id is missing");
	strcpy(ret, id);
	return 0;
}

/* -- which endpoint is ours ----------------------------------------------------------------------- */

static int get_endpoint(const json_t *object, struct endpoint *ret, struct err *err)
{
	struct endpoint e = {0};
	int r = get_id(object, "service_id", NULL, e.service_id, err);

	if (r == 0)
		r = get_id(object, "region_id", "", e.region_id, err);
	if (r == 0)
		*ret = e;
	return r;
}

int answer_endpoint(const char *text, size_t n, struct endpoint *ret, struct err *err)
{
	AUTO(json_decref_p) json_t *json = NULL;
	int r = parse(text, n, &json, err);

	return r < 0 ? r : get_endpoint(json_object_get(json, "endpoint"), ret, err);
}

/* @what: "service" or "endpoint", for the error. */
static int get_only(json_t *json, const char *key, const char *what, json_t **ret, struct err *err)
{
	json_t *list = NULL;
	int r = get_list(json, key, &list, err);

	if (r < 0)
		return r;
	if (json_array_size(list) != 1)
		return err_set(err, ERR_UNAVAILABLE,
			       "Keystone has %zu %ss that are as [oslo_limit] endpoint_* say, not one.",
			       json_array_size(list), what);
	*ret = json_array_get(list, 0);
	return 0;
}

int answer_only_endpoint(const char *text, size_t n, struct endpoint *ret, struct err *err)
{
	AUTO(json_decref_p) json_t *json = NULL;
	json_t *only = NULL;
	int r = parse(text, n, &json, err);

	if (r == 0)
		r = get_only(json, "endpoints", "endpoint", &only, err);
	return r < 0 ? r : get_endpoint(only, ret, err);
}

int answer_only_service(const char *text, size_t n, char ret_id[LIMITS_MAX_ID + 1], struct err *err)
{
	AUTO(json_decref_p) json_t *json = NULL;
	json_t *only = NULL;
	int r = parse(text, n, &json, err);

	if (r == 0)
		r = get_only(json, "services", "service", &only, err);
	return r < 0 ? r : get_id(only, "id", NULL, ret_id, err);
}

int answer_model(const char *text, size_t n, struct err *err)
{
	AUTO(json_decref_p) json_t *json = NULL;
	const char *name;
	int r = parse(text, n, &json, err);

	if (r < 0)
		return r;
	name = get_string(json_object_get(json, "model"), "name");
	if (!name)
		return refuse(err, "the enforcement model is missing");
	if (strcmp(name, "flat") != 0)
		return err_set(err, ERR_UNAVAILABLE,
			       "Keystone's enforcement model is not 'flat', the one there is here.");
	return 0;
}

/* -- limits --------------------------------------------------------------------------------------- */

static bool is_for(const json_t *limit, const struct endpoint *e)
{
	const char *service = get_string(limit, "service_id"), *region = get_string(limit, "region_id");

	if (!service || strcmp(service, e->service_id) != 0)
		return false;
	return !*e->region_id || (region && strcmp(region, e->region_id) == 0);
}

/* -1 is: none. */
static int get_value(const json_t *limit, const char *key, unsigned shift, int64_t *ret, struct err *err)
{
	const json_t *value = json_object_get(limit, key);
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value) || n < -1 || n > INT64_MAX >> shift)
		return refuse(err, "a limit is no number");
	*ret = n < 0 ? QUOTA_NONE : (int64_t)n << shift;
	return 0;
}

/* The first one of a name counts, as for others that ask. */
static int take_limit(const json_t *limit, const char *key, struct quota *quota, unsigned *seen,
		      struct err *err)
{
	const char *name = get_string(limit, "resource_name");

	for (size_t i = 0; name && i < ARRAY_LEN(resources); i++) {
		if (strcmp(name, resources[i].name) != 0 || *seen & 1u << i)
			continue;
		*seen |= 1u << i;
		return get_value(limit, key, resources[i].shift,
				 (int64_t *)((char *)quota + resources[i].offset), err);
	}
	return 0;
}

/* @project NULL: of all. Keystone has been asked for these alone, but we look: a limit of somebody else's
 * would be the wrong one. */
static int take_limits(const char *text, size_t n, const char *list_key, const char *value_key,
		       const struct endpoint *endpoint, const char *project, struct quota *quota,
		       struct err *err)
{
	AUTO(json_decref_p) json_t *json = NULL;
	json_t *list = NULL, *limit;
	struct quota taken = *quota;
	unsigned seen = 0;
	size_t i;
	int r = parse(text, n, &json, err);

	if (r == 0)
		r = get_list(json, list_key, &list, err);
	if (r < 0)
		return r;
	json_array_foreach(list, i, limit)
	{
		const char *owner = get_string(limit, "project_id");

		if (!is_for(limit, endpoint) || (project && (!owner || strcmp(owner, project) != 0)))
			continue;
		r = take_limit(limit, value_key, &taken, &seen, err);
		if (r < 0)
			return r;
	}
	*quota = taken;
	return 0;
}

int answer_registered(const char *text, size_t n, const struct endpoint *endpoint, struct quota *quota,
		      struct err *err)
{
	return take_limits(text, n, "registered_limits", "default_limit", endpoint, NULL, quota, err);
}

int answer_project(const char *text, size_t n, const struct endpoint *endpoint, const char *project,
		   struct quota *quota, struct err *err)
{
	return take_limits(text, n, "limits", "resource_limit", endpoint, project, quota, err);
}

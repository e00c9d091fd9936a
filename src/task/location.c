/* SPDX-License-Identifier: Apache-2.0
 * task/location.c -- a location that is asked for, from JSON and back. */
#include "task/location.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static bool is_text(const json_t *value)
{
	return json_string_length(value) > 0 && strlen(json_string_value(value)) == json_string_length(value);
}

static int check_members(const json_t *body, struct err *err)
{
	const json_t *value;
	const char *key;

	json_object_foreach((json_t *)body, key,
			    value) if (strcmp(key, "url") != 0 &&
				       strcmp(key, "validation_data") !=
					       0) return err_set(err, ERR_INVALID,
								 "A location is asked for by its 'url' and "
								 "'validation_data', nothing else.");
	return 0;
}

int location_request_parse(const json_t *body, const char **ret_url, const json_t **ret_validation_data,
			   struct err *err)
{
	const json_t *url = json_object_get(body, "url"), *data = json_object_get(body, "validation_data");
	int r;

	if (!json_is_object(body))
		return err_set(err, ERR_INVALID, "A location is asked for by a JSON object.");
	r = check_members(body, err);
	if (r < 0)
		return r;
	if (!is_text(url))
		return err_set(err, ERR_INVALID, "A location needs a 'url'.");
	if (data && !json_is_null(data) && !json_is_object(data))
		return err_set(err, ERR_INVALID, "validation_data has to be an object.");
	*ret_url = json_string_value(url);
	*ret_validation_data = json_object_size(data) > 0 ? data : NULL;
	return 0;
}

static json_t *make_input(const char *image_id, const char *url, const json_t *validation_data)
{
	json_t *input = json_pack("{s:s, s:s}", "image_id", image_id, "loc_url", url);

	if (input && validation_data &&
	    json_object_set(input, "validation_data", (json_t *)validation_data) < 0) {
		json_decref(input);
		return NULL;
	}
	return input;
}

const char *location_task_input(struct arena *a, const char *image_id, const char *url,
				const json_t *validation_data)
{
	json_t *input = make_input(image_id, url, validation_data);
	char *text = input ? json_dumps(input, JSON_ENSURE_ASCII) : NULL;
	const char *result = text ? arena_strdup(a, text) : NULL;

	free(text);
	json_decref(input);
	return result;
}

static int parse_job(const json_t *input, struct arena *a, struct location_job *ret, struct err *err)
{
	const json_t *url = json_object_get(input, "loc_url"),
		     *data = json_object_get(input, "validation_data");

	if (!is_text(url) || (data && !json_is_object(data)))
		return err_set(err, ERR_INVALID, "The task has no input that it could be run with");
	ret->url = arena_strdup(a, json_string_value(url));
	if (!ret->url)
		return err_nomem(err);
	ret->validation_data = data ? json_incref((json_t *)data) : NULL;
	return 0;
}

/* Twice: Jansson does not tell what is no JSON from memory that ran out, and we have written this text. */
int location_job_parse(const char *text, struct arena *a, struct location_job *ret, struct err *err)
{
	json_t *input = NULL;
	int r;

	*ret = (struct location_job){0};
	for (int tries = 0; text && !input && tries < 2; tries++)
		input = json_loads(text, 0, NULL);
	r = parse_job(input, a, ret, err);
	json_decref(input);
	return r;
}

void location_job_done(struct location_job *job)
{
	json_decref(job->validation_data);
	job->validation_data = NULL;
}

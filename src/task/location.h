/* SPDX-License-Identifier: Apache-2.0
 * task/location.h -- the body of POST /v2/images/{id}/locations, and the input of the task that it makes. */
#pragma once

#include <jansson.h>

#include "task/task.h"

/* {"url": ..., "validation_data": {...}}. Borrowed from @body; *ret_validation_data NULL if there is none.
 * What it says is checked elsewhere. ERR_INVALID: no object, no url, members that are not known. */
int location_request_parse(const json_t *body, const char **ret_url, const json_t **ret_validation_data,
			   struct err *err);

/* As JSON text. Arena; NULL without memory. */
const char *location_task_input(struct arena *a, const char *image_id, const char *url,
				const json_t *validation_data);

/* And back. The URL goes to @a. */
struct location_job {
	const char *url;
	json_t *validation_data; /* a reference of its own; NULL if there is none */
};
int location_job_parse(const char *input, struct arena *a, struct location_job *ret, struct err *err);
void location_job_done(struct location_job *job); /* a zeroed one is fine */

/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_task.c -- any body of POST .../import and POST /v2/tasks, any input of a task. What was taken
 * once is taken again from the input that is made of it, and no redacted text has a query. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "task/location.h"
#include "task/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ID "c0ffee00-0000-4000-8000-000000000001"

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void try_import(const json_t *body, struct arena *a)
{
	struct import_request request;
	struct import_job job;
	const char *input;

	if (import_request_parse(body, NULL, NULL, a, &request, NULL) < 0)
		return;
	input = import_task_input(a, ID, body, request.stores, request.n_stores);
	require(input && import_job_parse(input, a, &job, NULL) == 0);
	require(job.request.method == request.method && job.request.n_stores == request.n_stores);
	require(job.request.all_stores_must_succeed == request.all_stores_must_succeed);
}

static void try_task(const json_t *body, struct arena *a)
{
	struct import_from from;
	const char *type, *input;

	if (task_request_parse(body, a, &type, &input, NULL) < 0)
		return;
	if (import_from_parse(input, a, &from, NULL) == 0)
		import_from_done(&from);
}

static void try_location(const json_t *body, struct arena *a)
{
	const json_t *validation_data;
	struct location_job job;
	const char *url, *input;

	if (location_request_parse(body, &url, &validation_data, NULL) < 0)
		return;
	input = location_task_input(a, ID, url, validation_data);
	require(input && location_job_parse(input, a, &job, NULL) == 0);
	require(strcmp(job.url, url) == 0 && json_equal(job.validation_data, validation_data) == (validation_data != NULL));
	location_job_done(&job);
}

static char *copy_text(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1);

	require(text);
	memcpy(text, data, size);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a = {0};
	struct import_job job;
	char *text = copy_text(data, size);
	json_t *body = json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
	const char *shown, *url;

	if (body) {
		try_import(body, &a);
		try_task(body, &a);
		try_location(body, &a);
	}
	(void)import_job_parse(text, &a, &job, NULL);
	shown = task_redact_json(&a, text);
	url = task_redact_url(&a, text);
	require(shown && url && strcmp(task_redact_url(&a, url), url) == 0);
	json_decref(body);
	free(text);
	arena_done(&a);
	return 0;
}

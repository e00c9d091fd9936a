/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_limits.c -- any text as what Keystone says about limits. A quota that comes out is one:
 * none below "no limit"; where an answer is refused, the quota is as it was. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "limits/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_quota(const struct quota *q, const struct quota *before, int r)
{
	require(r == 0 || (r == ERR_UNAVAILABLE && memcmp(q, before, sizeof(*q)) == 0));
	require(q->total_octets >= -1 && q->staged_octets >= -1 && q->n_images >= -1 && q->n_uploading >= -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct endpoint ours = {"svc", "here"};
	const struct quota before = {1, 2, 3, 4};
	const char *text = (const char *)data;
	struct endpoint endpoint;
	struct quota quota = before;
	char id[LIMITS_MAX_ID + 1];
	struct err err = {0};

	check_quota(&quota, &before, answer_registered(text, size, &ours, &quota, &err));
	quota = before;
	check_quota(&quota, &before, answer_project(text, size, &ours, "p", &quota, &err));
	if (answer_endpoint(text, size, &endpoint, &err) == 0 ||
	    answer_only_endpoint(text, size, &endpoint, &err) == 0)
		require(strlen(endpoint.service_id) <= LIMITS_MAX_ID &&
			strlen(endpoint.region_id) <= LIMITS_MAX_ID);
	if (answer_only_service(text, size, id, &err) == 0)
		require(strlen(id) <= LIMITS_MAX_ID);
	(void)answer_model(text, size, &err);
	return 0;
}

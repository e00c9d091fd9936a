/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_received.c -- anything as the body of a message: what is accepted is an object, and
 * what is refused says why. */
#include "notify/receive.h"

#include <stdlib.h>

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct received m = {.body = data, .n_bytes = size};
	struct err err = {0};
	json_t *doc = NULL;
	int r = received_document(&m, &doc, &err);

	require(r == 0 || r == ERR_INVALID || r == ERR_NO_MEMORY);
	require(r == 0 ? json_is_object(doc) : doc == NULL && *err.text);
	json_decref(doc);
	return 0;
}

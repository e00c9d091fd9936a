/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_convert.c -- any octets as something compressed. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "convert/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_OCTETS (1 << 20)

struct input {
	const uint8_t *data;
	size_t left;
};

static ssize_t give(void *cls, void *data, size_t n, struct err *err)
{
	struct input *in = cls;

	n = n < 100 ? n : 100; /* in pieces */
	n = n < in->left ? n : in->left;
	memcpy(data, in->data, n);
	in->data += n;
	in->left -= n;
	return (ssize_t)n;
}

static void try_unpack(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct unpack *u = NULL;
	static unsigned char out[4096];
	int64_t sum = 0;
	ssize_t n;

	if (unpack_new(give, &in, MAX_OCTETS, &u, NULL) < 0)
		return;
	while ((n = unpack_read(u, out, sizeof(out), NULL)) > 0)
		sum += n;
	if (sum > MAX_OCTETS)
		abort();
	unpack_free(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_unpack(data, size);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_inspect.c -- any octets as an image that is declared to be of FORMAT (given by the build: a
 * target a reader). However the stream is cut, and whatever the container, the verdict has to be one and the
 * same.
 *
 * What a reader looks at can be far apart. So the input is dealt out: the first octets of it to the first
 * place, the next to the second, and so on; between them are zeros. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "store/inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_OCTETS ((size_t)2 * 1024 * 1024 + 65536 + 4096)

struct place {
	const char *format;
	size_t at, n;
};

/* Others than these are at the beginning. The same are in inspect_seeds.py. */
static const struct place places[] = {
	{"iso", 0, 512},
	{"iso", 32768, 4096},
	{"vhdx", 0, 64},
	{"vhdx", 192 * 1024, 1024},
	{"vhdx", 2048 * 1024, 1024},
	{"vhdx", 2112 * 1024, 64},
};

static unsigned char stream[MAX_OCTETS]; /* zeros between two inputs */

static size_t deal(const uint8_t *data, size_t size)
{
	size_t end = 0;

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		size_t n = places[i].n < size ? places[i].n : size;

		if (strcmp(places[i].format, FORMAT) != 0)
			continue;
		memcpy(stream + places[i].at, data, n);
		end = places[i].at + n;
		data += n;
		size -= n;
	}
	if (end > 0)
		return end;
	size = size < sizeof(stream) ? size : sizeof(stream);
	memcpy(stream, data, size);
	return size;
}

struct verdict {
	int r;
	struct err err;
	struct inspect_result result;
};

static struct verdict inspect(const struct inspect_rules *rules, const char *container, size_t n,
			      size_t first, size_t piece)
{
	AUTO(inspect_free_p) struct inspect *i = NULL;
	struct verdict v = {0};
	size_t k = first;

	if (inspect_new(rules, FORMAT, container, &i, &v.err) < 0)
		abort();
	for (size_t at = 0; at < n && v.r == 0; at += k, k = piece) {
		k = k < n - at ? k : n - at;
		v.r = inspect_update(i, stream + at, k, &v.err);
	}
	if (v.r == 0)
		v.r = inspect_finish(i, &v.result, &v.err);
	if (v.r != 0 && v.r != ERR_MEDIA_TYPE)
		abort();
	if (v.r == 0 && v.result.virtual_size < INSPECT_SIZE_UNKNOWN)
		abort();
	return v;
}

static void try_cuts(const struct inspect_rules *rules, const char *container, size_t n)
{
	struct verdict whole = inspect(rules, container, n, n, n);
	size_t first = n > 0 ? stream[n / 2] : 0; /* anything that the input decides */
	struct verdict cut = inspect(rules, container, n, first, n > 100000 ? 50021 : n > 8192 ? 4099 : 257);

	if (whole.r != cut.r || strcmp(whole.err.text, cut.err.text) != 0 ||
	    whole.result.virtual_size != cut.result.virtual_size ||
	    whole.result.format != cut.result.format || strcmp(whole.result.remark, cut.result.remark) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = {"streamOptimized", "monolithicSparse", NULL};
	static const struct inspect_rules strict = {.must_match = true, .vmdk_types = types},
					  lax = {.gpt_nonfatal = true, .vmdk_types = types};
	size_t n = deal(data, size);

	try_cuts(&strict, "bare", n);
	try_cuts(&strict, "ovf", n);
	try_cuts(&lax, "bare", n);
	memset(stream, 0, n);
	return 0;
}

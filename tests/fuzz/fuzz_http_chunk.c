/* SPDX-License-Identifier: Apache-2.0
 * fuzz_http_chunk.c -- a chunked body must decode to the same octets whole and in pieces, and must
 * never yield more data than came in. */
#include "http/chunk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
	enum chunk_verdict verdict;
	size_t used, n_data;
	uint32_t sum;
};

static void read_piece(struct chunk *c, const char *in, size_t n, struct result *r)
{
	size_t used, take;

	for (;;) {
		r->verdict = chunk_next(c, in, n, &used);
		assert(used <= n);
		in += used;
		n -= used;
		r->used += used;
		if (r->verdict != CHUNK_DATA || !n)
			return;
		take = n < c->left ? n : (size_t)c->left;
		for (size_t i = 0; i < take; i++)
			r->sum = r->sum * 31 + (unsigned char)in[i];
		chunk_took(c, take);
		in += take;
		n -= take;
		r->used += take;
		r->n_data += take;
	}
}

static struct result read_pieces(const uint8_t *data, size_t size, size_t step)
{
	struct chunk c = {0};
	struct result r = {.verdict = CHUNK_MORE};

	for (size_t i = 0; i < size && r.verdict != CHUNK_BAD && r.verdict != CHUNK_END; i += step) {
		size_t n = size - i < step ? size - i : step;
		char *piece = malloc(n);

		memcpy(piece, data + i, n);
		read_piece(&c, piece, n, &r);
		free(piece);
	}
	assert(r.n_data <= r.used && r.used <= size);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result a, b;

	if (size < 2)
		return 0;
	a = read_pieces(data + 1, size - 1, size);
	b = read_pieces(data + 1, size - 1, data[0] % 16 + 1);
	assert(a.verdict == b.verdict && a.used == b.used && a.n_data == b.n_data && a.sum == b.sum);
	return 0;
}

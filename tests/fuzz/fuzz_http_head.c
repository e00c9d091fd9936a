/* SPDX-License-Identifier: Apache-2.0
 * fuzz_http_head.c -- a request head must be read the same way whole and in pieces, and what is
 * accepted must be free of everything that two readers could understand in two ways. */
#include "http/head.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "http/router.h"
#include "http/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct head_limits limits = {.max_bytes = 4096, .max_fields = 32};

static enum head_verdict parse_pieces(struct head *h, const uint8_t *data, size_t size, size_t step,
				      char **ret)
{
	enum head_verdict v = HEAD_MORE;
	char *text = NULL;

	for (size_t n = 0; n < size && v == HEAD_MORE;) {
		size_t more = size - n < step ? size - n : step;
		char *moved = malloc(n + more);

		if (n)
			memcpy(moved, text, n);
		memcpy(moved + n, data + n, more);
		free(text);
		text = moved;
		n += more;
		v = head_parse(h, text, n, &limits);
	}
	*ret = text;
	return v;
}

static void check_accepted(const struct head *h)
{
	struct arena arena = {0};
	const struct http_pair *pairs;
	size_t n;

	assert(h->content_length >= 0 && h->size <= limits.max_bytes && h->n_fields <= limits.max_fields);
	assert(head_find(h, "Host", NULL) <= 1 && head_find(h, "Content-Length", NULL) <= 1);
	assert(!h->chunked || head_find(h, "Content-Length", NULL) == 0);
	for (unsigned i = 0; i < h->n_fields; i++)
		for (const char *c = h->text + h->fields[i].value; *c; c++)
			assert((unsigned char)*c >= ' ' || *c == '\t');
	for (const char *c = head_path(h); *c; c++)
		assert(*c > ' ' && *c < 0x7f);
	if (head_query(h))
		(void)uri_query(&arena, head_query(h), &pairs, &n);
	arena_done(&arena);
}

static void route(const struct head *h)
{
	static const struct http_route table[] = {
		{.method = "GET", .path = "/v2/images/{id}"},
		{.method = "GET", .path = "/{a}/{b}/c"},
		{.method = "GET", .path = "/v2/"},
		{NULL},
	};
	struct router *router = NULL;
	struct router_match match;
	char *scratch = malloc(strlen(head_path(h)) + 1);

	if (router_new(table, &router, NULL) == 0)
		(void)router_match(router, head_method(h), head_path(h), scratch, &match);
	router_free(router);
	free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct head whole = {0}, pieces = {0};
	enum head_verdict a, b;
	char *text_a = NULL, *text_b = NULL;

	if (size < 2)
		return 0;
	a = parse_pieces(&whole, data + 1, size - 1, size, &text_a);
	b = parse_pieces(&pieces, data + 1, size - 1, data[0] % 16 + 1, &text_b);
	assert(a == b && whole.status == pieces.status && whole.size == pieces.size);
	if (a == HEAD_DONE) {
		assert(memcmp(text_a, text_b, whole.size) == 0);
		check_accepted(&whole);
		route(&whole);
	}
	head_done(&whole);
	head_done(&pieces);
	free(text_a);
	free(text_b);
	return 0;
}

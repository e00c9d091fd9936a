/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_query.c -- any parameters of a list request: name, 0x01, value, 0x02, and so on.
 * What is accepted must be something that a database can answer. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"
#include "image/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_PARAMS 160 /* more than the parser takes */

static void require(bool holds)
{
	if (!holds)
		abort();
}

static size_t split(char *s, struct query_param *params)
{
	size_t n = 0;

	for (char *rest = s; rest && n < MAX_PARAMS;) {
		char *param = strsep(&rest, "\x02");
		char *name = strsep(&param, "\x01");

		params[n++] = (struct query_param){name, param ? param : ""};
	}
	return n;
}

static void check_filter(const struct image_filter *f)
{
	bool textual = f->field <= FIELD_DISK_FORMAT || f->field == FIELD_PROPERTY ||
		       (f->field >= FIELD_OWNER && f->field <= FIELD_OS_HASH_VALUE);

	require((f->field == FIELD_PROPERTY) == (f->property != NULL));
	require(textual || f->op != OP_IN);
	require(!textual || f->op == OP_IN || (f->op == OP_EQ && f->n_texts == 1));
	require(f->n_texts <= 1000);
	for (size_t i = 0; i < f->n_texts; i++)
		require(utf8_is_valid(f->texts[i], strlen(f->texts[i])));
}

static void check_query(const struct image_query *q)
{
	bool has_created_at = false, has_id = false;

	require(q->limit >= 0 && q->limit <= 1000);
	require(q->n_sorts >= 2 && q->n_sorts <= 8);
	for (size_t i = 0; i < q->n_sorts; i++) {
		require(q->sorts[i].field <= FIELD_UPDATED_AT);
		has_created_at = has_created_at || q->sorts[i].field == FIELD_CREATED_AT;
		has_id = has_id || q->sorts[i].field == FIELD_ID;
	}
	require(has_created_at && has_id);
	for (size_t i = 0; i < q->n_filters; i++)
		check_filter(&q->filters[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct query_limits limits = {25, 1000};
	struct query_param params[MAX_PARAMS];
	AUTO(arena_done) struct arena a = {0};
	char *text = arena_strndup(&a, (const char *)data, size);
	struct image_query q;
	struct err err = {0};
	int r;

	if (!text)
		return 0;
	r = image_query_parse(params, split(text, params), &limits, &a, &q, &err);
	require(r == err.code);
	require(utf8_is_valid(err.text, strlen(err.text)));
	if (r == 0)
		check_query(&q);
	return 0;
}

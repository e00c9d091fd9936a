/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/list_sql.h -- an image_query as SQL: text without anything of the client's, and the
 * values to bind. Pure: touches no database. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "image/query.h"

/* A marker has a value for each of the fields an image can be sorted by. */
#define N_SORTABLE (FIELD_UPDATED_AT + 1)

enum list_param_kind { PARAM_TEXT, PARAM_INT, PARAM_MARKER };

struct list_param {
	enum list_param_kind kind;
	const char *text;
	int64_t number;
	enum image_field field; /* PARAM_MARKER: its value of this field */
};

#define LIST_MAX_BRANCHES 4

/* The page is the first rows of all branches together; a row may be in several. None: there is nothing
 * this caller can see. */
struct list_sql {
	struct buf branches[LIST_MAX_BRANCHES]; /* rows: rowid, id, then what is sorted by, in that order */
	size_t n_branches;
	struct list_param *params; /* of all branches; each uses some of them, by number */
	size_t n_params;
};

/* @marker_nulls NULL: first page; else which of the marker's values are NULL. False without memory.
 * list_sql_done() in any case. Values are borrowed from @q and @a. */
bool list_sql_build(const struct image_query *q, const bool *marker_nulls, struct arena *a,
		    struct list_sql *ret);
void list_sql_done(struct list_sql *l);

/* Parameters: marker, sees everything (0/1), project. Row: the sortable fields in order. */
extern const char list_marker_sql[];

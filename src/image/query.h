/* SPDX-License-Identifier: Apache-2.0
 * image/query.h -- GET /v2/images?...: the filters, the order and the page a client asks for. The
 * parsing is pure; the database answers it (db/db.h). */
#pragma once

#include "image/image.h"

struct err;

enum image_field {
	FIELD_ID,
	FIELD_NAME,
	FIELD_STATUS,
	FIELD_CONTAINER_FORMAT,
	FIELD_DISK_FORMAT,
	FIELD_SIZE,
	FIELD_CREATED_AT,
	FIELD_UPDATED_AT,
	FIELD_OWNER,
	FIELD_CHECKSUM,
	FIELD_OS_HASH_ALGO,
	FIELD_OS_HASH_VALUE,
	FIELD_VIRTUAL_SIZE,
	FIELD_MIN_DISK,
	FIELD_MIN_RAM,
	FIELD_PROTECTED,
	FIELD_PROPERTY, /* a custom property, by name */
};

enum filter_op { OP_EQ, OP_NEQ, OP_GT, OP_GTE, OP_LT, OP_LTE, OP_IN };

struct image_filter {
	enum image_field field;
	enum filter_op op;
	const char *property;       /* FIELD_PROPERTY: its name */
	const char *const *texts;   /* textual fields: the value, or the values of OP_IN */
	size_t n_texts;
	int64_t number;             /* numeric fields; times in microseconds; protected 0/1 */
};

struct image_sort {
	enum image_field field; /* one of the first eight */
	bool descending;
};

enum visibility_filter { SHOW_DEFAULT, SHOW_ALL, SHOW_ONE }; /* no parameter, =all, =a visibility */
enum member_filter { MEMBERS_ACCEPTED, MEMBERS_PENDING, MEMBERS_REJECTED, MEMBERS_ALL };

struct image_query {
	/* Who asks; filled by the service, not from the query string. */
	bool sees_everything;  /* admin */
	const char *project;   /* NULL: none; then only public (and community, if asked) */
	bool with_locations;   /* load them, too */

	enum visibility_filter visibility_filter;
	enum image_visibility visibility; /* with SHOW_ONE */
	enum member_filter members;       /* which shared-with-me images count */
	bool os_hidden;                   /* default false */

	struct image_filter *filters; /* all must hold */
	size_t n_filters;
	const char **tags; /* the image has all of them */
	size_t n_tags;

	/* Always ends with created_at, id as tie-breakers, so that the order is total. */
	struct image_sort *sorts;
	size_t n_sorts;

	int64_t limit;      /* rows wanted; already capped */
	const char *marker; /* id of the last row of the page before; NULL: first page */
};

struct query_param {
	const char *name, *value; /* percent-decoded UTF-8 */
};

struct query_limits {
	int64_t default_limit, max_limit; /* limit_param_default, api_limit_max */
};

/* In the order in which they stood in the URL. ERR_INVALID with one sentence for: unknown sort key
 * or direction, sort mixed with sort_key/sort_dir, bad limit, bad size, bad date, bad visibility,
 * bad member_status, changes-since, bad in: list, too many parameters. Strings are copied to @a. */
int image_query_parse(const struct query_param *params, size_t n_params, const struct query_limits *limits,
		      struct arena *a, struct image_query *ret, struct err *err);

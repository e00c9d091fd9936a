/* SPDX-License-Identifier: Apache-2.0
 * task/query.h -- GET /v2/tasks?...: filters, order and page. */
#pragma once

#include "image/query.h"
#include "task/task.h"

enum task_sort { TASK_BY_CREATED_AT, TASK_BY_UPDATED_AT, TASK_BY_EXPIRES_AT, TASK_BY_STATUS, TASK_BY_TYPE, TASK_BY_ID };

struct task_query {
	/* Filled in by the service. */
	bool sees_everything;  /* admin */
	const char *project;   /* otherwise: only the tasks of this owner; NULL: none */
	int64_t now;           /* tasks that expired before are not there */
	const char *image_id;  /* only those of this image; NULL: all */

	const char *type, *owner; /* filters; NULL: all */
	bool has_status;
	enum task_status status;
	enum task_sort sort;   /* default created_at; ties by created_at, then id, in the same direction */
	bool ascending;        /* default descending */
	int64_t limit;         /* rows wanted, already capped; -1: all */
	const char *marker;    /* id of the last row of the page before; NULL: first page */
};

/* Parameters type, status, owner, sort_key, sort_dir, limit, marker; another one is ERR_INVALID, and so
 * is a bad value. Strings are copied to @a. */
int task_query_parse(const struct query_param *params, size_t n_params, const struct query_limits *limits,
		     struct arena *a, struct task_query *ret, struct err *err);

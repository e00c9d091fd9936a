/* SPDX-License-Identifier: Apache-2.0
 * task/query.c -- the parameters of GET /v2/tasks. */
#include "task/query.h"

#include <string.h>

#include "base/err.h"

static const char *const sort_names[] = {
	[TASK_BY_CREATED_AT] = "created_at", [TASK_BY_UPDATED_AT] = "updated_at", [TASK_BY_EXPIRES_AT] = "expires_at",
	[TASK_BY_STATUS] = "status",         [TASK_BY_TYPE] = "type",             [TASK_BY_ID] = "id",
};

static int set_sort_key(struct task_query *q, const char *value, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(sort_names); i++) {
		if (strcmp(sort_names[i], value) != 0)
			continue;
		q->sort = (enum task_sort)i;
		return 0;
	}
	return err_set(err, ERR_INVALID, "sort_key has to be one of created_at, updated_at, expires_at, status, type, id.");
}

static int set_sort_dir(struct task_query *q, const char *value, struct err *err)
{
	q->ascending = strcmp(value, "asc") == 0;
	if (!q->ascending && strcmp(value, "desc") != 0)
		return err_set(err, ERR_INVALID, "sort_dir has to be asc or desc.");
	return 0;
}

static int set_status(struct task_query *q, const char *value, struct err *err)
{
	q->has_status = task_status_parse(value, &q->status);
	return q->has_status ? 0 :
			       err_set(err, ERR_INVALID, "status has to be pending, processing, success or failure.");
}

static int set_type(struct task_query *q, const char *value, struct err *err)
{
	if (strcmp(value, TASK_TYPE_IMPORT) == 0)
		q->type = TASK_TYPE_IMPORT;
	else if (strcmp(value, TASK_TYPE_API_IMAGE_IMPORT) == 0)
		q->type = TASK_TYPE_API_IMAGE_IMPORT;
	else if (strcmp(value, TASK_TYPE_LOCATION_IMPORT) == 0)
		q->type = TASK_TYPE_LOCATION_IMPORT;
	else
		return err_set(err, ERR_INVALID, "type has to be import, api_image_import or location_import.");
	return 0;
}

static int set_limit(struct task_query *q, const char *value, struct err *err)
{
	int64_t n = 0;

	if (!*value)
		return err_set(err, ERR_INVALID, "limit has to be a number.");
	for (const char *p = value; *p; p++) {
		if (*p < '0' || *p > '9')
			return err_set(err, ERR_INVALID, "limit has to be a number.");
		if (n < 1000000000)
			n = n * 10 + (*p - '0');
	}
	q->limit = n;
	return 0;
}

static int set_marker(struct task_query *q, const char *value, struct err *err)
{
	if (!uuid_is_canonical(value))
		return err_set(err, ERR_INVALID, "marker has to be the id of a task.");
	q->marker = value;
	return 0;
}

static int set_owner(struct task_query *q, const char *value, struct err *err)
{
	q->owner = value;
	return 0;
}

static const struct {
	const char *name;
	int (*set)(struct task_query *q, const char *value, struct err *err);
} params_known[] = {
	{"type", set_type},         {"status", set_status}, {"owner", set_owner},   {"sort_key", set_sort_key},
	{"sort_dir", set_sort_dir}, {"limit", set_limit},   {"marker", set_marker},
};

static int set_param(struct task_query *q, const struct query_param *p, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(params_known); i++)
		if (strcmp(params_known[i].name, p->name) == 0)
			return params_known[i].set(q, p->value, err);
	return err_set(err, ERR_INVALID,
		       "Tasks are asked for by type, status, owner, sort_key, sort_dir, limit and marker only.");
}

static int copy(struct arena *a, const char **text, struct err *err)
{
	if (!*text)
		return 0;
	*text = arena_strdup(a, *text);
	return *text ? 0 : err_nomem(err);
}

int task_query_parse(const struct query_param *params, size_t n_params, const struct query_limits *limits,
		     struct arena *a, struct task_query *ret, struct err *err)
{
	struct task_query q = {.limit = limits->default_limit};
	int r = 0;

	for (size_t i = 0; i < n_params && r == 0; i++)
		r = set_param(&q, &params[i], err);
	if (r == 0)
		r = copy(a, &q.owner, err);
	if (r == 0)
		r = copy(a, &q.marker, err);
	if (r < 0)
		return r;
	if (q.limit > limits->max_limit)
		q.limit = limits->max_limit;
	*ret = q;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * base/json.c -- Jansson with an eye on memory. */
#include "json.h"

#include <pthread.h>
#include <stdlib.h>

#include "err.h"

static _Thread_local bool starved;

static void *allocate(size_t n)
{
	void *p = malloc(n);

	starved |= !p;
	return p;
}

static void watch(void)
{
	json_set_alloc_funcs(allocate, free);
}

void json_watch_memory(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, watch);
}

int json_read(const char *text, size_t n, size_t flags, json_t **ret, json_error_t *ret_why, struct err *err)
{
	json_t *json;

	starved = false;
	json = json_loadb(text, n, flags, ret_why);
	if (starved) {
		json_decref(json);
		return err_nomem(err);
	}
	if (!json)
		return ERR_INVALID;
	*ret = json;
	return 0;
}

void json_decref_p(json_t **json)
{
	json_decref(*json);
}

/* SPDX-License-Identifier: Apache-2.0
 * limits/answer.h -- what Keystone says, @n octets of JSON at @text. Whatever is not what it should be is
 * ERR_UNAVAILABLE: half an answer is none. Without memory: ERR_NO_MEMORY. */
#pragma once

#include "limits/limits.h"

#define LIMITS_MAX_ID 255 /* octets of an id in Keystone */

/* Which service, where. */
struct endpoint {
	char service_id[LIMITS_MAX_ID + 1];
	char region_id[LIMITS_MAX_ID + 1]; /* "": none */
};

int answer_endpoint(const char *text, size_t n, struct endpoint *ret, struct err *err);
/* The only one of a list; ERR_UNAVAILABLE as well if there are more or none. */
int answer_only_endpoint(const char *text, size_t n, struct endpoint *ret, struct err *err);
int answer_only_service(const char *text, size_t n, char ret_id[LIMITS_MAX_ID + 1], struct err *err);
/* ERR_UNAVAILABLE unless the limits of a project are its own alone (flat). */
int answer_model(const char *text, size_t n, struct err *err);
/* Puts into @quota what the list has for @endpoint; what it does not name is left alone. */
int answer_registered(const char *text, size_t n, const struct endpoint *endpoint, struct quota *quota,
		      struct err *err);
int answer_project(const char *text, size_t n, const struct endpoint *endpoint, const char *project,
		   struct quota *quota, struct err *err);

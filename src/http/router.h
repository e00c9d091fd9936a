/* SPDX-License-Identifier: Apache-2.0
 * http/router.h -- from a method and a path to a route. */
#pragma once

#include "http.h"

#define ROUTER_MAX_PARAMS 8

struct router;

enum router_verdict {
	ROUTER_FOUND,
	ROUTER_NO_PATH,   /* 404 */
	ROUTER_NO_METHOD, /* 405: the path exists; see `allow` */
	ROUTER_BAD_PATH,  /* 400: a malformed escape, a NUL, not UTF-8 */
};

struct router_match {
	const struct http_route *route; /* FOUND */
	const char *allow; /* NO_METHOD: "GET, PATCH", as the table lists them. Borrowed from the router */
	unsigned n_params; /* FOUND */
	const char *names[ROUTER_MAX_PARAMS];  /* borrowed from the router */
	const char *values[ROUTER_MAX_PARAMS]; /* decoded, in the scratch */
};

/* Borrows @routes (ends with a NULL method). A table that contradicts itself is ERR_INTERNAL. */
int router_new(const struct http_route *routes, struct router **ret, struct err *err);
void router_free(struct router *r);
void router_free_p(struct router **r);

/* @scratch has room for strlen(path) + 1 octets and must live as long as the match. A literal
 * segment is preferred to a parameter. "." and ".." are never parameters. */
enum router_verdict router_match(const struct router *r, const char *method, const char *path, char *scratch,
				 struct router_match *ret);

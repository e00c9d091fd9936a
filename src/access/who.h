/* SPDX-License-Identifier: Apache-2.0
 * access/who.h -- who asks, and how that is found out. */
#pragma once

#include "base/arena.h"
#include "base/log.h"
#include "image/rights.h"

struct err;

enum role {
	ROLE_READER = 1 << 0,
	ROLE_MEMBER = 1 << 1,
	ROLE_ADMIN = 1 << 2,
	ROLE_SERVICE = 1 << 3,
};

/* Borrowed strings; NULL where there is none. */
struct who {
	unsigned roles; /* enum role, with what they imply: admin is member, member is reader */
	const char *const *role_names; /* all of them by name, in lower case, those implied too; NULL-terminated. NULL: none */
	const char *user_id, *project_id;
	const char *user_domain_id, *project_domain_id;
	const char *request_id;
	bool is_service_itself; /* acting for somebody who was asked before: no rule is asked again */
	const char *address; /* where the request came from, numeric */
	const struct property_rights *rights; /* to custom properties (access/protection.h); NULL: they are not protected */
};

enum auth_mode {
	AUTH_NONE,     /* nobody is asked, everybody is admin */
	AUTH_TRUSTED,  /* identity headers set by a proxy in front */
	AUTH_KEYSTONE, /* a token that Keystone knows; who_from_headers() is not for it */
};

/* [paste_deploy] flavor. ERR_INVALID for one that we do not have. */
int auth_mode_parse(const char *flavor, enum auth_mode *ret, struct err *err);

/* How to read a header of the request: its value, or NULL; *ret_count: how often it was there. */
typedef const char *header_fn(void *cls, const char *name, unsigned *ret_count);

/* Fills roles, user and project of @ret; the rest is the caller's. ERR_UNAUTHENTICATED unless the
 * proxy confirmed an identity; ERR_INVALID for a header that is there twice. Strings go to @a. */
int who_from_headers(enum auth_mode mode, header_fn *header, void *cls, struct arena *a, struct who *ret,
		     struct err *err);

/* Sets roles and role_names by @names, which become lower case and are borrowed by @who. The list goes to @a. */
int who_set_roles(struct who *who, char **names, size_t n, struct arena *a, struct err *err);

bool who_is_admin(const struct who *who);
bool who_has_role(const struct who *who, const char *name); /* @name in lower case */
bool who_owns(const struct who *who, const char *owner); /* same project; nobody owns what has no owner */
struct log_ctx who_log(const struct who *who);

/* SPDX-License-Identifier: Apache-2.0
 * access/who.c -- identities: nobody asked, or trusted headers.
 *
 * Trusted headers are believed as they are, which is why serve refuses to listen on anything but
 * loopback with them. A header that comes twice is refused: two values are how a client smuggles
 * its own past a proxy that appends. */
#include "access/who.h"

#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/utf8.h"

#define MAX_ID_BYTES 255

int auth_mode_parse(const char *flavor, enum auth_mode *ret, struct err *err)
{
	if (!flavor || !*flavor) {
		*ret = AUTH_NONE;
		return 0;
	}
	if (strcmp(flavor, "trusted-auth") == 0) {
		*ret = AUTH_TRUSTED;
		return 0;
	}
	return err_set(err, ERR_INVALID,
		       "[paste_deploy] flavor = %s: this version knows trusted-auth and the empty flavor", flavor);
}

static unsigned role_from_name(const char *name, size_t n)
{
	static const struct {
		const char *name;
		unsigned roles;
	} known[] = {
		{"admin", ROLE_ADMIN | ROLE_MEMBER | ROLE_READER},
		{"member", ROLE_MEMBER | ROLE_READER},
		{"reader", ROLE_READER},
		{"service", ROLE_SERVICE},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strlen(known[i].name) == n && strncasecmp(known[i].name, name, n) == 0)
			return known[i].roles;
	return 0;
}

/* "admin, Member,reader": comma-separated, any case. A role implies the lower ones, as Keystone's
 * bootstrap sets it up. */
static unsigned roles_parse(const char *list)
{
	unsigned roles = 0;

	while (*list) {
		size_t n;

		list += strspn(list, " \t,");
		n = strcspn(list, ",");
		while (n > 0 && (list[n - 1] == ' ' || list[n - 1] == '\t'))
			n--;
		roles |= role_from_name(list, n);
		list += strcspn(list, ",");
	}
	return roles;
}

/* *ret stays NULL for a header that is absent or empty. */
static int header_once(header_fn *header, void *cls, const char *name, const char **ret, struct err *err)
{
	unsigned count = 0;
	const char *value = header(cls, name, &count);

	if (count > 1)
		return err_set(err, ERR_INVALID, "The header %s is there more than once.", name);
	*ret = value && *value ? value : NULL;
	return 0;
}

/* It goes into records and events, which are text; the columns have this width. */
static int check_id(const char *name, const char *id, struct err *err)
{
	size_t n = id ? strlen(id) : 0;

	if (n > MAX_ID_BYTES || (n > 0 && !utf8_is_valid(id, n)))
		return err_set(err, ERR_INVALID, "The header %s is not a text of at most %d octets.", name,
			       MAX_ID_BYTES);
	return 0;
}

static int who_from_proxy(header_fn *header, void *cls, struct arena *a, struct who *ret, struct err *err)
{
	enum { STATUS, USER, PROJECT, TENANT, ROLES, N_HEADERS };
	static const char *const names[N_HEADERS] = {"X-Identity-Status", "X-User-Id", "X-Project-Id",
						     "X-Tenant-Id", "X-Roles"};
	const char *values[N_HEADERS];

	for (size_t i = 0; i < N_HEADERS; i++) {
		int r = header_once(header, cls, names[i], &values[i], err);

		if (r == 0)
			r = check_id(names[i], i == ROLES ? NULL : values[i], err);
		if (r < 0)
			return r;
	}
	if (!values[STATUS] || strcmp(values[STATUS], "Confirmed") != 0)
		return err_set(err, ERR_UNAUTHENTICATED, "Authentication is required.");
	if (values[PROJECT] && values[TENANT] && strcmp(values[PROJECT], values[TENANT]) != 0)
		return err_set(err, ERR_INVALID, "X-Project-Id and X-Tenant-Id differ.");
	if (!values[PROJECT])
		values[PROJECT] = values[TENANT];

	ret->roles = values[ROLES] ? roles_parse(values[ROLES]) : 0;
	ret->user_id = arena_strdup(a, values[USER]);
	ret->project_id = arena_strdup(a, values[PROJECT]);
	if ((values[USER] && !ret->user_id) || (values[PROJECT] && !ret->project_id))
		return err_nomem(err);
	return 0;
}

int who_from_headers(enum auth_mode mode, header_fn *header, void *cls, struct arena *a, struct who *ret,
		     struct err *err)
{
	if (mode == AUTH_TRUSTED)
		return who_from_proxy(header, cls, a, ret, err);
	ret->roles = ROLE_ADMIN | ROLE_MEMBER | ROLE_READER;
	ret->user_id = ret->project_id = NULL;
	return 0;
}

bool who_is_admin(const struct who *who)
{
	return who->roles & ROLE_ADMIN;
}

bool who_owns(const struct who *who, const char *owner)
{
	return who->project_id && owner && strcmp(who->project_id, owner) == 0;
}

struct log_ctx who_log(const struct who *who)
{
	return (struct log_ctx){who->request_id, who->user_id, who->project_id};
}

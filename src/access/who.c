/* SPDX-License-Identifier: Apache-2.0
 * access/who.c -- identities: nobody asked, or trusted headers.
 *
 * Trusted headers are believed as they are, which is why serve refuses to listen on anything but
 * loopback with them. A header that comes twice is refused: two values are how a client smuggles
 * its own past a proxy that appends. */
#include "access/who.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/utf8.h"

#define MAX_ID_BYTES 255

int auth_mode_parse(const char *flavor, enum auth_mode *ret, struct err *err)
{
	static const struct {
		const char *name;
		enum auth_mode mode;
	} flavors[] = {
		{"trusted-auth", AUTH_TRUSTED},
		{"keystone", AUTH_KEYSTONE},
		{"keystone+caching", AUTH_KEYSTONE},
		{"keystone+cachemanagement", AUTH_KEYSTONE},
	};

	if (!flavor || !*flavor) {
		*ret = AUTH_NONE;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(flavors); i++) {
		if (strcmp(flavor, flavors[i].name) != 0)
			continue;
		*ret = flavors[i].mode;
		return 0;
	}
	return err_set(err, ERR_INVALID,
		       "[paste_deploy] flavor = %.64s: this version knows keystone, trusted-auth and the empty flavor", flavor);
}

static const struct known_role {
	const char *name;
	enum role role;
	unsigned roles; /* with those implied */
} known_roles[] = {
	{"admin", ROLE_ADMIN, ROLE_ADMIN | ROLE_MEMBER | ROLE_READER},
	{"member", ROLE_MEMBER, ROLE_MEMBER | ROLE_READER},
	{"reader", ROLE_READER, ROLE_READER},
	{"service", ROLE_SERVICE, ROLE_SERVICE},
};

static const struct known_role *known_role(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(known_roles); i++)
		if (strcmp(known_roles[i].name, name) == 0)
			return &known_roles[i];
	return NULL;
}

static bool has_name(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* As they are named, then those that they imply and that were not. */
int who_set_roles(struct who *who, char **names, size_t n, struct arena *a, struct err *err)
{
	const char **all = arena_alloc(a, (n + ARRAY_LEN(known_roles) + 1) * sizeof(*all));
	const struct known_role *known;
	size_t n_all = n;

	if (!all)
		return err_nomem(err);
	who->roles = 0;
	for (size_t i = 0; i < n; i++) {
		for (char *c = names[i]; *c; c++)
			if (*c >= 'A' && *c <= 'Z')
				*c = (char)(*c | 0x20);
		known = known_role(names[i]);
		who->roles |= known ? known->roles : 0;
		all[i] = names[i];
	}
	for (size_t i = 0; i < ARRAY_LEN(known_roles); i++)
		if ((who->roles & known_roles[i].role) && !has_name(all, n_all, known_roles[i].name))
			all[n_all++] = known_roles[i].name;
	all[n_all] = NULL;
	who->role_names = all;
	return 0;
}

/* "admin, Member,reader": comma-separated, any case. A role implies the lower ones, as Keystone's
 * bootstrap sets it up. */
static int roles_parse(const char *list, struct arena *a, struct who *who, struct err *err)
{
	char **names = arena_alloc(a, (strlen(list) / 2 + 1) * sizeof(*names)); /* a name and a comma each */
	size_t n_names = 0;

	if (!names)
		return err_nomem(err);
	while (*list) {
		size_t n;

		list += strspn(list, " \t,");
		n = strcspn(list, ",");
		while (n > 0 && (list[n - 1] == ' ' || list[n - 1] == '\t'))
			n--;
		if (n > 0) {
			names[n_names] = arena_strndup(a, list, n);
			if (!names[n_names++])
				return err_nomem(err);
		}
		list += strcspn(list, ",");
	}
	return who_set_roles(who, names, n_names, a, err);
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

	ret->user_id = arena_strdup(a, values[USER]);
	ret->project_id = arena_strdup(a, values[PROJECT]);
	if ((values[USER] && !ret->user_id) || (values[PROJECT] && !ret->project_id))
		return err_nomem(err);
	return roles_parse(values[ROLES] ? values[ROLES] : "", a, ret, err);
}

int who_from_headers(enum auth_mode mode, header_fn *header, void *cls, struct arena *a, struct who *ret,
		     struct err *err)
{
	static const char *const everything[] = {"admin", "member", "reader", NULL};

	assert(mode != AUTH_KEYSTONE); /* no header is believed there */
	if (mode == AUTH_TRUSTED)
		return who_from_proxy(header, cls, a, ret, err);
	ret->roles = ROLE_ADMIN | ROLE_MEMBER | ROLE_READER;
	ret->role_names = everything;
	ret->user_id = ret->project_id = NULL;
	return 0;
}

bool who_is_admin(const struct who *who)
{
	return who->roles & ROLE_ADMIN;
}

bool who_has_role(const struct who *who, const char *name)
{
	for (const char *const *role = who->role_names; role && *role; role++)
		if (strcmp(*role, name) == 0)
			return true;
	return false;
}

bool who_owns(const struct who *who, const char *owner)
{
	return who->project_id && owner && strcmp(who->project_id, owner) == 0;
}

struct log_ctx who_log(const struct who *who)
{
	return (struct log_ctx){who->request_id, who->user_id, who->project_id};
}

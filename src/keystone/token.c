/* SPDX-License-Identifier: Apache-2.0
 * keystone/token.c -- reads what Keystone says of a token. Anything that is not exactly what Keystone says is
 * no identity: a proxy's page of errors, or half an answer, lets nobody in. */
#include "token.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"

#define MAX_ID 255 /* octets: the columns of the database have this width */
#define MAX_ROLES 256

static int rubbish(struct err *err, const char *what)
{
	return err_set(err, ERR_UNAVAILABLE, "Keystone's answer has no proper %s.", what);
}

static bool is_plain(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return n > 0 && n <= MAX_ID;
}

/* Jansson has checked that it is UTF-8 without a NUL. */
static int copy_text(struct identity *i, const json_t *json, const char *what, const char **ret,
		     struct err *err)
{
	const char *text = json_string_value(json);

	if (!text || !is_plain(text, json_string_length(json)))
		return rubbish(err, what);
	*ret = arena_strdup(&i->arena, text);
	return *ret ? 0 : err_nomem(err);
}

/* {"id": ..., "domain": {"id": ...}} */
static int read_named(struct identity *i, const json_t *json, const char *what, const char **ret_id,
		      const char **ret_domain, struct err *err)
{
	int r = copy_text(i, json_object_get(json, "id"), what, ret_id, err);

	if (r < 0)
		return r;
	return copy_text(i, json_object_get(json_object_get(json, "domain"), "id"), what, ret_domain, err);
}

static int read_roles(struct identity *i, const json_t *json, struct err *err)
{
	size_t n = json_array_size(json);
	char **names;
	int r = 0;

	if (!json_is_array(json) || n == 0 || n > MAX_ROLES)
		return rubbish(err, "roles");
	names = arena_alloc(&i->arena, n * sizeof(*names));
	if (!names)
		return err_nomem(err);
	for (size_t at = 0; at < n && r == 0; at++) {
		const json_t *name = json_object_get(json_array_get(json, at), "name");
		const char *copy = NULL;

		r = copy_text(i, name, "roles", &copy, err);
		names[at] = (char *)copy; /* the arena's, so ours to change */
	}
	return r < 0 ? r : who_set_roles(&i->who, names, n, &i->arena, err);
}

static bool is_true(const json_t *json)
{
	return json && !json_is_false(json) && !json_is_null(json);
}

/* Images belong to projects: who is in none has nothing to ask for. A project that acts as a domain is a
 * domain. */
static bool has_project(const json_t *token)
{
	return json_is_object(json_object_get(token, "project")) &&
	       !is_true(json_object_get(token, "domain")) && !is_true(json_object_get(token, "system")) &&
	       !is_true(json_object_get(token, "is_domain"));
}

/* An application credential may be good for some paths only. We do not compare paths, so it is good for none.
 */
static bool has_rules(const json_t *token)
{
	return is_true(json_object_get(json_object_get(token, "application_credential"), "access_rules"));
}

static int read_token(struct identity *i, const json_t *token, struct err *err)
{
	const char *expires = json_string_value(json_object_get(token, "expires_at"));
	int r;

	if (!expires || !clock_parse(expires, &i->expires_us))
		return rubbish(err, "expiry");
	r = read_named(i, json_object_get(token, "user"), "user", &i->who.user_id, &i->who.user_domain_id,
		       err);
	if (r < 0)
		return r;
	if (has_rules(token)) {
		i->refusal = ERR_UNAUTHENTICATED;
		return 0;
	}
	if (!has_project(token)) {
		i->refusal = ERR_FORBIDDEN;
		return 0;
	}
	r = read_named(i, json_object_get(token, "project"), "project", &i->who.project_id,
		       &i->who.project_domain_id, err);
	return r < 0 ? r : read_roles(i, json_object_get(token, "roles"), err);
}

int token_parse(const char *text, size_t n, struct identity **ret, struct err *err)
{
	AUTO(json_decref_p) json_t *json = NULL;
	AUTO(identity_unref_p) struct identity *i = NULL;
	int r = json_read(text, n, JSON_REJECT_DUPLICATES, &json, NULL, err);
	const json_t *token = json_object_get(json, "token");

	if (r == ERR_NO_MEMORY)
		return r;
	if (!json_is_object(token))
		return rubbish(err, "token");
	i = identity_refused(0);
	if (!i)
		return err_nomem(err);
	r = read_token(i, token, err);
	if (r < 0)
		return r;
	*ret = TAKE(i);
	return 0;
}

/* -- sharing -------------------------------------------------------------------------------------- */

struct identity *identity_refused(int code)
{
	struct identity *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	atomic_init(&i->n_refs, 1);
	i->refusal = code;
	return i;
}

struct identity *identity_ref(struct identity *i)
{
	atomic_fetch_add_explicit(&i->n_refs, 1, memory_order_relaxed);
	return i;
}

void identity_unref(struct identity *i)
{
	if (!i || atomic_fetch_sub_explicit(&i->n_refs, 1, memory_order_acq_rel) != 1)
		return;
	arena_done(&i->arena);
	free(i);
}

void identity_unref_p(struct identity **i)
{
	identity_unref(*i);
}

bool identity_has_role(const struct identity *i, const char *const *names)
{
	for (; *names; names++)
		for (const char *const *own = i->who.role_names; own && *own; own++)
			if (strcmp(*own, *names) == 0)
				return true;
	return false;
}

int identity_copy(const struct identity *i, struct arena *a, struct who *ret, struct err *err)
{
	const struct who *from = &i->who;
	const char **names;
	size_t n = 0;

	while (from->role_names && from->role_names[n])
		n++;
	names = arena_alloc(a, (n + 1) * sizeof(*names));
	if (!names)
		return err_nomem(err);
	for (size_t at = 0; at < n; at++)
		if (!(names[at] = arena_strdup(a, from->role_names[at])))
			return err_nomem(err);
	ret->roles = from->roles;
	ret->role_names = names;
	ret->user_id = arena_strdup(a, from->user_id);
	ret->project_id = arena_strdup(a, from->project_id);
	ret->user_domain_id = arena_strdup(a, from->user_domain_id);
	ret->project_domain_id = arena_strdup(a, from->project_domain_id);
	if (!ret->user_id || !ret->project_id || !ret->user_domain_id || !ret->project_domain_id)
		return err_nomem(err);
	return 0;
}

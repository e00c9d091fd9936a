/* SPDX-License-Identifier: Apache-2.0
 * keystone/session.h -- glint's own session with Keystone: the token by which it may ask. Whoever needs one while
 * there is none causes one login, which all wait for. */
#pragma once

#include "base/util.h"

struct err;
struct session;
struct transport;

/* Borrowed for session_new(). Of names and ids, one of each pair is enough. */
struct session_config {
	const char *section;  /* named when Keystone refuses them; stays. NULL: keystone_authtoken */
	const char *auth_url; /* as operators write it, with or without /v3 */
	const char *username, *user_id, *user_domain_name, *user_domain_id, *password;
	const char *project_name, *project_id, *project_domain_name, *project_domain_id;
	const char *system_scope;                       /* "all": instead of a project */
	const char *credential_id, *credential_secret;  /* an application credential: instead of all of these */
};

/* What is missing or makes no sense, said as of the options in [keystone_authtoken]. */
int session_check(const struct session_config *config, struct err *err);
/* The transport is borrowed, and closed before the session is freed: then all who wait have been told. */
int session_new(struct transport *transport, const struct session_config *config, struct session **ret,
		struct err *err);
void session_free(struct session *s);
void session_free_p(struct session **s);

/* A token that is good for now, or why there is none (ERR_UNAVAILABLE, mostly). Borrowed for the call, which comes
 * exactly once: at once, from within session_token(), or on the thread of the transport. Must not block. */
typedef void session_token_fn(void *cls, const char *token, const struct err *err);
/* Any thread; never blocks. A login that this call begins ends by @deadline_us; one that is under way already, by
 * that of the call that began it. */
void session_token(struct session *s, int64_t deadline_us, session_token_fn *fn, void *cls);
/* @token was answered 401: it is not given to anybody again. */
void session_refused(struct session *s, const char *token);

/* "http://host:5000/v3": what paths of Keystone's API are appended to. Borrowed. */
const char *session_url(const struct session *s);

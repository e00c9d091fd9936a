/* SPDX-License-Identifier: Apache-2.0
 * keystone/options.c -- [keystone_authtoken], by the names that keystonemiddleware and keystoneauth have for
 * them, and the bounds that are glint's own. */
#include "keystone/keystone.h"

#include <string.h>
#include <strings.h>

#include "base/conf.h"
#include "base/err.h"

#define SECTION "keystone_authtoken"
#define SECOND INT64_C(1000000)

const struct conf_option keystone_options[] = {
	{SECTION, "auth_url", CONF_STRING, NULL,
	 "Where Keystone is, with or without /v3. All questions go there, whatever its catalogue says."},
	{SECTION, "www_authenticate_uri", CONF_STRING, NULL,
	 "Where clients find Keystone, for the answer 401; auth_url if unset. Stands in for auth_url where "
	 "that is unset."},
	{SECTION, "auth_type", CONF_CHOICE, "password", "How glint logs in.",
	 .choices = "password|v3password|v3applicationcredential"},
	{SECTION, "auth_version", CONF_STRING, "v3", "Only v3 is there."},
	{SECTION, "username", CONF_STRING, NULL,
	 "The user by whom tokens are validated; needs the role service or admin."},
	{SECTION, "user_id", CONF_STRING, NULL, "Instead of username and its domain."},
	{SECTION, "password", CONF_STRING, NULL, "The user's password."},
	{SECTION, "user_domain_name", CONF_STRING, NULL, "The user's domain."},
	{SECTION, "user_domain_id", CONF_STRING, NULL, "Instead of user_domain_name."},
	{SECTION, "project_name", CONF_STRING, NULL, "The project that the user logs in to."},
	{SECTION, "project_id", CONF_STRING, NULL, "Instead of project_name and its domain."},
	{SECTION, "project_domain_name", CONF_STRING, NULL, "The project's domain."},
	{SECTION, "project_domain_id", CONF_STRING, NULL, "Instead of project_domain_name."},
	{SECTION, "system_scope", CONF_STRING, NULL, "all: log in to the system instead of a project."},
	{SECTION, "application_credential_id", CONF_STRING, NULL,
	 "With auth_type = v3applicationcredential."},
	{SECTION, "application_credential_secret", CONF_STRING, NULL,
	 "With auth_type = v3applicationcredential."},
	{SECTION, "region_name", CONF_STRING, NULL, "Accepted; auth_url says which Keystone is asked."},
	{SECTION, "interface", CONF_STRING, "internal", "Accepted; auth_url says which Keystone is asked."},
	{SECTION, "cafile", CONF_STRING, NULL,
	 "Certificates of those who may vouch for Keystone's, in PEM; those of the system if unset."},
	{SECTION, "certfile", CONF_STRING, NULL, "Certificate that glint shows to Keystone, in PEM."},
	{SECTION, "keyfile", CONF_STRING, NULL, "The key of certfile."},
	{SECTION, "insecure", CONF_BOOL, "false",
	 "Believe any certificate of Keystone's. Whoever is between can then be anybody: for tests only."},
	{SECTION, "service_token_roles", CONF_LIST, "service",
	 "One of these makes a valid X-Service-Token that of a service, which may finish with a user's "
	 "expired token what "
	 "that user began."},
	{SECTION, "service_token_roles_required", CONF_BOOL, "true",
	 "false: any valid token is good as a service's. keystonemiddleware's default, but not ours."},
	{SECTION, "token_cache_time", CONF_INT, "300",
	 "How long what Keystone says of a token counts; a token that is revoked may be good for so long. "
	 "-1: not at all.",
	 -1, 86400, .unit = "seconds"},
	{SECTION, "http_connect_timeout", CONF_INT, NULL,
	 "How long a connection to Keystone may take to be made.", 1, 3600, .unit = "seconds"},
	{SECTION, "http_request_max_retries", CONF_INT, "3",
	 "How often a question is asked again for which no connection could be made, while [glint] "
	 "keystone_timeout allows.",
	 0, 100},
	{SECTION, "timeout", CONF_INT, NULL, "The same as [glint] keystone_timeout, where that is longer.", 1,
	 3600, .unit = "seconds"},
	{SECTION, "memcached_servers", CONF_IGNORED, NULL,
	 "What is known of tokens is kept in glint's own memory; see [glint] keystone_cache_tokens."},
	{SECTION, "memcache_*", CONF_IGNORED, NULL, "What is known of tokens is kept in glint's own memory."},
	{SECTION, "delay_auth_decision", CONF_IGNORED, NULL, "Nobody is let in without a token."},
	{SECTION, "*", CONF_IGNORED, NULL, "glint needs nothing of it to ask Keystone."},
	{"glint", "keystone_cache_tokens", CONF_INT, "10000",
	 "Tokens of which is kept what Keystone said (and as many of which it said that they are none); a "
	 "kilobyte each.",
	 0, 10000000},
	{"glint", "keystone_max_waiting", CONF_INT, "256",
	 "Tokens that Keystone is being asked for at the same time. Beyond it, requests with a token that is "
	 "not known yet "
	 "are answered 503.",
	 1, 100000},
	{"glint", "keystone_timeout", CONF_INT, "10",
	 "How long a request may wait for Keystone before it is answered 503.", 1, 3600, .unit = "seconds"},
	{0},
};

static const char *text(const struct conf *c, const char *name)
{
	const char *value = conf_str(c, SECTION, name);

	return value && *value ? value : NULL;
}

static int load_session(const struct conf *c, struct session_config *s, struct err *err)
{
	bool by_credential = strcmp(conf_str(c, SECTION, "auth_type"), "v3applicationcredential") == 0;

	*s = (struct session_config){.auth_url = text(c, "auth_url")};
	if (!s->auth_url)
		s->auth_url = text(c, "www_authenticate_uri");
	if (by_credential) {
		s->credential_id = text(c, "application_credential_id");
		s->credential_secret = text(c, "application_credential_secret");
		if (!s->credential_id && !s->credential_secret)
			return err_set(err, ERR_INVALID,
				       "[" SECTION "] application_credential_id is not set");
		return session_check(s, err);
	}
	s->username = text(c, "username");
	s->user_id = text(c, "user_id");
	s->password = text(c, "password");
	s->user_domain_name = text(c, "user_domain_name");
	s->user_domain_id = text(c, "user_domain_id");
	s->project_name = text(c, "project_name");
	s->project_id = text(c, "project_id");
	s->project_domain_name = text(c, "project_domain_name");
	s->project_domain_id = text(c, "project_domain_id");
	s->system_scope = text(c, "system_scope");
	if (s->system_scope && strcmp(s->system_scope, "all") != 0)
		return err_set(err, ERR_INVALID, "[" SECTION "] system_scope can only be all");
	return session_check(s, err);
}

static int load_transport(const struct conf *c, struct transport_config *t, struct err *err)
{
	*t = (struct transport_config){
		.ca_file = text(c, "cafile"),
		.cert_file = text(c, "certfile"),
		.key_file = text(c, "keyfile"),
		.insecure = conf_bool(c, SECTION, "insecure"),
		.max_retries = (unsigned)conf_int(c, SECTION, "http_request_max_retries"),
	};
	if (conf_is_set(c, SECTION, "http_connect_timeout"))
		t->connect_timeout_us = conf_int(c, SECTION, "http_connect_timeout") * SECOND;
	if (t->key_file && !t->cert_file)
		return err_set(err, ERR_INVALID, "[" SECTION "] keyfile is set, but certfile is not");
	return transport_check(t, err);
}

/* Role names are compared in lower case. */
static int load_roles(const struct conf *c, struct arena *a, const char *const **ret, struct err *err)
{
	size_t n;
	const char *const *from = conf_list(c, SECTION, "service_token_roles", &n);
	const char **roles = arena_alloc(a, (n + 1) * sizeof(*roles));

	if (!roles)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		char *role = arena_strdup(a, from[i]);

		if (!role)
			return err_nomem(err);
		roles[i] = role;
		for (; *role; role++)
			if (*role >= 'A' && *role <= 'Z')
				*role = (char)(*role | 0x20);
	}
	*ret = roles;
	return 0;
}

static int64_t load_timeout(const struct conf *c)
{
	int64_t own = conf_int(c, "glint", "keystone_timeout"), theirs;

	if (!conf_is_set(c, SECTION, "timeout"))
		return own * SECOND;
	theirs = conf_int(c, SECTION, "timeout");
	return (theirs < own ? theirs : own) * SECOND;
}

/* It becomes a quoted part of a header. */
static bool is_quotable(const char *url)
{
	for (; *url; url++)
		if (*url <= ' ' || *url >= 0x7f || *url == '"' || *url == '\\')
			return false;
	return true;
}

int keystone_settings(const struct conf *c, struct arena *a, struct keystone_config *ret, struct err *err)
{
	const char *version = text(c, "auth_version");
	int64_t cache_time = conf_int(c, SECTION, "token_cache_time");
	int r;

	if (version && strcasecmp(version, "v3") != 0 && strcmp(version, "3") != 0 &&
	    strcasecmp(version, "v3.0") != 0)
		return err_set(err, ERR_INVALID, "[" SECTION "] auth_version: this version knows v3");
	r = load_session(c, &ret->session, err);
	if (r == 0)
		r = load_transport(c, &ret->transport, err);
	if (r == 0)
		r = load_roles(c, a, &ret->service_roles, err);
	if (r < 0)
		return r;
	ret->public_url = text(c, "www_authenticate_uri");
	if (!ret->public_url)
		ret->public_url = ret->session.auth_url;
	if (!is_quotable(ret->public_url) || !is_quotable(ret->session.auth_url))
		return err_set(err, ERR_INVALID, "[" SECTION "] auth_url or www_authenticate_uri is no URL");
	ret->service_roles_required = conf_bool(c, SECTION, "service_token_roles_required");
	ret->cache_us = cache_time > 0 ? cache_time * SECOND : 0;
	ret->cache_tokens = (unsigned)conf_int(c, "glint", "keystone_cache_tokens");
	ret->max_waiting = (unsigned)conf_int(c, "glint", "keystone_max_waiting");
	ret->timeout_us = load_timeout(c);
	ret->transport.max_calls = ret->max_waiting + 64; /* logins, limits */
	return 0;
}

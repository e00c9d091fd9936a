/* SPDX-License-Identifier: Apache-2.0
 * cmd/limit_settings.c -- [oslo_limit]: as whom Keystone is asked for unified limits, and whose they are. */
#include "cmd/limit_settings.h"

#include <string.h>
#include <unistd.h>

#include "base/err.h"

#define SECTION "oslo_limit"
#define SECOND INT64_C(1000000)

/* NULL as well for what is set to nothing. */
static const char *text(const struct conf *c, const char *name)
{
	const char *value = conf_str(c, SECTION, name);

	return value && *value ? value : NULL;
}

static void load_session(const struct conf *c, struct session_config *s)
{
	bool by_credential = strcmp(conf_str(c, SECTION, "auth_type"), "v3applicationcredential") == 0;

	s->section = SECTION;
	s->auth_url = text(c, "auth_url");
	if (by_credential) {
		s->credential_id = text(c, "application_credential_id");
		s->credential_secret = text(c, "application_credential_secret");
		return;
	}
	s->username = text(c, "username");
	s->user_id = text(c, "user_id");
	s->user_domain_name = text(c, "user_domain_name");
	s->user_domain_id = text(c, "user_domain_id");
	s->password = text(c, "password");
	s->system_scope = text(c, "system_scope");
	if (s->system_scope)
		return;
	s->project_name = text(c, "project_name");
	s->project_id = text(c, "project_id");
	s->project_domain_name = text(c, "project_domain_name");
	s->project_domain_id = text(c, "project_domain_id");
}

/* publicURL is public. */
static const char *interface_of(const struct conf *c)
{
	const char *value = conf_str(c, SECTION, "endpoint_interface");

	return *value == 'p' ? "public" : *value == 'i' ? "internal" : "admin";
}

static void load_endpoint(const struct conf *c, struct limits_keystone *k)
{
	k->endpoint_id = text(c, "endpoint_id");
	k->service_name = text(c, "endpoint_service_name");
	k->service_type = text(c, "endpoint_service_type");
	k->region = text(c, "endpoint_region_name");
	k->interface = interface_of(c);
}

static int missing(struct err *err, const char *what)
{
	return err_set(err, ERR_INVALID, "[DEFAULT] use_keystone_limits needs [oslo_limit] %s", what);
}

static int check_login(const struct session_config *s, const struct conf *c, struct err *err)
{
	if (strcmp(conf_str(c, SECTION, "auth_type"), "v3applicationcredential") == 0)
		return s->credential_id && s->credential_secret
			       ? 0
			       : missing(err, "application_credential_id and application_credential_secret");
	if (!s->username && !s->user_id)
		return missing(err, "username");
	if (!s->password)
		return missing(err, "password");
	if (!s->user_id && !s->user_domain_name && !s->user_domain_id)
		return missing(err, "user_domain_name");
	if (s->system_scope || s->project_id)
		return 0;
	if (!s->project_name)
		return missing(err, "system_scope or project_name");
	return s->project_domain_name || s->project_domain_id ? 0 : missing(err, "project_domain_name");
}

static int check_file(const char *name, const char *path, struct err *err)
{
	if (!path || access(path, R_OK) == 0)
		return 0;
	return err_set(err, ERR_INVALID, "[oslo_limit] %s: %s cannot be read", name, path);
}

static int check(const struct limits_keystone *k, const struct conf *c, struct err *err)
{
	const char *url = k->session.auth_url;
	int r;

	if (!url)
		return missing(err, "auth_url");
	if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
		return err_set(err, ERR_INVALID, "[oslo_limit] auth_url is no http:// or https:// URL");
	r = check_login(&k->session, c, err);
	if (r == 0 && !k->endpoint_id && !k->service_name && !k->service_type)
		r = missing(err, "endpoint_id, or endpoint_service_name or endpoint_service_type");
	if (r == 0)
		r = check_file("cafile", k->transport.ca_file, err);
	if (r == 0)
		r = check_file("certfile", k->transport.cert_file, err);
	return r < 0 ? r : check_file("keyfile", k->transport.key_file, err);
}

int limit_settings_load(const struct conf *c, struct limit_settings *ret, struct err *err)
{
	struct limits_config *l = &ret->config;
	struct transport_config *t = &ret->keystone.transport;
	int64_t uploads = conf_int(c, "glint", "max_uploads"), workers = conf_int(c, "glint", "max_workers");

	*ret = (struct limit_settings){.used = conf_bool(c, "DEFAULT", "use_keystone_limits")};
	l->cache_us = conf_int(c, "glint", "limits_cache_time") * SECOND;
	l->stale_us = conf_int(c, "glint", "limits_stale_time") * SECOND;
	l->timeout_us = conf_int(c, SECTION, "timeout") * SECOND;
	l->max_projects = (size_t)conf_int(c, "glint", "limits_cache_projects");
	l->max_asking = (unsigned)conf_int(c, "glint", "limits_max_waiting");
	l->max_threads = (unsigned)((uploads < workers ? uploads : workers) + 3) / 4; /* the others go on */
	t->ca_file = text(c, "cafile");
	t->cert_file = text(c, "certfile");
	t->key_file = text(c, "keyfile");
	t->insecure = conf_bool(c, SECTION, "insecure");
	t->max_retries = 1;
	load_session(c, &ret->keystone.session);
	load_endpoint(c, &ret->keystone);
	return ret->used ? check(&ret->keystone, c, err) : 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * cmd/settings_http.c -- where to listen, by TLS or not, whom to believe, and within which limits. */
#include "cmd/settings.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "cmd/settings_parts.h"

#define SECOND INT64_C(1000000)
#define MAX_CORS_SECTIONS 64

/* -- addresses ------------------------------------------------------------------------------------ */

/* The host of "host:port" or "[v6]:port". */
static bool is_loopback(const char *listen)
{
	const char *colon = strrchr(listen, ':');
	size_t n = colon ? (size_t)(colon - listen) : strlen(listen);
	char host[64];
	struct in6_addr v6;
	struct in_addr v4;

	if (n >= 2 && listen[0] == '[' && listen[n - 1] == ']') {
		listen++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(host))
		return false;
	memcpy(host, listen, n);
	host[n] = '\0';
	if (strcmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool is_unix(const char *listen)
{
	return strncmp(listen, "unix:", strlen("unix:")) == 0;
}

/* What the command line says, else [glint] listen, else bind_host and bind_port. */
static int list_addresses(struct settings *s, const struct location_args *args, struct err *err)
{
	const char *host = conf_str(s->conf, "DEFAULT", "bind_host");
	bool v6 = strchr(host, ':') && *host != '[';
	const char **one;
	size_t n;

	s->listen = conf_list(s->conf, "glint", "listen", &n);
	if (n > 0 && !args->listen)
		return 0;
	one = arena_alloc(&s->arena, 2 * sizeof(*one)); /* zeroed: the end */
	if (!one)
		return err_nomem(err);
	one[0] = args->listen ? args->listen
			      : arena_printf(&s->arena, v6 ? "[%s]:%lld" : "%s:%lld", host,
					     (long long)conf_int(s->conf, "DEFAULT", "bind_port"));
	s->listen = one;
	return one[0] ? 0 : err_nomem(err);
}

static int check_address(const struct settings *s, const char *listen, struct err *err)
{
	int r = http_check_address(listen, err);

	if (r < 0 || s->api.auth == AUTH_KEYSTONE || is_unix(listen) || is_loopback(listen) ||
	    conf_bool(s->conf, "glint", "allow_insecure"))
		return r;
	return err_set(err, ERR_INVALID,
		       "refusing to listen on %.100s: with this [paste_deploy] flavor anybody who reaches it is believed "
		       "to be whoever they say. Listen on 127.0.0.1, or set [glint] allow_insecure = true",
		       listen);
}

static int load_listen(struct settings *s, const struct location_args *args, struct err *err)
{
	int64_t mode = 0;
	int r = list_addresses(s, args, err);

	for (size_t i = 0; r == 0 && s->listen[i]; i++)
		r = check_address(s, s->listen[i], err);
	if (r == 0 && settings_octal(conf_int(s->conf, "glint", "unix_socket_mode"), &mode, NULL) < 0)
		r = err_set(err, ERR_INVALID, "[glint] unix_socket_mode has a digit above 7");
	s->http.unix_mode = (mode_t)mode;
	return r;
}

static int load_tls(struct settings *s, struct err *err)
{
	struct http_tls *t = &s->tls;

	t->cert_file = conf_str(s->conf, "DEFAULT", "cert_file");
	t->key_file = conf_str(s->conf, "DEFAULT", "key_file");
	t->ca_file = conf_str(s->conf, "DEFAULT", "ca_file");
	t->kernel = conf_bool(s->conf, "glint", "kernel_tls");
	if (t->cert_file)
		return http_check_tls(t, err);
	if (t->key_file || t->ca_file)
		return err_set(err, ERR_INVALID, "key_file and ca_file mean nothing without cert_file");
	return 0;
}

static bool is_in(const char **list, const char *text)
{
	for (; *list; list++)
		if (strcasecmp(*list, text) == 0)
			return true;
	return false;
}

/* Sections [cors.NAME] have the options of [cors]. First all names, because an alias changes what is unknown. */
int settings_alias_cors(struct settings *s, struct err *err)
{
	const char **names = arena_alloc(&s->arena, (MAX_CORS_SECTIONS + 1) * sizeof(*names)), *name;
	size_t n = 1;
	int r = 0;

	if (!names)
		return err_nomem(err);
	names[0] = "cors";
	for (size_t i = 0; (name = conf_stray_section(s->conf, i)); i++) {
		if (strncasecmp(name, "cors.", 5) != 0 || is_in(names, name))
			continue;
		if (n == MAX_CORS_SECTIONS)
			return err_set(err, ERR_INVALID, "there are more than %d sections [cors.NAME]", MAX_CORS_SECTIONS);
		names[n] = arena_strdup(&s->arena, name);
		if (!names[n++])
			return err_nomem(err);
	}
	for (size_t i = 1; i < n && r == 0; i++)
		r = conf_alias_section(s->conf, names[i], "cors", err);
	s->cors_sections = names;
	return r;
}

/* [cors], and every [cors.NAME], in which what is not set is as in [cors]. */
static int load_cors(struct settings *s, struct err *err)
{
	struct http_cors *rules;
	size_t n = 0, n_origins;

	while (s->cors_sections && s->cors_sections[n])
		n++;
	rules = arena_alloc(&s->arena, (n + 1) * sizeof(*rules));
	if (!rules)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		const char *own = s->cors_sections[i];
#define SECTION(name) (conf_is_set(s->conf, own, name) ? own : "cors")
		struct http_cors rule = {
			.origins = conf_list(s->conf, own, "allowed_origin", &n_origins),
			.credentials = conf_bool(s->conf, SECTION("allow_credentials"), "allow_credentials"),
			.max_age = conf_int(s->conf, SECTION("max_age"), "max_age"),
			.expose = settings_list(s, SECTION("expose_headers"), "expose_headers"),
			.methods = settings_list(s, SECTION("allow_methods"), "allow_methods"),
			.headers = settings_list(s, SECTION("allow_headers"), "allow_headers"),
		};
#undef SECTION

		if (n_origins > 0)
			rules[s->http.n_cors++] = rule;
	}
	s->http.cors = rules;
	return 0;
}

/* Always checked: it may be switched on one day. */
static int load_proxies(struct settings *s, struct err *err)
{
	const char *const *list = settings_list(s, "glint", "trusted_proxies");
	int r = http_check_proxies(list, err);

	if (conf_bool(s->conf, "oslo_middleware", "enable_proxy_headers_parsing"))
		s->http.trusted_proxies = list;
	return r < 0 ? err_wrap(err, r, "[glint] trusted_proxies") : 0;
}

static void load_http(struct settings *s)
{
	struct http_config *h = &s->http;
	struct conf *c = s->conf;

	h->listen = s->listen[0];
	h->also = s->listen + 1;
	h->routes = api_routes;
	h->not_found = api_not_found;
	h->max_connections = (unsigned)conf_int(c, "glint", "max_connections");
	h->max_workers = (unsigned)conf_int(c, "glint", "max_workers");
	h->max_streams = (unsigned)conf_int(c, "glint", "max_uploads");
	h->max_header_bytes = (size_t)conf_int(c, "glint", "max_header_size");
	h->max_headers = 100;
	h->max_body_bytes = (size_t)conf_int(c, "glint", "max_body_size");
	h->max_request_id_bytes = (size_t)conf_int(c, "DEFAULT", "max_request_id_length");
	h->idle_timeout_us = conf_int(c, "glint", "idle_timeout") * SECOND;
	h->header_timeout_us = conf_int(c, "glint", "header_timeout") * SECOND;
	h->body_timeout_us = conf_int(c, "glint", "body_timeout") * SECOND;
	h->min_rate_bytes = conf_int(c, "glint", "min_rate");
	h->crowded_timeout_us = conf_int(c, "glint", "crowded_timeout") * SECOND;
	h->crowded_rate_bytes = conf_int(c, "glint", "crowded_rate");
}

/* For a scraper or two. */
static int load_metrics(struct settings *s, struct err *err)
{
	const char *listen = conf_str(s->conf, "glint", "metrics_listen");

	s->metrics_http = s->http;
	s->metrics_http.listen = listen && *listen ? listen : NULL;
	s->metrics_http.also = NULL;
	s->metrics_http.n_cors = 0;
	s->metrics_http.trusted_proxies = NULL;
	s->metrics_http.routes = metrics_routes;
	s->metrics_http.not_found = NULL;
	s->metrics_http.n_loops = 1;
	s->metrics_http.max_connections = 64;
	s->metrics_http.max_workers = 2;
	s->metrics_http.max_streams = 1;
	s->metrics_http.max_body_bytes = 0;
	if (s->metrics_http.listen && http_check_address(listen, err) < 0)
		return err_wrap(err, ERR_INVALID, "[glint] metrics_listen");
	return 0;
}

int settings_http(struct settings *s, const struct location_args *args, struct err *err)
{
	int r;

	if ((r = load_listen(s, args, err)) < 0 || (r = load_tls(s, err)) < 0 || (r = load_proxies(s, err)) < 0 ||
	    (r = load_cors(s, err)) < 0)
		return r;
	load_http(s);
	return load_metrics(s, err);
}

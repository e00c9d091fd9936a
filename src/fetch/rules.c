/* SPDX-License-Identifier: Apache-2.0
 * fetch/rules.c -- the text of URLs against [import_filtering_opts], as operators of Glance know them: a list
 * of what is allowed, or if that is empty one of what is not. Beyond that, addresses written as numbers
 * are judged here already, in every spelling that a resolver would take for one. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

#define URL_MAX 4096
#define HOST_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"

void url_cleanup_p(CURLU **url)
{
	curl_url_cleanup(*url);
}

static void curl_free_p(char **text)
{
	curl_free(*text);
}

int rules_refuse(struct err *err)
{
	return err_set(err, ERR_INVALID, "The URL is not one that may be downloaded from here.");
}

static int not_a_url(struct err *err)
{
	return err_set(err, ERR_INVALID, "The source has to be a URL: http://host/path or https://host/path.");
}

/* -- lists ---------------------------------------------------------------------------------------- */

static bool is_in(const char *const *list, const char *word)
{
	for (; list && *list; list++)
		if (strcasecmp(*list, word) == 0)
			return true;
	return false;
}

static bool is_empty(const char *const *list)
{
	return !list || !*list;
}

static bool passes(const char *const *allowed, const char *const *disallowed, const char *word)
{
	return is_empty(allowed) ? !is_in(disallowed, word) : is_in(allowed, word);
}

static bool is_port(const char *text)
{
	size_t n = strspn(text, "0123456789");
	unsigned long port = 0;

	if (n == 0 || n > 5 || text[n])
		return false;
	for (size_t i = 0; i < n; i++)
		port = port * 10 + (unsigned long)(text[i] - '0');
	return port >= 1 && port <= 65535;
}

static int check_ports(const char *name, const char *const *list, struct err *err)
{
	for (; list && *list; list++)
		if (!is_port(*list))
			return err_set(err, ERR_INVALID, "[import_filtering_opts] %s: \"%.50s\" is no port", name, *list);
	return 0;
}

int fetch_check_rules(const struct fetch_rules *rules, struct err *err)
{
	struct network network;
	int r = check_ports("allowed_ports", rules->allowed_ports, err);

	if (r == 0)
		r = check_ports("disallowed_ports", rules->disallowed_ports, err);
	for (const char *const *n = rules->allowed_networks; r == 0 && n && *n; n++)
		if (!network_parse(*n, &network))
			r = err_set(err, ERR_INVALID, "[glint] web_download_allow_networks: \"%.50s\" is no network", *n);
	return r;
}

bool rules_allow_address(const struct fetch_rules *rules, const struct address *a)
{
	return address_is_allowed(rules->allowed_networks, a);
}

/* -- URLs ----------------------------------------------------------------------------------------- */

static bool is_plain(const char *url)
{
	size_t n = strnlen(url, URL_MAX + 1);

	if (n > URL_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (url[i] <= ' ' || url[i] == 0x7f || url[i] == '\\')
			return false; /* above ASCII it is negative */
	return true;
}

static bool scheme_passes(const struct fetch_rules *rules, CURLU *url)
{
	AUTO(curl_free_p) char *scheme = NULL;

	if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return false;
	return (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0) &&
	       passes(rules->allowed_schemes, rules->disallowed_schemes, scheme);
}

/* Without brackets and the dot of the root. */
static void bare_host(const char *host, char *out, size_t n)
{
	size_t len;

	snprintf(out, n, "%s", host[0] == '[' ? host + 1 : host);
	len = strlen(out);
	if (len > 0 && out[len - 1] == ']')
		out[--len] = '\0';
	if (len > 1 && out[len - 1] == '.')
		out[--len] = '\0';
}

static bool host_passes(const struct fetch_rules *rules, CURLU *url)
{
	AUTO(curl_free_p) char *host = NULL;
	char bare[256];
	struct address a;

	if (curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
		return false;
	if (!*host || strlen(host) >= sizeof(bare) || strspn(host, HOST_CHARACTERS) != strlen(host))
		return false;
	bare_host(host, bare, sizeof(bare));
	if (!passes(rules->allowed_hosts, rules->disallowed_hosts, bare))
		return false;
	if (address_parse(bare, &a))
		return rules_allow_address(rules, &a);
	return !strchr(bare, ':') && strcasecmp(bare, "localhost") != 0;
}

static bool is_localhost_allowed(const struct fetch_rules *rules, CURLU *url)
{
	AUTO(curl_free_p) char *host = NULL;
	struct address a;

	return curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK && strcasecmp(host, "localhost") == 0 &&
	       address_parse("127.0.0.1", &a) && rules_allow_address(rules, &a) &&
	       passes(rules->allowed_hosts, rules->disallowed_hosts, host);
}

static bool port_passes(const struct fetch_rules *rules, CURLU *url)
{
	AUTO(curl_free_p) char *port = NULL;

	if (curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
		return false;
	return passes(rules->allowed_ports, rules->disallowed_ports, port);
}

static bool url_passes(const struct fetch_rules *rules, CURLU *url)
{
	return scheme_passes(rules, url) && port_passes(rules, url) &&
	       (host_passes(rules, url) || is_localhost_allowed(rules, url));
}

int rules_parse(const struct fetch_rules *rules, const char *text, CURLU **ret, struct err *err)
{
	AUTO(url_cleanup_p) CURLU *url = curl_url();
	CURLUcode rc;

	if (!url)
		return err_nomem(err);
	if (!is_plain(text))
		return not_a_url(err);
	rc = curl_url_set(url, CURLUPART_URL, text, CURLU_DISALLOW_USER | CURLU_NON_SUPPORT_SCHEME);
	if (rc == CURLUE_OUT_OF_MEMORY)
		return err_nomem(err);
	if (rc == CURLUE_USER_NOT_ALLOWED)
		return err_set(err, ERR_INVALID, "A URL with a user name or password is not accepted.");
	if (rc != CURLUE_OK)
		return not_a_url(err);
	if (!url_passes(rules, url))
		return rules_refuse(err);
	*ret = TAKE(url);
	return 0;
}

int fetch_check_url(const struct fetch_rules *rules, const char *text, struct err *err)
{
	AUTO(url_cleanup_p) CURLU *url = NULL;

	return rules_parse(rules, text, &url, err);
}

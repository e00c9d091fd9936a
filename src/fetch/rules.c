/* SPDX-License-Identifier: Apache-2.0
 * fetch/rules.c -- which URLs may be fetched, as far as their text tells.
 *
 * (1) The text is read once: what is checked here is the parsed URL that libcurl then gets, so that no two
 *     readers can differ about where it leads.
 * (2) A refusal never says which rule it was. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

enum { MAX_URL = 16 * 1024 };

static int no_url(struct err *err)
{
	return err_set(err, ERR_INVALID, "The source has to be a URL: http://host/path or https://host/path.");
}

int rules_refuse(struct err *err)
{
	return err_set(err, ERR_INVALID, "The URL is not one that may be downloaded from here.");
}

void url_cleanup_p(CURLU **url)
{
	curl_url_cleanup(*url);
}

static void curl_free_p(char **text)
{
	curl_free(*text);
}

static bool is_empty(const char *const *list)
{
	return !list || !*list;
}

/* -- lists ---------------------------------------------------------------------------------------- */

typedef bool match_fn(const char *entry, const char *value);

static bool is_listed(const char *const *list, const char *value, match_fn *match)
{
	for (; list && *list; list++) {
		if (match(*list, value))
			return true;
	}
	return false;
}

static bool passes(const char *const *allowed, const char *const *disallowed, const char *value, match_fn *match)
{
	if (!is_empty(allowed))
		return is_listed(allowed, value, match);
	return !is_listed(disallowed, value, match);
}

static bool match_scheme(const char *entry, const char *scheme)
{
	return strcasecmp(entry, scheme) == 0;
}

static bool parse_port(const char *text, unsigned *ret)
{
	size_t n = strspn(text, "0123456789");
	unsigned port = 0;

	if (n == 0 || n > 5 || text[n])
		return false;
	for (size_t i = 0; i < n; i++)
		port = port * 10 + (unsigned)(text[i] - '0');
	*ret = port;
	return port >= 1 && port <= 65535;
}

static bool match_port(const char *entry, const char *port)
{
	unsigned a, b;

	return parse_port(entry, &a) && parse_port(port, &b) && a == b;
}

/* Addresses compare as such, names whatever their case and with or without the dot of the root. */
static bool match_host(const char *entry, const char *host)
{
	size_t n = strlen(entry), m = strlen(host);
	struct address a, b;

	if (address_parse(entry, &a) && address_parse(host, &b))
		return address_equal(&a, &b);
	n -= n > 0 && entry[n - 1] == '.';
	m -= m > 0 && host[m - 1] == '.';
	return n == m && strncasecmp(entry, host, n) == 0;
}

/* -- hosts ---------------------------------------------------------------------------------------- */

static bool ends_with(const char *host, const char *end)
{
	size_t n = strlen(host), m = strlen(end);

	return n >= m && strcasecmp(host + n - m, end) == 0;
}

/* Would somebody take the name for an address, although nobody could for a good one? 127.0.0.1.1, 0x7f.1.q is
 * not, 1.2.3.0x100 is. */
static bool ends_in_number(const char *host)
{
	const char *last = strrchr(host, '.');

	last = last ? last + 1 : host;
	if (last[0] == '0' && (last[1] == 'x' || last[1] == 'X'))
		return last[2 + strspn(last + 2, "0123456789abcdefABCDEF")] == '\0';
	return last[strspn(last, "0123456789")] == '\0';
}

static bool is_name(const char *host)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

	return *host && strlen(host) <= 253 && host[0] != '.' && !host[strspn(host, letters)] &&
	       !strstr(host, "..");
}

static bool allows_name(const struct fetch_rules *rules, const char *name)
{
	static const struct address loopback = {.family = AF_INET, .octets = {127, 0, 0, 1}};

	if (!is_name(name) || ends_in_number(name))
		return false;
	if (strcasecmp(name, "localhost") == 0 || ends_with(name, ".localhost"))
		return address_is_allowed(rules->allowed_networks, &loopback);
	return true;
}

/* @host loses its brackets and the dot of the root. */
static bool allows_host(const struct fetch_rules *rules, char *host)
{
	size_t n = strlen(host);
	struct address a;

	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		memmove(host, host + 1, n - 2);
		host[n - 2] = '\0';
		if (!strchr(host, ':'))
			return false;
	} else if (n > 1 && host[n - 1] == '.') {
		host[n - 1] = '\0';
	}
	if (!passes(rules->allowed_hosts, rules->disallowed_hosts, host, match_host))
		return false;
	if (address_parse(host, &a))
		return address_is_allowed(rules->allowed_networks, &a);
	return allows_name(rules, host);
}

/* An operator who disallows an address also means the names that lead to it. */
bool rules_allow_address(const struct fetch_rules *rules, const struct address *a)
{
	struct address entry;

	if (is_empty(rules->allowed_hosts)) {
		for (const char *const *host = rules->disallowed_hosts; host && *host; host++) {
			if (address_parse(*host, &entry) && address_equal(&entry, a))
				return false;
		}
	}
	return address_is_allowed(rules->allowed_networks, a);
}

/* -- URLs ----------------------------------------------------------------------------------------- */

/* 1, 0 if the URL has no such part, or an error. */
static int get_part(CURLU *url, CURLUPart part, unsigned flags, char **ret, struct err *err)
{
	CURLUcode r = curl_url_get(url, part, ret, flags);

	if (r == CURLUE_OUT_OF_MEMORY)
		return err_nomem(err);
	return r == CURLUE_OK;
}

static int check_scheme(const struct fetch_rules *rules, CURLU *url, struct err *err)
{
	AUTO(curl_free_p) char *scheme = NULL;
	int r = get_part(url, CURLUPART_SCHEME, 0, &scheme, err);

	if (r < 0)
		return r;
	if (r == 0)
		return no_url(err);
	if (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)
		return rules_refuse(err);
	return passes(rules->allowed_schemes, rules->disallowed_schemes, scheme, match_scheme) ? 0 : rules_refuse(err);
}

static int check_host(const struct fetch_rules *rules, CURLU *url, struct err *err)
{
	AUTO(curl_free_p) char *host = NULL, *zone = NULL;
	int r = get_part(url, CURLUPART_HOST, 0, &host, err);

	if (r < 0)
		return r;
	if (r == 0 || !*host)
		return no_url(err);
	r = get_part(url, CURLUPART_ZONEID, 0, &zone, err);
	if (r < 0)
		return r;
	return r == 0 && allows_host(rules, host) ? 0 : rules_refuse(err);
}

/* A URL without a port means that of its scheme, and is held to the lists with it. */
static int check_port(const struct fetch_rules *rules, CURLU *url, struct err *err)
{
	AUTO(curl_free_p) char *port = NULL;
	unsigned number;
	int r = get_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT, &port, err);

	if (r < 0)
		return r;
	if (r == 0 || !parse_port(port, &number))
		return rules_refuse(err);
	return passes(rules->allowed_ports, rules->disallowed_ports, port, match_port) ? 0 : rules_refuse(err);
}

static int check_user(CURLU *url, struct err *err)
{
	AUTO(curl_free_p) char *user = NULL, *password = NULL, *options = NULL;
	int r = get_part(url, CURLUPART_USER, 0, &user, err);

	if (r == 0)
		r = get_part(url, CURLUPART_PASSWORD, 0, &password, err);
	if (r == 0)
		r = get_part(url, CURLUPART_OPTIONS, 0, &options, err);
	return r <= 0 ? r : rules_refuse(err);
}

/* A URL is printable ASCII without blanks; a backslash is a slash to some readers. */
static bool is_plain(const char *text)
{
	size_t n = 0;

	for (; text[n]; n++) {
		if (n == MAX_URL || text[n] <= ' ' || text[n] >= 0x7f || text[n] == '\\')
			return false;
	}
	return n > 0;
}

static int parse(const char *text, CURLU **ret, struct err *err)
{
	AUTO(url_cleanup_p) CURLU *url = NULL;
	CURLUcode r;

	if (!is_plain(text))
		return no_url(err);
	url = curl_url();
	if (!url)
		return err_nomem(err);
	r = curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
	if (r == CURLUE_OUT_OF_MEMORY)
		return err_nomem(err);
	if (r != CURLUE_OK)
		return no_url(err);
	*ret = TAKE(url);
	return 0;
}

int rules_parse(const struct fetch_rules *rules, const char *text, CURLU **ret, struct err *err)
{
	static int (*const checks[])(const struct fetch_rules *, CURLU *, struct err *) = {check_scheme, check_host,
											    check_port};
	AUTO(url_cleanup_p) CURLU *url = NULL;
	int r = parse(text, &url, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		r = checks[i](rules, url, err);
		if (r < 0)
			return r;
	}
	r = check_user(url, err);
	if (r < 0)
		return r;
	*ret = TAKE(url);
	return 0;
}

int fetch_check_url(const struct fetch_rules *rules, const char *text, struct err *err)
{
	AUTO(url_cleanup_p) CURLU *url = NULL;

	return rules_parse(rules, text, &url, err);
}

static int check_ports(const char *option, const char *const *ports, struct err *err)
{
	unsigned port;

	for (; ports && *ports; ports++) {
		if (!parse_port(*ports, &port))
			return err_set(err, ERR_INVALID, "[import_filtering_opts] %s: \"%.50s\" is no port", option, *ports);
	}
	return 0;
}

int fetch_check_rules(const struct fetch_rules *rules, struct err *err)
{
	struct network network;
	int r = check_ports("allowed_ports", rules->allowed_ports, err);

	if (r == 0)
		r = check_ports("disallowed_ports", rules->disallowed_ports, err);
	if (r < 0)
		return r;
	for (const char *const *text = rules->allowed_networks; text && *text; text++) {
		if (!network_parse(*text, &network))
			return err_set(err, ERR_INVALID,
				       "[glint] web_download_allow_networks: \"%.50s\" is no network like 10.1.0.0/16",
				       *text);
	}
	return 0;
}

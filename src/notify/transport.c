/* SPDX-License-Identifier: Apache-2.0
 * notify/transport.c -- transport_url, taken apart.
 *
 * The cuts are those of Python's urlsplit() and oslo.messaging: the authority ends at the first of
 * "/?#", hosts are separated by commas, the last "@" of a host ends its credentials and the first ":"
 * in those ends the user. Only then are percent escapes decoded; what is no escape stays as it is. */
#include "transport.h"

#include <ctype.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"

/* A part of the URL. */
struct slice {
	const char *p;
	size_t n;
};

static struct slice slice_of(const char *p, const char *end)
{
	return (struct slice){p, (size_t)(end - p)};
}

static const char *find(struct slice s, char c)
{
	return s.n ? memchr(s.p, c, s.n) : NULL;
}

static const char *find_last(struct slice s, char c)
{
	return s.n ? memrchr(s.p, c, s.n) : NULL;
}

/* Takes off @s what is before the first @c, and @c itself; all of it if there is none. */
static struct slice cut(struct slice *s, char c)
{
	const char *at = find(*s, c);
	struct slice head = {s->p, at ? (size_t)(at - s->p) : s->n};
	size_t skip = head.n + (at ? 1 : 0);

	s->p += skip;
	s->n -= skip;
	return head;
}

/* -- escapes ------------------------------------------------------------------------------------ */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_escape(struct slice s, size_t i)
{
	return s.p[i] == '%' && i + 2 < s.n && hex_value(s.p[i + 1]) >= 0 && hex_value(s.p[i + 2]) >= 0;
}

/* @what is what a message calls it. Control characters have no business in any part. */
static int decode(struct transport *t, struct slice s, bool plus_is_blank, const char *what, const char **ret,
		  struct err *err)
{
	char *out = arena_alloc(&t->arena, s.n + 1);
	size_t n = 0;

	if (!out)
		return err_nomem(err);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (is_escape(s, i)) {
			c = (unsigned char)(hex_value(s.p[i + 1]) << 4 | hex_value(s.p[i + 2]));
			i += 2;
		} else if (plus_is_blank && c == '+') {
			c = ' ';
		}
		if (c < 0x20 || c == 0x7f)
			return err_set(err, ERR_INVALID, "transport_url: the %s has a control character",
				       what);
		out[n++] = (char)c;
	}
	if (!utf8_is_valid(out, n))
		return err_set(err, ERR_INVALID, "transport_url: the %s is not UTF-8", what);
	*ret = out;
	return 0;
}

/* -- hosts -------------------------------------------------------------------------------------- */

static int bad_host(const struct transport *t, const char *why, struct err *err)
{
	return err_set(err, ERR_INVALID, "transport_url: host %zu %s", t->n_hosts + 1, why);
}

static int parse_port(struct transport *t, struct slice s, uint16_t *ret, struct err *err)
{
	unsigned port = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return bad_host(t, "has a port that is not a number", err);
		port = port * 10 + (unsigned)(s.p[i] - '0');
		if (port > UINT16_MAX)
			return bad_host(t, "has a port above 65535", err);
	}
	*ret = (uint16_t)port;
	return 0;
}

static int parse_credentials(struct transport *t, struct slice s, struct transport_host *h, struct err *err)
{
	bool has_password = find(s, ':');
	int r = decode(t, cut(&s, ':'), false, "user", &h->user, err);

	return r < 0 || !has_password ? r : decode(t, s, false, "password", &h->password, err);
}

/* "[::1]:5672", "::1" being what is left in @h. */
static int parse_bracketed(struct transport *t, struct slice s, struct transport_host *h, struct err *err)
{
	const char *close = find(s, ']');
	struct slice inside, rest;

	if (!close)
		return bad_host(t, "begins with '[' and has no ']'", err);
	inside = slice_of(s.p + 1, close);
	rest = slice_of(close + 1, s.p + s.n);
	if (rest.n > 0 && *rest.p != ':')
		return bad_host(t, "has something other than a port behind ']'", err);
	if (rest.n > 0)
		rest = slice_of(rest.p + 1, rest.p + rest.n);
	h->host = arena_strndup(&t->arena, inside.p, inside.n);
	return h->host ? parse_port(t, rest, &h->port, err) : err_nomem(err);
}

static int parse_address(struct transport *t, struct slice s, struct transport_host *h, struct err *err)
{
	struct slice name;

	if (s.n > 0 && *s.p == '[')
		return parse_bracketed(t, s, h, err);
	name = cut(&s, ':');
	if (find(s, ':'))
		return bad_host(t, "has more than one ':'; an IPv6 address wants brackets", err);
	h->host = arena_strndup(&t->arena, name.p, name.n);
	return h->host ? parse_port(t, s, &h->port, err) : err_nomem(err);
}

/* '%' begins the interface of an IPv6 address; what is escaped elsewhere is no name. */
static bool is_host_name(const char *s)
{
	const char *others = strchr(s, ':') ? "-._:%~" : "-._~";

	for (; *s; s++) {
		if (!isalnum((unsigned char)*s) && !strchr(others, *s))
			return false;
	}
	return true;
}

static int add_host(struct transport *t, struct slice s, struct err *err)
{
	struct transport_host h = {0};
	const char *at = find_last(s, '@');
	int r = 0;

	if (t->n_hosts == TRANSPORT_HOSTS_MAX)
		return err_set(err, ERR_INVALID, "transport_url: more than %d hosts", TRANSPORT_HOSTS_MAX);
	if (at)
		r = parse_credentials(t, slice_of(s.p, at), &h, err);
	if (r == 0)
		r = parse_address(t, at ? slice_of(at + 1, s.p + s.n) : s, &h, err);
	if (r < 0)
		return r;
	if (!is_host_name(h.host))
		return bad_host(t, "has a name with a character that no host name has", err);
	h.is_unnamed = !*h.host;
	if (h.is_unnamed)
		h.host = "localhost";
	t->hosts[t->n_hosts++] = h;
	return 0;
}

static int parse_hosts(struct transport *t, struct slice s, struct err *err)
{
	int r = 0;

	t->hosts = arena_alloc(&t->arena, TRANSPORT_HOSTS_MAX * sizeof(*t->hosts));
	if (!t->hosts)
		return err_nomem(err);
	while (s.n > 0 && r == 0) {
		struct slice one = cut(&s, ',');

		r = one.n ? add_host(t, one, err) : 0;
	}
	if (r == 0 && t->n_hosts == 0)
		r = add_host(t, (struct slice){"", 0}, err);
	return r;
}

/* -- options ------------------------------------------------------------------------------------ */

static int join(struct transport *t, struct transport_option *o, const char *value, struct err *err)
{
	o->value = arena_printf(&t->arena, "%s,%s", o->value, value);
	return o->value ? 0 : err_nomem(err);
}

static int add_option(struct transport *t, struct slice s, struct err *err)
{
	struct transport_option o;
	int r = decode(t, cut(&s, '='), true, "name of an option", &o.name, err);

	if (r == 0)
		r = decode(t, s, true, "value of an option", &o.value, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < t->n_options; i++) {
		if (strcmp(t->options[i].name, o.name) == 0)
			return join(t, &t->options[i], o.value, err);
	}
	t->options[t->n_options++] = o;
	return 0;
}

/* Those without a value count for nothing. */
static int parse_options(struct transport *t, struct slice s, struct err *err)
{
	size_t n_given = 0;
	int r = 0;

	t->options = arena_alloc(&t->arena, TRANSPORT_OPTIONS_MAX * sizeof(*t->options));
	if (!t->options)
		return err_nomem(err);
	while (s.n > 0 && r == 0) {
		struct slice one = cut(&s, '&');
		const char *equals = find(one, '=');

		if (!equals || equals + 1 == one.p + one.n)
			continue;
		if (n_given++ == TRANSPORT_OPTIONS_MAX)
			return err_set(err, ERR_INVALID, "transport_url: more than %d options",
				       TRANSPORT_OPTIONS_MAX);
		r = add_option(t, one, err);
	}
	return r;
}

/* -- all of it ---------------------------------------------------------------------------------- */

static int parse_scheme(struct transport *t, struct slice *url, struct err *err)
{
	const char *end = memmem(url->p, url->n, "://", 3);
	size_t n = end ? (size_t)(end - url->p) : 0;
	char *scheme = arena_strndup(&t->arena, url->p, n);

	if (!scheme)
		return err_nomem(err);
	for (char *p = scheme; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr("+-.", *p))
			n = 0;
		*p = (char)tolower((unsigned char)*p);
	}
	if (n == 0)
		return err_set(err, ERR_INVALID,
			       "transport_url has no scheme; one is like rabbit://user:password@host/");
	t->scheme = scheme;
	*url = slice_of(end + 3, url->p + url->n);
	return 0;
}

static int parse(struct transport *t, struct slice url, struct err *err)
{
	struct slice authority, path;
	int r = parse_scheme(t, &url, err);

	if (r < 0)
		return r;
	url = cut(&url, '#');
	path = cut(&url, '?'); /* url is the query from here on */
	authority = cut(&path, '/');
	r = parse_hosts(t, authority, err);
	if (r == 0)
		r = decode(t, path, false, "virtual host", &t->vhost, err);
	return r < 0 ? r : parse_options(t, url, err);
}

int transport_parse(const char *url, struct transport *ret, struct err *err)
{
	struct transport t = {0};
	size_t n = strlen(url);
	int r;

	if (n > TRANSPORT_URL_MAX)
		return err_set(err, ERR_INVALID, "transport_url is longer than %d octets", TRANSPORT_URL_MAX);
	r = parse(&t, (struct slice){url, n}, err);
	if (r < 0)
		transport_done(&t);
	else
		*ret = t;
	return r;
}

void transport_done(struct transport *t)
{
	arena_done(&t->arena);
	*t = (struct transport){0};
}

bool transport_is_mixed(const struct transport *t)
{
	size_t n_with = 0;

	for (size_t i = 0; i < t->n_hosts; i++)
		n_with += t->hosts[i].user != NULL;
	return n_with > 0 && n_with < t->n_hosts;
}

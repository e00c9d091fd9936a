/* SPDX-License-Identifier: Apache-2.0
 * http/forwarded.c -- what proxies say of who asks.
 *
 * A proxy appends the address that it was asked from, be it to a line or as one more line. So what our own
 * proxies have written is at the end, and what stands before the first address that is none of them may be
 * anybody's invention. We read from the end: the client is the last address that is no proxy of ours; what
 * host and scheme he used was written down at the same place. What is no address ends the chain: then we know
 * him only as the proxy before.
 *
 * A proxy that knows one of the two kinds of headers hands the other one through, as its client wrote it. So
 * when both are there they are believed only if they name the same client. */
#include "forwarded.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

#define MAX_HOPS 32 /* the last ones */
#define MAX_HOST 300
#define MAX_PREFIX 256

struct slice {
	const char *at; /* NULL: none */
	size_t n;
};

struct hop {
	struct slice from, host, proto;
};

/* The last of a list. */
struct hops {
	struct hop ring[MAX_HOPS];
	size_t n; /* of all */
};

/* -- addresses ------------------------------------------------------------------------------------- */

static bool parse_address(const char *text, unsigned char out[16])
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (inet_pton(AF_INET6, text, out) == 1)
		return true;
	memcpy(out, mapped, sizeof(mapped));
	return inet_pton(AF_INET, text, out + sizeof(mapped)) == 1;
}

static bool contains(const struct network *net, const unsigned char address[16])
{
	unsigned whole = net->bits / 8, rest = net->bits % 8;

	if (memcmp(net->address, address, whole) != 0)
		return false;
	return !rest || !((net->address[whole] ^ address[whole]) >> (8 - rest));
}

static bool is_trusted(const struct proxies *p, const unsigned char address[16])
{
	for (size_t i = 0; i < p->n; i++)
		if (contains(&p->networks[i], address))
			return true;
	return false;
}

/* Up to three digits and nothing else. */
static bool parse_bits(const char *s, unsigned most, unsigned *ret)
{
	size_t n = strspn(s, "0123456789");

	if (n == 0 || n > 3 || s[n])
		return false;
	*ret = 0;
	for (; *s; s++)
		*ret = *ret * 10 + (unsigned)(*s - '0');
	return *ret <= most;
}

static bool parse_network(const char *text, struct network *ret)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	bool v4 = memchr(text, ':', n) == NULL;
	char address[INET6_ADDRSTRLEN];

	if (n >= sizeof(address))
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	ret->bits = v4 ? 32 : 128;
	if (!parse_address(address, ret->address) || (slash && !parse_bits(slash + 1, ret->bits, &ret->bits)))
		return false;
	ret->bits += v4 ? 96 : 0;
	return true;
}

int proxies_parse(const char *const *texts, struct proxies *ret, struct err *err)
{
	struct proxies p = {0};
	size_t n = 0;

	while (texts[n])
		n++;
	p.networks = calloc(n + 1, sizeof(*p.networks));
	if (!p.networks)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(texts[i], "unix") == 0) {
			p.local = true;
		} else if (parse_network(texts[i], &p.networks[p.n])) {
			p.n++;
		} else {
			proxies_done(&p);
			return err_set(err, ERR_INVALID,
				       "\"%.100s\" is no network, like 10.0.0.0/8, and not unix", texts[i]);
		}
	}
	*ret = p;
	return 0;
}

void proxies_done(struct proxies *p)
{
	free(p->networks);
	*p = (struct proxies){0};
}

/* -- lists ----------------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct slice trim(const char *at, const char *end)
{
	while (at < end && is_blank(*at))
		at++;
	while (end > at && is_blank(end[-1]))
		end--;
	return (struct slice){at, (size_t)(end - at)};
}

static struct hop *push(struct hops *h)
{
	struct hop *hop = &h->ring[h->n++ % MAX_HOPS];

	*hop = (struct hop){0};
	return hop;
}

/* @depth 0 is the last one. */
static const struct hop *hop_at(const struct hops *h, size_t depth)
{
	return depth < h->n && depth < MAX_HOPS ? &h->ring[(h->n - 1 - depth) % MAX_HOPS] : NULL;
}

static void read_list(const char *text, struct hops *out)
{
	size_t n;

	for (;; text += n + 1) {
		n = strcspn(text, ",");
		push(out)->from = trim(text, text + n);
		if (!text[n])
			return;
	}
}

/* A value, plain or in quotes, of which the octets between the quotes are left as they are. *p goes behind
 * it. False: it has no end. */
static bool read_value(const char **p, struct slice *ret)
{
	const char *at = *p;

	if (*at != '"') {
		*p += strcspn(at, ",;");
		*ret = trim(at, *p);
		return true;
	}
	for (at++; *at && *at != '"'; at++)
		if (*at == '\\' && at[1])
			at++;
	*ret = (struct slice){*p + 1, (size_t)(at - *p - 1)};
	*p = at + (*at == '"');
	return *at == '"';
}

/* name=value; what is behind it has to be the end of it. */
static bool read_pair(const char **p, struct hop *hop)
{
	const char *name, *eq;
	struct slice value;
	size_t n;

	*p += strspn(*p, " \t");
	name = *p;
	n = strcspn(name, "=,;\"");
	if (name[n] != '=')
		return n == 0 && (*name == ';' || *name == ',' || !*name); /* nothing at all is no mistake */
	eq = name + n;
	*p = eq + 1;
	if (!read_value(p, &value))
		return false;
	*p += strspn(*p, " \t");
	if (n == 3 && strncasecmp(name, "for", n) == 0)
		hop->from = value;
	else if (n == 4 && strncasecmp(name, "host", n) == 0)
		hop->host = value;
	else if (n == 5 && strncasecmp(name, "proto", n) == 0)
		hop->proto = value;
	return !**p || **p == ',' || **p == ';';
}

/* A line that is broken ends the chain: an open quote may have swallowed what a proxy has appended. */
static void read_forwarded(const char *p, struct hops *out)
{
	struct hop *hop = push(out);

	while (read_pair(&p, hop)) {
		if (!*p)
			return;
		if (*p++ == ',')
			hop = push(out);
	}
	(void)push(out);
}

static bool read_all(const struct head *h, const char *name, void (*read)(const char *, struct hops *),
		     struct hops *out)
{
	out->n = 0;
	for (unsigned i = 0; i < h->n_fields; i++)
		if (strcasecmp(h->text + h->fields[i].name, name) == 0)
			read(h->text + h->fields[i].value, out);
	return out->n > 0;
}

/* -- who asks -------------------------------------------------------------------------------------- */

/* "1.2.3.4", "1.2.3.4:80", "::1", "[::1]", "[::1]:80". */
static bool slice_address(struct slice s, unsigned char out[16])
{
	char text[INET6_ADDRSTRLEN];
	const char *end;

	if (!s.at || s.n == 0)
		return false;
	if (*s.at == '[') {
		end = memchr(s.at, ']', s.n);
		s.at++;
		s.n = end ? (size_t)(end - s.at) : 0;
	} else {
		end = memchr(s.at, ':', s.n);
		if (end && !memchr(end + 1, ':', s.n - (size_t)(end + 1 - s.at)))
			s.n = (size_t)(end - s.at);
	}
	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.at, s.n);
	text[s.n] = '\0';
	return parse_address(text, out);
}

static const char *write_address(const unsigned char address[16], struct arena *a)
{
	char text[INET6_ADDRSTRLEN];
	bool v4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)address);

	return inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? address + 12 : address, text, sizeof(text))
		       ? arena_strdup(a, text)
		       : NULL;
}

/* *ret_depth: of the place where the one who was the first of us to be asked wrote down by whom. False: there
 * is no address. */
static bool find_client(const struct proxies *p, const struct hops *h, unsigned char out[16],
			size_t *ret_depth)
{
	const struct hop *hop;
	unsigned char address[16];
	bool found = false;

	*ret_depth = 0;
	for (size_t i = 0; (hop = hop_at(h, i)); i++) {
		*ret_depth = i;
		if (!slice_address(hop->from, address))
			break;
		memcpy(out, address, sizeof(address));
		found = true;
		if (!is_trusted(p, address))
			break;
	}
	return found;
}

/* -- what he asked for ----------------------------------------------------------------------------- */

bool forwarded_is_host(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]");

	return n > 0 && n < MAX_HOST && text[n] == '\0';
}

static const char *copy(struct slice s, struct arena *a)
{
	return s.at && s.n < MAX_HOST ? arena_strndup(a, s.at, s.n) : NULL;
}

static const char *scheme_of(struct slice s)
{
	if (s.at && s.n == 5 && strncasecmp(s.at, "https", 5) == 0)
		return "https";
	return s.at && s.n == 4 && strncasecmp(s.at, "http", 4) == 0 ? "http" : NULL;
}

static const char *host_of(struct slice s, struct arena *a)
{
	const char *host = copy(s, a);

	return host && forwarded_is_host(host) ? host : NULL;
}

/* Of a list with as many places as there are proxies, or one. */
static struct slice item(const struct head *h, const char *name, size_t depth, struct hops *scratch)
{
	if (!read_all(h, name, read_list, scratch))
		return (struct slice){0};
	if (depth >= scratch->n)
		depth = scratch->n - 1;
	return hop_at(scratch, depth < MAX_HOPS ? depth : MAX_HOPS - 1)->from;
}

static const char *with_port(const char *host, const char *scheme, struct slice port, struct arena *a)
{
	const char *text = copy(port, a), *colon = host ? strrchr(host, ':') : NULL;
	const char *usual = scheme && strcmp(scheme, "https") == 0 ? "443" : "80";
	size_t n = text ? strspn(text, "0123456789") : 0;

	if (!host || n == 0 || n > 5 || text[n] || strcmp(text, usual) == 0 || (colon && !strchr(colon, ']')))
		return host;
	return arena_printf(a, "%s:%s", host, text);
}

static const char *prefix_of(struct slice s, struct arena *a)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_~/%";

	while (s.at && s.n > 0 && s.at[s.n - 1] == '/')
		s.n--;
	if (!s.at || s.n == 0 || s.n > MAX_PREFIX || s.at[0] != '/' || s.at[1] == '/' ||
	    strspn(s.at, allowed) < s.n)
		return NULL;
	return arena_strndup(a, s.at, s.n);
}

static void read_x(struct forwarded *f, const struct head *h, size_t depth, struct hops *scratch,
		   struct arena *a)
{
	f->scheme = scheme_of(item(h, "X-Forwarded-Proto", depth, scratch));
	f->host = host_of(item(h, "X-Forwarded-Host", depth, scratch), a);
	f->host = with_port(f->host, f->scheme, item(h, "X-Forwarded-Port", depth, scratch), a);
}

struct forwarded forwarded_read(const struct proxies *p, const struct head *h, const char *peer,
				bool is_local, struct arena *a)
{
	struct forwarded f = {0};
	struct hops x, rfc, scratch;
	unsigned char address[16], other[16] = {0};
	size_t x_depth, rfc_depth;
	bool by_x, by_rfc, x_found, rfc_found;

	if (is_local ? !p->local : (!parse_address(peer, address) || !is_trusted(p, address)))
		return f;
	by_x = read_all(h, "X-Forwarded-For", read_list, &x);
	by_rfc = read_all(h, "Forwarded", read_forwarded, &rfc);
	x_found = find_client(p, &x, address, &x_depth);
	rfc_found = find_client(p, &rfc, by_x ? other : address, &rfc_depth);
	if (by_x && by_rfc && (!x_found || !rfc_found || memcmp(address, other, sizeof(other)) != 0))
		return f;
	if (x_found || rfc_found)
		f.client = write_address(address, a);
	if (by_rfc && !by_x) {
		f.scheme = scheme_of(hop_at(&rfc, rfc_depth)->proto);
		f.host = host_of(hop_at(&rfc, rfc_depth)->host, a);
	} else {
		read_x(&f, h, x_depth, &scratch, a);
	}
	f.prefix = prefix_of(item(h, "X-Forwarded-Prefix", 0, &scratch), a);
	return f;
}

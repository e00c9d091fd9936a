/* SPDX-License-Identifier: Apache-2.0
 * http/head.c -- a strict reader of request heads.
 *
 * Whatever stands between us and the client (a proxy, a cache, a load balancer) must read the same
 * request as we do, or one client's octets become another's request. So nothing is repaired: what
 * RFC 9112 lets a server mend is refused, and the connection ends with the refusal.
 *
 * (1) Every octet is looked at once, however the text is cut into pieces; the verdict is the same
 *     for every cut.
 * (2) Lines end with CR LF; neither stands alone anywhere.
 * (3) After HEAD_DONE the length of the body is known and beyond doubt: one Content-Length of
 *     digits only, or one `Transfer-Encoding: chunked`, or neither.
 * (4) Positions are offsets, so that the caller's buffer may grow between two calls. */
#include "head.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_METHOD 32 /* the longest registered one has 17 letters */

/* What an octet may be part of. */
enum { FIELD = 1, TOKEN = 2, TARGET = 4, HOST = 8, ANYWHERE = FIELD | TOKEN | TARGET | HOST };

static const unsigned char octets[256] = {
	['\t'] = FIELD,
	[' '] = FIELD,
	['!'] = FIELD | TOKEN | TARGET,
	['"'] = FIELD | TARGET,
	['#'] = FIELD | TOKEN,
	['$' ... '\''] = FIELD | TOKEN | TARGET,
	['(' ... ')'] = FIELD | TARGET,
	['*' ... '+'] = FIELD | TOKEN | TARGET,
	[','] = FIELD | TARGET,
	['-' ... '.'] = ANYWHERE,
	['/'] = FIELD | TARGET,
	['0' ... '9'] = ANYWHERE,
	[':'] = FIELD | TARGET | HOST,
	[';' ... '@'] = FIELD | TARGET,
	['A' ... 'Z'] = ANYWHERE,
	['['] = FIELD | TARGET | HOST,
	['\\'] = FIELD | TARGET,
	[']'] = FIELD | TARGET | HOST,
	['^'] = FIELD | TOKEN | TARGET,
	['_'] = ANYWHERE,
	['`'] = FIELD | TOKEN | TARGET,
	['a' ... 'z'] = ANYWHERE,
	['{'] = FIELD | TARGET,
	['|'] = FIELD | TOKEN | TARGET,
	['}'] = FIELD | TARGET,
	['~'] = ANYWHERE,
	[0x80 ... 0xff] = FIELD,
};

static bool all_of(const char *s, size_t n, unsigned char class)
{
	for (size_t i = 0; i < n; i++)
		if (!(octets[(unsigned char)s[i]] & class))
			return false;
	return true;
}

static bool refuse(struct head *h, int status, const char *reason)
{
	h->status = status;
	h->reason = reason;
	return false;
}

void head_reset(struct head *h)
{
	struct head_field *fields = h->fields;
	unsigned max_fields = h->max_fields;

	memset(h, 0, sizeof(*h));
	h->fields = fields;
	h->max_fields = max_fields;
}

void head_done(struct head *h)
{
	free(h->fields);
	memset(h, 0, sizeof(*h));
}

/* -- the request line ------------------------------------------------------------------------------ */

static bool read_version(struct head *h, const char *s)
{
	if (strncmp(s, "HTTP/", 5) != 0 || s[5] < '0' || s[5] > '9' || s[6] != '.' || s[7] < '0' ||
	    s[7] > '9' || s[8])
		return refuse(h, 400, "The request line does not end with a protocol version.");
	if (s[5] != '1' || s[7] > '1')
		return refuse(h, 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
	h->minor = (unsigned)(s[7] - '0');
	return true;
}

/* `http://host:port/path`: what a client sends to a proxy, and may send to us. */
static bool read_absolute(struct head *h, size_t scheme_len)
{
	char *t = h->text;
	size_t host = h->path + scheme_len;
	size_t n = strcspn(t + host, "/?");

	if (!n || !all_of(t + host, n, HOST))
		return refuse(h, 400, "The host of the request target is not valid.");
	if (t[host + n] != '/')
		return refuse(h, 400, "The request target has no path.");
	/* The authority moves to the front, over the scheme, to make room for its NUL. */
	memmove(t + h->path, t + host, n);
	t[h->path + n] = '\0';
	h->authority = h->path;
	h->path = host + n;
	return true;
}

static bool read_target(struct head *h, size_t len)
{
	char *target = h->text + h->path;
	char *query;

	if (!len || !all_of(target, len, TARGET))
		return refuse(h, 400, "The request target is not valid.");
	if (strcmp(h->text + h->method, "CONNECT") == 0 && target[0] != '/') {
		h->authority_form = true;
		h->path += len;
		return true;
	}
	if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
		if (!read_absolute(h, (target[4] | 0x20) == 's' ? 8 : 7))
			return false;
	} else if (target[0] != '/' && !(len == 1 && target[0] == '*')) {
		return refuse(h, 400, "The request target is not valid.");
	}
	query = strchr(h->text + h->path, '?');
	if (query) {
		*query = '\0';
		h->query = (size_t)(query + 1 - h->text);
	}
	return true;
}

static bool read_request_line(struct head *h, size_t end)
{
	char *t = h->text;
	char *method = t + h->line;
	char *target = memchr(method, ' ', end - h->line);
	char *version = target ? memchr(target + 1, ' ', (size_t)(t + end - target - 1)) : NULL;

	if (!version)
		return refuse(h, 400, "The request line is not 'method target version'.");
	if (target == method || target - method > MAX_METHOD ||
	    !all_of(method, (size_t)(target - method), TOKEN))
		return refuse(h, 400, "The method is not valid.");
	*target++ = '\0';
	*version++ = '\0';
	h->method = h->line;
	h->path = (size_t)(target - t);
	return read_version(h, version) && read_target(h, (size_t)(version - 1 - target));
}

/* -- the header lines ------------------------------------------------------------------------------ */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct head_field *new_field(struct head *h, const struct head_limits *limits)
{
	unsigned max = h->max_fields ? 2 * h->max_fields : 16;
	struct head_field *fields;

	if (h->n_fields == limits->max_fields) {
		refuse(h, 431, "The request has too many header lines.");
		return NULL;
	}
	if (h->n_fields == h->max_fields) {
		fields = realloc(h->fields, max * sizeof(*fields));
		if (!fields) {
			refuse(h, 503, "The service has no memory left for this request.");
			return NULL;
		}
		h->fields = fields;
		h->max_fields = max;
	}
	return &h->fields[h->n_fields++];
}

static bool read_field(struct head *h, size_t end, const struct head_limits *limits)
{
	char *t = h->text;
	char *colon = memchr(t + h->line, ':', end - h->line);
	size_t value;
	struct head_field *f;

	if (is_blank(t[h->line]))
		return refuse(h, 400, "A header line is folded.");
	if (!colon || colon == t + h->line || !all_of(t + h->line, (size_t)(colon - t) - h->line, TOKEN))
		return refuse(h, 400, "A header line is not 'name: value'.");
	f = new_field(h, limits);
	if (!f)
		return false;
	value = (size_t)(colon - t) + 1;
	while (is_blank(t[value]))
		value++;
	while (end > value && is_blank(t[end - 1]))
		end--;
	*colon = t[end] = '\0';
	*f = (struct head_field){.name = h->line, .value = value};
	return true;
}

/* -- what the header lines mean for the framing ---------------------------------------------------- */

static bool read_content_length(struct head *h, const char *s)
{
	int64_t n = 0;

	if (!*s)
		return refuse(h, 400, "Content-Length is not a number.");
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return refuse(h, 400, "Content-Length is not a number.");
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *s - '0', &n))
			return refuse(h, 400, "Content-Length is too large.");
	}
	h->content_length = n;
	return true;
}

static bool read_transfer_encoding(struct head *h, const char *s)
{
	if (h->minor == 0)
		return refuse(h, 400, "Transfer-Encoding has no meaning in HTTP/1.0.");
	if (strcasecmp(s, "chunked") == 0) {
		h->chunked = true;
		return true;
	}
	if (*s && all_of(s, strlen(s), TOKEN))
		return refuse(h, 501, "The only transfer coding that is understood is 'chunked'.");
	return refuse(h, 400, "Transfer-Encoding is not 'chunked'.");
}

static void read_connection(struct head *h, const char *s)
{
	size_t n;

	for (; *s; s += n) {
		s += strspn(s, ", \t");
		n = strcspn(s, ", \t");
		if (n == 5 && strncasecmp(s, "close", n) == 0)
			h->keep_alive = false;
		else if (n == 10 && strncasecmp(s, "keep-alive", n) == 0 && h->minor == 0)
			h->keep_alive = true;
	}
}

static bool read_expect(struct head *h, const char *s)
{
	if (strcasecmp(s, "100-continue") != 0)
		return refuse(h, 417, "The only expectation that can be met is '100-continue'.");
	h->expect_continue = h->minor > 0;
	return true;
}

struct seen {
	unsigned host, content_length, transfer_encoding;
};

static bool read_special(struct head *h, struct head_field *f, struct seen *seen)
{
	const char *name = h->text + f->name;
	const char *value = h->text + f->value;

	switch (strlen(name)) {
	case 4:
		if (strcasecmp(name, "host") != 0)
			return true;
		if (!all_of(value, strlen(value), HOST))
			return refuse(h, 400, "The Host header is not valid.");
		if (h->authority)
			f->value = h->authority;
		seen->host++;
		return true;
	case 6:
		return strcasecmp(name, "expect") != 0 || read_expect(h, value);
	case 10:
		if (strcasecmp(name, "connection") == 0)
			read_connection(h, value);
		return true;
	case 14:
		if (strcasecmp(name, "content-length") != 0)
			return true;
		seen->content_length++;
		return read_content_length(h, value);
	case 17:
		if (strcasecmp(name, "transfer-encoding") != 0)
			return true;
		seen->transfer_encoding++;
		return read_transfer_encoding(h, value);
	default:
		return true;
	}
}

static bool finish(struct head *h)
{
	struct seen seen = {0};

	h->keep_alive = h->minor > 0;
	for (unsigned i = 0; i < h->n_fields; i++)
		if (!read_special(h, &h->fields[i], &seen))
			return false;
	if (seen.host > 1 || (seen.host == 0 && h->minor > 0))
		return refuse(h, 400, "The request needs exactly one Host header.");
	if (seen.content_length > 1)
		return refuse(h, 400, "The request has more than one Content-Length.");
	if (seen.transfer_encoding > 1)
		return refuse(h, 400, "The request has more than one Transfer-Encoding.");
	if (seen.content_length && seen.transfer_encoding)
		return refuse(h, 400, "The request has both Content-Length and Transfer-Encoding.");
	return true;
}

/* -- lines ----------------------------------------------------------------------------------------- */

/* The line from h->line to @end is complete. */
static enum head_verdict read_line(struct head *h, size_t end, const struct head_limits *limits)
{
	bool empty = end == h->line;
	bool good = true;

	h->text[end] = '\0';
	if (h->at == HEAD_AT_FIELDS && empty) {
		h->size = end + 2;
		return finish(h) ? HEAD_DONE : HEAD_REFUSED;
	}
	if (h->at == HEAD_AT_START && empty) {
		h->at = HEAD_AT_REQUEST_LINE; /* one empty line before a request: RFC 9112 section 2.2 */
	} else if (h->at == HEAD_AT_FIELDS) {
		good = read_field(h, end, limits);
	} else {
		good = read_request_line(h, end);
		h->at = HEAD_AT_FIELDS;
	}
	h->line = end + 2;
	return good ? HEAD_MORE : HEAD_REFUSED;
}

static enum head_verdict too_large(struct head *h)
{
	if (h->at == HEAD_AT_FIELDS)
		refuse(h, 431, "The header lines are too long.");
	else
		refuse(h, 414, "The request line is too long.");
	return HEAD_REFUSED;
}

enum head_verdict head_parse(struct head *h, char *text, size_t n, const struct head_limits *limits)
{
	size_t end = n < limits->max_bytes ? n : limits->max_bytes;
	size_t i = h->scanned;
	enum head_verdict verdict = HEAD_MORE;

	h->text = text;
	while (verdict == HEAD_MORE) {
		while (i < end && (octets[(unsigned char)text[i]] & FIELD))
			i++;
		h->scanned = i;
		if (i + 1 >= end && (i == end || text[i] == '\r'))
			return end == limits->max_bytes ? too_large(h) : HEAD_MORE;
		if (text[i] != '\r' || text[i + 1] != '\n') {
			refuse(h, 400, "The request head has a control character in it.");
			return HEAD_REFUSED;
		}
		h->scanned = i + 2;
		verdict = read_line(h, i, limits);
		i = h->scanned;
	}
	return verdict;
}

/* -- results --------------------------------------------------------------------------------------- */

const char *head_method(const struct head *h)
{
	return h->text + h->method;
}

const char *head_path(const struct head *h)
{
	return h->text + h->path;
}

const char *head_query(const struct head *h)
{
	return h->query ? h->text + h->query : NULL;
}

unsigned head_find(const struct head *h, const char *name, const char **ret_first)
{
	const char *first = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < h->n_fields; i++) {
		if (strcasecmp(h->text + h->fields[i].name, name) != 0)
			continue;
		if (!n++)
			first = h->text + h->fields[i].value;
	}
	if (ret_first)
		*ret_first = first;
	return n;
}

/* SPDX-License-Identifier: Apache-2.0
 * fetch/answer.c -- reads what a source says about its answer. libcurl reads the same lines to find the end
 * of the body; here a source that contradicts itself is caught before anything is believed. */
#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

struct text {
	const char *s;
	size_t n;
};

typedef int read_fn(struct answer *h, struct text value, struct err *err);

static int no_sense(struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE, "The answer of the source makes no sense.");
}

void answer_done(struct answer *h)
{
	free(h->location);
	*h = (struct answer){0};
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct text trim(struct text t)
{
	while (t.n > 0 && is_blank(t.s[0])) {
		t.s++;
		t.n--;
	}
	while (t.n > 0 && is_blank(t.s[t.n - 1]))
		t.n--;
	return t;
}

static bool equals(struct text t, const char *word)
{
	return t.n == strlen(word) && strncasecmp(t.s, word, t.n) == 0;
}

/* Digits from the start of @t, which loses them. */
static bool take_number(struct text *t, int64_t *ret)
{
	int64_t number = 0;
	size_t i = 0;

	for (; i < t->n && t->s[i] >= '0' && t->s[i] <= '9'; i++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, t->s[i] - '0', &number))
			return false;
	}
	t->s += i;
	t->n -= i;
	*ret = number;
	return i > 0;
}

static bool take_char(struct text *t, char c)
{
	if (t->n == 0 || t->s[0] != c)
		return false;
	t->s++;
	t->n--;
	return true;
}

/* -- lines that matter ---------------------------------------------------------------------------- */

static int read_length(struct answer *h, struct text value, struct err *err)
{
	int64_t length;

	if (!take_number(&value, &length) || value.n > 0 || (h->has_length && h->length != length))
		return no_sense(err);
	h->has_length = true;
	h->length = length;
	return 0;
}

static int read_transfer(struct answer *h, struct text value, struct err *err)
{
	if (!equals(value, "chunked") || h->is_chunked)
		return no_sense(err);
	h->is_chunked = true;
	return 0;
}

static int read_encoding(struct answer *h, struct text value, struct err *err)
{
	h->is_encoded |= value.n > 0 && !equals(value, "identity");
	return 0;
}

static int read_range(struct answer *h, struct text value, struct err *err)
{
	if (h->has_range || value.n < 6 || strncasecmp(value.s, "bytes ", 6) != 0)
		return h->has_range ? no_sense(err) : 0;
	value = trim((struct text){value.s + 6, value.n - 6});
	if (!take_number(&value, &h->first) || !take_char(&value, '-') || !take_number(&value, &h->last) ||
	    !take_char(&value, '/') || h->last < h->first)
		return 0;
	h->is_total_known = !equals(value, "*");
	if (h->is_total_known && (!take_number(&value, &h->total) || value.n > 0 || h->total <= h->last))
		return 0;
	h->has_range = true;
	return 0;
}

static bool copy(char *out, size_t size, struct text value)
{
	if (value.n >= size || memchr(value.s, '\0', value.n))
		return false;
	memcpy(out, value.s, value.n);
	out[value.n] = '\0';
	return true;
}

static int read_tag(struct answer *h, struct text value, struct err *err)
{
	h->tag[0] = '\0';
	if (value.n >= 2 && value.s[0] == '"' && value.s[value.n - 1] == '"')
		(void)copy(h->tag, sizeof(h->tag), value);
	return 0;
}

static int read_date(struct answer *h, struct text value, struct err *err)
{
	h->date[0] = '\0';
	(void)copy(h->date, sizeof(h->date), value);
	return 0;
}

static int read_location(struct answer *h, struct text value, struct err *err)
{
	if (h->location || value.n == 0 || memchr(value.s, '\0', value.n))
		return no_sense(err);
	h->location = strndup(value.s, value.n);
	return h->location ? 0 : err_nomem(err);
}

static const struct {
	const char *name;
	read_fn *read;
} readers[] = {
	{"Content-Length", read_length}, {"Transfer-Encoding", read_transfer}, {"Content-Encoding", read_encoding},
	{"Content-Range", read_range},   {"ETag", read_tag},                   {"Last-Modified", read_date},
	{"Location", read_location},
};

/* -- a head --------------------------------------------------------------------------------------- */

/* "HTTP/1.1 200 OK". Whatever came before, the answer starts here. */
static int read_status(struct answer *h, struct text line, struct err *err)
{
	size_t size = h->size;
	const char *blank = memchr(line.s, ' ', line.n);
	struct text rest;
	int64_t status;

	if (!blank)
		return no_sense(err);
	rest = trim((struct text){blank, line.n - (size_t)(blank - line.s)});
	if (!take_number(&rest, &status) || status < 100 || status > 999)
		return no_sense(err);
	answer_done(h);
	h->size = size;
	h->status = (int)status;
	return 0;
}

static int read_field(struct answer *h, struct text line, struct err *err)
{
	const char *colon = memchr(line.s, ':', line.n);
	struct text name, value;

	if (!colon)
		return 0;
	name = (struct text){line.s, (size_t)(colon - line.s)};
	value = trim((struct text){colon + 1, line.n - name.n - 1});
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		if (equals(name, readers[i].name))
			return readers[i].read(h, value, err);
	}
	return 0;
}

int answer_add(struct answer *h, const char *line, size_t n, struct err *err)
{
	struct text t = {line, n};

	h->size += n;
	if (h->size > ANSWER_HEAD_MAX)
		return err_set(err, ERR_UNAVAILABLE, "The head of the source's answer is too long.");
	if (h->is_done)
		return 0;
	if (trim(t).n == 0) {
		h->is_done = h->status >= 200 || h->status == 101;
		return 0;
	}
	if (n >= 5 && strncasecmp(line, "HTTP/", 5) == 0)
		return read_status(h, trim(t), err);
	return h->status ? read_field(h, t, err) : no_sense(err);
}

bool answer_is_redirect(const struct answer *h)
{
	switch (h->status) {
	case 301:
	case 302:
	case 303:
	case 307:
	case 308:
		return h->location;
	default:
		return false;
	}
}

/* SPDX-License-Identifier: Apache-2.0
 * http/head.h -- the request line and the header lines of HTTP/1.x. Pure: no I/O, no clock. */
#pragma once

#include "base/util.h"

enum head_verdict {
	HEAD_MORE,    /* well formed so far */
	HEAD_DONE,    /* complete; `size` octets belong to it */
	HEAD_REFUSED, /* answer `status` with `reason` and close: what follows cannot be trusted */
};

struct head_limits {
	size_t max_bytes;    /* request line and header lines together */
	unsigned max_fields; /* header lines */
};

struct head_field {
	size_t name, value; /* offsets into the text, both NUL-terminated; the value is trimmed */
};

/* Zeroed memory is a head of which nothing was read yet. */
struct head {
	char *text;     /* borrowed: the caller's buffer, as of the last head_parse() */
	size_t scanned; /* so many octets were looked at */
	size_t line;    /* the unfinished line begins here */
	size_t size;    /* HEAD_DONE: of the whole head */
	enum { HEAD_AT_START, HEAD_AT_REQUEST_LINE, HEAD_AT_FIELDS } at;

	size_t method, path, query, authority; /* offsets into the text; 0 of the last two: none */
	bool authority_form;                   /* CONNECT host:port; the path is empty */
	unsigned minor;                        /* HTTP/1.minor: 0 or 1 */
	struct head_field *fields;             /* owned; kept by head_reset() */
	unsigned n_fields, max_fields;

	int64_t content_length; /* 0: none or really 0 */
	bool chunked, keep_alive, expect_continue;

	int status; /* HEAD_REFUSED */
	const char *reason;
};

void head_reset(struct head *h); /* ready for the next request */
void head_done(struct head *h);

/* Look at @text, the whole of what has been received since the head began, @n octets. Call again
 * with more after HEAD_MORE; the text may have moved. Delimiters are overwritten with NULs. */
enum head_verdict head_parse(struct head *h, char *text, size_t n, const struct head_limits *limits);

/* After HEAD_DONE. Borrowed from the text. */
const char *head_method(const struct head *h);
const char *head_path(const struct head *h);
const char *head_query(const struct head *h); /* NULL: no '?' */
/* Number of fields of that name (any case); *ret_first, if not NULL, the value of the first or NULL. */
unsigned head_find(const struct head *h, const char *name, const char **ret_first);

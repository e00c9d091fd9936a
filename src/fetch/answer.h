/* SPDX-License-Identifier: Apache-2.0
 * fetch/answer.h -- the head of an answer, line by line: only what decides whether its body can be used. */
#pragma once

#include "base/util.h"

struct err;

enum {
	ANSWER_HEAD_MAX = 64 * 1024, /* octets of all heads that come before a body, those of 1xx answers included */
	ANSWER_TAG_MAX = 256,
	ANSWER_DATE_MAX = 64,
};

/* A zeroed struct is a head of which nothing has come yet. */
struct answer {
	int status;      /* 0: no status line yet */
	bool is_done;    /* all lines are in; what follows is a trailer */
	bool is_chunked; /* then the length does not count */
	bool is_encoded; /* in a way that we did not ask for */
	bool has_length, has_range, is_total_known;
	int64_t length;
	int64_t first, last, total; /* Content-Range */
	char tag[ANSWER_TAG_MAX];     /* a strong ETag with its quotes; "" if there is none */
	char date[ANSWER_DATE_MAX];   /* Last-Modified, as it came */
	char *location;             /* owned */
	size_t size;                /* octets so far */
};

void answer_done(struct answer *h); /* frees; the head is a zeroed one again */

/* One line, with or without its end; an empty one ends a head. ERR_UNAVAILABLE: no sense in it, or too long. */
int answer_add(struct answer *h, const char *line, size_t n, struct err *err);

/* It sends elsewhere: the status says so and there is a Location. */
bool answer_is_redirect(const struct answer *h);

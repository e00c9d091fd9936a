/* SPDX-License-Identifier: Apache-2.0
 * base/buf.h -- a growing byte buffer. An append that finds no memory marks the buffer as failed
 * and every later one does nothing, so a long rendering is checked once, at its end. */
#pragma once

#include "util.h"

struct buf {
	char *data; /* NULL while empty; always followed by a NUL that is not counted */
	size_t len, cap;
	bool failed;
};

void buf_init(struct buf *b);
void buf_done(struct buf *b);  /* AUTO(buf_done) works on a struct buf variable */
void buf_reset(struct buf *b); /* empty, memory kept */

void buf_add(struct buf *b, const void *data, size_t n);
void buf_addc(struct buf *b, char c);
void buf_adds(struct buf *b, const char *s);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Room for @n more octets at the end; NULL when out of memory. Commit by adding to len; the NUL
 * behind it is there again after the next append or buf_cstr(). */
char *buf_reserve(struct buf *b, size_t n);

/* The text, "" while empty. Borrowed. */
const char *buf_cstr(const struct buf *b);

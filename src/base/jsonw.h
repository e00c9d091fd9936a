/* SPDX-License-Identifier: Apache-2.0
 * base/jsonw.h -- writes JSON the way Python's json.dumps does by default: ", " and ": " between
 * members, everything outside 0x20..0x7e escaped with lower-case hex and surrogate pairs, '/' not
 * escaped. Clients and consumers get the bytes they have always got. */
#pragma once

#include "buf.h"

struct jsonw {
	struct buf *out; /* borrowed */
	bool comma;      /* a member or element precedes the next one here */
};

struct jsonw jsonw_to(struct buf *out);

void jsonw_object(struct jsonw *w);
void jsonw_object_end(struct jsonw *w);
void jsonw_array(struct jsonw *w);
void jsonw_array_end(struct jsonw *w);
void jsonw_key(struct jsonw *w, const char *key);

void jsonw_str(struct jsonw *w, const char *s); /* NULL writes null */
void jsonw_int(struct jsonw *w, int64_t v);
void jsonw_bool(struct jsonw *w, bool v);
void jsonw_null(struct jsonw *w);
void jsonw_raw(struct jsonw *w, const char *json, size_t n); /* @json is one complete value */

/* A quoted string alone. @s is UTF-8; an invalid octet is written as U+FFFD. */
void jsonw_quote(struct buf *out, const char *s, size_t n);

/* SPDX-License-Identifier: Apache-2.0
 * http/uri.h -- percent-decoding of path segments and queries. Pure. */
#pragma once

#include "base/arena.h"
#include "http.h"

/* Decode @n octets of @src into @dst (room for n + 1; may be the same place) and end them with a
 * NUL. @plus: '+' is a blank. The decoded length, or -1: malformed escape, a NUL, or not UTF-8. */
ssize_t uri_decode(char *dst, const char *src, size_t n, bool plus);

/* "a=1&b" -> pairs, in order; a name without '=' has the value "". Empty pieces are skipped.
 * 0, ERR_INVALID or ERR_NO_MEMORY. Everything is allocated from @arena. */
int uri_query(struct arena *arena, const char *text, const struct http_pair **ret, size_t *ret_n);

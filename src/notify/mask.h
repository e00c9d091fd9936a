/* SPDX-License-Identifier: Apache-2.0
 * notify/mask.h -- secrets become "***" before an event is written where operators read along: the
 * same ones in the same places as oslo.utils' strutils masks for the log driver. Room-internal. */
#pragma once

#include "base/util.h"

struct buf;

/* True if one of the words that announce a secret is in @text, in any case. Where it is false,
 * masking would change nothing. */
bool mask_needed(const char *text, size_t n);

/* A text: in `password=x`, `--token x`, `'secret': 'x'` and their like, x becomes ***. */
int mask_text(struct buf *text);

/* A JSON value. Every member of an object that is not an object itself and whose key has such a
 * word becomes "***"; other strings are masked as texts; arrays are copied as they are. Keys, order
 * and numbers stay. ERR_INVALID if @json is not JSON as we write it. */
int mask_json(struct buf *out, const char *json, size_t n);

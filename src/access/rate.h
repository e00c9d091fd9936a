/* SPDX-License-Identifier: Apache-2.0
 * access/rate.h -- how often each project may do something: so many times a minute, and as many at once as it
 * has saved up, a minute's worth at most. */
#pragma once

#include "base/util.h"

struct err;
struct rate;

/* @per_minute is at least 1. */
int rate_new(int64_t per_minute, struct rate **ret, struct err *err);
void rate_free(struct rate *r); /* NULL is fine */

/* 0: it may, and that counts. Otherwise it does not count, and in so many microseconds it may. @project NULL:
 * nobody's project; all of these are one. @now_us is monotonic. Thread-safe. */
int64_t rate_take(struct rate *r, const char *project, int64_t now_us);

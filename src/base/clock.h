/* SPDX-License-Identifier: Apache-2.0
 * base/clock.h -- time, and the forms in which the cloud writes it. All UTC unless said. */
#pragma once

#include "util.h"

#define CLOCK_TEXT_MAX 40 /* octets that hold any of the forms below, NUL included */

int64_t clock_now_us(void);  /* wall clock, microseconds since the epoch */
int64_t clock_mono_us(void); /* for durations */

/* "2026-11-22T19:09:30Z": API answers and payloads; whole seconds, rounded down. */
const char *clock_iso(int64_t us, char out[CLOCK_TEXT_MAX]);
/* "2026-11-22 19:09:30.745623": database columns; the fraction always has six digits. */
const char *clock_db(int64_t us, char out[CLOCK_TEXT_MAX]);
/* The same as Python's str(datetime): no fraction when the microseconds are 0. Notifications. */
const char *clock_python(int64_t us, char out[CLOCK_TEXT_MAX]);
/* "Sun, 22 Nov 2026 19:09:30 GMT": HTTP. */
const char *clock_http(int64_t us, char out[CLOCK_TEXT_MAX]);
/* "2026-11-22 19:09:39.642" in local time: log lines. */
const char *clock_log(int64_t us, char out[CLOCK_TEXT_MAX]);

/* Reads "YYYY-MM-DD[T ]HH:MM:SS[.ffffff]" with an optional "Z" or "+HH:MM"/"-HH:MM" (also
 * "+HHMM"); also a bare date. False if it is anything else or out of range. */
bool clock_parse(const char *text, int64_t *ret_us);

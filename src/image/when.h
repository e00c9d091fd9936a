/* SPDX-License-Identifier: Apache-2.0
 * image/when.h -- times as clients may write them in a query. */
#pragma once

#include "base/util.h"

/* Microseconds since the epoch from ISO 8601 in its extended or basic form, complete or cut off
 * anywhere after the year: 2026-11-22T19:09:30.5+01:00, 20261122T190930Z, 2026-11-22 19:09, 2026-11.
 * What is missing is the earliest; without a zone it is UTC. */
bool when_parse(const char *text, int64_t *ret_us);

/* SPDX-License-Identifier: Apache-2.0
 * base/uuid.h -- random ids. */
#pragma once

#include "util.h"

#define UUID_LEN 36

/* A random version 4 UUID in lower case with dashes. Aborts if the kernel has no randomness. */
void uuid_new(char out[UUID_LEN + 1]);

/* True for 8-4-4-4-12 hex digits in lower case: the only form that ever becomes part of a path. */
bool uuid_is_canonical(const char *s);

/* SPDX-License-Identifier: Apache-2.0
 * convert/child.h -- a program that works on hostile input, in a cage. Room-internal. */
#pragma once

#include <stdatomic.h>

#include "base/buf.h"

struct err;

struct child_limits {
	int64_t cpu_seconds, memory_octets, file_octets; /* file_octets 0: it may write none */
	const atomic_bool *cancelled;                    /* NULL: never */
};

#define CHILD_OUTPUT_MAX ((size_t)256 * 1024)

/* Runs @argv (a path, or a name that PATH has) in the directory @dir_fd without network, environment, input
 * and descriptors of ours, and waits for it. What it writes to its standard output comes in @out, at most
 * CHILD_OUTPUT_MAX octets. ERR_INVALID: it ended badly, by its own will or by a limit; the detail has what
 * it said. ERR_GONE: cancelled. ERR_UNAVAILABLE: it could not be started. */
int child_run(const char *const *argv, int dir_fd, const struct child_limits *limits, struct buf *out,
	      struct err *err);

/* SPDX-License-Identifier: Apache-2.0
 * base/util.h -- the handful of idioms every file uses. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Run fn(&variable) when the variable goes out of scope. Beside each destructor foo_free()
 * stands a helper foo_free_p(struct foo **) for this. */
#define AUTO(fn) __attribute__((cleanup(fn)))

/* Hand the value of a pointer variable on and leave NULL behind. */
#define TAKE(p)                                                                                    \
	({                                                                                         \
		__typeof__(p) *take_at_ = &(p);                                                    \
		__typeof__(p) take_value_ = *take_at_;                                             \
		*take_at_ = NULL;                                                                  \
		take_value_;                                                                       \
	})

/* The same for a file descriptor; leaves -1 behind. */
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *take_at_ = &(fd);                                                             \
		int take_value_ = *take_at_;                                                       \
		*take_at_ = -1;                                                                    \
		take_value_;                                                                       \
	})

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* AUTO() helpers for what libc hands out. */
void free_p(void *pointer_to_pointer); /* free() */
void close_fd_p(int *fd);              /* close() unless negative */

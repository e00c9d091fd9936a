/* SPDX-License-Identifier: Apache-2.0
 * base/util.c -- the cleanup helpers for what libc hands out. */
#include "util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void free_p(void *pointer_to_pointer)
{
	void *p;

	/* The variable is a `T *` for any T: copy it instead of reading it as a `void *`. */
	memcpy(&p, pointer_to_pointer, sizeof(p));
	free(p);
}

/* Keeps errno, so that leaving a scope does not hide why it was left. */
void close_fd_p(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd);
	errno = saved;
}

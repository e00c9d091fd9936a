/* SPDX-License-Identifier: Apache-2.0
 * http/listen.h -- where a server is reached: HOST:PORT, or a UNIX socket. */
#pragma once

#include <netinet/in.h>
#include <sys/types.h>

#include "base/util.h"

#define LISTEN_ADDRESS_MAX 128

struct err;

struct listener {
	int fd;
	bool is_local;                    /* a UNIX socket: whoever comes is on this machine */
	char address[LISTEN_ADDRESS_MAX]; /* "127.0.0.1:9292", the real port; "unix:/path" */
	int lock_fd;                      /* of a UNIX socket: flock() on path.lock, as long as it listens */
	dev_t dev;                        /* which file is ours to remove */
	ino_t ino;
};

/* HOST:PORT, [HOST]:PORT, :PORT, unix:/absolute/path. Bound and listening. @unix_mode: permissions of the
 * socket. */
int listener_open(const char *text, mode_t unix_mode, struct listener *ret, struct err *err);
/* From now on connections are refused. */
void listener_stop(struct listener *l);
void listener_close(struct listener *l); /* also one with fd and lock_fd -1 */

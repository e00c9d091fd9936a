/* SPDX-License-Identifier: Apache-2.0
 * service/workdir.h -- a private directory for the files of one task. It and the files in it have names
 * of ours alone; whoever holds it, or the next start, removes it. */
#pragma once

#include "base/util.h"

struct err;
struct workdir;

#define WORKDIR_INPUT "image"
#define WORKDIR_OUTPUT "converted"

/* @parent/@task_id, mode 0700. @parent is made if it is not there. */
int workdir_new(const char *parent, const char *task_id, struct workdir **ret, struct err *err);
int workdir_fd(const struct workdir *w);
int workdir_create(struct workdir *w, const char *name, struct err *err); /* an fd, owned; or an error */
int workdir_open(struct workdir *w, const char *name, struct err *err);   /* likewise, to read */
void workdir_remove(struct workdir *w, const char *name);
void workdir_close(struct workdir *w); /* with all that is in it; NULL is fine */

/* What a process before us left in @parent. At start. */
void workdir_sweep(const char *parent);

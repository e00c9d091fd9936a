/* SPDX-License-Identifier: Apache-2.0
 * service/workdir.c -- everything goes by openat() and the like, one plain name at a time and without
 * following links. */
#include "service/workdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/uuid.h"

#define DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct workdir {
	int parent, fd;
	char name[UUID_LEN + 1];
};

static const char *const names[] = {WORKDIR_INPUT, WORKDIR_OUTPUT};

static int fail(struct err *err, const char *what)
{
	int e = errno;

	err_set(err, e == ENOSPC || e == EDQUOT ? ERR_TOO_LARGE : ERR_UNAVAILABLE,
		"There is no place to convert the image in.");
	return err_detail(err, "%s: %s", what, strerror(e));
}

static void empty(int fd)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)unlinkat(fd, names[i], 0);
}

static int open_parent(const char *path)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* One of that name may be left from an earlier run of the task. */
static int open_own(struct workdir *w, struct err *err)
{
	if (mkdirat(w->parent, w->name, 0700) < 0 && errno != EEXIST)
		return fail(err, "make work directory");
	w->fd = openat(w->parent, w->name, DIRECTORY);
	if (w->fd < 0)
		return fail(err, "open work directory");
	empty(w->fd);
	return 0;
}

int workdir_new(const char *parent, const char *task_id, struct workdir **ret, struct err *err)
{
	struct workdir *w;
	int r;

	if (!uuid_is_canonical(task_id))
		return err_set(err, ERR_INTERNAL, "the task's id is not a UUID");
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_nomem(err);
	memcpy(w->name, task_id, UUID_LEN + 1);
	w->fd = -1;
	w->parent = open_parent(parent);
	r = w->parent < 0 ? fail(err, "open the directory of work directories") : open_own(w, err);
	if (r < 0) {
		workdir_close(w);
		return r;
	}
	*ret = w;
	return 0;
}

int workdir_fd(const struct workdir *w)
{
	return w->fd;
}

int workdir_create(struct workdir *w, const char *name, struct err *err)
{
	int fd = openat(w->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? fail(err, "create a work file") : fd;
}

int workdir_open(struct workdir *w, const char *name, struct err *err)
{
	int fd = openat(w->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? fail(err, "open a work file") : fd;
}

void workdir_remove(struct workdir *w, const char *name)
{
	(void)unlinkat(w->fd, name, 0);
}

void workdir_close(struct workdir *w)
{
	if (!w)
		return;
	if (w->fd >= 0) {
		empty(w->fd);
		close(w->fd);
		(void)unlinkat(w->parent, w->name, AT_REMOVEDIR);
	}
	close_fd_p(&w->parent);
	free(w);
}

static void sweep_one(int parent, const char *name)
{
	int fd = uuid_is_canonical(name) ? openat(parent, name, DIRECTORY) : -1;

	if (fd < 0)
		return;
	empty(fd);
	close(fd);
	(void)unlinkat(parent, name, AT_REMOVEDIR);
}

void workdir_sweep(const char *parent)
{
	DIR *dir = opendir(parent);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		sweep_one(dirfd(dir), entry->d_name);
	if (dir)
		closedir(dir);
}

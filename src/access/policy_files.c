/* SPDX-License-Identifier: Apache-2.0
 * access/policy_files.c -- finds and opens the policy files. */
#include "access/policy_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

static int fail(const char *path, struct err *err)
{
	return err_set(err, ERR_INVALID, "the policy file %s: %s", path, strerror(errno));
}

/* Only what has no name is absent: not a link that leads nowhere, nor what we may not look at. */
static int is_absent(const char *path, bool *ret, struct err *err)
{
	struct stat st;

	*ret = false;
	if (lstat(path, &st) == 0)
		return 0;
	*ret = errno == ENOENT;
	return *ret ? 0 : fail(path, err);
}

static void add_stamp(struct policy_files *f, const char *path, const struct stat *st)
{
	buf_addf(&f->stamp, "%s %llu %llu %lld %lld.%09ld %lld.%09ld\n", path, (unsigned long long)st->st_dev,
		 (unsigned long long)st->st_ino, (long long)st->st_size, (long long)st->st_mtim.tv_sec,
		 st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static int add_file(struct policy_files *f, const char *path, struct err *err)
{
	struct stat st;

	if (f->n == POLICY_MAX_FILES)
		return err_set(err, ERR_INVALID, "there are more than %d policy files", POLICY_MAX_FILES);
	if (stat(path, &st) < 0)
		return fail(path, err);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "the policy file %s is not a file", path);
	f->empty[f->n] = st.st_size == 0;
	f->paths[f->n] = arena_strdup(&f->arena, path);
	if (!f->paths[f->n++])
		return err_nomem(err);
	add_stamp(f, path, &st);
	return 0;
}

static int find_main(const struct policy_config *c, struct policy_files *f, struct err *err)
{
	bool absent;
	int r = is_absent(c->file, &absent, err);

	if (r < 0 || !absent)
		return r < 0 ? r : add_file(f, c->file, err);
	if (c->other_file) {
		r = is_absent(c->other_file, &absent, err);
		if (r < 0 || !absent)
			return r < 0 ? r : add_file(f, c->other_file, err);
	}
	return c->file_may_be_absent ? 0 : err_set(err, ERR_INVALID, "the policy file %s is not there", c->file);
}

/* As oslo.policy has it: neither directories in it nor what begins with a dot. */
static int add_entry(struct policy_files *f, const char *dir, const char *name, struct err *err)
{
	const char *path = arena_printf(&f->arena, "%s/%s", dir, name);
	struct stat st;

	if (!path)
		return err_nomem(err);
	if (stat(path, &st) < 0)
		return fail(path, err);
	return S_ISDIR(st.st_mode) ? 0 : add_file(f, path, err);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int by_octets(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int find_in_dir(const struct policy_config *c, const char *dir, struct policy_files *f, struct err *err)
{
	struct dirent **entries = NULL;
	bool absent;
	int n, r = is_absent(dir, &absent, err);

	if (r < 0)
		return r;
	if (absent)
		return c->dirs_may_be_absent ? 0 : err_set(err, ERR_INVALID, "[oslo_policy] policy_dirs: %s is not there", dir);
	n = scandir(dir, &entries, is_visible, by_octets);
	if (n < 0)
		return fail(dir, err);
	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = add_entry(f, dir, entries[i]->d_name, err);
		free(entries[i]);
	}
	free(entries);
	return r;
}

int policy_files_find(const struct policy_config *config, struct policy_files *ret, struct err *err)
{
	AUTO(policy_files_done) struct policy_files f = {0};
	int r = 0;

	f.paths = arena_alloc(&f.arena, POLICY_MAX_FILES * sizeof(*f.paths));
	f.empty = arena_alloc(&f.arena, POLICY_MAX_FILES * sizeof(*f.empty));
	if (!f.paths || !f.empty)
		return err_nomem(err);
	if (config->file)
		r = find_main(config, &f, err);
	for (const char *const *dir = config->dirs; dir && *dir && r == 0; dir++)
		r = find_in_dir(config, *dir, &f, err);
	if (r < 0)
		return r;
	if (f.stamp.failed)
		return err_nomem(err);
	*ret = f;
	f = (struct policy_files){0};
	return 0;
}

void policy_files_done(struct policy_files *f)
{
	arena_done(&f->arena);
	buf_done(&f->stamp);
}

/* At most one octet more than is allowed. */
static int read_all(int fd, const char *path, struct buf *out, struct err *err)
{
	while (out->len <= POLICY_MAX_OCTETS) {
		char *to = buf_reserve(out, 65536);
		ssize_t n = to ? read(fd, to, 65536) : 0;

		if (!to)
			return err_nomem(err);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(path, err);
		if (n == 0)
			return 0;
		out->len += (size_t)n;
	}
	return err_set(err, ERR_INVALID, "the policy file %s is longer than %zu octets", path, POLICY_MAX_OCTETS);
}

static int read_file(const char *path, struct rules *rs, struct err *err)
{
	AUTO(close_fd_p) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	AUTO(buf_done) struct buf text = {0};
	int r;

	if (fd < 0)
		return fail(path, err);
	r = read_all(fd, path, &text, err);
	return r < 0 ? r : policy_text_read(path, buf_cstr(&text), text.len, rs, err);
}

int policy_files_read(const struct policy_files *f, struct rules *rs, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < f->n && r == 0; i++)
		r = read_file(f->paths[i], rs, err);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * store/file/file.c -- objects as files directly inside one directory, laid out as Glance lays them
 * out: <directory>/<image id>, location file://<directory>/<image id>. Either reads the other's.
 *
 * An object that is being written is ".glint-<host>-<image id>.part" beside its later name, locked
 * with flock(2) as long as its writer lives. The name is fixed so that O_EXCL turns a second writer
 * for the same image away before it sends anything; the lock tells what a dead writer left from what
 * a living one, perhaps of another process on this machine, still needs; the host keeps machines that
 * share a directory apart where locks do not reach from one to the other.
 *
 * (1) The directory is opened once; everything below it goes by openat() and the like with one plain
 *     name and without following links. Whatever the locations in the database say, no other file is
 *     read or removed.
 * (2) An object gets its name only after fsync(), and only if the name is free. It counts as stored
 *     after fsync() of the directory; if that fails it loses the name again.
 * (3) Files that begin with a dot are never objects.
 *
 * No space is reserved for the size the client announces: an announcement costs nothing, and one
 * client could fill the store with it. It is compared with the free space, no more; and not even that in a
 * thin store, where zeros are left out of the file and nobody knows how many there will be. */
#include "store/driver.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"

#define DIRECTORY_MODE 0750
#define FILE_MODE 0640
#define PREFIX ".glint-"
#define SUFFIX ".part"
#define HOST_MAX 64
#define PART_NAME_MAX (sizeof(PREFIX) + HOST_MAX + 1 + UUID_LEN + sizeof(SUFFIX))

/* Begin to write out after so many octets, so that the fsync() at the end finds little to do. */
#define FLUSH_OCTETS (8 << 20)

/* A thin store leaves out zeros by such pieces, at multiples of this: small enough to find most of
 * them, large enough to keep a file in few parts. */
#define HOLE_OCTETS (64 << 10)

/* What another machine began and has not touched for so long, and nobody has locked, is nobody's:
 * a container that comes back has a new host name each time. */
#define ABANDONED_SECONDS (24 * 60 * 60)

struct file_store {
	int dir;
	char *directory; /* as configured, absolute, no slash at the end: what locations are made of */
	char *real;      /* the same without symbolic links */
	mode_t mode;
	bool thin;
	char host[HOST_MAX + 1];
};

struct file_writer {
	const struct file_store *store;
	int fd;
	bool unnamed;    /* the file is under @part, and that name is ours to remove */
	int64_t written; /* where the file goes on, */
	int64_t size;    /* and where it ends: less than that after a hole */
	int64_t flushed;
	char name[UUID_LEN + 1];
	char part[PART_NAME_MAX];
};

/* The client reads what it means to him; the log also reads which file and why. */
static int fail(struct err *err, int e, const struct file_store *fs, const char *name, const char *what)
{
	int code = ERR_INTERNAL;
	const char *text = "The image store failed.";

	switch (e) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		code = ERR_TOO_LARGE;
		text = "Image storage media is full: There is not enough disk space on the image storage "
		       "media.";
		break;
	case EACCES:
	case EPERM:
	case EROFS:
		code = ERR_UNAVAILABLE;
		text = "Insufficient permissions on image storage media.";
		break;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ESTALE:
	case ETIMEDOUT:
		code = ERR_UNAVAILABLE;
		text = "The image store cannot be used at the moment.";
		break;
	}
	err_set(err, code, "%s", text);
	if (err)
		err->retriable = code == ERR_UNAVAILABLE;
	err_detail(err, "%s '%s/%s': %s", what, fs->directory ? fs->directory : "", name, strerror(e));
	return code;
}

/*
 * The directory
 */

/* Host names are plain already, as a rule. */
static void init_host(struct file_store *fs)
{
	if (gethostname(fs->host, sizeof(fs->host)) < 0)
		snprintf(fs->host, sizeof(fs->host), "localhost");
	fs->host[HOST_MAX] = '\0';
	for (char *p = fs->host; *p; p++)
		if (*p == '/' || *p < '!' || *p > '~')
			*p = '_';
}

static int init_mode(struct file_store *fs, int64_t mode, struct err *err)
{
	if (mode > 0777 || (mode > 0 && !(mode & S_IRUSR)))
		return err_set(err, ERR_INVALID,
			       "The file mode of the image store must be between 0400 and 0777 and let the "
			       "owner read.");
	fs->mode = mode > 0 ? (mode_t)mode : FILE_MODE;
	return 0;
}

/* @path and the directories above it. On failure errno says why. */
static int make_directories(const char *path)
{
	AUTO(free_p) char *copy = strdup(path);

	if (!copy)
		return -1;
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, DIRECTORY_MODE) < 0 && errno != EEXIST)
			return -1;
		*p = '/';
	}
	return mkdir(copy, DIRECTORY_MODE) < 0 && errno != EEXIST ? -1 : 0;
}

static int open_directory(const char *path)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	int fd = open(path, flags);

	if (fd >= 0 || errno != ENOENT || make_directories(path) < 0)
		return fd;
	return open(path, flags);
}

/* Whom the configured mode lets read the files must also get to them. */
static void let_pass(const struct file_store *fs)
{
	mode_t want = (fs->mode & S_IRWXG ? S_IXGRP : 0) | (fs->mode & S_IRWXO ? S_IXOTH : 0);
	struct stat st;

	if (fstat(fs->dir, &st) == 0 && (st.st_mode & want) != want)
		(void)fchmod(fs->dir, (st.st_mode | want) & 07777);
}

/* @path with each run of slashes as one and none at the end. */
static char *tidy(const char *path)
{
	char *copy = malloc(strlen(path) + 1), *out = copy;

	if (!copy)
		return NULL;
	for (const char *p = path; *p; p++)
		if (*p != '/' || (p[1] != '/' && p[1] != '\0'))
			*out++ = *p;
	*out = '\0';
	return copy;
}

static int init_names(struct file_store *fs, const char *path, struct err *err)
{
	AUTO(free_p) char *real = realpath(path, NULL);

	if (!real)
		return fail(err, errno, fs, "", "realpath");
	fs->real = tidy(real);
	free(fs->directory);
	fs->directory = tidy(path[0] == '/' ? path : real);
	return fs->real && fs->directory ? 0 : err_nomem(err);
}

static int file_open(void *state, const struct store_config *config, struct err *err)
{
	struct file_store *fs = state;
	int r;

	fs->dir = -1;
	if (!config->directory || !config->directory[0])
		return err_set(err, ERR_INVALID, "The file store needs filesystem_store_datadir.");
	r = init_mode(fs, config->file_mode, err);
	if (r < 0)
		return r;
	fs->thin = config->thin;
	init_host(fs);
	fs->directory = tidy(config->directory); /* for the errors of the next lines */
	fs->dir = open_directory(config->directory);
	if (fs->dir < 0)
		return fail(err, errno, fs, "", "open directory");
	if (config->file_mode > 0)
		let_pass(fs);
	if (faccessat(fs->dir, ".", R_OK | W_OK | X_OK, AT_EACCESS) < 0)
		return fail(err, errno, fs, "", "use directory");
	return init_names(fs, config->directory, err);
}

static void file_close(void *state)
{
	struct file_store *fs = state;

	close_fd_p(&fs->dir);
	free(fs->directory);
	free(fs->real);
}

/* There are file systems that have nothing to do for a directory and say so with EINVAL. */
static int sync_directory(const struct file_store *fs)
{
	return fsync(fs->dir) < 0 && errno != EINVAL ? -1 : 0;
}

/*
 * Locations
 */

static char *file_url(const void *state, const char *image_id)
{
	const struct file_store *fs = state;
	char *url;

	return asprintf(&url, "file://%s/%s", fs->directory, image_id) < 0 ? NULL : url;
}

/* Is @text[0..n) a way to write @directory? Only the number of slashes may differ. */
static bool is_directory(const char *text, size_t n, const char *directory)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '/' && (i + 1 == n || text[i + 1] == '/'))
			continue;
		if (text[i] != *directory++)
			return false;
	}
	return *directory == '\0';
}

/* One component of a path that can be an object. Glance stores under the image's id, which is not
 * always a canonical UUID, and operators register files that they placed there themselves. */
static bool is_plain(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && strlen(name) <= NAME_MAX;
}

/* The name inside our directory that @url stands for (borrowed from it), or NULL. Nothing is decoded:
 * Glance writes the path as it is and reads it as it is, a '%' is a '%'. */
static const char *name_of(const struct file_store *fs, const char *url)
{
	static const char *const schemes[] = {"file://", "filesystem://"};

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		size_t n = strlen(schemes[i]);
		const char *slash;

		if (strncmp(url, schemes[i], n) != 0)
			continue;
		url += n;
		slash = strrchr(url, '/');
		if (!slash || !is_plain(slash + 1))
			return NULL;
		n = (size_t)(slash - url);
		return is_directory(url, n, fs->directory) || is_directory(url, n, fs->real) ? slash + 1
											     : NULL;
	}
	return NULL;
}

static bool file_owns(const void *state, const char *url)
{
	return name_of(state, url) != NULL;
}

/*
 * Writing
 */

static bool exists(const struct file_store *fs, const char *name)
{
	struct stat st;

	return fstatat(fs->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A file system that does not know its size says that it has no blocks. */
static bool has_room(const struct file_store *fs, int64_t size)
{
	struct statvfs vfs;

	if (size <= 0 || fstatvfs(fs->dir, &vfs) < 0 || vfs.f_blocks == 0 || vfs.f_frsize == 0)
		return true;
	return (uint64_t)size / vfs.f_frsize <= vfs.f_bavail;
}

static int conflict(struct err *err, const char *image_id)
{
	return err_set(err, ERR_CONFLICT, "The store already holds data of image %s.", image_id);
}

/* False if a sweeper took the file in the moment between its creation and the lock. Where there are no
 * locks, the host in the name has to do. */
static bool lock_part(int fd)
{
	struct stat st;

	while (flock(fd, LOCK_EX) < 0 && errno == EINTR)
		;
	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

static int open_part(struct file_writer *w, struct err *err)
{
	const struct file_store *fs = w->store;

	w->fd = openat(fs->dir, w->part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (w->fd < 0 && errno == EEXIST)
		return conflict(err, w->name);
	if (w->fd < 0)
		return fail(err, errno, fs, w->part, "create");
	w->unnamed = lock_part(w->fd);
	if (!w->unnamed)
		return fail(err, ESTALE, fs, w->part, "lock");
	if (fchmod(w->fd, fs->mode) < 0) /* whatever the umask */
		return fail(err, errno, fs, w->part, "chmod");
	return 0;
}

static int file_create(void *state, void *writer, const char *image_id, int64_t size_hint, struct err *err)
{
	struct file_store *fs = state;
	struct file_writer *w = writer;

	w->store = fs;
	w->fd = -1;
	snprintf(w->name, sizeof(w->name), "%s", image_id);
	snprintf(w->part, sizeof(w->part), PREFIX "%s-%s" SUFFIX, fs->host, image_id);
	if (exists(fs, w->name))
		return conflict(err, w->name);
	if (!fs->thin && !has_room(fs, size_hint))
		return fail(err, ENOSPC, fs, w->part, "announced size");
	return open_part(w, err);
}

/* An error shows in the fsync() at the end. */
static void flush(struct file_writer *w)
{
	if (w->written - w->flushed < FLUSH_OCTETS)
		return;
	(void)sync_file_range(w->fd, w->flushed, w->written - w->flushed, SYNC_FILE_RANGE_WRITE);
	w->flushed = w->written;
}

static int write_octets(struct file_writer *w, const char *at, size_t n, struct err *err)
{
	while (n > 0) {
		ssize_t k = write(w->fd, at, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return fail(err, k < 0 ? errno : EIO, w->store, w->part, "write");
		at += k;
		n -= (size_t)k;
		w->written += k;
	}
	w->size = w->written;
	return 0;
}

static int skip_octets(struct file_writer *w, size_t n, struct err *err)
{
	if (lseek(w->fd, (off_t)n, SEEK_CUR) < 0)
		return fail(err, errno, w->store, w->part, "seek");
	w->written += (int64_t)n;
	return 0;
}

/* All of it, compared with itself one octet on. */
static bool is_zero(const char *at, size_t n)
{
	return at[0] == 0 && memcmp(at, at + 1, n - 1) == 0;
}

/* Is there a whole piece of zeros at @at, to be left out? */
static bool is_hole(const char *at, size_t n)
{
	return n >= HOLE_OCTETS && is_zero(at, HOLE_OCTETS);
}

/* What is written and what is left out in turn, each as long as it gets. */
static int write_thin(struct file_writer *w, const char *at, size_t n, struct err *err)
{
	size_t run = (size_t)(-w->written & (HOLE_OCTETS - 1)); /* up to the first whole piece */
	int r = 0;

	run = run < n ? run : n;
	while (r == 0 && n > 0) {
		bool hole = run == 0 && is_hole(at, n);

		while (run < n && is_hole(at + run, n - run) == hole)
			run = n - run < HOLE_OCTETS ? n : run + HOLE_OCTETS;
		r = hole ? skip_octets(w, run, err) : write_octets(w, at, run, err);
		at += run;
		n -= run;
		run = 0;
	}
	return r;
}

static int file_write(void *writer, const void *data, size_t n, struct err *err)
{
	struct file_writer *w = writer;
	int r = w->store->thin ? write_thin(w, data, n, err) : write_octets(w, data, n, err);

	if (r == 0)
		flush(w);
	return r;
}

/* A hole at the end is none yet: nothing has been written behind it. */
static int end_hole(struct file_writer *w)
{
	return w->size < w->written ? ftruncate(w->fd, w->written) : 0;
}

/* Give the file its name if the name is free. On failure errno says why. */
static int publish(struct file_writer *w)
{
	int dir = w->store->dir;

	if (renameat2(dir, w->part, dir, w->name, RENAME_NOREPLACE) < 0) {
		if (errno != EINVAL && errno != ENOSYS)
			return -1;
		/* NFS and some others know no such rename. */
		if (linkat(dir, w->part, dir, w->name, 0) < 0)
			return -1;
		(void)unlinkat(dir, w->part, 0);
	}
	w->unnamed = false;
	return 0;
}

static int file_commit(void *writer, char **ret_url, struct err *err)
{
	struct file_writer *w = writer;
	const struct file_store *fs = w->store;
	AUTO(free_p) char *url = file_url(fs, w->name);

	if (!url)
		return err_nomem(err);
	if (end_hole(w) < 0)
		return fail(err, errno, fs, w->part, "ftruncate");
	if (fsync(w->fd) < 0)
		return fail(err, errno, fs, w->part, "fsync");
	if (publish(w) < 0)
		return errno == EEXIST ? conflict(err, w->name) : fail(err, errno, fs, w->name, "rename to");
	if (sync_directory(fs) < 0) {
		int r = fail(err, errno, fs, "", "fsync");

		(void)unlinkat(fs->dir, w->name, 0);
		return r;
	}
	*ret_url = TAKE(url);
	return 0;
}

/* Cannot fail, but the disk can. What resists a second time goes with the sweep of the next start; it gives its
 * octets back now. */
static void remove_part(const struct file_writer *w)
{
	int dir = w->store->dir;

	if (unlinkat(dir, w->part, 0) < 0 && unlinkat(dir, w->part, 0) < 0)
		(void)!ftruncate(w->fd, 0);
}

static void file_done(void *writer)
{
	struct file_writer *w = writer;

	if (w->unnamed)
		remove_part(w); /* before the lock goes with the close */
	close_fd_p(&w->fd);
}

/*
 * Reading and removing
 */

static int not_found(struct err *err, const struct file_store *fs, const char *name, const char *why)
{
	err_set(err, ERR_NOT_FOUND, "The image data is not in the store.");
	err_detail(err, "open '%s/%s': %s", fs->directory, name, why);
	return ERR_NOT_FOUND;
}

static int file_read(void *state, const char *url, struct store_source *ret, struct err *err)
{
	struct file_store *fs = state;
	const char *name = name_of(fs, url);
	AUTO(close_fd_p) int fd = -1;
	struct stat st;

	/* O_NONBLOCK: not to wait for somebody to write into a FIFO that lies there. */
	fd = openat(fs->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENXIO))
		return not_found(err, fs, name, strerror(errno));
	if (fd < 0)
		return fail(err, errno, fs, name, "open");
	if (fstat(fd, &st) < 0)
		return fail(err, errno, fs, name, "stat");
	if (!S_ISREG(st.st_mode))
		return not_found(err, fs, name, "not a regular file");
	(void)fcntl(fd, F_SETFL, 0); /* blocking again */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	ret->fd = fd;
	ret->size = st.st_size;
	fd = -1;
	return 0;
}

/* Synced, because nothing would ever find the octets that come back after a power failure. */
static int file_remove(void *state, const char *url, struct err *err)
{
	struct file_store *fs = state;
	const char *name = name_of(fs, url);

	if (unlinkat(fs->dir, name, 0) < 0)
		return errno == ENOENT ? 0 : fail(err, errno, fs, name, "remove");
	return sync_directory(fs) < 0 ? fail(err, errno, fs, "", "fsync") : 0;
}

/*
 * After a crash
 */

static bool is_part(const char *name)
{
	size_t n = strlen(name);

	return n > strlen(PREFIX) + 1 + UUID_LEN + strlen(SUFFIX) &&
	       strncmp(name, PREFIX, strlen(PREFIX)) == 0 && strcmp(name + n - strlen(SUFFIX), SUFFIX) == 0;
}

static bool is_of_host(const char *name, const char *host)
{
	size_t n = strlen(host);

	name += strlen(PREFIX);
	return strncmp(name, host, n) == 0 && name[n] == '-' &&
	       strlen(name + n + 1) == UUID_LEN + strlen(SUFFIX);
}

/* Holding its lock, is it a file that nobody will finish? One that has no name any more has been
 * removed by somebody who held the lock before us, and its name may be another's by now. */
static bool is_left_over(const struct file_store *fs, const char *name, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink == 0)
		return false;
	return is_of_host(name, fs->host) || st.st_mtime < time(NULL) - ABANDONED_SECONDS;
}

static bool sweep_one(const struct file_store *fs, const char *name)
{
	AUTO(close_fd_p) int fd = -1;

	/* To write, because over NFS only who may write may lock. */
	fd = openat(fs->dir, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK))
		return false;
	return is_left_over(fs, name, fd) && unlinkat(fs->dir, name, 0) == 0;
}

static void closedir_p(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

static int file_sweep(void *state, unsigned *ret_n, struct err *err)
{
	struct file_store *fs = state;
	AUTO(close_fd_p) int fd = openat(fs->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO(closedir_p) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	unsigned n = 0;

	if (!dir)
		return fail(err, errno, fs, "", "list");
	fd = -1; /* closedir() closes it */
	while (errno = 0, (entry = readdir(dir)))
		if (is_part(entry->d_name) && sweep_one(fs, entry->d_name))
			n++;
	if (errno != 0)
		return fail(err, errno, fs, "", "list");
	*ret_n = n;
	return 0;
}

const struct store_driver store_driver_file = {
	.version = STORE_DRIVER_VERSION,
	.name = "file",
	.summary = "files in a directory",
	.state_size = sizeof(struct file_store),
	.writer_size = sizeof(struct file_writer),
	.open = file_open,
	.close = file_close,
	.create = file_create,
	.write = file_write,
	.commit = file_commit,
	.done = file_done,
	.owns = file_owns,
	.read = file_read,
	.remove = file_remove,
	.url = file_url,
	.sweep = file_sweep,
};

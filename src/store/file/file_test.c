/* SPDX-License-Identifier: Apache-2.0
 * Tests of store/file/file.c beyond the contract every driver keeps (tests/contract): what lies in the
 * directory, links and strange files in it, failing system calls, other writers and dead ones.
 *
 * The system calls a commit depends on are defined here, in front of libc's, so that each can be made
 * to fail. */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"

#define ID "c0ffee00-0000-4000-8000-000000000001"
#define ID2 "c0ffee00-0000-4000-8000-000000000002"
#define FULL "Image storage media is full: There is not enough disk space on the image storage media."

/*
 * Failing system calls
 */

static int fail_in = -1; /* the how-many-th watched call from now fails; -1: none */
static int fail_errno;
static bool fail_rename_flags; /* like a file system without RENAME_NOREPLACE */
static unsigned n_fsyncs;

static bool is_failing(void)
{
	if (fail_in < 0 || fail_in-- > 0)
		return false;
	errno = fail_errno;
	return true;
}

ssize_t write(int fd, const void *data, size_t n)
{
	return fd > 2 && is_failing() ? -1 : syscall(SYS_write, fd, data, n);
}

int fsync(int fd)
{
	n_fsyncs++;
	return is_failing() ? -1 : (int)syscall(SYS_fsync, fd);
}

int ftruncate(int fd, off_t size)
{
	return is_failing() ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

off_t lseek(int fd, off_t offset, int whence)
{
	return is_failing() ? -1 : (off_t)syscall(SYS_lseek, fd, offset, whence);
}

int fchmod(int fd, mode_t mode)
{
	return is_failing() ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	if (fail_rename_flags && flags) {
		errno = EINVAL;
		return -1;
	}
	return is_failing() ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

/*
 * A store in a directory of its own
 */

static char directory[64];

static struct store *open_at(const char *path, int64_t mode)
{
	struct store_config config = {.id = "fs", .type = "file", .directory = path, .file_mode = mode};
	struct err err = {0};
	struct store *s = NULL;

	if (store_open(&config, &s, &err) < 0)
		fail_msg("%s", err_story(&err));
	return s;
}

static int set_up(void **state)
{
	snprintf(directory, sizeof(directory), "/tmp/file-store-XXXXXX");
	assert_non_null(mkdtemp(directory));
	*state = open_at(directory, 0);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	fail_in = -1;
	fail_rename_flags = false;
	store_close(*state);
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

static const char *in_directory(const char *name)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static const char *url_of(const char *name)
{
	static char url[400];

	snprintf(url, sizeof(url), "file://%s/%s", directory, name);
	return url;
}

static void place(const char *name, const char *text)
{
	FILE *f = fopen(in_directory(name), "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static bool is_there(const char *name)
{
	struct stat st;

	return lstat(in_directory(name), &st) == 0;
}

static unsigned n_entries(void)
{
	DIR *d = opendir(directory);
	unsigned n = 0;

	assert_non_null(d);
	for (struct dirent *e = readdir(d); e; e = readdir(d))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static int put(struct store *s, const char *id, const char *data, struct err *err)
{
	AUTO(store_abort_p) struct store_writer *w = NULL;
	AUTO(free_p) char *url = NULL;
	int r;

	r = store_create(s, id, -1, &w, err);
	if (r == 0)
		r = store_write(w, data, strlen(data), err);
	if (r == 0)
		r = store_commit(&w, &url, err);
	return r;
}

static void host_name(char out[65])
{
	assert_int_equal(gethostname(out, 65), 0);
	out[64] = '\0';
}

/*
 * The layout
 */

static void layout_is_glances(void **state)
{
	struct err err = {0};
	AUTO(free_p) char *url = store_url(*state, ID);
	struct stat st;

	assert_string_equal(url, url_of(ID));
	assert_int_equal(put(*state, ID, "data", &err), 0);
	assert_int_equal(n_entries(), 1);
	assert_int_equal(stat(in_directory(ID), &st), 0);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void mode_is_as_configured(void **state)
{
	mode_t before = umask(077);
	struct store *s = open_at(directory, 0644);
	struct stat st;

	assert_int_equal(put(s, ID, "data", NULL), 0);
	umask(before);
	assert_int_equal(stat(in_directory(ID), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(stat(directory, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711); /* mkdtemp's 0700, and a way through */
	store_close(s);
}

static void bad_modes(void **state)
{
	static const int64_t modes[] = {640, 0200, 01777, INT64_MAX};

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		struct store_config config = {.type = "file", .directory = directory, .file_mode = modes[i]};
		struct store *s = NULL;

		assert_int_equal(store_open(&config, &s, NULL), ERR_INVALID);
		assert_null(s);
	}
}

static void directory_is_made(void **state)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/a//b/c/", directory);
	store_close(open_at(path, 0));
	assert_int_equal(stat(in_directory("a/b/c"), &st), 0);
	assert_int_equal(st.st_mode & 07777 & ~0750, 0);
	store_close(open_at(path, 0));
}

static void bad_directories(void **state)
{
	const char *paths[] = {NULL, "", "/proc/none/such", in_directory("file"), in_directory("file/sub")};
	struct err err = {0};

	place("file", "");
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct store_config config = {.type = "file", .directory = paths[i]};
		struct store *s = NULL;

		assert_true(store_open(&config, &s, &err) < 0);
		assert_null(s);
		assert_null(strstr(err.text, directory)); /* a path is for the log */
	}
}

/*
 * Locations
 */

static void which_locations_are_ours(void **state)
{
	static const char *const others[] = {
		"",
		"file:",
		"file://",
		"file:///",
		"/etc/passwd",
		"file:///etc/passwd",
		"http://example.org/" ID,
		"FILE://%s/" ID,
		"File://%s/" ID,
		"file:/%s/" ID,
		"file:%s/" ID,
		"%%66ile://%s/" ID,
		" file://%s/" ID,
		"file+x://%s/" ID,
		"swift+config://%s/" ID,
		"file://localhost%s/" ID,
		"file://%s",
		"file://%s/",
		"file://%s/.",
		"file://%s/..",
		"file://%s/../" ID,
		"file://%s/./" ID,
		"file://%s/sub/" ID,
		"file://%s/../../etc/passwd",
		"file://%s/.glint-host-" ID ".part",
		"file://%sx/" ID,
		"file://%s%%2f" ID,
		"file:///%%2e%%2e%s/" ID,
		"file://.%s/" ID,
	};
	char url[600], name[300];

	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		snprintf(url, sizeof(url), others[i], directory);
		if (store_owns(*state, url))
			fail_msg("%s", url);
		assert_int_equal(store_read(*state, url, NULL, NULL), ERR_NOT_FOUND);
		assert_int_equal(store_remove(*state, url, NULL), ERR_FORBIDDEN);
	}
	assert_false(store_owns(*state, NULL));
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	assert_false(store_owns(*state, url_of(name)));
	name[255] = '\0';
	assert_true(store_owns(*state, url_of(name)));
}

static void ours_in_other_words(void **state)
{
	static const char *const ours[] = {
		"file://%s/" ID,
		"filesystem://%s/" ID,
		"file://%s//" ID,
		"file:///%s/" ID,
		"file://%s/name of old",
		"file://%s/%%2e%%2e",
		"file://%s/C0FFEE00-0000-4000-8000-000000000001",
		"file://%s/a?b#c",
	};
	char url[200];

	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		snprintf(url, sizeof(url), ours[i], directory);
		if (!store_owns(*state, url))
			fail_msg("%s", url);
	}
}

/* The directory is known by the name in the configuration and by its real one. */
static void directory_behind_link(void **state)
{
	AUTO(store_close_p) struct store *s = NULL;
	AUTO(free_p) char *url = NULL;
	char path[100], want[200];

	snprintf(path, sizeof(path), "%s/link", directory);
	assert_int_equal(symlink(directory, path), 0);
	s = open_at(path, 0);
	snprintf(want, sizeof(want), "file://%s/link/" ID, directory);
	url = store_url(s, ID);
	assert_string_equal(url, want);
	assert_true(store_owns(s, url));
	assert_true(store_owns(s, url_of(ID)));
	assert_false(store_owns(*state, url));
}

static void relative_directory(void **state)
{
	AUTO(store_close_p) struct store *s = NULL;
	AUTO(free_p) char *url = NULL;
	int here = open(".", O_PATH | O_CLOEXEC);

	assert_int_equal(chdir(directory), 0);
	s = open_at("./images/", 0);
	assert_int_equal(fchdir(here), 0);
	close(here);
	url = store_url(s, ID);
	assert_string_equal(url, url_of("images/" ID));
	assert_true(store_owns(s, url));
	assert_int_equal(put(s, ID, "x", NULL), 0);
	assert_true(is_there("images/" ID));
}

/*
 * Files that are not what they seem
 */

static void links_are_not_followed(void **state)
{
	AUTO(free_p) char *target = strdup(in_directory("secret"));
	struct store_source source;
	struct err err = {0};

	place("secret", "not yours");
	assert_int_equal(symlink(target, in_directory(ID)), 0);
	assert_int_equal(store_read(*state, url_of(ID), &source, &err), ERR_NOT_FOUND);
	assert_int_equal(put(*state, ID, "x", &err), ERR_CONFLICT);
	assert_int_equal(store_remove(*state, url_of(ID), &err), 0);
	assert_true(is_there("secret"));
	assert_false(is_there(ID));
}

/* A link where the unfinished object is to be: nothing is written through it. */
static void link_in_place_of_part(void **state)
{
	AUTO(free_p) char *target = strdup(in_directory("victim"));
	char host[65], name[300];

	host_name(host);
	snprintf(name, sizeof(name), ".glint-%s-" ID ".part", host);
	assert_int_equal(symlink(target, in_directory(name)), 0);
	assert_int_equal(put(*state, ID, "x", NULL), ERR_CONFLICT);
	assert_false(is_there("victim"));
}

static void only_regular_files(void **state)
{
	struct store_source source;
	struct err err = {0};

	assert_int_equal(mkfifo(in_directory("fifo"), 0600), 0);
	assert_int_equal(mkdir(in_directory("sub"), 0700), 0);
	assert_int_equal(store_read(*state, url_of("fifo"), &source, &err),
			 ERR_NOT_FOUND); /* and no waiting */
	assert_int_equal(store_read(*state, url_of("sub"), &source, &err), ERR_NOT_FOUND);
	assert_null(strstr(err.text, directory));
	assert_non_null(strstr(err.detail, directory));
	assert_true(store_remove(*state, url_of("sub"), &err) < 0);
	assert_true(is_there("sub"));
}

static void source_is_read_only_and_close_on_exec(void **state)
{
	struct store_source source = {.fd = -1};

	assert_int_equal(put(*state, ID, "x", NULL), 0);
	assert_int_equal(store_read(*state, url_of(ID), &source, NULL), 0);
	assert_int_equal(fcntl(source.fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
	assert_int_equal(fcntl(source.fd, F_GETFD), FD_CLOEXEC);
	close(source.fd);
}

/*
 * Failures
 */

/* Every call on the way fails once: nothing is left, and the story says what it was. */
static void each_call_fails(void **state)
{
	int r = -1;

	for (int n = 0; r < 0; n++) {
		struct err err = {0};

		assert_true(n < 20);
		fail_errno = EIO;
		fail_in = n;
		r = put(*state, ID, "data", &err);
		if (r == 0) {
			assert_true(n >= 5); /* chmod, write, fsync, rename, fsync */
			break;
		}
		assert_int_equal(r, ERR_INTERNAL);
		assert_non_null(strstr(err.detail, directory));
		assert_null(strstr(err.text, directory));
		assert_int_equal(n_entries(), 0);
	}
	fail_in = -1;
	assert_int_equal(n_entries(), 1);
}

static void what_an_errno_means(void **state)
{
	static const struct {
		int e, code;
	} cases[] = {
		{ENOSPC, ERR_TOO_LARGE},   {EDQUOT, ERR_TOO_LARGE},  {EFBIG, ERR_TOO_LARGE},
		{EACCES, ERR_UNAVAILABLE}, {EROFS, ERR_UNAVAILABLE}, {ESTALE, ERR_UNAVAILABLE},
		{ENOMEM, ERR_UNAVAILABLE}, {EIO, ERR_INTERNAL},      {ENODEV, ERR_INTERNAL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (int n = 1; n < 3; n++) { /* write, fsync */
			struct err err = {0};

			fail_errno = cases[i].e;
			fail_in = n;
			assert_int_equal(put(*state, ID, "data", &err), cases[i].code);
			assert_int_equal(err.retriable, cases[i].code == ERR_UNAVAILABLE);
			if (cases[i].code == ERR_TOO_LARGE)
				assert_string_equal(err.text, FULL);
			assert_int_equal(n_entries(), 0);
		}
	}
	fail_in = 1;
	assert_int_equal(put(*state, ID, "data", NULL), ERR_INTERNAL); /* nobody to tell */
}

static void failed_writer_is_not_committed(void **state)
{
	struct store_writer *w = NULL;
	struct err err = {0};
	char *url = NULL;

	assert_int_equal(store_create(*state, ID, -1, &w, NULL), 0);
	assert_int_equal(store_write(w, "half", 4, NULL), 0);
	fail_errno = ENOSPC;
	fail_in = 0;
	assert_int_equal(store_write(w, "rest", 4, NULL), ERR_TOO_LARGE);
	assert_int_equal(store_write(w, "rest", 4, NULL), ERR_TOO_LARGE);
	assert_int_equal(store_commit(&w, &url, &err), ERR_TOO_LARGE);
	assert_null(w);
	assert_null(url);
	assert_int_equal(n_entries(), 0);
}

static void commit_and_remove_are_synced(void **state)
{
	n_fsyncs = 0;
	assert_int_equal(put(*state, ID, "data", NULL), 0);
	assert_int_equal(n_fsyncs, 2);
	assert_int_equal(store_remove(*state, url_of(ID), NULL), 0);
	assert_int_equal(n_fsyncs, 3);
}

static void without_rename_flags(void **state)
{
	struct store_writer *w = NULL;
	char *url = NULL;

	fail_rename_flags = true;
	assert_int_equal(put(*state, ID, "data", NULL), 0);
	assert_int_equal(n_entries(), 1);
	assert_int_equal(store_create(*state, ID2, -1, &w, NULL), 0);
	place(ID2, "another's");
	assert_int_equal(store_commit(&w, &url, NULL), ERR_CONFLICT);
	assert_int_equal(n_entries(), 2);
}

static void announced_size_is_compared(void **state)
{
	struct store_writer *w = NULL;
	struct statvfs vfs;
	struct err err = {0};

	assert_int_equal(store_create(*state, ID, INT64_MAX, &w, &err), ERR_TOO_LARGE);
	assert_string_equal(err.text, FULL);
	assert_null(w);
	assert_int_equal(statvfs(directory, &vfs), 0);
	assert_int_equal(store_create(*state, ID, (int64_t)(vfs.f_bavail * vfs.f_frsize / 2), &w, &err), 0);
	assert_int_equal(n_entries(), 1);
	store_abort(w);
	assert_int_equal(n_entries(), 0);
}

/* A limit that a process can set for itself stands for the full disk. */
static void file_size_limit(void **state)
{
	struct rlimit before, limit;
	struct store_writer *w = NULL;
	struct err err = {0};
	char data[4096] = "";
	int r = 0;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 10000;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(store_create(*state, ID, -1, &w, &err), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (int i = 0; i < 3 && r == 0; i++)
		r = store_write(w, data, sizeof(data), &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_DFL);
	store_abort(w);
	assert_int_equal(r, ERR_TOO_LARGE);
	assert_int_equal(n_entries(), 0);
}

static bool write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");
	bool ok = f && fputs(text, f) >= 0;

	return f && fclose(f) == 0 && ok;
}

/* Mounts of our own: as root, or as root of a user namespace. False where the machine does not let us. */
static bool own_mounts(void)
{
	char uid[32], gid[32];

	snprintf(uid, sizeof(uid), "0 %u 1", geteuid());
	snprintf(gid, sizeof(gid), "0 %u 1", getegid());
	if (unshare(CLONE_NEWNS) < 0 &&
	    (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || !write_text("/proc/self/setgroups", "deny") ||
	     !write_text("/proc/self/uid_map", uid) || !write_text("/proc/self/gid_map", gid)))
		return false;
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", directory, "tmpfs", MS_NOSUID | MS_NODEV, "size=256k") == 0;
}

/* In a child. */
static int fill_small_file_system(void)
{
	static const char block[4096];
	struct store_writer *w = NULL;
	struct err err = {0};
	struct store *s;
	int r = 0;

	if (!own_mounts())
		return 1;
	s = open_at(directory, 0);
	if (store_create(s, ID, 300 << 10, &w, &err) != ERR_TOO_LARGE)
		return 2;
	if (store_create(s, ID, -1, &w, &err) < 0)
		return 3;
	for (int i = 0; i < 100 && r == 0; i++)
		r = store_write(w, block, sizeof(block), &err);
	store_abort(w);
	store_close(s);
	if (r != ERR_TOO_LARGE || strcmp(err.text, FULL) != 0)
		return 4;
	return n_entries() == 0 ? 0 : 5;
}

static void disk_full(void **state)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		_exit(fill_small_file_system());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 1)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/*
 * Other writers
 */

static void one_writer_an_image(void **state)
{
	AUTO(store_close_p) struct store *other = open_at(directory, 0); /* as another process would */
	struct store_writer *w = NULL, *w2 = NULL;
	struct err err = {0};
	char *url = NULL;

	assert_int_equal(store_create(*state, ID, -1, &w, &err), 0);
	assert_int_equal(store_create(other, ID, -1, &w2, &err), ERR_CONFLICT);
	assert_null(w2);
	assert_int_equal(store_commit(&w, &url, &err), 0); /* the one turned away took nothing with him */
	free(url);
	assert_int_equal(n_entries(), 1);
}

/* Who comes too late hears it before he has sent the data. */
static void object_is_in_the_way(void **state)
{
	struct store_writer *w = NULL;
	struct err err = {0};

	assert_int_equal(put(*state, ID, "data", NULL), 0);
	assert_int_equal(store_create(*state, ID, -1, &w, &err), ERR_CONFLICT);
	assert_null(w);
	assert_non_null(strstr(err.text, ID));
	assert_int_equal(n_entries(), 1);
}

static void place_part(const char *host, const char *id, time_t age_seconds)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = time(NULL) - age_seconds}};
	char name[300];

	snprintf(name, sizeof(name), ".glint-%s-%s.part", host, id);
	place(name, "left");
	assert_int_equal(utimensat(AT_FDCWD, in_directory(name), times, 0), 0);
}

static void sweep_takes_what_the_dead_left(void **state)
{
	char host[65];
	unsigned n = 99;

	host_name(host);
	place_part(host, ID, 0);
	place_part(host, ID2, 1000000);
	place_part("another-machine", ID, 25 * 3600); /* gone for a day: so is the machine */
	assert_int_equal(store_sweep(*state, &n, NULL), 0);
	assert_int_equal(n, 3);
	assert_int_equal(n_entries(), 0);
	assert_int_equal(store_sweep(*state, &n, NULL), 0);
	assert_int_equal(n, 0);
}

static void sweep_leaves_the_rest(void **state)
{
	char longer[80], name[300];
	unsigned n = 99;

	host_name(longer);
	strncat(longer, "-2", sizeof(longer) - strlen(longer) - 1);
	place_part(longer, ID, 0);
	place_part("another-machine", ID, 3600);
	longer[strlen(longer) - 2] = '\0';
	place(ID, "an object");
	place("notes", "the operator's");
	place(".glint-", "");
	place(".part", "");
	snprintf(name, sizeof(name), ".glint-%s+" ID ".part", longer);
	place(name, "");
	snprintf(name, sizeof(name), ".glint-%s-" ID2 ".part", longer);
	assert_int_equal(symlink(directory, in_directory(name)), 0);
	snprintf(name, sizeof(name), ".glint-%s-" ID ".part", longer);
	assert_int_equal(mkdir(in_directory(name), 0700), 0);
	assert_int_equal(store_sweep(*state, &n, NULL), 0);
	assert_int_equal(n, 0);
	assert_int_equal(n_entries(), 9);
}

/* Another process starts while this one writes. */
static void sweep_leaves_the_living(void **state)
{
	AUTO(store_close_p) struct store *other = open_at(directory, 0);
	AUTO(store_abort_p) struct store_writer *w = NULL;
	char *url = NULL;
	unsigned n = 99;

	assert_int_equal(store_create(*state, ID, -1, &w, NULL), 0);
	assert_int_equal(store_write(w, "x", 1, NULL), 0);
	assert_int_equal(store_sweep(other, &n, NULL), 0);
	assert_int_equal(n, 0);
	assert_int_equal(store_commit(&w, &url, NULL), 0);
	free(url);
	assert_true(is_there(ID));
}

/*
 * Thin provisioning
 */

#define PIECE ((size_t)64 << 10)

static struct store *open_thin(void)
{
	struct store_config config = {.id = "thin", .type = "file", .directory = directory, .thin = true};
	struct store *s = NULL;

	assert_int_equal(store_open(&config, &s, NULL), 0);
	return s;
}

/* @data in pieces of @step, without a look at the result. */
static int put_in_steps(struct store *s, const char *data, size_t n, size_t step, struct err *err)
{
	AUTO(store_abort_p) struct store_writer *w = NULL;
	AUTO(free_p) char *url = NULL;
	int r;

	r = store_create(s, ID, (int64_t)n, &w, err);
	for (size_t at = 0; r == 0 && at < n; at += step)
		r = store_write(w, data + at, n - at < step ? n - at : step, err);
	return r < 0 ? r : store_commit(&w, &url, err);
}

/* What is there must be @data. Returns the octets it takes on the disk. */
static size_t expect_data(const char *data, size_t n)
{
	AUTO(free_p) char *got = malloc(n + 1);
	FILE *f = fopen(in_directory(ID), "re");
	struct stat st;

	assert_non_null(f);
	assert_int_equal(fread(got, 1, n + 1, f), n);
	assert_int_equal(fstat(fileno(f), &st), 0);
	fclose(f);
	assert_memory_equal(got, data, n);
	return (size_t)st.st_blocks * 512;
}

/* ... which must be those of all but @n_holes pieces. */
static void expect_thin(const char *data, size_t n, size_t n_holes)
{
	size_t taken = expect_data(data, n), least = n - n_holes * PIECE;

	assert_true(taken >= least);
	assert_true(taken < least + PIECE / 2 || (least == 0 && taken == 0));
}

/* Pieces of data (x), of zeros (0), of zeros with one octet at the end (1), and ends that are none. */
static void zeros_take_no_room(void **state)
{
	static const struct {
		const char *pieces;
		size_t rest, n_holes;
	} cases[] = {
		{"0", 0, 1},   {"0000", 0, 4}, {"x0", 0, 1},   {"0x", 0, 1},      {"x00x00", 0, 4},
		{"000", 1, 3}, {"x0", 100, 1}, {"1101", 0, 1}, {"0x0x0x0", 9, 4}, {"00001", 4095, 4},
	};
	AUTO(store_close_p) struct store *s = open_thin();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = strlen(cases[i].pieces) * PIECE + cases[i].rest;
		AUTO(free_p) char *data = calloc(1, n);

		for (size_t k = 0; cases[i].pieces[k]; k++) {
			memset(data + k * PIECE, cases[i].pieces[k] == 'x' ? 7 : 0, PIECE);
			data[(k + 1) * PIECE - 1] = (char)(cases[i].pieces[k] != '0');
		}
		for (size_t step = PIECE; step <= 4 * PIECE; step *= 2) {
			assert_int_equal(put_in_steps(s, data, n, step, NULL), 0);
			expect_thin(data, n, cases[i].n_holes);
			assert_int_equal(store_remove(s, url_of(ID), NULL), 0);
		}
	}
}

/* However the octets are cut into pieces, they are the same in the end. */
static void thin_in_odd_pieces(void **state)
{
	AUTO(store_close_p) struct store *s = open_thin();
	const size_t n = 5 * PIECE + 77;
	AUTO(free_p) char *data = calloc(1, n);

	assert_non_null(data);
	data[0] = data[2 * PIECE - 1] = data[4 * PIECE] = 1;
	for (size_t step = 1000; step < n; step += step / 2 + 1) {
		assert_int_equal(put_in_steps(s, data, n, step, NULL), 0);
		(void)expect_data(data, n);
		assert_int_equal(store_remove(s, url_of(ID), NULL), 0);
	}
}

static void only_thin_stores_leave_zeros_out(void **state)
{
	AUTO(free_p) char *data = calloc(4, PIECE);

	assert_int_equal(put_in_steps(*state, data, 4 * PIECE, PIECE, NULL), 0);
	expect_thin(data, 4 * PIECE, 0);
}

static void each_call_of_a_thin_store_fails(void **state)
{
	AUTO(store_close_p) struct store *s = open_thin();
	AUTO(free_p) char *data = calloc(3, PIECE);
	unsigned n = 0;

	fail_errno = ENOSPC;
	memset(data, 1, PIECE);
	for (;; n++) {
		struct err err = {0};
		int r;

		fail_in = (int)n;
		r = put_in_steps(s, data, 3 * PIECE, 3 * PIECE, &err);
		if (fail_in >= 0) {
			assert_int_equal(r, 0);
			break;
		}
		fail_in = -1;
		assert_int_equal(r, ERR_TOO_LARGE);
		assert_int_equal(n_entries(), 0);
	}
	assert_true(n >= 5); /* chmod, write, seek, truncate, sync ... */
	expect_thin(data, 3 * PIECE, 2);
}

/* A writer that dies without a word. */
static void sweep_after_kill(void **state)
{
	unsigned n = 99;
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		struct store_writer *w = NULL;

		if (store_create(*state, ID, -1, &w, NULL) == 0 && store_write(w, "x", 1, NULL) == 0)
			raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(n_entries(), 1);
	assert_int_equal(store_sweep(*state, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_int_equal(put(*state, ID, "again", NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(layout_is_glances),
		TEST(mode_is_as_configured),
		TEST(bad_modes),
		TEST(directory_is_made),
		TEST(bad_directories),
		TEST(which_locations_are_ours),
		TEST(ours_in_other_words),
		TEST(directory_behind_link),
		TEST(relative_directory),
		TEST(links_are_not_followed),
		TEST(link_in_place_of_part),
		TEST(only_regular_files),
		TEST(source_is_read_only_and_close_on_exec),
		TEST(each_call_fails),
		TEST(what_an_errno_means),
		TEST(failed_writer_is_not_committed),
		TEST(commit_and_remove_are_synced),
		TEST(without_rename_flags),
		TEST(announced_size_is_compared),
		TEST(file_size_limit),
		TEST(disk_full),
		TEST(one_writer_an_image),
		TEST(object_is_in_the_way),
		TEST(sweep_takes_what_the_dead_left),
		TEST(sweep_leaves_the_rest),
		TEST(sweep_leaves_the_living),
		TEST(sweep_after_kill),
		TEST(zeros_take_no_room),
		TEST(thin_in_odd_pieces),
		TEST(only_thin_stores_leave_zeros_out),
		TEST(each_call_of_a_thin_store_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

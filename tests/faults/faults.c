/* SPDX-License-Identifier: Apache-2.0
 * tests/faults/faults.c -- preloaded into the program under test: something happens to the n-th call that
 * touches a disk, or asks for memory. It fails, does half of its work, does not come back, or is the last
 * thing before or after which the process is killed.
 *
 * The test and the program share the file named by GLINT_FAULTS_CONTROL, mapped: the test arms and
 * disarms it between two requests, and reads what the fault has struck. Calls on sockets, pipes and
 * eventfds are none of ours: only regular files and directories count. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The same numbers are in victim.py. */
enum kind {
	KIND_WRITE = 1,
	KIND_SYNC = 2,
	KIND_NAME = 4,
	KIND_OPEN = 8,
	KIND_MEMORY = 16,
	KIND_MAKE = 32, /* an open that may create */
	KIND_READ = 64,
};

/* What happens to the call that is struck; to all the others nothing does. */
enum how { HOW_FAIL, HOW_SHORT, HOW_KILL_BEFORE, HOW_KILL_AFTER, HOW_HANG, HOW_NOTHING };

#define TRACE_BYTES (60 * 1024)

struct control {
	_Atomic uint32_t kinds;    /* which count; 0: none */
	_Atomic int32_t error;     /* of the one that fails */
	_Atomic int64_t countdown; /* calls that nothing happens to yet */
	_Atomic uint32_t sticky;   /* all the later ones are struck as well */
	_Atomic uint32_t n_struck;
	_Atomic uint32_t how;
	_Atomic uint32_t n_hanging; /* calls that hang at the moment: until kinds are 0 */
	char below[PATH_MAX];       /* only files below this directory count; "": all do */
	_Atomic uint32_t traced;    /* octets of trace */
	char trace[TRACE_BYTES];    /* of a kill: a line each call that counted */
};

static struct control *control;

__attribute__((constructor)) static void attach(void)
{
	const char *path = getenv("GLINT_FAULTS_CONTROL");
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (map != MAP_FAILED)
		control = map;
}

/* -- which call it is ------------------------------------------------------------------------------ */

/* @name in the directory @dir, or what @dir itself is if @name is NULL. Cut if it is too long. */
static void find_path(int dir, const char *name, char path[PATH_MAX])
{
	char link[64];
	ssize_t n = 0;

	path[0] = '\0';
	if (!name || (name[0] != '/' && dir != AT_FDCWD)) {
		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
		n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
		path[n > 0 ? n : 0] = '\0';
	}
	if (name)
		(void)snprintf(path + (n > 0 ? n : 0), (size_t)(PATH_MAX - (n > 0 ? n : 0)), "%s%s", n > 0 ? "/" : "", name);
}

static bool is_below(const char *path)
{
	size_t n = strlen(control->below);

	return n == 0 || (strncmp(path, control->below, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

static void trace(const char *call, const char *path)
{
	char line[PATH_MAX + 32];
	int n = snprintf(line, sizeof(line), "%s %s\n", call, path);
	uint32_t at = atomic_fetch_add(&control->traced, (uint32_t)n);

	if (at + (uint32_t)n < TRACE_BYTES)
		memcpy(control->trace + at, line, (size_t)n);
}

static void die(void)
{
	(void)syscall(SYS_kill, getpid(), SIGKILL);
	for (;;)
		pause();
}

/* As long as the test wants: nothing short of that brings the call back. */
static void hang(void)
{
	const struct timespec moment = {.tv_nsec = 1000000};

	atomic_fetch_add(&control->n_hanging, 1);
	while (atomic_load(&control->kinds))
		(void)syscall(SYS_nanosleep, &moment, NULL);
	atomic_fetch_sub(&control->n_hanging, 1);
}

/* The call counts: is it the one? Then errno is set for a failure. */
static enum how count(void)
{
	int64_t before = atomic_fetch_sub(&control->countdown, 1);
	enum how how = atomic_load(&control->how);

	if (before > 0 || (before < 0 && !atomic_load(&control->sticky)))
		return HOW_NOTHING;
	atomic_fetch_add(&control->n_struck, 1);
	if (how == HOW_KILL_BEFORE)
		die();
	if (how == HOW_HANG)
		hang();
	errno = atomic_load(&control->error);
	return how == HOW_HANG ? HOW_NOTHING : how;
}

static enum how meet(unsigned kind, const char *call, int dir, const char *name)
{
	int saved = errno;
	bool kills;
	char path[PATH_MAX];

	if (!control || !(atomic_load(&control->kinds) & kind))
		return HOW_NOTHING;
	kills = atomic_load(&control->how) == HOW_KILL_BEFORE || atomic_load(&control->how) == HOW_KILL_AFTER;
	if (control->below[0] || kills) {
		find_path(dir, name, path);
		errno = saved;
		if (!is_below(path))
			return HOW_NOTHING;
		if (kills)
			trace(call, path);
	}
	return count();
}

static bool is_on_disk(int fd)
{
	int saved = errno;
	struct stat st;
	bool on_disk = fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));

	errno = saved;
	return on_disk;
}

static enum how meet_file(unsigned kind, const char *call, int fd)
{
	bool counts = control && (atomic_load(&control->kinds) & kind) && is_on_disk(fd);

	return counts ? meet(kind, call, fd, NULL) : HOW_NOTHING;
}

/* What the system said; after that it may be over. */
static long done(enum how how, long r)
{
	if (how == HOW_KILL_AFTER)
		die();
	return r; /* syscall() has set errno */
}

/* -- files ----------------------------------------------------------------------------------------- */

static size_t part(enum how how, size_t n)
{
	return how == HOW_SHORT ? (n + 1) / 2 : n;
}

ssize_t write(int fd, const void *data, size_t n)
{
	enum how how = meet_file(KIND_WRITE, "write", fd);

	return how == HOW_FAIL ? -1 : done(how, syscall(SYS_write, fd, data, part(how, n)));
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
	enum how how = meet_file(KIND_WRITE, "write", fd);

	return how == HOW_FAIL ? -1 : done(how, syscall(SYS_pwrite64, fd, data, part(how, n), at));
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
	return pwrite64(fd, data, n, at);
}

int ftruncate64(int fd, off64_t size)
{
	enum how how = meet_file(KIND_WRITE, "truncate", fd);

	return how == HOW_FAIL ? -1 : (int)done(how, syscall(SYS_ftruncate, fd, size));
}

int ftruncate(int fd, off_t size)
{
	return ftruncate64(fd, size);
}

int fsync(int fd)
{
	enum how how = meet_file(KIND_SYNC, "fsync", fd);

	return how == HOW_FAIL ? -1 : (int)done(how, syscall(SYS_fsync, fd));
}

int fdatasync(int fd)
{
	enum how how = meet_file(KIND_SYNC, "fdatasync", fd);

	return how == HOW_FAIL ? -1 : (int)done(how, syscall(SYS_fdatasync, fd));
}

ssize_t read(int fd, void *data, size_t n)
{
	enum how how = meet_file(KIND_READ, "read", fd);

	return how == HOW_FAIL ? -1 : done(how, syscall(SYS_read, fd, data, part(how, n)));
}

ssize_t sendfile64(int to, int fd, off64_t *at, size_t n)
{
	enum how how = meet_file(KIND_READ, "sendfile", fd);

	return how == HOW_FAIL ? -1 : done(how, syscall(SYS_sendfile, to, fd, at, part(how, n)));
}

ssize_t sendfile(int to, int fd, off_t *at, size_t n)
{
	return sendfile64(to, fd, at, n);
}

/* -- names ----------------------------------------------------------------------------------------- */

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	enum how how = meet(KIND_NAME, "rename to", to_dir, to);

	return how == HOW_FAIL ? -1 : (int)done(how, syscall(SYS_renameat2, from_dir, from, to_dir, to, flags));
}

int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	enum how how = meet(KIND_NAME, "link to", to_dir, to);

	return how == HOW_FAIL ? -1 : (int)done(how, syscall(SYS_linkat, from_dir, from, to_dir, to, flags));
}

int unlinkat(int dir, const char *name, int flags)
{
	enum how how = meet(KIND_NAME, "unlink", dir, name);

	return how == HOW_FAIL ? -1 : (int)done(how, syscall(SYS_unlinkat, dir, name, flags));
}

int unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

int mkdirat(int dir, const char *name, mode_t mode)
{
	enum how how = meet(KIND_NAME, "mkdir", dir, name);

	return how == HOW_FAIL ? -1 : (int)done(how, syscall(SYS_mkdirat, dir, name, mode));
}

int mkdir(const char *name, mode_t mode)
{
	return mkdirat(AT_FDCWD, name, mode);
}

/* -- opening --------------------------------------------------------------------------------------- */

static int open_any(int dir, const char *name, int flags, mode_t mode)
{
	enum how how = meet(flags & O_CREAT ? KIND_OPEN | KIND_MAKE : KIND_OPEN, "open", dir, name);

	return how == HOW_FAIL ? -1 : (int)done(how, syscall(SYS_openat, dir, name, flags, mode));
}

/* What follows @flags in the argument list, if anything does. */
static mode_t mode_from(int flags, va_list *args)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(*args, mode_t) : 0;
}

#define DEFINE_OPEN(function)                                                                                \
	int function(const char *name, int flags, ...)                                                       \
	{                                                                                                    \
		va_list args;                                                                                \
		mode_t mode;                                                                                 \
		va_start(args, flags);                                                                       \
		mode = mode_from(flags, &args);                                                              \
		va_end(args);                                                                                \
		return open_any(AT_FDCWD, name, flags, mode);                                                \
	}

#define DEFINE_OPENAT(function)                                                                              \
	int function(int dir, const char *name, int flags, ...)                                              \
	{                                                                                                    \
		va_list args;                                                                                \
		mode_t mode;                                                                                 \
		va_start(args, flags);                                                                       \
		mode = mode_from(flags, &args);                                                              \
		va_end(args);                                                                                \
		return open_any(dir, name, flags, mode);                                                     \
	}

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

/* -- memory ---------------------------------------------------------------------------------------- */

#if FAIL_MEMORY
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t n);

static bool is_out_of_memory(void)
{
	return control && (atomic_load(&control->kinds) & KIND_MEMORY) && count() == HOW_FAIL;
}

void *malloc(size_t n)
{
	return is_out_of_memory() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return is_out_of_memory() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t n)
{
	return is_out_of_memory() ? NULL : __libc_realloc(old, n);
}
#endif

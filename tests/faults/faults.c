/* SPDX-License-Identifier: Apache-2.0
 * tests/faults/faults.c -- preloaded into the program under test: makes the n-th call fail that could
 * fail when a disk is full or broken, or when there is no memory.
 *
 * The test and the program share the file named by GLINT_FAULTS_CONTROL, mapped: the test arms and
 * disarms it between two requests, and reads whether the fault has struck. Calls on sockets, pipes and
 * eventfds are none of ours: only regular files and directories fail. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same numbers are in test_faults.py. */
enum kind { KIND_WRITE = 1, KIND_SYNC = 2, KIND_NAME = 4, KIND_OPEN = 8, KIND_MEMORY = 16 };

struct control {
	_Atomic uint32_t kinds;    /* which fail; 0: none */
	_Atomic int32_t error;     /* with this errno */
	_Atomic int64_t countdown; /* calls that may still succeed */
	_Atomic uint32_t sticky;   /* all the later ones fail as well */
	_Atomic uint32_t n_struck;
};

static struct control *control;

static long raw(long r)
{
	return r; /* syscall() has set errno */
}

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

/* True: the call is the one to fail, and errno is set. */
static bool strikes(enum kind kind)
{
	int64_t before;

	if (!control || !(atomic_load(&control->kinds) & kind))
		return false;
	before = atomic_fetch_sub(&control->countdown, 1);
	if (before > 0 || (before < 0 && !atomic_load(&control->sticky)))
		return false;
	atomic_fetch_add(&control->n_struck, 1);
	errno = atomic_load(&control->error);
	return true;
}

static bool is_on_disk(int fd)
{
	int saved = errno;
	struct stat st;
	bool on_disk = fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));

	errno = saved;
	return on_disk;
}

static bool strikes_file(enum kind kind, int fd)
{
	return control && atomic_load(&control->kinds) & kind && is_on_disk(fd) && strikes(kind);
}

/* -- files ----------------------------------------------------------------------------------------- */

ssize_t write(int fd, const void *data, size_t n)
{
	return strikes_file(KIND_WRITE, fd) ? -1 : raw(syscall(SYS_write, fd, data, n));
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
	return strikes_file(KIND_WRITE, fd) ? -1 : raw(syscall(SYS_pwrite64, fd, data, n, at));
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
	return pwrite64(fd, data, n, at);
}

int ftruncate64(int fd, off64_t size)
{
	return strikes_file(KIND_WRITE, fd) ? -1 : (int)raw(syscall(SYS_ftruncate, fd, size));
}

int ftruncate(int fd, off_t size)
{
	return ftruncate64(fd, size);
}

int fsync(int fd)
{
	return strikes_file(KIND_SYNC, fd) ? -1 : (int)raw(syscall(SYS_fsync, fd));
}

int fdatasync(int fd)
{
	return strikes_file(KIND_SYNC, fd) ? -1 : (int)raw(syscall(SYS_fdatasync, fd));
}

/* -- names ----------------------------------------------------------------------------------------- */

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	if (strikes(KIND_NAME))
		return -1;
	return (int)raw(syscall(SYS_renameat2, from_dir, from, to_dir, to, flags));
}

int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	return strikes(KIND_NAME) ? -1 : (int)raw(syscall(SYS_linkat, from_dir, from, to_dir, to, flags));
}

int unlinkat(int dir, const char *name, int flags)
{
	return strikes(KIND_NAME) ? -1 : (int)raw(syscall(SYS_unlinkat, dir, name, flags));
}

int unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

int mkdir(const char *name, mode_t mode)
{
	return strikes(KIND_NAME) ? -1 : (int)raw(syscall(SYS_mkdirat, AT_FDCWD, name, mode));
}

/* -- opening --------------------------------------------------------------------------------------- */

static int open_any(int dir, const char *name, int flags, mode_t mode)
{
	return strikes(KIND_OPEN) ? -1 : (int)raw(syscall(SYS_openat, dir, name, flags, mode));
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

void *malloc(size_t n)
{
	return strikes(KIND_MEMORY) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return strikes(KIND_MEMORY) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t n)
{
	return strikes(KIND_MEMORY) ? NULL : __libc_realloc(old, n);
}
#endif

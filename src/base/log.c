/* SPDX-License-Identifier: Apache-2.0
 * base/log.c -- the service's own log.
 *
 * (1) An entry is one line and one write(2) to a file opened for appending: lines of several
 *     threads and processes do not mix, and nothing is kept back in memory.
 * (2) Once a file was opened its descriptor never changes its number: rotation puts the new file
 *     under the old number (dup3), so that writers need no lock and never write to a stranger's file.
 * (3) Nothing here needs the heap: a line is built on the stack, and what is too long is cut.
 *
 * `own` guards which file is open; the line that finds the second over looks whether it was moved. */
#include "log.h"

#include "buf.h"
#include "clock.h"
#include "err.h"
#include "utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_NAME 128
#define MAX_ID 256             /* of a request, user or project, after escaping */
#define MAX_PREFIX 1280        /* date, pid, level, name, three ids: always fits */
#define MAX_MESSAGE (8 * 1024) /* before escaping */
#define MAX_LINE (MAX_PREFIX + 2 * MAX_MESSAGE)
#define CHECK_EVERY_US INT64_C(1000000)

static struct {
	pthread_mutex_t lock;
	char *path; /* NULL: standard error */
	dev_t dev;
	ino_t ino;
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_int log_fd = STDERR_FILENO;
static atomic_int log_min = LOG_INFO_;
static _Atomic int64_t next_check_us = INT64_MAX; /* monotonic; never while on standard error */

/* A text of bounded size being written. Once something does not fit nothing more is added. */
struct text {
	char *at, *end;
	bool full;
};

static void put(struct text *t, const char *s, size_t n)
{
	if (n > (size_t)(t->end - t->at))
		t->full = true;
	if (t->full)
		return;
	memcpy(t->at, s, n);
	t->at += n;
}

static void put_str(struct text *t, const char *s)
{
	put(t, s, strlen(s));
}

/* What would end the line, move the cursor, or turn the direction of reading. */
static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029 || c == 0x200e ||
	       c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

static void put_control(struct text *t, uint32_t c)
{
	char out[8];

	switch (c) {
	case '\n':
		put(t, "\\n", 2);
		return;
	case '\r':
		put(t, "\\r", 2);
		return;
	case '\t':
		put(t, "\\t", 2);
		return;
	}
	(void)snprintf(out, sizeof(out), c < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)c);
	put_str(t, out);
}

/* @also names ASCII characters to escape beside the control characters. */
static void put_escaped(struct text *t, const char *s, size_t n, const char *also)
{
	while (n > 0 && !t->full) {
		uint32_t c;
		size_t length = utf8_decode(s, n, &c);

		if (length == 0) { /* as the octet it is */
			put_control(t, (unsigned char)*s);
			length = 1;
		} else if (is_control(c) || (c < 0x80 && strchr(also, (int)c))) {
			put_control(t, c);
		} else {
			put(t, s, length);
		}
		s += length;
		n -= length;
	}
}

/* An id is one word inside the brackets, whoever chose it. */
static void put_id(struct text *t, const char *id)
{
	struct text bounded = {t->at, t->at + MAX_ID, false};

	if (!id || !*id) {
		put(t, "-", 1);
		return;
	}
	if (t->full || t->end < bounded.end) {
		t->full = true;
		return;
	}
	put_escaped(&bounded, id, strlen(id), " []");
	t->at = bounded.at;
}

static void put_context(struct text *t, const struct log_ctx *ctx)
{
	if (!ctx || (!ctx->request_id && !ctx->user_id && !ctx->project_id)) {
		put_str(t, "[-] ");
		return;
	}
	put_str(t, "[None ");
	put_id(t, ctx->request_id);
	put_str(t, " ");
	put_id(t, ctx->user_id);
	put_str(t, " ");
	put_id(t, ctx->project_id);
	put_str(t, " - - - -] ");
}

static void put_prefix(struct text *t, int64_t when_us, enum log_level level, const char *name,
		       const struct log_ctx *ctx)
{
	static const char *const levels[] = {"DEBUG", "INFO", "WARNING", "ERROR"};
	char start[CLOCK_TEXT_MAX + 64], date[CLOCK_TEXT_MAX];

	(void)snprintf(start, sizeof(start), "%s %ld %s ", clock_log(when_us, date), (long)getpid(),
		       levels[level]);
	put_str(t, start);
	put(t, name, strnlen(name, MAX_NAME));
	put_str(t, " ");
	put_context(t, ctx);
}

void log_prefix(struct buf *out, int64_t when_us, enum log_level level, const char *name,
		const struct log_ctx *ctx)
{
	char line[MAX_PREFIX];
	struct text t = {line, line + sizeof(line), false};

	put_prefix(&t, when_us, level, name, ctx);
	buf_add(out, line, (size_t)(t.at - line));
}

/* What cannot be written is lost: the log must not stop the service. */
static void write_line(const char *line, size_t n)
{
	int saved = errno;

	while (n > 0) {
		ssize_t written = write(atomic_load(&log_fd), line, n);

		if (written < 0 && errno != EINTR)
			break;
		if (written > 0) {
			line += written;
			n -= (size_t)written;
		}
	}
	errno = saved;
}

static int open_file(const char *path)
{
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

/* Let lines go to @fd (taken) from now on. Called with the lock held. */
static int install(int fd)
{
	int current = atomic_load(&log_fd);
	struct stat st;

	if (fstat(fd, &st) == 0) {
		own.dev = st.st_dev;
		own.ino = st.st_ino;
	}
	if (current == STDERR_FILENO) {
		atomic_store(&log_fd, fd);
		return 0;
	}
	if (dup3(fd, current, O_CLOEXEC) < 0) {
		(void)close(fd);
		return -1;
	}
	(void)close(fd);
	return 0;
}

/* Called with the lock held. A file that cannot be opened leaves the old one in use. */
static void reopen_locked(void)
{
	int fd = own.path ? open_file(own.path) : -1;

	if (fd >= 0)
		(void)install(fd);
}

static bool was_moved(void)
{
	struct stat st;

	return own.path && (stat(own.path, &st) < 0 || st.st_dev != own.dev || st.st_ino != own.ino);
}

/* At most one line a second pays for looking. */
static void follow_rotation(void)
{
	int64_t due = atomic_load_explicit(&next_check_us, memory_order_relaxed), now;

	if (due == INT64_MAX)
		return;
	now = clock_mono_us();
	if (now < due || !atomic_compare_exchange_strong(&next_check_us, &due, now + CHECK_EVERY_US))
		return;
	(void)pthread_mutex_lock(&own.lock);
	if (was_moved())
		reopen_locked();
	(void)pthread_mutex_unlock(&own.lock);
}

/* Called with the lock held; takes @path. */
static int use_file(char *path, struct err *err)
{
	int fd = open_file(path);

	if (fd < 0 || install(fd) < 0) {
		(void)err_set(err, ERR_UNAVAILABLE, "The log file cannot be opened.");
		(void)err_detail(err, "open '%s': %s", path, strerror(errno));
		free(path);
		return ERR_UNAVAILABLE;
	}
	free(own.path);
	own.path = path;
	atomic_store(&next_check_us, clock_mono_us() + CHECK_EVERY_US);
	return 0;
}

/* Called with the lock held. Standard error under the number that the file had. */
static int use_stderr(struct err *err)
{
	int fd;

	if (atomic_load(&log_fd) != STDERR_FILENO) {
		fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		if (fd < 0 || install(fd) < 0)
			return err_set(err, ERR_UNAVAILABLE, "The log cannot go to standard error: %s.",
				       strerror(errno));
	}
	atomic_store(&next_check_us, INT64_MAX);
	free(own.path);
	own.path = NULL;
	return 0;
}

int log_open(const char *path, enum log_level min_level, struct err *err)
{
	char *copy = path ? strdup(path) : NULL;
	int r;

	if (path && !copy)
		return err_nomem(err);
	(void)pthread_mutex_lock(&own.lock);
	r = path ? use_file(copy, err) : use_stderr(err);
	(void)pthread_mutex_unlock(&own.lock);
	if (r == 0)
		atomic_store(&log_min, (int)min_level);
	return r;
}

void log_reopen(void)
{
	(void)pthread_mutex_lock(&own.lock);
	reopen_locked();
	(void)pthread_mutex_unlock(&own.lock);
}

void log_close(void)
{
	int fd;

	(void)pthread_mutex_lock(&own.lock);
	atomic_store(&next_check_us, INT64_MAX);
	fd = atomic_exchange(&log_fd, STDERR_FILENO);
	if (fd != STDERR_FILENO)
		(void)close(fd);
	free(own.path);
	own.path = NULL;
	(void)pthread_mutex_unlock(&own.lock);
}

/* The formatted message in @out; its length. *ret_cut: there was more. */
static size_t format_message(char *out, size_t size, bool *ret_cut, const char *fmt, va_list ap)
{
	int n = vsnprintf(out, size, fmt, ap);

	*ret_cut = n >= 0 && (size_t)n >= size;
	if (n < 0)
		return 0;
	return *ret_cut ? utf8_trim(out, size - 1) : (size_t)n;
}

void log_line(enum log_level level, const char *name, const struct log_ctx *ctx, const char *fmt, ...)
{
	char message[MAX_MESSAGE], line[MAX_LINE];
	struct text t = {line, line + sizeof(line) - 4, false}; /* leaves room for the end */
	va_list ap;
	bool cut;
	size_t n;

	if ((int)level < atomic_load_explicit(&log_min, memory_order_relaxed))
		return;
	va_start(ap, fmt);
	n = format_message(message, sizeof(message), &cut, fmt, ap);
	va_end(ap);

	put_prefix(&t, clock_now_us(), level, name, ctx);
	put_escaped(&t, message, n, "");
	cut |= t.full;
	memcpy(t.at, cut ? "...\n" : "\n", cut ? 4 : 1);
	follow_rotation();
	write_line(line, (size_t)(t.at - line) + (cut ? 4 : 1));
}

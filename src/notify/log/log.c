/* SPDX-License-Identifier: Apache-2.0
 * notify/log/log.c -- the driver that appends each event to a file, one line an event, in the form
 * and under the logger names of oslo.messaging's log driver, secrets masked.
 *
 * (1) An event is safe once its line is written and, where the file is a regular one, on the disk:
 *     its data (fdatasync) and, when the file was made by us, its name (fsync of the directory).
 * (2) One event is one line, whatever is in it.
 * (3) A line that a crash or a full disk cut short is ended before the next one begins, so it
 *     spoils no other. Nothing is ever taken out of the file: others may append to it too.
 *
 * The file is opened again when asked to, and when the path leads to another file (rotation). */
#include "notify/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "notify/message.h"

#define KEEP_MAX ((size_t)4 * 1024 * 1024) /* memory for lines that is kept between batches */

extern const struct notify_driver notify_driver_log;

struct log_driver {
	char *path, *publisher_id; /* path NULL: standard error */
	int fd;
	bool regular;
	bool torn; /* the last line in the file has no end */
	dev_t dev; /* of the open file */
	ino_t ino;
	atomic_bool reopen; /* asked for */
	struct buf lines;
};

/* -- the file ---------------------------------------------------------------------------------- */

static int fail(struct log_driver *ls, const char *what, struct err *err)
{
	int cause = errno;

	err_set(err, ERR_UNAVAILABLE, "%s '%s': %s", what, ls->path ? ls->path : "standard error",
		strerror(cause));
	if (err)
		err->retriable = true;
	return ERR_UNAVAILABLE;
}

static void forget_file(struct log_driver *ls)
{
	close_fd_p(&ls->fd);
	ls->fd = -1;
}

/* The name of a new file is safe only when its directory is. */
static int sync_directory(const char *path)
{
	AUTO(free_p) char *copy = strdup(path);
	AUTO(close_fd_p) int fd = -1;

	if (!copy)
		return -1;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == EACCES ? 0 : -1; /* may be searched, not read: then it is not ours to sync */
	return fsync(fd);
}

/* O_NONBLOCK: a pipe without a reader is an error here, not a standstill. */
static int open_path(struct log_driver *ls, struct err *err)
{
	const int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

	ls->fd = open(ls->path, flags);
	if (ls->fd >= 0)
		return 0;
	if (errno != ENOENT)
		return fail(ls, "opening", err);
	ls->fd = open(ls->path, flags | O_CREAT, 0640);
	if (ls->fd < 0)
		return fail(ls, "creating", err);
	if (sync_directory(ls->path) < 0) {
		fail(ls, "making durable the name of", err);
		forget_file(ls);
		return ERR_UNAVAILABLE;
	}
	return 0;
}

static int open_stderr(struct log_driver *ls, struct err *err)
{
	ls->fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return ls->fd < 0 ? fail(ls, "opening", err) : 0;
}

/* Whether what is in the file ends in the middle of a line, as far as we may read it. */
static bool ends_torn(const struct log_driver *ls, off_t size)
{
	AUTO(close_fd_p) int fd = -1;
	struct stat st;
	char last;

	if (!ls->path || size == 0)
		return false;
	fd = open(ls->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != ls->ino || st.st_dev != ls->dev)
		return false;
	return pread(fd, &last, 1, st.st_size - 1) == 1 && last != '\n';
}

static int open_file(struct log_driver *ls, struct err *err)
{
	struct stat st;
	int r;

	forget_file(ls);
	r = ls->path ? open_path(ls, err) : open_stderr(ls, err);
	if (r < 0)
		return r;
	if (fstat(ls->fd, &st) < 0) {
		fail(ls, "reading the attributes of", err);
		forget_file(ls);
		return ERR_UNAVAILABLE;
	}
	ls->regular = S_ISREG(st.st_mode);
	ls->dev = st.st_dev;
	ls->ino = st.st_ino;
	ls->torn = ls->regular && ends_torn(ls, st.st_size);
	return 0;
}

static bool was_moved(const struct log_driver *ls)
{
	struct stat st;

	if (!ls->path || !ls->regular)
		return false;
	return stat(ls->path, &st) < 0 || st.st_ino != ls->ino || st.st_dev != ls->dev;
}

static int ready(struct log_driver *ls, struct err *err)
{
	bool asked = atomic_exchange(&ls->reopen, false);

	if (ls->fd >= 0 && !was_moved(ls) && !(asked && ls->path))
		return 0;
	return open_file(ls, err);
}

/* -- the lines --------------------------------------------------------------------------------- */

static enum log_level level_of(enum event_priority p)
{
	switch (p) {
	case EVENT_ERROR:
		return LOG_ERROR_;
	case EVENT_WARN:
		return LOG_WARNING_;
	default:
		return LOG_INFO_;
	}
}

/* The document escapes them all; what a foreign hand wrote into the journal does not become a line. */
static void blank_controls(char *p, const char *end)
{
	for (; p < end; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	}
}

static int add_line(struct log_driver *ls, const struct db_event *e)
{
	struct log_ctx ctx = {e->request_id, e->user_id, e->project_id};
	size_t start = ls->lines.len;
	char name[128];
	int r;

	(void)snprintf(name, sizeof(name), "oslo.messaging.notification.%s", e->event_type);
	log_prefix(&ls->lines, e->timestamp, level_of(e->priority), name, &ctx);
	r = message_render_masked(&ls->lines, e, ls->publisher_id);
	if (r < 0 && !ls->lines.failed) {
		ls->lines.len = start;
		return r;
	}
	if (ls->lines.failed)
		return ERR_NO_MEMORY;
	blank_controls(ls->lines.data + start, ls->lines.data + ls->lines.len);
	buf_addc(&ls->lines, '\n');
	return ls->lines.failed ? ERR_NO_MEMORY : 0;
}

/* How many lines are wholly within the first @n octets. */
static size_t count_lines(const char *p, size_t n)
{
	size_t lines = 0;

	for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))); p++)
		lines++;
	return lines;
}

/* One write(2), unless that one falls short. *ret_written is set in any case. */
static int write_out(struct log_driver *ls, size_t *ret_written, struct err *err)
{
	*ret_written = 0;
	while (*ret_written < ls->lines.len) {
		ssize_t n = write(ls->fd, ls->lines.data + *ret_written, ls->lines.len - *ret_written);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(ls, "writing to", err);
		*ret_written += (size_t)n;
	}
	return 0;
}

/* Writes the lines gathered, the first of which ends an older one if @mended. */
static int flush(struct log_driver *ls, bool mended, size_t *ret_n_safe, struct err *err)
{
	size_t written;
	int r = write_out(ls, &written, err);

	*ret_n_safe = 0;
	if (written == 0)
		return r;
	ls->torn = ls->lines.data[written - 1] != '\n';
	if (ls->regular && fdatasync(ls->fd) < 0) {
		r = fail(ls, "making durable", err);
		return r;
	}
	*ret_n_safe = count_lines(ls->lines.data, written) - mended;
	return r;
}

static enum delivery rejected(const struct db_event *e, struct err *err)
{
	err_set(err, ERR_INVALID, "the payload of event %s is not JSON", e->message_id);
	return DELIVERY_REJECTED;
}

static enum delivery log_deliver(void *state, const struct db_event *batch, size_t n, size_t *ret_n_safe,
				 struct err *err)
{
	struct log_driver *ls = state;
	bool mended;
	size_t i;
	int r = ready(ls, err);

	*ret_n_safe = 0;
	if (r < 0)
		return DELIVERY_RETRY;
	buf_reset(&ls->lines);
	mended = ls->torn;
	if (mended)
		buf_addc(&ls->lines, '\n');
	for (i = 0; i < n && r == 0; i++)
		r = add_line(ls, &batch[i]);
	if (r == ERR_NO_MEMORY || ls->lines.failed) {
		err_nomem(err);
		return DELIVERY_RETRY;
	}
	n = r < 0 ? i - 1 : n;
	if (n > 0 && flush(ls, mended, ret_n_safe, err) < 0)
		return DELIVERY_RETRY;
	if (ls->lines.cap > KEEP_MAX)
		buf_done(&ls->lines);
	return r < 0 ? rejected(&batch[n], err) : DELIVERY_DELIVERED;
}

/* -- its life ---------------------------------------------------------------------------------- */

static int log_driver_open(void *state, const struct notify_driver_config *config, struct err *err)
{
	struct log_driver *ls = state;

	ls->fd = -1; /* before any return: zeroed memory would mean standard input */
	ls->publisher_id = strdup(config->publisher_id);
	ls->path = config->log_path ? strdup(config->log_path) : NULL;
	if (!ls->publisher_id || (config->log_path && !ls->path))
		return err_nomem(err);
	return open_file(ls, err);
}

static void log_driver_reopen(void *state)
{
	struct log_driver *ls = state;

	atomic_store(&ls->reopen, true);
}

static void log_driver_close(void *state)
{
	struct log_driver *ls = state;

	forget_file(ls);
	buf_done(&ls->lines);
	free(ls->publisher_id);
	free(ls->path);
}

const struct notify_driver notify_driver_log = {
	.version = NOTIFY_DRIVER_VERSION,
	.name = "log",
	.summary = "append each notification to a file as a line",
	.state_size = sizeof(struct log_driver),
	.open = log_driver_open,
	.deliver = log_deliver,
	.reopen = log_driver_reopen,
	.close = log_driver_close,
};

/* SPDX-License-Identifier: Apache-2.0
 * base/log.h -- the service's own log, in oslo.log's line format:
 *
 *   2026-11-22 19:09:39.642 21305 INFO glint.api [None req-... user project - - - -] message
 *
 * One line an entry whatever the message contains: control characters are escaped. The logger is
 * the one thing of which a process has exactly one; everything else is handed around. */
#pragma once

#include "util.h"

struct buf;
struct err;

enum log_level { LOG_DEBUG_, LOG_INFO_, LOG_WARNING_, LOG_ERROR_ };

/* Who a line is about; any member may be NULL. Borrowed for the call. */
struct log_ctx {
	const char *request_id, *user_id, *project_id;
};

/* @path NULL: standard error. Opens for appending, 0640. May be called again to change. */
int log_open(const char *path, enum log_level min_level, struct err *err);
void log_reopen(void); /* after rotation (SIGHUP); also done by itself when the file was moved. Takes
			* a lock: not for a signal handler */
void log_close(void);  /* when the other threads have ended; later lines go to standard error */

/* @name is the logger, e.g. "glint.relay". @ctx may be NULL. Thread-safe. */
void log_line(enum log_level level, const char *name, const struct log_ctx *ctx, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

#define log_debug(name, ctx, ...) log_line(LOG_DEBUG_, name, ctx, __VA_ARGS__)
#define log_info(name, ctx, ...) log_line(LOG_INFO_, name, ctx, __VA_ARGS__)
#define log_warning(name, ctx, ...) log_line(LOG_WARNING_, name, ctx, __VA_ARGS__)
#define log_error(name, ctx, ...) log_line(LOG_ERROR_, name, ctx, __VA_ARGS__)

/* The part of a line before the message, for the notification driver "log", which writes lines of
 * the same form: date, pid, level, logger, context in brackets, one blank. */
void log_prefix(struct buf *out, int64_t when_us, enum log_level level, const char *name,
		const struct log_ctx *ctx);

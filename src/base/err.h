/* SPDX-License-Identifier: Apache-2.0
 * base/err.h -- one error type for the whole house.
 *
 * A function that can fail returns 0 or one of the negative codes below and tells the story in a
 * caller-owned struct err. The text is for the client: one sentence, never a path, a location, a
 * password or SQL. The detail is for the log. Fixed size, so that "out of memory" needs none. */
#pragma once

#include "util.h"

enum err_code {
	ERR_INVALID = -1,         /* 400 the request is not well formed or not allowed by its own rules */
	ERR_UNAUTHENTICATED = -2, /* 401 */
	ERR_FORBIDDEN = -3,       /* 403 visible, but not permitted */
	ERR_NOT_FOUND = -4,       /* 404 absent, or not visible to the caller */
	ERR_CONFLICT = -5,        /* 409 the state of the resource does not allow it */
	ERR_GONE = -6,            /* 410 deleted while the request was running */
	ERR_TOO_LARGE = -7,       /* 413 over a cap, a quota, or the store is full */
	ERR_MEDIA_TYPE = -8,      /* 415 */
	ERR_RANGE = -9,           /* 416 */
	ERR_UNAVAILABLE = -10,    /* 503 try again later */
	ERR_INTERNAL = -11,       /* 500 a fault of ours or of the machine */
	ERR_NO_MEMORY = -12,      /* 503 */
	ERR_DISCONNECTED = -13,   /* the client went away in the middle of its request; 400 if it still listens */
	ERR_TIMEOUT = -14,        /* 408 the client was too slow */
	ERR_TOO_LONG = -15,       /* nothing failed, it only took longer than the caller can wait where he is */
	ERR_TOO_MANY = -16,       /* 429 too often, within a time */
};

struct err {
	int code;         /* 0 while nothing failed */
	bool retriable;   /* set where it is known that trying again can help */
	char text[512];   /* for the client */
	char detail[512]; /* for the log; empty if the text says it all */
};

/* Record a failure; returns @code so that `return err_set(...)` reads well. @err may be NULL. */
int err_set(struct err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Out of memory: sets ERR_NO_MEMORY and returns it. */
int err_nomem(struct err *err);

/* Put "what: " in front of the story; returns @code. */
int err_wrap(struct err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Add what only the log may see; returns err->code. */
int err_detail(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The detail if there is one, else the text; never NULL. */
const char *err_story(const struct err *err);

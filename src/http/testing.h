/* SPDX-License-Identifier: Apache-2.0
 * http/testing.h -- for the tests of the server: one with handlers, and a client of few words. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "http.h"

#define PATIENCE_MS 20000 /* how long a test waits for what must come */
#define FILE_BYTES (8 << 20)

#define HOST "Host: localhost\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

struct env {
	struct http_server *server;
	char dir[32], file[64];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	int n_fed, feed_result;
	atomic_bool crowded;
	int n_sent_calls;
	int64_t n_sent;
	bool complete;
	struct http_request *streaming; /* the last STREAM request that began */
	int body_code; /* how the last STREAM body ended */
	struct err body_err;
	int n_body_ends;
	int n_blocked; /* handlers in /block */
	bool unblock;
};

struct answer {
	int status;
	char head[4096];
	char *body;
	size_t n_body;
};

/* A running server in *state, with a handler for all there is to try, and a file to send. */
int test_setup(void **state);
int test_setup_with(void **state, struct http_config config);
int test_teardown(void **state);

/* What stands at @i of the file that /file sends. */
unsigned char file_octet(size_t i);
/* Until *counter (of @env) is @n. */
void wait_until(struct env *env, const int *counter, int n);
int dial(struct env *env);
void dial_with(struct env *env, int fd);
/* With a small receive buffer. */
int dial_small(struct env *env);
void say(int fd, const char *text);
void say_n(int fd, const void *data, size_t n);
/* Up to @n octets; 0 at the end (a reset is one, too). */
size_t hear_some(int fd, void *data, size_t n);
/* One answer; false if the connection ended before it began. */
bool hear(int fd, struct answer *a, bool with_body);
/* In static memory. */
const char *answer_header(const struct answer *a, const char *name);
void answer_done(struct answer *a);
/* The next answer has this status and, unless NULL, this body. */
void expect(int fd, int status, const char *body);
/* The server closes; so do we. */
void expect_end(int fd);

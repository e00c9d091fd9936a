/* SPDX-License-Identifier: Apache-2.0
 * keystone/transport.h -- short questions over HTTP(S) to services of the same cloud: one thread, kept-alive
 * connections, and whoever asks is called back. Nobody waits, so an event loop may ask.
 *
 * Redirects are not followed (the status is the answer), certificates and host names are verified, no proxy of
 * the environment is used, and nothing that is sent or received is ever logged. */
#pragma once

#include "base/util.h"

struct err;
struct transport;
struct transport_answer;

struct transport_config {
	const char *ca_file;             /* NULL: those of the system */
	const char *cert_file, *key_file; /* of a client; NULL: none */
	bool insecure;                   /* believe any certificate */
	int64_t connect_timeout_us;      /* 0: as long as the call may take */
	unsigned max_retries;            /* of a call that could not be connected or lost its connection, while there is time */
	unsigned max_connections;        /* calls at work at the same time; the others wait. 0: a default */
	unsigned max_calls;              /* at work and waiting; beyond: ERR_UNAVAILABLE at once. 0: a default */
};

/* On the thread of the transport, exactly once: the answer, or why there is none (ERR_UNAVAILABLE mostly; the
 * text may be shown to a client, the detail is for the log). Both borrowed for the call. It must not block, and
 * may start calls. */
typedef void transport_done_fn(void *cls, const struct transport_answer *answer, const struct err *err);

struct transport_call {
	const char *method, *url;     /* "GET" or "POST"; http:// or https:// */
	const char *const *headers;   /* "Name: value" each, NULL-terminated; NULL: none */
	const char *body;             /* NULL: none */
	size_t n_body;
	int64_t deadline_us;          /* clock_mono_us(): by then @done has been called */
	size_t max_octets;            /* of the body of the answer; one that is longer is none */
	transport_done_fn *done;
	void *cls;
};

/* Whether the files can be read. ERR_INVALID names the one that cannot. */
int transport_check(const struct transport_config *config, struct err *err);
/* Strings are copied. */
int transport_open(const struct transport_config *config, struct transport **ret, struct err *err);
/* Everything in @call is copied. Any thread, never blocks. After an error @done is not called. */
int transport_start(struct transport *t, const struct transport_call *call, struct err *err);
/* All calls end now, with ERR_UNAVAILABLE, and no more are taken. Any thread; waits for nobody. */
void transport_stop(struct transport *t);
/* The same, and every @done has returned when this does. NULL is fine. */
void transport_close(struct transport *t);
void transport_close_p(struct transport **t);

int transport_status(const struct transport_answer *a);
const char *transport_body(const struct transport_answer *a, size_t *ret_n); /* a NUL behind it */
/* The value of a header; NULL if it is not there, or is there more than once. Until the next transport_header(). */
const char *transport_header(const struct transport_answer *a, const char *name);

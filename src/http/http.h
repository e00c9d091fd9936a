/* SPDX-License-Identifier: Apache-2.0
 * http/http.h -- an HTTP/1.1 server for few, large, precious bodies and many small answers. It knows
 * nothing about images.
 *
 * Event loops (epoll, one a core) accept, parse and answer; a route says where its handler runs:
 *
 *   HTTP_INLINE  on the event loop: must not block, but may ask to be called again where it may
 *                (http_go_to_worker). The body (if any) is read in whole before.
 *   HTTP_WORKER  on a pool thread: may block. The body is read in whole before, by the loop.
 *   HTTP_FILE    likewise, but on one of another pool: opens a file, which takes as long as its disk takes.
 *   HTTP_STREAM  on a pool thread of its own pool: may block, reads the body itself, piece by piece.
 *
 * A handler answers exactly once, with one of the http_reply functions, before it returns, unless it
 * asked to be called again or has put the answer off (http_suspend).
 * Files are sent with sendfile(2) by loops that do nothing else, so a slow disk stalls no request. */
#pragma once

#include <sys/types.h>

#include "base/arena.h"
#include "base/buf.h"

struct err;
struct http_request;
struct http_server;
struct metrics;

enum http_run { HTTP_INLINE, HTTP_WORKER, HTTP_FILE, HTTP_STREAM };

typedef void http_handler_fn(void *cls, struct http_request *req);

struct http_route {
	const char *method; /* "GET"; the table ends with NULL */
	const char *path;   /* "/v2/images/{image_id}/file": {name} matches one non-empty segment */
	enum http_run run;
	http_handler_fn *handle;
	bool anybody; /* `admit` is not asked */
};

/* Pages of which origins may use the answers. Lists end with NULL. */
struct http_cors {
	const char *const *origins; /* "https://horizon.example.org"; "*" */
	bool credentials;
	int64_t max_age; /* seconds that a browser may remember what it was told; 0: it is not told so */
	const char *const *expose, *const *methods, *const *headers;
};

struct http_tls {
	const char *cert_file; /* PEM: the certificate, then those that lead to one that clients know */
	const char *key_file;  /* PEM; NULL: in cert_file */
	const char *ca_file;   /* PEM: clients have to show a certificate that one of these has signed; NULL: none */
	bool kernel;           /* let the kernel encrypt, if it can */
};

struct http_config {
	const char *listen;         /* "127.0.0.1:9292", "[::1]:9292", port 0: any free one; "unix:/path" */
	const char *const *also;    /* more of that kind, NULL at the end; NULL: none. Only for http_new() */
	const char *const *trusted_proxies; /* networks (10.0.0.0/8) and "unix", whose word on the client is taken,
					       NULL at the end. NULL: nobody's. Only for http_new() */
	const struct http_cors *cors; /* n_cors; the first that has an origin counts. With any, OPTIONS is answered */
	size_t n_cors;
	mode_t unix_mode;           /* permissions of UNIX sockets, which are never encrypted; 0: 0660 */
	const struct http_tls *tls; /* only for http_new(); NULL: plain */
	const struct http_route *routes;
	void *cls;                  /* handed to every handler */
	http_handler_fn *admit;     /* INLINE, once the head is complete: before an octet of a body is read or a thread
				       is taken. It answers if the request goes no further, and may suspend. NULL: all
				       are admitted */
	void (*cutting)(void *cls); /* once, on a loop, when http_stop() begins to cut connections: whoever has suspended
				       requests resumes them soon. Must not block. NULL: nobody has any for long */
	http_handler_fn *not_found; /* INLINE; a path that no route knows. NULL: a plain 404 */
	struct metrics *metrics;    /* NULL: none; of several servers, one may have some */

	/* 0 of anything below but max_body_bytes and the rates: a default. */
	unsigned n_loops;           /* 0: one a core */
	unsigned max_connections;   /* beyond it, accepting pauses */
	unsigned max_workers;       /* threads for HTTP_WORKER; HTTP_FILE has a few of its own */
	unsigned max_streams;       /* threads for HTTP_STREAM */
	size_t max_header_bytes;    /* request line and headers together; beyond: 431 */
	unsigned max_headers;       /* number of header lines; beyond: 431 */
	size_t max_body_bytes;      /* bodies read in whole; beyond: 413 */
	size_t max_request_id_bytes;/* X-Openstack-Request-Id from the client; beyond: 431 */

	int64_t idle_timeout_us;    /* a kept-alive connection without a request */
	int64_t header_timeout_us;  /* from the first octet of a request to the end of its headers */
	int64_t body_timeout_us;    /* without a single octet of the body, or of room for the answer */
	int64_t min_rate_bytes;     /* octets a second, averaged over body_timeout: slower bodies end with
				       408, slower readers are cut off. 0: no such rule */
	int64_t crowded_timeout_us; /* the same for bodies of HTTP_STREAM while a request waits for a thread: */
	int64_t crowded_rate_bytes; /* the slow give way with 408, as many as wait. 0: no such rule */
};

/* Whether these may be trusted_proxies. */
int http_check_proxies(const char *const *list, struct err *err);
/* Whether @text could be listened on, as far as it can be told without doing it. */
int http_check_address(const char *text, struct err *err);
/* Whether the files are there and good. */
int http_check_tls(const struct http_tls *tls, struct err *err);
/* Binds and listens; answers once http_start() has been called. */
int http_new(const struct http_config *config, struct http_server **ret, struct err *err);
const char *http_address(const struct http_server *s); /* of the first, with the real port. Borrowed */
/* Of each, from 0 on; *ret_scheme is what makes a URL of it, or "". NULL: there are no more. */
const char *http_listens(const struct http_server *s, size_t i, const char **ret_scheme);
bool http_is_tls(const struct http_server *s);
int http_start(struct http_server *s, struct err *err);
/* The certificates anew, for connections from now on; of bad ones nothing is taken. Without TLS: nothing. */
int http_reload(struct http_server *s, struct err *err);
/* Accept no more, close idle connections, let running requests finish for at most @timeout_us, then
 * cut them off. Every handler and every http_sent_fn has returned when this does. */
void http_stop(struct http_server *s, int64_t timeout_us);
void http_free(struct http_server *s);

/* -- the request; all text is borrowed and lives as long as the request --------------------------- */

struct arena *http_arena(struct http_request *req); /* freed after the answer is sent */
const char *http_method(const struct http_request *req);
const char *http_path(const struct http_request *req);              /* as sent, without the query */
const char *http_route_path(const struct http_request *req);        /* of the route that it has, however it was written */
const char *http_param(const struct http_request *req, const char *name); /* percent-decoded; never NULL for a name of the route */
/* First header of that name (any case), trimmed; NULL if there is none. */
const char *http_header(const struct http_request *req, const char *name);
unsigned http_header_count(const struct http_request *req, const char *name);
const char *http_request_id(const struct http_request *req); /* "req-..."; every answer carries it */
const char *http_peer(const struct http_request *req);       /* numeric address of who is connected; by a UNIX socket 127.0.0.1 */

/* Who asks and for what, as far as we know: what proxies that are trusted say (forwarded.h), else what we see. */
const char *http_client(struct http_request *req); /* numeric address */
const char *http_scheme(struct http_request *req); /* "http" or "https" */
const char *http_host(struct http_request *req);   /* may stand in a URL; NULL: not known */
const char *http_prefix(struct http_request *req); /* "" or "/images" */

struct http_pair {
	const char *name, *value; /* percent- and plus-decoded, valid UTF-8, no NUL (else the server said 400) */
};
const struct http_pair *http_query(const struct http_request *req, size_t *ret_n); /* in order */

/* INLINE and WORKER: the body. */
const char *http_body(const struct http_request *req, size_t *ret_n);
bool http_has_body(const struct http_request *req); /* a Content-Length > 0, or chunked */

/* STREAM: the next piece of the body, at most @n octets; blocks. 0: the end. Negative:
 * ERR_DISCONNECTED (the text says how many octets were still expected, if that is known),
 * ERR_TIMEOUT, ERR_INVALID (broken chunks). Answers `Expect: 100-continue` at the first call, so a
 * handler that refuses before it reads spares the client the body. */
ssize_t http_body_read(struct http_request *req, void *data, size_t n, struct err *err);
/* From any thread, until the handler has returned: when it would have to wait for its client,
 * http_body_read() fails with ERR_GONE instead. */
void http_body_cancel(struct http_request *req);
int64_t http_body_length(const struct http_request *req); /* -1: chunked, not known; 0: no body */

/* The handler of an INLINE route, before it has answered, when it sees that this request is no quick one: it
 * returns, and is called once more, on a worker. */
void http_go_to_worker(struct http_request *req);
bool http_on_worker(const struct http_request *req); /* we are; or on a thread of the streams */

/* What `admit` found out, for the handler; NULL until it is set. Lives as long as the request (http_arena). */
void http_set_context(struct http_request *req, void *context);
void *http_context(const struct http_request *req);

/* An INLINE or WORKER handler, or `admit`, as the last that it does with @req before it gives it away: the answer will come
 * later. Whoever has it then calls http_resume(), once, on any thread: @fn answers, on the event loop. For `admit`,
 * @fn need not: then the request is admitted. */
typedef void http_resume_fn(void *cls, struct http_request *req);
void http_suspend(struct http_request *req);
void http_resume(struct http_request *req, http_resume_fn *fn, void *cls);

/* -- the answer ----------------------------------------------------------------------------------- */

/* Before the reply; copied. A value with a control character is dropped (and the process told);
 * NULL, for want of memory, cuts the connection: half an answer would be worse than none. */
void http_add_header(struct http_request *req, const char *name, const char *value);

/* Takes what is in @body (it is empty afterwards). 204/304 send none, and no Content-Length (RFC 9110
 * section 8.6); every other answer has one. @content_type NULL: none. */
void http_reply(struct http_request *req, int status, const char *content_type, struct buf *body);
void http_reply_empty(struct http_request *req, int status);

/* {"error": {"code": 404, "title": "Not Found", "message": text}}, the form that every client
 * library finds its message in. */
void http_reply_error(struct http_request *req, int status, const char *text);

/* @n_sent octets of the body were taken by the network (not more than were asked for); if the client
 * left early, those that its side acknowledged. Runs on a worker thread, exactly once, after the
 * last octet or when the connection has ended (without memory to queue it: on whatever thread). */
typedef void http_sent_fn(void *cls, int64_t n_sent, bool complete);

/* @length octets of @fd from @offset on. Takes @fd. If the file ends early the connection is cut, so
 * that the client sees it. @sent may be NULL. */
void http_reply_file(struct http_request *req, int status, const char *content_type, int fd, int64_t offset,
		     int64_t length, http_sent_fn *sent, void *cls);

/* The answer of a suspended request by the thread that has it, which may block: the head, then @length octets of
 * body in any number of pieces, then http_resume() with a function that answers nothing more. If it comes before
 * all of the body, the connection is cut, so that the client sees it. */
void http_begin_body(struct http_request *req, int status, const char *content_type, int64_t length);
/* True: somebody waits for the thread that sends to this client; a client who is slower than crowded_rate is
 * given up for him. */
typedef bool http_crowd_fn(void *cls);
/* Returns when the network has taken all of it. ERR_DISCONNECTED: the client is gone; ERR_TIMEOUT: too slow
 * (min_rate, or @crowd; NULL: nobody waits). *ret_n: how many octets of @data went out, also when it fails. */
int http_write_body(struct http_request *req, const void *data, size_t n, http_crowd_fn *crowd, void *cls, size_t *ret_n,
		    struct err *err);

/* By the thread that has the request, before it has answered: the client has closed its side (or the server has been
 * stopped for too long), so that nobody waits for an answer any more. */
bool http_client_is_gone(const struct http_request *req);
/* The same at any time, of a client who does not read any more either, as far as that is known. */
bool http_client_is_lost(const struct http_request *req);

/* For a STREAM handler that knows its client must not send more (410, 413): the reply goes out at
 * once, the rest of the body is read and thrown away for a short while, then the connection ends.
 * All http_reply functions do this by themselves when the body was not read to its end. */

const char *http_status_title(int status); /* "Not Found" */

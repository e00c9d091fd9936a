/* SPDX-License-Identifier: Apache-2.0
 * http/reply.c -- answers. Each is tried to be sent where it is made, head and body in one call, by the
 * thread that owns the connection; what the socket does not take the loop sends later. */
#include "server.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "cors.h"

#define POLL_MS 250 /* how soon a slow client gives way */
#define SEND_AHEAD_BYTES (1 << 20)

static const struct {
	int status;
	const char *title;
} titles[] = {
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{204, "No Content"},
	{206, "Partial Content"},
	{300, "Multiple Choices"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{307, "Temporary Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{410, "Gone"},
	{411, "Length Required"},
	{412, "Precondition Failed"},
	{413, "Request Entity Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{416, "Requested Range Not Satisfiable"},
	{417, "Expectation Failed"},
	{422, "Unprocessable Entity"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
	{507, "Insufficient Storage"},
};

static const char *find_title(int status)
{
	for (size_t i = 0; i < ARRAY_LEN(titles); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return NULL;
}

const char *http_status_title(int status)
{
	const char *title = find_title(status);

	return title ? title : "Unknown";
}

bool http_status_is_known(int status)
{
	return find_title(status) != NULL;
}

/* -- the head -------------------------------------------------------------------------------------- */

static bool is_clean(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return false;
	return true;
}

void http_add_header(struct http_request *req, const char *name, const char *value)
{
	const struct log_ctx ctx = {.request_id = req->id};

	if (!value) {
		req->extra_headers.failed = true;
		return;
	}
	if (!is_clean(value)) {
		log_warning(LOG_NAME, &ctx, "the header %s is left out: its value has a control character",
			    name);
		return;
	}
	buf_adds(&req->extra_headers, name);
	buf_adds(&req->extra_headers, ": ");
	buf_adds(&req->extra_headers, value);
	buf_adds(&req->extra_headers, "\r\n");
}

/* The Date line, made anew once a second in each thread. */
static const char *date_line(void)
{
	static _Thread_local int64_t made_for = -1;
	static _Thread_local char line[CLOCK_TEXT_MAX + 10];
	char text[CLOCK_TEXT_MAX];
	int64_t now_us = clock_now_us();

	if (now_us / 1000000 != made_for) {
		made_for = now_us / 1000000;
		(void)snprintf(line, sizeof(line), "Date: %s\r\n", clock_http(now_us, text));
	}
	return line;
}

static void add_number(struct buf *out, int64_t n)
{
	char digits[24];
	size_t i = sizeof(digits);

	do
		digits[--i] = (char)('0' + n % 10);
	while (n /= 10);
	buf_add(out, digits + i, sizeof(digits) - i);
}

static bool has_content(int status)
{
	return status >= 200 && status != 204 && status != 304;
}

static bool wants_content(const struct http_request *req, int status)
{
	bool is_head = req->head.size && strcmp(head_method(&req->head), "HEAD") == 0;

	return has_content(status) && !is_head;
}

static void add_connection(struct http_request *req)
{
	req->close |= !req->head.keep_alive || !req->body_done ||
		      atomic_load_explicit(&req->server->stopping, memory_order_relaxed);
	if (req->close)
		buf_adds(&req->out_head, "Connection: close\r\n");
	else if (req->head.minor == 0)
		buf_adds(&req->out_head, "Connection: keep-alive\r\n");
}

static void make_head(struct http_request *req, int status, const char *content_type, int64_t length)
{
	struct buf *out = &req->out_head;

	assert(!req->answered);
	req->answered = true;
	count_answer(req, status);
	buf_adds(out, "HTTP/1.1 ");
	add_number(out, status);
	buf_addc(out, ' ');
	buf_adds(out, http_status_title(status));
	buf_adds(out, "\r\n");
	if (content_type && has_content(status)) {
		buf_adds(out, "Content-Type: ");
		buf_adds(out, is_clean(content_type) ? content_type : "application/octet-stream");
		buf_adds(out, "\r\n");
	}
	if (has_content(status)) {
		buf_adds(out, "Content-Length: ");
		add_number(out, length);
		buf_adds(out, "\r\n");
	}
	buf_adds(out, "X-Openstack-Request-Id: ");
	buf_adds(out, req->id);
	buf_adds(out, "\r\nX-Content-Type-Options: nosniff\r\n");
	buf_adds(out, date_line());
	buf_add(out, req->extra_headers.data, req->extra_headers.len);
	if (req->server->config.n_cors && req->head.size)
		cors_add_headers(req->server->config.cors, req->server->config.n_cors, &req->head, out);
	add_connection(req);
	buf_adds(out, "\r\n");
	if (out->failed || req->extra_headers.failed)
		req->broken = true;
}

/* -- sending --------------------------------------------------------------------------------------- */

static int make_iov(const struct http_request *req, struct iovec iov[2])
{
	size_t pos = req->out_pos;
	int n = 0;

	if (pos < req->out_head.len)
		iov[n++] = (struct iovec){req->out_head.data + pos, req->out_head.len - pos};
	pos = pos > req->out_head.len ? pos - req->out_head.len : 0;
	if (pos < req->out_body.len)
		iov[n++] = (struct iovec){req->out_body.data + pos, req->out_body.len - pos};
	return n;
}

enum flush_verdict reply_flush(struct http_request *req, int send_flags)
{
	struct iovec iov[2];
	ssize_t n;

	while (!req->broken && req->out_pos < req->out_head.len + req->out_body.len) {
		n = channel_send(&req->conn->channel, iov, make_iov(req, iov), send_flags);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return FLUSH_BLOCKED;
		if (n < 0) {
			req->broken = true;
		} else {
			req->out_pos += (size_t)n;
			count_sent(req->server, (size_t)n);
			pace_moved(&req->pace, n);
		}
	}
	return req->broken ? FLUSH_BROKEN : FLUSH_DONE;
}

/* -- the kinds of answers -------------------------------------------------------------------------- */

static void reply_buf(struct http_request *req, int status, const char *content_type, struct buf *body)
{
	make_head(req, status, content_type, (int64_t)body->len);
	if (wants_content(req, status)) {
		req->out_body = *body;
		buf_init(body);
	} else {
		buf_done(body);
	}
	/* A blocked or broken connection is found again by whoever gets it next. */
	(void)reply_flush(req, 0);
}

void http_reply(struct http_request *req, int status, const char *content_type, struct buf *body)
{
	if (!body->failed) {
		reply_buf(req, status, content_type, body);
		return;
	}
	buf_done(body);
	http_reply_error(req, 503, "The service has no memory left for the answer.");
}

void http_reply_empty(struct http_request *req, int status)
{
	struct buf none = {0};

	reply_buf(req, status, NULL, &none);
}

static void render_error(struct buf *out, int status, const char *text)
{
	struct jsonw w = jsonw_to(out);

	jsonw_object(&w);
	jsonw_key(&w, "error");
	jsonw_object(&w);
	jsonw_key(&w, "code");
	jsonw_int(&w, status);
	jsonw_key(&w, "title");
	jsonw_str(&w, http_status_title(status));
	jsonw_key(&w, "message");
	jsonw_str(&w, text);
	jsonw_object_end(&w);
	jsonw_object_end(&w);
}

void http_reply_error(struct http_request *req, int status, const char *text)
{
	struct buf body = {0};

	render_error(&body, status, text);
	if (body.failed) { /* the status alone says most of it */
		buf_done(&body);
		buf_init(&body);
	}
	reply_buf(req, status, "application/json", &body);
}

static struct file_job *new_job(int *fd, int64_t offset, int64_t length, http_sent_fn *sent, void *cls)
{
	struct file_job *job = malloc(sizeof(*job));

	if (job)
		*job = (struct file_job){
			.fd = TAKE_FD(*fd), .offset = offset, .length = length, .sent = sent, .cls = cls};
	return job;
}

void http_reply_file(struct http_request *req, int status, const char *content_type, int fd, int64_t offset,
		     int64_t length, http_sent_fn *sent, void *cls)
{
	AUTO(close_fd_p) int file = fd;
	struct file_job *job;

	assert(file >= 0 && offset >= 0 && length >= 0);
	job = new_job(&file, offset, length, sent, cls);
	if (!job) {
		http_reply_error(req, 503, "The service has no memory left for the answer.");
		if (sent)
			sent(cls, 0, false); /* on this thread: there is no memory for going elsewhere */
		return;
	}
	make_head(req, status, content_type, length);
	if (!wants_content(req, status))
		job->length = 0;
	req->file = job; /* sent when the handler has returned */
}

/* -- bodies by a thread ---------------------------------------------------------------------------- */

void http_begin_body(struct http_request *req, int status, const char *content_type, int64_t length)
{
	int ahead = SEND_AHEAD_BYTES;

	(void)setsockopt(req->conn->channel.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &ahead, sizeof(ahead));
	make_head(req, status, content_type, length);
	req->pace = req->recent = (struct pace){0};
	req->body_to_come = wants_content(req, status) ? length : 0;
}

static int too_slow(struct err *err)
{
	return err_set(err, ERR_TIMEOUT, "The client takes the data too slowly.");
}

static int wait_for_room(struct http_request *req, http_crowd_fn *crowd, void *cls, struct err *err)
{
	const struct http_server *s = req->server;
	const struct channel *ch = &req->conn->channel;
	struct pollfd p = {.fd = ch->fd, .events = ch->waits_for_rest ? POLLIN : POLLOUT};
	int64_t begin_us = clock_mono_us(), last_us = begin_us, now_us;
	int n;

	do {
		n = poll(&p, 1, POLL_MS);
		if (n < 0 && errno != EINTR)
			return err_set(err, ERR_INTERNAL, "waiting for the client: %s", strerror(errno));
		now_us = clock_mono_us();
		if (!pace_waited(&req->recent, &s->crowded_rule, now_us - last_us) && crowd && crowd(cls))
			return too_slow(err);
		if (!pace_waited(&req->pace, &s->pace_rule, now_us - last_us) || now_us - begin_us >= s->pace_rule.window_us)
			return too_slow(err);
		last_us = now_us;
	} while (n <= 0);
	return 0;
}

static int disconnected(struct http_request *req, struct err *err)
{
	req->broken = true;
	return err_set(err, ERR_DISCONNECTED, "The client left before it had all of the data.");
}

static int flush_head(struct http_request *req, http_crowd_fn *crowd, void *cls, struct err *err)
{
	int r = 0;

	while (r == 0) {
		switch (reply_flush(req, MSG_MORE)) {
		case FLUSH_DONE:
			return 0;
		case FLUSH_BLOCKED:
			r = wait_for_room(req, crowd, cls, err);
			break;
		case FLUSH_BROKEN:
			return disconnected(req, err);
		}
	}
	return r;
}

/* How many octets the socket took; 0: it has no room. */
static ssize_t send_some(struct http_request *req, const char *data, size_t n, struct err *err)
{
	const struct iovec iov = {(void *)data, n};
	ssize_t got;

	do
		got = channel_send(&req->conn->channel, &iov, 1, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	return got < 0 ? disconnected(req, err) : got;
}

int http_write_body(struct http_request *req, const void *data, size_t n, http_crowd_fn *crowd, void *cls, size_t *ret_n,
		    struct err *err)
{
	int r;

	*ret_n = 0;
	assert((int64_t)n <= req->body_to_come);
	r = flush_head(req, crowd, cls, err);
	while (r == 0 && *ret_n < n) {
		ssize_t got = send_some(req, (const char *)data + *ret_n, n - *ret_n, err);

		if (got < 0)
			return (int)got;
		if (got == 0) {
			r = wait_for_room(req, crowd, cls, err);
			continue;
		}
		*ret_n += (size_t)got;
		req->body_to_come -= got;
		count_sent(req->server, (size_t)got);
		pace_moved(&req->pace, got);
		pace_moved(&req->recent, got);
	}
	return r;
}

bool http_client_is_lost(const struct http_request *req)
{
	struct pollfd p = {.fd = req->conn->channel.fd};

	return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

bool http_client_is_gone(const struct http_request *req)
{
	struct pollfd p = {.fd = req->conn->channel.fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

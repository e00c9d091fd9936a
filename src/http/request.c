/* SPDX-License-Identifier: Apache-2.0
 * http/request.c -- one request: its memory, its id, its route, and what handlers ask it.
 *
 * The struct and its buffers are used again for request after request, of whatever connection, so
 * that a small one costs no allocation; what a large one needed is given back. */
#include "server.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/err.h"
#include "base/uuid.h"
#include "uri.h"

#define IN_MIN 4096  /* a new buffer */
#define IN_KEEP 8192 /* a larger one is not kept for the next request */
#define OUT_KEEP 4096

struct http_request *request_new(struct http_server *s)
{
	struct http_request *req = calloc(1, sizeof(*req));

	if (!req)
		return NULL;
	req->server = s;
	req->wake_fd = -1;
	return req;
}

static void drop_large(struct buf *b, size_t keep)
{
	if (b->cap > keep)
		buf_done(b);
	else
		buf_reset(b);
}

static void drop_wake(struct http_request *req)
{
	if (req->wake_fd >= 0)
		(void)close(TAKE_FD(req->wake_fd));
}

void request_reset(struct http_request *req)
{
	count_end(req);
	head_reset(&req->head);
	req->head_begun = false;
	arena_done(&req->arena);
	req->match = (struct router_match){0};
	req->forwarded = (struct forwarded){0};
	req->has_forwarded = false;
	req->query = NULL;
	req->n_query = 0;
	req->id = NULL;
	req->chunk = (struct chunk){0};
	req->body_left = 0;
	req->body_done = req->continue_due = false;
	req->pace = req->recent = (struct pace){0};
	drop_wake(req);
	req->gave_way = false;
	req->begun_us = 0;
	req->answered = req->close = req->broken = false;
	req->wants_worker = req->on_pool = req->admitting = false;
	req->context = NULL;
	req->suspended = NULL;
	req->resume = NULL;
	req->body_to_come = 0;
	req->out_pos = 0;
	assert(!req->file);
	drop_large(&req->scratch, OUT_KEEP);
	drop_large(&req->extra_headers, OUT_KEEP);
	drop_large(&req->out_head, OUT_KEEP);
	buf_done(&req->out_body);
	buf_done(&req->body);
	if (req->in_cap > IN_KEEP && req->in_pos == req->in_len) {
		free(TAKE(req->in));
		req->in_cap = 0;
	}
	if (req->in_pos < req->in_len && req->in_pos > 0)
		memmove(req->in, req->in + req->in_pos, req->in_len - req->in_pos);
	req->in_len -= req->in_pos;
	req->in_pos = 0;
}

void request_free(struct http_request *req)
{
	if (!req)
		return;
	request_reset(req);
	head_done(&req->head);
	buf_done(&req->scratch);
	buf_done(&req->extra_headers);
	buf_done(&req->out_head);
	free(req->in);
	free(req);
}

bool request_make_room(struct http_request *req, size_t n)
{
	size_t cap = req->in_cap ? req->in_cap : IN_MIN;
	char *in;

	while (cap - req->in_len < n)
		cap *= 2;
	if (cap == req->in_cap)
		return true;
	in = realloc(req->in, cap);
	if (!in)
		return false;
	req->in = req->head.text = in;
	req->in_cap = cap;
	return true;
}

/* -- what the server does with a complete head ----------------------------------------------------- */

void request_make_id(struct http_request *req)
{
	memcpy(req->own_id, REQUEST_ID_PREFIX, sizeof(REQUEST_ID_PREFIX));
	uuid_new(req->own_id + sizeof(REQUEST_ID_PREFIX) - 1);
	req->id = req->own_id;
}

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s >= 0x7f)
			return false;
	return true;
}

/* The client's own id makes it possible to follow a call through several services. */
static int find_id(struct http_request *req, const char **ret_text)
{
	const char *id;

	request_make_id(req);
	head_find(&req->head, "X-Openstack-Request-Id", &id);
	if (!id || !*id)
		return 0;
	if (strlen(id) > req->server->config.max_request_id_bytes) {
		*ret_text = "The header X-Openstack-Request-Id is too long.";
		return 431;
	}
	if (!is_plain(id)) {
		*ret_text = "The header X-Openstack-Request-Id may hold only printable ASCII without blanks.";
		return 400;
	}
	if (strncmp(id, REQUEST_ID_PREFIX, sizeof(REQUEST_ID_PREFIX) - 1) != 0)
		id = arena_printf(&req->arena, REQUEST_ID_PREFIX "%s", id);
	if (id)
		req->id = id;
	return 0;
}

static int no_memory(const char **ret_text)
{
	*ret_text = "The service has no memory left for this request.";
	return 503;
}

static int no_method(struct http_request *req, const char *allow, const char **ret_text)
{
	http_add_header(req, "Allow", allow);
	*ret_text = "This method is not allowed here; see the Allow header for those that are.";
	return 405;
}

static int find_route(struct http_request *req, const char **ret_text)
{
	const struct head *h = &req->head;
	char *scratch = buf_reserve(&req->scratch, strlen(head_path(h)) + 1);

	if (!scratch)
		return no_memory(ret_text);
	if (h->authority_form)
		return no_method(req, "", ret_text);
	switch (router_match(req->server->router, head_method(h), head_path(h), scratch, &req->match)) {
	case ROUTER_FOUND:
	case ROUTER_NO_PATH:
		return 0;
	case ROUTER_NO_METHOD:
		return no_method(req, req->match.allow, ret_text);
	case ROUTER_BAD_PATH:
		break;
	}
	*ret_text = "The path is not valid percent-encoded UTF-8.";
	return 400;
}

static int find_query(struct http_request *req, const char **ret_text)
{
	const char *text = head_query(&req->head);

	switch (text && *text ? uri_query(&req->arena, text, &req->query, &req->n_query) : 0) {
	case 0:
		return 0;
	case ERR_NO_MEMORY:
		return no_memory(ret_text);
	default:
		*ret_text = "The query is not valid percent-encoded UTF-8.";
		return 400;
	}
}

bool request_is_options(const struct http_request *req)
{
	return req->server->config.n_cors && strcmp(head_method(&req->head), "OPTIONS") == 0;
}

int request_begin(struct http_request *req, const char **ret_text)
{
	int status;

	req->body_left = req->head.content_length;
	req->body_done = !http_has_body(req);
	req->continue_due = req->head.expect_continue;
	status = find_id(req, ret_text);
	if (!status && request_is_options(req))
		return 0;
	if (!status)
		status = find_route(req, ret_text);
	if (!status)
		status = find_query(req, ret_text);
	return status;
}

/* -- what handlers ask ----------------------------------------------------------------------------- */

struct arena *http_arena(struct http_request *req)
{
	return &req->arena;
}

const char *http_method(const struct http_request *req)
{
	return head_method(&req->head);
}

const char *http_path(const struct http_request *req)
{
	return head_path(&req->head);
}

const char *http_route_path(const struct http_request *req)
{
	assert(req->match.route);
	return req->match.route->path;
}

const char *http_param(const struct http_request *req, const char *name)
{
	for (unsigned i = 0; i < req->match.n_params; i++)
		if (strcmp(req->match.names[i], name) == 0)
			return req->match.values[i];
	assert(!"a name that the route has");
	return NULL;
}

const char *http_header(const struct http_request *req, const char *name)
{
	const char *value;

	head_find(&req->head, name, &value);
	return value;
}

unsigned http_header_count(const struct http_request *req, const char *name)
{
	return head_find(&req->head, name, NULL);
}

const char *http_request_id(const struct http_request *req)
{
	return req->id;
}

void http_set_context(struct http_request *req, void *context)
{
	req->context = context;
}

void *http_context(const struct http_request *req)
{
	return req->context;
}

const char *http_peer(const struct http_request *req)
{
	return req->conn->peer;
}

static const struct forwarded *forwarded(struct http_request *req)
{
	const struct http_conn *c = req->conn;

	if (!req->has_forwarded && req->server->proxies.networks)
		req->forwarded =
			forwarded_read(&req->server->proxies, &req->head, c->peer, c->is_local, &req->arena);
	req->has_forwarded = true;
	return &req->forwarded;
}

const char *http_client(struct http_request *req)
{
	const char *client = forwarded(req)->client;

	return client ? client : http_peer(req);
}

const char *http_scheme(struct http_request *req)
{
	const char *scheme = forwarded(req)->scheme;

	return scheme ? scheme : req->conn->channel.ssl ? "https" : "http";
}

const char *http_host(struct http_request *req)
{
	const char *host = forwarded(req)->host;

	if (!host)
		host = http_header(req, "Host");
	return host && forwarded_is_host(host) ? host : NULL;
}

const char *http_prefix(struct http_request *req)
{
	const char *prefix = forwarded(req)->prefix;

	return prefix ? prefix : "";
}

const struct http_pair *http_query(const struct http_request *req, size_t *ret_n)
{
	*ret_n = req->n_query;
	return req->query;
}

const char *http_body(const struct http_request *req, size_t *ret_n)
{
	*ret_n = req->body.len;
	return buf_cstr(&req->body);
}

bool http_has_body(const struct http_request *req)
{
	return req->head.chunked || req->head.content_length > 0;
}

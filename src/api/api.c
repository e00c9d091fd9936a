/* SPDX-License-Identifier: Apache-2.0
 * api/api.c -- the way in (who asks) and the way out (failures) of every handler. */
#include "api/api.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "access/policy.h"
#include "access/protection.h"
#include "access/rate.h"
#include "api/internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "keystone/keystone.h"

#define MAX_VALUES 32768 /* of a JSON body; more cost more than a request may */

int api_new(struct service *service, const struct api_config *config, struct api **ret, struct err *err)
{
	struct api *api = calloc(1, sizeof(*api));
	int r;

	if (!api)
		return err_nomem(err);
	json_watch_memory();
	api->service = service;
	pthread_mutex_init(&api->far_crowd.lock, NULL);
	api->config = *config;
	r = schemas_render(api, err);
	if (r == 0 && config->project_create_rate > 0)
		r = rate_new(config->project_create_rate, &api->create_rate, err);
	if (r == 0 && config->project_change_rate > 0)
		r = rate_new(config->project_change_rate, &api->change_rate, err);
	if (r == 0)
		r = pool_new("glint-far", config->max_far, &api->far, err);
	if (r < 0) {
		api_free(api);
		return r;
	}
	*ret = api;
	return 0;
}

void api_free(struct api *api)
{
	if (!api)
		return;
	pool_free(api->far);
	pthread_mutex_destroy(&api->far_crowd.lock);
	for (size_t i = 0; i < ARRAY_LEN(api->schemas); i++)
		buf_done(&api->schemas[i]);
	rate_free(api->create_rate);
	rate_free(api->change_rate);
	free(api);
}

void api_free_p(struct api **api)
{
	api_free(*api);
}

static const char *read_header(void *cls, const char *name, unsigned *ret_count)
{
	struct http_request *req = cls;

	*ret_count = http_header_count(req, name);
	return http_header(req, name);
}

static void call_init(struct call *c, struct api *api, struct http_request *req)
{
	*c = (struct call){.api = api, .req = req, .arena = http_arena(req)};
}

/* A project may make images, and change what there is, so often and no more. What it may not is refused before anything
 * of it is looked at. Services of the cloud ask on behalf of everybody. */
static int check_rate(struct call *c)
{
	const char *method = http_method(c->req);
	struct rate *rate;
	int64_t wait_us;
	bool creates;

	if (!c->api->create_rate && !c->api->change_rate)
		return 0;
	creates = strcmp(method, "POST") == 0 && strcmp(http_route_path(c->req), "/v2/images") == 0;
	rate = creates ? c->api->create_rate : c->api->change_rate;
	if (!rate || strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || (c->who.roles & ROLE_SERVICE))
		return 0;
	wait_us = rate_take(rate, c->who.project_id, clock_mono_us());
	if (wait_us == 0)
		return 0;
	http_add_header(c->req, "Retry-After", arena_printf(c->arena, "%lld", (long long)(wait_us + 999999) / 1000000));
	return err_set(&c->err, ERR_TOO_MANY, "Your project %s more often than it may; try again later.",
		       creates ? "makes images" : "changes images");
}

void call_admit(struct call *c)
{
	struct who *who = arena_alloc(c->arena, sizeof(*who));

	if (!who) {
		err_nomem(&c->err);
		call_fail(c);
		return;
	}
	*who = c->who;
	if (c->api->config.auth != AUTH_NONE) /* there everybody is admin, whatever the rules are */
		policy_identify(service_policy(c->api->service), who);
	if (check_rate(c) < 0 ||
	    protections_rights(c->api->config.protections, who, c->arena, &who->rights, &c->err) < 0)
		call_fail(c);
	else
		http_set_context(c->req, who);
}

void api_admit(void *cls, struct http_request *req)
{
	struct call c;

	call_init(&c, cls, req);
	c.who.request_id = http_request_id(req);
	c.who.address = http_client(req);
	if (c.api->config.auth == AUTH_KEYSTONE)
		identity_ask(&c);
	else if (who_from_headers(c.api->config.auth, read_header, req, c.arena, &c.who, &c.err) == 0)
		call_admit(&c);
	else
		call_fail(&c);
}

bool call_enter(struct call *c, void *cls, struct http_request *req)
{
	const struct who *who = http_context(req);

	assert(who); /* or api_admit() would have answered */
	call_init(c, cls, req);
	c->who = *who;
	return true;
}

void api_cutting(void *cls)
{
	struct api *api = cls;

	keystone_stop(api->config.keystone);
	service_cut(api->service);
}

bool call_enter_bodyless(struct call *c, void *cls, struct http_request *req)
{
	if (!call_enter(c, cls, req))
		return false;
	if (!http_has_body(req))
		return true;
	err_set(&c->err, ERR_INVALID, "This request takes no body.");
	call_fail(c);
	return false;
}

static int http_status(int code)
{
	switch (code) {
	case ERR_INVALID:
	case ERR_DISCONNECTED:
		return 400;
	case ERR_UNAUTHENTICATED:
		return 401;
	case ERR_FORBIDDEN:
		return 403;
	case ERR_NOT_FOUND:
		return 404;
	case ERR_TIMEOUT:
		return 408;
	case ERR_CONFLICT:
		return 409;
	case ERR_GONE:
		return 410;
	case ERR_TOO_LARGE:
		return 413;
	case ERR_MEDIA_TYPE:
		return 415;
	case ERR_RANGE:
		return 416;
	case ERR_TOO_MANY:
		return 429;
	case ERR_UNAVAILABLE:
	case ERR_NO_MEMORY:
		return 503;
	default:
		return 500;
	}
}

void call_fail(struct call *c)
{
	int status = http_status(c->err.code);
	struct log_ctx ctx = who_log(&c->who);

	if (status >= 500)
		log_error("glint.api", &ctx, "%s %s: %d %s", http_method(c->req), http_path(c->req), status,
			  err_story(&c->err));
	if (status == 401)
		http_add_header(c->req, "WWW-Authenticate",
				c->api->config.keystone ? keystone_challenge(c->api->config.keystone) : "Keystone");
	http_reply_error(c->req, status,
			 status == 500 ? "The service failed; its log has the reason." : c->err.text);
}

void call_reply(struct call *c, int status, struct buf *body)
{
	if (body->failed) {
		err_nomem(&c->err);
		call_fail(c);
		return;
	}
	http_reply(c->req, status, "application/json", body);
}

/* A parser makes something of each that opens or follows a comma. */
static size_t count_values(const char *text, size_t n)
{
	bool quoted = false;
	size_t count = 1;

	for (size_t i = 0; i < n; i++) {
		if (quoted && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			quoted = !quoted;
		else if (!quoted && (text[i] == ',' || text[i] == '[' || text[i] == '{'))
			count++;
	}
	return count;
}

int call_json(struct call *c, json_t **ret, struct err *err)
{
	json_error_t why;
	size_t n;
	const char *body = http_body(c->req, &n);
	int r;

	if (n == 0)
		return err_set(err, ERR_INVALID, "The request needs a JSON body.");
	if (n > MAX_VALUES && count_values(body, n) > MAX_VALUES)
		return err_set(err, ERR_INVALID, "The body has more than %d values.", MAX_VALUES);
	r = json_read(body, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, ret, &why, err);
	if (r == ERR_INVALID)
		return err_set(err, ERR_INVALID, "The body is not valid JSON (line %d, column %d).", why.line,
			       why.column);
	return r;
}

const char *call_base_url(struct call *c)
{
	const char *host = http_host(c->req);

	if (c->api->config.public_endpoint)
		return c->api->config.public_endpoint;
	return arena_printf(c->arena, "%s://%s%s", http_scheme(c->req), host ? host : "localhost", http_prefix(c->req));
}

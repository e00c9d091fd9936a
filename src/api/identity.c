/* SPDX-License-Identifier: Apache-2.0
 * api/identity.c -- who asks, by Keystone's word. Of the request two headers are looked at, the tokens;
 * whatever else says who somebody is, X-Roles and its kin, is never read. What is known already is answered
 * on the spot; else the request is put off, and its loop goes on with others. */
#include "api/internal.h"

#include <stdlib.h>

#include "keystone/keystone.h"

#define RETRY_AFTER "5" /* seconds */

/* A request that waits for Keystone. */
struct wait {
	struct call call;
	struct identity *identity;
};

static void turn_away(struct call *c)
{
	if (c->err.code == ERR_UNAVAILABLE || c->err.code == ERR_NO_MEMORY) {
		http_add_header(c->req, "Retry-After", RETRY_AFTER);
		http_reply_error(c->req, 503, c->err.text); /* the log has one line for all of them */
	} else {
		call_fail(c);
	}
}

static void let_in(struct call *c, const struct identity *i)
{
	if (identity_copy(i, c->arena, &c->who, &c->err) == 0)
		call_admit(c);
	else
		turn_away(c);
}

/* On the loop again. */
static void resume(void *cls, struct http_request *req)
{
	struct wait *w = cls;

	if (w->identity)
		let_in(&w->call, w->identity);
	else
		turn_away(&w->call);
	identity_unref(w->identity);
	free(w);
}

static void on_answer(void *cls, struct identity *i, const struct err *err)
{
	struct wait *w = cls;

	if (i)
		w->identity = identity_ref(i);
	else
		w->call.err = *err;
	http_resume(w->call.req, resume, w);
}

static void wait_for_keystone(struct call *c, const struct keystone_tokens *tokens)
{
	struct wait *w = calloc(1, sizeof(*w));

	if (!w) {
		err_nomem(&c->err);
		turn_away(c);
		return;
	}
	w->call = *c;
	http_suspend(c->req);
	keystone_ask(c->api->config.keystone, tokens, on_answer, w);
}

/* The token of a header; two of them are how a client would smuggle one past somebody. */
static int read_token(struct call *c, const char *name, const char **ret)
{
	if (http_header_count(c->req, name) > 1)
		return err_set(&c->err, ERR_INVALID, "The header %s is there more than once.", name);
	*ret = http_header(c->req, name);
	if (*ret && !**ret)
		*ret = NULL;
	return 0;
}

static int read_tokens(struct call *c, struct keystone_tokens *ret)
{
	int r = read_token(c, "X-Auth-Token", &ret->user);

	if (r == 0 && !ret->user)
		r = err_set(&c->err, ERR_UNAUTHENTICATED, "Authentication is required.");
	return r < 0 ? r : read_token(c, "X-Service-Token", &ret->service);
}

void identity_ask(struct call *c)
{
	AUTO(identity_unref_p) struct identity *i = NULL;
	struct keystone_tokens tokens = {0};

	if (read_tokens(c, &tokens) < 0) {
		turn_away(c);
		return;
	}
	switch (keystone_look(c->api->config.keystone, &tokens, &i, &c->err)) {
	case KEYSTONE_KNOWN:
		let_in(c, i);
		break;
	case KEYSTONE_REFUSED:
		turn_away(c);
		break;
	case KEYSTONE_UNKNOWN:
		wait_for_keystone(c, &tokens);
	}
}

/* SPDX-License-Identifier: Apache-2.0
 * keystone/keystone.h -- asks Keystone whose a token is, and keeps what it said for a while. */
#pragma once

#include "base/conf.h"
#include "keystone/session.h"
#include "keystone/token.h"
#include "keystone/transport.h"

struct arena;
struct keystone;
struct metrics;

struct keystone_config {
	struct session_config session;
	struct transport_config transport;
	const char *public_url;            /* where clients find Keystone */
	const char *const *service_roles;  /* NULL-terminated, lower case */
	bool service_roles_required;       /* or any valid token is good as a service's */
	int64_t cache_us;                  /* how long what is known of a token counts; 0: not at all */
	unsigned cache_tokens;
	unsigned max_waiting;              /* tokens that Keystone is being asked for */
	int64_t timeout_us;                /* for a token; a login that it needs included */
	struct metrics *metrics;           /* NULL: none */
};

/* [keystone_authtoken] and what [glint] says of it; ended by a NULL section. */
extern const struct conf_option keystone_options[];
/* Strings of @ret are borrowed from @conf and @a. ERR_INVALID says what is missing or wrong. Asks nobody. */
int keystone_settings(const struct conf *conf, struct arena *a, struct keystone_config *ret, struct err *err);

/* @config may go afterwards, but what it points to stays. */
int keystone_new(const struct keystone_config *config, struct keystone **ret, struct err *err);
/* Whoever waits is told now that Keystone cannot be asked. Waits for nobody; any thread. NULL is fine. */
void keystone_stop(struct keystone *k);
void keystone_free(struct keystone *k);
/* For the session of the same user: what else is asked of Keystone goes by these. */
struct transport *keystone_transport(struct keystone *k);
struct session *keystone_session(struct keystone *k);
const char *keystone_challenge(const struct keystone *k); /* of WWW-Authenticate */

/* The tokens of a request; borrowed. A service token is of use only if the user's has expired: then a service may
 * still finish in his name what he began. */
struct keystone_tokens {
	const char *user;
	const char *service; /* NULL: none */
};

enum keystone_answer { KEYSTONE_KNOWN, KEYSTONE_REFUSED, KEYSTONE_UNKNOWN };

/* By what is known already. KNOWN: *ret is owned by the caller. REFUSED: @err has it. UNKNOWN: ask. Never blocks. */
enum keystone_answer keystone_look(struct keystone *k, const struct keystone_tokens *tokens, struct identity **ret,
				   struct err *err);

/* Exactly one of @identity and @err, borrowed for the call. ERR_UNAUTHENTICATED and ERR_FORBIDDEN are Keystone's word;
 * anything else says that there is none (ERR_UNAVAILABLE). Must not block. */
typedef void keystone_fn(void *cls, struct identity *identity, const struct err *err);
/* Never blocks; @fn is called exactly once, from within this or on another thread, by the timeout. */
void keystone_ask(struct keystone *k, const struct keystone_tokens *tokens, keystone_fn *fn, void *cls);

/* SPDX-License-Identifier: Apache-2.0
 * keystone/token.h -- whose a token is, as Keystone says it. */
#pragma once

#include <stdatomic.h>

#include "access/who.h"

struct err;

/* Never changes once it is shared; shared by counting. */
struct identity {
	atomic_uint n_refs;
	int refusal;        /* 0, or why nobody is let in by this token: ERR_UNAUTHENTICATED, ERR_FORBIDDEN */
	int64_t expires_us; /* wall clock */
	struct who who;     /* without request_id and address */
	struct arena arena; /* of what `who` points to */
};

/* Keystone's answer to GET /v3/auth/tokens. ERR_UNAVAILABLE: this is none, so that nothing is known of the token.
 * Tokens that are scoped to no project and those that are good for some requests only are a refusal. */
int token_parse(const char *text, size_t n, struct identity **ret, struct err *err);

/* Nobody's: a token that Keystone does not know. NULL without memory. */
struct identity *identity_refused(int code);
struct identity *identity_ref(struct identity *i);
void identity_unref(struct identity *i);
void identity_unref_p(struct identity **i);
bool identity_has_role(const struct identity *i, const char *const *names); /* one of them; lower case */
/* Copies to @a, but leaves request_id and address of @ret alone. */
int identity_copy(const struct identity *i, struct arena *a, struct who *ret, struct err *err);

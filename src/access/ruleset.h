/* SPDX-License-Identifier: Apache-2.0
 * access/ruleset.h -- a property protection file, read. Room-internal.
 *
 * The format is Glance's, that is Python's configparser:
 *
 *   [^x_billing_]            a regular expression; it may match anywhere in the name of a property
 *   create = admin, billing  who may: names of roles; @ is everybody, ! and nothing at all is nobody
 *   read = @
 *   update = admin
 *   delete = !
 *
 * The sections are tried in the order of the file and the first one that matches decides. What none matches,
 * nobody may. [DEFAULT] says what sections say that leave it out. A file that we might read in another way
 * than Glance, and so open what it keeps shut, is refused. */
#pragma once

#include <stdatomic.h>

#include "base/arena.h"
#include "image/rights.h"

struct err;
struct ruleset_section;

struct ruleset {
	struct arena arena;
	struct ruleset_section *sections;
	size_t n_sections;
	atomic_uint refs;
};

/* What one section says of one action. */
struct ruleset_verdict {
	enum { FOR_NOBODY, FOR_EVERYBODY, FOR_ROLES, FOR_RULE } kind;
	const char *const *roles; /* FOR_ROLES: in lower case, NULL-terminated */
	const char *rule;         /* FOR_RULE: its name in the policy */
};

/* @path is what errors call it; @by_rules: the values are names of policy rules, one each. With one
 * reference. */
int ruleset_parse(const char *path, const char *text, size_t n, bool by_rules, struct ruleset **ret,
		  struct err *err);
struct ruleset *ruleset_ref(struct ruleset *rules);
void ruleset_unref(struct ruleset *rules); /* NULL is fine */

/* The section that decides about @property; n_sections: none does. Safe from several threads. @scratch: what
 * matching needs, made at the first call and kept for the next ones; ruleset_scratch_free(). */
struct ruleset_scratch;
size_t ruleset_find(const struct ruleset *rules, const char *property, struct ruleset_scratch **scratch);
void ruleset_scratch_free(struct ruleset_scratch *scratch); /* NULL is fine */

const struct ruleset_verdict *ruleset_verdict(const struct ruleset *rules, size_t section,
					      enum property_action action);

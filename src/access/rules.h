/* SPDX-License-Identifier: Apache-2.0
 * access/rules.h -- a set of rules: those that everybody has, and what files say over them. Made once, then
 * only read, by any number of threads. Asking takes no memory. */
#pragma once

#include "access/expr.h"
#include "access/policy.h"

struct err;

#define RULES_MAX 1024       /* in a set */
#define RULES_MAX_NAME 255   /* octets */
#define RULES_MAX_NESTING 16 /* rules that ask rules */
#define RULES_MAX_COST 4096  /* steps that one answer may take */

struct rule {
	const char *name, *text;
	const char *path; /* NULL: the default */
	unsigned line;
	struct expr expr;
	unsigned depth, cost; /* set by rules_link() */
};

struct rules {
	struct arena arena;
	struct rule *rules; /* the first N_POLICY_RULES are those of enum policy_rule */
	size_t n;
	bool is_linked;
};

/* What everybody has. @action is NULL for rules that this version never asks. */
struct rule_default {
	const char *name, *text, *action;
};
extern const struct rule_default rule_defaults[];
extern const size_t n_rule_defaults;

/* With the defaults in it. */
int rules_new(struct rules **ret, struct err *err);
void rules_free(struct rules *rs); /* NULL is fine */
void rules_free_p(struct rules **rs);

/* Sets @rule, or adds it. All it points to is in rs->arena, its expr too. */
int rules_set(struct rules *rs, const struct rule *rule, struct err *err);

/* After the last rule: looks up what they ask each other. ERR_INVALID for a rule that is not there, for
 * circles, and for what takes too long to answer. */
int rules_link(struct rules *rs, struct err *err);

const struct rule *rules_find(const struct rules *rs, const char *name); /* NULL: there is none */
bool rules_is_default(const struct rules *rs, const struct rule *rule); /* and so are those that it asks */
bool rules_allow(const struct rules *rs, const struct rule *rule, const struct who *who,
		 const struct policy_target *target);

/* SPDX-License-Identifier: Apache-2.0
 * access/expr.h -- the language of policy rules, oslo.policy's, and what a rule is compiled to.
 *
 *   role:admin or (role:member and project_id:%(owner)s and not 'public':%(visibility)s)
 *
 * oslo.policy takes what it cannot read for "never"; here it is an error, said when the file is read. */
#pragma once

#include "base/arena.h"

struct err;

#define EXPR_MAX_OCTETS 8192 /* of one rule */
#define EXPR_MAX_NESTING 32  /* brackets in brackets */
#define EXPR_MAX_CHECKS 512

/* What there is to know about a caller. */
enum credential {
	CREDENTIAL_LITERAL, /* none: a text that stands in the rule itself */
	CREDENTIAL_USER,
	CREDENTIAL_PROJECT,
	CREDENTIAL_USER_DOMAIN,
	CREDENTIAL_PROJECT_DOMAIN,
	CREDENTIAL_NONE,    /* what tokens of our kind never have: a domain or the system as their scope */
	CREDENTIAL_ROLES,
	CREDENTIAL_IS_ADMIN,
	CREDENTIAL_IS_ADMIN_PROJECT,
	CREDENTIAL_UNKNOWN, /* nobody has it: such a check never holds */
};

/* What there is to know about an image. */
enum target_attribute {
	TARGET_TEXT, /* none: a text that stands in the rule itself */
	TARGET_ID,
	TARGET_NAME,
	TARGET_STATUS,
	TARGET_VISIBILITY,
	TARGET_OWNER,
	TARGET_MEMBER,
	TARGET_PROTECTED,
	TARGET_HIDDEN,
	TARGET_MIN_DISK,
	TARGET_MIN_RAM,
	TARGET_SIZE,
	TARGET_VIRTUAL_SIZE,
	TARGET_DISK_FORMAT,
	TARGET_CONTAINER_FORMAT,
	TARGET_CHECKSUM,
	TARGET_HASH_ALGO,
	TARGET_HASH_VALUE,
	TARGET_PROPERTY, /* a custom one, by its name */
};

/* The right side of a check, in pieces: "x-%(owner)s" is a text and an attribute. */
struct expr_part {
	enum target_attribute attribute;
	const char *text; /* TARGET_TEXT: itself; TARGET_PROPERTY: the name */
};

enum step_kind {
	STEP_ALWAYS,
	STEP_NEVER,
	STEP_ROLE,        /* the caller has the role that parts make */
	STEP_RULE,        /* what rule @name says */
	STEP_EQUAL,       /* @credential (or @literal) is what parts make */
	STEP_NOT,
	STEP_SKIP_TRUE,   /* to step @to if it holds so far */
	STEP_SKIP_FALSE,
};

struct expr_step {
	enum step_kind kind;
	enum credential credential;
	const char *literal;
	const char *name;
	size_t rule; /* STEP_RULE: its index; whoever has all the rules fills it in */
	size_t to;
	const struct expr_part *parts;
	size_t n_parts;
};

/* Steps are taken in their order, each sets or reads one truth value; the last is the answer. */
struct expr {
	struct expr_step *steps;
	size_t n_steps;
};

/* @text: UTF-8. Everything goes to @a. ERR_INVALID says what is wrong with it. */
int expr_parse(const char *text, struct arena *a, struct expr *ret, struct err *err);

/* The older form: a list of lists of checks, any of which holds of which all hold. @lists: n_lists of them,
 * each ending with a NULL; an empty one is passed over. None at all is "always", only empty ones "never". */
int expr_from_lists(const char *const *const *lists, size_t n_lists, struct arena *a, struct expr *ret,
		    struct err *err);

/* SPDX-License-Identifier: Apache-2.0
 * access/protection.h -- property protections: which custom properties of images who may create, read, update
 * and delete, by [DEFAULT] property_protection_file. ruleset.h has the format.
 *
 * The file is read at the start and again when it has changed. One that is broken then, or gone, changes
 * nothing: the rules that were good stay, and the log says so, once. */
#pragma once

#include "access/who.h"
#include "base/arena.h"
#include "image/rights.h"

struct err;
struct protections;

/* Does the policy's rule @rule let @who pass? */
typedef bool protection_rule_fn(void *cls, const char *rule, const struct who *who);

struct protection_config {
	const char *path; /* borrowed as long as it is open */
	/* property_protection_rule_format = policies: the file names rules of the policy. NULL: roles. */
	protection_rule_fn *rule;
	void *cls;
};

/* ERR_INVALID: the file cannot be read, or not understood. */
int protections_check(const struct protection_config *config, struct err *err);
int protections_open(const struct protection_config *config, struct protections **ret, struct err *err);
void protections_close(struct protections *p); /* when nobody has rights any more; NULL is fine */
void protections_close_p(struct protections **p);

/* Read the file if it is not the one that was read last. True if other rules hold now. */
bool protections_refresh(struct protections *p);

/* What @who may do, by the rules of the time of the first question; for as long as @a lives, and @who with
 * his roles. One thread at a time. @p NULL gives NULL: properties are not protected. NULL in *ret is never
 * for want of memory. */
int protections_rights(struct protections *p, const struct who *who, struct arena *a,
		       const struct property_rights **ret, struct err *err);

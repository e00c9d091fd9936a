/* SPDX-License-Identifier: Apache-2.0
 * access/policy.h -- what who may: the rules of the Images API by their names, as default or as the operator's
 * files have them (rule_defaults.c, policy_files.c). */
#pragma once

#include "access/who.h"
#include "image/image.h"

struct err;
struct policy; /* the rules in force; NULL: the default ones */
struct rules;

enum policy_rule {
	POLICY_ADD_IMAGE,
	POLICY_DELETE_IMAGE,
	POLICY_GET_IMAGE,
	POLICY_GET_IMAGES,
	POLICY_MODIFY_IMAGE,
	POLICY_PUBLICIZE_IMAGE,
	POLICY_COMMUNITIZE_IMAGE,
	POLICY_DOWNLOAD_IMAGE,
	POLICY_UPLOAD_IMAGE,
	POLICY_DEACTIVATE,
	POLICY_REACTIVATE,
	POLICY_ADD_MEMBER,
	POLICY_DELETE_MEMBER,
	POLICY_GET_MEMBER,
	POLICY_GET_MEMBERS,
	POLICY_MODIFY_MEMBER,
	POLICY_COPY_IMAGE,
	POLICY_GET_IMAGE_LOCATION,
	POLICY_SET_IMAGE_LOCATION,
	POLICY_ADD_IMAGE_LOCATION,
	POLICY_FETCH_IMAGE_LOCATION,
	POLICY_DELETE_IMAGE_LOCATION,
	POLICY_TASKS_API_ACCESS,
	POLICY_GET_TASK,
	POLICY_GET_TASKS,
	POLICY_ADD_TASK,
	POLICY_SERVICE_API,
	POLICY_STORES_INFO_DETAIL,
	POLICY_CONTEXT_IS_ADMIN,
	N_POLICY_RULES
};

/* What a rule is asked about: a struct, with the image or for images in general, or NULL for what is no image
 * at all, of which nothing is known. */
struct policy_target {
	const struct image *image; /* NULL: images in general, the caller's own */
	bool is_member;            /* the caller's project is a member of it, whatever the status */
};

/* Which files there are. Everything is borrowed for the life of the policy. */
struct policy_config {
	const char *file;        /* NULL: none */
	const char *other_file;  /* read instead if @file is not there; NULL: none */
	bool file_may_be_absent; /* both of them */
	const char *const *dirs; /* whose files are read after it, by name; ends with NULL */
	bool dirs_may_be_absent;
};

/* Reads the files. ERR_INVALID, with file and line, for anything in them that is not understood. */
int policy_new(const struct policy_config *config, struct policy **ret, struct err *err);
void policy_free(struct policy *p); /* nobody asks it any more; NULL is fine */
void policy_free_p(struct policy **p);

/* From now on, until it is freed, looks every second or so whether the files have changed. What cannot be read
 * is logged and changes nothing. */
int policy_start(struct policy *p, struct err *err);
void policy_reload(struct policy *p); /* look now, and take for meant that files are gone */

/* The rules as they are, to look at: good until policy_start(). */
const struct rules *policy_rules(const struct policy *p);

const char *policy_name(enum policy_rule rule); /* "add_image" */
bool policy_is_default(struct policy *policy, enum policy_rule rule); /* and all that it asks */
bool policy_allows(struct policy *policy, enum policy_rule rule, const struct who *who,
		   const struct policy_target *target);

/* By its name, which may be one that only a file has; a rule that is nowhere is false. */
bool policy_allows_named(struct policy *policy, const char *rule, const struct who *who,
			 const struct policy_target *target);
bool policy_has(struct policy *policy, const char *rule);

/* ERR_FORBIDDEN "You may not ACTION image ID." unless it is allowed. */
int policy_check(struct policy *policy, enum policy_rule rule, const struct who *who, const struct policy_target *target,
		 struct err *err);

/* Makes an admin of @who, or not, as context_is_admin has it. Once, when it is known who asks. */
void policy_identify(struct policy *policy, struct who *who);

/* Is it his, public, shared with him, or he an admin? That is no rule: it is always so. */
bool policy_image_reaches(const struct who *who, const struct image *image, bool is_member);

/* May the caller know that the image exists, which reaches him and which get_image lets him see? If not, every route
 * answers 404. */
bool policy_image_visible(struct policy *policy, const struct who *who, const struct image *image, bool is_member);

/* SPDX-License-Identifier: Apache-2.0
 * access/policy.h -- what who may. The default rules of the Images API, by their names; the table
 * is facts about Glance's policy in code (its scope_types and RBAC defaults of 2022 and later). */
#pragma once

#include "access/who.h"
#include "image/image.h"

struct err;
struct policy; /* the rules in force; NULL: the default ones */

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
	POLICY_MODIFY_TASK,
	POLICY_SERVICE_API,
	POLICY_STORES_INFO_DETAIL,
	N_POLICY_RULES
};

/* What a rule is asked about. */
struct policy_target {
	const struct image *image; /* NULL: no image yet, or images in general */
	bool is_member;            /* the caller's project is a member of it, whatever the status */
};

const char *policy_name(enum policy_rule rule); /* "add_image" */
bool policy_allows(struct policy *policy, enum policy_rule rule, const struct who *who, const struct policy_target *target);

/* By its name, which may be one that only a policy file has; a rule that nobody has is false. */
bool policy_allows_named(struct policy *policy, const char *rule, const struct who *who,
			 const struct policy_target *target);

/* ERR_FORBIDDEN "You may not ACTION image ID." unless it is allowed. */
int policy_check(struct policy *policy, enum policy_rule rule, const struct who *who, const struct policy_target *target,
		 struct err *err);

/* May the caller know that the image exists? If not, every route answers 404. */
bool policy_image_visible(struct policy *policy, const struct who *who, const struct image *image, bool is_member);

/* SPDX-License-Identifier: Apache-2.0
 * access/policy.c -- the default policy rules as a table of what each one asks for. */
#include "access/policy.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"

/* An admin passes every rule. Anybody else needs the role and the relation to the image. */
enum relation {
	REL_NONE,           /* none is asked for: the database shows only what is the caller's to see */
	REL_OWN,            /* the image belongs to the caller's project */
	REL_VISIBLE,        /* own, shared with the caller, or of a visibility that others may see */
	REL_OWN_OR_MEMBER,
	REL_MEMBER,
	REL_NOBODY,         /* admins alone */
};

static const struct {
	const char *name, *action;
	enum role role;
	enum relation relation;
	bool or_service; /* the role service will do, too */
} rules[N_POLICY_RULES] = {
	[POLICY_ADD_IMAGE] = {"add_image", "create", ROLE_MEMBER, REL_OWN},
	[POLICY_DELETE_IMAGE] = {"delete_image", "delete", ROLE_MEMBER, REL_OWN},
	[POLICY_GET_IMAGE] = {"get_image", "see", ROLE_READER, REL_VISIBLE},
	[POLICY_GET_IMAGES] = {"get_images", "list", ROLE_READER, REL_NONE},
	[POLICY_MODIFY_IMAGE] = {"modify_image", "change", ROLE_MEMBER, REL_OWN},
	[POLICY_PUBLICIZE_IMAGE] = {"publicize_image", "publish", ROLE_ADMIN, REL_NOBODY},
	[POLICY_COMMUNITIZE_IMAGE] = {"communitize_image", "make a community image of", ROLE_MEMBER, REL_OWN},
	[POLICY_DOWNLOAD_IMAGE] = {"download_image", "download", ROLE_MEMBER, REL_VISIBLE},
	[POLICY_UPLOAD_IMAGE] = {"upload_image", "upload data to", ROLE_MEMBER, REL_OWN},
	[POLICY_DEACTIVATE] = {"deactivate", "deactivate", ROLE_MEMBER, REL_OWN},
	[POLICY_REACTIVATE] = {"reactivate", "reactivate", ROLE_MEMBER, REL_OWN},
	[POLICY_ADD_MEMBER] = {"add_member", "add members to", ROLE_MEMBER, REL_OWN},
	[POLICY_DELETE_MEMBER] = {"delete_member", "remove members from", ROLE_MEMBER, REL_OWN},
	[POLICY_GET_MEMBER] = {"get_member", "see members of", ROLE_READER, REL_OWN_OR_MEMBER},
	[POLICY_GET_MEMBERS] = {"get_members", "list members of", ROLE_READER, REL_OWN_OR_MEMBER},
	[POLICY_COPY_IMAGE] = {"copy_image", "copy", ROLE_ADMIN, REL_NOBODY},
	[POLICY_GET_IMAGE_LOCATION] = {"get_image_location", "see the locations of", ROLE_READER, REL_OWN},
	[POLICY_DELETE_IMAGE_LOCATION] = {"delete_image_location", "remove locations of", ROLE_ADMIN, REL_NOBODY},
	[POLICY_SET_IMAGE_LOCATION] = {"set_image_location", "set locations of", ROLE_MEMBER, REL_OWN},
	[POLICY_ADD_IMAGE_LOCATION] = {"add_image_location", "add locations to", ROLE_MEMBER, REL_OWN, true},
	[POLICY_FETCH_IMAGE_LOCATION] = {"fetch_image_location", "fetch the locations of", ROLE_SERVICE, REL_NONE},
	[POLICY_TASKS_API_ACCESS] = {"tasks_api_access", "use the tasks of", ROLE_ADMIN, REL_NOBODY},
	[POLICY_GET_TASK] = {"get_task", "see tasks of", 0, REL_NONE},
	[POLICY_GET_TASKS] = {"get_tasks", "list tasks of", 0, REL_NONE},
	[POLICY_ADD_TASK] = {"add_task", "make tasks for", 0, REL_NONE},
	[POLICY_MODIFY_TASK] = {"modify_task", "change tasks of", 0, REL_NONE},
	[POLICY_SERVICE_API] = {"service_api", "use the service interface of", ROLE_SERVICE, REL_NONE},
	[POLICY_STORES_INFO_DETAIL] = {"stores_info_detail", "see the details of the stores of", ROLE_SERVICE, REL_NONE},
	[POLICY_MODIFY_MEMBER] = {"modify_member", "change members of", ROLE_MEMBER, REL_MEMBER},
};

static bool relation_holds(enum relation relation, const struct who *who, const struct policy_target *target)
{
	bool own = target && target->image && who_owns(who, target->image->owner);
	bool member = target && target->is_member;

	switch (relation) {
	case REL_NONE:
		return true;
	case REL_OWN:
		return own;
	case REL_VISIBLE:
		return own || member || (target && target->image && target->image->visibility != IMAGE_PRIVATE);
	case REL_OWN_OR_MEMBER:
		return own || member;
	case REL_MEMBER:
		return member;
	case REL_NOBODY:
		return false;
	}
	return false;
}

const char *policy_name(enum policy_rule rule)
{
	assert(rule < N_POLICY_RULES);
	return rules[rule].name;
}

bool policy_allows(struct policy *policy, enum policy_rule rule, const struct who *who, const struct policy_target *target)
{
	assert(rule < N_POLICY_RULES);
	if (who_is_admin(who))
		return true;
	if (rules[rule].or_service && (who->roles & ROLE_SERVICE))
		return true;
	if (rules[rule].role && !(who->roles & rules[rule].role))
		return false;
	return relation_holds(rules[rule].relation, who, target);
}

bool policy_allows_named(struct policy *policy, const char *rule, const struct who *who,
			 const struct policy_target *target)
{
	for (enum policy_rule i = 0; i < N_POLICY_RULES; i++)
		if (strcmp(rules[i].name, rule) == 0)
			return policy_allows(policy, i, who, target);
	return false;
}

int policy_check(struct policy *policy, enum policy_rule rule, const struct who *who, const struct policy_target *target,
		 struct err *err)
{
	if (policy_allows(policy, rule, who, target))
		return 0;
	if (!target || !target->image || !*target->image->id)
		return err_set(err, ERR_FORBIDDEN, "You may not %s images.", rules[rule].action);
	return err_set(err, ERR_FORBIDDEN, "You may not %s image %s.", rules[rule].action, target->image->id);
}

/* An image without an owner is everybody's to see, as in Glance. */
static bool image_reaches(const struct who *who, const struct image *image, bool is_member)
{
	if (!image->owner || who_owns(who, image->owner))
		return true;
	if (image->visibility == IMAGE_PUBLIC || image->visibility == IMAGE_COMMUNITY)
		return true;
	return image->visibility == IMAGE_SHARED && is_member;
}

bool policy_image_visible(struct policy *policy, const struct who *who, const struct image *image, bool is_member)
{
	struct policy_target target = {image, is_member};

	if (who_is_admin(who))
		return true;
	return image_reaches(who, image, is_member) && policy_allows(policy, POLICY_GET_IMAGE, who, &target);
}

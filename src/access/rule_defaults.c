/* SPDX-License-Identifier: Apache-2.0
 * access/rule_defaults.c -- the rules of the Images API by their names, with Glance's defaults (those of its
 * secure RBAC, scope project). The rules of what is not there yet are listed so that files which have them can
 * be read and shown. */
#include "access/rules.h"

#define MEMBER_OF_OWNER "role:admin or (role:member and project_id:%(project_id)s)"
#define READER_OF_OWNER "role:admin or (role:reader and project_id:%(project_id)s)"
#define REACHED                                                                                                        \
	"(project_id:%(project_id)s or project_id:%(member_id)s or 'community':%(visibility)s"                         \
	" or 'public':%(visibility)s or 'shared':%(visibility)s)"
#define NAMESPACE "role:admin or (role:reader and (project_id:%(project_id)s or 'public':%(visibility)s))"

/* The order of those with an action is that of enum policy_rule. */
const struct rule_default rule_defaults[] = {
	{"add_image", "role:admin or (role:member and project_id:%(project_id)s and project_id:%(owner)s)", "create"},
	{"delete_image", MEMBER_OF_OWNER, "delete"},
	{"get_image", "role:admin or (role:reader and " REACHED ")", "see"},
	{"get_images", READER_OF_OWNER, "list"},
	{"modify_image", MEMBER_OF_OWNER, "change"},
	{"publicize_image", "role:admin", "publish"},
	{"communitize_image", MEMBER_OF_OWNER, "make a community image of"},
	{"download_image", "role:admin or (role:member and " REACHED ")", "download"},
	{"upload_image", MEMBER_OF_OWNER, "upload data to"},
	{"deactivate", MEMBER_OF_OWNER, "deactivate"},
	{"reactivate", MEMBER_OF_OWNER, "reactivate"},
	{"add_member", MEMBER_OF_OWNER, "add members to"},
	{"delete_member", MEMBER_OF_OWNER, "remove members from"},
	{"get_member", "role:admin or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)",
	 "see members of"},
	{"get_members", "role:admin or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)",
	 "list members of"},
	{"modify_member", "role:admin or (role:member and project_id:%(member_id)s)", "change members of"},
	{"copy_image", "role:admin", "copy"},
	{"get_image_location", READER_OF_OWNER, "see the locations of"},
	{"set_image_location", MEMBER_OF_OWNER, "set locations of"},
	{"add_image_location",
	 "rule:service_api or (role:member and project_id:%(project_id)s and project_id:%(owner)s)", "add locations to"},
	{"fetch_image_location", "rule:service_api", "fetch the locations of"},
	{"delete_image_location", "role:admin", "remove locations of"},
	{"tasks_api_access", "role:admin", "use the tasks of"},
	{"get_task", "rule:default", "see tasks of"},
	{"get_tasks", "rule:default", "list tasks of"},
	{"add_task", "rule:default", "make tasks for"},
	{"service_api", "role:service or role:admin", "use the service interface of"},
	{"stores_info_detail", "role:admin or rule:service_api", "see the details of the stores of"},
	{"context_is_admin", "role:admin", "act as an admin of"},

	{"default", "", NULL},
	{"modify_task", "rule:default", NULL},
	{"download_from_store", "role:admin or (role:member and " REACHED ")", NULL},
	{"manage_image_cache", "role:admin", NULL},
	{"cache_image", "role:admin", NULL},
	{"cache_list", "role:admin", NULL},
	{"cache_delete", "role:admin", NULL},
	{"cache_clean", "role:admin", NULL},
	{"cache_prune", "role:admin", NULL},
	{"list_cached_nodes", "role:admin", NULL},
	{"metadef_default", "", NULL},
	{"metadef_admin", "role:admin", NULL},
	{"get_metadef_namespaces", READER_OF_OWNER, NULL},
	{"get_metadef_namespace", NAMESPACE, NULL},
	{"modify_metadef_namespace", "rule:metadef_admin", NULL},
	{"add_metadef_namespace", "rule:metadef_admin", NULL},
	{"delete_metadef_namespace", "rule:metadef_admin", NULL},
	{"get_metadef_object", NAMESPACE, NULL},
	{"get_metadef_objects", NAMESPACE, NULL},
	{"modify_metadef_object", "rule:metadef_admin", NULL},
	{"add_metadef_object", "rule:metadef_admin", NULL},
	{"delete_metadef_object", "rule:metadef_admin", NULL},
	{"list_metadef_resource_types", NAMESPACE, NULL},
	{"get_metadef_resource_type", NAMESPACE, NULL},
	{"add_metadef_resource_type_association", "rule:metadef_admin", NULL},
	{"remove_metadef_resource_type_association", "rule:metadef_admin", NULL},
	{"get_metadef_property", NAMESPACE, NULL},
	{"get_metadef_properties", NAMESPACE, NULL},
	{"modify_metadef_property", "rule:metadef_admin", NULL},
	{"add_metadef_property", "rule:metadef_admin", NULL},
	{"remove_metadef_property", "rule:metadef_admin", NULL},
	{"get_metadef_tag", NAMESPACE, NULL},
	{"get_metadef_tags", NAMESPACE, NULL},
	{"modify_metadef_tag", "rule:metadef_admin", NULL},
	{"add_metadef_tag", "rule:metadef_admin", NULL},
	{"add_metadef_tags", "rule:metadef_admin", NULL},
	{"delete_metadef_tag", "rule:metadef_admin", NULL},
	{"delete_metadef_tags", "rule:metadef_admin", NULL},
};
const size_t n_rule_defaults = ARRAY_LEN(rule_defaults);

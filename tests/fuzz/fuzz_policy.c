/* SPDX-License-Identifier: Apache-2.0
 * fuzz_policy.c -- whatever a policy file contains, it is refused with a sentence or all its rules can be asked, about
 * an image and about none, and say the same when they are asked again. */
#include "access/policy_files.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct rules *rs, const struct who *who, const struct policy_target *target)
{
	for (size_t i = 0; i < rs->n; i++) {
		const struct rule *rule = &rs->rules[i];
		bool allowed = rules_allow(rs, rule, who, target);

		assert(rule->cost <= RULES_MAX_COST && rule->depth <= RULES_MAX_NESTING);
		assert(allowed == rules_allow(rs, rule, who, target));
		assert(!rule->path || (strcmp(rule->path, "p.yaml") == 0 && rule->line > 0));
		assert(strlen(rule->name) <= RULES_MAX_NAME && rule->text);
	}
}

static void ask_everything(const struct rules *rs)
{
	static const char *const roles[] = {"member", "reader", NULL};
	const struct who nobody = {0}, member = {.role_names = roles, .user_id = "u", .project_id = "p"};
	struct image_property property = {"os", "linux"};
	struct image image;
	struct policy_target about = {&image, true}, in_general = {0};

	image_init(&image);
	image.owner = "p";
	image.properties = &property;
	image.n_properties = 1;
	ask(rs, &nobody, NULL);
	ask(rs, &nobody, &about);
	ask(rs, &member, &about);
	ask(rs, &member, &in_general);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(rules_free_p) struct rules *rs = NULL;
	struct err err = {0};
	int r = rules_new(&rs, &err);

	assert(r == 0);
	r = policy_text_read("p.yaml", (const char *)data, size, rs, &err);
	if (r == 0)
		r = rules_link(rs, &err);
	if (r == 0)
		ask_everything(rs);
	else
		assert(r == ERR_INVALID && *err.text);
	return 0;
}

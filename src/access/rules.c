/* SPDX-License-Identifier: Apache-2.0
 * access/rules.c -- a set of rules. What they ask each other is looked up when the set is complete; from then
 * on no answer takes more than RULES_MAX_COST steps or goes deeper than RULES_MAX_NESTING. */
#include "access/rules.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

static int set_default(struct rules *rs, const struct rule_default *d, struct err *err)
{
	struct rule rule = {.name = d->name, .text = d->text};
	int r = expr_parse(d->text, &rs->arena, &rule.expr, err);

	return r < 0 ? r : rules_set(rs, &rule, err);
}

int rules_new(struct rules **ret, struct err *err)
{
	AUTO(rules_free_p) struct rules *rs = calloc(1, sizeof(*rs));
	int r = 0;

	if (!rs)
		return err_nomem(err);
	rs->rules = calloc(RULES_MAX, sizeof(*rs->rules));
	if (!rs->rules)
		return err_nomem(err);
	for (size_t i = 0; i < n_rule_defaults && r == 0; i++)
		r = set_default(rs, &rule_defaults[i], err);
	if (r == 0)
		*ret = TAKE(rs);
	return r;
}

void rules_free(struct rules *rs)
{
	if (!rs)
		return;
	arena_done(&rs->arena);
	free(rs->rules);
	free(rs);
}

void rules_free_p(struct rules **rs)
{
	rules_free(*rs);
}

static size_t find(const struct rules *rs, const char *name)
{
	size_t i = 0;

	while (i < rs->n && strcmp(rs->rules[i].name, name) != 0)
		i++;
	return i;
}

const struct rule *rules_find(const struct rules *rs, const char *name)
{
	size_t i = find(rs, name);

	return i < rs->n ? &rs->rules[i] : NULL;
}

int rules_set(struct rules *rs, const struct rule *rule, struct err *err)
{
	size_t i = find(rs, rule->name);

	if (i == RULES_MAX)
		return err_set(err, ERR_INVALID, "there are more than %d rules", RULES_MAX);
	rs->rules[i] = *rule;
	rs->rules[i].depth = 0;
	if (i == rs->n)
		rs->n++;
	return 0;
}

/* -- linking -------------------------------------------------------------------------------------- */

#define UNDER_WAY (RULES_MAX_NESTING + 2) /* as a depth: its own answer is being looked for */

static int complain(const struct rule *rule, struct err *err, const char *what, const char *name)
{
	if (rule->path)
		return err_set(err, ERR_INVALID, "%s:%u: rule %s %s %.100s", rule->path, rule->line, rule->name, what, name);
	return err_set(err, ERR_INVALID, "rule %s %s %.100s", rule->name, what, name);
}

static int link_rule(struct rules *rs, struct rule *rule, unsigned level, struct err *err);

/* One that asks another: that is an answer deeper, and costs what the other one costs. */
static int link_call(struct rules *rs, struct rule *rule, const char *name, unsigned level, size_t *ret_index,
		     unsigned *depth, struct err *err)
{
	struct rule *other;
	int r;

	*ret_index = find(rs, name);
	if (*ret_index == rs->n)
		return complain(rule, err, "asks a rule that is not there:", name);
	other = &rs->rules[*ret_index];
	if (other->depth == UNDER_WAY)
		return complain(rule, err, "asks in a circle, by way of rule", name);
	if (level > RULES_MAX_NESTING)
		return complain(rule, err, "goes on too long a way by rule", name);
	r = link_rule(rs, other, level + 1, err);
	if (r < 0)
		return r;
	rule->cost += other->cost;
	if (other->depth + 1 > *depth)
		*depth = other->depth + 1;
	return 0;
}

static int link_rule(struct rules *rs, struct rule *rule, unsigned level, struct err *err)
{
	unsigned depth = 1;
	size_t unused;
	int r = 0;

	if (rule->depth > 0)
		return 0;
	rule->depth = UNDER_WAY;
	rule->cost = (unsigned)rule->expr.n_steps;
	for (size_t i = 0; i < rule->expr.n_steps && r == 0; i++) {
		struct expr_step *step = &rule->expr.steps[i];

		if (step->kind == STEP_RULE)
			r = link_call(rs, rule, step->name, level, &step->rule, &depth, err);
		else if (step->kind == STEP_EQUAL && step->credential == CREDENTIAL_IS_ADMIN)
			r = link_call(rs, rule, "context_is_admin", level, &unused, &depth, err);
		if (r == 0 && rule->cost > RULES_MAX_COST)
			r = complain(rule, err, "takes too many steps to answer", "");
	}
	rule->depth = depth;
	if (r == 0 && depth > RULES_MAX_NESTING)
		r = complain(rule, err, "goes on too long a way", "");
	return r;
}

int rules_link(struct rules *rs, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < rs->n; i++)
		rs->rules[i].depth = 0;
	for (size_t i = 0; i < rs->n && r == 0; i++)
		r = link_rule(rs, &rs->rules[i], 1, err);
	rs->is_linked = r == 0;
	return r;
}

bool rules_is_default(const struct rules *rs, const struct rule *rule)
{
	if (rule->path)
		return false;
	for (size_t i = 0; i < rule->expr.n_steps; i++)
		if (rule->expr.steps[i].kind == STEP_RULE && !rules_is_default(rs, &rs->rules[rule->expr.steps[i].rule]))
			return false;
	return true;
}

/* -- what is known of an image -------------------------------------------------------------------- */

/* A text, or that there is none: then the check does not hold; or null, which Python writes None. */
struct value {
	const char *text; /* NULL: there is no such attribute */
	bool is_null;
	char number[24];
};

static void set_text(struct value *v, const char *text)
{
	v->is_null = !text;
	v->text = text ? text : "None";
}

static void set_number(struct value *v, int64_t number, bool is_null)
{
	snprintf(v->number, sizeof(v->number), "%lld", (long long)number);
	set_text(v, is_null ? NULL : v->number);
}

static void set_property(struct value *v, const struct image *image, const char *name)
{
	const struct image_property *p = image_find_property(image, name);

	v->text = NULL;
	if (p)
		set_text(v, p->value);
}

/* Of images in general it is known that they are the caller's own. */
static void value_in_general(struct value *v, enum target_attribute attribute, const struct who *who)
{
	v->is_null = false;
	v->text = NULL;
	if (attribute == TARGET_OWNER)
		v->text = who->project_id ? who->project_id : "None";
	else if (attribute == TARGET_VISIBILITY)
		v->text = image_visibility_name(IMAGE_PRIVATE);
}

static void value_of_image(struct value *v, const struct expr_part *part, const struct who *who,
			   const struct policy_target *target)
{
	const struct image *image = target->image;

	switch (part->attribute) {
	case TARGET_TEXT:
		set_text(v, part->text);
		break;
	case TARGET_ID:
		set_text(v, *image->id ? image->id : NULL);
		break;
	case TARGET_NAME:
		set_text(v, image->name);
		break;
	case TARGET_STATUS:
		set_text(v, image_status_name(image->status));
		break;
	case TARGET_VISIBILITY:
		set_text(v, image_visibility_name(image->visibility));
		break;
	case TARGET_OWNER:
		set_text(v, image->owner);
		break;
	case TARGET_MEMBER:
		set_text(v, target->is_member ? who->project_id : NULL);
		break;
	case TARGET_PROTECTED:
		set_text(v, image->is_protected ? "True" : "False");
		break;
	case TARGET_HIDDEN:
		set_text(v, image->os_hidden ? "True" : "False");
		break;
	case TARGET_MIN_DISK:
		set_number(v, image->min_disk, false);
		break;
	case TARGET_MIN_RAM:
		set_number(v, image->min_ram, false);
		break;
	case TARGET_SIZE:
		set_number(v, image->size, image->size == IMAGE_SIZE_UNKNOWN);
		break;
	case TARGET_VIRTUAL_SIZE:
		set_number(v, image->virtual_size, image->virtual_size == IMAGE_SIZE_UNKNOWN);
		break;
	case TARGET_DISK_FORMAT:
		set_text(v, image->disk_format);
		break;
	case TARGET_CONTAINER_FORMAT:
		set_text(v, image->container_format);
		break;
	case TARGET_CHECKSUM:
		set_text(v, image->checksum);
		break;
	case TARGET_HASH_ALGO:
		set_text(v, image->os_hash_algo);
		break;
	case TARGET_HASH_VALUE:
		set_text(v, image->os_hash_value);
		break;
	case TARGET_PROPERTY:
		set_property(v, image, part->text);
		break;
	}
}

/* Never @v->text of the image's own null unless @nulls: who has no project does not own what nobody owns, as
 * "None" and "None" would have it. */
static bool value_of(struct value *v, const struct expr_part *part, const struct who *who,
		     const struct policy_target *target, bool nulls)
{
	v->text = NULL;
	if (part->attribute == TARGET_TEXT)
		set_text(v, part->text);
	else if (target && target->image)
		value_of_image(v, part, who, target);
	else if (target)
		value_in_general(v, part->attribute, who);
	return v->text && (nulls || !v->is_null);
}

/* -- checks --------------------------------------------------------------------------------------- */

/* Is @text what the parts of @step make? */
static bool matches(const struct expr_step *step, const struct who *who, const struct policy_target *target,
		    const char *text, bool nulls, int (*compare)(const char *, const char *, size_t))
{
	for (size_t i = 0; i < step->n_parts; i++) {
		struct value v;
		size_t n;

		if (!value_of(&v, &step->parts[i], who, target, nulls))
			return false;
		n = strlen(v.text);
		if (compare(text, v.text, n) != 0)
			return false;
		text += n;
	}
	return *text == '\0';
}

/* With @any_case as roles are compared by their checks: lower case is all that a caller's have. */
static bool has_role(const struct expr_step *step, const struct who *who, const struct policy_target *target,
		     bool any_case)
{
	const char *const *name = who->role_names;

	for (; name && *name; name++)
		if (matches(step, who, target, *name, any_case, any_case ? strncasecmp : strncmp))
			return true;
	return false;
}

static bool is_equal(const struct expr_step *step, const struct who *who, const struct policy_target *target)
{
	const char *text = NULL;

	switch (step->credential) {
	case CREDENTIAL_LITERAL:
		return matches(step, who, target, step->literal, true, strncmp);
	case CREDENTIAL_USER:
		text = who->user_id;
		break;
	case CREDENTIAL_PROJECT:
		text = who->project_id;
		break;
	case CREDENTIAL_USER_DOMAIN:
		text = who->user_domain_id;
		break;
	case CREDENTIAL_PROJECT_DOMAIN:
		text = who->project_domain_id;
		break;
	case CREDENTIAL_ROLES:
		return has_role(step, who, target, false);
	case CREDENTIAL_IS_ADMIN:
		text = who_is_admin(who) ? "True" : "False";
		break;
	case CREDENTIAL_IS_ADMIN_PROJECT: /* as oslo.context has it when Keystone does not say */
		text = "True";
		break;
	case CREDENTIAL_NONE:
		break;
	case CREDENTIAL_UNKNOWN:
		return false;
	}
	return matches(step, who, target, text ? text : "None", false, strncmp);
}

bool rules_allow(const struct rules *rs, const struct rule *rule, const struct who *who,
		 const struct policy_target *target)
{
	bool holds = false;

	assert(rs->is_linked);
	for (size_t i = 0; i < rule->expr.n_steps; i++) {
		const struct expr_step *step = &rule->expr.steps[i];

		switch (step->kind) {
		case STEP_ALWAYS:
		case STEP_NEVER:
			holds = step->kind == STEP_ALWAYS;
			break;
		case STEP_ROLE:
			holds = has_role(step, who, target, true);
			break;
		case STEP_RULE:
			holds = rules_allow(rs, &rs->rules[step->rule], who, target);
			break;
		case STEP_EQUAL:
			holds = is_equal(step, who, target);
			break;
		case STEP_NOT:
			holds = !holds;
			break;
		case STEP_SKIP_TRUE:
		case STEP_SKIP_FALSE:
			if (holds == (step->kind == STEP_SKIP_TRUE))
				i = step->to - 1;
			break;
		}
	}
	return holds;
}

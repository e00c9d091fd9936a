/* SPDX-License-Identifier: Apache-2.0
 * cmd/policy.c -- `glint policy`: the rules as `glint serve` would have them, and what they say to whom. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "access/rules.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/policy_image.h"

#define DENIED 3 /* exit status */
#define MAX_QUESTION ((size_t)1 << 20)

static const char help[] =
	"usage: glint policy show [RULE] [--config-file FILE]\n"
	"       glint policy check --rule RULE [--user ID] [--project ID] [--roles A,B] [IMAGE...] [--config-file FILE]\n"
	"       glint policy check --batch [--config-file FILE]\n"
	"\n"
	"  show      the rules, or one of them: its text, and whether that is the default or from which line of\n"
	"            which file\n"
	"  check     may who has these roles in this project do it, and by which rules? Exit status: 0 if so, 3 if\n"
	"            not. IMAGE is what is known of the image: --owner, --visibility (private), --status (active),\n"
	"            --member (it is shared with the project), or --image-json FILE as the API shows it. --batch\n"
	"            reads questions from standard input, one JSON object a line:\n"
	"            {\"rule\": ..., \"user\": ..., \"project\": ..., \"roles\": [...], \"image\": {...}, \"member\": true}\n";

struct question {
	const char *rule;
	struct who who;
	struct image image;
	struct policy_target target;
	bool about_image;
};

/* -- show ----------------------------------------------------------------------------------------- */

static void print_source(const struct rule *rule)
{
	if (rule->path)
		printf("%s:%u", rule->path, rule->line);
	else
		printf("default");
}

static void print_rule(const struct rules *rs, const struct rule *rule)
{
	size_t i = (size_t)(rule - rs->rules);

	printf("%s: \"%s\"\n    ", rule->name, rule->text);
	print_source(rule);
	if (i < n_rule_defaults && !rule_defaults[i].action && strcmp(rule->name, "default") != 0)
		printf("; not asked by this version");
	printf("\n");
}

static int show(const struct policy *policy, const char *name, struct err *err)
{
	const struct rules *rs = policy_rules(policy);
	const struct rule *rule = name ? rules_find(rs, name) : NULL;

	if (name && !rule)
		return err_set(err, ERR_NOT_FOUND, "there is no rule %s", name);
	for (size_t i = 0; i < rs->n; i++)
		if (!rule || rule == &rs->rules[i])
			print_rule(rs, &rs->rules[i]);
	return 0;
}

/* -- check ---------------------------------------------------------------------------------------- */

/* As the service asks: about an image, about images in general, or about nothing of the kind. */
static const struct policy_target *target_of(struct question *q)
{
	q->target.image = q->about_image ? &q->image : NULL;
	return q->about_image || strcmp(q->rule, policy_name(POLICY_GET_IMAGES)) == 0 ? &q->target : NULL;
}

static int answer(const struct policy *policy, struct question *q, const struct rule **ret_rule, bool *ret,
		  struct err *err)
{
	const struct rules *rs = policy_rules(policy);
	const struct rule *admin = rules_find(rs, policy_name(POLICY_CONTEXT_IS_ADMIN));

	*ret_rule = rules_find(rs, q->rule);
	if (!*ret_rule)
		return err_set(err, ERR_NOT_FOUND, "there is no rule %.100s", q->rule);
	q->who.roles &= ~(unsigned)ROLE_ADMIN;
	q->who.roles |= rules_allow(rs, admin, &q->who, NULL) ? ROLE_ADMIN : 0;
	*ret = rules_allow(rs, *ret_rule, &q->who, target_of(q));
	return 0;
}

static void explain(const struct rules *rs, const struct rule *rule, struct question *q, unsigned depth)
{
	printf("%*s%s: %s: \"%s\" (", (int)depth * 2, "", rule->name,
	       rules_allow(rs, rule, &q->who, target_of(q)) ? "yes" : "no", rule->text);
	print_source(rule);
	printf(")\n");
	for (size_t i = 0; i < rule->expr.n_steps; i++)
		if (rule->expr.steps[i].kind == STEP_RULE)
			explain(rs, &rs->rules[rule->expr.steps[i].rule], q, depth + 1);
}

/* An admin sees all images, others those that reach them; a rule is not asked about the rest. */
static void explain_sight(const struct question *q)
{
	const struct image *image = &q->image;
	bool reached = !image->owner || who_owns(&q->who, image->owner) || image->visibility == IMAGE_PUBLIC ||
		       image->visibility == IMAGE_COMMUNITY ||
		       (image->visibility == IMAGE_SHARED && q->target.is_member);

	if (q->about_image && !reached && !who_is_admin(&q->who))
		printf("but this image does not reach the caller: it answers 404 whatever the rule says\n");
}

static int check(const struct policy *policy, struct question *q, struct err *err)
{
	const struct rule *rule;
	bool allowed;
	int r = answer(policy, q, &rule, &allowed, err);

	if (r < 0)
		return r;
	printf("%s\n", allowed ? "allowed" : "denied");
	explain(policy_rules(policy), rule, q, 1);
	explain_sight(q);
	return allowed ? CMD_OK : DENIED;
}

static int set_roles(struct question *q, char *list, struct arena *a, struct err *err)
{
	char **names = arena_alloc(a, (strlen(list) + 1) * sizeof(*names));
	size_t n = 0;

	if (!names)
		return err_nomem(err);
	for (char *name; (name = strsep(&list, ","));)
		if (*name)
			names[n++] = name;
	return who_set_roles(&q->who, names, n, a, err);
}

/* -- batch ---------------------------------------------------------------------------------------- */

static int json_roles(struct question *q, const json_t *list, struct arena *a, struct err *err)
{
	char **names = arena_alloc(a, (json_array_size(list) + 1) * sizeof(*names));

	if (!names)
		return err_nomem(err);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));

		names[i] = arena_strdup(a, name ? name : "");
		if (!names[i])
			return err_nomem(err);
	}
	return who_set_roles(&q->who, names, json_array_size(list), a, err);
}

static int read_question(const json_t *line, struct question *q, struct arena *a, struct err *err)
{
	const json_t *image = json_object_get(line, "image");

	*q = (struct question){.rule = json_string_value(json_object_get(line, "rule"))};
	if (!q->rule)
		return err_set(err, ERR_INVALID, "a question has to have a rule");
	q->who.user_id = json_string_value(json_object_get(line, "user"));
	q->who.project_id = json_string_value(json_object_get(line, "project"));
	q->who.user_domain_id = json_string_value(json_object_get(line, "user_domain"));
	q->who.project_domain_id = json_string_value(json_object_get(line, "project_domain"));
	q->target.is_member = json_is_true(json_object_get(line, "member"));
	q->about_image = json_is_object(image);
	if (q->about_image && policy_image(image, a, &q->image, err) < 0)
		return err->code;
	return json_roles(q, json_object_get(line, "roles"), a, err);
}

static int batch_line(const struct policy *policy, const char *text, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	const struct rule *rule;
	struct question q;
	bool allowed;
	int r = line ? read_question(line, &q, &a, err) : err_set(err, ERR_INVALID, "a line is not JSON");

	if (r == 0)
		r = answer(policy, &q, &rule, &allowed, err);
	if (r == 0)
		puts(allowed ? "allowed" : "denied");
	json_decref(line);
	return r;
}

static int batch(const struct policy *policy, struct err *err)
{
	AUTO(free_p) char *text = NULL;
	size_t size = 0;
	int r = 0;

	while (r == 0 && getline(&text, &size, stdin) > 0)
		r = size > MAX_QUESTION ? err_set(err, ERR_TOO_LARGE, "a line is too long") : batch_line(policy, text, err);
	return r;
}

/* -- the command ---------------------------------------------------------------------------------- */

struct words {
	struct location_args where;
	const char *rule, *user, *project, *roles, *owner, *visibility, *status, *image_json;
	bool member, batch;
};

static int make_question(const struct words *w, struct question *q, struct arena *a, struct err *err)
{
	char *list = arena_strdup(a, w->roles ? w->roles : "");
	int r = 0;

	*q = (struct question){.rule = w->rule, .who = {.user_id = w->user, .project_id = w->project}};
	q->target.is_member = w->member;
	q->about_image = w->owner || w->visibility || w->status || w->image_json || w->member;
	image_init(&q->image);
	q->image.status = IMAGE_ACTIVE;
	q->image.visibility = w->member ? IMAGE_SHARED : IMAGE_PRIVATE;
	if (w->image_json)
		r = policy_image_file(w->image_json, a, &q->image, err);
	if (w->owner)
		q->image.owner = w->owner;
	if (r == 0 && w->visibility && !image_visibility_parse(w->visibility, &q->image.visibility))
		r = err_set(err, ERR_INVALID, "--visibility is one of private, shared, community, public");
	if (r == 0 && w->status && !image_status_parse(w->status, &q->image.status))
		r = err_set(err, ERR_INVALID, "--status: no image has the status %s", w->status);
	if (r < 0)
		return r;
	return list ? set_roles(q, list, a, err) : err_nomem(err);
}

static int run_check(const struct policy *policy, const struct words *w, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct question q;
	int r;

	if (w->batch)
		return batch(policy, err);
	r = make_question(w, &q, &a, err);
	return r < 0 ? r : check(policy, &q, err);
}

static int run(const struct words *w, bool is_check, const char *name, struct err *err)
{
	AUTO(policy_free_p) struct policy *policy = NULL;
	struct settings settings;
	int r = settings_load(&w->where, false, &settings, err);

	if (r < 0)
		return r;
	r = policy_new(&settings.policy, &policy, err);
	if (r == 0)
		r = is_check ? run_check(policy, w, err) : show(policy, name, err);
	settings_done(&settings);
	return r;
}

int cmd_policy(int argc, char **argv)
{
	struct words w = {0};
	struct err err = {0};
	const struct cmd_option options[] = {
		{"--config-file", NULL, &w.where.config_file, NULL},
		{"--data-dir", NULL, &w.where.data_dir, NULL},
		{"--rule", NULL, &w.rule, NULL},
		{"--user", NULL, &w.user, NULL},
		{"--project", NULL, &w.project, NULL},
		{"--roles", NULL, &w.roles, NULL},
		{"--owner", NULL, &w.owner, NULL},
		{"--visibility", NULL, &w.visibility, NULL},
		{"--status", NULL, &w.status, NULL},
		{"--image-json", NULL, &w.image_json, NULL},
		{"--member", NULL, NULL, &w.member},
		{"--batch", NULL, NULL, &w.batch},
		{0},
	};
	int n, r = cmd_parse(argc, argv, options, help, &n);
	bool is_check;

	if (r != CMD_OK)
		return r;
	is_check = n == 1 && strcmp(argv[1], "check") == 0;
	if (!is_check && (n < 1 || n > 2 || strcmp(argv[1], "show") != 0))
		return cmd_usage("policy", "one of show and check is wanted");
	if (is_check && !w.rule == !w.batch)
		return cmd_usage("policy", "check wants --rule or --batch");
	r = run(&w, is_check, n == 2 ? argv[2] : NULL, &err);
	return r < 0 ? cmd_fail(&err) : r;
}

/* SPDX-License-Identifier: Apache-2.0
 * access/policy_test.c -- the language of rules, the files they come from, and rules that change while they
 * are asked. tests/e2e/test_policy_language.py compares with oslo.policy. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "access/policy_files.h"
#include "base/err.h"

static const char *const roles[] = {"member", "reader", NULL};
static const struct who member = {
	.roles = ROLE_MEMBER, .role_names = roles, .user_id = "u", .project_id = "own", .user_domain_id = "d"};

static void image_of(struct image *image, const char *owner)
{
	static struct image_property properties[] = {{"os", "linux"}, {"nothing", NULL}};

	image_init(image);
	image->owner = owner;
	image->visibility = IMAGE_PUBLIC;
	image->properties = properties;
	image->n_properties = 2;
	image->min_ram = 512;
}

/* -- the language --------------------------------------------------------------------------------- */

static bool holds(const char *text, const char *owner)
{
	AUTO(rules_free_p) struct rules *rs = NULL;
	struct rule rule = {.name = "x", .text = text};
	struct image image;
	struct policy_target target = {&image, true};
	struct err err = {0};

	image_of(&image, owner);
	assert_int_equal(rules_new(&rs, &err), 0);
	if (expr_parse(text, &rs->arena, &rule.expr, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	assert_int_equal(rules_set(rs, &rule, &err), 0);
	assert_int_equal(rules_link(rs, &err), 0);
	return rules_allow(rs, rules_find(rs, "x"), &member, &target);
}

static void test_true_ones(void **state)
{
	static const char *const texts[] = {
		"",
		"@",
		"role:member",
		"ROLE:x or role:MEMBER",
		"not !",
		"not not @",
		"! or ! and @ or @",
		"@ and (! or @)",
		"((@))",
		"project_id:%(owner)s",
		"project_id:%(project_id)s and tenant:own and project_id:%(member_id)s",
		"'public':%(visibility)s",
		"\"public\":%(visibility)s AnD user_id:u",
		"512:%(min_ram)s",
		"None:%(size)s and None:%(nothing)s",
		"False:%(protected)s and is_admin:False",
		"linux:x or 'linux':%(os)s",
		"'o%n-linux-l':o%%n-%(os)s-l",
		"not project_id:%(absent)s",
		"system_scope:None and not system_scope:all",
		"roles:member and not roles:Member",
		"rule:default and not rule:context_is_admin",
		"not nonsense:x",
		"user_domain_id:d and is_admin_project:True",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (!holds(texts[i], "own"))
			fail_msg("%s does not hold", texts[i]);
}

static void test_false_ones(void **state)
{
	static const char *const texts[] = {
		"!",
		"not @",
		"not (@ or !)",
		"@ and !",
		"! and @ or !",
		"role:admin",
		"role:",
		"project_id:%(owner)sx",
		"project_id:",
		"'x':%(absent)s or not @",
		"'None':%(absent)s",
		"is_admin:True",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (holds(texts[i], "own"))
			fail_msg("%s holds", texts[i]);
}

static void test_nobody_owns_what_has_no_owner(void **state)
{
	struct who nobody = {.role_names = roles};
	struct policy_target in_general = {0}, target = {0};
	struct image image;

	image_of(&image, NULL);
	target.image = &image;
	assert_false(policy_allows(NULL, POLICY_DELETE_IMAGE, &nobody, &target));
	assert_true(policy_allows(NULL, POLICY_GET_IMAGES, &nobody, &in_general));
	assert_false(policy_allows(NULL, POLICY_GET_IMAGES, &nobody, NULL));
	assert_true(holds("None:%(owner)s", NULL));
}

static void test_bad_texts(void **state)
{
	static const char *const texts[] = {
		" ", "(", ")", "()", "(@", "@)", "and", "@ and", "or @", "not", "@ @", "@ not @", "role", "http:x",
		"https://x", "'a':'b'", "'a", "'a\\'':x", "1.5:x", "007:x", "a-b:x", ".a:x", "a..b:x", ":x", "x:%", "x:%s",
		"x:%(a", "x:%(a)d", "x:%()s", "x:%(tags)s", "x:%(created_at)s", "@\x01", "@\xc2\xa0", "@\xff",
		"not(@)",
	};
	AUTO(arena_done) struct arena a = {0};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct expr expr;
		struct err err = {0};

		if (expr_parse(texts[i], &a, &expr, &err) != ERR_INVALID)
			fail_msg("\"%s\" is taken", texts[i]);
		assert_true(*err.text);
	}
}

static void test_bounds(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	static char text[EXPR_MAX_OCTETS + 2];
	struct expr expr;

	memset(text, '(', EXPR_MAX_NESTING + 1);
	strcpy(text + EXPR_MAX_NESTING + 1, "@");
	assert_int_equal(expr_parse(text, &a, &expr, NULL), ERR_INVALID);
	memset(text, 'x', EXPR_MAX_OCTETS + 1);
	memcpy(text, "role:", 5);
	assert_int_equal(expr_parse(text, &a, &expr, NULL), ERR_INVALID);
	text[0] = '\0';
	for (size_t i = 0; i < EXPR_MAX_CHECKS + 1; i++)
		strcat(text, i > 0 ? " or @" : "@");
	assert_int_equal(expr_parse(text, &a, &expr, NULL), ERR_INVALID);
}

/* -- files ---------------------------------------------------------------------------------------- */

static int read_text(const char *text, struct rules **ret, struct err *err)
{
	AUTO(rules_free_p) struct rules *rs = NULL;
	int r = rules_new(&rs, err);

	if (r == 0)
		r = policy_text_read("p.yaml", text, strlen(text), rs, err);
	if (r == 0)
		r = rules_link(rs, err);
	if (r == 0)
		*ret = TAKE(rs);
	return r;
}

static void check_text(const char *text, const char *name, bool expected)
{
	AUTO(rules_free_p) struct rules *rs = NULL;
	struct err err = {0};

	if (read_text(text, &rs, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	if (rules_allow(rs, rules_find(rs, name), &member, NULL) != expected)
		fail_msg("%s: %s", text, name);
}

static void test_files_that_are_understood(void **state)
{
	check_text("", "get_image", false);
	check_text("# nothing\n", "get_task", true);
	check_text("---\n", "get_task", true);
	check_text("default: role:admin\n", "get_task", false);
	check_text("\"copy_image\": \"role:member\"\n", "copy_image", true);
	check_text("copy_image: >\n  role:admin\n  or role:member\n", "copy_image", true);
	check_text("{\n\t\"mine\": \"role:member\",\n\t\"copy_image\": \"rule:mine\"\n}\n", "copy_image", true);
	check_text("copy_image: ''\n", "copy_image", true);
	check_text("copy_image: []\n", "copy_image", true);
	check_text("copy_image: [[]]\n", "copy_image", false);
	check_text("copy_image: [['role:admin'], ['role:reader', 'user_id:u']]\n", "copy_image", true);
	check_text("copy_image: [['role:reader', 'user_id:v'], 'role:admin', []]\n", "copy_image", false);
}

static void test_files_that_are_refused(void **state)
{
	static const struct {
		const char *text, *story;
	} bad[] = {
		{"a", "p.yaml:1: names of rules"},
		{"[a]", "p.yaml:1: names of rules"},
		{"x: @\n", "p.yaml:1: found character that cannot start any token"},
		{"x: !\n", "p.yaml:1: tags"},
		{"# c\nx:\n", "p.yaml:2: there is nothing here"},
		{"x: true\n", "p.yaml:1: rule x: \"true\" is no check"},
		{"x: '@'\nx: '@'\n", "p.yaml:2: this rule is in the file twice"},
		{"x: {}\n", "p.yaml:1: a rule is a text"},
		{"x: [[['@']]]\n", "p.yaml:1: a list in a list"},
		{"x: ['role']\n", "p.yaml:1: rule x: \"role\" is no check"},
		{"'a b': '@'\n", "p.yaml:1: this is no name"},
		{"x: &a '@'\ny: *a\n", "p.yaml:1: tags"},
		{"x: '@'\n---\ny: '@'\n", "p.yaml:2: there is a second document"},
		{"y: '@'\nx: rule:nowhere\n", "p.yaml:2: rule x asks a rule that is not there: nowhere"},
		{"x: rule:x\n", "p.yaml:1: rule x asks in a circle"},
		{"x: rule:y\ny: not rule:x\n", "p.yaml:2: rule y asks in a circle"},
		{"context_is_admin: is_admin:True\n", "p.yaml:1: rule context_is_admin asks in a circle"},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO(rules_free_p) struct rules *rs = NULL;
		struct err err = {0};

		assert_int_equal(read_text(bad[i].text, &rs, &err), ERR_INVALID);
		if (strncmp(err.text, bad[i].story, strlen(bad[i].story)) != 0)
			fail_msg("%s: %s", bad[i].text, err.text);
	}
}

/* Rules that ask rules: too deep, and twice as long with each. */
static void test_answers_are_bounded(void **state)
{
	static const char *const forms[] = {"r%d: rule:r%d\n", "r%d: rule:r%d or rule:r%d\n"};
	static const int depths[] = {RULES_MAX_NESTING + 1, 14};

	for (size_t i = 0; i < 2; i++) {
		AUTO(rules_free_p) struct rules *rs = NULL;
		AUTO(buf_done) struct buf text = {0};
		struct err err = {0};

		for (int k = 0; k < depths[i]; k++) {
			if (i == 0)
				buf_addf(&text, forms[0], k, k + 1);
			else
				buf_addf(&text, forms[1], k, k + 1, k + 1);
		}
		buf_addf(&text, "r%d: '@'\n", depths[i]);
		assert_int_equal(read_text(buf_cstr(&text), &rs, &err), ERR_INVALID);
		assert_non_null(strstr(err.text, i == 0 ? "too long a way" : "too many steps"));
	}
}

/* -- on the disk ---------------------------------------------------------------------------------- */

struct place {
	char dir[64], file[96], other[96], drop_ins[96];
	const char *dirs[2];
	struct policy_config config;
};

static void write_file(const char *path, const char *text)
{
	char draft[128];
	FILE *f;

	(void)snprintf(draft, sizeof(draft), "%s~", path);
	f = fopen(draft, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(draft, path), 0);
}

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/glint-policy-XXXXXX");
	if (!mkdtemp(p->dir))
		return -1;
	(void)snprintf(p->file, sizeof(p->file), "%s/policy.yaml", p->dir);
	(void)snprintf(p->other, sizeof(p->other), "%s/policy.json", p->dir);
	(void)snprintf(p->drop_ins, sizeof(p->drop_ins), "%s/policy.d", p->dir);
	p->dirs[0] = p->drop_ins;
	p->config = (struct policy_config){p->file, p->other, true, p->dirs, true};
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;
	char command[128];
	int r;

	(void)snprintf(command, sizeof(command), "rm -rf %s", p->dir);
	r = system(command);
	free(p);
	return r;
}

static bool new_allows(const struct place *p)
{
	AUTO(policy_free_p) struct policy *policy = NULL;
	struct err err = {0};

	if (policy_new(&p->config, &policy, &err) < 0)
		fail_msg("%s", err.text);
	return policy_allows(policy, POLICY_COPY_IMAGE, &member, NULL);
}

static void refused(const struct place *p, const char *story)
{
	struct policy *policy;
	struct err err = {0};

	assert_int_equal(policy_new(&p->config, &policy, &err), ERR_INVALID);
	if (!strstr(err.text, story))
		fail_msg("%s", err.text);
}

static void test_which_files(void **state)
{
	struct place *p = *state;
	char path[128];

	assert_false(new_allows(p));
	write_file(p->other, "{\"copy_image\": \"@\"}");
	assert_true(new_allows(p));
	write_file(p->file, "copy_image: '!'\n");
	assert_false(new_allows(p));
	assert_int_equal(mkdir(p->drop_ins, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/10.yaml", p->drop_ins);
	write_file(path, "copy_image: role:member\n");
	assert_true(new_allows(p));
	(void)snprintf(path, sizeof(path), "%s/20.yaml", p->drop_ins);
	write_file(path, "copy_image: role:admin\n");
	assert_false(new_allows(p));
	(void)snprintf(path, sizeof(path), "%s/.30.yaml", p->drop_ins);
	write_file(path, "copy_image: '@'\n");
	assert_false(new_allows(p));
}

/* What cannot be read is not the same as what is not there. */
static void test_files_that_cannot_be_read(void **state)
{
	struct place *p = *state;
	char path[128];

	p->config.file_may_be_absent = false;
	refused(p, "is not there");
	p->config.file_may_be_absent = true;
	assert_int_equal(symlink("nowhere", p->file), 0);
	refused(p, "No such file");
	unlink(p->file);
	assert_int_equal(mkdir(p->file, 0700), 0);
	refused(p, "is not a file");
	rmdir(p->file);
	assert_int_equal(mkfifo(p->file, 0600), 0);
	refused(p, "is not a file");
	unlink(p->file);
	p->config.dirs_may_be_absent = false;
	refused(p, "is not there");
	p->config.dirs_may_be_absent = true;
	write_file(p->drop_ins, "");
	refused(p, "Not a directory");
	unlink(p->drop_ins);
	assert_int_equal(mkdir(p->drop_ins, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/a.yaml", p->drop_ins);
	assert_int_equal(symlink("nowhere", path), 0);
	refused(p, "No such file");
}

/* -- while they are asked ------------------------------------------------------------------------- */

struct asker {
	struct policy *policy;
	atomic_bool stop;
	atomic_ulong n;
};

static void *ask(void *arg)
{
	struct asker *a = arg;
	struct image image;
	struct policy_target target = {&image, false};

	image_of(&image, "own");
	while (!atomic_load(&a->stop)) {
		(void)policy_allows(a->policy, POLICY_COPY_IMAGE, &member, &target);
		atomic_fetch_add(&a->n, 1);
	}
	return NULL;
}

static void await(struct policy *policy, bool allowed)
{
	for (unsigned i = 0; i < 6000; i++) {
		if (policy_allows(policy, POLICY_COPY_IMAGE, &member, NULL) == allowed)
			return;
		usleep(10000);
	}
	fail_msg("the rules did not change");
}

static void test_changes_under_questions(void **state)
{
	struct place *p = *state;
	AUTO(policy_free_p) struct policy *policy = NULL;
	struct asker asker = {0};
	pthread_t threads[2];
	struct err err = {0};

	assert_int_equal(policy_new(&p->config, &policy, &err), 0);
	assert_int_equal(policy_start(policy, &err), 0);
	asker.policy = policy;
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, &asker), 0);
	for (unsigned i = 0; i < 20; i++) {
		write_file(p->file, i % 2 ? "copy_image: '!'\n" : "copy_image: role:member and project_id:own\n");
		policy_reload(policy);
		await(policy, i % 2 == 0);
	}
	write_file(p->file, "copy_image: '@'\n"); /* found without being told */
	await(policy, true);
	write_file(p->file, "copy_image: role\n"); /* broken: nothing changes */
	policy_reload(policy);
	usleep(50000);
	await(policy, true);
	unlink(p->file); /* gone: only if that is said */
	usleep(50000);
	await(policy, true);
	policy_reload(policy);
	await(policy, false);
	atomic_store(&asker.stop, true);
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(atomic_load(&asker.n) > 0);
}

static void test_names(void **state)
{
	assert_int_equal(n_rule_defaults, 67);
	assert_string_equal(policy_name(POLICY_ADD_IMAGE), "add_image");
	assert_string_equal(policy_name(POLICY_GET_IMAGE), "get_image");
	assert_string_equal(policy_name(POLICY_MODIFY_MEMBER), "modify_member");
	assert_string_equal(policy_name(POLICY_DELETE_IMAGE_LOCATION), "delete_image_location");
	assert_string_equal(policy_name(POLICY_STORES_INFO_DETAIL), "stores_info_detail");
	assert_string_equal(policy_name(POLICY_CONTEXT_IS_ADMIN), "context_is_admin");
	for (size_t i = 0; i < n_rule_defaults; i++)
		assert_true((rule_defaults[i].action != NULL) == (i < N_POLICY_RULES));
	assert_true(policy_has(NULL, "metadef_admin"));
	assert_false(policy_has(NULL, "nowhere"));
	assert_false(policy_allows_named(NULL, "nowhere", &member, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_true_ones),
		cmocka_unit_test(test_false_ones),
		cmocka_unit_test(test_nobody_owns_what_has_no_owner),
		cmocka_unit_test(test_bad_texts),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_files_that_are_understood),
		cmocka_unit_test(test_files_that_are_refused),
		cmocka_unit_test(test_answers_are_bounded),
		cmocka_unit_test_setup_teardown(test_which_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_files_that_cannot_be_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changes_under_questions, set_up, tear_down),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * access/expr.c -- reads a rule. As oslo.policy does, it is cut at blanks; brackets count only in front of a
 * word and behind it, since a check may have some inside: project_id:%(owner)s. */
#include "access/expr.h"

#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/utf8.h"

static const char blanks[] = " \t\n\r\v\f";

enum token { TOKEN_END, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_AND, TOKEN_OR, TOKEN_NOT, TOKEN_CHECK };

struct parser {
	const char *at;        /* behind the current token */
	enum token token;
	const char *word;      /* TOKEN_CHECK, and what was there in front of brackets */
	size_t n_word;
	size_t n_closing;      /* brackets behind the word that are still to come */
	struct arena *arena;
	struct expr *expr;
	size_t max_steps;
	unsigned depth;
	struct err *err;
};

/* -- words ---------------------------------------------------------------------------------------- */

static bool word_is(const struct parser *p, const char *text)
{
	return p->n_word == strlen(text) && strncasecmp(p->word, text, p->n_word) == 0;
}

static enum token word_kind(const struct parser *p)
{
	return word_is(p, "and") ? TOKEN_AND : word_is(p, "or") ? TOKEN_OR : word_is(p, "not") ? TOKEN_NOT : TOKEN_CHECK;
}

static void next(struct parser *p)
{
	if (p->n_closing > 0) {
		p->n_closing--;
		p->token = TOKEN_CLOSE;
		return;
	}
	p->at += strspn(p->at, blanks);
	if (!*p->at) {
		p->token = TOKEN_END;
		return;
	}
	if (*p->at == '(') {
		p->at++;
		p->token = TOKEN_OPEN;
		return;
	}
	p->word = p->at;
	p->n_word = strcspn(p->at, blanks);
	p->at += p->n_word;
	while (p->n_word > 0 && p->word[p->n_word - 1] == ')') {
		p->n_word--;
		p->n_closing++;
	}
	if (p->n_word == 0)
		next(p); /* one of them */
	else
		p->token = word_kind(p);
}

/* -- the right side of a check -------------------------------------------------------------------- */

/* By the names that Glance has for them. */
static const struct {
	const char *name;
	enum target_attribute attribute;
} attributes[] = {
	{"id", TARGET_ID},
	{"image_id", TARGET_ID},
	{"name", TARGET_NAME},
	{"status", TARGET_STATUS},
	{"visibility", TARGET_VISIBILITY},
	{"owner", TARGET_OWNER},
	{"project_id", TARGET_OWNER},
	{"member", TARGET_MEMBER},
	{"member_id", TARGET_MEMBER},
	{"protected", TARGET_PROTECTED},
	{"os_hidden", TARGET_HIDDEN},
	{"min_disk", TARGET_MIN_DISK},
	{"min_ram", TARGET_MIN_RAM},
	{"size", TARGET_SIZE},
	{"virtual_size", TARGET_VIRTUAL_SIZE},
	{"disk_format", TARGET_DISK_FORMAT},
	{"container_format", TARGET_CONTAINER_FORMAT},
	{"checksum", TARGET_CHECKSUM},
	{"os_hash_algo", TARGET_HASH_ALGO},
	{"os_hash_value", TARGET_HASH_VALUE},
};

/* Attributes without a form as text that anybody could rely on. */
static const char *const without_text[] = {"created_at", "updated_at", "tags", "locations", "extra_properties"};

static int find_attribute(const struct parser *p, const char *name, enum target_attribute *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(without_text); i++)
		if (strcmp(name, without_text[i]) == 0)
			return err_set(p->err, ERR_INVALID, "%%(%s)s: a rule cannot ask for this attribute", name);
	*ret = TARGET_PROPERTY;
	for (size_t i = 0; i < ARRAY_LEN(attributes); i++)
		if (strcmp(name, attributes[i].name) == 0)
			*ret = attributes[i].attribute;
	return 0;
}

/* "%(name)s" or "%%" at @s; *ret_n: how long it is. */
static int parse_reference(const struct parser *p, const char *s, struct expr_part *ret, size_t *ret_n)
{
	size_t n;

	*ret = (struct expr_part){TARGET_TEXT, "%"};
	*ret_n = 2;
	if (s[1] == '%')
		return 0;
	n = s[1] == '(' ? strcspn(s + 2, "()") : 0;
	if (n == 0 || s[2 + n] != ')' || s[3 + n] != 's')
		return err_set(p->err, ERR_INVALID, "\"%.100s\": behind a %% there has to be (NAME)s, or another %%", s);
	*ret_n = n + 4;
	ret->text = arena_strndup(p->arena, s + 2, n);
	return ret->text ? find_attribute(p, ret->text, &ret->attribute) : err_nomem(p->err);
}

static int parse_match(const struct parser *p, const char *match, struct expr_step *step)
{
	size_t max = 1, n;
	struct expr_part *parts;
	int r = 0;

	for (const char *c = match; *c; c++)
		max += *c == '%' ? 2 : 0;
	step->parts = parts = arena_alloc(p->arena, max * sizeof(*parts));
	if (!parts)
		return err_nomem(p->err);
	for (; *match && r == 0; match += n) {
		struct expr_part *part = &parts[step->n_parts++];

		n = strcspn(match, "%");
		if (n == 0) {
			r = parse_reference(p, match, part, &n);
			continue;
		}
		part->text = arena_strndup(p->arena, match, n);
		if (!part->text)
			return err_nomem(p->err);
	}
	return r;
}

/* -- its left side -------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	enum credential credential;
} credentials[] = {
	{"user_id", CREDENTIAL_USER},
	{"user", CREDENTIAL_USER},
	{"project_id", CREDENTIAL_PROJECT},
	{"tenant", CREDENTIAL_PROJECT},
	{"tenant_id", CREDENTIAL_PROJECT},
	{"user_domain_id", CREDENTIAL_USER_DOMAIN},
	{"project_domain_id", CREDENTIAL_PROJECT_DOMAIN},
	{"domain_id", CREDENTIAL_NONE},
	{"system_scope", CREDENTIAL_NONE},
	{"roles", CREDENTIAL_ROLES},
	{"is_admin", CREDENTIAL_IS_ADMIN},
	{"is_admin_project", CREDENTIAL_IS_ADMIN_PROJECT},
};

static bool is_number(const char *s)
{
	s += *s == '-';
	if (*s == '0')
		return s[1] == '\0';
	return *s && strspn(s, "0123456789") == strlen(s);
}

static bool is_name(const char *s)
{
	static const char start[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
	static const char later[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789.";

	return *s && strchr(start, *s) && strspn(s, later) == strlen(s) && s[strlen(s) - 1] != '.' && !strstr(s, "..");
}

/* 'text' or "text", without a quote or a backslash in it; *ret_n is without the quotes. */
static bool is_quoted(const char *s, size_t *ret_n)
{
	size_t n = strlen(s);

	if (n < 2 || (*s != '\'' && *s != '"') || s[n - 1] != *s)
		return false;
	*ret_n = n - 2;
	return strcspn(s + 1, "'\"\\") == n - 2;
}

static int parse_kind(const struct parser *p, const char *kind, struct expr_step *step)
{
	size_t n;

	step->literal = kind;
	if (is_number(kind) || strcmp(kind, "True") == 0 || strcmp(kind, "False") == 0 || strcmp(kind, "None") == 0) {
		if (strcmp(kind, "-0") == 0)
			step->literal = "0";
		return 0;
	}
	if (is_quoted(kind, &n)) {
		step->literal = arena_strndup(p->arena, kind + 1, n);
		return step->literal ? 0 : err_nomem(p->err);
	}
	if (!is_name(kind))
		return err_set(p->err, ERR_INVALID,
			       "\"%.100s:\" is none of role, rule, a property of the token, a number, True, False, None "
			       "and a 'text' in quotes", kind);
	step->credential = CREDENTIAL_UNKNOWN;
	for (size_t i = 0; i < ARRAY_LEN(credentials); i++)
		if (strcmp(kind, credentials[i].name) == 0)
			step->credential = credentials[i].credential;
	return 0;
}

/* -- checks --------------------------------------------------------------------------------------- */

static int add_step(struct parser *p, enum step_kind kind, struct expr_step **ret)
{
	struct expr_step *step;

	if (p->expr->n_steps == p->max_steps)
		return err_set(p->err, ERR_INVALID, "the rule has more than %d checks", EXPR_MAX_CHECKS);
	step = &p->expr->steps[p->expr->n_steps++];
	step->kind = kind;
	if (ret)
		*ret = step;
	return 0;
}

/* "kind:match", "@" or "!"; @check is in the arena and ours. */
static int parse_check(struct parser *p, char *check)
{
	char *match = strchr(check, ':');
	struct expr_step *step = NULL;
	int r;

	if (strcmp(check, "@") == 0 || strcmp(check, "!") == 0)
		return add_step(p, *check == '@' ? STEP_ALWAYS : STEP_NEVER, NULL);
	if (!match)
		return err_set(p->err, ERR_INVALID, "\"%.100s\" is no check: it has no colon", check);
	*match++ = '\0';
	if (strcmp(check, "http") == 0 || strcmp(check, "https") == 0)
		return err_set(p->err, ERR_INVALID, "%s: checks, which ask another server, are not supported", check);
	r = add_step(p, STEP_EQUAL, &step);
	if (r < 0)
		return r;
	if (strcmp(check, "rule") == 0) {
		step->kind = STEP_RULE;
		step->name = match;
		return 0;
	}
	if (strcmp(check, "role") == 0)
		step->kind = STEP_ROLE;
	else
		r = parse_kind(p, check, step);
	return r < 0 ? r : parse_match(p, match, step);
}

/* -- and, or, not --------------------------------------------------------------------------------- */

static int parse_or(struct parser *p);

static int parse_brackets(struct parser *p)
{
	int r;

	if (++p->depth > EXPR_MAX_NESTING)
		return err_set(p->err, ERR_INVALID, "brackets are nested deeper than %d", EXPR_MAX_NESTING);
	next(p);
	r = parse_or(p);
	if (r < 0)
		return r;
	if (p->token != TOKEN_CLOSE)
		return err_set(p->err, ERR_INVALID, "a closing bracket is missing");
	p->depth--;
	next(p);
	return 0;
}

/* A word in quotes from end to end is a text to oslo.policy, whatever is in it, and a text is no check. */
static int parse_word(struct parser *p)
{
	char *check = arena_strndup(p->arena, p->word, p->n_word);
	char last = p->word[p->n_word - 1];

	if (!check)
		return err_nomem(p->err);
	if (p->n_word > 1 && *check == last && (last == '\'' || last == '"'))
		return err_set(p->err, ERR_INVALID, "%.100s is a text in quotes and no check", check);
	next(p);
	return parse_check(p, check);
}

static int parse_operand(struct parser *p)
{
	bool inverted = false;
	int r;

	for (; p->token == TOKEN_NOT; next(p))
		inverted = !inverted;
	if (p->token == TOKEN_OPEN)
		r = parse_brackets(p);
	else if (p->token == TOKEN_CHECK)
		r = parse_word(p);
	else
		r = err_set(p->err, ERR_INVALID, "there is no check where one has to be");
	return r == 0 && inverted ? add_step(p, STEP_NOT, NULL) : r;
}

/* Those skips since @start that lead nowhere yet end here. */
static void land(struct parser *p, size_t start, enum step_kind kind)
{
	for (size_t i = start; i < p->expr->n_steps; i++)
		if (p->expr->steps[i].kind == kind && p->expr->steps[i].to == 0)
			p->expr->steps[i].to = p->expr->n_steps;
}

static int parse_chain(struct parser *p, enum token joint, enum step_kind skip, int (*parse)(struct parser *p))
{
	size_t start = p->expr->n_steps;
	int r = parse(p);

	while (r == 0 && p->token == joint) {
		next(p);
		r = add_step(p, skip, NULL);
		if (r == 0)
			r = parse(p);
	}
	land(p, start, skip);
	return r;
}

static int parse_and(struct parser *p)
{
	return parse_chain(p, TOKEN_AND, STEP_SKIP_FALSE, parse_operand);
}

static int parse_or(struct parser *p)
{
	return parse_chain(p, TOKEN_OR, STEP_SKIP_TRUE, parse_and);
}

/* -- rules ---------------------------------------------------------------------------------------- */

/* Python takes many more characters for blanks, where nobody sees them. */
static bool has_odd_blanks(const char *s)
{
	static const char *const odd[] = {"\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82",
					  "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87",
					  "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9",
					  "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

	for (const char *c = s; *c; c++)
		if (((unsigned char)*c < ' ' && !strchr(blanks, *c)) || *c == 0x7f)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(odd); i++)
		if (strstr(s, odd[i]))
			return true;
	return false;
}

static int check_text(const char *text, struct err *err)
{
	size_t n = strlen(text);

	if (n > EXPR_MAX_OCTETS)
		return err_set(err, ERR_INVALID, "the rule is longer than %d octets", EXPR_MAX_OCTETS);
	if (!utf8_is_valid(text, n) || has_odd_blanks(text))
		return err_set(err, ERR_INVALID, "the rule has characters that cannot be seen, or is not UTF-8");
	return 0;
}

/* A step for each word, and one for the "not" in front of it. */
static size_t count_steps(const char *text)
{
	size_t n = 1;

	for (; *text; text += strcspn(text, blanks)) {
		text += strspn(text, blanks);
		n++;
	}
	return n;
}

static int begin(struct parser *p, size_t max_steps)
{
	p->max_steps = max_steps < 2 * EXPR_MAX_CHECKS ? max_steps : 2 * EXPR_MAX_CHECKS;
	p->expr->n_steps = 0;
	p->expr->steps = arena_alloc(p->arena, p->max_steps * sizeof(*p->expr->steps));
	return p->expr->steps ? 0 : err_nomem(p->err);
}

int expr_parse(const char *text, struct arena *a, struct expr *ret, struct err *err)
{
	struct parser p = {.at = text, .arena = a, .expr = ret, .err = err};
	int r = check_text(text, err);

	if (r == 0)
		r = begin(&p, count_steps(text));
	if (r < 0 || !*text)
		return r < 0 ? r : add_step(&p, STEP_ALWAYS, NULL);
	next(&p);
	r = parse_or(&p);
	if (r == 0 && p.token == TOKEN_CLOSE)
		return err_set(err, ERR_INVALID, "a closing bracket has no opening one");
	if (r == 0 && p.token != TOKEN_END)
		return err_set(err, ERR_INVALID, "two checks follow each other without \"and\" or \"or\"");
	return r;
}

static int parse_list(struct parser *p, const char *const *checks)
{
	int r = 0;

	for (size_t i = 0; checks[i] && r == 0; i++) {
		char *check = arena_strdup(p->arena, checks[i]);

		if (!check)
			return err_nomem(p->err);
		r = check_text(check, p->err);
		if (r == 0 && i > 0)
			r = add_step(p, STEP_SKIP_FALSE, NULL);
		if (r == 0)
			r = parse_check(p, check);
	}
	return r;
}

int expr_from_lists(const char *const *const *lists, size_t n_lists, struct arena *a, struct expr *ret, struct err *err)
{
	struct parser p = {.arena = a, .expr = ret, .err = err};
	size_t n = 1;
	int r;

	for (size_t i = 0; i < n_lists; i++)
		for (size_t k = 0; lists[i][k]; k++)
			n += 2;
	r = begin(&p, n);
	for (size_t i = 0; i < n_lists && r == 0; i++) {
		size_t start;

		if (!lists[i][0])
			continue;
		if (ret->n_steps > 0)
			r = add_step(&p, STEP_SKIP_TRUE, NULL);
		start = ret->n_steps;
		if (r == 0)
			r = parse_list(&p, lists[i]);
		land(&p, start, STEP_SKIP_FALSE);
	}
	land(&p, 0, STEP_SKIP_TRUE);
	if (r == 0 && ret->n_steps == 0)
		r = add_step(&p, n_lists ? STEP_NEVER : STEP_ALWAYS, NULL);
	return r;
}

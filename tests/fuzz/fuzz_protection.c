/* SPDX-License-Identifier: Apache-2.0
 * fuzz_protection.c -- whatever a property protection file says, it is refused with a sentence, or every name has one
 * section or none, the same each time. The first line is the name that is asked about; "rules" before it: the file has
 * names of policy rules. */
#include "access/ruleset.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t touch(const struct ruleset_verdict *v)
{
	size_t n = 0;

	if (v->kind == FOR_RULE) {
		assert(v->rule && *v->rule && !strchr(v->rule, ','));
		return strlen(v->rule);
	}
	assert(v->kind != FOR_ROLES || (v->roles && *v->roles));
	for (const char *const *role = v->kind == FOR_ROLES ? v->roles : NULL; role && *role; role++)
		n += strlen(*role);
	return n;
}

static void ask(const struct ruleset *rules, const char *name)
{
	struct ruleset_scratch *scratch = NULL;
	size_t section = ruleset_find(rules, name, &scratch);

	assert(rules->n_sections > 0 && section <= rules->n_sections);
	assert(ruleset_find(rules, name, &scratch) == section);
	for (size_t s = 0; s <= rules->n_sections; s++)
		for (int action = 0; action < N_PROPERTY_ACTIONS; action++)
			(void)touch(ruleset_verdict(rules, s, (enum property_action)action));
	if (section == rules->n_sections)
		assert(ruleset_verdict(rules, section, PROPERTY_READ)->kind == FOR_NOBODY);
	ruleset_scratch_free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool by_rules = size > 5 && memcmp(data, "rules", 5) == 0;
	const uint8_t *text = memchr(data, '\n', size);
	struct ruleset *rules = NULL;
	struct err err = {0};
	char name[256];
	size_t n;
	int r;

	if (!text)
		return 0;
	n = (size_t)(text - data) < sizeof(name) ? (size_t)(text - data) : sizeof(name) - 1;
	memcpy(name, data, n);
	name[n] = '\0';
	text++;
	r = ruleset_parse("fuzz.conf", (const char *)text, size - (size_t)(text - data), by_rules, &rules, &err);
	assert(r == err.code && (r == 0) == (rules != NULL));
	assert(r == 0 || (err.text[0] && !strchr(err.text, '\n')));
	if (rules)
		ask(rules, name);
	ruleset_unref(rules);
	return 0;
}

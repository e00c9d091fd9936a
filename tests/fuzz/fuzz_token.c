/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_token.c -- anything as Keystone's answer about a token. Who is let in by it is somebody, in a project,
 * with a role. */
#include "keystone/token.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_text(const char *text)
{
	size_t n = strlen(text);

	require(n > 0 && n <= 255 && utf8_is_valid(text, n));
	for (size_t i = 0; i < n; i++)
		require((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
}

static void check_somebody(const struct identity *i)
{
	struct arena a = {0};
	struct who who = {0};

	require(identity_copy(i, &a, &who, NULL) == 0);
	check_text(who.user_id);
	check_text(who.project_id);
	check_text(who.user_domain_id);
	check_text(who.project_domain_id);
	require(who.role_names[0] != NULL);
	for (size_t n = 0; who.role_names[n]; n++)
		check_text(who.role_names[n]);
	arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct identity *i = NULL;
	struct err err = {0};

	if (token_parse((const char *)data, size, &i, &err) == 0) {
		require(i->refusal == 0 || i->refusal == ERR_UNAUTHENTICATED || i->refusal == ERR_FORBIDDEN);
		if (!i->refusal)
			check_somebody(i);
		identity_unref(i);
	} else {
		require(!i && err.code == ERR_UNAVAILABLE && *err.text);
	}
	return 0;
}

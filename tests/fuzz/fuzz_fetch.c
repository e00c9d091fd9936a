/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_fetch.c -- the first line is a URL that a user gave, the rest the head of a source's answer. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "fetch/answer.h"
#include "fetch/fetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void try_url(const char *url)
{
	static const char *const hosts[] = {"10.0.0.1", "bad.example", NULL}, *const networks[] = {"10.0.0.0/8", NULL};
	const struct fetch_rules rules = {.disallowed_hosts = hosts, .allowed_networks = networks};
	struct err err = {0};

	if (fetch_check_url(&rules, url, &err) == 0)
		require(strncasecmp(url, "http", 4) == 0 && !strpbrk(url, " \t\r\n\\"));
	else
		require(err.code != 0 && err.text[0]);
}

static void try_answer(const char *lines)
{
	struct answer h = {0};
	int r = 0;

	while (*lines && r == 0) {
		size_t n = strcspn(lines, "\n");

		n += lines[n] == '\n';
		r = answer_add(&h, lines, n, NULL);
		lines += n;
	}
	require(!h.has_length || h.length >= 0);
	require(!h.has_range || (h.first >= 0 && h.last >= h.first && (!h.is_total_known || h.total > h.last)));
	require(strlen(h.tag) < ANSWER_TAG_MAX && strlen(h.date) < ANSWER_DATE_MAX);
	answer_done(&h);
}

static char *copy_text(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1);

	require(text);
	memcpy(text, data, size);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = copy_text(data, size), *rest = text;

	try_url(strsep(&rest, "\n"));
	if (rest)
		try_answer(rest);
	free(text);
	return 0;
}

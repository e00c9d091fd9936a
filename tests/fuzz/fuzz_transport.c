/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_transport.c -- anything as a transport_url. What is accepted must keep the promises
 * of notify/transport.h. */
#include "notify/transport.h"

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

static void check(const struct transport *t)
{
	require(*t->scheme && t->vhost && utf8_is_valid(t->vhost, strlen(t->vhost)));
	require(t->n_hosts >= 1 && t->n_hosts <= TRANSPORT_HOSTS_MAX);
	require(t->n_options <= TRANSPORT_OPTIONS_MAX);
	for (size_t i = 0; i < t->n_hosts; i++)
		require(*t->hosts[i].host && (t->hosts[i].user || !t->hosts[i].password));
	for (size_t i = 0; i < t->n_options; i++)
		require(t->options[i].name && *t->options[i].value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *url = malloc(size + 1);
	struct transport t;
	struct err err = {0};

	if (!url)
		return 0;
	memcpy(url, data, size);
	url[size] = '\0';
	if (transport_parse(url, &t, &err) == 0) {
		check(&t);
		transport_done(&t);
	} else {
		require(err.code == ERR_INVALID && *err.text);
		require(utf8_is_valid(err.text, strlen(err.text)));
	}
	free(url);
	return 0;
}

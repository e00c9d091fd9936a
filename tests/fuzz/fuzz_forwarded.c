/* SPDX-License-Identifier: Apache-2.0
 * fuzz_forwarded.c -- whatever header lines say, what is made of them is an address, http or https, and what
 * may stand in a URL; and of a peer that is not trusted nothing is made of them. */
#include "http/forwarded.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct forwarded *f)
{
	unsigned char address[16];

	assert(!f->client || inet_pton(strchr(f->client, ':') ? AF_INET6 : AF_INET, f->client, address) == 1);
	assert(!f->scheme || strcmp(f->scheme, "http") == 0 || strcmp(f->scheme, "https") == 0);
	assert(!f->host || strpbrk(f->host, "/\"'<>@ \r\n\\") == NULL);
	assert(!f->prefix ||
	       (f->prefix[0] == '/' && f->prefix[1] != '/' && !strpbrk(f->prefix, "\"'<>@ \r\n\\?#")));
}

static void read_head(const struct head *h)
{
	static const char *const ours[] = {"127.0.0.0/8", "10.0.0.0/9", "2001:db8::/33", NULL};
	struct arena a = {0};
	struct proxies p;
	struct forwarded f;

	assert(proxies_parse(ours, &p, NULL) == 0);
	f = forwarded_read(&p, h, "127.0.0.1", false, &a);
	check(&f);
	f = forwarded_read(&p, h, "192.0.2.1", false, &a);
	assert(!f.client && !f.scheme && !f.host && !f.prefix);
	proxies_done(&p);
	arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char before[] = "GET / HTTP/1.1\r\nHost: x\r\n";
	const struct head_limits limits = {.max_bytes = 65536, .max_fields = 64};
	struct head h = {0};
	size_t n = sizeof(before) - 1;
	char *text = malloc(n + size + 2);

	memcpy(text, before, n);
	if (size)
		memcpy(text + n, data, size);
	memcpy(text + n + size, "\r\n", 2);
	if (head_parse(&h, text, n + size + 2, &limits) == HEAD_DONE)
		read_head(&h);
	head_done(&h);
	free(text);
	return 0;
}

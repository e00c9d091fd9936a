/* SPDX-License-Identifier: Apache-2.0
 * http/forwarded.h -- what proxies say of who asks: X-Forwarded-For, -Proto, -Host, -Port, -Prefix and
 * Forwarded (RFC 7239). Pure: no I/O. */
#pragma once

#include "base/arena.h"
#include "head.h"

struct err;

struct network {
	unsigned char address[16]; /* IPv4 as ::ffff:1.2.3.4 */
	unsigned bits;
};

/* Whom we believe. */
struct proxies {
	struct network *networks;
	size_t n;
	bool local; /* who comes by a UNIX socket */
};

/* "10.0.0.0/8", "::1", "unix"; a list that ends with NULL. */
int proxies_parse(const char *const *texts, struct proxies *ret, struct err *err);
void proxies_done(struct proxies *p);

/* NULL where nothing was said that could be believed. */
struct forwarded {
	const char *client; /* numeric address: the last one that is none of our proxies */
	const char *scheme; /* "http", "https" */
	const char *host;   /* with the port, if it is none that goes without saying */
	const char *prefix; /* "/images": where a proxy has put us; no '/' at the end */
};

/* Of a request by @peer (numeric), if it is one of @p. Text goes to @a. Takes time in proportion to the head.
 */
struct forwarded forwarded_read(const struct proxies *p, const struct head *h, const char *peer,
				bool is_local, struct arena *a);
bool forwarded_is_host(const char *text); /* may stand in a URL */

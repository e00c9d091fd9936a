/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/resolve.h -- the addresses of a broker's name, by a deadline. */
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct question;

struct addresses {
	size_t n;
	char text[8][INET6_ADDRSTRLEN + IF_NAMESIZE]; /* "127.0.0.1", "fe80::1%eth0" */
};

/* The questions under way, one for a name at the most. Zeroed: none. For one thread at a time. */
struct resolver {
	struct question *first;
};

/* A question that has no answer by then goes on; who asks for the same name later waits for its answer.
 * On success there is one address at least. */
int resolver_ask(struct resolver *r, const char *name, int64_t deadline_us, struct addresses *ret,
		 struct err *err);
/* Waits for nobody. */
void resolver_done(struct resolver *r);

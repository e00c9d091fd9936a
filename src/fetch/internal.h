/* SPDX-License-Identifier: Apache-2.0
 * fetch/internal.h -- what the files of this room know of each other. */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <curl/curl.h>

#include "fetch.h"

/* -- networks.c: addresses ------------------------------------------------------------------------ */

struct address {
	int family; /* AF_INET or AF_INET6 */
	uint8_t octets[16]; /* in network order; of an AF_INET address the first four */
};

struct network {
	struct address address;
	unsigned bits; /* that count, from the first */
};

/* An IPv4 address as inet_aton() reads it (decimal, octal, hexadecimal, one to four parts) or an IPv6
 * address without brackets and zone. An IPv4-mapped one comes out as the IPv4 address that it is. */
bool address_parse(const char *text, struct address *ret);
bool address_of_socket(const struct sockaddr *sa, socklen_t n, struct address *ret);
bool address_equal(const struct address *a, const struct address *b);

/* "10.1.0.0/16", "fd00::/8", "127.0.0.1"; false too if there are bits behind the prefix. */
bool network_parse(const char *text, struct network *ret);

/* On the public net by its number alone. */
bool address_is_public(const struct address *a);
/* Public and not this machine's own, or in one of @allowed_networks (may be NULL). */
bool address_is_allowed(const char *const *allowed_networks, const struct address *a);

/* -- rules.c: the text of URLs -------------------------------------------------------------------- */

/* fetch_check_url() that also returns the URL as it was understood; owned (curl_url_cleanup()). */
int rules_parse(const struct fetch_rules *rules, const char *url, CURLU **ret, struct err *err);
/* May a connection be opened to @a? The URL has passed already. */
bool rules_allow_address(const struct fetch_rules *rules, const struct address *a);
/* Records the one text of all refusals; returns ERR_INVALID. */
int rules_refuse(struct err *err);
void url_cleanup_p(CURLU **url);

/* -- fetch.c -------------------------------------------------------------------------------------- */

/* fetch_open() with answers of the resolver given beforehand ("name:port:address", libcurl's
 * CURLOPT_RESOLVE): what tests use to play a hostile name server. NULL: none. */
int fetch_open_resolved(const struct fetch_options *options, const char *url, const char *const *resolved,
			struct fetch **ret, struct err *err);

/* SPDX-License-Identifier: Apache-2.0
 * fetch/fetch.h -- the bytes behind an http or https URL that a user gave us: which URLs are allowed, and
 * a stream that survives a broken connection.
 *
 * (1) Nothing is connected to that the rules do not allow: the text of the URL is checked, then each
 *     address that a connection is really opened to, then the same again for every redirect.
 * (2) A stream ends with 0 only after all the octets that the source announced have come.
 * (3) No text that comes out of here holds a user name, a password or a query string, or tells whether
 *     something listens behind a refused address: every refusal by the rules has the same text. */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "base/util.h"

struct err;
struct fetch;

/* [import_filtering_opts], and where connections may go. Lists end with NULL; NULL or empty: no list.
 * A disallowed list is looked at only where the allowed one is empty, as operators know it. Borrowed. */
struct fetch_rules {
	const char *const *allowed_schemes, *const *disallowed_schemes; /* beside: only http and https can be fetched */
	const char *const *allowed_hosts, *const *disallowed_hosts;
	const char *const *allowed_ports, *const *disallowed_ports;
	/* Networks ("10.1.0.0/16", "fd00::/8", "127.0.0.1") that may be connected to although they are loopback,
	 * link-local, private, multicast or otherwise not on the public net. */
	const char *const *allowed_networks;
};

/* At start: are the numbers numbers and the networks networks? ERR_INVALID names the bad one. */
int fetch_check_rules(const struct fetch_rules *rules, struct err *err);

/* Without asking anybody, the resolver neither: scheme, host, port; user names and passwords are refused;
 * so is a host that is an address in any spelling (decimal, octal, hexadecimal, short, mapped) which the
 * rules forbid. ERR_INVALID, always with the same text, but for a URL that is no URL at all. */
int fetch_check_url(const struct fetch_rules *rules, const char *url, struct err *err);

struct fetch_options {
	const struct fetch_rules *rules;
	const char *ca_file;         /* NULL: the system's */
	bool insecure;               /* any certificate will do */
	int64_t connect_timeout_us;  /* per attempt */
	int64_t stall_timeout_us;    /* without an octet */
	int64_t min_rate;            /* octets a second over a stall_timeout; 0: any */
	int64_t max_octets;          /* more than that announced or sent: ERR_TOO_LARGE */
	unsigned max_redirects;
	unsigned max_resumes;        /* in a row without progress */
	const atomic_bool *cancelled; /* looked at at least once a second; NULL: never */
	bool (*is_cancelled)(void *cls); /* likewise asked, by the thread that reads; NULL: nobody is */
	void *cls;
};

/* Connects and reads the answer's head, redirects included. Blocks; @options and what it points to stay
 * until fetch_close(). ERR_INVALID: the URL or where it leads is not allowed, or the source answered with
 * an error ("The source answered 404."); ERR_UNAVAILABLE: no connection, no name, TLS; ERR_GONE: cancelled. */
int fetch_open(const struct fetch_options *options, const char *url, struct fetch **ret, struct err *err);
/* The same for the @n octets from @first on. A source that cannot send a part sends all of it, and what comes
 * before @first is read and thrown away. A stream that ends before the part does is ERR_UNAVAILABLE. */
int fetch_open_part(const struct fetch_options *options, const char *url, int64_t first, int64_t n, struct fetch **ret,
		    struct err *err);
int64_t fetch_size(const struct fetch *f); /* octets of all there is; -1: the source did not say */
/* At most @n octets into @data, 0 at the end. After a connection broke it goes on with Range where the
 * source lets it (same validator, 206 at the right offset); otherwise ERR_UNAVAILABLE. ERR_TIMEOUT when
 * nothing comes for stall_timeout_us. */
ssize_t fetch_read(struct fetch *f, void *data, size_t n, struct err *err);
void fetch_close(struct fetch *f); /* NULL is fine */
void fetch_close_p(struct fetch **f);

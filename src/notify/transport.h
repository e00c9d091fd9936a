/* SPDX-License-Identifier: Apache-2.0
 * notify/transport.h -- transport_url: where the message queue is, and who we are there.
 *
 *   scheme://[user[:password]@]host[:port][,[user:password@]host:port...][/vhost][?option=value&...]
 *
 * Read as oslo.messaging reads it. No message of these functions ever holds a password. */
#pragma once

#include "base/arena.h"

struct err;

#define TRANSPORT_URL_MAX 16384
#define TRANSPORT_HOSTS_MAX 64
#define TRANSPORT_OPTIONS_MAX 64

struct transport_host {
	const char *host;            /* "localhost" if the URL names none; IPv6 without brackets */
	const char *user, *password; /* NULL: not given. Each host has its own */
	uint16_t port;               /* 0: not given */
	bool is_unnamed;             /* no host was given; the name is a guess */
};

struct transport_option {
	const char *name, *value; /* repeated ones are joined by commas */
};

struct transport {
	struct arena arena;
	const char *scheme; /* lower case */
	const char *vhost;  /* without the slash in front; "" if not given */
	struct transport_host *hosts;
	size_t n_hosts; /* at least one */
	struct transport_option *options;
	size_t n_options;
};

/* ERR_INVALID says what is wrong with it. After an error there is nothing to free. */
int transport_parse(const char *url, struct transport *ret, struct err *err);
void transport_done(struct transport *t); /* a zeroed struct is fine */

/* Some hosts have credentials and some have none: most likely somebody thought that the first ones
 * hold for all. */
bool transport_is_mixed(const struct transport *t);

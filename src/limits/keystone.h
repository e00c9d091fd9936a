/* SPDX-License-Identifier: Apache-2.0
 * limits/keystone.h -- the limits of a Keystone. */
#pragma once

#include "keystone/session.h"
#include "keystone/transport.h"
#include "limits/limits.h"

/* Which Keystone, as whom, and which of its endpoints we are: endpoint_id, or else the only one of the only
 * service that has this name and type, in that region and with that interface (NULL: any). */
struct limits_keystone {
	struct session_config session;
	struct transport_config transport; /* max_calls is filled in */
	const char *endpoint_id, *service_name, *service_type, *region, *interface;
};

/* @keystone is borrowed until limits_close(). Nobody is asked yet. */
int limits_open(const struct limits_config *config, const struct limits_keystone *keystone,
		struct limits **ret, struct err *err);

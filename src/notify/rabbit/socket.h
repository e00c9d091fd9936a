/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/socket.h -- the socket below a connection, with TLS or without. */
#pragma once

#include <amqp.h>

#include "options.h"
#include "resolve.h"

struct err;

/* Connects @conn, which owns the socket from then on. */
int socket_connect(amqp_connection_state_t conn, const struct rabbit_options *o,
		   const struct transport_host *host, struct resolver *resolver, int64_t deadline_us,
		   struct err *err);

/* For amqp_*() that take how long, not until when. Never negative. */
struct timeval socket_time_left(int64_t deadline_us);

/* In words; errno and OpenSSL's queue are asked where the status refers to them. */
const char *socket_problem(int status);

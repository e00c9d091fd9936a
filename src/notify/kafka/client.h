/* SPDX-License-Identifier: Apache-2.0
 * notify/kafka/client.h -- librdkafka's producer as this driver uses it: idempotent, acknowledged by
 * all replicas in sync, without a timeout of its own, and never going on behind a gap.
 * Driver-internal.
 *
 * After a failure that would leave a gap in what a partition receives the client is broken: it
 * takes nothing more, what it had is lost, and a new client has to take its place. That is what keeps
 * the events of an image in order: nothing overtakes what failed. */
#pragma once

#include "base/util.h"

struct err;
struct flight;
struct kafka_client;

/* Strings are borrowed for the call; NULL or "" is not given. */
struct kafka_client_config {
	const char *bootstrap; /* "host:port,host:port" */
	const char *security_protocol, *sasl_mechanism, *user, *password;
	const char *ssl_cafile, *ssl_cert_file, *ssl_key_file, *ssl_key_password;
	const char *compression;
	int64_t batch_messages, batch_bytes, linger_ms;
};

/* Connects in the background. ERR_INVALID: some setting or file is no good. */
int kafka_client_new(const struct kafka_client_config *config, struct kafka_client **ret, struct err *err);
/* Drops what was not sent. Waits a moment for the library's threads; those that take longer end by
 * themselves. Nothing is reported any more. */
void kafka_client_free(struct kafka_client *c);
void kafka_client_free_p(struct kafka_client **c);

bool kafka_client_is_broken(const struct kafka_client *c);

/* Makes sure that a broker answers and has the topic called @name, until @deadline_us at most.
 * Returns at once when that is known already. ERR_UNAVAILABLE tells what is wrong. */
int kafka_client_topic(struct kafka_client *c, const char *name, int64_t deadline_us, size_t *ret_topic,
		       struct err *err);

/* Hand over a message; copies. @flight, which outlives the client, ends in a later call to serve().
 * ERR_TOO_LARGE: it can never be sent. ERR_UNAVAILABLE: not now. */
int kafka_client_send(struct kafka_client *c, size_t topic, const char *key, const void *body, size_t n_body,
		      struct flight *flight, struct err *err);

/* Learn what has become of the messages, waiting for at most @timeout_us. */
void kafka_client_serve(struct kafka_client *c, int64_t timeout_us);

/* No broker can be reached, as far as known. */
bool kafka_client_is_down(const struct kafka_client *c);
/* What the library complained about last; "" if about nothing. */
const char *kafka_client_complaint(const struct kafka_client *c);

/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/options.h -- what the RabbitMQ drivers can be told, checked and copied. */
#pragma once

#include "base/conf.h"
#include "notify/driver.h"
#include "notify/transport.h"

enum rabbit_login { RABBIT_AMQPLAIN, RABBIT_PLAIN, RABBIT_EXTERNAL };

struct rabbit_options {
	struct arena arena; /* holds every text */
	const char *publisher_id, *exchange, *vhost;
	const char **topics;
	size_t n_topics;
	struct transport_host *hosts; /* user, password and port are always there */
	size_t n_hosts;
	bool shuffle_always;
	bool is_mixed; /* see transport_is_mixed() */

	bool durable, auto_delete, quorum, ha, compress;
	int64_t delivery_limit, max_memory_length, max_memory_bytes; /* of quorum queues; 0: not sent */
	int64_t max_length, message_ttl_ms;                          /* 0: not sent */
	const char *overflow;                                        /* "": not sent */

	bool tls, tls_check_chain, tls_check_host;
	const char *tls_version, *ca_file, *cert_file, *key_file; /* NULL: not given */

	enum rabbit_login login;
	int heartbeat_s;
	int64_t pause_us, pause_more_us, pause_max_us; /* between rounds of connecting */
	size_t max_connects;                           /* in one attempt to deliver */
	int64_t look_every_us;                         /* at the queues; 0: never */
};

extern const struct conf_option rabbit_option_table[];

/* ERR_INVALID says what cannot be. After an error there is nothing to free. */
int rabbit_options_load(const struct notify_driver_config *config, struct rabbit_options *ret,
			struct err *err);
void rabbit_options_done(struct rabbit_options *o);

/* SPDX-License-Identifier: Apache-2.0
 * notify/kafka/options.h -- the section [oslo_messaging_kafka] and what follows from it, from the
 * transport_url and from the topics. Driver-internal. */
#pragma once

#include "base/arena.h"
#include "base/conf.h"
#include "client.h"
#include "notify/driver.h"

#define KAFKA_SECTION "oslo_messaging_kafka"

extern const struct conf_option kafka_options[];

#define KAFKA_N_PRIORITIES 3

struct kafka_settings {
	struct kafka_client_config client;
	const char **topics; /* n_topics * KAFKA_N_PRIORITIES names, see kafka_topic() */
	size_t n_topics;
	int64_t attempt_us; /* how long one attempt may last */
};

/* The strings are in @arena. ERR_INVALID says what is wrong. */
int kafka_settings_load(const struct notify_driver_config *config, struct arena *arena,
			struct kafka_settings *ret, struct err *err);

/* What the operator should know about settings that work: a line in the log for each. */
void kafka_settings_warn(const struct notify_driver_config *config);

/* Where events of that priority go for the @i-th of the topics configured. */
const char *kafka_topic(const struct kafka_settings *s, size_t i, enum event_priority priority);

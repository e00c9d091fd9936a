/* SPDX-License-Identifier: Apache-2.0
 * cmd/limit_settings.h -- the configuration as limits/ wants it. */
#pragma once

#include "base/conf.h"
#include "limits/keystone.h"

struct limit_settings {
	bool used; /* use_keystone_limits */
	struct limits_config config;
	struct limits_keystone keystone; /* texts of the configuration */
};

/* What is missing to ask Keystone is ERR_INVALID if it is to be asked. */
int limit_settings_load(const struct conf *c, struct limit_settings *ret, struct err *err);

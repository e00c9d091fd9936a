/* SPDX-License-Identifier: Apache-2.0
 * cmd/settings_parts.h -- what the files of settings_load() share. */
#pragma once

#include "cmd/settings.h"

/* settings_policy.c: where the policy files are. */
int settings_policy(struct settings *s, const struct location_args *args, struct err *err);

/* settings_http.c: the listeners. Sections [cors.NAME] have to be known before what is unknown is told. */
int settings_http(struct settings *s, const struct location_args *args, struct err *err);
int settings_alias_cors(struct settings *s, struct err *err);

/* Written as a whole number whose digits are meant as octal: 640 is rw-r-----. ERR_INVALID. */
int settings_octal(int64_t number, int64_t *ret, struct err *err);
/* NULL-terminated; borrowed. */
const char *const *settings_list(const struct settings *s, const char *section, const char *name);

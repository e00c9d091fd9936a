/* SPDX-License-Identifier: Apache-2.0
 * cmd/options.h -- every option of the configuration file. */
#pragma once

#include "base/arena.h"
#include "base/conf.h"

struct err;

/* Those of the program itself, those that notification drivers bring along, and those of Glance that are
 * ignored, in one table. */
int options_all(struct arena *a, const struct conf_option **ret, struct err *err);

/* What Glance has and glint ignores, each with the reason that its warning gives. */
extern const struct conf_option glance_only_options[];

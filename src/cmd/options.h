/* SPDX-License-Identifier: Apache-2.0
 * cmd/options.h -- every option of the configuration file. */
#pragma once

#include "base/arena.h"
#include "base/conf.h"

struct err;

/* Those of the program itself and those that notification drivers bring along, in one table. */
int options_all(struct arena *a, const struct conf_option **ret, struct err *err);

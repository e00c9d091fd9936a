/* SPDX-License-Identifier: Apache-2.0
 * cmd/config_options.h -- `glint config options`. */
#pragma once

#include "base/util.h"

struct err;

/* Prints every option, or those with @word (NULL: any) in their name or section. */
int config_options(const char *word, bool markdown, struct err *err);

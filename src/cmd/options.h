/* SPDX-License-Identifier: Apache-2.0
 * cmd/options.h -- every option of the configuration file. */
#pragma once

#include "base/conf.h"

extern const struct conf_option glint_options[];

/* SPDX-License-Identifier: Apache-2.0
 * base/ini.h -- the lines of a configuration file, in the dialect of oslo.config. */
#pragma once

#include "util.h"

struct err;

/* Called for each "name = value", in the order of the file; @line is where it starts. All texts are
 * borrowed for the call. Anything but 0 ends the reading and is returned. */
typedef int ini_option_fn(void *cls, unsigned line, const char *section, const char *name, const char *value);

/* Read @text. An error names @path and the line. */
int ini_parse(const char *path, const char *text, size_t n, ini_option_fn *fn, void *cls, struct err *err);

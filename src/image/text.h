/* SPDX-License-Identifier: Apache-2.0
 * image/text.h -- texts that clients send: how long they are, and how to quote them safely. */
#pragma once

#include "base/util.h"

#define TEXT_EXCERPT_CHARS 40
#define TEXT_EXCERPT_SIZE (TEXT_EXCERPT_CHARS * 4 + sizeof("..."))

/* The number of characters in @s; false if it is not UTF-8. */
bool text_count(const char *s, size_t *ret_n_chars);

/* The beginning of @s with everything that does not print replaced by '?': control characters, and
 * those that turn the direction of writing or break lines. Returns @out. */
const char *text_excerpt(const char *s, char out[TEXT_EXCERPT_SIZE]);

/* Blanks as C's isspace() has them, whatever the locale. */
bool text_is_blank(char c);

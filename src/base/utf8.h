/* SPDX-License-Identifier: Apache-2.0
 * base/utf8.h -- UTF-8, one character at a time. */
#pragma once

#include "util.h"

/* The length in octets (1..4) of the character that @s starts with, of which *ret is the code
 * point; 0 if the first of the @n octets starts none. Overlong forms, surrogates and anything
 * past U+10FFFF are not characters. A NUL is one. */
size_t utf8_decode(const char *s, size_t n, uint32_t *ret);

/* True if all @n octets are characters. */
bool utf8_is_valid(const char *s, size_t n);

/* The length of @s[0..n) without a character that was cut off at its end. */
size_t utf8_trim(const char *s, size_t n);

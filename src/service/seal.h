/* SPDX-License-Identifier: Apache-2.0
 * service/seal.h -- locations as they stand in the database where [DEFAULT] metadata_encryption_key is
 * set: url-safe base64 of a 16-octet IV followed by AES-CBC, under that key, of the URL, one zero octet
 * and non-zero octets up to the block (facts: the tables of Glance, image_locations.value). */
#pragma once

#include "base/arena.h"

struct err;

/* 16, 24 or 32 octets; anything else is ERR_INVALID. NULL (no encryption) is fine. */
int seal_check_key(const char *key, struct err *err);

/* *ret: the text for the database. With @key NULL it is @url itself. Arena or borrowed. */
int seal_close(const char *key, const char *url, struct arena *a, const char **ret, struct err *err);

/* *ret: the URL. A value that is one already ("scheme://...") is taken as it is: both forms occur.
 * ERR_INTERNAL if it cannot be read with this key. */
int seal_open(const char *key, const char *value, struct arena *a, const char **ret, struct err *err);

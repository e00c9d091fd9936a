/* SPDX-License-Identifier: Apache-2.0
 * image/locations.h -- the steps of a PATCH at or below /locations. For patch.c. */
#pragma once

#include "image/input.h"

/* @step has passed patch_parse(). The list that @img came with is left as it is.
 *   ERR_FORBIDDEN  locations are not shown; the last one removed; replaced by an empty list
 *   ERR_CONFLICT   the status; validation_data that cannot be, or that is not what the image says already
 *   ERR_INVALID    no such place in the list; a URL that is there already; a list replaced that is not empty;
 *                  an image without formats
 *   ERR_TOO_LARGE  more than the quota */
int locations_apply(const struct patch_step *step, const struct image_limits *limits, struct arena *a,
		    struct image *img, struct err *err);

/* What somebody says that the data is: {"checksum": .., "os_hash_algo": .., "os_hash_value": ..}, into the
 * attributes of @img that are not set yet. Digits become lower case. @code: what the refusal of it is. NULL:
 * nothing. */
int locations_expect(const json_t *validation_data, const char *hash_algorithm, int code, struct arena *a,
		     struct image *img, struct err *err);

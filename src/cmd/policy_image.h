/* SPDX-License-Identifier: Apache-2.0
 * cmd/policy_image.h -- an image as the API shows it, for `glint policy check`. */
#pragma once

#include <jansson.h>

#include "image/image.h"

struct err;

/* What is not there is as in a new image; what rules cannot ask for is passed over. Texts go to @a, or are
 * borrowed from @json. */
int policy_image(const json_t *json, struct arena *a, struct image *ret, struct err *err);
int policy_image_file(const char *path, struct arena *a, struct image *ret, struct err *err);

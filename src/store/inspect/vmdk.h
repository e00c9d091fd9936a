/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/vmdk.h -- the text in which a VMDK describes itself. */
#pragma once

#include "store/inspect/format.h"

/* Is @text, the beginning of a file, a description that stands alone? QEMU's own test and a wider one. */
bool vmdk_is_description(const char *text, size_t n);

/* May an image that describes itself by these @n octets (up to the first NUL) be taken? Only a single extent,
 * in the file itself, of an allowed kind; each line must be understood. ERR_MEDIA_TYPE. */
int vmdk_check_description(const char *text, size_t n, const char *const *types, struct err *err);

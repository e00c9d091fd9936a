/* SPDX-License-Identifier: Apache-2.0
 * convert/head.h -- what an image is by its own octets, and whether it points outside itself, found out
 * without any program. Room-internal. */
#pragma once

#include <stdint.h>

#include "base/util.h"

struct err;

#define HEAD_OCTETS ((size_t)65536)
#define TAIL_OCTETS ((size_t)512)

struct head {
	const unsigned char *octets; /* the first @n of the image, up to HEAD_OCTETS */
	size_t n;
	const unsigned char *tail;   /* its last TAIL_OCTETS; NULL if it is shorter */
	int64_t size;
};

/* Is it a good image of @format (Glance's word)? @vmdk_types: kinds of VMDK that are taken. *ret_driver is
 * what qemu-img calls the format. ERR_MEDIA_TYPE if it is something else or reaches outside; ERR_INVALID for
 * a format that cannot be converted. */
int head_check(const struct head *h, const char *format, const char *const *vmdk_types, const char **ret_driver,
	       struct err *err);

/* SPDX-License-Identifier: Apache-2.0
 * store/inspect.h -- what the bytes of an image really are, read out of them while they pass: the format, how
 * large the disk in it is, and whether it points outside itself.
 *
 * (1) Memory is constant, whatever the image claims of itself.
 * (2) What is found does not depend on how the stream is cut into pieces.
 * (3) Nothing is opened, run or connected to. What is not understood is refused: a feature that we do not
 * know may be one that opens a file.
 *
 * A reader per format: store/inspect/format.h. An inspection belongs to one thread at a time. */
#pragma once

#include "base/util.h"

struct err;
struct inspect;

/* [image_format]. Borrowed for the life of an inspection. */
struct inspect_rules {
	bool must_match;               /* require_image_format_match; false: what is wrong is a remark */
	bool gpt_nonfatal;             /* gpt_safety_checks_nonfatal: a strange partition table is a remark */
	const char *const *vmdk_types; /* vmdk_allowed_types: createType, as it is written; NULL-terminated */
};

#define INSPECT_SIZE_UNKNOWN INT64_C(-1)

struct inspect_result {
	const char *format;   /* a disk_format's name; "raw": none that we know */
	int64_t virtual_size; /* octets of the disk in it; INSPECT_SIZE_UNKNOWN */
	char remark[512];     /* what the rules let pass, a sentence; "" */
};

/* Of an image that is declared to be of @disk_format in @container_format (Glance's words). Both are copied;
 * ERR_CONFLICT if one is NULL: nobody has said what it is. */
int inspect_new(const struct inspect_rules *rules, const char *disk_format, const char *container_format,
		struct inspect **ret, struct err *err);
void inspect_free(struct inspect *i); /* NULL is fine */
void inspect_free_p(struct inspect **i);

/* The next octets, in order. ERR_MEDIA_TYPE as soon as it is sure that the image is not what it is declared
 * to be, or points outside itself; then only inspect_free() may follow. */
int inspect_update(struct inspect *i, const void *data, size_t n, struct err *err);

/* The stream has ended. ERR_MEDIA_TYPE likewise. To be called once. */
int inspect_finish(struct inspect *i, struct inspect_result *ret, struct err *err);

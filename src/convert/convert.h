/* SPDX-License-Identifier: Apache-2.0
 * convert/convert.h -- what import plugins do to the bytes: unpack a compressed image while it passes, and
 * convert one with qemu-img.
 *
 * (1) Names, paths, links and permissions inside an archive are never used for anything.
 * (2) Output is bounded whatever the input claims.
 * (3) qemu-img runs without a shell, in a directory of its own, with bounded CPU time, memory, file size
 *     and open files, without network and without our environment and descriptors. It is never shown an image that
 *     the caller has not inspected before (store/inspect.h): no backing file, no data file, no VMDK extent outside;
 *     and what it says of the image is held against that once more. */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "base/util.h"

struct err;

/* A stream of octets: at most @n into @data, 0 at the end, negative ERR_*. */
typedef ssize_t convert_read_fn(void *cls, void *data, size_t n, struct err *err);

/* -- image_decompression: gzip, or a zip with exactly one file in it ----------------------------- */

struct unpack;

/* Reads the head of the stream to find out what it is. ERR_MEDIA_TYPE if it is neither. @max_octets is
 * the bound of the output: ERR_TOO_LARGE. The source outlives @ret. */
int unpack_new(convert_read_fn *read, void *cls, int64_t max_octets, struct unpack **ret, struct err *err);
/* Like convert_read_fn. ERR_INVALID for an archive that is broken, cut off, encrypted, or has another
 * member beside the first, or one that is not a plain file. */
ssize_t unpack_read(struct unpack *u, void *data, size_t n, struct err *err);
void unpack_free(struct unpack *u); /* NULL is fine */
void unpack_free_p(struct unpack **u);

/* -- image_conversion ------------------------------------------------------------------------------ */

struct convert_options {
	const char *qemu_img;            /* path of the program */
	int64_t cpu_seconds, memory_octets, max_octets; /* of the child; the last of its output */
	const atomic_bool *cancelled;    /* the child is killed within a second; NULL: never */
};

/* Can qemu-img read images of @format (Glance's word: raw, qcow2, vmdk, vhd, vhdx, vdi)? */
bool convert_knows(const char *format);

/* What qemu-img says of an image. @dir_fd: the private directory (0700, nobody else's); @name: the image in it, a
 * plain name of ours; @format: one that convert_knows(). ERR_MEDIA_TYPE if it says that it is something else or
 * points outside itself; ERR_TOO_LARGE if the disk in it has more than max_octets. */
int convert_look(const struct convert_options *o, int dir_fd, const char *name, const char *format,
		 int64_t *ret_virtual_size, struct err *err);

/* @from in format @format to the new file @to in format @target (raw, qcow2, vmdk ...), both in @dir_fd.
 * convert_look() was asked before. Bounded by @o; on failure there is no @to. */
int convert_run(const struct convert_options *o, int dir_fd, const char *from, const char *format, const char *to,
		const char *target, struct err *err);

/* At start, where the plugin is configured: is there such a program, and is it qemu-img? */
int convert_check(const struct convert_options *o, struct err *err);

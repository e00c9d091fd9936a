/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/ploop.c -- ploop, the disks of OpenVZ and Parallels. Facts: docs/interop/parallels.txt of
 * QEMU.
 *
 *   0 magic   16 version (2)   28 sectors of a cluster   36 sectors of the disk (with the older magic 32
 * bits)
 *
 * All little-endian. It has no way to name another file. */
#include "store/inspect/format.h"

#define HEADER 64
#define OLD_MAGIC "WithoutFreeSpace"
#define MAGIC "WithouFreSpacExt"

static bool ploop_match(const unsigned char *head, size_t n)
{
	return has_at(head, n, 0, OLD_MAGIC, 16) || has_at(head, n, 0, MAGIC, 16);
}

static int ploop_look(struct look *l, struct err *err)
{
	const unsigned char *o = l->octets;

	if (l->n < HEADER)
		return look_refuse(err, "its header is cut off");
	if (get_le32(o + 16) != 2)
		return look_refuse(err, "it is a version of ploop that is not known");
	if (get_le32(o + 28) == 0)
		return look_refuse(err, "its clusters have a size that cannot be");
	return look_set_size(l, has_at(o, l->n, 0, OLD_MAGIC, 16) ? get_le32(o + 36) : get_le64(o + 36), 512,
			     err);
}

const struct format format_ploop = {
	.name = "ploop",
	.match = ploop_match,
	.look = ploop_look,
};

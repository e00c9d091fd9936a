/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/vdi.c -- VirtualBox's VDI. Facts: the header as VirtualBox and QEMU (block/vdi.c) write it.
 *
 *   0x40 magic   0x4c type: 1 grows, 2 fixed, 3 undo, 4 difference   0x170 size of the disk, octets
 *   0x1a8 uuid of the parent   0x1b8 uuid of the parent's last change
 *
 * All little-endian. */
#include "store/inspect/format.h"

#define HEADER 0x1c8
#define AT_TYPE 0x4c
#define AT_SIZE 0x170
#define AT_PARENT 0x1a8
#define PARENT_OCTETS 32 /* both uuids */

static bool vdi_match(const unsigned char *head, size_t n)
{
	return has_at(head, n, 0x40, "\x7f\x10\xda\xbe", 4);
}

static bool has_parent(const unsigned char *o)
{
	uint32_t type = get_le32(o + AT_TYPE);

	for (size_t i = 0; i < PARENT_OCTETS; i++)
		if (o[AT_PARENT + i] != 0)
			return true;
	return type != 1 && type != 2;
}

static int vdi_look(struct look *l, struct err *err)
{
	if (l->n < HEADER)
		return look_refuse(err, "its header is cut off");
	if (has_parent(l->octets))
		return look_refuse(err, "it has a parent");
	return look_set_size(l, get_le64(l->octets + AT_SIZE), 1, err);
}

const struct format format_vdi = {
	.name = "vdi",
	.match = vdi_match,
	.look = vdi_look,
};

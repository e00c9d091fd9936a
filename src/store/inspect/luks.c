/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/luks.c -- an encrypted disk. Facts: the LUKS1 on-disk format, 1.2.3.
 *
 *   0 magic LUKS\xba\xbe   6 version, 16 bit   104 where the data begins, sectors
 *
 * All big-endian. The disk in it is what is behind the header. Version 2 describes itself in JSON; no
 * hypervisor opens it as an image, so it is taken only as a raw disk. */
#include "store/inspect/format.h"

#define HEADER 592
#define AT_PAYLOAD 104

static bool luks_match(const unsigned char *head, size_t n)
{
	return has_at(head, n, 0, "LUKS\xba\xbe", 6);
}

static int luks_look(struct look *l, struct err *err)
{
	if (l->n < HEADER)
		return look_refuse(err, "its header is cut off");
	if (get_be16(l->octets + 6) != 1)
		return look_refuse(err, "it is a version of LUKS that is not known");
	l->kept[0] = (uint64_t)get_be32(l->octets + AT_PAYLOAD) * 512;
	return 0;
}

static int luks_end(struct look *l, const struct ending *e, struct err *err)
{
	if (l->kept[0] > (uint64_t)e->size)
		return look_refuse(err, "it is cut off");
	return look_set_size(l, (uint64_t)e->size - l->kept[0], 1, err);
}

const struct format format_luks = {
	.name = "luks",
	.match = luks_match,
	.look = luks_look,
	.end = luks_end,
};

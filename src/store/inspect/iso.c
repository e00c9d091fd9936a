/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/iso.c -- ISO 9660 and UDF. Facts: ECMA-119 (8.4) and ECMA-167 (part 2): from sector 16 on, of
 * 2,048 octets, descriptors whose names stand behind one octet of type.
 *
 *   0 type (1: primary)   1 name   80 number of blocks, 32 bit   128 size of a block, 16 bit (little-endian
 * first)
 *
 * The disk is as large as the file system says, if there is so much; a hybrid image has partitions behind it.
 */
#include "store/inspect/format.h"

#define SECTOR 2048
#define FIRST ((size_t)16 * SECTOR)

static bool is_called(const unsigned char *head, size_t n, size_t at, const char *name)
{
	return has_at(head, n, at + 1, name, 5);
}

/* UDF: BEA01, then one of these among the next. */
static bool is_udf(const unsigned char *head, size_t n)
{
	if (!is_called(head, n, FIRST, "BEA01"))
		return false;
	for (size_t at = FIRST + SECTOR; at + SECTOR <= n; at += SECTOR)
		if (is_called(head, n, at, "NSR02") || is_called(head, n, at, "NSR03"))
			return true;
	return false;
}

static bool iso_match(const unsigned char *head, size_t n)
{
	return is_called(head, n, FIRST, "CD001") || is_called(head, n, FIRST, "NSR02") ||
	       is_called(head, n, FIRST, "NSR03") || is_udf(head, n);
}

static int iso_look(struct look *l, struct err *err)
{
	const unsigned char *o = l->octets + FIRST;

	if (l->n >= FIRST + SECTOR && o[0] == 1 && is_called(l->octets, l->n, FIRST, "CD001"))
		l->kept[0] = (uint64_t)get_le32(o + 80) * get_le16(o + 128);
	return 0;
}

static int iso_end(struct look *l, const struct ending *e, struct err *err)
{
	bool is_told = l->kept[0] > 0 && l->kept[0] <= (uint64_t)e->size;

	return look_set_size(l, is_told ? l->kept[0] : (uint64_t)e->size, 1, err);
}

const struct format format_iso = {
	.name = "iso",
	.match = iso_match,
	.look = iso_look,
	.end = iso_end,
};

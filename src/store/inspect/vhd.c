/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/vhd.c -- Microsoft's VHD. Facts: Virtual Hard Disk Image Format Specification, 1.0.
 *
 *   0 magic conectix   48 size of the disk, octets   60 type: 2 fixed, 3 dynamic, 4 difference
 *
 * All big-endian. These 512 octets are the footer of every VHD; one that is dynamic begins with a copy of
 * them, a fixed one is a raw disk with nothing but them behind it. */
#include <string.h>

#include "store/inspect/format.h"

#define FOOTER 512
#define FIXED 2
#define DYNAMIC 3

enum { BY_TAIL, BY_HEAD }; /* step */

static bool vhd_match(const unsigned char *head, size_t n)
{
	return has_at(head, n, 0, "conectix", 8);
}

static const unsigned char *footer_of(const struct ending *e)
{
	return e->n_tail >= FOOTER ? e->tail + e->n_tail - FOOTER : NULL;
}

bool vhd_is_tail(const struct ending *e)
{
	const unsigned char *footer = footer_of(e);

	return footer && vhd_match(footer, FOOTER);
}

static int check_type(const unsigned char *footer, uint32_t type, struct err *err)
{
	uint32_t has = get_be32(footer + 60);

	if (has == type)
		return 0;
	return look_refuse(err, has == FIXED || has == DYNAMIC ? "it is two kinds of VHD at once"
							       : "it has a parent");
}

static int vhd_look(struct look *l, struct err *err)
{
	int r;

	if (l->n < FOOTER)
		return look_refuse(err, "its header is cut off");
	r = check_type(l->octets, DYNAMIC, err);
	if (r < 0)
		return r;
	l->step = BY_HEAD;
	return look_set_size(l, get_be64(l->octets + 48), 1, err);
}

static int end_fixed(struct look *l, const struct ending *e, struct err *err)
{
	const unsigned char *footer = footer_of(e);
	int r = check_type(footer, FIXED, err);

	if (r < 0)
		return r;
	if (get_be64(footer + 48) > (uint64_t)e->size - FOOTER)
		return look_refuse(err, "it is cut off");
	return look_set_size(l, get_be64(footer + 48), 1, err);
}

/* The footer of a dynamic one may be lost: the copy is there for that. */
static int vhd_end(struct look *l, const struct ending *e, struct err *err)
{
	if (l->step == BY_TAIL)
		return end_fixed(l, e, err);
	return vhd_is_tail(e) ? check_type(footer_of(e), DYNAMIC, err) : 0;
}

const struct format format_vhd = {
	.name = "vhd",
	.match = vhd_match,
	.look = vhd_look,
	.end = vhd_end,
};

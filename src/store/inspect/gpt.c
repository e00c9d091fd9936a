/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/gpt.c -- a disk with partitions, of a GPT or an MBR. Facts: UEFI 2.10, 5.2.
 *
 *   446 four entries of 16 octets: 0 boot flag, 1 first sector in cylinder, head, sector, 4 type, 8 first
 * sector 510 0x55 0xaa
 *
 * A disk with partitions is a raw disk, so this is no other format than raw, and boot sectors of all kinds
 * have the same mark: what is strange about the table is refused only where the rules say so. */
#include "store/inspect/format.h"

#define MBR 512
#define ENTRIES 446
#define N_ENTRIES 4
#define TYPE_PROTECTIVE 0xee

/* The boot sector of a FAT file system looks like an MBR, but has numbers of its own where code would be. */
static bool is_fat(const unsigned char *o)
{
	return o[0x10] == 2 && o[0x15] == 0xf8;
}

static bool gpt_match(const unsigned char *head, size_t n)
{
	return n >= MBR && has_at(head, n, 510, "\x55\xaa", 2) && !is_fat(head);
}

static int check_protective(const unsigned char *entry, struct err *err)
{
	if (entry[1] != 0 || entry[2] != 2 || entry[3] != 0 || get_le32(entry + 8) != 1)
		return look_refuse(err, "the partition that protects its GPT does not begin where it has to");
	return 0;
}

static int gpt_look(struct look *l, struct err *err)
{
	unsigned n_used = 0, n_protective = 0;
	int r = 0;

	for (size_t i = 0; i < N_ENTRIES && r == 0; i++) {
		const unsigned char *entry = l->octets + ENTRIES + 16 * i;

		if (entry[0] != 0 && entry[0] != 0x80)
			return look_refuse(err, "its partition table has a boot flag that cannot be");
		n_used += entry[4] != 0;
		n_protective += entry[4] == TYPE_PROTECTIVE;
		if (entry[4] == TYPE_PROTECTIVE)
			r = check_protective(entry, err);
	}
	if (r < 0)
		return r;
	if (n_protective > 0 && (n_used > 1 || l->octets[ENTRIES + 4] != TYPE_PROTECTIVE))
		return look_refuse(err, "it has other partitions beside its GPT");
	return n_used > 0 ? 0 : look_refuse(err, "its partition table is empty");
}

static int gpt_end(struct look *l, const struct ending *e, struct err *err)
{
	return look_set_size(l, (uint64_t)e->size, 1, err);
}

const struct format format_gpt = {
	.name = "gpt",
	.match = gpt_match,
	.look = gpt_look,
	.end = gpt_end,
};

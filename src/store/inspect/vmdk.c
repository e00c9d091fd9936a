/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/vmdk.c -- VMware's VMDK, of the kinds that are a single file. Facts: VMware Virtual Disks,
 * Virtual Disk Format 5.0.
 *
 *   0 magic KDMV   4 version   8 flags   12 sectors of the disk   20 sectors of a grain   28 sector of the
 *   description   36 its length   56 sector of the grain directory   64 of the first grain (overhead)
 *   77 compression, 16 bit: 1 deflate
 *
 * All little-endian. A grain directory at the end of time means that a second header, at the end of the file,
 * counts: marker, footer, marker, a sector each.
 *
 * What the disk begins with is looked at, too: an image of another format in there is made to be found by
 * somebody who guesses formats. Where that cannot be reached in passing it is let be: a guest would see it as
 * bytes, and a conversion inspects what comes out. */
#include "store/inspect/vmdk.h"

#include <string.h>
#include <zlib.h>

#include "base/err.h"

#define SECTOR ((uint64_t)512)
#define HEADER 512
#define AT_FLAGS 8
#define AT_CAPACITY 12
#define AT_DESCRIPTION 28
#define AT_DIRECTORY 56
#define AT_OVERHEAD 64
#define AT_COMPRESSION 77
#define DIRECTORY_AT_END UINT64_MAX
#define MAX_SECTOR (UINT64_C(1) << 53)
#define MARKER_FOOTER 3
#define MARKER_HEADER 12 /* of a compressed grain: 0 sector in the disk, 8 octets that follow */

enum { HEAD, DIRECTORY, TABLE, GRAIN, MARKER, PACKED_GRAIN }; /* step: what is shown */
enum { HAS_FOOTER, CAPACITY, DESCRIPTION, N_DESCRIPTION };    /* kept */

static bool is_sparse(const unsigned char *head, size_t n)
{
	return has_at(head, n, 0, "KDMV", 4);
}

static bool vmdk_match(const unsigned char *head, size_t n)
{
	return is_sparse(head, n) || has_at(head, n, 0, "COWD", 4) ||
	       vmdk_is_description((const char *)head, n);
}

/* -- the head ------------------------------------------------------------------------------------- */

static int check_head(struct look *l, struct err *err)
{
	const unsigned char *o = l->octets;
	uint64_t n_octets;

	if (!is_sparse(o, l->n))
		return look_refuse(err, has_at(o, l->n, 0, "COWD", 4)
						? "it is a kind of VMDK that is not allowed"
						: "it has its data in other files");
	if (l->n < 2 * HEADER)
		return look_refuse(err, "its header is cut off");
	if (get_le32(o + 4) < 1 || get_le32(o + 4) > 3)
		return look_refuse(err, "it is a version of VMDK that is not known");
	if (get_le64(o + AT_CAPACITY) == 0) /* then QEMU goes by the description alone */
		return look_refuse(err, "it has its data in other files");
	n_octets = get_le64(o + AT_DESCRIPTION + 8);
	if (get_le64(o + AT_DESCRIPTION) != 1 || n_octets == 0 || n_octets >= HEAD_OCTETS / SECTOR ||
	    (1 + n_octets) * SECTOR > l->n)
		return look_refuse(err, "it is a VMDK without a description where it should be");
	return vmdk_check_description((const char *)o + SECTOR, n_octets * SECTOR, l->rules->vmdk_types, err);
}

static void want_sector(struct look *l, unsigned step, uint64_t sector, size_t n)
{
	if (sector == 0 || sector > MAX_SECTOR)
		return;
	l->step = step;
	look_want(l, sector * SECTOR, n);
}

static int look_at_head(struct look *l, struct err *err)
{
	const unsigned char *o = l->octets;
	int r = check_head(l, err);

	if (r < 0)
		return r;
	l->kept[HAS_FOOTER] = get_le64(o + AT_DIRECTORY) == DIRECTORY_AT_END;
	l->kept[CAPACITY] = get_le64(o + AT_CAPACITY);
	l->kept[DESCRIPTION] = get_le64(o + AT_DESCRIPTION);
	l->kept[N_DESCRIPTION] = get_le64(o + AT_DESCRIPTION + 8);
	if (get_le16(o + AT_COMPRESSION) != 0)
		want_sector(l, MARKER, get_le64(o + AT_OVERHEAD), MARKER_HEADER);
	else if (!l->kept[HAS_FOOTER])
		want_sector(l, DIRECTORY, get_le64(o + AT_DIRECTORY), 4);
	return look_set_size(l, get_le64(o + AT_CAPACITY), SECTOR, err);
}

/* -- what the disk begins with -------------------------------------------------------------------- */

static int check_disk(const unsigned char *octets, size_t n, struct err *err)
{
	return format_find(octets, n) ? look_refuse(err, "there is an image of another format in it") : 0;
}

static int check_packed(const unsigned char *octets, size_t n, struct err *err)
{
	unsigned char begin[HEADER];
	z_stream z = {.next_in = (unsigned char *)octets,
		      .avail_in = (unsigned)n,
		      .next_out = begin,
		      .avail_out = sizeof(begin)};
	int r;

	if (inflateInit(&z) != Z_OK)
		return err_nomem(err);
	(void)inflate(&z, Z_SYNC_FLUSH);
	r = check_disk(begin, sizeof(begin) - z.avail_out, err);
	(void)inflateEnd(&z);
	return r;
}

static void look_at_marker(struct look *l)
{
	uint32_t n = get_le32(l->octets + 8);

	if (get_le64(l->octets) != 0 || n == 0)
		return;
	l->step = PACKED_GRAIN;
	look_want(l, l->want_at + MARKER_HEADER, n < PART_OCTETS ? n : PART_OCTETS);
}

static int look_at_disk(struct look *l, struct err *err)
{
	switch (l->step) {
	case DIRECTORY:
		want_sector(l, TABLE, get_le32(l->octets), 4);
		return 0;
	case TABLE:
		want_sector(l, GRAIN, get_le32(l->octets), SECTOR);
		return 0;
	case GRAIN:
		return check_disk(l->octets, l->n, err);
	case MARKER:
		look_at_marker(l);
		return 0;
	default:
		return check_packed(l->octets, l->n, err);
	}
}

static int vmdk_look(struct look *l, struct err *err)
{
	if (l->step == HEAD)
		return look_at_head(l, err);
	return l->octets ? look_at_disk(l, err) : 0;
}

/* -- the end -------------------------------------------------------------------------------------- */

static bool is_marker(const unsigned char *sector, uint32_t type)
{
	for (size_t i = 16; i < SECTOR; i++)
		if (sector[i] != 0)
			return false;
	return get_le32(sector + 8) == 0 && get_le32(sector + 12) == type;
}

static bool is_same_disk(const struct look *l, const unsigned char *footer)
{
	return is_sparse(footer, HEADER) && get_le64(footer + AT_CAPACITY) == l->kept[CAPACITY] &&
	       get_le64(footer + AT_DESCRIPTION) == l->kept[DESCRIPTION] &&
	       get_le64(footer + AT_DESCRIPTION + 8) == l->kept[N_DESCRIPTION] &&
	       get_le64(footer + AT_DIRECTORY) != DIRECTORY_AT_END;
}

static int vmdk_end(struct look *l, const struct ending *e, struct err *err)
{
	const unsigned char *tail = e->tail;

	if (!l->kept[HAS_FOOTER])
		return 0;
	if (e->n_tail < TAIL_OCTETS || !is_marker(tail, MARKER_FOOTER) || get_le64(tail + 2 * SECTOR) != 0 ||
	    !is_marker(tail + 2 * SECTOR, 0))
		return look_refuse(err, "it is cut off: its footer is not where it should be");
	return is_same_disk(l, tail + SECTOR)
		       ? 0
		       : look_refuse(err, "its footer says something else than its header");
}

const struct format format_vmdk = {
	.name = "vmdk",
	.match = vmdk_match,
	.look = vmdk_look,
	.end = vmdk_end,
};

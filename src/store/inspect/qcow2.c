/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/qcow2.c -- QEMU's qcow2, versions 2 and 3, and its ancestor qcow. Facts:
 * docs/interop/qcow2.txt of QEMU; of qcow the layout of its header.
 *
 *   0 magic QFI\xfb   4 version   8 offset of the backing file's name (0: none)   20 cluster bits
 *   24 size   32 encryption   36 entries of the first table   40 its offset
 *   72 incompatible features   100 length of the header (both: version 3)
 *
 * All big-endian. */
#include "store/inspect/format.h"

#define MAGIC "QFI\xfb"
#define HEADER_2 72
#define HEADER_3 104

#define FEATURE_DIRTY (UINT64_C(1) << 0)
#define FEATURE_CORRUPT (UINT64_C(1) << 1)
#define FEATURE_DATA_FILE (UINT64_C(1) << 2)
#define FEATURE_COMPRESSION (UINT64_C(1) << 3)
#define FEATURE_EXTENDED_L2 (UINT64_C(1) << 4)
#define FEATURES_TAKEN (FEATURE_DIRTY | FEATURE_CORRUPT | FEATURE_COMPRESSION | FEATURE_EXTENDED_L2)

#define MIN_CLUSTER_BITS 9
#define MAX_CLUSTER_BITS 21
#define MAX_L1_ENTRIES ((uint32_t)32 << 17) /* 32 MiB of 8 octets each */

static uint32_t version_of(const unsigned char *head, size_t n)
{
	return has_at(head, n, 0, MAGIC, 4) && n >= 8 ? get_be32(head + 4) : 0;
}

static bool qcow2_match(const unsigned char *head, size_t n)
{
	return has_at(head, n, 0, MAGIC, 4) && version_of(head, n) != 1;
}

static int check_features(const unsigned char *o, size_t n, struct err *err)
{
	uint64_t features;

	if (get_be32(o + 4) == 2)
		return 0;
	if (n < HEADER_3 || get_be32(o + 100) < HEADER_3)
		return look_refuse(err, "its header is cut off");
	features = get_be64(o + 72);
	if (features & FEATURE_DATA_FILE)
		return look_refuse(err, "it keeps its data in another file");
	if (features & ~FEATURES_TAKEN)
		return look_refuse(err, "it has features that are not known");
	return 0;
}

/* Numbers that a reader after us might calculate with. */
static int check_geometry(const unsigned char *o, struct err *err)
{
	uint32_t cluster_bits = get_be32(o + 20);

	if (cluster_bits < MIN_CLUSTER_BITS || cluster_bits > MAX_CLUSTER_BITS)
		return look_refuse(err, "its clusters have a size that cannot be");
	if (get_be32(o + 32) > 2)
		return look_refuse(err, "it is encrypted in a way that is not known");
	if (get_be32(o + 36) > MAX_L1_ENTRIES || get_be64(o + 40) > INT64_MAX)
		return look_refuse(err, "its first table has a size that cannot be");
	return 0;
}

static int qcow2_look(struct look *l, struct err *err)
{
	const unsigned char *o = l->octets;
	int r;

	if (l->n < HEADER_2)
		return look_refuse(err, "its header is cut off");
	if (get_be32(o + 4) != 2 && get_be32(o + 4) != 3)
		return look_refuse(err, "it is a version of qcow2 that is not known");
	if (get_be64(o + 8) != 0)
		return look_refuse(err, "it has a backing file");
	r = check_features(o, l->n, err);
	if (r == 0)
		r = check_geometry(o, err);
	return r < 0 ? r : look_set_size(l, get_be64(o + 24), 1, err);
}

const struct format format_qcow2 = {
	.name = "qcow2",
	.match = qcow2_match,
	.look = qcow2_look,
};

static bool qcow_match(const unsigned char *head, size_t n)
{
	return version_of(head, n) == 1;
}

static int qcow_look(struct look *l, struct err *err)
{
	const unsigned char *o = l->octets;

	if (l->n < 48)
		return look_refuse(err, "its header is cut off");
	if (get_be64(o + 8) != 0)
		return look_refuse(err, "it has a backing file");
	return look_set_size(l, get_be64(o + 24), 1, err);
}

const struct format format_qcow = {
	.name = "qcow",
	.match = qcow_match,
	.look = qcow_look,
};

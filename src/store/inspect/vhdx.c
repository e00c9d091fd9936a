/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/vhdx.c -- Microsoft's VHDX. Facts: [MS-VHDX] 2.2.3 (regions), 2.6 (metadata).
 *
 *   the magic vhdxfile
 *   -> region table at 192 KiB: regi, 8 number of entries; 32 octets each: guid, 16 offset, 24 length, 28
 * flags
 *   -> metadata region: metadata, 10 number of entries, 16 bit; from 32 on 32 octets each: guid, 16 offset in
 * the region, 20 length, 24 flags
 *   -> file parameters (4: bit 1, has a parent) and the size of the disk, 64 bit, in the order they come in
 *
 * All little-endian. */
#include <string.h>

#include "store/inspect/format.h"

#define REGIONS_AT ((uint64_t)192 * 1024)
#define FIRST_REGION_AT ((uint64_t)1024 * 1024)
#define TABLE_OCTETS ((size_t)64 * 1024)
#define MAX_ENTRIES 2047
#define ENTRY 32
#define REGION_REQUIRED 1
#define ITEM_REQUIRED 4
#define HAS_PARENT 2

enum { HEAD, REGIONS, METADATA, ITEM_1, ITEM_2 }; /* step: what is shown */
enum { PARAMETERS, SIZE, N_ITEMS };               /* kept: where they are */

/* As they stand in the file. */
static const char guid_bat[] = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
static const char guid_metadata[] = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
static const char guid_parameters[] = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
static const char guid_size[] = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
static const char guid_page83[] = "\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46";
static const char guid_logical[] = "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f";
static const char guid_physical[] = "\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56";
static const char guid_parent[] = "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";

static bool is_guid(const unsigned char *entry, const char *guid)
{
	return memcmp(entry, guid, 16) == 0;
}

static bool vhdx_match(const unsigned char *head, size_t n)
{
	return has_at(head, n, 0, "vhdxfile", 8);
}

/* -- regions -------------------------------------------------------------------------------------- */

static int take_region(struct look *l, const unsigned char *entry, struct err *err)
{
	if (is_guid(entry, guid_metadata)) {
		if (l->kept[0] != 0)
			return look_refuse(err, "it has two regions for the same");
		l->kept[0] = get_le64(entry + 16);
		return 0;
	}
	if (!is_guid(entry, guid_bat) && get_le32(entry + 28) & REGION_REQUIRED)
		return look_refuse(err, "it has features that are not known");
	return 0;
}

static int look_at_regions(struct look *l, struct err *err)
{
	uint32_t n_entries = get_le32(l->octets + 8);
	int r = 0;

	if (!has_at(l->octets, l->n, 0, "regi", 4) || n_entries > MAX_ENTRIES)
		return look_refuse(err, "its region table is broken");
	for (uint32_t i = 0; i < n_entries && r == 0; i++)
		r = take_region(l, l->octets + 16 + i * ENTRY, err);
	if (r < 0)
		return r;
	if (l->kept[0] < FIRST_REGION_AT || l->kept[0] > INT64_MAX - TABLE_OCTETS)
		return look_refuse(err, "its metadata is not where it has to be");
	l->step = METADATA;
	look_want(l, l->kept[0], TABLE_OCTETS);
	return 0;
}

/* -- metadata ------------------------------------------------------------------------------------- */

static bool is_harmless(const unsigned char *entry)
{
	return is_guid(entry, guid_page83) || is_guid(entry, guid_logical) || is_guid(entry, guid_physical) ||
	       !(get_le32(entry + 24) & ITEM_REQUIRED);
}

static int take_item(uint64_t where[N_ITEMS], const unsigned char *entry, struct err *err)
{
	uint64_t *w = is_guid(entry, guid_parameters) ? &where[PARAMETERS]
		      : is_guid(entry, guid_size)     ? &where[SIZE]
						      : NULL;

	if (is_guid(entry, guid_parent))
		return look_refuse(err, "it has a parent");
	if (!w)
		return is_harmless(entry) ? 0 : look_refuse(err, "it has features that are not known");
	if (*w != 0)
		return look_refuse(err, "it says the same thing twice");
	*w = get_le32(entry + 16);
	return *w >= TABLE_OCTETS && get_le32(entry + 20) == 8 ? 0
							       : look_refuse(err, "its metadata is broken");
}

/* The nearer of the two first; they are 8 octets each. */
static int look_at_metadata(struct look *l, struct err *err)
{
	uint64_t region = l->kept[0], where[N_ITEMS] = {0};
	uint16_t n_entries = get_le16(l->octets + 10);
	int r = 0;

	if (!has_at(l->octets, l->n, 0, "metadata", 8) || n_entries > MAX_ENTRIES)
		return look_refuse(err, "its metadata is broken");
	for (uint16_t i = 0; i < n_entries && r == 0; i++)
		r = take_item(where, l->octets + ENTRY + i * ENTRY, err);
	if (r < 0)
		return r;
	if (where[PARAMETERS] == 0 || where[SIZE] == 0 || where[PARAMETERS] == where[SIZE])
		return look_refuse(err, "it does not say how large it is");
	l->kept[PARAMETERS] = region + where[PARAMETERS];
	l->kept[SIZE] = region + where[SIZE];
	l->step = ITEM_1;
	look_want(l, where[PARAMETERS] < where[SIZE] ? l->kept[PARAMETERS] : l->kept[SIZE], 8);
	return 0;
}

static int look_at_item(struct look *l, uint64_t at, struct err *err)
{
	if (at == l->kept[SIZE])
		return look_set_size(l, get_le64(l->octets), 1, err);
	return get_le32(l->octets + 4) & HAS_PARENT ? look_refuse(err, "it has a parent") : 0;
}

static int look_at_items(struct look *l, struct err *err)
{
	uint64_t at = l->want_at;
	int r = look_at_item(l, at, err);

	if (r < 0 || l->step == ITEM_2)
		return r;
	l->step = ITEM_2;
	look_want(l, at == l->kept[SIZE] ? l->kept[PARAMETERS] : l->kept[SIZE], 8);
	return 0;
}

static int vhdx_look(struct look *l, struct err *err)
{
	if (!l->octets)
		return look_refuse(err, "it is cut off, or its parts are in an order that is not known");
	switch (l->step) {
	case HEAD:
		l->step = REGIONS;
		look_want(l, REGIONS_AT, TABLE_OCTETS);
		return 0;
	case REGIONS:
		return look_at_regions(l, err);
	case METADATA:
		return look_at_metadata(l, err);
	default:
		return look_at_items(l, err);
	}
}

const struct format format_vhdx = {
	.name = "vhdx",
	.match = vhdx_match,
	.look = vhdx_look,
};

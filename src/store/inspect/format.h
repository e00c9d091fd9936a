/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/format.h -- what a reader of one format does.
 *
 * It is shown the head of the stream, may ask for parts that are still to come, one after the other, and at
 * the end sees the tail. It keeps nothing but what is in its struct look, so that its memory is constant. */
#pragma once

#include "store/inspect.h"

#define HEAD_OCTETS                                                                                          \
	((size_t)64 * 1024) /* an ISO shows itself at 32 KiB, a VMDK describes itself before 11 KiB */
#define PART_OCTETS ((size_t)64 * 1024) /* most that can be asked for at a time: a region table of a VHDX */
#define TAIL_OCTETS ((size_t)1536)      /* the end of a stream-optimized VMDK: marker, footer, marker */

struct look {
	const struct inspect_rules *rules;

	/* What is shown: at first the head, shorter than HEAD_OCTETS if the stream is; later what was asked
	 * for, all of it. NULL: that cannot be had; the stream is past it, or has ended before it. */
	const unsigned char *octets;
	size_t n;

	/* What is asked for next; want_n 0: nothing more. */
	uint64_t want_at;
	size_t want_n;

	int64_t virtual_size; /* once it is known */

	/* The reader's own. */
	unsigned step;
	uint64_t kept[6];
};

/* How a stream ended. */
struct ending {
	int64_t size;              /* octets there were */
	const unsigned char *tail; /* the last @n_tail of them */
	size_t n_tail;             /* TAIL_OCTETS, less if there were not so many */
};

struct format {
	const char *name; /* as disk_format has it */

	/* Do the first @n octets say that it is of this format? */
	bool (*match)(const unsigned char *head, size_t n);
	/* Called with the head, and again with each part that was asked for. An error ends it all. */
	int (*look)(struct look *l, struct err *err);
	/* Called last; may be NULL. */
	int (*end)(struct look *l, const struct ending *e, struct err *err);
};

extern const struct format format_qcow2, format_qcow, format_qed, format_vmdk, format_vhd, format_vhdx,
	format_vdi, format_luks, format_iso, format_ploop, format_gpt;

/* A fixed VHD shows itself only at its end. */
bool vhd_is_tail(const struct ending *e);

/* The reader of the format that the first @n octets of a disk say; NULL: none but partitions. */
const struct format *format_find(const unsigned char *head, size_t n);

static inline void look_want(struct look *l, uint64_t at, size_t n)
{
	l->want_at = at;
	l->want_n = n;
}

/* Why an image is not taken; @why reads on after "The image is refused: ". ERR_MEDIA_TYPE. */
int look_refuse(struct err *err, const char *why);
/* The disk has @n units of @unit octets. Refuses what no file can be. */
int look_set_size(struct look *l, uint64_t n, uint64_t unit, struct err *err);

/* -- numbers in octets ---------------------------------------------------------------------------- */

static inline uint16_t get_be16(const unsigned char *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const unsigned char *p)
{
	return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static inline uint64_t get_be64(const unsigned char *p)
{
	return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

static inline uint16_t get_le16(const unsigned char *p)
{
	return (uint16_t)(p[1] << 8 | p[0]);
}

static inline uint32_t get_le32(const unsigned char *p)
{
	return (uint32_t)get_le16(p + 2) << 16 | get_le16(p);
}

static inline uint64_t get_le64(const unsigned char *p)
{
	return (uint64_t)get_le32(p + 4) << 32 | get_le32(p);
}

static inline bool has_at(const unsigned char *octets, size_t n, size_t at, const char *magic, size_t n_magic)
{
	return n >= n_magic && at <= n - n_magic && __builtin_memcmp(octets + at, magic, n_magic) == 0;
}

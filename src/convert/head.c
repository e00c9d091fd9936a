/* SPDX-License-Identifier: Apache-2.0
 * convert/head.c -- the headers of disk images. Facts: the formats' documents (docs/interop of QEMU for
 * qcow2, the VMDK, VHD and VDI specifications).
 *
 * What is not understood is refused: a feature that we do not know may be one that opens a file. */
#include "head.h"

#include <string.h>
#include <strings.h>

#include "base/err.h"

#define QCOW2_DIRTY (1 << 0)
#define QCOW2_COMPRESSION (1 << 3)
#define QCOW2_EXTENDED_L2 (1 << 4)
#define VHD_FIXED 2
#define VHD_DYNAMIC 3

static uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t be64(const unsigned char *p)
{
	return (uint64_t)be32(p) << 32 | be32(p + 4);
}

static uint32_t le32(const unsigned char *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static uint64_t le64(const unsigned char *p)
{
	return (uint64_t)le32(p + 4) << 32 | le32(p);
}

static bool has_at(const struct head *h, size_t at, const char *magic, size_t n)
{
	return at + n <= h->n && memcmp(h->octets + at, magic, n) == 0;
}

/* -- what it is ----------------------------------------------------------------------------------- */

static bool is_qcow(const struct head *h)
{
	return has_at(h, 0, "QFI\xfb", 4);
}

static bool is_vmdk(const struct head *h)
{
	return has_at(h, 0, "KDMV", 4) || has_at(h, 0, "COWD", 4) || has_at(h, 0, "# Disk DescriptorFile", 21);
}

static bool is_vhd(const struct head *h)
{
	return has_at(h, 0, "conectix", 8) || (h->tail && memcmp(h->tail, "conectix", 8) == 0);
}

static bool is_vhdx(const struct head *h)
{
	return has_at(h, 0, "vhdxfile", 8);
}

static bool is_vdi(const struct head *h)
{
	return has_at(h, 0x40, "\x7f\x10\xda\xbe", 4);
}

static bool is_qed(const struct head *h)
{
	return has_at(h, 0, "QED\0", 4);
}

static bool is_parallels(const struct head *h)
{
	return has_at(h, 0, "WithoutFreeSpace", 16) || has_at(h, 0, "WithouFreSpacExt", 16);
}

static bool is_any(const struct head *h)
{
	return is_qcow(h) || is_vmdk(h) || is_vhd(h) || is_vhdx(h) || is_vdi(h) || is_qed(h) || is_parallels(h);
}

static int mismatch(const char *format, struct err *err)
{
	return err_set(err, ERR_MEDIA_TYPE, "The image says that it is %.16s, but its data is not.", format);
}

static int outside(struct err *err, const char *what)
{
	return err_set(err, ERR_MEDIA_TYPE, "The image is refused: %s.", what);
}

/* -- one by one ----------------------------------------------------------------------------------- */

static int check_raw(const struct head *h, const char *const *types, struct err *err)
{
	return is_any(h) ? mismatch("raw", err) : 0;
}

static int check_qcow2(const struct head *h, const char *const *types, struct err *err)
{
	const uint64_t known = QCOW2_DIRTY | QCOW2_COMPRESSION | QCOW2_EXTENDED_L2;
	uint32_t version;

	if (!is_qcow(h) || h->n < 104)
		return mismatch("qcow2", err);
	version = be32(h->octets + 4);
	if (version != 2 && version != 3)
		return mismatch("qcow2", err);
	if (be64(h->octets + 8) != 0)
		return outside(err, "it has a backing file");
	if (version == 3 && (be64(h->octets + 72) & ~known))
		return outside(err, "it keeps its data in another file, or has features that are not known");
	return 0;
}

/* The first @n octets of @text as a line's worth: up to its end. */
static size_t line_length(const char *text, size_t n)
{
	size_t k = 0;

	while (k < n && text[k] != '\n' && text[k] != '\r' && text[k] != '\0')
		k++;
	return k;
}

static bool begins(const char *line, size_t n, const char *word)
{
	return n >= strlen(word) && strncasecmp(line, word, strlen(word)) == 0;
}

static bool is_type_allowed(const char *const *types, const char *value, size_t n)
{
	for (; types && *types; types++)
		if (strlen(*types) == n && memcmp(*types, value, n) == 0)
			return true;
	return false;
}

/* createType="streamOptimized" */
static bool type_is_good(const char *line, size_t n, const char *const *types)
{
	const char *from = memchr(line, '"', n), *to;

	if (!from)
		return false;
	from++;
	to = memchr(from, '"', n - (size_t)(from - line));
	return to && is_type_allowed(types, from, (size_t)(to - from));
}

/* An extent line: access, size, kind, name. Only the kind that is the file itself is taken. */
static bool extent_is_good(const char *line, size_t n)
{
	size_t at = 0;

	for (int word = 0; word < 2; word++) {
		while (at < n && line[at] != ' ' && line[at] != '\t')
			at++;
		while (at < n && (line[at] == ' ' || line[at] == '\t'))
			at++;
	}
	return begins(line + at, n - at, "SPARSE \"") && !memchr(line + at, '/', n - at);
}

static bool is_extent(const char *line, size_t n)
{
	return begins(line, n, "RW ") || begins(line, n, "RDONLY ") || begins(line, n, "NOACCESS ");
}

static int check_descriptor(const char *text, size_t n, const char *const *types, struct err *err)
{
	bool typed = false;
	unsigned n_extents = 0;

	for (size_t at = 0; at < n && text[at];) {
		const char *line = text + at;
		size_t length = line_length(line, n - at);

		at += length + 1;
		if (begins(line, length, "createType")) {
			if (typed || !type_is_good(line, length, types))
				return outside(err, "it is a kind of VMDK that is not allowed");
			typed = true;
		} else if (is_extent(line, length)) {
			if (++n_extents > 1 || !extent_is_good(line, length))
				return outside(err, "it has its data in other files");
		} else if (begins(line, length, "parentFileNameHint")) {
			return outside(err, "it has a parent");
		}
	}
	return typed ? 0 : outside(err, "it is a VMDK that does not say of which kind");
}

/* The embedded descriptor, and once more what stands where QEMU looks for it. */
static int check_vmdk(const struct head *h, const char *const *types, struct err *err)
{
	uint64_t at, n;
	int r;

	if (!is_vmdk(h))
		return mismatch("vmdk", err);
	if (!has_at(h, 0, "KDMV", 4) || h->n < 1024)
		return outside(err, "it is a kind of VMDK that is not allowed");
	if (le64(h->octets + 12) == 0)
		return outside(err, "it has its data in other files");
	at = le64(h->octets + 28);
	n = le64(h->octets + 36);
	if (at == 0 || at > HEAD_OCTETS / 512 || n == 0 || n > HEAD_OCTETS / 512 || (at + n) * 512 > h->n)
		return outside(err, "it is a VMDK without a description where it should be");
	r = check_descriptor((const char *)h->octets + at * 512, n * 512, types, err);
	if (r == 0 && at != 1)
		r = check_descriptor((const char *)h->octets + 512, h->n - 512, types, err);
	return r;
}

static bool vhd_type_is_good(const unsigned char *footer)
{
	uint32_t type = be32(footer + 60);

	return type == VHD_FIXED || type == VHD_DYNAMIC;
}

static int check_vhd(const struct head *h, const char *const *types, struct err *err)
{
	if (!is_vhd(h) || h->n < TAIL_OCTETS)
		return mismatch("vhd", err);
	if (has_at(h, 0, "conectix", 8) && !vhd_type_is_good(h->octets))
		return outside(err, "it has a parent");
	if (h->tail && memcmp(h->tail, "conectix", 8) == 0 && !vhd_type_is_good(h->tail))
		return outside(err, "it has a parent");
	return 0;
}

static int check_vhdx(const struct head *h, const char *const *types, struct err *err)
{
	return is_vhdx(h) ? 0 : mismatch("vhdx", err);
}

static int check_vdi(const struct head *h, const char *const *types, struct err *err)
{
	uint32_t type;

	if (!is_vdi(h) || h->n < TAIL_OCTETS)
		return mismatch("vdi", err);
	type = le32(h->octets + 0x4c);
	return type == 1 || type == 2 ? 0 : outside(err, "it has a parent");
}

static const struct {
	const char *format, *driver;
	int (*check)(const struct head *h, const char *const *types, struct err *err);
} formats[] = {
	{"raw", "raw", check_raw},    {"qcow2", "qcow2", check_qcow2}, {"vmdk", "vmdk", check_vmdk},
	{"vhd", "vpc", check_vhd},    {"vhdx", "vhdx", check_vhdx},    {"vdi", "vdi", check_vdi},
};

int head_check(const struct head *h, const char *format, const char *const *vmdk_types, const char **ret_driver,
	       struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		if (strcmp(formats[i].format, format) != 0)
			continue;
		*ret_driver = formats[i].driver;
		return formats[i].check(h, vmdk_types, err);
	}
	return err_set(err, ERR_INVALID, "An image of the format %.16s cannot be converted.", format);
}

/* SPDX-License-Identifier: Apache-2.0
 * convert/unpack.c -- gzip by zlib, which checks sums and lengths; zip by libarchive, as a stream. Nothing
 * but those two is switched on, the names in a zip are never looked at, and memory does not depend on the
 * input. */
#include "convert.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/err.h"

#define INPUT_BYTES ((size_t)256 * 1024)
#define GZIP_WINDOW (15 + 16) /* zlib: expect a gzip header */

enum packing { GZIP, ZIP };

struct unpack {
	convert_read_fn *read;
	void *cls;
	int64_t left; /* octets that may still come out */
	enum packing packing;

	unsigned char *input; /* of INPUT_BYTES */
	size_t at, n;         /* what of it is to be used yet */
	bool input_ended;
	struct err err;       /* of the source; code 0: none */

	z_stream z;
	bool z_open, member_ended;
	struct archive *archive;
	bool ended;
};

static int broken(struct err *err)
{
	return err_set(err, ERR_INVALID, "The compressed image is broken or cut off.");
}

/* More input, if none is left. */
static int refill(struct unpack *u)
{
	ssize_t n;

	if (u->n > 0 || u->input_ended)
		return u->err.code;
	n = u->read(u->cls, u->input, INPUT_BYTES, &u->err);
	if (n < 0)
		return u->err.code ? u->err.code : (int)n;
	u->at = 0;
	u->n = (size_t)n;
	u->input_ended = n == 0;
	return 0;
}

/* The first octets, so many that they tell what it is. */
static int read_head(struct unpack *u, size_t want, struct err *err)
{
	while (u->n < want) {
		ssize_t n = u->read(u->cls, u->input + u->n, INPUT_BYTES - u->n, err);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		u->n += (size_t)n;
	}
	return 0;
}

/* -- zip ------------------------------------------------------------------------------------------ */

static la_ssize_t give_archive(struct archive *a, void *cls, const void **ret)
{
	struct unpack *u = cls;
	size_t n;

	if (refill(u) < 0)
		return -1;
	*ret = u->input + u->at;
	n = u->n;
	u->n = 0;
	return (la_ssize_t)n;
}

static int archive_failed(const struct unpack *u, struct err *err)
{
	if (u->err.code) {
		if (err)
			*err = u->err;
		return u->err.code;
	}
	return broken(err);
}

static int check_entry(struct unpack *u, struct archive_entry *entry, struct err *err)
{
	if (archive_entry_is_encrypted(entry))
		return err_set(err, ERR_INVALID, "The archive is encrypted.");
	if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_symlink(entry) || archive_entry_hardlink(entry))
		return err_set(err, ERR_INVALID, "The archive holds something that is not a plain file.");
	return 0;
}

static int open_zip(struct unpack *u, struct err *err)
{
	struct archive_entry *entry;
	int rc;

	u->archive = archive_read_new();
	if (!u->archive)
		return err_nomem(err);
	if (archive_read_support_format_zip_streamable(u->archive) != ARCHIVE_OK ||
	    archive_read_open(u->archive, u, NULL, give_archive, NULL) != ARCHIVE_OK)
		return archive_failed(u, err);
	rc = archive_read_next_header(u->archive, &entry);
	if (rc == ARCHIVE_EOF)
		return err_set(err, ERR_INVALID, "The archive is empty.");
	return rc == ARCHIVE_OK ? check_entry(u, entry, err) : archive_failed(u, err);
}

/* Nothing may follow. */
static int check_single(struct unpack *u, struct err *err)
{
	struct archive_entry *entry;
	int rc = archive_read_next_header(u->archive, &entry);

	if (rc == ARCHIVE_EOF)
		return 0;
	if (rc == ARCHIVE_OK || rc == ARCHIVE_WARN)
		return err_set(err, ERR_INVALID, "The archive holds more than one file.");
	return archive_failed(u, err);
}

static ssize_t read_zip(struct unpack *u, void *data, size_t n, struct err *err)
{
	la_ssize_t got = archive_read_data(u->archive, data, n);
	int r;

	if (got > 0)
		return got;
	if (got < 0)
		return archive_failed(u, err);
	r = check_single(u, err);
	return r;
}

/* -- gzip ----------------------------------------------------------------------------------------- */

static int open_gzip(struct unpack *u, struct err *err)
{
	if (inflateInit2(&u->z, GZIP_WINDOW) != Z_OK)
		return err_nomem(err);
	u->z_open = true;
	return 0;
}

/* As much output as there is room for, from what input is there. */
static int inflate_some(struct unpack *u, struct err *err)
{
	int rc;

	u->z.next_in = u->input + u->at;
	u->z.avail_in = (uInt)u->n;
	rc = inflate(&u->z, Z_NO_FLUSH);
	u->at += u->n - u->z.avail_in;
	u->n = u->z.avail_in;
	if (rc == Z_STREAM_END) {
		u->member_ended = true;
		return 0;
	}
	if (rc == Z_MEM_ERROR)
		return err_nomem(err);
	return rc == Z_OK || rc == Z_BUF_ERROR ? 0 : broken(err);
}

/* Behind a member comes the end, or another one, as gunzip takes it. */
static void next_member(struct unpack *u)
{
	u->member_ended = false;
	(void)inflateReset(&u->z);
}

static ssize_t read_gzip(struct unpack *u, void *data, size_t n, struct err *err)
{
	int r = 0;

	u->z.next_out = data;
	u->z.avail_out = (uInt)(n < INPUT_BYTES ? n : INPUT_BYTES);
	n = u->z.avail_out;
	while (r == 0 && u->z.avail_out == n) {
		r = refill(u);
		if (r < 0) {
			if (err)
				*err = u->err;
			return r;
		}
		if (u->n == 0)
			return u->member_ended ? 0 : broken(err);
		if (u->member_ended)
			next_member(u);
		r = inflate_some(u, err);
	}
	return r < 0 ? r : (ssize_t)(n - u->z.avail_out);
}

/* -- both ----------------------------------------------------------------------------------------- */

static int find_packing(struct unpack *u, struct err *err)
{
	static const unsigned char gzip[] = {0x1f, 0x8b, 0x08}, zip[] = {'P', 'K', 0x03, 0x04};
	int r = read_head(u, sizeof(zip), err);

	if (r < 0)
		return r;
	if (u->n >= sizeof(gzip) && memcmp(u->input, gzip, sizeof(gzip)) == 0)
		u->packing = GZIP;
	else if (u->n >= sizeof(zip) && memcmp(u->input, zip, sizeof(zip)) == 0)
		u->packing = ZIP;
	else
		return err_set(err, ERR_MEDIA_TYPE, "The image says that it is compressed, but is neither gzip nor zip.");
	return u->packing == GZIP ? open_gzip(u, err) : open_zip(u, err);
}

int unpack_new(convert_read_fn *read, void *cls, int64_t max_octets, struct unpack **ret, struct err *err)
{
	AUTO(unpack_free_p) struct unpack *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return err_nomem(err);
	u->read = read;
	u->cls = cls;
	u->left = max_octets;
	u->input = calloc(1, INPUT_BYTES);
	if (!u->input)
		return err_nomem(err);
	r = find_packing(u, err);
	if (r == 0)
		*ret = TAKE(u);
	return r;
}

ssize_t unpack_read(struct unpack *u, void *data, size_t n, struct err *err)
{
	ssize_t got = 0;

	if (u->ended || n == 0)
		return 0;
	got = u->packing == GZIP ? read_gzip(u, data, n, err) : read_zip(u, data, n, err);
	if (got == 0)
		u->ended = true;
	if (got > u->left)
		return err_set(err, ERR_TOO_LARGE, "The image unpacks to more than is allowed.");
	if (got > 0)
		u->left -= got;
	return got;
}

void unpack_free(struct unpack *u)
{
	if (!u)
		return;
	if (u->z_open)
		inflateEnd(&u->z);
	archive_read_free(u->archive);
	free(u->input);
	free(u);
}

void unpack_free_p(struct unpack **u)
{
	unpack_free(*u);
}

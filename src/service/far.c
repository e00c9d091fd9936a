/* SPDX-License-Identifier: Apache-2.0
 * service/far.c -- handing out bytes that lie elsewhere, where others may change them.
 *
 * (1) Not an octet is handed out before the piece that it is in has been compared with what was there when
 * the location was added (survey.c). So what an id serves never changes. (2) What cannot be had from one
 * location, or is something else there by now, comes from the next one. A location that failed is not asked
 * again by the same reader. (3) An image whose locations Glance has added is read in full before its first
 * octet is handed out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/log.h"
#include "service/places.h"
#include "service/survey.h"

struct far {
	struct service *svc;
	const struct image *image;
	const struct who *who;
	struct watch watch;
	struct arena arena; /* of the places */
	struct place *places;
	size_t n_places, at; /* the one that is being read from */

	int64_t end;                 /* of what is wanted */
	struct store_stream *stream; /* of places[at], now at the offset `stream_at` */
	int64_t stream_at;
	int fd; /* the same for a file; -1 */

	int64_t piece; /* that is in the buffer; -1: none */
	size_t n_piece;
	unsigned char *buffer; /* PIECE_BYTES */
	int64_t part;          /* of the digests; -1 */
	size_t n_digests;
	unsigned char digests[PIECES_A_PART * PIECE_DIGEST];
};

int far_new(struct service *svc, const struct image *image, const struct who *who, struct arena *arena,
	    struct place *places, size_t n_places, struct far **ret, struct err *err)
{
	struct far *f = calloc(1, sizeof(*f));

	if (!f)
		return err_nomem(err);
	f->svc = svc;
	f->image = image;
	f->who = who;
	f->arena = *arena;
	*arena = (struct arena){0};
	f->places = places;
	f->n_places = n_places;
	f->end = image->size;
	f->piece = f->part = -1;
	f->fd = -1;
	f->buffer = malloc(PIECE_BYTES);
	if (!f->buffer) {
		far_free(f);
		return err_nomem(err);
	}
	*ret = f;
	return 0;
}

static void leave_place(struct far *f)
{
	store_stream_close(TAKE(f->stream));
	close_fd_p(&f->fd);
	f->fd = -1;
}

void far_free(struct far *f)
{
	if (!f)
		return;
	leave_place(f);
	free(f->buffer);
	arena_done(&f->arena);
	free(f);
}

void far_free_p(struct far **f)
{
	far_free(*f);
}

void far_watch(struct far *f, const struct watch *watch, int64_t end)
{
	f->watch = *watch;
	f->end = end;
}

static bool is_cancelled(void *cls)
{
	const struct far *f = cls;

	return f->watch.is_cancelled && f->watch.is_cancelled(f->watch.cls);
}

/* -- what it has to be ---------------------------------------------------------------------------- */

static int load_part(struct far *f, int64_t part, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	size_t n;
	int r = db_begin(f->svc->db, DB_READ, &tx, err);

	if (r == 0)
		r = db_pieces_get(tx, f->image->id, part, f->digests, sizeof(f->digests), &n, err);
	if (r < 0)
		return r;
	f->part = part;
	f->n_digests = n / PIECE_DIGEST;
	return 0;
}

static int record(struct far *f, const struct survey *s, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct image image;
	int r = db_begin(f->svc->db, DB_WRITE, &tx, err);

	if (r == 0)
		r = db_image_get(tx, f->image->id, false, &a, &image, err);
	if (r == 0)
		r = survey_record(s, tx, f->image->id, err);
	return r < 0 ? r : db_commit(&tx, err);
}

/* Without a hash, what is there now is what it is from now on: nobody can say that it was something else. */
static int check_adopted(const struct image *image, const struct survey *s, struct err *err)
{
	struct image expected = *image;

	if (!image->os_hash_value)
		expected.status = IMAGE_QUEUED;
	return survey_check(s, &expected, err);
}

static int adopt_from(struct far *f, struct place *p, struct err *err)
{
	const struct survey_order order = {.image = f->image,
					   .store = p->store,
					   .url = p->url,
					   .may_lack_formats = true,
					   .is_cancelled = is_cancelled,
					   .cls = f};
	AUTO(survey_done) struct survey s = {0};
	int r = survey_run(f->svc, &order, &s, err);

	if (r == 0)
		r = check_adopted(f->image, &s, err);
	return r < 0 ? r : record(f, &s, err);
}

static void tell_failure(struct far *f, const struct err *why)
{
	struct log_ctx ctx = who_log(f->who);

	log_warning("glint.download", &ctx, "image %s: reading a location: %s", f->image->id, err_story(why));
}

static int nowhere(const struct far *f, struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE, "The data of image %s cannot be read at the moment.",
		       f->image->id);
}

static int adopt(struct far *f, struct err *err)
{
	struct survey_slot slot = {0};
	int r = survey_enter(f->svc, &slot, f->who->project_id, err);

	if (r < 0)
		return r;
	r = ERR_NOT_FOUND;
	for (size_t i = 0; r < 0 && r != ERR_GONE && i < f->n_places; i++) {
		struct place *p = &f->places[i];
		struct err why = {0};

		if (p->err.code != 0 || !store_is_remote(p->store))
			continue;
		r = adopt_from(f, p, &why);
		if (r < 0)
			tell_failure(f, &why);
	}
	survey_leave(f->svc, &slot);
	return r < 0 ? nowhere(f, err) : 0;
}

static int need_part(struct far *f, int64_t part, struct err *err)
{
	int r;

	if (f->part == part)
		return 0;
	r = load_part(f, part, err);
	if (r != ERR_NOT_FOUND)
		return r;
	if (part == 0) {
		r = adopt(f, err);
		return r < 0 ? r : load_part(f, part, err);
	}
	return err_set(err, ERR_INTERNAL, "Of image %s it is not known what its data has to be.",
		       f->image->id);
}

/* -- what it is ----------------------------------------------------------------------------------- */

static int open_place(struct far *f, struct place *p, int64_t from, struct err *err)
{
	int64_t size = f->image->size, end = f->end;
	struct store_part part = {
		.first = from, .max_octets = INT64_MAX, .is_cancelled = is_cancelled, .cls = f};
	struct store_source file;
	int r;

	if (!store_is_remote(p->store)) {
		r = store_read(p->store, p->url, &file, err);
		f->fd = r == 0 ? file.fd : -1;
		return r;
	}
	end = (end + (int64_t)PIECE_BYTES - 1) / (int64_t)PIECE_BYTES *
	      (int64_t)PIECE_BYTES; /* of the last piece */
	part.n = (end < size ? end : size) - from;
	f->stream_at = from;
	return store_stream_open(p->store, p->url, &part, &f->stream, err);
}

static ssize_t read_some(struct far *f, unsigned char *data, size_t n, int64_t at, struct err *err)
{
	ssize_t got;

	if (f->stream)
		return store_stream_read(f->stream, data, n, err);
	do
		got = pread(f->fd, data, n, at);
	while (got < 0 && errno == EINTR);
	if (got >= 0)
		return got;
	err_set(err, ERR_UNAVAILABLE, "The data could not be read.");
	return err_detail(err, "read: %s", strerror(errno));
}

static int fill(struct far *f, int64_t from, size_t n, struct err *err)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = read_some(f, f->buffer + have, n - have, from + (int64_t)have, err);

		if (got < 0)
			return (int)got;
		if (got == 0)
			return err_set(err, ERR_UNAVAILABLE, "The data at the location ends too early.");
		have += (size_t)got;
	}
	f->stream_at = from + (int64_t)n;
	return 0;
}

static int compare(struct far *f, int64_t piece, size_t n, struct err *err)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	size_t i = (size_t)piece % PIECES_A_PART;

	if (EVP_Digest(f->buffer, n, digest, NULL, EVP_sha256(), NULL) != 1)
		return err_set(err, ERR_INTERNAL, "The data could not be hashed.");
	if (i >= f->n_digests || memcmp(digest, f->digests + i * PIECE_DIGEST, PIECE_DIGEST) != 0)
		return err_set(err, ERR_UNAVAILABLE,
			       "What is at the location is not what was there when it was added.");
	return 0;
}

/* From places[at]. */
static int read_piece(struct far *f, int64_t piece, size_t n, struct err *err)
{
	int64_t from = piece * (int64_t)PIECE_BYTES;
	int r = 0;

	f->piece = -1;
	if (f->stream && f->stream_at != from)
		leave_place(f);
	if (!f->stream && f->fd < 0)
		r = open_place(f, &f->places[f->at], from, err);
	if (r == 0)
		r = fill(f, from, n, err);
	if (r == 0)
		r = compare(f, piece, n, err);
	if (r < 0)
		leave_place(f);
	return r;
}

static int find_piece(struct far *f, int64_t piece, size_t n, struct err *err)
{
	for (; f->at < f->n_places; f->at++) {
		struct place *p = &f->places[f->at];

		if (p->err.code == 0 && read_piece(f, piece, n, &p->err) == 0) {
			f->piece = piece;
			f->n_piece = n;
			return 0;
		}
		if (is_cancelled(f))
			return err_set(err, ERR_GONE, "Nobody waits for the data of image %s any more.",
				       f->image->id);
		tell_failure(f, &p->err);
	}
	return nowhere(f, err);
}

int far_read(struct far *f, int64_t offset, const unsigned char **ret_data, size_t *ret_n, struct err *err)
{
	int64_t piece = offset / (int64_t)PIECE_BYTES, from = piece * (int64_t)PIECE_BYTES,
		left = f->image->size - from;
	size_t n = left < (int64_t)PIECE_BYTES ? (size_t)left : PIECE_BYTES, skip = (size_t)(offset - from);
	int r = 0;

	if (offset < 0 || offset >= f->image->size) {
		*ret_n = 0;
		return 0;
	}
	if (f->piece != piece) {
		r = need_part(f, piece / (int64_t)PIECES_A_PART, err);
		if (r == 0)
			r = find_piece(f, piece, n, err);
	}
	if (r < 0)
		return r;
	*ret_data = f->buffer + skip;
	*ret_n = f->n_piece - skip;
	return 0;
}

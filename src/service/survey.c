/* SPDX-License-Identifier: Apache-2.0
 * service/survey.c -- the bytes at a location go through the hashes and the inspection like those of an
 * upload, and into no store. On their way they are cut into pieces, each with a digest of its own: what is
 * served later is compared with these, so a range costs only the pieces that it touches. */
#include "service/survey.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "base/err.h"
#include "service/transfer.h"

/* -- pieces --------------------------------------------------------------------------------------- */

struct cutter {
	struct store_stream *from;
	EVP_MD_CTX *md;
	size_t n_in_piece;
	unsigned char *digests;
	size_t n, cap;
};

static void cutter_done(struct cutter *c)
{
	store_stream_close(c->from);
	EVP_MD_CTX_free(c->md);
	free(c->digests);
}

static int bad_digest(struct err *err)
{
	return err_set(err, ERR_INTERNAL, "The data could not be hashed.");
}

static int begin_piece(struct cutter *c, struct err *err)
{
	return EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) == 1 ? 0 : bad_digest(err);
}

static int end_piece(struct cutter *c, struct err *err)
{
	if (c->n == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : PIECES_A_PART;
		unsigned char *more = realloc(c->digests, cap * PIECE_DIGEST);

		if (!more)
			return err_nomem(err);
		c->digests = more;
		c->cap = cap;
	}
	if (EVP_DigestFinal_ex(c->md, c->digests + c->n++ * PIECE_DIGEST, NULL) != 1)
		return bad_digest(err);
	c->n_in_piece = 0;
	return begin_piece(c, err);
}

static int cut(struct cutter *c, const unsigned char *data, size_t n, struct err *err)
{
	int r = 0;

	while (r == 0 && n > 0) {
		size_t some = PIECE_BYTES - c->n_in_piece < n ? PIECE_BYTES - c->n_in_piece : n;

		if (EVP_DigestUpdate(c->md, data, some) != 1)
			return bad_digest(err);
		c->n_in_piece += some;
		data += some;
		n -= some;
		if (c->n_in_piece == PIECE_BYTES)
			r = end_piece(c, err);
	}
	return r;
}

static ssize_t read_and_cut(void *cls, void *data, size_t n, struct err *err)
{
	struct cutter *c = cls;
	ssize_t got = store_stream_read(c->from, data, n, err);
	int r = got > 0 ? cut(c, data, (size_t)got, err) : 0;

	return r < 0 ? r : got;
}

/* -- the survey ----------------------------------------------------------------------------------- */

static int begin_inspection(struct service *svc, const struct survey_order *o, struct transfer *t,
			    struct err *err)
{
	const struct image *image = o->image;

	if (image->disk_format && image->container_format)
		return inspect_new(&svc->config.inspect, image->disk_format, image->container_format,
				   &t->inspect, err);
	if (o->may_lack_formats)
		return 0;
	return err_set(err, ERR_CONFLICT, "Image %s needs a disk_format and a container_format before data.",
		       image->id);
}

static int open_stream(struct service *svc, const struct survey_order *o, struct cutter *c, struct err *err)
{
	const struct store_part all = {.n = -1,
				       .max_octets = svc->config.max_image_bytes,
				       .is_cancelled = o->is_cancelled,
				       .cls = o->cls};
	int r = store_stream_open(o->store, o->url, &all, &c->from, err);

	if (r < 0)
		return r;
	c->md = EVP_MD_CTX_new();
	return c->md ? begin_piece(c, err) : err_nomem(err);
}

static void keep(const struct transfer *t, struct cutter *c, struct survey *ret)
{
	*ret = (struct survey){
		.size = t->size,
		.virtual_size = t->inspect ? t->inspected.virtual_size : INSPECT_SIZE_UNKNOWN,
		.hash_algorithm = t->hash_algorithm,
		.digest = t->digest,
		.n_pieces = c->n,
	};
	ret->pieces = TAKE(c->digests);
	memcpy(ret->remark, t->inspected.remark, sizeof(ret->remark));
}

int survey_run(struct service *svc, const struct survey_order *o, struct survey *ret, struct err *err)
{
	AUTO(cutter_done) struct cutter c = {0};
	struct upload_source source = {.read = read_and_cut, .cls = &c, .size_hint = -1};
	AUTO(transfer_close)
	struct transfer t = {
		.image_id = o->image->id,
		.source = &source,
		.hash_algorithm =
			o->image->os_hash_algo ? o->image->os_hash_algo : svc->config.hash_algorithm,
		.max_octets = svc->config.max_image_bytes,
		.hold = o->hold,
		.n_copies = o->n_copies,
		.progress = o->progress,
		.cls = o->cls,
	};
	int r = begin_inspection(svc, o, &t, err);

	if (r == 0)
		r = open_stream(svc, o, &c, err);
	if (r < 0)
		return r;
	source.size = store_stream_size(c.from);
	r = transfer_run(&t, err);
	if (r == 0 && c.n_in_piece > 0)
		r = end_piece(&c, err);
	if (r == 0)
		keep(&t, &c, ret);
	return r;
}

void survey_done(struct survey *s)
{
	free(TAKE(s->pieces));
}

/* -- what it is good for -------------------------------------------------------------------------- */

static int differs(const char *what, const struct image *image, struct err *err)
{
	return err_set(err, ERR_CONFLICT, "The data at the location does not have the %s of image %s.", what,
		       image->id);
}

int survey_check(const struct survey *s, const struct image *image, struct err *err)
{
	bool has_hash = image->os_hash_algo && image->os_hash_value;

	if (image->status != IMAGE_QUEUED && image->status != IMAGE_IMPORTING && !has_hash)
		return err_set(
			err, ERR_CONFLICT,
			"Image %s has no os_hash_value by which other data could be known to be the same.",
			image->id);
	if (has_hash && (strcmp(image->os_hash_algo, s->hash_algorithm) != 0 ||
			 strcasecmp(image->os_hash_value, s->digest.hash) != 0))
		return differs("os_hash_value", image, err);
	if (image->checksum && strcasecmp(image->checksum, s->digest.md5) != 0)
		return differs("checksum", image, err);
	if (image->size != IMAGE_SIZE_UNKNOWN && image->size != s->size)
		return differs("size", image, err);
	return 0;
}

void survey_describe(const struct survey *s, struct image *image)
{
	image->size = s->size;
	image->virtual_size = s->virtual_size;
	image->checksum = s->digest.md5;
	image->os_hash_algo = s->hash_algorithm;
	image->os_hash_value = s->digest.hash;
}

int survey_record(const struct survey *s, struct db_tx *tx, const char *image_id, struct err *err)
{
	int r = 0;

	for (size_t part = 0; r == 0 && (part == 0 || part * PIECES_A_PART < s->n_pieces); part++) {
		size_t first = part * PIECES_A_PART, n = s->n_pieces - first;

		n = n < PIECES_A_PART ? n : PIECES_A_PART;
		r = db_pieces_put(tx, image_id, (int64_t)part,
				  n ? s->pieces + first * PIECE_DIGEST : (const void *)"", n * PIECE_DIGEST,
				  err);
	}
	return r;
}

/* -- how many ------------------------------------------------------------------------------------- */

static bool is_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

int survey_enter(struct service *svc, struct survey_slot *slot, const char *project, struct err *err)
{
	unsigned n = 0, n_of_project = 0;
	bool fits;

	slot->project = project;
	pthread_mutex_lock(&svc->lock);
	for (const struct survey_slot *s = svc->surveys; s; s = s->next) {
		n++;
		n_of_project += is_same(s->project, project);
	}
	fits = n < svc->config.max_surveys && n_of_project < svc->config.max_surveys_of_project;
	if (fits) {
		slot->next = svc->surveys;
		svc->surveys = slot;
	}
	pthread_mutex_unlock(&svc->lock);
	if (fits)
		return 0;
	return err_set(err, ERR_UNAVAILABLE, "%s locations are being read already; try again later.",
		       n < svc->config.max_surveys ? "Enough of your" : "Enough");
}

void survey_leave(struct service *svc, struct survey_slot *slot)
{
	pthread_mutex_lock(&svc->lock);
	for (struct survey_slot **p = &svc->surveys; *p; p = &(*p)->next) {
		if (*p == slot) {
			*p = slot->next;
			break;
		}
	}
	pthread_mutex_unlock(&svc->lock);
}

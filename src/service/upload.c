/* SPDX-License-Identifier: Apache-2.0
 * service/upload.c -- an image's bytes arrive.
 *
 *   begin     one transaction: queued -> saving, a row in the table of uploads,
 *             image.update, image.prepare
 *   transfer  client -> buffer -> hashes and store; no transaction is open
 *   finish    bytes durable and named, then one transaction: saving -> active, location, sizes,
 *             checksums, row gone, image.upload, image.activate, image.update
 *   give up   bytes gone, then one transaction: saving -> queued, row gone, ERROR image.upload,
 *             image.update
 *
 * Invariants:
 * (1) An image is `saving` exactly as long as its row in the table of uploads exists, unless it was
 *     deleted. The transaction that wins the step from queued owns the upload; no second one can begin.
 * (2) Bytes without an active image exist only while the row does, so whoever finds a row that nobody
 *     works on (recover.c) knows what to clean up.
 * (3) Bytes are removed only when the database takes transactions: one that begins proves that no finish
 *     which failed can come back, with its image and without its bytes.
 * (4) After the begin, exactly one of finish, give up or the image's deletion tells the consumers how
 *     it ended. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "service/internal.h"
#include "service/seal.h"
#include "store/digest.h"

#define N_BUFFERS 4
#define BUFFER_BYTES ((size_t)256 * 1024)

/* What a finished transfer knows. */
struct received {
	int64_t size;
	struct digest_result digest;
	bool may_have_name; /* the store has begun to give the object its name */
	char *url;          /* owned */
};

static void received_done(struct received *rc)
{
	free(rc->url);
	rc->url = NULL;
}

/* -- begin ---------------------------------------------------------------------------------------- */

static int check_uploadable(const struct image *image, struct err *err)
{
	int r = image_check_transition(image->status, IMAGE_SAVING, err);

	if (r < 0)
		return r;
	if (!image->disk_format || !image->container_format)
		return err_set(err, ERR_INVALID, "Image %s needs a disk_format and a container_format before data.",
			       image->id);
	return 0;
}

static int begin_events(struct service *svc, struct db_tx *tx, const struct image *image,
			const struct origin *origin, struct err *err)
{
	const char *backend = store_id(svc->store);

	return event_image(svc->notify, tx, EVENT_IMAGE_PREPARE, image, *backend ? backend : NULL, origin, err);
}

/* @u is in the list of running uploads before the row can be seen, so that recovery lets it be. */
static int upload_begin(struct service *svc, const struct who *who, struct upload *u, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct db_upload row = {.node = svc->config.node, .started_at = clock_now_us()};
	struct origin origin = service_origin(who);
	struct target target;
	struct image after;
	int r;

	r = service_begin(svc, who, u->image_id, POLICY_UPLOAD_IMAGE, &a, &tx, &target, err);
	if (r < 0)
		return r;
	r = check_uploadable(&target.image, err);
	if (r < 0)
		return r;
	after = target.image;
	after.status = IMAGE_SAVING;
	memcpy(row.image_id, u->image_id, sizeof(row.image_id));
	r = db_upload_insert(tx, &row, err);
	if (r < 0)
		return r;
	r = service_save(svc, tx, who, &target.image, &after, err);
	if (r < 0)
		return r;
	r = begin_events(svc, tx, &after, &origin, err);
	if (r < 0)
		return r;
	return service_commit(svc, &tx, err);
}

/* -- transfer ------------------------------------------------------------------------------------- */

struct transfer {
	struct service *svc;
	struct upload *upload;
	struct upload_source *source;
	struct store_writer *writer;
	struct digest *digest;
	unsigned char *buffers;           /* N_BUFFERS of BUFFER_BYTES */
	uint64_t tickets[N_BUFFERS];      /* until when the hashes need each buffer */
	int64_t size;
};

static void transfer_done(struct transfer *t)
{
	digest_free(t->digest); /* first: it reads the buffers */
	store_abort(t->writer);
	free(t->buffers);
}

/* Fill a buffer as far as the stream goes. Short only at the end. */
static ssize_t fill(struct transfer *t, unsigned char *buffer, struct err *err)
{
	size_t have = 0;

	while (have < BUFFER_BYTES) {
		ssize_t n = t->source->read(t->source->cls, buffer + have, BUFFER_BYTES - have, err);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		have += (size_t)n;
		if (atomic_load(&t->upload->image_deleted))
			return err_set(err, ERR_GONE, "Image %s was deleted during the upload.",
				       t->upload->image_id);
	}
	return (ssize_t)have;
}

static int check_size(const struct transfer *t, int64_t size, struct err *err)
{
	if (size > t->svc->config.max_image_bytes)
		return err_set(err, ERR_TOO_LARGE, "The provided image is too large: more than %lld octets.",
			       (long long)t->svc->config.max_image_bytes);
	return 0;
}

/* One buffer's worth. Returns its size, 0 at the end. */
static ssize_t transfer_piece(struct transfer *t, unsigned i, struct err *err)
{
	unsigned char *buffer = t->buffers + i * BUFFER_BYTES;
	ssize_t n;
	int r;

	digest_wait(t->digest, t->tickets[i]);
	n = fill(t, buffer, err);
	if (n <= 0)
		return n;
	t->size += n;
	r = check_size(t, t->size, err);
	if (r < 0)
		return r;
	t->tickets[i] = digest_update(t->digest, buffer, (size_t)n);
	r = store_write(t->writer, buffer, (size_t)n, err);
	return r < 0 ? r : n;
}

static int transfer_open(struct transfer *t, struct err *err)
{
	struct service *svc = t->svc;
	int64_t hint = t->source->size >= 0 ? t->source->size : t->source->size_hint;
	int r;

	r = check_size(t, t->source->size, err);
	if (r < 0)
		return r;
	t->buffers = malloc(N_BUFFERS * BUFFER_BYTES);
	if (!t->buffers)
		return err_nomem(err);
	r = digest_new(svc->config.hash_algorithm, &t->digest, err);
	if (r < 0)
		return r;
	return store_create(svc->store, t->upload->image_id, hint, &t->writer, err);
}

static int transfer_run(struct service *svc, struct upload *u, struct upload_source *source,
			struct received *ret, struct err *err)
{
	AUTO(transfer_done) struct transfer t = {.svc = svc, .upload = u, .source = source};
	ssize_t n;
	int r;

	r = transfer_open(&t, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; (n = transfer_piece(&t, i, err)) > 0; i = (i + 1) % N_BUFFERS)
		;
	if (n < 0)
		return (int)n;
	r = digest_final(t.digest, &ret->digest, err);
	if (r < 0)
		return r;
	ret->size = t.size;
	ret->may_have_name = true;
	return store_commit(&t.writer, &ret->url, err);
}

/* -- finish --------------------------------------------------------------------------------------- */

static void describe(const struct service *svc, const struct received *rc, struct image *image)
{
	image->status = IMAGE_ACTIVE;
	image->size = rc->size;
	image->checksum = rc->digest.md5;
	image->os_hash_algo = svc->config.hash_algorithm;
	image->os_hash_value = rc->digest.hash;
	if (strcmp(image->disk_format, "raw") == 0 && strcmp(image->container_format, "bare") == 0)
		image->virtual_size = rc->size; /* a raw disk is what it is */
}

static int add_location(struct service *svc, struct db_tx *tx, const struct image *image, const char *url,
			struct arena *a, struct err *err)
{
	const char *backend = store_id(svc->store);
	const char *metadata = *backend ? arena_printf(a, "{\"store\": \"%s\"}", backend) : "{}";
	const char *sealed;
	int r;

	if (!metadata)
		return err_nomem(err);
	r = seal_close(svc->config.location_key, url, a, &sealed, err);
	if (r < 0)
		return r;
	return db_location_add(tx, image->id, sealed, metadata, image->updated_at, err);
}

static int finish_events(struct service *svc, struct db_tx *tx, const struct image *image,
			 const struct origin *origin, struct err *err)
{
	static const enum event_type types[] = {EVENT_IMAGE_UPLOAD, EVENT_IMAGE_ACTIVATE, EVENT_IMAGE_UPDATE};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		int r = event_image(svc->notify, tx, types[i], image, NULL, origin, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ERR_GONE if the image is no longer there to be finished. */
static int load_saving(struct db_tx *tx, const char *id, struct arena *a, struct image *ret, struct err *err)
{
	int r = db_image_get(tx, id, false, a, ret, err);

	if (r == ERR_NOT_FOUND || (r == 0 && ret->status != IMAGE_SAVING))
		return err_set(err, ERR_GONE, "Image %s was deleted during the upload.", id);
	return r;
}

static int upload_finish(struct service *svc, const char *id, const struct received *rc,
			 const struct origin *origin, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct image before, after;
	int r;

	r = db_begin(svc->db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	r = load_saving(tx, id, &a, &before, err);
	if (r < 0)
		return r;
	after = before;
	describe(svc, rc, &after);
	after.updated_at = clock_now_us();
	r = db_image_update(tx, &before, &after, err);
	if (r < 0)
		return r;
	r = add_location(svc, tx, &after, rc->url, &a, err);
	if (r < 0)
		return r;
	r = db_upload_delete(tx, id, err);
	if (r < 0)
		return r;
	r = finish_events(svc, tx, &after, origin, err);
	if (r < 0)
		return r;
	return service_commit(svc, &tx, err);
}

/* -- give up -------------------------------------------------------------------------------------- */

static int requeue(struct service *svc, struct db_tx *tx, const struct image *before, const char *reason,
		   struct arena *a, const struct origin *origin, struct err *err)
{
	struct image after = *before;
	const char *text;
	int r;

	after.status = IMAGE_QUEUED;
	after.size = after.virtual_size = IMAGE_SIZE_UNKNOWN;
	after.checksum = after.os_hash_algo = after.os_hash_value = NULL;
	after.updated_at = clock_now_us();
	text = arena_printf(a, "Failed to upload image data for image %s: %s", before->id, reason);
	if (!text)
		return err_nomem(err);
	r = db_image_update(tx, before, &after, err);
	if (r < 0)
		return r;
	r = event_image_text(svc->notify, tx, EVENT_IMAGE_UPLOAD, EVENT_ERROR, before->id, text, origin, err);
	if (r < 0)
		return r;
	return event_image(svc->notify, tx, EVENT_IMAGE_UPDATE, &after, NULL, origin, err);
}

int upload_give_up(struct service *svc, const char *image_id, const char *reason, const struct origin *origin,
		   struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct image image;
	int r;

	r = db_begin(svc->db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	r = load_saving(tx, image_id, &a, &image, err);
	if (r == 0)
		r = requeue(svc, tx, &image, reason, &a, origin, err);
	else if (r == ERR_GONE)
		r = 0; /* its deletion has told the consumers */
	if (r < 0)
		return r;
	r = db_upload_delete(tx, image_id, err);
	if (r < 0)
		return r;
	return service_commit(svc, &tx, err);
}

/* A commit that failed may still stand in the database's log until another transaction can begin; the
 * bytes go only after that, or a crash could bring the image back without them. */
int upload_discard(struct service *svc, const char *image_id, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	AUTO(free_p) char *url = store_url(svc->store, image_id);
	int r;

	if (!url)
		return err_nomem(err);
	r = db_begin(svc->db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	db_abort(TAKE(tx)); /* nobody has to wait for the store */
	return store_remove(svc->store, url, err);
}

/* The failure itself is in @why and stays the answer, whatever happens here. */
static void clean_up(struct service *svc, const struct who *who, struct upload *u, const struct received *rc,
		     const struct err *why)
{
	struct origin origin = service_origin(who);
	struct log_ctx ctx = who_log(who);
	struct err err = {0};

	if (rc->may_have_name && upload_discard(svc, u->image_id, &err) < 0)
		log_error("glint.upload", &ctx, "image %s: removing what was uploaded: %s", u->image_id,
			  err_story(&err));
	else if (upload_give_up(svc, u->image_id, why->text, &origin, &err) < 0)
		log_error("glint.upload", &ctx, "image %s: back to queued: %s; the janitor goes on trying",
			  u->image_id, err_story(&err));
}

static int upload_run(struct service *svc, const struct who *who, struct upload *u,
		      struct upload_source *source, struct err *err)
{
	AUTO(received_done) struct received rc = {0};
	struct origin origin = service_origin(who);
	int r;

	r = upload_begin(svc, who, u, err);
	if (r < 0)
		return r;
	r = transfer_run(svc, u, source, &rc, err);
	if (r == 0)
		r = upload_finish(svc, u->image_id, &rc, &origin, err);
	if (r < 0)
		clean_up(svc, who, u, &rc, err);
	return r;
}

int service_upload(struct service *svc, const struct who *who, const char *id, struct upload_source *source,
		   struct err *err)
{
	struct upload u = {0};
	int r;

	if (!uuid_is_canonical(id))
		return err_set(err, ERR_NOT_FOUND, "No image has this id.");
	memcpy(u.image_id, id, sizeof(u.image_id));
	uploads_add(svc, &u);
	r = upload_run(svc, who, &u, source, err);
	uploads_remove(svc, &u);
	if (r < 0)
		janitor_wake(svc->janitor);
	return r;
}

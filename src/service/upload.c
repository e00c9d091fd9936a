/* SPDX-License-Identifier: Apache-2.0
 * service/upload.c -- an image's bytes arrive: in a store, or (staged) where an import will find them.
 *
 *   begin     one transaction: queued -> saving, a row in the table of uploads,
 *             image.update, image.prepare
 *   transfer  client -> buffer -> hashes, inspection and store; no transaction is open
 *   finish    bytes durable and named, then one transaction: saving -> active, location, sizes,
 *             checksums, row gone, image.upload, image.activate, image.update
 *   give up   bytes gone, then one transaction: saving -> queued, row gone, ERROR image.upload,
 *             image.update
 *
 * Staging is the same with `uploading` in place of `saving`, and it stays that: the finish writes the
 * size and image.update. Nothing is hashed, no image.prepare is sent: that is the import's.
 *
 * Invariants:
 * (1) An image is `saving` exactly as long as its row in the table of uploads exists, unless it was
 *     deleted. The transaction that wins the step from queued owns the upload; no second one can begin.
 * (2) Bytes without an active image exist only while the row does, so whoever finds a row that nobody
 *     works on (recover.c) knows what to clean up. Staged bytes exist while the image is `uploading` or
 *     `importing`.
 * (3) Bytes are removed only when the database takes transactions: one that begins proves that no finish
 *     which failed can come back, with its image and without its bytes.
 * (4) After the begin, exactly one of finish, give up or the image's deletion tells the consumers how
 *     it ended. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "service/progress.h"
#include "service/quota.h"
#include "service/seal.h"
#include "service/transfer.h"

/* -- begin ---------------------------------------------------------------------------------------- */

static bool is_staging(const struct service *svc, const struct store *store)
{
	return store == stores_staging(svc->stores);
}

static int check_uploadable(const struct image *image, enum image_status to, struct err *err)
{
	int r = image_check_transition(image->status, to, err);

	if (r < 0)
		return r;
	if (to == IMAGE_SAVING && (!image->disk_format || !image->container_format))
		return err_set(err, ERR_INVALID, "Image %s needs a disk_format and a container_format before data.",
			       image->id);
	return 0;
}

static int begin_events(struct service *svc, struct db_tx *tx, const struct image *image, const struct store *store,
			const struct origin *origin, struct err *err)
{
	const char *backend = store_id(store);

	if (is_staging(svc, store))
		return 0;
	return event_image(svc->notify, tx, EVENT_IMAGE_PREPARE, image, *backend ? backend : NULL, origin, err);
}

static int insert_row(struct service *svc, struct db_tx *tx, const struct upload *u, const struct store *store,
		      struct err *err)
{
	struct db_upload row = {
		.node = svc->config.node, .store = store_id(store), .started_at = clock_now_us()};

	memcpy(row.image_id, u->image_id, sizeof(row.image_id));
	return db_upload_insert(tx, &row, err);
}

/* What the bytes are is of interest once they go where images are served from. */
static int begin_inspection(struct service *svc, const struct image *image, struct transfer *t, struct err *err)
{
	if (image->status != IMAGE_SAVING)
		return 0;
	return inspect_new(&svc->config.inspect, image->disk_format, image->container_format, &t->inspect, err);
}

static enum policy_rule rule_for(const struct service *svc, const struct store *store)
{
	return is_staging(svc, store) ? POLICY_MODIFY_IMAGE : POLICY_UPLOAD_IMAGE;
}

/* The quota of the image's owner, asked for before any transaction is open: that may take a while. Who may not
 * upload learns nothing of it. */
static int open_hold(struct service *svc, const struct who *who, const char *id, const struct store *store,
		     struct hold **ret, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct target target;
	struct quota quota;
	int r;

	if (!quota_applies(svc))
		return 0;
	r = service_look(svc, who, id, &a, &target, err);
	if (r == 0)
		r = service_allow(svc, rule_for(svc, store), who, &target, err);
	if (r == 0)
		r = quota_of(svc, target.image.owner, &quota, err);
	if (r < 0)
		return r;
	return hold_new(svc, target.image.owner, is_staging(svc, store) ? HOLD_STAGED : HOLD_STORED, &quota, ret, err);
}

static int check_hold(const struct hold *hold, const struct image *image, struct err *err)
{
	if (hold_is_of(hold, image->owner))
		return 0;
	return err_set(err, ERR_CONFLICT, "Image %s has just been given to another project.", image->id);
}

/* @u is in the list of running uploads before the row can be seen, so that recovery lets it be. */
static int upload_begin(struct service *svc, const struct who *who, struct upload *u, struct transfer *t,
			struct err *err)
{
	struct store *store = t->sinks[0].store;
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	bool stage = is_staging(svc, store);
	struct origin origin = service_origin(who);
	struct target target;
	struct image after;
	int r;

	r = service_begin(svc, who, u->image_id, rule_for(svc, store), &a, &tx, &target, err);
	if (r == 0)
		r = check_hold(t->hold, &target.image, err);
	if (r < 0)
		return r;
	after = target.image;
	after.status = stage ? IMAGE_UPLOADING : IMAGE_SAVING;
	r = check_uploadable(&target.image, after.status, err);
	if (r < 0)
		return r;
	r = progress_check_unlocked(tx, &target.image, &a, err);
	if (r == 0)
		r = quota_check_uploading(hold_quota(t->hold), tx, after.owner, 1, err);
	if (r == 0)
		r = begin_inspection(svc, &after, t, err);
	if (r == 0)
		r = insert_row(svc, tx, u, store, err);
	if (r < 0)
		return r;
	r = service_save(svc, tx, who, &target.image, &after, err);
	if (r < 0)
		return r;
	r = begin_events(svc, tx, &after, store, &origin, err);
	if (r < 0)
		return r;
	return service_commit(svc, &tx, err);
}

/* -- finish --------------------------------------------------------------------------------------- */

void upload_describe(const struct transfer *t, struct image *image)
{
	image->size = t->size;
	image->checksum = t->digest.md5;
	image->os_hash_algo = t->hash_algorithm;
	image->os_hash_value = t->digest.hash;
	image->virtual_size = t->inspected.virtual_size;
}

void upload_remark(const struct transfer *t, const struct log_ctx *ctx)
{
	if (*t->inspected.remark)
		log_warning("glint.inspect", ctx, "image %s is taken, though: %s", t->image_id, t->inspected.remark);
}

/* What a client says of a location stays, but in which store it is he does not decide. */
static int with_store(const char *metadata, const char *store, struct arena *a, const char **ret, struct err *err)
{
	json_t *json = metadata ? json_loads(metadata, 0, NULL) : json_object();
	char *text = NULL;

	if (json && json_object_set_new(json, "store", json_string(store)) == 0)
		text = json_dumps(json, JSON_ENSURE_ASCII);
	json_decref(json);
	*ret = text ? arena_strdup(a, text) : NULL;
	free(text);
	return *ret ? 0 : err_nomem(err);
}

int service_add_location(struct service *svc, struct db_tx *tx, const struct image *image, const struct store *store,
			 const char *url, const char *metadata, struct arena *a, struct err *err)
{
	const char *backend = store_id(store), *sealed = NULL;
	int r = *backend ? with_store(metadata, backend, a, &metadata, err) : 0;

	if (r == 0)
		r = seal_close(svc->config.location_key, url, a, &sealed, err);
	return r < 0 ? r : db_location_add(tx, image->id, sealed, metadata, image->updated_at, err);
}

int upload_add_location(struct service *svc, struct db_tx *tx, const struct image *image, const struct sink *sink,
			struct arena *a, struct err *err)
{
	return service_add_location(svc, tx, image, sink->store, sink->url, NULL, a, err);
}

static int finish_events(struct service *svc, struct db_tx *tx, const struct image *image,
			 const struct origin *origin, struct err *err)
{
	static const enum event_type types[] = {EVENT_IMAGE_UPLOAD, EVENT_IMAGE_ACTIVATE, EVENT_IMAGE_UPDATE};

	for (size_t i = image->status == IMAGE_ACTIVE ? 0 : ARRAY_LEN(types) - 1; i < ARRAY_LEN(types); i++) {
		int r = event_image(svc->notify, tx, types[i], image, NULL, origin, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ERR_GONE if the image is no longer there to be finished. The row of the upload is. */
static int load_unfinished(struct db_tx *tx, const char *id, struct arena *a, struct image *ret, struct err *err)
{
	int r = db_image_get(tx, id, false, a, ret, err);

	if (r == ERR_NOT_FOUND || (r == 0 && ret->status != IMAGE_SAVING && ret->status != IMAGE_UPLOADING))
		return err_set(err, ERR_GONE, "Image %s was deleted during the upload.", id);
	return r;
}

/* What is new in the image, and its location. */
static int record(struct service *svc, struct db_tx *tx, const struct transfer *t, const struct image *before,
		  struct image *after, struct arena *a, struct err *err)
{
	int r;

	after->updated_at = clock_now_us();
	if (before->status == IMAGE_UPLOADING) {
		after->size = t->size;
		return db_image_update(tx, before, after, err);
	}
	after->status = IMAGE_ACTIVE;
	upload_describe(t, after);
	r = db_image_update(tx, before, after, err);
	return r < 0 ? r : upload_add_location(svc, tx, after, &t->sinks[0], a, err);
}

static int upload_finish(struct service *svc, struct upload *u, const struct transfer *t,
			 const struct origin *origin, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct image before, after;
	int r;

	r = db_begin(svc->db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	r = load_unfinished(tx, u->image_id, &a, &before, err);
	if (r < 0)
		return r;
	after = before;
	r = record(svc, tx, t, &before, &after, &a, err);
	if (r < 0)
		return r;
	r = db_upload_delete(tx, u->image_id, err);
	if (r < 0)
		return r;
	r = finish_events(svc, tx, &after, origin, err);
	if (r == 0 && u->also)
		r = u->also(u->cls, tx, &after, err);
	if (r < 0)
		return r;
	hold_settle(t->hold);
	r = service_commit(svc, &tx, err);
	if (r < 0)
		hold_unsettle(t->hold);
	return r;
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
	r = load_unfinished(tx, image_id, &a, &image, err);
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
int upload_discard(struct service *svc, const char *image_id, struct store *store, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	AUTO(free_p) char *url = store_url(store, image_id);
	int r;

	if (!url)
		return err_nomem(err);
	r = db_begin(svc->db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	db_abort(TAKE(tx)); /* nobody has to wait for the store */
	return store_remove(store, url, err);
}

/* The failure itself is in @why and stays the answer, whatever happens here. False: there may be bytes left. */
static bool clean_up(struct service *svc, const struct who *who, struct upload *u, const struct sink *sink,
		     const struct err *why)
{
	struct origin origin = service_origin(who);
	struct log_ctx ctx = who_log(who);
	struct err err = {0};

	if (sink->may_have_name && upload_discard(svc, u->image_id, sink->store, &err) < 0) {
		log_error("glint.upload", &ctx, "image %s: removing what was uploaded: %s", u->image_id,
			  err_story(&err));
		return false;
	}
	if (upload_give_up(svc, u->image_id, why->text, &origin, &err) < 0)
		log_error("glint.upload", &ctx, "image %s: back to queued: %s; the janitor goes on trying",
			  u->image_id, err_story(&err));
	return true;
}

static int upload_steps(struct service *svc, const struct who *who, struct upload *u, struct store *store,
			struct upload_source *source, struct hold **hold, struct err *err)
{
	struct sink sink = {.store = store};
	AUTO(transfer_close) struct transfer t = {
		.image_id = u->image_id,
		.source = source,
		.sinks = &sink,
		.n_sinks = 1,
		.hash_algorithm = is_staging(svc, store) ? NULL : svc->config.hash_algorithm,
		.max_octets = svc->config.max_image_bytes,
		.hold = *hold,
		.stop = &u->stop,
		.progress = u->progress,
		.cls = u->cls,
	};
	struct origin origin = service_origin(who);
	struct log_ctx ctx = who_log(who);
	int r;

	r = upload_begin(svc, who, u, &t, err);
	if (r < 0)
		return r;
	r = transfer_run(&t, err);
	if (r == 0)
		r = upload_finish(svc, u, &t, &origin, err);
	if (r == 0) {
		hold_end(TAKE(*hold), true);
		upload_remark(&t, &ctx);
		return 0;
	}
	transfer_close(&t); /* no bytes are left when the consumers hear of it */
	if (!clean_up(svc, who, u, &sink, err))
		hold_keep(TAKE(*hold), u->image_id);
	return r;
}

int upload_run(struct service *svc, const struct who *who, struct upload *u, struct store *store,
	       struct upload_source *source, struct err *err)
{
	struct hold *hold = NULL;
	int r;

	r = open_hold(svc, who, u->image_id, store, &hold, err);
	if (r < 0)
		return r;
	u->source = source;
	uploads_add(svc, u);
	r = upload_steps(svc, who, u, store, source, &hold, err);
	hold_end(hold, false);
	uploads_remove(svc, u);
	if (r < 0)
		janitor_wake(svc->janitor);
	return r;
}

static int upload_into(struct service *svc, const struct who *who, const char *id, struct store *store,
		       struct upload_source *source, struct err *err)
{
	struct upload u = {0};

	if (!uuid_is_canonical(id))
		return err_set(err, ERR_NOT_FOUND, "No image has this id.");
	memcpy(u.image_id, id, sizeof(u.image_id));
	return upload_run(svc, who, &u, store, source, err);
}

int service_upload(struct service *svc, const struct who *who, const char *id, const char *store_name,
		   struct upload_source *source, struct err *err)
{
	struct store *store = store_name ? stores_find(svc->stores, store_name) : stores_default(svc->stores);

	if (!store || is_staging(svc, store))
		return err_set(err, ERR_INVALID, "There is no store of this name.");
	if (store_is_remote(store))
		return err_set(err, ERR_INVALID, "Nothing can be stored in the store %.64s.", store_id(store));
	return upload_into(svc, who, id, store, source, err);
}

int service_stage(struct service *svc, const struct who *who, const char *id, struct upload_source *source,
		  struct err *err)
{
	return upload_into(svc, who, id, stores_staging(svc->stores), source, err);
}

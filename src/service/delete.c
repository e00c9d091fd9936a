/* SPDX-License-Identifier: Apache-2.0
 * service/delete.c -- deleting an image.
 *
 * The transaction that deletes the record also writes down which bytes have to go; the janitor goes
 * by that until the store has removed them, over crashes too. An upload that is under way fails by
 * it: its ERROR notification stands in the same transaction, before image.delete, so that image.delete
 * is the last that is ever heard of an image. */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "service/progress.h"

static int check_deletable(const struct image *image, struct err *err)
{
	if (image->is_protected)
		return err_set(err, ERR_FORBIDDEN, "Image %s is protected and cannot be deleted.", image->id);
	if (!image_may_become(image->status, IMAGE_DELETED))
		return err_set(err, ERR_INVALID, "Image status transition from %s to deleted is not allowed",
			       image_status_name(image->status));
	return 0;
}

/* An import counts once its image.prepare has been told. */
static int is_importing(struct db_tx *tx, const struct image *image, struct arena *a, bool *ret, struct err *err)
{
	const struct image_property *lock = image_find_property(image, LOCK_PROPERTY);
	struct db_job job;
	int r = lock && lock->value ? db_job_get(tx, lock->value, a, &job, err) : ERR_NOT_FOUND;

	*ret = r == 0 && job.is_prepared;
	return r == ERR_NOT_FOUND ? 0 : r;
}

static int is_uploading(struct db_tx *tx, const struct image *image, struct arena *a, bool *ret, struct err *err)
{
	struct db_upload upload;
	int r = db_upload_get(tx, image->id, a, &upload, err);

	*ret = r == 0;
	return r == ERR_NOT_FOUND ? 0 : r;
}

static int record_failed_upload(struct service *svc, struct db_tx *tx, const struct image *image, struct arena *a,
				const struct origin *origin, struct err *err)
{
	bool uploading, importing = false;
	const char *text;
	int r;

	r = is_uploading(tx, image, a, &uploading, err);
	if (r == 0 && !uploading)
		r = is_importing(tx, image, a, &importing, err);
	if (r < 0 || (!uploading && !importing))
		return r;
	text = arena_printf(a, "Failed to %s image data for image %s: the image was deleted during the %s.",
			    uploading ? "upload" : "import", image->id, uploading ? "upload" : "import");
	if (!text)
		return err_nomem(err);
	return event_image_text(svc->notify, tx, EVENT_IMAGE_UPLOAD, EVENT_ERROR, image->id, text, origin, err);
}

static int record_removal(struct db_tx *tx, const struct image *image, const char *url, int64_t now, struct err *err)
{
	struct db_removal removal = {.url = url, .next_attempt_at = now};

	memcpy(removal.image_id, image->id, sizeof(removal.image_id));
	return db_removal_insert(tx, &removal, err);
}

/* Its bytes wait in the staging area, or may. */
static int record_staged(struct service *svc, struct db_tx *tx, const struct image *image, int64_t now,
			 struct err *err)
{
	AUTO(free_p) char *url = store_url(stores_staging(svc->stores), image->id);

	if (image->status != IMAGE_UPLOADING && image->status != IMAGE_IMPORTING)
		return 0;
	return url ? record_removal(tx, image, url, now, err) : err_nomem(err);
}

static int record_removals(struct service *svc, struct db_tx *tx, const struct image *image, int64_t now,
			   struct err *err)
{
	int r = record_staged(svc, tx, image, now, err);

	for (size_t i = 0; i < image->n_locations && r == 0; i++)
		r = record_removal(tx, image, image->locations[i].url, now, err);
	return r;
}

int delete_image(struct service *svc, struct db_tx *tx, const struct who *who, struct image *image, struct arena *a,
		 struct err *err)
{
	struct origin origin = service_origin(who);
	int64_t now = clock_now_us();
	int r;

	r = record_failed_upload(svc, tx, image, a, &origin, err);
	if (r < 0)
		return r;
	r = record_removals(svc, tx, image, now, err);
	if (r < 0)
		return r;
	r = db_image_delete(tx, image->id, now, err);
	if (r < 0)
		return r;
	image->status = IMAGE_DELETED;
	image->deleted = true;
	image->deleted_at = image->updated_at = now;
	return event_image(svc->notify, tx, EVENT_IMAGE_DELETE, image, NULL, &origin, err);
}

int service_delete(struct service *svc, const struct who *who, const char *id, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct target target;
	int r;

	r = service_begin(svc, who, id, POLICY_DELETE_IMAGE, &a, &tx, &target, err);
	if (r < 0)
		return r;
	r = check_deletable(&target.image, err);
	if (r < 0)
		return r;
	r = delete_image(svc, tx, who, &target.image, &a, err);
	if (r < 0)
		return r;
	r = service_commit(svc, &tx, err);
	if (r < 0)
		return r;
	uploads_image_deleted(svc, id);
	remover_remove(svc->remover, &target.image);
	janitor_wake(svc->janitor); /* staged ones, too */
	return 0;
}

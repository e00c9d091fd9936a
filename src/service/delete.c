/* SPDX-License-Identifier: Apache-2.0
 * service/delete.c -- deleting an image.
 *
 * The transaction that deletes the record also writes down which bytes have to go; the janitor goes
 * by that until the store has removed them, over crashes too. An upload that is under way fails by
 * it: its ERROR notification stands in the same transaction, before image.delete, so that image.delete
 * is the last that is ever heard of an image. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "service/internal.h"

static int check_deletable(const struct image *image, struct err *err)
{
	if (image->is_protected)
		return err_set(err, ERR_FORBIDDEN, "Image %s is protected and cannot be deleted.", image->id);
	if (!image_may_become(image->status, IMAGE_DELETED))
		return err_set(err, ERR_INVALID, "Image status transition from %s to deleted is not allowed",
			       image_status_name(image->status));
	return 0;
}

static int record_failed_upload(struct service *svc, struct db_tx *tx, const char *id, struct arena *a,
				const struct origin *origin, struct err *err)
{
	struct db_upload upload;
	const char *text;
	int r;

	r = db_upload_get(tx, id, a, &upload, err);
	if (r == ERR_NOT_FOUND)
		return 0;
	if (r < 0)
		return r;
	text = arena_printf(a, "Failed to upload image data for image %s: the image was deleted during the upload.",
			    id);
	if (!text)
		return err_nomem(err);
	return event_image_text(svc->notify, tx, EVENT_IMAGE_UPLOAD, EVENT_ERROR, id, text, origin, err);
}

static int record_removals(struct db_tx *tx, const struct image *image, int64_t now, struct err *err)
{
	for (size_t i = 0; i < image->n_locations; i++) {
		struct db_removal removal = {.url = image->locations[i].url, .next_attempt_at = now};
		int r;

		for (size_t k = 0; k <= UUID_LEN; k++)
			removal.image_id[k] = image->id[k];
		r = db_removal_insert(tx, &removal, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int delete_record(struct service *svc, struct db_tx *tx, const struct who *who, struct image *image,
			 struct arena *a, struct err *err)
{
	struct origin origin = service_origin(who);
	int64_t now = clock_now_us();
	int r;

	r = record_failed_upload(svc, tx, image->id, a, &origin, err);
	if (r < 0)
		return r;
	r = record_removals(tx, image, now, err);
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

/* Now, so that the disk is free when the client hears of it; what fails is the janitor's. */
static void remove_bytes(struct service *svc, const struct image *image)
{
	for (size_t i = 0; i < image->n_locations; i++) {
		struct err err = {0};

		(void)service_remove_bytes(svc, image->locations[i].url, &err);
	}
	if (image->n_locations > 0)
		janitor_wake(svc->janitor);
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
	r = delete_record(svc, tx, who, &target.image, &a, err);
	if (r < 0)
		return r;
	r = service_commit(svc, &tx, err);
	if (r < 0)
		return r;
	uploads_image_deleted(svc, id);
	remove_bytes(svc, &target.image);
	return 0;
}

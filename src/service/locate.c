/* SPDX-License-Identifier: Apache-2.0
 * service/locate.c -- showing where the bytes of an image are, and asking for a location by a task
 * (run_location.c). */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "image/locations.h"
#include "service/progress.h"
#include "service/quota.h"
#include "service/run.h"
#include "task/location.h"

/* -- showing -------------------------------------------------------------------------------------- */

/* Whoever is shown somebody else's shared image has found it because he is a member of it. Nobody has asked
 * in what way an admin has. */
static bool must_be_member(const struct who *who, const struct image *image)
{
	return image->visibility == IMAGE_SHARED && image->owner && !who_owns(who, image->owner) &&
	       !who_is_admin(who);
}

/* Where the bytes of a deactivated image are is of use only to get at them. */
int service_locations(struct service *svc, const struct who *who, const struct image *image, struct arena *a,
		      struct image_location **ret, size_t *ret_n, struct err *err)
{
	const struct policy_target about = {image, must_be_member(who, image)};
	struct image plain;
	int r;

	*ret_n = 0;
	if (image->status == IMAGE_DEACTIVATED || image->n_locations == 0 ||
	    !policy_allows(svc->policy, POLICY_GET_IMAGE_LOCATION, who, &about))
		return 0;
	r = locations_open(svc, image, true, a, &plain, err);
	if (r < 0)
		return r;
	*ret = plain.locations;
	*ret_n = plain.n_locations;
	return 0;
}

int service_location_list(struct service *svc, const struct who *who, const char *id, struct arena *a,
			  struct image *ret, struct err *err)
{
	struct target target;
	int r = service_look_for(svc, who, id, POLICY_FETCH_IMAGE_LOCATION, a, &target, err);

	return r < 0 ? r : locations_open(svc, &target.image, true, a, ret, err);
}

/* -- asking --------------------------------------------------------------------------------------- */

static int check_image(struct service *svc, struct db_tx *tx, const struct image *image,
		       const json_t *validation_data, struct arena *a, struct err *err)
{
	struct image expected = *image;
	int r;

	if (image->status != IMAGE_QUEUED)
		return err_set(err, ERR_CONFLICT,
			       "Image %s is %s; a location can only be given to a queued one.", image->id,
			       image_status_name(image->status));
	if (!image->disk_format || !image->container_format)
		return err_set(err, ERR_CONFLICT,
			       "Image %s needs a disk_format and a container_format before data.", image->id);
	if (svc->config.limits.max_locations == 0)
		return err_set(err, ERR_TOO_LARGE, "Images cannot have locations here.");
	r = progress_check_unlocked(tx, image, a, err);
	if (r < 0)
		return r;
	return locations_expect(validation_data, svc->config.limits.hash_algorithm, ERR_CONFLICT, a,
				&expected, err);
}

/* No image.update yet: the one of the pick-up tells of it. */
static int lock(struct db_tx *tx, const struct image *before, const char *task_id, struct arena *a,
		struct err *err)
{
	struct image after;
	int r = progress_copy(before, &after, a, err);

	if (r == 0)
		r = image_set_property(&after, a, LOCK_PROPERTY, task_id, err);
	return r < 0 ? r : db_image_update(tx, before, &after, err);
}

/* What the image's owner may have, before any transaction is open: to ask may take a while. Who may not add a
 * location learns nothing of it. */
static int ask_quota(struct service *svc, const struct who *who, const char *id, struct quota *ret,
		     struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct target target;
	int r;

	if (!quota_applies(svc))
		return 0;
	r = service_look_for(svc, who, id, POLICY_ADD_IMAGE_LOCATION, &a, &target, err);
	return r < 0 ? r : quota_of(svc, target.image.owner, ret, err);
}

/* The task finds out whether there is room for this image; none is made where there is none for any. */
static int check_quota(struct service *svc, const struct quota *quota, struct db_tx *tx,
		       const struct image *image, struct err *err)
{
	return quota_applies(svc) ? quota_check_stored(svc, quota, tx, image->owner, err) : 0;
}

static int ask(struct service *svc, const struct who *who, const char *id, const char *url,
	       const json_t *validation_data, const struct quota *quota, struct arena *a, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct target target;
	struct task task;
	const char *input;
	int r = service_begin(svc, who, id, POLICY_ADD_IMAGE_LOCATION, a, &tx, &target, err);

	if (r == 0)
		r = check_image(svc, tx, &target.image, validation_data, a, err);
	if (r == 0)
		r = check_quota(svc, quota, tx, &target.image, err);
	if (r < 0)
		return r;
	input = location_task_input(a, id, url, validation_data);
	if (!input)
		return err_nomem(err);
	r = task_enqueue(svc, tx, who, TASK_TYPE_LOCATION_IMPORT, input, target.image.id, &task, err);
	if (r == 0)
		r = lock(tx, &target.image, task.id, a, err);
	return r < 0 ? r : service_commit(svc, &tx, err);
}

int service_location_add(struct service *svc, const struct who *who, const char *id, const char *url,
			 const json_t *validation_data, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct quota quota = {0};
	struct store *store;
	int r = location_check(svc, url, &store, err);

	if (r == 0)
		r = ask_quota(svc, who, id, &quota, err);
	if (r == 0)
		r = ask(svc, who, id, url, validation_data, &quota, &a, err);
	if (r == 0)
		executor_wake(svc->executor);
	return r;
}

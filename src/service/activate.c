/* SPDX-License-Identifier: Apache-2.0
 * service/activate.c -- taking an active image out of use, and back. Asking for what already is
 * succeeds and emits nothing. Any other status refuses with ERR_INVALID, which is what clients of
 * these two routes have always got (400). */
#include "base/err.h"
#include "service/internal.h"

static int set_status(struct service *svc, const struct who *who, const char *id, enum policy_rule rule,
		      enum image_status from, enum image_status to, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct origin origin = service_origin(who);
	struct target target;
	struct image after;
	int r;

	r = service_begin(svc, who, id, rule, &a, &tx, &target, err);
	if (r < 0)
		return r;
	if (target.image.status == to)
		return 0;
	if (target.image.status != from)
		return err_set(err, ERR_INVALID, "Image status transition from %s to %s is not allowed",
			       image_status_name(target.image.status), image_status_name(to));
	after = target.image;
	after.status = to;
	r = service_save(svc, tx, who, &target.image, &after, err);
	if (r < 0)
		return r;
	if (to == IMAGE_ACTIVE) {
		r = event_image(svc->notify, tx, EVENT_IMAGE_ACTIVATE, &after, NULL, &origin, err);
		if (r < 0)
			return r;
	}
	return service_commit(svc, &tx, err);
}

int service_deactivate(struct service *svc, const struct who *who, const char *id, struct err *err)
{
	return set_status(svc, who, id, POLICY_DEACTIVATE, IMAGE_ACTIVE, IMAGE_DEACTIVATED, err);
}

int service_reactivate(struct service *svc, const struct who *who, const char *id, struct err *err)
{
	return set_status(svc, who, id, POLICY_REACTIVATE, IMAGE_DEACTIVATED, IMAGE_ACTIVE, err);
}

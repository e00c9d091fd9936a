/* SPDX-License-Identifier: Apache-2.0
 * service/unstore.c -- an image's bytes go from one of its stores. As with a delete, the transaction that
 * takes the location away writes down what has to be removed. */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "service/progress.h"
#include "service/seal.h"

static int check_removable(struct service *svc, const struct image *image, const char *store, struct err *err)
{
	if (!stores_have_names(svc->stores) || !stores_find(svc->stores, store))
		return err_set(err, ERR_CONFLICT, "There is no store called %.64s on this node.", store);
	if (image->status != IMAGE_ACTIVE)
		return err_set(err, ERR_CONFLICT, "Image %s is %s; data is only removed from a store while it is active.",
			       image->id, image_status_name(image->status));
	if (image->n_locations == 1)
		return err_set(err, ERR_FORBIDDEN,
			       "Image %s is in this store only; delete the image if that is meant.", image->id);
	return 0;
}

bool service_location_is_in(struct service *svc, const struct image_location *location, const char *store)
{
	AUTO(arena_done) struct arena a = {0};
	const struct store *s;
	const char *url;

	if (seal_open(svc->config.location_key, location->url, &a, &url, NULL) < 0)
		return false;
	s = stores_owner(svc->stores, url);
	return s && strcmp(store_id(s), store) == 0;
}

static const struct image_location *find_location(struct service *svc, const struct image *image, const char *store)
{
	for (size_t i = 0; i < image->n_locations; i++)
		if (service_location_is_in(svc, &image->locations[i], store))
			return &image->locations[i];
	return NULL;
}

static int record_removal(struct db_tx *tx, const struct image *image, const struct image_location *location,
			  int64_t now, struct err *err)
{
	struct db_removal removal = {.url = location->url, .next_attempt_at = now};
	int r = db_location_remove(tx, image->id, location->url, now, err);

	memcpy(removal.image_id, image->id, sizeof(removal.image_id));
	return r < 0 ? r : db_removal_insert(tx, &removal, err);
}

int service_delete_from_store(struct service *svc, const struct who *who, const char *id, const char *store,
			      struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	const struct image_location *location;
	struct target target;
	struct image after;
	int r = service_begin(svc, who, id, POLICY_DELETE_IMAGE_LOCATION, &a, &tx, &target, err);

	if (r == 0)
		r = service_allow(svc, POLICY_GET_IMAGE_LOCATION, who, &target, err);
	if (r == 0)
		r = check_removable(svc, &target.image, store, err);
	if (r == 0)
		r = progress_check_unlocked(tx, &target.image, &a, err);
	if (r < 0)
		return r;
	location = find_location(svc, &target.image, store);
	if (!location)
		return err_set(err, ERR_NOT_FOUND, "Image %s is not stored in %.64s.", id, store);
	after = target.image;
	r = record_removal(tx, &target.image, location, clock_now_us(), err);
	if (r == 0)
		r = service_save(svc, tx, who, &target.image, &after, err);
	if (r == 0)
		r = service_commit(svc, &tx, err);
	if (r == 0)
		janitor_wake(svc->janitor);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * service/download.c -- handing out an image's bytes, and the report of what was sent. */
#include "base/err.h"
#include "base/log.h"
#include "notify/notify.h"
#include "service/places.h"
#include "service/seal.h"

static void find_place(struct service *svc, const char *location, struct arena *a, struct place *ret)
{
	*ret = (struct place){0};
	if (seal_open(svc->config.location_key, location, a, &ret->url, &ret->err) < 0)
		return;
	ret->store = stores_owner(svc->stores, ret->url);
	if (!ret->store)
		err_set(&ret->err, ERR_NOT_FOUND, "it is in no store of this node");
}

static int64_t weight_of(const struct place *p)
{
	return p->store ? store_weight(p->store) : INT64_MIN;
}

/* By the weight of their stores, the heaviest first; the order of the locations among equals. */
static struct place *find_places(struct service *svc, const struct image *image, struct arena *a)
{
	struct place *places = arena_alloc(a, image->n_locations * sizeof(*places));

	for (size_t i = 0; places && i < image->n_locations; i++) {
		struct place p;
		size_t k = i;

		find_place(svc, image->locations[i].url, a, &p);
		for (; k > 0 && weight_of(&places[k - 1]) < weight_of(&p); k--)
			places[k] = places[k - 1];
		places[k] = p;
	}
	return places;
}

/* Only the first that is tried counts as an answer; those far away are tried when they are read. */
static int open_place(struct service *svc, const struct image *image, const struct who *who, struct arena *a,
		      struct place *places, size_t n, struct image_bytes *ret, struct err *err)
{
	if (store_is_remote(places->store) && image->size != IMAGE_SIZE_UNKNOWN)
		return far_new(svc, image, who, a, places, n, &ret->far, err);
	return store_read(places->store, places->url, &ret->file, err);
}

int service_open_bytes(struct service *svc, const struct image *image, const struct who *who, struct image_bytes *ret,
		       struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct place *places = find_places(svc, image, &a);
	struct log_ctx ctx = who_log(who);
	bool gone = true;

	*ret = (struct image_bytes){.file.fd = -1};
	if (!places && image->n_locations > 0)
		return err_nomem(err);
	for (size_t i = 0; i < image->n_locations; i++) {
		struct place *p = &places[i];

		if (p->err.code == 0 && open_place(svc, image, who, &a, p, image->n_locations - i, ret, &p->err) == 0)
			return 0;
		log_warning("glint.download", &ctx, "image %s: reading a location: %s", image->id,
			    err_story(&p->err));
		gone &= p->err.code == ERR_NOT_FOUND;
	}
	if (gone)
		return err_set(err, ERR_NOT_FOUND, "The data of image %s is gone.", image->id);
	return err_set(err, ERR_UNAVAILABLE, "The data of image %s cannot be read at the moment.", image->id);
}

/* An image whose bytes are gone is sent as having none (204), as clients know it. */
static int open_source(struct service *svc, const struct who *who, struct download *ret, struct err *err)
{
	struct image_bytes bytes = {.file.fd = -1};
	int r = service_open_bytes(svc, &ret->image, who, &bytes, err);

	ret->has_data = r == 0;
	ret->source = bytes.file;
	ret->far = bytes.far;
	return r == ERR_NOT_FOUND ? 0 : r;
}

int service_download(struct service *svc, const struct who *who, const char *id, struct arena *a,
		     struct download *ret, struct err *err)
{
	struct target target;
	int r;

	r = service_look(svc, who, id, a, &target, err);
	if (r < 0)
		return r;
	r = service_allow(svc, POLICY_DOWNLOAD_IMAGE, who, &target, err);
	if (r < 0)
		return r;
	if (target.image.status == IMAGE_DEACTIVATED && !who_is_admin(who))
		return err_set(err, ERR_FORBIDDEN, "Image %s is deactivated; its data is not handed out.", id);
	ret->image = target.image;
	ret->has_data = false;
	ret->source.fd = -1;
	ret->far = NULL;
	if (target.image.status != IMAGE_ACTIVE && target.image.status != IMAGE_DEACTIVATED)
		return 0;
	return open_source(svc, who, ret, err);
}

bool service_wants_sent(const struct service *svc)
{
	return notify_has_drivers(svc->notify);
}

int service_sent(struct service *svc, const struct who *who, const struct sent *sent, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct origin origin = service_origin(who);
	struct send_report report = {
		.bytes_sent = sent->n_bytes,
		.image_id = sent->image_id,
		.owner_id = sent->owner,
		.receiver_tenant_id = who->project_id,
		.receiver_user_id = who->user_id,
		.destination_ip = who->address,
	};
	int r;

	r = db_begin(svc->db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	r = event_image_send(svc->notify, tx, sent->complete ? EVENT_INFO : EVENT_ERROR, &report, &origin, err);
	if (r < 0)
		return r;
	return service_commit(svc, &tx, err);
}

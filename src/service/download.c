/* SPDX-License-Identifier: Apache-2.0
 * service/download.c -- handing out an image's bytes, and the report of what was sent. */
#include "base/err.h"
#include "base/log.h"
#include "notify/notify.h"
#include "service/internal.h"
#include "service/seal.h"

static int open_location(struct service *svc, const char *location, struct arena *a, struct store_source *ret,
			 struct err *err)
{
	const char *url;
	int r = seal_open(svc->config.location_key, location, a, &url, err);

	if (r < 0)
		return r;
	if (!store_owns(svc->store, url))
		return err_set(err, ERR_NOT_FOUND, "it is in no store of this node");
	return store_read(svc->store, url, ret, err);
}

/* The first location that answers. An image whose bytes are gone is sent as having none (204), as
 * clients know it; the log says more. */
static int open_source(struct service *svc, const struct who *who, const struct image *image, struct arena *a,
		       struct download *ret, struct err *err)
{
	struct log_ctx ctx = who_log(who);

	for (size_t i = 0; i < image->n_locations; i++) {
		struct err why = {0};
		int r = open_location(svc, image->locations[i].url, a, &ret->source, &why);

		if (r == 0) {
			ret->has_data = true;
			return 0;
		}
		log_warning("glint.download", &ctx, "image %s: reading a location: %s", image->id,
			    err_story(&why));
		if (r != ERR_NOT_FOUND)
			return err_set(err, ERR_UNAVAILABLE, "The data of image %s cannot be read at the moment.",
				       image->id);
	}
	return 0;
}

int service_download(struct service *svc, const struct who *who, const char *id, struct arena *a,
		     struct download *ret, struct err *err)
{
	struct target target;
	int r;

	r = service_look(svc, who, id, a, &target, err);
	if (r < 0)
		return r;
	r = service_allow(POLICY_DOWNLOAD_IMAGE, who, &target, err);
	if (r < 0)
		return r;
	if (target.image.status == IMAGE_DEACTIVATED && !who_is_admin(who))
		return err_set(err, ERR_FORBIDDEN, "Image %s is deactivated; its data is not handed out.", id);
	ret->image = target.image;
	ret->has_data = false;
	ret->source.fd = -1;
	if (target.image.status != IMAGE_ACTIVE && target.image.status != IMAGE_DEACTIVATED)
		return 0;
	return open_source(svc, who, &target.image, a, ret, err);
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

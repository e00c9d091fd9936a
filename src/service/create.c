/* SPDX-License-Identifier: Apache-2.0
 * service/create.c -- a new image record. */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "service/internal.h"

static int check_creator(const struct who *who, const struct image *draft, struct err *err)
{
	struct policy_target target = {draft, false};
	int r = policy_check(POLICY_ADD_IMAGE, who, &target, err);

	if (r < 0)
		return r;
	if (draft->visibility == IMAGE_PUBLIC)
		return policy_check(POLICY_PUBLICIZE_IMAGE, who, &target, err);
	if (draft->visibility == IMAGE_COMMUNITY)
		return policy_check(POLICY_COMMUNITIZE_IMAGE, who, &target, err);
	return 0;
}

int service_create(struct service *svc, const struct who *who, struct image *draft, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct origin origin = service_origin(who);
	int r;

	if (!draft->owner)
		draft->owner = who->project_id;
	r = check_creator(who, draft, err);
	if (r < 0)
		return r;
	if (!*draft->id)
		uuid_new(draft->id);
	draft->created_at = draft->updated_at = clock_now_us();

	r = db_begin(svc->db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	r = db_image_insert(tx, draft, err);
	if (r == ERR_CONFLICT)
		return err_set(err, r, "Image id %s is or was in use.", draft->id);
	if (r < 0)
		return r;
	r = event_image(svc->notify, tx, EVENT_IMAGE_CREATE, draft, NULL, &origin, err);
	if (r < 0)
		return r;
	return service_commit(svc, &tx, err);
}

/* SPDX-License-Identifier: Apache-2.0
 * service/create.c -- a new image record. */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "notify/notify.h"
#include "service/quota.h"

static int check_visibility(struct service *svc, const struct who *who, const struct image *draft, struct err *err)
{
	struct policy_target target = {draft, false};

	if (draft->visibility == IMAGE_PUBLIC)
		return policy_check(svc->policy, POLICY_PUBLICIZE_IMAGE, who, &target, err);
	if (draft->visibility == IMAGE_COMMUNITY)
		return policy_check(svc->policy, POLICY_COMMUNITIZE_IMAGE, who, &target, err);
	return 0;
}

static int check_properties(const struct who *who, const struct image *draft, struct err *err)
{
	for (size_t i = 0; i < draft->n_properties; i++)
		if (!property_allowed(who->rights, draft->properties[i].name, PROPERTY_CREATE))
			return err_set(err, ERR_FORBIDDEN, "The property '%.64s' is protected.", draft->properties[i].name);
	return 0;
}

/* Also of a task that will make the image: what it is to be is known when it is asked for. */
int service_check_draft(struct service *svc, const struct who *who, struct image *draft, struct err *err)
{
	struct policy_target target = {draft, false};
	int r;

	if (!draft->owner)
		draft->owner = who->project_id;
	r = policy_check(svc->policy, POLICY_ADD_IMAGE, who, &target, err);
	if (r == 0)
		r = check_visibility(svc, who, draft, err);
	return r < 0 ? r : check_properties(who, draft, err);
}

/* All that needs no database. */
static int prepare(struct service *svc, const struct who *who, struct image *draft, struct err *err)
{
	int r = service_check_draft(svc, who, draft, err);

	if (r < 0)
		return r;
	if (!*draft->id)
		uuid_new(draft->id);
	draft->created_at = draft->updated_at = clock_now_us();
	return 0;
}

static int create(void *cls, struct db_tx *tx, struct err *err)
{
	struct creation *c = cls;
	struct origin origin = service_origin(c->who);
	int r = quota_check_images(&c->quota, tx, c->image->owner, 1, err);

	if (r < 0)
		return r;
	r = db_image_insert(tx, c->image, err);
	if (r == ERR_CONFLICT)
		return err_set(err, r, "Image id %s is or was in use.", c->image->id);
	if (r < 0)
		return r;
	return event_image(c->service->notify, tx, EVENT_IMAGE_CREATE, c->image, NULL, &origin, err);
}

static void created(void *cls, int r, const struct err *err)
{
	struct creation *c = cls;

	if (r == 0)
		notify_wake(c->service->notify);
	c->done(c->cls, r, err);
}

static void create_within(void *cls, int r, const struct quota *quota, const struct err *err)
{
	struct creation *c = cls;

	if (r < 0) {
		c->done(c->cls, r, err);
		return;
	}
	c->quota = *quota;
	db_write(c->service->db, create, created, c);
}

void service_create(struct service *svc, struct creation *c)
{
	struct err err = {0};
	int r = prepare(svc, c->who, c->image, &err);

	c->service = svc;
	if (r < 0)
		c->done(c->cls, r, &err);
	else
		quota_ask(svc, c->image->owner, create_within, c);
}

/* SPDX-License-Identifier: Apache-2.0
 * service/share.c -- members: the owner shares an image with a project, that project accepts. */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "service/internal.h"

static int check_shared(const struct image *image, struct err *err)
{
	if (image->visibility != IMAGE_SHARED)
		return err_set(err, ERR_FORBIDDEN, "Only shared images have members; image %s is %s.", image->id,
			       image_visibility_name(image->visibility));
	return 0;
}

static int begin_sharing(struct service *svc, const struct who *who, const char *image_id, enum db_mode mode,
			 struct arena *a, struct db_tx **ret_tx, struct target *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r;

	r = db_begin(svc->db, mode, &tx, err);
	if (r < 0)
		return r;
	r = service_load(svc, tx, who, image_id, a, ret, err);
	if (r < 0)
		return r;
	r = check_shared(&ret->image, err);
	if (r < 0)
		return r;
	*ret_tx = TAKE(tx);
	return 0;
}

/* A member that the caller may know of: anybody's for the owner, one's own otherwise. */
static int load_member(struct service *svc, struct db_tx *tx, const struct who *who, const struct target *target,
		       const char *member_id, struct arena *a, struct image_member *ret, struct err *err)
{
	bool own = who->project_id && strcmp(who->project_id, member_id) == 0;
	int r = service_allow(svc, POLICY_GET_MEMBER, who, target, err);

	if (r < 0)
		return r;
	r = ERR_NOT_FOUND;
	if (own || who_is_admin(who) || who_owns(who, target->image.owner))
		r = db_member_get(tx, target->image.id, member_id, a, ret, err);
	if (r == ERR_NOT_FOUND)
		return err_set(err, r, "Image %s has no such member.", target->image.id);
	return r;
}

static int check_member_quota(struct service *svc, struct db_tx *tx, const char *image_id, struct err *err)
{
	int64_t max = svc->config.limits.max_members, n;
	int r;

	if (max < 0)
		return 0;
	r = db_member_count(tx, image_id, &n, err);
	if (r < 0)
		return r;
	if (n >= max)
		return err_set(err, ERR_TOO_LARGE, "Image %s has %lld members; %lld are allowed.", image_id,
			       (long long)n, (long long)max);
	return 0;
}

static int emit(struct service *svc, struct db_tx *tx, enum event_type type, const struct image_member *m,
		const struct who *who, struct err *err)
{
	struct origin origin = service_origin(who);

	return event_member(svc->notify, tx, type, m, &origin, err);
}

int service_member_add(struct service *svc, const struct who *who, const char *image_id, const char *member_id,
		       struct arena *a, struct image_member *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct target target;
	struct image_member m = {.status = MEMBER_PENDING};
	int r;

	r = begin_sharing(svc, who, image_id, DB_WRITE, a, &tx, &target, err);
	if (r < 0)
		return r;
	r = service_allow(svc, POLICY_ADD_MEMBER, who, &target, err);
	if (r < 0)
		return r;
	r = check_member_quota(svc, tx, target.image.id, err);
	if (r < 0)
		return r;
	memcpy(m.image_id, target.image.id, sizeof(m.image_id));
	m.member_id = member_id;
	m.created_at = m.updated_at = clock_now_us();
	r = db_member_insert(tx, &m, err);
	if (r == ERR_CONFLICT)
		return err_set(err, r, "Project %.64s is already a member of image %s.", member_id, m.image_id);
	if (r < 0)
		return r;
	r = emit(svc, tx, EVENT_IMAGE_MEMBER_CREATE, &m, who, err);
	if (r < 0)
		return r;
	r = service_commit(svc, &tx, err);
	if (r == 0)
		*ret = m;
	return r;
}

/* The member itself decides; whoever shares may not decide for it. */
static int check_may_set(struct service *svc, const struct who *who, const struct target *target, const char *member_id,
			 struct err *err)
{
	int r = service_allow(svc, POLICY_MODIFY_MEMBER, who, target, err);

	if (r < 0 || who_is_admin(who) || (who->project_id && strcmp(who->project_id, member_id) == 0))
		return r;
	return err_set(err, ERR_FORBIDDEN, "Only the member itself may change its status.");
}

int service_member_set(struct service *svc, const struct who *who, const char *image_id, const char *member_id,
		       enum member_status status, struct arena *a, struct image_member *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct target target;
	struct image_member m;
	int r;

	r = begin_sharing(svc, who, image_id, DB_WRITE, a, &tx, &target, err);
	if (r < 0)
		return r;
	r = load_member(svc, tx, who, &target, member_id, a, &m, err);
	if (r < 0)
		return r;
	r = check_may_set(svc, who, &target, member_id, err);
	if (r < 0)
		return r;
	m.status = status;
	m.updated_at = clock_now_us();
	r = db_member_update(tx, &m, err);
	if (r < 0)
		return r;
	r = emit(svc, tx, EVENT_IMAGE_MEMBER_UPDATE, &m, who, err);
	if (r < 0)
		return r;
	r = service_commit(svc, &tx, err);
	if (r == 0)
		*ret = m;
	return r;
}

int service_member_remove(struct service *svc, const struct who *who, const char *image_id,
			  const char *member_id, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct target target;
	struct image_member m;
	int r;

	r = begin_sharing(svc, who, image_id, DB_WRITE, &a, &tx, &target, err);
	if (r < 0)
		return r;
	r = load_member(svc, tx, who, &target, member_id, &a, &m, err);
	if (r < 0)
		return r;
	r = service_allow(svc, POLICY_DELETE_MEMBER, who, &target, err);
	if (r < 0)
		return r;
	m.deleted = true;
	m.deleted_at = clock_now_us();
	r = db_member_delete(tx, target.image.id, member_id, m.deleted_at, err);
	if (r < 0)
		return r;
	r = emit(svc, tx, EVENT_IMAGE_MEMBER_DELETE, &m, who, err);
	if (r < 0)
		return r;
	return service_commit(svc, &tx, err);
}

int service_member_show(struct service *svc, const struct who *who, const char *image_id, const char *member_id,
			struct arena *a, struct image_member *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct target target;
	int r;

	r = begin_sharing(svc, who, image_id, DB_READ, a, &tx, &target, err);
	if (r == 0)
		r = load_member(svc, tx, who, &target, member_id, a, ret, err);
	if (r == ERR_FORBIDDEN)
		return err_set(err, ERR_NOT_FOUND, "Image %s has no such member.", image_id);
	return r;
}

int service_member_list(struct service *svc, const struct who *who, const char *image_id, db_member_fn *fn,
			void *cls, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct target target;
	bool all;
	int r;

	r = begin_sharing(svc, who, image_id, DB_READ, &a, &tx, &target, err);
	if (r < 0)
		return r;
	r = service_allow(svc, POLICY_GET_MEMBERS, who, &target, err);
	if (r < 0)
		return r;
	all = who_is_admin(who) || who_owns(who, target.image.owner);
	/* The rule knows of the image only, so one answer is that about each member. */
	if (service_allow(svc, POLICY_GET_MEMBER, who, &target, NULL) < 0 || (!all && !who->project_id))
		return 0;
	return db_member_list(tx, target.image.id, all ? NULL : who->project_id, fn, cls, err);
}

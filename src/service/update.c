/* SPDX-License-Identifier: Apache-2.0
 * service/update.c -- PATCH and tags. */
#include <string.h>

#include "base/err.h"
#include "service/progress.h"

/* A copy whose tags can be changed without touching the original's. */
static int copy_with_tags(const struct image *from, struct arena *a, struct image *to, struct err *err)
{
	*to = *from;
	to->tags = arena_alloc(a, (from->n_tags + 1) * sizeof(*to->tags));
	if (!to->tags)
		return err_nomem(err);
	if (from->n_tags)
		memcpy(to->tags, from->tags, from->n_tags * sizeof(*to->tags));
	return 0;
}

static bool same_text(const char *x, const char *y)
{
	return x && y ? strcmp(x, y) == 0 : x == y;
}

/* Only an admin may say whose an image is, be it what it was. */
static int check_owner(const struct who *who, const struct patch *patch, struct err *err)
{
	for (size_t i = 0; i < patch->n_steps && !who_is_admin(who); i++)
		if (patch->steps[i].op == PATCH_REPLACE && strcmp(patch->steps[i].attribute, "owner") == 0)
			return err_set(err, ERR_FORBIDDEN, "Only an admin may change the owner of an image.");
	return 0;
}

/* What depends on who asks and not on the image alone. */
static int check_changes(struct service *svc, const struct who *who, const struct target *before,
			 const struct image *after, struct err *err)
{
	if (!same_text(before->image.owner, after->owner) && !who_is_admin(who))
		return err_set(err, ERR_FORBIDDEN, "Only an admin may change the owner of an image.");
	if (before->image.visibility == after->visibility)
		return 0;
	if (after->visibility == IMAGE_PUBLIC)
		return service_allow(svc, POLICY_PUBLICIZE_IMAGE, who, before, err);
	if (after->visibility == IMAGE_COMMUNITY)
		return service_allow(svc, POLICY_COMMUNITIZE_IMAGE, who, before, err);
	return 0;
}

/* What data is being taken for does not change under it. */
static int check_formats(struct db_tx *tx, const struct image *before, const struct image *after, struct arena *a,
			 struct err *err)
{
	int r;

	if (same_text(before->disk_format, after->disk_format) &&
	    same_text(before->container_format, after->container_format))
		return 0;
	r = progress_check_unlocked(tx, before, a, err);
	if (r == ERR_CONFLICT)
		return err_set(err, ERR_FORBIDDEN, "The formats of image %s cannot change while it is being imported.",
			       before->id);
	return r;
}

/* There is no other way to a changed image. patch_apply() gives @after arrays of its own. */
int update_apply(struct service *svc, struct db_tx *tx, const struct who *who, const struct patch *patch,
		 const struct target *before, struct image *after, struct arena *a, struct err *err)
{
	struct patch allowed = *patch;
	int r;

	allowed.rights = who->rights;
	r = patch_apply(&allowed, &svc->config.limits, a, after, err);
	if (r == 0)
		r = check_owner(who, patch, err);
	if (r == 0)
		r = check_changes(svc, who, before, after, err);
	return r < 0 ? r : check_formats(tx, &before->image, after, a, err);
}

int service_update(struct service *svc, const struct who *who, const char *id, const struct patch *patch,
		   const struct watch *asker, struct arena *a, struct image *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct target before;
	struct image after;
	int r;

	if (patch_has_locations(patch))
		return update_locations(svc, who, id, patch, asker, a, ret, err);
	r = service_begin(svc, who, id, POLICY_MODIFY_IMAGE, a, &tx, &before, err);
	if (r < 0)
		return r;
	after = before.image;
	r = update_apply(svc, tx, who, patch, &before, &after, a, err);
	if (r < 0)
		return r;
	if (patch->n_steps > 0) {
		r = service_save(svc, tx, who, &before.image, &after, err);
		if (r < 0)
			return r;
		r = service_commit(svc, &tx, err);
		if (r < 0)
			return r;
	}
	*ret = after;
	return 0;
}

static int check_tag_quota(const struct service *svc, const struct image *image, struct err *err)
{
	int64_t max = svc->config.limits.max_tags;

	if (max >= 0 && (int64_t)image->n_tags > max)
		return err_set(err, ERR_TOO_LARGE, "Image %s would have %zu tags; %lld are allowed.", image->id,
			       image->n_tags, (long long)max);
	return 0;
}

static int begin_tags(struct service *svc, const struct who *who, const char *id, struct arena *a,
		      struct db_tx **ret_tx, struct target *ret_before, struct image *ret_after, struct err *err)
{
	int r = service_begin(svc, who, id, POLICY_MODIFY_IMAGE, a, ret_tx, ret_before, err);

	return r < 0 ? r : copy_with_tags(&ret_before->image, a, ret_after, err);
}

int service_add_tag(struct service *svc, const struct who *who, const char *id, const char *tag, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct target before;
	struct image after;
	int r;

	r = begin_tags(svc, who, id, &a, &tx, &before, &after, err);
	if (r < 0)
		return r;
	if (!image_has_tag(&after, tag)) {
		r = image_add_tag(&after, &a, tag, err);
		if (r < 0)
			return r;
		r = check_tag_quota(svc, &after, err);
		if (r < 0)
			return r;
	}
	r = service_save(svc, tx, who, &before.image, &after, err);
	if (r < 0)
		return r;
	return service_commit(svc, &tx, err);
}

int service_remove_tag(struct service *svc, const struct who *who, const char *id, const char *tag,
		       struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct target before;
	struct image after;
	int r;

	r = begin_tags(svc, who, id, &a, &tx, &before, &after, err);
	if (r < 0)
		return r;
	if (!image_remove_tag(&after, tag))
		return err_set(err, ERR_NOT_FOUND, "Image %s has no such tag.", id);
	r = service_save(svc, tx, who, &before.image, &after, err);
	if (r < 0)
		return r;
	return service_commit(svc, &tx, err);
}

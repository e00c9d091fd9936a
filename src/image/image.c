/* SPDX-License-Identifier: Apache-2.0
 * image/image.c -- what an image is, its states, and what may follow what.
 *
 * (1) A status changes only along the edges of may_follow[]; from IMAGE_DELETED there are none.
 * (2) Property names are unique within an image, and so are tags; both keep the order in which
 *     they were added. */
#include "image/image.h"

#include <string.h>

#include "base/err.h"

static const char *const status_names[] = {
	[IMAGE_QUEUED] = "queued",
	[IMAGE_SAVING] = "saving",
	[IMAGE_UPLOADING] = "uploading",
	[IMAGE_IMPORTING] = "importing",
	[IMAGE_ACTIVE] = "active",
	[IMAGE_DEACTIVATED] = "deactivated",
	[IMAGE_KILLED] = "killed",
	[IMAGE_PENDING_DELETE] = "pending_delete",
	[IMAGE_DELETED] = "deleted",
};

static const char *const visibility_names[] = {
	[IMAGE_PRIVATE] = "private",
	[IMAGE_SHARED] = "shared",
	[IMAGE_COMMUNITY] = "community",
	[IMAGE_PUBLIC] = "public",
};

static const char *const member_status_names[] = {
	[MEMBER_PENDING] = "pending",
	[MEMBER_ACCEPTED] = "accepted",
	[MEMBER_REJECTED] = "rejected",
};

#define TO(status) (1u << (status))

static const unsigned may_follow[] = {
	[IMAGE_QUEUED] = TO(IMAGE_SAVING) | TO(IMAGE_UPLOADING) | TO(IMAGE_IMPORTING) | TO(IMAGE_ACTIVE) |
			 TO(IMAGE_DELETED),
	[IMAGE_SAVING] = TO(IMAGE_ACTIVE) | TO(IMAGE_KILLED) | TO(IMAGE_DELETED) | TO(IMAGE_QUEUED),
	[IMAGE_UPLOADING] = TO(IMAGE_IMPORTING) | TO(IMAGE_QUEUED) | TO(IMAGE_DELETED),
	[IMAGE_IMPORTING] = TO(IMAGE_ACTIVE) | TO(IMAGE_DELETED) | TO(IMAGE_QUEUED),
	[IMAGE_ACTIVE] = TO(IMAGE_PENDING_DELETE) | TO(IMAGE_DELETED) | TO(IMAGE_DEACTIVATED),
	[IMAGE_DEACTIVATED] = TO(IMAGE_ACTIVE) | TO(IMAGE_DELETED),
	[IMAGE_KILLED] = TO(IMAGE_DELETED),
	[IMAGE_PENDING_DELETE] = TO(IMAGE_DELETED) | TO(IMAGE_ACTIVE),
	[IMAGE_DELETED] = 0,
};

static int find_name(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; name && i < n; i++) {
		if (strcmp(names[i], name) == 0)
			return (int)i;
	}
	return -1;
}

const char *image_status_name(enum image_status s)
{
	return status_names[s];
}

bool image_status_parse(const char *name, enum image_status *ret)
{
	int i = find_name(status_names, ARRAY_LEN(status_names), name);

	if (i >= 0)
		*ret = (enum image_status)i;
	return i >= 0;
}

const char *image_visibility_name(enum image_visibility v)
{
	return visibility_names[v];
}

bool image_visibility_parse(const char *name, enum image_visibility *ret)
{
	int i = find_name(visibility_names, ARRAY_LEN(visibility_names), name);

	if (i >= 0)
		*ret = (enum image_visibility)i;
	return i >= 0;
}

const char *member_status_name(enum member_status s)
{
	return member_status_names[s];
}

bool member_status_parse(const char *name, enum member_status *ret)
{
	int i = find_name(member_status_names, ARRAY_LEN(member_status_names), name);

	if (i >= 0)
		*ret = (enum member_status)i;
	return i >= 0;
}

bool image_may_become(enum image_status from, enum image_status to)
{
	return may_follow[from] & TO(to);
}

int image_check_transition(enum image_status from, enum image_status to, struct err *err)
{
	if (image_may_become(from, to))
		return 0;
	return err_set(err, ERR_CONFLICT, "Image status transition from %s to %s is not allowed",
		       image_status_name(from), image_status_name(to));
}

void image_init(struct image *img)
{
	*img = (struct image){
		.status = IMAGE_QUEUED,
		.visibility = IMAGE_SHARED,
		.size = IMAGE_SIZE_UNKNOWN,
		.virtual_size = IMAGE_SIZE_UNKNOWN,
	};
}

/* A copy in @a of an array of @n elements, with room for one more. NULL: no memory. */
static void *grow(struct arena *a, const void *array, size_t n, size_t element_size)
{
	void *bigger = n < SIZE_MAX / element_size ? arena_alloc(a, (n + 1) * element_size) : NULL;

	if (bigger && n > 0)
		memcpy(bigger, array, n * element_size);
	return bigger;
}

/* Where @name is among the properties; n_properties if it is not. */
static size_t property_index(const struct image *img, const char *name)
{
	size_t i = 0;

	while (i < img->n_properties && strcmp(img->properties[i].name, name) != 0)
		i++;
	return i;
}

static size_t tag_index(const struct image *img, const char *tag)
{
	size_t i = 0;

	while (i < img->n_tags && strcmp(img->tags[i], tag) != 0)
		i++;
	return i;
}

const struct image_property *image_find_property(const struct image *img, const char *name)
{
	size_t i = property_index(img, name);

	return i < img->n_properties ? &img->properties[i] : NULL;
}

bool image_has_tag(const struct image *img, const char *tag)
{
	return tag_index(img, tag) < img->n_tags;
}

int image_set_property(struct image *img, struct arena *a, const char *name, const char *value,
		       struct err *err)
{
	size_t i = property_index(img, name);
	const char *value_copy = arena_strdup(a, value);
	struct image_property *bigger;
	const char *name_copy;

	if (value && !value_copy)
		return err_nomem(err);
	if (i < img->n_properties) {
		img->properties[i].value = value_copy;
		return 0;
	}
	name_copy = arena_strdup(a, name);
	bigger = grow(a, img->properties, img->n_properties, sizeof(*bigger));
	if (!name_copy || !bigger)
		return err_nomem(err);
	bigger[img->n_properties++] = (struct image_property){.name = name_copy, .value = value_copy};
	img->properties = bigger;
	return 0;
}

bool image_remove_property(struct image *img, const char *name)
{
	size_t i = property_index(img, name);

	if (i == img->n_properties)
		return false;
	img->n_properties--;
	memmove(&img->properties[i], &img->properties[i + 1],
		(img->n_properties - i) * sizeof(img->properties[0]));
	return true;
}

int image_add_tag(struct image *img, struct arena *a, const char *tag, struct err *err)
{
	const char **bigger;
	const char *copy;

	if (image_has_tag(img, tag))
		return 0;
	copy = arena_strdup(a, tag);
	bigger = grow(a, img->tags, img->n_tags, sizeof(*bigger));
	if (!copy || !bigger)
		return err_nomem(err);
	bigger[img->n_tags++] = copy;
	img->tags = bigger;
	return 0;
}

bool image_remove_tag(struct image *img, const char *tag)
{
	size_t i = tag_index(img, tag);

	if (i == img->n_tags)
		return false;
	img->n_tags--;
	memmove(&img->tags[i], &img->tags[i + 1], (img->n_tags - i) * sizeof(img->tags[0]));
	return true;
}

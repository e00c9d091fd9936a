/* SPDX-License-Identifier: Apache-2.0
 * image/input.c -- the body that creates an image.
 *
 * The order of the checks decides which status a body with several faults gets, and clients have
 * learned one: links (403), then types and bounds (400), then what is read-only or reserved (403),
 * then quotas (413). */
#include "image/input.h"

#include <string.h>

#include "base/err.h"
#include "image/attribute.h"
#include "image/text.h"

#define MAX_TAG_CHARS 255

/* For each member of the body; not 0 ends the walk. */
typedef int member_fn(void *cls, const struct attribute *attr, const char *name, const json_t *value,
		      struct err *err);

static int for_each_member(const json_t *body, member_fn *fn, void *cls, struct err *err)
{
	json_t *object = (json_t *)body; /* jansson has no iterator for const ones */
	const char *name;
	json_t *value;
	int r;

	json_object_foreach(object, name, value) {
		r = fn(cls, attribute_find(name), name, value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int refuse_link(void *cls, const struct attribute *attr, const char *name, const json_t *value,
		       struct err *err)
{
	return attr->access == ACCESS_LINK ? attribute_refuse(attr, name, err) : 0;
}

static int check_member(void *cls, const struct attribute *attr, const char *name, const json_t *value,
			struct err *err)
{
	const struct image_limits *limits = cls;
	int r;

	r = attribute_check(attr, name, value, err);
	if (r < 0)
		return r;
	if (!attr->name) {
		r = attribute_check_property_name(name, err);
		if (r < 0)
			return r;
	}
	return attribute_check_format(attr, value, limits, err);
}

static int refuse_ours(void *cls, const struct attribute *attr, const char *name, const json_t *value,
		       struct err *err)
{
	if (attr->access == ACCESS_FREE || attr->access == ACCESS_CREATE)
		return 0;
	return attribute_refuse(attr, name, err);
}

static int count_property(void *cls, const struct attribute *attr, const char *name, const json_t *value,
			  struct err *err)
{
	size_t *n = cls;

	*n += attr->id == ATTRIBUTE_PROPERTY;
	return 0;
}

static int check_quotas(const json_t *body, const struct image_limits *limits, size_t n_properties,
			struct err *err)
{
	int r;

	r = attribute_check_quota("tags", json_array_size(json_object_get(body, "tags")), limits->max_tags,
				  err);
	if (r < 0)
		return r;
	return attribute_check_quota("properties", n_properties, limits->max_properties, err);
}

struct filling {
	struct image *img; /* properties has room for all of them */
	struct arena *a;
};

static int fill_member(void *cls, const struct attribute *attr, const char *name, const json_t *value,
		       struct err *err)
{
	struct filling *f = cls;
	struct image_property p;

	if (attr->id != ATTRIBUTE_PROPERTY)
		return attribute_assign(attr, value, f->a, f->img, err);
	p.name = arena_strdup(f->a, name);
	p.value = arena_strdup(f->a, json_string_value(value));
	if (!p.name || !p.value)
		return err_nomem(err);
	f->img->properties[f->img->n_properties++] = p;
	return 0;
}

static int check_body(const json_t *body, const struct image_limits *limits, struct err *err)
{
	int r;

	if (!json_is_object(body))
		return err_set(err, ERR_INVALID, "The body must be a JSON object.");
	r = for_each_member(body, refuse_link, NULL, err);
	if (r < 0)
		return r;
	r = for_each_member(body, check_member, (void *)limits, err);
	if (r < 0)
		return r;
	return for_each_member(body, refuse_ours, NULL, err);
}

int image_from_json(const json_t *body, const struct image_limits *limits, struct arena *a, struct image *ret,
		    struct err *err)
{
	struct image img;
	struct filling filling = {.img = &img, .a = a};
	size_t n_properties = 0;
	int r;

	r = check_body(body, limits, err);
	if (r < 0)
		return r;
	(void)for_each_member(body, count_property, &n_properties, err);
	r = check_quotas(body, limits, n_properties, err);
	if (r < 0)
		return r;
	image_init(&img);
	img.properties = arena_alloc(a, n_properties * sizeof(*img.properties));
	if (!img.properties)
		return err_nomem(err);
	r = for_each_member(body, fill_member, &filling, err);
	if (r < 0)
		return r;
	*ret = img;
	return 0;
}

int image_check_tag(const char *tag, struct err *err)
{
	size_t n_chars;

	if (!text_count(tag, &n_chars))
		return err_set(err, ERR_INVALID, "A tag must be valid UTF-8.");
	if (n_chars < 1 || n_chars > MAX_TAG_CHARS)
		return err_set(err, ERR_INVALID, "A tag must have 1 to %d characters.", MAX_TAG_CHARS);
	return 0;
}

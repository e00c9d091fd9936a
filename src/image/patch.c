/* SPDX-License-Identifier: Apache-2.0
 * image/patch.c -- what a PATCH says, and doing it.
 *
 * Two dialects: v2.1 is {"op": "add", "path": "/name", "value": ...}, v2.0 its predecessor
 * {"add": "/name", "value": ...}, where an add must not find anything there. Paths are JSON
 * pointers to one attribute; only /locations has a second level. Each step is checked whole before
 * the next one is looked at; nothing is applied until all of them have passed. */
#include "image/input.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "image/attribute.h"
#include "image/locations.h"
#include "image/text.h"

#define MAX_TOKENS 2

static const char *const op_names[] = {
	[PATCH_ADD] = "add",
	[PATCH_REPLACE] = "replace",
	[PATCH_REMOVE] = "remove",
};

/* -- operations -------------------------------------------------------------------------------- */

static int parse_op_v21(const json_t *raw, enum patch_op *ret, const json_t **ret_pointer, struct err *err)
{
	const char *op = json_string_value(json_object_get(raw, "op"));

	*ret_pointer = json_object_get(raw, "path");
	for (size_t i = 0; op && i < ARRAY_LEN(op_names); i++) {
		if (strcmp(op, op_names[i]) == 0) {
			*ret = (enum patch_op)i;
			return 0;
		}
	}
	return err_set(err, ERR_INVALID, "The 'op' of a change must be add, replace or remove.");
}

static int parse_op_v20(const json_t *raw, enum patch_op *ret, const json_t **ret_pointer, struct err *err)
{
	int n_found = 0;

	for (size_t i = 0; i < ARRAY_LEN(op_names); i++) {
		const json_t *pointer = json_object_get(raw, op_names[i]);

		if (!pointer)
			continue;
		n_found++;
		*ret = (enum patch_op)i;
		*ret_pointer = pointer;
	}
	if (n_found != 1)
		return err_set(err, ERR_INVALID,
			       "A change must have exactly one member named add, replace or remove.");
	return 0;
}

/* -- pointers ---------------------------------------------------------------------------------- */

static int bad_pointer(const char *pointer, const char *why, struct err *err)
{
	char excerpt[TEXT_EXCERPT_SIZE];

	return err_set(err, ERR_INVALID, "The path '%s' %s.", text_excerpt(pointer, excerpt), why);
}

/* Two slashes with nothing or only blanks between them. */
static bool has_empty_token(const char *s)
{
	for (const char *slash = strchr(s, '/'); slash; slash = strchr(slash + 1, '/')) {
		const char *next = slash + 1;

		while (text_is_blank(*next))
			next++;
		if (*next == '/')
			return true;
	}
	return false;
}

static bool has_bad_escape(const char *s)
{
	for (const char *tilde = strchr(s, '~'); tilde; tilde = strchr(tilde + 1, '~')) {
		if (tilde[1] != '0' && tilde[1] != '1')
			return true;
	}
	return false;
}

/* "/" alone is the property with the empty name. */
static int check_pointer(const json_t *value, struct err *err)
{
	const char *pointer = json_string_value(value);
	size_t n_chars;

	if (!pointer)
		return err_set(err, ERR_INVALID, "The path of a change must be a string.");
	if (strlen(pointer) != json_string_length(value))
		return bad_pointer(pointer, "contains a NUL character", err);
	if (!text_count(pointer, &n_chars))
		return bad_pointer(pointer, "is not valid UTF-8", err);
	if (pointer[0] != '/')
		return bad_pointer(pointer, "does not start with a slash", err);
	if (has_empty_token(pointer + 1))
		return bad_pointer(pointer, "has nothing between two slashes", err);
	if (pointer[1] != '\0' && pointer[strlen(pointer) - 1] == '/')
		return bad_pointer(pointer, "ends with a slash", err);
	if (has_bad_escape(pointer))
		return bad_pointer(pointer, "has a '~' that is followed by neither 0 nor 1", err);
	return 0;
}

/* ~1 is a slash, ~0 a tilde; blanks around a token do not count. */
static const char *decode_token(struct arena *a, const char *s, size_t n)
{
	char *token, *o;

	while (n > 0 && text_is_blank(s[0])) {
		s++;
		n--;
	}
	while (n > 0 && text_is_blank(s[n - 1]))
		n--;
	token = o = arena_alloc(a, n + 1);
	if (!token)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '~')
			*o++ = s[++i] == '1' ? '/' : '~';
		else
			*o++ = s[i];
	}
	*o = '\0';
	return token;
}

/* Sets attribute and rest of @step. */
static int decode_pointer(const char *pointer, struct arena *a, struct patch_step *step, struct err *err)
{
	const char *tokens[MAX_TOKENS] = {NULL};
	const char *s = pointer + strspn(pointer, "/");

	for (size_t i = 0;; i++) {
		size_t n = strcspn(s, "/");

		if (i == MAX_TOKENS)
			return bad_pointer(pointer, "leads to nothing in an image", err);
		tokens[i] = decode_token(a, s, n);
		if (!tokens[i])
			return err_nomem(err);
		if (s[n] == '\0')
			break;
		s += n + 1;
	}
	step->attribute = tokens[0];
	step->rest = tokens[1];
	return 0;
}

/* One location is added or removed by its place, all are replaced; everything else has one level. */
static int check_depth(const struct patch_step *step, const char *pointer, struct err *err)
{
	bool wants_rest = strcmp(step->attribute, "locations") == 0 && step->op != PATCH_REPLACE;

	if (wants_rest == (step->rest != NULL))
		return 0;
	return bad_pointer(pointer, "leads to nothing in an image that this operation can change", err);
}

/* -- steps ------------------------------------------------------------------------------------- */

/* A location is a valid one if it is in a list of its own. */
static int check_location(const struct attribute *attr, const json_t *value, struct err *err)
{
	json_t *list = json_array();
	int r;

	if (!list || json_array_append(list, (json_t *)value) < 0)
		r = err_nomem(err);
	else
		r = attribute_check(attr, "locations", list, err);
	json_decref(list);
	return r;
}

static int check_value(const struct attribute *attr, const struct patch_step *step, struct err *err)
{
	if (step->rest)
		return check_location(attr, step->value, err);
	return attribute_check(attr, step->attribute, step->value, err);
}

static int check_step(const struct patch_step *step, struct err *err)
{
	const struct attribute *attr = attribute_find(step->attribute);
	int r;

	if (attr->access != ACCESS_FREE && attr->id != ATTRIBUTE_LOCATIONS)
		return attribute_refuse(attr, step->attribute, err);
	if (step->op == PATCH_REMOVE)
		return 0;
	r = check_value(attr, step, err);
	if (r < 0)
		return r;
	if (step->op == PATCH_ADD && attr->id == ATTRIBUTE_PROPERTY)
		return attribute_check_property_name(step->attribute, err);
	return 0;
}

static int parse_step(const json_t *raw, enum patch_format format, struct arena *a, struct patch_step *step,
		      struct err *err)
{
	const json_t *pointer = NULL;
	int r;

	if (!json_is_object(raw))
		return err_set(err, ERR_INVALID, "Every change must be a JSON object.");
	r = format == PATCH_V20 ? parse_op_v20(raw, &step->op, &pointer, err)
				: parse_op_v21(raw, &step->op, &pointer, err);
	if (r < 0)
		return r;
	r = check_pointer(pointer, err);
	if (r < 0)
		return r;
	r = decode_pointer(json_string_value(pointer), a, step, err);
	if (r < 0)
		return r;
	r = check_depth(step, json_string_value(pointer), err);
	if (r < 0)
		return r;
	step->value = step->op == PATCH_REMOVE ? NULL : json_object_get(raw, "value");
	if (!step->value && step->op != PATCH_REMOVE)
		return err_set(err, ERR_INVALID, "A change that does not remove must have a 'value'.");
	return check_step(step, err);
}

int patch_parse(const json_t *body, enum patch_format format, struct arena *a, struct patch *ret,
		struct err *err)
{
	struct patch patch = {.n_steps = json_array_size(body), .strict_add = format == PATCH_V20};
	int r;

	if (!json_is_array(body))
		return err_set(err, ERR_INVALID, "The body must be a JSON array of changes.");
	if (patch.n_steps > PATCH_MAX_STEPS)
		return err_set(err, ERR_INVALID, "A patch may have %d changes; this one has %zu.",
			       PATCH_MAX_STEPS, patch.n_steps);
	patch.steps = arena_alloc(a, patch.n_steps * sizeof(*patch.steps));
	if (!patch.steps)
		return err_nomem(err);
	for (size_t i = 0; i < patch.n_steps; i++) {
		r = parse_step(json_array_get(body, i), format, a, &patch.steps[i], err);
		if (r < 0)
			return r;
	}
	*ret = patch;
	return 0;
}

/* -- applying ---------------------------------------------------------------------------------- */

struct application {
	const struct image_limits *limits;
	struct arena *a;
	struct image *img;
	size_t cap_properties;               /* room in the image's array: for all that the steps can add */
	const struct image_property *before; /* as they were */
	size_t n_before;
	const struct image_property **hidden; /* those of them that may not be read */
	size_t n_hidden;
	const struct property_rights *rights;
	bool strict_add;
};

static int conflict(const char *name, const char *what, struct err *err)
{
	char excerpt[TEXT_EXCERPT_SIZE];

	return err_set(err, ERR_CONFLICT, "The attribute '%s' %s.", text_excerpt(name, excerpt), what);
}

/* Bytes are described by their formats, so these are fixed once there are any. */
static int check_frozen(const struct attribute *attr, const struct image *img, struct err *err)
{
	if (attr->id != ATTRIBUTE_DISK_FORMAT && attr->id != ATTRIBUTE_CONTAINER_FORMAT)
		return 0;
	if (img->status == IMAGE_QUEUED)
		return 0;
	return err_set(err, ERR_FORBIDDEN, "The attribute '%s' can change only while the image is queued.",
		       attr->name);
}

/* A list that is too long is fine if the one before was longer still. */
static int check_tag_quota(const struct application *ap, const struct attribute *attr, const json_t *value,
			   struct err *err)
{
	size_t n = json_array_size(value);

	if (attr->id != ATTRIBUTE_TAGS || n < ap->img->n_tags)
		return 0;
	return attribute_check_quota("tags", n, ap->limits->max_tags, err);
}

static int apply_to_base(struct application *ap, const struct attribute *attr, const struct patch_step *step,
			 struct err *err)
{
	int r;

	if (step->op == PATCH_REMOVE)
		return err_set(err, ERR_FORBIDDEN, "The attribute '%s' cannot be removed.", attr->name);
	if (step->op == PATCH_ADD && ap->strict_add)
		return conflict(attr->name, "is there already", err);
	r = check_frozen(attr, ap->img, err);
	if (r < 0)
		return r;
	r = check_tag_quota(ap, attr, step->value, err);
	if (r < 0)
		return r;
	return attribute_assign(attr, step->value, ap->a, ap->img, err);
}

static struct image_property *find_property(const struct application *ap, const char *name)
{
	return (struct image_property *)image_find_property(ap->img, name); /* the array is ours */
}

static int check_right(const struct application *ap, const char *name, enum property_action action, struct err *err)
{
	char excerpt[TEXT_EXCERPT_SIZE];

	if (property_allowed(ap->rights, name, action))
		return 0;
	return err_set(err, ERR_FORBIDDEN, "The property '%s' is protected.", text_excerpt(name, excerpt));
}

static bool is_hidden(const struct application *ap, const char *name)
{
	for (size_t i = 0; i < ap->n_hidden; i++)
		if (strcmp(ap->hidden[i]->name, name) == 0)
			return true;
	return false;
}

static int check_rights(const struct application *ap, const struct patch_step *step, bool is_there, struct err *err)
{
	const char *name = step->attribute;
	int r;

	if (step->op == PATCH_REMOVE)
		return check_right(ap, name, PROPERTY_DELETE, err);
	if (is_there)
		return check_right(ap, name, PROPERTY_UPDATE, err);
	r = check_right(ap, name, PROPERTY_CREATE, err);
	return r == 0 && is_hidden(ap, name) ? check_right(ap, name, PROPERTY_UPDATE, err) : r;
}

static int apply_to_property(struct application *ap, const struct patch_step *step, struct err *err)
{
	struct image_property *p = find_property(ap, step->attribute);
	bool is_there = p && property_allowed(ap->rights, p->name, PROPERTY_READ); /* or else a step before has made it */
	const char *name, *value;
	int r;

	if (!is_there && step->op != PATCH_ADD)
		return conflict(step->attribute, "is not there", err);
	if (is_there && step->op == PATCH_ADD && ap->strict_add)
		return conflict(step->attribute, "is there already", err);
	r = check_rights(ap, step, is_there, err);
	if (r < 0)
		return r;
	if (step->op == PATCH_REMOVE) {
		(void)image_remove_property(ap->img, step->attribute);
		return 0;
	}
	name = p ? p->name : arena_strdup(ap->a, step->attribute);
	value = arena_strdup(ap->a, json_string_value(step->value));
	if (!name || !value)
		return err_nomem(err);
	if (!p) {
		assert(ap->img->n_properties < ap->cap_properties);
		p = &ap->img->properties[ap->img->n_properties++];
	}
	*p = (struct image_property){.name = name, .value = value};
	return 0;
}

static int apply_step(struct application *ap, const struct patch_step *step, struct err *err)
{
	const struct attribute *attr = attribute_find(step->attribute);

	if (attr->id == ATTRIBUTE_LOCATIONS)
		return locations_apply(step, ap->limits, ap->a, ap->img, err);
	if (attr->id == ATTRIBUTE_PROPERTY)
		return apply_to_property(ap, step, err);
	return apply_to_base(ap, attr, step, err);
}

static bool was_there(const struct application *ap, const char *name)
{
	for (size_t i = 0; i < ap->n_before; i++) {
		if (strcmp(ap->before[i].name, name) == 0)
			return true;
	}
	return false;
}

/* Who is over the quota may still change and remove properties, but not add any. */
static int check_property_quota(const struct application *ap, struct err *err)
{
	bool added = false;
	size_t n = 0;

	for (size_t i = 0; i < ap->img->n_properties; i++) {
		const char *name = ap->img->properties[i].name;

		n += !attribute_is_internal(name);
		added = added || !was_there(ap, name);
	}
	return added ? attribute_check_quota("properties", n, ap->limits->max_properties, err) : 0;
}

static int check_formats(const struct patch *p, const struct image_limits *limits, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < p->n_steps && r == 0; i++)
		r = attribute_check_format(attribute_find(p->steps[i].attribute), p->steps[i].value, limits,
					   err);
	return r;
}

/* The image gets an array of its own: the one it came with may be shared with the image before. What may not be
 * read is put aside. */
static int own_properties(struct application *ap, size_t n_steps, struct err *err)
{
	struct image *img = ap->img;
	struct image_property *own;

	ap->before = img->properties;
	ap->n_before = img->n_properties;
	ap->cap_properties = ap->n_before + n_steps;
	own = arena_alloc(ap->a, ap->cap_properties * sizeof(*own));
	ap->hidden = ap->rights ? arena_alloc(ap->a, ap->n_before * sizeof(struct image_property *)) : NULL;
	if (!own || (ap->rights && !ap->hidden))
		return err_nomem(err);
	img->properties = own;
	img->n_properties = 0;
	for (size_t i = 0; i < ap->n_before; i++) {
		if (property_allowed(ap->rights, ap->before[i].name, PROPERTY_READ))
			own[img->n_properties++] = ap->before[i];
		else
			ap->hidden[ap->n_hidden++] = &ap->before[i];
	}
	return 0;
}

/* What was put aside comes back, unless a step has put something in its place. */
static void restore_hidden(struct application *ap)
{
	for (size_t i = 0; i < ap->n_hidden; i++)
		if (!find_property(ap, ap->hidden[i]->name))
			ap->img->properties[ap->img->n_properties++] = *ap->hidden[i];
}

bool patch_has_locations(const struct patch *p)
{
	for (size_t i = 0; i < p->n_steps; i++)
		if (attribute_find(p->steps[i].attribute)->id == ATTRIBUTE_LOCATIONS)
			return true;
	return false;
}

int patch_apply(const struct patch *p, const struct image_limits *limits, struct arena *a, struct image *img,
		struct err *err)
{
	struct application ap = {
		.limits = limits, .a = a, .img = img, .rights = p->rights, .strict_add = p->strict_add};
	int r;

	r = check_formats(p, limits, err);
	if (r < 0)
		return r;
	r = own_properties(&ap, p->n_steps, err);
	for (size_t i = 0; i < p->n_steps && r == 0; i++)
		r = apply_step(&ap, &p->steps[i], err);
	if (r < 0)
		return r;
	restore_hidden(&ap);
	return check_property_quota(&ap, err);
}

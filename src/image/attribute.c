/* SPDX-License-Identifier: Apache-2.0
 * image/attribute.c -- the attributes that bodies can name.
 *
 * The table is what clients know as the image schema. What is not in it is a custom property, and
 * those are texts; a null has never been one. */
#include "image/attribute.h"

#include <string.h>

#include "base/err.h"
#include "image/text.h"

#define MAX_COLUMN_CHARS 255
#define MAX_MIN_VALUE INT32_MAX           /* min_disk and min_ram are 32 bits wide in the database */
#define MAX_EXACT_REAL 9007199254740992.0 /* 2^53: up to here a double is every integer */
#define INTERNAL_PREFIX "os_glance"

static const struct attribute attributes[] = {
	{"id", ATTRIBUTE_ID, ACCESS_CREATE, TYPE_UUID},
	{"name", ATTRIBUTE_NAME, ACCESS_FREE, TYPE_TEXT, .or_null = true, .max_chars = IMAGE_NAME_MAX},
	{"owner", ATTRIBUTE_OWNER, ACCESS_FREE, TYPE_TEXT, .or_null = true, .max_chars = MAX_COLUMN_CHARS},
	{"visibility", ATTRIBUTE_VISIBILITY, ACCESS_FREE, TYPE_VISIBILITY},
	{"protected", ATTRIBUTE_PROTECTED, ACCESS_FREE, TYPE_BOOLEAN},
	{"os_hidden", ATTRIBUTE_OS_HIDDEN, ACCESS_FREE, TYPE_BOOLEAN},
	{"min_disk", ATTRIBUTE_MIN_DISK, ACCESS_FREE, TYPE_INTEGER},
	{"min_ram", ATTRIBUTE_MIN_RAM, ACCESS_FREE, TYPE_INTEGER},
	{"disk_format", ATTRIBUTE_DISK_FORMAT, ACCESS_FREE, TYPE_TEXT, .or_null = true},
	{"container_format", ATTRIBUTE_CONTAINER_FORMAT, ACCESS_FREE, TYPE_TEXT, .or_null = true},
	{"tags", ATTRIBUTE_TAGS, ACCESS_FREE, TYPE_TAGS},
	{"status", ATTRIBUTE_OURS, ACCESS_READ, TYPE_STATUS},
	{"checksum", ATTRIBUTE_OURS, ACCESS_READ, TYPE_TEXT, .or_null = true, .max_chars = 32},
	{"os_hash_algo", ATTRIBUTE_OURS, ACCESS_READ, TYPE_TEXT, .or_null = true, .max_chars = 64},
	{"os_hash_value", ATTRIBUTE_OURS, ACCESS_READ, TYPE_TEXT, .or_null = true, .max_chars = 128},
	{"size", ATTRIBUTE_OURS, ACCESS_READ, TYPE_INTEGER, .or_null = true},
	{"virtual_size", ATTRIBUTE_OURS, ACCESS_READ, TYPE_INTEGER, .or_null = true},
	{"created_at", ATTRIBUTE_OURS, ACCESS_READ, TYPE_TEXT},
	{"updated_at", ATTRIBUTE_OURS, ACCESS_READ, TYPE_TEXT},
	{"direct_url", ATTRIBUTE_OURS, ACCESS_LINK, TYPE_TEXT},
	{"self", ATTRIBUTE_OURS, ACCESS_LINK, TYPE_TEXT},
	{"file", ATTRIBUTE_OURS, ACCESS_LINK, TYPE_TEXT},
	{"schema", ATTRIBUTE_OURS, ACCESS_LINK, TYPE_TEXT},
	{"stores", ATTRIBUTE_OURS, ACCESS_LINK, TYPE_TEXT},
	{"locations", ATTRIBUTE_LOCATIONS, ACCESS_RESERVED, TYPE_LOCATIONS},
	{"location", ATTRIBUTE_OURS, ACCESS_RESERVED, TYPE_TEXT},
	{"deleted", ATTRIBUTE_OURS, ACCESS_RESERVED, TYPE_TEXT},
	{"deleted_at", ATTRIBUTE_OURS, ACCESS_RESERVED, TYPE_TEXT},
};

static const struct attribute internal_property = {NULL, ATTRIBUTE_OURS, ACCESS_RESERVED, TYPE_TEXT};
static const struct attribute custom_property = {NULL, ATTRIBUTE_PROPERTY, ACCESS_FREE, TYPE_TEXT};

bool attribute_is_internal(const char *name)
{
	return strncmp(name, INTERNAL_PREFIX, strlen(INTERNAL_PREFIX)) == 0;
}

const struct attribute *attribute_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(attributes); i++) {
		if (strcmp(attributes[i].name, name) == 0)
			return &attributes[i];
	}
	return attribute_is_internal(name) ? &internal_property : &custom_property;
}

/* -- checks ------------------------------------------------------------------------------------ */

static int bad_type(const char *name, const char *expected, bool or_null, struct err *err)
{
	char excerpt[TEXT_EXCERPT_SIZE];

	return err_set(err, ERR_INVALID, "The value of '%s' must be %s%s.", text_excerpt(name, excerpt),
		       expected, or_null ? " or null" : "");
}

/* A text without NUL, of at most @max_chars characters unless that is 0. */
static int check_characters(const char *name, const json_t *value, size_t max_chars, struct err *err)
{
	const char *text = json_string_value(value);
	char excerpt[TEXT_EXCERPT_SIZE];
	size_t n_chars;

	text_excerpt(name, excerpt);
	if (strlen(text) != json_string_length(value))
		return err_set(err, ERR_INVALID, "The value of '%s' must not contain a NUL character.",
			       excerpt);
	if (!text_count(text, &n_chars))
		return err_set(err, ERR_INVALID, "The value of '%s' is not valid UTF-8.", excerpt);
	if (max_chars > 0 && n_chars > max_chars)
		return err_set(err, ERR_INVALID, "The value of '%s' is longer than %zu characters.", excerpt,
			       max_chars);
	return 0;
}

static int check_text(const struct attribute *attr, const char *name, const json_t *value, struct err *err)
{
	if (!json_is_string(value))
		return bad_type(name, "a string", attr->or_null, err);
	return check_characters(name, value, attr->max_chars, err);
}

/* JSON has one kind of number: 1.0 is an integer too. Too large for us saturates. */
static bool read_integer(const json_t *value, int64_t *ret)
{
	double real = json_real_value(value);

	if (json_is_integer(value)) {
		*ret = json_integer_value(value);
		return true;
	}
	if (!json_is_real(value))
		return false;
	if (real > MAX_EXACT_REAL || real < -MAX_EXACT_REAL) {
		*ret = real > 0 ? INT64_MAX : INT64_MIN;
		return true;
	}
	*ret = (int64_t)real;
	return (double)*ret == real;
}

static int check_integer(const struct attribute *attr, const char *name, const json_t *value, struct err *err)
{
	int64_t number;

	if (!read_integer(value, &number))
		return bad_type(name, "an integer", attr->or_null, err);
	if (attr->access == ACCESS_FREE && (number < 0 || number > MAX_MIN_VALUE))
		return err_set(err, ERR_INVALID, "The value of '%s' must be between 0 and %d.", name,
			       MAX_MIN_VALUE);
	return 0;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* 8-4-4-4-12 hex digits, upper case too. */
static int check_uuid(const char *name, const json_t *value, struct err *err)
{
	const char *text = json_string_value(value);

	if (!text || json_string_length(value) != UUID_LEN)
		return bad_type(name, "a UUID", false, err);
	for (size_t i = 0; i < UUID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !is_hex(text[i]))
			return bad_type(name, "a UUID", false, err);
	}
	return 0;
}

/* NULL if @value is no string, or one with a NUL in it, which would hide what follows. */
static const char *word(const json_t *value)
{
	const char *text = json_string_value(value);

	return text && strlen(text) == json_string_length(value) ? text : NULL;
}

static int check_status(const char *name, const json_t *value, struct err *err)
{
	enum image_status s;

	if (!image_status_parse(word(value), &s))
		return bad_type(name, "the name of a status", false, err);
	return 0;
}

static int check_visibility(const char *name, const json_t *value, struct err *err)
{
	enum image_visibility v;

	if (!image_visibility_parse(word(value), &v))
		return bad_type(name, "one of public, community, shared, private", false, err);
	return 0;
}

static int check_tags(const char *name, const json_t *value, struct err *err)
{
	const json_t *tag;
	size_t i;
	int r;

	if (!json_is_array(value))
		return bad_type(name, "an array of strings", false, err);
	json_array_foreach(value, i, tag) {
		if (!json_is_string(tag))
			return bad_type(name, "an array of strings", false, err);
		r = check_characters(name, tag, MAX_COLUMN_CHARS, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_locations(const char *name, const json_t *value, struct err *err)
{
	static const char expected[] = "an array of objects with a 'url' and 'metadata'";
	const json_t *location;
	size_t i;

	if (!json_is_array(value))
		return bad_type(name, expected, false, err);
	json_array_foreach(value, i, location) {
		if (!json_is_string(json_object_get(location, "url")) ||
		    !json_is_object(json_object_get(location, "metadata")))
			return bad_type(name, expected, false, err);
	}
	return 0;
}

int attribute_check(const struct attribute *attr, const char *name, const json_t *value, struct err *err)
{
	if (attr->or_null && json_is_null(value))
		return 0;
	switch (attr->type) {
	case TYPE_TEXT:
		return check_text(attr, name, value, err);
	case TYPE_INTEGER:
		return check_integer(attr, name, value, err);
	case TYPE_BOOLEAN:
		return json_is_boolean(value) ? 0 : bad_type(name, "true or false", false, err);
	case TYPE_UUID:
		return check_uuid(name, value, err);
	case TYPE_STATUS:
		return check_status(name, value, err);
	case TYPE_VISIBILITY:
		return check_visibility(name, value, err);
	case TYPE_TAGS:
		return check_tags(name, value, err);
	case TYPE_LOCATIONS:
		return check_locations(name, value, err);
	}
	return err_set(err, ERR_INTERNAL, "The attribute '%s' has no type.", name);
}

int attribute_check_format(const struct attribute *attr, const json_t *value,
			   const struct image_limits *limits, struct err *err)
{
	const char *const *allowed = attr->id == ATTRIBUTE_DISK_FORMAT        ? limits->disk_formats
				     : attr->id == ATTRIBUTE_CONTAINER_FORMAT ? limits->container_formats
									      : NULL;
	const char *format = json_string_value(value);
	char excerpt[TEXT_EXCERPT_SIZE];

	if (!allowed || !format)
		return 0;
	for (; *allowed; allowed++) {
		if (strcmp(*allowed, format) == 0)
			return 0;
	}
	return err_set(err, ERR_INVALID, "'%s' is not a %s that this service accepts.",
		       text_excerpt(format, excerpt), attr->name);
}

int attribute_check_property_name(const char *name, struct err *err)
{
	char excerpt[TEXT_EXCERPT_SIZE];
	size_t n_chars;

	if (!text_count(name, &n_chars))
		return err_set(err, ERR_INVALID, "The name of the property '%s' is not valid UTF-8.",
			       text_excerpt(name, excerpt));
	if (n_chars > MAX_COLUMN_CHARS)
		return err_set(err, ERR_INVALID,
			       "The name of the property '%s' is longer than %d characters.",
			       text_excerpt(name, excerpt), MAX_COLUMN_CHARS);
	return 0;
}

int attribute_refuse(const struct attribute *attr, const char *name, struct err *err)
{
	char excerpt[TEXT_EXCERPT_SIZE];

	return err_set(err, ERR_FORBIDDEN, "The attribute '%s' is %s.", text_excerpt(name, excerpt),
		       attr->access == ACCESS_RESERVED ? "reserved" : "read-only");
}

int attribute_check_quota(const char *what, size_t n, int64_t max, struct err *err)
{
	if (max < 0 || n <= (uint64_t)max)
		return 0;
	return err_set(err, ERR_TOO_LARGE, "An image may have %lld %s; this one would have %zu.",
		       (long long)max, what, n);
}

/* -- setting ----------------------------------------------------------------------------------- */

static int set_text(const json_t *value, struct arena *a, const char **ret, struct err *err)
{
	const char *copy = arena_strdup(a, json_string_value(value)); /* null stays NULL */

	if (!copy && !json_is_null(value))
		return err_nomem(err);
	*ret = copy;
	return 0;
}

static void set_id(const json_t *value, struct image *img)
{
	const char *text = json_string_value(value);

	for (size_t i = 0; i < UUID_LEN; i++)
		img->id[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
	img->id[UUID_LEN] = '\0';
}

/* A set in the order of first occurrence. @seen remembers, so that many tags do not take quadratic time. */
static int fill_tags(const json_t *value, struct arena *a, json_t *seen, const char **tags, size_t *ret_n,
		     struct err *err)
{
	size_t i, n = 0;
	const json_t *tag;

	json_array_foreach(value, i, tag) {
		const char *text = json_string_value(tag);

		if (json_object_get(seen, text))
			continue;
		tags[n] = arena_strdup(a, text);
		if (!tags[n++] || json_object_set_new_nocheck(seen, text, json_null()) < 0)
			return err_nomem(err);
	}
	*ret_n = n;
	return 0;
}

static int set_tags(const json_t *value, struct arena *a, struct image *img, struct err *err)
{
	const char **tags = arena_alloc(a, json_array_size(value) * sizeof(*tags));
	json_t *seen = json_object();
	size_t n = 0;
	int r;

	r = tags && seen ? fill_tags(value, a, seen, tags, &n, err) : err_nomem(err);
	json_decref(seen);
	if (r < 0)
		return r;
	img->tags = tags;
	img->n_tags = n;
	return 0;
}

int attribute_assign(const struct attribute *attr, const json_t *value, struct arena *a, struct image *img,
		     struct err *err)
{
	switch (attr->id) {
	case ATTRIBUTE_ID:
		set_id(value, img);
		return 0;
	case ATTRIBUTE_NAME:
		return set_text(value, a, &img->name, err);
	case ATTRIBUTE_OWNER:
		return set_text(value, a, &img->owner, err);
	case ATTRIBUTE_DISK_FORMAT:
		return set_text(value, a, &img->disk_format, err);
	case ATTRIBUTE_CONTAINER_FORMAT:
		return set_text(value, a, &img->container_format, err);
	case ATTRIBUTE_TAGS:
		return set_tags(value, a, img, err);
	case ATTRIBUTE_VISIBILITY:
		(void)image_visibility_parse(json_string_value(value), &img->visibility);
		return 0;
	case ATTRIBUTE_PROTECTED:
		img->is_protected = json_is_true(value);
		return 0;
	case ATTRIBUTE_OS_HIDDEN:
		img->os_hidden = json_is_true(value);
		return 0;
	case ATTRIBUTE_MIN_DISK:
		(void)read_integer(value, &img->min_disk);
		return 0;
	case ATTRIBUTE_MIN_RAM:
		(void)read_integer(value, &img->min_ram);
		return 0;
	case ATTRIBUTE_LOCATIONS:
	case ATTRIBUTE_OURS:
	case ATTRIBUTE_PROPERTY:
		break;
	}
	return err_set(err, ERR_INTERNAL, "The attribute cannot be set.");
}

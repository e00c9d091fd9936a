/* SPDX-License-Identifier: Apache-2.0
 * cmd/policy_image.c -- reads the image that `glint policy check` is asked about. */
#include "cmd/policy_image.h"

#include <string.h>

#include "base/err.h"

static const char **text_of(struct image *image, const char *name)
{
	const struct {
		const char *name, **text;
	} texts[] = {
		{"name", &image->name},
		{"owner", &image->owner},
		{"disk_format", &image->disk_format},
		{"container_format", &image->container_format},
		{"checksum", &image->checksum},
		{"os_hash_algo", &image->os_hash_algo},
		{"os_hash_value", &image->os_hash_value},
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (strcmp(texts[i].name, name) == 0)
			return texts[i].text;
	return NULL;
}

static int64_t *number_of(struct image *image, const char *name)
{
	const struct {
		const char *name;
		int64_t *number;
	} numbers[] = {
		{"min_disk", &image->min_disk},
		{"min_ram", &image->min_ram},
		{"size", &image->size},
		{"virtual_size", &image->virtual_size},
	};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (strcmp(numbers[i].name, name) == 0)
			return numbers[i].number;
	return NULL;
}

static bool set_word(struct image *image, const char *name, const char *value, bool *ret_good)
{
	*ret_good = true;
	if (strcmp(name, "status") == 0)
		*ret_good = value && image_status_parse(value, &image->status);
	else if (strcmp(name, "visibility") == 0)
		*ret_good = value && image_visibility_parse(value, &image->visibility);
	else if (strcmp(name, "id") == 0)
		*ret_good = value && strlen(value) == UUID_LEN && memcpy(image->id, value, UUID_LEN);
	else
		return false;
	return true;
}

static int set_other(struct image *image, const char *name, const json_t *value, struct arena *a, struct err *err)
{
	const char *text = json_string_value(value);
	const char **to = text_of(image, name);
	int64_t *number = number_of(image, name);

	if (strcmp(name, "protected") == 0)
		image->is_protected = json_is_true(value);
	else if (strcmp(name, "os_hidden") == 0)
		image->os_hidden = json_is_true(value);
	else if (number && json_is_integer(value))
		*number = json_integer_value(value);
	else if (to)
		*to = text ? arena_strdup(a, text) : NULL;
	else if (!number && (text || json_is_null(value)))
		return image_set_property(image, a, name, text, err);
	return to && text && !*to ? err_nomem(err) : 0;
}

int policy_image(const json_t *json, struct arena *a, struct image *ret, struct err *err)
{
	const char *name;
	json_t *value;
	int r = 0;

	image_init(ret);
	json_object_foreach((json_t *)json, name, value) {
		bool good;

		if (set_word(ret, name, json_string_value(value), &good))
			r = good ? 0 : err_set(err, ERR_INVALID, "the %s of the image is not one that an image has", name);
		else
			r = set_other(ret, name, value, a, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int policy_image_file(const char *path, struct arena *a, struct image *ret, struct err *err)
{
	json_error_t why;
	json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	int r;

	if (!json)
		return err_set(err, ERR_INVALID, "%s:%d: %s", path, why.line, why.text);
	r = json_is_object(json) ? policy_image(json, a, ret, err) : err_set(err, ERR_INVALID, "%s: this is no image", path);
	json_decref(json);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_patch.c -- any JSON as a patch, in both dialects, on an image like those a row
 * gives. The first octet picks dialect and status. What must not change does not. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/err.h"
#include "base/utf8.h"
#include "image/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const disk_formats[] = {"raw", "qcow2", NULL};
static const char *const container_formats[] = {"bare", NULL};
static const struct image_property original[] = {{"foo", "1"}, {"bar", "2"}, {"os_glance_lock", "x"}};

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_image(const struct image *img, const struct image *before,
			const struct image_limits *limits)
{
	const struct image_property *lock = image_find_property(img, "os_glance_lock");

	require(strcmp(img->id, before->id) == 0 && img->size == before->size && !img->deleted);
	require(img->checksum == before->checksum);
	require(img->status == before->status || (before->status == IMAGE_QUEUED && img->status == IMAGE_ACTIVE));
	require((int64_t)img->n_locations <= limits->max_locations);
	require((img->n_locations > 0) <= (img->status == IMAGE_ACTIVE));
	require(!img->os_hash_value || (before->status == IMAGE_QUEUED && strlen(img->os_hash_value) == 128));
	require(img->min_ram >= 0 && img->min_ram <= INT32_MAX && img->min_disk >= 0 &&
		img->min_disk <= INT32_MAX);
	require(lock && strcmp(lock->value, "x") == 0);
	require((int64_t)img->n_properties <= limits->max_properties + 1 &&
		(int64_t)img->n_tags <= limits->max_tags);
	for (size_t i = 0; i < img->n_properties; i++) {
		require(image_find_property(img, img->properties[i].name) == &img->properties[i]);
		require(strncmp(img->properties[i].name, "os_glance", 9) != 0 || &img->properties[i] == lock);
	}
}

static void try(const json_t *json, enum patch_format format, enum image_status status)
{
	const struct image_limits limits = {disk_formats, container_formats, 8, 8, 8, 3, true, "sha512"};
	AUTO(arena_done) struct arena a = {0};
	struct image_property properties[3];
	struct image img, before;
	struct err err = {0};
	struct patch patch;
	int r;

	memcpy(properties, original, sizeof(original));
	image_init(&img);
	memcpy(img.id, "c0ffee00-0000-4000-8000-000000000001", UUID_LEN + 1);
	img.status = status;
	img.checksum = "d41d8cd98f00b204e9800998ecf8427e";
	img.properties = properties;
	img.n_properties = 3;
	img.disk_format = img.container_format = status % 2 ? NULL : "raw";
	before = img;
	r = patch_parse(json, format, &a, &patch, &err);
	if (r == 0)
		r = patch_apply(&patch, &limits, &a, &img, &err);
	if (r == 0)
		check_image(&img, &before, &limits);
	require(r == err.code);
	require(utf8_is_valid(err.text, strlen(err.text)));
	require(memcmp(properties, original, sizeof(original)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *json;

	if (size < 1)
		return 0;
	json = json_loadb((const char *)data + 1, size - 1, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
	if (json)
		try(json, data[0] & 1 ? PATCH_V20 : PATCH_V21,
		    (enum image_status)((data[0] >> 1) % (IMAGE_DELETED + 1)));
	json_decref(json);
	return 0;
}

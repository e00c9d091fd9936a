/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_image_json.c -- any JSON as the body of a create. What is accepted must keep the
 * promises of image/input.h. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/err.h"
#include "base/utf8.h"
#include "image/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const disk_formats[] = {"raw", "qcow2", NULL};
static const char *const container_formats[] = {"bare", NULL};

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_image(const struct image *img, const struct image_limits *limits)
{
	require(img->id[0] == '\0' || uuid_is_canonical(img->id));
	require(img->status == IMAGE_QUEUED && img->size == IMAGE_SIZE_UNKNOWN && !img->checksum);
	require(!img->os_hash_value && img->n_locations == 0 && !img->deleted);
	require(img->min_ram >= 0 && img->min_ram <= INT32_MAX && img->min_disk >= 0 &&
		img->min_disk <= INT32_MAX);
	require((int64_t)img->n_properties <= limits->max_properties &&
		(int64_t)img->n_tags <= limits->max_tags);
	for (size_t i = 0; i < img->n_properties; i++) {
		require(strncmp(img->properties[i].name, "os_glance", 9) != 0);
		require(img->properties[i].value != NULL);
	}
	for (size_t i = 0; i < img->n_tags; i++)
		require(utf8_is_valid(img->tags[i], strlen(img->tags[i])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct image_limits limits = {disk_formats, container_formats, 8, 8, 8};
	json_t *json = json_loadb((const char *)data, size, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
	AUTO(arena_done) struct arena a = {0};
	struct err err = {0};
	struct image img;
	int r;

	r = json ? image_from_json(json, &limits, &a, &img, &err) : 0;
	if (json && r == 0) {
		json_decref(json);
		json = NULL;
		check_image(&img, &limits);
	}
	require(r == err.code);
	require(utf8_is_valid(err.text, strlen(err.text)));
	json_decref(json);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * image/test_help.h -- what the unit tests of this room share. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/arena.h"
#include "base/err.h"
#include "image/input.h"

/* @n times @piece; from the arena. */
static inline char *repeat(struct arena *a, const char *piece, size_t n)
{
	size_t len = strlen(piece);
	char *s = arena_alloc(a, n * len + 1);

	assert_non_null(s);
	for (size_t i = 0; i < n; i++)
		memcpy(s + i * len, piece, len);
	return s;
}

static inline json_t *parse(const char *text)
{
	json_error_t e;
	json_t *json = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);

	if (!json)
		fail_msg("%s: %s", e.text, text);
	return json;
}

static const char *const test_disk_formats[] = {"raw", "qcow2", "iso", NULL};
static const char *const test_container_formats[] = {"bare", "ovf", NULL};

static inline struct image_limits test_limits(int64_t max)
{
	return (struct image_limits){.disk_formats = test_disk_formats,
				     .container_formats = test_container_formats,
				     .max_properties = max,
				     .max_tags = max,
				     .max_members = max};
}

/* SPDX-License-Identifier: Apache-2.0
 * image/input.h -- what clients may say about an image: the bodies of create and PATCH, checked.
 * Pure logic. Who may say it is decided elsewhere (access/policy.h). */
#pragma once

#include <jansson.h>

#include "image/image.h"
#include "image/rights.h"

struct err;

/* The limits an operator can set. Lists end with NULL and are borrowed. */
struct image_limits {
	const char *const *disk_formats, *const *container_formats;
	int64_t max_properties, max_tags, max_members, max_locations; /* image_*_quota; negative: no limit */
	bool shows_locations;       /* show_multiple_locations: otherwise no patch touches them */
	const char *hash_algorithm; /* hashing_algorithm */
};

/* POST /v2/images: @body into @ret, which starts as image_init() leaves it. `id` is set if the
 * body has one ("" otherwise), `owner` likewise (NULL otherwise). Strings are copied to @a.
 *   ERR_INVALID    not an object, wrong type, bad value, name too long, control characters (NUL)
 *   ERR_FORBIDDEN  an attribute that is read-only (status, checksum, created_at ...), reserved
 *                  (location, locations, deleted, os_glance_* ...)
 *   ERR_TOO_LARGE  more properties or tags than the quota
 * All checks that Glance's image schema makes. An id in upper case is accepted and made lower. */
int image_from_json(const json_t *body, const struct image_limits *limits, struct arena *a,
		    struct image *ret, struct err *err);

/* The tag of PUT .../tags/{tag}: 1..255 characters, valid UTF-8. */
int image_check_tag(const char *tag, struct err *err);

#define PATCH_MAX_STEPS 1000

enum patch_op { PATCH_ADD, PATCH_REPLACE, PATCH_REMOVE };

struct patch_step {
	enum patch_op op;
	const char *attribute;     /* decoded first token of the path */
	const char *rest;          /* decoded second token (only below /locations), NULL otherwise */
	const json_t *value;       /* borrowed from the body; NULL for remove */
};

struct patch {
	struct patch_step *steps;
	size_t n_steps;
	bool strict_add; /* v2.0: add on something that exists is a conflict */
	const struct property_rights *rights; /* of who asks, for patch_apply(); NULL: to all properties */
};

enum patch_format { PATCH_V20, PATCH_V21 }; /* application/openstack-images-v2.N-json-patch */

/* The syntax: an array of objects, operations and pointers. @body outlives @ret. ERR_INVALID, or
 * ERR_FORBIDDEN for attributes that no patch may touch. Strings are copied to @a. */
int patch_parse(const json_t *body, enum patch_format format, struct arena *a, struct patch *ret,
		struct err *err);

/* Does it touch the locations? */
bool patch_has_locations(const struct patch *p);

/* Apply to @img in place, all or nothing as far as the caller discards @img on error; arrays that
 * @img came with are left as they are. Changes to
 * disk_format/container_format are refused (ERR_FORBIDDEN) unless the image is queued (or
 * importing). Permissions that depend on who asks (owner, visibility public/community) are the
 * caller's: compare before and after. Does not touch updated_at. Steps at or below /locations (whose URLs in @img
 * are to be in plain text) change the list and make a queued image active; size and hashes of the data are what
 * `validation_data` says, to be held against the data: see locations.c. A property that may not be read is as if it
 * were not there, but stays; only who may both create and update it writes over it.
 *   ERR_INVALID    a format that the operator does not allow (all other values: patch_parse())
 *   ERR_CONFLICT   replace or remove of a property that is not there; strict add of one that is
 *   ERR_FORBIDDEN  base attribute removed, read-only attribute, os_glance_*, what @p->rights do not allow
 *   ERR_TOO_LARGE  over a quota afterwards (not if the patch only lowers what was over before) */
int patch_apply(const struct patch *p, const struct image_limits *limits, struct arena *a,
		struct image *img, struct err *err);

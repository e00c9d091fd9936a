/* SPDX-License-Identifier: Apache-2.0
 * image/image.h -- what an image is, its states, and what may follow what. Pure logic: no I/O. */
#pragma once

#include "base/arena.h"
#include "base/uuid.h"

struct err;

enum image_status {
	IMAGE_QUEUED,
	IMAGE_SAVING,
	IMAGE_UPLOADING,
	IMAGE_IMPORTING,
	IMAGE_ACTIVE,
	IMAGE_DEACTIVATED,
	IMAGE_KILLED,
	IMAGE_PENDING_DELETE,
	IMAGE_DELETED,
};

enum image_visibility { IMAGE_PRIVATE, IMAGE_SHARED, IMAGE_COMMUNITY, IMAGE_PUBLIC };

#define IMAGE_SIZE_UNKNOWN (-1)
#define IMAGE_NAME_MAX 255 /* characters, as are all the columns of this width */

struct image_property {
	const char *name;
	const char *value; /* NULL: null */
};

struct image_location {
	const char *url;      /* never leaves the house except by the locations API */
	const char *metadata; /* JSON object as text; NULL: none */
};

/* All strings live in the arena of whoever made the image. Times are microseconds since the epoch,
 * UTC; 0 means none. Sizes are octets. */
struct image {
	char id[UUID_LEN + 1];
	const char *name, *owner; /* NULL: null */
	const char *disk_format, *container_format;
	const char *checksum; /* MD5, 32 hex digits */
	const char *os_hash_algo, *os_hash_value;
	enum image_status status;
	enum image_visibility visibility;
	int64_t size, virtual_size; /* IMAGE_SIZE_UNKNOWN: null */
	int64_t min_disk /* GB */, min_ram /* MB */;
	bool is_protected, os_hidden, deleted;
	int64_t created_at, updated_at, deleted_at;

	/* In the order the client gave them on create; storage order afterwards. */
	struct image_property *properties;
	size_t n_properties;
	const char **tags; /* a set */
	size_t n_tags;
	struct image_location *locations; /* those in status 'active' */
	size_t n_locations;
};

/* Sharing. */
enum member_status { MEMBER_PENDING, MEMBER_ACCEPTED, MEMBER_REJECTED };

struct image_member {
	char image_id[UUID_LEN + 1];
	const char *member_id; /* project */
	enum member_status status;
	int64_t created_at, updated_at, deleted_at;
	bool deleted;
};

const char *image_status_name(enum image_status s);
bool image_status_parse(const char *name, enum image_status *ret);
const char *image_visibility_name(enum image_visibility v);
bool image_visibility_parse(const char *name, enum image_visibility *ret);
const char *member_status_name(enum member_status s);
bool member_status_parse(const char *name, enum member_status *ret);

/* The table of facts/images-api.md: which status may follow which. A status never follows itself. */
bool image_may_become(enum image_status from, enum image_status to);

/* ERR_CONFLICT "Image status transition from X to Y is not allowed" unless it may. */
int image_check_transition(enum image_status from, enum image_status to, struct err *err);

/* A fresh image: queued, shared, sizes unknown; no id, no owner, no times. */
void image_init(struct image *img);

/* NULL if there is no such property. Borrowed. */
const struct image_property *image_find_property(const struct image *img, const char *name);
bool image_has_tag(const struct image *img, const char *tag);

/* Sets or adds / removes; the arrays are copied into @a when they grow, otherwise changed where they
 * are (a plain assignment of a struct image shares them). @name, @value, @tag are copied. A tag that
 * is there already stays where it is. remove: false if it was not there; the others keep their order. */
int image_set_property(struct image *img, struct arena *a, const char *name, const char *value,
		       struct err *err);
bool image_remove_property(struct image *img, const char *name);
int image_add_tag(struct image *img, struct arena *a, const char *tag, struct err *err);
bool image_remove_tag(struct image *img, const char *tag);

/* SPDX-License-Identifier: Apache-2.0
 * image/attribute.h -- the attributes that bodies can name: of what type they are and whose they
 * are. For create and PATCH; nothing outside this room needs it. */
#pragma once

#include <jansson.h>

#include "image/input.h"

struct err;

enum attribute_id {
	ATTRIBUTE_ID,
	ATTRIBUTE_NAME,
	ATTRIBUTE_OWNER,
	ATTRIBUTE_VISIBILITY,
	ATTRIBUTE_PROTECTED,
	ATTRIBUTE_OS_HIDDEN,
	ATTRIBUTE_MIN_DISK,
	ATTRIBUTE_MIN_RAM,
	ATTRIBUTE_DISK_FORMAT,
	ATTRIBUTE_CONTAINER_FORMAT,
	ATTRIBUTE_TAGS,
	ATTRIBUTE_LOCATIONS,
	ATTRIBUTE_OURS,     /* no client sets it: status, size, self ... */
	ATTRIBUTE_PROPERTY, /* a custom one */
};

enum attribute_access {
	ACCESS_FREE,     /* the client's */
	ACCESS_CREATE,   /* the client's, but only on create */
	ACCESS_READ,     /* read-only */
	ACCESS_LINK,     /* read-only, and refused on create before the value is looked at */
	ACCESS_RESERVED, /* nobody's */
};

enum attribute_type {
	TYPE_TEXT,
	TYPE_INTEGER,
	TYPE_BOOLEAN,
	TYPE_UUID,
	TYPE_STATUS,
	TYPE_VISIBILITY,
	TYPE_TAGS,
	TYPE_LOCATIONS,
};

struct attribute {
	const char *name; /* NULL: custom */
	enum attribute_id id;
	enum attribute_access access;
	enum attribute_type type;
	bool or_null;
	size_t max_chars; /* texts; 0: no limit */
};

/* Never NULL: what is not in the table is a custom property, or reserved by its prefix. */
const struct attribute *attribute_find(const char *name);
bool attribute_is_internal(const char *name); /* os_glance...: kept for ourselves, no quota */

/* ERR_INVALID unless @value is of the attribute's type and within its bounds. The formats are not
 * checked against the operator's lists here. @name as the client wrote it. */
int attribute_check(const struct attribute *attr, const char *name, const json_t *value, struct err *err);
/* ERR_INVALID unless the disk or container format is one that the operator allows; 0 for all other
 * attributes. @value has passed attribute_check(). */
int attribute_check_format(const struct attribute *attr, const json_t *value,
			   const struct image_limits *limits, struct err *err);
/* ERR_INVALID if @name is too long for the name of a custom property. */
int attribute_check_property_name(const char *name, struct err *err);

/* ERR_FORBIDDEN "... is read-only", "... is reserved". */
int attribute_refuse(const struct attribute *attr, const char *name, struct err *err);

/* Set an attribute that is no custom property from a checked @value. */
int attribute_assign(const struct attribute *attr, const json_t *value, struct arena *a, struct image *img,
		     struct err *err);

/* ERR_TOO_LARGE if @n is more than @max; a negative @max is no limit. @what: "tags". */
int attribute_check_quota(const char *what, size_t n, int64_t max, struct err *err);

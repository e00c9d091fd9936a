/* SPDX-License-Identifier: Apache-2.0
 * service/places.h -- where the bytes of an image may be had. */
#pragma once

#include "base/err.h"
#include "service/internal.h"

/* A location, opened up as far as it can be without reading. */
struct place {
	struct store *store; /* NULL: of none of this node */
	const char *url;
	struct err err; /* why it cannot be had; code 0: it may be */
};

/* Takes what is in @arena, where the places are; the rest is borrowed until far_free(). */
int far_new(struct service *svc, const struct image *image, const struct who *who, struct arena *arena,
	    struct place *places, size_t n_places, struct far **ret, struct err *err);

/* The bytes of an image: a file, or (far not NULL) from elsewhere. */
struct image_bytes {
	struct store_source file; /* fd -1 if it is none */
	struct far *far;          /* owned by whoever holds the bytes */
};
/* From the first of its locations that answers, by the weight of their stores. ERR_NOT_FOUND: they are gone
 * from all of them. @image and @who are borrowed until far_free(). */
int service_open_bytes(struct service *svc, const struct image *image, const struct who *who,
		       struct image_bytes *ret, struct err *err);

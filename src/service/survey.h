/* SPDX-License-Identifier: Apache-2.0
 * service/survey.h -- what lies at a location, all of it read once: before it becomes an image's data, and so
 * that it can be recognized piece by piece ever after. */
#pragma once

#include "service/internal.h"
#include "store/digest.h"

#define PIECE_BYTES ((size_t)1 << 20)
#define PIECE_DIGEST 32             /* SHA-256 */
#define PIECES_A_PART ((size_t)256) /* of a row of db_pieces_put() */

struct survey_order {
	const struct image *image; /* whose data it is to be; its formats say what has to be there */
	struct store *store;
	const char *url;
	bool may_lack_formats; /* else that is ERR_CONFLICT: what is not inspected becomes nobody's data */
	bool (*is_cancelled)(void *cls);               /* asked at least once a second; NULL: nobody is */
	void (*progress)(void *cls, int64_t n_octets); /* NULL: nobody asks */
	struct hold *hold; /* borrowed; NULL: there is no quota, or these octets count already */
	size_t n_copies;   /* of them that the hold is for: locations that say to have the same */
	void *cls;                                     /* of both */
};

struct survey {
	int64_t size, virtual_size;
	const char *hash_algorithm; /* the image's if it has one, else the configured one */
	struct digest_result digest;
	unsigned char *pieces; /* owned: a digest each */
	size_t n_pieces;
	char remark[512]; /* what the rules of inspection let pass; "" */
};

/* Blocks for as long as it takes. What is wrong with the source is ERR_INVALID, ERR_UNAVAILABLE or
 * ERR_TIMEOUT. */
int survey_run(struct service *svc, const struct survey_order *order, struct survey *ret, struct err *err);
void survey_done(struct survey *s); /* a zeroed one is fine */

/* Is it what @image has, or (still queued) what is expected of it? ERR_CONFLICT. Only a hash that nobody can
 * find a second text for is proof; without one an image that has data is never said to be the same. */
int survey_check(const struct survey *s, const struct image *image, struct err *err);

/* What it says about the image. Borrows from @s. */
void survey_describe(const struct survey *s, struct image *image);
/* The digests of the pieces into the database. */
int survey_record(const struct survey *s, struct db_tx *tx, const char *image_id, struct err *err);

/* At most so many at a time, and of one project. Beyond that it is ERR_UNAVAILABLE. */
struct survey_slot {
	const char *project; /* NULL: nobody's */
	struct survey_slot *next;
};
int survey_enter(struct service *svc, struct survey_slot *slot, const char *project, struct err *err);
void survey_leave(struct service *svc, struct survey_slot *slot); /* one that did not enter is fine */

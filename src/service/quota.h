/* SPDX-License-Identifier: Apache-2.0
 * service/quota.h -- what a project may have, and the octets under way that it has not got yet. */
#pragma once

#include "limits/limits.h"
#include "service/internal.h"

/* Is there any quota at all? If not, nothing below costs anything. */
bool quota_applies(const struct service *svc);

/* The quota of the project @owner (NULL: of images without one). May wait for Keystone. */
int quota_of(struct service *svc, const char *owner, struct quota *ret, struct err *err);

/* For a thread that never waits: @done is called, exactly once, on any thread, possibly before this returns. */
void quota_ask(struct service *svc, const char *owner, limits_fn *done, void *cls);

/* Before the change, in its transaction: ERR_TOO_LARGE if @n_more images, or images on their way, are more than
 * @owner may have. Transactions are serial, so of two that race for the last place one gets it. */
int quota_check_images(const struct quota *quota, struct db_tx *tx, const char *owner, int64_t n_more, struct err *err);
int quota_check_uploading(const struct quota *quota, struct db_tx *tx, const char *owner, int64_t n_more,
			  struct err *err);

/* ERR_TOO_LARGE if @owner has stored more than @quota says already, so that a task that adds to it need not be
 * made. In any transaction. */
int quota_check_stored(struct service *svc, const struct quota *quota, struct db_tx *tx, const char *owner,
		       struct err *err);

/* -- octets under way ------------------------------------------------------------------------------- */

/* What one upload, staging or import takes of the quota of its image's owner, until its bytes are gone again, or
 * stand in the database, or the process ends. All functions take NULL for "there is no quota". */
struct hold;
enum hold_kind { HOLD_STORED, HOLD_STAGED };

int hold_new(struct service *svc, const char *owner, enum hold_kind kind, const struct quota *quota,
	     struct hold **ret, struct err *err);
const struct quota *hold_quota(const struct hold *h);
/* Is it the quota of @owner that this takes from? */
bool hold_is_of(const struct hold *h, const char *owner);

/* ERR_TOO_LARGE: no room. The one before the first octet: @size of them will come, -1: nobody knows, and
 * @hint is what the sender says (or -1), which can be refused and promises nothing. They are written
 * @n_copies times. */
int hold_begin(struct hold *h, size_t n_copies, int64_t size, int64_t hint, struct err *err);
/* @n_octets have come so far. */
int hold_reach(struct hold *h, int64_t n_octets, struct err *err);

/* Around the commit that brings them into the database: before it, and, if it failed, after it. */
void hold_settle(struct hold *h);
void hold_unsettle(struct hold *h);

/* Takes @h: the octets stand in the database (@is_counted), or are gone. */
void hold_end(struct hold *h, bool is_counted);
/* Takes @h: they are still there, though nobody wants them, until quota_forgive(). */
void hold_keep(struct hold *h, const char *image_id);
void quota_forgive(struct service *svc, const char *image_id);

int quotas_new(struct service *svc, struct quotas **ret, struct err *err);
void quotas_free(struct quotas *q); /* NULL is fine */

/* SPDX-License-Identifier: Apache-2.0
 * service/internal.h -- what the use cases share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "access/policy.h"
#include "notify/event.h"
#include "service/service.h"

struct janitor;

/* An upload that runs in this process; a delete flags it. */
struct upload {
	char image_id[UUID_LEN + 1];
	atomic_bool image_deleted;
	struct upload *next;
};

struct service {
	struct db *db;
	struct store *store;
	struct notify *notify;
	struct service_config config;

	pthread_mutex_t lock; /* of the list; held for a few instructions only */
	struct upload *uploads;

	struct janitor *janitor;
};

struct origin service_origin(const struct who *who);

/* The image, if @who may know of it, with what the policy wants to know about the caller. */
struct target {
	struct image image;
	bool is_member;
};
int service_load(struct db_tx *tx, const struct who *who, const char *id, struct arena *a, struct target *ret,
		 struct err *err);
int service_allow(enum policy_rule rule, const struct who *who, const struct target *target, struct err *err);

/* The same in a read transaction of its own. */
int service_look(struct service *svc, const struct who *who, const char *id, struct arena *a, struct target *ret,
		 struct err *err);

/* Remove the bytes of a location as it stands in the database. */
int service_remove_bytes(struct service *svc, const char *location, struct err *err);

/* Begin a write transaction, load the image, ask the policy. */
int service_begin(struct service *svc, const struct who *who, const char *id, enum policy_rule rule,
		  struct arena *a, struct db_tx **ret_tx, struct target *ret, struct err *err);
/* Commit and wake the relays. Takes *tx. */
int service_commit(struct service *svc, struct db_tx **tx, struct err *err);

/* Write @after over @before with a new updated_at, and append image.update. */
int service_save(struct service *svc, struct db_tx *tx, const struct who *who, const struct image *before,
		 struct image *after, struct err *err);

/* uploads.c */
void uploads_add(struct service *svc, struct upload *u);
void uploads_remove(struct service *svc, struct upload *u);
size_t uploads_count(struct service *svc);
bool uploads_has(struct service *svc, const char *image_id);
void uploads_image_deleted(struct service *svc, const char *image_id);

/* An upload has ended without success: image back to queued with the ERROR notification, row gone.
 * @reason is for the consumers. Nothing to do if the image is gone or no longer saving. */
int upload_give_up(struct service *svc, const char *image_id, const char *reason, const struct origin *origin,
		   struct err *err);

/* measure.c: what GET /metrics tells of the uploads and of what the janitor has to do. */
int service_measure(struct service *svc, struct metrics *m, struct err *err);

/* Remove whatever bytes there are of an upload that did not become an image: none, most of the time,
 * but a store that failed while it gave them their name may not know. */
int upload_discard(struct service *svc, const char *image_id, struct err *err);

/* recover.c: the uploads of this node that nobody works on any more. */
int service_recover(struct service *svc, unsigned *ret_n, struct err *err);

/* janitor.c */
int janitor_start(struct service *svc, struct janitor **ret, struct err *err);
void janitor_wake(struct janitor *j); /* there is something to remove; NULL is fine */
void janitor_stop(struct janitor *j); /* NULL is fine */

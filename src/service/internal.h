/* SPDX-License-Identifier: Apache-2.0
 * service/internal.h -- what the use cases share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "access/policy.h"
#include "notify/event.h"
#include "service/service.h"

struct janitor;

struct executor;
struct hold;
struct quotas;
struct remover;
struct sink;
struct survey_slot;
struct transfer;

/* Bytes of an image that arrive in this process; a delete of the image stops it. */
struct upload {
	char image_id[UUID_LEN + 1];
	atomic_bool stop, image_deleted;
	struct upload_source *source; /* to be cancelled with it; may be NULL; set before it is in the list */
	/* Of whoever runs it; may be NULL. In the transaction that makes the image active: */
	int (*also)(void *cls, struct db_tx *tx, const struct image *image, struct err *err);
	void (*progress)(void *cls, int64_t n_octets);
	void *cls;
	struct upload *next;
};

struct service {
	struct db *db;
	struct stores *stores;
	struct notify *notify;
	struct policy *policy;
	struct service_config config;

	pthread_mutex_t lock; /* of the list; held for a few instructions only */
	struct upload *uploads;
	struct survey_slot *surveys; /* under way, see survey.h */

	struct quotas *quotas;
	struct janitor *janitor;
	struct executor *executor;
	struct remover *remover;
};

struct origin service_origin(const struct who *who);
/* What happens long after the request, or without one, tells of properties only what everybody may read. *ret lives as
 * long as @a. */
int service_public_rights(struct service *svc, struct arena *a, const struct property_rights **ret, struct err *err);

/* The image, if @who may know of it, with what the policy wants to know about the caller. */
struct target {
	struct image image;
	bool is_member;
};
int service_load(struct service *svc, struct db_tx *tx, const struct who *who, const char *id, struct arena *a,
		 struct target *ret, struct err *err);
int service_allow(struct service *svc, enum policy_rule rule, const struct who *who, const struct target *target,
		  struct err *err);

/* The same in a read transaction of its own. */
int service_look(struct service *svc, const struct who *who, const char *id, struct arena *a, struct target *ret,
		 struct err *err);

/* And the policy asked. */
int service_look_for(struct service *svc, const struct who *who, const char *id, enum policy_rule rule, struct arena *a,
		     struct target *ret, struct err *err);

/* create.c: may @who make this image, with these properties? It is his unless it has an owner. */
int service_check_draft(struct service *svc, const struct who *who, struct image *draft, struct err *err);

/* Is the caller's project a member of the image? */
int service_find_membership(struct db_tx *tx, const struct who *who, const struct image *image, struct arena *a,
			    bool *ret, struct err *err);

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

/* update.c: apply @patch to @after, which comes as a copy of @before, as far as @who may, and the image lets him. */
int update_apply(struct service *svc, struct db_tx *tx, const struct who *who, const struct patch *patch,
		 const struct target *before, struct image *after, struct arena *a, struct err *err);

/* relocate.c */
/* service_update() with a patch that touches the locations. */
int update_locations(struct service *svc, const struct who *who, const char *id, const struct patch *patch,
		     const struct watch *asker, struct arena *a, struct image *ret, struct err *err);
/* Where @url is, for somebody who wants to make it a location: ERR_INVALID unless it is in a store from which images
 * are only read. Asks nobody. */
int location_check(struct service *svc, const char *url, struct store **ret, struct err *err);
/* A copy of @from whose locations are in plain text, those that cannot be read left out if @lenient. */
int locations_open(struct service *svc, const struct image *from, bool lenient, struct arena *a, struct image *to,
		   struct err *err);
/* service_save() of an image that may have become active by it: then with image.activate. */
int location_save(struct service *svc, struct db_tx *tx, const struct who *who, const struct image *before,
		  struct image *after, struct err *err);
/* Why the data at a location could not be taken, for who named it. */
int location_failed(struct err *err);

/* uploads.c */
void uploads_add(struct service *svc, struct upload *u);
void uploads_remove(struct service *svc, struct upload *u);
size_t uploads_count(struct service *svc);
bool uploads_has(struct service *svc, const char *image_id);
void uploads_image_deleted(struct service *svc, const char *image_id);

/* upload.c */

/* All of an upload, from begin to end. @u is filled in by the caller and not in the list. */
int upload_run(struct service *svc, const struct who *who, struct upload *u, struct store *store,
	       struct upload_source *source, struct err *err);
/* What the bytes say about the image: sizes, checksums. Borrows from @t. */
void upload_describe(const struct transfer *t, struct image *image);
/* For the operator: what the rules let pass of them. */
void upload_remark(const struct transfer *t, const struct log_ctx *ctx);
/* @url: in plain text. @metadata: NULL for none; the store that it is in is added where stores have names. */
int service_add_location(struct service *svc, struct db_tx *tx, const struct image *image, const struct store *store,
			 const char *url, const char *metadata, struct arena *a, struct err *err);
int upload_add_location(struct service *svc, struct db_tx *tx, const struct image *image, const struct sink *sink,
			struct arena *a, struct err *err);

/* An upload has ended without success: image back to queued with the ERROR notification, row gone.
 * @reason is for the consumers. Nothing to do if the image is gone or no longer saving. */
int upload_give_up(struct service *svc, const char *image_id, const char *reason, const struct origin *origin,
		   struct err *err);

/* Delete the record in @tx: an upload or import under way told as failed, what has to be removed written
 * down, image.delete. @image as loaded in it; afterwards as deleted. */
int delete_image(struct service *svc, struct db_tx *tx, const struct who *who, struct image *image, struct arena *a,
		 struct err *err);

/* Are these bytes in the store of this id? */
bool service_location_is_in(struct service *svc, const struct image_location *location, const char *store);

/* measure.c: what GET /metrics tells of the uploads and of what the janitor has to do. */
int service_measure(struct service *svc, struct metrics *m, struct err *err);

/* Remove whatever bytes there are of an upload that did not become an image: none, most of the time,
 * but a store that failed while it gave them their name may not know. */
int upload_discard(struct service *svc, const char *image_id, struct store *store, struct err *err);

/* recover.c: the uploads of this node that nobody works on any more. */
int service_recover(struct service *svc, unsigned *ret_n, struct err *err);

/* janitor.c */
int janitor_start(struct service *svc, struct janitor **ret, struct err *err);
void janitor_wake(struct janitor *j); /* there is something to remove; NULL is fine */
void janitor_stop(struct janitor *j); /* NULL is fine */

/* remover.c */
int remover_new(struct service *svc, struct remover **ret, struct err *err);
/* Returns when the bytes of @image are gone, or cannot go, or that takes too long; what is left is the
 * janitor's. */
void remover_remove(struct remover *r, const struct image *image);
void remover_free(struct remover *r); /* waits for what is late; NULL is fine */

/* executor.c: runs the tasks that wait, up to config.import.max_workers at a time. */
int executor_new(struct service *svc, struct executor **ret, struct err *err);
void executor_start(struct executor *e); /* with what was left waiting */
void executor_wake(struct executor *e); /* there is a task; NULL is fine */
/* Begins no task any more; after @wait_us those that run are handed back. Returns when none runs. */
void executor_stop(struct executor *e, int64_t wait_us);
void executor_free(struct executor *e); /* stops; NULL is fine */

/* SPDX-License-Identifier: Apache-2.0
 * service/service.h -- the use cases. Each one checks who may, changes state and appends its events
 * in one transaction, and returns when that is durable.
 *
 * Every function may block (a commit, a disk) and may be called by any number of threads at a time.
 * What a caller may not see does not exist for him: ERR_NOT_FOUND. What he sees but may not do is
 * ERR_FORBIDDEN. A function that fails changed nothing, unless it says otherwise. */
#pragma once

#include <sys/types.h>

#include "access/who.h"
#include "db/db.h"
#include "image/input.h"
#include "image/query.h"
#include "limits/limits.h"
#include "convert/convert.h"
#include "fetch/fetch.h"
#include "store/inspect.h"
#include "store/stores.h"
#include "task/request.h"

struct err;
struct metrics;
struct notify;
struct policy;
struct protections;
struct service;

/* Who waits for something that may take long. */
struct watch {
	bool (*is_cancelled)(void *cls); /* asked at least once a second while something blocks */
	void *cls;
};

/* What an import may do, and what is done to it. Lists end with NULL; everything is borrowed. */
struct import_config {
	struct fetch_options fetch;         /* max_octets and cancelled are filled in for each task */
	bool decompress, convert, inject;   /* image_import_plugins */
	struct convert_options conversion;  /* max_octets and cancelled likewise */
	const char *convert_to;             /* [image_conversion] output_format */
	const struct image_property *inject_properties;
	size_t n_inject_properties;
	const char *const *inject_ignore_roles; /* names of roles: nothing is injected for who has one of them */
	const char *work_dir;               /* for what conversion needs a file for; made 0700 */
	unsigned max_workers;               /* tasks at a time */
	int64_t task_ttl_us;                /* from its end until a task expires */
};

struct service_config {
	struct image_limits limits;   /* lists borrowed for the life of the service */
	int64_t max_image_bytes;      /* image_size_cap */
	int64_t user_storage_quota;   /* for each project; 0: none. Counts unless there are: */
	struct limits *unified;       /* unified limits, borrowed; NULL: none */
	const char *hash_algorithm;   /* hashing_algorithm */
	const char *node;             /* name of this machine: whose uploads are ours */
	const char *location_key;     /* metadata_encryption_key; NULL: locations are kept as they are */
	struct inspect_rules inspect; /* [image_format] */
	struct import_config import;
	struct policy *policy;        /* access/policy.h; NULL: the default rules */
	struct protections *protections; /* access/protection.h; NULL: properties are not protected */
	/* Reading what is at locations that clients add: at a time, of one project of these, and how often a
	 * task begins anew after the source has failed. */
	unsigned max_surveys, max_surveys_of_project, http_retries;
	struct metrics *metrics;      /* NULL: none */
};

/* The parts are borrowed and outlive the service. */
int service_new(struct db *db, struct stores *stores, struct notify *notify, const struct service_config *config,
		struct service **ret, struct err *err);
void service_free(struct service *svc); /* stops its thread; NULL is fine */
void service_free_p(struct service **svc);
struct policy *service_policy(const struct service *svc); /* what it asks; NULL is one, too */

/* Put right what a crash left behind (see recover.c), then start the janitor, which removes the bytes
 * of deleted images, and the executor, which runs tasks. Before the first request. */
int service_start(struct service *svc, struct err *err);
/* No task is begun any more; those that run may end within @wait_us, then they are handed back: the next
 * start goes on with them. */
void service_stop(struct service *svc, int64_t wait_us);

/* -- images: records ------------------------------------------------------------------------------ */

/* A new image. Nothing waits: @done is called, exactly once, on any thread, possibly before service_create() has
 * returned. Until then it is all the service's. ERR_CONFLICT if the id was ever used. */
struct creation {
	const struct who *who;
	struct image *image; /* as image_from_json() made it. Filled in: id and owner (unless given), times */
	db_done_fn *done;
	void *cls;
	struct service *service; /* set by service_create() */
	struct quota quota;      /* likewise: of the image's owner */
};
void service_create(struct service *svc, struct creation *c);

int service_show(struct service *svc, const struct who *who, const char *id, struct arena *a,
		 struct image *ret, struct err *err);

/* @query: parsed; who asks is filled in here. @brief: ERR_TOO_LONG rather than take its time. Images come as
 * the texts that @render makes of them (db.h). @fn's text is NULL where a page has to end though there may be more
 * images, behind the one of this id. */
int service_list(struct service *svc, const struct who *who, struct image_query *query, bool brief,
		 db_render_fn *render, db_text_fn *fn, void *cls, struct err *err);

/* The same with the images themselves, locations included; @image is NULL where the text would be. */
typedef int service_image_fn(void *cls, const char *id, const struct image *image, struct err *err);
int service_list_images(struct service *svc, const struct who *who, struct image_query *query, bool brief,
			service_image_fn *fn, void *cls, struct err *err);

/* *ret: the image as it is now. An empty patch changes nothing and emits nothing. What is at a new location is read in
 * full, to know what it is: that takes its time, which ends when the image is deleted or @asker (NULL: nobody) does
 * not want to know any more. */
int service_update(struct service *svc, const struct who *who, const char *id, const struct patch *patch,
		   const struct watch *asker, struct arena *a, struct image *ret, struct err *err);
int service_add_tag(struct service *svc, const struct who *who, const char *id, const char *tag, struct err *err);
int service_remove_tag(struct service *svc, const struct who *who, const char *id, const char *tag,
		       struct err *err);

int service_deactivate(struct service *svc, const struct who *who, const char *id, struct err *err);
int service_reactivate(struct service *svc, const struct who *who, const char *id, struct err *err);
int service_delete(struct service *svc, const struct who *who, const char *id, struct err *err);

/* -- images: where their bytes are ----------------------------------------------------------------- */

/* The locations of @image as @who may see them, in plain text: none, without a failure, if he may not. */
int service_locations(struct service *svc, const struct who *who, const struct image *image, struct arena *a,
		      struct image_location **ret, size_t *ret_n, struct err *err);

/* Makes the task that makes @url the location of a queued image; the executor reads it. @validation_data: what it is
 * said to be, or NULL. */
int service_location_add(struct service *svc, const struct who *who, const char *id, const char *url,
			 const json_t *validation_data, struct err *err);
/* For services. *ret: the image with its locations in plain text. */
int service_location_list(struct service *svc, const struct who *who, const char *id, struct arena *a, struct image *ret,
			  struct err *err);

/* -- images: bytes -------------------------------------------------------------------------------- */

/* Where an upload's bytes come from. */
struct upload_source {
	/* At most @n octets into @data; 0 at the end; a negative ERR_*. Blocks. */
	ssize_t (*read)(void *cls, void *data, size_t n, struct err *err);
	/* From another thread while read() may run: it need wait no longer, and may fail. NULL: it cannot. */
	void (*cancel)(void *cls);
	void *cls;
	int64_t size;      /* octets that will come, -1 if not known */
	int64_t size_hint; /* what the client says they will be, -1; never trusted */
};

/* Once the image is `saving`, a failure takes it back to `queued`, with its ERROR notification, and
 * leaves no bytes. ERR_GONE if the image is deleted meanwhile. @store NULL: the default one; one that
 * does not exist is ERR_INVALID. */
int service_upload(struct service *svc, const struct who *who, const char *id, const char *store,
		   struct upload_source *source, struct err *err);

/* The same into the staging area: the image stays `uploading` until it is imported. */
int service_stage(struct service *svc, const struct who *who, const char *id, struct upload_source *source,
		  struct err *err);

/* The bytes in @store go, those in the image's other stores stay. ERR_CONFLICT: unknown store, not
 * active, or an import is writing to it; ERR_FORBIDDEN: the last copy; ERR_NOT_FOUND: not stored there. */
int service_delete_from_store(struct service *svc, const struct who *who, const char *id, const char *store,
			      struct err *err);

/* Bytes that lie elsewhere, each checked before it is handed out (far.c). One thread at a time. */
struct far;
/* Before the first far_read(). @end: how far it will be read. */
void far_watch(struct far *f, const struct watch *watch, int64_t end);
/* Some octets from @offset on, borrowed until the next call; *ret_n 0 behind the last one. Blocks. */
int far_read(struct far *f, int64_t offset, const unsigned char **ret_data, size_t *ret_n, struct err *err);
void far_free(struct far *f); /* NULL is fine */
void far_free_p(struct far **f);

/* An image's bytes, ready to be sent. */
struct download {
	struct image image;
	bool has_data; /* false: nothing stored (yet) */
	struct store_source source; /* fd -1 if they are not here */
	struct far *far;            /* then from there; owned by the caller. Borrows image and who */
};
int service_download(struct service *svc, const struct who *who, const char *id, struct arena *a,
		     struct download *ret, struct err *err);

/* What became of it; strings borrowed for the call. */
struct sent {
	const char *image_id, *owner;
	int64_t n_bytes;
	bool complete; /* all that was asked for */
};
int service_sent(struct service *svc, const struct who *who, const struct sent *sent, struct err *err);
bool service_wants_sent(const struct service *svc); /* false: nobody would hear of it */

/* -- imports and tasks ---------------------------------------------------------------------------- */

/* Makes the task that imports (or copies) the image, and returns; the executor runs it. @body: what
 * @request was made from. *ret_task_id is "" if there was nothing to do (copy-image to all stores, and
 * they have it). */
int service_import(struct service *svc, const struct who *who, const char *id, const struct import_request *request,
		   const json_t *body, char ret_task_id[UUID_LEN + 1], struct err *err);

/* @type and @input as task_request_parse() made them. */
int service_task_create(struct service *svc, const struct who *who, const char *type, const char *input,
			struct arena *a, struct task *ret, struct err *err);
int service_task_show(struct service *svc, const struct who *who, const char *id, struct arena *a,
		      struct task *ret, struct err *err);
/* @query: parsed; who asks and what time it is are filled in here. */
int service_task_list(struct service *svc, const struct who *who, struct task_query *query, db_task_fn *fn,
		      void *cls, struct err *err);
/* All the tasks of an image that @who may see, newest first. */
int service_image_tasks(struct service *svc, const struct who *who, const char *image_id, db_task_fn *fn,
			void *cls, struct err *err);

/* -- limits --------------------------------------------------------------------------------------- */

bool service_has_limits(const struct service *svc); /* unified ones; if not, nobody may ask for them */
/* Those of the caller's project. Never blocks; @fn as for limits_ask(). */
void service_ask_limits(struct service *svc, const struct who *who, limits_fn *fn, void *cls);
/* What the caller's project has. One row. */
int service_usage(struct service *svc, const struct who *who, struct db_usage *ret, struct err *err);
/* The server cuts its clients off: nobody waits for limits any more. Any thread, soon back. */
void service_cut(struct service *svc);

/* -- members -------------------------------------------------------------------------------------- */

int service_member_add(struct service *svc, const struct who *who, const char *image_id, const char *member_id,
		       struct arena *a, struct image_member *ret, struct err *err);
int service_member_set(struct service *svc, const struct who *who, const char *image_id, const char *member_id,
		       enum member_status status, struct arena *a, struct image_member *ret, struct err *err);
int service_member_remove(struct service *svc, const struct who *who, const char *image_id,
			  const char *member_id, struct err *err);
int service_member_show(struct service *svc, const struct who *who, const char *image_id, const char *member_id,
			struct arena *a, struct image_member *ret, struct err *err);
/* Everybody for the owner, oneself for a member. */
int service_member_list(struct service *svc, const struct who *who, const char *image_id, db_member_fn *fn,
			void *cls, struct err *err);

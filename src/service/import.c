/* SPDX-License-Identifier: Apache-2.0
 * service/import.c -- asking for an import: may it be, into which stores, and the task that does it. The
 * executor has it from there (executor.c, run_image.c).
 *
 * The same transaction makes the task and writes its id into the image's property os_glance_import_task.
 * While that stands, no other import can begin. A lock whose task has no place in our queue was left by
 * somebody else: it is broken once its task has ended, is gone, or has not moved for LOCK_US (twice that
 * while it is pending). */
#include "service/run.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/progress.h"
#include "service/quota.h"

#define LOCK_US (INT64_C(3600) * 1000000)

/* What is being asked for, step by step made certain. */
struct asked {
	struct service *svc;
	const struct who *who;
	const struct import_request *request;
	struct arena arena;
	struct db_tx *tx;
	struct target target;
	struct quota quota; /* of the image's owner */
	const char *stores[IMPORT_MAX_STORES];
	size_t n_stores;
};

static bool is_copy(const struct asked *k)
{
	return k->request->method == IMPORT_COPY_IMAGE;
}

/* -- the image ------------------------------------------------------------------------------------ */

static int check_status(const struct asked *k, struct err *err)
{
	const struct image *image = &k->target.image;
	const char *method = import_method_name(k->request->method);

	if (is_copy(k))
		return image->status == IMAGE_ACTIVE ?
			       0 :
			       err_set(err, ERR_CONFLICT, "Only images with status active can be copied; image %s is %s.",
				       image->id, image_status_name(image->status));
	if (k->request->method == IMPORT_WEB_DOWNLOAD && image->status != IMAGE_QUEUED)
		return err_set(err, ERR_CONFLICT, "Image %s is %s; the method %s needs it queued.", image->id,
			       image_status_name(image->status), method);
	if (k->request->method == IMPORT_GLANCE_DIRECT && image->status != IMAGE_UPLOADING)
		return err_set(err, ERR_CONFLICT, "Image %s is %s; it has to be staged before the method %s.", image->id,
			       image_status_name(image->status), method);
	return 0;
}

static int check_formats(const struct image *image, struct err *err)
{
	if (!image->container_format)
		return err_set(err, ERR_CONFLICT, "Image %s needs a container_format before an import.", image->id);
	if (!image->disk_format)
		return err_set(err, ERR_CONFLICT, "Image %s needs a disk_format before an import.", image->id);
	return 0;
}

/* Half of it is not to be imported. */
static int check_staged(struct asked *k, struct err *err)
{
	struct db_upload upload;
	int r;

	if (k->request->method != IMPORT_GLANCE_DIRECT)
		return 0;
	r = db_upload_get(k->tx, k->target.image.id, &k->arena, &upload, err);
	if (r == 0)
		return err_set(err, ERR_CONFLICT, "The data of image %s is still being staged.", k->target.image.id);
	return r == ERR_NOT_FOUND ? 0 : r;
}

static int check_image(struct asked *k, struct err *err)
{
	int r = check_status(k, err);

	if (r == 0)
		r = check_formats(&k->target.image, err);
	return r < 0 ? r : check_staged(k, err);
}

/* -- the lock ------------------------------------------------------------------------------------- */

/* @t holds the lock but is not in our queue. */
static bool is_stale(const struct task *t)
{
	int64_t age = clock_now_us() - (t->updated_at ? t->updated_at : t->created_at);

	return task_has_ended(t) || age >= (t->status == TASK_PENDING ? 2 * LOCK_US : LOCK_US);
}

/* A task of somebody else's that will not end any more. */
static int end_stale(struct asked *k, struct task *t, struct err *err)
{
	struct origin origin = service_origin(k->who);
	enum task_status before = t->status;
	int r;

	if (task_has_ended(t))
		return 0;
	t->status = TASK_FAILURE;
	t->message = "The task did not move for too long, and another one has taken over its image.";
	t->updated_at = clock_now_us();
	t->expires_at = t->updated_at + k->svc->config.import.task_ttl_us;
	r = db_task_update(k->tx, before, t, err);
	return r < 0 ? r : event_task(k->svc->notify, k->tx, EVENT_TASK_FAILURE, t, &origin, err);
}

static int break_lock(struct asked *k, const char *task_id, struct err *err)
{
	struct log_ctx ctx = who_log(k->who);
	struct task t;
	int r = progress_check_unlocked(k->tx, &k->target.image, &k->arena, err);

	if (r == 0)
		r = db_task_get(k->tx, task_id, &k->arena, &t, err);
	if (r < 0)
		return r == ERR_NOT_FOUND ? 0 : r;
	if (!is_stale(&t))
		return err_set(err, ERR_CONFLICT, "Image %s is being imported by another task.", k->target.image.id);
	log_warning("glint.import", &ctx, "image %s: breaking the stale lock of task %s", k->target.image.id, task_id);
	return end_stale(k, &t, err);
}

static int check_lock(struct asked *k, struct err *err)
{
	const struct image_property *lock = image_find_property(&k->target.image, LOCK_PROPERTY);

	return lock && lock->value ? break_lock(k, lock->value, err) : 0;
}

/* -- the stores ----------------------------------------------------------------------------------- */

static bool is_in(struct asked *k, const char *store)
{
	const struct image *image = &k->target.image;

	for (size_t i = 0; i < image->n_locations; i++)
		if (service_location_is_in(k->svc, &image->locations[i], store))
			return true;
	return false;
}

static int add_store(struct asked *k, const char *id, struct err *err)
{
	const struct store *s = stores_find(k->svc->stores, id);

	if (!s || s == stores_staging(k->svc->stores))
		return err_set(err, ERR_CONFLICT, "There is no store called %.64s.", id);
	if (store_is_remote(s))
		return k->request->all_stores ? 0 : err_set(err, ERR_CONFLICT, "Nothing can be stored in the store %.64s.", id);
	if (is_copy(k) && is_in(k, id)) {
		if (k->request->all_stores)
			return 0;
		return err_set(err, ERR_INVALID, "Image %s is in the store %.64s already.", k->target.image.id, id);
	}
	k->stores[k->n_stores++] = store_id(s);
	return 0;
}

static int choose_named(struct asked *k, struct err *err)
{
	const struct stores *ss = k->svc->stores;
	size_t n = k->request->all_stores ? stores_count(ss) : k->request->n_stores;
	int r = 0;

	if (n > IMPORT_MAX_STORES)
		return err_set(err, ERR_INVALID, "An import goes to at most %d stores.", IMPORT_MAX_STORES);
	if (n == 0)
		return add_store(k, store_id(stores_default(ss)), err);
	for (size_t i = 0; i < n && r == 0; i++)
		r = add_store(k, k->request->all_stores ? store_id(stores_at(ss, i)) : k->request->stores[i], err);
	return r;
}

static int choose_stores(struct asked *k, struct err *err)
{
	if (stores_have_names(k->svc->stores))
		return choose_named(k, err);
	if (!k->request->all_stores_must_succeed)
		return err_set(err, ERR_INVALID, "all_stores_must_succeed can only be set where there are several stores.");
	if (is_copy(k))
		return err_set(err, ERR_CONFLICT, "There is no other store that image %s could be copied to.",
			       k->target.image.id);
	return 0;
}

/* -- plugin: inject_image_metadata ---------------------------------------------------------------- */

static bool has_role(const struct who *who, const char *name)
{
	for (const char *const *role = who->role_names; role && *role; role++)
		if (strcasecmp(*role, name) == 0)
			return true;
	return false;
}

static int inject(struct asked *k, struct image *image, struct err *err)
{
	const struct import_config *c = &k->svc->config.import;
	int r = 0;

	if (!c->inject || is_copy(k))
		return 0;
	for (const char *const *name = c->inject_ignore_roles; name && *name; name++)
		if (has_role(k->who, *name))
			return 0;
	for (size_t i = 0; i < c->n_inject_properties && r == 0; i++)
		r = image_set_property(image, &k->arena, c->inject_properties[i].name, c->inject_properties[i].value,
				       err);
	return r;
}

/* -- the task ------------------------------------------------------------------------------------- */

int task_enqueue(struct service *svc, struct db_tx *tx, const struct who *who, const char *type, const char *input,
		 const char *image_id, struct task *ret, struct err *err)
{
	struct origin origin = service_origin(who);
	int64_t now = clock_now_us();
	int r;

	*ret = (struct task){
		.type = type,
		.status = TASK_PENDING,
		.owner = who->project_id ? who->project_id : "",
		.image_id = image_id,
		.request_id = who->request_id,
		.user_id = who->user_id,
		.input = input,
		.created_at = now,
		.updated_at = now,
	};
	uuid_new(ret->id);
	r = db_task_insert(tx, ret, err);
	if (r == 0)
		r = db_job_insert(tx, ret->id, err);
	return r < 0 ? r : event_task(svc->notify, tx, EVENT_TASK_CREATE, ret, &origin, err);
}

/* No image.update yet: the one of the pick-up tells of it, as consumers know it. */
static int lock_image(struct asked *k, const char *task_id, struct err *err)
{
	struct image after;
	int r = progress_copy(&k->target.image, &after, &k->arena, err);

	if (r == 0)
		r = image_set_property(&after, &k->arena, LOCK_PROPERTY, task_id, err);
	if (r == 0)
		r = inject(k, &after, err);
	return r < 0 ? r : db_image_update(k->tx, &k->target.image, &after, err);
}

static int make_task(struct asked *k, const json_t *body, char ret_task_id[UUID_LEN + 1], struct err *err)
{
	const char *input = import_task_input(&k->arena, k->target.image.id, body, k->stores, k->n_stores);
	struct task task;
	int r;

	if (!input)
		return err_nomem(err);
	r = task_enqueue(k->svc, k->tx, k->who, TASK_TYPE_API_IMAGE_IMPORT, input, k->target.image.id, &task, err);
	if (r == 0)
		r = lock_image(k, task.id, err);
	if (r == 0)
		r = service_commit(k->svc, &k->tx, err);
	if (r == 0)
		memcpy(ret_task_id, task.id, UUID_LEN + 1);
	return r;
}

static enum policy_rule rule_for(const struct asked *k)
{
	return is_copy(k) ? POLICY_COPY_IMAGE : POLICY_MODIFY_IMAGE;
}

/* Before any transaction is open: it may take a while. */
static int ask_quota(struct asked *k, const char *id, struct err *err)
{
	int r;

	if (!quota_applies(k->svc))
		return 0;
	r = service_look(k->svc, k->who, id, &k->arena, &k->target, err);
	if (r == 0)
		r = service_allow(k->svc, rule_for(k), k->who, &k->target, err);
	return r < 0 ? r : quota_of(k->svc, k->target.image.owner, &k->quota, err);
}

/* The task finds out whether there is room for this image; none is made where there is none for any. */
static int check_quota(struct asked *k, struct err *err)
{
	if (!quota_applies(k->svc))
		return 0;
	return quota_check_stored(k->svc, &k->quota, k->tx, k->target.image.owner, err);
}

static int ask(struct asked *k, const char *id, const json_t *body, char ret_task_id[UUID_LEN + 1], struct err *err)
{
	int r = service_begin(k->svc, k->who, id, rule_for(k), &k->arena, &k->tx, &k->target, err);

	if (r == 0)
		r = check_image(k, err);
	if (r == 0)
		r = check_lock(k, err);
	if (r == 0)
		r = choose_stores(k, err);
	if (r == 0)
		r = check_quota(k, err);
	if (r < 0)
		return r;
	if (is_copy(k) && k->n_stores == 0) {
		ret_task_id[0] = '\0';
		return 0;
	}
	return make_task(k, body, ret_task_id, err);
}

int service_import(struct service *svc, const struct who *who, const char *id, const struct import_request *request,
		   const json_t *body, char ret_task_id[UUID_LEN + 1], struct err *err)
{
	struct asked k = {.svc = svc, .who = who, .request = request};
	int r = 0;

	if (request->method == IMPORT_WEB_DOWNLOAD)
		r = fetch_check_url(svc->config.import.fetch.rules, request->uri, err);
	if (r == 0)
		r = ask_quota(&k, id, err);
	if (r == 0)
		r = ask(&k, id, body, ret_task_id, err);
	db_abort(k.tx);
	arena_done(&k.arena);
	if (r == 0)
		executor_wake(svc->executor);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * service/run_image.c -- runs a task of type api_image_import: the bytes of an image from the staging
 * area, from the net, or (copy-image) from one of its stores, into one store or several.
 *
 *   begin     with the task's pick-up: queued or uploading -> importing (copy-image: it stays active), the
 *             stores it goes to in os_glance_importing_to_stores; image.update
 *   prepare   the source has answered: image.prepare for each store
 *   transfer  source -> hashes and stores; no transaction is open
 *   finish    one transaction: locations, importing -> active, sizes, checksums; for each store image.upload
 *             (with the one that makes it active image.activate) or ERROR image.upload, and image.update;
 *             the lock gone, image.update; task.success
 *   fail      bytes gone, then one transaction: importing -> queued, the lock gone, ERROR image.upload if it
 *             was prepared, image.update; task.failure
 *
 * The property os_glance_import_task is the lock: only the task that it names changes what an import changes.
 * An image that was deleted meanwhile is nobody's: its deletion has told the consumers. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/progress.h"
#include "service/quota.h"
#include "service/seal.h"
#include "service/source.h"
#include "service/transfer.h"

struct plan {
	struct import_job job;
	struct image image;    /* as it was when the task was picked up, changed by plugins */
	struct sink sinks[IMPORT_MAX_STORES];
	size_t n_sinks;
	bool has_begun;        /* the image is in our hands: begin() has gone well */
	bool is_swept;         /* what an earlier run has left is gone */
};

static bool is_copy(const struct plan *p)
{
	return p->job.request.method == IMPORT_COPY_IMAGE;
}

/* -- begin ---------------------------------------------------------------------------------------- */

static struct store *named_store(struct service *svc, const char *id)
{
	struct store *s = stores_find(svc->stores, id);

	return s && (s == stores_staging(svc->stores) || store_is_remote(s)) ? NULL : s;
}

static void find_sinks(struct run *run, struct plan *p)
{
	const struct import_request *request = &p->job.request;

	if (request->n_stores == 0) {
		p->sinks[p->n_sinks++].store = stores_default(run->svc->stores);
		return;
	}
	for (size_t i = 0; i < request->n_stores; i++) {
		struct store *s = named_store(run->svc, request->stores[i]);

		if (!s)
			run_refuse(run, ERR_CONFLICT, "There is no store called %.64s any more.", request->stores[i]);
		else
			p->sinks[p->n_sinks++].store = s;
	}
}

static bool may_begin(const struct plan *p, const struct run *run)
{
	enum image_status status = p->image.status;

	if (is_copy(p))
		return status == IMAGE_ACTIVE || status == IMAGE_DEACTIVATED;
	if (!run->is_first)
		return status == IMAGE_IMPORTING;
	return status == (p->job.request.method == IMPORT_GLANCE_DIRECT ? IMAGE_UPLOADING : IMAGE_QUEUED);
}

/* Sets *ret only if the image is ours to import; otherwise the task is refused. */
static int load_image(struct run *run, struct db_tx *tx, struct plan *p, bool *ret, struct err *err)
{
	int r = db_image_get(tx, p->job.image_id, false, &run->arena, &p->image, err);

	*ret = false;
	if (r == ERR_NOT_FOUND) {
		run_refuse(run, ERR_GONE, "Image %s was deleted.", p->job.image_id);
		return 0;
	}
	if (r < 0)
		return r;
	if (!progress_is_locked_by(&p->image, run->task.id))
		run_refuse(run, ERR_CONFLICT, "Another import has taken over image %s.", p->job.image_id);
	else if (!is_copy(p) && (!p->image.disk_format || !p->image.container_format))
		run_refuse(run, ERR_CONFLICT, "Image %s needs a disk_format and a container_format before an import.",
			   p->job.image_id);
	else if (!may_begin(p, run))
		run_refuse(run, ERR_CONFLICT, "Image %s is %s and cannot be imported.", p->job.image_id,
			   image_status_name(p->image.status));
	else
		*ret = true;
	return 0;
}

static int mark_stores(struct plan *p, struct image *image, struct arena *a, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < p->n_sinks && r == 0; i++) {
		const char *id = store_id(p->sinks[i].store);

		r = progress_add(image, a, IMPORTING_PROPERTY, id, err);
		if (r == 0)
			r = progress_remove(image, a, FAILED_PROPERTY, id, err);
	}
	return r;
}

static int take_image(struct run *run, struct db_tx *tx, struct plan *p, struct err *err)
{
	struct image after;
	int r = progress_copy(&p->image, &after, &run->arena, err);

	if (r == 0)
		r = mark_stores(p, &after, &run->arena, err);
	if (r < 0)
		return r;
	if (!is_copy(p))
		after.status = IMAGE_IMPORTING;
	r = service_save(run->svc, tx, &run->who, &p->image, &after, err);
	p->image = after;
	return r;
}

static void watch_image(struct run *run, const char *image_id)
{
	memcpy(run->upload.image_id, image_id, sizeof(run->upload.image_id));
	uploads_add(run->svc, &run->upload);
	run->listed = true;
}

/* The image was deleted, and what an earlier run has stored of it nobody else knows of. */
static bool has_left_overs(const struct run *run)
{
	return !run->is_first && run->refusal.code == ERR_GONE;
}

static int image_begin(struct run *run, struct db_tx *tx, struct err *err)
{
	struct plan *p = arena_alloc(&run->arena, sizeof(*p));
	struct err why = {0};
	bool ours;
	int r;

	if (!p)
		return err_nomem(err);
	if (run->task.image_id && uuid_is_canonical(run->task.image_id)) {
		memcpy(p->job.image_id, run->task.image_id, UUID_LEN + 1);
		run->plan = p; /* first: whatever is wrong, the image is put back */
	}
	r = import_job_parse(run->task.input, &run->arena, &p->job, &why);
	if (r < 0) {
		if (run->plan)
			memcpy(p->job.image_id, run->task.image_id, UUID_LEN + 1);
		run_refuse(run, r, "%s", why.text);
		return r == ERR_NO_MEMORY ? r : 0;
	}
	run->plan = p;
	watch_image(run, p->job.image_id);
	r = load_image(run, tx, p, &ours, err);
	if (r < 0 || (!ours && !has_left_overs(run)))
		return r;
	find_sinks(run, p);
	if (run->is_first && run->refusal.code == 0)
		r = run_check_quota(run, tx, &p->image, err);
	if (r < 0)
		return r;
	p->has_begun = !run->is_first;
	if (run->refusal.code != 0 || !run->is_first)
		return 0;
	r = take_image(run, tx, p, err);
	p->has_begun = r == 0;
	return r;
}

/* -- prepare -------------------------------------------------------------------------------------- */

/* Without a plan the input could not be read; whose the task is stands beside it. NULL: nobody knows. */
static const char *image_of(const struct run *run)
{
	const struct plan *p = run->plan;

	return p ? p->job.image_id : run->task.image_id;
}

/* ERR_GONE if the image is not ours any more. */
static int load_ours(struct run *run, struct db_tx *tx, struct arena *a, struct image *ret, struct err *err)
{
	const char *id = image_of(run);
	int r = db_image_get(tx, id, false, a, ret, err);

	if (r == ERR_NOT_FOUND)
		return err_set(err, ERR_GONE, "Image %s was deleted during the import.", id);
	if (r == 0 && !progress_is_locked_by(ret, run->task.id))
		return err_set(err, ERR_GONE, "Another import has taken over image %s.", id);
	return r;
}

static int prepare(struct run *run, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	const struct plan *p = run->plan;
	struct image image;
	int r;

	if (run->job.is_prepared)
		return 0;
	r = db_begin(run->svc->db, DB_WRITE, &tx, err);
	if (r == 0)
		r = load_ours(run, tx, &a, &image, err);
	for (size_t i = 0; i < p->n_sinks && r == 0; i++) {
		const char *id = store_id(p->sinks[i].store);

		r = event_image(run->svc->notify, tx, EVENT_IMAGE_PREPARE, &image, *id ? id : NULL, &run->origin, err);
	}
	if (r < 0)
		return r;
	run->job.is_prepared = true;
	r = db_job_update(tx, &run->job, err);
	return r < 0 ? r : service_commit(run->svc, &tx, err);
}

/* -- finish --------------------------------------------------------------------------------------- */

struct finish {
	struct run *run;
	struct db_tx *tx;
	struct transfer *t;
	struct arena arena;
	struct image before, after;
};

static int tell(struct finish *f, enum event_type type, struct err *err)
{
	return event_image(f->run->svc->notify, f->tx, type, &f->after, NULL, &f->run->origin, err);
}

static int tell_failure(struct run *run, struct db_tx *tx, const char *image_id, const struct store *store,
			const char *reason, struct arena *a, struct err *err)
{
	const char *id = store ? store_id(store) : "";
	const char *text = *id ? arena_printf(a, "Failed to import the data of image %s to store %s: %s", image_id, id,
					      reason) :
				 arena_printf(a, "Failed to import the data of image %s: %s", image_id, reason);

	if (!text)
		return err_nomem(err);
	return event_image_text(run->svc->notify, tx, EVENT_IMAGE_UPLOAD, EVENT_ERROR, image_id, text, &run->origin,
				err);
}

/* Which of the sinks makes the image active: the last if all have to succeed, else the first that did. */
static const struct sink *activating_sink(const struct finish *f)
{
	const struct transfer *t = f->t;
	const struct sink *found = NULL;

	for (size_t i = 0; i < t->n_sinks; i++)
		if (t->sinks[i].url && (t->all_must_succeed || !found))
			found = &t->sinks[i];
	return found;
}

static int finish_sink(struct finish *f, const struct sink *k, bool activates, struct err *err)
{
	struct service *svc = f->run->svc;
	int r;

	r = upload_add_location(svc, f->tx, &f->after, k, &f->arena, err);
	if (r < 0)
		return r;
	if (activates)
		f->after.status = IMAGE_ACTIVE;
	r = tell(f, EVENT_IMAGE_UPLOAD, err);
	return r == 0 && activates ? tell(f, EVENT_IMAGE_ACTIVATE, err) : r;
}

static int finish_failed_sink(struct finish *f, const struct sink *k, struct err *err)
{
	int r = tell_failure(f->run, f->tx, f->after.id, k->store, k->err.text, &f->arena, err);

	if (r < 0)
		return r;
	return progress_add(&f->after, &f->arena, FAILED_PROPERTY, store_id(k->store), err);
}

static int finish_sinks(struct finish *f, struct err *err)
{
	const struct plan *p = f->run->plan;
	const struct sink *last = activating_sink(f);
	int r = 0;

	for (size_t i = 0; i < f->t->n_sinks && r == 0; i++) {
		const struct sink *k = &f->t->sinks[i];

		r = k->url ? finish_sink(f, k, k == last && !is_copy(p), err) : finish_failed_sink(f, k, err);
		if (r == 0)
			r = progress_remove(&f->after, &f->arena, IMPORTING_PROPERTY, store_id(k->store), err);
		if (r == 0)
			r = tell(f, EVENT_IMAGE_UPDATE, err);
	}
	return r;
}

/* Staged bytes that are not needed any more: the image never goes back to where they would be. */
static int drop_staged(struct run *run, struct db_tx *tx, const char *image_id, struct err *err)
{
	AUTO(free_p) char *url = store_url(stores_staging(run->svc->stores), image_id);
	struct db_removal removal = {.url = url, .next_attempt_at = clock_now_us()};

	if (!url)
		return err_nomem(err);
	memcpy(removal.image_id, image_id, sizeof(removal.image_id));
	return db_removal_insert(tx, &removal, err);
}

static void describe(struct finish *f)
{
	const struct plan *p = f->run->plan;

	f->after.updated_at = clock_now_us();
	if (is_copy(p))
		return;
	f->after.disk_format = p->image.disk_format;
	f->after.container_format = p->image.container_format;
	upload_describe(f->t, &f->after);
}

static int finish_image(struct finish *f, struct err *err)
{
	const struct plan *p = f->run->plan;
	int r;

	r = load_ours(f->run, f->tx, &f->arena, &f->before, err);
	if (r == 0)
		r = progress_copy(&f->before, &f->after, &f->arena, err);
	if (r < 0)
		return r;
	describe(f);
	r = finish_sinks(f, err);
	if (r < 0)
		return r;
	(void)image_remove_property(&f->after, LOCK_PROPERTY);
	r = db_image_update(f->tx, &f->before, &f->after, err);
	if (r == 0)
		r = tell(f, EVENT_IMAGE_UPDATE, err);
	if (r == 0 && p->job.request.method == IMPORT_GLANCE_DIRECT)
		r = drop_staged(f->run, f->tx, f->after.id, err);
	return r;
}

static int finish(struct run *run, struct transfer *t, struct err *err)
{
	struct finish f = {.run = run, .t = t};
	const char *message = arena_printf(&run->arena, "Copied %lld MiB", (long long)(t->size >> 20));
	struct plan *p = run->plan;
	int r;

	if (!message)
		return err_nomem(err);
	r = db_begin(run->svc->db, DB_WRITE, &f.tx, err);
	if (r == 0)
		r = finish_image(&f, err);
	if (r == 0)
		r = run_succeed(run, f.tx, p->job.image_id, message, err);
	hold_settle(run->hold);
	if (r == 0)
		r = service_commit(run->svc, &f.tx, err);
	if (r < 0)
		hold_unsettle(run->hold);
	else
		hold_end(TAKE(run->hold), true);
	db_abort(f.tx);
	arena_done(&f.arena);
	if (r == 0 && p->job.request.method == IMPORT_GLANCE_DIRECT)
		janitor_wake(run->svc->janitor);
	return r;
}

/* -- the work ------------------------------------------------------------------------------------- */

static int open_source(struct run *run, struct source *s, struct err *err)
{
	struct plan *p = run->plan;

	switch (p->job.request.method) {
	case IMPORT_GLANCE_DIRECT:
		return source_open_staged(s, p->job.image_id, err);
	case IMPORT_WEB_DOWNLOAD:
		return source_open_url(s, p->job.request.uri, err);
	case IMPORT_COPY_IMAGE:
		break;
	}
	return source_open_image(s, &p->image, &run->who, err);
}

/* A copy has to be what it is a copy of. */
static int check_copy(const struct plan *p, const struct transfer *t, struct err *err)
{
	const struct image *image = &p->image;
	bool same = image->size == t->size || image->size == IMAGE_SIZE_UNKNOWN;

	if (image->os_hash_algo && image->os_hash_value && strcmp(image->os_hash_algo, t->hash_algorithm) == 0)
		same &= strcmp(image->os_hash_value, t->digest.hash) == 0;
	else if (image->checksum)
		same &= strcmp(image->checksum, t->digest.md5) == 0;
	return same ? 0 :
		      err_set(err, ERR_INTERNAL, "What the store holds of image %s is not what was stored.", image->id);
}

/* A store that had a name under way but lost it may still hold something under it. */
static int clean_failed_sinks(struct transfer *t, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < t->n_sinks && r == 0; i++) {
		AUTO(free_p) char *url = store_url(t->sinks[i].store, t->image_id);

		if (!t->sinks[i].may_have_name || t->sinks[i].url)
			continue;
		r = url ? store_remove(t->sinks[i].store, url, err) : err_nomem(err);
	}
	return r;
}

/* What is copied is inspected, too: it may be older than the rules. An image of Glance's need not say anything. */
static int begin_inspection(struct run *run, struct transfer *t, struct err *err)
{
	const struct plan *p = run->plan;

	if (is_copy(p) && (!p->image.disk_format || !p->image.container_format))
		return 0;
	return inspect_new(&run->svc->config.inspect, p->image.disk_format, p->image.container_format, &t->inspect, err);
}

static int transfer(struct run *run, struct source *s, struct err *err)
{
	struct plan *p = run->plan;
	struct transfer t = {
		.image_id = p->job.image_id,
		.source = &s->stream,
		.sinks = p->sinks,
		.n_sinks = p->n_sinks,
		.all_must_succeed = p->job.request.all_stores_must_succeed,
		.hash_algorithm = run->svc->config.hash_algorithm,
		.max_octets = run->svc->config.max_image_bytes,
		.hold = run->hold,
		.stop = &run->upload.stop,
		.progress = run_progress,
		.cls = run,
	};
	struct log_ctx ctx = who_log(&run->who);
	int r = begin_inspection(run, &t, err);

	if (r == 0)
		r = transfer_run(&t, err);
	if (r == 0 && is_copy(p))
		r = check_copy(p, &t, err);
	if (r == 0)
		r = clean_failed_sinks(&t, err);
	source_close(s); /* nothing of it is left when its end is told */
	if (r == 0)
		r = finish(run, &t, err);
	if (r == 0)
		upload_remark(&t, &ctx);
	transfer_close(&t);
	return r;
}

static int image_work(struct run *run, struct err *err)
{
	AUTO(source_close) struct source s = SOURCE_INIT(run->svc, &run->upload.stop);
	struct plan *p = run->plan;
	int r = 0;

	if (quota_applies(run->svc))
		r = hold_new(run->svc, p->image.owner, HOLD_STORED, &run->quota, &run->hold, err);
	if (r == 0)
		r = open_source(run, &s, err);
	if (r == 0)
		r = prepare(run, err);
	if (r == 0 && !is_copy(p))
		r = source_apply_plugins(&s, &p->image, run->task.id, &run->arena, err);
	return r < 0 ? r : transfer(run, &s, err);
}

/* -- when it fails -------------------------------------------------------------------------------- */

/* Does @image have its bytes there? */
static bool is_stored(struct service *svc, const struct image *image, const char *url)
{
	AUTO(arena_done) struct arena a = {0};

	for (size_t i = 0; i < image->n_locations; i++) {
		const char *have;

		if (seal_open(svc->config.location_key, image->locations[i].url, &a, &have, NULL) == 0 &&
		    strcmp(have, url) == 0)
			return true;
	}
	return false;
}

static int read_image(struct run *run, struct arena *a, struct image *ret, bool *ret_found, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	const struct plan *p = run->plan;
	int r = db_begin(run->svc->db, DB_READ, &tx, err);

	if (r == 0)
		r = db_image_get(tx, p->job.image_id, false, a, ret, err);
	*ret_found = r == 0;
	return r == ERR_NOT_FOUND ? 0 : r;
}

static int remove_one(struct run *run, struct store *store, const struct image *image, struct err *err)
{
	const struct plan *p = run->plan;
	AUTO(free_p) char *url = store_url(store, p->job.image_id);

	if (!url)
		return err_nomem(err);
	if (image && is_stored(run->svc, image, url))
		return 0;
	return store_remove(store, url, err);
}

/* The staged bytes stay for another run, and go when there will be none. */
static bool staged_has_to_go(const struct run *run)
{
	const struct plan *p = run->plan;

	return p->job.request.method == IMPORT_GLANCE_DIRECT && run->gives_up;
}

static int image_clean(struct run *run, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct plan *p = run->plan;
	struct image image;
	bool found;
	int r;

	if (!p || !p->has_begun)
		return 0;
	r = read_image(run, &a, &image, &found, err);
	for (size_t i = 0; i < p->n_sinks && r == 0; i++)
		if (p->sinks[i].may_have_name || (!run->is_first && !p->is_swept))
			r = remove_one(run, p->sinks[i].store, found ? &image : NULL, err);
	p->is_swept |= r == 0;
	if (r == 0 && staged_has_to_go(run))
		r = remove_one(run, stores_staging(run->svc->stores), NULL, err);
	return r;
}

/* Those whose own fault it was; if it was nobody's, all of them. */
static int mark_failed(struct plan *p, struct image *image, struct arena *a, struct err *err)
{
	size_t n_guilty = 0;
	int r = 0;

	for (size_t i = 0; i < p->n_sinks; i++)
		n_guilty += p->sinks[i].err.code != 0;
	for (size_t i = 0; i < p->n_sinks && r == 0; i++) {
		const char *id = store_id(p->sinks[i].store);

		r = progress_remove(image, a, IMPORTING_PROPERTY, id, err);
		if (r == 0 && (n_guilty == 0 || p->sinks[i].err.code != 0))
			r = progress_add(image, a, FAILED_PROPERTY, id, err);
	}
	return r;
}

static int put_back(struct run *run, struct db_tx *tx, const struct image *before, struct arena *a, struct err *err)
{
	struct plan *p = run->plan;
	struct image after;
	int r = progress_copy(before, &after, a, err);

	if (r == 0 && p && p->has_begun)
		r = mark_failed(p, &after, a, err);
	if (r < 0)
		return r;
	(void)image_remove_property(&after, LOCK_PROPERTY);
	if (before->status == IMAGE_IMPORTING) {
		after.status = IMAGE_QUEUED;
		after.size = after.virtual_size = IMAGE_SIZE_UNKNOWN;
		after.checksum = after.os_hash_algo = after.os_hash_value = NULL;
	}
	return service_save(run->svc, tx, &run->who, before, &after, err);
}

static int image_fail(struct run *run, struct db_tx *tx, const char *reason, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct image image;
	int r;

	if (!image_of(run))
		return 0;
	r = load_ours(run, tx, &a, &image, err);
	if (r == ERR_GONE)
		return 0;
	if (r == 0 && run->job.is_prepared)
		r = tell_failure(run, tx, image.id, NULL, reason, &a, err);
	return r < 0 ? r : put_back(run, tx, &image, &a, err);
}

const struct task_kind task_kind_api_image_import = {
	.type = TASK_TYPE_API_IMAGE_IMPORT,
	.begin = image_begin,
	.work = image_work,
	.clean = image_clean,
	.fail = image_fail,
};

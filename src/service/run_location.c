/* SPDX-License-Identifier: Apache-2.0
 * service/run_location.c -- runs a task of type location_import: what lies at a URL becomes the data of a
 * queued image.
 *
 *   begin    with the task's pick-up: queued -> importing; image.update
 *   survey   all of it is read once (survey.c), again if the source fails, up to http_retries times; no
 *            transaction
 *   finish   one transaction: the location, importing -> active, sizes, checksums, the lock gone,
 *            image.activate, image.update; task.success
 *   fail     one transaction: importing -> queued, the lock gone, image.update; task.failure
 *
 * The lock is that of imports (run_image.c). Nothing is stored here, so nothing is left behind; the octets
 * count nevertheless, as those of every location do, and are held while they are read. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "image/locations.h"
#include "service/progress.h"
#include "service/quota.h"
#include "service/run.h"
#include "service/survey.h"
#include "task/location.h"

struct plan {
	const char *image_id;
	struct location_job job;
	struct store *store;
	struct image image; /* as it was when the task was picked up, with what is expected of it */
};

/* -- begin ---------------------------------------------------------------------------------------- */

static int refuse(struct run *run, const struct err *why, struct err *err)
{
	if (why->code == ERR_NO_MEMORY)
		return err_nomem(err);
	run_refuse(run, why->code, "%s", why->text);
	return 0;
}

/* What the request has checked may have changed since. */
static int check_image(struct run *run, struct plan *p, struct err *why)
{
	const struct image *image = &p->image;
	enum image_status wanted = run->is_first ? IMAGE_QUEUED : IMAGE_IMPORTING;
	struct image expected;

	if (!progress_is_locked_by(image, run->task.id))
		return err_set(why, ERR_CONFLICT, "Another task has taken over image %s.", image->id);
	if (image->status != wanted)
		return err_set(why, ERR_CONFLICT, "Image %s is %s and cannot get a location.", image->id,
			       image_status_name(image->status));
	if (!image->disk_format || !image->container_format)
		return err_set(why, ERR_CONFLICT,
			       "Image %s needs a disk_format and a container_format before data.", image->id);
	if (location_check(run->svc, p->job.url, &p->store, why) < 0)
		return why->code;
	expected = *image;
	expected.status = IMAGE_QUEUED; /* nothing of the data is known yet */
	if (locations_expect(p->job.validation_data, run->svc->config.limits.hash_algorithm, ERR_CONFLICT,
			     &run->arena, &expected, why) < 0)
		return why->code;
	expected.status = image->status;
	p->image = expected;
	return 0;
}

static void watch_image(struct run *run, const char *image_id)
{
	snprintf(run->upload.image_id, sizeof(run->upload.image_id), "%s", image_id);
	uploads_add(run->svc, &run->upload);
	run->listed = true;
}

static int take_image(struct run *run, struct db_tx *tx, const struct image *before, struct err *err)
{
	struct image after = *before;

	after.status = IMAGE_IMPORTING;
	return service_save(run->svc, tx, &run->who, before, &after, err);
}

static int location_begin(struct run *run, struct db_tx *tx, struct err *err)
{
	struct plan *p = arena_alloc(&run->arena, sizeof(*p));
	struct image before;
	struct err why = {0};
	int r;

	if (!p)
		return err_nomem(err);
	p->image_id = run->task.image_id ? run->task.image_id : "";
	run->plan = p; /* first: whatever is wrong, the image is to be put back */
	r = db_image_get(tx, p->image_id, false, &run->arena, &before, err);
	if (r == ERR_NOT_FOUND) {
		run_refuse(run, ERR_GONE, "Image %s was deleted.", p->image_id);
		return 0;
	}
	if (r < 0)
		return r;
	p->image = before;
	watch_image(run, p->image_id);
	r = location_job_parse(run->task.input, &run->arena, &p->job, &why);
	if (r == 0)
		r = check_image(run, p, &why);
	location_job_done(&p->job);
	if (r < 0)
		return refuse(run, &why, err);
	if (!run->is_first || run->refusal.code != 0)
		return 0;
	r = run_check_quota(run, tx, &before, err);
	return r < 0 || run->refusal.code != 0 ? r : take_image(run, tx, &before, err);
}

/* -- the work ------------------------------------------------------------------------------------- */

/* ERR_GONE if the image is not ours any more. */
static int load_ours(struct run *run, struct db_tx *tx, struct arena *a, struct image *ret, struct err *err)
{
	const struct plan *p = run->plan;
	int r = db_image_get(tx, p->image_id, false, a, ret, err);

	if (r == ERR_NOT_FOUND)
		return err_set(err, ERR_GONE, "Image %s was deleted while its location was read.",
			       p->image_id);
	if (r == 0 && !progress_is_locked_by(ret, run->task.id))
		return err_set(err, ERR_GONE, "Another task has taken over image %s.", p->image_id);
	return r;
}

static int write_down(struct run *run, struct db_tx *tx, const struct survey *s, struct arena *a,
		      struct err *err)
{
	const struct plan *p = run->plan;
	struct image before, after;
	int r = load_ours(run, tx, a, &before, err);

	if (r == 0)
		r = progress_copy(&before, &after, a, err);
	if (r < 0)
		return r;
	survey_describe(s, &after);
	after.status = IMAGE_ACTIVE;
	after.updated_at = clock_now_us();
	(void)image_remove_property(&after, LOCK_PROPERTY);
	r = survey_record(s, tx, after.id, err);
	if (r == 0)
		r = service_add_location(run->svc, tx, &after, p->store, p->job.url, NULL, a, err);
	return r < 0 ? r : location_save(run->svc, tx, &run->who, &before, &after, err);
}

static int finish(struct run *run, const struct survey *s, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	const struct plan *p = run->plan;
	int r = db_begin(run->svc->db, DB_WRITE, &tx, err);

	if (r == 0)
		r = write_down(run, tx, s, &a, err);
	if (r == 0)
		r = run_succeed(run, tx, p->image_id, NULL, err);
	if (r < 0)
		return r;
	hold_settle(run->hold);
	r = service_commit(run->svc, &tx, err);
	if (r < 0)
		hold_unsettle(run->hold);
	else
		hold_end(TAKE(run->hold), true);
	return r;
}

static bool is_stopped(void *cls)
{
	struct run *run = cls;

	return atomic_load(&run->upload.stop);
}

static bool may_pass(int r)
{
	return r == ERR_UNAVAILABLE || r == ERR_TIMEOUT;
}

static int survey(struct run *run, struct survey *ret, struct err *err)
{
	const struct plan *p = run->plan;
	const struct survey_order order = {.image = &p->image,
					   .store = p->store,
					   .url = p->job.url,
					   .is_cancelled = is_stopped,
					   .progress = run_progress,
					   .hold = run->hold,
					   .n_copies = 1,
					   .cls = run};
	int r = survey_run(run->svc, &order, ret, err);

	for (unsigned i = 0; may_pass(r) && i < run->svc->config.http_retries; i++) {
		*err = (struct err){0};
		r = survey_run(run->svc, &order, ret, err);
	}
	return r;
}

static int location_work(struct run *run, struct err *err)
{
	AUTO(survey_done) struct survey s = {0};
	const struct plan *p = run->plan;
	struct log_ctx ctx = who_log(&run->who);
	int r = 0;

	if (quota_applies(run->svc))
		r = hold_new(run->svc, p->image.owner, HOLD_STORED, &run->quota, &run->hold, err);
	if (r == 0)
		r = survey(run, &s, err);
	if (r == 0)
		r = survey_check(&s, &p->image, err);
	if (r == 0)
		r = finish(run, &s, err);
	if (r == 0 && *s.remark)
		log_warning("glint.inspect", &ctx, "image %s is taken, though: %s", p->image_id, s.remark);
	return r;
}

static int location_clean(struct run *run, struct err *err)
{
	return 0;
}

/* -- when it fails -------------------------------------------------------------------------------- */

static int location_fail(struct run *run, struct db_tx *tx, const char *reason, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct image before, after;
	int r;

	if (!run->plan) /* it was not even begun */
		return 0;
	r = load_ours(run, tx, &a, &before, err);
	if (r == ERR_GONE)
		return 0;
	if (r == 0)
		r = progress_copy(&before, &after, &a, err);
	if (r < 0)
		return r;
	(void)image_remove_property(&after, LOCK_PROPERTY);
	if (before.status == IMAGE_IMPORTING)
		after.status = IMAGE_QUEUED;
	return service_save(run->svc, tx, &run->who, &before, &after, err);
}

const struct task_kind task_kind_location_import = {
	.type = TASK_TYPE_LOCATION_IMPORT,
	.begin = location_begin,
	.work = location_work,
	.clean = location_clean,
	.fail = location_fail,
};

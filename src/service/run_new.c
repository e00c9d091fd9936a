/* SPDX-License-Identifier: Apache-2.0
 * service/run_new.c -- runs a task of type import: makes an image of what a URL gives.
 *
 * The image is made in the transaction that picks the task up, and its id is kept in the task while it
 * runs. Its bytes come in by an upload like any other (upload.c), whose last transaction also ends the
 * task. If it fails, the image is deleted in the transaction that says so. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/quota.h"
#include "service/source.h"

struct plan {
	struct import_from from;
	const char *image_id; /* NULL: there is none yet. The task forgets it with its success, which may fail to commit */
};

static int make_image(struct run *run, struct db_tx *tx, struct image *image, struct err *err)
{
	struct plan *p = run->plan;
	struct err why = {0};
	int r;

	if (!image->owner)
		image->owner = run->who.project_id;
	if (!*image->id)
		uuid_new(image->id);
	image->created_at = image->updated_at = clock_now_us();
	if (quota_applies(run->svc) && strcmp(image->owner ?: "", run->quota_owner ?: "") != 0)
		return err_set(err, ERR_INTERNAL, "The quota of another project was asked for.");
	r = quota_check_images(&run->quota, tx, image->owner, 1, &why);
	if (r == ERR_TOO_LARGE) {
		run_refuse(run, r, "%s", why.text);
		return 0;
	}
	r = db_image_insert(tx, image, err);
	if (r == ERR_CONFLICT) {
		run_refuse(run, r, "Image id %s is or was in use.", image->id);
		return 0;
	}
	if (r == 0)
		r = event_image(run->svc->notify, tx, EVENT_IMAGE_CREATE, image, NULL, &run->origin, err);
	if (r < 0)
		return r;
	p->image_id = run->task.image_id = arena_strdup(&run->arena, image->id);
	return p->image_id ? 0 : err_nomem(err);
}

/* What can be known before anything is fetched. */
static int check_draft(struct run *run, const struct plan *p, struct image *draft, struct err *why)
{
	int r = fetch_check_url(run->svc->config.import.fetch.rules, p->from.uri, why);

	if (r == 0)
		r = image_from_json(p->from.properties, &run->svc->config.limits, &run->arena, draft, why);
	if (r == 0 && (!draft->disk_format || !draft->container_format))
		r = err_set(why, ERR_INVALID, "image_properties need a disk_format and a container_format.");
	return r;
}

static int new_begin(struct run *run, struct db_tx *tx, struct err *err)
{
	struct plan *p = arena_alloc(&run->arena, sizeof(*p));
	struct image draft;
	struct err why = {0};
	int r;

	if (!p)
		return err_nomem(err);
	image_init(&draft);
	r = import_from_parse(run->task.input, &run->arena, &p->from, &why);
	if (r == 0 && run->is_first)
		r = check_draft(run, p, &draft, &why);
	json_decref(TAKE(p->from.properties));
	if (r == ERR_NO_MEMORY)
		return err_nomem(err);
	run->plan = p;
	p->image_id = run->task.image_id;
	if (r < 0)
		run_refuse(run, r, "%s", why.text);
	else if (run->is_first)
		return make_image(run, tx, &draft, err);
	else if (!run->task.image_id)
		run_refuse(run, ERR_INTERNAL, "The task has lost its image.");
	return 0;
}

/* upload.also: the image is active, the task has succeeded. It does not keep the image's id apart from
 * its result, as clients know it. */
static int succeed(void *cls, struct db_tx *tx, const struct image *image, struct err *err)
{
	struct run *run = cls;

	run->task.image_id = NULL;
	return run_succeed(run, tx, image->id, NULL, err);
}

static int new_work(struct run *run, struct err *err)
{
	AUTO(source_close) struct source s = SOURCE_INIT(run->svc, &run->upload.stop);
	struct plan *p = run->plan;
	int r = source_open_url(&s, p->from.uri, err);

	if (r < 0)
		return r;
	memcpy(run->upload.image_id, p->image_id, sizeof(run->upload.image_id));
	run->upload.also = succeed;
	run->upload.progress = run_progress;
	run->upload.cls = run;
	return upload_run(run->svc, &run->who, &run->upload, stores_default(run->svc->stores), &s.stream, err);
}

/* The upload has cleaned up behind itself. */
static int new_clean(struct run *run, struct err *err)
{
	return 0;
}

static int new_fail(struct run *run, struct db_tx *tx, const char *reason, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	const struct plan *p = run->plan;
	const char *id = p ? p->image_id : run->task.image_id;
	struct image image;
	int r = id ? db_image_get(tx, id, false, &a, &image, err) : ERR_NOT_FOUND;

	run->task.image_id = NULL;
	if (r == ERR_NOT_FOUND)
		return 0;
	return r < 0 ? r : delete_image(run->svc, tx, &run->who, &image, &a, err);
}

const struct task_kind task_kind_import = {
	.type = TASK_TYPE_IMPORT,
	.begin = new_begin,
	.work = new_work,
	.clean = new_clean,
	.fail = new_fail,
};

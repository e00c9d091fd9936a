/* SPDX-License-Identifier: Apache-2.0
 * service/relocate.c -- a PATCH that says where the bytes of an image are.
 *
 *   draft    a read transaction: would all of it be allowed?
 *   quota    room for all new locations, of which each counts as often as it is one; an image that has data says
 *            how much that is, for another one it is found out on the way
 *   survey   what is at each new location is read once, no transaction is open
 *   finish   one transaction: the same again with the image as it is now; locations, queued -> active, sizes,
 *            checksums, digests of the pieces; what is left out is written down for the janitor; image.activate if it
 *            becomes active by it, image.update
 *
 * (1) No location is connected to before its text has passed, and none becomes an image's before all of its
 * bytes have been inspected and, where the image has data, found to be the same. (2) Nothing is changed
 * unless everything is. */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "service/progress.h"
#include "service/quota.h"
#include "service/seal.h"
#include "service/survey.h"

struct found {
	const char *url;
	struct store *store;
	struct survey survey;
	const char *disk_format, *container_format; /* as which it was inspected */
	struct found *next;
};

struct move {
	struct service *svc;
	const struct who *who;
	const char *id;
	const struct patch *patch;
	const struct watch *asker;
	struct arena *a;
	struct found *found;
	size_t n_found;
	struct hold *hold;    /* of all of them; NULL: there is no quota, or nothing new */
	struct upload upload; /* its flags stop the reading */
	struct survey_slot slot;
};

/* The image at one moment. */
struct draft {
	struct target target; /* as stored */
	struct image before,
		after; /* with locations in plain text; before.locations[i] is target.image's i-th */
};

static bool is_cancelled(void *cls)
{
	struct move *m = cls;

	return atomic_load(&m->upload.stop) || (m->asker && m->asker->is_cancelled(m->asker->cls));
}

/* -- texts ---------------------------------------------------------------------------------------- */

/* Nobody is told which of the schemes there are. */
int location_check(struct service *svc, const char *url, struct store **ret, struct err *err)
{
	struct store *s = stores_owner(svc->stores, url);

	if (!s || !store_is_remote(s))
		return err_set(err, ERR_INVALID,
			       "A location has to be in a store of this service that images are read from.");
	*ret = s;
	return store_check_url(s, url, err);
}

int locations_open(struct service *svc, const struct image *from, bool lenient, struct arena *a,
		   struct image *to, struct err *err)
{
	struct image_location *list = arena_alloc(a, (from->n_locations + 1) * sizeof(*list));
	size_t n = 0;

	if (!list)
		return err_nomem(err);
	for (size_t i = 0; i < from->n_locations; i++) {
		int r;

		list[n] = from->locations[i];
		r = seal_open(svc->config.location_key, from->locations[i].url, a, &list[n].url, err);
		if (r < 0 && (!lenient || r == ERR_NO_MEMORY))
			return r;
		n += r == 0;
	}
	*to = *from;
	to->locations = list;
	to->n_locations = n;
	return 0;
}

int location_save(struct service *svc, struct db_tx *tx, const struct who *who, const struct image *before,
		  struct image *after, struct err *err)
{
	struct origin origin = service_origin(who);
	int r = 0;

	after->updated_at = clock_now_us();
	if (before->status != IMAGE_ACTIVE && after->status == IMAGE_ACTIVE)
		r = event_image(svc->notify, tx, EVENT_IMAGE_ACTIVATE, after, NULL, &origin, err);
	if (r == 0)
		r = db_image_update(tx, before, after, err);
	return r < 0 ? r : event_image(svc->notify, tx, EVENT_IMAGE_UPDATE, after, NULL, &origin, err);
}

int location_failed(struct err *err)
{
	char text[sizeof(err->text)];

	if (err->code != ERR_UNAVAILABLE && err->code != ERR_TIMEOUT)
		return err->code;
	memcpy(text, err->text, sizeof(text));
	return err_set(err, ERR_INVALID, "The data at the location cannot be read. %.400s", text);
}

/* -- draft ---------------------------------------------------------------------------------------- */

static int ask_policy(struct move *m, const struct target *target, struct err *err)
{
	bool sets = false, removes = false, others = false;
	int r = 0;

	for (size_t i = 0; i < m->patch->n_steps; i++) {
		bool is_location = strcmp(m->patch->steps[i].attribute, "locations") == 0;

		others |= !is_location;
		removes |= is_location && m->patch->steps[i].op == PATCH_REMOVE;
		sets |= is_location && m->patch->steps[i].op != PATCH_REMOVE;
	}
	if (others)
		r = service_allow(m->svc, POLICY_MODIFY_IMAGE, m->who, target, err);
	if (r == 0 && sets)
		r = service_allow(m->svc, POLICY_SET_IMAGE_LOCATION, m->who, target, err);
	if (r == 0 && removes)
		r = service_allow(m->svc, POLICY_DELETE_IMAGE_LOCATION, m->who, target, err);
	if (r == 0 && removes)
		r = service_allow(m->svc, POLICY_GET_IMAGE_LOCATION, m->who, target, err);
	return r;
}

static int make_draft(struct move *m, struct db_tx *tx, struct draft *d, struct err *err)
{
	int r = service_load(m->svc, tx, m->who, m->id, m->a, &d->target, err);

	if (r == 0)
		r = ask_policy(m, &d->target, err);
	if (r == 0)
		r = locations_open(m->svc, &d->target.image, false, m->a, &d->before, err);
	if (r < 0)
		return r;
	d->after = d->before;
	r = update_apply(m->svc, tx, m->who, m->patch, &d->target, &d->after, m->a, err);
	return r < 0 ? r : progress_check_unlocked(tx, &d->target.image, m->a, err);
}

static bool has_location(const struct image *image, const char *url)
{
	for (size_t i = 0; i < image->n_locations; i++)
		if (strcmp(image->locations[i].url, url) == 0)
			return true;
	return false;
}

/* The new locations of the draft, none of them connected to yet. */
static int list_new(struct move *m, const struct draft *d, struct err *err)
{
	struct found **last = &m->found;

	for (size_t i = 0; i < d->after.n_locations; i++) {
		const char *url = d->after.locations[i].url;
		struct found *f;
		int r;

		if (has_location(&d->before, url))
			continue;
		f = arena_alloc(m->a, sizeof(*f));
		if (!f)
			return err_nomem(err);
		*f = (struct found){.url = url,
				    .disk_format = d->after.disk_format,
				    .container_format = d->after.container_format};
		r = location_check(m->svc, url, &f->store, err);
		if (r < 0)
			return r;
		*last = f;
		last = &f->next;
		m->n_found++;
	}
	return 0;
}

static int look(struct move *m, struct draft *d, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(m->svc->db, DB_READ, &tx, err);

	if (r == 0)
		r = make_draft(m, tx, d, err);
	return r < 0 ? r : list_new(m, d, err);
}

/* -- quota ---------------------------------------------------------------------------------------- */

/* That of the image's owner, before anything is read. To ask may take a while, so no transaction is open. */
static int open_hold(struct move *m, const struct draft *d, struct err *err)
{
	const char *owner = d->target.image.owner;
	bool has_data = d->before.status != IMAGE_QUEUED;
	struct quota quota;
	int r;

	if (!m->found || !quota_applies(m->svc))
		return 0;
	r = quota_of(m->svc, owner, &quota, err);
	if (r == 0)
		r = hold_new(m->svc, owner, HOLD_STORED, &quota, &m->hold, err);
	if (r < 0 || !has_data || d->before.size == IMAGE_SIZE_UNKNOWN)
		return r;
	return hold_begin(m->hold, m->n_found, d->before.size, -1, err);
}

/* -- survey --------------------------------------------------------------------------------------- */

static int cancelled(struct move *m, struct err *err)
{
	if (atomic_load(&m->upload.image_deleted))
		return err_set(err, ERR_GONE, "Image %s was deleted while its location was read.", m->id);
	return err_set(err, ERR_DISCONNECTED,
		       "The location was not read to its end: nobody waits for it any more.");
}

/* An image that is active may be one of Glance's without formats: then the bytes are known by their hash
 * alone. */
static int survey_one(struct move *m, const struct draft *d, struct found *f, struct err *err)
{
	const struct survey_order order = {.image = &d->after,
					   .store = f->store,
					   .url = f->url,
					   .may_lack_formats = d->before.status != IMAGE_QUEUED,
					   .is_cancelled = is_cancelled,
					   .hold = m->hold,
					   .n_copies = m->n_found,
					   .cls = m};
	int r = survey_run(m->svc, &order, &f->survey, err);

	if (r == ERR_GONE)
		return cancelled(m, err);
	return r < 0 ? location_failed(err) : 0;
}

static int survey_all(struct move *m, const struct draft *d, struct err *err)
{
	int r;

	if (!m->found)
		return 0;
	r = survey_enter(m->svc, &m->slot, m->who->project_id, err);
	if (r < 0)
		return r;
	memcpy(m->upload.image_id, d->before.id, sizeof(m->upload.image_id));
	uploads_add(m->svc, &m->upload);
	for (struct found *f = m->found; f && r == 0; f = f->next)
		r = survey_one(m, d, f, err);
	uploads_remove(m->svc, &m->upload);
	survey_leave(m->svc, &m->slot);
	return r;
}

/* -- finish --------------------------------------------------------------------------------------- */

static struct found *find(const struct move *m, const char *url)
{
	struct found *f = m->found;

	while (f && strcmp(f->url, url) != 0)
		f = f->next;
	return f;
}

static bool same_text(const char *x, const char *y)
{
	return x && y ? strcmp(x, y) == 0 : x == y;
}

/* Is what was read what the image, as it is now, is to have? The first of them says what a queued one has. */
static int add_one(struct move *m, struct db_tx *tx, struct draft *d, const struct image_location *l,
		   struct err *err)
{
	const struct found *f = find(m, l->url);
	struct image expected = d->after;
	int r;

	if (!f || !same_text(f->disk_format, d->after.disk_format) ||
	    !same_text(f->container_format, d->after.container_format))
		return err_set(err, ERR_CONFLICT, "Image %s was changed while its location was read.", m->id);
	expected.status = d->before.status;
	r = survey_check(&f->survey, &expected, err);
	if (r < 0)
		return r;
	if (d->before.status == IMAGE_QUEUED)
		survey_describe(&f->survey, &d->after);
	d->after.updated_at = clock_now_us();
	r = survey_record(&f->survey, tx, m->id, err);
	return r < 0 ? r
		     : service_add_location(m->svc, tx, &d->after, f->store, l->url, l->metadata, m->a, err);
}

static int remove_one(struct move *m, struct db_tx *tx, const struct draft *d, size_t i, struct err *err)
{
	const char *stored = d->target.image.locations[i].url;
	struct db_removal removal = {.url = stored, .next_attempt_at = clock_now_us()};
	int r = db_location_remove(tx, m->id, stored, removal.next_attempt_at, err);

	memcpy(removal.image_id, d->before.id, sizeof(removal.image_id));
	return r < 0 ? r : db_removal_insert(tx, &removal, err);
}

static int write_locations(struct move *m, struct db_tx *tx, struct draft *d, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < d->after.n_locations && r == 0; i++)
		if (!has_location(&d->before, d->after.locations[i].url))
			r = add_one(m, tx, d, &d->after.locations[i], err);
	for (size_t i = 0; i < d->before.n_locations && r == 0; i++)
		if (!has_location(&d->after, d->before.locations[i].url))
			r = remove_one(m, tx, d, i, err);
	return r;
}

static int commit(struct move *m, struct db_tx **tx, struct err *err)
{
	int r;

	hold_settle(m->hold);
	r = service_commit(m->svc, tx, err);
	if (r < 0)
		hold_unsettle(m->hold);
	else
		hold_end(TAKE(m->hold), true);
	return r;
}

static int finish(struct move *m, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct draft d;
	int r = db_begin(m->svc->db, DB_WRITE, &tx, err);

	if (r == 0)
		r = make_draft(m, tx, &d, err);
	if (r == 0 && !hold_is_of(m->hold, d.target.image.owner))
		r = err_set(err, ERR_CONFLICT, "Image %s has just been given to another project.", m->id);
	if (r == 0)
		r = write_locations(m, tx, &d, err);
	if (r == 0)
		r = location_save(m->svc, tx, m->who, &d.target.image, &d.after, err);
	return r < 0 ? r : commit(m, &tx, err);
}

static void remark(const struct move *m)
{
	struct log_ctx ctx = who_log(m->who);

	for (const struct found *f = m->found; f; f = f->next)
		if (*f->survey.remark)
			log_warning("glint.inspect", &ctx, "image %s is taken, though: %s", m->id,
				    f->survey.remark);
}

static int run(struct move *m, struct image *ret, struct err *err)
{
	struct target target;
	struct draft d;
	int r = look(m, &d, err);

	if (r == 0)
		r = open_hold(m, &d, err);
	if (r == 0)
		r = survey_all(m, &d, err);
	if (r == 0)
		r = finish(m, err);
	if (r < 0)
		return r;
	remark(m);
	janitor_wake(m->svc->janitor);
	r = service_look(m->svc, m->who, m->id, m->a, &target, err);
	if (r == 0)
		*ret = target.image;
	return r;
}

int update_locations(struct service *svc, const struct who *who, const char *id, const struct patch *patch,
		     const struct watch *asker, struct arena *a, struct image *ret, struct err *err)
{
	struct move m = {.svc = svc, .who = who, .id = id, .patch = patch, .asker = asker, .a = a};
	int r = run(&m, ret, err);

	hold_end(m.hold, false);
	for (struct found *f = m.found; f; f = f->next)
		survey_done(&f->survey);
	return r;
}

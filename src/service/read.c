/* SPDX-License-Identifier: Apache-2.0
 * service/read.c -- show and list. */
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "service/internal.h"

#define MAX_FILTERED_ROWS 10000 /* looked at for one page; there is a `next` to go on by */

int service_show(struct service *svc, const struct who *who, const char *id, struct arena *a,
		 struct image *ret, struct err *err)
{
	struct target target;
	int r = service_look(svc, who, id, a, &target, err);

	if (r == 0)
		*ret = target.image;
	return r;
}

/* A filter would tell value by value what a property holds. */
static void filter_what_may_be_read(const struct who *who, struct image_query *query)
{
	for (size_t i = 0; i < query->n_filters; i++) {
		struct image_filter *f = &query->filters[i];

		if (f->field == FIELD_PROPERTY && !property_allowed(who->rights, f->property, PROPERTY_READ)) {
			f->op = OP_IN;
			f->n_texts = 0; /* in nothing */
		}
	}
}

/* -- list ----------------------------------------------------------------------------------------- */

/* What the database gives out reaches the caller, so for the default rule his roles decide. */
static bool sees_all_that_reaches(struct service *svc, const struct who *who)
{
	if (!policy_is_default(svc->policy, POLICY_GET_IMAGE))
		return false;
	return who_has_role(who, "admin") || (who_has_role(who, "reader") && !who_is_admin(who));
}

/* Rows that get_image is asked about one by one. */
struct filter {
	struct service *svc;
	struct db_tx *tx;
	const struct who *who;
	service_image_fn *fn;
	void *cls;
	bool sees_all; /* nobody needs to be asked */
	unsigned n_rows;
	char last_id[UUID_LEN + 1];
};

static int may_see(const struct filter *f, const struct image *image, bool *ret, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	bool is_member;
	int r = service_find_membership(f->tx, f->who, image, &a, &is_member, err);

	*ret = r == 0 && policy_image_visible(f->svc->policy, f->who, image, is_member);
	return r;
}

static int filter_row(void *cls, const struct image *image, struct err *err)
{
	struct filter *f = cls;
	bool visible;
	int r;

	if (f->sees_all)
		return f->fn(f->cls, image->id, image, err);
	if (f->n_rows++ == MAX_FILTERED_ROWS)
		return f->fn(f->cls, f->last_id, NULL, err);
	memcpy(f->last_id, image->id, sizeof(f->last_id));
	r = may_see(f, image, &visible, err);
	return r < 0 || !visible ? r : f->fn(f->cls, image->id, image, err);
}

/* One walk, however many rows are passed over: the page is full when @fn says so. */
static int list_filtered(struct filter *f, const struct image_query *query, struct err *err)
{
	struct image_query walk = *query;

	if (query->limit > 0 && !f->sees_all)
		walk.limit = MAX_FILTERED_ROWS + 1;
	return db_image_list(f->tx, &walk, filter_row, f, err);
}

static int begin_list(struct service *svc, const struct who *who, struct image_query *query, bool brief,
		      struct db_tx **ret, struct err *err)
{
	const struct policy_target in_general = {0};
	int r = policy_check(svc->policy, POLICY_GET_IMAGES, who, &in_general, err);

	if (r < 0)
		return r;
	query->sees_everything = who_is_admin(who);
	query->project = who->project_id;
	filter_what_may_be_read(who, query);
	if (brief && !sees_all_that_reaches(svc, who))
		return ERR_TOO_LONG;
	return db_begin(svc->db, brief ? DB_READ_BRIEF : DB_READ, ret, err);
}

/* Rows as the texts that are made of them. */
struct rendering {
	db_render_fn *render;
	db_text_fn *fn;
	void *cls;
};

static int render_row(void *cls, const char *id, const struct image *image, struct err *err)
{
	const struct rendering *to = cls;
	AUTO(buf_done) struct buf text = {0};

	if (!image)
		return to->fn(to->cls, id, NULL, 0, err);
	to->render(&text, image);
	return text.failed ? err_nomem(err) : to->fn(to->cls, id, buf_cstr(&text), text.len, err);
}

int service_list(struct service *svc, const struct who *who, struct image_query *query, bool brief,
		 db_render_fn *render, db_text_fn *fn, void *cls, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct rendering to = {render, fn, cls};
	int r = begin_list(svc, who, query, brief, &tx, err);

	if (r < 0)
		return r;
	query->with_locations = stores_have_names(svc->stores); /* they name the store */
	if (!sees_all_that_reaches(svc, who)) {
		struct filter f = {.svc = svc, .tx = tx, .who = who, .fn = render_row, .cls = &to};

		return list_filtered(&f, query, err);
	}
	return db_image_list_texts(tx, query, render, fn, cls, err);
}

int service_list_images(struct service *svc, const struct who *who, struct image_query *query, bool brief,
			service_image_fn *fn, void *cls, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct filter f = {.svc = svc, .who = who, .fn = fn, .cls = cls};
	int r = begin_list(svc, who, query, brief, &tx, err);

	if (r < 0)
		return r;
	query->with_locations = true;
	f.tx = tx;
	f.sees_all = sees_all_that_reaches(svc, who);
	r = list_filtered(&f, query, err);
	return r > 0 ? 0 : r;
}

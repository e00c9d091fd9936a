/* SPDX-License-Identifier: Apache-2.0
 * service/read.c -- show and list. */
#include "base/err.h"
#include "service/internal.h"

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

int service_list(struct service *svc, const struct who *who, struct image_query *query, bool brief,
		 db_render_fn *render, db_text_fn *fn, void *cls, struct err *err)
{
	const struct policy_target in_general = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r;

	r = policy_check(svc->policy, POLICY_GET_IMAGES, who, &in_general, err);
	if (r < 0)
		return r;
	query->sees_everything = who_is_admin(who);
	query->project = who->project_id;
	filter_what_may_be_read(who, query);
	query->with_locations = stores_have_names(svc->stores); /* they name the store */
	r = db_begin(svc->db, brief ? DB_READ_BRIEF : DB_READ, &tx, err);
	if (r < 0)
		return r;
	return db_image_list_texts(tx, query, render, fn, cls, err);
}

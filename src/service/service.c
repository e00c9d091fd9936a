/* SPDX-License-Identifier: Apache-2.0
 * service/service.c -- opening and closing, and the steps that every use case is made of. */
#include "service/service.h"

#include <stdlib.h>
#include <string.h>

#include "access/protection.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "notify/notify.h"
#include "service/internal.h"
#include "service/quota.h"
#include "service/seal.h"
#include "service/workdir.h"

int service_new(struct db *db, struct stores *stores, struct notify *notify, const struct service_config *config,
		struct service **ret, struct err *err)
{
	struct service *svc = calloc(1, sizeof(*svc));
	int r;

	if (!svc)
		return err_nomem(err);
	svc->db = db;
	svc->stores = stores;
	svc->notify = notify;
	svc->config = *config;
	svc->policy = config->policy;
	pthread_mutex_init(&svc->lock, NULL);
	r = service_measure(svc, config->metrics, err);
	if (r == 0)
		r = quotas_new(svc, &svc->quotas, err);
	if (r == 0)
		r = remover_new(svc, &svc->remover, err);
	if (r < 0) {
		service_free(svc);
		return r;
	}
	*ret = svc;
	return 0;
}

void service_free(struct service *svc)
{
	if (!svc)
		return;
	executor_stop(svc->executor, 0); /* they call each other: both rest before either goes */
	janitor_stop(svc->janitor);
	executor_free(svc->executor);
	remover_free(svc->remover);
	quotas_free(svc->quotas);
	pthread_mutex_destroy(&svc->lock);
	free(svc);
}

void service_free_p(struct service **svc)
{
	service_free(*svc);
}

/* Nothing to do, unless this database has not been used by us, or Glance has made tables anew. */
static int keep_usage(struct service *svc, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	bool counted = false;
	int r = db_begin(svc->db, DB_WRITE, &tx, err);

	if (r == 0)
		r = db_usage_keep(tx, DB_USAGE_ENSURE, &counted, err);
	if (r == 0 && counted)
		r = db_commit(&tx, err);
	if (r < 0)
		return err_wrap(err, r, "counting what projects use");
	if (counted)
		log_info("glint.quota", NULL, "what projects use has been counted, and is kept from now on");
	return 0;
}

int service_start(struct service *svc, struct err *err)
{
	unsigned n;
	int r = keep_usage(svc, err);

	if (r < 0)
		return r;
	r = service_recover(svc, &n, err);
	if (r < 0)
		return err_wrap(err, r, "putting interrupted uploads right");
	workdir_sweep(svc->config.import.work_dir);
	r = executor_new(svc, &svc->executor, err); /* the two call each other */
	if (r == 0)
		r = janitor_start(svc, &svc->janitor, err);
	if (r == 0)
		executor_start(svc->executor);
	return r;
}

void service_stop(struct service *svc, int64_t wait_us)
{
	executor_stop(svc->executor, wait_us);
}

struct policy *service_policy(const struct service *svc)
{
	return svc->policy;
}

struct origin service_origin(const struct who *who)
{
	return (struct origin){who->request_id, who->user_id, who->project_id, who->rights};
}

int service_public_rights(struct service *svc, struct arena *a, const struct property_rights **ret, struct err *err)
{
	static const struct who nobody;

	return protections_rights(svc->config.protections, &nobody, a, ret, err);
}

static int not_found(const char *id, struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "No image has the id %s.", id);
}

/* Only a shared image of somebody else needs the look at its members. */
int service_find_membership(struct db_tx *tx, const struct who *who, const struct image *image, struct arena *a,
			    bool *ret, struct err *err)
{
	struct image_member member;
	int r;

	*ret = false;
	if (image->visibility != IMAGE_SHARED || !who->project_id || who_owns(who, image->owner))
		return 0;
	r = db_member_get(tx, image->id, who->project_id, a, &member, err);
	if (r == ERR_NOT_FOUND)
		return 0;
	*ret = r == 0;
	return r;
}

/* Whatever get_image says. */
static int load_what_reaches(struct service *svc, struct db_tx *tx, const struct who *who, const char *id,
			     struct arena *a, struct target *ret, struct err *err)
{
	int r;

	if (!uuid_is_canonical(id))
		return err_set(err, ERR_NOT_FOUND, "No image has this id.");
	r = db_image_get(tx, id, false, a, &ret->image, err);
	if (r == ERR_NOT_FOUND)
		return not_found(id, err);
	if (r < 0)
		return r;
	r = service_find_membership(tx, who, &ret->image, a, &ret->is_member, err);
	if (r < 0)
		return r;
	return policy_image_reaches(who, &ret->image, ret->is_member) ? 0 : not_found(id, err);
}

static int check_visible(struct service *svc, const struct who *who, const struct target *target, struct err *err)
{
	return policy_image_visible(svc->policy, who, &target->image, target->is_member) ?
		       0 :
		       not_found(target->image.id, err);
}

int service_load(struct service *svc, struct db_tx *tx, const struct who *who, const char *id, struct arena *a,
		 struct target *ret, struct err *err)
{
	int r = load_what_reaches(svc, tx, who, id, a, ret, err);

	return r < 0 ? r : check_visible(svc, who, ret, err);
}

/* Who may do that comes for other services, and need not be one who sees images; as in Glance. */
static bool is_for_services(enum policy_rule rule)
{
	return rule == POLICY_ADD_IMAGE_LOCATION || rule == POLICY_FETCH_IMAGE_LOCATION;
}

/* Who may neither see it nor do that does not learn that it is there. */
static int load_for(struct service *svc, struct db_tx *tx, const struct who *who, const char *id,
		    enum policy_rule rule, struct arena *a, struct target *ret, struct err *err)
{
	int r = load_what_reaches(svc, tx, who, id, a, ret, err);

	if (r < 0 || (is_for_services(rule) && service_allow(svc, rule, who, ret, NULL) == 0))
		return r;
	r = check_visible(svc, who, ret, err);
	return r < 0 ? r : service_allow(svc, rule, who, ret, err);
}

int service_look_for(struct service *svc, const struct who *who, const char *id, enum policy_rule rule, struct arena *a,
		     struct target *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(svc->db, DB_READ, &tx, err);

	return r < 0 ? r : load_for(svc, tx, who, id, rule, a, ret, err);
}

int service_look(struct service *svc, const struct who *who, const char *id, struct arena *a, struct target *ret,
		 struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(svc->db, DB_READ, &tx, err);

	return r < 0 ? r : service_load(svc, tx, who, id, a, ret, err);
}

int service_allow(struct service *svc, enum policy_rule rule, const struct who *who, const struct target *target,
		  struct err *err)
{
	struct policy_target about = {&target->image, target->is_member};

	return policy_check(svc->policy, rule, who, &about, err);
}

/* To which of its properties the caller has which rights takes matching. What has been asked once is known, so that is
 * done before all others have to wait for us. */
static void learn_rights(struct service *svc, const struct who *who, const char *id)
{
	AUTO(arena_done) struct arena a = {0};
	struct target t;

	if (!who->rights || service_look(svc, who, id, &a, &t, NULL) < 0)
		return;
	for (size_t i = 0; i < t.image.n_properties; i++)
		(void)property_allowed(who->rights, t.image.properties[i].name, PROPERTY_READ);
}

int service_begin(struct service *svc, const struct who *who, const char *id, enum policy_rule rule,
		  struct arena *a, struct db_tx **ret_tx, struct target *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r;

	learn_rights(svc, who, id);
	r = db_begin(svc->db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	r = load_for(svc, tx, who, id, rule, a, ret, err);
	if (r < 0)
		return r;
	*ret_tx = TAKE(tx);
	return 0;
}

int service_commit(struct service *svc, struct db_tx **tx, struct err *err)
{
	int r = db_commit(tx, err);

	if (r == 0)
		notify_wake(svc->notify);
	return r;
}

int service_remove_bytes(struct service *svc, const char *location, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct store *store;
	const char *url;
	int r = seal_open(svc->config.location_key, location, &a, &url, err);

	if (r < 0)
		return r;
	store = stores_owner(svc->stores, url);
	if (!store)
		return err_set(err, ERR_UNAVAILABLE, "its location is in no store of this node");
	return store_remove(store, url, err);
}

int service_save(struct service *svc, struct db_tx *tx, const struct who *who, const struct image *before,
		 struct image *after, struct err *err)
{
	struct origin origin = service_origin(who);
	int r;

	after->updated_at = clock_now_us();
	r = db_image_update(tx, before, after, err);
	if (r < 0)
		return r;
	return event_image(svc->notify, tx, EVENT_IMAGE_UPDATE, after, NULL, &origin, err);
}

/* SPDX-License-Identifier: Apache-2.0
 * service/tasks.c -- tasks as records: made, shown, listed. Running them is the executor's. */
#include <string.h>

#include "base/clock.h"
#include "service/run.h"

/* Glance asks the one rule; the others by name are "always" by default. */
static int check_tasks(struct service *svc, const struct who *who, enum policy_rule rule, struct err *err)
{
	int r = policy_check(svc->policy, POLICY_TASKS_API_ACCESS, who, NULL, err);

	return r < 0 ? r : policy_check(svc->policy, rule, who, NULL, err);
}

/* A task of type import makes an image as a POST would. What is no image the task itself fails by. */
static int check_draft(struct service *svc, const struct who *who, const char *type, const char *input, struct arena *a,
		       struct err *err)
{
	struct err why = {0};
	struct import_from from;
	struct image draft;
	int r;

	if (strcmp(type, TASK_TYPE_IMPORT) != 0)
		return 0;
	image_init(&draft);
	r = import_from_parse(input, a, &from, &why);
	if (r == 0) {
		r = image_from_json(from.properties, &svc->config.limits, a, &draft, &why);
		json_decref(from.properties);
	}
	if (r == 0)
		return service_check_draft(svc, who, &draft, err);
	return r == ERR_NO_MEMORY ? err_nomem(err) : 0;
}

int service_task_create(struct service *svc, const struct who *who, const char *type, const char *input,
			struct arena *a, struct task *ret, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = check_tasks(svc, who, POLICY_ADD_TASK, err);

	if (r == 0)
		r = check_draft(svc, who, type, input, a, err);
	if (r < 0)
		return r;
	r = db_begin(svc->db, DB_WRITE, &tx, err);
	if (r == 0)
		r = task_enqueue(svc, tx, who, type, input, NULL, ret, err);
	if (r == 0)
		r = service_commit(svc, &tx, err);
	if (r == 0)
		executor_wake(svc->executor);
	return r;
}

/* Is it hidden from @who, or has its time come? */
static bool is_hidden(const struct who *who, const struct task *t)
{
	if (t->expires_at && t->expires_at <= clock_now_us())
		return true;
	return !who_is_admin(who) && !who_owns(who, t->owner);
}

int service_task_show(struct service *svc, const struct who *who, const char *id, struct arena *a, struct task *ret,
		      struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = check_tasks(svc, who, POLICY_GET_TASK, err);

	if (r == 0 && uuid_is_canonical(id)) {
		r = db_begin(svc->db, DB_READ, &tx, err);
		if (r == 0)
			r = db_task_get(tx, id, a, ret, err);
	} else if (r == 0) {
		r = ERR_NOT_FOUND;
	}
	if (r == ERR_NOT_FOUND || (r == 0 && is_hidden(who, ret)))
		return err_set(err, ERR_NOT_FOUND, "No task has this id.");
	return r;
}

static int list(struct service *svc, const struct who *who, struct task_query *query, db_task_fn *fn, void *cls,
		struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(svc->db, DB_READ, &tx, err);

	query->sees_everything = who_is_admin(who);
	query->project = who->project_id;
	query->now = clock_now_us();
	return r < 0 ? r : db_task_list(tx, query, fn, cls, err);
}

int service_task_list(struct service *svc, const struct who *who, struct task_query *query, db_task_fn *fn, void *cls,
		      struct err *err)
{
	int r = check_tasks(svc, who, POLICY_GET_TASKS, err);

	return r < 0 ? r : list(svc, who, query, fn, cls, err);
}

/* Who may see the image sees what was done to it, but of the tasks of others nothing. */
int service_image_tasks(struct service *svc, const struct who *who, const char *image_id, db_task_fn *fn, void *cls,
			struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct task_query query = {.limit = -1, .image_id = image_id};
	struct target target;
	int r = service_look(svc, who, image_id, &a, &target, err);

	if (r == 0)
		r = service_allow(svc, POLICY_GET_IMAGE, who, &target, err);
	return r < 0 ? r : list(svc, who, &query, fn, cls, err);
}

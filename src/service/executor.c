/* SPDX-License-Identifier: Apache-2.0
 * service/executor.c -- runs tasks, a bounded number at a time.
 *
 * (1) The queue is in the database: a row (db_job) from the transaction that makes a task to the one
 *     that ends it. What runs here is a row with our node in it.
 * (2) A task is picked up by one transaction, which is also the first to tell of it (task.run,
 *     task.processing), and ends by one, together with what it did to its image.
 * (3) Bytes without a location exist only while the row does. Whatever way a task comes to its end, its
 *     leftovers go first and the row last; if that cannot be done, it is tried until it can.
 * (4) After a crash, and after a stop that did not wait for them, tasks are picked up again, up to
 *     MAX_RUNS times; then they fail and say so.
 * (5) A task begins once the quota of its image's owner is known. While Keystone does not say, it goes to the
 *     end of the queue and those of other projects go on.
 *
 * Threads come when there is work and go when there is none. A thread goes on with the next task until
 * it finds the queue empty, and looks once more if somebody called meanwhile. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "service/quota.h"
#include "service/run.h"

#define MAX_RUNS 5
#define PAUSE_FIRST_US (INT64_C(250) * 1000) /* most trouble is short; each further pause is twice as long */
#define PAUSE_MAX_US (INT64_C(8) * 1000000)
#define MAX_ROUND 64 /* tasks in a row whose quota nobody knows, before a pause */
#define NOTE_EVERY_US (INT64_C(5) * 1000000)

struct executor {
	struct service *svc;
	struct pool *pool;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* n_threads, stopping */
	unsigned n_threads;     /* that work or look for work */
	uint64_t n_calls;
	bool stopping;
	struct run *runs;
	int64_t n_left_waiting; /* at start */
	char failing[UUID_LEN + 1]; /* the task that could not be begun last, and how often in a row */
	unsigned n_failing;
};

static const struct task_kind *const kinds[] = {&task_kind_import, &task_kind_api_image_import,
						&task_kind_location_import};

static const struct task_kind *find_kind(const char *type)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kinds[i]->type, type) == 0)
			return kinds[i];
	return NULL;
}

/* -- what the kinds use --------------------------------------------------------------------------- */

void run_refuse(struct run *run, int code, const char *fmt, ...)
{
	char text[sizeof(run->refusal.text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	err_set(&run->refusal, code, "%s", text);
}

/* One that waits in the staging area is on its way already. */
int run_check_quota(struct run *run, struct db_tx *tx, const struct image *image, struct err *err)
{
	const char *owner = image->owner ?: "";
	struct err why = {0};
	int r;

	if (!quota_applies(run->svc))
		return 0;
	if (strcmp(owner, run->quota_owner ?: "") != 0) {
		run_refuse(run, ERR_CONFLICT, "Image %s has just been given to another project.", image->id);
		return 0;
	}
	r = quota_check_uploading(&run->quota, tx, owner, image->status != IMAGE_UPLOADING, &why);
	if (r == ERR_TOO_LARGE)
		run_refuse(run, r, "%s", why.text);
	else if (r < 0 && err)
		*err = why;
	return r == ERR_TOO_LARGE ? 0 : r;
}

static int note(struct run *run, const char *text, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(run->svc->db, DB_WRITE, &tx, err);

	if (r == 0)
		r = db_task_note(tx, run->task.id, text, clock_now_us(), err);
	return r < 0 ? r : db_commit(&tx, err);
}

void run_progress(void *cls, int64_t n_octets)
{
	struct run *run = cls;
	int64_t now = clock_mono_us();
	char text[64];

	if (now - run->noted_at < NOTE_EVERY_US)
		return;
	run->noted_at = now;
	snprintf(text, sizeof(text), "Copied %lld MiB", (long long)(n_octets >> 20));
	(void)note(run, text, NULL); /* the next one may come through */
}

/* What the input says of credentials was needed to run, and is not any more. */
static int end_task(struct run *run, struct db_tx *tx, enum task_status status, struct err *err)
{
	struct task *t = &run->task;
	int r;

	t->input = t->input ? task_redact_json(&run->arena, t->input) : NULL;
	t->status = status;
	t->updated_at = clock_now_us();
	t->expires_at = t->updated_at + run->svc->config.import.task_ttl_us;
	r = db_task_update(tx, TASK_PROCESSING, t, err);
	if (r < 0)
		return r;
	r = event_task(run->svc->notify, tx, status == TASK_SUCCESS ? EVENT_TASK_SUCCESS : EVENT_TASK_FAILURE, t,
		       &run->origin, err);
	return r < 0 ? r : db_job_delete(tx, t->id, err);
}

int run_succeed(struct run *run, struct db_tx *tx, const char *image_id, const char *message, struct err *err)
{
	run->task.result = arena_printf(&run->arena, "{\"image_id\": \"%s\"}", image_id);
	if (!run->task.result)
		return err_nomem(err);
	run->task.message = message;
	return end_task(run, tx, TASK_SUCCESS, err);
}

/* -- picking up ----------------------------------------------------------------------------------- */

/* Whose the image will be that @task is to make; NULL: its maker's. */
static const char *draft_owner(const struct task *task, struct arena *a)
{
	const char *owner = NULL;
	struct import_from from;

	if (strcmp(task->type, TASK_TYPE_IMPORT) != 0 || import_from_parse(task->input, a, &from, NULL) < 0)
		return NULL;
	owner = arena_strdup(a, json_string_value(json_object_get(from.properties, "owner")));
	import_from_done(&from);
	return owner;
}

/* Whose image it is about. A task that is gone, or has none, is nobody's or its maker's. */
static int find_owner(struct run *run, struct db_tx *tx, struct arena *a, struct err *err)
{
	const char *owner = NULL;
	struct image image;
	struct task task;
	int r = db_task_get(tx, run->ahead, a, &task, err);

	if (r == 0) {
		owner = draft_owner(&task, a);
		if (!owner && *task.owner)
			owner = task.owner;
		r = task.image_id ? db_image_get(tx, task.image_id, false, a, &image, err) : ERR_NOT_FOUND;
	}
	if (r == 0)
		owner = image.owner;
	if (r < 0 && r != ERR_NOT_FOUND)
		return r;
	run->quota_owner = owner ? arena_strdup(&run->arena, owner) : NULL;
	return owner && !run->quota_owner ? err_nomem(err) : 0;
}

/* Which task waits longest; ERR_NOT_FOUND. */
static int look_ahead(struct run *run, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct db_job job;
	int r = db_begin(run->svc->db, DB_READ, &tx, err);

	if (r == 0)
		r = db_job_next(tx, &a, &job, err);
	if (r < 0)
		return r;
	memcpy(run->ahead, job.task_id, sizeof(run->ahead));
	return quota_applies(run->svc) ? find_owner(run, tx, &a, err) : 0;
}

/* What waits longest waits once more, behind all others. It may have been picked up meanwhile. */
static int defer(struct run *run, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct db_job job;
	int r = db_begin(run->svc->db, DB_WRITE, &tx, err);

	if (r == 0)
		r = db_job_get(tx, run->ahead, &run->arena, &job, err);
	if (r == ERR_NOT_FOUND || (r == 0 && job.node))
		return 0;
	if (r == 0)
		r = db_job_delete(tx, run->ahead, err);
	if (r == 0)
		r = db_job_insert(tx, run->ahead, err);
	if (r == 0)
		r = db_job_update(tx, &job, err);
	return r < 0 ? r : db_commit(&tx, err);
}

/* Those who may make a task may do what it does: that was asked when they did. */
static int act_for(struct run *run, struct err *err)
{
	const struct task *t = &run->task;
	int r = service_public_rights(run->svc, &run->arena, &run->who.rights, err);

	run->who.is_service_itself = true;
	run->who.roles = ROLE_ADMIN | ROLE_MEMBER | ROLE_READER;
	run->who.user_id = t->user_id;
	run->who.project_id = *t->owner ? t->owner : NULL;
	run->who.request_id = t->request_id;
	run->origin = service_origin(&run->who);
	return r;
}

static int announce(struct run *run, struct db_tx *tx, struct err *err)
{
	struct task *t = &run->task;
	int r = event_task(run->svc->notify, tx, EVENT_TASK_RUN, t, &run->origin, err);

	if (r < 0)
		return r;
	t->status = TASK_PROCESSING;
	t->updated_at = clock_now_us();
	return event_task(run->svc->notify, tx, EVENT_TASK_PROCESSING, t, &run->origin, err);
}

/* The kind may have given it an image: that is stored with the step to processing. */
static int begin_work(struct run *run, struct db_tx *tx, struct err *err)
{
	enum task_status before = run->task.status;
	int r = 0;

	run->is_first = before == TASK_PENDING;
	if (run->is_first)
		r = announce(run, tx, err);
	if (r < 0)
		return r;
	run->kind = find_kind(run->task.type);
	if (!run->kind)
		run_refuse(run, ERR_INVALID, "There are no tasks of the type %.30s.", run->task.type);
	else if (run->job.n_runs > MAX_RUNS)
		run_refuse(run, ERR_INTERNAL, "The task was interrupted %d times.", MAX_RUNS);
	r = run->kind && !run->is_hopeless ? run->kind->begin(run, tx, err) : 0;
	if (r < 0)
		run->begin_failed = true;
	return r < 0 ? r : db_task_update(tx, before, &run->task, err);
}

/* ERR_NOT_FOUND: nothing waits. A task that is gone takes its row with it: *ret_gone. *ret_other: it is not the
 * one we have looked at. */
static int load_next(struct run *run, struct db_tx *tx, bool *ret_gone, bool *ret_other, struct err *err)
{
	int r = db_job_next(tx, &run->arena, &run->job, err);

	if (r < 0)
		return r;
	*ret_other = strcmp(run->job.task_id, run->ahead) != 0;
	if (*ret_other)
		return 0;
	run->job.node = run->svc->config.node;
	run->job.n_runs++;
	r = db_task_get(tx, run->job.task_id, &run->arena, &run->task, err);
	*ret_gone = r == ERR_NOT_FOUND || (r == 0 && task_has_ended(&run->task));
	if (*ret_gone)
		return db_job_delete(tx, run->job.task_id, err);
	if (r == 0)
		r = act_for(run, err);
	return r < 0 ? r : db_job_update(tx, &run->job, err);
}

enum picked { NOTHING_WAITS, PICKED_UP, LOOK_AGAIN };

static int pick_up_ahead(struct run *run, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	bool gone = false, other = false;
	int r = db_begin(run->svc->db, DB_WRITE, &tx, err);

	if (r < 0)
		return r;
	r = load_next(run, tx, &gone, &other, err);
	if (r == ERR_NOT_FOUND)
		return NOTHING_WAITS;
	if (r == 0 && other)
		return LOOK_AGAIN;
	if (r == 0 && !gone)
		r = begin_work(run, tx, err);
	if (r == 0)
		r = service_commit(run->svc, &tx, err);
	return r < 0 ? r : gone ? LOOK_AGAIN : PICKED_UP;
}

/* An enum picked, or an error. *ret_deferred: it is that nobody could say what its owner may have. */
static int pick_up(struct run *run, bool *ret_deferred, struct err *err)
{
	struct err why = {0};
	int r = look_ahead(run, &why);

	if (r == ERR_NOT_FOUND)
		return NOTHING_WAITS;
	if (r == 0 && run->is_hopeless && strcmp(run->ahead, run->task.id) != 0)
		return LOOK_AGAIN; /* somebody else has had it: this one is none of ours */
	if (r == 0) {
		r = quota_of(run->svc, run->quota_owner, &run->quota, &why);
		*ret_deferred = r < 0 && defer(run, NULL) == 0;
	}
	if (r < 0) {
		*err = why;
		return r;
	}
	return pick_up_ahead(run, err);
}

/* How often in a row that task could not be begun. */
static unsigned count_failure(struct executor *e, const struct run *run)
{
	unsigned n;

	pthread_mutex_lock(&e->lock);
	if (strcmp(e->failing, run->task.id) != 0)
		e->n_failing = 0;
	memcpy(e->failing, run->task.id, sizeof(e->failing));
	n = ++e->n_failing;
	pthread_mutex_unlock(&e->lock);
	return n;
}

/* What begin() says of a task that it cannot begin, and would say again, is why the task cannot run: it must not
 * stand for ever in the way of all behind it. That the database takes no transactions is not its fault. */
static bool is_hopeless(struct executor *e, const struct run *run, int r)
{
	if (!run->begin_failed)
		return false;
	switch (r) {
	case ERR_NO_MEMORY:
	case ERR_UNAVAILABLE:
	case ERR_TIMEOUT:
	case ERR_TOO_LONG:
		return false;
	case ERR_INTERNAL:
		return count_failure(e, run) >= MAX_RUNS;
	default:
		return true;
	}
}

/* Once more, for the refusal that @err is. */
static int pick_up_hopeless(struct run *run, bool *ret_deferred, struct err *err)
{
	if (run->listed)
		uploads_remove(run->svc, &run->upload);
	run->listed = false;
	run->is_hopeless = true;
	run->refusal = *err;
	*err = (struct err){0};
	return pick_up(run, ret_deferred, err);
}

/* -- ending --------------------------------------------------------------------------------------- */

static bool is_stopping(struct executor *e)
{
	bool stopping;

	pthread_mutex_lock(&e->lock);
	stopping = e->stopping;
	pthread_mutex_unlock(&e->lock);
	return stopping;
}

static bool is_handed_back(struct executor *e, const struct run *run)
{
	return is_stopping(e) && atomic_load(&run->upload.stop) && !atomic_load(&run->upload.image_deleted);
}

static int hand_back(struct run *run, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(run->svc->db, DB_WRITE, &tx, err);

	if (r < 0)
		return r;
	run->job.node = NULL;
	run->job.n_runs--; /* nobody's fault */
	r = db_job_update(tx, &run->job, err);
	return r < 0 ? r : db_commit(&tx, err);
}

/* It could not be run at all: that is said apart. */
static int tell_refusal(struct run *run, struct db_tx *tx, struct err *err)
{
	const char *text;

	if (run->refusal.code == 0)
		return 0;
	text = arena_printf(&run->arena, "Task %s could not be run: %s", run->task.id, run->refusal.text);
	if (!text)
		return err_nomem(err);
	return event_task_text(run->svc->notify, tx, EVENT_TASK_RUN, EVENT_ERROR, run->task.id, text, &run->origin, err);
}

static int fail_task(struct run *run, const char *reason, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(run->svc->db, DB_WRITE, &tx, err);

	if (r < 0)
		return r;
	r = tell_refusal(run, tx, err);
	if (r == 0 && run->kind)
		r = run->kind->fail(run, tx, reason, err);
	if (r < 0)
		return r;
	run->task.message = reason;
	r = end_task(run, tx, TASK_FAILURE, err);
	return r < 0 ? r : service_commit(run->svc, &tx, err);
}

/* As for uploads: the bytes go only when the database takes transactions (see upload_discard()). */
static int clean(struct run *run, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r = db_begin(run->svc->db, DB_WRITE, &tx, err);

	if (r < 0)
		return r;
	db_abort(TAKE(tx));
	return run->kind ? run->kind->clean(run, err) : 0;
}

static int settle(struct executor *e, struct run *run, const char *reason, struct err *err)
{
	int r;

	run->gives_up = !is_handed_back(e, run);
	r = clean(run, err);
	if (r < 0)
		return r;
	return run->gives_up ? fail_task(run, reason, err) : hand_back(run, err);
}

/* The next time twice as long. False: the process ends. */
static bool pause_a_while(struct executor *e, int64_t *pause_us)
{
	int64_t until_us = clock_mono_us() + *pause_us;
	struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
	bool go_on;

	*pause_us = *pause_us * 2 < PAUSE_MAX_US ? *pause_us * 2 : PAUSE_MAX_US;
	pthread_mutex_lock(&e->lock);
	while (!e->stopping && pthread_cond_timedwait(&e->changed, &e->lock, &until) != ETIMEDOUT)
		;
	go_on = !e->stopping;
	pthread_mutex_unlock(&e->lock);
	return go_on;
}

/* The next start goes on with what cannot be settled before the process ends. */
static void settle_surely(struct executor *e, struct run *run, const struct err *why)
{
	struct log_ctx ctx = who_log(&run->who);
	struct err err = {0};
	int64_t pause_us = PAUSE_FIRST_US;
	bool told = false;

	while (settle(e, run, why->text, &err) < 0) {
		if (!told)
			log_error("glint.task", &ctx, "task %s: ending it: %s; trying again", run->task.id,
				  err_story(&err));
		told = true;
		if (!pause_a_while(e, &pause_us))
			return;
		err = (struct err){0};
	}
}

/* -- threads -------------------------------------------------------------------------------------- */

static void enlist(struct executor *e, struct run *run)
{
	pthread_mutex_lock(&e->lock);
	run->next = e->runs;
	e->runs = run;
	if (e->stopping)
		atomic_store(&run->upload.stop, true);
	pthread_mutex_unlock(&e->lock);
}

static void delist(struct executor *e, struct run *run)
{
	pthread_mutex_lock(&e->lock);
	for (struct run **p = &e->runs; *p; p = &(*p)->next) {
		if (*p == run) {
			*p = run->next;
			break;
		}
	}
	pthread_mutex_unlock(&e->lock);
}

static void work(struct executor *e, struct run *run)
{
	struct log_ctx ctx = who_log(&run->who);
	struct err err = run->refusal;
	int r = err.code;

	enlist(e, run);
	if (r == 0 && !run->is_first)
		r = run->kind->clean(run, &err);
	if (r == 0)
		r = run->kind->work(run, &err);
	if (r < 0) {
		log_warning("glint.task", &ctx, "task %s (%s): %s", run->task.id, run->task.type, err_story(&err));
		settle_surely(e, run, &err);
	}
	delist(e, run);
}

/* As pick_up(); PICKED_UP: and it has been run. *ret_deferred: which one, or "". */
static int run_next(struct executor *e, char ret_deferred[UUID_LEN + 1], struct err *err)
{
	struct run *run = calloc(1, sizeof(*run));
	bool deferred = false;
	int r;

	ret_deferred[0] = '\0';
	if (!run)
		return err_nomem(err);
	run->svc = e->svc;
	r = pick_up(run, &deferred, err);
	if (r < 0 && is_hopeless(e, run, r))
		r = pick_up_hopeless(run, &deferred, err);
	if (r == PICKED_UP)
		work(e, run);
	if (deferred)
		memcpy(ret_deferred, run->ahead, sizeof(run->ahead));
	hold_end(run->hold, false);
	if (run->listed)
		uploads_remove(e->svc, &run->upload);
	arena_done(&run->arena);
	free(run);
	return r;
}

/* Tasks that were sent to the end of the queue, one after the other. */
struct round {
	char first[UUID_LEN + 1];
	unsigned n;
};

/* Is it time to rest? Not before all others have had their turn. */
static bool round_is_over(struct round *round, const char *deferred)
{
	bool over = round->n >= MAX_ROUND || strcmp(round->first, deferred) == 0;

	if (!over && *deferred && round->n++ == 0)
		memcpy(round->first, deferred, sizeof(round->first));
	if (over || !*deferred)
		*round = (struct round){0};
	return over || !*deferred;
}

/* Until nothing waits, or the process ends. */
static void run_all(struct executor *e)
{
	int64_t pause_us = PAUSE_FIRST_US;
	bool told = false, go_on = true;
	struct round round = {0};

	while (go_on) {
		char deferred[UUID_LEN + 1];
		struct err err = {0};
		int r = run_next(e, deferred, &err);

		if (r < 0) {
			if (!told)
				log_warning("glint.task", NULL, "picking up a task: %s; trying again", err_story(&err));
			told = true;
			go_on = round_is_over(&round, deferred) ? pause_a_while(e, &pause_us) : !is_stopping(e);
			continue;
		}
		told = false;
		pause_us = PAUSE_FIRST_US;
		go_on = r > 0 && !is_stopping(e);
	}
}

/* True: nothing happened since @n_calls, and the thread goes. */
static bool leave(struct executor *e, uint64_t n_calls)
{
	bool leaves;

	pthread_mutex_lock(&e->lock);
	leaves = e->stopping || e->n_calls == n_calls;
	if (leaves) {
		e->n_threads--;
		pthread_cond_broadcast(&e->changed);
	}
	pthread_mutex_unlock(&e->lock);
	return leaves;
}

static uint64_t calls(struct executor *e)
{
	uint64_t n;

	pthread_mutex_lock(&e->lock);
	n = e->n_calls;
	pthread_mutex_unlock(&e->lock);
	return n;
}

static void thread_main(void *arg)
{
	struct executor *e = arg;
	uint64_t n;

	do {
		n = calls(e);
		if (!is_stopping(e))
			run_all(e);
	} while (!leave(e, n));
}

void executor_wake(struct executor *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->n_calls++;
	if (!e->stopping && e->n_threads < e->svc->config.import.max_workers && pool_submit(e->pool, thread_main, e) == 0)
		e->n_threads++;
	pthread_mutex_unlock(&e->lock);
}

/* What was being run when the process before us ended is waiting again, whatever it called its node. */
static int release(struct service *svc, int64_t *ret_waiting, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int64_t n, running;
	int r = db_begin(svc->db, DB_WRITE, &tx, err);

	if (r == 0)
		r = db_job_release(tx, NULL, &n, err);
	if (r == 0)
		r = db_job_count(tx, ret_waiting, &running, err);
	if (r < 0)
		return r;
	if (n > 0)
		log_warning("glint.task", NULL, "%lld interrupted task%s picked up again", (long long)n,
			    n == 1 ? "" : "s");
	return db_commit(&tx, err);
}

static void init_threads(struct executor *e)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->changed, &attr);
	pthread_condattr_destroy(&attr);
}

int executor_new(struct service *svc, struct executor **ret, struct err *err)
{
	struct executor *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return err_nomem(err);
	e->svc = svc;
	init_threads(e);
	r = pool_new("glint-task", svc->config.import.max_workers, &e->pool, err);
	if (r == 0)
		r = release(svc, &e->n_left_waiting, err);
	if (r < 0) {
		executor_free(e);
		return r;
	}
	*ret = e;
	return 0;
}

void executor_start(struct executor *e)
{
	for (int64_t i = 0; i < e->n_left_waiting && i < e->svc->config.import.max_workers; i++)
		executor_wake(e);
}

/* Until no thread is left, or @deadline (monotonic); 0: for ever. */
static void wait_idle(struct executor *e, int64_t deadline)
{
	struct timespec until = {deadline / 1000000, deadline % 1000000 * 1000};

	while (e->n_threads > 0) {
		if (deadline == 0)
			pthread_cond_wait(&e->changed, &e->lock);
		else if (pthread_cond_timedwait(&e->changed, &e->lock, &until) == ETIMEDOUT)
			return;
	}
}

void executor_stop(struct executor *e, int64_t wait_us)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	pthread_cond_broadcast(&e->changed);
	wait_idle(e, clock_mono_us() + wait_us);
	for (struct run *run = e->runs; run; run = run->next)
		atomic_store(&run->upload.stop, true);
	wait_idle(e, 0);
	pthread_mutex_unlock(&e->lock);
}

void executor_free(struct executor *e)
{
	if (!e)
		return;
	executor_stop(e, 0);
	pool_free(e->pool);
	pthread_cond_destroy(&e->changed);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

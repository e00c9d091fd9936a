/* SPDX-License-Identifier: Apache-2.0
 * service/import_test.c -- staging, imports and tasks over a real database and real stores, watched
 * through the journal. What comes from the net is tested end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "notify/event.h"
#include "notify/notify.h"
#include "service/progress.h"
#include "service/testing.h"

#define ID "c0ffee00-0000-4000-8000-000000000001"
#define CAP_BYTES 1000000
#define PATIENCE_US (INT64_C(20) * 1000000)

static const char *const formats[] = {"raw", "qcow2", "bare", NULL};
static const char *const member_roles[] = {"member", "reader", NULL};
static const char *const admin_roles[] = {"admin", "member", "reader", NULL};
static const struct who owner = {
	.roles = ROLE_MEMBER | ROLE_READER, .role_names = member_roles, .user_id = "u1", .project_id = "p1"};
static const struct who guest = {
	.roles = ROLE_MEMBER | ROLE_READER, .role_names = member_roles, .user_id = "u2", .project_id = "p2"};
static const struct who admin = {
	.roles = ROLE_ADMIN | ROLE_MEMBER | ROLE_READER, .role_names = admin_roles, .project_id = "ops"};

struct world {
	char dir[64];
	struct db *db;
	struct stores *stores;
	struct notify *notify;
	struct service *service;
	struct service_config config;
	struct fetch_rules rules;
	struct arena arena;
	int64_t seen; /* offset of the last event that journal() has returned */
	char task[UUID_LEN + 1];
};

static void open_service(struct world *w, bool start)
{
	struct err err = {0};

	if (service_new(w->db, w->stores, w->notify, &w->config, &w->service, &err) < 0 ||
	    (start && service_start(w->service, &err) < 0))
		fail_msg("%s", err_story(&err));
}

static void open_stores(struct world *w)
{
	struct store_config stores[] = {{.id = "one", .type = "file"}, {.id = "two", .type = "file", .weight = 5}};
	struct store_config staging = {.id = STORES_STAGING_ID, .type = "file"};
	struct err err = {0};

	stores[0].directory = arena_printf(&w->arena, "%s/one", w->dir);
	stores[1].directory = arena_printf(&w->arena, "%s/two", w->dir);
	staging.directory = arena_printf(&w->arena, "%s/staging", w->dir);
	if (stores_open(stores, 2, "one", &staging, &w->stores, &err) < 0)
		fail_msg("%s", err_story(&err));
}

static int set_up(void **state)
{
	static const char *const drivers[] = {"log"};
	struct world *w = calloc(1, sizeof(*w));
	struct notify_config notify = {.drivers = drivers, .n_drivers = 1, .publisher_id = "test"};
	char url[128];
	struct err err = {0};

	assert_non_null(w);
	strcpy(w->dir, "/tmp/glint-import-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(url, sizeof(url), "sqlite:///%s/db", w->dir);
	if (db_open(url, &w->db, &err) < 0 || notify_new(w->db, &notify, &w->notify, &err) < 0)
		fail_msg("%s", err_story(&err));
	open_stores(w);
	w->config = (struct service_config){
		.limits = {formats, formats, 10, 10, 2},
		.max_image_bytes = CAP_BYTES,
		.hash_algorithm = "sha512",
		.node = "here",
		.import = {.fetch.rules = &w->rules,
			   .work_dir = arena_printf(&w->arena, "%s/work", w->dir),
			   .max_workers = 2,
			   .task_ttl_us = INT64_C(3600) * 1000000},
	};
	open_service(w, true);
	*state = w;
	return 0;
}

static void close_service(struct world *w)
{
	service_free(TAKE(w->service));
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[128];

	close_service(w);
	notify_free(w->notify);
	stores_close(w->stores);
	db_close(w->db);
	arena_done(&w->arena);
	snprintf(command, sizeof(command), "rm -rf %s", w->dir);
	assert_int_equal(system(command), 0);
	free(w);
	return 0;
}

/* -- looking -------------------------------------------------------------------------------------- */

struct reader {
	struct world *world;
	struct buf text;
};

static int add_event(void *cls, const struct db_event *e, struct err *err)
{
	struct reader *r = cls;
	const char *status = strstr(e->payload, "\"status\": \"");

	buf_addf(&r->text, "%s%s", r->text.len ? " " : "", e->event_type);
	if (e->priority != EVENT_INFO)
		buf_adds(&r->text, e->priority == EVENT_ERROR ? "!" : "?");
	else if (status)
		buf_addf(&r->text, ":%.*s", (int)strcspn(status + 11, "\""), status + 11);
	r->world->seen = e->offset;
	return 0;
}

static const char *journal(struct world *w)
{
	struct reader r = {.world = w};
	struct db_tx *tx;
	struct err err = {0};
	const char *text;

	assert_int_equal(db_begin(w->db, DB_READ, &tx, &err), 0);
	assert_int_equal(db_event_read(tx, w->seen, 1000, add_event, &r, &err), 0);
	db_abort(tx);
	text = arena_strdup(&w->arena, buf_cstr(&r.text));
	buf_done(&r.text);
	return text;
}

static bool is_in(struct world *w, const char *directory)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/" ID, w->dir, directory);
	return access(path, F_OK) == 0;
}

static struct image look(struct world *w)
{
	struct image image;
	struct err err = {0};

	if (service_show(w->service, &admin, ID, &w->arena, &image, &err) < 0)
		fail_msg("%s", err_story(&err));
	return image;
}

static const char *property(struct world *w, const char *name)
{
	struct image image = look(w);
	const struct image_property *p = image_find_property(&image, name);

	return p ? p->value : NULL;
}

static struct task task_of(struct world *w)
{
	struct task t;
	struct err err = {0};

	if (service_task_show(w->service, &admin, w->task, &w->arena, &t, &err) < 0)
		fail_msg("%s", err_story(&err));
	return t;
}

/* Polls, because the end of a task is told by the database alone. */
static struct task wait_for_end(struct world *w)
{
	int64_t deadline = clock_mono_us() + PATIENCE_US;
	struct task t;

	for (;;) {
		t = task_of(w);
		if (task_has_ended(&t))
			return t;
		if (clock_mono_us() > deadline)
			fail_msg("task %s is still %s", w->task, task_status_name(t.status));
		usleep(2000);
	}
}

/* Gone from @directory, as the janitor is not asked twice. */
static void wait_until_gone(struct world *w, const char *directory)
{
	int64_t deadline = clock_mono_us() + PATIENCE_US;

	while (is_in(w, directory)) {
		if (clock_mono_us() > deadline)
			fail_msg("the data is still in %s", directory);
		usleep(2000);
	}
}

/* -- doing ---------------------------------------------------------------------------------------- */

static void create(struct world *w)
{
	struct image image;
	struct err err = {0};

	image_init(&image);
	strcpy(image.id, ID);
	image.disk_format = "raw";
	image.container_format = "bare";
	image.visibility = IMAGE_PRIVATE;
	if (create_and_wait(w->service, &owner, &image, &err) < 0)
		fail_msg("%s", err_story(&err));
	assert_string_equal(journal(w), "image.create:queued");
}

static ssize_t give(void *cls, void *data, size_t n, struct err *err)
{
	int64_t *left = cls;

	n = *left < (int64_t)n ? (size_t)*left : n;
	memset(data, 'x', n);
	*left -= (int64_t)n;
	return (ssize_t)n;
}

static int stage(struct world *w, int64_t size)
{
	int64_t left = size;
	struct upload_source source = {.read = give, .cls = &left, .size = -1, .size_hint = -1};
	struct err err = {0};

	return service_stage(w->service, &owner, ID, &source, &err);
}

/* @request in JSON, as a client sends it. */
static int ask(struct world *w, const struct who *who, const char *request)
{
	static const char *const methods[] = {"glance-direct", "web-download", "copy-image", NULL};
	json_t *body = json_loads(request, 0, NULL);
	struct import_request parsed;
	struct err err = {0};
	int r;

	assert_non_null(body);
	if (import_request_parse(body, methods, NULL, &w->arena, &parsed, &err) < 0)
		fail_msg("%s", err.text);
	r = service_import(w->service, who, ID, &parsed, body, w->task, &err);
	json_decref(body);
	return r;
}

#define DIRECT "{\"method\": {\"name\": \"glance-direct\"}}"
#define DIRECT_TO(stores, must) \
	"{\"method\": {\"name\": \"glance-direct\"}, \"stores\": " stores ", \"all_stores_must_succeed\": " must "}"

/* Something in @store is in the way of the image. */
static void obstruct(struct world *w, const char *store)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/" ID, w->dir, store);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs("in the way", f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* -- tests ---------------------------------------------------------------------------------------- */

static void test_staged_and_imported(void **state)
{
	struct world *w = *state;
	struct image image;
	struct task t;

	create(w);
	assert_int_equal(stage(w, 3 << 19), ERR_TOO_LARGE);
	assert_string_equal(journal(w), "image.update:uploading image.upload! image.update:queued");
	assert_false(is_in(w, "staging"));
	assert_int_equal(stage(w, 5000), 0);
	assert_string_equal(journal(w), "image.update:uploading image.update:uploading");
	assert_true(is_in(w, "staging"));
	assert_int_equal(look(w).size, 5000);
	assert_int_equal(stage(w, 5000), ERR_CONFLICT);

	assert_int_equal(ask(w, &owner, DIRECT), 0);
	t = wait_for_end(w);
	assert_int_equal(t.status, TASK_SUCCESS);
	assert_string_equal(t.result, "{\"image_id\": \"" ID "\"}");
	assert_true(t.expires_at > t.updated_at);
	assert_string_equal(journal(w), "task.create:pending task.run:pending task.processing:processing "
					"image.update:importing image.prepare:importing image.upload:active "
					"image.activate:active image.update:active image.update:active "
					"task.success:success");
	image = look(w);
	assert_int_equal(image.status, IMAGE_ACTIVE);
	assert_int_equal(image.virtual_size, 5000);
	assert_int_equal(strlen(image.os_hash_value), 128);
	assert_int_equal(image.n_locations, 1);
	assert_null(property(w, LOCK_PROPERTY));
	assert_string_equal(property(w, IMPORTING_PROPERTY), "");
	assert_string_equal(property(w, FAILED_PROPERTY), "");
	assert_true(is_in(w, "one"));
	assert_false(is_in(w, "two"));
	wait_until_gone(w, "staging");
}

static void test_into_two_stores_and_out_of_one(void **state)
{
	struct world *w = *state;
	struct err err = {0};

	create(w);
	assert_int_equal(stage(w, 5000), 0);
	journal(w);
	assert_int_equal(ask(w, &owner, DIRECT_TO("[\"two\", \"one\"]", "true")), 0);
	assert_int_equal(wait_for_end(w).status, TASK_SUCCESS);
	assert_string_equal(journal(w), "task.create:pending task.run:pending task.processing:processing "
					"image.update:importing image.prepare:importing image.prepare:importing "
					"image.upload:importing image.update:importing "
					"image.upload:active image.activate:active image.update:active "
					"image.update:active task.success:success");
	assert_true(is_in(w, "one") && is_in(w, "two"));
	assert_int_equal(look(w).n_locations, 2);

	assert_int_equal(service_delete_from_store(w->service, &owner, ID, "two", &err), ERR_FORBIDDEN);
	assert_int_equal(service_delete_from_store(w->service, &admin, ID, "none", &err), ERR_CONFLICT);
	assert_int_equal(service_delete_from_store(w->service, &admin, ID, "two", &err), 0);
	assert_string_equal(journal(w), "image.update:active");
	wait_until_gone(w, "two");
	assert_int_equal(service_delete_from_store(w->service, &admin, ID, "one", &err), ERR_FORBIDDEN);
	assert_true(is_in(w, "one"));
	assert_string_equal(journal(w), "");
}

static void test_one_store_is_enough_if_so_asked(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(stage(w, 5000), 0);
	journal(w);
	obstruct(w, "one");
	assert_int_equal(ask(w, &owner, DIRECT_TO("[\"one\", \"two\"]", "false")), 0);
	assert_int_equal(wait_for_end(w).status, TASK_SUCCESS);
	assert_string_equal(journal(w), "task.create:pending task.run:pending task.processing:processing "
					"image.update:importing image.prepare:importing image.prepare:importing "
					"image.upload! image.update:importing "
					"image.upload:active image.activate:active image.update:active "
					"image.update:active task.success:success");
	assert_string_equal(property(w, FAILED_PROPERTY), "one");
	assert_string_equal(property(w, IMPORTING_PROPERTY), "");
	assert_int_equal(look(w).n_locations, 1);
}

static void test_all_stores_have_to_succeed(void **state)
{
	struct world *w = *state;
	struct task t;

	create(w);
	assert_int_equal(stage(w, 5000), 0);
	journal(w);
	obstruct(w, "two");
	assert_int_equal(ask(w, &owner, DIRECT_TO("[\"one\", \"two\"]", "true")), 0);
	t = wait_for_end(w);
	assert_int_equal(t.status, TASK_FAILURE);
	assert_non_null(strstr(t.message, "already holds data"));
	assert_string_equal(journal(w), "task.create:pending task.run:pending task.processing:processing "
					"image.update:importing image.prepare:importing image.prepare:importing "
					"image.upload! image.update:queued task.failure:failure");
	assert_string_equal(property(w, FAILED_PROPERTY), "two");
	assert_null(property(w, LOCK_PROPERTY));
	assert_false(is_in(w, "one"));
	assert_false(is_in(w, "staging"));
	assert_int_equal(look(w).size, IMAGE_SIZE_UNKNOWN);

	assert_int_equal(stage(w, 100), 0); /* and once more, from the beginning */
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	assert_int_equal(wait_for_end(w).status, TASK_SUCCESS);
}

static void test_copied(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(ask(w, &admin, "{\"method\": {\"name\": \"copy-image\"}, \"stores\": [\"two\"]}"), ERR_CONFLICT);
	assert_int_equal(stage(w, 5000), 0);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	assert_int_equal(wait_for_end(w).status, TASK_SUCCESS);
	journal(w);
	assert_int_equal(ask(w, &owner, "{\"method\": {\"name\": \"copy-image\"}, \"stores\": [\"two\"]}"), ERR_FORBIDDEN);
	assert_int_equal(ask(w, &admin, "{\"method\": {\"name\": \"copy-image\"}, \"stores\": [\"one\"]}"), ERR_INVALID);
	assert_int_equal(ask(w, &admin, "{\"method\": {\"name\": \"copy-image\"}, \"all_stores\": true}"), 0);
	assert_int_equal(wait_for_end(w).status, TASK_SUCCESS);
	assert_string_equal(journal(w), "task.create:pending task.run:pending task.processing:processing "
					"image.update:active image.prepare:active image.upload:active "
					"image.update:active image.update:active task.success:success");
	assert_true(is_in(w, "one") && is_in(w, "two"));
	assert_int_equal(ask(w, &admin, "{\"method\": {\"name\": \"copy-image\"}, \"all_stores\": true}"), 0);
	assert_string_equal(w->task, ""); /* nothing to do */
	assert_string_equal(journal(w), "");
}

static void spoil(struct world *w, const char *store)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/" ID, w->dir, store);
	f = fopen(path, "r+");
	assert_non_null(f);
	assert_true(fputs("y", f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void test_a_copy_of_something_else_is_none(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(stage(w, 5000), 0);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	assert_int_equal(wait_for_end(w).status, TASK_SUCCESS);
	journal(w);
	spoil(w, "one");
	assert_int_equal(ask(w, &admin, "{\"method\": {\"name\": \"copy-image\"}, \"stores\": [\"two\"]}"), 0);
	assert_int_equal(wait_for_end(w).status, TASK_FAILURE);
	assert_int_equal(look(w).status, IMAGE_ACTIVE);
	assert_int_equal(look(w).n_locations, 1);
	assert_true(is_in(w, "one")); /* still the image's */
	assert_false(is_in(w, "two"));
	assert_string_equal(property(w, FAILED_PROPERTY), "two");
}

static void test_refused(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(ask(w, &owner, DIRECT), ERR_CONFLICT);
	assert_int_equal(stage(w, 10), 0);
	journal(w);
	assert_int_equal(ask(w, &guest, DIRECT), ERR_NOT_FOUND);
	assert_int_equal(ask(w, &owner, DIRECT_TO("[\"none\"]", "true")), ERR_CONFLICT);
	assert_int_equal(ask(w, &owner, DIRECT_TO("[\"" STORES_STAGING_ID "\"]", "true")), ERR_CONFLICT);
	assert_int_equal(ask(w, &owner, "{\"method\": {\"name\": \"web-download\", \"uri\": \"http://a/\"}}"),
			 ERR_CONFLICT);
	assert_int_equal(ask(w, &owner, "{\"method\": {\"name\": \"web-download\", \"uri\": \"http://127.0.0.1/\"}}"),
			 ERR_INVALID);
	assert_string_equal(journal(w), "");
	assert_null(property(w, LOCK_PROPERTY));
}

/* Nobody runs tasks: what is asked for waits, and the next start does it. */
static void test_what_waits_is_run_by_the_next_start(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(stage(w, 10), 0);
	journal(w);
	close_service(w);
	open_service(w, false);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	assert_int_equal(ask(w, &owner, DIRECT), ERR_CONFLICT);
	assert_string_equal(journal(w), "task.create:pending");
	assert_int_equal(task_of(w).status, TASK_PENDING);
	close_service(w);
	open_service(w, true);
	assert_int_equal(wait_for_end(w).status, TASK_SUCCESS);
}

static void test_deleted_while_it_waits(void **state)
{
	struct world *w = *state;
	struct err err = {0};

	create(w);
	assert_int_equal(stage(w, 10), 0);
	journal(w);
	close_service(w);
	open_service(w, false);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	assert_int_equal(service_delete(w->service, &owner, ID, &err), 0);
	close_service(w);
	open_service(w, true);
	assert_int_equal(wait_for_end(w).status, TASK_FAILURE);
	assert_string_equal(journal(w), "task.create:pending image.delete:deleted task.run:pending "
					"task.processing:processing task.run! task.failure:failure");
	wait_until_gone(w, "staging");
}

/* As a crash leaves it: picked up by us under an earlier name, importing, bytes in the store, and nobody works on it. */
static void crash_in_the_middle(struct world *w, int64_t n_runs)
{
	struct image before = look(w), after;
	struct db_job job = {.node = "there", .n_runs = n_runs, .is_prepared = true};
	struct task t = task_of(w);
	struct db_tx *tx;
	struct err err = {0};

	assert_int_equal(progress_copy(&before, &after, &w->arena, &err), 0);
	after.status = IMAGE_IMPORTING;
	t.status = TASK_PROCESSING;
	memcpy(job.task_id, w->task, sizeof(job.task_id));
	assert_int_equal(db_begin(w->db, DB_WRITE, &tx, &err), 0);
	assert_int_equal(db_image_update(tx, &before, &after, &err), 0);
	assert_int_equal(db_task_update(tx, TASK_PENDING, &t, &err), 0);
	assert_int_equal(db_job_update(tx, &job, &err), 0);
	assert_int_equal(db_commit(&tx, &err), 0);
	obstruct(w, "one");
}

static void test_goes_on_after_a_crash(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(stage(w, 5000), 0);
	close_service(w);
	open_service(w, false);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	crash_in_the_middle(w, 1);
	journal(w);
	close_service(w);
	open_service(w, true);
	assert_int_equal(wait_for_end(w).status, TASK_SUCCESS);
	assert_string_equal(journal(w), "image.upload:active image.activate:active image.update:active "
					"image.update:active task.success:success");
	assert_int_equal(look(w).size, 5000);
}

static void test_gives_up_after_many_crashes(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(stage(w, 5000), 0);
	close_service(w);
	open_service(w, false);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	crash_in_the_middle(w, 5);
	journal(w);
	close_service(w);
	open_service(w, true);
	assert_int_equal(wait_for_end(w).status, TASK_FAILURE);
	assert_string_equal(journal(w), "task.run! image.upload! image.update:queued task.failure:failure");
	assert_false(is_in(w, "one"));
	assert_false(is_in(w, "staging"));
	assert_null(property(w, LOCK_PROPERTY));
}

/* Nobody but somebody with the database in his hands can do that. */
static void spoil_input(struct world *w)
{
	struct task t = task_of(w);
	struct db_tx *tx;
	struct err err = {0};

	t.input = "{";
	assert_int_equal(db_begin(w->db, DB_WRITE, &tx, &err), 0);
	assert_int_equal(db_task_update(tx, TASK_PENDING, &t, &err), 0);
	assert_int_equal(db_commit(&tx, &err), 0);
}

static void test_input_that_cannot_be_read(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(stage(w, 10), 0);
	close_service(w);
	open_service(w, false);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	spoil_input(w);
	journal(w);
	close_service(w);
	open_service(w, true);
	assert_int_equal(wait_for_end(w).status, TASK_FAILURE);
	assert_string_equal(journal(w), "task.run:pending task.processing:processing task.run! image.update:uploading "
					"task.failure:failure");
	assert_null(property(w, LOCK_PROPERTY));
	assert_int_equal(ask(w, &owner, DIRECT), 0); /* the image is free for another one */
	assert_int_equal(wait_for_end(w).status, TASK_SUCCESS);
}

/* Nobody says any more what the data is: it goes in nowhere uninspected. */
static void take_formats_away(struct world *w)
{
	struct image before = look(w), after = before;
	struct db_tx *tx;
	struct err err = {0};

	after.disk_format = NULL;
	assert_int_equal(db_begin(w->db, DB_WRITE, &tx, &err), 0);
	assert_int_equal(db_image_update(tx, &before, &after, &err), 0);
	assert_int_equal(db_commit(&tx, &err), 0);
}

static void test_refuses_what_has_lost_its_formats(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(stage(w, 5000), 0);
	close_service(w);
	open_service(w, false);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	take_formats_away(w);
	journal(w);
	close_service(w);
	open_service(w, true);
	assert_int_equal(wait_for_end(w).status, TASK_FAILURE);
	assert_int_equal(look(w).status, IMAGE_UPLOADING);
	assert_null(property(w, LOCK_PROPERTY));
	assert_false(is_in(w, "one"));
}

static void test_puts_back_what_cannot_go_on(void **state)
{
	struct world *w = *state;

	create(w);
	assert_int_equal(stage(w, 5000), 0);
	close_service(w);
	open_service(w, false);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	crash_in_the_middle(w, 1);
	take_formats_away(w);
	close_service(w);
	open_service(w, true);
	assert_int_equal(wait_for_end(w).status, TASK_FAILURE);
	assert_int_equal(look(w).status, IMAGE_QUEUED);
	assert_null(property(w, LOCK_PROPERTY));
}

static void test_puts_back_what_has_lost_its_input(void **state)
{
	struct world *w = *state;
	struct db_tx *tx;
	struct err err = {0};
	struct task t;

	create(w);
	assert_int_equal(stage(w, 5000), 0);
	close_service(w);
	open_service(w, false);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	crash_in_the_middle(w, 1);
	t = task_of(w);
	t.input = "{}";
	assert_int_equal(db_begin(w->db, DB_WRITE, &tx, &err), 0);
	assert_int_equal(db_task_update(tx, TASK_PROCESSING, &t, &err), 0);
	assert_int_equal(db_commit(&tx, &err), 0);
	close_service(w);
	open_service(w, true);
	assert_int_equal(wait_for_end(w).status, TASK_FAILURE);
	assert_int_equal(look(w).status, IMAGE_QUEUED);
	assert_null(property(w, LOCK_PROPERTY));
}

static void test_breaks_a_stale_lock_only(void **state)
{
	static const char dead[] = "c0ffee00-0000-4000-8000-00000000dead";
	struct world *w = *state;
	struct image before, after;
	struct task t = {.type = "api_image_import", .status = TASK_PROCESSING, .owner = "p1", .image_id = ID};
	struct db_tx *tx;
	struct err err = {0};

	create(w);
	assert_int_equal(stage(w, 10), 0);
	before = look(w);
	assert_int_equal(progress_copy(&before, &after, &w->arena, &err), 0);
	assert_int_equal(image_set_property(&after, &w->arena, LOCK_PROPERTY, dead, &err), 0);
	strcpy(t.id, dead);
	t.created_at = t.updated_at = clock_now_us() - INT64_C(3500) * 1000000;
	assert_int_equal(db_begin(w->db, DB_WRITE, &tx, &err), 0);
	assert_int_equal(db_task_insert(tx, &t, &err), 0);
	assert_int_equal(db_image_update(tx, &before, &after, &err), 0);
	assert_int_equal(db_commit(&tx, &err), 0);
	journal(w);
	assert_int_equal(ask(w, &owner, DIRECT), ERR_CONFLICT);
	assert_string_equal(journal(w), "");

	t.updated_at -= INT64_C(200) * 1000000;
	assert_int_equal(db_begin(w->db, DB_WRITE, &tx, &err), 0);
	assert_int_equal(db_task_update(tx, TASK_PROCESSING, &t, &err), 0);
	assert_int_equal(db_commit(&tx, &err), 0);
	assert_int_equal(ask(w, &owner, DIRECT), 0);
	assert_int_equal(wait_for_end(w).status, TASK_SUCCESS);
	strcpy(w->task, dead);
	assert_int_equal(task_of(w).status, TASK_FAILURE);
	assert_memory_equal(journal(w), "task.failure:failure task.create:pending", 40);
}

static void test_progress_lists(void **state)
{
	struct arena a = {0};
	struct image image;
	struct err err = {0};

	image_init(&image);
	assert_int_equal(progress_add(&image, &a, IMPORTING_PROPERTY, "", &err), 0);
	assert_string_equal(image_find_property(&image, IMPORTING_PROPERTY)->value, "");
	assert_int_equal(progress_add(&image, &a, IMPORTING_PROPERTY, "b", &err), 0);
	assert_int_equal(progress_add(&image, &a, IMPORTING_PROPERTY, "a", &err), 0);
	assert_int_equal(progress_add(&image, &a, IMPORTING_PROPERTY, "bb", &err), 0);
	assert_int_equal(progress_add(&image, &a, IMPORTING_PROPERTY, "b", &err), 0);
	assert_string_equal(image_find_property(&image, IMPORTING_PROPERTY)->value, "a,b,bb");
	assert_true(progress_has(&image, IMPORTING_PROPERTY, "bb"));
	assert_int_equal(progress_remove(&image, &a, IMPORTING_PROPERTY, "b", &err), 0);
	assert_string_equal(image_find_property(&image, IMPORTING_PROPERTY)->value, "a,bb");
	assert_false(progress_has(&image, IMPORTING_PROPERTY, "b"));
	arena_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_progress_lists),
		cmocka_unit_test_setup_teardown(test_staged_and_imported, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_into_two_stores_and_out_of_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_store_is_enough_if_so_asked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_stores_have_to_succeed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_copied, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_copy_of_something_else_is_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_waits_is_run_by_the_next_start, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_deleted_while_it_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_goes_on_after_a_crash, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gives_up_after_many_crashes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_input_that_cannot_be_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refuses_what_has_lost_its_formats, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_puts_back_what_cannot_go_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_puts_back_what_has_lost_its_input, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_breaks_a_stale_lock_only, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

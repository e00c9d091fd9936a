/* SPDX-License-Identifier: Apache-2.0
 * service/quota_test.c -- quotas of octets and of numbers, alone and raced for. */
#include "service/quota.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/err.h"
#include "limits/internal.h"
#include "notify/notify.h"
#include "service/testing.h"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define QUOTA (10 * MIB)
#define N_RACERS 24

#define OK(call)                                                                                             \
	do {                                                                                                 \
		struct err err = {0};                                                                        \
		int r_ = (call);                                                                             \
		if (r_ != 0)                                                                                 \
			fail_msg("%s: %d %s", #call, r_, err_story(&err));                                   \
	} while (0)

static const char *const formats[] = {"raw", "bare", NULL};
static const char *const member_roles[] = {"member", "reader", NULL}, *const admin_roles[] = {"admin", NULL};
static const struct who owner = {.roles = ROLE_MEMBER | ROLE_READER, .role_names = member_roles, .project_id = "p1"};
static const struct who admin = {
	.roles = ROLE_ADMIN | ROLE_MEMBER | ROLE_READER, .role_names = admin_roles, .project_id = "ops"};

/* -- a Keystone ------------------------------------------------------------------------------------ */

static struct {
	struct quota quota;
	atomic_bool broken;
	const char *only_for; /* this project it is broken; NULL: for all */
} keystone;

static void keystone_ask(void *cls, const char *project, int64_t deadline_us, limits_fn *fn, void *fn_cls)
{
	struct err err = {0};
	bool broken = keystone.broken && (!keystone.only_for || strcmp(keystone.only_for, project) == 0);
	int r = broken ? err_set(&err, ERR_UNAVAILABLE, "Keystone does not answer.") : 0;

	fn(fn_cls, r, r < 0 ? NULL : &keystone.quota, &err);
}

static void keystone_nothing(void *cls)
{
}

/* -- a world --------------------------------------------------------------------------------------- */

struct world {
	char dir[64], work[128];
	struct db *db;
	struct stores *stores;
	struct notify *notify;
	struct limits *limits;
	struct service *service;
};

static void set_up(struct world *w, int64_t own_quota)
{
	static const struct fetch_rules nowhere;
	struct notify_config notify = {.publisher_id = "test"};
	struct store_config store = {.id = "", .type = "file"},
			    staging = {.id = STORES_STAGING_ID, .type = "file"};
	struct service_config config = {.limits = {formats, formats, 10, 10, 2, 10},
					.max_image_bytes = 100 * MIB,
					.hash_algorithm = "sha512",
					.user_storage_quota = own_quota,
					.unified = w->limits,
					.import = {.fetch.rules = &nowhere, .max_workers = 2, .task_ttl_us = INT64_MAX / 4},
					.node = "here"};
	char url[128], images[128], staged[128];

	strcpy(w->dir, "/tmp/glint-quota-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(url, sizeof(url), "sqlite:///%s/db", w->dir);
	snprintf(images, sizeof(images), "%s/images", w->dir);
	store.directory = images;
	snprintf(staged, sizeof(staged), "%s/staging", w->dir);
	staging.directory = staged;
	snprintf(w->work, sizeof(w->work), "%s/work", w->dir);
	config.import.work_dir = w->work;
	OK(db_open(url, &w->db, &err));
	OK(stores_open(&store, 1, "", &staging, &w->stores, &err));
	OK(notify_new(w->db, &notify, &w->notify, &err));
	OK(service_new(w->db, w->stores, w->notify, &config, &w->service, &err));
}

static void start(struct world *w)
{
	OK(service_start(w->service, &err));
}

static int with_own_quota(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	*state = w;
	set_up(w, QUOTA);
	start(w);
	return 0;
}

/* Nothing is kept: each question is asked anew. */
static int with_limits_unstarted(void **state)
{
	static const struct limits_source source = {
		.ask = keystone_ask, .stop = keystone_nothing, .close = keystone_nothing};
	const struct limits_config config = {.cache_us = 1,
					     .timeout_us = 1000000,
					     .max_asking = 64,
					     .max_threads = 64,
					     .max_projects = 64};
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	*state = w;
	keystone.broken = false;
	keystone.only_for = NULL;
	keystone.quota = (struct quota){QUOTA, 2 * MIB, 3, 2};
	OK(limits_new(&config, &source, &w->limits, &err));
	set_up(w, 0);
	return 0;
}

static int with_limits(void **state)
{
	(void)with_limits_unstarted(state);
	start(*state);
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[128];

	service_free(w->service);
	notify_free(w->notify);
	stores_close(w->stores);
	limits_close(w->limits);
	db_close(w->db);
	snprintf(command, sizeof(command), "rm -rf %s", w->dir);
	free(w);
	return system(command);
}

static const char *id_of(unsigned n, char out[UUID_LEN + 1])
{
	snprintf(out, UUID_LEN + 1, "%08x-0000-4000-8000-000000000000", n);
	return out;
}

static int create_of(struct world *w, const struct who *who, const char *project, unsigned n, struct err *err)
{
	struct image image;

	image_init(&image);
	(void)id_of(n, image.id);
	image.owner = project;
	image.disk_format = "raw";
	image.container_format = "bare";
	image.visibility = IMAGE_PRIVATE;
	return create_and_wait(w->service, who, &image, err);
}

static int create_as(struct world *w, const struct who *who, unsigned n, struct err *err)
{
	return create_of(w, who, "p1", n, err);
}

static int create_for(struct world *w, const struct who *who, unsigned n, struct err *err)
{
	return create_of(w, who, who->project_id, n, err);
}

static void create(struct world *w, unsigned n)
{
	OK(create_as(w, &owner, n, &err));
}

static struct db_usage usage(struct world *w)
{
	struct db_usage u;
	struct db_tx *tx;

	OK(db_begin(w->db, DB_READ, &tx, &err));
	OK(db_usage_get(tx, "p1", &u, &err));
	db_abort(tx);
	return u;
}

struct stream {
	int64_t left;
};

static ssize_t stream_read(void *cls, void *data, size_t n, struct err *err)
{
	struct stream *s = cls;

	if ((int64_t)n > s->left)
		n = (size_t)s->left;
	memset(data, 'x', n);
	s->left -= (int64_t)n;
	return (ssize_t)n;
}

enum how { SIZED, CHUNKED, STAGED };

static int send_octets(struct world *w, const struct who *who, unsigned n, int64_t octets, enum how how,
		       struct err *err)
{
	struct stream s = {octets};
	struct upload_source source = {
		.read = stream_read, .cls = &s, .size = how == CHUNKED ? -1 : octets, .size_hint = -1};
	char id[UUID_LEN + 1];

	(void)id_of(n, id);
	if (how == STAGED)
		return service_stage(w->service, who, id, &source, err);
	return service_upload(w->service, who, id, NULL, &source, err);
}

static void refused(int r, const struct err *err, const char *text)
{
	assert_int_equal(r, ERR_TOO_LARGE);
	if (!strstr(err->text, text))
		fail_msg("'%s' has no '%s'", err->text, text);
}

static enum image_status status_of(struct world *w, unsigned n)
{
	AUTO(arena_done) struct arena a = {0};
	char id[UUID_LEN + 1];
	struct image image;

	OK(service_show(w->service, &admin, id_of(n, id), &a, &image, &err));
	return image.status;
}

/* -- octets ---------------------------------------------------------------------------------------- */

static void test_to_the_last_octet(void **state)
{
	struct world *w = *state;
	struct err why = {0};
	char id[UUID_LEN + 1];

	create(w, 1);
	create(w, 2);
	OK(send_octets(w, &owner, 1, QUOTA - 5, SIZED, &err));
	for (enum how how = SIZED; how <= CHUNKED; how++) {
		refused(send_octets(w, &owner, 2, 6, how, &why), &why,
			"will exceed the limit. 5 bytes remaining.");
		refused(send_octets(w, &admin, 2, 6, how, &why), &why, "The size of the data 6 ");
		assert_int_equal(status_of(w, 2), IMAGE_QUEUED);
	}
	OK(send_octets(w, &owner, 2, 5, CHUNKED, &err));
	assert_int_equal(usage(w).stored_octets, QUOTA);
	create(w, 3);
	OK(send_octets(w, &owner, 3, 0, CHUNKED, &err));
	OK(service_delete(w->service, &owner, id_of(2, id), &err));
	create(w, 4);
	OK(send_octets(w, &owner, 4, 5, SIZED, &err));
}

/* A promise to be short is no room; one to be long is refused before an octet was read. */
static void test_what_the_sender_says(void **state)
{
	struct world *w = *state;
	struct stream s = {QUOTA + 1};
	struct upload_source source = {.read = stream_read, .cls = &s, .size = -1, .size_hint = QUOTA + 1};
	struct err why = {0};
	char id[UUID_LEN + 1];

	create(w, 1);
	refused(service_upload(w->service, &owner, id_of(1, id), NULL, &source, &why), &why,
		"bytes remaining");
	assert_int_equal(s.left, QUOTA + 1);
	source.size_hint = 1;
	refused(service_upload(w->service, &owner, id, NULL, &source, &why), &why, "bytes remaining");
	source.size_hint = QUOTA;
	s.left = 7;
	OK(service_upload(w->service, &owner, id, NULL, &source, &err));
	create(w, 2);
	OK(send_octets(w, &owner, 2, QUOTA - 7, SIZED, &err)); /* the hint holds nothing */
}

/* Apart from what is stored. */
static void test_staging_is_bounded(void **state)
{
	struct world *w = *state;
	struct err why = {0};

	for (unsigned n = 1; n <= 3; n++)
		create(w, n);
	OK(send_octets(w, &owner, 1, QUOTA, SIZED, &err));
	OK(send_octets(w, &owner, 2, QUOTA - 1, STAGED, &err));
	refused(send_octets(w, &owner, 3, 2, STAGED, &why), &why, "1 bytes remaining");
	assert_int_equal(status_of(w, 3), IMAGE_QUEUED);
	OK(send_octets(w, &owner, 3, 1, STAGED, &err));
}

struct race {
	struct world *world;
	enum how how;
	pthread_barrier_t start;
	atomic_uint next, n_good;
	atomic_bool over;
	int64_t octets;
};

static void *racer(void *arg)
{
	struct race *race = arg;
	unsigned n = 1 + atomic_fetch_add(&race->next, 1);
	struct err why = {0};
	int r;

	(void)pthread_barrier_wait(&race->start);
	r = send_octets(race->world, &owner, n, race->octets, race->how, &why);
	if (r == 0)
		atomic_fetch_add(&race->n_good, 1);
	else
		refused(r, &why, "bytes remaining");
	return NULL;
}

static void run_race(struct world *w, enum how how, int64_t octets, unsigned *ret_good)
{
	struct race race = {.world = w, .how = how, .octets = octets};
	pthread_t threads[N_RACERS];

	for (unsigned n = 1; n <= N_RACERS; n++)
		create(w, n);
	(void)pthread_barrier_init(&race.start, NULL, N_RACERS);
	for (unsigned i = 0; i < N_RACERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, racer, &race), 0);
	for (unsigned i = 0; i < N_RACERS; i++)
		(void)pthread_join(threads[i], NULL);
	(void)pthread_barrier_destroy(&race.start);
	*ret_good = race.n_good;
}

static void test_a_race_of_sized_ones(void **state)
{
	unsigned n_good;

	run_race(*state, SIZED, MIB, &n_good);
	assert_int_equal(n_good, QUOTA / MIB);
	assert_int_equal(usage(*state).stored_octets, QUOTA);
}

static void test_a_race_of_chunked_ones(void **state)
{
	unsigned n_good;

	run_race(*state, CHUNKED, MIB + 1, &n_good);
	assert_true(n_good <= 9);
	assert_int_equal(usage(*state).stored_octets, n_good * (MIB + 1));
}

/* Small enough that not one has to go away: nobody is refused for what others hold and do not use. */
static void test_a_race_without_losers(void **state)
{
	unsigned n_good;

	run_race(*state, CHUNKED, QUOTA / N_RACERS, &n_good);
	assert_int_equal(n_good, N_RACERS);
}

static void test_a_race_for_the_staging_area(void **state)
{
	unsigned n_good;

	run_race(*state, STAGED, 3 * MIB, &n_good);
	assert_int_equal(n_good, 3);
	assert_int_equal(usage(*state).staged_octets, 9 * MIB);
}

/* -- holds ----------------------------------------------------------------------------------------- */

static struct hold *hold(struct world *w)
{
	struct quota quota;
	struct hold *h = NULL;

	OK(quota_of(w->service, "p1", &quota, &err));
	OK(hold_new(w->service, "p1", HOLD_STORED, &quota, &h, &err));
	return h;
}

/* As a commit of another thread does it. */
static void store_by_hand(struct world *w, unsigned n, int64_t octets)
{
	struct image image;
	struct db_tx *tx;

	image_init(&image);
	(void)id_of(n, image.id);
	image.owner = "p1";
	image.status = IMAGE_ACTIVE;
	image.size = octets;
	image.created_at = image.updated_at = clock_now_us();
	OK(db_begin(w->db, DB_WRITE, &tx, &err));
	OK(db_image_insert(tx, &image, &err));
	OK(db_location_add(tx, image.id, "file:///x", NULL, image.created_at, &err));
	OK(db_commit(&tx, &err));
}

static void test_what_is_not_used_is_given_up(void **state)
{
	struct hold *a = hold(*state), *b = hold(*state);
	struct err why = {0};

	OK(hold_begin(a, 1, -1, -1, &err));
	OK(hold_reach(a, 1, &err)); /* and takes more, ahead */
	OK(hold_begin(b, 1, QUOTA - 1, -1, &err));
	refused(hold_reach(a, 2, &why), &why, "1 bytes remaining");
	hold_end(b, false);
	OK(hold_reach(a, QUOTA, &err));
	hold_end(a, false);
}

static void test_each_copy_counts(void **state)
{
	struct hold *h = hold(*state);
	struct err why = {0};

	refused(hold_begin(h, 3, QUOTA / 2, -1, &why), &why, "bytes remaining");
	OK(hold_begin(h, 3, -1, -1, &err));
	OK(hold_reach(h, QUOTA / 3, &err));
	refused(hold_reach(h, QUOTA / 3 + 1, &why), &why, "bytes remaining");
	refused(hold_begin(h, 3, INT64_MAX, -1, &why), &why, "bytes remaining");
	hold_end(h, false);
}

struct settling {
	struct world *world;
	struct hold *hold;
	bool is_counted;
	pthread_t thread;
};

/* Long enough after the other one has begun to look. */
static void *settle_later(void *arg)
{
	struct settling *s = arg;
	const struct timespec pause = {.tv_nsec = 50000000};

	(void)nanosleep(&pause, NULL);
	if (s->is_counted)
		hold_end(s->hold, true);
	else
		hold_unsettle(s->hold);
	return NULL;
}

/* Its octets are held, and stand in the database already: twice, for a moment. */
static void test_a_commit_under_way_is_waited_for(void **state)
{
	struct settling s = {.world = *state, .hold = hold(*state), .is_counted = true};
	struct hold *other = hold(*state);
	struct err why = {0};

	OK(hold_begin(s.hold, 1, 6 * MIB, -1, &err));
	hold_settle(s.hold);
	store_by_hand(*state, 1, 6 * MIB);
	assert_int_equal(pthread_create(&s.thread, NULL, settle_later, &s), 0);
	OK(hold_begin(other, 1, 4 * MIB, -1, &err));
	(void)pthread_join(s.thread, NULL);
	refused(hold_begin(other, 1, 4 * MIB + 1, -1, &why), &why, "bytes remaining");
	hold_end(other, false);
}

static void test_a_commit_that_fails_leaves_its_hold(void **state)
{
	struct settling s = {.world = *state, .hold = hold(*state)};
	struct hold *other = hold(*state);
	struct err why = {0};

	OK(hold_begin(s.hold, 1, 6 * MIB, -1, &err));
	hold_settle(s.hold);
	assert_int_equal(pthread_create(&s.thread, NULL, settle_later, &s), 0);
	refused(hold_begin(other, 1, 4 * MIB + 1, -1, &why), &why, "bytes remaining");
	(void)pthread_join(s.thread, NULL);
	OK(hold_begin(other, 1, 4 * MIB, -1, &err));
	hold_end(other, false);
	hold_end(s.hold, false);
}

static void test_bytes_that_stay_count(void **state)
{
	struct world *w = *state;
	struct hold *h = hold(w), *other = hold(w);
	struct err why = {0};
	char id[UUID_LEN + 1];

	OK(hold_begin(h, 1, QUOTA, -1, &err));
	hold_keep(h, id_of(1, id));
	refused(hold_begin(other, 1, 1, -1, &why), &why, " 0 bytes remaining");
	quota_forgive(w->service, id_of(2, id));
	refused(hold_begin(other, 1, 1, -1, &why), &why, " 0 bytes remaining");
	quota_forgive(w->service, id_of(1, id));
	OK(hold_begin(other, 1, 1, -1, &err));
	hold_keep(other, id); /* until the end */
}

static void test_without_a_quota_nothing_is_held(void **state)
{
	OK(hold_begin(NULL, 3, INT64_MAX, 5, &err));
	OK(hold_reach(NULL, INT64_MAX, &err));
	hold_settle(NULL);
	hold_unsettle(NULL);
	hold_end(NULL, true);
	hold_keep(NULL, "x");
	assert_true(hold_is_of(NULL, "p1"));
}

/* -- unified limits --------------------------------------------------------------------------------- */

static void test_numbers_of_images(void **state)
{
	struct world *w = *state;
	struct err why = {0};
	char id[UUID_LEN + 1];

	for (unsigned n = 1; n <= 3; n++)
		create(w, n);
	refused(create_as(w, &owner, 4, &why), &why,
		"Project p1 is over a limit for [Resource image_count_total is over limit of 3 due to "
		"current usage 3 and "
		"delta 1]");
	refused(create_as(w, &admin, 4, &why), &why, "Project p1 is over"); /* whoever makes it */
	OK(service_delete(w->service, &owner, id_of(1, id), &why));
	create(w, 4);
}

/* Holds the place of an upload while another one is tried. */
struct busy {
	struct world *world;
	unsigned n_more;
};

static ssize_t busy_read(void *cls, void *data, size_t n, struct err *story)
{
	struct busy *b = cls;
	struct upload_source source = {.read = busy_read, .cls = b, .size = -1, .size_hint = -1};
	struct err why = {0};
	char id[UUID_LEN + 1];

	if (b->n_more == 0)
		return 0;
	if (--b->n_more > 0)
		OK(service_upload(b->world->service, &owner, id_of(b->n_more, id), NULL, &source, &err));
	else
		refused(service_upload(b->world->service, &owner, id_of(3, id), NULL, &source, &why), &why,
			"image_count_uploading is over limit of 2 due to current usage 2 and delta 1");
	return 0;
}

static void test_numbers_of_uploads(void **state)
{
	struct world *w = *state;
	struct busy b = {w, 2};
	struct upload_source source = {.read = busy_read, .cls = &b, .size = -1, .size_hint = -1};
	char id[UUID_LEN + 1];

	for (unsigned n = 1; n <= 3; n++)
		create(w, n);
	OK(service_upload(w->service, &owner, id_of(2, id), NULL, &source, &err));
	assert_int_equal(status_of(w, 3), IMAGE_QUEUED);
	assert_int_equal(usage(w).n_uploading, 0);
}

static void test_octets_of_unified_limits(void **state)
{
	struct world *w = *state;
	struct err why = {0};

	create(w, 1);
	create(w, 2);
	refused(send_octets(w, &owner, 1, QUOTA + 1, SIZED, &why), &why,
		"image_size_total is over limit of 10 due to current usage 0 and delta 11]");
	refused(send_octets(w, &owner, 1, 2 * MIB + 1, STAGED, &why), &why,
		"image_stage_total is over limit of 2 ");
	OK(send_octets(w, &owner, 1, 2 * MIB, STAGED, &err));
	OK(send_octets(w, &owner, 2, QUOTA, CHUNKED, &err));
}

/* Unknown is neither "as much as you like" nor a reason to change anything. */
static void test_limits_that_nobody_knows(void **state)
{
	struct world *w = *state;
	struct err why = {0};

	create(w, 1);
	keystone.broken = true;
	assert_int_equal(create_as(w, &owner, 2, &why), ERR_UNAVAILABLE);
	assert_int_equal(send_octets(w, &owner, 1, 1, SIZED, &why), ERR_UNAVAILABLE);
	assert_int_equal(send_octets(w, &owner, 7, 1, SIZED, &why), ERR_NOT_FOUND);
	assert_int_equal(status_of(w, 1), IMAGE_QUEUED);
	keystone.broken = false;
	OK(send_octets(w, &owner, 1, 1, SIZED, &err));
}

/* Made while the limits were known. */
static void import_later(struct world *w, const struct who *who, unsigned n)
{
	struct import_request request = {.method = IMPORT_GLANCE_DIRECT, .all_stores_must_succeed = true};
	json_t *body = json_pack("{s{ss}}", "method", "name", "glance-direct");
	char id[UUID_LEN + 1], task_id[UUID_LEN + 1];

	OK(service_import(w->service, who, id_of(n, id), &request, body, task_id, &err));
	json_decref(body);
}

static void wait_status(struct world *w, unsigned n, enum image_status status)
{
	const struct timespec tick = {.tv_nsec = 10000000};

	for (int i = 0; i < 6000 && status_of(w, n) != status; i++)
		(void)nanosleep(&tick, NULL);
	assert_int_equal(status_of(w, n), status);
}

static void wait_task(struct world *w, const char *id)
{
	AUTO(arena_done) struct arena a = {0};
	const struct timespec tick = {.tv_nsec = 10000000};
	struct task task = {0};

	for (int i = 0; i < 6000 && !task_has_ended(&task); i++) {
		(void)nanosleep(&tick, NULL);
		OK(service_task_show(w->service, &admin, id, &a, &task, &err));
	}
	assert_true(task_has_ended(&task));
}

/* The one nobody can say anything of waits, with its staged bytes; the one behind it is run. */
static void test_an_import_waits_for_its_limits(void **state)
{
	static const struct who other = {.roles = ROLE_MEMBER | ROLE_READER, .role_names = member_roles, .project_id = "p2"};
	struct world *w = *state;
	struct db_usage u;

	create(w, 1);
	OK(create_for(w, &other, 2, &err));
	OK(send_octets(w, &owner, 1, 1000, STAGED, &err));
	OK(send_octets(w, &other, 2, 1000, STAGED, &err));
	import_later(w, &owner, 1);
	import_later(w, &other, 2);
	keystone.only_for = "p1";
	keystone.broken = true;
	start(w);
	wait_status(w, 2, IMAGE_ACTIVE);
	assert_int_equal(status_of(w, 1), IMAGE_UPLOADING);
	keystone.broken = false;
	wait_status(w, 1, IMAGE_ACTIVE);
	u = usage(w);
	assert_int_equal(u.stored_octets, 1000);
	assert_int_equal(u.staged_octets, 0);
}

/* Both are made, one is run: the place is given in the transaction that picks a task up. */
static void test_of_two_imports_one_gets_the_last_place(void **state)
{
	struct world *w = *state;
	struct err why = {0};

	keystone.quota = (struct quota){3000, 9000, 9, 9};
	for (unsigned n = 1; n <= 2; n++) {
		create(w, n);
		OK(send_octets(w, &owner, n, 2000, STAGED, &err));
		import_later(w, &owner, n);
	}
	start(w);
	for (int i = 0; i < 6000 && usage(w).n_uploading > 0; i++)
		(void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(usage(w).n_uploading, 0);
	assert_int_equal(usage(w).stored_octets, 2000);
	assert_int_equal((status_of(w, 1) == IMAGE_ACTIVE) + (status_of(w, 2) == IMAGE_ACTIVE), 1);
	create(w, 3);
	refused(send_octets(w, &owner, 3, 1001, SIZED, &why), &why, "image_size_total");
}

/* The one of the project that is to have the image, not that of who makes the task. */
static void test_a_task_waits_for_the_limits_of_its_image(void **state)
{
	static const char *const inputs[] = {
		"{\"import_from\": \"http://nowhere/\", \"import_from_format\": \"raw\", "
		"\"image_properties\": {\"owner\": \"p1\"}}",
		"{\"import_from\": \"http://nowhere/\", \"import_from_format\": \"raw\", \"image_properties\": {}}"};
	AUTO(arena_done) struct arena a = {0};
	struct world *w = *state;
	struct task tasks[2], now;

	keystone.only_for = "p1";
	keystone.broken = true;
	for (size_t i = 0; i < 2; i++)
		OK(service_task_create(w->service, &admin, TASK_TYPE_IMPORT, inputs[i], &a, &tasks[i], &err));
	start(w);
	wait_task(w, tasks[1].id);
	OK(service_task_show(w->service, &admin, tasks[0].id, &a, &now, &err));
	assert_int_equal(now.status, TASK_PENDING);
	keystone.broken = false;
	wait_task(w, tasks[0].id);
}

#define WAITING(f) cmocka_unit_test_setup_teardown(f, with_limits_unstarted, tear_down)
#define OWN(f) cmocka_unit_test_setup_teardown(f, with_own_quota, tear_down)
#define UNIFIED(f) cmocka_unit_test_setup_teardown(f, with_limits, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OWN(test_to_the_last_octet),
		OWN(test_what_the_sender_says),
		OWN(test_staging_is_bounded),
		OWN(test_a_race_of_sized_ones),
		OWN(test_a_race_of_chunked_ones),
		OWN(test_a_race_without_losers),
		OWN(test_a_race_for_the_staging_area),
		OWN(test_what_is_not_used_is_given_up),
		OWN(test_each_copy_counts),
		OWN(test_a_commit_under_way_is_waited_for),
		OWN(test_a_commit_that_fails_leaves_its_hold),
		OWN(test_bytes_that_stay_count),
		OWN(test_without_a_quota_nothing_is_held),
		UNIFIED(test_numbers_of_images),
		UNIFIED(test_numbers_of_uploads),
		UNIFIED(test_octets_of_unified_limits),
		UNIFIED(test_limits_that_nobody_knows),
		WAITING(test_an_import_waits_for_its_limits),
		WAITING(test_a_task_waits_for_the_limits_of_its_image),
		WAITING(test_of_two_imports_one_gets_the_last_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

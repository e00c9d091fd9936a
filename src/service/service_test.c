/* SPDX-License-Identifier: Apache-2.0
 * service/service_test.c -- the use cases over a real database and a real store, watched through the
 * journal: every change has exactly its events, in order. */
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
#include "base/err.h"
#include "base/metrics.h"
#include "notify/event.h"
#include "notify/notify.h"
#include "service/internal.h"
#include "service/testing.h"

#define ID "c0ffee00-0000-4000-8000-000000000001"
#define CAP_BYTES 1000000

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
	struct arena arena;
	int64_t seen; /* offset of the last event that journal() has returned */
};

static struct service *new_service(struct world *w)
{
	struct service_config config = {
		.limits = {formats, formats, 10, 10, 2},
		.max_image_bytes = CAP_BYTES,
		.hash_algorithm = "sha512",
		.node = "here",
	};
	struct service *service;
	struct err err = {0};

	assert_int_equal(service_new(w->db, w->stores, w->notify, &config, &service, &err), 0);
	return service;
}

static int set_up(void **state)
{
	static const char *const drivers[] = {"log"};
	struct world *w = calloc(1, sizeof(*w));
	struct notify_config notify = {.drivers = drivers, .n_drivers = 1, .publisher_id = "test"};
	struct store_config store = {.id = "", .type = "file"};
	struct store_config staging = {.id = STORES_STAGING_ID, .type = "file"};
	char url[128], images[128], staged[128];
	struct err err = {0};

	assert_non_null(w);
	strcpy(w->dir, "/tmp/glint-service-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(url, sizeof(url), "sqlite:///%s/db", w->dir);
	snprintf(images, sizeof(images), "%s/images", w->dir);
	store.directory = images;
	snprintf(staged, sizeof(staged), "%s/staging", w->dir);
	staging.directory = staged;
	if (db_open(url, &w->db, &err) < 0 || stores_open(&store, 1, "", &staging, &w->stores, &err) < 0 ||
	    notify_new(w->db, &notify, &w->notify, &err) < 0)
		fail_msg("%s", err_story(&err));
	w->service = new_service(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[128];

	service_free(w->service);
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

/* What the journal has got since the last look: "image.create:queued image.upload! ...". */
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

static bool has_file(struct world *w)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/images/" ID, w->dir);
	return access(path, F_OK) == 0;
}

static unsigned count_files(struct world *w)
{
	char command[256], line[32] = "";
	FILE *f;

	snprintf(command, sizeof(command), "find %s/images -type f | wc -l", w->dir);
	f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	pclose(f);
	return (unsigned)strtoul(line, NULL, 10);
}

static enum image_status status_of(struct world *w)
{
	struct image image;
	struct err err = {0};

	assert_int_equal(service_show(w->service, &admin, ID, &w->arena, &image, &err), 0);
	return image.status;
}

/* -- doing ---------------------------------------------------------------------------------------- */

static void create(struct world *w, enum image_visibility visibility)
{
	struct image image;
	struct err err = {0};

	image_init(&image);
	strcpy(image.id, ID);
	image.name = "test";
	image.disk_format = "raw";
	image.container_format = "bare";
	image.visibility = visibility;
	if (create_and_wait(w->service, &owner, &image, &err) < 0)
		fail_msg("%s", err_story(&err));
}

/* A client: gives @left octets in pieces, then ends as told. */
struct client {
	struct world *world;
	int64_t left;
	int ending;          /* 0, or an ERR_* */
	bool deletes;        /* deletes the image after the first piece */
};

static ssize_t client_read(void *cls, void *data, size_t n, struct err *err)
{
	struct client *c = cls;
	struct err why = {0};

	if (c->left == 0)
		return c->ending ? err_set(err, c->ending, "The client left.") : 0;
	if (n > 1000)
		n = 1000;
	if ((int64_t)n > c->left)
		n = (size_t)c->left;
	memset(data, 'x', n);
	c->left -= (int64_t)n;
	if (c->deletes && service_delete(c->world->service, &owner, ID, &why) < 0)
		fail_msg("%s", err_story(&why));
	c->deletes = false;
	return (ssize_t)n;
}

static int upload(struct world *w, struct client *c, int64_t size)
{
	struct upload_source source = {.read = client_read, .cls = c, .size = size, .size_hint = -1};
	struct err err = {0};

	c->world = w;
	return service_upload(w->service, &owner, ID, NULL, &source, &err);
}

/* -- tests ---------------------------------------------------------------------------------------- */

static void test_whole_life(void **state)
{
	struct world *w = *state;
	struct client c = {.left = 5000};
	struct download d;
	struct err err = {0};

	create(w, IMAGE_PRIVATE);
	assert_string_equal(journal(w), "image.create:queued");
	assert_int_equal(upload(w, &c, 5000), 0);
	assert_string_equal(journal(w), "image.update:saving image.prepare:saving image.upload:active "
					"image.activate:active image.update:active");
	assert_int_equal(service_download(w->service, &owner, ID, &w->arena, &d, &err), 0);
	assert_true(d.has_data);
	assert_int_equal(d.source.size, 5000);
	assert_int_equal(d.image.size, 5000);
	assert_int_equal(d.image.virtual_size, 5000);
	assert_int_equal(strlen(d.image.os_hash_value), 128);
	close(d.source.fd);
	assert_int_equal(service_deactivate(w->service, &owner, ID, &err), 0);
	assert_int_equal(service_deactivate(w->service, &owner, ID, &err), 0);
	assert_string_equal(journal(w), "image.update:deactivated");
	assert_int_equal(service_download(w->service, &owner, ID, &w->arena, &d, &err), ERR_FORBIDDEN);
	assert_int_equal(service_reactivate(w->service, &owner, ID, &err), 0);
	assert_string_equal(journal(w), "image.update:active image.activate:active");
	assert_int_equal(service_delete(w->service, &owner, ID, &err), 0);
	assert_string_equal(journal(w), "image.delete:deleted");
	assert_false(has_file(w));
	assert_int_equal(service_delete(w->service, &owner, ID, &err), ERR_NOT_FOUND);
	assert_string_equal(journal(w), "");
}

static void test_second_upload_is_refused(void **state)
{
	struct world *w = *state;
	struct client first = {.left = 10}, second = {.left = 20};

	create(w, IMAGE_PRIVATE);
	assert_int_equal(upload(w, &first, 10), 0);
	journal(w);
	assert_int_equal(upload(w, &second, 20), ERR_CONFLICT);
	assert_int_equal(second.left, 20);
	assert_string_equal(journal(w), "");
	assert_int_equal(status_of(w), IMAGE_ACTIVE);
}

static void check_failed_upload(struct world *w)
{
	assert_string_equal(journal(w), "image.update:saving image.prepare:saving image.upload! image.update:queued");
	assert_int_equal(status_of(w), IMAGE_QUEUED);
	assert_int_equal(count_files(w), 0);
}

static void test_failed_uploads_leave_nothing(void **state)
{
	struct world *w = *state;
	struct client gone = {.left = 600000, .ending = ERR_DISCONNECTED};
	struct client large = {.left = CAP_BYTES + 1};
	struct client declared = {.left = CAP_BYTES + 1};
	struct client good = {.left = CAP_BYTES};

	create(w, IMAGE_PRIVATE);
	journal(w);
	assert_int_equal(upload(w, &gone, 700000), ERR_DISCONNECTED);
	check_failed_upload(w);
	assert_int_equal(upload(w, &large, -1), ERR_TOO_LARGE);
	check_failed_upload(w);
	assert_int_equal(upload(w, &declared, CAP_BYTES + 1), ERR_TOO_LARGE);
	assert_int_equal(declared.left, CAP_BYTES + 1); /* not a single octet was asked for */
	check_failed_upload(w);
	assert_int_equal(upload(w, &good, CAP_BYTES), 0);
	assert_int_equal(status_of(w), IMAGE_ACTIVE);
}

static void test_delete_ends_the_upload(void **state)
{
	struct world *w = *state;
	struct client c = {.left = 900000, .deletes = true};

	create(w, IMAGE_PRIVATE);
	journal(w);
	assert_int_equal(upload(w, &c, 900000), ERR_GONE);
	assert_true(c.left > 0); /* it ended early */
	assert_string_equal(journal(w), "image.update:saving image.prepare:saving image.upload! image.delete:deleted");
	assert_int_equal(count_files(w), 0);
}

static int count_upload(void *cls, const struct db_upload *u, struct err *err)
{
	++*(unsigned *)cls;
	return 0;
}

/* What a crash in the middle of an upload leaves: the row, the status, and perhaps the named bytes. The machine had
 * another name then, as a container has whenever it is made anew. */
static void fake_crash(struct world *w)
{
	struct db_upload row = {.image_id = ID, .node = "there", .store = ""};
	struct image before, after;
	struct db_tx *tx;
	struct err err = {0};
	char path[256];
	FILE *f;

	assert_int_equal(db_begin(w->db, DB_WRITE, &tx, &err), 0);
	assert_int_equal(db_image_get(tx, ID, false, &w->arena, &before, &err), 0);
	after = before;
	after.status = IMAGE_SAVING;
	assert_int_equal(db_image_update(tx, &before, &after, &err), 0);
	assert_int_equal(db_upload_insert(tx, &row, &err), 0);
	assert_int_equal(db_commit(&tx, &err), 0);
	snprintf(path, sizeof(path), "%s/images/" ID, w->dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
}

static void test_recovery_after_a_crash(void **state)
{
	struct world *w = *state;
	struct err err = {0};
	struct db_tx *tx;
	unsigned n, n_rows = 0;

	create(w, IMAGE_PRIVATE);
	journal(w);
	fake_crash(w);
	assert_int_equal(service_recover(w->service, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_string_equal(journal(w), "image.upload! image.update:queued");
	assert_int_equal(status_of(w), IMAGE_QUEUED);
	assert_int_equal(count_files(w), 0);
	assert_int_equal(db_begin(w->db, DB_READ, &tx, &err), 0);
	assert_int_equal(db_upload_list(tx, NULL, count_upload, &n_rows, &err), 0);
	db_abort(tx);
	assert_int_equal(n_rows, 0);
	assert_int_equal(service_recover(w->service, &n, &err), 0);
	assert_int_equal(n, 0);
}

static void test_recovery_leaves_running_uploads_alone(void **state)
{
	struct world *w = *state;
	struct upload running = {.image_id = ID};
	struct err err = {0};
	unsigned n;

	create(w, IMAGE_PRIVATE);
	fake_crash(w);
	uploads_add(w->service, &running);
	assert_int_equal(service_recover(w->service, &n, &err), 0);
	assert_int_equal(n, 0);
	assert_true(has_file(w));
	uploads_remove(w->service, &running);
}

static void test_others_see_nothing(void **state)
{
	struct world *w = *state;
	struct image image;
	struct err err = {0};

	create(w, IMAGE_PRIVATE);
	journal(w);
	assert_int_equal(service_show(w->service, &guest, ID, &w->arena, &image, &err), ERR_NOT_FOUND);
	assert_int_equal(service_delete(w->service, &guest, ID, &err), ERR_NOT_FOUND);
	assert_int_equal(service_add_tag(w->service, &guest, ID, "t", &err), ERR_NOT_FOUND);
	assert_int_equal(service_show(w->service, &admin, "../etc/passwd", &w->arena, &image, &err), ERR_NOT_FOUND);
	assert_string_equal(journal(w), "");
}

static void test_only_admins_publish(void **state)
{
	struct world *w = *state;
	struct image image;
	struct err err = {0};

	image_init(&image);
	image.visibility = IMAGE_PUBLIC;
	assert_int_equal(create_and_wait(w->service, &owner, &image, &err), ERR_FORBIDDEN);
	image.visibility = IMAGE_SHARED;
	image.owner = "p2";
	assert_int_equal(create_and_wait(w->service, &owner, &image, &err), ERR_FORBIDDEN);
	assert_int_equal(create_and_wait(w->service, &admin, &image, &err), 0);
	assert_string_equal(journal(w), "image.create:queued");
}

static void test_id_is_never_given_out_twice(void **state)
{
	struct world *w = *state;
	struct image image;
	struct err err = {0};

	create(w, IMAGE_PRIVATE);
	assert_int_equal(service_delete(w->service, &owner, ID, &err), 0);
	image_init(&image);
	strcpy(image.id, ID);
	journal(w);
	assert_int_equal(create_and_wait(w->service, &admin, &image, &err), ERR_CONFLICT);
	assert_string_equal(journal(w), "");
}

static void test_sharing(void **state)
{
	struct world *w = *state;
	struct image_member m;
	struct image image;
	struct err err = {0};

	create(w, IMAGE_SHARED);
	journal(w);
	assert_int_equal(service_member_add(w->service, &owner, ID, "p2", &w->arena, &m, &err), 0);
	assert_int_equal(service_member_add(w->service, &owner, ID, "p2", &w->arena, &m, &err), ERR_CONFLICT);
	assert_int_equal(service_show(w->service, &guest, ID, &w->arena, &image, &err), 0);
	assert_int_equal(service_delete(w->service, &guest, ID, &err), ERR_FORBIDDEN);
	assert_int_equal(service_member_set(w->service, &owner, ID, "p2", MEMBER_ACCEPTED, &w->arena, &m, &err),
			 ERR_FORBIDDEN);
	assert_int_equal(service_member_set(w->service, &guest, ID, "p2", MEMBER_ACCEPTED, &w->arena, &m, &err), 0);
	assert_int_equal(service_member_add(w->service, &guest, ID, "p3", &w->arena, &m, &err), ERR_FORBIDDEN);
	assert_int_equal(service_member_add(w->service, &owner, ID, "p3", &w->arena, &m, &err), 0);
	assert_int_equal(service_member_add(w->service, &owner, ID, "p4", &w->arena, &m, &err), ERR_TOO_LARGE);
	assert_int_equal(service_member_show(w->service, &guest, ID, "p3", &w->arena, &m, &err), ERR_NOT_FOUND);
	assert_int_equal(service_member_remove(w->service, &owner, ID, "p2", &err), 0);
	assert_int_equal(service_show(w->service, &guest, ID, &w->arena, &image, &err), ERR_NOT_FOUND);
	assert_string_equal(journal(w), "image.member.create:pending image.member.update:accepted "
					"image.member.create:pending image.member.delete:accepted");
}

static void test_protected_stays(void **state)
{
	struct world *w = *state;
	struct image image;
	struct err err = {0};

	image_init(&image);
	strcpy(image.id, ID);
	image.is_protected = true;
	assert_int_equal(create_and_wait(w->service, &owner, &image, &err), 0);
	journal(w);
	assert_int_equal(service_delete(w->service, &admin, ID, &err), ERR_FORBIDDEN);
	assert_string_equal(journal(w), "");
}

static void test_tags(void **state)
{
	struct world *w = *state;
	struct err err = {0};

	create(w, IMAGE_PRIVATE);
	journal(w);
	assert_int_equal(service_add_tag(w->service, &owner, ID, "t", &err), 0);
	assert_int_equal(service_add_tag(w->service, &owner, ID, "t", &err), 0);
	assert_int_equal(service_remove_tag(w->service, &owner, ID, "t", &err), 0);
	assert_int_equal(service_remove_tag(w->service, &owner, ID, "t", &err), ERR_NOT_FOUND);
	assert_string_equal(journal(w), "image.update:queued image.update:queued image.update:queued");
	for (int i = 0; i < 10; i++) {
		char tag[8];

		snprintf(tag, sizeof(tag), "%d", i);
		assert_int_equal(service_add_tag(w->service, &owner, ID, tag, &err), 0);
	}
	journal(w);
	assert_int_equal(service_add_tag(w->service, &owner, ID, "eleventh", &err), ERR_TOO_LARGE);
	assert_string_equal(journal(w), "");
}

static void test_sent(void **state)
{
	struct world *w = *state;
	struct sent all = {ID, "p1", 10, true}, part = {ID, "p1", 3, false};
	struct err err = {0};

	assert_true(service_wants_sent(w->service));
	assert_int_equal(service_sent(w->service, &guest, &all, &err), 0);
	assert_int_equal(service_sent(w->service, &guest, &part, &err), 0);
	assert_string_equal(journal(w), "image.send image.send!");
}

/* -- metrics -------------------------------------------------------------------------------------- */

static void expect_metrics(const struct metrics *m, const char *expected)
{
	AUTO(buf_done) struct buf text = {0};
	AUTO(buf_done) struct buf samples = {0};
	char *rest = NULL;

	metrics_render(m, &text);
	for (char *line = strtok_r(text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (line[0] != '#')
			buf_addf(&samples, "%s\n", line);
	assert_string_equal(buf_cstr(&samples), expected);
}

static void add_removal(struct world *w, int64_t n_failures)
{
	struct db_removal removal = {.image_id = ID, .url = "file:///nowhere"};
	struct db_tx *tx;

	assert_int_equal(db_begin(w->db, DB_WRITE, &tx, NULL), 0);
	assert_int_equal(db_removal_insert(tx, &removal, NULL), 0);
	for (int64_t i = 0; i < n_failures; i++)
		assert_int_equal(db_removal_retry(tx, 1, 0, NULL), 0);
	assert_int_equal(db_commit(&tx, NULL), 0);
}

#define TASKS "glint_tasks_waiting 0\nglint_tasks_running 0\n"

static void test_measured(void **state)
{
	struct world *w = *state;
	struct service_config config = {.limits = {formats, formats, 10, 10, 2}, .node = "here"};
	struct upload first = {.image_id = ID}, second = {.image_id = "other"};
	AUTO(metrics_free_p) struct metrics *m = NULL;
	AUTO(service_free_p) struct service *service = NULL;

	assert_int_equal(metrics_new(&m, NULL), 0);
	config.metrics = m;
	assert_int_equal(service_new(w->db, w->stores, w->notify, &config, &service, NULL), 0);
	expect_metrics(m, "glint_uploads_running 0\n" TASKS "glint_removals_pending 0\nglint_removals_failing 0\n");
	uploads_add(service, &first);
	uploads_add(service, &second);
	add_removal(w, 2);
	add_removal(w, 0);
	expect_metrics(m, "glint_uploads_running 2\n" TASKS "glint_removals_pending 2\nglint_removals_failing 1\n");
	uploads_remove(service, &first);
	uploads_remove(service, &second);
	expect_metrics(m, "glint_uploads_running 0\n" TASKS "glint_removals_pending 2\nglint_removals_failing 1\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whole_life, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_second_upload_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failed_uploads_leave_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_delete_ends_the_upload, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_recovery_after_a_crash, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_recovery_leaves_running_uploads_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_others_see_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_only_admins_publish, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_id_is_never_given_out_twice, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sharing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_protected_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tags, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_measured, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/contract/db_contract_test.c -- what db/db.h promises, asked of every driver in the table.
 *
 * A driver that needs a server gets an empty database by GLINT_TEST_DB_<NAME>, a URL; without it, it is
 * skipped. */
#include "db/driver.h"

#include <ctype.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/metrics.h"

#define T0 INT64_C(1700000000000000) /* a whole second */

static const struct db_driver *driver; /* the one under test */
static char directory[64];
static char url[256];
static struct db *db;

#define OK(call)                                                                                             \
	do {                                                                                                 \
		struct err err = {0};                                                                        \
		int r_ = (call);                                                                             \
		if (r_ != 0)                                                                                 \
			fail_msg("%s: %d %s (%s)", #call, r_, err.text, err.detail);                         \
	} while (0)

#define FAILS(how, call)                                                                                     \
	do {                                                                                                 \
		struct err err = {0};                                                                        \
		assert_int_equal((call), (how));                                                             \
		assert_int_equal(err.code, (how));                                                           \
		assert_true(err.text[0] != '\0');                                                            \
	} while (0)

/* -- fixture ------------------------------------------------------------------------------------ */

static int open_db(void **state)
{
	char variable[64] = "GLINT_TEST_DB_", *end = variable + strlen(variable);
	struct err err = {0};

	if (!strcmp(driver->name, "sqlite")) {
		(void)snprintf(directory, sizeof(directory), "/tmp/glint-db-XXXXXX");
		if (!mkdtemp(directory))
			return -1;
		(void)snprintf(url, sizeof(url), "sqlite:///%s/images.sqlite", directory);
	} else {
		for (const char *p = driver->name; *p; p++)
			*end++ = (char)toupper((unsigned char)*p);
		if (!getenv(variable))
			return -1;
		(void)snprintf(url, sizeof(url), "%s", getenv(variable));
	}
	return db_open(url, &db, &err);
}

static int close_db(void **state)
{
	char command[128];

	db_close(TAKE(db));
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return directory[0] ? system(command) : 0;
}

static struct db_tx *begin(enum db_mode mode)
{
	struct db_tx *tx = NULL;

	OK(db_begin(db, mode, &tx, &err));
	return tx;
}

static void commit(struct db_tx *tx)
{
	OK(db_commit(&tx, &err));
	assert_null(tx);
}

/* Ids that sort like their numbers. */
static const char *id_of(unsigned n, char out[UUID_LEN + 1])
{
	(void)snprintf(out, UUID_LEN + 1, "%08x-0000-4000-8000-000000000000", n);
	return out;
}

static struct image an_image(unsigned n)
{
	struct image img;

	image_init(&img);
	(void)id_of(n, img.id);
	img.owner = "mine";
	img.created_at = img.updated_at = T0 + n;
	return img;
}

static void insert(const struct image *img)
{
	struct db_tx *tx = begin(DB_WRITE);

	OK(db_image_insert(tx, img, &err));
	commit(tx);
}

static struct image get(unsigned n, struct arena *a)
{
	struct db_tx *tx = begin(DB_READ);
	char id[UUID_LEN + 1];
	struct image img;

	OK(db_image_get(tx, id_of(n, id), false, a, &img, &err));
	db_abort(tx);
	return img;
}

static bool exists(unsigned n)
{
	AUTO(arena_done) struct arena a = {0};
	struct db_tx *tx = begin(DB_READ);
	char id[UUID_LEN + 1];
	struct image img;
	int r = db_image_get(tx, id_of(n, id), false, &a, &img, NULL);

	db_abort(tx);
	assert_true(r == 0 || r == ERR_NOT_FOUND);
	return r == 0;
}

/* -- opening ------------------------------------------------------------------------------------ */

static void test_open_refuses(void **state)
{
	struct db *other = NULL;

	FAILS(ERR_INVALID, db_open("", &other, &err));
	FAILS(ERR_INVALID, db_open("/just/a/path", &other, &err));
	FAILS(ERR_INVALID, db_open("nosuch://host/db", &other, &err));
	FAILS(ERR_INVALID, db_open("sqlit:///x", &other, &err));
	assert_null(other);
}

/* A URL may hold a password: whatever goes wrong, it is not repeated. */
static void test_open_keeps_secrets(void **state)
{
	struct db *other = NULL;
	struct err err = {0};

	assert_true(db_open("nosuch+dialect://user:c4nary@host/db", &other, &err) < 0);
	assert_null(strstr(err.text, "c4nary"));
	assert_null(strstr(err.detail, "c4nary"));
}

static void test_version(void **state)
{
	struct db_version v;

	assert_int_equal(driver->version, DB_DRIVER_VERSION);
	OK(db_version(db, &v, &err));
	assert_string_equal(v.images, "wallaby_contract01");
	assert_true(v.glint >= 1);
}

static void test_survives_reopening(void **state)
{
	struct image img = an_image(1);

	insert(&img);
	db_close(TAKE(db));
	OK(db_open(url, &db, &err));
	assert_true(exists(1));
}

/* -- images ------------------------------------------------------------------------------------- */

static struct image a_full_image(unsigned n)
{
	static struct image_property properties[] = {
		{"z", "last name first"}, {"a", ""}, {"none", NULL}, {"q'\"\\;--", "v'\"\\%_"}};
	static const char *tags[] = {"y", "x", "o'tag"};
	struct image img = an_image(n);

	img.name = "a 'name' \xe2\x82\xac";
	img.disk_format = "qcow2";
	img.container_format = "bare";
	img.checksum = "d41d8cd98f00b204e9800998ecf8427e";
	img.os_hash_algo = "sha512";
	img.os_hash_value = "cf83e1357eefb8bd";
	img.status = IMAGE_ACTIVE;
	img.visibility = IMAGE_COMMUNITY;
	img.size = 0;
	img.virtual_size = INT64_C(1) << 60;
	img.min_disk = 3;
	img.min_ram = 4;
	img.is_protected = img.os_hidden = true;
	img.created_at = T0 + 123456;
	img.updated_at = T0 + 1000000;
	img.properties = properties;
	img.n_properties = ARRAY_LEN(properties);
	img.tags = tags;
	img.n_tags = ARRAY_LEN(tags);
	return img;
}

static void same_text(const char *a, const char *b)
{
	if (a && b)
		assert_string_equal(a, b);
	else
		assert_true(a == b);
}

static void same_image(const struct image *a, const struct image *b)
{
	assert_string_equal(a->id, b->id);
	same_text(a->name, b->name);
	same_text(a->owner, b->owner);
	same_text(a->disk_format, b->disk_format);
	same_text(a->container_format, b->container_format);
	same_text(a->checksum, b->checksum);
	same_text(a->os_hash_algo, b->os_hash_algo);
	same_text(a->os_hash_value, b->os_hash_value);
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->visibility, b->visibility);
	assert_true(a->size == b->size && a->virtual_size == b->virtual_size);
	assert_true(a->min_disk == b->min_disk && a->min_ram == b->min_ram);
	assert_true(a->is_protected == b->is_protected && a->os_hidden == b->os_hidden);
	assert_true(a->created_at == b->created_at && a->updated_at == b->updated_at);
	assert_int_equal(a->n_properties, b->n_properties);
	for (size_t i = 0; i < a->n_properties; i++) {
		assert_string_equal(a->properties[i].name, b->properties[i].name);
		same_text(a->properties[i].value, b->properties[i].value);
	}
	assert_int_equal(a->n_tags, b->n_tags);
	for (size_t i = 0; i < a->n_tags; i++)
		assert_true(image_has_tag(b, a->tags[i]));
}

static void test_insert_and_get(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image full = a_full_image(1), bare = an_image(2), got;

	bare.owner = NULL;
	bare.updated_at = 0;
	insert(&full);
	insert(&bare);
	got = get(1, &a);
	same_image(&full, &got);
	assert_false(got.deleted);
	got = get(2, &a);
	same_image(&bare, &got);
	assert_int_equal(got.n_locations, 0);
	assert_false(exists(3));
}

static void test_many_properties_keep_their_order(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img = an_image(1), got;
	char name[16];

	for (int i = 0; i < 300; i++) {
		(void)snprintf(name, sizeof(name), "p%d", i * 7919 % 300);
		OK(image_set_property(&img, &a, name, "v", &err));
		OK(image_add_tag(&img, &a, name, &err));
	}
	insert(&img);
	got = get(1, &a);
	same_image(&img, &got);
}

static void test_ids_are_never_reused(void **state)
{
	struct image img = a_full_image(1);
	struct db_tx *tx;
	int64_t n;

	insert(&img);
	tx = begin(DB_WRITE);
	FAILS(ERR_CONFLICT, db_image_insert(tx, &img, &err));
	OK(db_image_delete(tx, img.id, T0, &err));
	FAILS(ERR_CONFLICT, db_image_insert(tx, &img, &err));
	OK(db_purge(tx, T0 + 1, 1000, &n, &err));
	commit(tx); /* a conflict is an answer, not a reason to roll back */

	tx = begin(DB_WRITE);
	FAILS(ERR_CONFLICT, db_image_insert(tx, &img, &err));
	db_abort(tx);
	assert_false(exists(1));
}

static void test_delete(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img = a_full_image(1), got;
	struct image_member m = {.member_id = "friend", .created_at = T0};
	struct db_tx *tx;

	insert(&img);
	(void)id_of(1, m.image_id);
	tx = begin(DB_WRITE);
	OK(db_member_insert(tx, &m, &err));
	OK(db_location_add(tx, img.id, "file:///x", NULL, T0, &err));
	OK(db_image_delete(tx, img.id, T0 + 77, &err));
	FAILS(ERR_NOT_FOUND, db_image_delete(tx, img.id, T0 + 78, &err));
	FAILS(ERR_NOT_FOUND, db_image_get(tx, img.id, false, &a, &got, &err));
	FAILS(ERR_NOT_FOUND, db_member_get(tx, img.id, "friend", &a, &m, &err));
	OK(db_image_get(tx, img.id, true, &a, &got, &err));
	assert_true(got.deleted && got.status == IMAGE_DELETED);
	assert_true(got.deleted_at == T0 + 77 && got.updated_at == T0 + 77);
	assert_true(got.size == img.size && got.checksum); /* as they were */
	assert_int_equal(got.n_properties + got.n_tags + got.n_locations, 0);
	commit(tx);
}

static void test_locations(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img = an_image(1), got;
	struct db_tx *tx = begin(DB_WRITE);

	OK(db_image_insert(tx, &img, &err));
	OK(db_location_add(tx, img.id, "file:///one", NULL, T0, &err));
	OK(db_location_add(tx, img.id, "file:///two", "{\"store\": \"b\"}", T0, &err));
	commit(tx);
	got = get(1, &a);
	assert_int_equal(got.n_locations, 2);
	assert_string_equal(got.locations[0].url, "file:///one");
	assert_null(got.locations[0].metadata);
	assert_string_equal(got.locations[1].url, "file:///two");
	assert_string_equal(got.locations[1].metadata, "{\"store\": \"b\"}");
}

/* Change image @n in a transaction of its own. */
static void change(unsigned n, void (*how)(struct image *, struct arena *))
{
	AUTO(arena_done) struct arena a = {0};
	struct db_tx *tx = begin(DB_WRITE);
	char id[UUID_LEN + 1];
	struct image before, after;

	OK(db_image_get(tx, id_of(n, id), false, &a, &before, &err));
	OK(db_image_get(tx, id, false, &a, &after, &err));
	how(&after, &a);
	OK(db_image_update(tx, &before, &after, &err));
	commit(tx);
}

static void change_everything(struct image *img, struct arena *a)
{
	struct image full = a_full_image(1);

	full.created_at = img->created_at;
	*img = full;
}

static void clear_everything(struct image *img, struct arena *a)
{
	int64_t created_at = img->created_at;

	*img = an_image(1);
	img->created_at = created_at;
}

static void remove_a(struct image *img, struct arena *a)
{
	assert_true(image_remove_property(img, "a"));
	assert_true(image_remove_tag(img, "x"));
	img->updated_at++;
}

static void set_a_again(struct image *img, struct arena *a)
{
	OK(image_set_property(img, a, "a", "back", &err));
	OK(image_set_property(img, a, "new", "n", &err));
	OK(image_add_tag(img, a, "x", &err));
	img->updated_at++;
}

static void test_update(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img = an_image(1), full = a_full_image(1), got;

	insert(&img);
	change(1, change_everything);
	full.created_at = img.created_at;
	got = get(1, &a);
	same_image(&full, &got);
	change(1, clear_everything);
	got = get(1, &a);
	same_image(&img, &got);
}

static void test_a_removed_property_is_revived(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img = a_full_image(1), got;

	insert(&img);
	change(1, remove_a);
	got = get(1, &a);
	assert_int_equal(got.n_properties, 3);
	assert_null(image_find_property(&got, "a"));
	assert_false(image_has_tag(&got, "x"));
	change(1, set_a_again);
	got = get(1, &a);
	assert_int_equal(got.n_properties, 5);
	assert_string_equal(got.properties[1].name, "a"); /* in its old place */
	assert_string_equal(got.properties[1].value, "back");
	assert_string_equal(got.properties[4].name, "new");
	assert_int_equal(got.n_tags, 3);
}

static void test_update_of_nothing(void **state)
{
	struct image before = an_image(1), after = an_image(1);
	struct db_tx *tx = begin(DB_WRITE);

	after.name = "x";
	FAILS(ERR_NOT_FOUND, db_image_update(tx, &before, &after, &err));
	db_abort(tx);
}

/* -- transactions ------------------------------------------------------------------------------- */

static void test_abort_undoes(void **state)
{
	struct image img = a_full_image(1);
	struct db_tx *tx = begin(DB_WRITE);

	OK(db_image_insert(tx, &img, &err));
	db_abort(tx);
	db_abort(NULL);
	assert_false(exists(1));
	insert(&img); /* the id was not used after all */
}

static void test_a_read_sees_one_state(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image one = an_image(1), two = an_image(2), got;
	struct db_tx *reader, *writer;

	insert(&one);
	reader = begin(DB_READ);
	OK(db_image_get(reader, one.id, false, &a, &got, &err));
	writer = begin(DB_WRITE);
	OK(db_image_insert(writer, &two, &err));
	assert_false(exists(2)); /* not yet */
	commit(writer);
	assert_true(exists(2));
	FAILS(ERR_NOT_FOUND, db_image_get(reader, two.id, false, &a, &got, &err));
	OK(db_commit(&reader, &err)); /* of a read: fine */
}

/* The caller did not look at a failure: the transaction is not committed all the same. */
static void test_a_failure_dooms(void **state)
{
	struct image img = an_image(1);
	struct db_tx *tx = begin(DB_WRITE);

	OK(db_image_insert(tx, &img, &err));
	FAILS(ERR_NOT_FOUND, db_location_add(tx, "no-such-image", "file:///x", NULL, T0, &err));
	FAILS(ERR_NOT_FOUND, db_commit(&tx, &err));
	assert_null(tx);
	assert_false(exists(1));
	insert(&img);
}

#define N_THREADS 8
#define N_ROUNDS 40

static void count_up(struct db_tx *tx, bool *ret_undo, unsigned *seed)
{
	AUTO(arena_done) struct arena a = {0};
	char id[UUID_LEN + 1];
	struct image before, after;
	struct db_event e = {.event_type = "x", .payload = "{}", .subject = id_of(1, id), .timestamp = T0};

	OK(db_image_get(tx, id, false, &a, &before, &err));
	after = before;
	after.min_ram++;
	OK(db_image_update(tx, &before, &after, &err));
	OK(db_event_insert(tx, &e, &err));
	*ret_undo = rand_r(seed) % 3 == 0;
}

static void *count_up_often(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	intptr_t n = 0;

	for (int i = 0; i < N_ROUNDS; i++) {
		struct db_tx *tx = begin(DB_WRITE);
		bool undo;

		count_up(tx, &undo, &seed);
		if (undo) {
			db_abort(tx);
		} else {
			commit(tx);
			n++;
		}
	}
	return (void *)n;
}

static int check_gapless(void *cls, const struct db_event *e, struct err *err)
{
	int64_t *n = cls;

	assert_true(e->seq == ++*n);
	return 0;
}

/* Nothing is lost, nothing half done, however transactions are committed together. */
static void test_writers_are_serial(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img = an_image(1);
	pthread_t threads[N_THREADS];
	int64_t n_done = 0, n_events = 0;
	struct db_tx *tx;
	void *n;

	insert(&img);
	for (uintptr_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_up_often, (void *)(i + 1)), 0);
	for (size_t i = 0; i < N_THREADS; i++) {
		(void)pthread_join(threads[i], &n);
		n_done += (intptr_t)n;
	}
	img = get(1, &a);
	assert_true(n_done > 0 && img.min_ram == n_done);
	tx = begin(DB_READ);
	OK(db_event_read(tx, 0, N_THREADS * N_ROUNDS, check_gapless, &n_events, &err));
	assert_true(n_events == n_done);
	db_abort(tx);
}

static void *read_a_while(void *arg)
{
	for (int i = 0; i < 50; i++)
		assert_true(exists(1));
	return NULL;
}

/* More at a time than there are connections. */
static void test_many_readers(void **state)
{
	struct image img = an_image(1);
	pthread_t threads[40];

	insert(&img);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_a_while, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		(void)pthread_join(threads[i], NULL);
}

/* The number behind "\n@name " in what @m renders. */
static int64_t measured(const struct metrics *m, const char *name)
{
	AUTO(buf_done) struct buf text = {0};
	char line[128];
	const char *at;

	(void)snprintf(line, sizeof(line), "\n%s ", name);
	metrics_render(m, &text);
	at = strstr(buf_cstr(&text), line);
	assert_non_null(at);
	return strtoll(at + strlen(line), NULL, 10);
}

static void test_commits_are_measured(void **state)
{
	AUTO(metrics_free_p) struct metrics *m = NULL;
	struct image img;

	OK(metrics_new(&m, &err));
	OK(db_watch(db, m, &err));
	for (unsigned n = 1; n <= 3; n++) {
		img = an_image(n);
		insert(&img);
	}
	db_abort(begin(DB_WRITE));
	commit(begin(DB_READ));
	assert_int_equal(measured(m, "glint_db_commit_seconds_count"), 3);
	assert_int_equal(measured(m, "glint_db_commit_transactions_count"), 3);
	assert_int_equal(measured(m, "glint_db_commit_transactions_sum"), 3);
	assert_int_equal(measured(m, "glint_db_commit_transactions_bucket{le=\"1\"}"), 3);
	db_close(TAKE(db)); /* it may use m */
}

static void test_only_what_is_committed_counts(void **state)
{
	const struct metric_spec spec = {.name = "things", .help = "Things."};
	AUTO(metrics_free_p) struct metrics *m = NULL;
	struct image img = an_image(1);
	struct metric *things;
	struct db_tx *tx;

	OK(metrics_new(&m, &err));
	OK(metrics_register(m, &spec, &things, &err));
	tx = begin(DB_WRITE);
	OK(db_image_insert(tx, &img, &err));
	for (unsigned n = 0; n < 3; n++)
		db_count(tx, things, 0);
	db_count(tx, NULL, 0);
	assert_int_equal(measured(m, "things"), 0);
	commit(tx);
	assert_int_equal(measured(m, "things"), 3);

	tx = begin(DB_WRITE);
	db_count(tx, things, 0);
	db_abort(tx);
	tx = begin(DB_WRITE);
	db_count(tx, things, 0);
	FAILS(ERR_NOT_FOUND, db_location_add(tx, "no-such-image", "file:///x", NULL, T0, &err));
	FAILS(ERR_NOT_FOUND, db_commit(&tx, &err));
	assert_int_equal(measured(m, "things"), 3);

	tx = begin(DB_WRITE);
	for (unsigned n = 0; n < 2 * DB_TX_MAX_COUNTS; n++)
		db_count(tx, things, 0);
	commit(tx);
	assert_int_equal(measured(m, "things"), 3 + 2 * DB_TX_MAX_COUNTS);
}

/* -- lists -------------------------------------------------------------------------------------- */

static const struct image_sort newest_first[] = {{FIELD_CREATED_AT, true}, {FIELD_ID, true}};

static struct image_query a_query(const char *project)
{
	return (struct image_query){
		.project = project, .sorts = (struct image_sort *)newest_first, .n_sorts = 2, .limit = 1000};
}

static int append_number(void *cls, const struct image *img, struct err *err)
{
	char *out = cls;
	size_t n = strlen(out);

	(void)snprintf(out + n, 1024 - n, "%s%lu", n ? " " : "", strtoul(img->id, NULL, 16));
	return 0;
}

/* The numbers of the images on the page, in its order. */
static void lists(const struct image_query *q, const char *wanted)
{
	struct db_tx *tx = begin(DB_READ);
	char got[1024] = "";

	OK(db_image_list(tx, q, append_number, got, &err));
	db_abort(tx);
	assert_string_equal(got, wanted);
}

static void share(unsigned n, const char *member, enum member_status status)
{
	struct image_member m = {.member_id = member, .status = status, .created_at = T0, .updated_at = T0};
	struct db_tx *tx = begin(DB_WRITE);

	(void)id_of(n, m.image_id);
	OK(db_member_insert(tx, &m, &err));
	commit(tx);
}

static void insert_visible(unsigned n, const char *owner, enum image_visibility v)
{
	struct image img = an_image(n);

	img.owner = owner;
	img.visibility = v;
	insert(&img);
}

static void fill_visible(void)
{
	static const enum image_visibility all[] = {IMAGE_PRIVATE, IMAGE_SHARED, IMAGE_COMMUNITY,
						    IMAGE_PUBLIC};
	struct db_tx *tx;
	char id[UUID_LEN + 1];

	for (unsigned i = 0; i < 4; i++) {
		insert_visible(1 + i, "mine", all[i]);
		insert_visible(11 + i, "theirs", all[i]);
	}
	insert_visible(21, "theirs", IMAGE_SHARED);
	insert_visible(22, "theirs", IMAGE_SHARED);
	insert_visible(23, "theirs", IMAGE_SHARED);
	insert_visible(24, "theirs", IMAGE_PRIVATE);
	share(21, "mine", MEMBER_ACCEPTED);
	share(22, "mine", MEMBER_PENDING);
	share(23, "mine", MEMBER_REJECTED);
	share(24, "mine", MEMBER_ACCEPTED); /* made private afterwards: no longer shared */
	share(1, "mine", MEMBER_ACCEPTED);
	share(2, "mine", MEMBER_ACCEPTED);
	share(12, "mine", MEMBER_ACCEPTED);
	tx = begin(DB_WRITE);
	OK(db_member_delete(tx, id_of(12, id), "mine", T0, &err));
	commit(tx);
}

static void test_list_default_visibility(void **state)
{
	struct image_query q = a_query("mine");

	fill_visible();
	lists(&q, "21 14 4 3 2 1");
	q.members = MEMBERS_PENDING;
	lists(&q, "22 14 4 3 2 1");
	q.members = MEMBERS_REJECTED;
	lists(&q, "23 14 4 3 2 1");
	q.members = MEMBERS_ALL;
	lists(&q, "23 22 21 14 4 3 2 1");
	q.members = MEMBERS_ACCEPTED;
	q.project = "nobody's";
	lists(&q, "14 4");
	q.project = NULL;
	lists(&q, "14 4");
	q.project = "' OR 1=1 --";
	lists(&q, "14 4");
}

static void test_list_one_visibility(void **state)
{
	struct image_query q = a_query("mine");

	fill_visible();
	q.visibility_filter = SHOW_ALL;
	lists(&q, "21 14 13 4 3 2 1");
	q.visibility_filter = SHOW_ONE;
	q.visibility = IMAGE_PRIVATE;
	lists(&q, "1");
	q.visibility = IMAGE_SHARED;
	lists(&q, "21 2");
	q.members = MEMBERS_ALL;
	lists(&q, "23 22 21 2");
	q.visibility = IMAGE_COMMUNITY;
	lists(&q, "13 3");
	q.visibility = IMAGE_PUBLIC;
	lists(&q, "14 4");
	q.project = NULL;
	lists(&q, "14 4");
	q.visibility = IMAGE_SHARED;
	lists(&q, "");
	q.visibility_filter = SHOW_ALL;
	lists(&q, "14 13 4 3");
}

static void test_list_of_an_admin(void **state)
{
	struct image_query q = a_query("mine");

	fill_visible();
	q.sees_everything = true;
	lists(&q, "24 23 22 21 14 12 11 4 3 2 1"); /* community images of others only when asked for */
	q.project = NULL;
	lists(&q, "24 23 22 21 14 12 11 4 2 1");
	q.visibility_filter = SHOW_ALL;
	lists(&q, "24 23 22 21 14 13 12 11 4 3 2 1");
	q.visibility_filter = SHOW_ONE;
	q.visibility = IMAGE_COMMUNITY;
	lists(&q, "13 3");
	q.visibility = IMAGE_PRIVATE;
	lists(&q, "24 11 1");
}

static void test_list_leaves_out(void **state)
{
	struct image hidden = an_image(4), killed = an_image(3), gone = an_image(2), plain = an_image(1);
	struct image_query q = a_query("mine");
	struct db_tx *tx;

	hidden.os_hidden = true;
	killed.status = IMAGE_KILLED;
	insert(&hidden);
	insert(&killed);
	insert(&gone);
	insert(&plain);
	tx = begin(DB_WRITE);
	OK(db_image_delete(tx, gone.id, T0, &err));
	commit(tx);
	q.limit = 1; /* what is left out takes no place on the page */
	lists(&q, "1");
	q.os_hidden = true;
	lists(&q, "4");
	q.limit = 0;
	lists(&q, "");
}

static int see_full(void *cls, const struct image *img, struct err *err)
{
	struct image full = a_full_image(1);

	same_image(&full, img);
	++*(int *)cls;
	return 0;
}

static int stop_at_once(void *cls, const struct image *img, struct err *err)
{
	++*(int *)cls;
	return 42;
}

static void test_list_rows_are_whole(void **state)
{
	struct image full = a_full_image(1), other = a_full_image(2);
	struct image_query q = a_query("mine");
	struct db_tx *tx;
	int n = 0;

	insert(&full);
	insert(&other);
	q.os_hidden = true;
	q.limit = 1;
	q.sorts = (struct image_sort[]){{FIELD_ID, false}, {FIELD_CREATED_AT, false}};
	tx = begin(DB_READ);
	OK(db_image_list(tx, &q, see_full, &n, &err));
	assert_int_equal(n, 1);
	q.limit = 10;
	assert_int_equal(db_image_list(tx, &q, stop_at_once, &n, NULL), 42);
	assert_int_equal(n, 2);
	db_abort(tx);
}

/* A list inside a list, and a get: they share prepared statements. */
static int list_again(void *cls, const struct image *img, struct err *unused)
{
	AUTO(arena_done) struct arena a = {0};
	struct db_tx *tx = cls;
	struct image_query q = a_query("mine");
	struct image got;
	char all[1024] = "";

	OK(db_image_list(tx, &q, append_number, all, &err));
	assert_string_equal(all, "3 2 1");
	OK(db_image_get(tx, img->id, false, &a, &got, &err));
	return 0;
}

static void test_list_in_a_list(void **state)
{
	struct image_query q = a_query("mine");
	struct db_tx *tx;

	for (unsigned i = 1; i <= 3; i++)
		insert_visible(i, "mine", IMAGE_PRIVATE);
	tx = begin(DB_READ);
	OK(db_image_list(tx, &q, list_again, tx, &err));
	db_abort(tx);
}

/* -- filters ------------------------------------------------------------------------------------ */

static void lists_with(struct image_filter f, const char *wanted)
{
	struct image_query q = a_query("mine");

	q.filters = &f;
	q.n_filters = 1;
	lists(&q, wanted);
}

#define TEXTS(...)                                                                                           \
	(const char *const[])                                                                                \
	{                                                                                                    \
		__VA_ARGS__                                                                                  \
	}
#define WITH_TEXT(f, o, ...)                                                                                 \
	((struct image_filter){.field = (f),                                                                 \
			       .op = (o),                                                                    \
			       .texts = TEXTS(__VA_ARGS__),                                                  \
			       .n_texts = sizeof(TEXTS(__VA_ARGS__)) / sizeof(char *)})
#define WITH_NUMBER(f, o, n) ((struct image_filter){.field = (f), .op = (o), .number = (n)})

static void fill_filtered(void)
{
	struct image one = an_image(1), two = an_image(2), three = an_image(3);

	one.name = "alpha";
	one.status = IMAGE_ACTIVE;
	one.size = 10;
	one.checksum = "c1";
	one.disk_format = "raw";
	one.min_ram = 5;
	one.is_protected = true;
	two.name = "beta, 'x'";
	two.size = 20;
	two.container_format = "ovf";
	two.updated_at = T0 + 5000000;
	three.status = IMAGE_ACTIVE;
	three.updated_at = 0;
	insert(&one);
	insert(&two);
	insert(&three);
}

static void test_filters_on_columns(void **state)
{
	char id[UUID_LEN + 1];

	fill_filtered();
	lists_with(WITH_TEXT(FIELD_NAME, OP_EQ, "alpha"), "1");
	lists_with(WITH_TEXT(FIELD_NAME, OP_EQ, "ALPHA"), "");
	lists_with(WITH_TEXT(FIELD_NAME, OP_EQ, "%"), "");
	lists_with(WITH_TEXT(FIELD_NAME, OP_EQ, "' OR '1'='1"), "");
	lists_with(WITH_TEXT(FIELD_NAME, OP_EQ, ""), "");
	lists_with(WITH_TEXT(FIELD_NAME, OP_IN, "beta, 'x'", "alpha", "gamma"), "2 1");
	lists_with(WITH_TEXT(FIELD_ID, OP_EQ, id_of(3, id)), "3");
	lists_with(WITH_TEXT(FIELD_STATUS, OP_EQ, "active"), "3 1");
	lists_with(WITH_TEXT(FIELD_STATUS, OP_IN, "queued", "saving"), "2");
	lists_with(WITH_TEXT(FIELD_CHECKSUM, OP_EQ, "c1"), "1");
	lists_with(WITH_TEXT(FIELD_DISK_FORMAT, OP_EQ, "raw"), "1");
	lists_with(WITH_TEXT(FIELD_CONTAINER_FORMAT, OP_IN, "ovf"), "2");
	lists_with(WITH_TEXT(FIELD_OWNER, OP_EQ, "mine"), "3 2 1");
	lists_with(WITH_TEXT(FIELD_OWNER, OP_EQ, "theirs"), "");
	lists_with(WITH_NUMBER(FIELD_SIZE, OP_GTE, 10), "2 1");
	lists_with(WITH_NUMBER(FIELD_SIZE, OP_GTE, 11), "2");
	lists_with(WITH_NUMBER(FIELD_SIZE, OP_LTE, 10), "1");
	lists_with(WITH_NUMBER(FIELD_MIN_RAM, OP_EQ, 5), "1");
	lists_with(WITH_NUMBER(FIELD_PROTECTED, OP_EQ, 1), "1");
	lists_with(WITH_NUMBER(FIELD_PROTECTED, OP_EQ, 0), "3 2");
}

static void test_filters_on_times(void **state)
{
	const int64_t t = T0 + 5000000;

	fill_filtered();
	lists_with(WITH_NUMBER(FIELD_UPDATED_AT, OP_EQ, t), "2");
	lists_with(WITH_NUMBER(FIELD_UPDATED_AT, OP_NEQ, t), "1");
	lists_with(WITH_NUMBER(FIELD_UPDATED_AT, OP_GTE, t), "2");
	lists_with(WITH_NUMBER(FIELD_UPDATED_AT, OP_GT, t), "");
	lists_with(WITH_NUMBER(FIELD_UPDATED_AT, OP_GT, t - 1), "2");
	lists_with(WITH_NUMBER(FIELD_UPDATED_AT, OP_LTE, t), "2 1");
	lists_with(WITH_NUMBER(FIELD_UPDATED_AT, OP_LT, t), "1");
	lists_with(WITH_NUMBER(FIELD_CREATED_AT, OP_GTE, T0 + 2), "3 2");
	lists_with(WITH_NUMBER(FIELD_CREATED_AT, OP_EQ, T0 + 2), "2");
}

static void test_filters_on_properties_and_tags(void **state)
{
	struct image_property properties[] = {{"os", "linux"}, {"it's", "o'k"}};
	const char *tags[] = {"a", "b"}, *wanted[] = {"b", "a"}, *odd[] = {"' OR 1=1 --"};
	struct image one = an_image(1), two = an_image(2);
	struct image_filter f[] = {WITH_TEXT(FIELD_PROPERTY, OP_EQ, "linux"),
				   WITH_TEXT(FIELD_PROPERTY, OP_EQ, "o'k")};
	struct image_query q = a_query("mine");

	f[0].property = "os";
	f[1].property = "it's";
	one.properties = two.properties = properties;
	one.n_properties = 1;
	two.n_properties = 2;
	one.tags = two.tags = tags;
	one.n_tags = 1;
	two.n_tags = 2;
	insert(&one);
	insert(&two);
	q.filters = f;
	q.n_filters = 1;
	lists(&q, "2 1");
	q.n_filters = 2;
	lists(&q, "2");
	q.tags = wanted + 1;
	q.n_tags = 1;
	q.n_filters = 1;
	lists(&q, "2 1");
	q.tags = wanted;
	q.n_tags = 2;
	lists(&q, "2");
	q.tags = odd;
	q.n_tags = 1;
	lists(&q, "");
}

static void remove_os(struct image *img, struct arena *a)
{
	assert_true(image_remove_property(img, "os"));
	assert_true(image_remove_tag(img, "a"));
}

static void test_filters_do_not_see_what_was_removed(void **state)
{
	struct image_property properties[] = {{"os", "linux"}};
	const char *tags[] = {"a"};
	struct image img = an_image(1);
	struct image_filter f = WITH_TEXT(FIELD_PROPERTY, OP_EQ, "linux");
	struct image_query q = a_query("mine");

	f.property = "os";
	img.properties = properties;
	img.tags = tags;
	img.n_properties = img.n_tags = 1;
	insert(&img);
	change(1, remove_os);
	lists_with(f, "");
	q.tags = tags;
	q.n_tags = 1;
	lists(&q, "");
}

/* -- pages -------------------------------------------------------------------------------------- */

#define N_PAGED 24

/* Equal keys and NULLs in every sortable column, own and public and shared images among each other. */
static void fill_paged(void)
{
	static const char *const names[] = {NULL, "b", "a", "b", ""}, *const formats[] = {NULL, "raw", "ami"};
	static const enum image_status statuses[] = {IMAGE_ACTIVE, IMAGE_QUEUED};

	for (unsigned i = 1; i <= N_PAGED; i++) {
		struct image img = an_image(i * 7 % 25);

		img.name = names[i % ARRAY_LEN(names)];
		img.disk_format = formats[i % 3];
		img.container_format = formats[(i + 1) % 3];
		img.status = statuses[i % 2];
		img.size = i % 4 ? (int64_t)(i % 4) : IMAGE_SIZE_UNKNOWN;
		img.created_at = T0 + i % 3;
		img.updated_at = i % 5 ? T0 + i % 2 * 1000000 : 0;
		img.owner = i % 3 ? "mine" : "theirs";
		img.visibility = i % 3 == 0 && i % 2 ? IMAGE_SHARED : IMAGE_PUBLIC;
		insert(&img);
		if (img.visibility == IMAGE_SHARED)
			share((unsigned)strtoul(img.id, NULL, 16), "mine", MEMBER_ACCEPTED);
	}
}

struct page {
	char ids[N_PAGED + 1][UUID_LEN + 1];
	size_t n;
};

static int take_id(void *cls, const struct image *img, struct err *err)
{
	struct page *page = cls;

	assert_true(page->n < N_PAGED);
	memcpy(page->ids[page->n++], img->id, sizeof(img->id));
	return 0;
}

/* Walking in pages gives what one big page gives. */
static void walk(struct image_query q, int64_t limit)
{
	struct page whole = {0}, walked = {0};
	struct db_tx *tx = begin(DB_READ);
	size_t before;

	OK(db_image_list(tx, &q, take_id, &whole, &err));
	assert_int_equal(whole.n, N_PAGED);
	q.limit = limit;
	do {
		before = walked.n;
		q.marker = before ? walked.ids[before - 1] : NULL;
		OK(db_image_list(tx, &q, take_id, &walked, &err));
	} while (walked.n > before);
	db_abort(tx);
	assert_int_equal(walked.n, N_PAGED);
	for (size_t i = 0; i < N_PAGED; i++)
		assert_string_equal(walked.ids[i], whole.ids[i]);
}

static void walk_sorted(enum image_field field, bool first_descending, bool rest_descending, bool admin)
{
	struct image_sort sorts[] = {
		{field, first_descending}, {FIELD_CREATED_AT, rest_descending}, {FIELD_ID, rest_descending}};
	struct image_query q = a_query("mine");

	q.sorts = sorts;
	q.n_sorts = 3;
	q.sees_everything = admin;
	walk(q, 1);
	walk(q, 7);
	q.visibility_filter = SHOW_ALL;
	walk(q, 5);
}

static void test_pages_neither_repeat_nor_skip(void **state)
{
	fill_paged();
	for (int field = FIELD_ID; field <= FIELD_UPDATED_AT; field++)
		for (unsigned bits = 0; bits < 8; bits++)
			walk_sorted((enum image_field)field, bits & 1, bits & 2, bits & 4);
}

/* The tie-breakers may come first, and what may be NULL last. */
static void test_pages_in_any_order_of_keys(void **state)
{
	struct image_query q = a_query("mine");
	struct image_sort sorts[] = {{FIELD_SIZE, true},
				     {FIELD_NAME, false},
				     {FIELD_CREATED_AT, true},
				     {FIELD_ID, false},
				     {FIELD_UPDATED_AT, true}};

	fill_paged();
	q.sorts = sorts;
	q.n_sorts = ARRAY_LEN(sorts);
	walk(q, 4);
	walk(q, 1);
}

static void sorted_by(enum image_field field, bool descending, const char *wanted)
{
	struct image_sort sorts[] = {{field, descending}, {FIELD_CREATED_AT, true}, {FIELD_ID, true}};
	struct image_query q = a_query("mine");

	q.sorts = sorts;
	q.n_sorts = 3;
	lists(&q, wanted);
}

static void test_order(void **state)
{
	fill_filtered();
	sorted_by(FIELD_NAME, false, "3 1 2"); /* NULL is smaller than everything */
	sorted_by(FIELD_NAME, true, "2 1 3");
	sorted_by(FIELD_SIZE, true, "2 1 3");
	sorted_by(FIELD_STATUS, false, "3 1 2");
	sorted_by(FIELD_UPDATED_AT, true, "2 1 3");
}

static void test_marker_must_be_visible(void **state)
{
	struct image_query q = a_query("mine");
	struct db_tx *tx;
	char id[UUID_LEN + 1];

	fill_visible();
	tx = begin(DB_WRITE);
	q.marker = id_of(11, id); /* private, theirs */
	FAILS(ERR_INVALID, db_image_list(tx, &q, append_number, NULL, &err));
	q.marker = "no such id";
	FAILS(ERR_INVALID, db_image_list(tx, &q, append_number, NULL, &err));
	OK(db_image_delete(tx, id_of(1, id), T0, &err));
	q.marker = id;
	FAILS(ERR_INVALID, db_image_list(tx, &q, append_number, NULL, &err));
	commit(tx);

	q.marker = id_of(13, id); /* community: visible, though not in this list */
	lists(&q, "4 3 2");
	q.marker = id_of(22, id); /* shared with me, not accepted yet */
	lists(&q, "21 14 4 3 2");
	q.marker = id_of(11, id);
	q.sees_everything = true;
	lists(&q, "4 3 2");
}

/* -- members ------------------------------------------------------------------------------------ */

static int append_member(void *cls, const struct image_member *m, struct err *err)
{
	char *out = cls;
	size_t n = strlen(out);

	(void)snprintf(out + n, 1024 - n, "%s%s:%s", n ? " " : "", m->member_id,
		       member_status_name(m->status));
	return 0;
}

static void members_are(const char *only, const char *wanted)
{
	struct db_tx *tx = begin(DB_READ);
	char got[1024] = "", id[UUID_LEN + 1];

	OK(db_member_list(tx, id_of(1, id), only, append_member, got, &err));
	db_abort(tx);
	assert_string_equal(got, wanted);
}

static void test_members(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img = an_image(1);
	struct image_member m = {.member_id = "b", .created_at = T0, .updated_at = T0}, got;
	struct db_tx *tx;
	int64_t n;

	insert(&img);
	share(1, "b", MEMBER_PENDING);
	share(1, "a", MEMBER_ACCEPTED);
	members_are(NULL, "b:pending a:accepted");
	members_are("a", "a:accepted");
	members_are("c", "");

	(void)id_of(1, m.image_id);
	tx = begin(DB_WRITE);
	FAILS(ERR_CONFLICT, db_member_insert(tx, &m, &err));
	m.status = MEMBER_REJECTED;
	m.updated_at = T0 + 5;
	OK(db_member_update(tx, &m, &err));
	OK(db_member_get(tx, img.id, "b", &a, &got, &err));
	assert_true(got.status == MEMBER_REJECTED && got.updated_at == T0 + 5 && got.created_at == T0);
	assert_string_equal(got.image_id, img.id);
	assert_string_equal(got.member_id, "b");
	OK(db_member_count(tx, img.id, &n, &err));
	assert_int_equal(n, 2);
	m.member_id = "c";
	FAILS(ERR_NOT_FOUND, db_member_update(tx, &m, &err));
	FAILS(ERR_NOT_FOUND, db_member_delete(tx, img.id, "c", T0, &err));
	FAILS(ERR_NOT_FOUND, db_member_get(tx, img.id, "c", &a, &got, &err));
	commit(tx);
}

static void test_members_come_and_go(void **state)
{
	struct image img = an_image(1);
	struct image_member m = {.member_id = "b", .created_at = T0};
	struct db_tx *tx;
	int64_t n;

	insert(&img);
	(void)id_of(1, m.image_id);
	tx = begin(DB_WRITE);
	for (int i = 0; i < 3; i++) { /* also within one and the same microsecond */
		OK(db_member_insert(tx, &m, &err));
		OK(db_member_delete(tx, img.id, "b", T0, &err));
		FAILS(ERR_NOT_FOUND, db_member_delete(tx, img.id, "b", T0, &err));
	}
	OK(db_member_count(tx, img.id, &n, &err));
	assert_int_equal(n, 0);
	OK(db_member_insert(tx, &m, &err));
	commit(tx);
	members_are(NULL, "b:pending");
}

/* -- uploads and removals ----------------------------------------------------------------------- */

static int append_upload(void *cls, const struct db_upload *u, struct err *err)
{
	char *out = cls;
	size_t n = strlen(out);

	(void)snprintf(out + n, 1024 - n, "%s%lu@%s", n ? " " : "", strtoul(u->image_id, NULL, 16), u->node);
	return 0;
}

static void test_uploads(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct db_upload one = {.node = "n1", .store = "fast", .started_at = 5};
	struct db_upload two = {.node = "n2", .store = "", .started_at = 4}, got;
	struct db_tx *tx = begin(DB_WRITE);
	char all[1024] = "", some[1024] = "";

	(void)id_of(1, one.image_id);
	(void)id_of(2, two.image_id);
	OK(db_upload_insert(tx, &one, &err));
	OK(db_upload_insert(tx, &two, &err));
	FAILS(ERR_CONFLICT, db_upload_insert(tx, &one, &err));
	OK(db_upload_list(tx, NULL, append_upload, all, &err));
	assert_string_equal(all, "2@n2 1@n1");
	OK(db_upload_list(tx, "n1", append_upload, some, &err));
	assert_string_equal(some, "1@n1");
	OK(db_upload_get(tx, one.image_id, &a, &got, &err));
	assert_true(got.started_at == 5);
	assert_string_equal(got.node, "n1");
	assert_string_equal(got.store, "fast");
	OK(db_upload_delete(tx, one.image_id, &err));
	OK(db_upload_delete(tx, one.image_id, &err));
	FAILS(ERR_NOT_FOUND, db_upload_get(tx, one.image_id, &a, &got, &err));
	commit(tx);
}

/* -- tasks ---------------------------------------------------------------------------------------- */

#define HOUR (INT64_C(3600) * 1000000)

static struct task task_of(unsigned n, const char *owner, int64_t created_at)
{
	struct task t = {.type = TASK_TYPE_IMPORT, .owner = owner, .created_at = created_at, .updated_at = created_at};

	(void)id_of(n, t.id);
	return t;
}

static void test_task(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct task t = task_of(1, "p1", 7 * HOUR), got;
	struct db_tx *tx = begin(DB_WRITE);

	t.input = "{\"import_from\": \"http://a/\"}";
	t.request_id = "req-1";
	t.user_id = "u1";
	OK(db_task_insert(tx, &t, &err));
	FAILS(ERR_CONFLICT, db_task_insert(tx, &t, &err));
	FAILS(ERR_CONFLICT, db_task_update(tx, TASK_PROCESSING, &t, &err));
	OK(db_task_note(tx, t.id, "too early", 8 * HOUR, &err));
	OK(db_task_get(tx, t.id, &a, &got, &err));
	assert_string_equal(got.input, t.input);
	assert_string_equal(got.owner, "p1");
	assert_string_equal(got.request_id, "req-1");
	assert_string_equal(got.user_id, "u1");
	assert_null(got.message);
	assert_null(got.result);
	assert_null(got.image_id);
	assert_true(got.created_at == 7 * HOUR && got.updated_at == 7 * HOUR && got.expires_at == 0);
	t.status = TASK_PROCESSING;
	OK(db_task_update(tx, TASK_PENDING, &t, &err));
	OK(db_task_note(tx, t.id, "Copied 1 MiB", 9 * HOUR, &err));
	OK(db_task_get(tx, t.id, &a, &got, &err));
	assert_string_equal(got.message, "Copied 1 MiB");
	assert_true(got.updated_at == 9 * HOUR);
	t.status = TASK_SUCCESS;
	t.result = "{\"image_id\": \"x\"}";
	t.image_id = "an image";
	t.expires_at = 10 * HOUR;
	OK(db_task_update(tx, TASK_PROCESSING, &t, &err));
	FAILS(ERR_CONFLICT, db_task_update(tx, TASK_PROCESSING, &t, &err));
	OK(db_task_get(tx, t.id, &a, &got, &err));
	assert_int_equal(got.status, TASK_SUCCESS);
	assert_string_equal(got.result, t.result);
	assert_string_equal(got.image_id, "an image");
	assert_null(got.message);
	assert_true(got.expires_at == 10 * HOUR);
	commit(tx);
}

static void test_task_expires_and_goes(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct task t = task_of(1, "p1", HOUR), u = task_of(2, "p1", HOUR), got;
	struct db_tx *tx = begin(DB_WRITE);
	int64_t n;

	t.expires_at = 5 * HOUR;
	OK(db_task_insert(tx, &t, &err));
	OK(db_task_insert(tx, &u, &err));
	OK(db_task_expire(tx, 5 * HOUR - 1, 10, &n, &err));
	assert_int_equal(n, 0);
	OK(db_task_expire(tx, 5 * HOUR, 10, &n, &err));
	assert_int_equal(n, 1);
	FAILS(ERR_NOT_FOUND, db_task_get(tx, t.id, &a, &got, &err));
	OK(db_task_get(tx, u.id, &a, &got, &err));
	FAILS(ERR_CONFLICT, db_task_insert(tx, &t, &err)); /* until it is purged */
	OK(db_purge(tx, 5 * HOUR + 1, 10, &n, &err));
	assert_int_equal(n, 1);
	OK(db_task_insert(tx, &t, &err));
	commit(tx);
}

static int append_task(void *cls, const struct task *t, struct err *err)
{
	char *out = cls;
	size_t n = strlen(out);

	(void)snprintf(out + n, 1024 - n, "%s%lu", n ? " " : "", strtoul(t->id, NULL, 16));
	return 0;
}

static const char *tasks(struct db_tx *tx, struct task_query q)
{
	static char out[1024];

	out[0] = '\0';
	q.now = 100 * HOUR;
	q.limit = q.limit ? q.limit : -1;
	OK(db_task_list(tx, &q, append_task, out, &err));
	return out;
}

#define ADMIN .sees_everything = true

static void test_task_list(void **state)
{
	struct task all[] = {task_of(1, "p1", HOUR), task_of(2, "p2", 2 * HOUR), task_of(3, "p1", 3 * HOUR),
			     task_of(4, "p1", 3 * HOUR), task_of(5, "p1", 4 * HOUR)};
	const char *third = all[2].id;
	struct db_tx *tx = begin(DB_WRITE);

	all[0].status = TASK_FAILURE;
	all[2].type = TASK_TYPE_API_IMAGE_IMPORT;
	all[2].image_id = "an image";
	all[4].expires_at = 100 * HOUR; /* just gone */
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		OK(db_task_insert(tx, &all[i], &err));
	assert_string_equal(tasks(tx, (struct task_query){ADMIN}), "4 3 2 1");
	assert_string_equal(tasks(tx, (struct task_query){.project = "p1"}), "4 3 1");
	assert_string_equal(tasks(tx, (struct task_query){.project = NULL}), "");
	assert_string_equal(tasks(tx, (struct task_query){ADMIN, .owner = "p2"}), "2");
	assert_string_equal(tasks(tx, (struct task_query){ADMIN, .image_id = "an image"}), "3");
	assert_string_equal(tasks(tx, (struct task_query){ADMIN, .type = TASK_TYPE_IMPORT}), "4 2 1");
	assert_string_equal(tasks(tx, (struct task_query){ADMIN, .has_status = true, .status = TASK_FAILURE}), "1");
	assert_string_equal(tasks(tx, (struct task_query){ADMIN, .limit = 2}), "4 3");
	assert_string_equal(tasks(tx, (struct task_query){ADMIN, .marker = third}), "2 1");
	assert_string_equal(tasks(tx, (struct task_query){ADMIN, .marker = third, .ascending = true}), "4");
	assert_string_equal(tasks(tx, (struct task_query){ADMIN, .sort = TASK_BY_STATUS}), "4 3 2 1");
	assert_string_equal(tasks(tx, (struct task_query){ADMIN, .sort = TASK_BY_EXPIRES_AT, .ascending = true}),
			    "1 2 3 4");
	assert_string_equal(tasks(tx, (struct task_query){ADMIN, .sort = TASK_BY_TYPE, .marker = third}), "");
	commit(tx);
}

static void test_task_marker_must_be_visible(void **state)
{
	struct task t = task_of(1, "p2", HOUR);
	struct task_query q = {.project = "p1", .marker = t.id, .limit = -1, .now = HOUR};
	struct db_tx *tx = begin(DB_WRITE);
	char out[1024] = "";

	OK(db_task_insert(tx, &t, &err));
	FAILS(ERR_INVALID, db_task_list(tx, &q, append_task, out, &err));
	q.project = "p2";
	OK(db_task_list(tx, &q, append_task, out, &err));
	commit(tx);
}

static void test_jobs(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	char one[UUID_LEN + 1], two[UUID_LEN + 1];
	struct db_tx *tx = begin(DB_WRITE);
	int64_t waiting, running, n;
	struct db_job job;

	(void)id_of(1, one);
	(void)id_of(2, two);
	FAILS(ERR_NOT_FOUND, db_job_next(tx, &a, &job, &err));
	OK(db_job_insert(tx, two, &err));
	OK(db_job_insert(tx, one, &err));
	FAILS(ERR_CONFLICT, db_job_insert(tx, one, &err));
	OK(db_job_next(tx, &a, &job, &err));
	assert_string_equal(job.task_id, two);
	assert_null(job.node);
	assert_true(job.n_runs == 0 && !job.is_prepared);
	job.node = "n1";
	job.n_runs = 3;
	job.is_prepared = true;
	OK(db_job_update(tx, &job, &err));
	OK(db_job_next(tx, &a, &job, &err));
	assert_string_equal(job.task_id, one);
	OK(db_job_count(tx, &waiting, &running, &err));
	assert_true(waiting == 1 && running == 1);
	OK(db_job_get(tx, two, &a, &job, &err));
	assert_true(job.n_runs == 3 && job.is_prepared);
	assert_string_equal(job.node, "n1");
	OK(db_job_release(tx, "n2", &n, &err));
	assert_int_equal(n, 0);
	OK(db_job_release(tx, "n1", &n, &err));
	assert_int_equal(n, 1);
	OK(db_job_update(tx, &job, &err));
	OK(db_job_release(tx, NULL, &n, &err)); /* whatever it is called */
	assert_int_equal(n, 1);
	OK(db_job_delete(tx, two, &err));
	OK(db_job_delete(tx, two, &err));
	FAILS(ERR_NOT_FOUND, db_job_get(tx, two, &a, &job, &err));
	FAILS(ERR_NOT_FOUND, db_job_update(tx, &job, &err));
	commit(tx);
}

static int append_removal(void *cls, const struct db_removal *r, struct err *err)
{
	char *out = cls;
	size_t n = strlen(out);

	(void)snprintf(out + n, 1024 - n, "%s%s/%d", n ? " " : "", r->url, (int)r->n_attempts);
	return 0;
}

static int take_removal_id(void *cls, const struct db_removal *r, struct err *err)
{
	*(int64_t *)cls = r->id;
	return 0;
}

static void due(struct db_tx *tx, int64_t now, int64_t max, const char *wanted)
{
	char got[1024] = "";

	OK(db_removal_due(tx, now, max, append_removal, got, &err));
	assert_string_equal(got, wanted);
}

static void test_removals(void **state)
{
	struct db_removal r[] = {{.url = "u3", .next_attempt_at = 30},
				 {.url = "u1", .next_attempt_at = 10},
				 {.url = "u2", .next_attempt_at = 20}};
	struct db_tx *tx = begin(DB_WRITE);
	int64_t n, n_failed, id;

	for (size_t i = 0; i < ARRAY_LEN(r); i++)
		OK(db_removal_insert(tx, &r[i], &err));
	due(tx, 9, 10, "");
	due(tx, 20, 10, "u1/0 u2/0");
	due(tx, 99, 1, "u1/0");
	OK(db_removal_due(tx, 99, 1, take_removal_id, &id, &err));
	OK(db_removal_retry(tx, id, 40, &err));
	due(tx, 99, 10, "u2/0 u3/0 u1/1");
	OK(db_removal_count(tx, &n, &n_failed, &err));
	assert_true(n == 3 && n_failed == 1);
	OK(db_removal_delete(tx, id, &err));
	due(tx, 99, 10, "u2/0 u3/0");
	commit(tx);
}

/* -- the journal -------------------------------------------------------------------------------- */

static void append_event(struct db_tx *tx, const char *subject, int64_t when)
{
	struct db_event e = {.subject = subject,
			     .event_type = "image.create",
			     .priority = EVENT_WARN,
			     .timestamp = when,
			     .payload = "{\"a\": 1}",
			     .user_id = "u"};

	(void)id_of(9, e.message_id);
	OK(db_event_insert(tx, &e, &err));
}

static int append_line(void *cls, const struct db_event *e, struct err *err)
{
	char *out = cls;
	size_t n = strlen(out);

	(void)snprintf(out + n, 1024 - n, "%s%d:%s%d", n ? " " : "", (int)e->offset, e->subject, (int)e->seq);
	return 0;
}

static void journal_is(int64_t after, int64_t max, const char *wanted)
{
	struct db_tx *tx = begin(DB_READ);
	char got[1024] = "";

	OK(db_event_read(tx, after, max, append_line, got, &err));
	db_abort(tx);
	assert_string_equal(got, wanted);
}

static struct db_journal journal(void)
{
	struct db_tx *tx = begin(DB_READ);
	struct db_journal j;

	OK(db_journal(tx, &j, &err));
	db_abort(tx);
	return j;
}

static void test_events_are_numbered_without_gaps(void **state)
{
	struct db_tx *tx = begin(DB_WRITE);

	append_event(tx, "a", 10);
	append_event(tx, "b", 20);
	commit(tx);
	tx = begin(DB_WRITE);
	append_event(tx, "a", 25);
	append_event(tx, "c", 25);
	db_abort(tx);
	tx = begin(DB_WRITE);
	append_event(tx, "a", 30);
	append_event(tx, "c", 40);
	commit(tx);
	journal_is(0, 10, "1:a1 2:b1 3:a2 4:c1");
	journal_is(2, 1, "3:a2");
	journal_is(4, 10, "");
	journal_is(0, 0, "");
}

static int see_event(void *cls, const struct db_event *e, struct err *err)
{
	const struct db_event *wanted = cls;

	assert_true(e->offset == 1 && e->seq == 1 && e->priority == wanted->priority);
	assert_true(e->timestamp == wanted->timestamp);
	assert_string_equal(e->message_id, wanted->message_id);
	assert_string_equal(e->event_type, wanted->event_type);
	assert_string_equal(e->payload, wanted->payload);
	same_text(e->request_id, wanted->request_id);
	same_text(e->user_id, wanted->user_id);
	same_text(e->project_id, wanted->project_id);
	return 7;
}

static void test_events_come_back_whole(void **state)
{
	struct db_event e = {.subject = "s",
			     .event_type = "image.send",
			     .priority = EVENT_ERROR,
			     .timestamp = T0,
			     .payload = "\"it's \\u00e9\"",
			     .request_id = "req-1",
			     .project_id = "p"};
	struct db_tx *tx = begin(DB_WRITE);

	(void)id_of(5, e.message_id);
	OK(db_event_insert(tx, &e, &err));
	assert_int_equal(db_event_read(tx, 0, 1, see_event, &e, NULL), 7);
	commit(tx);
}

static void test_find_by_time(void **state)
{
	struct db_tx *tx = begin(DB_WRITE);
	int64_t offset;

	OK(db_event_find(tx, 0, &offset, &err));
	assert_int_equal(offset, 1);
	append_event(tx, "a", 10);
	append_event(tx, "a", 30);
	append_event(tx, "a", 20);
	OK(db_event_find(tx, 0, &offset, &err));
	assert_int_equal(offset, 1);
	OK(db_event_find(tx, 20, &offset, &err));
	assert_int_equal(offset, 2);
	OK(db_event_find(tx, 31, &offset, &err));
	assert_int_equal(offset, 4);
	commit(tx);
}

static int64_t prune(int64_t upto, int64_t older_than, int64_t max_bytes, int64_t max_rows)
{
	struct db_tx *tx = begin(DB_WRITE);
	int64_t n = -1;

	OK(db_event_prune(tx, upto, older_than, max_bytes, max_rows, &n, &err));
	commit(tx);
	return n;
}

static void fill_journal(int n)
{
	struct db_tx *tx = begin(DB_WRITE);

	for (int i = 1; i <= n; i++)
		append_event(tx, "a", 10 * i);
	commit(tx);
}

static void test_prune_by_age(void **state)
{
	fill_journal(6);
	assert_int_equal(prune(6, 10, INT64_MAX, 100), 0);
	assert_int_equal(prune(2, 1000, INT64_MAX, 100), 2); /* not past what is delivered */
	assert_int_equal(prune(6, 60, INT64_MAX, 1), 1);     /* not more than asked */
	assert_int_equal(prune(6, 60, INT64_MAX, 0), 0);
	assert_int_equal(prune(6, 60, INT64_MAX, 100), 2);
	journal_is(0, 10, "6:a6");
	assert_int_equal(prune(6, 1000, INT64_MAX, 100), 1);
	assert_int_equal(prune(6, 1000, INT64_MAX, 100), 0);
	fill_journal(1);
	journal_is(0, 10, "7:a7"); /* neither number starts over */
}

static void test_prune_by_size(void **state)
{
	struct db_journal j;
	int64_t all;

	fill_journal(10);
	j = journal();
	all = j.n_bytes;
	assert_true(all > 10 * 20 && all % 10 == 0);
	assert_int_equal(prune(100, 0, all, 100), 0);
	assert_int_equal(prune(100, 0, all - 1, 100), 1);
	assert_int_equal(prune(100, 0, all / 2, 100), 4);
	j = journal();
	assert_true(j.first == 6 && j.last == 10 && j.n_events == 5 && j.n_bytes == all / 2);
	assert_true(j.oldest_timestamp == 60 && j.last_ever == 10);
	assert_int_equal(prune(7, 0, 0, 100), 2);
	assert_int_equal(prune(100, 0, 0, 100), 3);
	j = journal();
	assert_true(j.first == 0 && j.last == 0 && j.n_events == 0 && j.n_bytes == 0 && j.last_ever == 10);
	fill_journal(1);
	j = journal();
	assert_true(j.first == 11 && j.last == 11 && j.n_bytes == all / 10);
}

static int append_cursor(void *cls, const struct db_cursor *c, struct err *err)
{
	char *out = cls;
	size_t n = strlen(out);

	(void)snprintf(out + n, 1024 - n, "%s%s@%d", n ? " " : "", c->driver, (int)c->offset);
	return 0;
}

static void test_cursors(void **state)
{
	struct db_cursor c = {.driver = "rabbit",
			      .offset = 3,
			      .n_delivered = 4,
			      .n_retries = 5,
			      .n_set_aside = 6,
			      .updated_at = T0,
			      .problem = "it's down"},
			 got;
	struct db_tx *tx = begin(DB_WRITE);
	char all[1024] = "";

	FAILS(ERR_NOT_FOUND, db_cursor_get(tx, "rabbit", &got, &err));
	OK(db_cursor_put(tx, &c, &err));
	OK(db_cursor_get(tx, "rabbit", &got, &err));
	assert_true(got.offset == 3 && got.n_delivered == 4 && got.n_retries == 5 && got.n_set_aside == 6);
	assert_true(got.updated_at == T0);
	assert_string_equal(got.driver, "rabbit");
	assert_string_equal(got.problem, "it's down");
	c.offset = 8;
	OK(db_cursor_put(tx, &c, &err));
	(void)snprintf(c.driver, sizeof(c.driver), "kafka");
	OK(db_cursor_put(tx, &c, &err));
	OK(db_cursor_list(tx, append_cursor, all, &err));
	assert_string_equal(all, "kafka@8 rabbit@8");
	OK(db_cursor_delete(tx, "kafka", &err));
	OK(db_cursor_delete(tx, "kafka", &err));
	FAILS(ERR_NOT_FOUND, db_cursor_get(tx, "kafka", &got, &err));
	commit(tx);
}

static void test_replays(void **state)
{
	struct db_replay one = {.driver = "log", .next = 1, .last = 5},
			 two = {.driver = "log", .next = 8, .last = 8};
	struct db_replay got;
	struct db_tx *tx = begin(DB_WRITE);

	FAILS(ERR_NOT_FOUND, db_replay_next(tx, "log", &got, &err));
	OK(db_replay_insert(tx, &one, &err));
	OK(db_replay_insert(tx, &two, &err));
	FAILS(ERR_NOT_FOUND, db_replay_next(tx, "kafka", &got, &err));
	OK(db_replay_next(tx, "log", &got, &err));
	assert_true(got.next == 1 && got.last == 5);
	assert_string_equal(got.driver, "log");
	OK(db_replay_advance(tx, got.id, 5, &err));
	OK(db_replay_next(tx, "log", &got, &err));
	assert_true(got.next == 5 && got.last == 5);
	OK(db_replay_advance(tx, got.id, 6, &err));
	OK(db_replay_next(tx, "log", &got, &err));
	assert_true(got.next == 8 && got.last == 8);
	OK(db_replay_advance(tx, got.id, 9, &err));
	FAILS(ERR_NOT_FOUND, db_replay_next(tx, "log", &got, &err));
	commit(tx);
}

static int append_set_aside(void *cls, const struct db_set_aside *s, struct err *err)
{
	char *out = cls;
	size_t n = strlen(out);

	(void)snprintf(out + n, 256 - n, "%s %lld %lld %s;", s->driver, (long long)s->offset, (long long)s->at,
		       s->reason);
	return 0;
}

static void put_set_aside(struct db_tx *tx, const char *whose, int64_t offset, const char *reason)
{
	struct db_set_aside s = {.offset = offset, .at = offset + 100, .reason = reason};

	(void)snprintf(s.driver, sizeof(s.driver), "%s", whose);
	OK(db_set_aside_put(tx, &s, &err));
}

static void test_set_aside(void **state)
{
	struct db_tx *tx = begin(DB_WRITE);
	char all[256] = "";
	int64_t n = 99;

	OK(db_set_aside_count(tx, "kafka", &n, &err));
	assert_int_equal(n, 0);
	put_set_aside(tx, "kafka", 7, "too large");
	put_set_aside(tx, "kafka", 3, "x");
	put_set_aside(tx, "kafka", 5, "y");
	put_set_aside(tx, "rabbit", 5, "z");
	put_set_aside(tx, "kafka", 3, "w"); /* replaces */
	OK(db_set_aside_list(tx, "kafka", 0, 2, append_set_aside, all, &err));
	OK(db_set_aside_list(tx, "kafka", 5, 2, append_set_aside, all, &err));
	assert_string_equal(all, "kafka 3 103 w;kafka 5 105 y;kafka 7 107 too large;");
	OK(db_set_aside_delete(tx, "kafka", 4, 7, &err));
	OK(db_set_aside_delete(tx, "kafka", 4, 7, &err));
	OK(db_set_aside_count(tx, "kafka", &n, &err));
	assert_int_equal(n, 1);
	OK(db_set_aside_count(tx, "rabbit", &n, &err));
	assert_int_equal(n, 1);
	db_abort(tx);
}

/* What is pruned cannot be replayed, so it is not listed either. */
static void test_set_aside_goes_with_its_event(void **state)
{
	struct db_tx *tx = begin(DB_WRITE);
	int64_t n;

	for (int i = 0; i < 3; i++)
		append_event(tx, "a", T0);
	put_set_aside(tx, "kafka", 2, "x");
	put_set_aside(tx, "kafka", 3, "y");
	OK(db_event_prune(tx, 2, INT64_MAX, 0, 100, &n, &err));
	assert_int_equal(n, 2);
	OK(db_set_aside_count(tx, "kafka", &n, &err));
	assert_int_equal(n, 1);
	db_abort(tx);
}

/* -- purging ------------------------------------------------------------------------------------ */

static void test_purge(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image gone = a_full_image(1), stays = a_full_image(2), got;
	struct db_tx *tx = begin(DB_WRITE);
	int64_t n;

	OK(db_image_insert(tx, &gone, &err));
	OK(db_image_insert(tx, &stays, &err));
	OK(db_location_add(tx, gone.id, "file:///x", NULL, T0, &err));
	OK(db_image_delete(tx, gone.id, T0, &err));
	OK(db_purge(tx, T0, 100, &n, &err)); /* not old enough */
	assert_int_equal(n, 0);
	OK(db_purge(tx, T0 + 1, 5, &n, &err));
	assert_int_equal(n, 5);
	OK(db_purge(tx, T0 + 1, 100, &n, &err));
	assert_int_equal(n, 4 + 3 + 1 - 5);
	OK(db_purge(tx, T0 + 1, 100, &n, &err));
	assert_int_equal(n, 0);
	OK(db_image_get(tx, gone.id, true, &a, &got, &err));
	commit(tx);
	got = get(2, &a);
	same_image(&stays, &got);
}

/* -- usage ---------------------------------------------------------------------------------------- */

static void keep_usage(enum db_usage_mode mode, bool is_counted)
{
	struct db_tx *tx = begin(DB_WRITE);
	bool counted;

	OK(db_usage_keep(tx, mode, &counted, &err));
	assert_int_equal(counted, is_counted);
	commit(tx);
}

static void usage_is(const char *owner, int64_t stored, int64_t staged, int64_t n_images, int64_t n_uploading)
{
	struct db_tx *tx = begin(DB_READ);
	struct db_usage u;

	OK(db_usage_get(tx, owner, &u, &err));
	db_abort(tx);
	assert_int_equal(u.stored_octets, stored);
	assert_int_equal(u.staged_octets, staged);
	assert_int_equal(u.n_images, n_images);
	assert_int_equal(u.n_uploading, n_uploading);
}

static void becomes_active(struct image *img, struct arena *a)
{
	img->status = IMAGE_ACTIVE;
	img->size = 1000;
}

static void becomes_staged(struct image *img, struct arena *a)
{
	img->status = IMAGE_UPLOADING;
	img->size = 70;
}

static void begins_to_import(struct image *img, struct arena *a)
{
	img->status = IMAGE_IMPORTING;
}

static void is_copied(struct image *img, struct arena *a)
{
	OK(image_set_property(img, a, "os_glance_importing_to_stores", "fast", &err));
}

static void was_copied(struct image *img, struct arena *a)
{
	OK(image_set_property(img, a, "os_glance_importing_to_stores", "", &err));
}

static void changes_hands(struct image *img, struct arena *a)
{
	img->owner = "yours";
}

static void add_location(unsigned n, const char *where)
{
	struct db_tx *tx = begin(DB_WRITE);
	char id[UUID_LEN + 1];

	OK(db_location_add(tx, id_of(n, id), where, NULL, T0, &err));
	commit(tx);
}

static void test_usage_of_a_life(void **state)
{
	struct image img = an_image(1);
	struct db_tx *tx;

	keep_usage(DB_USAGE_ENSURE, true);
	usage_is("mine", 0, 0, 0, 0);
	insert(&img);
	usage_is("mine", 0, 0, 1, 0);
	change(1, becomes_staged);
	usage_is("mine", 0, 70, 1, 1);
	change(1, begins_to_import);
	change(1, is_copied);
	usage_is("mine", 0, 70, 1, 1);
	change(1, was_copied);
	change(1, becomes_active);
	usage_is("mine", 0, 0, 1, 0);
	add_location(1, "file:///a");
	change(1, is_copied);
	usage_is("mine", 1000, 0, 1, 1);
	add_location(1, "file:///b");
	change(1, was_copied);
	usage_is("mine", 2000, 0, 1, 0);
	change(1, changes_hands);
	usage_is("mine", 0, 0, 0, 0);
	usage_is("yours", 2000, 0, 1, 0);
	tx = begin(DB_WRITE);
	OK(db_location_remove(tx, img.id, "file:///a", T0, &err));
	commit(tx);
	usage_is("yours", 1000, 0, 1, 0);
	tx = begin(DB_WRITE);
	OK(db_image_delete(tx, img.id, T0, &err));
	db_abort(tx);
	usage_is("yours", 1000, 0, 1, 0);
	tx = begin(DB_WRITE);
	OK(db_image_delete(tx, img.id, T0, &err));
	commit(tx);
	usage_is("yours", 0, 0, 0, 0);
}

static void test_usage_is_seen_in_its_transaction(void **state)
{
	struct image img = an_image(1), other = an_image(2);
	struct db_tx *tx;
	struct db_usage u;

	keep_usage(DB_USAGE_ENSURE, true);
	keep_usage(DB_USAGE_ENSURE, false);
	other.owner = NULL;
	tx = begin(DB_WRITE);
	OK(db_image_insert(tx, &img, &err));
	OK(db_image_insert(tx, &other, &err));
	OK(db_usage_get(tx, "mine", &u, &err));
	assert_int_equal(u.n_images, 1);
	OK(db_usage_get(tx, NULL, &u, &err));
	assert_int_equal(u.n_images, 1);
	db_abort(tx);
	usage_is("mine", 0, 0, 0, 0);
	usage_is(NULL, 0, 0, 0, 0);
}

static int is_equal(void *cls, const char *owner, const struct db_usage *kept, const struct db_usage *counted,
		    struct err *err)
{
	assert_memory_equal(kept, counted, sizeof(*kept));
	++*(int *)cls;
	return 0;
}

static int usage_agrees(void)
{
	struct db_tx *tx = begin(DB_READ);
	int n = 0;

	OK(db_usage_compare(tx, is_equal, &n, &err));
	db_abort(tx);
	return n;
}

/* Any change that an image can undergo, in any order that the database lets pass. */
static void step(unsigned *seed)
{
	static const char *const owners[] = {"mine", "yours", NULL}, *const values[] = {"", "fast", "fast,slow"};
	AUTO(arena_done) struct arena a = {0};
	unsigned n = rand_r(seed) % 12, what = rand_r(seed) % 8;
	AUTO(db_abort_p) struct db_tx *tx = begin(DB_WRITE);
	struct image before, after;
	struct err why = {0};
	char id[UUID_LEN + 1], where[32];

	(void)snprintf(where, sizeof(where), "file:///%u", rand_r(seed) % 3);
	if (db_image_get(tx, id_of(n, id), false, &a, &before, &why) < 0) {
		struct image img = an_image(n);

		img.owner = owners[rand_r(seed) % 3];
		(void)db_image_insert(tx, &img, &why); /* the id may have been used */
	} else if (what == 0) {
		OK(db_location_add(tx, id, where, NULL, T0, &err));
	} else if (what == 1) {
		(void)db_location_remove(tx, id, where, T0, &why);
	} else if (what == 2 && rand_r(seed) % 8 == 0) {
		OK(db_image_delete(tx, id, T0, &err));
	} else {
		OK(db_image_get(tx, id, false, &a, &after, &err));
		after.status = rand_r(seed) % IMAGE_DELETED;
		after.size = (int64_t)(rand_r(seed) % 4) * 1000 - 1;
		after.owner = owners[rand_r(seed) % 3];
		OK(image_set_property(&after, &a, "os_glance_importing_to_stores", values[rand_r(seed) % 3], &err));
		if (what == 3)
			(void)image_remove_property(&after, "os_glance_importing_to_stores");
		OK(db_image_update(tx, &before, &after, &err));
	}
	if (rand_r(seed) % 4 > 0)
		commit(TAKE(tx));
}

static void test_usage_agrees_with_a_count(void **state)
{
	unsigned seed = 7;

	keep_usage(DB_USAGE_ENSURE, true);
	for (int i = 0; i < 2000; i++) {
		step(&seed);
		if (i % 50 == 0)
			(void)usage_agrees();
	}
	assert_true(usage_agrees() >= 2);
	keep_usage(DB_USAGE_AGAIN, true);
	(void)usage_agrees();
}

static void test_usage_is_counted_when_it_was_not_kept(void **state)
{
	struct image img = an_image(1);

	insert(&img);
	usage_is("mine", 0, 0, 0, 0);
	keep_usage(DB_USAGE_ENSURE, true);
	usage_is("mine", 0, 0, 1, 0);
	keep_usage(DB_USAGE_OFF, false);
	change(1, becomes_staged);
	usage_is("mine", 0, 0, 1, 0);
	keep_usage(DB_USAGE_ENSURE, true);
	usage_is("mine", 0, 70, 1, 1);
}


/* -- pieces ------------------------------------------------------------------------------------- */

static void test_pieces(void **state)
{
	struct image gone = a_full_image(1), stays = a_full_image(2);
	struct db_tx *tx = begin(DB_WRITE);
	char got[8];
	size_t n_got;
	int64_t n;

	OK(db_image_insert(tx, &gone, &err));
	OK(db_image_insert(tx, &stays, &err));
	OK(db_pieces_put(tx, gone.id, 0, "a\0b", 3, &err));
	OK(db_pieces_put(tx, gone.id, 1, "c", 1, &err));
	OK(db_pieces_put(tx, stays.id, 0, "d", 1, &err));
	OK(db_pieces_put(tx, gone.id, 0, "other", 5, &err)); /* written once */
	OK(db_pieces_get(tx, gone.id, 0, got, sizeof(got), &n_got, &err));
	assert_int_equal(n_got, 3);
	assert_memory_equal(got, "a\0b", 3);
	OK(db_pieces_get(tx, gone.id, 0, got, 2, &n_got, &err)); /* no more than there is room for */
	assert_int_equal(n_got, 2);
	FAILS(ERR_NOT_FOUND, db_pieces_get(tx, gone.id, 2, got, sizeof(got), &n_got, &err));
	OK(db_image_delete(tx, gone.id, T0, &err));
	OK(db_purge(tx, T0, 100, &n, &err));
	OK(db_pieces_get(tx, gone.id, 1, got, sizeof(got), &n_got, &err));
	OK(db_purge(tx, T0 + 1, 100, &n, &err));
	FAILS(ERR_NOT_FOUND, db_pieces_get(tx, gone.id, 0, got, sizeof(got), &n_got, &err));
	FAILS(ERR_NOT_FOUND, db_pieces_get(tx, gone.id, 1, got, sizeof(got), &n_got, &err));
	OK(db_pieces_get(tx, stays.id, 0, got, sizeof(got), &n_got, &err));
	commit(tx);
}

/* -- running ------------------------------------------------------------------------------------ */

/* -- transactions that nobody waits for ----------------------------------------------------------- */

#define N_LATER 200

struct later {
	pthread_mutex_t lock;
	pthread_cond_t told;
	int n_told, n_good, n_bad;
};

static int append_later(void *cls, struct db_tx *tx, struct err *err)
{
	append_event(tx, "later", T0);
	return 0;
}

static int append_and_fail(void *cls, struct db_tx *tx, struct err *err)
{
	append_event(tx, "later", T0);
	return err_set(err, ERR_FORBIDDEN, "not this one");
}

static void note_told(void *cls, int r, const struct err *err)
{
	struct later *l = cls;

	(void)pthread_mutex_lock(&l->lock);
	l->n_told++;
	l->n_good += r == 0;
	l->n_bad += r == ERR_FORBIDDEN && !strcmp(err->text, "not this one");
	(void)pthread_cond_signal(&l->told);
	(void)pthread_mutex_unlock(&l->lock);
}

static void *write_and_wait(void *arg)
{
	for (int i = 0; i < N_LATER; i++) {
		struct db_tx *tx = begin(DB_WRITE);

		append_event(tx, "waiting", T0);
		OK(db_commit(&tx, &err));
	}
	return NULL;
}

/* Beside others that do wait; every fourth fails and leaves nothing. Told means durable: a reader sees it. */
static void test_writes_that_nobody_waits_for(void **state)
{
	struct later l = {.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};
	struct db_journal j;
	struct db_tx *tx;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, write_and_wait, NULL), 0);
	for (int i = 0; i < N_LATER; i++)
		db_write(db, i % 4 == 3 ? append_and_fail : append_later, note_told, &l);
	(void)pthread_mutex_lock(&l.lock);
	while (l.n_told < N_LATER)
		(void)pthread_cond_wait(&l.told, &l.lock);
	(void)pthread_mutex_unlock(&l.lock);
	assert_int_equal(l.n_good, N_LATER * 3 / 4);
	assert_int_equal(l.n_bad, N_LATER / 4);
	(void)pthread_join(thread, NULL);
	tx = begin(DB_READ);
	OK(db_journal(tx, &j, &err));
	db_abort(tx);
	assert_int_equal(j.n_events, N_LATER * 3 / 4 + N_LATER);
	assert_int_equal(j.last_ever, j.n_events);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_db, close_db)

static int run_suite(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_open_refuses),
		TEST(test_open_keeps_secrets),
		TEST(test_version),
		TEST(test_survives_reopening),
		TEST(test_insert_and_get),
		TEST(test_many_properties_keep_their_order),
		TEST(test_ids_are_never_reused),
		TEST(test_delete),
		TEST(test_locations),
		TEST(test_update),
		TEST(test_a_removed_property_is_revived),
		TEST(test_update_of_nothing),
		TEST(test_abort_undoes),
		TEST(test_a_read_sees_one_state),
		TEST(test_a_failure_dooms),
		TEST(test_writers_are_serial),
		TEST(test_many_readers),
		TEST(test_commits_are_measured),
		TEST(test_only_what_is_committed_counts),
		TEST(test_list_default_visibility),
		TEST(test_list_one_visibility),
		TEST(test_list_of_an_admin),
		TEST(test_list_leaves_out),
		TEST(test_list_rows_are_whole),
		TEST(test_list_in_a_list),
		TEST(test_filters_on_columns),
		TEST(test_filters_on_times),
		TEST(test_filters_on_properties_and_tags),
		TEST(test_filters_do_not_see_what_was_removed),
		TEST(test_pages_neither_repeat_nor_skip),
		TEST(test_pages_in_any_order_of_keys),
		TEST(test_order),
		TEST(test_marker_must_be_visible),
		TEST(test_members),
		TEST(test_members_come_and_go),
		TEST(test_uploads),
		TEST(test_task),
		TEST(test_task_expires_and_goes),
		TEST(test_task_list),
		TEST(test_task_marker_must_be_visible),
		TEST(test_jobs),
		TEST(test_removals),
		TEST(test_events_are_numbered_without_gaps),
		TEST(test_events_come_back_whole),
		TEST(test_find_by_time),
		TEST(test_prune_by_age),
		TEST(test_prune_by_size),
		TEST(test_cursors),
		TEST(test_replays),
		TEST(test_set_aside),
		TEST(test_set_aside_goes_with_its_event),
		TEST(test_purge),
		TEST(test_usage_of_a_life),
		TEST(test_usage_is_seen_in_its_transaction),
		TEST(test_usage_agrees_with_a_count),
		TEST(test_usage_is_counted_when_it_was_not_kept),
		TEST(test_pieces),
		TEST(test_writes_that_nobody_waits_for),
	};

	return cmocka_run_group_tests_name(driver->name, tests, NULL, NULL);
}

int main(void)
{
	int n_failed = 0;

	for (size_t i = 0; db_drivers[i]; i++) {
		driver = db_drivers[i];
		n_failed += run_suite();
	}
	return n_failed;
}

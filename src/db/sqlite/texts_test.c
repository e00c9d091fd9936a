/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/texts_test.c -- what is kept in memory for the list: it is always what the reader's own snapshot
 * says, whoever changes what in between, and it never exceeds its limit. */
#include "db/sqlite/sqlite.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"

#define T0 INT64_C(1700000000000000)
#define LIMIT ((size_t)64 * 1024)

static char directory[64], path[128], url[160];
static struct db *db;
static atomic_int n_renders;

#define OK(call)                                                                                             \
	do {                                                                                                 \
		struct err err = {0};                                                                        \
		int r_ = (call);                                                                             \
		if (r_ != 0)                                                                                 \
			fail_msg("%s: %d %s (%s)", #call, r_, err.text, err.detail);                         \
	} while (0)

static int open_db(void **state)
{
	struct err err = {0};

	(void)snprintf(directory, sizeof(directory), "/tmp/glint-texts-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/images.sqlite", directory);
	(void)snprintf(url, sizeof(url), "sqlite:///%s", path);
	atomic_store(&n_renders, 0);
	return db_open(url, &db, &err) ?: db_keep_texts(db, LIMIT, &err);
}

static int close_db(void **state)
{
	char command[128];

	db_close(TAKE(db));
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

static struct texts *texts(void)
{
	return &((struct sqlite_db *)db)->texts;
}

/* Another program at the same file. */
static void by_hand(const char *sql)
{
	sqlite3 *other;

	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	(void)sqlite3_busy_timeout(other, 5000);
	assert_int_equal(sqlite3_exec(other, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(other), SQLITE_OK);
}

static struct db_tx *begin(enum db_mode mode)
{
	struct db_tx *tx = NULL;

	OK(db_begin(db, mode, &tx, &err));
	return tx;
}

/* -- images ---------------------------------------------------------------------------------------- */

static const char *id_of(unsigned n)
{
	static _Thread_local char id[UUID_LEN + 1];

	(void)snprintf(id, sizeof(id), "c0ffee00-0000-4000-8000-%012x", n);
	return id;
}

static void insert(struct db_tx *tx, unsigned n, const char *name)
{
	struct image img;

	image_init(&img);
	memcpy(img.id, id_of(n), sizeof(img.id));
	img.name = name;
	img.owner = "owner";
	img.visibility = IMAGE_PUBLIC;
	img.created_at = img.updated_at = T0 + n;
	OK(db_image_insert(tx, &img, &err));
}

static void create(unsigned n, const char *name)
{
	struct db_tx *tx = begin(DB_WRITE);

	insert(tx, n, name);
	OK(db_commit(&tx, &err));
}

enum change { NAME, PROPERTY, TAG };

static void change(struct db_tx *tx, unsigned n, enum change what, const char *value)
{
	AUTO(arena_done) struct arena a = {0};
	struct image before, after;

	OK(db_image_get(tx, id_of(n), false, &a, &before, &err));
	OK(db_image_get(tx, id_of(n), false, &a, &after, &err)); /* with arrays of its own */
	if (what == NAME)
		after.name = value;
	else if (what == PROPERTY)
		OK(image_set_property(&after, &a, "p", value, &err));
	else
		OK(image_add_tag(&after, &a, value, &err));
	OK(db_image_update(tx, &before, &after, &err));
}

static void commit_change(unsigned n, enum change what, const char *value)
{
	struct db_tx *tx = begin(DB_WRITE);

	change(tx, n, what, value);
	OK(db_commit(&tx, &err));
}

/* "name:property:tag:number of locations " */
static void render(struct buf *out, const struct image *img)
{
	atomic_fetch_add(&n_renders, 1);
	buf_addf(out, "%s:%s:%s:%zu ", img->name, img->n_properties ? img->properties[0].value : "",
		 img->n_tags ? img->tags[0] : "", img->n_locations);
}

static int gather(void *cls, const char *id, const char *text, size_t n, struct err *err)
{
	buf_add(cls, text, n);
	return 0;
}

static void list(struct db_tx *tx, struct buf *out)
{
	struct image_sort sorts[] = {{FIELD_CREATED_AT, false}, {FIELD_ID, false}};
	struct image_query q = {.sees_everything = true, .with_locations = true, .sorts = sorts, .n_sorts = 2, .limit = 1000};

	OK(db_image_list_texts(tx, &q, render, gather, out, &err));
}

static void expect_in(struct db_tx *tx, const char *page)
{
	AUTO(buf_done) struct buf out = {0};

	list(tx, &out);
	assert_string_equal(buf_cstr(&out), page);
}

static void expect(const char *page)
{
	AUTO(buf_done) struct buf out = {0};
	struct db_tx *tx = begin(DB_READ);

	list(tx, &out);
	db_abort(tx); /* whatever comes of it */
	assert_string_equal(buf_cstr(&out), page);
}

/* The page, and how many of its images had to be read. */
static void expect_reading(const char *page, int n)
{
	int before = atomic_load(&n_renders);

	expect(page);
	assert_int_equal(atomic_load(&n_renders) - before, n);
}

/* -- one after the other --------------------------------------------------------------------------- */

static void test_only_what_changed_is_read_again(void **state)
{
	create(1, "a");
	create(2, "b");
	expect_reading("a:::0 b:::0 ", 2);
	expect_reading("a:::0 b:::0 ", 0);
	commit_change(1, NAME, "c");
	expect_reading("c:::0 b:::0 ", 1);
	commit_change(2, PROPERTY, "v");
	expect_reading("c:::0 b:v::0 ", 1);
	commit_change(2, PROPERTY, "w");
	commit_change(1, TAG, "t");
	expect_reading("c::t:0 b:w::0 ", 2);
	create(3, "d");
	expect_reading("c::t:0 b:w::0 d:::0 ", 1);
}

static void test_locations_and_deletion(void **state)
{
	struct db_tx *tx;

	create(1, "a");
	create(2, "b");
	expect("a:::0 b:::0 ");
	tx = begin(DB_WRITE);
	OK(db_location_add(tx, id_of(1), "file:///x", NULL, T0, &err));
	OK(db_commit(&tx, &err));
	expect_reading("a:::1 b:::0 ", 1);
	tx = begin(DB_WRITE);
	OK(db_location_remove(tx, id_of(1), "file:///x", T0, &err));
	OK(db_commit(&tx, &err));
	expect_reading("a:::0 b:::0 ", 1);
	tx = begin(DB_WRITE);
	OK(db_image_delete(tx, id_of(1), T0, &err));
	OK(db_commit(&tx, &err));
	expect_reading("b:::0 ", 0);
}

/* Of what others do we do not know what it changed. */
static void test_other_programs(void **state)
{
	create(1, "a");
	create(2, "b");
	expect("a:::0 b:::0 ");
	by_hand("UPDATE images SET name = 'x' WHERE name = 'a'"); /* and no other column */
	expect_reading("x:::0 b:::0 ", 2);
	by_hand("INSERT INTO image_tags (image_id, value, created_at, deleted)"
		" SELECT id, 't', created_at, 0 FROM images WHERE name = 'b'");
	expect_reading("x:::0 b::t:0 ", 2);
	by_hand("UPDATE images SET name = 'y' WHERE name = 'x'"); /* then one of our own at once */
	commit_change(2, NAME, "c");
	expect_reading("y:::0 c::t:0 ", 2);
	commit_change(2, NAME, "d");
	by_hand("UPDATE images SET name = 'z' WHERE name = 'y'");
	expect_reading("z:::0 d::t:0 ", 2);
	expect_reading("z:::0 d::t:0 ", 0);
	by_hand("PRAGMA wal_checkpoint(TRUNCATE)");
	by_hand("UPDATE images SET name = 'a' WHERE name = 'z'");
	expect("a:::0 d::t:0 ");
}

/* Our writer's commit, and before it could look, one of somebody else: acted, without the writer. */
static void test_somebody_right_behind_us(void **state)
{
	create(1, "a");
	expect("a:::0 ");
	texts_batch_begin(texts());
	by_hand("INSERT INTO glint_meta (name, value) VALUES ('ours', '1')");
	by_hand("UPDATE images SET name = 'x'");
	texts_batch_end(texts(), true, 1);
	expect("x:::0 ");
	texts_batch_begin(texts()); /* ours wrote nothing, theirs did */
	by_hand("UPDATE images SET name = 'y'");
	texts_batch_end(texts(), true, 0);
	expect("y:::0 ");
	texts_batch_begin(texts()); /* ours failed */
	by_hand("UPDATE images SET name = 'z'");
	texts_batch_end(texts(), false, 0);
	expect("z:::0 ");
}

/* A snapshot from before a change neither sees the new text nor leaves the old one behind. */
static void test_older_snapshots(void **state)
{
	struct db_tx *old;

	create(1, "a");
	create(2, "b");
	expect("a:::0 b:::0 ");
	old = begin(DB_READ);
	expect_in(old, "a:::0 b:::0 ");
	commit_change(1, NAME, "c");
	expect_in(old, "a:::0 b:::0 ");
	expect_reading("c:::0 b:::0 ", 1);
	expect_in(old, "a:::0 b:::0 ");
	expect_reading("c:::0 b:::0 ", 0);
	by_hand("UPDATE images SET name = 'x' WHERE name = 'c'");
	expect_in(old, "a:::0 b:::0 ");
	expect_reading("x:::0 b:::0 ", 2);
	expect_in(old, "a:::0 b:::0 ");
	db_abort(old);
	expect_reading("x:::0 b:::0 ", 0);
}

/* Begun, but its snapshot is from after the change that comes in between. */
static void test_a_change_before_the_snapshot(void **state)
{
	struct db_tx *tx;

	create(1, "a");
	expect("a:::0 ");
	tx = begin(DB_READ);
	commit_change(1, NAME, "b");
	expect_in(tx, "b:::0 ");
	db_abort(tx);
	expect("b:::0 ");
}

/* Changed, not yet committed: others go on to see what was, and what they read is not kept. */
static void test_reading_beside_a_change(void **state)
{
	struct db_tx *tx;

	create(1, "a");
	create(2, "b");
	expect("a:::0 b:::0 ");
	tx = begin(DB_WRITE);
	change(tx, 1, NAME, "c");
	expect_reading("a:::0 b:::0 ", 1);
	expect_reading("a:::0 b:::0 ", 1);
	expect_in(tx, "c:::0 b:::0 "); /* the writer itself sees its own */
	OK(db_commit(&tx, &err));
	expect_reading("c:::0 b:::0 ", 1);
	expect_reading("c:::0 b:::0 ", 0);
}

static void test_rollback(void **state)
{
	struct db_tx *tx;

	create(1, "a");
	expect("a:::0 ");
	tx = begin(DB_WRITE);
	change(tx, 1, NAME, "b");
	expect_in(tx, "b:::0 ");
	expect("a:::0 ");
	db_abort(tx);
	expect("a:::0 ");
	expect_reading("a:::0 ", 0);
}

static int refuse(void *cls)
{
	return *(int *)cls;
}

static void test_a_failed_commit(void **state)
{
	sqlite3 *handle = ((struct sqlite_db *)db)->writer.conn->handle;
	int refuses = 1;
	struct db_tx *tx;

	create(1, "a");
	expect("a:::0 ");
	(void)sqlite3_commit_hook(handle, refuse, &refuses);
	tx = begin(DB_WRITE);
	change(tx, 1, NAME, "b");
	assert_true(db_commit(&tx, NULL) < 0);
	expect("a:::0 ");
	refuses = 0;
	commit_change(1, TAG, "t");
	expect("a::t:0 ");
	by_hand("UPDATE images SET name = 'x'");
	expect("x::t:0 ");
	(void)sqlite3_commit_hook(handle, NULL, NULL);
}

/* A batch that changes more images than are remembered: meanwhile nothing read is kept. */
static void test_more_changes_than_are_remembered(void **state)
{
	const unsigned n = TEXTS_MAX_CHANGING + 6;
	AUTO(buf_done) struct buf before = {0}, after = {0};
	struct db_tx *tx = begin(DB_WRITE);

	for (unsigned i = 0; i < n; i++) {
		insert(tx, i, "a");
		buf_adds(&before, "a:::0 ");
		buf_adds(&after, "b:::0 ");
	}
	OK(db_commit(&tx, &err));
	expect(buf_cstr(&before));
	tx = begin(DB_WRITE);
	for (unsigned i = 0; i < n; i++)
		change(tx, i, NAME, "b");
	expect_reading(buf_cstr(&before), (int)n);
	expect_reading(buf_cstr(&before), (int)n);
	OK(db_commit(&tx, &err));
	expect_reading(buf_cstr(&after), (int)n);
	expect_reading(buf_cstr(&after), 0);
}

/* -- memory ---------------------------------------------------------------------------------------- */

static void test_the_limit(void **state)
{
	AUTO(buf_done) struct buf first = {0}, again = {0};
	char name[256];
	struct db_tx *tx = begin(DB_WRITE);

	for (unsigned n = 0; n < 700; n++) {
		(void)snprintf(name, sizeof(name), "%0250u", n);
		insert(tx, n, name);
	}
	OK(db_commit(&tx, &err));
	tx = begin(DB_READ);
	list(tx, &first);
	assert_true(texts()->n_bytes > LIMIT / 2 && texts()->n_bytes <= LIMIT);
	list(tx, &again);
	assert_true(texts()->n_bytes > LIMIT / 2 && texts()->n_bytes <= LIMIT);
	db_abort(tx);
	assert_string_equal(buf_cstr(&first), buf_cstr(&again));
	assert_true(atomic_load(&n_renders) > 700); /* not all could be kept */
}

/* One text does not push out all the others. */
static void test_a_text_too_long_to_keep(void **state)
{
	char *value = malloc(LIMIT);

	memset(value, 'v', LIMIT - 1);
	value[LIMIT - 1] = '\0';
	create(1, "a");
	create(2, "b");
	commit_change(2, PROPERTY, value);
	for (int i = 0; i < 2; i++) {
		struct db_tx *tx = begin(DB_READ);
		AUTO(buf_done) struct buf out = {0};

		list(tx, &out);
		assert_true(out.len > LIMIT);
		db_abort(tx);
	}
	assert_int_equal(atomic_load(&n_renders), 3);
	free(value);
}

static void test_none_is_kept_unless_asked_for(void **state)
{
	db_close(TAKE(db));
	OK(db_open(url, &db, &err));
	create(1, "a");
	expect_reading("a:::0 ", 1);
	expect_reading("a:::0 ", 1);
	commit_change(1, NAME, "b");
	expect_reading("b:::0 ", 1);
	OK(db_keep_texts(db, 0, &err));
	expect_reading("b:::0 ", 1);
	expect_reading("b:::0 ", 1);
}

/* -- many at once ---------------------------------------------------------------------------------- */

#define N_IMAGES 8
#define N_ROUNDS 150

static atomic_int committed[N_IMAGES]; /* at least this value of the image is durable */
static atomic_bool over;

/* Each change of an image commits the next number as its name; some are thrown away. */
static void *count_up(void *arg)
{
	unsigned from = *(unsigned *)arg;
	char name[16];

	for (int i = 1; i <= N_ROUNDS; i++)
		for (unsigned n = from; n < N_IMAGES; n += 2) {
			struct db_tx *tx = begin(DB_WRITE);

			(void)snprintf(name, sizeof(name), "%d", i % 7 == 3 ? 100000 + i : i);
			change(tx, n, NAME, name);
			if (i % 7 == 3) {
				db_abort(tx);
				continue;
			}
			OK(db_commit(&tx, &err));
			atomic_store(&committed[n], i);
		}
	return NULL;
}

struct seen {
	int value[N_IMAGES];
	unsigned n;
};

static int note(void *cls, const char *id, const char *text, size_t n, struct err *err)
{
	struct seen *seen = cls;
	char number[16];

	(void)snprintf(number, sizeof(number), "%.*s", (int)n, text);
	seen->value[seen->n++] = (int)strtol(number, NULL, 10);
	return 0;
}

/* Nobody sees less than was durable when he began, nor what never happened; twice in one transaction gives
 * the same. */
static void *look(void *arg)
{
	struct image_sort sorts[] = {{FIELD_CREATED_AT, false}, {FIELD_ID, false}};
	struct image_query q = {.sees_everything = true, .sorts = sorts, .n_sorts = 2, .limit = 100};
	uintptr_t n_wrong = 0;

	while (!atomic_load(&over)) {
		int least[N_IMAGES];
		struct seen one = {0}, two = {0};
		struct db_tx *tx;

		for (unsigned n = 0; n < N_IMAGES; n++)
			least[n] = atomic_load(&committed[n]);
		tx = begin(DB_READ);
		OK(db_image_list_texts(tx, &q, render, note, &one, &err));
		OK(db_image_list_texts(tx, &q, render, note, &two, &err));
		db_abort(tx);
		n_wrong += one.n != N_IMAGES || memcmp(&one, &two, sizeof(one)) != 0;
		for (unsigned n = 0; n < N_IMAGES; n++)
			n_wrong += one.value[n] < least[n] || one.value[n] > N_ROUNDS;
	}
	return (void *)n_wrong;
}

/* Somebody else, who changes an image of his own. */
static void *meddle(void *arg)
{
	while (!atomic_load(&over)) {
		by_hand("UPDATE images SET min_ram = min_ram + 1 WHERE id LIKE '%7'");
		(void)usleep(2000);
	}
	return NULL;
}

static void test_many_at_once(void **state)
{
	unsigned from[] = {0, 1};
	pthread_t writers[2], readers[3], other;

	for (unsigned n = 0; n < N_IMAGES; n++) {
		create(n, "0");
		atomic_store(&committed[n], 0);
	}
	atomic_store(&over, false);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, look, NULL), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, count_up, &from[i]), 0);
	assert_int_equal(pthread_create(&other, NULL, meddle, NULL), 0);
	for (int i = 0; i < 2; i++)
		(void)pthread_join(writers[i], NULL);
	atomic_store(&over, true);
	for (int i = 0; i < 3; i++) {
		void *n_wrong;

		(void)pthread_join(readers[i], &n_wrong);
		assert_int_equal((uintptr_t)n_wrong, 0);
	}
	(void)pthread_join(other, NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_db, close_db)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_only_what_changed_is_read_again),
		TEST(test_locations_and_deletion),
		TEST(test_other_programs),
		TEST(test_somebody_right_behind_us),
		TEST(test_older_snapshots),
		TEST(test_a_change_before_the_snapshot),
		TEST(test_reading_beside_a_change),
		TEST(test_rollback),
		TEST(test_a_failed_commit),
		TEST(test_more_changes_than_are_remembered),
		TEST(test_the_limit),
		TEST(test_a_text_too_long_to_keep),
		TEST(test_none_is_kept_unless_asked_for),
		TEST(test_many_at_once),
	};

	return cmocka_run_group_tests_name("texts", tests, NULL, NULL);
}

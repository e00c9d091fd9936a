/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/usage_test.c -- the usage of projects while other programs change the images, and their tables.
 */
#include "db/sqlite/sqlite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define OK(call)                                                                                             \
	do {                                                                                                 \
		struct err err = {0};                                                                        \
		int r_ = (call);                                                                             \
		if (r_ != 0)                                                                                 \
			fail_msg("%s: %d %s (%s)", #call, r_, err.text, err.detail);                         \
	} while (0)

static char directory[64], path[128], url[160];
static struct db *db;

/* Another program at the same file. */
static int try_by_hand(const char *sql)
{
	sqlite3 *other;
	int rc;

	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	(void)sqlite3_busy_timeout(other, 5000);
	rc = sqlite3_exec(other, sql, NULL, NULL, NULL);
	assert_int_equal(sqlite3_close(other), SQLITE_OK);
	return rc;
}

static void by_hand(const char *sql)
{
	assert_int_equal(try_by_hand(sql), SQLITE_OK);
}

static bool keep(enum db_usage_mode mode)
{
	struct db_tx *tx;
	bool counted;

	OK(db_begin(db, DB_WRITE, &tx, &err));
	OK(db_usage_keep(tx, mode, &counted, &err));
	OK(db_commit(&tx, &err));
	return counted;
}

static int open_db(void **state)
{
	struct err err = {0};

	(void)snprintf(directory, sizeof(directory), "/tmp/glint-usage-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/images.sqlite", directory);
	(void)snprintf(url, sizeof(url), "sqlite:///%s", path);
	if (db_open(url, &db, &err) < 0)
		return -1;
	(void)keep(DB_USAGE_ENSURE);
	return 0;
}

static int close_db(void **state)
{
	char command[128];

	db_close(TAKE(db));
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

static void usage_is(const char *owner, int64_t stored, int64_t staged, int64_t n_images, int64_t n_uploading)
{
	struct db_usage u;
	struct db_tx *tx;

	OK(db_begin(db, DB_READ, &tx, &err));
	OK(db_usage_get(tx, owner, &u, &err));
	db_abort(tx);
	assert_int_equal(u.stored_octets, stored);
	assert_int_equal(u.staged_octets, staged);
	assert_int_equal(u.n_images, n_images);
	assert_int_equal(u.n_uploading, n_uploading);
}

#define IMAGE(id, status, size, owner)                                                                       \
	"INSERT INTO images (id, status, size, owner, created_at, deleted, min_disk, min_ram, protected, "   \
	"visibility)"                                                                                        \
	" VALUES ('" id "', '" status "', " size ", " owner                                                  \
	", '2024-01-02 03:04:05', 0, 0, 0, 0, 'shared');"
#define LOCATION(image, status)                                                                              \
	"INSERT INTO image_locations (image_id, value, created_at, deleted, status)"                         \
	" VALUES ('" image "', 'file:///x', '2024-01-02 03:04:05', 0, '" status "');"

/* As Glance does it: rows of any state at once, whole and in part deleted, and gone for good in the end. */
static void test_statements_of_others_count(void **state)
{
	by_hand(IMAGE("a", "active", "100", "'p'") LOCATION("a", "active") LOCATION("a", "pending_delete")
			IMAGE("b", "active", "NULL", "'p'") LOCATION("b", "active")
				IMAGE("c", "killed", "9", "'p'"));
	usage_is("p", 100, 0, 2, 0);
	by_hand("UPDATE images SET size = 7 WHERE id = 'b'");
	usage_is("p", 107, 0, 2, 0);
	by_hand("UPDATE image_locations SET status = 'active'");
	usage_is("p", 207, 0, 2, 0);
	by_hand("UPDATE images SET status = 'pending_delete' WHERE id = 'a'");
	usage_is("p", 7, 0, 1, 0);
	by_hand("UPDATE images SET status = 'active' WHERE id = 'a'; UPDATE images SET owner = NULL");
	usage_is("p", 0, 0, 0, 0);
	usage_is(NULL, 207, 0, 2, 0);
	by_hand("DELETE FROM image_locations WHERE image_id = 'a'; DELETE FROM images WHERE id = 'a'");
	usage_is(NULL, 7, 0, 1, 0);
	by_hand("DELETE FROM images WHERE id = 'b'"); /* its location is left, and stands for nothing */
	usage_is(NULL, 0, 0, 0, 0);
	by_hand("DELETE FROM image_locations");
	usage_is(NULL, 0, 0, 0, 0);
}

static void test_a_copy_of_others_counts_as_uploading(void **state)
{
#define PROPERTY(value)                                                                                      \
	"INSERT INTO image_properties (image_id, name, value, created_at, deleted) VALUES ('a',"             \
	" 'os_glance_importing_to_stores', '" value "', '2024-01-02 03:04:05', 0)"                           \
	" ON CONFLICT (image_id, name) DO UPDATE SET value = excluded.value, deleted = 0"

	by_hand(IMAGE("a", "active", "100", "'p'"));
	by_hand(PROPERTY("fast"));
	usage_is("p", 0, 0, 1, 1);
	by_hand("UPDATE images SET status = 'importing'");
	usage_is("p", 0, 100, 1, 1);
	by_hand(PROPERTY(""));
	usage_is("p", 0, 100, 1, 1);
	by_hand("UPDATE images SET status = 'active'");
	usage_is("p", 0, 0, 1, 0);
	by_hand(PROPERTY("slow"));
	usage_is("p", 0, 0, 1, 1);
	by_hand("UPDATE image_properties SET deleted = 1");
	usage_is("p", 0, 0, 1, 0);
	by_hand(PROPERTY("slow"));
	by_hand("DELETE FROM image_properties");
	usage_is("p", 0, 0, 1, 0);
}

/* What alembic does to SQLite's tables: a new one is filled, and takes the place of the old one. */
#define MAKE_ANEW                                                                                            \
	"BEGIN; CREATE TABLE new_images AS SELECT * FROM images; DROP TABLE images;"                         \
	"ALTER TABLE new_images RENAME TO images; COMMIT"

static void test_a_migration_is_survived(void **state)
{
	by_hand(IMAGE("a", "active", "100", "'p'") LOCATION("a", "active"));
	assert_int_not_equal(try_by_hand(MAKE_ANEW), SQLITE_OK);
	usage_is("p", 100, 0, 1, 0);
	assert_false(keep(DB_USAGE_OFF));
	by_hand(MAKE_ANEW);
	by_hand("UPDATE images SET size = 50");
	assert_true(keep(DB_USAGE_ENSURE));
	usage_is("p", 50, 0, 1, 0);
	assert_false(keep(DB_USAGE_ENSURE));
}

static void test_what_is_missing_or_another_ones_is_made_again(void **state)
{
	by_hand("DROP TRIGGER glint_usage_image_changed;" IMAGE("a", "importing", "100",
								"'p'") "UPDATE images SET size = 30");
	assert_true(keep(DB_USAGE_ENSURE));
	usage_is("p", 0, 30, 1, 1);
	by_hand("DROP TRIGGER glint_usage_image_changed;"
		"CREATE TRIGGER glint_usage_image_changed AFTER UPDATE ON images BEGIN SELECT 1; END;"
		"UPDATE images SET size = 40");
	assert_true(keep(DB_USAGE_ENSURE));
	usage_is("p", 0, 40, 1, 1);
}

/* Schema 3 had no usage. */
static void test_the_schema_before_is_upgraded(void **state)
{
	by_hand(IMAGE("a", "importing", "100", "'p'"));
	(void)keep(DB_USAGE_OFF);
	db_close(TAKE(db));
	by_hand("DROP TABLE glint_usage; UPDATE glint_meta SET value = '3' WHERE name = 'schema'");
	OK(db_open(url, &db, &err));
	assert_true(keep(DB_USAGE_ENSURE));
	usage_is("p", 0, 100, 1, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_db, close_db)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_statements_of_others_count),
		TEST(test_a_copy_of_others_counts_as_uploading),
		TEST(test_a_migration_is_survived),
		TEST(test_what_is_missing_or_another_ones_is_made_again),
		TEST(test_the_schema_before_is_upgraded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

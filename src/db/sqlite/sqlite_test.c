/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/sqlite_test.c -- what only this driver has: batches that fail, other programs at the same
 * file, tables somebody else made, and the plans of its pages. */
#include "db/sqlite/sqlite.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "db/sqlite/list_sql.h"

#define T0 INT64_C(1700000000000000)

static char directory[64], path[128], url[160];
static struct db *db;

#define OK(call)                                                                                             \
	do {                                                                                                 \
		struct err err = {0};                                                                        \
		int r_ = (call);                                                                             \
		if (r_ != 0)                                                                                 \
			fail_msg("%s: %d %s (%s)", #call, r_, err.text, err.detail);                         \
	} while (0)

static struct writer *writer(void)
{
	return &((struct sqlite_db *)db)->writer;
}

static int make_directory(void **state)
{
	(void)snprintf(directory, sizeof(directory), "/tmp/glint-sqlite-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/images.sqlite", directory);
	(void)snprintf(url, sizeof(url), "sqlite:///%s", path);
	return 0;
}

static int remove_directory(void **state)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

static int open_db(void **state)
{
	struct err err = {0};

	return make_directory(state) ?: db_open(url, &db, &err);
}

static int close_db(void **state)
{
	db_close(TAKE(db));
	return remove_directory(state);
}

/* Another program at the same file. */
static void by_hand(const char *sql)
{
	sqlite3 *other;
	char *message = NULL;

	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	(void)sqlite3_busy_timeout(other, 5000);
	if (sqlite3_exec(other, sql, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", sql, message);
	assert_int_equal(sqlite3_close(other), SQLITE_OK);
}

static struct db_tx *begin(enum db_mode mode)
{
	struct db_tx *tx = NULL;

	OK(db_begin(db, mode, &tx, &err));
	return tx;
}

static void append_event(struct db_tx *tx, const char *subject)
{
	struct db_event e = {.subject = subject, .event_type = "t", .payload = "{}", .timestamp = T0};

	OK(db_event_insert(tx, &e, &err));
}

static int64_t n_events(void)
{
	struct db_tx *tx = begin(DB_READ);
	struct db_journal j;

	OK(db_journal(tx, &j, &err));
	db_abort(tx);
	return j.n_events;
}

/* -- batches ------------------------------------------------------------------------------------ */

/* A transaction of its own thread: appends an event under its name, then ends as it is told. */
struct member {
	const char *subject;
	enum { COMMITS, ABORTS, FILLS_THE_DISK } how;
	pthread_t thread;
	int result;
	struct err err;
};

static void fill_the_disk(struct db_tx *tx, struct member *m)
{
	char *payload = malloc(1000001);
	struct db_event e = {.subject = m->subject, .event_type = "t", .payload = payload, .timestamp = T0};
	struct arena a = {0};
	struct db_upload u;

	assert_non_null(payload);
	memset(payload, 'x', 1000000);
	payload[1000000] = '\0';
	m->result = db_event_insert(tx, &e, &m->err);
	free(payload);
	assert_true(tx_conn(tx)->lost); /* SQLite has rolled everything back by itself ... */
	assert_int_equal(
		db_event_insert(tx, &(struct db_event){.subject = "s", .event_type = "t", .payload = "{}"},
				NULL),
		ERR_UNAVAILABLE); /* ... and nothing runs as if it had not */
	assert_int_equal(db_upload_get(tx, "x", &a, &u, NULL), ERR_UNAVAILABLE);
	db_abort(tx);
}

static void *run_member(void *arg)
{
	struct member *m = arg;
	struct db_tx *tx = begin(DB_WRITE);

	append_event(tx, m->subject);
	if (m->how == COMMITS)
		m->result = db_commit(&tx, &m->err);
	else if (m->how == FILLS_THE_DISK)
		fill_the_disk(tx, m);
	else
		db_abort(tx);
	return NULL;
}

static void wait_for_waiting(unsigned n)
{
	struct writer *w = writer();
	unsigned waiting = 0;

	while (waiting < n) {
		waiting = 0;
		(void)sched_yield();
		(void)pthread_mutex_lock(&w->lock);
		for (const struct sqlite_tx *tx = w->waiting.first; tx; tx = tx->next)
			waiting++;
		(void)pthread_mutex_unlock(&w->lock);
	}
}

static int n_commits;

static int count_commit(void *refuse)
{
	n_commits++;
	return refuse != NULL;
}

/* Members queue up behind a first transaction that changes nothing, so all of them are one batch, in
 * this order. */
static void run_batch(struct member *members, unsigned n)
{
	struct db_tx *tx = begin(DB_WRITE);

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(pthread_create(&members[i].thread, NULL, run_member, &members[i]), 0);
		wait_for_waiting(i + 1);
	}
	n_commits = 0;
	writer()->opened_at = INT64_MAX / 2; /* a slow machine must not end it early */
	db_abort(tx);
	for (unsigned i = 0; i < n; i++)
		(void)pthread_join(members[i].thread, NULL);
}

static void test_one_commit_for_all(void **state)
{
	struct member m[] = {{.subject = "a"}, {.subject = "b"}, {.subject = "c"}};

	(void)sqlite3_commit_hook(writer()->conn->handle, count_commit, NULL);
	run_batch(m, 3);
	assert_int_equal(n_commits, 1);
	assert_int_equal(m[0].result | m[1].result | m[2].result, 0);
	assert_int_equal(n_events(), 3);
}

static void test_an_abort_leaves_the_others(void **state)
{
	struct member m[] = {{.subject = "a"},
			     {.subject = "b", .how = ABORTS},
			     {.subject = "c"},
			     {.subject = "d", .how = ABORTS}};

	(void)sqlite3_commit_hook(writer()->conn->handle, count_commit, NULL);
	run_batch(m, 4); /* the last aborts, and commits what the others did */
	assert_int_equal(n_commits, 1);
	assert_int_equal(m[0].result | m[2].result, 0);
	assert_int_equal(n_events(), 2);
}

static void test_nothing_to_commit(void **state)
{
	struct member m[] = {{.subject = "a", .how = ABORTS}, {.subject = "b", .how = ABORTS}};

	(void)sqlite3_commit_hook(writer()->conn->handle, count_commit, NULL);
	run_batch(m, 2);
	assert_int_equal(n_commits, 0);
	assert_int_equal(n_events(), 0);
	assert_true(sqlite3_get_autocommit(writer()->conn->handle));
}

static void test_a_failed_commit_fails_everybody(void **state)
{
	struct member m[] = {{.subject = "a"}, {.subject = "b"}, {.subject = "c", .how = ABORTS}}, again[1];

	(void)sqlite3_commit_hook(writer()->conn->handle, count_commit, directory);
	run_batch(m, 3);
	assert_int_equal(n_commits, 2); /* that of the batch, and that which would have overwritten it */
	assert_true(writer()->commit_failed);
	assert_true(m[0].result < 0 && m[0].err.code == m[0].result && m[0].err.text[0]);
	assert_true(m[1].result < 0 && m[1].err.code == m[1].result);
	assert_int_equal(n_events(), 0);

	(void)sqlite3_commit_hook(writer()->conn->handle, NULL, NULL);
	again[0] = (struct member){.subject = "a"};
	run_batch(again, 1);
	assert_int_equal(again[0].result, 0);
	assert_int_equal(n_events(), 1);
	assert_false(writer()->commit_failed);
}

/* What could be overwritten neither at once nor since lets nobody begin. */
static void test_nothing_begins_after_a_failed_commit(void **state)
{
	struct member m[] = {{.subject = "a"}};
	struct err err = {0};
	struct db_tx *tx;

	(void)sqlite3_commit_hook(writer()->conn->handle, count_commit, directory);
	run_batch(m, 1);
	assert_true(m[0].result < 0);
	assert_true(db_begin(db, DB_WRITE, &tx, &err) < 0);
	(void)sqlite3_commit_hook(writer()->conn->handle, NULL, NULL);
	assert_int_equal(db_begin(db, DB_WRITE, &tx, &err), 0);
	db_abort(tx);
	assert_int_equal(n_events(), 0);
}

static void limit_pages(int more)
{
	char sql[80];
	sqlite3_stmt *stmt;

	assert_int_equal(sqlite3_prepare_v2(writer()->conn->handle, "PRAGMA page_count", -1, &stmt, NULL), 0);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	(void)snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %d", sqlite3_column_int(stmt, 0) + more);
	(void)sqlite3_finalize(stmt);
	assert_int_equal(sqlite3_exec(writer()->conn->handle, sql, NULL, NULL, NULL), 0);
}

static void test_a_full_disk_fails_everybody(void **state)
{
	struct member m[] = {{.subject = "a"},
			     {.subject = "b"},
			     {.subject = "c", .how = FILLS_THE_DISK},
			     {.subject = "d"}};

	limit_pages(20);
	run_batch(m, 4);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(m[i].result, ERR_UNAVAILABLE);
		assert_true(m[i].err.retriable);
		assert_non_null(strstr(m[i].err.text, "room"));
	}
	assert_int_equal(m[3].result, 0); /* came after it, in a batch of its own */
	assert_int_equal(n_events(), 1);
}

/* Threads of many transactions, some of which meet a full disk: what was reported as committed is
 * there, and nothing else. */
static void *write_a_lot(void *arg)
{
	intptr_t n_done = 0;
	char *payload = arg;

	for (int i = 0; i < 60; i++) {
		struct db_event e = {.subject = "s", .event_type = "t", .payload = payload, .timestamp = T0};
		struct db_tx *tx = begin(DB_WRITE);

		append_event(tx, "s");
		if (db_event_insert(tx, &e, NULL) < 0)
			db_abort(tx);
		else if (db_commit(&tx, NULL) == 0)
			n_done++;
	}
	return (void *)n_done;
}

static void test_full_now_and_then(void **state)
{
	char *payload = calloc(1, 20001);
	pthread_t threads[4];
	int64_t n_done = 0;
	void *n;

	memset(payload, 'x', 20000);
	limit_pages(500);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_a_lot, payload), 0);
	for (int i = 0; i < 4; i++) {
		(void)pthread_join(threads[i], &n);
		n_done += (intptr_t)n;
	}
	free(payload);
	assert_true(n_done > 0 && n_done < 240);
	assert_int_equal(n_events(), 2 * n_done);
}

/* -- other programs ----------------------------------------------------------------------------- */

static void test_busy_is_worth_another_try(void **state)
{
	struct db_tx *tx = NULL;
	struct err why = {0};
	sqlite3 *other;

	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	writer()->conn->max_busy_wait_us = 0;
	assert_int_equal(db_begin(db, DB_WRITE, &tx, &why), ERR_UNAVAILABLE);
	assert_true(why.retriable && !tx);
	assert_int_equal(n_events(), 0); /* reading goes on */
	assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(other);
	tx = begin(DB_WRITE);
	append_event(tx, "a");
	OK(db_commit(&tx, &err));
	assert_int_equal(n_events(), 1);
}

static void *let_go(void *other)
{
	(void)sched_yield();
	assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	return NULL;
}

static void test_waits_for_another_program(void **state)
{
	struct db_tx *tx;
	sqlite3 *other;
	pthread_t thread;

	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(pthread_create(&thread, NULL, let_go, other), 0);
	tx = begin(DB_WRITE);
	append_event(tx, "a");
	OK(db_commit(&tx, &err));
	(void)pthread_join(thread, NULL);
	(void)sqlite3_close(other);
}

/* A busy machine may keep the thread from its work for a while, so this goes on until the log has started over. */
static void test_log_is_moved_into_the_file(void **state)
{
	char log[160], *payload = calloc(1, 400001);
	struct db_event e = {.subject = "s", .event_type = "t", .payload = payload, .timestamp = T0};
	struct stat st;
	int n = 0;

	memset(payload, 'x', 400000);
	(void)snprintf(log, sizeof(log), "%s-wal", path);
	do {
		struct db_tx *tx = begin(DB_WRITE);

		OK(db_event_insert(tx, &e, &err));
		OK(db_commit(&tx, &err));
		assert_int_equal(stat(log, &st), 0);
		assert_true(++n < 1000);
	} while (st.st_size > (n - 3) * 400000);
	free(payload);
	assert_true(((struct sqlite_db *)db)->checkpointer.running);
	db_close(TAKE(db));
	assert_true(stat(log, &st) != 0);
	OK(db_open(url, &db, &err));
	assert_int_equal(n_events(), n);
}

static void test_files_are_private(void **state)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07, 0);
}

/* -- rows of others ----------------------------------------------------------------------------- */

#define ID "11111111-2222-4333-8444-555555555555"
#define ROW(status, visibility, created_at)                                                                  \
	"INSERT INTO images (id, status, created_at, deleted, min_disk, min_ram, visibility) VALUES"         \
	" ('" ID "', " status ", " created_at ", 0, 0, 0, " visibility ")"

static int see_created(void *cls, const struct image *img, struct err *err)
{
	*(int64_t *)cls = img->created_at;
	return 0;
}

static int list_all(int64_t *ret_created, struct err *err)
{
	struct image_sort sorts[] = {{FIELD_CREATED_AT, true}, {FIELD_ID, true}};
	struct image_query q = {.sees_everything = true,
				.visibility_filter = SHOW_ALL,
				.sorts = sorts,
				.n_sorts = 2,
				.limit = 10};
	struct db_tx *tx = begin(DB_READ);
	int r = db_image_list(tx, &q, see_created, ret_created, err);

	db_abort(tx);
	return r;
}

static void row_is_refused(const char *sql)
{
	AUTO(arena_done) struct arena a = {0};
	struct db_tx *tx;
	struct image img;
	struct err err = {0};
	int64_t created;

	by_hand("DELETE FROM images");
	by_hand(sql);
	tx = begin(DB_READ);
	assert_int_equal(db_image_get(tx, ID, false, &a, &img, &err), ERR_INTERNAL);
	assert_non_null(strstr(err.text, ID));
	db_abort(tx);
	err = (struct err){0};
	assert_int_equal(list_all(&created, &err), ERR_INTERNAL);
	assert_non_null(strstr(err.text, ID));
}

static void test_unknown_words_in_rows(void **state)
{
	row_is_refused(ROW("'baking'", "'public'", "'2024-01-02 03:04:05'"));
	row_is_refused(ROW("''", "'public'", "'2024-01-02 03:04:05'"));
	row_is_refused(ROW("x'00ff'", "'public'", "'2024-01-02 03:04:05'"));
	row_is_refused(ROW("'active'", "'visible'", "'2024-01-02 03:04:05'"));
	row_is_refused(ROW("'active'", "'public'", "'yesterday'"));
}

static void test_times_with_and_without_fraction(void **state)
{
	int64_t created = 0;

	by_hand(ROW("'active'", "'public'", "'2023-11-14 22:13:20'"));
	OK(list_all(&created, &err));
	assert_true(created == T0);
	by_hand("UPDATE images SET created_at = '2023-11-14 22:13:20.000001'");
	OK(list_all(&created, &err));
	assert_true(created == T0 + 1);
}

static int count_row(void *cls, const struct image *img, struct err *err)
{
	++*(int *)cls;
	return 0;
}

/* Glance's SQLite rows have ".000000", those of other tools need not. */
static void test_filter_on_times_without_fraction(void **state)
{
	struct image_sort sorts[] = {{FIELD_CREATED_AT, true}, {FIELD_ID, true}};
	struct image_filter f = {.field = FIELD_CREATED_AT, .number = T0};
	struct image_query q = {.sees_everything = true,
				.visibility_filter = SHOW_ALL,
				.sorts = sorts,
				.n_sorts = 2,
				.limit = 10,
				.filters = &f,
				.n_filters = 1};
	static const int wanted[] = {
		[OP_EQ] = 1, [OP_NEQ] = 0, [OP_GT] = 0, [OP_GTE] = 1, [OP_LT] = 0, [OP_LTE] = 1};

	by_hand(ROW("'active'", "'public'", "'2023-11-14 22:13:20'"));
	for (int op = OP_EQ; op <= OP_LTE; op++) {
		struct db_tx *tx = begin(DB_READ);
		int n = 0;

		f.op = (enum filter_op)op;
		OK(db_image_list(tx, &q, count_row, &n, &err));
		db_abort(tx);
		assert_int_equal(n, wanted[op]);
	}
}

/* -- tables of others --------------------------------------------------------------------------- */

static void reopen_after(const char *sql, int wanted, const char *word)
{
	struct err err = {0};
	int r;

	db_close(TAKE(db));
	by_hand(sql);
	r = db_open(url, &db, &err);
	assert_int_equal(r, wanted);
	if (word)
		assert_non_null(strstr(err.text, word));
}

static void test_later_revisions_are_fine(void **state)
{
	struct db_version v;

	reopen_after("UPDATE alembic_version SET version_num = '2024_1_contract01';"
		     "CREATE TABLE cached_images (id BIGINT PRIMARY KEY)",
		     0, NULL);
	OK(db_version(db, &v, &err));
	assert_string_equal(v.images, "2024_1_contract01");
	reopen_after("INSERT INTO alembic_version VALUES ('2024_1_expand01')", 0, NULL);
}

static void test_older_revisions_are_not(void **state)
{
	reopen_after("UPDATE alembic_version SET version_num = 'ussuri_contract01'", ERR_INVALID,
		     "ussuri_contract01");
	assert_null(db);
	by_hand("UPDATE alembic_version SET version_num = 'wallaby_contract01'");
	OK(db_open(url, &db, &err));
}

static void test_what_lacks_a_column_is_refused(void **state)
{
	reopen_after("ALTER TABLE image_members RENAME COLUMN status TO state;"
		     "UPDATE alembic_version SET version_num = '2030_1_contract01'",
		     ERR_INVALID, "lacks");
	by_hand("ALTER TABLE image_members RENAME COLUMN state TO status");
	OK(db_open(url, &db, &err));
	reopen_after("DELETE FROM alembic_version", ERR_INVALID, "revision");
}

static void test_a_newer_glint_is_refused(void **state)
{
	reopen_after("UPDATE glint_meta SET value = '99' WHERE name = 'schema'", ERR_INVALID, "99");
}

static void test_what_was_dropped_is_made_again(void **state)
{
	reopen_after("DROP TABLE glint_meta; DROP TABLE glint_events; DROP INDEX glint_images_name", 0, NULL);
	by_hand("SELECT * FROM glint_events, glint_meta");
}

/* Schema 2 had no jobs and did not say which store an upload goes to. */
static void test_the_schema_before_is_upgraded(void **state)
{
	struct db_upload u = {.image_id = "c0ffee00-0000-4000-8000-000000000001", .node = "n", .store = "fast"}, got;
	AUTO(arena_done) struct arena a = {0};
	struct db_tx *tx;

	reopen_after("DROP TABLE glint_jobs; DROP TABLE glint_uploads;"
		     "CREATE TABLE glint_uploads (image_id TEXT PRIMARY KEY, node TEXT NOT NULL,"
		     " started_at INTEGER NOT NULL) WITHOUT ROWID;"
		     "INSERT INTO glint_uploads VALUES ('c0ffee00-0000-4000-8000-000000000002', 'n', 7);"
		     "UPDATE glint_meta SET value = '2' WHERE name = 'schema'",
		     0, NULL);
	OK(db_begin(db, DB_WRITE, &tx, &err));
	OK(db_upload_insert(tx, &u, &err));
	OK(db_upload_get(tx, "c0ffee00-0000-4000-8000-000000000002", &a, &got, &err));
	assert_string_equal(got.store, "");
	OK(db_job_insert(tx, u.image_id, &err));
	OK(db_commit(&tx, &err));
}

static void test_other_databases_are_left_alone(void **state)
{
	struct err err = {0};
	FILE *f;

	by_hand("CREATE TABLE cats (name)");
	assert_int_equal(db_open(url, &db, &err), ERR_INVALID);
	by_hand("SELECT name FROM cats");
	assert_int_equal(unlink(path), 0);
	f = fopen(path, "w");
	assert_non_null(f);
	for (int i = 0; i < 1000; i++)
		(void)fputs("not a database\n", f);
	(void)fclose(f);
	assert_int_equal(db_open(url, &db, &err), ERR_INVALID);
	assert_null(db);
}

static void test_paths_that_cannot_be_opened(void **state)
{
	struct err err = {0};

	assert_int_equal(db_open("sqlite://", &db, &err), ERR_INVALID);
	assert_int_equal(db_open("sqlite:///", &db, &err), ERR_INVALID);
	assert_int_equal(db_open("sqlite:///:memory:", &db, &err), ERR_INVALID);
	assert_int_equal(db_open("sqlite:////tmp/x.db?mode=memory", &db, &err), ERR_INVALID);
	assert_int_equal(db_open("sqlite:////nonexistent/dir/x.db", &db, &err), ERR_UNAVAILABLE);
	assert_null(strstr(err.text, "nonexistent"));
	assert_int_equal(db_open("sqlite:////tmp", &db, &err), ERR_UNAVAILABLE);
	assert_null(db);
}

/* -- plans -------------------------------------------------------------------------------------- */

/* Every access to images is a search along an index of ours or by key, never a walk of the table, and
 * nothing needs sorting but what was shared with somebody. */
static void check_plan_line(const char *line, bool is_shared)
{
	if (strstr(line, "SCAN i") || strstr(line, "SCAN m"))
		fail_msg("walks a table: %s", line);
	if (strstr(line, "SEARCH i ") && !strstr(line, "INDEX glint_images_") && !strstr(line, "(rowid=?)") &&
	    !strstr(line, "autoindex_images_1 (id=?)"))
		fail_msg("uses another index: %s", line);
	if (strstr(line, "SEARCH m ") && !strstr(line, "glint_image_members_member"))
		fail_msg("uses another index: %s", line);
	if (strstr(line, "TEMP B-TREE") && !is_shared)
		fail_msg("sorts: %s", line);
}

static void check_branch(const struct list_sql *sql, size_t i)
{
	const char *text = sql->branches[i].data;
	char explain[16384];
	sqlite3_stmt *stmt;

	(void)snprintf(explain, sizeof(explain), "EXPLAIN QUERY PLAN %s", text);
	assert_int_equal(sqlite3_prepare_v2(writer()->conn->handle, explain, -1, &stmt, NULL), SQLITE_OK);
	assert_true(sqlite3_bind_parameter_count(stmt) <= (int)sql->n_params);
	while (sqlite3_step(stmt) == SQLITE_ROW)
		check_plan_line((const char *)sqlite3_column_text(stmt, 3), strstr(text, "image_members AS m CROSS"));
	(void)sqlite3_finalize(stmt);
}

static void check_plan(const struct image_query *q, bool with_marker)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(list_sql_done) struct list_sql sql = {0};
	bool nulls[N_SORTABLE] = {false};

	assert_true(list_sql_build(q, with_marker ? nulls : NULL, &a, &sql));
	assert_true(sql.n_branches > 0);
	for (size_t i = 0; i < sql.n_branches; i++)
		check_branch(&sql, i);
}

static void check_plans(struct image_query q)
{
	for (int v = IMAGE_PRIVATE; v <= IMAGE_PUBLIC; v++)
		for (int show = SHOW_DEFAULT; show <= SHOW_ONE; show++)
			for (int marker = 0; marker < 2; marker++) {
				q.visibility = (enum image_visibility)v;
				q.visibility_filter = (enum visibility_filter)show;
				check_plan(&q, marker);
				q.sees_everything = !q.sees_everything;
				check_plan(&q, marker);
			}
}

static void test_pages_follow_an_index(void **state)
{
	struct image_sort down[] = {{FIELD_CREATED_AT, true}, {FIELD_ID, true}};
	struct image_sort up[] = {{FIELD_CREATED_AT, false}, {FIELD_ID, false}};
	struct image_filter filters[] = {
		{.field = FIELD_STATUS, .op = OP_EQ, .texts = (const char *[]){"active"}, .n_texts = 1},
		{.field = FIELD_UPDATED_AT, .op = OP_GTE, .number = T0},
		{.field = FIELD_PROPERTY,
		 .op = OP_EQ,
		 .property = "p",
		 .texts = (const char *[]){"v"},
		 .n_texts = 1},
	};
	const char *tags[] = {"t"};
	struct image_query q = {.project = "p", .sorts = down, .n_sorts = 2, .limit = 25};

	check_plans(q);
	q.sorts = up;
	check_plans(q);
	q.filters = filters;
	q.n_filters = ARRAY_LEN(filters);
	q.tags = tags;
	q.n_tags = 1;
	check_plans(q);
}

static void test_a_name_is_looked_up(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(list_sql_done) struct list_sql sql = {0};
	struct image_sort sorts[] = {{FIELD_CREATED_AT, true}, {FIELD_ID, true}};
	struct image_filter f = {
		.field = FIELD_NAME, .op = OP_EQ, .texts = (const char *[]){"x"}, .n_texts = 1};
	struct image_query q = {.sees_everything = true,
				.visibility_filter = SHOW_ALL,
				.sorts = sorts,
				.n_sorts = 2,
				.limit = 1,
				.filters = &f,
				.n_filters = 1};
	char explain[4096];
	sqlite3_stmt *stmt;

	assert_true(list_sql_build(&q, NULL, &a, &sql));
	(void)snprintf(explain, sizeof(explain), "EXPLAIN QUERY PLAN %s", sql.branches[0].data);
	assert_int_equal(sqlite3_prepare_v2(writer()->conn->handle, explain, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	assert_non_null(strstr((const char *)sqlite3_column_text(stmt, 3), "glint_images_name (name=?)"));
	(void)sqlite3_finalize(stmt);
}

static int no_row(void *cls, const struct image *img, struct err *err)
{
	return 1;
}

/* A filter that nothing matches walks all that is visible: too long for who has others to serve. The connection
 * is as good as before. */
static void test_a_brief_read_gives_up(void **state)
{
	struct image_sort sorts[] = {{FIELD_CREATED_AT, true}, {FIELD_ID, true}};
	struct image_filter f = {
		.field = FIELD_STATUS, .op = OP_EQ, .texts = (const char *[]){"active"}, .n_texts = 1};
	struct image_query q = {.sees_everything = true, .sorts = sorts, .n_sorts = 2, .limit = 25, .filters = &f, .n_filters = 1};
	struct db_tx *tx;

	by_hand("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
		" INSERT INTO images (id, status, created_at, deleted, min_disk, min_ram, protected, visibility, os_hidden)"
		" SELECT printf('c0ffee00-0000-4000-8000-%012x', i), 'queued', '2026-01-01 00:00:00', 0, 0, 0, 0, 'public', 0"
		" FROM n");
	for (int i = 0; i < 2; i++) {
		tx = begin(DB_READ_BRIEF);
		assert_int_equal(db_image_list(tx, &q, no_row, NULL, NULL), ERR_TOO_LONG);
		db_abort(tx);
		tx = begin(DB_READ);
		assert_int_equal(db_image_list(tx, &q, no_row, NULL, NULL), 0);
		db_abort(tx);
	}
	q.n_filters = 0;
	tx = begin(DB_READ_BRIEF);
	assert_int_equal(db_image_list(tx, &q, no_row, NULL, NULL), 1);
	db_abort(tx);
}

/* -- statements --------------------------------------------------------------------------------- */

/* More texts than are kept prepared, some of them under way. */
static void test_built_statements_come_and_go(void **state)
{
	AUTO(conn_close_p) struct conn *c = NULL;
	struct query q[40] = {0};
	char sql[32];

	OK(conn_open(path, CONN_WRITER, &c, &err));
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 40; i++) {
			(void)snprintf(sql, sizeof(sql), "SELECT %d", i);
			OK(query_open_built(c, sql, &q[i], &err));
			assert_int_equal(query_next(&q[i], NULL), 1);
			assert_int_equal(column_int(&q[i], 0), i);
			if (round == 0 || i % 3 == 0)
				query_done(&q[i]);
		}
		for (int i = 0; i < 40; i++)
			query_done(&q[i]);
	}
}

static void test_values_are_no_sql(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(list_sql_done) struct list_sql sql = {0};
	const char *evil = "c4n'ary", *tags[] = {evil};
	struct image_sort sorts[] = {{FIELD_CREATED_AT, true}, {FIELD_ID, true}};
	struct image_filter f[] = {
		{.field = FIELD_PROPERTY, .op = OP_EQ, .property = evil, .texts = &evil, .n_texts = 1},
		{.field = FIELD_NAME, .op = OP_IN, .texts = &evil, .n_texts = 1},
		{.field = FIELD_OWNER, .op = OP_EQ, .texts = &evil, .n_texts = 1},
	};
	struct image_query q = {.project = evil,
				.sorts = sorts,
				.n_sorts = 2,
				.limit = 1,
				.filters = f,
				.n_filters = 3,
				.tags = tags,
				.n_tags = 1};

	assert_true(list_sql_build(&q, NULL, &a, &sql));
	for (size_t i = 0; i < sql.n_branches; i++)
		assert_null(strstr(sql.branches[i].data, "c4n"));
}

static void *read_elsewhere(void *arg)
{
	struct db_tx *tx = NULL;

	*(int *)arg = db_begin(db, DB_READ, &tx, NULL);
	db_abort(tx);
	return NULL;
}

/* The second reader finds no descriptor and waits for the first one's connection. */
static void test_readers_make_do(void **state)
{
	struct db_tx *first = begin(DB_READ);
	struct rlimit before, none;
	struct timespec soon;
	pthread_t thread;
	int r = 1;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_elsewhere, &r), 0);
	(void)clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec += 1;
	assert_int_equal(pthread_timedjoin_np(thread, NULL, &soon), ETIMEDOUT);
	db_abort(first);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(r, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_db, close_db)
#define TEST_CLOSED(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_commit_for_all),
		TEST(test_an_abort_leaves_the_others),
		TEST(test_nothing_to_commit),
		TEST(test_a_failed_commit_fails_everybody),
		TEST(test_nothing_begins_after_a_failed_commit),
		TEST(test_a_full_disk_fails_everybody),
		TEST(test_full_now_and_then),
		TEST(test_busy_is_worth_another_try),
		TEST(test_waits_for_another_program),
		TEST(test_log_is_moved_into_the_file),
		TEST(test_files_are_private),
		TEST(test_unknown_words_in_rows),
		TEST(test_times_with_and_without_fraction),
		TEST(test_filter_on_times_without_fraction),
		TEST(test_later_revisions_are_fine),
		TEST(test_older_revisions_are_not),
		TEST(test_what_lacks_a_column_is_refused),
		TEST(test_a_newer_glint_is_refused),
		TEST(test_what_was_dropped_is_made_again),
		TEST(test_the_schema_before_is_upgraded),
		TEST_CLOSED(test_other_databases_are_left_alone),
		TEST_CLOSED(test_paths_that_cannot_be_opened),
		TEST(test_pages_follow_an_index),
		TEST(test_a_name_is_looked_up),
		TEST(test_a_brief_read_gives_up),
		TEST_CLOSED(test_built_statements_come_and_go),
		TEST(test_values_are_no_sql),
		TEST(test_readers_make_do),
	};

	return cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}

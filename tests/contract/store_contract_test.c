/* SPDX-License-Identifier: Apache-2.0
 * What store.h promises, for every driver of the table, and again with thin provisioning. A driver without a
 * fixture fails. */
#include "store/driver.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "fetch/fetch.h"

#define ID "c0ffee00-0000-4000-8000-000000000001"
#define ID2 "c0ffee00-0000-4000-8000-000000000002"
#define BIG ((size_t)20 << 20) /* well past any buffer or part of a driver */

/*
 * Fixtures: a place for each driver to put its objects
 */

struct fixture {
	const char *type;
	void (*make)(struct store_config *config);
	void (*clear)(const struct store_config *config);
};

static char directory[64];

static void make_directory(struct store_config *config)
{
	snprintf(directory, sizeof(directory), "/tmp/store-contract-XXXXXX");
	assert_non_null(mkdtemp(directory));
	config->directory = directory;
}

static void clear_directory(const struct store_config *config)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", config->directory);
	assert_int_equal(system(command), 0);
}

static const struct fixture fixtures[] = {
	{"file", make_directory, clear_directory},
};

static const struct store_driver *driver; /* the one under test */
static bool thin;
static struct store_config config;

static const struct fixture *fixture(void)
{
	for (size_t i = 0; i < ARRAY_LEN(fixtures); i++)
		if (strcmp(fixtures[i].type, driver->name) == 0)
			return &fixtures[i];
	fail_msg("the driver '%s' has no fixture", driver->name);
	return NULL;
}

static struct store *open_store(void)
{
	struct err err = {0};
	struct store *s = NULL;

	if (store_open(&config, &s, &err) < 0)
		fail_msg("%s", err_story(&err));
	return s;
}

static int set_up(void **state)
{
	config = (struct store_config){.id = "one", .type = driver->name, .thin = thin};
	fixture()->make(&config);
	*state = open_store();
	return 0;
}

static int tear_down(void **state)
{
	store_close(*state);
	fixture()->clear(&config);
	return 0;
}

/*
 * Steps
 */

static struct store_writer *create(struct store *s, const char *id, int64_t size_hint)
{
	struct store_writer *w = NULL;
	struct err err = {0};

	if (store_create(s, id, size_hint, &w, &err) < 0)
		fail_msg("%s", err_story(&err));
	return w;
}

static char *put(struct store *s, const char *id, const void *data, size_t n)
{
	struct store_writer *w = create(s, id, (int64_t)n);
	struct err err = {0};
	char *url = NULL;

	assert_int_equal(store_write(w, data, n, &err), 0);
	assert_int_equal(store_commit(&w, &url, &err), 0);
	assert_null(w);
	assert_non_null(url);
	return url;
}

static void expect_content(struct store *s, const char *url, const void *data, size_t n)
{
	struct store_source source = {.fd = -1};
	char *got = malloc(n + 1);
	size_t have = 0;
	ssize_t k;

	assert_non_null(got);
	assert_int_equal(store_read(s, url, &source, NULL), 0);
	assert_int_equal(source.size, n);
	while (have <= n && (k = read(source.fd, got + have, n + 1 - have)) > 0)
		have += (size_t)k;
	close(source.fd);
	assert_int_equal(have, n);
	assert_memory_equal(got, data, n);
	free(got);
}

static void expect_nothing(struct store *s, const char *id)
{
	AUTO(free_p) char *url = store_url(s, id);
	struct store_source source;
	struct err err = {0};

	assert_non_null(url);
	assert_int_equal(store_read(s, url, &source, &err), ERR_NOT_FOUND);
	assert_int_equal(err.code, ERR_NOT_FOUND);
}

/*
 * The contract
 */

static void driver_is_complete(void **state)
{
	assert_int_equal(driver->version, STORE_DRIVER_VERSION);
	assert_true(driver->name && driver->name[0] && driver->summary && driver->summary[0]);
	assert_true(driver->open && driver->close && driver->create && driver->write && driver->commit);
	assert_true(driver->done && driver->owns && driver->read && driver->remove && driver->url);
	assert_non_null(driver->sweep);
}

static void goes_in_and_comes_out(void **state)
{
	struct store *s = *state;
	AUTO(free_p) char *url = put(s, ID, "octets\0more", 11);
	AUTO(free_p) char *expected = store_url(s, ID);

	assert_string_equal(store_id(s), "one");
	assert_string_equal(url, expected);
	assert_true(store_owns(s, url));
	expect_content(s, url, "octets\0more", 11);
	expect_nothing(s, ID2);
}

static void outlives_the_store(void **state)
{
	AUTO(store_close_p) struct store *again = NULL;
	AUTO(free_p) char *url = put(*state, ID, "stays", 5);

	again = open_store();
	assert_true(store_owns(again, url));
	expect_content(again, url, "stays", 5);
}

static void empty_object(void **state)
{
	struct store_writer *w = create(*state, ID, 0);
	AUTO(free_p) char *url = NULL;

	assert_int_equal(store_write(w, "", 0, NULL), 0);
	assert_int_equal(store_commit(&w, &url, NULL), 0);
	expect_content(*state, url, "", 0);
}

static char *big_data(void)
{
	char *data = malloc(BIG);

	assert_non_null(data);
	for (size_t i = 0; i < BIG; i++)
		data[i] = (char)(i * 2654435761u >> 11);
	return data;
}

static void big_object_in_odd_pieces(void **state)
{
	AUTO(free_p) char *data = big_data();
	AUTO(free_p) char *url = NULL;
	struct store_writer *w = create(*state, ID, -1);

	for (size_t at = 0, step = 1; at < BIG; at += step, step = step * 3 + 1) {
		if (step > BIG - at)
			step = BIG - at;
		assert_int_equal(store_write(w, data + at, step, NULL), 0);
	}
	assert_int_equal(store_commit(&w, &url, NULL), 0);
	expect_content(*state, url, data, BIG);
}

/* The announced size is a hint: neither a bound nor a length. */
static void hint_may_be_wrong(void **state)
{
	struct store_writer *small = create(*state, ID, 10000000), *large = create(*state, ID2, 1);
	AUTO(free_p) char *small_url = NULL, *large_url = NULL;

	assert_int_equal(store_write(small, "few", 3, NULL), 0);
	assert_int_equal(store_write(large, "much more", 9, NULL), 0);
	assert_int_equal(store_commit(&small, &small_url, NULL), 0);
	assert_int_equal(store_commit(&large, &large_url, NULL), 0);
	expect_content(*state, small_url, "few", 3);
	expect_content(*state, large_url, "much more", 9);
}

static void nothing_under_the_name_before_commit(void **state)
{
	struct store_writer *w = create(*state, ID, -1);
	AUTO(free_p) char *url = NULL;

	assert_int_equal(store_write(w, "half", 4, NULL), 0);
	expect_nothing(*state, ID);
	assert_int_equal(store_commit(&w, &url, NULL), 0);
	expect_content(*state, url, "half", 4);
}

static void abort_leaves_nothing(void **state)
{
	struct store_writer *w = create(*state, ID, -1);
	AUTO(free_p) char *url = NULL;
	unsigned n = 99;

	assert_int_equal(store_write(w, "half", 4, NULL), 0);
	store_abort(w);
	store_abort(NULL);
	expect_nothing(*state, ID);
	assert_int_equal(store_sweep(*state, &n, NULL), 0);
	assert_int_equal(n, 0);
	url = put(*state, ID, "whole", 5);
	expect_content(*state, url, "whole", 5);
}

static void object_is_never_replaced(void **state)
{
	AUTO(free_p) char *url = put(*state, ID, "first", 5);
	struct store_writer *w = NULL;
	struct err err = {0};
	char *second = NULL;
	int r;

	r = store_create(*state, ID, -1, &w, &err);
	if (r == 0)
		r = store_write(w, "second", 6, &err);
	if (r == 0)
		r = store_commit(&w, &second, &err);
	store_abort(w);
	assert_int_equal(r, ERR_CONFLICT);
	assert_null(second);
	expect_content(*state, url, "first", 5);
}

struct racer {
	struct store *store;
	char data[6];
	int result;
};

static void *race(void *arg)
{
	struct racer *racer = arg;
	struct store_writer *w = NULL;
	char *url = NULL;
	int r;

	r = store_create(racer->store, ID, -1, &w, NULL);
	if (r == 0)
		r = store_write(w, racer->data, 5, NULL);
	if (r == 0)
		r = store_commit(&w, &url, NULL);
	store_abort(w);
	free(url);
	racer->result = r;
	return NULL;
}

/* Of many writers for one image exactly one gets through, and what is there is his. */
static void one_of_many_writers(void **state)
{
	AUTO(free_p) char *url = store_url(*state, ID);
	struct racer racers[8], *winner = NULL;
	pthread_t threads[8];

	for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
		racers[i].store = *state;
		snprintf(racers[i].data, sizeof(racers[i].data), "no. %zu", i);
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
		pthread_join(threads[i], NULL);
		if (racers[i].result == 0) {
			assert_null(winner);
			winner = &racers[i];
		} else {
			assert_int_equal(racers[i].result, ERR_CONFLICT);
		}
	}
	assert_non_null(winner);
	expect_content(*state, url, winner->data, 5);
}

static void remove_and_again(void **state)
{
	AUTO(free_p) char *url = put(*state, ID, "data", 4), *again = NULL;
	AUTO(free_p) char *other = put(*state, ID2, "other", 5);

	assert_int_equal(store_remove(*state, url, NULL), 0);
	expect_nothing(*state, ID);
	assert_int_equal(store_remove(*state, url, NULL), 0); /* not there counts as removed */
	again = put(*state, ID, "anew", 4);
	expect_content(*state, again, "anew", 4);
	expect_content(*state, other, "other", 5);
}

/* Who has opened an object can read it to its end. */
static void removed_while_read(void **state)
{
	AUTO(free_p) char *url = put(*state, ID, "data", 4);
	struct store_source source = {.fd = -1};
	char got[8];

	assert_int_equal(store_read(*state, url, &source, NULL), 0);
	assert_int_equal(store_remove(*state, url, NULL), 0);
	assert_int_equal(read(source.fd, got, sizeof(got)), 4);
	close(source.fd);
}

static void only_canonical_ids(void **state)
{
	static const char *const ids[] = {
		"",
		".",
		"..",
		"../" ID,
		ID "/x",
		"/etc/passwd",
		"C0FFEE00-0000-4000-8000-000000000001",
		"c0ffee00000040008000000000000001",
		ID "0",
		"c0ffee00-0000-4000-8000-00000000000",
		"%2e%2e%2f",
	};
	struct store_writer *w = NULL;

	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		assert_int_equal(store_create(*state, ids[i], -1, &w, NULL), ERR_INVALID);
		assert_null(w);
		assert_null(store_url(*state, ids[i]));
	}
	assert_int_equal(store_create(*state, NULL, -1, &w, NULL), ERR_INVALID);
}

static void foreign_locations(void **state)
{
	static const char *const urls[] = {
		"",
		"x",
		"file:///etc/passwd",
		"file:///etc/../etc/passwd",
		"http://127.0.0.1:1/x",
		"swift+config://a/b/c",
		"rbd://a/b/c/d",
		"://",
		"file://",
		"data:,x",
	};
	struct store_source source;

	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		assert_false(store_owns(*state, urls[i]));
		assert_int_equal(store_read(*state, urls[i], &source, NULL), ERR_NOT_FOUND);
		assert_int_equal(store_remove(*state, urls[i], NULL), ERR_FORBIDDEN);
	}
	assert_false(store_owns(*state, NULL));
}

static void sweep_keeps_objects_and_writers(void **state)
{
	AUTO(free_p) char *url = put(*state, ID, "data", 4), *url2 = NULL;
	struct store_writer *w = create(*state, ID2, -1);
	unsigned n = 99;

	assert_int_equal(store_write(w, "more", 4, NULL), 0);
	assert_int_equal(store_sweep(*state, &n, NULL), 0);
	assert_int_equal(n, 0);
	assert_int_equal(store_commit(&w, &url2, NULL), 0);
	expect_content(*state, url, "data", 4);
	expect_content(*state, url2, "more", 4);
}

static void unknown_type(void **state)
{
	struct store_config none = {.id = "", .type = NULL}, odd = {.id = "", .type = "tape"};
	struct store *s = NULL;
	struct err err = {0};

	assert_int_equal(store_open(&none, &s, &err), ERR_INVALID);
	assert_int_equal(store_open(&odd, &s, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "tape"));
	assert_null(s);
	store_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static int run_contract(void)
{
	const struct CMUnitTest tests[] = {
		TEST(driver_is_complete),
		TEST(goes_in_and_comes_out),
		TEST(outlives_the_store),
		TEST(empty_object),
		TEST(big_object_in_odd_pieces),
		TEST(hint_may_be_wrong),
		TEST(nothing_under_the_name_before_commit),
		TEST(abort_leaves_nothing),
		TEST(object_is_never_replaced),
		TEST(one_of_many_writers),
		TEST(remove_and_again),
		TEST(removed_while_read),
		TEST(only_canonical_ids),
		TEST(foreign_locations),
		TEST(sweep_keeps_objects_and_writers),
		TEST(unknown_type),
	};

	return cmocka_run_group_tests_name(driver->name, tests, NULL, NULL);
}

/* What holds for those that only read what others have. That they do read is tested end to end. */
static void remote_stores_are_only_read(void **state)
{
	const struct fetch_rules rules = {0};
	const struct fetch_options fetch = {.rules = &rules};
	const struct store_config remote = {.id = "one", .type = driver->name, .fetch = &fetch};
	AUTO(store_close_p) struct store *s = NULL;
	struct store_part all = {.n = -1, .max_octets = 1000};
	struct store_stream *stream = NULL;
	struct store_writer *w = NULL;
	struct store_source source;
	struct err err = {0};
	unsigned n = 1;

	assert_int_equal(store_open(&remote, &s, &err), 0);
	assert_true(store_is_remote(s));
	assert_int_equal(store_create(s, ID, 1, &w, &err), ERR_FORBIDDEN);
	assert_null(store_url(s, ID));
	assert_int_equal(store_sweep(s, &n, &err), 0);
	assert_int_equal(n, 0);
	assert_false(store_owns(s, "file:///etc/passwd"));
	assert_true(store_owns(s, "https://example.org/x"));
	assert_int_equal(store_remove(s, "https://example.org/x", &err), 0);
	assert_int_equal(store_remove(s, "file:///etc/passwd", &err), ERR_FORBIDDEN);
	assert_int_equal(store_read(s, "https://example.org/x", &source, &err), ERR_UNAVAILABLE);
	assert_int_equal(store_check_url(s, "https://example.org/x", &err), 0);
	assert_int_equal(store_check_url(s, "http://127.0.0.1/x", &err), ERR_INVALID);
	assert_int_equal(store_check_url(s, "http://user:pw@example.org/x", &err), ERR_INVALID);
	assert_int_equal(store_stream_open(s, "http://127.0.0.1/x", &all, &stream, &err), ERR_INVALID);
	assert_int_equal(store_stream_open(s, "file:///etc/passwd", &all, &stream, &err), ERR_NOT_FOUND);
	assert_null(stream);
	store_stream_close(NULL);
}

static int run_remote_contract(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(remote_stores_are_only_read)};

	return cmocka_run_group_tests_name(driver->name, tests, NULL, NULL);
}

int main(void)
{
	int failed = 0;

	for (size_t i = 0; store_drivers[i]; i++) {
		driver = store_drivers[i];
		if (driver->stream_open) {
			failed += run_remote_contract();
			continue;
		}
		for (int t = 0; t < 2; t++) {
			thin = t;
			failed += run_contract();
		}
	}
	return failed;
}

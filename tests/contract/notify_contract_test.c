/* SPDX-License-Identifier: Apache-2.0
 * tests/contract/notify_contract_test.c -- what notify/driver.h promises, asked of every driver in
 * the table: listing a driver tests it. */
#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/err.h"
#include "notify/driver.h"
#include "notify/transport.h"

static char dir[64], path[80], nowhere[80];

static int setup(void **state)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/glint-contract-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/events.log", dir);
	(void)snprintf(nowhere, sizeof(nowhere), "%s/none/events.log", dir);
	return 0;
}

static int remove_one(const char *p, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(p);
}

static int teardown(void **state)
{
	return nftw(dir, remove_one, 4, FTW_DEPTH | FTW_PHYS);
}

static void *state_of(const struct notify_driver *d)
{
	void *s = calloc(1, d->state_size + 1);

	assert_non_null(s);
	return s;
}

static const struct conf_option none[] = {{0}};

/* Opened as the configuration would; where a transport is needed, with one that nobody serves. All of
 * what the driver is given is gone after this. */
static int open_with(const struct notify_driver *d, void *s, const char *log_path)
{
	static const char *const topics[] = {"notifications"};
	AUTO(conf_free_p) struct conf *conf = NULL;
	AUTO(transport_done) struct transport transport = {0};
	struct notify_driver_config config = {.publisher_id = "image.localhost",
					      .log_path = log_path,
					      .control_exchange = "glance",
					      .topics = topics,
					      .n_topics = 1,
					      .retry = -1};
	struct err err = {0};
	char url[64];
	int r;

	assert_int_equal(conf_new(d->options ? d->options : none, &conf, &err), 0);
	config.conf = conf;
	(void)snprintf(url, sizeof(url), "%s://u:s3cret@127.0.0.1:1/", d->schemes ? d->schemes[0] : "none");
	assert_int_equal(transport_parse(url, &transport, &err), 0);
	config.transport = d->schemes ? &transport : NULL;
	r = d->check ? d->check(&config, &err) : 0;
	if (r == 0)
		r = d->open(s, &config, &err);
	if (r < 0 && log_path == path)
		fail_msg("%s: %s", d->name, err_story(&err));
	return r;
}

static struct db_event event(unsigned i)
{
	struct db_event e = {.offset = i,
			     .subject = "c0ffee00-0000-4000-8000-000000000001",
			     .seq = i,
			     .message_id = "7bd6a905-54f2-4d07-a0bd-532bafe3a3ef",
			     .event_type = "image.create",
			     .priority = (enum event_priority)(i % 3),
			     .timestamp = 1795374571792397,
			     .payload = i % 2 ? "{\"id\": \"x\", \"password\": null}" : "\"a text\""};

	return e;
}

/* Nobody is there: the driver says so, in time and without the password, and loses nothing. */
static void deliver_to_nobody(const struct notify_driver *d, void *s)
{
	struct db_event e = event(1);
	struct err err = {0};
	size_t n_safe = 0;
	int64_t started = clock_mono_us();

	assert_int_equal(d->deliver(s, &e, 1, &n_safe, &err), DELIVERY_RETRY);
	assert_int_equal(n_safe, 0);
	assert_true(clock_mono_us() - started < 30000000);
	assert_true(*err_story(&err));
	assert_null(strstr(err.text, "s3cret"));
	assert_null(strstr(err.detail, "s3cret"));
}

static void deliver(const struct notify_driver *d, void *s, size_t n)
{
	struct db_event *batch;
	struct err err = {0};
	size_t n_safe = n + 1;

	if (d->schemes) {
		deliver_to_nobody(d, s);
		return;
	}
	batch = calloc(n, sizeof(*batch));
	assert_non_null(batch);
	for (size_t i = 0; i < n; i++)
		batch[i] = event((unsigned)i + 1);
	if (d->deliver(s, batch, n, &n_safe, &err) != DELIVERY_DELIVERED)
		fail_msg("%s: %s", d->name, err_story(&err));
	assert_int_equal(n_safe, n);
	free(batch);
}

static size_t n_open_files(void)
{
	DIR *fds = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(fds);
	while (readdir(fds))
		n++;
	closedir(fds);
	return n;
}

static void test_table(void **state)
{
	assert_non_null(notify_drivers[0]);
	assert_null(notify_driver_find("no such driver", NULL));
	assert_null(notify_driver_find("", NULL));
	for (size_t i = 0; notify_drivers[i]; i++) {
		const struct notify_driver *d = notify_drivers[i];
		struct db_cursor c;

		assert_int_equal(d->version, NOTIFY_DRIVER_VERSION);
		for (size_t k = 0; d->schemes && d->schemes[k]; k++)
			assert_ptr_equal(notify_driver_find(d->name, d->schemes[k]), d);
		if (!d->schemes) /* so names are unique, or names with schemes are */
			assert_ptr_equal(notify_driver_find(d->name, NULL), d);
		assert_true(!d->schemes || d->schemes[0]);
		assert_true(!d->options || d->url_section || !d->schemes);
		assert_true(strlen(d->name) < sizeof(c.driver));
		assert_true(d->summary && d->summary[0] && !strchr(d->summary, '\n'));
		assert_true(d->open && d->deliver && d->close);
	}
}

static void test_deliver_reopen_close(void **state)
{
	for (size_t i = 0; notify_drivers[i]; i++) {
		const struct notify_driver *d = notify_drivers[i];
		size_t before = n_open_files();
		void *s = state_of(d);

		assert_int_equal(open_with(d, s, path), 0);
		deliver(d, s, 1);
		deliver(d, s, 600);
		if (d->reopen)
			d->reopen(s);
		deliver(d, s, 2);
		d->close(s);
		free(s);
		assert_int_equal(n_open_files(), before);
	}
}

static void test_two_instances(void **state)
{
	for (size_t i = 0; notify_drivers[i]; i++) {
		const struct notify_driver *d = notify_drivers[i];
		void *a = state_of(d), *b = state_of(d);

		assert_int_equal(open_with(d, a, path), 0);
		assert_int_equal(open_with(d, b, path), 0);
		deliver(d, a, 1);
		d->close(a);
		deliver(d, b, 1);
		d->close(b);
		free(a);
		free(b);
	}
}

static void test_close_without_delivery(void **state)
{
	for (size_t i = 0; notify_drivers[i]; i++) {
		void *s = state_of(notify_drivers[i]);

		assert_int_equal(open_with(notify_drivers[i], s, path), 0);
		notify_drivers[i]->close(s);
		free(s);
	}
}

/* Opening may or may not fail with a path that cannot be; closing works either way, and touches no
 * file descriptor that is not the driver's. */
static void test_close_after_failed_open(void **state)
{
	size_t before = n_open_files();

	for (size_t i = 0; notify_drivers[i]; i++) {
		void *s = state_of(notify_drivers[i]);

		(void)open_with(notify_drivers[i], s, nowhere);
		notify_drivers[i]->close(s);
		free(s);
		assert_int_equal(n_open_files(), before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_deliver_reopen_close),
		cmocka_unit_test(test_two_instances),
		cmocka_unit_test(test_close_without_delivery),
		cmocka_unit_test(test_close_after_failed_open),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/log/log_test.c -- the file that the log driver writes: its lines, and what becomes of it
 * when a crash, a rotation or a full disk comes in between. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/err.h"
#include "notify/driver.h"

#define MOMENT INT64_C(1795374571792397) /* 2026-11-22 19:09:31.792397 */

struct fixture {
	char dir[64], path[80];
	const struct notify_driver *driver;
	void *state;
	struct err err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	setenv("TZ", "UTC", 1);
	tzset();
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/glint-log-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/events.log", f->dir);
	f->driver = notify_driver_find("log", NULL);
	f->state = calloc(1, f->driver->state_size);
	*state = f;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	nftw(f->dir, remove_one, 4, FTW_DEPTH | FTW_PHYS);
	free(f->state);
	free(f);
	return 0;
}

static int open_at(struct fixture *f, const char *path)
{
	struct notify_driver_config config = {.publisher_id = "image.localhost", .log_path = path};

	return f->driver->open(f->state, &config, &f->err);
}

static struct db_event event(unsigned i, const char *payload)
{
	struct db_event e = {.offset = i,
			     .subject = "s",
			     .event_type = "image.create",
			     .timestamp = MOMENT,
			     .payload = payload,
			     .request_id = "req-1",
			     .user_id = "1111",
			     .project_id = "2222"};

	(void)snprintf(e.message_id, sizeof(e.message_id), "7bd6a905-54f2-4d07-a0bd-%012u", i);
	return e;
}

static enum delivery deliver(struct fixture *f, unsigned first, size_t n, size_t *ret_n_safe)
{
	struct db_event batch[16];

	assert_true(n <= ARRAY_LEN(batch));
	for (size_t i = 0; i < n; i++)
		batch[i] = event(first + (unsigned)i, "{}");
	return f->driver->deliver(f->state, batch, n, ret_n_safe, &f->err);
}

static void deliver_ok(struct fixture *f, unsigned first, size_t n)
{
	size_t n_safe = 99;

	if (deliver(f, first, n, &n_safe) != DELIVERY_DELIVERED)
		fail_msg("%s", err_story(&f->err));
	assert_int_equal(n_safe, n);
}

/* The whole file; lives until the next call. */
static const char *content(const char *path)
{
	static char text[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	assert_true(n >= 0);
	close(fd);
	text[n] = '\0';
	return text;
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

static void test_line(void **state)
{
	struct fixture *f = *state;
	struct db_event e = event(7, "{\"id\": \"c0ff\", \"properties\": {\"token\": \"canary\"}}");
	char expected[1024];
	struct stat st;
	size_t n;

	assert_int_equal(open_at(f, f->path), 0);
	assert_int_equal(f->driver->deliver(f->state, &e, 1, &n, &f->err), DELIVERY_DELIVERED);
	e.priority = EVENT_ERROR;
	e.event_type = "image.upload";
	e.payload = "\"broken\"";
	e.request_id = e.user_id = e.project_id = NULL;
	assert_int_equal(f->driver->deliver(f->state, &e, 1, &n, &f->err), DELIVERY_DELIVERED);
	(void)snprintf(
		expected, sizeof(expected),
		"2026-11-22 19:09:31.792 %d INFO oslo.messaging.notification.image.create "
		"[None req-1 1111 2222 - - - -] {\"message_id\": \"7bd6a905-54f2-4d07-a0bd-000000000007\", "
		"\"publisher_id\": \"image.localhost\", \"event_type\": \"image.create\", \"priority\": "
		"\"INFO\", \"payload\": {\"id\": \"c0ff\", \"properties\": {\"token\": \"***\"}}, "
		"\"timestamp\": \"2026-11-22 19:09:31.792397\"}\n"
		"2026-11-22 19:09:31.792 %d ERROR oslo.messaging.notification.image.upload [-] "
		"{\"message_id\": \"7bd6a905-54f2-4d07-a0bd-000000000007\", \"publisher_id\": "
		"\"image.localhost\", \"event_type\": \"image.upload\", \"priority\": \"ERROR\", "
		"\"payload\": \"broken\", \"timestamp\": \"2026-11-22 19:09:31.792397\"}\n",
		(int)getpid(), (int)getpid());
	assert_string_equal(content(f->path), expected);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777 & ~0640, 0); /* no one else reads along */
	f->driver->close(f->state);
}

/* Even if a foreign hand wrote the row. */
static void test_one_event_is_one_line(void **state)
{
	struct fixture *f = *state;
	struct db_event e = event(1, "{\"a\":\n\t\"x\n2026-11-22 CRITICAL fake\", \"b\": \"\x1b[31m\"}");
	size_t n;

	e.user_id = "u\n2026 CRITICAL fake";
	e.request_id = "r\x1b[31m\r";
	e.event_type = "image.create\nx";
	assert_int_equal(open_at(f, f->path), 0);
	assert_int_equal(f->driver->deliver(f->state, &e, 1, &n, &f->err), DELIVERY_DELIVERED);
	assert_int_equal(count(content(f->path), "\n"), 1);
	assert_int_equal(count(content(f->path), "\x1b"), 0);
	assert_int_equal(count(content(f->path), "\r"), 0);
	f->driver->close(f->state);
}

static void test_torn_line_is_ended(void **state)
{
	struct fixture *f = *state;
	FILE *file = fopen(f->path, "we");

	assert_non_null(file);
	fputs("whole\n2026-11-22 19:0", file);
	fclose(file);
	assert_int_equal(open_at(f, f->path), 0);
	deliver_ok(f, 1, 2);
	assert_ptr_equal(strstr(content(f->path), "whole\n2026-11-22 19:0\n2026-11-22 19:09:31"),
			 content(f->path));
	assert_int_equal(count(content(f->path), "\n"), 4);
	deliver_ok(f, 3, 1);
	assert_int_equal(count(content(f->path), "\n"), 5);
	f->driver->close(f->state);
}

static void test_rotation(void **state)
{
	struct fixture *f = *state;
	char old[100];

	(void)snprintf(old, sizeof(old), "%s.1", f->path);
	assert_int_equal(open_at(f, f->path), 0);
	deliver_ok(f, 1, 1);
	assert_int_equal(rename(f->path, old), 0);
	deliver_ok(f, 2, 1); /* nobody told us; the path leads elsewhere */
	assert_int_equal(count(content(old), "000000000001\""), 1);
	assert_int_equal(count(content(f->path), "000000000002\""), 1);
	assert_int_equal(rename(f->path, old), 0);
	f->driver->reopen(f->state);
	deliver_ok(f, 3, 1);
	assert_int_equal(count(content(f->path), "\n"), 1);
	assert_int_equal(unlink(f->path), 0);
	deliver_ok(f, 4, 1);
	assert_int_equal(count(content(f->path), "000000000004\""), 1);
	f->driver->close(f->state);
}

static void test_path_gone_is_retried(void **state)
{
	struct fixture *f = *state;
	char dir[100], path[120];
	size_t n_safe = 99;

	(void)snprintf(dir, sizeof(dir), "%s/sub", f->dir);
	(void)snprintf(path, sizeof(path), "%s/events.log", dir);
	assert_int_equal(mkdir(dir, 0755), 0);
	assert_int_equal(open_at(f, path), 0);
	deliver_ok(f, 1, 1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(deliver(f, 2, 1, &n_safe), DELIVERY_RETRY);
	assert_int_equal(n_safe, 0);
	assert_non_null(strstr(err_story(&f->err), path));
	assert_int_equal(mkdir(dir, 0755), 0);
	deliver_ok(f, 2, 1);
	assert_int_equal(count(content(path), "000000000002\""), 1);
	f->driver->close(f->state);
}

static void test_full_disk(void **state)
{
	struct fixture *f = *state;
	size_t n_safe = 99;

	assert_int_equal(open_at(f, "/dev/full"), 0);
	assert_int_equal(deliver(f, 1, 3, &n_safe), DELIVERY_RETRY);
	assert_int_equal(n_safe, 0);
	assert_non_null(strstr(err_story(&f->err), strerror(ENOSPC)));
	assert_true(f->err.retriable);
	f->driver->close(f->state);
}

/* The file may grow by two lines and a half: two are safe, and the half one is ended before the
 * third comes again. */
static void test_write_that_falls_short(void **state)
{
	struct fixture *f = *state;
	struct rlimit before, tight;
	size_t n_safe = 99, line;

	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(open_at(f, f->path), 0);
	deliver_ok(f, 1, 1);
	line = strlen(content(f->path));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	tight = before;
	tight.rlim_cur = line * 3 + line / 2;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	assert_int_equal(deliver(f, 2, 5, &n_safe), DELIVERY_RETRY);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(n_safe, 2);
	deliver_ok(f, 4, 3);
	assert_int_equal(count(content(f->path), "{\"message_id\": \"7b"), 7); /* six, and the half one */
	assert_int_equal(count(content(f->path), "\n"), 7);
	assert_int_equal(count(content(f->path), "\"}\n"), 6);
	f->driver->close(f->state);
}

static void test_broken_payload_is_rejected(void **state)
{
	struct fixture *f = *state;
	struct db_event batch[] = {event(1, "{}"), event(2, "{\"token\": \"canary"), event(3, "{}")};
	size_t n_safe = 99;

	assert_int_equal(open_at(f, f->path), 0);
	assert_int_equal(f->driver->deliver(f->state, batch, 3, &n_safe, &f->err), DELIVERY_REJECTED);
	assert_int_equal(n_safe, 1);
	assert_int_equal(count(content(f->path), "\n"), 1);
	assert_int_equal(f->driver->deliver(f->state, batch + 1, 2, &n_safe, &f->err), DELIVERY_REJECTED);
	assert_int_equal(n_safe, 0);
	assert_int_equal(f->driver->deliver(f->state, batch + 2, 1, &n_safe, &f->err), DELIVERY_DELIVERED);
	assert_null(strstr(content(f->path), "canary"));
	f->driver->close(f->state);
}

static void test_failed_open(void **state)
{
	struct fixture *f = *state;
	char path[120];

	(void)snprintf(path, sizeof(path), "%s/none/events.log", f->dir);
	assert_int_equal(open_at(f, path), ERR_UNAVAILABLE);
	assert_non_null(strstr(err_story(&f->err), path));
	f->driver->close(f->state);
}

/* A pipe that nobody reads is an error, not a standstill. */
static void test_pipe_without_reader(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_equal(open_at(f, f->path), ERR_UNAVAILABLE);
	f->driver->close(f->state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_event_is_one_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_torn_line_is_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_path_gone_is_retried, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_that_falls_short, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken_payload_is_rejected, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_open, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pipe_without_reader, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

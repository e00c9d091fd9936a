/* SPDX-License-Identifier: Apache-2.0
 * base/log_test.c -- the log from within: no test waits for the second in which rotation is noticed. */
#include "log.c"

#include <setjmp.h>

#include <cmocka.h>

static char dir[] = "/tmp/log_test.XXXXXX";
static char path[64], moved[64];

static int set_up(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/own.log", dir);
	(void)snprintf(moved, sizeof(moved), "%s/own.log.1", dir);
	(void)setenv("TZ", "UTC", 1);
	return 0;
}

static int tear_down(void **state)
{
	log_close();
	(void)unlink(path);
	(void)unlink(moved);
	(void)rmdir(dir);
	return 0;
}

static int fresh(void **state)
{
	(void)unlink(path);
	(void)unlink(moved);
	return log_open(path, LOG_INFO_, NULL);
}

/* The text of @file. Returned owned. */
static char *slurp(const char *file)
{
	size_t size = 1 << 20, n;
	char *text = malloc(size);
	FILE *f = fopen(file, "re");

	assert_non_null(text);
	assert_non_null(f);
	n = fread(text, 1, size - 1, f);
	text[n] = '\0';
	(void)fclose(f);
	return text;
}

/* What follows the date of the only line of the log, which ends in a newline. */
static void assert_line(const char *expect)
{
	AUTO(free_p) char *text = slurp(path);
	size_t n = strlen(text);

	assert_true(n > 24 && text[n - 1] == '\n');
	text[n - 1] = '\0';
	assert_null(strchr(text, '\n'));
	assert_string_equal(text + 24, expect);
}

static void expect_line(const char *rest)
{
	char line[512];

	(void)snprintf(line, sizeof(line), "%ld %s", (long)getpid(), rest);
	assert_line(line);
}

static void test_prefix(void **state)
{
	const struct log_ctx ctx = {"req-1", "user", "project"}, some = {.user_id = "u"}, none = {0};
	AUTO(buf_done) struct buf b = {0};
	char expect[256];
	int64_t when = INT64_C(1795374579642999);

	log_prefix(&b, when, LOG_INFO_, "oslo.messaging.notification.image.prepare", &ctx);
	(void)snprintf(expect, sizeof(expect),
		       "2026-11-22 19:09:39.642 %ld INFO oslo.messaging.notification.image.prepare "
		       "[None req-1 user project - - - -] ",
		       (long)getpid());
	assert_string_equal(buf_cstr(&b), expect);

	buf_reset(&b);
	log_prefix(&b, when, LOG_ERROR_, "a", NULL);
	assert_string_equal(strstr(buf_cstr(&b), "ERROR"), "ERROR a [-] ");
	buf_reset(&b);
	log_prefix(&b, when, LOG_WARNING_, "a", &none);
	assert_string_equal(strstr(buf_cstr(&b), "WARNING"), "WARNING a [-] ");
	buf_reset(&b);
	log_prefix(&b, when, LOG_DEBUG_, "a", &some);
	assert_string_equal(strstr(buf_cstr(&b), "DEBUG"), "DEBUG a [None - u - - - - -] ");
}

static void test_ids_stay_in_their_place(void **state)
{
	const struct log_ctx ctx = {"req-1 u p - - - -] forged\n", "", "\xff"};
	char wide[4096];
	const struct log_ctx wide_ctx = {wide, wide, wide};
	AUTO(buf_done) struct buf b = {0};

	log_prefix(&b, 0, LOG_INFO_, "a", &ctx);
	assert_string_equal(strstr(buf_cstr(&b), "INFO"),
			    "INFO a [None req-1\\x20u\\x20p\\x20-\\x20-\\x20-\\x20-\\x5d\\x20forged\\n - "
			    "\\xff - - - -] ");

	memset(wide, 'w', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	buf_reset(&b);
	log_prefix(&b, 0, LOG_INFO_, wide, &wide_ctx);
	assert_int_equal(b.len, strlen("1970-01-01 00:00:00.000  INFO  [None    - - - -] ") +
					(size_t)snprintf(NULL, 0, "%ld", (long)getpid()) + MAX_NAME +
					3 * MAX_ID);
	assert_string_equal(b.data + b.len - 11, "w - - - -] ");
}

static void test_line(void **state)
{
	const struct log_ctx ctx = {"req-1", NULL, "p"};

	log_warning("glint.api", &ctx, "%s is %d", "answer", 42);
	expect_line("WARNING glint.api [None req-1 - p - - - -] answer is 42");
}

static void test_message_is_escaped(void **state)
{
	log_info("t", NULL, "%s",
		 "a\nb\r\tc\x1b[0m\x7f \xc3\xa4 \xe2\x80\xa8 \xc2\x85 \xe2\x80\xae \xff\xc3 \"\\n\"");
	expect_line("INFO t [-] a\\nb\\r\\tc\\x1b[0m\\x7f \xc3\xa4 \\u2028 \\x85 \\u202e \\xff\\xc3 \"\\n\"");
}

static void test_below_the_level(void **state)
{
	log_debug("t", NULL, "not me");
	log_info("t", NULL, "me");
	expect_line("INFO t [-] me");
	assert_int_equal(log_open(path, LOG_ERROR_, NULL), 0);
	log_warning("t", NULL, "not me");
	expect_line("INFO t [-] me");
}

static void test_too_long_is_cut(void **state)
{
	static const char *const units[] = {"x", "\xc3\xa4", "\x01"};

	for (size_t u = 0; u < ARRAY_LEN(units); u++) {
		char message[3 * MAX_MESSAGE + 1] = "";
		AUTO(free_p) char *text = NULL;
		size_t n;

		for (n = 0; n + 2 < sizeof(message); n += strlen(units[u]))
			memcpy(message + n, units[u], strlen(units[u]) + 1);
		assert_int_equal(fresh(NULL), 0);
		log_info("t", NULL, "%s", message);
		text = slurp(path);
		n = strlen(text);
		assert_in_range(n, MAX_MESSAGE, MAX_LINE);
		assert_string_equal(text + n - 4, "...\n");
		assert_true(utf8_is_valid(text, n));
		assert_ptr_equal(strchr(text, '\n'), text + n - 1);
	}
}

static void expect_in(const char *file, const char *last)
{
	AUTO(free_p) char *text = slurp(file);
	const char *found = strstr(text, last);

	assert_non_null(found);
	assert_string_equal(found + strlen(last), "\n");
}

static void test_reopen(void **state)
{
	int fd = atomic_load(&log_fd);

	log_info("t", NULL, "before");
	assert_int_equal(rename(path, moved), 0);
	log_info("t", NULL, "still the old one");
	log_reopen();
	log_info("t", NULL, "after");
	expect_in(moved, "still the old one");
	expect_line("INFO t [-] after");
	assert_int_equal(atomic_load(&log_fd), fd);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void test_moved_file_is_noticed(void **state)
{
	log_info("t", NULL, "before");
	assert_int_equal(rename(path, moved), 0);
	log_info("t", NULL, "not looked yet");
	atomic_store(&next_check_us, 0); /* a second later */
	log_info("t", NULL, "after");
	expect_in(moved, "not looked yet");
	expect_line("INFO t [-] after");
	assert_true(atomic_load(&next_check_us) > clock_mono_us());

	assert_int_equal(rename(path, moved), 0); /* and when another has made the new file */
	assert_int_equal(close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
	atomic_store(&next_check_us, 0);
	log_info("t", NULL, "again");
	expect_line("INFO t [-] again");
}

static void test_reopen_that_fails_keeps_the_old_file(void **state)
{
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	log_reopen();
	log_info("t", NULL, "kept");
	expect_in(moved, "kept");
	assert_int_equal(rmdir(path), 0);
}

static void test_open_that_fails_changes_nothing(void **state)
{
	struct err err = {0};

	assert_int_equal(log_open("/nonexistent/dir/x.log", LOG_ERROR_, &err), ERR_UNAVAILABLE);
	assert_null(strstr(err.text, "nonexistent"));
	assert_non_null(strstr(err.detail, "/nonexistent/dir/x.log"));
	log_info("t", NULL, "still here");
	expect_line("INFO t [-] still here");
}

/* Standard error is a file of ours while this runs. */
static void test_standard_error_and_back(void **state)
{
	int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	int fd = open(moved, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	assert_true(saved >= 0 && fd >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(log_open(NULL, LOG_INFO_, NULL), 0);
	log_info("t", NULL, "to stderr");
	log_reopen(); /* nothing to reopen */
	assert_int_equal(log_open(path, LOG_INFO_, NULL), 0);
	log_info("t", NULL, "to the file");
	log_close();
	log_info("t", NULL, "closed");
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	(void)close(saved);
	(void)close(fd);
	expect_in(moved, "closed");
	expect_line("INFO t [-] to the file");
}

#define WRITERS 3
#define LINES_EACH 500

static void *write_lines(void *arg)
{
	for (int i = 0; i < LINES_EACH; i++)
		log_info("t", NULL, "line of a thread");
	return NULL;
}

static size_t count_whole_lines(const char *file)
{
	AUTO(free_p) char *text = slurp(file);
	size_t n = 0;

	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, n++) {
		*end = '\0';
		assert_non_null(strstr(line, " INFO t [-] line of a thread"));
		assert_string_equal(strstr(line, "[-]"), "[-] line of a thread");
	}
	return n;
}

static void test_threads_and_rotation(void **state)
{
	pthread_t threads[WRITERS];

	for (size_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, NULL), 0);
	assert_int_equal(rename(path, moved), 0);
	log_reopen();
	for (int i = 0; i < 50; i++) {
		atomic_store(&next_check_us, 0);
		log_reopen();
	}
	for (size_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(count_whole_lines(path) + count_whole_lines(moved), WRITERS * LINES_EACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_ids_stay_in_their_place),
		cmocka_unit_test_setup(test_line, fresh),
		cmocka_unit_test_setup(test_message_is_escaped, fresh),
		cmocka_unit_test_setup(test_below_the_level, fresh),
		cmocka_unit_test_setup(test_too_long_is_cut, fresh),
		cmocka_unit_test_setup(test_reopen, fresh),
		cmocka_unit_test_setup(test_moved_file_is_noticed, fresh),
		cmocka_unit_test_setup(test_reopen_that_fails_keeps_the_old_file, fresh),
		cmocka_unit_test_setup(test_open_that_fails_changes_nothing, fresh),
		cmocka_unit_test_setup(test_standard_error_and_back, fresh),
		cmocka_unit_test_setup(test_threads_and_rotation, fresh),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* SPDX-License-Identifier: Apache-2.0
 * base/base_test.c -- util, err, utf8, uuid. */
#include "err.h"
#include "utf8.h"
#include "uuid.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_take_and_auto(void **state)
{
	int fd;

	{
		AUTO(free_p) char *text = strdup("abc");
		char *taken = TAKE(text);

		assert_null(text);
		assert_string_equal(taken, "abc");
		free(taken); /* and leaving the scope frees NULL */
	}
	{
		AUTO(close_fd_p) int open_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		AUTO(close_fd_p) int none = -1;

		assert_true(open_fd >= 0 && none == -1);
		fd = open_fd;
	}
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
}

static void test_err_set(void **state)
{
	struct err err = {.retriable = true, .detail = "old"};

	assert_int_equal(err_set(&err, ERR_NOT_FOUND, "No image '%s'.", "x"), ERR_NOT_FOUND);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_string_equal(err.text, "No image 'x'.");
	assert_string_equal(err.detail, "");
	assert_false(err.retriable);
	assert_int_equal(err_set(NULL, ERR_GONE, "x"), ERR_GONE);

	assert_int_equal(err_nomem(&err), ERR_NO_MEMORY);
	assert_int_equal(err.code, ERR_NO_MEMORY);
	assert_true(err.retriable);
	assert_true(strlen(err.text) > 0);
	assert_int_equal(err_nomem(NULL), ERR_NO_MEMORY);
}

static void test_err_story(void **state)
{
	struct err err = {0};

	err_set(&err, ERR_UNAVAILABLE, "The store is full.");
	assert_string_equal(err_story(&err), "The store is full.");
	assert_int_equal(err_wrap(&err, ERR_INTERNAL, "saving '%d'", 7), ERR_INTERNAL);
	assert_int_equal(err.code, ERR_INTERNAL);
	assert_string_equal(err_story(&err), "saving '7': The store is full.");

	assert_int_equal(err_detail(&err, "write: %s", "ENOSPC"), ERR_INTERNAL);
	assert_int_equal(err_detail(&err, "fd %d", 3), ERR_INTERNAL);
	assert_string_equal(err_story(&err), "write: ENOSPC; fd 3");
	err_wrap(&err, ERR_INTERNAL, "upload");
	assert_string_equal(err.text, "upload: saving '7': The store is full.");
	assert_string_equal(err.detail, "upload: write: ENOSPC; fd 3");

	err = (struct err){0};
	err_wrap(&err, ERR_INTERNAL, "alone");
	assert_string_equal(err.text, "alone");
	assert_string_equal(err_story(NULL), "");
}

static void test_err_of_its_own_text(void **state)
{
	struct err err = {0};

	err_set(&err, ERR_INVALID, "inner");
	err_set(&err, ERR_INVALID, "[%s]", err.text);
	assert_string_equal(err.text, "[inner]");
	err_wrap(&err, ERR_INVALID, "<%s>", err.text);
	assert_string_equal(err.text, "<[inner]>: [inner]");
}

static void test_err_cuts_between_characters(void **state)
{
	struct err err = {0};
	char many[2 * sizeof(err.text) + 1];

	for (size_t shift = 0; shift < 2; shift++) {
		for (size_t i = 0; i + 1 < sizeof(many); i += 2)
			memcpy(many + i, "\xc3\xa4", 3);
		err_set(&err, ERR_INVALID, "%s%s", shift ? "x" : "", many);
		assert_true(utf8_is_valid(err.text, strlen(err.text)));
		assert_true(strlen(err.text) >= sizeof(err.text) - 2);
		err_wrap(&err, ERR_INVALID, "%s", "ab");
		assert_true(utf8_is_valid(err.text, strlen(err.text)));
	}
}

static void test_utf8_decode(void **state)
{
	static const struct {
		const char *text;
		size_t n, length;
		uint32_t c;
	} cases[] = {
		{"a", 1, 1, 'a'},
		{"", 1, 1, 0},
		{"\x7f", 1, 1, 0x7f},
		{"\xc2\x80", 2, 2, 0x80},
		{"\xdf\xbf", 2, 2, 0x7ff},
		{"\xe0\xa0\x80", 3, 3, 0x800},
		{"\xef\xbf\xbf", 3, 3, 0xffff},
		{"\xf0\x90\x80\x80", 4, 4, 0x10000},
		{"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff},
		{"x", 0, 0, 0},
		{"\x80", 1, 0, 0},             /* a continuation alone */
		{"\xc1\xbf", 2, 0, 0},         /* overlong */
		{"\xe0\x9f\xbf", 3, 0, 0},     /* overlong */
		{"\xf0\x8f\xbf\xbf", 4, 0, 0}, /* overlong */
		{"\xed\xa0\x80", 3, 0, 0},     /* a surrogate */
		{"\xed\xbf\xbf", 3, 0, 0},
		{"\xf4\x90\x80\x80", 4, 0, 0}, /* past U+10FFFF */
		{"\xf5\x80\x80\x80", 4, 0, 0},
		{"\xff", 1, 0, 0},
		{"\xe2\x82\xac", 2, 0, 0}, /* cut off */
		{"\xe2\x82"
		 "a",
		 3, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint32_t c = 0;

		assert_int_equal(utf8_decode(cases[i].text, cases[i].n, &c), cases[i].length);
		assert_int_equal(c, cases[i].c);
	}
}

static void test_utf8_trim(void **state)
{
	assert_int_equal(utf8_trim("", 0), 0);
	assert_int_equal(utf8_trim("ab", 2), 2);
	assert_int_equal(utf8_trim("a\xe2\x82\xac", 4), 4);
	assert_int_equal(utf8_trim("a\xe2\x82\xac", 3), 1);
	assert_int_equal(utf8_trim("a\xe2\x82\xac", 2), 1);
	assert_int_equal(utf8_trim("a\xf0\x90\x80\x80", 4), 1);
	assert_int_equal(utf8_trim("\x80\x80\x80\x80", 4), 4); /* nothing to cut */
	assert_true(utf8_is_valid("a\xe2\x82\xac", 4));
	assert_false(utf8_is_valid("a\xe2\x82\xac", 3));
	assert_true(utf8_is_valid("", 0));
}

static void test_uuid_form(void **state)
{
	char id[UUID_LEN + 1], last[UUID_LEN + 1] = "";

	for (int i = 0; i < 1000; i++) {
		uuid_new(id);
		assert_int_equal(strlen(id), UUID_LEN);
		assert_true(uuid_is_canonical(id));
		assert_int_equal(id[14], '4');
		assert_non_null(strchr("89ab", id[19]));
		assert_string_not_equal(id, last);
		memcpy(last, id, sizeof(last));
	}
}

static void test_uuid_is_canonical(void **state)
{
	static const char *const wrong[] = {
		"",
		"c0ffee00-0000-4000-8000-00000000000",
		"c0ffee00-0000-4000-8000-0000000000011",
		"C0FFEE00-0000-4000-8000-000000000001",
		"c0ffee00-0000-4000-8000-00000000000g",
		"c0ffee0000000-4000-8000-000000000001",
		"c0ffee00_0000-4000-8000-000000000001",
		"c0ffee00000040008000000000000001",
		"{0ffee00-0000-4000-8000-000000000001",
		"../../..-/../-/../-/../-/../../../..",
		"c0ffee00-0000-4000-8000-00000000000\n",
	};

	assert_true(uuid_is_canonical("c0ffee00-0000-4000-8000-000000000001"));
	assert_true(uuid_is_canonical("00000000-0000-0000-0000-000000000000"));
	assert_false(uuid_is_canonical(NULL));
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_false(uuid_is_canonical(wrong[i]));
}

#define IDS_EACH 100

static void *make_ids(void *arg)
{
	char(*ids)[UUID_LEN + 1] = arg;

	for (size_t i = 0; i < IDS_EACH; i++)
		uuid_new(ids[i]);
	return NULL;
}

static int compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/* Two threads and a forked child that all start with the stock the parent had. */
static void test_uuid_differs_across_threads_and_fork(void **state)
{
	static char ids[4][IDS_EACH][UUID_LEN + 1];
	char(*all)[UUID_LEN + 1] = ids[0];
	pthread_t threads[2];
	int ends[2], status;
	pid_t child;

	uuid_new(ids[0][0]);
	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		make_ids(ids[0]);
		_exit(write(ends[1], ids[0], sizeof(ids[0])) == (ssize_t)sizeof(ids[0]) ? 0 : 1);
	}
	make_ids(ids[0]);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_ids, ids[i + 1]), 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(read(ends[0], ids[3], sizeof(ids[3])), sizeof(ids[3]));
	(void)close(ends[0]);
	(void)close(ends[1]);

	qsort(all, 4 * IDS_EACH, sizeof(all[0]), compare_ids);
	for (size_t i = 1; i < 4 * IDS_EACH; i++)
		assert_string_not_equal(all[i - 1], all[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take_and_auto),
		cmocka_unit_test(test_err_set),
		cmocka_unit_test(test_err_story),
		cmocka_unit_test(test_err_of_its_own_text),
		cmocka_unit_test(test_err_cuts_between_characters),
		cmocka_unit_test(test_utf8_decode),
		cmocka_unit_test(test_utf8_trim),
		cmocka_unit_test(test_uuid_form),
		cmocka_unit_test(test_uuid_is_canonical),
		cmocka_unit_test(test_uuid_differs_across_threads_and_fork),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

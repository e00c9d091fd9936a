/* SPDX-License-Identifier: Apache-2.0
 * base/memory_test.c -- arena and buf. */
#include "arena.h"
#include "buf.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_arena_alloc(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	unsigned char *p[200];

	for (size_t i = 0; i < ARRAY_LEN(p); i++) {
		size_t n = i * 37;

		p[i] = arena_alloc(&a, n);
		assert_non_null(p[i]);
		assert_int_equal((uintptr_t)p[i] % alignof(max_align_t), 0);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(p[i][k], 0);
		memset(p[i], (int)i, n);
	}
	for (size_t i = 0; i < ARRAY_LEN(p); i++) { /* none lies over another */
		for (size_t k = 0; k < i * 37; k++)
			assert_int_equal(p[i][k], i & 0xff);
	}
}

static void test_arena_is_zeroed_after_text(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	char *text;

	for (int round = 0; round < 2; round++) {
		text = arena_strdup(&a, "not zero");
		assert_string_equal(text, "not zero");
		assert_int_equal(*(char *)arena_alloc(&a, 1), 0);
		arena_done(&a); /* and usable again */
	}
}

static void test_arena_large_keeps_the_block(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	char *first, *large, *second;

	large = arena_alloc(&a, 1 << 20); /* also as the very first */
	assert_non_null(large);
	first = arena_alloc(&a, 16);
	memset(arena_alloc(&a, 1 << 20), 1, 1 << 20);
	second = arena_alloc(&a, 16);
	assert_ptr_equal(second, first + 16);
}

static char acts[8];

static void act(void *object)
{
	strncat(acts, object, sizeof(acts) - strlen(acts) - 1);
}

static void test_arena_ends_what_hangs_on_it(void **state)
{
	AUTO(arena_done) struct arena a = {0};

	assert_true(arena_at_end(&a, act, (char *)"a"));
	assert_true(arena_at_end(&a, act, (char *)"b"));
	assert_string_equal(acts, "");
	arena_done(&a);
	assert_string_equal(acts, "ba");
	arena_done(&a);
	assert_string_equal(acts, "ba");
}

static void test_arena_refuses_the_impossible(void **state)
{
	AUTO(arena_done) struct arena a = {0};

	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_alloc(&a, SIZE_MAX - 15));
	assert_null(arena_alloc(&a, PTRDIFF_MAX));
	assert_non_null(arena_alloc(&a, 0));
}

static void test_arena_text(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	char wide[5000];

	memset(wide, 'w', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	assert_null(arena_strdup(&a, NULL));
	assert_null(arena_strndup(&a, NULL, 3));
	assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
	assert_string_equal(arena_strndup(&a, "abc", 100), "abc");
	assert_string_equal(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
	assert_string_equal(arena_printf(&a, "%s", wide), wide);
}

static void test_buf_adds_up(void **state)
{
	AUTO(buf_done) struct buf b = {0};
	char expect[4000];
	size_t n = 0;

	assert_string_equal(buf_cstr(&b), "");
	buf_add(&b, NULL, 0);
	assert_null(b.data);
	while (n + 4 < sizeof(expect)) {
		buf_addc(&b, 'a');
		buf_adds(&b, "bc");
		buf_addf(&b, "%d", (int)(n % 10));
		n += (size_t)snprintf(expect + n, sizeof(expect) - n, "abc%d", (int)(n % 10));
		assert_int_equal(b.len, n);
		assert_int_equal(b.data[b.len], 0);
	}
	assert_string_equal(buf_cstr(&b), expect);
	assert_false(b.failed);

	buf_reset(&b);
	assert_int_equal(b.len, 0);
	assert_string_equal(buf_cstr(&b), "");
	assert_non_null(b.data);
}

static void test_buf_prints_at_every_fill(void **state)
{
	for (size_t before = 0; before < 300; before++) {
		AUTO(buf_done) struct buf b = {0};

		for (size_t i = 0; i < before; i++)
			buf_addc(&b, 'x');
		buf_addf(&b, "%s", "0123456789");
		assert_int_equal(b.len, before + 10);
		assert_string_equal(b.data + before, "0123456789");
	}
}

static void test_buf_reserve(void **state)
{
	AUTO(buf_done) struct buf b = {0};
	char *end;

	buf_adds(&b, "ab");
	end = buf_reserve(&b, 1000);
	assert_non_null(end);
	memset(end, 'z', 1000);
	b.len += 3;
	assert_string_equal(buf_cstr(&b), "abzzz");
	b.len += 997;
	b.data[5] = 'z'; /* where the NUL was */
	assert_int_equal(strlen(buf_cstr(&b)), 1002);
	b.len = 2;
	buf_addc(&b, '!');
	assert_string_equal(b.data, "ab!");
}

static void test_buf_fails_once_and_for_all(void **state)
{
	AUTO(buf_done) struct buf b = {0};

	buf_adds(&b, "kept");
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_true(b.failed);
	assert_null(buf_reserve(&b, 1));
	buf_adds(&b, "lost");
	buf_addf(&b, "%s", "lost");
	buf_addc(&b, 'x');
	assert_string_equal(buf_cstr(&b), "kept");

	buf_reset(&b);
	assert_false(b.failed);
	buf_adds(&b, "again");
	assert_string_equal(buf_cstr(&b), "again");
	assert_null(buf_reserve(&b, (size_t)PTRDIFF_MAX - 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arena_alloc),
		cmocka_unit_test(test_arena_is_zeroed_after_text),
		cmocka_unit_test(test_arena_large_keeps_the_block),
		cmocka_unit_test(test_arena_ends_what_hangs_on_it),
		cmocka_unit_test(test_arena_refuses_the_impossible),
		cmocka_unit_test(test_arena_text),
		cmocka_unit_test(test_buf_adds_up),
		cmocka_unit_test(test_buf_prints_at_every_fill),
		cmocka_unit_test(test_buf_reserve),
		cmocka_unit_test(test_buf_fails_once_and_for_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

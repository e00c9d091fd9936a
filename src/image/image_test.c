/* SPDX-License-Identifier: Apache-2.0
 * image/image_test.c */
#include "image/image.h"

#include "image/test_help.h"

static void every_name_is_read_back(void **state)
{
	for (int s = IMAGE_QUEUED; s <= IMAGE_DELETED; s++) {
		enum image_status back = IMAGE_DELETED;

		assert_true(image_status_parse(image_status_name((enum image_status)s), &back));
		assert_int_equal(back, s);
	}
	for (int v = IMAGE_PRIVATE; v <= IMAGE_PUBLIC; v++) {
		enum image_visibility back = IMAGE_PRIVATE;

		assert_true(image_visibility_parse(image_visibility_name((enum image_visibility)v), &back));
		assert_int_equal(back, v);
	}
	for (int m = MEMBER_PENDING; m <= MEMBER_REJECTED; m++) {
		enum member_status back = MEMBER_PENDING;

		assert_true(member_status_parse(member_status_name((enum member_status)m), &back));
		assert_int_equal(back, m);
	}
	assert_string_equal(image_status_name(IMAGE_PENDING_DELETE), "pending_delete");
}

static void no_other_name_is_read(void **state)
{
	enum image_status s = IMAGE_KILLED;
	enum image_visibility v = IMAGE_PUBLIC;
	enum member_status m = MEMBER_REJECTED;

	assert_false(image_status_parse("Active", &s));
	assert_false(image_status_parse("", &s));
	assert_false(image_status_parse(NULL, &s));
	assert_int_equal(s, IMAGE_KILLED);
	assert_false(image_visibility_parse("all", &v));
	assert_int_equal(v, IMAGE_PUBLIC);
	assert_false(member_status_parse("all", &m));
	assert_int_equal(m, MEMBER_REJECTED);
}

/* The whole table, row by row, so that a changed edge shows. */
static void statuses_follow_the_table(void **state)
{
	static const char *const rows[][2] = {
		{"queued", "saving uploading importing active deleted"},
		{"saving", "active killed deleted queued"},
		{"uploading", "importing queued deleted"},
		{"importing", "active deleted queued"},
		{"active", "pending_delete deleted deactivated"},
		{"deactivated", "active deleted"},
		{"killed", "deleted"},
		{"pending_delete", "deleted active"},
		{"deleted", ""},
	};
	int n_checked = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum image_status from = IMAGE_QUEUED;

		assert_true(image_status_parse(rows[i][0], &from));
		for (int to = IMAGE_QUEUED; to <= IMAGE_DELETED; to++) {
			char word[32], list[128];

			snprintf(word, sizeof(word), " %s ", image_status_name((enum image_status)to));
			snprintf(list, sizeof(list), " %s ", rows[i][1]);
			assert_int_equal(image_may_become(from, (enum image_status)to),
					 strstr(list, word) != NULL);
			n_checked++;
		}
	}
	assert_int_equal(n_checked, 81);
}

static void a_forbidden_transition_is_a_conflict(void **state)
{
	struct err err = {0};

	assert_int_equal(image_check_transition(IMAGE_QUEUED, IMAGE_SAVING, &err), 0);
	assert_int_equal(image_check_transition(IMAGE_ACTIVE, IMAGE_SAVING, &err), ERR_CONFLICT);
	assert_string_equal(err.text, "Image status transition from active to saving is not allowed");
}

static void a_fresh_image_is_empty(void **state)
{
	struct image img;

	memset(&img, 0xff, sizeof(img));
	image_init(&img);
	assert_int_equal(img.status, IMAGE_QUEUED);
	assert_int_equal(img.visibility, IMAGE_SHARED);
	assert_int_equal(img.size, IMAGE_SIZE_UNKNOWN);
	assert_int_equal(img.virtual_size, IMAGE_SIZE_UNKNOWN);
	assert_string_equal(img.id, "");
	assert_null(img.owner);
	assert_false(img.is_protected || img.os_hidden || img.deleted);
	assert_int_equal(img.n_properties + img.n_tags + img.n_locations, 0);
	assert_int_equal(img.created_at, 0);
}

static void properties_are_set_and_removed(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	char name[] = "one", value[] = "1";
	struct image img;

	image_init(&img);
	assert_int_equal(image_set_property(&img, &a, name, value, NULL), 0);
	name[0] = value[0] = 'x'; /* copied, not kept */
	assert_int_equal(image_set_property(&img, &a, "two", NULL, NULL), 0);
	assert_int_equal(image_set_property(&img, &a, "three", "3", NULL), 0);
	assert_int_equal(image_set_property(&img, &a, "one", "1!", NULL), 0);
	assert_int_equal(img.n_properties, 3);
	assert_string_equal(image_find_property(&img, "one")->value, "1!");
	assert_null(image_find_property(&img, "two")->value);
	assert_true(image_remove_property(&img, "one"));
	assert_false(image_remove_property(&img, "one"));
	assert_null(image_find_property(&img, "one"));
	assert_int_equal(img.n_properties, 2);
	assert_string_equal(img.properties[0].name, "two");
	assert_string_equal(img.properties[1].name, "three");
}

static void tags_are_a_set_in_order(void **state)
{
	static const char *const tags[] = {"b", "a", "b", "c", "a"};
	AUTO(arena_done) struct arena a = {0};
	struct image img;

	image_init(&img);
	for (size_t i = 0; i < ARRAY_LEN(tags); i++)
		assert_int_equal(image_add_tag(&img, &a, tags[i], NULL), 0);
	assert_int_equal(img.n_tags, 3);
	assert_string_equal(img.tags[0], "b");
	assert_string_equal(img.tags[2], "c");
	assert_true(image_has_tag(&img, "a"));
	assert_true(image_remove_tag(&img, "a"));
	assert_false(image_remove_tag(&img, "a"));
	assert_false(image_has_tag(&img, "a"));
	assert_int_equal(img.n_tags, 2);
	assert_string_equal(img.tags[1], "c");
}

/* An image that was made elsewhere has arrays without room. */
static void foreign_arrays_are_not_overrun(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image_property one[1] = {{"p", "v"}};
	const char *tag[1] = {"t"};
	struct image img;

	image_init(&img);
	img.properties = one;
	img.n_properties = 1;
	img.tags = tag;
	img.n_tags = 1;
	assert_int_equal(image_set_property(&img, &a, "q", "w", NULL), 0);
	assert_int_equal(image_add_tag(&img, &a, "u", NULL), 0);
	assert_string_equal(image_find_property(&img, "p")->value, "v");
	assert_true(image_has_tag(&img, "t") && image_has_tag(&img, "u"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_name_is_read_back),
		cmocka_unit_test(no_other_name_is_read),
		cmocka_unit_test(statuses_follow_the_table),
		cmocka_unit_test(a_forbidden_transition_is_a_conflict),
		cmocka_unit_test(a_fresh_image_is_empty),
		cmocka_unit_test(properties_are_set_and_removed),
		cmocka_unit_test(tags_are_a_set_in_order),
		cmocka_unit_test(foreign_arrays_are_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

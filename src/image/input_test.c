/* SPDX-License-Identifier: Apache-2.0
 * image/input_test.c */
#include "image/input.h"

#include "image/test_help.h"

static int create_limited(const char *body, int64_t max, struct arena *a, struct image *img, struct err *err)
{
	struct image_limits limits = test_limits(max);
	json_t *json = parse(body);
	int r = image_from_json(json, &limits, a, img, err);

	json_decref(json); /* nothing of it may be needed any more */
	return r;
}

static void expect(const char *body, int code)
{
	AUTO(arena_done) struct arena a = {0};
	struct err err = {0};
	struct image img;
	int r = create_limited(body, 10, &a, &img, &err);

	if (r != code)
		fail_msg("%d instead of %d (%s) for %s", r, code, err.text, body);
	assert_int_equal(err.code, code);
	assert_int_equal(err.text[0] != '\0', code != 0);
}

/* %s in @body is @n times @piece. */
static void expect_long(const char *body, const char *piece, size_t n, int code)
{
	AUTO(arena_done) struct arena a = {0};

	expect(arena_printf(&a, body, repeat(&a, piece, n)), code);
}

static void an_empty_body_is_a_fresh_image(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img;

	assert_int_equal(create_limited("{}", 0, &a, &img, NULL), 0);
	assert_int_equal(img.visibility, IMAGE_SHARED);
	assert_int_equal(img.size, IMAGE_SIZE_UNKNOWN);
	assert_string_equal(img.id, "");
	assert_null(img.owner);
}

static void everything_that_can_be_set_is(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img;

	assert_int_equal(
		create_limited(
			"{\"id\": \"C0FFEE00-0000-4000-8000-00000000020F\", \"zz\": \"last\","
			"\"name\": \"full\", \"owner\": \"me\", \"visibility\": \"public\","
			"\"protected\": true, \"os_hidden\": true, \"min_disk\": 7, \"min_ram\": 2.56e2,"
			"\"disk_format\": \"qcow2\", \"container_format\": \"bare\", \"aa\": \"\","
			"\"tags\": [\"z\", \"a\", \"z\", \"m\"]}",
			10, &a, &img, NULL),
		0);
	assert_string_equal(img.id, "c0ffee00-0000-4000-8000-00000000020f");
	assert_string_equal(img.name, "full");
	assert_string_equal(img.owner, "me");
	assert_int_equal(img.visibility, IMAGE_PUBLIC);
	assert_true(img.is_protected && img.os_hidden);
	assert_int_equal(img.min_disk, 7);
	assert_int_equal(img.min_ram, 256);
	assert_string_equal(img.disk_format, "qcow2");
	assert_string_equal(img.container_format, "bare");
	assert_int_equal(img.n_tags, 3);
	assert_string_equal(img.tags[0], "z");
	assert_string_equal(img.tags[1], "a");
	assert_string_equal(img.tags[2], "m");
	assert_int_equal(img.n_properties, 2);
	assert_string_equal(img.properties[0].name, "zz");
	assert_string_equal(img.properties[0].value, "last");
	assert_string_equal(img.properties[1].name, "aa");
	assert_string_equal(img.properties[1].value, "");
}

static void only_objects_are_bodies(void **state)
{
	expect("[]", ERR_INVALID);
	expect("null", ERR_INVALID);
	expect("\"x\"", ERR_INVALID);
	expect("5", ERR_INVALID);
}

static void texts_are_checked(void **state)
{
	expect("{\"name\": null}", 0);
	expect("{\"name\": \"\"}", 0);
	expect("{\"name\": 5}", ERR_INVALID);
	expect("{\"name\": {}}", ERR_INVALID);
	expect("{\"name\": \"a\\u0000b\"}", ERR_INVALID);
	expect("{\"name\": \"a\\nb\"}", 0);
	expect("{\"name\": \"\\ud83d\\ude00\"}", 0);
	expect_long("{\"name\": \"%s\"}", "\xc3\xa9", 255, 0);
	expect_long("{\"name\": \"%s\"}", "a", 256, ERR_INVALID);
	expect("{\"owner\": null}", 0);
	expect("{\"owner\": 5}", ERR_INVALID);
	expect_long("{\"owner\": \"%s\"}", "a", 255, 0);
	expect_long("{\"owner\": \"%s\"}", "\xc3\xa9", 256, ERR_INVALID);
}

static void ids_are_uuids(void **state)
{
	expect("{\"id\": \"c0ffee00-0000-4000-8000-000000000201\"}", 0);
	expect("{\"id\": null}", ERR_INVALID);
	expect("{\"id\": \"x\"}", ERR_INVALID);
	expect("{\"id\": \"\"}", ERR_INVALID);
	expect("{\"id\": \"c0ffee00-0000-4000-8000-000000000201\\n\"}", ERR_INVALID);
	expect("{\"id\": \"c0ffee00-0000-4000-8000-00000000020\\u0000\"}", ERR_INVALID);
	expect("{\"id\": \"c0ffee000-000-4000-8000-000000000201\"}", ERR_INVALID);
	expect("{\"id\": \"../../../../../../../../etc/passwd00\"}", ERR_INVALID);
	expect("{\"id\": \"c0ffee00-0000-4000-8000-00000000020g\"}", ERR_INVALID);
	expect("{\"id\": \"c0ffee0000004000800000000000020112345\"}", ERR_INVALID);
}

static void enumerations_and_booleans_are_checked(void **state)
{
	expect("{\"visibility\": \"community\"}", 0);
	expect("{\"visibility\": \"all\"}", ERR_INVALID);
	expect("{\"visibility\": null}", ERR_INVALID);
	expect("{\"visibility\": \"public\\u0000x\"}", ERR_INVALID);
	expect("{\"disk_format\": \"raw\\u0000x\"}", ERR_INVALID);
	expect("{\"protected\": false}", 0);
	expect("{\"protected\": \"true\"}", ERR_INVALID);
	expect("{\"protected\": 1}", ERR_INVALID);
	expect("{\"protected\": null}", ERR_INVALID);
	expect("{\"os_hidden\": null}", ERR_INVALID);
	expect("{\"disk_format\": null}", 0);
	expect("{\"disk_format\": \"raw\"}", 0);
	expect("{\"disk_format\": \"RAW\"}", ERR_INVALID);
	expect("{\"disk_format\": \"\"}", ERR_INVALID);
	expect("{\"disk_format\": 5}", ERR_INVALID);
	expect("{\"disk_format\": \"bare\"}", ERR_INVALID);
	expect("{\"container_format\": \"bare\"}", 0);
	expect("{\"container_format\": \"raw\"}", ERR_INVALID);
}

static void integers_are_bounded(void **state)
{
	expect("{\"min_ram\": 0}", 0);
	expect("{\"min_ram\": 2147483647}", 0);
	expect("{\"min_ram\": 2147483648}", ERR_INVALID);
	expect("{\"min_ram\": 9223372036854775807}", ERR_INVALID);
	expect("{\"min_ram\": -1}", ERR_INVALID);
	expect("{\"min_ram\": 1.0}", 0);
	expect("{\"min_ram\": 1.5}", ERR_INVALID);
	expect("{\"min_ram\": 1e300}", ERR_INVALID);
	expect("{\"min_ram\": -1e300}", ERR_INVALID);
	expect("{\"min_ram\": \"1\"}", ERR_INVALID);
	expect("{\"min_ram\": true}", ERR_INVALID);
	expect("{\"min_ram\": null}", ERR_INVALID);
	expect("{\"min_disk\": 2147483648}", ERR_INVALID);
}

static void tags_are_checked(void **state)
{
	expect("{\"tags\": []}", 0);
	expect("{\"tags\": [\"\"]}", 0);
	expect("{\"tags\": null}", ERR_INVALID);
	expect("{\"tags\": \"x\"}", ERR_INVALID);
	expect("{\"tags\": {}}", ERR_INVALID);
	expect("{\"tags\": [5]}", ERR_INVALID);
	expect("{\"tags\": [null]}", ERR_INVALID);
	expect("{\"tags\": [\"a\\u0000\"]}", ERR_INVALID);
	expect_long("{\"tags\": [\"%s\"]}", "\xc3\xa9", 255, 0);
	expect_long("{\"tags\": [\"%s\"]}", "a", 256, ERR_INVALID);
}

static void custom_properties_are_texts(void **state)
{
	expect("{\"hw_x\": \"1\"}", 0);
	expect("{\"\": \"x\"}", 0);
	expect("{\"a/b\": \"c\"}", 0);
	expect("{\"is_public\": \"true\"}", 0);
	expect("{\"x\": null}", ERR_INVALID);
	expect("{\"x\": 5}", ERR_INVALID);
	expect("{\"x\": true}", ERR_INVALID);
	expect("{\"x\": {}}", ERR_INVALID);
	expect("{\"x\": []}", ERR_INVALID);
	expect("{\"x\": \"\\u0000\"}", ERR_INVALID);
	expect_long("{\"x\": \"%s\"}", "v", 70000, 0);
	expect_long("{\"%s\": \"v\"}", "\xc3\xa9", 255, 0);
	expect_long("{\"%s\": \"v\"}", "k", 256, ERR_INVALID);
}

static void what_is_ours_is_refused(void **state)
{
	static const char *const names[] = {"checksum",   "os_hash_algo", "os_hash_value", "created_at",
					    "updated_at", "direct_url",   "self",          "file",
					    "schema",     "stores",       "location",      "deleted",
					    "deleted_at", "os_glance_x",  "os_glance"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		AUTO(arena_done) struct arena a = {0};

		expect(arena_printf(&a, "{\"%s\": \"x\"}", names[i]), ERR_FORBIDDEN);
	}
	expect("{\"status\": \"active\"}", ERR_FORBIDDEN);
	expect("{\"size\": 1}", ERR_FORBIDDEN);
	expect("{\"virtual_size\": null}", ERR_FORBIDDEN);
	expect("{\"locations\": []}", ERR_FORBIDDEN);
	expect("{\"locations\": [{\"url\": \"file:///etc/passwd\", \"metadata\": {}}]}", ERR_FORBIDDEN);
}

static void a_wrong_type_comes_before_a_refusal(void **state)
{
	expect("{\"status\": \"foo\"}", ERR_INVALID);
	expect("{\"checksum\": 5}", ERR_INVALID);
	expect("{\"size\": \"a\"}", ERR_INVALID);
	expect("{\"deleted\": true}", ERR_INVALID);
	expect("{\"os_glance_x\": 1}", ERR_INVALID);
	expect("{\"locations\": \"x\"}", ERR_INVALID);
	expect("{\"locations\": [{\"url\": \"x\"}]}", ERR_INVALID);
	expect("{\"os_glance_x\": \"1\", \"foo\": 5}", ERR_INVALID);
	expect("{\"foo\": 5, \"self\": 1}", ERR_FORBIDDEN); /* but a link before all */
}

static void quotas_count_what_was_sent(void **state)
{
	static const char three_tags[] = "{\"tags\": [\"a\", \"a\", \"b\"]}";
	static const char three_properties[] = "{\"a\": \"1\", \"b\": \"2\", \"c\": \"3\", \"name\": \"n\"}";
	AUTO(arena_done) struct arena a = {0};
	struct err err = {0};
	struct image img;

	assert_int_equal(create_limited(three_tags, 2, &a, &img, &err), ERR_TOO_LARGE);
	assert_string_equal(err.text, "An image may have 2 tags; this one would have 3.");
	assert_int_equal(create_limited(three_tags, 3, &a, &img, NULL), 0);
	assert_int_equal(create_limited(three_tags, -1, &a, &img, NULL), 0);
	assert_int_equal(create_limited(three_properties, 2, &a, &img, NULL), ERR_TOO_LARGE);
	assert_int_equal(create_limited(three_properties, 3, &a, &img, NULL), 0);
	assert_int_equal(create_limited(three_properties, -1, &a, &img, NULL), 0);
	assert_int_equal(create_limited("{\"a\": \"1\"}", 0, &a, &img, NULL), ERR_TOO_LARGE);
}

static void a_refused_body_leaves_the_image_alone(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image img, before;

	memset(&img, 0x5a, sizeof(img));
	before = img;
	assert_int_equal(create_limited("{\"name\": \"x\", \"min_ram\": -1}", 10, &a, &img, NULL),
			 ERR_INVALID);
	assert_memory_equal(&img, &before, sizeof(img));
}

static void messages_quote_little_and_safely(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct err err = {0};
	struct image img;

	(void)create_limited("{\"a\\r\\n\\u202eb\": 5}", 10, &a, &img, &err);
	assert_string_equal(err.text, "The value of 'a???b' must be a string.");
	(void)create_limited(arena_printf(&a, "{\"disk_format\": \"%s\"}", repeat(&a, "x", 5000)), 10, &a,
			     &img, &err);
	assert_string_equal(err.text,
			    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...' is not a disk_format that this "
			    "service accepts.");
}

static void single_tags_are_checked(void **state)
{
	AUTO(arena_done) struct arena a = {0};

	assert_int_equal(image_check_tag("a", NULL), 0);
	assert_int_equal(image_check_tag(repeat(&a, "\xf0\x9f\x98\x80", 255), NULL), 0);
	assert_int_equal(image_check_tag(repeat(&a, "a", 256), NULL), ERR_INVALID);
	assert_int_equal(image_check_tag("", NULL), ERR_INVALID);
	assert_int_equal(image_check_tag("a\xff", NULL), ERR_INVALID);
	assert_int_equal(image_check_tag("\xed\xa0\x80", NULL), ERR_INVALID);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_body_is_a_fresh_image),
		cmocka_unit_test(everything_that_can_be_set_is),
		cmocka_unit_test(only_objects_are_bodies),
		cmocka_unit_test(texts_are_checked),
		cmocka_unit_test(ids_are_uuids),
		cmocka_unit_test(enumerations_and_booleans_are_checked),
		cmocka_unit_test(integers_are_bounded),
		cmocka_unit_test(tags_are_checked),
		cmocka_unit_test(custom_properties_are_texts),
		cmocka_unit_test(what_is_ours_is_refused),
		cmocka_unit_test(a_wrong_type_comes_before_a_refusal),
		cmocka_unit_test(quotas_count_what_was_sent),
		cmocka_unit_test(a_refused_body_leaves_the_image_alone),
		cmocka_unit_test(messages_quote_little_and_safely),
		cmocka_unit_test(single_tags_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

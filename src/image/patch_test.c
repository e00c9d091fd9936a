/* SPDX-License-Identifier: Apache-2.0
 * image/patch_test.c */
#include "image/input.h"

#include "image/test_help.h"

/* An image as a row gives it: queued, with formats, two properties and two tags. */
struct fixture {
	struct arena a;
	struct image_property properties[3];
	const char *tags[2];
	struct image img;
	struct image_limits limits;
	struct err err;
};

static void fixture_done(struct fixture *f)
{
	arena_done(&f->a);
}

static void fixture_init(struct fixture *f)
{
	*f = (struct fixture){.limits = test_limits(10),
			      .properties = {{"foo", "1"}, {"bar", "2"}, {"os_glance_lock", "x"}},
			      .tags = {"t", "u"}};
	image_init(&f->img);
	f->img.name = "before";
	f->img.owner = "me";
	f->img.disk_format = "raw";
	f->img.container_format = "bare";
	f->img.properties = f->properties;
	f->img.n_properties = 3;
	f->img.tags = f->tags;
	f->img.n_tags = 2;
}

static int run(struct fixture *f, enum patch_format format, const char *body)
{
	json_t *json = parse(body);
	struct patch patch;
	int r;

	f->err = (struct err){0};
	r = patch_parse(json, format, &f->a, &patch, &f->err);
	if (r == 0)
		r = patch_apply(&patch, &f->limits, &f->a, &f->img, &f->err);
	json_decref(json); /* the image must not need it */
	if (r != f->err.code)
		fail_msg("%d returned, %d told (%s)", r, f->err.code, f->err.text);
	return r;
}

static void expect_in(enum patch_format format, const char *body, int code)
{
	AUTO(fixture_done) struct fixture f;
	int r;

	fixture_init(&f);
	r = run(&f, format, body);
	if (r != code)
		fail_msg("%d instead of %d (%s) for %s", r, code, f.err.text, body);
}

static void expect(const char *body, int code)
{
	expect_in(PATCH_V21, body, code);
}

static void expect_v20(const char *body, int code)
{
	expect_in(PATCH_V20, body, code);
}

static void expect_path(const char *path, int code)
{
	AUTO(arena_done) struct arena a = {0};

	expect(arena_printf(&a, "[{\"op\": \"add\", \"path\": \"%s\", \"value\": \"v\"}]", path), code);
}

static void expect_replace(const char *attribute, const char *value, int code)
{
	AUTO(arena_done) struct arena a = {0};

	expect(arena_printf(&a, "[{\"op\": \"replace\", \"path\": \"/%s\", \"value\": %s}]", attribute,
			    value),
	       code);
}

/* What the property is called that @path adds. */
static void expect_name(const char *path, const char *name)
{
	AUTO(fixture_done) struct fixture f;

	fixture_init(&f);
	assert_int_equal(
		run(&f, PATCH_V21,
		    arena_printf(&f.a, "[{\"op\": \"add\", \"path\": \"%s\", \"value\": \"v\"}]", path)),
		0);
	assert_int_equal(f.img.n_properties, 4);
	assert_string_equal(f.img.properties[3].name, name);
	assert_string_equal(f.img.properties[3].value, "v");
}

static void bodies_are_arrays_of_changes(void **state)
{
	expect("[]", 0);
	expect("{}", ERR_INVALID);
	expect("null", ERR_INVALID);
	expect("[5]", ERR_INVALID);
	expect("[{}]", ERR_INVALID);
	expect("[{\"op\": \"x\", \"path\": \"/a\", \"value\": \"b\"}]", ERR_INVALID);
	expect("[{\"op\": 5, \"path\": \"/a\", \"value\": \"b\"}]", ERR_INVALID);
	expect("[{\"op\": \"add\", \"value\": \"b\"}]", ERR_INVALID);
	expect("[{\"op\": \"add\", \"path\": 5, \"value\": \"b\"}]", ERR_INVALID);
	expect("[{\"op\": \"add\", \"path\": \"/a\"}]", ERR_INVALID);
	expect("[{\"op\": \"remove\", \"path\": \"/foo\", \"value\": 5}]", 0);
	expect("[{\"add\": \"/a\", \"value\": \"b\"}]", ERR_INVALID);
}

static void the_older_dialect_names_the_operation(void **state)
{
	expect_v20("[{\"add\": \"/new\", \"value\": \"x\"}]", 0);
	expect_v20("[{\"replace\": \"/foo\", \"value\": \"x\"}]", 0);
	expect_v20("[{\"replace\": \"/name\", \"value\": \"x\"}]", 0);
	expect_v20("[{\"remove\": \"/foo\"}]", 0);
	expect_v20("[{\"add\": \"/a\", \"replace\": \"/b\", \"value\": \"x\"}]", ERR_INVALID);
	expect_v20("[{\"value\": \"x\"}]", ERR_INVALID);
	expect_v20("[{\"add\": null, \"value\": \"x\"}]", ERR_INVALID);
	expect_v20("[{\"add\": \"/x\"}]", ERR_INVALID);
	expect_v20("[{\"op\": \"add\", \"path\": \"/a\", \"value\": \"x\"}]", ERR_INVALID);
	expect_v20("[{\"replace\": \"/id\", \"value\": \"x\"}]", ERR_FORBIDDEN);
}

static void the_older_dialect_adds_only_what_is_not_there(void **state)
{
	expect_v20("[{\"add\": \"/foo\", \"value\": \"x\"}]", ERR_CONFLICT);
	expect_v20("[{\"add\": \"/name\", \"value\": \"x\"}]", ERR_CONFLICT);
	expect_v20("[{\"add\": \"/tags\", \"value\": []}]", ERR_CONFLICT);
	expect_v20("[{\"add\": \"/n\", \"value\": \"1\"}, {\"add\": \"/n\", \"value\": \"2\"}]",
		   ERR_CONFLICT);
	expect_v20("[{\"replace\": \"/gone\", \"value\": \"x\"}]", ERR_CONFLICT);
	expect_v20("[{\"remove\": \"/gone\"}]", ERR_CONFLICT);
	expect("[{\"op\": \"add\", \"path\": \"/foo\", \"value\": \"x\"}]", 0);
	expect("[{\"op\": \"add\", \"path\": \"/name\", \"value\": \"x\"}]", 0);
}

static void pointers_are_checked(void **state)
{
	expect_path("", ERR_INVALID);
	expect_path("a", ERR_INVALID);
	expect_path(" /a", ERR_INVALID);
	expect_path("//", ERR_INVALID);
	expect_path("///", ERR_INVALID);
	expect_path("/a/", ERR_INVALID);
	expect_path("/a//b", ERR_INVALID);
	expect_path("/a/ \\t/b", ERR_INVALID);
	expect_path("/a~", ERR_INVALID);
	expect_path("/a~2", ERR_INVALID);
	expect_path("/a\\u0000", ERR_INVALID);
	expect_path("/a/b", ERR_INVALID);
	expect_path("/a/b/c", ERR_INVALID);
	expect_path("/tags/-", ERR_INVALID);
	expect_path("/tags/0", ERR_INVALID);
	expect("[{\"op\": \"remove\", \"path\": \"/tags/0\"}]", ERR_INVALID);
}

static void pointers_are_decoded(void **state)
{
	expect_name("/", "");
	expect_name("/ ", "");
	expect_name("/ a ", "a");
	expect_name("/a\\n", "a");
	expect_name("/a b", "a b");
	expect_name("/a~0b", "a~b");
	expect_name("/a~1b", "a/b");
	expect_name("/a~01", "a~1");
	expect_name("//a", "a");
	expect_name("/~0~1", "~/");
}

static void what_is_ours_is_refused(void **state)
{
	static const char *const names[] = {"id",           "status",         "checksum",      "size",
					    "virtual_size", "created_at",     "updated_at",    "self",
					    "direct_url",   "file",           "schema",        "stores",
					    "location",     "os_hash_algo",   "os_hash_value", "deleted",
					    "deleted_at",   "os_glance_lock", "os_glance"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		AUTO(arena_done) struct arena a = {0};

		expect_path(arena_printf(&a, "/%s", names[i]), ERR_FORBIDDEN);
		expect_replace(names[i], "5", ERR_FORBIDDEN); /* whatever the value */
		expect(arena_printf(&a, "[{\"op\": \"remove\", \"path\": \"/%s\"}]", names[i]),
		       ERR_FORBIDDEN);
	}
}

static void base_attributes_stay(void **state)
{
	static const char *const names[] = {"name",        "owner",           "visibility", "protected",
					    "os_hidden",   "min_ram",         "min_disk",   "tags",
					    "disk_format", "container_format"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		AUTO(arena_done) struct arena a = {0};

		expect(arena_printf(&a, "[{\"op\": \"remove\", \"path\": \"/%s\"}]", names[i]),
		       ERR_FORBIDDEN);
	}
}

static void values_are_checked_as_on_create(void **state)
{
	expect_replace("name", "null", 0);
	expect_replace("name", "5", ERR_INVALID);
	expect_replace("owner", "null", 0);
	expect_replace("visibility", "\"x\"", ERR_INVALID);
	expect_replace("protected", "\"true\"", ERR_INVALID);
	expect_replace("min_ram", "-1", ERR_INVALID);
	expect_replace("min_ram", "1.0", 0);
	expect_replace("min_disk", "2147483648", ERR_INVALID);
	expect_replace("disk_format", "null", 0);
	expect_replace("disk_format", "5", ERR_INVALID);
	expect_replace("disk_format", "\"nope\"", ERR_INVALID);
	expect_replace("tags", "\"x\"", ERR_INVALID);
	expect_replace("tags", "[5]", ERR_INVALID);
	expect_replace("foo", "5", ERR_INVALID);
	expect_replace("foo", "null", ERR_INVALID);
	expect_replace("foo", "\"\"", 0);
	expect_replace("gone", "\"x\"", ERR_CONFLICT);
}

/* A step that cannot be done is found only after every value has been found right. */
static void bad_values_come_before_conflicts(void **state)
{
	expect("[{\"op\": \"replace\", \"path\": \"/gone\", \"value\": \"x\"},"
	       " {\"op\": \"replace\", \"path\": \"/name\", \"value\": 5}]",
	       ERR_INVALID);
	expect("[{\"op\": \"replace\", \"path\": \"/gone\", \"value\": \"x\"},"
	       " {\"op\": \"replace\", \"path\": \"/disk_format\", \"value\": \"nope\"}]",
	       ERR_INVALID);
}

static void names_of_properties_are_bounded(void **state)
{
	AUTO(arena_done) struct arena a = {0};

	expect_path(arena_printf(&a, "/%s", repeat(&a, "\xc3\xa9", 255)), 0);
	expect_path(arena_printf(&a, "/%s", repeat(&a, "k", 256)), ERR_INVALID);
}

static void locations_are_not_patched(void **state)
{
	expect_path("/locations", ERR_INVALID);
	expect_path("/locations/-", ERR_INVALID);
	expect_path("/locations/-/x", ERR_INVALID);
	expect("[{\"op\": \"add\", \"path\": \"/locations/-\", \"value\": {\"url\": \"http://x\"}}]",
	       ERR_INVALID);
	expect("[{\"op\": \"add\", \"path\": \"/locations/-\", \"value\": {\"url\": \"http://x\", "
	       "\"metadata\": {}}}]",
	       ERR_FORBIDDEN);
	expect("[{\"op\": \"remove\", \"path\": \"/locations\"}]", ERR_INVALID);
	expect("[{\"op\": \"remove\", \"path\": \"/locations/0\"}]", ERR_FORBIDDEN);
	expect_replace("locations", "[]", ERR_FORBIDDEN);
	expect_replace("locations", "5", ERR_INVALID);
	expect_replace("locations/0", "{\"url\": \"http://x\", \"metadata\": {}}", ERR_INVALID);
}

/* -- locations ------------------------------------------------------------------------------------ */

#define ADD(place, url) \
	"{\"op\": \"add\", \"path\": \"/locations/" place "\", \"value\": {\"url\": \"" url "\", \"metadata\": {}}}"
#define REMOVE(place) "{\"op\": \"remove\", \"path\": \"/locations/" place "\"}"
#define SHA "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce" \
	    "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
#define EXPECTED(members) "[{\"op\": \"add\", \"path\": \"/locations/-\", \"value\": {\"url\": \"http://x\"," \
			  " \"metadata\": {}, \"validation_data\": {" members "}}}]"

static void located(struct fixture *f, enum image_status status, size_t n)
{
	static struct image_location two[] = {{"http://1", NULL}, {"http://2", NULL}};

	fixture_init(f);
	f->limits.shows_locations = true;
	f->limits.max_locations = 3;
	f->limits.hash_algorithm = "sha512";
	f->img.status = status;
	f->img.locations = two;
	f->img.n_locations = n;
}

static const char *urls(struct fixture *f)
{
	const char *text = "";

	for (size_t i = 0; i < f->img.n_locations; i++)
		text = arena_printf(&f->a, "%s %s", text, f->img.locations[i].url);
	return text;
}

static void expect_located(enum image_status status, size_t n, const char *body, int code, const char *expected)
{
	AUTO(fixture_done) struct fixture f;
	int r;

	located(&f, status, n);
	r = run(&f, PATCH_V21, body);
	if (r != code)
		fail_msg("%d instead of %d (%s) for %s", r, code, f.err.text, body);
	if (r == 0)
		assert_string_equal(urls(&f), expected);
	if (r == 0)
		assert_int_equal(f.img.status, IMAGE_ACTIVE);
}

static void locations_are_added(void **state)
{
	expect_located(IMAGE_QUEUED, 0, "[" ADD("-", "http://x") "]", 0, " http://x");
	expect_located(IMAGE_QUEUED, 0, "[" ADD("0", "http://x") "," ADD("0", "http://y") "]", 0, " http://y http://x");
	expect_located(IMAGE_ACTIVE, 2, "[" ADD("1", "http://x") "]", 0, " http://1 http://x http://2");
	expect_located(IMAGE_ACTIVE, 2, "[" ADD("-", "http://x") "]", 0, " http://1 http://2 http://x");
	expect_located(IMAGE_ACTIVE, 2, "[" ADD("3", "http://x") "]", 0, " http://1 http://2 http://x");
	expect_located(IMAGE_ACTIVE, 2, "[" ADD("18446744073709551616", "http://x") "]", 0, " http://1 http://2 http://x");
	expect_located(IMAGE_ACTIVE, 2, "[" ADD("-1", "http://x") "]", ERR_INVALID, NULL);
	expect_located(IMAGE_ACTIVE, 2, "[" ADD("-", "http://2") "]", ERR_INVALID, NULL);
	expect_located(IMAGE_ACTIVE, 2, "[" ADD("-", "http://x") "," ADD("-", "http://y") "]", ERR_TOO_LARGE, NULL);
	for (int s = IMAGE_SAVING; s <= IMAGE_DELETED; s++)
		if (s != IMAGE_ACTIVE)
			expect_located((enum image_status)s, 0, "[" ADD("-", "http://x") "]", ERR_CONFLICT, NULL);
}

static void locations_are_removed(void **state)
{
	expect_located(IMAGE_ACTIVE, 2, "[" REMOVE("0") "]", 0, " http://2");
	expect_located(IMAGE_ACTIVE, 2, "[" REMOVE("-") "]", 0, " http://1");
	expect_located(IMAGE_ACTIVE, 2, "[" REMOVE("2") "]", ERR_INVALID, NULL);
	expect_located(IMAGE_ACTIVE, 2, "[" REMOVE("0") "," REMOVE("0") "]", ERR_FORBIDDEN, NULL);
	expect_located(IMAGE_ACTIVE, 2, "[" ADD("0", "http://x") "," REMOVE("1") "," REMOVE("1") "]", 0, " http://x");
	expect_located(IMAGE_ACTIVE, 1, "[" REMOVE("0") "]", ERR_FORBIDDEN, NULL);
	expect_located(IMAGE_QUEUED, 0, "[" REMOVE("0") "]", ERR_CONFLICT, NULL);
	expect_located(IMAGE_DEACTIVATED, 2, "[" REMOVE("0") "]", ERR_CONFLICT, NULL);
}

static void locations_are_replaced_once(void **state)
{
	static const char two[] = "[{\"op\": \"replace\", \"path\": \"/locations\", \"value\": ["
				  "{\"url\": \"http://x\", \"metadata\": {\"a\": 1}}, {\"url\": \"http://y\", \"metadata\": {}}]}]";
	static const char none[] = "[{\"op\": \"replace\", \"path\": \"/locations\", \"value\": []}]";

	expect_located(IMAGE_QUEUED, 0, two, 0, " http://x http://y");
	expect_located(IMAGE_ACTIVE, 2, two, ERR_INVALID, NULL);
	expect_located(IMAGE_ACTIVE, 2, none, ERR_FORBIDDEN, NULL);
	expect_located(IMAGE_QUEUED, 0, none, ERR_FORBIDDEN, NULL);
}

static void what_is_expected_of_the_data(void **state)
{
	AUTO(fixture_done) struct fixture f;
	static const char good[] = EXPECTED("\"os_hash_algo\": \"sha512\", \"os_hash_value\": \"" SHA "\"");

	located(&f, IMAGE_QUEUED, 0);
	assert_int_equal(run(&f, PATCH_V21, good), 0);
	assert_string_equal(f.img.os_hash_value, SHA);
	assert_null(f.img.checksum);
	expect_located(IMAGE_ACTIVE, 0, good, ERR_CONFLICT, NULL); /* nothing is known of it */
	expect_located(IMAGE_QUEUED, 0, EXPECTED("\"os_hash_algo\": \"sha512\""), ERR_INVALID, NULL);
	expect_located(IMAGE_QUEUED, 0,
		       EXPECTED("\"os_hash_algo\": \"sha512\", \"os_hash_value\": \"ab\""), ERR_CONFLICT, NULL);
	expect_located(IMAGE_QUEUED, 0,
		       EXPECTED("\"os_hash_algo\": \"sha256\", \"os_hash_value\": \"" SHA "\""), ERR_CONFLICT, NULL);
	expect_located(IMAGE_QUEUED, 0, EXPECTED("\"checksum\": \"d41d8cd98f00b204e9800998ecf8427e\""), ERR_INVALID, NULL);
	expect_located(IMAGE_QUEUED, 0, EXPECTED("\"os_hash_algo\": 5, \"os_hash_value\": \"ab\""), ERR_INVALID, NULL);
	expect_located(IMAGE_QUEUED, 0, EXPECTED(""), ERR_INVALID, NULL);
}

static void data_needs_formats(void **state)
{
	AUTO(fixture_done) struct fixture f;

	located(&f, IMAGE_QUEUED, 0);
	f.img.disk_format = NULL;
	assert_int_equal(run(&f, PATCH_V21, "[" ADD("-", "http://x") "]"), ERR_INVALID);
}

static void everything_that_can_change_does(void **state)
{
	AUTO(fixture_done) struct fixture f;
	struct image before;

	fixture_init(&f);
	before = f.img;
	assert_int_equal(run(&f, PATCH_V21,
			     "[{\"op\": \"replace\", \"path\": \"/name\", \"value\": \"after\"},"
			     "{\"op\": \"replace\", \"path\": \"/owner\", \"value\": null},"
			     "{\"op\": \"replace\", \"path\": \"/visibility\", \"value\": \"private\"},"
			     "{\"op\": \"add\", \"path\": \"/protected\", \"value\": true},"
			     "{\"op\": \"replace\", \"path\": \"/os_hidden\", \"value\": true},"
			     "{\"op\": \"replace\", \"path\": \"/min_disk\", \"value\": 3},"
			     "{\"op\": \"replace\", \"path\": \"/min_ram\", \"value\": 4},"
			     "{\"op\": \"replace\", \"path\": \"/disk_format\", \"value\": \"qcow2\"},"
			     "{\"op\": \"replace\", \"path\": \"/container_format\", \"value\": \"ovf\"},"
			     "{\"op\": \"replace\", \"path\": \"/tags\", \"value\": [\"x\", \"x\", \"w\"]},"
			     "{\"op\": \"replace\", \"path\": \"/foo\", \"value\": \"new\"},"
			     "{\"op\": \"remove\", \"path\": \"/bar\"},"
			     "{\"op\": \"add\", \"path\": \"/zed\", \"value\": \"z\"}]"),
			 0);
	assert_string_equal(f.img.name, "after");
	assert_null(f.img.owner);
	assert_int_equal(f.img.visibility, IMAGE_PRIVATE);
	assert_true(f.img.is_protected && f.img.os_hidden);
	assert_int_equal(f.img.min_disk, 3);
	assert_int_equal(f.img.min_ram, 4);
	assert_string_equal(f.img.disk_format, "qcow2");
	assert_string_equal(f.img.container_format, "ovf");
	assert_int_equal(f.img.n_tags, 2);
	assert_string_equal(f.img.tags[0], "x");
	assert_string_equal(f.img.tags[1], "w");
	assert_int_equal(f.img.n_properties, 3);
	assert_string_equal(image_find_property(&f.img, "foo")->value, "new");
	assert_string_equal(image_find_property(&f.img, "zed")->value, "z");
	assert_null(image_find_property(&f.img, "bar"));
	/* and the image from before, which shared its arrays, is what it was */
	assert_string_equal(image_find_property(&before, "foo")->value, "1");
	assert_string_equal(image_find_property(&before, "bar")->value, "2");
	assert_string_equal(before.tags[0], "t");
}

static void steps_see_what_earlier_ones_did(void **state)
{
	expect("[{\"op\": \"add\", \"path\": \"/n\", \"value\": \"1\"}, {\"op\": \"remove\", \"path\": "
	       "\"/n\"}]",
	       0);
	expect("[{\"op\": \"add\", \"path\": \"/n\", \"value\": \"1\"}, {\"op\": \"remove\", \"path\": "
	       "\"/n\"},"
	       " {\"op\": \"remove\", \"path\": \"/n\"}]",
	       ERR_CONFLICT);
	expect("[{\"op\": \"remove\", \"path\": \"/foo\"}, {\"op\": \"replace\", \"path\": \"/foo\", "
	       "\"value\": \"x\"}]",
	       ERR_CONFLICT);
}

static void formats_are_frozen_with_the_bytes(void **state)
{
	for (int s = IMAGE_QUEUED; s <= IMAGE_DELETED; s++) {
		AUTO(fixture_done) struct fixture f;
		int expected = s == IMAGE_QUEUED ? 0 : ERR_FORBIDDEN;

		fixture_init(&f);
		f.img.status = (enum image_status)s;
		assert_int_equal(
			run(&f, PATCH_V21,
			    "[{\"op\": \"replace\", \"path\": \"/disk_format\", \"value\": \"raw\"}]"),
			expected);
		assert_int_equal(run(&f, PATCH_V21,
				     "[{\"op\": \"add\", \"path\": \"/container_format\", \"value\": null}]"),
				 expected);
		assert_int_equal(
			run(&f, PATCH_V21, "[{\"op\": \"replace\", \"path\": \"/name\", \"value\": \"x\"}]"),
			0);
	}
}

static void quotas_hold_for_what_is_new(void **state)
{
	static const char add[] = "[{\"op\": \"add\", \"path\": \"/new\", \"value\": \"x\"}]";
	static const char add_and_remove[] = "[{\"op\": \"add\", \"path\": \"/new\", \"value\": \"x\"},"
					     " {\"op\": \"remove\", \"path\": \"/foo\"}]";
	static const char change[] = "[{\"op\": \"replace\", \"path\": \"/foo\", \"value\": \"x\"}]";
	AUTO(fixture_done) struct fixture f;

	fixture_init(&f); /* two properties count, os_glance_lock does not */
	f.limits = test_limits(2);
	assert_int_equal(run(&f, PATCH_V21, add_and_remove), 0);
	fixture_done(&f);

	fixture_init(&f);
	f.limits = test_limits(2);
	assert_int_equal(run(&f, PATCH_V21, add), ERR_TOO_LARGE);
	fixture_done(&f);

	fixture_init(&f);
	f.limits = test_limits(1);
	assert_int_equal(run(&f, PATCH_V21, change), 0);
	assert_int_equal(run(&f, PATCH_V21, "[{\"op\": \"remove\", \"path\": \"/foo\"}]"), 0);
	fixture_done(&f);

	fixture_init(&f);
	f.limits = test_limits(-1);
	assert_int_equal(run(&f, PATCH_V21, add), 0);
}

static void tags_may_shrink_while_over_the_quota(void **state)
{
	AUTO(fixture_done) struct fixture f;

	fixture_init(&f);
	f.limits = test_limits(0);
	assert_int_equal(
		run(&f, PATCH_V21, "[{\"op\": \"replace\", \"path\": \"/tags\", \"value\": [\"a\", \"b\"]}]"),
		ERR_TOO_LARGE);
	assert_int_equal(
		run(&f, PATCH_V21, "[{\"op\": \"replace\", \"path\": \"/tags\", \"value\": [\"a\"]}]"), 0);
	assert_int_equal(run(&f, PATCH_V21, "[{\"op\": \"replace\", \"path\": \"/tags\", \"value\": []}]"),
			 0);
}

/* By the beginning of a name: what may be done with the property. */
static bool by_name(void *cls, const char *name, enum property_action action)
{
	static const char letters[N_PROPERTY_ACTIONS] = {'c', 'r', 'u', 'd'};

	return memchr(name, letters[action], strcspn(name, "_"));
}

static void properties_are_protected(void **state)
{
	static const struct property_rights rights = {by_name, NULL};
	static const struct {
		const char *op, *name;
		int code;
	} cases[] = {
		{"add", "r_", ERR_FORBIDDEN},     {"add", "ru_", 0},
		{"replace", "ru_", 0},            {"remove", "ru_", ERR_FORBIDDEN},
		{"remove", "rd_", 0},             {"replace", "rd_", ERR_FORBIDDEN},
		{"add", "cr_new", 0},             {"add", "rud_new", ERR_FORBIDDEN},
		{"replace", "ud_", ERR_CONFLICT}, {"remove", "ud_", ERR_CONFLICT}, /* not to be seen */
		{"add", "ud_", ERR_FORBIDDEN},    {"add", "c_", ERR_FORBIDDEN},
		{"add", "cu_", 0},                {"add", "c_new", 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct image_property before[] = {{"r_", "1"}, {"ru_", "2"}, {"rd_", "3"}, {"ud_", "4"}, {"c_", "5"}, {"cu_", "6"}};
		struct patch_step step = {.op = *cases[i].op == 'a'      ? PATCH_ADD
						: cases[i].op[2] == 'p' ? PATCH_REPLACE
									: PATCH_REMOVE,
					  .attribute = cases[i].name};
		struct patch patch = {.steps = &step, .n_steps = 1, .rights = &rights};
		json_t *value = json_string("new");
		AUTO(fixture_done) struct fixture f;
		size_t n;

		fixture_init(&f);
		f.img.properties = before;
		f.img.n_properties = n = ARRAY_LEN(before);
		step.value = step.op == PATCH_REMOVE ? NULL : value;
		if (patch_apply(&patch, &f.limits, &f.a, &f.img, &f.err) != cases[i].code)
			fail_msg("%s %s: %d %s", cases[i].op, cases[i].name, f.err.code, f.err.text);
		json_decref(value);
		if (cases[i].code < 0)
			continue;
		n += strstr(cases[i].name, "new") ? 1 : 0;
		assert_int_equal(f.img.n_properties, n - (step.op == PATCH_REMOVE));
		for (size_t k = 0; k < ARRAY_LEN(before); k++) { /* all others as they were, whoever may read them */
			const struct image_property *p = image_find_property(&f.img, before[k].name);

			if (strcmp(before[k].name, cases[i].name) == 0)
				assert_true(step.op == PATCH_REMOVE ? !p : strcmp(p->value, "new") == 0);
			else
				assert_string_equal(p->value, before[k].value);
		}
	}
}

static void the_number_of_changes_is_bounded(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	const char *step = "{\"op\": \"add\", \"path\": \"/n\", \"value\": \"\"},";
	const char *last = "{\"op\": \"remove\", \"path\": \"/n\"}";

	expect(arena_printf(&a, "[%s%s]", repeat(&a, step, PATCH_MAX_STEPS - 1), last), 0);
	expect(arena_printf(&a, "[%s%s]", repeat(&a, step, PATCH_MAX_STEPS), last), ERR_INVALID);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies_are_arrays_of_changes),
		cmocka_unit_test(the_older_dialect_names_the_operation),
		cmocka_unit_test(the_older_dialect_adds_only_what_is_not_there),
		cmocka_unit_test(pointers_are_checked),
		cmocka_unit_test(pointers_are_decoded),
		cmocka_unit_test(what_is_ours_is_refused),
		cmocka_unit_test(base_attributes_stay),
		cmocka_unit_test(values_are_checked_as_on_create),
		cmocka_unit_test(bad_values_come_before_conflicts),
		cmocka_unit_test(names_of_properties_are_bounded),
		cmocka_unit_test(locations_are_not_patched),
		cmocka_unit_test(locations_are_added),
		cmocka_unit_test(locations_are_removed),
		cmocka_unit_test(locations_are_replaced_once),
		cmocka_unit_test(what_is_expected_of_the_data),
		cmocka_unit_test(data_needs_formats),
		cmocka_unit_test(everything_that_can_change_does),
		cmocka_unit_test(steps_see_what_earlier_ones_did),
		cmocka_unit_test(formats_are_frozen_with_the_bytes),
		cmocka_unit_test(quotas_hold_for_what_is_new),
		cmocka_unit_test(tags_may_shrink_while_over_the_quota),
		cmocka_unit_test(properties_are_protected),
		cmocka_unit_test(the_number_of_changes_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

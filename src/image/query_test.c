/* SPDX-License-Identifier: Apache-2.0
 * image/query_test.c */
#include "image/query.h"

#include "image/test_help.h"

#define MAX_TEST_PARAMS 200
#define US INT64_C(1000000)

static const struct query_limits limits = {.default_limit = 25, .max_limit = 1000};

/* @text: "name=value&name=value", nothing encoded. */
static int run(const char *text, struct arena *a, struct image_query *q, struct err *err)
{
	struct query_param params[MAX_TEST_PARAMS];
	char *copy = arena_strdup(a, text), *save = NULL;
	size_t n = 0;

	for (char *p = strtok_r(copy, "&", &save); p; p = strtok_r(NULL, "&", &save)) {
		char *equals = strchr(p, '=');

		assert_non_null(equals);
		assert_true(n < MAX_TEST_PARAMS);
		*equals = '\0';
		params[n++] = (struct query_param){p, equals + 1};
	}
	return image_query_parse(params, n, &limits, a, q, err);
}

static struct image_query good(const char *text, struct arena *a)
{
	struct image_query q;
	struct err err = {0};

	if (run(text, a, &q, &err) != 0)
		fail_msg("%s: %s", text, err.text);
	return q;
}

static void bad(const char *text)
{
	AUTO(arena_done) struct arena a = {0};
	struct image_query q;
	struct err err = {0};
	int r = run(text, &a, &q, &err);

	if (r != ERR_INVALID || err.code != ERR_INVALID || err.text[0] == '\0')
		fail_msg("%s: %d %d '%s'", text, r, err.code, err.text);
}

static struct image_filter only_filter(const char *text, struct arena *a)
{
	struct image_query q = good(text, a);

	assert_int_equal(q.n_filters, 1);
	return q.filters[0];
}

static void nothing_asked_is_the_newest_first(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image_query q = good("", &a);

	assert_int_equal(q.limit, 25);
	assert_null(q.marker);
	assert_int_equal(q.n_filters + q.n_tags, 0);
	assert_int_equal(q.visibility_filter, SHOW_DEFAULT);
	assert_int_equal(q.members, MEMBERS_ACCEPTED);
	assert_false(q.os_hidden || q.sees_everything);
	assert_int_equal(q.n_sorts, 2);
	assert_int_equal(q.sorts[0].field, FIELD_CREATED_AT);
	assert_true(q.sorts[0].descending);
	assert_int_equal(q.sorts[1].field, FIELD_ID);
	assert_true(q.sorts[1].descending);
}

static void limits_are_read_and_capped(void **state)
{
	AUTO(arena_done) struct arena a = {0};

	assert_int_equal(good("limit=0", &a).limit, 0);
	assert_int_equal(good("limit=-0", &a).limit, 0);
	assert_int_equal(good("limit=7", &a).limit, 7);
	assert_int_equal(good("limit= +007 ", &a).limit, 7);
	assert_int_equal(good("limit=1000", &a).limit, 1000);
	assert_int_equal(good("limit=1001", &a).limit, 1000);
	assert_int_equal(good("limit=99999999999999999999", &a).limit, 1000);
	assert_int_equal(good("limit=5&limit=6", &a).limit, 6);
	bad("limit=");
	bad("limit=-1");
	bad("limit=-99999999999999999999");
	bad("limit=x");
	bad("limit=1.0");
	bad("limit=1x");
	bad("limit=+");
	assert_string_equal(good("marker=c0ffee00-0000-4000-8000-000000000201", &a).marker,
			    "c0ffee00-0000-4000-8000-000000000201");
}

static void visibility_and_membership(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image_query q = good("visibility=community&member_status=pending", &a);

	assert_int_equal(q.visibility_filter, SHOW_ONE);
	assert_int_equal(q.visibility, IMAGE_COMMUNITY);
	assert_int_equal(q.members, MEMBERS_PENDING);
	assert_int_equal(good("visibility=all", &a).visibility_filter, SHOW_ALL);
	assert_int_equal(good("member_status=accepted", &a).members, MEMBERS_ACCEPTED);
	assert_int_equal(good("member_status=rejected", &a).members, MEMBERS_REJECTED);
	assert_int_equal(good("member_status=all", &a).members, MEMBERS_ALL);
	bad("visibility=");
	bad("visibility=ALL");
	bad("visibility=x");
	bad("member_status=");
	bad("member_status=x");
}

static void booleans(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image_filter f = only_filter("protected=true", &a);

	assert_int_equal(f.field, FIELD_PROTECTED);
	assert_int_equal(f.op, OP_EQ);
	assert_int_equal(f.number, 1);
	assert_int_equal(only_filter("protected=false", &a).number, 0);
	assert_true(good("os_hidden=TRUE", &a).os_hidden);
	assert_false(good("os_hidden=false", &a).os_hidden);
	assert_false(good("os_hidden=true&os_hidden=false", &a).os_hidden);
	bad("protected=True");
	bad("protected=");
	bad("protected=1");
	bad("os_hidden=");
	bad("os_hidden=1");
}

static void expect_order(const char *text, const char *expected)
{
	static const char *const names[] = {"id", "name", "status", "cf", "df", "size", "created", "updated"};
	AUTO(arena_done) struct arena a = {0};
	struct image_query q = good(text, &a);
	char got[256] = "", *o = got;

	for (size_t i = 0; i < q.n_sorts; i++)
		o += snprintf(o, (size_t)(got + sizeof(got) - o), "%s%c", names[q.sorts[i].field],
			      q.sorts[i].descending ? '-' : '+');
	if (strcmp(got, expected) != 0)
		fail_msg("%s: %s instead of %s", text, got, expected);
}

static void sorts_are_total(void **state)
{
	expect_order("sort=name", "name-created-id-");
	expect_order("sort=name:asc", "name+created+id+");
	expect_order("sort=name:", "name-created-id-");
	expect_order("sort= name : asc ", "name+created+id+");
	expect_order("sort=name:asc,size:desc", "name+size-created-id-");
	expect_order("sort=name:asc,size", "name+size-created-id-");
	expect_order("sort=name:asc,size:asc", "name+size+created-id-");
	expect_order("sort=id:asc", "id+created+");
	expect_order("sort=created_at:asc", "created+id+");
	expect_order("sort=name:asc,name:desc", "name+created-id-");
	expect_order("sort=status,container_format,disk_format,updated_at,size,name,id,created_at",
		     "status-cf-df-updated-size-name-id-created-");
	expect_order("sort_key=name", "name-created-id-");
	expect_order("sort_key=name&sort_dir=asc", "name+created+id+");
	expect_order("sort_key=name&sort_key=size&sort_dir=asc", "name+size+created+id+");
	expect_order("sort_dir=asc&sort_key=name&sort_dir=desc&sort_key=size", "name+size-created-id-");
	expect_order("sort_dir=asc", "created+id+");
	expect_order("sort_key= name", "name-created-id-");
}

static void bad_sorts_are_refused(void **state)
{
	bad("sort=");
	bad("sort=foo");
	bad("sort=owner");
	bad("sort=min_ram");
	bad("sort=name:ASC");
	bad("sort=name:asc,");
	bad("sort=name:asc:asc");
	bad("sort=name&sort_key=id");
	bad("sort=name&sort_dir=asc");
	bad("sort_key=");
	bad("sort_key=foo");
	bad("sort_dir=");
	bad("sort_dir=x");
	bad("sort_dir=asc&sort_dir=desc");
	bad("sort_key=name&sort_dir=asc&sort_dir=desc");
	bad("sort_key=name&sort_key=id&sort_key=size&sort_dir=asc&sort_dir=desc");
}

static void tags_add_up(void **state)
{
	AUTO(arena_done) struct arena a = {0};
	struct image_query q = good("tag= a &tag=b&tag=", &a);

	assert_int_equal(q.n_tags, 3);
	assert_string_equal(q.tags[0], "a");
	assert_string_equal(q.tags[1], "b");
	assert_string_equal(q.tags[2], "");
}

static void expect_text(const char *text, enum image_field field, const char *value)
{
	AUTO(arena_done) struct arena a = {0};
	struct image_filter f = only_filter(text, &a);

	assert_int_equal(f.field, field);
	assert_int_equal(f.op, OP_EQ);
	assert_int_equal(f.n_texts, 1);
	assert_string_equal(f.texts[0], value);
}

static void texts_filter(void **state)
{
	AUTO(arena_done) struct arena a = {0};

	expect_text("name=a", FIELD_NAME, "a");
	expect_text("name=", FIELD_NAME, "");
	expect_text("name=eq:a:b", FIELD_NAME, "a:b");
	expect_text("name=2015-01-01T00:00:00Z", FIELD_NAME, "2015-01-01T00:00:00Z");
	expect_text("name=a&name=b", FIELD_NAME, "b");
	expect_text("name=x:y&name=b", FIELD_NAME, "b");
	expect_text("id=x", FIELD_ID, "x");
	expect_text("status=queued", FIELD_STATUS, "queued");
	expect_text("disk_format=raw", FIELD_DISK_FORMAT, "raw");
	expect_text("container_format=eq:bare", FIELD_CONTAINER_FORMAT, "bare");
	expect_text("owner=in:x", FIELD_OWNER, "in:x");
	expect_text("checksum=x", FIELD_CHECKSUM, "x");
	expect_text("os_hash_algo=sha512", FIELD_OS_HASH_ALGO, "sha512");
	expect_text("os_hash_value=x", FIELD_OS_HASH_VALUE, "x");
	expect_text("hw_x=in:a,b", FIELD_PROPERTY, "in:a,b");
	expect_text("foo=1&foo=2", FIELD_PROPERTY, "2");
	assert_string_equal(only_filter("hw_x=", &a).property, "hw_x");
	assert_string_equal(only_filter("foo_min=5", &a).property, "foo_min");
	assert_string_equal(only_filter("name_min=5", &a).property, "name_min");
	assert_string_equal(only_filter("_min=5", &a).property, "_min");
	assert_string_equal(only_filter("=5", &a).property, "");
	assert_string_equal(only_filter("is_public=true", &a).property, "is_public");
	bad("name=a:b");
	bad("name=:a");
	bad("name=neq:a");
	bad("name=IN:a");
	bad("status=gt:a");
}

/* @expected: the values, each with a bar behind it. */
static void expect_list(const char *text, const char *expected)
{
	AUTO(arena_done) struct arena a = {0};
	struct image_filter f = only_filter(text, &a);
	char got[128] = "";

	assert_int_equal(f.field, FIELD_NAME);
	assert_int_equal(f.op, OP_IN);
	for (size_t i = 0; i < f.n_texts; i++) {
		strncat(got, f.texts[i], sizeof(got) - strlen(got) - 1);
		strncat(got, "|", sizeof(got) - strlen(got) - 1);
	}
	if (strcmp(got, expected) != 0)
		fail_msg("%s: %s instead of %s", text, got, expected);
}

static void lists_are_split(void **state)
{
	expect_list("name=in:a", "a|");
	expect_list("name=in:a,b", "a|b|");
	expect_list("name=in:in:a", "in:a|");
	expect_list("name=in: a , b ", " a | b |");
	expect_list("name=in:", "");
	expect_list("name=in:,", "|");
	expect_list("name=in:a,", "a|");
	expect_list("name=in:a,,b", "a||b|");
	expect_list("name=in:\"a,b\",c", "a,b|c|");
	expect_list("name=in:c,\"a,b\"", "c|a,b|");
	expect_list("name=in:\"a\",", "a|");
	expect_list("name=in:\"\"", "|");
	expect_list("name=in:\"a\\\"b\"", "a\"b|");
	expect_list("name=in:\"a\\\\\",b", "a\\|b|");
	expect_list("name=in:a\\\"b", "a\\\"b|");
	bad("name=in:\"a");
	bad("name=in:a\"");
	bad("name=in:\"a\"x");
	bad("name=in:x\"a\"");
	bad("name=in:\"");
	bad("name=in:a,\"b\\\"");
}

static void expect_number(const char *text, enum image_field field, enum filter_op op, int64_t number)
{
	AUTO(arena_done) struct arena a = {0};
	struct image_filter f = only_filter(text, &a);

	assert_int_equal(f.field, field);
	assert_int_equal(f.op, op);
	assert_int_equal(f.number, number);
}

static void numbers_filter(void **state)
{
	expect_number("size=5", FIELD_SIZE, OP_EQ, 5);
	expect_number("size_min= 5", FIELD_SIZE, OP_GTE, 5);
	expect_number("size_max=-5", FIELD_SIZE, OP_LTE, -5);
	expect_number("size_min=99999999999999999999", FIELD_SIZE, OP_GTE, INT64_MAX);
	expect_number("virtual_size=1", FIELD_VIRTUAL_SIZE, OP_EQ, 1);
	expect_number("virtual_size_min=1", FIELD_VIRTUAL_SIZE, OP_GTE, 1);
	expect_number("min_ram=1", FIELD_MIN_RAM, OP_EQ, 1);
	expect_number("min_ram_max=1", FIELD_MIN_RAM, OP_LTE, 1);
	expect_number("min_disk=0", FIELD_MIN_DISK, OP_EQ, 0);
	bad("size=");
	bad("size=x");
	bad("size_min=");
	bad("size_min=1.5");
	bad("size_max=0x10");
	bad("min_ram=x");
}

static void a_range_is_two_filters(void **state)
{
	AUTO(arena_done) struct arena a = {0};

	assert_int_equal(good("size_min=1&size_max=2&size_min=3", &a).n_filters, 2);
}

static void times_filter(void **state)
{
	const int64_t y2015 = 1420070400 * US;

	expect_number("created_at=2015-01-01T00:00:00Z", FIELD_CREATED_AT, OP_EQ, y2015);
	expect_number("created_at=gt:2015-01-01T00:00:00Z", FIELD_CREATED_AT, OP_GT, y2015);
	expect_number("created_at=gte:2015-01-01T00:00:00", FIELD_CREATED_AT, OP_GTE, y2015);
	expect_number("updated_at=lt:2015-01-01T01:00:00+01:00", FIELD_UPDATED_AT, OP_LT, y2015);
	expect_number("updated_at=lte:2015-01-01", FIELD_UPDATED_AT, OP_LTE, y2015);
	expect_number("updated_at=eq:2015-01-01 00:00:00.25Z", FIELD_UPDATED_AT, OP_EQ, y2015 + US / 4);
	expect_number("updated_at=neq:2015", FIELD_UPDATED_AT, OP_NEQ, y2015);
	bad("created_at=");
	bad("created_at=x");
	bad("created_at=gt:");
	bad("created_at=GT:2015-01-01T00:00:00Z");
	bad("created_at=in:2015-01-01T00:00:00Z");
	bad("created_at=:2015-01-01T00:00:00Z");
	bad("created_at=gte:2015-01-01T00:00:00 01:00");
	bad("updated_at=gte:2015-02-30T00:00:00Z");
	bad("updated_at=gte:2015-01-01T24:00:00Z");
}

static void what_cannot_be_asked(void **state)
{
	AUTO(arena_done) struct arena a = {0};

	bad("changes-since=");
	bad("changes-since=2015-01-01T00:00:00Z");
	assert_int_equal(good("deleted=true", &a).n_filters, 0);
	bad("name=\xff");
	bad("\xed\xa0\x80=x");
	assert_int_equal(good("name=\xf0\x9f\x98\x80", &a).n_filters, 1);
}

static void queries_are_bounded(void **state)
{
	AUTO(arena_done) struct arena a = {0};

	assert_int_equal(good(repeat(&a, "tag=x&", 128), &a).n_tags, 128);
	bad(repeat(&a, "tag=x&", 129));
	good(arena_printf(&a, "%s=x", repeat(&a, "k", 255)), &a);
	bad(arena_printf(&a, "%s=x", repeat(&a, "k", 256)));
	good(arena_printf(&a, "x=%s", repeat(&a, "v", 16384)), &a);
	bad(arena_printf(&a, "x=%s", repeat(&a, "v", 16385)));
	assert_int_equal(only_filter(arena_printf(&a, "id=in:%s", repeat(&a, "x,", 1000)), &a).n_texts, 1000);
	bad(arena_printf(&a, "id=in:%s", repeat(&a, "x,", 1001)));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_asked_is_the_newest_first),
		cmocka_unit_test(limits_are_read_and_capped),
		cmocka_unit_test(visibility_and_membership),
		cmocka_unit_test(booleans),
		cmocka_unit_test(sorts_are_total),
		cmocka_unit_test(bad_sorts_are_refused),
		cmocka_unit_test(tags_add_up),
		cmocka_unit_test(texts_filter),
		cmocka_unit_test(lists_are_split),
		cmocka_unit_test(numbers_filter),
		cmocka_unit_test(a_range_is_two_filters),
		cmocka_unit_test(times_filter),
		cmocka_unit_test(what_cannot_be_asked),
		cmocka_unit_test(queries_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/payload_test.c -- payloads and documents, octet for octet as captured from Glance 25.1.0,
 * and their bounds. */
#include "payload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "internal.h"
#include "message.h"

#define SECOND INT64_C(1000000)
#define MOMENT (INT64_C(1795374571) * SECOND + 792397) /* 2026-11-22 19:09:31.792397 */

static struct image_property full_properties[] = {
	{"os_distro", "debian"}, {"os_version", "12"},  {"architecture", "x86_64"},
	{"zz_custom", "last"},   {"a_custom", "first"},
};
static const char *full_tags[] = {"zeta", "mid", "alpha"};

static struct image minimal(void)
{
	struct image img;

	image_init(&img);
	memcpy(img.id, "c0ffee00-0000-4000-8000-000000000601", sizeof(img.id));
	img.name = "golden";
	img.owner = "22222222222222222222222222222222";
	img.disk_format = "raw";
	img.container_format = "bare";
	img.created_at = img.updated_at = MOMENT;
	return img;
}

static struct image full(void)
{
	struct image img = minimal();

	memcpy(img.id, "c0ffee00-0000-4000-8000-000000000201", sizeof(img.id));
	img.name = "full image";
	img.disk_format = "qcow2";
	img.min_disk = 7;
	img.min_ram = 256;
	img.visibility = IMAGE_PUBLIC;
	img.properties = full_properties;
	img.n_properties = ARRAY_LEN(full_properties);
	img.tags = full_tags;
	img.n_tags = ARRAY_LEN(full_tags);
	return img;
}

static void check(struct buf *b, const char *expected)
{
	assert_false(b->failed);
	assert_string_equal(buf_cstr(b), expected);
	buf_done(b);
}

#define MINIMAL_HEAD(status, checksum, size)                                                                 \
	"{\"id\": \"c0ffee00-0000-4000-8000-000000000601\", \"name\": \"golden\", \"status\": \"" status     \
	"\", \"created_at\": \"2026-11-22T19:09:31Z\", \"updated_at\": \"2026-11-22T19:09:31Z\", "           \
	"\"min_disk\": 0, "                                                                                  \
	"\"min_ram\": 0, \"protected\": false, \"checksum\": " checksum                                      \
	", \"owner\": \"22222222222222222222222222222222\", \"disk_format\": \"raw\", "                      \
	"\"container_format\": "                                                                             \
	"\"bare\", \"size\": " size ", \"virtual_size\": " size                                              \
	", \"is_public\": false, \"visibility\": \"shared\", \"properties\": {}, \"tags\": [], "

static void test_create(void **state)
{
	struct image img = minimal();
	struct buf b = {0};

	payload_image(&b, EVENT_IMAGE_CREATE, &img, NULL, NULL, MOMENT);
	check(&b, MINIMAL_HEAD("queued", "null", "null") "\"deleted\": false, \"deleted_at\": null}");
	img = full();
	payload_image(&b, EVENT_IMAGE_CREATE, &img, NULL, NULL, MOMENT);
	check(&b,
	      "{\"id\": \"c0ffee00-0000-4000-8000-000000000201\", \"name\": \"full image\", \"status\": "
	      "\"queued\", "
	      "\"created_at\": \"2026-11-22T19:09:31Z\", \"updated_at\": \"2026-11-22T19:09:31Z\", "
	      "\"min_disk\": 7, "
	      "\"min_ram\": 256, \"protected\": false, \"checksum\": null, \"owner\": "
	      "\"22222222222222222222222222222222\", \"disk_format\": \"qcow2\", \"container_format\": "
	      "\"bare\", "
	      "\"size\": null, \"virtual_size\": null, \"is_public\": true, \"visibility\": \"public\", "
	      "\"properties\": {\"os_distro\": \"debian\", \"os_version\": \"12\", \"architecture\": "
	      "\"x86_64\", "
	      "\"zz_custom\": \"last\", \"a_custom\": \"first\"}, \"tags\": [\"zeta\", \"mid\", \"alpha\"], "
	      "\"deleted\": false, \"deleted_at\": null}");
}

static void test_prepare_and_upload(void **state)
{
	struct image img = minimal();
	struct buf b = {0};

	img.status = IMAGE_SAVING;
	payload_image(&b, EVENT_IMAGE_PREPARE, &img, "fs", NULL, MOMENT);
	check(&b,
	      MINIMAL_HEAD("saving", "null", "null") "\"deleted\": false, \"deleted_at\": null, "
						     "\"os_glance_importing_to_stores\": [], "
						     "\"os_glance_failed_import\": [], \"backend\": \"fs\"}");
	img.status = IMAGE_ACTIVE;
	img.checksum = "77f1bbbfd6f1faadea42fd987b94f8c6";
	img.size = img.virtual_size = 190;
	payload_image(&b, EVENT_IMAGE_UPLOAD, &img, "fs", NULL, MOMENT); /* backend is for prepare alone */
	check(&b,
	      MINIMAL_HEAD("active", "\"77f1bbbfd6f1faadea42fd987b94f8c6\"",
			   "190") "\"deleted\": false, \"deleted_at\": null, "
				  "\"os_glance_importing_to_stores\": [], \"os_glance_failed_import\": []}");
	payload_image(&b, EVENT_IMAGE_ACTIVATE, &img, NULL, NULL, MOMENT);
	check(&b, MINIMAL_HEAD("active", "\"77f1bbbfd6f1faadea42fd987b94f8c6\"",
			       "190") "\"deleted\": false, \"deleted_at\": null}");
}

static void test_stores_of_an_import(void **state)
{
	struct image_property p[] = {{"os_glance_importing_to_stores", "fs,fs2"},
				     {"os_glance_failed_import", ""}};
	struct image img = minimal();
	AUTO(buf_done) struct buf b = {0};

	img.properties = p;
	img.n_properties = ARRAY_LEN(p);
	payload_image(&b, EVENT_IMAGE_PREPARE, &img, NULL, NULL, MOMENT);
	assert_non_null(strstr(b.data,
			       "\"deleted_at\": null, \"os_glance_importing_to_stores\": [\"fs\", \"fs2\"], "
			       "\"os_glance_failed_import\": []}"));
}

static bool is_no_os_property(void *cls, const char *name, enum property_action action)
{
	return action == PROPERTY_READ && strncmp(name, "os_", 3) != 0;
}

static void test_protected_properties(void **state)
{
	static const struct property_rights rights = {is_no_os_property, NULL};
	struct image img = full();
	struct buf b = {0};

	img.properties[0].name = "os_glance_importing_to_stores";
	payload_image(&b, EVENT_IMAGE_PREPARE, &img, NULL, &rights, MOMENT);
	assert_non_null(strstr(buf_cstr(&b), "\"properties\": {\"architecture\": \"x86_64\", \"zz_custom\""));
	assert_non_null(strstr(buf_cstr(&b), "\"os_glance_importing_to_stores\": []"));
	assert_null(strstr(buf_cstr(&b), "os_version"));
	assert_null(strstr(buf_cstr(&b), "debian"));
	buf_done(&b);
}

static void test_delete(void **state)
{
	struct image img = minimal();
	struct buf b = {0};

	img.status = IMAGE_ACTIVE; /* as it was read, before the row was marked */
	payload_image(&b, EVENT_IMAGE_DELETE, &img, NULL, NULL, MOMENT + SECOND);
	check(&b, MINIMAL_HEAD("deleted", "null",
			       "null") "\"deleted\": true, \"deleted_at\": \"2026-11-22T19:09:32Z\"}");
	img.status = IMAGE_DELETED;
	img.deleted = true;
	img.deleted_at = MOMENT;
	payload_image(&b, EVENT_IMAGE_DELETE, &img, NULL, NULL, MOMENT + SECOND);
	check(&b, MINIMAL_HEAD("deleted", "null",
			       "null") "\"deleted\": true, \"deleted_at\": \"2026-11-22T19:09:31Z\"}");
	payload_image_id(&b, &img);
	check(&b, "\"c0ffee00-0000-4000-8000-000000000601\"");
}

static void test_send(void **state)
{
	struct send_report report = {
		190, "c0ffee00-0000-4000-8000-000000001401", "2222", "4444", "3333", "192.0.2.7"};
	struct buf b = {0};

	payload_send(&b, &report);
	check(&b,
	      "{\"bytes_sent\": 190, \"image_id\": \"c0ffee00-0000-4000-8000-000000001401\", \"owner_id\": "
	      "\"2222\", \"receiver_tenant_id\": \"4444\", \"receiver_user_id\": \"3333\", "
	      "\"destination_ip\": \"192.0.2.7\"}");
	report = (struct send_report){0, "i", NULL, NULL, NULL, NULL};
	payload_send(&b, &report);
	check(&b,
	      "{\"bytes_sent\": 0, \"image_id\": \"i\", \"owner_id\": null, \"receiver_tenant_id\": null, "
	      "\"receiver_user_id\": null, \"destination_ip\": null}");
}

static void test_text(void **state)
{
	struct buf b = {0};

	payload_text(&b, "Image", "c0ff", "Failed to upload image data for image c0ff: \"full\"\n");
	check(&b, "\"Failed to upload image data for image c0ff: \\\"full\\\"\\n\"");
	payload_text(&b, "Image", "c0ff", "Image storage media is full");
	check(&b, "\"Image c0ff: Image storage media is full\"");
}

static void test_member(void **state)
{
	struct image_member m = {.image_id = "c0ffee00-0000-4000-8000-000000002601",
				 .member_id = "4444",
				 .status = MEMBER_REJECTED,
				 .created_at = MOMENT,
				 .updated_at = MOMENT + SECOND};
	struct buf b = {0};

	payload_member(&b, EVENT_IMAGE_MEMBER_UPDATE, &m, MOMENT);
	check(&b,
	      "{\"image_id\": \"c0ffee00-0000-4000-8000-000000002601\", \"member_id\": \"4444\", \"status\": "
	      "\"rejected\", \"created_at\": \"2026-11-22T19:09:31Z\", \"updated_at\": "
	      "\"2026-11-22T19:09:32Z\", \"deleted\": false, \"deleted_at\": null}");
	payload_member(&b, EVENT_IMAGE_MEMBER_DELETE, &m, MOMENT + 3 * SECOND);
	check(&b,
	      "{\"image_id\": \"c0ffee00-0000-4000-8000-000000002601\", \"member_id\": \"4444\", \"status\": "
	      "\"rejected\", \"created_at\": \"2026-11-22T19:09:31Z\", \"updated_at\": "
	      "\"2026-11-22T19:09:32Z\", \"deleted\": true, \"deleted_at\": \"2026-11-22T19:09:34Z\"}");
}

static void test_no_location_shows(void **state)
{
	struct image_location canary = {"swift+https://user:canary@store/x", "{\"key\": \"canary\"}"};
	struct image img = full();
	AUTO(buf_done) struct buf b = {0};

	img.locations = &canary;
	img.n_locations = 1;
	for (int t = EVENT_IMAGE_CREATE; t <= EVENT_IMAGE_DELETE; t++)
		payload_image(&b, (enum event_type)t, &img, "fs", NULL, MOMENT);
	assert_null(strstr(b.data, "canary"));
}

static char *filled(size_t n, const char *with)
{
	char *s = malloc(n * strlen(with) + 1);

	assert_non_null(s);
	s[0] = '\0';
	for (size_t i = 0; i < n; i++)
		memcpy(s + i * strlen(with), with, strlen(with) + 1);
	return s;
}

static json_t *parsed(const struct buf *b)
{
	json_t *json = json_loadb(b->data, b->len, JSON_DECODE_ANY, NULL);

	assert_false(b->failed);
	assert_non_null(json);
	return json;
}

/* 128 properties of 64 kB, 1000 tags of the longest escapes: bounded, JSON, and it says so. */
static void test_huge_image_is_truncated_openly(void **state)
{
	char *value = filled(65535, "\""), *tag = filled(255, "\xf0\x9f\x98\x80");
	struct image_property *p = calloc(130, sizeof(*p));
	const char **tags = calloc(1000, sizeof(*tags));
	struct image img = minimal();
	AUTO(buf_done) struct buf b = {0};
	json_t *json;

	p[0] = (struct image_property){"first", "1"};
	for (size_t i = 1; i < 129; i++)
		p[i] = (struct image_property){"big", value};
	p[129] = (struct image_property){"last", NULL};
	for (size_t i = 0; i < 1000; i++)
		tags[i] = tag;
	img.properties = p;
	img.n_properties = 130;
	img.tags = tags;
	img.n_tags = 1000;
	payload_image(&b, EVENT_IMAGE_PREPARE, &img, "fs", NULL, MOMENT);
	assert_true(b.len < PAYLOAD_MAX);
	json = parsed(&b);
	assert_true(json_is_true(json_object_get(json, "truncated")));
	assert_non_null(json_object_get(json_object_get(json, "properties"), "first"));
	assert_non_null(json_object_get(json_object_get(json, "properties"), "last")); /* small: still fits */
	assert_true(json_array_size(json_object_get(json, "tags")) > 10);
	json_decref(json);
	free(value);
	free(tag);
	free(p);
	free(tags);
}

static void test_huge_text_is_truncated_openly(void **state)
{
	char *text = filled(200000, "\xc3\xa9");
	AUTO(buf_done) struct buf b = {0};
	json_t *json;

	payload_text(&b, "Image", "c0ff", text);
	assert_true(b.len < PAYLOAD_MAX);
	json = parsed(&b);
	assert_non_null(strstr(json_string_value(json), "\xc3\xa9 ... (truncated)"));
	json_decref(json);
	free(text);
}

static void test_groups(void **state)
{
	assert_true(event_is_in("image.create", "image.create"));
	assert_true(event_is_in("image.create", "image"));
	assert_true(event_is_in("image.member.create", "image"));
	assert_true(event_is_in("image.member.create", "image.member"));
	assert_true(event_is_in("image.member.create", "image.member.create"));
	assert_false(event_is_in("image.create", "image.member"));
	assert_false(event_is_in("image.create", "image.creat"));
	assert_false(event_is_in("image.create", "imag"));
	assert_false(event_is_in("image.create", "image."));
	assert_false(event_is_in("image.create", "image.create.x"));
	assert_false(event_is_in("image.create", ""));
	assert_false(event_is_in("image.create", "task"));
}

static void test_document(void **state)
{
	struct db_event e = {.message_id = "7bd6a905-54f2-4d07-a0bd-532bafe3a3ef",
			     .event_type = "image.upload",
			     .priority = EVENT_ERROR,
			     .timestamp = MOMENT,
			     .payload = "\"token=\\u00e9 x\""};
	struct buf b = {0};

	message_render(&b, &e, "image.\xc3\xbc");
	check(&b,
	      "{\"message_id\": \"7bd6a905-54f2-4d07-a0bd-532bafe3a3ef\", \"publisher_id\": "
	      "\"image.\\u00fc\", "
	      "\"event_type\": \"image.upload\", \"priority\": \"ERROR\", \"payload\": \"token=\\u00e9 x\", "
	      "\"timestamp\": \"2026-11-22 19:09:31.792397\"}");
	e.timestamp -= 792397; /* no fraction when it is nought, as str() of a datetime */
	buf_adds(&b, "before ");
	assert_int_equal(message_render_masked(&b, &e, "image.localhost"), 0);
	check(&b,
	      "before {\"message_id\": \"7bd6a905-54f2-4d07-a0bd-532bafe3a3ef\", \"publisher_id\": "
	      "\"image.localhost\", \"event_type\": \"image.upload\", \"priority\": \"ERROR\", \"payload\": "
	      "\"token=*** x\", \"timestamp\": \"2026-11-22 19:09:31\"}");
	e.payload = "{\"token\": \"canary";
	buf_adds(&b, "before ");
	assert_true(message_render_masked(&b, &e, "image.localhost") < 0);
	check(&b, "before "); /* nothing of what could not be masked */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_prepare_and_upload),
		cmocka_unit_test(test_stores_of_an_import),
		cmocka_unit_test(test_protected_properties),
		cmocka_unit_test(test_delete),
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_member),
		cmocka_unit_test(test_no_location_shows),
		cmocka_unit_test(test_huge_image_is_truncated_openly),
		cmocka_unit_test(test_huge_text_is_truncated_openly),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 * api/schemas.c -- /v2/schemas/...: JSON schemas that glanceclient fetches before anything else, so
 * they are rendered once, at start. Names, types and limits are the API's; the enumerations of formats
 * are the operator's. */
#include "api/internal.h"

enum { SCHEMA_IMAGE, SCHEMA_IMAGES, SCHEMA_MEMBER, SCHEMA_MEMBERS, SCHEMA_TASK, SCHEMA_TASKS };

#define UUID_PATTERN                                                                               \
	"\"pattern\": \"^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-"     \
	"([0-9a-fA-F]){12}$\""

#define STRING "\"string\""
#define NULL_OR_STRING "[\"null\", \"string\"]"
#define NULL_OR_INTEGER "[\"null\", \"integer\"]"
#define NULL_OR_OBJECT "[\"null\", \"object\"]"

struct attribute {
	const char *name;
	const char *type; /* JSON text */
	bool read_only;
	const char *description;
	const char *more; /* further members as JSON text; NULL: none */
};

static const struct attribute image_attributes[] = {
	{"id", STRING, false, "Id of the image, a UUID", UUID_PATTERN},
	{"name", NULL_OR_STRING, false, "Name of the image, for people", "\"maxLength\": 255"},
	{"status", STRING, true, "Where the image is in its life",
	 "\"enum\": [\"queued\", \"saving\", \"active\", \"killed\", \"deleted\", \"uploading\", \"importing\", "
	 "\"pending_delete\", \"deactivated\"]"},
	{"visibility", STRING, false, "Who can see the image",
	 "\"enum\": [\"community\", \"public\", \"private\", \"shared\"]"},
	{"protected", "\"boolean\"", false, "A protected image cannot be deleted", NULL},
	{"os_hidden", "\"boolean\"", false, "A hidden image is left out of the default list", NULL},
	{"checksum", NULL_OR_STRING, true, "MD5 of the data, in hex", "\"maxLength\": 32"},
	{"os_hash_algo", NULL_OR_STRING, true, "Algorithm of os_hash_value", "\"maxLength\": 64"},
	{"os_hash_value", NULL_OR_STRING, true, "Hash of the data by os_hash_algo, in hex", "\"maxLength\": 128"},
	{"owner", NULL_OR_STRING, false, "Project that owns the image", "\"maxLength\": 255"},
	{"size", NULL_OR_INTEGER, true, "Size of the data in octets", NULL},
	{"virtual_size", NULL_OR_INTEGER, true, "Size of the disk that the data describes, in octets", NULL},
	{"created_at", STRING, true, "When the image record was made", NULL},
	{"updated_at", STRING, true, "When the image record last changed", NULL},
	{"tags", "\"array\"", false, "Labels of the image",
	 "\"items\": {\"type\": \"string\", \"maxLength\": 255}"},
	{"min_ram", "\"integer\"", false, "Memory that the image needs to boot, in MB", NULL},
	{"min_disk", "\"integer\"", false, "Disk space that the image needs to boot, in GB", NULL},
	{"self", STRING, true, "Path of the image", NULL},
	{"file", STRING, true, "Path of the data of the image", NULL},
	{"schema", STRING, true, "Path of this schema", NULL},
};

static const struct attribute member_attributes[] = {
	{"member_id", STRING, false, "Project that the image is shared with", NULL},
	{"image_id", STRING, false, "Id of the image, a UUID", UUID_PATTERN},
	{"created_at", STRING, false, "When the image was shared", NULL},
	{"updated_at", STRING, false, "When the member last decided", NULL},
	{"status", STRING, false, "What the member has decided",
	 "\"enum\": [\"pending\", \"accepted\", \"rejected\"]"},
	{"schema", STRING, true, NULL, NULL},
};

static const struct attribute task_attributes[] = {
	{"id", STRING, false, "Id of the task, a UUID", UUID_PATTERN},
	{"type", STRING, false, "What the task does", "\"enum\": [\"import\", \"api_image_import\"]"},
	{"status", STRING, false, "How far the task is",
	 "\"enum\": [\"pending\", \"processing\", \"success\", \"failure\"]"},
	{"input", NULL_OR_OBJECT, false, "What the task was asked to do", NULL},
	{"result", NULL_OR_OBJECT, false, "What came of it", NULL},
	{"owner", STRING, false, "Project that owns the task", NULL},
	{"message", STRING, false, "Why the task failed", NULL},
	{"image_id", STRING, false, "Image that the task works on", NULL},
	{"request_id", STRING, false, "Request that asked for the task", NULL},
	{"user_id", STRING, false, "User who asked for the task", NULL},
	{"expires_at", NULL_OR_STRING, false, "When the task may be removed", NULL},
	{"created_at", STRING, false, "When the task was asked for", NULL},
	{"updated_at", STRING, false, "When the task last changed", NULL},
	{"self", STRING, true, NULL, NULL},
	{"schema", STRING, true, NULL, NULL},
};

static void put_formats(struct buf *out, const char *const *formats)
{
	struct jsonw w = jsonw_to(out);

	buf_adds(out, ", \"enum\": ");
	jsonw_array(&w);
	jsonw_null(&w);
	for (; *formats; formats++)
		jsonw_str(&w, *formats);
	jsonw_array_end(&w);
}

static void put_attribute(struct buf *out, const struct attribute *a)
{
	buf_addf(out, "\"%s\": {\"type\": %s", a->name, a->type);
	if (a->read_only)
		buf_adds(out, ", \"readOnly\": true");
	if (a->description)
		buf_addf(out, ", \"description\": \"%s\"", a->description);
	if (a->more)
		buf_addf(out, ", %s", a->more);
	buf_addc(out, '}');
}

static void put_attributes(struct buf *out, const struct attribute *attributes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_adds(out, ", ");
		put_attribute(out, &attributes[i]);
	}
}

static void put_format_attribute(struct buf *out, const char *name, const char *description,
				 const char *const *formats)
{
	buf_addf(out, ", \"%s\": {\"type\": " NULL_OR_STRING ", \"description\": \"%s\"", name, description);
	put_formats(out, formats);
	buf_addc(out, '}');
}

static const struct attribute stores_attribute = {
	"stores", STRING, true, "Ids of the stores that have the data, comma-separated", NULL};

static void render_image(struct buf *out, const struct image_limits *limits, bool named_store)
{
	buf_adds(out, "{\"name\": \"image\", \"properties\": {");
	put_attributes(out, image_attributes, ARRAY_LEN(image_attributes));
	put_format_attribute(out, "container_format", "What the disk is wrapped in", limits->container_formats);
	put_format_attribute(out, "disk_format", "What kind of disk it is", limits->disk_formats);
	if (named_store) {
		buf_adds(out, ", ");
		put_attribute(out, &stores_attribute);
	}
	buf_adds(out, "}, \"additionalProperties\": {\"type\": \"string\"}, \"links\": ["
		      "{\"rel\": \"self\", \"href\": \"{self}\"}, "
		      "{\"rel\": \"enclosure\", \"href\": \"{file}\"}, "
		      "{\"rel\": \"describedby\", \"href\": \"{schema}\"}]}");
}

static void render_plain(struct buf *out, const char *name, const struct attribute *attributes, size_t n)
{
	buf_addf(out, "{\"name\": \"%s\", \"properties\": {", name);
	put_attributes(out, attributes, n);
	buf_adds(out, "}}");
}

/* A list of what @item describes; a paged one has first and next. */
static void render_list(struct buf *out, const char *name, const struct buf *item, bool paged)
{
	buf_addf(out, "{\"name\": \"%s\", \"properties\": {\"%s\": {\"type\": \"array\", \"items\": ", name, name);
	buf_add(out, item->data, item->len);
	buf_adds(out, "}, ");
	if (paged)
		buf_adds(out, "\"first\": {\"type\": \"string\"}, \"next\": {\"type\": \"string\"}, ");
	buf_adds(out, "\"schema\": {\"type\": \"string\"}}, \"links\": [");
	if (paged)
		buf_adds(out, "{\"rel\": \"first\", \"href\": \"{first}\"}, "
			      "{\"rel\": \"next\", \"href\": \"{next}\"}, ");
	buf_adds(out, "{\"rel\": \"describedby\", \"href\": \"{schema}\"}]}");
}

int schemas_render(struct api *api, struct err *err)
{
	struct buf *s = api->schemas;

	render_image(&s[SCHEMA_IMAGE], &api->config.limits, stores_have_names(api->config.stores));
	render_list(&s[SCHEMA_IMAGES], "images", &s[SCHEMA_IMAGE], true);
	render_plain(&s[SCHEMA_MEMBER], "member", member_attributes, ARRAY_LEN(member_attributes));
	render_list(&s[SCHEMA_MEMBERS], "members", &s[SCHEMA_MEMBER], false);
	render_plain(&s[SCHEMA_TASK], "task", task_attributes, ARRAY_LEN(task_attributes));
	render_list(&s[SCHEMA_TASKS], "tasks", &s[SCHEMA_TASK], false);
	for (size_t i = 0; i < ARRAY_LEN(api->schemas); i++)
		if (s[i].failed)
			return err_nomem(err);
	return 0;
}

static void reply_schema(void *cls, struct http_request *req, unsigned which)
{
	AUTO(buf_done) struct buf body = {0};
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	buf_add(&body, c.api->schemas[which].data, c.api->schemas[which].len);
	call_reply(&c, 200, &body);
}

void schema_image(void *cls, struct http_request *req)
{
	reply_schema(cls, req, SCHEMA_IMAGE);
}

void schema_images(void *cls, struct http_request *req)
{
	reply_schema(cls, req, SCHEMA_IMAGES);
}

void schema_member(void *cls, struct http_request *req)
{
	reply_schema(cls, req, SCHEMA_MEMBER);
}

void schema_members(void *cls, struct http_request *req)
{
	reply_schema(cls, req, SCHEMA_MEMBERS);
}

void schema_task(void *cls, struct http_request *req)
{
	reply_schema(cls, req, SCHEMA_TASK);
}

void schema_tasks(void *cls, struct http_request *req)
{
	reply_schema(cls, req, SCHEMA_TASKS);
}

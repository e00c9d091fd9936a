/* SPDX-License-Identifier: Apache-2.0
 * notify/payload.c -- the payload of each event: keys and their order as consumers have always got
 * them, never a location and never a token.
 *
 * A payload has a bound (PAYLOAD_MAX). Of what a user can make long, properties and tags have a
 * share of it each; what does not fit its share is left out and the payload says so. Everything
 * else is short where it comes in. */
#include "payload.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/utf8.h"

#define PROPERTIES_MAX ((size_t)256 * 1024)
#define TAGS_MAX ((size_t)96 * 1024)
#define INPUT_MAX ((size_t)256 * 1024)
#define TEXT_MAX ((size_t)32 * 1024) /* octets before escaping, which makes at most six of one */

static void write_time(struct jsonw *w, const char *key, int64_t us)
{
	char text[CLOCK_TEXT_MAX];

	jsonw_key(w, key);
	jsonw_str(w, us ? clock_iso(us, text) : NULL);
}

static void write_text(struct jsonw *w, const char *key, const char *value)
{
	jsonw_key(w, key);
	jsonw_str(w, value);
}

static void write_int(struct jsonw *w, const char *key, int64_t v)
{
	jsonw_key(w, key);
	jsonw_int(w, v);
}

static void write_bool(struct jsonw *w, const char *key, bool v)
{
	jsonw_key(w, key);
	jsonw_bool(w, v);
}

static void write_size(struct jsonw *w, const char *key, int64_t size)
{
	jsonw_key(w, key);
	if (size == IMAGE_SIZE_UNKNOWN)
		jsonw_null(w);
	else
		jsonw_int(w, size);
}

/* Writes a property (@name) or a tag (no name); takes it back if @w's output then ends past @end. */
static bool write_if_it_fits(struct jsonw *w, const char *name, const char *value, size_t end)
{
	struct jsonw before = *w;
	size_t len = w->out->len;

	if (name)
		jsonw_key(w, name);
	jsonw_str(w, value);
	if (w->out->failed || w->out->len <= end)
		return true;
	w->out->len = len;
	w->out->data[len] = '\0';
	*w = before;
	return false;
}

static bool write_properties(struct jsonw *w, const struct image *img, const struct property_rights *rights)
{
	size_t end = w->out->len + PROPERTIES_MAX;
	bool all = true;

	jsonw_key(w, "properties");
	jsonw_object(w);
	for (size_t i = 0; i < img->n_properties; i++)
		if (property_allowed(rights, img->properties[i].name, PROPERTY_READ))
			all &= write_if_it_fits(w, img->properties[i].name, img->properties[i].value, end);
	jsonw_object_end(w);
	return all;
}

static bool write_tags(struct jsonw *w, const struct image *img)
{
	size_t end = w->out->len + TAGS_MAX;
	bool all = true;

	jsonw_key(w, "tags");
	jsonw_array(w);
	for (size_t i = 0; i < img->n_tags; i++)
		all &= write_if_it_fits(w, NULL, img->tags[i], end);
	jsonw_array_end(w);
	return all;
}

/* An import keeps the names of its stores, separated by commas, in properties of its own. */
static void write_stores(struct jsonw *w, const struct image *img, const char *name, const struct property_rights *rights)
{
	const struct image_property *p = property_allowed(rights, name, PROPERTY_READ) ? image_find_property(img, name) : NULL;
	const char *rest = p && p->value && p->value[0] ? p->value : NULL;

	jsonw_key(w, name);
	jsonw_array(w);
	while (rest) {
		size_t n = strcspn(rest, ",");
		char store[256];

		n = n < sizeof(store) ? n : sizeof(store) - 1;
		memcpy(store, rest, n);
		store[n] = '\0';
		jsonw_str(w, store);
		rest += strcspn(rest, ",");
		rest = *rest ? rest + 1 : NULL;
	}
	jsonw_array_end(w);
}

static const char *status_after(enum event_type t, const struct image *img)
{
	if (t == EVENT_IMAGE_DELETE && img->status != IMAGE_PENDING_DELETE)
		return image_status_name(IMAGE_DELETED);
	return image_status_name(img->status);
}

static void write_head(struct jsonw *w, enum event_type t, const struct image *img)
{
	write_text(w, "id", img->id);
	write_text(w, "name", img->name);
	write_text(w, "status", status_after(t, img));
	write_time(w, "created_at", img->created_at);
	write_time(w, "updated_at", img->updated_at);
	write_int(w, "min_disk", img->min_disk);
	write_int(w, "min_ram", img->min_ram);
	write_bool(w, "protected", img->is_protected);
	write_text(w, "checksum", img->checksum);
	write_text(w, "owner", img->owner);
	write_text(w, "disk_format", img->disk_format);
	write_text(w, "container_format", img->container_format);
	write_size(w, "size", img->size);
	write_size(w, "virtual_size", img->virtual_size);
	write_bool(w, "is_public", img->visibility == IMAGE_PUBLIC);
	write_text(w, "visibility", image_visibility_name(img->visibility));
}

static void write_deleted(struct jsonw *w, bool deleted, int64_t deleted_at, int64_t now)
{
	write_bool(w, "deleted", deleted);
	if (deleted && !deleted_at)
		deleted_at = now;
	write_time(w, "deleted_at", deleted ? deleted_at : 0);
}

void payload_image(struct buf *out, enum event_type t, const struct image *img, const char *backend,
		   const struct property_rights *rights, int64_t now)
{
	struct jsonw w = jsonw_to(out);
	bool all;

	jsonw_object(&w);
	write_head(&w, t, img);
	all = write_properties(&w, img, rights);
	all &= write_tags(&w, img);
	write_deleted(&w, t == EVENT_IMAGE_DELETE, img->deleted_at, now);
	if (t == EVENT_IMAGE_PREPARE || t == EVENT_IMAGE_UPLOAD) {
		write_stores(&w, img, "os_glance_importing_to_stores", rights);
		write_stores(&w, img, "os_glance_failed_import", rights);
	}
	if (t == EVENT_IMAGE_PREPARE && backend)
		write_text(&w, "backend", backend);
	if (!all)
		write_bool(&w, "truncated", true);
	jsonw_object_end(&w);
}

void payload_image_id(struct buf *out, const struct image *img)
{
	struct jsonw w = jsonw_to(out);

	jsonw_str(&w, img->id);
}

void payload_text(struct buf *out, const char *kind, const char *id, const char *text)
{
	AUTO(buf_done) struct buf whole = {0};
	struct jsonw w = jsonw_to(out);
	size_t n = strnlen(text, TEXT_MAX + 1);

	if (!strstr(text, id))
		buf_addf(&whole, "%s %s: ", kind, id);
	buf_add(&whole, text, n > TEXT_MAX ? utf8_trim(text, TEXT_MAX) : n);
	if (n > TEXT_MAX)
		buf_adds(&whole, " ... (truncated)");
	jsonw_str(&w, buf_cstr(&whole));
	out->failed |= whole.failed;
}

void payload_send(struct buf *out, const struct send_report *report)
{
	struct jsonw w = jsonw_to(out);

	jsonw_object(&w);
	write_int(&w, "bytes_sent", report->bytes_sent);
	write_text(&w, "image_id", report->image_id);
	write_text(&w, "owner_id", report->owner_id);
	write_text(&w, "receiver_tenant_id", report->receiver_tenant_id);
	write_text(&w, "receiver_user_id", report->receiver_user_id);
	write_text(&w, "destination_ip", report->destination_ip);
	jsonw_object_end(&w);
}

void payload_member(struct buf *out, enum event_type t, const struct image_member *m, int64_t now)
{
	struct jsonw w = jsonw_to(out);

	jsonw_object(&w);
	write_text(&w, "image_id", m->image_id);
	write_text(&w, "member_id", m->member_id);
	write_text(&w, "status", member_status_name(m->status));
	write_time(&w, "created_at", m->created_at);
	write_time(&w, "updated_at", m->updated_at);
	write_deleted(&w, t == EVENT_IMAGE_MEMBER_DELETE, m->deleted_at, now);
	jsonw_object_end(&w);
}

/* A member whose value is JSON already. */
static void write_json(struct jsonw *w, const char *key, const char *json)
{
	jsonw_key(w, key);
	jsonw_raw(w, json ? json : "null", json ? strlen(json) : strlen("null"));
}

static void write_task(struct jsonw *w, enum event_type t, const struct task *task, int64_t now)
{
	write_text(w, "id", task->id);
	write_text(w, "type", task->type);
	write_text(w, "status", task_status_name(task->status));
	write_json(w, "result", t == EVENT_TASK_SUCCESS ? task->result : NULL);
	write_text(w, "owner", *task->owner ? task->owner : NULL);
	write_text(w, "message", t == EVENT_TASK_FAILURE ? task->message : NULL);
	write_time(w, "expires_at", task->expires_at ? task->expires_at : now);
	write_time(w, "created_at", task->created_at);
	write_time(w, "updated_at", task->updated_at);
	write_deleted(w, task->deleted, task->deleted_at, now);
}

void payload_task(struct buf *out, enum event_type t, const struct task *task, int64_t now)
{
	AUTO(arena_done) struct arena a = {0};
	const char *input = task->input ? task_redact_json(&a, task->input) : NULL;
	bool fits = !input || strlen(input) <= INPUT_MAX;
	struct jsonw w = jsonw_to(out);

	out->failed |= task->input && !input;
	jsonw_object(&w);
	write_task(&w, t, task, now);
	write_text(&w, "task_id", task->id);
	write_text(&w, "task_type", task->type);
	write_json(&w, "task_input", fits ? input : NULL);
	if (!fits)
		write_bool(&w, "truncated", true);
	jsonw_object_end(&w);
}

/* SPDX-License-Identifier: Apache-2.0
 * api/image_json.c -- an image as the Images API v2 shows it: custom properties first, then the base
 * attributes in the order in which clients have always got them. */
#include <string.h>

#include "api/internal.h"
#include "base/clock.h"

static void put_str(struct jsonw *w, const char *key, const char *value)
{
	jsonw_key(w, key);
	jsonw_str(w, value);
}

static void put_size(struct jsonw *w, const char *key, int64_t octets)
{
	jsonw_key(w, key);
	if (octets == IMAGE_SIZE_UNKNOWN)
		jsonw_null(w);
	else
		jsonw_int(w, octets);
}

static void put_int(struct jsonw *w, const char *key, int64_t value)
{
	jsonw_key(w, key);
	jsonw_int(w, value);
}

static void put_bool(struct jsonw *w, const char *key, bool value)
{
	jsonw_key(w, key);
	jsonw_bool(w, value);
}

static void put_time(struct jsonw *w, const char *key, int64_t us)
{
	char text[CLOCK_TEXT_MAX];

	put_str(w, key, us ? clock_iso(us, text) : NULL);
}

/* "/v2/images/ID" and what follows it. An id is a canonical UUID: nothing in it needs escaping. */
static void put_link(struct jsonw *w, const char *key, const char *id, const char *rest)
{
	jsonw_key(w, key);
	buf_adds(w->out, "\"/v2/images/");
	buf_adds(w->out, id);
	buf_adds(w->out, rest);
	buf_addc(w->out, '"');
	w->comma = true;
}

static void put_tags(struct jsonw *w, const struct image *image)
{
	jsonw_key(w, "tags");
	jsonw_array(w);
	for (size_t i = 0; i < image->n_tags; i++)
		jsonw_str(w, image->tags[i]);
	jsonw_array_end(w);
}

/* The ids of the stores that have the data, comma-separated, from the metadata of the locations. */
static void put_stores(struct jsonw *w, const struct image *image)
{
	AUTO(buf_done) struct buf stores = {0};

	for (size_t i = 0; i < image->n_locations; i++) {
		AUTO(json_decref_p) json_t *metadata = json_loads(image->locations[i].metadata ?: "", 0, NULL);
		const char *store = json_string_value(json_object_get(metadata, "store"));

		if (store)
			buf_addf(&stores, "%s%s", stores.len ? "," : "", store);
	}
	w->out->failed |= stores.failed;
	if (stores.len)
		put_str(w, "stores", buf_cstr(&stores));
}

static bool is_shown(const struct image_property *p)
{
	return strcmp(p->name, "os_glance_stage_host") != 0; /* Glance's alone to know */
}

/* The attributes that every image has, without the end of the object. */
static void put_attributes(struct jsonw *w, const struct image *image)
{
	put_str(w, "name", image->name);
	put_str(w, "disk_format", image->disk_format);
	put_str(w, "container_format", image->container_format);
	put_str(w, "visibility", image_visibility_name(image->visibility));
	put_size(w, "size", image->size);
	put_size(w, "virtual_size", image->virtual_size);
	put_str(w, "status", image_status_name(image->status));
	put_str(w, "checksum", image->checksum);
	put_bool(w, "protected", image->is_protected);
	put_int(w, "min_ram", image->min_ram);
	put_int(w, "min_disk", image->min_disk);
	put_str(w, "owner", image->owner);
	put_bool(w, "os_hidden", image->os_hidden);
	put_str(w, "os_hash_algo", image->os_hash_algo);
	put_str(w, "os_hash_value", image->os_hash_value);
	put_str(w, "id", image->id);
	put_time(w, "created_at", image->created_at);
	put_time(w, "updated_at", image->updated_at);
	put_tags(w, image);
	put_link(w, "self", image->id, "");
	put_link(w, "file", image->id, "/file");
	put_str(w, "schema", "/v2/schemas/image");
}

/* Without its end. */
static void put_image(struct jsonw *w, const struct image *image, const struct property_rights *rights)
{
	jsonw_object(w);
	for (size_t i = 0; i < image->n_properties; i++) {
		const struct image_property *p = &image->properties[i];

		if (is_shown(p) && property_allowed(rights, p->name, PROPERTY_READ))
			put_str(w, p->name, p->value);
	}
	put_attributes(w, image);
}

/* -- as a text ------------------------------------------------------------------------------------- */

/* What a text begins with: the object without its end, then the stores, which not everybody is told. */
struct text_head {
	uint32_t n_object;
	bool is_deactivated;
};

void image_json_text(struct buf *out, const struct image *image)
{
	struct text_head head = {.is_deactivated = image->status == IMAGE_DEACTIVATED};
	size_t start = out->len;
	struct jsonw w = jsonw_to(out);

	buf_add(out, &head, sizeof(head));
	put_image(&w, image, NULL);
	head.n_object = (uint32_t)(out->len - start - sizeof(head));
	put_stores(&w, image);
	if (!out->failed)
		memcpy(out->data + start, &head, sizeof(head));
}

/* Where an image lies is only told where stores have names, and of a deactivated one only to admins. */
static bool shows_stores(bool is_deactivated, const struct call *c)
{
	return stores_have_names(c->api->config.stores) && (!is_deactivated || who_is_admin(&c->who));
}

/* Where properties are protected a text begins otherwise: who asks may not be told all of them. Each property is
 *
 *   struct text_property, its name and a NUL, its member of the object
 *
 * and what comes behind the last one is as above, but for the bracket that opens the object. */
struct text_property {
	uint32_t n_name; /* with the NUL; 0: there is none any more */
	uint32_t n_member;
};

static void put_text_property(struct buf *out, const struct image_property *p)
{
	struct text_property head = {.n_name = (uint32_t)strlen(p->name) + 1};
	struct jsonw w = jsonw_to(out);
	size_t start = out->len;

	buf_add(out, &head, sizeof(head));
	buf_add(out, p->name, head.n_name);
	put_str(&w, p->name, p->value);
	head.n_member = (uint32_t)(out->len - start - sizeof(head) - head.n_name);
	if (!out->failed)
		memcpy(out->data + start, &head, sizeof(head));
}

void image_json_protected_text(struct buf *out, const struct image *image)
{
	struct text_head head = {.is_deactivated = image->status == IMAGE_DEACTIVATED};
	const struct text_property end = {0};
	struct jsonw w = jsonw_to(out);
	size_t start;

	for (size_t i = 0; i < image->n_properties; i++)
		if (is_shown(&image->properties[i]))
			put_text_property(out, &image->properties[i]);
	buf_add(out, &end, sizeof(end));
	start = out->len;
	buf_add(out, &head, sizeof(head));
	put_attributes(&w, image);
	head.n_object = (uint32_t)(out->len - start - sizeof(head));
	put_stores(&w, image);
	if (!out->failed)
		memcpy(out->data + start, &head, sizeof(head));
}

/* Writes those that the caller may read; returns how much of the text they were. */
static size_t put_text_properties(struct jsonw *w, const char *text, const struct property_rights *rights)
{
	struct text_property p;
	size_t at = 0;

	for (;;) {
		const char *name = text + at + sizeof(p);

		memcpy(&p, text + at, sizeof(p));
		at += sizeof(p) + p.n_name + p.n_member;
		if (p.n_name == 0)
			return at;
		if (property_allowed(rights, name, PROPERTY_READ))
			jsonw_raw(w, name + p.n_name, p.n_member);
	}
}

void image_json_of_text(struct jsonw *w, const char *text, size_t n, const struct call *c)
{
	struct text_head head;

	if (c->who.rights) {
		size_t n_properties;

		jsonw_object(w);
		n_properties = put_text_properties(w, text, c->who.rights);
		text += n_properties;
		n -= n_properties;
	}
	memcpy(&head, text, sizeof(head));
	if (!shows_stores(head.is_deactivated, c))
		n = sizeof(head) + head.n_object;
	jsonw_raw(w, text + sizeof(head), n - sizeof(head));
	buf_addc(w->out, '}');
}

/* -- at once --------------------------------------------------------------------------------------- */

/* Only for those who may see them; for nobody who asks of an image without any. */
static void put_locations(struct jsonw *w, const struct image *image, const struct call *c)
{
	AUTO(arena_done) struct arena a = {0};
	struct image_location *list = NULL;
	size_t n = 0;

	if (service_locations(c->api->service, &c->who, image, &a, &list, &n, NULL) < 0)
		n = 0;
	if (c->api->config.shows_direct_url && n > 0)
		put_str(w, "direct_url", list[0].url);
	if (c->api->config.shows_locations) {
		jsonw_key(w, "locations");
		locations_json(w, list, n);
	}
}

void image_json(struct jsonw *w, const struct image *image, const struct call *c)
{
	put_image(w, image, c->who.rights);
	if (shows_stores(image->status == IMAGE_DEACTIVATED, c))
		put_stores(w, image);
	if (c->api->config.shows_direct_url || c->api->config.shows_locations)
		put_locations(w, image, c);
	jsonw_object_end(w);
}

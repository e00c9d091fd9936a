/* SPDX-License-Identifier: Apache-2.0
 * api/images.c -- /v2/images and /v2/images/{image_id}. */
#include <string.h>
#include <strings.h>

#include "api/internal.h"

/* A page ends early when its JSON is so long: an image may have megabytes of properties, a page a thousand
 * images, and memory has a bound. There is a `next` to go on by, as after any page. */
#define MAX_PAGE_BYTES ((size_t)4 << 20)
#define TYPICAL_IMAGE_BYTES 1500 /* of JSON; a longer one grows */
#define MAX_BRIEF_BODY 16384 /* octets of JSON that a loop reads itself */
#define MAX_BRIEF_ROWS 100 /* more belong on a worker from the start */

static const char *image_id(const struct call *c)
{
	return http_param(c->req, "image_id");
}

static void reply_image(struct call *c, int status, const struct image *image)
{
	AUTO(buf_done) struct buf body = {0};
	struct jsonw w = jsonw_to(&body);

	(void)buf_reserve(&body, TYPICAL_IMAGE_BYTES);
	image_json(&w, image, c);
	call_reply(c, status, &body);
}

/* -- create --------------------------------------------------------------------------------------- */

/* From the request to its answer; in the request's arena. */
struct create {
	struct call call;
	struct image image;
	struct creation creation;
	int result;
};

static int read_draft(struct call *c, struct image *draft)
{
	AUTO(json_decref_p) json_t *body = NULL;
	int r;

	r = call_json(c, &body, &c->err);
	if (r < 0)
		return r;
	image_init(draft);
	return image_from_json(body, &c->api->config.limits, c->arena, draft, &c->err);
}

/* Separated by commas; NULL without memory. */
static const char *store_names(struct call *c)
{
	const struct stores *ss = c->api->config.stores;
	const char *names = "";

	for (size_t i = 0; names && i < stores_count(ss); i++)
		names = arena_printf(c->arena, "%s%s%s", names, i > 0 ? "," : "", store_id(stores_at(ss, i)));
	return names;
}

static const char *method_names(struct call *c)
{
	const char *const *methods = c->api->config.import_methods, *names = "";

	for (size_t i = 0; names && methods[i]; i++)
		names = arena_printf(c->arena, "%s%s%s", names, i > 0 ? "," : "", methods[i]);
	return names;
}

static void answer_created(void *cls, struct http_request *req)
{
	struct create *create = cls;
	struct call *c = &create->call;

	if (create->result < 0) {
		call_fail(c);
		return;
	}
	http_add_header(req, "Location",
			arena_printf(c->arena, "%s/v2/images/%s", call_base_url(c), create->image.id));
	if (*c->api->config.import_methods)
		http_add_header(req, "OpenStack-image-import-methods", method_names(c));
	if (stores_have_names(c->api->config.stores))
		http_add_header(req, "OpenStack-image-store-ids", store_names(c));
	reply_image(c, 201, &create->image);
}

static void on_created(void *cls, int r, const struct err *err)
{
	struct create *create = cls;

	create->result = r;
	create->call.err = *err;
	http_resume(create->call.req, answer_created, create);
}

static void begin_create(struct create *create)
{
	struct call *c = &create->call;

	if (read_draft(c, &create->image) < 0) {
		call_fail(c);
		return;
	}
	create->creation = (struct creation){
		.who = &c->who, .image = &create->image, .done = on_created, .cls = create};
	http_suspend(c->req);
	service_create(c->api->service, &create->creation);
}

/* No thread waits for the commit: it is the database's until it is durable, then the loop answers. */
void images_create(void *cls, struct http_request *req)
{
	struct create *create;
	size_t n;

	(void)http_body(req, &n);
	if (n > MAX_BRIEF_BODY && !http_on_worker(req)) {
		http_go_to_worker(req);
		return;
	}
	create = arena_alloc(http_arena(req), sizeof(*create));
	if (!create)
		http_reply_error(req, 503, "The service is out of memory.");
	else if (call_enter(&create->call, cls, req))
		begin_create(create);
}

/* -- show ----------------------------------------------------------------------------------------- */

void images_show(void *cls, struct http_request *req)
{
	struct call c;
	struct image image;

	if (!call_enter(&c, cls, req))
		return;
	if (service_show(c.api->service, &c.who, image_id(&c), c.arena, &image, &c.err) < 0)
		call_fail(&c);
	else
		reply_image(&c, 200, &image);
}

/* -- list ----------------------------------------------------------------------------------------- */

struct page {
	struct buf *out;
	struct jsonw w;
	int64_t n, limit;
	char last_id[UUID_LEN + 1];
	bool more; /* a row beyond the page */
	const struct call *call;
};

/* Of images that show where they lie nothing is kept: it depends on who asks. */
static bool shows_locations(const struct call *c)
{
	return c->api->config.shows_direct_url || c->api->config.shows_locations;
}

/* Is there room for a row? If not, the page ends before it. */
static bool takes(struct page *page)
{
	page->more = page->n == page->limit || page->out->len > MAX_PAGE_BYTES;
	return !page->more;
}

/* @is_there: false where the page has to end behind @id. Returns as db_image_fn does. */
static int begin_row(struct page *page, const char *id, bool is_there)
{
	if (!takes(page))
		return 1;
	memcpy(page->last_id, id, sizeof(page->last_id));
	page->more = !is_there;
	page->n += is_there;
	return is_there ? 0 : 1;
}

static int add_image(void *cls, const char *id, const struct image *image, struct err *err)
{
	struct page *page = cls;
	int r = begin_row(page, id, image);

	if (r != 0)
		return r;
	image_json(&page->w, image, page->call);
	return page->out->failed ? err_nomem(err) : 0;
}

static int add_row(void *cls, const char *id, const char *text, size_t n, struct err *err)
{
	struct page *page = cls;
	int r = begin_row(page, id, text);

	if (r != 0)
		return r;
	image_json_of_text(&page->w, text, n, page->call);
	return page->out->failed ? err_nomem(err) : 0;
}

static int parse_query(struct call *c, struct image_query *query)
{
	size_t n;
	const struct query_param *params = paging_params(c, &n);

	if (!params)
		return err_nomem(&c->err);
	return image_query_parse(params, n, &c->api->config.pages, c->arena, query, &c->err);
}

/* Asks for one row more than the page has, to know whether there is a next one. */
static int fill_page(struct call *c, struct page *page, struct image_query *query, bool brief)
{
	page->limit = query->limit;
	if (query->limit > 0)
		query->limit++;
	if (shows_locations(c))
		return service_list_images(c->api->service, &c->who, query, brief, add_image, page, &c->err);
	return service_list(c->api->service, &c->who, query, brief,
			    c->who.rights ? image_json_protected_text : image_json_text, add_row, page, &c->err);
}

static int list(struct call *c, struct buf *body, bool brief)
{
	struct page page = {.out = body, .w = jsonw_to(body), .call = c};
	struct image_query query = {0};
	int r = parse_query(c, &query);

	if (r < 0)
		return r;
	if (brief && query.limit > MAX_BRIEF_ROWS)
		return ERR_TOO_LONG;
	(void)buf_reserve(body, (size_t)(query.limit < MAX_BRIEF_ROWS ? query.limit : MAX_BRIEF_ROWS) * 1024);
	jsonw_object(&page.w);
	jsonw_key(&page.w, "images");
	jsonw_array(&page.w);
	r = fill_page(c, &page, &query, brief);
	if (r < 0)
		return r;
	jsonw_array_end(&page.w);
	paging_link(&page.w, "first", c, "/v2/images", NULL);
	jsonw_key(&page.w, "schema");
	jsonw_str(&page.w, "/v2/schemas/images");
	if (page.more)
		paging_link(&page.w, "next", c, "/v2/images", page.last_id);
	jsonw_object_end(&page.w);
	return 0;
}

/* Most pages are answered by the event loop at once. Those that turn out to need longer begin anew on a
 * worker. */
void images_list(void *cls, struct http_request *req)
{
	AUTO(buf_done) struct buf body = {0};
	bool brief = !http_on_worker(req);
	struct call c;
	int r;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	r = list(&c, &body, brief);
	if (r == ERR_TOO_LONG && brief)
		http_go_to_worker(req);
	else if (r < 0)
		call_fail(&c);
	else
		call_reply(&c, 200, &body);
}

/* -- update --------------------------------------------------------------------------------------- */

static const struct {
	const char *type;
	enum patch_format format;
} patch_types[] = {
	{"application/openstack-images-v2.1-json-patch", PATCH_V21},
	{"application/openstack-images-v2.0-json-patch", PATCH_V20},
};

static int patch_format(struct call *c, enum patch_format *ret)
{
	const char *type = http_header(c->req, "Content-Type");
	size_t n = type ? strcspn(type, "; \t") : 0;

	for (size_t i = 0; i < ARRAY_LEN(patch_types); i++) {
		if (n == strlen(patch_types[i].type) && strncasecmp(type, patch_types[i].type, n) == 0) {
			*ret = patch_types[i].format;
			return 0;
		}
	}
	http_add_header(c->req, "Accept-Patch",
			"application/openstack-images-v2.1-json-patch,application/openstack-images-v2.0-json-patch");
	return err_set(&c->err, ERR_MEDIA_TYPE, "An image is changed by a body of type %s.", patch_types[0].type);
}

static bool is_given_up(void *cls)
{
	return http_client_is_gone(cls);
}

static int update(struct call *c, struct image *ret)
{
	const struct watch asker = {is_given_up, c->req};
	AUTO(json_decref_p) json_t *body = NULL;
	enum patch_format format = PATCH_V21;
	struct patch patch;
	int r;

	r = patch_format(c, &format);
	if (r < 0)
		return r;
	r = call_json(c, &body, &c->err);
	if (r < 0)
		return r;
	r = patch_parse(body, format, c->arena, &patch, &c->err);
	if (r < 0)
		return r;
	return service_update(c->api->service, &c->who, image_id(c), &patch, &asker, c->arena, ret, &c->err);
}

void images_update(void *cls, struct http_request *req)
{
	struct call c;
	struct image image;

	if (!call_enter(&c, cls, req))
		return;
	if (update(&c, &image) < 0)
		call_fail(&c);
	else
		reply_image(&c, 200, &image);
}

/* -- delete --------------------------------------------------------------------------------------- */

void images_delete(void *cls, struct http_request *req)
{
	struct call c;

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (service_delete(c.api->service, &c.who, image_id(&c), &c.err) < 0)
		call_fail(&c);
	else
		http_reply_empty(req, 204);
}

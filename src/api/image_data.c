/* SPDX-License-Identifier: Apache-2.0
 * api/image_data.c -- /v2/images/{image_id}/file and /stage. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/internal.h"
#include "base/log.h"
#include "http/range.h"

/* -- upload --------------------------------------------------------------------------------------- */

static ssize_t read_body(void *cls, void *data, size_t n, struct err *err)
{
	return http_body_read(cls, data, n, err);
}

static void cancel_body(void *cls)
{
	http_body_cancel(cls);
}

static struct upload_source body_of(struct http_request *req)
{
	return (struct upload_source){
		.read = read_body, .cancel = cancel_body, .cls = req, .size = http_body_length(req)};
}

static int check_content_type(struct call *c)
{
	const char *type = http_header(c->req, "Content-Type");
	size_t n = type ? strcspn(type, "; \t") : 0;

	if (n == strlen("application/octet-stream") && strncasecmp(type, "application/octet-stream", n) == 0)
		return 0;
	return err_set(&c->err, ERR_MEDIA_TYPE, "Image data comes as application/octet-stream.");
}

/* X-Image-Meta-Store asks for a store by its id. Where the store has none the header means nothing. */
static const char *asked_store(struct call *c)
{
	return stores_have_names(c->api->config.stores) ? http_header(c->req, "X-Image-Meta-Store") : NULL;
}

/* What the client expects to send; -1 if it does not say. */
static int size_hint(struct call *c, int64_t *ret)
{
	const char *text = http_header(c->req, "X-OpenStack-Image-Size");
	int64_t size = 0;

	*ret = -1;
	if (!text)
		return 0;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9' || size > (INT64_MAX - 9) / 10)
			return err_set(&c->err, ERR_INVALID, "X-OpenStack-Image-Size is not a number of octets.");
		size = size * 10 + (*p - '0');
	}
	if (*text)
		*ret = size;
	return 0;
}

static int upload(struct call *c)
{
	struct upload_source source = body_of(c->req);
	int r;

	r = check_content_type(c);
	if (r < 0)
		return r;
	r = size_hint(c, &source.size_hint);
	if (r < 0)
		return r;
	return service_upload(c->api->service, &c->who, http_param(c->req, "image_id"), asked_store(c),
			      &source, &c->err);
}

void image_data_upload(void *cls, struct http_request *req)
{
	struct call c;

	if (!call_enter(&c, cls, req))
		return;
	if (upload(&c) < 0)
		call_fail(&c);
	else
		http_reply_empty(req, 204);
}

/* -- stage ---------------------------------------------------------------------------------------- */

static int check_stageable(struct call *c)
{
	for (const char *const *m = c->api->config.import_methods; *m; m++)
		if (strcmp(*m, import_method_name(IMPORT_GLANCE_DIRECT)) == 0)
			return 0;
	return err_set(&c->err, ERR_NOT_FOUND, "The import method glance-direct is not enabled here.");
}

static int stage(struct call *c)
{
	struct upload_source source = body_of(c->req);
	int r = check_stageable(c);

	if (r == 0)
		r = check_content_type(c);
	if (r == 0)
		r = size_hint(c, &source.size_hint);
	return r < 0 ? r : service_stage(c->api->service, &c->who, http_param(c->req, "image_id"), &source, &c->err);
}

void image_data_stage(void *cls, struct http_request *req)
{
	struct call c;

	if (!call_enter(&c, cls, req))
		return;
	if (stage(&c) < 0)
		call_fail(&c);
	else
		http_reply_empty(req, 204);
}

/* -- download ------------------------------------------------------------------------------------- */

/* What the report of a download needs when the request is no more. */
struct delivery_note {
	struct api *api;
	struct who who;
	char image_id[UUID_LEN + 1];
	const char *owner;
	struct arena arena;
};

static void note_free(struct delivery_note *note)
{
	if (!note)
		return;
	arena_done(&note->arena);
	free(note);
}

static bool copy_text(struct arena *a, const char *from, const char **to)
{
	*to = arena_strdup(a, from);
	return *to || !from;
}

static struct delivery_note *note_new(struct call *c, const struct image *image)
{
	struct delivery_note *note = calloc(1, sizeof(*note));

	if (!note)
		return NULL;
	note->api = c->api;
	note->who.roles = c->who.roles;
	memcpy(note->image_id, image->id, sizeof(note->image_id));
	if (copy_text(&note->arena, image->owner, &note->owner) &&
	    copy_text(&note->arena, c->who.user_id, &note->who.user_id) &&
	    copy_text(&note->arena, c->who.project_id, &note->who.project_id) &&
	    copy_text(&note->arena, c->who.request_id, &note->who.request_id) &&
	    copy_text(&note->arena, c->who.address, &note->who.address))
		return note;
	note_free(note);
	return NULL;
}

static void report_sent(void *cls, int64_t n_sent, bool complete)
{
	struct delivery_note *note = cls;
	struct sent sent = {note->image_id, note->owner, n_sent, complete};
	struct log_ctx ctx = who_log(&note->who);
	struct err err = {0};

	if (service_sent(note->api->service, &note->who, &sent, &err) < 0)
		log_error("glint.api", &ctx, "image %s was sent (%lld octets), but that could not be recorded: %s",
			  note->image_id, (long long)n_sent, err_story(&err));
	note_free(note);
}

/* *ret_status: 200 or 206. The legacy request header Content-Range counts only without Range. */
static int choose_range(struct call *c, int64_t size, int64_t *ret_first, int64_t *ret_last, int *ret_status)
{
	const char *range = http_header(c->req, "Range");
	const char *legacy = http_header(c->req, "Content-Range");
	enum range_verdict verdict = RANGE_NONE;

	if (range)
		verdict = range_parse(range, size, ret_first, ret_last);
	else if (legacy)
		verdict = range_parse_content_range(legacy, size, ret_first, ret_last);
	if (verdict == RANGE_UNSATISFIABLE) {
		http_add_header(c->req, "Content-Range", arena_printf(c->arena, "bytes */%lld", (long long)size));
		return err_set(&c->err, ERR_RANGE, "The image has %lld octets.", (long long)size);
	}
	if (verdict == RANGE_NONE) {
		*ret_first = 0;
		*ret_last = size - 1;
	}
	*ret_status = verdict == RANGE_ONE ? 206 : 200;
	return 0;
}

static void add_data_headers(struct call *c, const struct image *image, int status, int64_t first, int64_t last)
{
	if (status == 206)
		http_add_header(c->req, "Content-Range",
				arena_printf(c->arena, "bytes %lld-%lld/%lld", (long long)first, (long long)last,
					     (long long)image->size));
	if (image->checksum)
		http_add_header(c->req, "Content-MD5", image->checksum);
}

/* Takes d->source.fd when it succeeds. */
static int send_data(struct call *c, struct download *d)
{
	struct delivery_note *note = NULL;
	int64_t first = 0, last = 0;
	int status = 200, r;

	if (d->image.size < 0)
		d->image.size = d->source.size;
	r = choose_range(c, d->image.size, &first, &last, &status);
	if (r < 0)
		return r;
	if (service_wants_sent(c->api->service)) {
		note = note_new(c, &d->image);
		if (!note)
			return err_nomem(&c->err);
	}
	add_data_headers(c, &d->image, status, first, last);
	http_reply_file(c->req, status, "application/octet-stream", TAKE_FD(d->source.fd), first,
			last - first + 1, note ? report_sent : NULL, note);
	return 0;
}

void image_data_download(void *cls, struct http_request *req)
{
	struct call c;
	struct download d = {.source.fd = -1};

	if (!call_enter_bodyless(&c, cls, req))
		return;
	if (service_download(c.api->service, &c.who, http_param(req, "image_id"), c.arena, &d, &c.err) < 0)
		call_fail(&c);
	else if (!d.has_data)
		http_reply_empty(req, 204);
	else if (send_data(&c, &d) < 0)
		call_fail(&c);
	close_fd_p(&d.source.fd);
}

/* SPDX-License-Identifier: Apache-2.0
 * api/image_data.c -- /v2/images/{image_id}/file and /stage. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
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

/* From the request to the end of its answer; in the request's arena. */
struct delivery {
	struct call call;
	struct download download;
	int64_t first, last;
	int status;
	struct delivery_note *note; /* NULL: nobody would hear of it */
	int64_t reads_since_us;     /* monotonic: of what lies elsewhere */
	bool gave_way, has_answered;
};

static int begin_delivery(struct delivery *d)
{
	struct call *c = &d->call;
	int r;

	if (d->download.image.size < 0)
		d->download.image.size = d->download.source.size;
	r = choose_range(c, d->download.image.size, &d->first, &d->last, &d->status);
	if (r < 0 || !service_wants_sent(c->api->service))
		return r;
	d->note = note_new(c, &d->download.image);
	return d->note ? 0 : err_nomem(&c->err);
}

/* -- what lies elsewhere: by a thread of its own pool ----------------------------------------------- */

static void enter_crowd(struct far_crowd *crowd)
{
	pthread_mutex_lock(&crowd->lock);
	crowd->n++;
	pthread_mutex_unlock(&crowd->lock);
}

static void leave_crowd(struct far_crowd *crowd, bool gave_way)
{
	pthread_mutex_lock(&crowd->lock);
	crowd->n--;
	crowd->n_leaving -= gave_way;
	pthread_mutex_unlock(&crowd->lock);
}

/* True once: somebody waits for a thread, and nobody has promised to leave for him yet. */
static bool give_way(void *cls)
{
	struct delivery *d = cls;
	struct api *api = d->call.api;
	struct far_crowd *crowd = &api->far_crowd;
	bool wanted;

	pthread_mutex_lock(&crowd->lock);
	wanted = !d->gave_way && crowd->n > api->config.max_far + crowd->n_leaving;
	crowd->n_leaving += wanted;
	pthread_mutex_unlock(&crowd->lock);
	d->gave_way |= wanted;
	return wanted;
}

/* Asked while the source lets us wait. A client who has only said all that he had to say still reads. */
static bool is_given_up(void *cls)
{
	struct delivery *d = cls;
	struct api *api = d->call.api;
	bool late = clock_mono_us() - d->reads_since_us > api->config.crowded_timeout_us;

	if (late)
		(void)give_way(d);
	return d->gave_way || http_client_is_lost(d->call.req);
}

static int read_piece(struct delivery *d, int64_t at, const unsigned char **ret_data, size_t *ret_n)
{
	d->reads_since_us = clock_mono_us();
	return far_read(d->download.far, at, ret_data, ret_n, &d->call.err);
}

static void answer_failure(void *cls, struct http_request *req)
{
	call_fail(cls);
}

static void answer_no_more(void *cls, struct http_request *req)
{
}

/* What is read and checked goes out, until one of them fails. *ret_sent: how much went out. */
static int send_pieces(struct delivery *d, const unsigned char *data, size_t n, int64_t *ret_sent)
{
	struct call *c = &d->call;
	int64_t at = d->first, length = d->last - d->first + 1;
	int r = 0;

	while (r == 0 && n > 0) {
		size_t sent, left = (size_t)(length - (at - d->first));

		n = n < left ? n : left;
		r = http_write_body(c->req, data, n, give_way, d, &sent, &c->err);
		at += (int64_t)sent;
		n = 0;
		if (r == 0 && at <= d->last)
			r = read_piece(d, at, &data, &n);
	}
	*ret_sent = at - d->first;
	return r;
}

static void send_checked(struct delivery *d, const unsigned char *data, size_t n)
{
	struct call *c = &d->call;
	struct log_ctx ctx = who_log(&c->who);
	int64_t length = d->last - d->first + 1, n_sent = 0;

	add_data_headers(c, &d->download.image, d->status, d->first, d->last);
	http_begin_body(c->req, d->status, "application/octet-stream", length);
	d->has_answered = true;
	if (send_pieces(d, data, n, &n_sent) < 0)
		log_info("glint.download", &ctx, "image %s: sending ended after %lld octets: %s", d->download.image.id,
			 (long long)n_sent, err_story(&c->err));
	if (d->note)
		report_sent(TAKE(d->note), n_sent, n_sent == length);
	far_free(TAKE(d->download.far));
}

/* The first piece is there before anything is said of its coming. */
static void answer_far(struct delivery *d)
{
	const struct watch watch = {is_given_up, d};
	const unsigned char *data;
	size_t n;

	far_watch(d->download.far, &watch, d->last + 1);
	if (read_piece(d, d->first, &data, &n) == 0) {
		send_checked(d, data, n);
		return;
	}
	if (d->gave_way)
		err_set(&d->call.err, ERR_UNAVAILABLE, "The data of image %s cannot be read at the moment.",
			d->download.image.id);
	note_free(TAKE(d->note));
	far_free(TAKE(d->download.far));
}

/* With the answer, or the connection's return, @d is gone. */
static void run_far(void *arg)
{
	struct delivery *d = arg;
	struct call *c = &d->call;

	answer_far(d);
	leave_crowd(&c->api->far_crowd, d->gave_way);
	http_resume(c->req, d->has_answered ? answer_no_more : answer_failure, c);
}

/* From here on @d is the other thread's. */
static void send_far(struct delivery *d)
{
	struct call *c = &d->call;

	http_suspend(c->req);
	enter_crowd(&c->api->far_crowd);
	if (pool_submit(c->api->far, run_far, d) == 0)
		return;
	leave_crowd(&c->api->far_crowd, false);
	(void)err_nomem(&c->err);
	note_free(TAKE(d->note));
	far_free(TAKE(d->download.far));
	http_resume(c->req, answer_failure, c);
}

/* -- what lies here --------------------------------------------------------------------------------- */

static void send_file(struct delivery *d)
{
	struct call *c = &d->call;
	struct delivery_note *note = TAKE(d->note);

	add_data_headers(c, &d->download.image, d->status, d->first, d->last);
	http_reply_file(c->req, d->status, "application/octet-stream", TAKE_FD(d->download.source.fd), d->first,
			d->last - d->first + 1, note ? report_sent : NULL, note);
}

static void deliver(struct delivery *d, struct http_request *req)
{
	struct call *c = &d->call;
	struct download *dl = &d->download;

	if (service_download(c->api->service, &c->who, http_param(req, "image_id"), c->arena, dl, &c->err) < 0) {
		call_fail(c);
	} else if (!dl->has_data) {
		http_reply_empty(req, 204);
	} else if (begin_delivery(d) < 0) {
		far_free(TAKE(dl->far));
		call_fail(c);
	} else if (dl->far) {
		send_far(d);
		return;
	} else {
		send_file(d);
	}
	close_fd_p(&dl->source.fd);
}

void image_data_download(void *cls, struct http_request *req)
{
	struct delivery *d = arena_alloc(http_arena(req), sizeof(*d));

	if (!d) {
		http_reply_error(req, 503, "The service is out of memory.");
		return;
	}
	d->download.source.fd = -1;
	if (call_enter_bodyless(&d->call, cls, req))
		deliver(d, req);
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/message.c -- the document a consumer receives.
 *
 * Masking follows what oslo.utils does to the document before the log driver writes it; mask.h has
 * the rules. Most documents have no word in them that announces a secret; those are not parsed. */
#include "message.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/jsonw.h"
#include "mask.h"

const char *event_priority_name(enum event_priority p)
{
	static const char *const names[] = {
		[EVENT_INFO] = "INFO", [EVENT_WARN] = "WARN", [EVENT_ERROR] = "ERROR"};

	assert((size_t)p < ARRAY_LEN(names));
	return names[p];
}

static void write_member(struct jsonw *w, const char *key, const char *value)
{
	jsonw_key(w, key);
	jsonw_str(w, value);
}

/* The document, left open. */
static void write_common(struct jsonw *w, const struct db_event *e, const char *publisher_id)
{
	char timestamp[CLOCK_TEXT_MAX];

	jsonw_object(w);
	write_member(w, "message_id", e->message_id);
	write_member(w, "publisher_id", publisher_id);
	write_member(w, "event_type", e->event_type);
	write_member(w, "priority", event_priority_name(e->priority));
	jsonw_key(w, "payload");
	jsonw_raw(w, e->payload, strlen(e->payload));
	write_member(w, "timestamp", clock_python(e->timestamp, timestamp));
}

void message_render(struct buf *out, const struct db_event *e, const char *publisher_id)
{
	struct jsonw w = jsonw_to(out);

	write_common(&w, e, publisher_id);
	jsonw_object_end(&w);
}

/* -- for message queues ------------------------------------------------------------------------- */

static void write_known(struct jsonw *w, const char *prefix, const char *key, const char *value)
{
	char name[64];

	if (!value)
		return;
	(void)snprintf(name, sizeof(name), "%s%s", prefix, key);
	write_member(w, name, value);
}

static void write_who(struct jsonw *w, const char *prefix, const struct db_event *e)
{
	write_known(w, prefix, "request_id", e->request_id);
	write_known(w, prefix, "user_id", e->user_id);
	write_known(w, prefix, "project_id", e->project_id);
}

/* @document as a string in the envelope of format 2.0. */
static void write_envelope(struct buf *out, const struct buf *document)
{
	buf_adds(out, "{\"oslo.version\": \"2.0\", \"oslo.message\": ");
	jsonw_quote(out, buf_cstr(document), document->len);
	buf_addc(out, '}');
	out->failed = out->failed || document->failed;
}

void message_render_v1(struct buf *out, const struct db_event *e, const char *publisher_id,
		       const char *unique_id)
{
	struct jsonw w = jsonw_to(out);

	write_common(&w, e, publisher_id);
	write_member(&w, "_unique_id", unique_id);
	write_who(&w, "_context_", e);
	jsonw_object_end(&w);
}

void message_render_v2(struct buf *out, const struct db_event *e, const char *publisher_id,
		       const char *unique_id)
{
	AUTO(buf_done) struct buf document = {0};

	message_render_v1(&document, e, publisher_id, unique_id);
	write_envelope(out, &document);
}

void message_render_kafka(struct buf *out, const struct db_event *e, const char *publisher_id)
{
	AUTO(buf_done) struct buf document = {0};
	struct jsonw w = jsonw_to(&document);

	write_common(&w, e, publisher_id);
	jsonw_key(&w, "_context");
	jsonw_object(&w);
	write_who(&w, "", e);
	jsonw_object_end(&w);
	jsonw_object_end(&w);
	write_envelope(out, &document);
}

/* As uuid4().hex looks: version 4, variant 10. */
static void write_hex(const unsigned char digest[16], char out[MESSAGE_UNIQUE_ID_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < 16; i++) {
		out[2 * i] = digits[digest[i] >> 4];
		out[2 * i + 1] = digits[digest[i] & 15];
	}
	out[12] = '4';
	out[16] = digits[8 + (digest[8] >> 4 & 3)];
	out[MESSAGE_UNIQUE_ID_LEN] = '\0';
}

int message_unique_id(const struct db_event *e, const char *driver, const char *topic,
		      char out[MESSAGE_UNIQUE_ID_LEN + 1], struct err *err)
{
	AUTO(buf_done) struct buf name = {0};
	unsigned char digest[EVP_MAX_MD_SIZE];

	buf_addf(&name, "%s\n%s\n%s", e->message_id, driver, topic);
	if (name.failed || EVP_Digest(name.data, name.len, digest, NULL, EVP_sha256(), NULL) != 1)
		return err_nomem(err);
	write_hex(digest, out);
	return 0;
}

/* -- for log files ------------------------------------------------------------------------------ */

int message_render_masked(struct buf *out, const struct db_event *e, const char *publisher_id)
{
	AUTO(buf_done) struct buf plain = {0};
	size_t start = out->len;
	int r;

	message_render(out, e, publisher_id);
	if (out->failed)
		return ERR_NO_MEMORY;
	if (!mask_needed(out->data + start, out->len - start))
		return 0;
	buf_add(&plain, out->data + start, out->len - start);
	if (plain.failed)
		return ERR_NO_MEMORY;
	out->len = start;
	r = mask_json(out, plain.data, plain.len);
	if (r < 0 && !out->failed) { /* what could not be masked is not shown */
		out->len = start;
		out->data[start] = '\0';
	}
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/message.c -- the document a consumer receives.
 *
 * Masking follows what oslo.utils does to the document before the log driver writes it; mask.h has
 * the rules. Most documents have no word in them that announces a secret; those are not parsed. */
#include "message.h"

#include <assert.h>
#include <string.h>

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

void message_render(struct buf *out, const struct db_event *e, const char *publisher_id)
{
	struct jsonw w = jsonw_to(out);
	char timestamp[CLOCK_TEXT_MAX];

	jsonw_object(&w);
	write_member(&w, "message_id", e->message_id);
	write_member(&w, "publisher_id", publisher_id);
	write_member(&w, "event_type", e->event_type);
	write_member(&w, "priority", event_priority_name(e->priority));
	jsonw_key(&w, "payload");
	jsonw_raw(&w, e->payload, strlen(e->payload));
	write_member(&w, "timestamp", clock_python(e->timestamp, timestamp));
	jsonw_object_end(&w);
}

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

/* SPDX-License-Identifier: Apache-2.0
 * cmd/notifications_line.c -- one notification as a line for people, wherever it comes from. */
#include "cmd/notifications.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

/* Control characters would play tricks with a terminal; a '?' stands for each. */
static void add_printable(struct buf *out, const char *s)
{
	for (; *s; s++)
		buf_addc(out, (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
}

static void add_padded(struct buf *out, const char *s, size_t width)
{
	size_t start = out->len;

	add_printable(out, s);
	while (!out->failed && out->len - start < width)
		buf_addc(out, ' ');
}

static void add_member(struct buf *out, const json_t *payload, const char *key, const char *format)
{
	const json_t *value = json_object_get(payload, key);

	if (json_is_string(value)) {
		AUTO(buf_done) struct buf text = {0};

		add_printable(&text, json_string_value(value));
		buf_addf(out, format, buf_cstr(&text));
	} else if (json_is_integer(value)) {
		char digits[32];

		snprintf(digits, sizeof(digits), "%lld", (long long)json_integer_value(value));
		buf_addf(out, format, digits);
	}
}

/* What of the payload is worth a glance. */
static void add_summary(struct buf *out, const json_t *payload)
{
	if (json_is_string(payload)) {
		buf_addc(out, ' ');
		add_printable(out, json_string_value(payload));
		return;
	}
	add_member(out, payload, "type", " %s");
	add_member(out, payload, "name", " \"%s\"");
	add_member(out, payload, "status", " %s");
	add_member(out, payload, "size", " %s octets");
	add_member(out, payload, "bytes_sent", " %s octets");
	add_member(out, payload, "destination_ip", " to %s");
	add_member(out, payload, "member_id", " member %s");
	add_member(out, payload, "message", ": %s");
}

static const char *colour_of(const char *priority)
{
	if (strcmp(priority, "ERROR") == 0 || strcmp(priority, "CRITICAL") == 0)
		return "\033[31m";
	return strcmp(priority, "WARN") == 0 ? "\033[33m" : "";
}

void notification_add_line(struct buf *out, const struct notification_line *n, bool colour)
{
	const char *begin = colour ? colour_of(n->priority) : "";

	buf_addf(out, "%6lld  ", (long long)n->number);
	add_padded(out, n->when, 19);
	buf_addf(out, "  %s", begin);
	add_padded(out, n->priority, 5);
	buf_addc(out, ' ');
	add_padded(out, n->event_type, 19);
	buf_addf(out, "%s  ", *begin ? "\033[0m" : "");
	add_printable(out, n->subject);
	add_summary(out, n->payload);
	buf_addc(out, '\n');
}

/* SPDX-License-Identifier: Apache-2.0
 * base/json.h -- reads JSON whole or not at all. Jansson takes a text whose octets it had no memory for as a shorter
 * one, or as a mistake in the text, so we note ourselves when memory ends. */
#pragma once

#include <jansson.h>

struct err;

/* Before any thread uses Jansson: json_read() notices want of memory from now on. Again does nothing. */
void json_watch_memory(void);
/* Owned by the caller. ERR_NO_MEMORY; ERR_INVALID, and *ret_why (may be NULL) has the place: @err has no text for it. */
int json_read(const char *text, size_t n, size_t flags, json_t **ret, json_error_t *ret_why, struct err *err);
void json_decref_p(json_t **json);

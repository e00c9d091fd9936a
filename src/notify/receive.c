/* SPDX-License-Identifier: Apache-2.0
 * notify/receive.c -- the table of receivers, and what is in a message.
 *
 * A message is refused for the reasons for which oslo.messaging's listener refuses it: it is not
 * JSON, not an object, or in an envelope of another version. */
#include "receive.h"

#include <string.h>

#include "base/err.h"

#ifdef HAVE_RABBIT
extern const struct receiver receiver_rabbit;
#endif

static const struct receiver *const receivers[] = {
#ifdef HAVE_RABBIT
	&receiver_rabbit,
#endif
	NULL,
};

const struct receiver *receiver_find(const char *scheme)
{
	for (size_t i = 0; receivers[i]; i++) {
		for (size_t k = 0; receivers[i]->schemes[k]; k++) {
			if (strcmp(receivers[i]->schemes[k], scheme) == 0)
				return receivers[i];
		}
	}
	return NULL;
}

/* -- messages ----------------------------------------------------------------------------------- */

static int load_object(const void *text, size_t n, const char *what, json_t **ret, struct err *err)
{
	json_error_t error;
	json_t *found = json_loadb(text, n, JSON_ALLOW_NUL, &error);

	if (!found && json_error_code(&error) == json_error_out_of_memory)
		return err_nomem(err);
	if (!found)
		return err_set(err, ERR_INVALID, "%s is not JSON: %s", what, error.text);
	if (!json_is_object(found)) {
		json_decref(found);
		return err_set(err, ERR_INVALID, "%s is not an object", what);
	}
	*ret = found;
	return 0;
}

static int open_envelope(const json_t *envelope, json_t **ret, struct err *err)
{
	const json_t *version = json_object_get(envelope, "oslo.version");
	const json_t *message = json_object_get(envelope, "oslo.message");

	if (!json_is_string(version) || strcmp(json_string_value(version), "2.0") != 0)
		return err_set(err, ERR_INVALID, "its envelope is not of version 2.0");
	if (!json_is_string(message))
		return err_set(err, ERR_INVALID, "its envelope has no text in it");
	return load_object(json_string_value(message), json_string_length(message), "the text in its envelope", ret,
			   err);
}

int received_document(const struct received *m, json_t **ret, struct err *err)
{
	json_t *outer;
	int r = load_object(m->body, m->n_bytes, "its body", &outer, err);

	if (r < 0)
		return r;
	if (!json_object_get(outer, "oslo.version") || !json_object_get(outer, "oslo.message")) {
		*ret = outer;
		return 0;
	}
	r = open_envelope(outer, ret, err);
	json_decref(outer);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * store/driver.h -- what every store driver must do. The core (store.c) checks image ids, keeps a
 * failed writer from being committed and hands a driver only locations it owns. */
#pragma once

#include "store.h"

#define STORE_DRIVER_VERSION 1

struct store_driver {
	unsigned version;
	const char *name;    /* store_config.type */
	const char *summary; /* one line for a list of drivers */
	size_t state_size;   /* zeroed memory the core gives each store */
	size_t writer_size;  /* and each writer */

	/* May block. close() follows exactly once even when this fails, so leave a state that close()
	 * can handle. */
	int (*open)(void *state, const struct store_config *config, struct err *err);
	void (*close)(void *state);

	/* Begin an object; @image_id is canonical, @size_hint -1 or more. done() follows exactly once
	 * even when this fails. @state outlives the writer. */
	int (*create)(void *state, void *writer, const char *image_id, int64_t size_hint, struct err *err);
	/* After a failure only done() follows. */
	int (*write)(void *writer, const void *data, size_t n, struct err *err);
	/* All of it, durable, under its name: or an error and nothing under its name. Only done() follows. */
	int (*commit)(void *writer, char **ret_url, struct err *err);
	/* Let go; what is not committed disappears. Cannot fail. */
	void (*done)(void *writer);

	/* A question about the text alone: no request, no look at a file system. */
	bool (*owns)(const void *state, const char *url);
	/* @url is one that owns() said yes to. */
	int (*read)(void *state, const char *url, struct store_source *ret, struct err *err);
	int (*remove)(void *state, const char *url, struct err *err);
	char *(*url)(const void *state, const char *image_id);
	int (*sweep)(void *state, unsigned *ret_n, struct err *err);

	/* Of a remote store, which has none of create ... done, read, url and sweep; the others have none of these. */
	size_t stream_size; /* zeroed memory for each stream */
	int (*check_url)(const void *state, const char *url, struct err *err);
	/* stream_close() follows exactly once even when this fails. @state and @part outlive the stream. */
	int (*stream_open)(void *state, void *stream, const char *url, const struct store_part *part, struct err *err);
	ssize_t (*stream_read)(void *stream, void *data, size_t n, struct err *err);
	int64_t (*stream_total)(const void *stream);
	void (*stream_close)(void *stream);
};

extern const struct store_driver *const store_drivers[]; /* NULL-terminated */

/* SPDX-License-Identifier: Apache-2.0
 * store/store.c -- the table of drivers, and what holds for all of them:
 *
 * (1) A driver sees no image id that is not a canonical UUID, and no location it does not own.
 * (2) A writer that failed once is never committed: an object is whole or not there. */
#include "store.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "driver.h"

extern const struct store_driver store_driver_file, store_driver_http;

const struct store_driver *const store_drivers[] = {
	&store_driver_file,
	&store_driver_http,
	NULL,
};

struct store {
	const struct store_driver *driver;
	char *id, *description, *directory; /* the last two may be NULL */
	int64_t weight;
	bool thin;
	alignas(max_align_t) unsigned char state[];
};

struct store_writer {
	const struct store_driver *driver;
	int failed; /* what the first failure was */
	alignas(max_align_t) unsigned char state[];
};

struct store_stream {
	const struct store_driver *driver;
	struct store_part part;
	alignas(max_align_t) unsigned char state[];
};

static const struct store_driver *find_driver(const char *name)
{
	for (size_t i = 0; store_drivers[i]; i++)
		if (name && strcmp(store_drivers[i]->name, name) == 0)
			return store_drivers[i];
	return NULL;
}

static bool copy_text(const char *from, char **to)
{
	*to = from ? strdup(from) : NULL;
	return *to || !from;
}

static int remember(struct store *s, const struct store_config *config, struct err *err)
{
	s->weight = config->weight;
	s->thin = config->thin;
	if (copy_text(config->id ? config->id : "", &s->id) && copy_text(config->description, &s->description) &&
	    copy_text(config->directory, &s->directory))
		return 0;
	return err_nomem(err);
}

int store_open(const struct store_config *config, struct store **ret, struct err *err)
{
	const struct store_driver *driver = find_driver(config->type);
	AUTO(store_close_p) struct store *s = NULL;
	int r;

	if (!driver)
		return err_set(err, ERR_INVALID, "There is no store driver '%s'.",
			       config->type ? config->type : "");
	assert(driver->version == STORE_DRIVER_VERSION);
	s = calloc(1, sizeof(*s) + driver->state_size);
	if (!s)
		return err_nomem(err);
	s->driver = driver;
	r = driver->open(s->state, config, err);
	if (r < 0)
		return r;
	r = remember(s, config, err);
	if (r < 0)
		return r;
	*ret = TAKE(s);
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	s->driver->close(s->state);
	free(s->id);
	free(s->description);
	free(s->directory);
	free(s);
}

void store_close_p(struct store **s)
{
	store_close(*s);
}

const char *store_id(const struct store *s)
{
	return s->id;
}

const char *store_type(const struct store *s)
{
	return s->driver->name;
}

const char *store_description(const struct store *s)
{
	return s->description;
}

int64_t store_weight(const struct store *s)
{
	return s->weight;
}

const char *store_directory(const struct store *s)
{
	return s->directory;
}

bool store_is_thin(const struct store *s)
{
	return s->thin;
}

bool store_is_remote(const struct store *s)
{
	return s->driver->stream_open;
}

int store_create(struct store *s, const char *image_id, int64_t size_hint, struct store_writer **ret,
		 struct err *err)
{
	AUTO(store_abort_p) struct store_writer *w = NULL;
	int r;

	if (!uuid_is_canonical(image_id))
		return err_set(err, ERR_INVALID, "The image id is not a UUID in its canonical form.");
	if (store_is_remote(s))
		return err_set(err, ERR_FORBIDDEN, "Nothing can be stored in a store of type %s.", s->driver->name);
	w = calloc(1, sizeof(*w) + s->driver->writer_size);
	if (!w)
		return err_nomem(err);
	w->driver = s->driver;
	r = w->driver->create(s->state, w->state, image_id, size_hint < 0 ? -1 : size_hint, err);
	if (r < 0)
		return r;
	*ret = TAKE(w);
	return 0;
}

static int refuse_failed(const struct store_writer *w, struct err *err)
{
	return err_set(err, w->failed, "The data could not be stored.");
}

int store_write(struct store_writer *w, const void *data, size_t n, struct err *err)
{
	if (w->failed)
		return refuse_failed(w, err);
	w->failed = w->driver->write(w->state, data, n, err);
	return w->failed;
}

int store_commit(struct store_writer **writer, char **ret_url, struct err *err)
{
	AUTO(store_abort_p) struct store_writer *w = TAKE(*writer);

	if (w->failed)
		return refuse_failed(w, err);
	return w->driver->commit(w->state, ret_url, err);
}

void store_abort(struct store_writer *w)
{
	if (!w)
		return;
	w->driver->done(w->state);
	free(w);
}

void store_abort_p(struct store_writer **w)
{
	store_abort(*w);
}

bool store_owns(const struct store *s, const char *url)
{
	return url && s->driver->owns(s->state, url);
}

int store_read(struct store *s, const char *url, struct store_source *ret, struct err *err)
{
	if (!store_owns(s, url))
		return err_set(err, ERR_NOT_FOUND, "The image data is not in this store.");
	if (store_is_remote(s))
		return err_set(err, ERR_UNAVAILABLE, "The image data is no file in this store.");
	return s->driver->read(s->state, url, ret, err);
}

int store_remove(struct store *s, const char *url, struct err *err)
{
	if (!store_owns(s, url))
		return err_set(err, ERR_FORBIDDEN, "The image data is not in this store.");
	return s->driver->remove(s->state, url, err);
}

char *store_url(const struct store *s, const char *image_id)
{
	return uuid_is_canonical(image_id) && !store_is_remote(s) ? s->driver->url(s->state, image_id) : NULL;
}

int store_sweep(struct store *s, unsigned *ret_n, struct err *err)
{
	if (store_is_remote(s)) {
		*ret_n = 0;
		return 0;
	}
	return s->driver->sweep(s->state, ret_n, err);
}

/* -- streams -------------------------------------------------------------------------------------- */

int store_check_url(const struct store *s, const char *url, struct err *err)
{
	return s->driver->check_url(s->state, url, err);
}

int store_stream_open(struct store *s, const char *url, const struct store_part *part, struct store_stream **ret,
		      struct err *err)
{
	AUTO(store_stream_close_p) struct store_stream *stream = NULL;
	int r;

	if (!store_is_remote(s) || !store_owns(s, url))
		return err_set(err, ERR_NOT_FOUND, "The image data is not in this store.");
	stream = calloc(1, sizeof(*stream) + s->driver->stream_size);
	if (!stream)
		return err_nomem(err);
	stream->driver = s->driver;
	stream->part = *part;
	r = s->driver->stream_open(s->state, stream->state, url, &stream->part, err);
	if (r == 0)
		*ret = TAKE(stream);
	return r;
}

ssize_t store_stream_read(struct store_stream *stream, void *data, size_t n, struct err *err)
{
	return stream->driver->stream_read(stream->state, data, n, err);
}

int64_t store_stream_size(const struct store_stream *stream)
{
	return stream->driver->stream_total(stream->state);
}

void store_stream_close(struct store_stream *stream)
{
	if (!stream)
		return;
	stream->driver->stream_close(stream->state);
	free(stream);
}

void store_stream_close_p(struct store_stream **stream)
{
	store_stream_close(*stream);
}

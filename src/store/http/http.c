/* SPDX-License-Identifier: Apache-2.0
 * store/http/http.c -- images that lie on other people's web servers. They are only ever read, and each read
 * goes by the rules for URLs that users gave us (fetch.h). What is at a URL may change at any time: who reads
 * has to compare it with what was there when the location was added. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "fetch/fetch.h"
#include "store/driver.h"

struct http_store {
	struct fetch_options options; /* what is the same for all streams */
	char *ca_file;
};

struct http_stream {
	struct fetch_options options;
	struct fetch *fetch;
};

static int http_open(void *state, const struct store_config *config, struct err *err)
{
	struct http_store *s = state;

	if (!config->fetch)
		return err_set(err, ERR_INVALID,
			       "A store of type http needs the rules by which it may connect.");
	s->options = *config->fetch;
	if (config->ca_file) {
		s->ca_file = strdup(config->ca_file);
		if (!s->ca_file)
			return err_nomem(err);
		s->options.ca_file = s->ca_file;
	}
	s->options.insecure = config->insecure;
	return 0;
}

static void http_close(void *state)
{
	struct http_store *s = state;

	free(s->ca_file);
}

/* Whatever is written like that; what may be connected to is asked elsewhere. */
static bool http_owns(const void *state, const char *url)
{
	return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

/* It is not ours to remove: when its location goes, so does all that we have of it. */
static int http_remove(void *state, const char *url, struct err *err)
{
	return 0;
}

static int http_check_url(const void *state, const char *url, struct err *err)
{
	const struct http_store *s = state;

	return fetch_check_url(s->options.rules, url, err);
}

static int stream_open(void *state, void *stream, const char *url, const struct store_part *part,
		       struct err *err)
{
	const struct http_store *s = state;
	struct http_stream *h = stream;

	h->options = s->options;
	h->options.max_octets = part->max_octets;
	h->options.is_cancelled = part->is_cancelled;
	h->options.cls = part->cls;
	if (part->n < 0)
		return fetch_open(&h->options, url, &h->fetch, err);
	return fetch_open_part(&h->options, url, part->first, part->n, &h->fetch, err);
}

static ssize_t stream_read(void *stream, void *data, size_t n, struct err *err)
{
	struct http_stream *h = stream;

	return fetch_read(h->fetch, data, n, err);
}

static int64_t stream_total(const void *stream)
{
	const struct http_stream *h = stream;

	return fetch_size(h->fetch);
}

static void stream_close(void *stream)
{
	struct http_stream *h = stream;

	fetch_close(h->fetch);
}

const struct store_driver store_driver_http = {
	.version = STORE_DRIVER_VERSION,
	.name = "http",
	.summary = "images on web servers, which are only read",
	.state_size = sizeof(struct http_store),
	.open = http_open,
	.close = http_close,
	.owns = http_owns,
	.remove = http_remove,
	.stream_size = sizeof(struct http_stream),
	.check_url = http_check_url,
	.stream_open = stream_open,
	.stream_read = stream_read,
	.stream_total = stream_total,
	.stream_close = stream_close,
};

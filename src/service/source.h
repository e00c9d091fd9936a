/* SPDX-License-Identifier: Apache-2.0
 * service/source.h -- where the bytes of an import come from, with what the plugins make of them. */
#pragma once

#include "service/run.h"

struct workdir;

struct source {
	struct upload_source stream; /* what the transfer reads */
	struct service *svc;
	const atomic_bool *stop;
	int fd;                /* a file */
	struct far *far;       /* what lies elsewhere, read up to far_at */
	int64_t far_at;
	struct fetch *fetch;   /* the net */
	struct unpack *unpack; /* what comes out of either */
	struct workdir *work;  /* holds what had to become a file */
	struct fetch_options fetch_options;
};

/* Zero it, set svc, stop and fd = -1 (SOURCE_INIT), open one of these, close it in any case. */
#define SOURCE_INIT(service, flag) \
	{.svc = (service), .stop = (flag), .fd = -1, .stream = {.size = -1, .size_hint = -1}}
int source_open_url(struct source *s, const char *url, struct err *err);
int source_open_staged(struct source *s, const char *image_id, struct err *err);
/* @image and @who are borrowed until source_close(). */
int source_open_image(struct source *s, const struct image *image, const struct who *who, struct err *err);

/* The plugins that are configured, in the order of the configuration's table: unpack, convert. They change
 * disk_format and container_format of @image to what the stream is then. Blocks for as long as it takes. */
int source_apply_plugins(struct source *s, struct image *image, const char *task_id, struct arena *a,
			 struct err *err);
void source_close(struct source *s); /* may be called again */

/* SPDX-License-Identifier: Apache-2.0
 * store/store.h -- where the bytes of the images are. Drivers: store/driver.h.
 *
 * (1) Under an image's name there is either nothing or all of its bytes, durable.
 * (2) An object that is not finished is removed by store_abort(), or by store_sweep() at the next
 *     start after a crash.
 *
 * Any number of threads may use a store; one writer belongs to one thread. */
#pragma once

#include <sys/types.h>

#include "base/util.h"
#include "base/uuid.h"

struct conf;
struct err;
struct fetch_options;
struct store;
struct store_stream;
struct store_writer;

/* What an operator configures. Borrowed for the call. */
struct store_config {
	const char *id;        /* backend id; "" for the only, nameless one */
	const char *type;      /* "file" */
	const char *description; /* store_description; NULL: none */
	int64_t weight;        /* where an image is read from if several stores have it: the highest first */
	const char *directory; /* file: filesystem_store_datadir */
	int64_t file_mode;     /* file: the bits that filesystem_store_file_perm names in octal digits
				* (640 in the configuration is 0640 here); 0 or less: 0640 */
	bool thin;             /* file: filesystem_thin_provisioning, zeros take no room */
	const struct fetch_options *fetch; /* http: how and where to connect; borrowed for the life of the store */
	const char *ca_file;   /* http: https_ca_certificates_file; NULL: the system's */
	bool insecure;         /* http: https_insecure */
};

int store_open(const struct store_config *config, struct store **ret, struct err *err);
void store_close(struct store *s);
void store_close_p(struct store **s);
const char *store_id(const struct store *s);
const char *store_type(const struct store *s);
const char *store_description(const struct store *s); /* NULL: none */
int64_t store_weight(const struct store *s);
const char *store_directory(const struct store *s); /* of a store that has one; NULL */
bool store_is_thin(const struct store *s);
/* Its objects are somewhere else, made by others, who may change them: there is nothing to create or to remove,
 * no file to be had (store_read() is ERR_UNAVAILABLE), and what comes is to be checked. See store_stream_open(). */
bool store_is_remote(const struct store *s);

/* Begin an object for @image_id (canonical UUID, checked). @size_hint in octets, -1 unknown: a
 * store that knows it cannot hold so much refuses (ERR_TOO_LARGE). ERR_CONFLICT if an object of that
 * name exists or is being written. */
int store_create(struct store *s, const char *image_id, int64_t size_hint, struct store_writer **ret,
		 struct err *err);
/* ERR_TOO_LARGE when the store is full: "Image storage media is full: There is not enough disk
 * space on the image storage media." */
int store_write(struct store_writer *w, const void *data, size_t n, struct err *err);
/* Make it durable and give it its name. *ret_url (malloc'd) is its location. Takes *w in any case;
 * on failure nothing is left. ERR_CONFLICT if an object of that name exists. After a store_write()
 * that failed it fails too. */
int store_commit(struct store_writer **w, char **ret_url, struct err *err);
void store_abort(struct store_writer *w); /* NULL is fine */
void store_abort_p(struct store_writer **w);

/* An object to send. @fd can be given to sendfile(2). */
struct store_source {
	int fd;            /* owned by whoever holds the source */
	int64_t size;      /* octets there really are */
};
/* ERR_NOT_FOUND if the bytes are gone. */
int store_read(struct store *s, const char *url, struct store_source *ret, struct err *err);
/* @n octets from @first on, of a remote store's object; n -1: all of it. */
struct store_part {
	int64_t first, n;
	int64_t max_octets; /* an object that is larger is ERR_TOO_LARGE */
	bool (*is_cancelled)(void *cls); /* asked at least once a second; then it is ERR_GONE. NULL: never */
	void *cls;
};
/* Of a remote store. Looks at the text alone: ERR_INVALID if nobody may be sent there. */
int store_check_url(const struct store *s, const char *url, struct err *err);
/* Blocks, as does the reading. @part is copied. ERR_NOT_FOUND if @s is not a remote store, or not that of @url. */
int store_stream_open(struct store *s, const char *url, const struct store_part *part, struct store_stream **ret,
		      struct err *err);
/* At most @n octets, 0 at the end of the part. */
ssize_t store_stream_read(struct store_stream *stream, void *data, size_t n, struct err *err);
int64_t store_stream_size(const struct store_stream *stream); /* of the whole object; -1: not known */
void store_stream_close(struct store_stream *stream); /* NULL is fine */
void store_stream_close_p(struct store_stream **stream);

/* Is it a location of this store? Looks at the text alone. */
bool store_owns(const struct store *s, const char *url);

/* Remove the object at @url; an object that is not there counts as removed. ERR_FORBIDDEN if the store
 * does not own @url. Never follows a link and never leaves the store's directory. */
int store_remove(struct store *s, const char *url, struct err *err);

/* The location the object of @image_id has or would have. malloc'd; NULL without memory, or if
 * @image_id is not canonical. */
char *store_url(const struct store *s, const char *image_id);

/* Remove what unfinished writers of this machine left, and never what a living one (of another process,
 * say) still writes. *ret_n: how many. At start. */
int store_sweep(struct store *s, unsigned *ret_n, struct err *err);

/* SPDX-License-Identifier: Apache-2.0
 * service/source.c -- bytes from the net, from the staging area or from another store, unpacked while they
 * pass. Only a conversion needs a file: the stream goes into a private directory (workdir.h) first, and
 * what comes out of qemu-img is read from there. */
#include "service/source.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/places.h"
#include "service/workdir.h"
#include "store/inspect.h"

#define PIECE ((size_t)256 * 1024)

static ssize_t read_fd(void *cls, void *data, size_t n, struct err *err)
{
	struct source *s = cls;
	ssize_t got;

	do
		got = read(s->fd, data, n);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		err_set(err, ERR_UNAVAILABLE, "The data could not be read.");
		return err_detail(err, "read: %s", strerror(errno));
	}
	return got;
}

static ssize_t read_fetch(void *cls, void *data, size_t n, struct err *err)
{
	struct source *s = cls;

	return fetch_read(s->fetch, data, n, err);
}

static ssize_t read_unpack(void *cls, void *data, size_t n, struct err *err)
{
	struct source *s = cls;

	return unpack_read(s->unpack, data, n, err);
}

static void use_file(struct source *s, int64_t size)
{
	s->stream.read = read_fd;
	s->stream.cls = s;
	s->stream.size = size;
}

int source_open_url(struct source *s, const char *url, struct err *err)
{
	int r;

	s->fetch_options = s->svc->config.import.fetch;
	s->fetch_options.max_octets = s->svc->config.max_image_bytes;
	s->fetch_options.cancelled = s->stop;
	r = fetch_open(&s->fetch_options, url, &s->fetch, err);
	if (r < 0)
		return r;
	s->stream.read = read_fetch;
	s->stream.cls = s;
	s->stream.size = fetch_size(s->fetch);
	return 0;
}

int source_open_staged(struct source *s, const char *image_id, struct err *err)
{
	struct store *staging = stores_staging(s->svc->stores);
	AUTO(free_p) char *url = store_url(staging, image_id);
	struct store_source file;
	int r;

	if (!url)
		return err_nomem(err);
	r = store_read(staging, url, &file, err);
	if (r == ERR_NOT_FOUND)
		return err_set(err, r, "The staged data of image %s is gone.", image_id);
	if (r < 0)
		return r;
	s->fd = file.fd;
	use_file(s, file.size);
	return 0;
}

static ssize_t read_far(void *cls, void *data, size_t n, struct err *err)
{
	struct source *s = cls;
	const unsigned char *some;
	size_t got;
	int r = far_read(s->far, s->far_at, &some, &got, err);

	if (r < 0)
		return r;
	got = got < n ? got : n;
	if (got > 0)
		memcpy(data, some, got);
	s->far_at += (int64_t)got;
	return (ssize_t)got;
}

static bool is_stopped(void *cls)
{
	const struct source *s = cls;

	return atomic_load(s->stop);
}

static void use_far(struct source *s, struct far *far, int64_t size)
{
	const struct watch watch = {is_stopped, s};

	far_watch(far, &watch, size);
	s->far = far;
	s->stream.read = read_far;
	s->stream.cls = s;
	s->stream.size = size;
}

int source_open_image(struct source *s, const struct image *image, const struct who *who, struct err *err)
{
	struct image_bytes bytes;
	int r = service_open_bytes(s->svc, image, who, &bytes, err);

	if (r < 0)
		return r;
	if (bytes.far) {
		use_far(s, bytes.far, image->size);
		return 0;
	}
	s->fd = bytes.file.fd;
	use_file(s, bytes.file.size);
	return 0;
}

void source_close(struct source *s)
{
	unpack_free(TAKE(s->unpack)); /* first: it reads the others */
	fetch_close(TAKE(s->fetch));
	far_free(TAKE(s->far));
	close_fd_p(&s->fd);
	s->fd = -1;
	workdir_close(TAKE(s->work));
}

/* -- plugins -------------------------------------------------------------------------------------- */

/* What comes out of @s->unpack is read from what the stream was: one closure of its own. */
struct packed {
	struct upload_source stream;
};

static ssize_t read_packed(void *cls, void *data, size_t n, struct err *err)
{
	struct packed *p = cls;

	return p->stream.read(p->stream.cls, data, n, err);
}

static int decompress(struct source *s, struct image *image, struct arena *a, struct err *err)
{
	struct packed *packed = arena_alloc(a, sizeof(*packed));
	int r;

	if (!packed)
		return err_nomem(err);
	packed->stream = s->stream;
	r = unpack_new(read_packed, packed, s->svc->config.max_image_bytes, &s->unpack, err);
	if (r < 0)
		return r;
	s->stream.read = read_unpack;
	s->stream.cls = s;
	s->stream.size = s->stream.size_hint = -1;
	image->container_format = "bare";
	return 0;
}

static int write_all(int fd, const unsigned char *data, size_t n, struct err *err)
{
	while (n > 0) {
		ssize_t put = write(fd, data, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0) {
			err_set(err, errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? ERR_TOO_LARGE : ERR_UNAVAILABLE,
				"The data could not be written down for its conversion.");
			return err_detail(err, "write: %s", strerror(errno));
		}
		data += put;
		n -= (size_t)put;
	}
	return 0;
}

static int check_spooled(const struct source *s, int64_t size, struct err *err)
{
	if (size > s->svc->config.max_image_bytes)
		return err_set(err, ERR_TOO_LARGE, "The provided image is too large: more than %lld octets.",
			       (long long)s->svc->config.max_image_bytes);
	if (atomic_load(s->stop))
		return err_set(err, ERR_GONE, "The import was stopped.");
	return 0;
}

/* The whole stream into the file of the work directory, inspected on its way. */
static int spool(struct source *s, struct inspect *i, int fd, struct arena *a, struct err *err)
{
	unsigned char *buffer = arena_alloc(a, PIECE);
	struct inspect_result result;
	int64_t size = 0;
	ssize_t n;

	if (!buffer)
		return err_nomem(err);
	while ((n = s->stream.read(s->stream.cls, buffer, PIECE, err)) > 0) {
		int r = check_spooled(s, size += n, err);

		if (r == 0)
			r = inspect_update(i, buffer, (size_t)n, err);
		if (r == 0)
			r = write_all(fd, buffer, (size_t)n, err);
		if (r < 0)
			return r;
	}
	return n < 0 ? (int)n : inspect_finish(i, &result, err);
}

static int read_result(struct source *s, const char *name, struct err *err)
{
	struct stat st;
	int fd = workdir_open(s->work, name, err);

	if (fd < 0)
		return fd;
	close_fd_p(&s->fd);
	s->fd = fd;
	if (fstat(fd, &st) < 0)
		return err_set(err, ERR_INTERNAL, "fstat: %s", strerror(errno));
	use_file(s, st.st_size);
	return 0;
}

/* An image that is in the wanted format already is checked like any other, and kept. */
static int convert_spooled(struct source *s, struct image *image, struct err *err)
{
	struct convert_options o = s->svc->config.import.conversion;
	const char *target = s->svc->config.import.convert_to;
	int dir = workdir_fd(s->work);
	int64_t virtual_size;
	int r;

	o.max_octets = s->svc->config.max_image_bytes;
	o.cancelled = s->stop;
	r = convert_look(&o, dir, WORKDIR_INPUT, image->disk_format, &virtual_size, err);
	if (r < 0)
		return r;
	if (strcmp(image->disk_format, target) == 0)
		return read_result(s, WORKDIR_INPUT, err);
	r = convert_run(&o, dir, WORKDIR_INPUT, image->disk_format, WORKDIR_OUTPUT, target, err);
	if (r < 0)
		return r;
	workdir_remove(s->work, WORKDIR_INPUT);
	image->disk_format = target;
	image->container_format = "bare";
	return read_result(s, WORKDIR_OUTPUT, err);
}

/* qemu-img is shown nothing that is not what it says, whatever the rules let pass elsewhere. */
static int convert(struct source *s, struct image *image, const char *task_id, struct arena *a, struct err *err)
{
	const struct inspect_rules rules = {
		.must_match = true, .gpt_nonfatal = true, .vmdk_types = s->svc->config.inspect.vmdk_types};
	AUTO(inspect_free_p) struct inspect *i = NULL;
	AUTO(close_fd_p) int fd = -1;
	int r;

	if (!convert_knows(image->disk_format))
		return err_set(err, ERR_INVALID, "An image of the format %.16s cannot be converted.", image->disk_format);
	r = inspect_new(&rules, image->disk_format, image->container_format, &i, err);
	if (r == 0)
		r = workdir_new(s->svc->config.import.work_dir, task_id, &s->work, err);
	if (r < 0)
		return r;
	fd = workdir_create(s->work, WORKDIR_INPUT, err);
	if (fd < 0)
		return fd;
	r = spool(s, i, fd, a, err);
	return r < 0 ? r : convert_spooled(s, image, err);
}

int source_apply_plugins(struct source *s, struct image *image, const char *task_id, struct arena *a, struct err *err)
{
	const struct import_config *c = &s->svc->config.import;
	int r = 0;

	if (!image->disk_format || !image->container_format)
		return err_set(err, ERR_CONFLICT, "Image %s needs a disk_format and a container_format before data.", image->id);
	if (c->decompress && strcmp(image->container_format, "compressed") == 0)
		r = decompress(s, image, a, err);
	if (r == 0 && c->convert && strcmp(image->container_format, "bare") == 0) /* else it is no disk as it is */
		r = convert(s, image, task_id, a, err);
	return r;
}

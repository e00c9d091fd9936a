/* SPDX-License-Identifier: Apache-2.0
 * convert/qemu.c -- qemu-img, shown only images that head.c has passed, and believed only as far as it
 * agrees with what we know. Its file names are ours, relative and without a colon, and the format is
 * always said, so that nothing is probed and no protocol is found in a name. */
#include "convert.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "child.h"
#include "head.h"

#define LOOK_CPU_SECONDS 20

static struct child_limits limits_of(const struct convert_options *o)
{
	return (struct child_limits){o->cpu_seconds, o->memory_octets, o->max_octets, o->cancelled};
}

/* Only looks. */
static struct child_limits small_limits(const struct convert_options *o)
{
	struct child_limits l = limits_of(o);

	l.cpu_seconds = l.cpu_seconds < LOOK_CPU_SECONDS ? l.cpu_seconds : LOOK_CPU_SECONDS;
	l.file_octets = 0;
	return l;
}

int convert_check(const struct convert_options *o, struct err *err)
{
	const char *const argv[] = {o->qemu_img, "--version", NULL};
	const struct child_limits l = small_limits(o);
	AUTO(close_fd_p) int here = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO(buf_done) struct buf out = {0};

	if (here >= 0 && child_run(argv, here, &l, &out, NULL) == 0 && strncmp(buf_cstr(&out), "qemu-img ", 9) == 0)
		return 0;
	return err_set(err, ERR_INVALID, "[glint] qemu_img: %.200s is not there or is not qemu-img", o->qemu_img);
}

/* -- looking -------------------------------------------------------------------------------------- */

static int read_at(int fd, unsigned char *data, size_t n, off_t at, size_t *ret_n)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = pread(fd, data + have, n - have, at + (off_t)have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	*ret_n = have;
	return 0;
}

static int look_inside(const struct convert_options *o, int fd, const char *format, struct arena *a,
		       const char **ret_driver, struct err *err)
{
	unsigned char *octets = arena_alloc(a, HEAD_OCTETS + TAIL_OCTETS);
	struct head h = {.octets = octets};
	struct stat st;
	size_t n_tail = 0;

	if (!octets)
		return err_nomem(err);
	if (fstat(fd, &st) < 0 || read_at(fd, octets, HEAD_OCTETS, 0, &h.n) < 0)
		return err_set(err, ERR_UNAVAILABLE, "The image could not be read for its conversion.");
	h.size = st.st_size;
	if (h.size >= (int64_t)TAIL_OCTETS) {
		h.tail = octets + HEAD_OCTETS;
		if (read_at(fd, octets + HEAD_OCTETS, TAIL_OCTETS, h.size - (off_t)TAIL_OCTETS, &n_tail) < 0 ||
		    n_tail != TAIL_OCTETS)
			return err_set(err, ERR_UNAVAILABLE, "The image could not be read for its conversion.");
	}
	return head_check(&h, format, o->vmdk_types, ret_driver, err);
}

static bool names_another(const json_t *extents, const char *name)
{
	const json_t *extent;
	size_t i;

	json_array_foreach(extents, i, extent) {
		const char *filename = json_string_value(json_object_get(extent, "filename"));

		if (!filename || strcmp(filename, name) != 0)
			return true;
	}
	return false;
}

/* What our own look has refused already, said by the program that would follow it. */
static bool reaches_outside(const json_t *info, const char *name)
{
	const json_t *data = json_object_get(json_object_get(info, "format-specific"), "data");

	return json_object_get(info, "backing-filename") || json_object_get(info, "full-backing-filename") ||
	       json_object_get(data, "data-file") || names_another(json_object_get(data, "extents"), name);
}

static int judge_info(const json_t *info, const char *name, const char *driver, struct convert_info *ret,
		      struct err *err)
{
	const char *format = json_string_value(json_object_get(info, "format"));
	const json_t *size = json_object_get(info, "virtual-size");

	if (!format || strcmp(format, driver) != 0 || !json_is_integer(size) || json_integer_value(size) < 0)
		return err_set(err, ERR_MEDIA_TYPE, "The image is not what it says that it is.");
	if (reaches_outside(info, name))
		return err_set(err, ERR_MEDIA_TYPE, "The image is refused: it has its data in other files.");
	ret->virtual_size = json_integer_value(size);
	return 0;
}

static int check_size(const struct convert_options *o, int64_t size, struct err *err)
{
	if (size > o->max_octets)
		return err_set(err, ERR_TOO_LARGE, "The disk in the image is too large: more than %lld octets.",
			       (long long)o->max_octets);
	return 0;
}

static int ask_qemu(const struct convert_options *o, int dir_fd, const char *name, const char *driver,
		    struct convert_info *ret, struct err *err)
{
	const char *const argv[] = {o->qemu_img, "info", "-f", driver, "--output=json", name, NULL};
	const struct child_limits l = small_limits(o);
	AUTO(buf_done) struct buf out = {0};
	json_t *info;
	int r = child_run(argv, dir_fd, &l, &out, err);

	if (r < 0)
		return r;
	info = json_loads(buf_cstr(&out), JSON_REJECT_DUPLICATES, NULL);
	r = judge_info(info, name, driver, ret, err);
	json_decref(info);
	return r;
}

int convert_inspect(const struct convert_options *o, int dir_fd, const char *name, const char *format, struct arena *a,
		    struct convert_info *ret, struct err *err)
{
	AUTO(close_fd_p) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	const char *driver;
	int r;

	if (fd < 0)
		return err_set(err, ERR_UNAVAILABLE, "The image could not be read for its conversion.");
	r = look_inside(o, fd, format, a, &driver, err);
	if (r < 0)
		return r;
	ret->format = driver;
	r = ask_qemu(o, dir_fd, name, driver, ret, err);
	return r < 0 ? r : check_size(o, ret->virtual_size, err);
}

/* -- converting ----------------------------------------------------------------------------------- */

/* Glance's word for a format in qemu-img's. */
static const char *driver_of(const char *format)
{
	return strcmp(format, "vhd") == 0 ? "vpc" : format;
}

int convert_run(const struct convert_options *o, int dir_fd, const char *from, const char *format, const char *to,
		const char *target, struct err *err)
{
	const char *const argv[] = {o->qemu_img, "convert", "-f", driver_of(format), "-O", driver_of(target),
				    from,        to,        NULL};
	const struct child_limits l = limits_of(o);
	AUTO(buf_done) struct buf out = {0};
	int r = child_run(argv, dir_fd, &l, &out, err);

	if (r < 0)
		(void)unlinkat(dir_fd, to, 0);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * convert/qemu.c -- qemu-img, shown only images that were inspected before, and believed only as far as it
 * agrees with what we know. Its file names are ours, relative and without a colon, and the format is
 * always said, so that nothing is probed and no protocol is found in a name. */
#include "convert.h"

#include <assert.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "child.h"

#define LOOK_CPU_SECONDS 20

/* Glance's word for a format, and qemu-img's. */
static const struct {
	const char *format, *driver;
} drivers[] = {{"raw", "raw"}, {"qcow2", "qcow2"}, {"vmdk", "vmdk"}, {"vhd", "vpc"}, {"vhdx", "vhdx"}, {"vdi", "vdi"}};

/* NULL: it does not know it. */
static const char *driver_of(const char *format)
{
	for (size_t i = 0; i < ARRAY_LEN(drivers); i++)
		if (strcmp(drivers[i].format, format) == 0)
			return drivers[i].driver;
	return NULL;
}

bool convert_knows(const char *format)
{
	return driver_of(format) != NULL;
}

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

/* What an inspection has refused already, said by the program that would follow it. */
static bool reaches_outside(const json_t *info, const char *name)
{
	const json_t *data = json_object_get(json_object_get(info, "format-specific"), "data");

	return json_object_get(info, "backing-filename") || json_object_get(info, "full-backing-filename") ||
	       json_object_get(data, "data-file") || names_another(json_object_get(data, "extents"), name);
}

static int judge_info(const json_t *info, const char *name, const char *driver, int64_t *ret_virtual_size,
		      struct err *err)
{
	const char *format = json_string_value(json_object_get(info, "format"));
	const json_t *size = json_object_get(info, "virtual-size");

	if (!format || strcmp(format, driver) != 0 || !json_is_integer(size) || json_integer_value(size) < 0)
		return err_set(err, ERR_MEDIA_TYPE, "The image is not what it says that it is.");
	if (reaches_outside(info, name))
		return err_set(err, ERR_MEDIA_TYPE, "The image is refused: it has its data in other files.");
	*ret_virtual_size = json_integer_value(size);
	return 0;
}

static int check_size(const struct convert_options *o, int64_t size, struct err *err)
{
	if (size > o->max_octets)
		return err_set(err, ERR_TOO_LARGE, "The disk in the image is too large: more than %lld octets.",
			       (long long)o->max_octets);
	return 0;
}

int convert_look(const struct convert_options *o, int dir_fd, const char *name, const char *format,
		 int64_t *ret_virtual_size, struct err *err)
{
	const char *driver = driver_of(format);
	const char *const argv[] = {o->qemu_img, "info", "-f", driver, "--output=json", name, NULL};
	const struct child_limits l = small_limits(o);
	AUTO(buf_done) struct buf out = {0};
	json_t *info;
	int r;

	assert(driver);
	r = child_run(argv, dir_fd, &l, &out, err);
	if (r < 0)
		return r;
	info = json_loads(buf_cstr(&out), JSON_REJECT_DUPLICATES, NULL);
	r = judge_info(info, name, driver, ret_virtual_size, err);
	json_decref(info);
	return r < 0 ? r : check_size(o, *ret_virtual_size, err);
}

/* -- converting ----------------------------------------------------------------------------------- */

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

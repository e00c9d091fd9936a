/* SPDX-License-Identifier: Apache-2.0
 * convert/convert_test.c -- archives and images as they should be and as they should not, and a program in
 * the cage. Images are made by qemu-img, where there is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "child.h"
#include "convert.h"

#define MIB (1 << 20)

static const struct convert_options options = {
	.qemu_img = "qemu-img",
	.cpu_seconds = 60,
	.memory_octets = INT64_C(1) << 30,
	.max_octets = 100 * MIB,
};

static char dir[64];
static int dir_fd;
static bool has_qemu;

static void sh(const char *format, const char *word)
{
	char command[1024];
	int n = snprintf(command, sizeof(command), "cd %s && ", dir);

	(void)snprintf(command + n, sizeof(command) - (size_t)n, format, word);
	if (system(command) != 0)
		fail_msg("%s", command);
}

static int make_directory(void **state)
{
	struct err err = {0};

	strcpy(dir, "/tmp/glint-convert-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	has_qemu = convert_check(&options, &err) == 0;
	return dir_fd < 0 ? -1 : 0;
}

static int remove_directory(void **state)
{
	char command[128];

	close(dir_fd);
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) == 0 ? 0 : -1;
}

/* -- unpacking ------------------------------------------------------------------------------------ */

/* A source that gives what it has in small, odd pieces, and then fails if told so. */
struct packed {
	unsigned char data[2 * MIB];
	size_t n, at, piece;
	int ending;
};

static struct packed packed;

static ssize_t give(void *cls, void *data, size_t n, struct err *err)
{
	struct packed *p = cls;
	size_t left = p->n - p->at;

	if (left == 0)
		return p->ending ? err_set(err, p->ending, "The source broke.") : 0;
	n = n < p->piece ? n : p->piece;
	n = n < left ? n : left;
	memcpy(data, p->data + p->at, n);
	p->at += n;
	return (ssize_t)n;
}

static unsigned char pattern_at(size_t i)
{
	return (unsigned char)(i * 7 + i / 1000);
}

static void gzip(size_t n, bool zeros)
{
	z_stream z = {0};
	static unsigned char plain[MIB];

	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = zeros ? 0 : pattern_at(i);
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_out = packed.data;
	z.avail_out = sizeof(packed.data);
	do {
		size_t piece = n < sizeof(plain) ? n : sizeof(plain);

		z.next_in = plain;
		z.avail_in = (uInt)piece;
		n -= piece;
		assert_int_not_equal(deflate(&z, n ? Z_NO_FLUSH : Z_FINISH), Z_STREAM_ERROR);
	} while (n > 0);
	packed.n = z.total_out;
	deflateEnd(&z);
}

struct member {
	const char *name, *target;
	unsigned type;
	size_t n;
};

static void zip(const struct member *members, size_t n, const char *zip_options)
{
	struct archive *a = archive_write_new();
	struct archive_entry *e;
	char plain[1000];

	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (char)pattern_at(i);
	archive_write_set_format_zip(a);
	if (zip_options)
		assert_int_equal(archive_write_set_options(a, zip_options), ARCHIVE_OK);
	assert_int_equal(archive_write_open_memory(a, packed.data, sizeof(packed.data), &packed.n), ARCHIVE_OK);
	for (size_t i = 0; i < n; i++) {
		e = archive_entry_new();
		archive_entry_set_pathname(e, members[i].name);
		archive_entry_set_filetype(e, members[i].type ? members[i].type : AE_IFREG);
		archive_entry_set_perm(e, 0777);
		if (members[i].target)
			archive_entry_set_symlink(e, members[i].target);
		else
			archive_entry_set_size(e, (la_int64_t)members[i].n);
		assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
		assert_int_equal(archive_write_data(a, plain, members[i].n), members[i].n);
		archive_entry_free(e);
	}
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
}

static unsigned char first[4]; /* octets that came out */

/* How much comes out, or an ERR_*. */
static int64_t unpack(int64_t max, struct err *err)
{
	AUTO(unpack_free_p) struct unpack *u = NULL;
	unsigned char data[5000];
	int64_t sum = 0;
	ssize_t n;
	int r;

	packed.at = 0;
	*err = (struct err){0};
	r = unpack_new(give, &packed, max, &u, err);
	if (r < 0)
		return r;
	while ((n = unpack_read(u, data, sizeof(data), err)) > 0) {
		for (ssize_t i = 0; i < n && sum + i < (int64_t)sizeof(first); i++)
			first[sum + i] = data[i];
		sum += n;
	}
	return n < 0 ? n : sum;
}

static void test_gzip(void **state)
{
	struct err err;

	packed.ending = 0;
	for (packed.piece = 1; packed.piece < 300000; packed.piece = packed.piece * 5 + 1) {
		gzip(300001, false);
		assert_int_equal(unpack(MIB, &err), 300001);
		assert_true(first[1] == pattern_at(1) && first[3] == pattern_at(3));
	}
	gzip(0, false);
	assert_int_equal(unpack(MIB, &err), 0);
	gzip(5000, false);
	for (size_t whole = packed.n, n = 3; n < whole; n += n < 40 || n + 40 > whole ? 1 : 97) { /* cut anywhere */
		packed.n = n;
		assert_int_equal(unpack(MIB, &err), ERR_INVALID);
	}
	gzip(5000, false);
	packed.data[packed.n - 6] ^= 1; /* the sum */
	assert_int_equal(unpack(MIB, &err), ERR_INVALID);
	gzip(5000, false);
	packed.data[packed.n++] = 'x'; /* something behind it */
	assert_int_equal(unpack(MIB, &err), ERR_INVALID);
}

static void test_bounds(void **state)
{
	struct err err;

	packed.piece = 100000;
	gzip(64 * MIB, true);
	assert_true(packed.n < MIB / 8);
	assert_int_equal(unpack(MIB, &err), ERR_TOO_LARGE);
	assert_int_equal(unpack(64 * MIB - 1, &err), ERR_TOO_LARGE);
	assert_int_equal(unpack(64 * MIB, &err), 64 * MIB);
}

static void test_zip(void **state)
{
	static const struct member one = {.name = "disk.raw", .n = 1000}, up = {.name = "../../etc/passwd", .n = 1000};
	static const struct member absolute = {.name = "/etc/passwd", .n = 1000};
	static const struct member link = {.name = "disk", .target = "/etc/passwd", .type = AE_IFLNK};
	static const struct member folder = {.name = "folder/", .type = AE_IFDIR};
	const struct member two[] = {one, up};
	struct err err;

	for (packed.piece = 1; packed.piece < 3000; packed.piece = packed.piece * 5 + 1) {
		zip(&one, 1, NULL);
		assert_int_equal(unpack(MIB, &err), 1000);
		zip(&one, 1, "zip:compression=store");
		assert_int_equal(unpack(MIB, &err), 1000);
	}
	zip(&up, 1, NULL); /* names mean nothing: harmless */
	assert_int_equal(unpack(MIB, &err), 1000);
	zip(&absolute, 1, NULL);
	assert_int_equal(unpack(MIB, &err), 1000);
	assert_int_equal(unpack(999, &err), ERR_TOO_LARGE);
	zip(two, 2, NULL);
	assert_int_equal(unpack(MIB, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "more than one"));
	zip(&link, 1, NULL); /* its text, and nothing is followed: what it is stands behind the data */
	assert_int_equal(unpack(MIB, &err), strlen("/etc/passwd"));
	assert_memory_equal(first, "/etc", 4);
	zip(&folder, 1, NULL);
	assert_int_equal(unpack(MIB, &err), ERR_INVALID);
	zip(&one, 1, NULL);
	packed.n = 40;
	assert_int_equal(unpack(MIB, &err), ERR_INVALID);
}

static void test_neither(void **state)
{
	struct err err;

	packed.piece = 1000;
	memset(packed.data, 'x', 1000);
	packed.n = 1000;
	assert_int_equal(unpack(MIB, &err), ERR_MEDIA_TYPE);
	packed.n = 0;
	assert_int_equal(unpack(MIB, &err), ERR_MEDIA_TYPE);
	memcpy(packed.data, "7z\xbc\xaf\x27\x1c", 6);
	packed.n = 1000;
	assert_int_equal(unpack(MIB, &err), ERR_MEDIA_TYPE);
}

static void test_source_breaks(void **state)
{
	struct err err;

	packed.piece = 100;
	gzip(5000, false);
	packed.n -= 20;
	packed.ending = ERR_TIMEOUT;
	assert_int_equal(unpack(MIB, &err), ERR_TIMEOUT);
	assert_string_equal(err.text, "The source broke.");
	zip(&(struct member){.name = "x", .n = 1000}, 1, NULL);
	packed.n = 50;
	assert_int_equal(unpack(MIB, &err), ERR_TIMEOUT);
	packed.n = 2;
	assert_int_equal(unpack(MIB, &err), ERR_TIMEOUT);
	packed.ending = 0;
}

/* -- qemu-img ------------------------------------------------------------------------------------- */

static int look(const char *name, const char *format, int64_t *virtual_size)
{
	struct err err = {0};

	return convert_look(&options, dir_fd, name, format, virtual_size, &err);
}

static void test_good_images(void **state)
{
	static const struct {
		const char *qemu, *glance;
	} kinds[] = {{"qcow2", "qcow2"}, {"vmdk", "vmdk"}, {"vmdk -o subformat=streamOptimized", "vmdk"},
		     {"vpc", "vhd"},	 {"vpc -o subformat=fixed", "vhd"}, {"vhdx", "vhdx"}, {"vdi", "vdi"},
		     {"raw", "raw"}};
	int64_t size;
	struct err err = {0};

	if (!has_qemu)
		skip();
	sh("head -c 3000000 /dev/urandom > %s && truncate -s 4M disk", "disk");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		sh("qemu-img convert -f raw -O %s disk image", kinds[i].qemu);
		assert_int_equal(look("image", kinds[i].glance, &size), 0);
		assert_true(size >= 4 * MIB && size < 5 * MIB);
		assert_int_equal(convert_run(&options, dir_fd, "image", kinds[i].glance, "out", "raw", &err), 0);
		sh("cmp -n 4194304 disk %s && rm image out", "out");
	}
}

static void test_images_that_point_outside(void **state)
{
	int64_t size;

	if (!has_qemu)
		skip();
	sh("truncate -s 4M %s", "raw");
	sh("qemu-img create -q -f qcow2 -F raw -b raw %s", "backed");
	assert_int_equal(look("backed", "qcow2", &size), ERR_MEDIA_TYPE);
	sh("qemu-img create -q -u -f qcow2 -F raw -b 'json:{\"driver\": \"file\", \"filename\": \"/etc/passwd\"}' %s 4M",
	   "json");
	assert_int_equal(look("json", "qcow2", &size), ERR_MEDIA_TYPE);
	sh("qemu-img create -q -f qcow2 -o data_file=elsewhere,data_file_raw=on %s 4M", "external");
	assert_int_equal(look("external", "qcow2", &size), ERR_MEDIA_TYPE);
	sh("qemu-img create -q -f vmdk -o subformat=monolithicFlat %s 4M", "flat");
	assert_int_equal(look("flat", "vmdk", &size), ERR_MEDIA_TYPE);
	sh("qemu-img create -q -f vmdk -b sparse -F vmdk %s 2>/dev/null || { qemu-img create -q -f vmdk sparse 4M && "
	   "qemu-img create -q -f vmdk -b sparse -F vmdk child; }",
	   "child");
	assert_int_equal(look("sparse", "vmdk", &size), 0);
	assert_int_equal(look("child", "vmdk", &size), ERR_MEDIA_TYPE);
}

static void test_images_that_are_something_else(void **state)
{
	int64_t size;

	if (!has_qemu)
		skip();
	sh("qemu-img create -q -f qcow2 %s 4M", "cow");
	sh("truncate -s 4M %s", "zeros");
	assert_int_equal(look("cow", "qcow2", &size), 0);
	assert_int_equal(look("cow", "vmdk", &size), ERR_INVALID);
	assert_int_equal(look("zeros", "qcow2", &size), ERR_INVALID);
	assert_int_equal(look("zeros", "vhd", &size), ERR_INVALID);
	assert_false(convert_knows("iso") || convert_knows("qed") || convert_knows("ploop"));
	assert_int_equal(look("nothing", "raw", &size), ERR_INVALID);
	sh("truncate -s 101M %s", "zeros");
	assert_int_equal(look("zeros", "raw", &size), ERR_TOO_LARGE);
}

/* -- the cage ------------------------------------------------------------------------------------- */

static int cage(const char *script, const struct child_limits *limits, struct buf *out, struct err *err)
{
	const char *const argv[] = {"/bin/sh", "-c", script, NULL};

	*err = (struct err){0};
	return child_run(argv, dir_fd, limits, out, err);
}

static const struct child_limits usual = {5, INT64_C(1) << 30, MIB, NULL};

static void test_cage_is_bare(void **state)
{
	struct buf out = {0};
	struct err err;

	(void)setenv("GLINT_CANARY", "S3CR3T", 1);
	assert_int_equal(cage("env; pwd; ls /proc/self/fd; cat", &usual, &out, &err), 0);
	assert_null(strstr(buf_cstr(&out), "S3CR3T"));
	assert_non_null(strstr(buf_cstr(&out), dir));
	assert_non_null(strstr(buf_cstr(&out), "\n0\n1\n2\n3\n"));
	assert_null(strstr(buf_cstr(&out), "\n4\n"));
	buf_done(&out);
	assert_int_equal(cage("exit 3", &usual, &out, &err), ERR_INVALID);
	assert_int_equal(cage("kill -9 $$", &usual, &out, &err), ERR_INVALID);
	assert_int_equal(cage("echo why >&2; exit 1", &usual, &out, &err), ERR_INVALID);
	assert_non_null(strstr(err.detail, "why"));
	buf_done(&out);
}

static void test_cage_has_limits(void **state)
{
	const struct child_limits tight = {1, 64 * MIB, 100000, NULL};
	int64_t began = clock_mono_us();
	struct buf out = {0};
	struct err err;

	assert_int_equal(cage("while :; do :; done", &tight, &out, &err), ERR_INVALID);
	assert_true(clock_mono_us() - began < 5 * 1000000);
	assert_int_equal(cage("head -c 200000 /dev/zero > big", &tight, &out, &err), ERR_INVALID);
	assert_int_equal(cage("head -c 90000 /dev/zero > fine", &tight, &out, &err), 0);
	assert_int_equal(cage("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}", &tight, &out, &err), ERR_INVALID);
	buf_done(&out);
	assert_int_equal(cage("head -c 10000000 /dev/zero", &usual, &out, &err), ERR_INVALID);
	assert_true(out.len <= CHILD_OUTPUT_MAX);
	buf_done(&out);
}

static void test_cage_has_no_network(void **state)
{
	const char *const argv[] = {"/usr/bin/python3", "-c",
				    "import socket\n"
				    "socket.socket(socket.AF_UNIX)\n"
				    "for f in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):\n"
				    "    try: socket.socket(f, socket.SOCK_DGRAM); print('open', f)\n"
				    "    except OSError: print('shut')\n",
				    NULL};
	struct buf out = {0};
	struct err err = {0};

	if (access(argv[0], X_OK) < 0)
		skip();
	assert_int_equal(child_run(argv, dir_fd, &usual, &out, &err), 0);
	assert_string_equal(buf_cstr(&out), "shut\nshut\nshut\nshut\n");
	buf_done(&out);
}

static void test_cage_can_be_ended(void **state)
{
	atomic_bool cancelled = true;
	const struct child_limits limits = {60, INT64_C(1) << 30, MIB, &cancelled};
	int64_t began = clock_mono_us();
	struct buf out = {0};
	struct err err;

	assert_int_equal(cage("sleep 60 & sleep 60", &limits, &out, &err), ERR_GONE);
	assert_true(clock_mono_us() - began < 5 * 1000000);
	assert_int_equal(cage("exec >&- 2>&-; sleep 60", &limits, &out, &err), ERR_GONE);
	assert_true(clock_mono_us() - began < 10 * 1000000);
}

static void test_no_such_program(void **state)
{
	struct convert_options o = options;
	struct err err = {0};

	o.qemu_img = "/nonexistent/qemu-img";
	assert_int_equal(convert_check(&o, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "/nonexistent/qemu-img"));
	o.qemu_img = "/bin/true";
	assert_int_equal(convert_check(&o, &err), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gzip),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_zip),
		cmocka_unit_test(test_neither),
		cmocka_unit_test(test_source_breaks),
		cmocka_unit_test(test_good_images),
		cmocka_unit_test(test_images_that_point_outside),
		cmocka_unit_test(test_images_that_are_something_else),
		cmocka_unit_test(test_cage_is_bare),
		cmocka_unit_test(test_cage_has_limits),
		cmocka_unit_test(test_cage_has_no_network),
		cmocka_unit_test(test_cage_can_be_ended),
		cmocka_unit_test(test_no_such_program),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

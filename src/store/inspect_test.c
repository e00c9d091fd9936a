/* SPDX-License-Identifier: Apache-2.0
 * store/inspect_test.c -- images as qemu-img and others make them, as no tool makes them, and as what they
 * are not; all of them cut into pieces in many ways, which must not matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/err.h"
#include "store/inspect.h"
#include "store/inspect/format.h"

#define MIB ((size_t)1 << 20)

static const char *const types[] = {"streamOptimized", "monolithicSparse", NULL};
static const struct inspect_rules strict = {.must_match = true, .gpt_nonfatal = true, .vmdk_types = types};
static const struct inspect_rules stricter = {.must_match = true, .vmdk_types = types};
static const struct inspect_rules lax = {.vmdk_types = types};

static char dir[64];
static bool has_qemu;

static int make_directory(void **state)
{
	strcpy(dir, "/tmp/glint-inspect-XXXXXX");
	has_qemu = system("qemu-img --version >/dev/null 2>&1") == 0;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_directory(void **state)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) == 0 ? 0 : -1;
}

static void sh(const char *command)
{
	char line[1024];

	(void)snprintf(line, sizeof(line), "cd %s && { %s; } >/dev/null 2>err || { cat err >&2; false; }",
		       dir, command);
	if (system(line) != 0)
		fail_msg("%s", line);
}

/* -- streams -------------------------------------------------------------------------------------- */

struct stream {
	unsigned char *octets;
	size_t n;
};

static void stream_free(struct stream *s)
{
	free(s->octets);
}

static struct stream stream_new(size_t n)
{
	struct stream s = {calloc(1, n > 0 ? n : 1), n};

	assert_non_null(s.octets);
	return s;
}

static struct stream load(const char *name)
{
	char path[128];
	struct stream s;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	s = stream_new((size_t)ftell(f));
	rewind(f);
	assert_int_equal(fread(s.octets, 1, s.n, f), s.n);
	(void)fclose(f);
	return s;
}

struct verdict {
	int r;
	struct inspect_result result;
	struct err err;
};

/* The first piece has @first octets, the others @piece. */
static struct verdict inspect_cut(const struct inspect_rules *rules, const struct stream *s,
				  const char *format, const char *container, size_t first, size_t piece)
{
	AUTO(inspect_free_p) struct inspect *i = NULL;
	struct verdict v = {.result = {.virtual_size = -2}};
	size_t n = first;

	assert_int_equal(inspect_new(rules, format, container, &i, &v.err), 0);
	for (size_t at = 0; at < s->n && v.r == 0; at += n, n = piece) {
		n = n < s->n - at ? n : s->n - at;
		v.r = inspect_update(i, s->octets + at, n, &v.err);
	}
	if (v.r == 0)
		v.r = inspect_finish(i, &v.result, &v.err);
	return v;
}

static void assert_same(const struct verdict *a, const struct verdict *b)
{
	assert_int_equal(a->r, b->r);
	assert_string_equal(a->err.text, b->err.text);
	assert_int_equal(a->result.virtual_size, b->result.virtual_size);
	if (a->r == 0)
		assert_string_equal(a->result.format, b->result.format);
	assert_string_equal(a->result.remark, b->result.remark);
}

/* In one piece, and in many others: the verdict is one. */
static struct verdict inspect_by(const struct inspect_rules *rules, const struct stream *s,
				 const char *format, const char *container)
{
	static const size_t pieces[] = {4096, 65536, 65537, 262144, 997};
	struct verdict whole = inspect_cut(rules, s, format, container, s->n, s->n);

	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		struct verdict cut = inspect_cut(rules, s, format, container, i, pieces[i]);

		assert_same(&cut, &whole);
	}
	return whole;
}

static struct verdict inspect(const struct stream *s, const char *format)
{
	return inspect_by(&strict, s, format, "bare");
}

static void assert_taken(const struct stream *s, const char *format, const char *as, int64_t virtual_size)
{
	struct verdict v = inspect(s, format);

	if (v.r < 0)
		fail_msg("%s: %s", format, v.err.text);
	assert_string_equal(v.result.format, as);
	assert_int_equal(v.result.virtual_size, virtual_size);
	assert_string_equal(v.result.remark, "");
}

/* Whatever it is put into. */
static void assert_refused(const struct stream *s, const char *format, const char *why)
{
	static const char *const containers[] = {"bare", "ovf", "ova", "compressed", "docker"};

	for (size_t i = 0; i < ARRAY_LEN(containers); i++) {
		struct verdict v = inspect_by(&strict, s, format, containers[i]);

		assert_int_equal(v.r, ERR_MEDIA_TYPE);
		if (!strstr(v.err.text, why))
			fail_msg("%s in %s: %s", format, containers[i], v.err.text);
	}
}

static const char *const declarable[] = {"ami", "ari", "aki",   "vhd",  "vhdx", "vmdk", "raw",    "qcow2",
					 "vdi", "iso", "ploop", "luks", "gpt",  "qcow", "strange"};

/* Declared to be anything but what it is. */
static void assert_mistaken(const struct stream *s, const char *format)
{
	for (size_t i = 0; i < ARRAY_LEN(declarable); i++)
		if (strcmp(declarable[i], format) != 0)
			assert_refused(s, declarable[i], "but its data is");
}

/* -- what tools make ------------------------------------------------------------------------------ */

static void test_images_of_qemu(void **state)
{
	static const struct {
		const char *qemu, *glance;
	} kinds[] = {{"qcow2", "qcow2"},
		     {"qcow2 -o compat=0.10", "qcow2"},
		     {"qcow2 -o cluster_size=512", "qcow2"},
		     {"qcow2 -o compression_type=zstd,extended_l2=on", "qcow2"},
		     {"qcow2 -c", "qcow2"},
		     {"qcow", "qcow"},
		     {"vmdk", "vmdk"},
		     {"vmdk -o subformat=streamOptimized", "vmdk"},
		     {"vmdk -o compat6", "vmdk"},
		     {"vpc", "vhd"},
		     {"vpc -o subformat=fixed,force_size=on", "vhd"},
		     {"vhdx", "vhdx"},
		     {"vhdx -o subformat=fixed", "vhdx"},
		     {"vhdx -o block_size=32M,log_size=8M", "vhdx"},
		     {"vdi", "vdi"},
		     {"vdi -o static=on", "vdi"},
		     {"parallels", "ploop"}};
	char command[512];

	if (!has_qemu)
		skip();
	sh("head -c 2000000 /dev/urandom > disk && truncate -s 4M disk");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct stream s, size;
		char number[24];

		(void)snprintf(command, sizeof(command),
			       "qemu-img convert -f raw -O %s disk image && qemu-img info -f %.*s image | "
			       "sed -n 's/^virtual size.*(\\([0-9]*\\) bytes)/\\1/p' > size",
			       kinds[i].qemu, (int)strcspn(kinds[i].qemu, " "), kinds[i].qemu);
		sh(command);
		s = load("image");
		size = load("size");
		(void)snprintf(number, sizeof(number), "%.*s", (int)size.n, (char *)size.octets);
		assert_taken(&s, kinds[i].glance, kinds[i].glance, strtoll(number, NULL, 10));
		assert_mistaken(&s, kinds[i].glance);
		sh("rm image");
		stream_free(&s);
		stream_free(&size);
	}
}

static void test_images_that_point_outside(void **state)
{
	static const struct {
		const char *make, *format, *why;
	} cases[] = {
		{"truncate -s 4M base && qemu-img create -f qcow2 -F raw -b base image", "qcow2",
		 "a backing file"},
		{"qemu-img create -u -f qcow2 -F raw -b 'json:{\"driver\": \"file\", \"filename\": "
		 "\"/etc/passwd\"}' image 4M",
		 "qcow2", "a backing file"},
		{"qemu-img create -f qcow2 -o data_file=elsewhere,data_file_raw=on image 4M", "qcow2",
		 "in another file"},
		{"qemu-img create -u -f qcow -F raw -b /etc/passwd image 4M", "qcow", "a backing file"},
		{"qemu-img create -f vmdk -o subformat=monolithicFlat image 4M", "vmdk", "in other files"},
		{"qemu-img create -f vmdk -o subformat=twoGbMaxExtentSparse image 4M", "vmdk",
		 "in other files"},
		{"qemu-img create -f vmdk base.vmdk 4M && qemu-img create -f vmdk -F vmdk -b base.vmdk image",
		 "vmdk", "a parent"},
		{"qemu-img create -f qed image 4M", "qed", "QED are not taken"},
	};

	if (!has_qemu)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct stream s;

		sh(cases[i].make);
		s = load("image");
		assert_refused(&s, cases[i].format, cases[i].why);
		assert_refused(&s, "raw", "but its data is");
		sh("rm -f image* base* elsewhere");
		stream_free(&s);
	}
}

/* Attack A19: an image of another kind where the disk of a VMDK begins. */
static void test_an_image_in_an_image(void **state)
{
	static const char *const kinds[] = {"vmdk", "vmdk -o subformat=streamOptimized"};
	char command[256];

	if (!has_qemu)
		skip();
	sh("qemu-img create -u -f qcow2 -F raw -b /etc/passwd inner 4M");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct stream s;

		(void)snprintf(command, sizeof(command), "qemu-img convert -f raw -O %s inner image",
			       kinds[i]);
		sh(command);
		s = load("image");
		assert_refused(&s, "vmdk", "another format in it");
		sh("rm image");
		stream_free(&s);
	}
}

/* Attack A19: at every octet of the header. */
static void test_cuts_everywhere(void **state)
{
	static const char *const kinds[][2] = {{"create -u -f qcow2 -F raw -b /etc/passwd image 4M", "qcow2"},
					       {"create -f qcow2 image 4M", "qcow2"},
					       {"create -f vmdk image 4M", "vmdk"},
					       {"create -f vdi image 4M", "vdi"},
					       {"create -f vpc image 4M", "vhd"},
					       {"create -f qcow2 image 4M", "raw"},
					       {"create -f vhdx image 4M", "vhdx"}};
	char command[256];

	if (!has_qemu)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct verdict whole;
		struct stream s;

		(void)snprintf(command, sizeof(command), "qemu-img %s", kinds[i][0]);
		sh(command);
		s = load("image");
		whole = inspect(&s, kinds[i][1]);
		for (size_t cut = 1; cut < 1600 && cut < s.n; cut++) {
			struct verdict v = inspect_cut(&strict, &s, kinds[i][1], "bare", cut, s.n);

			assert_same(&v, &whole);
		}
		s.n = s.n < 100000 ? s.n : 100000; /* octet by octet; what is cut off is wrong in one way */
		whole = inspect_cut(&strict, &s, kinds[i][1], "bare", s.n, s.n);
		struct verdict v = inspect_cut(&strict, &s, kinds[i][1], "bare", 1, 1);

		assert_same(&v, &whole);
		sh("rm image");
		stream_free(&s);
	}
}

/* -- raw, and what is like it --------------------------------------------------------------------- */

static void test_plain_disks(void **state)
{
	static const size_t sizes[] = {0, 1, 511, 512, 1536, 65535, 65536, 65537, 300000};
	static const char *const plain[] = {"raw", "ami", "ari", "aki", "strange"};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct stream s = stream_new(sizes[i]);

		for (size_t k = 0; k < ARRAY_LEN(plain); k++)
			assert_taken(&s, plain[k], "raw", k == 0 ? (int64_t)sizes[i] : INSPECT_SIZE_UNKNOWN);
		for (size_t k = 0; k < ARRAY_LEN(declarable) - 1;
		     k++) { /* in a container that we do not look into */
			struct verdict v = inspect_by(&strict, &s, declarable[k], "ova");

			assert_int_equal(v.r, 0);
			assert_int_equal(v.result.virtual_size, INSPECT_SIZE_UNKNOWN);
		}
		static const char *const others[] = {"qcow2", "vmdk",  "vhd",  "vhdx", "vdi",
						     "iso",   "ploop", "luks", "gpt"};

		for (size_t k = 0; k < ARRAY_LEN(others); k++) {
			struct verdict v = inspect(&s, others[k]);

			assert_int_equal(v.r, ERR_MEDIA_TYPE);
			assert_non_null(strstr(v.err.text, "but its data is not."));
		}
		stream_free(&s);
	}
}

static void put_partition(unsigned char *o, unsigned i, unsigned char type, uint32_t first)
{
	unsigned char *entry = o + 446 + 16 * i;

	entry[2] = 2;
	entry[4] = type;
	memcpy(entry + 8, &first, sizeof(first)); /* both of us are little-endian */
	memcpy(o + 510, "\x55\xaa", 2);
}

static void test_partitions(void **state)
{
	static const struct {
		unsigned n, boot;
		unsigned char types[4];
		uint32_t first;
		const char *why; /* NULL: fine */
	} cases[] = {{1, 0, {0xee}, 1, NULL},
		     {2, 0x80, {0x83, 0x82}, 2048, NULL},
		     {1, 0, {0xee}, 2, "does not begin"},
		     {2, 0, {0xee, 0x83}, 1, "other partitions"},
		     {2, 0, {0x83, 0xee}, 1, "other partitions"},
		     {1, 7, {0x83}, 1, "boot flag"},
		     {1, 0, {0}, 0, "is empty"}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct stream s = stream_new(100000);
		struct verdict v;

		for (unsigned k = 0; k < cases[i].n; k++)
			put_partition(s.octets, k, cases[i].types[k], cases[i].first);
		s.octets[446] = (unsigned char)cases[i].boot;
		for (const char *const *f = (const char *const[]){"raw", "gpt", NULL}; *f; f++) {
			v = inspect(&s, *f);
			assert_int_equal(v.r, 0);
			assert_string_equal(v.result.format, "gpt");
			assert_int_equal(v.result.virtual_size, 100000);
			assert_true(cases[i].why ? strstr(v.result.remark, cases[i].why) != NULL
						 : !*v.result.remark);
			v = inspect_by(&stricter, &s, *f, "bare");
			assert_int_equal(v.r, cases[i].why ? ERR_MEDIA_TYPE : 0);
		}
		assert_int_equal(inspect_by(&stricter, &s, "aki", "bare").r,
				 0); /* a kernel has such a sector, too */
		assert_int_equal(inspect(&s, "qcow2").r, ERR_MEDIA_TYPE);
		s.octets[0x10] = 2; /* a FAT */
		s.octets[0x15] = 0xf8;
		assert_string_equal(inspect_by(&stricter, &s, "raw", "bare").result.format, "raw");
		stream_free(&s);
	}
}

static void test_isos(void **state)
{
	struct stream s = stream_new(2 * MIB);
	unsigned char *d = s.octets + 32768;

	memcpy(d, "\1CD001\1", 7);
	memcpy(d + 80, "\0\1\0\0", 4); /* 256 blocks ... */
	memcpy(d + 128, "\0\x08", 2);  /* ... of 2,048 */
	assert_taken(&s, "iso", "iso", 256 * 2048);
	assert_mistaken(&s, "iso");
	put_partition(s.octets, 0, 0x17, 64); /* a hybrid */
	assert_taken(&s, "iso", "iso", 256 * 2048);
	d[83] = 0xff; /* more than there is */
	assert_taken(&s, "iso", "iso", 2 * MIB);
	memcpy(s.octets, "QFI\xfb\0\0\0\3", 8);
	assert_refused(&s, "iso", "but its data is qcow2");
	assert_refused(&s, "qcow2", "both qcow2 and iso");
	memset(s.octets, 0, 2 * MIB);
	memcpy(d, "\0BEA01", 6);
	assert_int_equal(inspect(&s, "iso").r, ERR_MEDIA_TYPE);
	memcpy(d + 2048, "\0NSR03", 6);
	assert_taken(&s, "iso", "iso", 2 * MIB);
	s.n = 32768 + 5; /* cut in the name */
	assert_int_equal(inspect(&s, "iso").r, ERR_MEDIA_TYPE);
	stream_free(&s);
}

/* -- by hand: what no tool makes ------------------------------------------------------------------ */

static struct stream qcow2(void)
{
	struct stream s = stream_new(200000);

	memcpy(s.octets, "QFI\xfb\0\0\0\3", 8);
	s.octets[23] = 16;   /* cluster bits */
	s.octets[28] = 1;    /* 16 MiB */
	s.octets[103] = 104; /* length of the header */
	return s;
}

static void test_crafted_qcow2(void **state)
{
	struct stream s = qcow2();
	unsigned char *o = s.octets;

	assert_taken(&s, "qcow2", "qcow2", INT64_C(1) << 24);
	for (size_t n = 4; n < 104; n += 4) {
		s.n = n;
		assert_refused(&s, "qcow2", "");
	}
	s.n = 104;
	assert_taken(&s, "qcow2", "qcow2", INT64_C(1) << 24);
	s.n = 200000;
	for (int bit = 0; bit < 64; bit++) {
		bool good = bit == 0 || bit == 1 || bit == 3 || bit == 4;

		o[79 - bit / 8] = (unsigned char)(1 << bit % 8);
		assert_int_equal(inspect(&s, "qcow2").r, good ? 0 : ERR_MEDIA_TYPE);
		o[79 - bit / 8] = 0;
	}
	for (int at = 8; at < 16; at++) {
		o[at] = 1;
		assert_refused(&s, "qcow2", "backing file");
		o[at] = 0;
	}
	o[24] = 0x80; /* 2^63 */
	assert_refused(&s, "qcow2", "a size that cannot be");
	o[24] = 0x7f;
	assert_int_equal(inspect(&s, "qcow2").r, 0);
	o[23] = 22;
	assert_refused(&s, "qcow2", "clusters");
	o[23] = 8;
	assert_refused(&s, "qcow2", "clusters");
	o[23] = 9;
	o[36] = 0xff;
	assert_refused(&s, "qcow2", "first table");
	o[36] = 0;
	o[103] = 103;
	assert_refused(&s, "qcow2", "cut off");
	o[103] = 104;
	o[7] = 4;
	assert_refused(&s, "qcow2", "not known");
	stream_free(&s);
}

static struct stream vmdk(const char *description)
{
	struct stream s = stream_new(200000);

	memcpy(s.octets, "KDMV\1\0\0\0", 8);
	s.octets[13] = 0x20; /* sectors: 4 MiB */
	s.octets[28] = 1;    /* the description is in sector 1 ... */
	s.octets[36] = 20;   /* ... and has 20 */
	memcpy(s.octets + 512, description, strlen(description));
	return s;
}

#define GOOD "createType=\"monolithicSparse\"\n"
#define EXTENT "RW 8192 SPARSE \"a.vmdk\"\n"

static void test_descriptions(void **state)
{
	static const struct {
		const char *description, *why; /* NULL: fine */
	} cases[] = {
		{GOOD EXTENT, NULL},
		{"# Disk DescriptorFile\r\nversion=1\r\ncreateType=\"streamOptimized\"\r\n\r\nRW 8192 SPARSE "
		 "\"a b.vmdk\"\r\n"
		 "ddb.adapterType = \"ide\"\r\nCID=fffffffe\r\nparentCID=ffffffff\r\n",
		 NULL},
		{"", "what kind"},
		{GOOD, "where its data is"},
		{EXTENT, "what kind"},
		{"createType=\"monolithicFlat\"\n" EXTENT, "not allowed"},
		{"createType=\"custom\"\n" EXTENT, "not allowed"},
		{"createType=monolithicSparse\n" EXTENT, "not allowed"},
		{"createtype=\"monolithicSparse\"\n" EXTENT, "not allowed"},
		{"createType=\"monolithicSparse\" x\n" EXTENT, "not allowed"},
		{"createType=\"\n" EXTENT, "not allowed"},
		{GOOD GOOD EXTENT, "says twice"},
		{GOOD "createType=\"monolithicFlat\"\n" EXTENT, "not allowed"},
		{"# createType=\"monolithicFlat\"\n" GOOD EXTENT, "says twice"}, /* QEMU takes the first */
		{"x=createType=\"monolithicFlat\"\n" EXTENT, "what kind"}, /* QEMU would take it for one */
		{GOOD "RW 1 FLAT \"/etc/passwd\" 0\n", "in other files"},
		{GOOD "RW 1 FLAT \"passwd\" 0\n", "in other files"},
		{GOOD "RW 1 SPARSE \"/etc/passwd\"\n", "in other files"},
		{GOOD "RW 1 SPARSE \"..\\passwd\"\n", "in other files"},
		{GOOD "rdonly 1 VMFS \"x\"\n", "in other files"},
		{GOOD EXTENT EXTENT, "in other files"},
		{GOOD EXTENT "parentFileNameHint=\"x\"\n", "a parent"},
		{GOOD EXTENT "parentCID=12345678\n", "a parent"},
		{GOOD EXTENT "include /etc/passwd\n", "not known"},
		{GOOD EXTENT "a b=c\n", "not known"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct stream s = vmdk(cases[i].description);

		if (cases[i].why)
			assert_refused(&s, "vmdk", cases[i].why);
		else
			assert_taken(&s, "vmdk", "vmdk", 4 * MIB);
		stream_free(&s);
	}
}

static void test_crafted_vmdk(void **state)
{
	static const struct {
		size_t at;
		unsigned char octet;
		const char *why;
	} cases[] = {{4, 4, "not known"},
		     {4, 0, "not known"},
		     {13, 0, "in other files"},
		     {28, 2, "without a description"},
		     {28, 0, "without a description"},
		     {36, 0, "without a description"},
		     {37, 1, "without a description"},
		     {19, 0x80, "cannot be"}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct stream s = vmdk(GOOD EXTENT);

		s.octets[cases[i].at] = cases[i].octet;
		assert_refused(&s, "vmdk", cases[i].why);
		stream_free(&s);
	}
}

static void test_descriptions_alone(void **state)
{
	static const char *const texts[] = {
		"# Disk DescriptorFile\n" GOOD "RW 1 FLAT \"/etc/passwd\" 0\n",
		"# disk descriptorfile",
		"\n# anything\n\n  \nversion=1\n" GOOD "RW 1 FLAT \"/etc/passwd\" 0\n",
		"version=3\r\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct stream s = stream_new(strlen(texts[i]));

		memcpy(s.octets, texts[i], s.n);
		assert_refused(&s, "vmdk", "in other files");
		assert_refused(&s, "raw", "but its data is vmdk");
		stream_free(&s);
	}
	struct stream cowd = stream_new(3000);

	memcpy(cowd.octets, "COWD\1\0\0\0", 8);
	assert_refused(&cowd, "vmdk", "not allowed");
	stream_free(&cowd);
}

/* Attack A18: the header is fine, and the footer at the end has another description. */
static void test_footers(void **state)
{
	struct stream s = vmdk("createType=\"streamOptimized\"\n" EXTENT);
	unsigned char *footer = s.octets + s.n - 1024, *marker = footer - 512, *end = footer + 512;

	memset(s.octets + 56, 0xff, 8);
	assert_refused(&s, "vmdk", "cut off");
	memcpy(footer, s.octets, 512);
	memset(footer + 56, 0, 8);
	marker[12] = 3;
	assert_taken(&s, "vmdk", "vmdk", 4 * MIB);
	for (size_t at = 12; at < 56; at++) {
		bool counts = at < 20 || (at >= 28 && at < 44);
		struct verdict v;

		footer[at] ^= 1;
		v = inspect(&s, "vmdk");
		assert_int_equal(v.r, counts ? ERR_MEDIA_TYPE : 0);
		footer[at] ^= 1;
	}
	memset(footer + 56, 0xff, 8); /* yet another */
	assert_refused(&s, "vmdk", "something else");
	memset(footer + 56, 0, 8);
	end[0] = 1;
	assert_refused(&s, "vmdk", "cut off");
	end[0] = 0;
	marker[100] = 1;
	assert_refused(&s, "vmdk", "cut off");
	stream_free(&s);
}

static void test_crafted_vdi(void **state)
{
	struct stream s = stream_new(70000);
	unsigned char *o = s.octets;

	memcpy(o + 0x40, "\x7f\x10\xda\xbe", 4);
	o[0x4c] = 1;
	o[0x173] = 1;
	assert_taken(&s, "vdi", "vdi", INT64_C(1) << 24);
	o[0x177] = 0x80;
	assert_refused(&s, "vdi", "cannot be");
	o[0x177] = 0;
	for (int type = 0; type < 6; type++) {
		o[0x4c] = (unsigned char)type;
		assert_int_equal(inspect(&s, "vdi").r, type == 1 || type == 2 ? 0 : ERR_MEDIA_TYPE);
	}
	o[0x4c] = 2;
	o[0x1a8] = 1;
	assert_refused(&s, "vdi", "a parent");
	o[0x1a8] = 0;
	o[0x1c7] = 1;
	assert_refused(&s, "vdi", "a parent");
	s.n = 0x1c7;
	assert_refused(&s, "vdi", "cut off");
	stream_free(&s);
}

static void footer(unsigned char *o, unsigned type, uint32_t size)
{
	memset(o, 0, 512);
	memcpy(o, "conectix", 8);
	for (int i = 0; i < 4; i++)
		o[55 - i] = (unsigned char)(size >> 8 * i);
	o[63] = (unsigned char)type;
}

static void test_crafted_vhd(void **state)
{
	struct stream s = stream_new(100512);

	footer(s.octets + 100000, 2, 100000);
	assert_taken(&s, "vhd", "vhd", 100000);
	assert_refused(&s, "raw", "but its data is vhd");
	footer(s.octets + 100000, 2, 100001);
	assert_int_equal(inspect(&s, "vhd").r, ERR_MEDIA_TYPE);
	footer(s.octets + 100000, 4, 100000);
	assert_int_equal(inspect(&s, "vhd").r, ERR_MEDIA_TYPE);
	footer(s.octets + 100000, 2, 100000);
	memcpy(s.octets + 32768, "\1CD001\1", 7); /* a disk with an ISO on it is a disk */
	assert_taken(&s, "vhd", "vhd", 100000);
	assert_refused(&s, "iso", "but its data is vhd");
	memcpy(s.octets, "QFI\xfb\0\0\0\3", 8);
	assert_refused(&s, "vhd", "but its data is qcow2");
	memset(s.octets, 0, s.n);
	footer(s.octets, 3, 1 << 20);
	assert_taken(&s, "vhd", "vhd", 1 << 20);
	footer(s.octets + 100000, 2, 100000);
	assert_refused(&s, "vhd", "two kinds");
	footer(s.octets + 100000, 4, 100000);
	assert_refused(&s, "vhd", "a parent");
	footer(s.octets, 4, 1 << 20);
	assert_refused(&s, "vhd", "a parent");
	s.n = 511;
	assert_refused(&s, "vhd", "cut off");
	memset(s.octets, 0, s.n);
	memcpy(s.octets + 32768, "\1CD001\1", 7);
	s.n = 100000; /* an ISO, no footer */
	assert_refused(&s, "vhd", "but its data is iso");
	stream_free(&s);
}

#define REGIONS (192 * 1024)
#define METADATA MIB
static const char bat[] = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
static const char metadata[] = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
static const char parameters[] = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
static const char size_of_disk[] = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
static const char parent[] = "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";
static const char unknown[] = "a guid of nobody";

static void put_region(struct stream *s, const char *guid, uint64_t at, unsigned flags)
{
	unsigned char *table = s->octets + REGIONS, *entry = table + 16 + 32 * table[8]++;

	memcpy(table, "regi", 4);
	memcpy(entry, guid, 16);
	memcpy(entry + 16, &at, 8);
	entry[28] = (unsigned char)flags;
}

static void put_item(struct stream *s, const char *guid, uint32_t at, unsigned flags, uint64_t value)
{
	unsigned char *table = s->octets + METADATA, *entry = table + 32 + 32 * table[10]++;

	memcpy(table, "metadata", 8);
	memcpy(entry, guid, 16);
	memcpy(entry + 16, &at, 4);
	entry[20] = 8;
	entry[24] = (unsigned char)flags;
	memcpy(table + at, &value, 8);
}

/* @with: what to leave out or to do to it. */
static struct stream vhdx(const char *with)
{
	struct stream s = stream_new(2 * MIB);
	bool swapped = strcmp(with, "swapped") == 0;

	memcpy(s.octets, "vhdxfile", 8);
	put_region(&s, bat, 3 * MIB, 1);
	put_region(&s, metadata, METADATA, 1);
	if (strcmp(with, "region twice") == 0)
		put_region(&s, metadata, METADATA, 1);
	if (strcmp(with, "unknown region") == 0)
		put_region(&s, unknown, METADATA, 1);
	if (strcmp(with, "optional region") == 0)
		put_region(&s, unknown, METADATA, 0);
	put_item(&s, parameters, swapped ? 65600 : 65536, 4,
		 strcmp(with, "has parent") == 0 ? UINT64_C(2) << 32 : 0);
	if (strcmp(with, "no size") != 0)
		put_item(&s, size_of_disk,
			 swapped                        ? 65536
			 : strcmp(with, "overlap") == 0 ? 65540
							: 65544,
			 4, strcmp(with, "size") == 0 ? UINT64_C(1) << 63 : 4 * MIB);
	if (strcmp(with, "size twice") == 0)
		put_item(&s, size_of_disk, 65552, 4, 5 * MIB);
	if (strcmp(with, "parent locator") == 0)
		put_item(&s, parent, 65552, 0, 0);
	if (strcmp(with, "unknown item") == 0)
		put_item(&s, unknown, 65552, 4, 0);
	if (strcmp(with, "optional item") == 0)
		put_item(&s, unknown, 65552, 0, 0);
	return s;
}

static void test_crafted_vhdx(void **state)
{
	static const struct {
		const char *with, *why; /* NULL: fine */
	} cases[] = {{"nothing", NULL},
		     {"swapped", NULL},
		     {"optional region", NULL},
		     {"optional item", NULL},
		     {"region twice", "two regions"},
		     {"unknown region", "not known"},
		     {"has parent", "a parent"},
		     {"no size", "how large"},
		     {"overlap", "an order that"},
		     {"size", "cannot be"},
		     {"size twice", "twice"},
		     {"parent locator", "a parent"},
		     {"unknown item", "not known"}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct stream s = vhdx(cases[i].with);

		if (cases[i].why)
			assert_refused(&s, "vhdx", cases[i].why);
		else
			assert_taken(&s, "vhdx", "vhdx", 4 * MIB);
		s.n = METADATA + 65544; /* one value is not there any more */
		assert_refused(&s, "vhdx", "");
		stream_free(&s);
	}
	struct stream s = vhdx("nothing");

	s.octets[REGIONS + 9] = 0xff; /* entries */
	assert_refused(&s, "vhdx", "region table");
	s.octets[REGIONS + 9] = 0;
	s.octets[METADATA + 11] = 0xff;
	assert_refused(&s, "vhdx", "metadata is broken");
	s.octets[REGIONS + 16 + 32 + 16 + 2] = 0; /* metadata at 0 */
	assert_refused(&s, "vhdx", "not where it has to be");
	stream_free(&s);
}

static void test_crafted_luks(void **state)
{
	struct stream s = stream_new(3 * MIB);

	memcpy(s.octets, "LUKS\xba\xbe\0\1", 8);
	s.octets[106] = 8; /* 2,048 sectors */
	assert_taken(&s, "luks", "luks", 2 * MIB);
	assert_taken(&s, "raw", "luks", 3 * MIB); /* an encrypted disk is a disk */
	assert_refused(&s, "qcow2", "but its data is luks");
	assert_refused(&s, "iso", "but its data is luks");
	s.octets[7] = 2;
	assert_refused(&s, "luks", "not known");
	assert_taken(&s, "raw", "luks", 3 * MIB);
	s.octets[7] = 1;
	s.octets[104] = 1;
	assert_refused(&s, "luks", "cut off");
	stream_free(&s);
}

static void test_crafted_ploop(void **state)
{
	struct stream s = stream_new(70000);
	unsigned char *o = s.octets;

	memcpy(o, "WithouFreSpacExt\2\0\0\0", 20);
	o[29] = 8;
	o[37] = 0x20;
	o[42] = 1;
	assert_taken(&s, "ploop", "ploop", (INT64_C(1) << 57) + 4 * (int64_t)MIB);
	memcpy(o, "WithoutFreeSpace", 16); /* 32 bits of it count */
	assert_taken(&s, "ploop", "ploop", 4 * MIB);
	o[16] = 3;
	assert_refused(&s, "ploop", "not known");
	o[16] = 2;
	o[29] = 0;
	assert_refused(&s, "ploop", "clusters");
	s.n = 63;
	assert_refused(&s, "ploop", "cut off");
	stream_free(&s);
}

/* -- the rules ------------------------------------------------------------------------------------ */

static void test_rules_that_let_pass(void **state)
{
	struct stream s = qcow2();
	struct verdict v = inspect_by(&lax, &s, "raw", "bare");

	assert_int_equal(v.r, 0);
	assert_string_equal(v.result.format, "qcow2");
	assert_int_equal(v.result.virtual_size, 200000); /* as a raw disk it has what it has */
	assert_non_null(strstr(v.result.remark, "says that it is raw, but its data is qcow2"));
	s.octets[15] = 1;
	v = inspect_by(&lax, &s, "qcow2", "bare");
	assert_int_equal(v.r, 0);
	assert_int_equal(v.result.virtual_size, INSPECT_SIZE_UNKNOWN);
	assert_non_null(strstr(v.result.remark, "a backing file"));
	v = inspect_by(&lax, &s, "vhd", "bare");
	assert_int_equal(v.r, 0);
	assert_non_null(strstr(v.result.remark, "but its data is qcow2"));
	stream_free(&s);
}

/* The sooner the better: before the rest of a terabyte is read. */
static void test_refused_at_once(void **state)
{
	struct stream s = qcow2();
	struct inspect *i;
	struct err err = {0};

	assert_int_equal(inspect_new(&strict, "raw", "bare", &i, &err), 0);
	assert_int_equal(inspect_update(i, s.octets, HEAD_OCTETS - 1, &err), 0);
	assert_int_equal(inspect_update(i, s.octets + HEAD_OCTETS - 1, 1, &err), ERR_MEDIA_TYPE);
	inspect_free(i);
	stream_free(&s);
}

static void needs_to_know_what_is_declared(void **state)
{
	const struct inspect_rules rules = {.must_match = true};
	struct inspect *i = NULL;
	struct err err = {0};

	assert_int_equal(inspect_new(&rules, NULL, "bare", &i, &err), ERR_CONFLICT);
	assert_int_equal(inspect_new(&rules, "raw", NULL, &i, &err), ERR_CONFLICT);
	assert_null(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(needs_to_know_what_is_declared),
		cmocka_unit_test(test_images_of_qemu),
		cmocka_unit_test(test_images_that_point_outside),
		cmocka_unit_test(test_an_image_in_an_image),
		cmocka_unit_test(test_cuts_everywhere),
		cmocka_unit_test(test_plain_disks),
		cmocka_unit_test(test_partitions),
		cmocka_unit_test(test_isos),
		cmocka_unit_test(test_crafted_qcow2),
		cmocka_unit_test(test_descriptions),
		cmocka_unit_test(test_crafted_vmdk),
		cmocka_unit_test(test_descriptions_alone),
		cmocka_unit_test(test_footers),
		cmocka_unit_test(test_crafted_vdi),
		cmocka_unit_test(test_crafted_vhd),
		cmocka_unit_test(test_crafted_vhdx),
		cmocka_unit_test(test_crafted_luks),
		cmocka_unit_test(test_crafted_ploop),
		cmocka_unit_test(test_rules_that_let_pass),
		cmocka_unit_test(test_refused_at_once),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

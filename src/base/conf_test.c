/* SPDX-License-Identifier: Apache-2.0
 * base/conf_test.c -- the configuration, with an allocator that fails when told to. */
#include "conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int allocations_left = -1; /* negative: no bound */

static bool may_allocate(void)
{
	if (allocations_left < 0)
		return true;
	return allocations_left > 0 && allocations_left-- > 0;
}

static void *malloc_or_fail(size_t n)
{
	return may_allocate() ? malloc(n) : NULL;
}

static void *calloc_or_fail(size_t n, size_t size)
{
	return may_allocate() ? calloc(n, size) : NULL;
}

static void *realloc_or_fail(void *p, size_t n)
{
	return may_allocate() ? realloc(p, n) : NULL;
}

static char *strndup_or_fail(const char *s, size_t n)
{
	return may_allocate() ? strndup(s, n) : NULL;
}

#undef strndup
#define malloc malloc_or_fail
#define calloc calloc_or_fail
#define realloc realloc_or_fail
#define strndup strndup_or_fail
#include "arena.c"
#include "buf.c"
#include "ini.c"
#include "conf.c"
#undef malloc
#undef calloc
#undef realloc
#undef strndup

static const struct conf_option options[] = {
	{"DEFAULT", "a", CONF_STRING, NULL, "An a."},
	{"DEFAULT", "b", CONF_STRING, NULL, "A b."},
	{"DEFAULT", "gone", CONF_IGNORED, NULL, "It is gone."},
	{"DEFAULT", "pool_*", CONF_IGNORED, NULL, "No pools."},
	{"elsewhere", "*", CONF_IGNORED, NULL, "Nothing of it."},
	{"DEFAULT", "derived", CONF_STRING, "$a/derived", "Refers to a."},
	{"DEFAULT", "two_words", CONF_STRING, "two", "Has a blank in its name."},
	{"DEFAULT", "port", CONF_INT, "9292", "A port.", 1, 65535},
	{"DEFAULT", "number", CONF_INT, NULL, "Any number."},
	{"DEFAULT", "debug", CONF_BOOL, "false", "A switch."},
	{"DEFAULT", "formats", CONF_LIST, "ami,bare", "A list."},
	{"DEFAULT", "enabled_backends", CONF_LIST, NULL, "Sections."},
	{"oslo", "driver", CONF_MULTI, NULL, "May be repeated."},
	{"oslo", "topics", CONF_MULTI, "notifications", "May be repeated."},
	{"deploy", "flavor", CONF_CHOICE, "", "A choice.", .choices = "keystone|trusted-auth|"},
	{"store", "dir", CONF_STRING, "/$a", "A directory."},
	{"store", "a", CONF_STRING, NULL, "Another a."},
	{"store", "mode", CONF_INT, "0", "A mode.", 0, 10},
	{NULL},
};

static char warnings[2048];

static void note_warning(void *cls, const char *path, unsigned line, const char *message)
{
	size_t n = strlen(warnings);

	(void)snprintf(warnings + n, sizeof(warnings) - n, "%s:%u: %s\n", path, line, message);
}

/* A configuration of @text, which must be right. */
static struct conf *read_right(const char *text)
{
	struct err err = {0};
	struct conf *c;

	warnings[0] = '\0';
	assert_int_equal(conf_new(options, &c, &err), 0);
	if (conf_read_text(c, "x.conf", text, strlen(text), note_warning, NULL, &err) != 0)
		fail_msg("%s", err.text);
	return c;
}

static void refuses_octets(const char *text, size_t n, const char *expect)
{
	AUTO(conf_free_p) struct conf *c = NULL;
	struct err err = {0};

	assert_int_equal(conf_new(options, &c, &err), 0);
	assert_int_equal(conf_read_text(c, "x.conf", text, n, NULL, NULL, &err), ERR_INVALID);
	assert_string_equal(err.text, expect);
}

static void refuses(const char *text, const char *expect)
{
	refuses_octets(text, strlen(text), expect);
}

static void expect_str(const char *text, const char *section, const char *name, const char *expect)
{
	AUTO(conf_free_p) struct conf *c = read_right(text);

	if (!conf_str(c, section, name))
		assert_null(expect);
	else
		assert_string_equal(conf_str(c, section, name), expect);
}

/* The items of a LIST or MULTI, as "<a><b>". */
static void expect_list(const struct conf *c, const char *section, const char *name, const char *expect)
{
	char joined[256] = "";
	size_t n, used = 0;
	const char *const *items = conf_list(c, section, name, &n);

	for (size_t i = 0; i < n; i++)
		used += (size_t)snprintf(joined + used, sizeof(joined) - used, "<%s>", items[i]);
	assert_null(items[n]);
	assert_string_equal(joined, expect);
}

static void test_defaults(void **state)
{
	AUTO(conf_free_p) struct conf *c = read_right("");

	assert_null(conf_str(c, "DEFAULT", "a"));
	assert_string_equal(conf_str(c, "DEFAULT", "derived"), "/derived");
	assert_string_equal(conf_str(c, "deploy", "flavor"), "");
	assert_int_equal(conf_int(c, "DEFAULT", "port"), 9292);
	assert_int_equal(conf_int(c, "DEFAULT", "number"), 0);
	assert_false(conf_bool(c, "DEFAULT", "debug"));
	expect_list(c, "DEFAULT", "formats", "<ami><bare>");
	expect_list(c, "DEFAULT", "enabled_backends", "");
	expect_list(c, "oslo", "driver", "");
	expect_list(c, "oslo", "topics", "<notifications>");
	assert_false(conf_is_set(c, "DEFAULT", "port"));
	conf_free(NULL);
}

static void test_ini_dialect(void **state)
{
	static const struct {
		const char *text, *value;
	} cases[] = {
		{"[DEFAULT]\na = x\n", "x"},
		{"[DEFAULT]\na: x", "x"},
		{"[DEFAULT]\na=x=y:z\n", "x=y:z"},
		{"[DEFAULT]\na:x=y\n", "x=y"},
		{"[DEFAULT]\r\na = x \t\r\n", "x"},
		{"\xef\xbb\xbf[DEFAULT]\na=x\n", "x"},
		{"# c\n; c\n\n[DEFAULT]\n#a=y\na = x # not a comment\n", "x # not a comment"},
		{"[DEFAULT]\na=\n", ""},
		{"[DEFAULT]\na = one\n  two\n\tthree\n# end\nb=x\n", "one\ntwo\nthree"},
		{"[DEFAULT]\na=\n  more\n", "\nmore"},
		{"[DEFAULT]\na = one\n  # two\n", "one\n# two"},
		{"[DEFAULT]\na = one\n  [store]\n", "one\n[store]"},
		{"[DEFAULT]\na = \" x \"\n", " x "},
		{"[DEFAULT]\na = ''\n", ""},
		{"[DEFAULT]\na = '\n", ""},
		{"[DEFAULT]\na = 'x\"\n", "'x\""},
		{"[DEFAULT]\na = '\"x\"'\n", "\"x\""},
		{"[DEFAULT]\na = \"x\n y\"\n", "\"x\ny\""},
		{"[DEFAULT]\na=1\na=2\n[store]\na=3\n[DEFAULT]\na=4\n", "4"},
		{"[DEFAULT]\na=\xc3\xa4\n", "\xc3\xa4"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		expect_str(cases[i].text, "DEFAULT", "a", cases[i].value);
}

static void test_names(void **state)
{
	expect_str("[DEFAULT]\ntwo-words=x\n", "DEFAULT", "two_words", "x");
	expect_str("[DEFAULT]\ntwo_words=x\n", "DEFAULT", "two-words", "x");
	expect_str("[Store]\na=1\n[STORE]\ndir=2\n", "store", "a", "1");
	expect_str("[default]\na=1\n", "DEFAULT", "a", NULL);
	assert_string_equal(warnings, "x.conf:2: unknown option [default] a, ignored\n");
	expect_str("[DEFAULT]\nA=1\n", "DEFAULT", "a", NULL);
	expect_str("[ store ]\na=1\n", "store", "a", NULL);
}

static void test_syntax_errors(void **state)
{
	refuses("[DEFAULT]\na\n", "x.conf:2: neither a [section] nor a 'name = value'");
	refuses("[DEFAULT]\n=1\n", "x.conf:2: the option has no name");
	refuses("\n[DEFAULT\n", "x.conf:2: a [section] must end with ']'");
	refuses("[DEFAULT] # x\n", "x.conf:1: a [section] must end with ']'");
	refuses("[]\n", "x.conf:1: the section has no name");
	refuses("[", "x.conf:1: a [section] must end with ']'");
	refuses("a=1\n", "x.conf:1: an option before the first [section]");
	refuses("[DEFAULT]\n a=1\n",
		"x.conf:2: an indented line continues a value, but there is none before it");
	refuses("[DEFAULT]\na=1\n\n b\n",
		"x.conf:4: an indented line continues a value, but there is none before it");
	refuses("[DEFAULT]\na=\xff\n", "x.conf:2: not UTF-8");
	refuses_octets("[DEFAULT]\na=x\0y\n", 16, "x.conf:2: a NUL");
}

static void test_references(void **state)
{
	static const struct {
		const char *text, *value;
	} cases[] = {
		{"a=$b\nb=B\n", "B"},
		{"b=B\na=x${b}y\n", "xBy"},
		{"a=$b-c\nb=B\n", "B-c"},
		{"a=$two_words\n", "two"},
		{"a=$port\nport=7\n", "7"},
		{"a=$store.mode ${store.mode}\n", "0 0"},
		{"a=${DEFAULT.b}\nb=B\n", "B"},
		{"a=<$b>\n", "<>"},
		{"a=$b\nb=1\nb=2\n", "2"},
		{"a=p$$b \\$b \\\\$b $$$$ 100% $ $1 ${ b} ${b ${} \\x \\",
		 "p$b $b \\$b $$ 100% $ $1 ${ b} ${b ${} \\x \\"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[256];

		(void)snprintf(text, sizeof(text), "[DEFAULT]\n%s", cases[i].text);
		expect_str(text, "DEFAULT", "a", cases[i].value);
	}
	expect_str("[DEFAULT]\na=A\n", "DEFAULT", "derived", "A/derived");
	expect_str("[DEFAULT]\na=A\n", "store", "dir", "/"); /* the a of its own section comes first */
	expect_str("[store]\na=S\n[DEFAULT]\na=A\n", "store", "dir", "/S");
	expect_str("[DEFAULT]\nb=B\n[store]\na=$b\n", "store", "a", "B");
	expect_str("[DEFAULT]\nb=\\$two_words\na=$b\n", "DEFAULT", "a", "$two_words"); /* replaced once */
}

static void test_reference_errors(void **state)
{
	refuses("[DEFAULT]\na=$nosuch\n", "x.conf:2: [DEFAULT] a: \"$nosuch\" names no option");
	refuses("[DEFAULT]\na=$b.\n", "x.conf:2: [DEFAULT] a: \"$b.\" names no option");
	refuses("[DEFAULT]\na=$B\n", "x.conf:2: [DEFAULT] a: \"$B\" names no option");
	refuses("[x]\ny=1\n[DEFAULT]\na=$x.y\n", "x.conf:4: [DEFAULT] a: \"$x.y\" names no option");
	refuses("[DEFAULT]\na=$a\n", "x.conf:2: [DEFAULT] a: \"$a\" refers back to itself");
	refuses("[DEFAULT]\na=$b\nb=$a\n", "x.conf:3: [DEFAULT] b: \"$a\" refers back to itself");
}

/* a0=$a1, a1=$a2 ... a chain longer than is followed. */
static void test_chain_too_deep(void **state)
{
	static char names[40][8];
	static struct conf_option chain[ARRAY_LEN(names) + 1];
	struct conf *c;
	struct err err = {0};
	char value[16];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(names[i], sizeof(names[i]), "a%02zu", i);
		chain[i] = (struct conf_option){"DEFAULT", names[i], CONF_STRING, "x", "One of many."};
	}
	assert_int_equal(conf_new(chain, &c, &err), 0);
	for (size_t i = 0; i + 1 < MAX_DEPTH; i++) {
		(void)snprintf(value, sizeof(value), "$a%02zu", i + 1);
		assert_int_equal(conf_set(c, "DEFAULT", names[i], value, &err), 0);
	}
	assert_string_equal(conf_str(c, "DEFAULT", "a00"), "x");
	for (size_t i = MAX_DEPTH - 1; i <= MAX_DEPTH; i++) {
		(void)snprintf(value, sizeof(value), "$a%02zu", i + 1);
		assert_int_equal(conf_set(c, "DEFAULT", names[i], value, &err),
				 i < MAX_DEPTH ? 0 : ERR_INVALID);
	}
	assert_non_null(strstr(err.text, "refers too deep"));
	conf_free(c);
}

/* Each refers twenty times to the next: a value of 20^n octets, if it were built. */
static void test_references_do_not_explode(void **state)
{
	static const char *const names[] = {"a", "b", "derived", "two_words"};
	char text[2048] = "[DEFAULT]\n";
	size_t n = strlen(text);

	for (size_t i = 0; i + 1 < ARRAY_LEN(names); i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s=", names[i]);
		for (int k = 0; k < 20; k++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "$%s", names[i + 1]);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "\n");
	}
	(void)snprintf(text + n, sizeof(text) - n, "two_words=%0100d\n", 0);
	refuses(text, "x.conf:2: [DEFAULT] a: too long");
}

static void test_many_long_values_are_refused(void **state)
{
	AUTO(buf_done) struct buf text = {0};

	buf_addf(&text, "[DEFAULT]\na=%060000d\n[oslo]\n", 0);
	for (int i = 0; i < 1000; i++)
		buf_adds(&text, "driver=$a\n");
	assert_false(text.failed);
	refuses(buf_cstr(&text), "x.conf:71: [oslo] driver: too long");
}

static void test_int(void **state)
{
	AUTO(conf_free_p)
	struct conf *c = read_right("[DEFAULT]\nport = +80\nnumber= -9223372036854775808\n");

	assert_int_equal(conf_int(c, "DEFAULT", "port"), 80);
	assert_int_equal(conf_int(c, "DEFAULT", "number"), INT64_MIN);
	assert_true(conf_is_set(c, "DEFAULT", "port"));
	conf_free(TAKE(c));
	c = read_right("[DEFAULT]\nnumber=9223372036854775807\nport=\n");
	assert_int_equal(conf_int(c, "DEFAULT", "number"), INT64_MAX);
	assert_int_equal(conf_int(c, "DEFAULT", "port"), 9292);
	assert_false(conf_is_set(c, "DEFAULT", "port"));
	conf_free(TAKE(c));
	c = read_right("[DEFAULT]\nport=abc\nport=1\n"); /* only the last counts */
	assert_int_equal(conf_int(c, "DEFAULT", "port"), 1);

	refuses("[DEFAULT]\n\nport=abc\n", "x.conf:3: [DEFAULT] port: \"abc\" is not a whole number");
	refuses("[DEFAULT]\nport=1x\n", "x.conf:2: [DEFAULT] port: \"1x\" is not a whole number");
	refuses("[DEFAULT]\nport=-\n", "x.conf:2: [DEFAULT] port: \"-\" is not a whole number");
	refuses("[DEFAULT]\nport=0x1f\n", "x.conf:2: [DEFAULT] port: \"0x1f\" is not a whole number");
	refuses("[DEFAULT]\nport=0\n", "x.conf:2: [DEFAULT] port: \"0\" is not from 1 to 65535");
	refuses("[DEFAULT]\nport=65536\n", "x.conf:2: [DEFAULT] port: \"65536\" is not from 1 to 65535");
	refuses("[DEFAULT]\nnumber=9223372036854775808\n",
		"x.conf:2: [DEFAULT] number: \"9223372036854775808\" is not a whole number");
	refuses("[DEFAULT]\nport=a\n b\n", "x.conf:2: [DEFAULT] port: \"a b\" is not a whole number");
	refuses("[DEFAULT]\nb=xyz\nport=$b\n", "x.conf:3: [DEFAULT] port: \"xyz\" is not a whole number");
}

static void test_bool(void **state)
{
	static const char *const words[] = {"true",  "True", "YES", "on", "1",
					    "false", "no",   "OFF", "0",  "FALSE"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		AUTO(conf_free_p) struct conf *c = read_right("");

		assert_int_equal(conf_set(c, "DEFAULT", "debug", words[i], NULL), 0);
		assert_int_equal(conf_bool(c, "DEFAULT", "debug"), i < 5);
	}
	refuses("[DEFAULT]\ndebug=t\n", "x.conf:2: [DEFAULT] debug: \"t\" is not true or false");
	refuses("[DEFAULT]\ndebug=\n", "x.conf:2: [DEFAULT] debug: \"\" is not true or false");
}

static void test_choice(void **state)
{
	expect_str("[deploy]\nflavor=keystone\n", "deploy", "flavor", "keystone");
	expect_str("[deploy]\nflavor=trusted-auth\n", "deploy", "flavor", "trusted-auth");
	expect_str("[deploy]\nflavor=\n", "deploy", "flavor", "");
	refuses("[deploy]\nflavor=key\n",
		"x.conf:2: [deploy] flavor: \"key\" is not one of keystone|trusted-auth|");
	refuses("[deploy]\nflavor=Keystone\n",
		"x.conf:2: [deploy] flavor: \"Keystone\" is not one of keystone|trusted-auth|");
}

static void test_list(void **state)
{
	static const struct {
		const char *value, *items;
	} cases[] = {
		{"a,b", "<a><b>"},
		{" a , b,, c ,", "<a><b><c>"},
		{"", ""},
		{",", ""},
		{"[a, b]", "<a><b>"},
		{"[]", ""},
		{"[", "<[>"},
		{"one", "<one>"},
		{"a,\n b", "<a><b>"},
		{"$b,z", "<x><y><z>"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(conf_free_p) struct conf *c = read_right("[DEFAULT]\nb=x,y\n");

		assert_int_equal(conf_set(c, "DEFAULT", "formats", cases[i].value, NULL), 0);
		expect_list(c, "DEFAULT", "formats", cases[i].items);
	}
}

static void test_multi(void **state)
{
	AUTO(conf_free_p)
	struct conf *c = read_right(
		"[oslo]\ndriver=a,b\ndriver=$DEFAULT.b\n[oslo]\ndriver=\ntopics=t\n[DEFAULT]\nb=B\n");

	expect_list(c, "oslo", "driver", "<a,b><B><>");
	expect_list(c, "oslo", "topics", "<t>");
	assert_true(conf_is_set(c, "oslo", "driver"));
	assert_int_equal(conf_set(c, "oslo", "driver", "more", NULL), 0);
	expect_list(c, "oslo", "driver", "<a,b><B><><more>");
}

static void test_set(void **state)
{
	AUTO(conf_free_p) struct conf *c = read_right("[DEFAULT]\na=old\nb=$a\n");
	const char *before = conf_str(c, "DEFAULT", "a");
	struct err err = {0};

	assert_int_equal(conf_set(c, "DEFAULT", "a", "new", &err), 0);
	assert_string_equal(conf_str(c, "DEFAULT", "a"), "new");
	assert_string_equal(conf_str(c, "DEFAULT", "b"), "new");
	assert_string_equal(before, "old"); /* borrowed strings stay */
	assert_int_equal(conf_set(c, "DEFAULT", "nosuch", "x", &err), ERR_INVALID);
	assert_string_equal(err.text, "there is no option [DEFAULT] nosuch");
	assert_int_equal(conf_set(c, "DEFAULT", "port", "x", &err), ERR_INVALID);
	assert_string_equal(err.text, "[DEFAULT] port: \"x\" is not a whole number");
}

static void test_later_file_wins(void **state)
{
	AUTO(conf_free_p) struct conf *c = read_right("[DEFAULT]\na=1\nb=$a\n[oslo]\ndriver=x\n");
	const char *second = "[DEFAULT]\na=2\n[oslo]\ndriver=y\n";

	assert_int_equal(conf_read_text(c, "y.conf", second, strlen(second), NULL, NULL, NULL), 0);
	assert_string_equal(conf_str(c, "DEFAULT", "b"), "2");
	expect_list(c, "oslo", "driver", "<x><y>");
}

static void test_unknown_options_warn(void **state)
{
	AUTO(conf_free_p)
	struct conf *c = read_right("[DEFAULT]\nfoo = 1\na=x\nfoo = 2\n[nosuch]\nbar\x01 = $anything\n");

	assert_string_equal(warnings, "x.conf:2: unknown option [DEFAULT] foo, ignored\n"
				      "x.conf:4: unknown option [DEFAULT] foo, ignored\n"
				      "x.conf:6: unknown option [nosuch] bar , ignored\n");
	assert_string_equal(conf_str(c, "DEFAULT", "a"), "x");
}

static void test_ignored_options_say_why(void **state)
{
	AUTO(conf_free_p)
	struct conf *c = read_right("[DEFAULT]\ngone=1\npool_size=2\npool=3\na=$gone!\n[Elsewhere]\nx=1\n");
	struct err err = {0};

	assert_string_equal(warnings, "x.conf:2: option [DEFAULT] gone is ignored. It is gone.\n"
				      "x.conf:3: option [DEFAULT] pool_size is ignored. No pools.\n"
				      "x.conf:4: unknown option [DEFAULT] pool, ignored\n"
				      "x.conf:7: option [Elsewhere] x is ignored. Nothing of it.\n");
	assert_string_equal(conf_str(c, "DEFAULT", "a"), "!"); /* it has no value, whatever was written */
	assert_int_equal(conf_set(c, "DEFAULT", "gone", "1", &err), ERR_INVALID);
}

static void test_alias_section(void **state)
{
	AUTO(conf_free_p) struct conf *c = NULL;
	const char *text =
		"[DEFAULT]\nenabled_backends=Fast:file\n[fast]\nmode=3\na=F\ncolor=red\n[slow]\na=S\n";
	struct err err = {0};

	assert_int_equal(conf_new(options, &c, &err), 0);
	assert_int_equal(conf_read_text(c, "x.conf", text, strlen(text), NULL, NULL, &err), 0);
	assert_int_equal(conf_alias_section(c, "Fast", "store", &err), 0);
	assert_int_equal(conf_alias_section(c, "Fast", "store", &err), 0);
	assert_int_equal(conf_int(c, "Fast", "mode"), 3);
	assert_string_equal(conf_str(c, "Fast", "dir"), "/F");
	assert_string_equal(conf_str(c, "store", "dir"), "/");

	warnings[0] = '\0';
	conf_warn_unknown(c, note_warning, NULL);
	assert_string_equal(warnings, "x.conf:6: unknown option [fast] color, ignored\n"
				      "x.conf:8: unknown option [slow] a, ignored\n");

	assert_int_equal(conf_alias_section(c, "slow", "store", &err), 0);
	assert_string_equal(conf_str(c, "slow", "dir"), "/S");
	text = "[slow]\nmode=99\n"; /* the bounds of the original hold */
	assert_int_equal(conf_read_text(c, "y.conf", text, strlen(text), NULL, NULL, &err), ERR_INVALID);
	assert_string_equal(err.text, "y.conf:2: [slow] mode: \"99\" is not from 0 to 10");
}

static void test_long_values_in_messages(void **state)
{
	AUTO(conf_free_p) struct conf *c = read_right("");
	struct err err = {0};
	char value[400] = "";

	for (size_t i = 0; i + 2 < sizeof(value); i += 2)
		memcpy(value + i, "\xc3\xa4", 2);
	assert_int_equal(conf_set(c, "DEFAULT", "port", value, &err), ERR_INVALID);
	assert_true(utf8_is_valid(err.text, strlen(err.text)));
	assert_non_null(strstr(err.text, "...\" is not a whole number"));
}

static void test_files(void **state)
{
	AUTO(conf_free_p) struct conf *c = NULL;
	char path[] = "/tmp/conf_test.XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	struct err err = {0};

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "[DEFAULT]\na=x\n", 14), 14);
	assert_int_equal(conf_new(options, &c, &err), 0);
	assert_int_equal(conf_read(c, path, NULL, NULL, &err), 0);
	assert_string_equal(conf_str(c, "DEFAULT", "a"), "x");

	assert_int_equal(ftruncate(fd, (off_t)MAX_FILE + 1), 0);
	assert_int_equal(conf_read(c, path, NULL, NULL, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "larger than 1048576 octets"));
	(void)close(fd);
	(void)unlink(path);
	assert_int_equal(conf_read(c, path, NULL, NULL, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "cannot be opened: No such file"));
	assert_int_equal(conf_read(c, "/", NULL, NULL, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "cannot be read: Is a directory"));
}

/* All of the work once; 0 or the error. */
static int work_through(void)
{
	AUTO(conf_free_p) struct conf *c = NULL;
	const char *text = "[DEFAULT]\na=$b x\nb=y\nformats=a,b\n[oslo]\ndriver=$DEFAULT.a\n[fast]\na=z\n";
	struct err err = {0};
	int r;

	r = conf_new(options, &c, &err);
	if (r == 0)
		r = conf_read_text(c, "x.conf", text, strlen(text), NULL, NULL, &err);
	if (r == 0)
		r = conf_alias_section(c, "fast", "store", &err);
	if (r == 0)
		r = conf_set(c, "DEFAULT", "b", "$store.dir", &err);
	assert_int_equal(r, err.code);
	return r;
}

static void test_no_memory_at_any_point(void **state)
{
	int r = ERR_NO_MEMORY;

	for (int n = 0; r != 0; n++) {
		assert_true(n < 1000);
		allocations_left = n;
		r = work_through();
		allocations_left = -1;
		assert_true(r == 0 || r == ERR_NO_MEMORY);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_ini_dialect),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_syntax_errors),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_reference_errors),
		cmocka_unit_test(test_chain_too_deep),
		cmocka_unit_test(test_references_do_not_explode),
		cmocka_unit_test(test_many_long_values_are_refused),
		cmocka_unit_test(test_int),
		cmocka_unit_test(test_bool),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_multi),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_later_file_wins),
		cmocka_unit_test(test_unknown_options_warn),
		cmocka_unit_test(test_ignored_options_say_why),
		cmocka_unit_test(test_alias_section),
		cmocka_unit_test(test_long_values_in_messages),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_no_memory_at_any_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

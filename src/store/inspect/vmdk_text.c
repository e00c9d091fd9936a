/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/vmdk_text.c -- the description of a VMDK. Facts: VMware Virtual Disks, Virtual Disk
 * Format 5.0; what QEMU (block/vmdk.c) makes of it: it takes the first createType anywhere in the text, in a
 * comment too, so there may be only one. */
#include "store/inspect/vmdk.h"

#include <string.h>
#include <strings.h>

#define KIND "createType"

struct line {
	const char *at;
	size_t n;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool begins(struct line l, const char *word)
{
	return l.n >= strlen(word) && strncasecmp(l.at, word, strlen(word)) == 0;
}

/* Takes the next line, without blanks around it, from the front of @rest. */
static bool next_line(struct line *rest, struct line *ret)
{
	const char *end = rest->n > 0 ? memchr(rest->at, '\n', rest->n) : NULL;
	struct line l = {rest->at, end ? (size_t)(end - rest->at) : rest->n};

	if (rest->n == 0)
		return false;
	rest->at += end ? l.n + 1 : l.n;
	rest->n -= end ? l.n + 1 : l.n;
	while (l.n > 0 && (is_blank(l.at[l.n - 1]) || l.at[l.n - 1] == '\r'))
		l.n--;
	for (; l.n > 0 && is_blank(l.at[0]); l.n--)
		l.at++;
	*ret = l;
	return true;
}

/* -- does a file begin like one? ------------------------------------------------------------------ */

static bool is_version(struct line l)
{
	return begins(l, "version=") && l.n == 9 && l.at[8] >= '1' && l.at[8] <= '9';
}

/* Comments, then the version. */
static bool looks_to_qemu(const char *text, size_t n)
{
	struct line rest = {text, n}, l;

	while (next_line(&rest, &l))
		if (l.n > 0 && l.at[0] != '#')
			return is_version(l);
	return false;
}

bool vmdk_is_description(const char *text, size_t n)
{
	struct line l = {text, n};

	return begins(l, "# Disk DescriptorFile") || looks_to_qemu(text, n);
}

/* -- what it says --------------------------------------------------------------------------------- */

static bool is_allowed(struct line value, const char *const *types)
{
	for (; types && *types; types++)
		if (strlen(*types) == value.n && memcmp(*types, value.at, value.n) == 0)
			return true;
	return false;
}

/* createType="streamOptimized", and nothing behind it. */
static bool kind_is_good(struct line l, const char *const *types)
{
	size_t at = strlen(KIND "=\"");
	struct line value = {l.at + at, l.n - at - 1};

	if (l.n < at + 1 || memcmp(l.at, KIND "=\"", at) != 0 || l.at[l.n - 1] != '"')
		return false;
	return is_allowed(value, types);
}

static unsigned count_kinds(struct line text)
{
	unsigned n = 0;

	for (; text.n >= strlen(KIND); text.at++, text.n--)
		n += begins(text, KIND);
	return n;
}

static bool is_extent(struct line l)
{
	return begins(l, "RW ") || begins(l, "RDONLY ") || begins(l, "NOACCESS ");
}

static void skip_word(struct line *l)
{
	for (; l->n > 0 && !is_blank(l->at[0]); l->n--)
		l->at++;
	for (; l->n > 0 && is_blank(l->at[0]); l->n--)
		l->at++;
}

/* Access, sectors, kind, "name". Only the kind that is the file itself; its name is but a name. */
static bool extent_is_good(struct line l)
{
	if (memchr(l.at, '/', l.n) || memchr(l.at, '\\', l.n))
		return false;
	skip_word(&l);
	skip_word(&l);
	return begins(l, "SPARSE \"");
}

/* One word, =, anything. */
static bool is_setting(struct line l)
{
	const char *equals = memchr(l.at, '=', l.n);

	for (const char *p = l.at; equals && p < equals; p++)
		if (is_blank(*p))
			return false;
	return equals && equals > l.at;
}

static bool names_parent(struct line l)
{
	return begins(l, "parentFileNameHint") ||
	       (begins(l, "parentCID=") && !begins(l, "parentCID=ffffffff"));
}

/* How many lines there are of what there has to be one of. */
struct seen {
	unsigned n_kinds, n_extents;
};

static int check_extent(struct line l, struct seen *seen, struct err *err)
{
	if (++seen->n_extents > 1 || !extent_is_good(l))
		return look_refuse(err, "it has its data in other files");
	return 0;
}

static int check_kind(struct line l, const char *const *types, struct seen *seen, struct err *err)
{
	seen->n_kinds++;
	return kind_is_good(l, types) ? 0 : look_refuse(err, "it is a kind of VMDK that is not allowed");
}

static int check_line(struct line l, const char *const *types, struct seen *seen, struct err *err)
{
	if (l.n == 0 || l.at[0] == '#' || begins(l, "ddb."))
		return 0;
	if (is_extent(l))
		return check_extent(l, seen, err);
	if (begins(l, KIND))
		return check_kind(l, types, seen, err);
	if (names_parent(l))
		return look_refuse(err, "it has a parent");
	return is_setting(l) ? 0 : look_refuse(err, "it describes itself in words that are not known");
}

int vmdk_check_description(const char *text, size_t n, const char *const *types, struct err *err)
{
	struct line all = {text, strnlen(text, n)}, l;
	unsigned n_kinds = count_kinds(all);
	struct seen seen = {0};
	int r = 0;

	while (r == 0 && next_line(&all, &l))
		r = check_line(l, types, &seen, err);
	if (r == 0 && (n_kinds != 1 || seen.n_kinds != 1))
		return look_refuse(err, "it does not say, or says twice, what kind of VMDK it is");
	if (r == 0 && seen.n_extents == 0)
		return look_refuse(err, "it does not say where its data is");
	return r;
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/mask.c -- finds secrets in texts and in JSON.
 *
 * What counts as a secret is given by what oslo.utils masks: a list of words, and a dozen forms in
 * which a secret stands behind such a word in a text. For each word that occurs the forms are
 * looked for one after the other, each in the result of the one before. The matchers here are
 * written by hand: each looks at an octet a bounded number of times, so hostile text costs no
 * more than harmless text of its length, and nothing recurses.
 *
 * Letters are compared as ASCII. JSON is expected as base/jsonw.h writes it: no letter of a word is
 * ever an escape there, so looking for words in the raw text is enough. */
#include "mask.h"

#include <string.h>
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/jsonw.h"
#include "base/utf8.h"

#define NONE SIZE_MAX

static const char *const secret_words[] = {
	"adminpass",
	"admin_pass",
	"password",
	"admin_password",
	"auth_token",
	"new_pass",
	"auth_password",
	"secret_uuid",
	"secret",
	"sys_pswd",
	"token",
	"configdrive",
	"chappassword",
	"encrypted_key",
	"private_key",
	"fernetkey",
	"sslkey",
	"passphrase",
	"cephclusterfsid",
	"octaviaheartbeatkey",
	"rabbitcookie",
	"cephmanilaclientkey",
	"pacemakerremoteauthkey",
	"designaterndckey",
	"cephadminkey",
	"heatauthencryptionkey",
	"cephclientkey",
	"keystonecredential",
	"barbicansimplecryptokek",
	"cephrgwkey",
	"swifthashsuffix",
	"migrationsshkey",
	"cephmdskey",
	"cephmonkey",
};

/* -- is there anything to do? ------------------------------------------------------------------ */

/* A number that is the same for a letter and its capital. */
static unsigned fold(char c)
{
	return (unsigned char)c & 31;
}

static bool word_at(const char *text, size_t n)
{
	for (size_t i = 0; i < ARRAY_LEN(secret_words); i++) {
		size_t len = strlen(secret_words[i]);

		if (fold(text[0]) == fold(secret_words[i][0]) && len <= n &&
		    strncasecmp(text, secret_words[i], len) == 0)
			return true;
	}
	return false;
}

bool mask_needed(const char *text, size_t n)
{
	uint32_t pairs[32] = {0}; /* by first letter: the second letters that some word has */

	for (size_t i = 0; i < ARRAY_LEN(secret_words); i++)
		pairs[fold(secret_words[i][0])] |= UINT32_C(1) << fold(secret_words[i][1]);
	for (size_t i = 0; i + 1 < n; i++) {
		if (pairs[fold(text[i])] >> fold(text[i + 1]) & 1 && word_at(text + i, n - i))
			return true;
	}
	return false;
}

/* -- texts ------------------------------------------------------------------------------------- */

struct hay {
	const char *text, *lower; /* @lower: ASCII capitals made small */
	size_t n;
};

/* A word found in the hay: at [word, behind), its trailing digits included. @from: where the match
 * may begin at the earliest. */
struct spot {
	size_t from, word, behind;
	const char *needle;
	size_t n_needle;
};

/* The secret at [start, end), and where to go on looking. */
struct found {
	size_t start, end, next;
};

static bool has(const struct hay *h, size_t i, char c)
{
	return i < h->n && h->lower[i] == c;
}

static bool is_quote_at(const struct hay *h, size_t i)
{
	return has(h, i, '\'') || has(h, i, '"');
}

static bool is_space(uint32_t c)
{
	return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
	       c == 0x3000;
}

/* The length of the blank that the text has at @i, 0 if it has none. */
static size_t space_at(const struct hay *h, size_t i)
{
	uint32_t c;
	size_t n = i < h->n ? utf8_decode(h->text + i, h->n - i, &c) : 0;

	return n > 0 && is_space(c) ? n : 0;
}

static size_t skip_space(const struct hay *h, size_t i)
{
	size_t n;

	while ((n = space_at(h, i)) > 0)
		i += n;
	return i;
}

static size_t skip_digits(const struct hay *h, size_t i)
{
	while (i < h->n && h->text[i] >= '0' && h->text[i] <= '9')
		i++;
	return i;
}

/* Over whatever is neither blank nor one of @stop. */
static size_t skip_dense(const struct hay *h, size_t i, const char *stop)
{
	while (i < h->n && !(h->text[i] && strchr(stop, h->text[i])) && space_at(h, i) == 0)
		i++;
	return i;
}

/* Over blanks, one @c, and blanks; NONE if there is no @c. */
static size_t skip_mark(const struct hay *h, size_t i, char c)
{
	i = skip_space(h, i);
	return has(h, i, c) ? skip_space(h, i + 1) : NONE;
}

/* What stands from behind the quote at @open to the next octet that is one of @closing. */
static bool quoted(const struct hay *h, size_t open, const char *closing, struct found *ret)
{
	size_t end = open + 1;

	while (end < h->n && !(h->text[end] && strchr(closing, h->text[end])))
		end++;
	if (end >= h->n)
		return false;
	*ret = (struct found){open + 1, end, end + 1};
	return true;
}

/* word = "secret": the quotes that may open and those that may close are @quotes. */
static bool assigned(const struct hay *h, const struct spot *s, const char *quotes, struct found *ret)
{
	size_t i = skip_mark(h, s->behind, '=');

	if (i == NONE || i >= h->n || !h->text[i] || !strchr(quotes, h->text[i]))
		return false;
	return quoted(h, i, quotes, ret);
}

static bool assigned_any(const struct hay *h, const struct spot *s, struct found *ret)
{
	return assigned(h, s, "'\"", ret);
}

static bool assigned_double(const struct hay *h, const struct spot *s, struct found *ret)
{
	return assigned(h, s, "\"", ret);
}

static bool assigned_single(const struct hay *h, const struct spot *s, struct found *ret)
{
	return assigned(h, s, "'", ret);
}

/* word "secret" */
static bool followed(const struct hay *h, const struct spot *s, struct found *ret)
{
	size_t i = skip_space(h, s->behind);

	return i > s->behind && is_quote_at(h, i) && quoted(h, i, "'\"", ret);
}

/* --word secret */
static bool flag(const struct hay *h, const struct spot *s, struct found *ret)
{
	size_t i = skip_space(h, s->behind), end;

	if (i == s->behind || s->word < s->from + 2 || memcmp(h->text + s->word - 2, "--", 2) != 0)
		return false;
	end = skip_dense(h, i, "'^\"=");
	*ret = (struct found){i, end, skip_space(h, end)};
	return end > i;
}

/* <word>secret</word> */
static bool element(const struct hay *h, const struct spot *s, struct found *ret)
{
	const char *end;
	size_t i;

	if (s->word < s->from + 1 || h->text[s->word - 1] != '<' || !has(h, s->behind, '>'))
		return false;
	end = memchr(h->text + s->behind, '<', h->n - s->behind);
	i = end ? (size_t)(end - h->text) : h->n;
	if (!has(h, i + 1, '/') || h->n - (i + 2) < s->n_needle ||
	    memcmp(h->lower + i + 2, s->needle, s->n_needle) != 0)
		return false;
	*ret = (struct found){s->behind + 1, i, skip_digits(h, i + 2 + s->n_needle) + 1};
	return has(h, ret->next - 1, '>');
}

/* 'word': 'secret' */
static bool member(const struct hay *h, const struct spot *s, struct found *ret)
{
	size_t i;

	if (s->word < s->from + 1 || !is_quote_at(h, s->word - 1) || !is_quote_at(h, s->behind))
		return false;
	i = skip_mark(h, s->behind + 1, ':');
	return i != NONE && is_quote_at(h, i) && quoted(h, i, "'\"", ret);
}

/* 'something with the word at its end': where the colon or the comma may come, NONE if it is not so. */
static size_t behind_quoted_word(const struct hay *h, const struct spot *s)
{
	size_t i = s->word;

	if (!is_quote_at(h, s->behind))
		return NONE;
	while (i > s->from && !is_quote_at(h, i - 1))
		i--;
	return i > s->from ? s->behind + 1 : NONE;
}

/* Python's u'text': over the u. */
static size_t skip_u(const struct hay *h, size_t i)
{
	return has(h, i, 'u') ? i + 1 : i;
}

/* 'some word': u'...' -- the place of the quote that opens the value, NONE if there is none. */
static size_t member_value(const struct hay *h, const struct spot *s)
{
	size_t i = behind_quoted_word(h, s);

	i = i == NONE ? NONE : skip_mark(h, i, ':');
	i = i == NONE ? NONE : skip_u(h, i);
	return i != NONE && is_quote_at(h, i) ? i : NONE;
}

static bool member_ending_so(const struct hay *h, const struct spot *s, struct found *ret)
{
	size_t i = member_value(h, s);

	return i != NONE && quoted(h, i, "'\"", ret);
}

/* The letters that options are made of, with the six signs between Z and a. */
static size_t skip_letters(const struct hay *h, size_t i)
{
	while (i < h->n && h->text[i] >= 'A' && h->text[i] <= 'z')
		i++;
	return i;
}

static size_t skip_dashes(const struct hay *h, size_t i)
{
	if (!has(h, i, '-'))
		return NONE;
	return has(h, i + 1, '-') ? i + 2 : i + 1;
}

/* 'some word', '--option', 'secret' */
static bool argument(const struct hay *h, const struct spot *s, struct found *ret)
{
	size_t i = behind_quoted_word(h, s), letters;

	i = i == NONE ? NONE : skip_mark(h, i, ',');
	if (i == NONE || !has(h, i, '\''))
		return false;
	letters = skip_dashes(h, i + 1);
	i = letters == NONE ? NONE : skip_letters(h, letters);
	if (i == NONE || i == letters || !has(h, i, '\''))
		return false;
	i = skip_mark(h, i + 1, ',');
	i = i == NONE ? NONE : skip_u(h, i);
	return i != NONE && is_quote_at(h, i) && quoted(h, i, "'\"", ret);
}

/* word --option secret. With nothing behind the option, its last letter passes for the secret. */
static bool option(const struct hay *h, const struct spot *s, struct found *ret)
{
	size_t letters = skip_dashes(h, skip_space(h, s->behind)), behind, i;

	if (letters == NONE)
		return false;
	behind = skip_letters(h, letters);
	i = skip_space(h, behind);
	if (behind == letters || (i >= h->n && behind == letters + 1))
		return false;
	if (i >= h->n)
		i = behind - 1;
	ret->start = i;
	ret->end = skip_dense(h, i, "");
	ret->next = skip_space(h, ret->end);
	return true;
}

/* word = secret */
static bool assigned_bare(const struct hay *h, const struct spot *s, struct found *ret)
{
	size_t i = skip_mark(h, s->behind, '='), end;

	if (i == NONE)
		return false;
	end = skip_dense(h, i, "^'\"");
	*ret = (struct found){i, end, end};
	return end > i;
}

static size_t quote_before(const struct hay *h, size_t i)
{
	while (i > 0 && !is_quote_at(h, i - 1))
		i--;
	return i > 0 ? i - 1 : NONE;
}

/* 'some word': 'anything with quotes in it': what stands between the last two quotes of all goes,
 * and the last one with it. */
static bool member_with_quotes(const struct hay *h, const struct spot *s, struct found *ret)
{
	size_t value = member_value(h, s), last, before;

	if (value == NONE)
		return false;
	last = quote_before(h, h->n);
	before = quote_before(h, last);
	*ret = (struct found){before + 1, last + 1, last + 1};
	return before != NONE && before > value;
}

/* In this order, each with what the secret becomes. */
static const struct form {
	bool (*at)(const struct hay *h, const struct spot *s, struct found *ret);
	const char *mask;
} forms[] = {
	{assigned_any, "***"}, {assigned_double, "***"}, {assigned_single, "***"}, {followed, "***"},
	{flag, "***"},         {element, "***"},         {member, "***"},          {member_ending_so, "***"},
	{argument, "***"},     {option, "***"},          {assigned_bare, "***"},   {member_with_quotes, ""},
};

/* The first place from @from on where @f stands with @needle. */
static bool find_form(const struct hay *h, const struct form *f, const char *needle, size_t from,
		      struct found *ret)
{
	struct spot s = {.from = from, .needle = needle, .n_needle = strlen(needle)};
	size_t i = from;

	while (i < h->n) {
		const char *word = memmem(h->lower + i, h->n - i, needle, s.n_needle);

		if (!word)
			return false;
		s.word = (size_t)(word - h->lower);
		s.behind = skip_digits(h, s.word + s.n_needle);
		if (f->at(h, &s, ret))
			return true;
		i = s.word + 1;
	}
	return false;
}

/* @ret gets the text with every secret in this form masked. False if there is none. */
static bool mask_form(const struct hay *h, const struct form *f, const char *needle, struct buf *ret)
{
	struct found found;
	size_t copied = 0, from = 0;

	buf_reset(ret);
	while (find_form(h, f, needle, from, &found)) {
		buf_add(ret, h->text + copied, found.start - copied);
		buf_adds(ret, f->mask);
		copied = found.end;
		from = found.next;
	}
	if (copied == 0)
		return false;
	buf_add(ret, h->text + copied, h->n - copied);
	return true;
}

static void lower_into(struct buf *lower, const struct buf *text)
{
	char *to;

	buf_reset(lower);
	to = buf_reserve(lower, text->len);
	if (!to)
		return;
	for (size_t i = 0; i < text->len; i++) {
		char c = text->data[i];

		to[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	lower->len = text->len;
}

static void swap(struct buf *a, struct buf *b)
{
	struct buf c = *a;

	*a = *b;
	*b = c;
}

int mask_text(struct buf *text)
{
	AUTO(buf_done) struct buf lower = {0}, spare = {0};

	if (text->len == 0)
		return 0;
	lower_into(&lower, text);
	for (size_t w = 0; w < ARRAY_LEN(secret_words) && !lower.failed; w++) {
		if (!memmem(lower.data, lower.len, secret_words[w], strlen(secret_words[w])))
			continue;
		for (size_t f = 0; f < ARRAY_LEN(forms) && !lower.failed; f++) {
			struct hay h = {text->data, lower.data, text->len};

			if (!mask_form(&h, &forms[f], secret_words[w], &spare))
				continue;
			swap(text, &spare);
			if (text->failed)
				return ERR_NO_MEMORY;
			lower_into(&lower, text);
		}
	}
	return lower.failed ? ERR_NO_MEMORY : 0;
}

/* -- JSON -------------------------------------------------------------------------------------- */

/* Walks over the text once. Inside of objects only: an array is copied, so the depth is all there
 * is to remember. */
struct walk {
	const char *p, *end;
	struct buf *out;
	size_t depth;
};

static void copy_to(struct walk *w, const char *to)
{
	buf_add(w->out, w->p, (size_t)(to - w->p));
	w->p = to;
}

static char next_char(struct walk *w)
{
	const char *p = w->p;

	while (p < w->end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	copy_to(w, p);
	return p < w->end ? *p : '\0';
}

/* Behind the string that begins at @p; NULL if it does not end. */
static const char *string_end(const struct walk *w, const char *p)
{
	for (p++; p < w->end && *p != '"'; p++) {
		if (*p == '\\')
			p++;
	}
	return p < w->end ? p + 1 : NULL;
}

static const char *array_end(const struct walk *w, const char *p)
{
	size_t depth = 0;

	while (p && p < w->end) {
		if (*p == '[' || *p == '{')
			depth++;
		if ((*p == ']' || *p == '}') && --depth == 0)
			return p + 1;
		p = *p == '"' ? string_end(w, p) : p + 1;
	}
	return NULL;
}

static const char *scalar_end(const struct walk *w, const char *p)
{
	const char *start = p;

	while (p < w->end && !strchr(", \t\r\n}]:\"", *p))
		p++;
	return p > start ? p : NULL;
}

static const char *value_end(const struct walk *w)
{
	switch (*w->p) {
	case '"':
		return string_end(w, w->p);
	case '[':
		return array_end(w, w->p);
	default:
		return scalar_end(w, w->p);
	}
}

/* The text that the string [p, end) stands for. */
static int unquote(const char *p, const char *end, struct buf *ret)
{
	json_error_t why = {0};
	json_t *string = json_loadb(p, (size_t)(end - p), JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);

	if (!json_is_string(string)) {
		json_decref(string);
		return json_error_code(&why) == json_error_out_of_memory ? ERR_NO_MEMORY : ERR_INVALID;
	}
	buf_add(ret, json_string_value(string), json_string_length(string));
	json_decref(string);
	return ret->failed ? ERR_NO_MEMORY : 0;
}

static int walk_key(struct walk *w, bool *ret_secret)
{
	AUTO(buf_done) struct buf key = {0};
	const char *end = string_end(w, w->p);
	int r = 0;

	if (!end)
		return ERR_INVALID;
	*ret_secret = mask_needed(w->p, (size_t)(end - w->p));
	if (*ret_secret && memchr(w->p, '\\', (size_t)(end - w->p))) {
		r = unquote(w->p, end, &key);
		*ret_secret = r == 0 && mask_needed(buf_cstr(&key), key.len);
	}
	copy_to(w, end);
	if (r == 0 && next_char(w) != ':')
		r = ERR_INVALID;
	if (r == 0)
		copy_to(w, w->p + 1);
	return r;
}

static int walk_string(struct walk *w, const char *end)
{
	AUTO(buf_done) struct buf text = {0};
	int r;

	if (!mask_needed(w->p, (size_t)(end - w->p))) {
		copy_to(w, end);
		return 0;
	}
	r = unquote(w->p, end, &text);
	if (r == 0)
		r = mask_text(&text);
	if (r == 0)
		jsonw_quote(w->out, buf_cstr(&text), text.len);
	w->p = end;
	return r;
}

/* At the first octet of a value that is no object. */
static int walk_value(struct walk *w, bool secret)
{
	const char *end = value_end(w);

	if (!end)
		return ERR_INVALID;
	if (*w->p == '"' && !secret)
		return walk_string(w, end);
	if (secret) {
		buf_adds(w->out, "\"***\"");
		w->p = end;
	}
	copy_to(w, end);
	return 0;
}

/* Behind a value: closes the objects that end here; false when that was the last of them. */
static int walk_closing(struct walk *w, bool *ret_more)
{
	char c = next_char(w);

	while (c == '}' && w->depth > 0) {
		w->depth--;
		copy_to(w, w->p + 1);
		c = next_char(w);
	}
	*ret_more = w->depth > 0;
	if (w->depth == 0)
		return c == '\0' && w->p == w->end ? 0 : ERR_INVALID;
	if (c != ',')
		return ERR_INVALID;
	copy_to(w, w->p + 1);
	return 0;
}

/* A member, or, where it opens an object, all up to the first value that is none. */
static int walk_member(struct walk *w)
{
	bool secret;
	int r;

	while (next_char(w) == '"') {
		r = walk_key(w, &secret);
		if (r < 0)
			return r;
		if (next_char(w) != '{')
			return w->p < w->end ? walk_value(w, secret) : ERR_INVALID;
		copy_to(w, w->p + 1);
		w->depth++;
		if (next_char(w) == '}')
			return 0;
	}
	return ERR_INVALID;
}

int mask_json(struct buf *out, const char *json, size_t n)
{
	struct walk w = {json, json + n, out, 0};
	bool more = true;
	int r = 0;

	if (next_char(&w) == '\0')
		return ERR_INVALID;
	if (*w.p == '{') {
		copy_to(&w, w.p + 1);
		w.depth = 1;
		if (next_char(&w) == '}')
			r = walk_closing(&w, &more);
	} else {
		r = walk_value(&w, false);
		more = false;
		if (r == 0)
			r = walk_closing(&w, &more);
	}
	while (r == 0 && more) {
		r = walk_member(&w);
		if (r == 0)
			r = walk_closing(&w, &more);
	}
	if (r == 0 && out->failed)
		r = ERR_NO_MEMORY;
	return r;
}

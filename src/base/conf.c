/* SPDX-License-Identifier: Apache-2.0
 * base/conf.c -- the configuration.
 *
 * Each option of the table, and each option of an aliased section, has a slot, sorted for lookup.
 * Reading only collects what was written, as `struct written`, in its slot or among the strays. Then
 * everything is settled at once: an option may refer to any other, whichever comes first, and
 * what counts is the value that wins in the end.
 *
 * (1) Whatever a getter returns lives in the arena, so until conf_free().
 * (2) A file is at most MAX_FILE. A slot is settled once a round, a chain of references is at most
 *     MAX_DEPTH long, a value at most MAX_VALUE, all of them MAX_VALUES: hostile references cost no more than
 * that. */
#include "conf.h"

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "ini.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MAX_FILE ((size_t)1024 * 1024)
#define MAX_VALUE ((size_t)64 * 1024)
#define MAX_VALUES ((size_t)4 * 1024 * 1024) /* all together: many values may refer to one long one */
#define MAX_DEPTH 16

/* One "name = value" as it stood somewhere. */
struct written {
	struct written *next;
	const char *path; /* NULL: not from a file */
	unsigned line;
	const char *section, *name; /* as written */
	const char *text;
};

struct writings {
	struct written *first, **last;
};

enum progress { SLOT_OPEN, SLOT_BUSY, SLOT_SETTLED };

struct slot {
	const struct conf_option *option;
	const char *section; /* option->section, or its alias */
	struct writings writings;

	/* What settling made of it. */
	enum progress progress;
	bool is_set;
	const char *text; /* of the last value, references replaced; NULL: none */
	int64_t number;   /* INT, BOOL */
	const char **items;
	size_t n_items; /* LIST, MULTI */
};

struct conf {
	struct arena arena;
	const struct conf_option *options;
	struct slot **slots; /* sorted by compare_slots() */
	size_t n_slots;
	struct writings strays;
	size_t n_settled; /* octets of all values of this round */
};

/* Names. */

static int compare_sections(const char *a, const char *b)
{
	int d = strcasecmp(a, b);

	return d == 0 && strcasecmp(a, "DEFAULT") == 0 ? strcmp(a, b) : d;
}

static int compare_names(const char *a, const char *b)
{
	for (;; a++, b++) {
		char x = *a == '-' ? '_' : *a, y = *b == '-' ? '_' : *b;

		if (x != y || x == '\0')
			return (unsigned char)x - (unsigned char)y;
	}
}

static int compare_slots(const void *a, const void *b)
{
	const struct slot *x = *(struct slot *const *)a, *y = *(struct slot *const *)b;
	int d = compare_sections(x->section, y->section);

	return d ? d : compare_names(x->option->name, y->option->name);
}

static struct slot *find_slot(const struct conf *c, const char *section, const char *name)
{
	struct conf_option option = {.name = name};
	struct slot wanted = {.option = &option, .section = section}, *key = &wanted, **found;

	if (c->n_slots == 0)
		return NULL;
	found = bsearch(&key, c->slots, c->n_slots, sizeof(struct slot *), compare_slots);
	return found ? *found : NULL;
}

/* What was written. */

static void init_writings(struct writings *ws)
{
	ws->first = NULL;
	ws->last = &ws->first;
}

static void add_written(struct writings *ws, struct written *w)
{
	w->next = NULL;
	*ws->last = w;
	ws->last = &w->next;
}

/* The last of a slot, which wins; NULL if there is none. */
static const struct written *last_written(const struct slot *s)
{
	const struct written *w = s->writings.first;

	while (w && w->next)
		w = w->next;
	return w;
}

/* Errors. */

#define SHOWN_VALUE 80

/* @text, so that it is one line and not too long for a message. */
static const char *shown(const char *text, char out[SHOWN_VALUE])
{
	size_t n = 0;

	for (; n < SHOWN_VALUE - 1 && text[n]; n++)
		out[n] = text[n];
	if (text[n]) { /* cut off: three dots, and not half a character before them */
		n = SHOWN_VALUE - 4;
		while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--;
		memcpy(out + n, "...", 3);
		n += 3;
	}
	out[n] = '\0';
	for (char *p = out; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	}
	return out;
}

/* "file:12: [section] name: why". @w may be NULL: the default of the table. */
static int PRINTF_LIKE(4, 5)
	refuse_option(struct err *err, const struct slot *s, const struct written *w, const char *fmt, ...)
{
	char why[256], where[300] = "";
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (w && w->path)
		(void)snprintf(where, sizeof(where), "%s:%u: ", w->path, w->line);
	return err_set(err, ERR_INVALID, "%s[%s] %s: %s", where, s->section, s->option->name, why);
}

static int refuse_value(struct err *err, const struct slot *s, const char *why)
{
	char value[SHOWN_VALUE];

	return refuse_option(err, s, last_written(s), "\"%s\" is not %s", shown(s->text, value), why);
}

/* References. */

static int settle(struct conf *c, struct slot *s, unsigned depth, struct err *err);

static bool starts_name(char c)
{
	return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The length of the name at @s, 0 if there is none. */
static size_t name_length(const char *s)
{
	size_t n = 0;

	if (!starts_name(*s))
		return 0;
	while (starts_name(s[n]) || s[n] == '.' || (s[n] >= '0' && s[n] <= '9'))
		n++;
	return n;
}

/* What "name" or "section.name" in a value of section @from means; NULL if nothing. @name is as it
 * was when this returns. */
static struct slot *find_target(struct conf *c, const char *from, char *name)
{
	char *dot = strchr(name, '.');
	struct slot *target;

	if (dot) {
		*dot = '\0';
		target = find_slot(c, name, dot + 1);
		*dot = '.';
		return target;
	}
	target = find_slot(c, from, name);
	return target ? target : find_slot(c, "DEFAULT", name);
}

struct expansion {
	struct conf *c;
	struct slot *slot;       /* whose value it is */
	const struct written *w; /* which one; NULL: the default */
	unsigned depth;
	struct buf out;
};

static int add_target(struct expansion *x, const char *name, size_t n, struct err *err)
{
	AUTO(free_p) char *copy = strndup(name, n);
	char label[SHOWN_VALUE];
	struct slot *target;
	int r;

	if (!copy)
		return err_nomem(err);
	target = find_target(x->c, x->slot->section, copy);
	if (!target)
		return refuse_option(err, x->slot, x->w, "\"$%s\" names no option", shown(copy, label));
	if (target->progress == SLOT_BUSY)
		return refuse_option(err, x->slot, x->w, "\"$%s\" refers back to itself", shown(copy, label));
	if (x->depth >= MAX_DEPTH)
		return refuse_option(err, x->slot, x->w, "\"$%s\" refers too deep", shown(copy, label));
	r = settle(x->c, target, x->depth + 1, err);
	if (r == 0 && target->text)
		buf_adds(&x->out, target->text);
	return r;
}

/* @p stands at a '$'. Appends what it stands for; *ret_used is how much of @p that was. */
static int expand_dollar(struct expansion *x, const char *p, size_t *ret_used, struct err *err)
{
	bool braced = p[1] == '{';
	const char *name = p + (braced ? 2 : 1);
	size_t n = name_length(name);

	if (n == 0 || (braced && name[n] != '}')) { /* "$$", or a dollar that means itself */
		buf_addc(&x->out, '$');
		*ret_used = p[1] == '$' ? 2 : 1;
		return 0;
	}
	*ret_used = (size_t)(name - p) + n + (braced ? 1 : 0);
	return add_target(x, name, n, err);
}

static int expand_into(struct expansion *x, const char *p, struct err *err)
{
	while (*p) {
		size_t n = strcspn(p, "\\$");
		int r = 0;

		buf_add(&x->out, p, n);
		p += n;
		n = 0;
		if (*p == '$') {
			r = expand_dollar(x, p, &n, err);
		} else if (*p == '\\') {
			n = p[1] == '$' ? 2 : 1;
			buf_addc(&x->out, p[n - 1]);
		}
		if (r < 0)
			return r;
		if (x->out.len > MAX_VALUE || x->c->n_settled + x->out.len > MAX_VALUES)
			return refuse_option(err, x->slot, x->w, "too long");
		p += n;
	}
	return x->out.failed ? err_nomem(err) : 0;
}

/* @text with its references replaced, in the arena. */
static int expand(struct expansion *x, const char *text, const char **ret, struct err *err)
{
	int r = expand_into(x, text, err);

	if (r == 0) {
		x->c->n_settled += x->out.len;
		*ret = arena_strndup(&x->c->arena, buf_cstr(&x->out), x->out.len);
		if (!*ret)
			r = err_nomem(err);
	}
	buf_done(&x->out);
	return r;
}

/* Types: each makes of s->text what its getter returns. */

/* The octets of @s without the blanks around. */
static void trim(const char **s, size_t *n)
{
	while (*n > 0 && strchr(" \t\n\v\f\r", **s)) {
		(*s)++;
		(*n)--;
	}
	while (*n > 0 && strchr(" \t\n\v\f\r", (*s)[*n - 1]))
		(*n)--;
}

static bool parse_int(const char *s, size_t n, int64_t *ret)
{
	bool negative = n > 0 && *s == '-';
	size_t i = n > 0 && (*s == '-' || *s == '+') ? 1 : 0;
	int64_t value = 0;

	if (i == n)
		return false;
	for (; i < n; i++) {
		int digit = s[i] - '0';

		if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, negative ? -digit : digit, &value))
			return false;
	}
	*ret = value;
	return true;
}

static int settle_int(struct slot *s, struct err *err)
{
	const struct conf_option *o = s->option;
	const char *text = s->text;
	size_t n = strlen(text);
	char range[64];
	int64_t v;

	trim(&text, &n);
	if (!parse_int(text, n, &v))
		return refuse_value(err, s, "a whole number");
	if ((o->min != 0 || o->max != 0) && (v < o->min || v > o->max)) {
		(void)snprintf(range, sizeof(range), "from %lld to %lld", (long long)o->min,
			       (long long)o->max);
		return refuse_value(err, s, range);
	}
	s->number = v;
	return 0;
}

static int settle_bool(struct slot *s, struct err *err)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcasecmp(s->text, words[i]) == 0) {
			s->number = (int64_t)(i % 2);
			return 0;
		}
	}
	return refuse_value(err, s, "true or false");
}

static int settle_choice(struct slot *s, struct err *err)
{
	size_t n = strlen(s->text);
	char why[192];

	for (const char *p = s->option->choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
		if (strcspn(p, "|") == n && memcmp(p, s->text, n) == 0)
			return 0;
	}
	(void)snprintf(why, sizeof(why), "one of %s", s->option->choices);
	return refuse_value(err, s, why);
}

static int settle_list(struct conf *c, struct slot *s, struct err *err)
{
	const char *text = s->text;
	size_t n = strlen(text), most = 2;

	trim(&text, &n);
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	for (size_t i = 0; i < n; i++)
		most += text[i] == ',';
	s->items = arena_alloc(&c->arena, most * sizeof(*s->items));
	if (!s->items)
		return err_nomem(err);
	for (const char *end = text + n; text < end;) {
		const char *comma = memchr(text, ',', (size_t)(end - text));
		const char *item = text;
		size_t length = (size_t)((comma ? comma : end) - text);

		text += length + 1;
		trim(&item, &length);
		if (length == 0)
			continue;
		s->items[s->n_items] = arena_strndup(&c->arena, item, length);
		if (!s->items[s->n_items++])
			return err_nomem(err);
	}
	return 0;
}

static int settle_type(struct conf *c, struct slot *s, struct err *err)
{
	switch (s->option->type) {
	case CONF_INT:
		return settle_int(s, err);
	case CONF_BOOL:
		return settle_bool(s, err);
	case CONF_CHOICE:
		return settle_choice(s, err);
	case CONF_LIST:
		return settle_list(c, s, err);
	case CONF_STRING:
	case CONF_MULTI:
	case CONF_IGNORED:
		break;
	}
	return 0;
}

/* Settling: from what was written to what the getters return. */

static int settle_multi(struct expansion *x, struct slot *s, struct err *err)
{
	size_t n = 1;
	int r = 0;

	for (const struct written *w = s->writings.first; w; w = w->next)
		n++;
	s->items = arena_alloc(&x->c->arena, (n + 1) * sizeof(*s->items));
	if (!s->items)
		return err_nomem(err);
	if (!s->is_set && s->option->fallback)
		r = expand(x, s->option->fallback, &s->items[s->n_items++], err);
	for (x->w = s->writings.first; x->w && r == 0; x->w = x->w->next)
		r = expand(x, x->w->text, &s->items[s->n_items++], err);
	if (r == 0 && s->n_items > 0)
		s->text = s->items[s->n_items - 1];
	return r;
}

static int settle_single(struct expansion *x, struct slot *s, struct err *err)
{
	const char *text = s->is_set ? x->w->text : s->option->fallback;
	int r = text ? expand(x, text, &s->text, err) : 0;

	return r == 0 && s->text ? settle_type(x->c, s, err) : r;
}

static int settle(struct conf *c, struct slot *s, unsigned depth, struct err *err)
{
	struct expansion x = {.c = c, .slot = s, .w = last_written(s), .depth = depth};
	int r;

	if (s->progress == SLOT_SETTLED)
		return 0;
	s->progress = SLOT_BUSY;
	s->is_set = x.w && !(s->option->type == CONF_INT && x.w->text[0] == '\0');
	s->text = NULL;
	s->number = 0;
	s->items = NULL;
	s->n_items = 0;
	r = s->option->type == CONF_MULTI ? settle_multi(&x, s, err) : settle_single(&x, s, err);
	s->progress = SLOT_SETTLED;
	return r;
}

static int settle_all(struct conf *c, struct err *err)
{
	int r = 0;

	c->n_settled = 0;
	for (size_t i = 0; i < c->n_slots; i++)
		c->slots[i]->progress = SLOT_OPEN;
	for (size_t i = 0; i < c->n_slots && r == 0; i++)
		r = settle(c, c->slots[i], 0, err);
	return r;
}

/* Slots. */

static struct slot *new_slot(struct conf *c, const struct conf_option *o, const char *section)
{
	struct slot *s = arena_alloc(&c->arena, sizeof(*s));

	if (s) {
		s->option = o;
		s->section = section;
		init_writings(&s->writings);
	}
	return s;
}

static bool wants_slot(const struct conf *c, const struct conf_option *o, const char *section,
		       const char *like)
{
	return !like || (compare_sections(o->section, like) == 0 && !find_slot(c, section, o->name));
}

/* A slot in @section for each option of section @like that has none there yet; if both are NULL, for
 * every option in its own section. */
static int add_slots(struct conf *c, const char *section, const char *like, struct err *err)
{
	size_t n_options = 0, n = c->n_slots;
	struct slot **slots;

	while (c->options[n_options].section)
		n_options++;
	slots = arena_alloc(&c->arena, (n + n_options + 1) * sizeof(*slots));
	if (!slots)
		return err_nomem(err);
	if (n > 0)
		memcpy(slots, c->slots, n * sizeof(*slots));
	for (const struct conf_option *o = c->options; o->section; o++) {
		if (!wants_slot(c, o, section, like))
			continue;
		slots[n] = new_slot(c, o, section ? section : o->section);
		if (!slots[n++])
			return err_nomem(err);
	}
	qsort(slots, n, sizeof(*slots), compare_slots);
	c->slots = slots;
	c->n_slots = n;
	return 0;
}

static bool has_duplicates(const struct conf *c)
{
	for (size_t i = 1; i < c->n_slots; i++) {
		if (compare_slots(&c->slots[i - 1], &c->slots[i]) == 0)
			return true;
	}
	return false;
}

int conf_new(const struct conf_option *options, struct conf **ret, struct err *err)
{
	AUTO(conf_free_p) struct conf *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_nomem(err);
	c->options = options;
	init_writings(&c->strays);
	r = add_slots(c, NULL, NULL, err);
	if (r < 0)
		return r;
	assert(!has_duplicates(c)); /* the table names an option twice */
	r = settle_all(c, err);
	if (r < 0)
		return r;
	*ret = TAKE(c);
	return 0;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	arena_done(&c->arena);
	free(c);
}

void conf_free_p(struct conf **c)
{
	conf_free(*c);
}

/* Reading. */

struct reading {
	struct conf *c;
	const char *path; /* in the arena */
	conf_warn_fn *warn;
	void *warn_cls;
	struct err *err;
};

/* Is @name what the ignored option @o is called? A '*' at its end stands for anything. */
static bool covers(const struct conf_option *o, const char *name)
{
	size_t n = strlen(o->name);

	if (n > 0 && o->name[n - 1] == '*')
		return strncmp(o->name, name, n - 1) == 0;
	return compare_names(o->name, name) == 0;
}

/* Why an option is ignored though it is no mistake; NULL: nothing is known of it. */
static const char *why_ignored(const struct conf *c, const struct written *w)
{
	for (size_t i = 0; i < c->n_slots; i++) {
		const struct slot *s = c->slots[i];

		if (s->option->type == CONF_IGNORED && compare_sections(s->section, w->section) == 0 &&
		    covers(s->option, w->name))
			return s->option->help;
	}
	return NULL;
}

static void warn_stray(const struct conf *c, const struct written *w, conf_warn_fn *warn, void *cls)
{
	char message[512], section[SHOWN_VALUE], name[SHOWN_VALUE];
	const char *why = why_ignored(c, w);

	(void)shown(w->section, section);
	(void)shown(w->name, name);
	if (why)
		(void)snprintf(message, sizeof(message), "option [%s] %s is ignored. %s", section, name, why);
	else
		(void)snprintf(message, sizeof(message), "unknown option [%s] %s, ignored", section, name);
	warn(cls, w->path, w->line, message);
}

/* Where what is written for an option goes; NULL: among the strays. */
static struct slot *find_home(const struct conf *c, const char *section, const char *name)
{
	struct slot *s = find_slot(c, section, name);

	return s && s->option->type != CONF_IGNORED ? s : NULL;
}

static struct written *new_written(struct conf *c, const char *section, const char *name, const char *value)
{
	struct written *w = arena_alloc(&c->arena, sizeof(*w));

	if (!w)
		return NULL;
	w->section = arena_strdup(&c->arena, section);
	w->name = arena_strdup(&c->arena, name);
	w->text = arena_strdup(&c->arena, value);
	return w->section && w->name && w->text ? w : NULL;
}

static int collect(void *cls, unsigned line, const char *section, const char *name, const char *value)
{
	struct reading *reading = cls;
	struct slot *slot = find_home(reading->c, section, name);
	struct written *w = new_written(reading->c, section, name, value);

	if (!w)
		return err_nomem(reading->err);
	w->path = reading->path;
	w->line = line;
	add_written(slot ? &slot->writings : &reading->c->strays, w);
	if (!slot && reading->warn)
		warn_stray(reading->c, w, reading->warn, reading->warn_cls);
	return 0;
}

int conf_read_text(struct conf *c, const char *path, const char *text, size_t n, conf_warn_fn *warn,
		   void *cls, struct err *err)
{
	struct reading reading = {c, arena_strdup(&c->arena, path), warn, cls, err};
	int r;

	if (!reading.path)
		return err_nomem(err);
	if (n > MAX_FILE)
		return err_set(err, ERR_INVALID, "%s: larger than %zu octets", path, MAX_FILE);
	r = ini_parse(reading.path, text, n, collect, &reading, err);
	return r < 0 ? r : settle_all(c, err);
}

/* All of @fd, or one octet more than is allowed. */
static int slurp(int fd, const char *path, struct buf *out, struct err *err)
{
	ssize_t got;

	do {
		char *end = buf_reserve(out, 16 * 1024);

		if (!end)
			return err_nomem(err);
		got = read(fd, end, 16 * 1024);
		if (got < 0 && errno != EINTR)
			return err_set(err, ERR_INVALID, "%s: cannot be read: %s", path, strerror(errno));
		if (got > 0)
			out->len += (size_t)got;
	} while (got != 0 && out->len <= MAX_FILE);
	return 0;
}

int conf_read(struct conf *c, const char *path, conf_warn_fn *warn, void *cls, struct err *err)
{
	AUTO(close_fd_p) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	AUTO(buf_done) struct buf text = {0};
	int r;

	if (fd < 0)
		return err_set(err, ERR_INVALID, "%s: cannot be opened: %s", path, strerror(errno));
	r = slurp(fd, path, &text, err);
	return r < 0 ? r : conf_read_text(c, path, buf_cstr(&text), text.len, warn, cls, err);
}

int conf_set(struct conf *c, const char *section, const char *name, const char *value, struct err *err)
{
	struct slot *slot = find_home(c, section, name);
	struct written *w;

	if (!slot)
		return err_set(err, ERR_INVALID, "there is no option [%s] %s", section, name);
	w = new_written(c, section, name, value);
	if (!w)
		return err_nomem(err);
	add_written(&slot->writings, w);
	return settle_all(c, err);
}

/* Strays that have found their slot go there, in the order in which they were read. */
static void adopt_strays(struct conf *c)
{
	struct written *w = c->strays.first, *next;

	init_writings(&c->strays);
	for (; w; w = next) {
		struct slot *slot = find_home(c, w->section, w->name);

		next = w->next;
		add_written(slot ? &slot->writings : &c->strays, w);
	}
}

int conf_alias_section(struct conf *c, const char *section, const char *like, struct err *err)
{
	const char *copy = arena_strdup(&c->arena, section);
	int r;

	if (!copy)
		return err_nomem(err);
	r = add_slots(c, copy, like, err);
	if (r < 0)
		return r;
	adopt_strays(c);
	return settle_all(c, err);
}

const char *conf_stray_section(const struct conf *c, size_t i)
{
	const struct written *w = c->strays.first;

	while (w && i-- > 0)
		w = w->next;
	return w ? w->section : NULL;
}

void conf_warn_unknown(const struct conf *c, conf_warn_fn *warn, void *cls)
{
	for (const struct written *w = c->strays.first; w; w = w->next)
		warn_stray(c, w, warn, cls);
}

/* Getters. */

static const struct slot *get(const struct conf *c, const char *section, const char *name)
{
	const struct slot *s = find_slot(c, section, name);

	assert(s); /* the table has no such option */
	return s;
}

const char *conf_str(const struct conf *c, const char *section, const char *name)
{
	const struct slot *s = get(c, section, name);

	assert(s->option->type == CONF_STRING || s->option->type == CONF_CHOICE);
	return s->text;
}

int64_t conf_int(const struct conf *c, const char *section, const char *name)
{
	const struct slot *s = get(c, section, name);

	assert(s->option->type == CONF_INT);
	return s->number;
}

bool conf_bool(const struct conf *c, const char *section, const char *name)
{
	const struct slot *s = get(c, section, name);

	assert(s->option->type == CONF_BOOL);
	return s->number != 0;
}

const char *const *conf_list(const struct conf *c, const char *section, const char *name, size_t *ret_n)
{
	static const char *const none[] = {NULL};
	const struct slot *s = get(c, section, name);

	assert(s->option->type == CONF_LIST || s->option->type == CONF_MULTI);
	*ret_n = s->n_items;
	return s->n_items > 0 ? s->items : none;
}

bool conf_is_set(const struct conf *c, const char *section, const char *name)
{
	return get(c, section, name)->is_set;
}

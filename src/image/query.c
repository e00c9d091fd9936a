/* SPDX-License-Identifier: Apache-2.0
 * image/query.c -- GET /v2/images?...: from parameters to filters, order and page.
 *
 * (1) Only tag, sort_key and sort_dir may be repeated with effect; of any other parameter the last
 *     one counts.
 * (2) A parameter that nobody knows filters on the custom property of its name.
 * (3) The order is total: no field twice, created_at and id always among them. The two go in the
 *     direction that was asked for if it was one, else descending. */
#include "image/query.h"

#include <string.h>

#include "base/err.h"
#include "image/text.h"
#include "image/when.h"

#define MAX_PARAMS 128
#define MAX_NAME_CHARS 255    /* no property has a longer name */
#define MAX_VALUE_BYTES 16384 /* lists of a few hundred ids are real */
#define MAX_LIST_VALUES 1000

enum column_kind {
	KIND_OPERATOR, /* a text that takes eq: and in: */
	KIND_TEXT,
	KIND_NUMBER,
	KIND_TIME,
};

static const struct column {
	const char *name;
	enum image_field field;
	enum column_kind kind;
} columns[] = {
	{"name", FIELD_NAME, KIND_OPERATOR},
	{"status", FIELD_STATUS, KIND_OPERATOR},
	{"container_format", FIELD_CONTAINER_FORMAT, KIND_OPERATOR},
	{"disk_format", FIELD_DISK_FORMAT, KIND_OPERATOR},
	{"size", FIELD_SIZE, KIND_NUMBER},
	{"id", FIELD_ID, KIND_OPERATOR},
	{"created_at", FIELD_CREATED_AT, KIND_TIME},
	{"updated_at", FIELD_UPDATED_AT, KIND_TIME},
	{"owner", FIELD_OWNER, KIND_TEXT},
	{"checksum", FIELD_CHECKSUM, KIND_TEXT},
	{"os_hash_algo", FIELD_OS_HASH_ALGO, KIND_TEXT},
	{"os_hash_value", FIELD_OS_HASH_VALUE, KIND_TEXT},
	{"virtual_size", FIELD_VIRTUAL_SIZE, KIND_NUMBER},
	{"min_disk", FIELD_MIN_DISK, KIND_NUMBER},
	{"min_ram", FIELD_MIN_RAM, KIND_NUMBER},
};

#define N_SORTABLE 8 /* the first of them, which are also the first of enum image_field */

struct parsing {
	const struct query_param *params;
	size_t n_params;
	const struct query_limits *limits;
	struct arena *a;
	struct image_query q; /* filters and tags have room for one a parameter, sorts for N_SORTABLE */
};

typedef int param_fn(struct parsing *p, const char *value, struct err *err);

static int bad_value(const char *name, const char *value, const char *expected, struct err *err)
{
	char name_excerpt[TEXT_EXCERPT_SIZE], value_excerpt[TEXT_EXCERPT_SIZE];

	return err_set(err, ERR_INVALID, "The parameter '%s' must be %s, not '%s'.",
		       text_excerpt(name, name_excerpt), expected, text_excerpt(value, value_excerpt));
}

static const struct column *find_column(const char *name, size_t name_len)
{
	for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
		if (strlen(columns[i].name) == name_len && memcmp(columns[i].name, name, name_len) == 0)
			return &columns[i];
	}
	return NULL;
}

/* A decimal number with an optional sign and blanks around it. Too large for us saturates: there
 * is no such image, and no such page, either way. */
static bool read_number(const char *s, int64_t *ret)
{
	int64_t number = 0;
	bool negative;

	while (text_is_blank(*s))
		s++;
	negative = *s == '-';
	if (*s == '-' || *s == '+')
		s++;
	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, *s - '0', &number))
			number = INT64_MAX;
	}
	while (text_is_blank(*s))
		s++;
	*ret = negative ? -number : number;
	return *s == '\0';
}

/* A copy without the blanks around it. */
static const char *trim(struct arena *a, const char *s, size_t n)
{
	while (n > 0 && text_is_blank(s[0])) {
		s++;
		n--;
	}
	while (n > 0 && text_is_blank(s[n - 1]))
		n--;
	return arena_strndup(a, s, n);
}

static void add_filter(struct parsing *p, struct image_filter f)
{
	p->q.filters[p->q.n_filters++] = f;
}

/* -- parameters of their own kind -------------------------------------------------------------- */

static int parse_limit(struct parsing *p, const char *value, struct err *err)
{
	int64_t limit;

	if (!read_number(value, &limit) || limit < 0)
		return bad_value("limit", value, "an integer that is not negative", err);
	p->q.limit = limit < p->limits->max_limit ? limit : p->limits->max_limit;
	return 0;
}

static int parse_marker(struct parsing *p, const char *value, struct err *err)
{
	p->q.marker = arena_strdup(p->a, value);
	return p->q.marker ? 0 : err_nomem(err);
}

static int parse_member_status(struct parsing *p, const char *value, struct err *err)
{
	static const enum member_filter filters[] = {
		[MEMBER_PENDING] = MEMBERS_PENDING,
		[MEMBER_ACCEPTED] = MEMBERS_ACCEPTED,
		[MEMBER_REJECTED] = MEMBERS_REJECTED,
	};
	enum member_status status;

	if (strcmp(value, "all") == 0)
		p->q.members = MEMBERS_ALL;
	else if (member_status_parse(value, &status))
		p->q.members = filters[status];
	else
		return bad_value("member_status", value, "one of pending, accepted, rejected, all", err);
	return 0;
}

static int parse_visibility(struct parsing *p, const char *value, struct err *err)
{
	if (strcmp(value, "all") == 0)
		p->q.visibility_filter = SHOW_ALL;
	else if (image_visibility_parse(value, &p->q.visibility))
		p->q.visibility_filter = SHOW_ONE;
	else
		return bad_value("visibility", value, "one of public, community, shared, private, all", err);
	return 0;
}

/* This one takes any case, `protected` does not: so it has always been. */
static int parse_os_hidden(struct parsing *p, const char *value, struct err *err)
{
	if (strcasecmp(value, "true") != 0 && strcasecmp(value, "false") != 0)
		return bad_value("os_hidden", value, "true or false", err);
	p->q.os_hidden = strcasecmp(value, "true") == 0;
	return 0;
}

static int parse_protected(struct parsing *p, const char *value, struct err *err)
{
	if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
		return bad_value("protected", value, "true or false", err);
	add_filter(p, (struct image_filter){
			      .field = FIELD_PROTECTED, .op = OP_EQ, .number = strcmp(value, "true") == 0});
	return 0;
}

static int parse_tag(struct parsing *p, const char *value, struct err *err)
{
	const char *tag = trim(p->a, value, strlen(value));

	if (!tag)
		return err_nomem(err);
	p->q.tags[p->q.n_tags++] = tag;
	return 0;
}

static int refuse_changes_since(struct parsing *p, const char *value, struct err *err)
{
	return err_set(err, ERR_INVALID,
		       "The parameter 'changes-since' is not supported; use updated_at=gte:TIME.");
}

/* Nobody can ask for deleted images; who does gets the others. Sorting is read in one go later. */
static int ignore(struct parsing *p, const char *value, struct err *err)
{
	return 0;
}

static const struct special {
	const char *name;
	param_fn *parse;
	bool repeats;
} specials[] = {
	{"limit", parse_limit, false},
	{"marker", parse_marker, false},
	{"member_status", parse_member_status, false},
	{"visibility", parse_visibility, false},
	{"os_hidden", parse_os_hidden, false},
	{"protected", parse_protected, false},
	{"tag", parse_tag, true},
	{"changes-since", refuse_changes_since, false},
	{"deleted", ignore, false},
	{"sort", ignore, true},
	{"sort_key", ignore, true},
	{"sort_dir", ignore, true},
};

static const struct special *find_special(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(specials); i++) {
		if (strcmp(specials[i].name, name) == 0)
			return &specials[i];
	}
	return NULL;
}

/* -- filters ----------------------------------------------------------------------------------- */

/* @f with one text of its own. */
static int add_text_filter(struct parsing *p, struct image_filter f, const char *text, struct err *err)
{
	const char **texts = arena_alloc(p->a, sizeof(*texts));

	if (!texts)
		return err_nomem(err);
	texts[0] = arena_strdup(p->a, text);
	if (!texts[0])
		return err_nomem(err);
	f.op = OP_EQ;
	f.texts = texts;
	f.n_texts = 1;
	add_filter(p, f);
	return 0;
}

/* What is left of an in: list, and where its values go, one behind the other. */
struct list {
	const char *in;
	char *out;
};

/* Quotes are there for values with commas; within them a backslash makes a quote or a backslash
 * part of the value. False: the quote has no end, or something between it and the comma. */
static bool next_quoted(struct list *l)
{
	for (l->in++; *l->in && *l->in != '"'; l->in++) {
		if (*l->in == '\\' && (l->in[1] == '"' || l->in[1] == '\\'))
			l->in++;
		*l->out++ = *l->in;
	}
	return *l->in++ == '"' && (*l->in == ',' || *l->in == '\0');
}

static bool next_plain(struct list *l)
{
	for (char before = '\0'; *l->in && *l->in != ','; l->in++) {
		if (*l->in == '"' && before != '\\')
			return false;
		before = *l->in;
		*l->out++ = *l->in;
	}
	return true;
}

/* The next value, with the comma behind it taken too; NULL: bad quotes. */
static const char *next_value(struct list *l)
{
	const char *value = l->out;

	if (!(*l->in == '"' ? next_quoted(l) : next_plain(l)))
		return NULL;
	if (*l->in == ',')
		l->in++;
	*l->out++ = '\0';
	return value;
}

static size_t count_commas(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == ',';
	return n;
}

/* A comma at the end begins no value; nothing at all is a list without values, and matches nothing. */
static int add_list_filter(struct parsing *p, const struct column *c, const char *text, struct err *err)
{
	struct list list = {.in = text, .out = arena_alloc(p->a, strlen(text) + 1)};
	const char **texts = arena_alloc(p->a, (count_commas(text) + 1) * sizeof(*texts));
	size_t n = 0;

	if (!list.out || !texts)
		return err_nomem(err);
	while (*list.in) {
		texts[n] = next_value(&list);
		if (!texts[n++])
			return bad_value(c->name, text, "a list with commas around whole quotes", err);
	}
	if (n > MAX_LIST_VALUES)
		return err_set(err, ERR_INVALID, "The parameter '%s' may list %d values.", c->name,
			       MAX_LIST_VALUES);
	add_filter(p, (struct image_filter){.field = c->field, .op = OP_IN, .texts = texts, .n_texts = n});
	return 0;
}

/* What stands before the first colon is an operator, unless the whole is a time: those have colons. */
static size_t operator_length(const char *value)
{
	size_t n = strcspn(value, ":");
	int64_t us;

	return value[n] == ':' && !when_parse(value, &us) ? n : 0;
}

static bool is_operator(const char *value, size_t n, const char *name)
{
	return strlen(name) == n && memcmp(value, name, n) == 0;
}

static int parse_operator_filter(struct parsing *p, const struct column *c, const char *value,
				 struct err *err)
{
	size_t n = operator_length(value);

	if (is_operator(value, n, "in"))
		return add_list_filter(p, c, value + n + 1, err);
	if (is_operator(value, n, "eq"))
		value += n + 1;
	else if (n > 0 || value[0] == ':')
		return bad_value(c->name, value, "a value alone, or with the operator eq: or in:", err);
	return add_text_filter(p, (struct image_filter){.field = c->field}, value, err);
}

static int parse_time_filter(struct parsing *p, const struct column *c, const char *value, struct err *err)
{
	static const struct {
		const char *name;
		enum filter_op op;
	} operators[] = {{"gt", OP_GT},   {"gte", OP_GTE}, {"lt", OP_LT},
			 {"lte", OP_LTE}, {"eq", OP_EQ},   {"neq", OP_NEQ}};
	struct image_filter f = {.field = c->field, .op = OP_EQ};
	size_t n = operator_length(value);
	const char *time = value;

	for (size_t i = 0; n > 0 && i < ARRAY_LEN(operators); i++) {
		if (is_operator(value, n, operators[i].name)) {
			f.op = operators[i].op;
			time = value + n + 1;
		}
	}
	if (!when_parse(time, &f.number))
		return bad_value(c->name, value,
				 "an ISO 8601 time, alone or with one of gt: gte: lt: lte: eq: neq:", err);
	add_filter(p, f);
	return 0;
}

static int parse_number_filter(struct parsing *p, const char *name, enum image_field field, enum filter_op op,
			       const char *value, struct err *err)
{
	struct image_filter f = {.field = field, .op = op};

	if (!read_number(value, &f.number))
		return bad_value(name, value, "an integer", err);
	add_filter(p, f);
	return 0;
}

/* "size_min", "min_ram_max" ... : the column, and the operator. NULL: something else. */
static const struct column *find_range(const char *name, enum filter_op *ret_op)
{
	size_t n = strlen(name);
	const struct column *c;

	if (n <= 4 || (strcmp(name + n - 4, "_min") != 0 && strcmp(name + n - 4, "_max") != 0))
		return NULL;
	c = find_column(name, n - 4);
	if (!c || c->kind != KIND_NUMBER)
		return NULL;
	*ret_op = strcmp(name + n - 4, "_min") == 0 ? OP_GTE : OP_LTE;
	return c;
}

static int parse_property_filter(struct parsing *p, const char *name, const char *value, struct err *err)
{
	struct image_filter f = {.field = FIELD_PROPERTY, .property = arena_strdup(p->a, name)};

	if (!f.property)
		return err_nomem(err);
	return add_text_filter(p, f, value, err);
}

static int parse_filter(struct parsing *p, const char *name, const char *value, struct err *err)
{
	enum filter_op op = OP_EQ;
	const struct column *c = find_column(name, strlen(name));

	if (!c)
		c = find_range(name, &op);
	if (!c)
		return parse_property_filter(p, name, value, err);
	switch (c->kind) {
	case KIND_OPERATOR:
		return parse_operator_filter(p, c, value, err);
	case KIND_TEXT:
		return add_text_filter(p, (struct image_filter){.field = c->field}, value, err);
	case KIND_NUMBER:
		return parse_number_filter(p, name, c->field, op, value, err);
	case KIND_TIME:
		return parse_time_filter(p, c, value, err);
	}
	return err_set(err, ERR_INTERNAL, "The parameter '%s' has no kind.", c->name);
}

/* -- order ------------------------------------------------------------------------------------- */

static size_t count_params(const struct parsing *p, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_params; i++)
		n += strcmp(p->params[i].name, name) == 0;
	return n;
}

/* The value of the @nth parameter of that name; there is one. */
static const char *nth_param(const struct parsing *p, const char *name, size_t nth)
{
	size_t i = 0;

	while (strcmp(p->params[i].name, name) != 0 || nth-- > 0)
		i++;
	return p->params[i].value;
}

static void add_sort(struct parsing *p, enum image_field field, bool descending)
{
	for (size_t i = 0; i < p->q.n_sorts; i++) {
		if (p->q.sorts[i].field == field)
			return; /* rows that are equal in it stay equal */
	}
	p->q.sorts[p->q.n_sorts++] = (struct image_sort){.field = field, .descending = descending};
}

static int parse_sort_key(struct parsing *p, const char *s, size_t n, enum image_field *ret, struct err *err)
{
	const char *key = trim(p->a, s, n);
	const struct column *c = key ? find_column(key, strlen(key)) : NULL;
	char excerpt[TEXT_EXCERPT_SIZE];

	if (!key)
		return err_nomem(err);
	if (!c || c->field >= N_SORTABLE)
		return err_set(
			err, ERR_INVALID,
			"Images can be sorted by name, status, container_format, disk_format, size, id, "
			"created_at and updated_at, not by '%s'.",
			text_excerpt(key, excerpt));
	*ret = c->field;
	return 0;
}

static int parse_sort_dir(struct parsing *p, const char *s, size_t n, bool *ret_descending, struct err *err)
{
	const char *dir = trim(p->a, s, n);
	char excerpt[TEXT_EXCERPT_SIZE];

	if (!dir)
		return err_nomem(err);
	if (strcmp(dir, "asc") != 0 && strcmp(dir, "desc") != 0)
		return err_set(err, ERR_INVALID, "The direction of a sort must be asc or desc, not '%s'.",
			       text_excerpt(dir, excerpt));
	*ret_descending = strcmp(dir, "desc") == 0;
	return 0;
}

/* "key", "key:" or "key:direction". */
static int parse_sort_element(struct parsing *p, const char *s, size_t n, bool *ret_descending,
			      struct err *err)
{
	const char *colon = memchr(s, ':', n);
	size_t key_len = colon ? (size_t)(colon - s) : n;
	enum image_field field;
	int r;

	*ret_descending = true;
	r = parse_sort_key(p, s, key_len, &field, err);
	if (r == 0 && colon && key_len + 1 < n)
		r = parse_sort_dir(p, colon + 1, n - key_len - 1, ret_descending, err);
	if (r == 0)
		add_sort(p, field, *ret_descending);
	return r;
}

/* sort=name:asc,size */
static int parse_sort(struct parsing *p, const char *value, bool *ret_ties_descending, struct err *err)
{
	bool first = true;

	for (;;) {
		size_t n = strcspn(value, ",");
		bool descending;
		int r;

		r = parse_sort_element(p, value, n, &descending, err);
		if (r < 0)
			return r;
		*ret_ties_descending = value[n] == '\0' && first ? descending : true;
		if (value[n] == '\0')
			return 0;
		value += n + 1;
		first = false;
	}
}

/* sort_key=name&sort_dir=asc&sort_key=size&sort_dir=desc; one direction serves all keys. */
static int parse_classic_sort(struct parsing *p, bool *ret_ties_descending, struct err *err)
{
	size_t n_keys = count_params(p, "sort_key"), n_dirs = count_params(p, "sort_dir");
	bool descending = true;
	int r = 0;

	if (n_dirs > 1 && n_dirs != n_keys)
		return err_set(err, ERR_INVALID, "There must be one sort_dir, or one for each sort_key.");
	for (size_t i = 0; i < n_dirs || i < n_keys; i++) {
		enum image_field field = FIELD_CREATED_AT;

		if (i < n_dirs) {
			const char *dir = nth_param(p, "sort_dir", i);

			r = parse_sort_dir(p, dir, strlen(dir), &descending, err);
		}
		if (r == 0 && i < n_keys) {
			const char *key = nth_param(p, "sort_key", i);

			r = parse_sort_key(p, key, strlen(key), &field, err);
		}
		if (r < 0)
			return r;
		add_sort(p, field, descending);
	}
	*ret_ties_descending = n_dirs == 1 ? descending : true;
	return 0;
}

static int parse_order(struct parsing *p, struct err *err)
{
	size_t n_sorts = count_params(p, "sort");
	bool ties_descending = true;
	int r;

	if (n_sorts > 0 && count_params(p, "sort_key") + count_params(p, "sort_dir") > 0)
		return err_set(err, ERR_INVALID, "The parameter 'sort' excludes 'sort_key' and 'sort_dir'.");
	if (n_sorts > 0)
		r = parse_sort(p, nth_param(p, "sort", n_sorts - 1), &ties_descending, err);
	else
		r = parse_classic_sort(p, &ties_descending, err);
	if (r < 0)
		return r;
	add_sort(p, FIELD_CREATED_AT, ties_descending);
	add_sort(p, FIELD_ID, ties_descending);
	return 0;
}

/* -- all of it --------------------------------------------------------------------------------- */

static int check_param(const struct query_param *param, struct err *err)
{
	char excerpt[TEXT_EXCERPT_SIZE];
	size_t n_name, n_value;

	text_excerpt(param->name, excerpt);
	if (!text_count(param->name, &n_name) || !text_count(param->value, &n_value))
		return err_set(err, ERR_INVALID, "The parameter '%s' is not valid UTF-8.", excerpt);
	if (n_name > MAX_NAME_CHARS)
		return err_set(err, ERR_INVALID,
			       "The name of the parameter '%s' is longer than %d characters.", excerpt,
			       MAX_NAME_CHARS);
	if (strlen(param->value) > MAX_VALUE_BYTES)
		return err_set(err, ERR_INVALID, "The value of the parameter '%s' is longer than %d bytes.",
			       excerpt, MAX_VALUE_BYTES);
	return 0;
}

static bool comes_again(const struct parsing *p, size_t i)
{
	for (size_t j = i + 1; j < p->n_params; j++) {
		if (strcmp(p->params[j].name, p->params[i].name) == 0)
			return true;
	}
	return false;
}

static int parse_param(struct parsing *p, size_t i, struct err *err)
{
	const struct query_param *param = &p->params[i];
	const struct special *special = find_special(param->name);
	int r;

	r = check_param(param, err);
	if (r < 0)
		return r;
	if (!(special && special->repeats) && comes_again(p, i))
		return 0;
	if (special)
		return special->parse(p, param->value, err);
	return parse_filter(p, param->name, param->value, err);
}

static int prepare(struct parsing *p, struct err *err)
{
	int64_t limit = p->limits->default_limit;

	p->q.members = MEMBERS_ACCEPTED;
	p->q.limit = limit < p->limits->max_limit ? limit : p->limits->max_limit;
	p->q.filters = arena_alloc(p->a, p->n_params * sizeof(*p->q.filters));
	p->q.tags = arena_alloc(p->a, p->n_params * sizeof(*p->q.tags));
	p->q.sorts = arena_alloc(p->a, N_SORTABLE * sizeof(*p->q.sorts));
	return p->q.filters && p->q.tags && p->q.sorts ? 0 : err_nomem(err);
}

int image_query_parse(const struct query_param *params, size_t n_params, const struct query_limits *limits,
		      struct arena *a, struct image_query *ret, struct err *err)
{
	struct parsing p = {.params = params, .n_params = n_params, .limits = limits, .a = a};
	int r;

	if (n_params > MAX_PARAMS)
		return err_set(err, ERR_INVALID, "A query may have %d parameters; this one has %zu.",
			       MAX_PARAMS, n_params);
	r = prepare(&p, err);
	for (size_t i = 0; i < n_params && r == 0; i++)
		r = parse_param(&p, i, err);
	if (r < 0)
		return r;
	r = parse_order(&p, err);
	if (r < 0)
		return r;
	*ret = p.q;
	return 0;
}

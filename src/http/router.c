/* SPDX-License-Identifier: Apache-2.0
 * http/router.c -- the table of routes as a tree of path segments, built once.
 *
 * A path is split at its slashes first and decoded afterwards, so an encoded slash stays inside its
 * segment. A trailing slash is an empty last segment: it matches only where a route was listed
 * with one. A node is visited at most once in a match, so a match costs no more than the table is long. */
#include "router.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "uri.h"

#define MAX_SEGMENTS 24

/* A route at its node. */
struct target {
	struct target *next; /* in table order */
	const struct http_route *route;
	char *names[ROUTER_MAX_PARAMS]; /* owned */
	unsigned n_names;
};

struct node {
	struct node *next;     /* sibling */
	struct node *children; /* literal segments */
	struct node *param;    /* {any} */
	struct target *targets;
	char *segment; /* owned; NULL for a parameter */
	struct buf allow;
};

struct router {
	struct node root;
};

/* -- building -------------------------------------------------------------------------------------- */

static struct node *add_param(struct node *parent)
{
	if (!parent->param)
		parent->param = calloc(1, sizeof(*parent->param));
	return parent->param;
}

static struct node *add_literal(struct node *parent, const char *segment, size_t n)
{
	struct node *child;

	for (child = parent->children; child; child = child->next)
		if (strlen(child->segment) == n && memcmp(child->segment, segment, n) == 0)
			return child;
	child = calloc(1, sizeof(*child));
	if (!child)
		return NULL;
	child->segment = strndup(segment, n);
	if (!child->segment) {
		free(child);
		return NULL;
	}
	child->next = parent->children;
	parent->children = child;
	return child;
}

static int bad_table(const struct http_route *route, const char *what, struct err *err)
{
	return err_set(err, ERR_INTERNAL, "route %s %s: %s", route->method, route->path, what);
}

/* One segment of the route: the node for it below *node. */
static int add_segment(struct target *t, const char *segment, size_t n, struct node **node, struct err *err)
{
	bool is_param = n > 0 && segment[0] == '{';

	if (!is_param) {
		*node = add_literal(*node, segment, n);
		return *node ? 0 : err_nomem(err);
	}
	if (n < 3 || segment[n - 1] != '}')
		return bad_table(t->route, "a parameter is written {name}", err);
	if (t->n_names == ROUTER_MAX_PARAMS)
		return bad_table(t->route, "too many parameters", err);
	*node = add_param(*node);
	t->names[t->n_names] = strndup(segment + 1, n - 2);
	if (!*node || !t->names[t->n_names])
		return err_nomem(err);
	t->n_names++;
	return 0;
}

static int add_segments(struct router *r, struct target *t, struct node **ret, struct err *err)
{
	const char *p = t->route->path;
	unsigned n_segments = 0;
	struct node *node = &r->root;
	size_t len;
	int res;

	if (*p != '/')
		return bad_table(t->route, "a path begins with '/'", err);
	for (; *p == '/'; p += len) {
		p++;
		len = strcspn(p, "/");
		if (++n_segments > MAX_SEGMENTS)
			return bad_table(t->route, "too many segments", err);
		res = add_segment(t, p, len, &node, err);
		if (res < 0)
			return res;
	}
	*ret = node;
	return 0;
}

static int add_target(struct node *node, struct target *t, struct err *err)
{
	struct target **end = &node->targets;

	for (; *end; end = &(*end)->next)
		if (strcmp((*end)->route->method, t->route->method) == 0)
			return bad_table(t->route, "listed twice", err);
	if (node->allow.len)
		buf_adds(&node->allow, ", ");
	buf_adds(&node->allow, t->route->method);
	if (node->allow.failed)
		return err_nomem(err);
	*end = t;
	return 0;
}

static void target_free(struct target *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->n_names; i++)
		free(t->names[i]);
	free(t);
}

static void target_free_p(struct target **t)
{
	target_free(*t);
}

static int add_route(struct router *r, const struct http_route *route, struct err *err)
{
	AUTO(target_free_p) struct target *t = calloc(1, sizeof(*t));
	struct node *node = NULL;
	int res;

	if (!t)
		return err_nomem(err);
	t->route = route;
	res = add_segments(r, t, &node, err);
	if (res < 0)
		return res;
	res = add_target(node, t, err);
	if (res < 0)
		return res;
	t = NULL; /* the node has it */
	return 0;
}

int router_new(const struct http_route *routes, struct router **ret, struct err *err)
{
	AUTO(router_free_p) struct router *r = calloc(1, sizeof(*r));
	int res;

	if (!r)
		return err_nomem(err);
	for (; routes->method; routes++) {
		res = add_route(r, routes, err);
		if (res < 0)
			return res;
	}
	*ret = TAKE(r);
	return 0;
}

/* Recursion as deep as the longest route. */
static void node_done(struct node *node)
{
	struct node *child;
	struct target *t;

	while ((child = node->children)) {
		node->children = child->next;
		node_done(child);
		free(child);
	}
	if (node->param)
		node_done(node->param);
	free(node->param);
	while ((t = node->targets)) {
		node->targets = t->next;
		target_free(t);
	}
	free(node->segment);
	buf_done(&node->allow);
}

void router_free(struct router *r)
{
	if (!r)
		return;
	node_done(&r->root);
	free(r);
}

void router_free_p(struct router **r)
{
	router_free(*r);
}

/* -- matching -------------------------------------------------------------------------------------- */

struct segments {
	const char *text[MAX_SEGMENTS];
	size_t n; /* may be larger than there is room: such a path matches nothing */
};

static bool split(const char *path, char *scratch, struct segments *ret)
{
	size_t len;
	ssize_t decoded;

	ret->n = 0;
	for (; *path == '/'; path += len) {
		path++;
		len = strcspn(path, "/");
		decoded = uri_decode(scratch, path, len, false);
		if (decoded < 0)
			return false;
		if (ret->n < MAX_SEGMENTS)
			ret->text[ret->n] = scratch;
		ret->n++;
		scratch += decoded + 1;
	}
	return true;
}

static bool fits_param(const char *segment)
{
	return segment[0] && strcmp(segment, ".") != 0 && strcmp(segment, "..") != 0;
}

/* The node for the segments from @i on, below @node. Each parameter on the way puts its segment
 * into @values. Recursion as deep as the longest route. */
static const struct node *find(const struct node *node, const struct segments *s, size_t i,
			       const char **values)
{
	const struct node *child, *found;

	if (i == s->n)
		return node->targets ? node : NULL;
	for (child = node->children; child; child = child->next)
		if (strcmp(child->segment, s->text[i]) == 0)
			break;
	found = child ? find(child, s, i + 1, values) : NULL;
	if (found || !node->param || !fits_param(s->text[i]))
		return found;
	*values = s->text[i];
	return find(node->param, s, i + 1, values + 1);
}

static const struct target *find_method(const struct node *node, const char *method)
{
	const struct target *t = node->targets;

	while (t && strcmp(t->route->method, method) != 0)
		t = t->next;
	return t;
}

enum router_verdict router_match(const struct router *r, const char *method, const char *path, char *scratch,
				 struct router_match *ret)
{
	struct segments segments;
	const struct node *node;
	const struct target *t;
	const char *values[MAX_SEGMENTS];

	if (!split(path, scratch, &segments))
		return ROUTER_BAD_PATH;
	node = segments.n && segments.n <= MAX_SEGMENTS ? find(&r->root, &segments, 0, values) : NULL;
	if (!node)
		return ROUTER_NO_PATH;
	*ret = (struct router_match){0};
	t = find_method(node, method);
	if (!t) {
		ret->allow = buf_cstr(&node->allow);
		return ROUTER_NO_METHOD;
	}
	ret->route = t->route;
	ret->n_params = t->n_names;
	for (unsigned i = 0; i < t->n_names; i++) {
		ret->names[i] = t->names[i];
		ret->values[i] = values[i];
	}
	return ROUTER_FOUND;
}

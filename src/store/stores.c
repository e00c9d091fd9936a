/* SPDX-License-Identifier: Apache-2.0
 * store/stores.c -- the stores of an installation, opened once and then only read.
 *
 * A location belongs to exactly one of them: two stores in one directory are refused. */
#include "stores.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"

#define RESERVED "os_glance_"

struct stores {
	struct store *fallback; /* one of those below */
	size_t n;
	struct store *staging;
	struct store *all[]; /* n of them, in the order of the configuration */
};

/* The nameless store may have one of each other kind beside it, from which images are only read. */
static bool is_beside(const struct stores *ss, const struct store_config *c)
{
	if (c->id && *c->id)
		return false;
	for (size_t i = 0; i < ss->n; i++)
		if (*store_id(ss->all[i]) || strcmp(store_type(ss->all[i]), c->type ? c->type : "") == 0)
			return false;
	return true;
}

static int check_id(const struct stores *ss, const struct store_config *c, size_t n, struct err *err)
{
	const char *id = c->id ? c->id : "";

	if (n > 1 && ss->n > 0 && (!*id || !*store_id(ss->all[0])) && !is_beside(ss, c))
		return err_set(err, ERR_INVALID, "Each of several stores needs a name.");
	if (strncmp(id, RESERVED, strlen(RESERVED)) == 0)
		return err_set(err, ERR_INVALID, "The store name %s is reserved.", id);
	for (size_t i = 0; i < ss->n; i++)
		if (*id && strcmp(store_id(ss->all[i]), id) == 0)
			return err_set(err, ERR_INVALID, "There are two stores called %s.", id);
	return 0;
}

static bool same_directory(const struct store *a, const struct store *b)
{
	const char *one = store_directory(a), *other = store_directory(b);
	struct stat x, y;

	return one && other && stat(one, &x) == 0 && stat(other, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* @s against all that are open. */
static int check_apart(const struct stores *ss, const struct store *s, struct err *err)
{
	for (size_t i = 0; i < ss->n; i++)
		if (store_is_remote(ss->all[i]) && strcmp(store_type(ss->all[i]), store_type(s)) == 0)
			return err_set(err, ERR_INVALID, "The stores '%s' and '%s' are both of type %s: a URL would be of both.",
				       store_id(ss->all[i]), store_id(s), store_type(s));
		else if (same_directory(ss->all[i], s))
			return err_set(err, ERR_INVALID, "The stores '%s' and '%s' have the same directory.",
				       store_id(ss->all[i]), store_id(s));
	return 0;
}

static int open_one(struct stores *ss, const struct store_config *c, struct store **ret, struct err *err)
{
	int r = store_open(c, ret, err);

	if (r < 0)
		return c->id && *c->id ? err_wrap(err, r, "store %s", c->id) : r;
	return check_apart(ss, *ret, err);
}

static int open_all(struct stores *ss, const struct store_config *configs, size_t n, const char *default_id,
		    const struct store_config *staging, struct err *err)
{
	int r;

	for (size_t i = 0; i < n; i++) {
		r = check_id(ss, &configs[i], n, err);
		if (r == 0)
			r = open_one(ss, &configs[i], &ss->all[i], err);
		if (r < 0)
			return r;
		ss->n++;
	}
	ss->fallback = default_id ? stores_find(ss, default_id) : NULL;
	if (!ss->fallback)
		return err_set(err, ERR_INVALID, "The default store '%s' is none of the stores.",
			       default_id ? default_id : "");
	if (store_is_remote(ss->fallback))
		return err_set(err, ERR_INVALID, "The default store '%s' cannot be written to.", default_id);
	return open_one(ss, staging, &ss->staging, err);
}

int stores_open(const struct store_config *configs, size_t n, const char *default_id,
		const struct store_config *staging, struct stores **ret, struct err *err)
{
	AUTO(stores_close_p) struct stores *ss = calloc(1, sizeof(*ss) + (n + 1) * sizeof(ss->all[0]));
	int r;

	if (!ss)
		return err_nomem(err);
	r = open_all(ss, configs, n, default_id, staging, err);
	if (r < 0)
		return r;
	*ret = TAKE(ss);
	return 0;
}

/* One more than was counted may be open. */
void stores_close(struct stores *ss)
{
	if (!ss)
		return;
	for (size_t i = 0; ss->all[i]; i++)
		store_close(ss->all[i]);
	store_close(ss->staging);
	free(ss);
}

void stores_close_p(struct stores **ss)
{
	stores_close(*ss);
}

bool stores_have_names(const struct stores *ss)
{
	return *store_id(ss->all[0]) != '\0';
}

size_t stores_count(const struct stores *ss)
{
	return ss->n;
}

struct store *stores_at(const struct stores *ss, size_t i)
{
	return ss->all[i];
}

struct store *stores_default(const struct stores *ss)
{
	return ss->fallback;
}

struct store *stores_staging(const struct stores *ss)
{
	return ss->staging;
}

struct store *stores_find(const struct stores *ss, const char *id)
{
	for (size_t i = 0; i < ss->n; i++)
		if (strcmp(store_id(ss->all[i]), id) == 0)
			return ss->all[i];
	return ss->staging && strcmp(store_id(ss->staging), id) == 0 ? ss->staging : NULL;
}

struct store *stores_owner(const struct stores *ss, const char *url)
{
	for (size_t i = 0; i < ss->n; i++)
		if (store_owns(ss->all[i], url))
			return ss->all[i];
	return store_owns(ss->staging, url) ? ss->staging : NULL;
}

int stores_sweep(struct stores *ss, unsigned *ret_n, struct err *err)
{
	unsigned sum = 0, n = 0;
	int r = store_sweep(ss->staging, &sum, err);

	for (size_t i = 0; i < ss->n && r == 0; i++) {
		r = store_sweep(ss->all[i], &n, err);
		sum += r == 0 ? n : 0;
	}
	*ret_n = sum;
	return r;
}

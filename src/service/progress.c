/* SPDX-License-Identifier: Apache-2.0
 * service/progress.c -- lists of store names, separated by commas, in properties of an image. */
#include "service/progress.h"

#include <string.h>

#include "base/err.h"

int progress_copy(const struct image *before, struct image *after, struct arena *a, struct err *err)
{
	*after = *before;
	if (before->n_properties == 0)
		return 0;
	after->properties = arena_alloc(a, before->n_properties * sizeof(*after->properties));
	if (!after->properties)
		return err_nomem(err);
	memcpy(after->properties, before->properties, before->n_properties * sizeof(*after->properties));
	return 0;
}

bool progress_is_locked_by(const struct image *image, const char *task_id)
{
	const struct image_property *lock = image_find_property(image, LOCK_PROPERTY);

	return lock && lock->value && strcmp(lock->value, task_id) == 0;
}

int progress_check_unlocked(struct db_tx *tx, const struct image *image, struct arena *a, struct err *err)
{
	const struct image_property *lock = image_find_property(image, LOCK_PROPERTY);
	struct db_job job;
	int r = lock && lock->value ? db_job_get(tx, lock->value, a, &job, err) : ERR_NOT_FOUND;

	if (r == 0)
		return err_set(err, ERR_CONFLICT, "Image %s is being imported by another task.", image->id);
	return r == ERR_NOT_FOUND ? 0 : r;
}

static const char *list_of(const struct image *image, const char *property)
{
	const struct image_property *p = image_find_property(image, property);

	return p && p->value ? p->value : "";
}

static bool same(const char *name, size_t n, const char *store)
{
	return strlen(store) == n && memcmp(name, store, n) == 0;
}

/* The next name of a list; its length in *n. NULL at the end. */
static const char *next_name(const char **list, size_t *n)
{
	const char *name = *list;

	while (*name == ',')
		name++;
	*n = strcspn(name, ",");
	*list = name + *n;
	return *n > 0 ? name : NULL;
}

bool progress_has(const struct image *image, const char *property, const char *store)
{
	const char *list = list_of(image, property), *name;
	size_t n;

	while ((name = next_name(&list, &n)))
		if (same(name, n, store))
			return true;
	return false;
}

/* The list without @store, and with @insert (NULL: nothing) where it belongs. */
static int rewrite(struct image *image, struct arena *a, const char *property, const char *store, const char *insert,
		   struct err *err)
{
	const char *list = list_of(image, property), *name, *text = "";
	size_t n;

	while (text && (name = next_name(&list, &n))) {
		if (same(name, n, store))
			continue;
		if (insert && strncmp(insert, name, n) < 0) {
			text = arena_printf(a, "%s%s%s", text, *text ? "," : "", insert);
			insert = NULL;
		}
		if (text)
			text = arena_printf(a, "%s%s%.*s", text, *text ? "," : "", (int)n, name);
	}
	if (text && insert)
		text = arena_printf(a, "%s%s%s", text, *text ? "," : "", insert);
	if (!text)
		return err_nomem(err);
	return image_set_property(image, a, property, text, err);
}

int progress_add(struct image *image, struct arena *a, const char *property, const char *store, struct err *err)
{
	return rewrite(image, a, property, store, *store ? store : NULL, err);
}

int progress_remove(struct image *image, struct arena *a, const char *property, const char *store, struct err *err)
{
	return rewrite(image, a, property, store, NULL, err);
}

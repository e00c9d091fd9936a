/* SPDX-License-Identifier: Apache-2.0
 * service/progress.h -- the properties of an image by which clients watch an import: who imports it, into
 * which stores it still goes, into which it did not get. */
#pragma once

#include "service/internal.h"

#define LOCK_PROPERTY "os_glance_import_task"
#define IMPORTING_PROPERTY "os_glance_importing_to_stores"
#define FAILED_PROPERTY "os_glance_failed_import"

/* @after is a copy of @before that may be changed without changing @before. */
int progress_copy(const struct image *before, struct image *after, struct arena *a, struct err *err);

/* ERR_CONFLICT if a task in our queue holds the lock. One that somebody else left does not count. */
int progress_check_unlocked(struct db_tx *tx, const struct image *image, struct arena *a, struct err *err);

bool progress_is_locked_by(const struct image *image, const char *task_id);

/* Is @store one of the names in the list of that property? The nameless store never is. */
bool progress_has(const struct image *image, const char *property, const char *store);

/* Put @store into the list of that property, or take it out. The list is sorted, as clients know it; it
 * is there, empty, after the first call. The nameless store is never in it. */
int progress_add(struct image *image, struct arena *a, const char *property, const char *store, struct err *err);
int progress_remove(struct image *image, struct arena *a, const char *property, const char *store,
		    struct err *err);

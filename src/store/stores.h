/* SPDX-License-Identifier: Apache-2.0
 * store/stores.h -- the stores an installation has: one without a name ([glance_store]), or several with
 * (enabled_backends), and beside them the staging area, where bytes wait for their import.
 *
 * Nothing here changes after stores_open(), so any number of threads may use it. */
#pragma once

#include "store/store.h"

struct stores;

#define STORES_STAGING_ID "os_glance_staging_store"

/* Opens all of them. @configs: one with the id "", or n with ids, each once, none reserved; @default_id
 * is one of them. @staging has the id STORES_STAGING_ID. ERR_INVALID for two stores in one directory. */
int stores_open(const struct store_config *configs, size_t n, const char *default_id,
		const struct store_config *staging, struct stores **ret, struct err *err);
void stores_close(struct stores *ss); /* NULL is fine */
void stores_close_p(struct stores **ss);

bool stores_have_names(const struct stores *ss); /* enabled_backends */
size_t stores_count(const struct stores *ss);    /* without staging */
struct store *stores_at(const struct stores *ss, size_t i); /* in the order of the configuration */
struct store *stores_default(const struct stores *ss);
struct store *stores_staging(const struct stores *ss);
/* By id, the staging area too; NULL: there is none of this name. */
struct store *stores_find(const struct stores *ss, const char *id);
/* The one, the staging area too, that @url is a location of; NULL: none. */
struct store *stores_owner(const struct stores *ss, const char *url);

/* store_sweep() on each of them. */
int stores_sweep(struct stores *ss, unsigned *ret_n, struct err *err);

/* SPDX-License-Identifier: Apache-2.0
 * notify/driver.h -- what every notification driver must do. One directory a driver, one line in
 * the table in drivers.c. */
#pragma once

#include "db/db.h"

struct err;

#define NOTIFY_DRIVER_VERSION 1

enum delivery {
	DELIVERY_DELIVERED, /* all of the batch is safe */
	DELIVERY_RETRY,     /* the rest again later */
	DELIVERY_REJECTED,  /* batch[*ret_n_safe] can never succeed here */
};

/* What a driver is opened with. Borrowed for the call to open(). */
struct notify_driver_config {
	const char *publisher_id;
	const char *log_path; /* NULL: standard error */
};

struct notify_driver {
	unsigned version;
	const char *name;    /* as written in the configuration */
	const char *summary; /* one line for help texts */
	bool discards;       /* keeps nothing (noop): needs no relay, and no event for its sake */
	size_t state_size;   /* zeroed memory the core gives each instance */

	/* close() follows even when this fails, so leave a state that close() can handle. */
	int (*open)(void *state, const struct notify_driver_config *config, struct err *err);

	/* Hand over @batch (borrowed, oldest first). *ret_n_safe: how many, counted from the first,
	 * will survive now whatever happens to us. Never two calls at once per instance; may block. */
	enum delivery (*deliver)(void *state, const struct db_event *batch, size_t n, size_t *ret_n_safe,
				 struct err *err);

	void (*reopen)(void *state); /* files were rotated; may be NULL; any thread, not during deliver() */
	void (*close)(void *state);  /* cannot fail; called exactly once */
};

extern const struct notify_driver *const notify_drivers[]; /* NULL-terminated */
const struct notify_driver *notify_driver_find(const char *name);

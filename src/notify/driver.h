/* SPDX-License-Identifier: Apache-2.0
 * notify/driver.h -- what every notification driver must do. One directory a driver, one line in
 * the table in drivers.c. */
#pragma once

#include "db/db.h"

struct conf;
struct conf_option;
struct err;
struct transport;

#define NOTIFY_DRIVER_VERSION 2

enum delivery {
	DELIVERY_DELIVERED, /* all of the batch is safe */
	DELIVERY_UNDER_WAY, /* some of it is, the rest is on its way: come again at once, the rest first */
	DELIVERY_RETRY,     /* the rest again later */
	DELIVERY_REJECTED,  /* batch[*ret_n_safe] can never succeed here */
};

/* What a driver is opened with. Borrowed for the call to check() or open(). */
struct notify_driver_config {
	const char *publisher_id;
	const char *log_path; /* NULL: standard error */

	/* The rest is for message queues. */
	const struct transport *transport; /* its scheme is one of the driver's; NULL: no driver needs one */
	const char *control_exchange;
	const char *const *topics; /* at least one for those that need a transport */
	size_t n_topics;
	int64_t retry;           /* as configured: -1 without bound; tells how long one attempt may last */
	const struct conf *conf; /* for what the driver's `options` name */
};

struct notify_driver {
	unsigned version;
	const char *name;    /* as written in the configuration */
	const char *summary; /* one line for help texts */
	bool discards;       /* keeps nothing (noop): needs no relay, and no event for its sake */

	/* Schemes of the transport_urls that it serves, NULL-terminated; NULL: it needs no transport.
	 * Several drivers may have one name; then their schemes differ. */
	const char *const *schemes;
	/* Its own options of the configuration, ended by a NULL section, or NULL; drivers may share a
	 * table. Options in the query of a transport_url are those of section @url_section. */
	const struct conf_option *options;
	const char *url_section;

	size_t state_size;   /* zeroed memory the core gives each instance */

	/* What can be found wrong with the configuration without opening anything; may be NULL. */
	int (*check)(const struct notify_driver_config *config, struct err *err);

	/* Does not wait for the network: a broker that is away at the start is a matter of deliver().
	 * close() follows even when this fails, so leave a state that close() can handle. */
	int (*open)(void *state, const struct notify_driver_config *config, struct err *err);

	/* Hand over @batch (borrowed, oldest first). *ret_n_safe: how many, counted from the first,
	 * will survive now whatever happens to us. Never two calls at once per instance; may block. */
	enum delivery (*deliver)(void *state, const struct db_event *batch, size_t n, size_t *ret_n_safe,
				 struct err *err);

	/* Called every few seconds while there is nothing to deliver, never during deliver(); may be NULL.
	 * May block as deliver() may; what is wrong is for the driver to log. */
	void (*idle)(void *state);
	void (*reopen)(void *state); /* files were rotated; may be NULL; any thread, not during deliver() */
	void (*close)(void *state);  /* cannot fail; called exactly once */
};

extern const struct notify_driver *const notify_drivers[]; /* NULL-terminated */
/* The driver of that name which serves @scheme; if that is NULL, the first one. NULL: there is none. */
const struct notify_driver *notify_driver_find(const char *name, const char *scheme);

/* SPDX-License-Identifier: Apache-2.0
 * notify/notify.h -- the outbox and its relays. One relay (a thread) a driver reads the journal in
 * commit order from its own cursor, delivers, and moves the cursor once the driver has said that
 * the message is safe. Nobody waits for a relay. */
#pragma once

#include "db/db.h"

struct conf;
struct err;
struct metrics;
struct notify;
struct transport;

struct notify_config {
	const char *const *drivers;  /* [oslo_messaging_notifications] driver; noop and repeats are fine */
	size_t n_drivers;
	const char *const *disabled; /* disabled_notifications: events and groups */
	size_t n_disabled;
	const char *publisher_id;
	bool delete_payload_is_id;    /* image_delete_payload = id */
	const char *log_path;         /* driver log: the file; NULL: standard error */
	/* For drivers that need a message queue, see notify/driver.h; these outlive the struct notify. */
	const struct transport *transport;
	const char *control_exchange;
	const char *const *topics;
	size_t n_topics;
	int64_t retry;
	const struct conf *conf;
	int64_t journal_max_age_us;   /* delivered events are kept this long ... */
	int64_t journal_max_bytes;    /* ... and no more than this altogether */
	struct metrics *metrics;      /* NULL: none */
};

/* What notify_new() will object to: unknown drivers, wrong options of a driver. Opens nothing. */
int notify_check(const struct notify_config *config, struct err *err);

/* Strings are copied. @db outlives it. ERR_INVALID names an unknown driver. Starts no thread. */
int notify_new(struct db *db, const struct notify_config *config, struct notify **ret, struct err *err);
void notify_free(struct notify *n);
void notify_free_p(struct notify **n);

bool notify_has_drivers(const struct notify *n); /* false: events are not even written */

int notify_start(struct notify *n, struct err *err); /* the relays and the pruner */
/* Tell the relays to finish what is there, for at most @timeout_us, then to end; waits for them. */
void notify_stop(struct notify *n, int64_t timeout_us);
void notify_reopen(struct notify *n); /* SIGHUP: drivers that write files open them again */

/* After a commit that appended: wakes the relays. Cheap, never blocks on a driver. */
void notify_wake(struct notify *n);

/* Hand out again what the journal still has of [from, to] (offsets, inclusive) to @driver, or to
 * every driver that has a cursor when NULL. For the command line: needs only the database. */
int notify_replay(struct db *db, const char *driver, int64_t from, int64_t to, int64_t *ret_n_events,
		  struct err *err);

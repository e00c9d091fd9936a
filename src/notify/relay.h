/* SPDX-License-Identifier: Apache-2.0
 * notify/relay.h -- the thread that carries the journal to one driver. Room-internal. */
#pragma once

#include "driver.h"

struct counters;
struct err;
struct relay;

/* Makes the driver's cursor if it has none: at the end of the journal as it is now. The two strings
 * at the head of @config are copied; what else it points to, @db and @driver outlive it. */
int relay_new(struct db *db, const struct notify_driver *driver, const struct notify_driver_config *config,
	      struct relay **ret, struct err *err);
/* Closes the driver. Not while the thread runs. */
void relay_free(struct relay *r);
void relay_free_p(struct relay **r);

/* Before its start: @counters, which outlives it, counts what it does, in @row. */
void relay_count(struct relay *r, const struct counters *counters, size_t row);
int64_t relay_passed(const struct relay *r); /* everything up to this offset is delivered or set aside */

int relay_start(struct relay *r, struct err *err); /* opens the driver and starts the thread */
void relay_wake(struct relay *r);                  /* there may be something in the journal */
void relay_reopen(struct relay *r);

/* Tell it to deliver what is there until @deadline_us (monotonic) and then to end. Does not wait. */
void relay_stop(struct relay *r, int64_t deadline_us);
/* Waits for its end. False if the driver hangs in a call long past the deadline: then @r is not the
 * caller's any more; its thread frees it when that call ever returns. May be called again. */
bool relay_finish(struct relay *r);

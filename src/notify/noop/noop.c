/* SPDX-License-Identifier: Apache-2.0
 * notify/noop/noop.c -- the driver that produces no notifications. */
#include "notify/driver.h"

extern const struct notify_driver notify_driver_noop;

static int noop_open(void *state, const struct notify_driver_config *config, struct err *err)
{
	return 0;
}

static enum delivery noop_deliver(void *state, const struct db_event *batch, size_t n, size_t *ret_n_safe,
				  struct err *err)
{
	*ret_n_safe = n;
	return DELIVERY_DELIVERED;
}

static void noop_close(void *state)
{
}

const struct notify_driver notify_driver_noop = {
	.version = NOTIFY_DRIVER_VERSION,
	.name = "noop",
	.summary = "keep no notifications",
	.discards = true,
	.open = noop_open,
	.deliver = noop_deliver,
	.close = noop_close,
};

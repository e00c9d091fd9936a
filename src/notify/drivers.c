/* SPDX-License-Identifier: Apache-2.0
 * notify/drivers.c -- the table of notification drivers, in the order in which they are started. */
#include "driver.h"

#include <string.h>

extern const struct notify_driver notify_driver_log, notify_driver_noop;

const struct notify_driver *const notify_drivers[] = {
	&notify_driver_log,
	&notify_driver_noop,
	NULL,
};

const struct notify_driver *notify_driver_find(const char *name)
{
	for (size_t i = 0; notify_drivers[i]; i++) {
		if (strcmp(notify_drivers[i]->name, name) == 0)
			return notify_drivers[i];
	}
	return NULL;
}

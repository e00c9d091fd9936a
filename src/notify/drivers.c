/* SPDX-License-Identifier: Apache-2.0
 * notify/drivers.c -- the table of notification drivers, in the order in which they are started. */
#include "driver.h"

#include <string.h>

#ifdef HAVE_RABBIT
extern const struct notify_driver notify_driver_messaging_rabbit, notify_driver_messagingv2_rabbit;
#endif
extern const struct notify_driver notify_driver_log, notify_driver_noop;
#ifdef HAVE_KAFKA
extern const struct notify_driver notify_driver_kafka, notify_driver_kafka_v2;
#endif

const struct notify_driver *const notify_drivers[] = {
	&notify_driver_log,
#ifdef HAVE_RABBIT
	&notify_driver_messaging_rabbit,
	&notify_driver_messagingv2_rabbit,
#endif
#ifdef HAVE_KAFKA
	&notify_driver_kafka,
	&notify_driver_kafka_v2,
#endif
	&notify_driver_noop,
	NULL,
};

static bool serves(const struct notify_driver *d, const char *scheme)
{
	if (!scheme || !d->schemes)
		return true;
	for (size_t i = 0; d->schemes[i]; i++) {
		if (strcmp(d->schemes[i], scheme) == 0)
			return true;
	}
	return false;
}

const struct notify_driver *notify_driver_find(const char *name, const char *scheme)
{
	for (size_t i = 0; notify_drivers[i]; i++) {
		if (strcmp(notify_drivers[i]->name, name) == 0 && serves(notify_drivers[i], scheme))
			return notify_drivers[i];
	}
	return NULL;
}

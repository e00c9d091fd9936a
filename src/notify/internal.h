/* SPDX-License-Identifier: Apache-2.0
 * notify/internal.h -- what the files of this room share and no other room needs. */
#pragma once

#include "event.h"

/* False if the event is disabled or no driver keeps events. */
bool notify_wants(const struct notify *n, const char *event_type);

/* Counts it once @tx is committed. */
void notify_count(const struct notify *n, struct db_tx *tx, enum event_type t, enum event_priority priority);

bool notify_delete_payload_is_id(const struct notify *n);

/* True if @listed, an entry of disabled_notifications, names @event_type or a group it is in. */
bool event_is_in(const char *event_type, const char *listed);

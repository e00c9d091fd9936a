/* SPDX-License-Identifier: Apache-2.0
 * http/timers.h -- timeouts by the thousand. Every timeout of one kind has the same length, so a list to
 * whose end the newest goes is in the order of the deadlines: setting, clearing and asking for the
 * next one cost the same however many there are. A list belongs to one thread. */
#pragma once

#include "base/util.h"

/* Zeroed memory is a timer that is not set. */
struct timer {
	struct timer *prev, *next;
	int64_t due_us;
};

struct timer_list {
	struct timer ends; /* a ring: ends.next is due first */
	int64_t length_us;
};

void timer_list_init(struct timer_list *l, int64_t length_us);
void timer_set(struct timer_list *l, struct timer *t, int64_t now_us); /* may be set already, in any list */
void timer_clear(struct timer *t);
struct timer *timer_first(const struct timer_list *l);               /* NULL: none is set */
struct timer *timer_due(const struct timer_list *l, int64_t now_us); /* the first, if it is due */

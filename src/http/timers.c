/* SPDX-License-Identifier: Apache-2.0
 * http/timers.c -- rings of timers, one a kind. */
#include "timers.h"

void timer_list_init(struct timer_list *l, int64_t length_us)
{
	l->ends.prev = l->ends.next = &l->ends;
	l->length_us = length_us;
}

void timer_clear(struct timer *t)
{
	if (!t->next)
		return;
	t->prev->next = t->next;
	t->next->prev = t->prev;
	t->prev = t->next = NULL;
}

void timer_set(struct timer_list *l, struct timer *t, int64_t now_us)
{
	timer_clear(t);
	t->due_us = now_us + l->length_us;
	t->prev = l->ends.prev;
	t->next = &l->ends;
	t->prev->next = t->next->prev = t;
}

struct timer *timer_first(const struct timer_list *l)
{
	return l->ends.next == &l->ends ? NULL : l->ends.next;
}

struct timer *timer_due(const struct timer_list *l, int64_t now_us)
{
	struct timer *t = timer_first(l);

	return t && t->due_us <= now_us ? t : NULL;
}

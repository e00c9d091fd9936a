/* SPDX-License-Identifier: Apache-2.0
 * http/pace.h -- is the other side fast enough? Only the time that we waited for it counts, so a slow
 * disk of ours is never held against a client. */
#pragma once

#include "base/util.h"

struct pace_rule {
	int64_t window_us;      /* waiting time over which the rate is averaged */
	int64_t min_rate_bytes; /* octets a second; 0: any will do */
};

/* Zeroed memory is the begin of a transfer. */
struct pace {
	int64_t waited_us, n_bytes; /* in this window */
};

static inline void pace_moved(struct pace *p, int64_t n_bytes)
{
	p->n_bytes += n_bytes;
}

/* False: over a whole window the rate was too low. */
static inline bool pace_waited(struct pace *p, const struct pace_rule *rule, int64_t us)
{
	bool fast_enough;

	p->waited_us += us;
	if (p->waited_us < rule->window_us)
		return true;
	fast_enough = (double)p->n_bytes * 1e6 >= (double)rule->min_rate_bytes * (double)p->waited_us;
	*p = (struct pace){0};
	return fast_enough;
}

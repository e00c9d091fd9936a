/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/flights.c -- which messages of a batch are on their way. */
#include "flights.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

void flights_done(struct flights *f)
{
	free(f->all);
	*f = (struct flights){0};
}

static int make_room(struct flights *f, size_t n, struct err *err)
{
	struct flight *grown;

	if (n <= f->cap)
		return 0;
	grown = reallocarray(f->all, n, sizeof(*grown));
	if (!grown)
		return err_nomem(err);
	f->all = grown;
	f->cap = n;
	return 0;
}

static void count(struct flights *f)
{
	f->n_flying = f->n_refused = 0;
	for (size_t i = 0; i < f->n; i++) {
		f->n_flying += f->all[i].state == FLIGHT_FLYING;
		f->n_refused += f->all[i].state == FLIGHT_REFUSED;
	}
}

/* Forgets what is before the event at @offset; all of it if that is not here. */
static void forget_before(struct flights *f, int64_t offset)
{
	size_t i = 0;

	while (i < f->n && f->all[i].offset != offset)
		i++;
	if (i > 0 && i < f->n)
		memmove(f->all, f->all + i, (f->n - i) * sizeof(*f->all));
	f->n -= i;
}

int flights_adopt(struct flights *f, const struct db_event *batch, size_t n, size_t n_topics, struct err *err)
{
	int r = make_room(f, n * n_topics, err);

	if (r < 0)
		return r;
	if (n > 0)
		forget_before(f, batch[0].offset);
	for (size_t i = 0; i < n * n_topics; i++) {
		int64_t offset = batch[i / n_topics].offset;

		if (i < f->n && f->all[i].offset == offset)
			continue;
		f->n = i < f->n ? i : f->n; /* another batch from here on */
		f->all[f->n++] = (struct flight){.offset = offset};
	}
	f->n = n * n_topics;
	count(f);
	return 0;
}

size_t flights_next(const struct flights *f, size_t from)
{
	while (from < f->n && f->all[from].state != FLIGHT_WAITING)
		from++;
	return from;
}

void flights_depart(struct flights *f, size_t i, uint64_t tag, size_t n_bytes)
{
	struct flight *one = &f->all[i];

	assert(i < f->n && one->state == FLIGHT_WAITING);
	one->tag = tag;
	one->n_bytes = n_bytes;
	one->state = FLIGHT_FLYING;
	f->n_flying++;
}

size_t flights_confirm(struct flights *f, uint64_t tag, bool multiple, bool ok)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n && f->n_flying > 0; i++) {
		struct flight *one = &f->all[i];

		if (one->state != FLIGHT_FLYING || (multiple ? tag != 0 && one->tag > tag : one->tag != tag))
			continue;
		one->state = ok ? FLIGHT_LANDED : FLIGHT_REFUSED;
		f->n_flying--;
		f->n_refused += !ok;
		n++;
		if (!multiple)
			break;
	}
	return n;
}

static void wait_again(struct flights *f, enum flight_state state)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->all[i].state == state)
			f->all[i].state = FLIGHT_WAITING;
	}
	count(f);
}

void flights_lose(struct flights *f)
{
	wait_again(f, FLIGHT_FLYING);
	wait_again(f, FLIGHT_REFUSED);
}

void flights_forgive(struct flights *f)
{
	wait_again(f, FLIGHT_REFUSED);
}

void flights_retire(struct flights *f, size_t n)
{
	assert(n <= f->n);
	if (n > 0 && n < f->n)
		memmove(f->all, f->all + n, (f->n - n) * sizeof(*f->all));
	f->n -= n;
	count(f);
}

size_t flights_landed(const struct flights *f)
{
	size_t n = 0;

	while (n < f->n && f->all[n].state == FLIGHT_LANDED)
		n++;
	return n;
}

size_t flights_find(const struct flights *f, size_t n_bytes)
{
	size_t i = 0;

	while (i < f->n && !(f->all[i].state == FLIGHT_FLYING && f->all[i].n_bytes == n_bytes))
		i++;
	return i;
}

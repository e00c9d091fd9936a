/* SPDX-License-Identifier: Apache-2.0
 * notify/kafka/flights.c -- a sorted array of pointers: the library keeps the addresses of the
 * flights. New events have the highest offsets, so that inserting is appending but for replays. */
#include "flights.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void kafka_flights_done(struct flights *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->at[i]);
	free(f->at);
	*f = (struct flights){0};
}

static bool is_before(const struct flight *one, int64_t offset, size_t topic)
{
	return one->offset < offset || (one->offset == offset && one->topic < topic);
}

/* Where that one is or would be. */
static size_t place_of(const struct flights *f, int64_t offset, size_t topic)
{
	size_t low = 0, high = f->n;

	if (f->n > 0 && is_before(f->at[f->n - 1], offset, topic))
		return f->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (is_before(f->at[middle], offset, topic))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct flight *at_place(struct flights *f, size_t i, int64_t offset, size_t topic)
{
	return i < f->n && f->at[i]->offset == offset && f->at[i]->topic == topic ? f->at[i] : NULL;
}

struct flight *kafka_flights_find(struct flights *f, int64_t offset, size_t topic)
{
	return at_place(f, place_of(f, offset, topic), offset, topic);
}

static bool grow(struct flights *f)
{
	size_t cap = f->cap ? f->cap * 2 : 64;
	struct flight **at = f->n < f->cap ? f->at : reallocarray(f->at, cap, sizeof(struct flight *));

	if (!at)
		return false;
	f->cap = f->n < f->cap ? f->cap : cap;
	f->at = at;
	return true;
}

static struct flight *insert(struct flights *f, size_t place)
{
	struct flight *one = grow(f) ? calloc(1, sizeof(*one)) : NULL;

	if (!one)
		return NULL;
	memmove(f->at + place + 1, f->at + place, (f->n - place) * sizeof(struct flight *));
	f->at[place] = one;
	f->n++;
	return one;
}

struct flight *kafka_flights_begin(struct flights *f, int64_t offset, size_t topic)
{
	size_t place = place_of(f, offset, topic);
	struct flight *one = at_place(f, place, offset, topic);

	assert(!one || one->state == FLIGHT_LOST);
	if (!one)
		one = insert(f, place);
	if (!one)
		return NULL;
	*one = (struct flight){.table = f, .offset = offset, .topic = topic, .awaited = true};
	f->n_airborne++;
	return one;
}

void kafka_flights_await_none(struct flights *f)
{
	for (size_t i = 0; i < f->n; i++)
		f->at[i]->awaited = false;
	f->n_airborne = 0;
}

void kafka_flights_await(struct flights *f, struct flight *one)
{
	if (!one->awaited && one->state == FLIGHT_AIRBORNE)
		f->n_airborne++;
	one->awaited = true;
}

void kafka_flights_end(struct flight *one, int problem)
{
	assert(one->state == FLIGHT_AIRBORNE);
	if (one->awaited)
		one->table->n_airborne--;
	one->state = problem ? FLIGHT_LOST : FLIGHT_LANDED;
	one->problem = problem;
	one->table->has_losses = one->table->has_losses || problem;
}

void kafka_flights_cancel(struct flight *one)
{
	bool had_losses = one->table->has_losses;

	kafka_flights_end(one, -1);
	one->awaited = false;
	one->table->has_losses = had_losses;
}

void kafka_flights_restart(struct flights *f, int problem)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->at[i]->state == FLIGHT_AIRBORNE)
			kafka_flights_end(f->at[i], problem);
	}
	f->has_losses = false;
}

void kafka_flights_forget(struct flights *f, int64_t offset)
{
	size_t kept = 0;

	for (size_t i = 0; i < f->n; i++) {
		struct flight *one = f->at[i];

		if (one->state == FLIGHT_AIRBORNE || (one->awaited && one->offset > offset))
			f->at[kept++] = one;
		else
			free(one);
	}
	f->n = kept;
}

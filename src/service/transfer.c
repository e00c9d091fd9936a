/* SPDX-License-Identifier: Apache-2.0
 * service/transfer.c -- four buffers go round: the source fills one while the hashes still read the
 * others. Each is inspected, and written to all stores, before the next one is filled, so the source is
 * read once and no store gets ahead of another.
 *
 * A sink with an error has let go of its writer and takes no further part. */
#include "service/transfer.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "service/quota.h"

#define N_BUFFERS 4 /* even: await_buffer() */
#define BUFFER_BYTES ((size_t)256 * 1024)

struct pass {
	struct transfer *t;
	struct digest *digest;
	unsigned char *buffers;      /* N_BUFFERS of BUFFER_BYTES */
	uint64_t tickets[N_BUFFERS]; /* until when the hashes need each buffer */
};

static void pass_done(struct pass *p)
{
	digest_free(p->digest); /* first: it reads the buffers */
	free(p->buffers);
}

void transfer_close(struct transfer *t)
{
	inspect_free(TAKE(t->inspect));
	for (size_t i = 0; i < t->n_sinks; i++) {
		store_abort(TAKE(t->sinks[i].writer));
		free(TAKE(t->sinks[i].url));
	}
}

/* -- sinks ---------------------------------------------------------------------------------------- */

/* @k has failed, and its err says why. Can the transfer go on without it? */
static int sink_failed(struct transfer *t, struct sink *k, struct err *err)
{
	size_t n = 0;

	store_abort(TAKE(k->writer));
	for (size_t i = 0; i < t->n_sinks; i++)
		n += t->sinks[i].err.code == 0;
	if (n > 0 && !t->all_must_succeed)
		return 0;
	if (err)
		*err = k->err;
	return k->err.code;
}

static int sinks_open(struct transfer *t, int64_t size_hint, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < t->n_sinks && r == 0; i++) {
		struct sink *k = &t->sinks[i];

		if (store_create(k->store, t->image_id, size_hint, &k->writer, &k->err) < 0)
			r = sink_failed(t, k, err);
	}
	return r;
}

static int sinks_write(struct transfer *t, const void *data, size_t n, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < t->n_sinks && r == 0; i++) {
		struct sink *k = &t->sinks[i];

		if (k->writer && store_write(k->writer, data, n, &k->err) < 0)
			r = sink_failed(t, k, err);
	}
	return r;
}

static int sinks_commit(struct transfer *t, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < t->n_sinks && r == 0; i++) {
		struct sink *k = &t->sinks[i];

		if (!k->writer)
			continue;
		k->may_have_name = true;
		if (store_commit(&k->writer, &k->url, &k->err) < 0)
			r = sink_failed(t, k, err);
	}
	return r;
}

/* -- the bytes ------------------------------------------------------------------------------------ */

static int check_stop(const struct transfer *t, struct err *err)
{
	if (t->stop && atomic_load(t->stop))
		return err_set(err, ERR_GONE, "Image %s was deleted during the upload.", t->image_id);
	return 0;
}

/* Fill a buffer as far as the stream goes. Short only at the end. */
static ssize_t fill(struct transfer *t, unsigned char *buffer, struct err *err)
{
	size_t have = 0;

	while (have < BUFFER_BYTES) {
		ssize_t n = t->source->read(t->source->cls, buffer + have, BUFFER_BYTES - have, err);
		int r;

		r = check_stop(t, err); /* first: it is why the read failed, if it did */
		if (r < 0)
			return r;
		if (n < 0)
			return n;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static int check_size(const struct transfer *t, int64_t size, struct err *err)
{
	if (size > t->max_octets)
		return err_set(err, ERR_TOO_LARGE, "The provided image is too large: more than %lld octets.",
			       (long long)t->max_octets);
	return 0;
}

/* Until buffer @i may be filled. Two at a time: to wake somebody for every buffer costs the hashes more
 * than they lose by having two left to go on with. */
static void await_buffer(struct pass *p, unsigned i)
{
	if (p->digest && i % 2 == 0)
		digest_wait(p->digest, p->tickets[i + 1]);
}

/* One buffer's worth. Returns its size, 0 at the end. */
static ssize_t piece(struct pass *p, unsigned i, struct err *err)
{
	struct transfer *t = p->t;
	unsigned char *buffer = p->buffers + i * BUFFER_BYTES;
	ssize_t n;
	int r;

	await_buffer(p, i);
	n = fill(t, buffer, err);
	if (n <= 0)
		return n;
	t->size += n;
	r = check_size(t, t->size, err);
	if (r == 0)
		r = hold_reach(t->hold, t->size, err);
	if (r == 0 && t->inspect)
		r = inspect_update(t->inspect, buffer, (size_t)n, err);
	if (r < 0)
		return r;
	if (p->digest)
		p->tickets[i] = digest_update(p->digest, buffer, (size_t)n);
	r = sinks_write(t, buffer, (size_t)n, err);
	if (r < 0)
		return r;
	if (t->progress)
		t->progress(t->cls, t->size);
	return n;
}

static int pass_open(struct pass *p, struct err *err)
{
	struct transfer *t = p->t;
	int64_t hint = t->source->size >= 0 ? t->source->size : t->source->size_hint;
	int r;

	r = check_size(t, t->source->size, err);
	if (r == 0)
		r = hold_begin(t->hold, t->n_copies ?: t->n_sinks, t->source->size, t->source->size_hint,
			       err);
	if (r < 0)
		return r;
	p->buffers = malloc(N_BUFFERS * BUFFER_BYTES);
	if (!p->buffers)
		return err_nomem(err);
	if (t->hash_algorithm) {
		r = digest_new(t->hash_algorithm, &p->digest, err);
		if (r < 0)
			return r;
	}
	return sinks_open(t, hint, err);
}

int transfer_run(struct transfer *t, struct err *err)
{
	AUTO(pass_done) struct pass p = {.t = t};
	ssize_t n;
	int r;

	r = pass_open(&p, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; (n = piece(&p, i, err)) > 0; i = (i + 1) % N_BUFFERS)
		;
	if (n < 0)
		return (int)n;
	if (t->inspect)
		r = inspect_finish(t->inspect, &t->inspected, err);
	if (r == 0 && p.digest)
		r = digest_final(p.digest, &t->digest, err);
	return r < 0 ? r : sinks_commit(t, err);
}

/* SPDX-License-Identifier: Apache-2.0
 * store/digest.c -- two hashes over one stream of pieces.
 *
 * Each hash is a lane. A lane hashes in the caller's thread until a mebibyte has passed, then in a
 * companion thread of its own, so that a stream runs at the speed of its slower hash and whoever
 * brings the octets waits for neither. A companion without work for IDLE_MS ends, and the lane is
 * inline again: a client that trickles costs no threads, and the number of threads follows the
 * octets a second, not the connections.
 *
 * MD5 with SHA-512, which is what is configured as a rule, is one lane where the processor is wide
 * enough (md5sha512.h): it needs one core for both, hardly longer than MD5 alone.
 *
 * (1) Every lane hashes every piece, in the order of digest_update().
 * (2) lane.done <= digest.added <= least lane.done + PIECES_MAX: no piece is overwritten unhashed.
 * (3) A lane without a running companion has done == added whenever nobody is in digest_update().
 * (4) `lock` guards everything but a lane's ctx and failed and the digest's `both`, which belong to the
 *     companion while it hashes a piece (done < added), else to whoever holds the lock; and a lane's
 *     threaded and n_inline, which belong to the one who feeds the digest.
 *
 *   inline -> threaded   lane_start(): INLINE_OCTETS have passed
 *   threaded -> ended    lane_run(): no work for IDLE_MS, or stopping
 *   ended -> inline      lane_join(): the next piece, or digest_free()
 */
#include "digest.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/err.h"
#include "store/md5sha512.h"

#define PIECES_MAX 64
#define INLINE_OCTETS (1u << 20)
#define IDLE_MS 100

enum { LANE_MD5, LANE_HASH, MAX_LANES };

struct lane {
	struct digest *digest;
	EVP_MD_CTX *ctx;
	pthread_t thread; /* if threaded */
	bool threaded;    /* the companion was started and is not yet joined */
	bool ended;       /* the companion touches nothing any more */
	bool failed;      /* libcrypto refused a piece */
	uint64_t done;    /* pieces hashed */
	size_t n_inline;  /* octets since the lane became inline */
};

struct piece {
	const void *data;
	size_t n;
};

struct digest {
	pthread_mutex_t lock;
	pthread_cond_t work;  /* a piece was added, or stopping */
	pthread_cond_t moved; /* a lane is done with a piece */
	struct piece pieces[PIECES_MAX];
	uint64_t added; /* pieces; the newest one's ticket */
	bool stopping;
	struct lane lanes[MAX_LANES];
	unsigned n_lanes;      /* 1: LANE_MD5 does the work of the other too, in `both` */
	struct md5sha512 both;
};

/* Names under which Python, and so the configuration and the clients, know what libcrypto calls
 * otherwise. '_' for '-' is handled by the caller. */
static const char *crypto_name(const char *name)
{
	if (strcasecmp(name, "blake2b") == 0)
		return "blake2b512";
	if (strcasecmp(name, "blake2s") == 0)
		return "blake2s256";
	return name;
}

/* MD5 is a checksum here and guards nothing, so a default of "fips=yes" does not rule it out; the
 * configured hash obeys the machine's policy. */
static EVP_MD *fetch(const char *algorithm)
{
	char name[64];
	EVP_MD *md;

	if (strlen(algorithm) >= sizeof(name))
		return NULL;
	if (!OSSL_LIB_CTX_get0_global_default()) /* no memory for it; libcrypto would crash */
		return NULL;
	memcpy(name, algorithm, strlen(algorithm) + 1);
	for (char *p = name; *p; p++)
		if (*p == '_')
			*p = '-';
	md = EVP_MD_fetch(NULL, crypto_name(name), strcasecmp(name, "md5") == 0 ? "-fips" : NULL);
	if (!md)
		ERR_clear_error(); /* the queue is the thread's, and others look at it */
	return md;
}

/* A hash that has one length, and one that fits the result. */
static bool usable(const EVP_MD *md)
{
	return !(EVP_MD_get_flags(md) & EVP_MD_FLAG_XOF) && EVP_MD_get_size(md) > 0 &&
	       EVP_MD_get_size(md) <= DIGEST_HEX_MAX / 2;
}

static int lane_init(struct lane *l, struct digest *d, const char *algorithm, struct err *err)
{
	EVP_MD *md = fetch(algorithm);
	int r = 0;

	l->digest = d;
	if (!md || !usable(md))
		r = err_set(err, ERR_INVALID, "The hash algorithm '%s' is not available.", algorithm);
	else if (!(l->ctx = EVP_MD_CTX_new()))
		r = err_nomem(err);
	else if (!EVP_DigestInit_ex2(l->ctx, md, NULL))
		r = err_set(err, ERR_INTERNAL, "The hash algorithm '%s' cannot be used.", algorithm);
	EVP_MD_free(md);
	return r;
}

static void lane_hash(struct lane *l, const struct piece *piece)
{
	if (l->digest->n_lanes == 1)
		md5sha512_update(&l->digest->both, piece->data, piece->n);
	else if (!EVP_DigestUpdate(l->ctx, piece->data, piece->n))
		l->failed = true;
}

/* With the lock. False: nothing came for a while, or there is nothing more to do. */
static bool lane_await(struct lane *l)
{
	struct digest *d = l->digest;
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += IDLE_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	while (l->done == d->added && !d->stopping && r == 0)
		r = pthread_cond_timedwait(&d->work, &d->lock, &until);
	return l->done < d->added && !d->stopping;
}

static void *lane_run(void *arg)
{
	struct lane *l = arg;
	struct digest *d = l->digest;

	pthread_mutex_lock(&d->lock);
	while (lane_await(l)) {
		struct piece piece = d->pieces[l->done % PIECES_MAX];

		pthread_mutex_unlock(&d->lock);
		lane_hash(l, &piece);
		pthread_mutex_lock(&d->lock);
		l->done++;
		pthread_cond_broadcast(&d->moved);
	}
	l->ended = true;
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* Signals are for the threads that expect them. No thread to be had is no failure: the lane stays
 * inline and asks again after another mebibyte. */
static bool lane_start(struct lane *l)
{
	sigset_t all, before;
	int r;

	l->n_inline = 0;
	l->ended = false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&l->thread, NULL, lane_run, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	l->threaded = r == 0;
	if (l->threaded)
		pthread_setname_np(l->thread, "digest");
	return l->threaded;
}

static void lane_join(struct lane *l)
{
	if (!l->threaded)
		return;
	pthread_join(l->thread, NULL);
	l->threaded = false;
	l->n_inline = 0;
}

/* With the lock, which an inline lane keeps while it hashes: then its companion is not there to
 * want it, and the other lane's seldom is. */
static void lane_take(struct lane *l, const struct piece *piece)
{
	if (l->threaded && !l->ended)
		return;
	lane_join(l); /* does not wait: it has ended and let go of the lock */
	l->n_inline += piece->n;
	if (l->n_inline > INLINE_OCTETS && lane_start(l))
		return;
	lane_hash(l, piece);
	l->done++;
}

static void sync_init(struct digest *d)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->moved, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->work, &attr);
	pthread_condattr_destroy(&attr);
}

/* What a policy demands of the configured hash, only libcrypto's can prove. */
static bool both_in_one(const struct digest *d)
{
	return EVP_MD_is_a(EVP_MD_CTX_get0_md(d->lanes[LANE_HASH].ctx), "SHA512") && md5sha512_pays() &&
	       !EVP_default_properties_is_fips_enabled(NULL);
}

int digest_new(const char *algorithm, struct digest **ret, struct err *err)
{
	AUTO(digest_free_p) struct digest *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_nomem(err);
	sync_init(d);
	r = lane_init(&d->lanes[LANE_MD5], d, "md5", err);
	if (r == 0)
		r = lane_init(&d->lanes[LANE_HASH], d, algorithm, err);
	if (r < 0)
		return r;
	d->n_lanes = both_in_one(d) ? 1 : MAX_LANES;
	md5sha512_init(&d->both);
	*ret = TAKE(d);
	return 0;
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->stopping = true;
	pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->lock);
	for (size_t i = 0; i < MAX_LANES; i++) {
		lane_join(&d->lanes[i]);
		EVP_MD_CTX_free(d->lanes[i].ctx);
	}
	pthread_cond_destroy(&d->work);
	pthread_cond_destroy(&d->moved);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

void digest_free_p(struct digest **d)
{
	digest_free(*d);
}

/* How many pieces are hashed by every lane. With the lock. */
static uint64_t pieces_done(const struct digest *d)
{
	uint64_t least = d->added;

	for (size_t i = 0; i < d->n_lanes; i++)
		if (d->lanes[i].done < least)
			least = d->lanes[i].done;
	return least;
}

uint64_t digest_update(struct digest *d, const void *data, size_t n)
{
	struct piece piece = {data, n};
	uint64_t ticket;

	pthread_mutex_lock(&d->lock);
	while (d->added - pieces_done(d) == PIECES_MAX)
		pthread_cond_wait(&d->moved, &d->lock);
	d->pieces[d->added % PIECES_MAX] = piece;
	ticket = ++d->added;
	pthread_cond_broadcast(&d->work);
	for (size_t i = 0; i < d->n_lanes; i++)
		lane_take(&d->lanes[i], &piece);
	pthread_mutex_unlock(&d->lock);
	return ticket;
}

void digest_wait(struct digest *d, uint64_t ticket)
{
	pthread_mutex_lock(&d->lock);
	assert(ticket <= d->added); /* nobody was given this one */
	while (pieces_done(d) < ticket)
		pthread_cond_wait(&d->moved, &d->lock);
	pthread_mutex_unlock(&d->lock);
}

static void write_hex(const unsigned char *raw, size_t n, char *ret_hex)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		ret_hex[2 * i] = digits[raw[i] >> 4];
		ret_hex[2 * i + 1] = digits[raw[i] & 15];
	}
	ret_hex[2 * n] = '\0';
}

static bool lane_final(struct lane *l, char *ret_hex)
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned n;

	if (l->failed || !EVP_DigestFinal_ex(l->ctx, raw, &n))
		return false;
	write_hex(raw, n, ret_hex);
	return true;
}

static bool lanes_final(struct digest *d, struct digest_result *ret)
{
	unsigned char md5[16], sha512[64];

	if (d->n_lanes > 1)
		return lane_final(&d->lanes[LANE_MD5], ret->md5) &&
		       lane_final(&d->lanes[LANE_HASH], ret->hash);
	md5sha512_final(&d->both, md5, sha512);
	write_hex(md5, sizeof(md5), ret->md5);
	write_hex(sha512, sizeof(sha512), ret->hash);
	return true;
}

int digest_final(struct digest *d, struct digest_result *ret, struct err *err)
{
	struct digest_result result;
	uint64_t last;

	pthread_mutex_lock(&d->lock);
	last = d->added;
	pthread_mutex_unlock(&d->lock);
	digest_wait(d, last);
	if (!lanes_final(d, &result))
		return err_set(err, ERR_INTERNAL, "The data could not be hashed.");
	*ret = result;
	return 0;
}

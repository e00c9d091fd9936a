/* SPDX-License-Identifier: Apache-2.0
 * store/md5sha512.c -- MD5 (RFC 1321) and SHA-512 (FIPS 180-4) of one stream in one pass.
 *
 * Octets go through in groups of eight SHA-512 blocks, each of them two blocks of MD5. While the
 * rounds of one group are calculated, the message schedule of the next is: of its eight blocks side by
 * side, in the eight lanes of a vector. So three independent streams of instructions take turns:
 * MD5's chain, which decides how long it all takes; SHA-512's chain; and vectors.
 *
 * What a round reads is laid out by columns, one a block: a round of block l reads row t, column l. Both
 * hashes read through one pointer, because sixteen registers hold the twelve words of state, that pointer,
 * and two to calculate in, and no more.
 *
 * All of it is written out for one block, because every word of the state has to be a variable of its own,
 * and so a register: after one step of MD5 or one round of SHA-512 each word has the next one's role. */
#include "md5sha512.h"

#include <string.h>

#define LANES 8
#define SHA_BLOCK 128
#define MD5_BLOCK 64
#define SHA_ROUNDS 80
#define MD5_STEPS 64
#define SCHEDULED (SHA_ROUNDS - 16)  /* the other 16 words are the block itself */
#define PER_LANE (SCHEDULED / LANES) /* steps of the next group's schedule while one block is hashed */

static const uint32_t md5_k[MD5_STEPS] = {
	0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
	0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
	0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
	0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
	0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
	0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
	0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
	0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

static const uint8_t md5_shift[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static const uint64_t sha_k[SHA_ROUNDS] = {
	0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc, 0x3956c25bf348b538,
	0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118, 0xd807aa98a3030242, 0x12835b0145706fbe,
	0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2, 0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235,
	0xc19bf174cf692694, 0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
	0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5, 0x983e5152ee66dfab,
	0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4, 0xc6e00bf33da88fc2, 0xd5a79147930aa725,
	0x06ca6351e003826f, 0x142929670a0e6e70, 0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed,
	0x53380d139d95b3df, 0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
	0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30, 0xd192e819d6ef5218,
	0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8, 0x19a4c116b8d2d0c8, 0x1e376c085141ab53,
	0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373,
	0x682e6ff3d6b2b8a3, 0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
	0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b, 0xca273eceea26619c,
	0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178, 0x06f067aa72176fba, 0x0a637dc5a2c898a6,
	0x113f9804bef90dae, 0x1b710b35131c471b, 0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc,
	0x431d67c49c100d4c, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};

static const uint32_t md5_begin[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};

static const uint64_t sha_begin[8] = {
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
	0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

#define INLINE static inline __attribute__((always_inline))

/* Nothing is known of @x from here on, and it is in a register: keeps the compiler from rewriting an
 * expression into one with as many operations but a longer way from the newest word to the result. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))

INLINE uint32_t rotl32(uint32_t x, unsigned n)
{
	return x << n | x >> (32 - n);
}

INLINE uint64_t rotr64(uint64_t x, unsigned n)
{
	return x >> n | x << (64 - n);
}

/* Which word of the block step @i takes. */
INLINE unsigned md5_word(unsigned i)
{
	switch (i / 16) {
	case 0:
		return i % 16;
	case 1:
		return (5 * i + 1) % 16;
	case 2:
		return (3 * i + 5) % 16;
	default:
		return 7 * i % 16;
	}
}

/* Step @i (0 to 63) with its word @m. The newest word of the state is @b; everything is ordered so that what
 * does not need it is done before it is there. */
INLINE void md5_step(unsigned i, uint32_t m, uint32_t *ret_a, uint32_t b, uint32_t c, uint32_t d)
{
	uint32_t a = *ret_a + m, x;

	a += md5_k[i];
	OPAQUE(a);
	switch (i / 16) {
	case 0:
		x = c ^ d;
		OPAQUE(x);
		x &= b;
		OPAQUE(x);
		a += x ^ d;
		break;
	case 1: /* the two halves have no bit in common */
		a += c & ~d;
		OPAQUE(a);
		a += b & d;
		break;
	case 2:
		x = c ^ d;
		OPAQUE(x);
		a += x ^ b;
		break;
	default:
		a += c ^ (b | ~d);
	}
	a = rotl32(a, md5_shift[i / 16][i % 4]) + b;
	OPAQUE(a);
	*ret_a = a;
}

/* A round with its word of the schedule, the round's constant already in it. @ab holds b ^ c before and,
 * which is the same one round later, a ^ b after: majority(a, b, c) is ((a ^ b) & (b ^ c)) ^ b. */
INLINE void sha_round(uint64_t w, uint64_t *ab, uint64_t a, uint64_t b, uint64_t *ret_d, uint64_t e,
		      uint64_t f, uint64_t g, uint64_t *ret_h)
{
	uint64_t h = *ret_h + w, x;

	OPAQUE(h);
	x = f ^ g;
	OPAQUE(x);
	x &= e;
	OPAQUE(x);
	h += x ^ g;
	OPAQUE(h);
	x = rotr64(e, 14) ^ rotr64(e, 18);
	OPAQUE(x);
	h += x ^ rotr64(e, 41);
	OPAQUE(h);
	*ret_d += h;
	OPAQUE(*ret_d);
	x = rotr64(a, 28) ^ rotr64(a, 34);
	OPAQUE(x);
	h += x ^ rotr64(a, 39);
	OPAQUE(h);
	x = a ^ b;
	OPAQUE(x);
	*ab = (*ab & x) ^ b;
	OPAQUE(*ab);
	h += *ab;
	OPAQUE(h);
	*ab = x;
	*ret_h = h;
}

/*
 * One block at a time: what is left at the end, and machines without wide vectors
 */

static uint32_t le32(const unsigned char *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t be64(const unsigned char *p)
{
	uint64_t x = 0;

	for (unsigned i = 0; i < 8; i++)
		x = x << 8 | p[i];
	return x;
}

static void md5_block(uint32_t state[4], const unsigned char *block)
{
	uint32_t s[4];

	memcpy(s, state, sizeof(s));
	for (unsigned i = 0; i < MD5_STEPS; i++)
		md5_step(i, le32(block + 4 * md5_word(i)), &s[-i % 4], s[(1 - i) % 4], s[(2 - i) % 4],
			 s[(3 - i) % 4]);
	for (unsigned i = 0; i < 4; i++)
		state[i] += s[i];
}

INLINE uint64_t sigma0(uint64_t x)
{
	return rotr64(x, 1) ^ rotr64(x, 8) ^ x >> 7;
}

INLINE uint64_t sigma1(uint64_t x)
{
	return rotr64(x, 19) ^ rotr64(x, 61) ^ x >> 6;
}

static void sha_block(uint64_t state[8], const unsigned char *block)
{
	uint64_t s[8], w[SHA_ROUNDS], ab;

	for (unsigned t = 0; t < 16; t++)
		w[t] = be64(block + 8 * t);
	for (unsigned t = 16; t < SHA_ROUNDS; t++)
		w[t] = w[t - 16] + sigma0(w[t - 15]) + w[t - 7] + sigma1(w[t - 2]);
	memcpy(s, state, sizeof(s));
	ab = s[1] ^ s[2];
	for (unsigned t = 0; t < SHA_ROUNDS; t++)
		sha_round(w[t] + sha_k[t], &ab, s[-t % 8], s[(1 - t) % 8], &s[(3 - t) % 8], s[(4 - t) % 8],
			  s[(5 - t) % 8], s[(6 - t) % 8], &s[(7 - t) % 8]);
	for (unsigned i = 0; i < 8; i++)
		state[i] += s[i];
}

static void one_by_one(struct md5sha512 *h, const unsigned char *data, size_t n_groups)
{
	for (const unsigned char *end = data + n_groups * MD5SHA512_GROUP; data < end; data += SHA_BLOCK) {
		md5_block(h->md5, data);
		md5_block(h->md5, data + MD5_BLOCK);
		sha_block(h->sha512, data);
	}
}

/*
 * A group at a time
 */

#ifdef __x86_64__

/* The address sanitizer may move what is on the stack to where it is aligned to 32 octets only. */
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,bmi,bmi2"), no_sanitize("address")))
#define TARGET_INLINE static inline TARGET __attribute__((always_inline))

typedef uint64_t vector __attribute__((vector_size(8 * LANES)));
typedef uint8_t octets __attribute__((vector_size(8 * LANES)));

/* The rows of a group. The rounds read both through one pointer. */
struct group {
	vector wk[SHA_ROUNDS]; /* schedule and constant, added up */
	vector m[16];          /* the words as they came: each two of MD5's */
};

/* Of two rows whose indexes differ in one bit: swap the elements for which that bit is not their row's. */
TARGET_INLINE void exchange_1(vector *a, vector *b)
{
	vector x = *a, y = *b;

	*a = __builtin_shufflevector(x, y, 0, 8, 2, 10, 4, 12, 6, 14);
	*b = __builtin_shufflevector(x, y, 1, 9, 3, 11, 5, 13, 7, 15);
}

TARGET_INLINE void exchange_2(vector *a, vector *b)
{
	vector x = *a, y = *b;

	*a = __builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13);
	*b = __builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15);
}

TARGET_INLINE void exchange_4(vector *a, vector *b)
{
	vector x = *a, y = *b;

	*a = __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11);
	*b = __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15);
}

/* Rows become columns. */
TARGET_INLINE void transpose(vector row[LANES])
{
#pragma GCC unroll 8
	for (unsigned i = 0; i < LANES; i++)
		if (!(i & 1))
			exchange_1(&row[i], &row[i + 1]);
#pragma GCC unroll 8
	for (unsigned i = 0; i < LANES; i++)
		if (!(i & 2))
			exchange_2(&row[i], &row[i + 2]);
#pragma GCC unroll 8
	for (unsigned i = 0; i < LANES; i++)
		if (!(i & 4))
			exchange_4(&row[i], &row[i + 4]);
}

#define BACKWARDS(n) (n) + 7, (n) + 6, (n) + 5, (n) + 4, (n) + 3, (n) + 2, (n) + 1, (n)

TARGET_INLINE vector swap_octets(vector x)
{
	octets o = (octets)x;

	return (vector)__builtin_shufflevector(o, o, BACKWARDS(0), BACKWARDS(8), BACKWARDS(16), BACKWARDS(24),
					       BACKWARDS(32), BACKWARDS(40), BACKWARDS(48), BACKWARDS(56));
}

/* Spread a group over the columns. @ret_w: its words in the order of SHA-512, where the schedule begins. */
TARGET_INLINE void spread(struct group *g, vector *ret_w, const unsigned char *data)
{
	for (unsigned half = 0; half < 2; half++) {
		vector row[LANES];

		for (unsigned l = 0; l < LANES; l++)
			memcpy(&row[l], data + l * SHA_BLOCK + half * sizeof(vector), sizeof(vector));
		transpose(row);
		for (unsigned l = 0; l < LANES; l++) {
			unsigned t = half * LANES + l;

			g->m[t] = row[l];
			ret_w[t] = swap_octets(row[l]);
			g->wk[t] = ret_w[t] + sha_k[t];
		}
	}
}

/* From the words at @w, w[16]; with its constant added, *ret_wk. */
TARGET_INLINE void schedule_step(vector *w, vector *ret_wk, uint64_t k)
{
	vector x = w[1], y = w[14];
	vector s0 = (x >> 1 | x << 63) ^ (x >> 8 | x << 56) ^ x >> 7;
	vector s1 = (y >> 19 | y << 45) ^ (y >> 61 | y << 3) ^ y >> 6;

	w[16] = w[0] + w[9] + s0 + s1;
	*ret_wk = w[16] + k;
}

/* @column of a struct group: word @i (0 to 31) of two MD5 blocks, word @t of the schedule. */
TARGET_INLINE uint32_t md5_in(const uint64_t *column, unsigned i)
{
	uint32_t x;

	memcpy(&x, (const char *)(column + (SHA_ROUNDS + i / 2) * LANES) + i % 2 * 4, 4);
	return x;
}

TARGET_INLINE uint64_t sha_in(const uint64_t *column, unsigned t)
{
	return column[t * LANES];
}

/* A beat: eight steps of MD5 from @i on, five rounds of SHA-512 from @t on, and in every other beat a step
 * of the schedule ahead. */
#define STEP(i, a, b, c, d)                                                                                  \
	md5_step((i) % 64, md5_in(column, (i) / 64 * 16 + md5_word((i) % 64)), &a, b, c, d)
#define ROUND(t, a, b, c, d, e, f, g, h) sha_round(sha_in(column, t), &ab, a, b, &d, e, f, g, &h)
#define BEAT(i, t, a, b, c, d, e, f, g, h)                                                                   \
	do {                                                                                                 \
		STEP(i, ma, mb, mc, md);                                                                     \
		STEP((i) + 1, md, ma, mb, mc);                                                               \
		ROUND(t, a, b, c, d, e, f, g, h);                                                            \
		STEP((i) + 2, mc, md, ma, mb);                                                               \
		STEP((i) + 3, mb, mc, md, ma);                                                               \
		ROUND((t) + 1, h, a, b, c, d, e, f, g);                                                      \
		STEP((i) + 4, ma, mb, mc, md);                                                               \
		ROUND((t) + 2, g, h, a, b, c, d, e, f);                                                      \
		STEP((i) + 5, md, ma, mb, mc);                                                               \
		STEP((i) + 6, mc, md, ma, mb);                                                               \
		ROUND((t) + 3, f, g, h, a, b, c, d, e);                                                      \
		STEP((i) + 7, mb, mc, md, ma);                                                               \
		ROUND((t) + 4, e, f, g, h, a, b, c, d);                                                      \
		if ((i) / 8 % 2)                                                                             \
			schedule_step(w + (i) / 16, wk + (i) / 16, k[(i) / 16]);                             \
	} while (0)

/* One block of MD5, half a block of SHA-512: after eight beats every word has its first role again. */
#define HALF(i, t)                                                                                           \
	do {                                                                                                 \
		BEAT(i, t, a, b, c, d, e, f, g, h);                                                          \
		BEAT((i) + 8, (t) + 5, d, e, f, g, h, a, b, c);                                              \
		BEAT((i) + 16, (t) + 10, g, h, a, b, c, d, e, f);                                            \
		BEAT((i) + 24, (t) + 15, b, c, d, e, f, g, h, a);                                            \
		BEAT((i) + 32, (t) + 20, e, f, g, h, a, b, c, d);                                            \
		BEAT((i) + 40, (t) + 25, h, a, b, c, d, e, f, g);                                            \
		BEAT((i) + 48, (t) + 30, c, d, e, f, g, h, a, b);                                            \
		BEAT((i) + 56, (t) + 35, f, g, h, a, b, c, d, e);                                            \
		md5[0] = ma += md5[0];                                                                       \
		md5[1] = mb += md5[1];                                                                       \
		md5[2] = mc += md5[2];                                                                       \
		md5[3] = md += md5[3];                                                                       \
	} while (0)

/* The blocks of @this, and meanwhile the schedule of the next group: from its first 16 words at @w on all
 * the others, and with constants @wk. */
TARGET static void hash_group(uint32_t md5[4], uint64_t sha[8], const struct group *this, vector *w,
			      vector *wk)
{
	const uint64_t *column = (const uint64_t *)this, *end = column + LANES, *k = sha_k + 16;
	uint64_t a = sha[0], b = sha[1], c = sha[2], d = sha[3], e = sha[4], f = sha[5], g = sha[6],
		 h = sha[7], ab;
	uint32_t ma = md5[0], mb = md5[1], mc = md5[2], md = md5[3];

	for (wk += 16; column < end; column++, w += PER_LANE, wk += PER_LANE, k += PER_LANE) {
		ab = b ^ c;
		HALF(0, 0);
		HALF(64, 40);
		sha[0] = a += sha[0];
		sha[1] = b += sha[1];
		sha[2] = c += sha[2];
		sha[3] = d += sha[3];
		sha[4] = e += sha[4];
		sha[5] = f += sha[5];
		sha[6] = g += sha[6];
		sha[7] = h += sha[7];
	}
}

/* The group that will be spread next. The octets come from the socket, by way of another core. */
static void fetch_ahead(const unsigned char *data)
{
	for (unsigned i = 0; i < MD5SHA512_GROUP; i += 64)
		__builtin_prefetch(data + i);
}

TARGET static void by_groups(struct md5sha512 *h, const unsigned char *data, size_t n_groups)
{
	struct group groups[2];
	vector w[SHA_ROUNDS]; /* the schedule of the next group, without constants */

	spread(&groups[0], w, data);
	for (unsigned t = 0; t < SCHEDULED; t++)
		schedule_step(w + t, groups[0].wk + 16 + t, sha_k[16 + t]);
	for (size_t i = 0; i < n_groups; i++) {
		struct group *next = &groups[(i + 1) % 2];

		if (i + 1 < n_groups)
			data += MD5SHA512_GROUP; /* else the last one once more, for nothing */
		spread(next, w, data);
		if (i + 2 < n_groups)
			fetch_ahead(data + MD5SHA512_GROUP);
		hash_group(h->md5, h->sha512, &groups[i % 2], w, next->wk);
	}
}

bool md5sha512_pays(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi") &&
	       __builtin_cpu_supports("bmi2");
}

#else

static void by_groups(struct md5sha512 *h, const unsigned char *data, size_t n_groups)
{
	one_by_one(h, data, n_groups);
}

bool md5sha512_pays(void)
{
	return false;
}

#endif

/*
 * The stream
 */

static void hash_groups(struct md5sha512 *h, const unsigned char *data, size_t n_groups)
{
	if (n_groups == 0)
		return;
	if (md5sha512_pays())
		by_groups(h, data, n_groups);
	else
		one_by_one(h, data, n_groups);
}

void md5sha512_init(struct md5sha512 *h)
{
	memcpy(h->md5, md5_begin, sizeof(md5_begin));
	memcpy(h->sha512, sha_begin, sizeof(sha_begin));
	h->n = 0;
}

void md5sha512_update(struct md5sha512 *h, const void *data, size_t n)
{
	size_t have = h->n % MD5SHA512_GROUP;
	const unsigned char *at = data;

	if (n == 0)
		return;
	h->n += n;
	if (have > 0) {
		size_t k = MD5SHA512_GROUP - have < n ? MD5SHA512_GROUP - have : n;

		memcpy(h->rest + have, at, k);
		if (have + k < MD5SHA512_GROUP)
			return;
		hash_groups(h, h->rest, 1);
		at += k;
		n -= k;
	}
	hash_groups(h, at, n / MD5SHA512_GROUP);
	memcpy(h->rest, at + n / MD5SHA512_GROUP * MD5SHA512_GROUP, n % MD5SHA512_GROUP);
}

/* Both end alike: a bit, zeros, and the length in bits at the very end of a block. MD5's has 8 octets, the
 * least significant first; SHA-512's 16, the most significant first. Returns what is then in @tail. */
static size_t md5_pad(unsigned char *tail, size_t n, uint64_t n_octets)
{
	size_t end = (n + 9 + MD5_BLOCK - 1) / MD5_BLOCK * MD5_BLOCK;

	tail[n] = 0x80;
	memset(tail + n + 1, 0, end - n - 1);
	for (unsigned i = 0; i < 8; i++)
		tail[end - 8 + i] = (unsigned char)(n_octets << 3 >> (8 * i));
	return end;
}

static size_t sha_pad(unsigned char *tail, size_t n, uint64_t n_octets)
{
	size_t end = (n + 17 + SHA_BLOCK - 1) / SHA_BLOCK * SHA_BLOCK;

	tail[n] = 0x80;
	memset(tail + n + 1, 0, end - n - 1);
	for (unsigned i = 0; i < 8; i++)
		tail[end - 1 - i] = (unsigned char)(n_octets << 3 >> (8 * i));
	tail[end - 9] = (unsigned char)(n_octets >> 61);
	return end;
}

void md5sha512_final(struct md5sha512 *h, unsigned char ret_md5[16], unsigned char ret_sha512[64])
{
	unsigned char tail[MD5SHA512_GROUP + SHA_BLOCK];
	size_t n = h->n % MD5SHA512_GROUP, end;

	memcpy(tail, h->rest, n);
	end = md5_pad(tail, n, h->n);
	for (size_t at = 0; at < end; at += MD5_BLOCK)
		md5_block(h->md5, tail + at);
	end = sha_pad(tail, n, h->n);
	for (size_t at = 0; at < end; at += SHA_BLOCK)
		sha_block(h->sha512, tail + at);
	for (unsigned i = 0; i < 16; i++)
		ret_md5[i] = (unsigned char)(h->md5[i / 4] >> (8 * (i % 4)));
	for (unsigned i = 0; i < 64; i++)
		ret_sha512[i] = (unsigned char)(h->sha512[i / 8] >> (56 - 8 * (i % 8)));
}

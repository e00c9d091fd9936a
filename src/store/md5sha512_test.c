/* SPDX-License-Identifier: Apache-2.0
 * Tests of store/md5sha512.c against libcrypto: every length over two groups, pieces of every length,
 * at every alignment, cut anywhere. */
#include "md5sha512.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static int set_up(void **state)
{
	unsigned char *noise = malloc(3 * MIB);
	uint32_t x = 2463534242u;

	assert_non_null(noise);
	for (size_t i = 0; i < 3 * MIB; i++)
		noise[i] = (unsigned char)next_random(&x);
	*state = noise;
	return 0;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

/* Ends @h, which has been fed the @n octets at @data. */
static void expect(struct md5sha512 *h, const unsigned char *data, size_t n)
{
	unsigned char got_md5[16], got_sha512[64], want[64];

	md5sha512_final(h, got_md5, got_sha512);
	assert_true(EVP_Q_digest(NULL, "MD5", NULL, data, n, want, NULL));
	assert_memory_equal(got_md5, want, sizeof(got_md5));
	assert_true(EVP_Q_digest(NULL, "SHA512", NULL, data, n, want, NULL));
	assert_memory_equal(got_sha512, want, sizeof(got_sha512));
}

static void every_length(void **state)
{
	const unsigned char *noise = *state;

	for (size_t n = 0; n <= 2 * MD5SHA512_GROUP + 256; n++) {
		struct md5sha512 h;

		md5sha512_init(&h);
		md5sha512_update(&h, noise + n, n);
		expect(&h, noise + n, n);
	}
}

/* Two pieces, the cut at every place. */
static void every_cut(void **state)
{
	const size_t n = 2 * MD5SHA512_GROUP + 100;
	const unsigned char *noise = *state;

	for (size_t cut = 0; cut <= n; cut++) {
		struct md5sha512 h;

		md5sha512_init(&h);
		md5sha512_update(&h, noise, cut);
		md5sha512_update(&h, noise + cut, n - cut);
		expect(&h, noise, n);
	}
}

static void pieces_of_one_length(void **state)
{
	const unsigned char *noise = *state;

	for (size_t step = 1; step < 3 * MD5SHA512_GROUP; step += 1 + step / 8) {
		struct md5sha512 h;
		const size_t n = 9999;

		md5sha512_init(&h);
		for (size_t at = 0; at < n; at += step)
			md5sha512_update(&h, noise + at, n - at < step ? n - at : step);
		expect(&h, noise, n);
	}
}

/* Many groups at once and few octets, as they come. */
static void pieces_of_any_length(void **state)
{
	const unsigned char *noise = *state;
	uint32_t x = 88172645u;

	for (unsigned round = 0; round < 50; round++) {
		size_t n = next_random(&x) % (3 * MIB), begin = next_random(&x) % 64, at = begin;
		struct md5sha512 h;

		if (n < begin)
			continue;
		md5sha512_init(&h);
		while (at < n) {
			size_t k = next_random(&x) % (next_random(&x) % 2 ? 200000 : 2000);

			if (k > n - at)
				k = n - at;
			md5sha512_update(&h, noise + at, k);
			at += k;
		}
		expect(&h, noise + begin, n - begin);
	}
}

static void nothing(void **state)
{
	struct md5sha512 h;

	md5sha512_init(&h);
	md5sha512_update(&h, NULL, 0);
	md5sha512_update(&h, "x", 1);
	md5sha512_update(&h, NULL, 0);
	expect(&h, (const unsigned char *)"x", 1);
}

/* More octets than 32 bits count, in bits: the length at the end has its upper half. */
static void half_a_gibibyte(void **state)
{
	const unsigned char *noise = *state;
	EVP_MD_CTX *md5 = EVP_MD_CTX_new(), *sha512 = EVP_MD_CTX_new();
	unsigned char got_md5[16], got_sha512[64], want[64];
	struct md5sha512 h;

	assert_true(EVP_DigestInit_ex2(md5, EVP_md5(), NULL));
	assert_true(EVP_DigestInit_ex2(sha512, EVP_sha512(), NULL));
	md5sha512_init(&h);
	for (unsigned i = 0; i < 257; i++) {
		md5sha512_update(&h, noise + i, 2 * MIB);
		assert_true(EVP_DigestUpdate(md5, noise + i, 2 * MIB));
		assert_true(EVP_DigestUpdate(sha512, noise + i, 2 * MIB));
	}
	md5sha512_final(&h, got_md5, got_sha512);
	assert_true(EVP_DigestFinal_ex(md5, want, NULL));
	assert_memory_equal(got_md5, want, sizeof(got_md5));
	assert_true(EVP_DigestFinal_ex(sha512, want, NULL));
	assert_memory_equal(got_sha512, want, sizeof(got_sha512));
	EVP_MD_CTX_free(md5);
	EVP_MD_CTX_free(sha512);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length),
		cmocka_unit_test(every_cut),
		cmocka_unit_test(pieces_of_one_length),
		cmocka_unit_test(pieces_of_any_length),
		cmocka_unit_test(nothing),
		cmocka_unit_test(half_a_gibibyte),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* SPDX-License-Identifier: Apache-2.0
 * Tests of store/digest.c: known vectors, every length around a block and around the point where
 * the companions start, the promise behind a ticket, many digests at once. */
#include "digest.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/err.h"

#define MIB ((size_t)1 << 20)

static struct digest *open_digest(const char *algorithm)
{
	struct err err = {0};
	struct digest *d = NULL;

	assert_int_equal(digest_new(algorithm, &d, &err), 0);
	return d;
}

/* Octets that repeat nowhere near a block's length. */
static unsigned char *noise(size_t n)
{
	unsigned char *data = malloc(n + 1);
	uint32_t x = 2463534242u;

	assert_non_null(data);
	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		data[i] = (unsigned char)x;
	}
	return data;
}

/* What libcrypto says in one go. */
static void expect(const char *algorithm, const void *data, size_t n, const char *got)
{
	char want[2 * EVP_MAX_MD_SIZE + 1] = "";
	unsigned char raw[EVP_MAX_MD_SIZE];
	size_t len;

	assert_true(EVP_Q_digest(NULL, algorithm, NULL, data, n, raw, &len));
	for (size_t i = 0; i < len; i++)
		snprintf(want + 2 * i, 3, "%02x", raw[i]);
	assert_string_equal(got, want);
}

static void feed(struct digest *d, const unsigned char *data, size_t n, size_t step)
{
	for (size_t at = 0; at < n; at += step)
		digest_update(d, data + at, n - at < step ? n - at : step);
}

static void known_vectors(void **state)
{
	static const struct {
		const char *algorithm, *data, *md5, *hash;
	} cases[] = {
		{"sha512", "", "d41d8cd98f00b204e9800998ecf8427e",
		 "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
		 "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"},
		{"sha512", "abc", "900150983cd24fb0d6963f7d28e17f72",
		 "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
		 "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
		{"sha256", "abc", "900150983cd24fb0d6963f7d28e17f72",
		 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"sha1", "abc", "900150983cd24fb0d6963f7d28e17f72",
		 "a9993e364706816aba3e25717850c26c9cd0d89d"},
		{"sha3_256", "abc", "900150983cd24fb0d6963f7d28e17f72",
		 "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"},
		{"md5", "abc", "900150983cd24fb0d6963f7d28e17f72", "900150983cd24fb0d6963f7d28e17f72"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(digest_free_p) struct digest *d = open_digest(cases[i].algorithm);
		struct digest_result result;
		struct err err = {0};

		digest_update(d, cases[i].data, strlen(cases[i].data));
		assert_int_equal(digest_final(d, &result, &err), 0);
		assert_string_equal(result.md5, cases[i].md5);
		assert_string_equal(result.hash, cases[i].hash);
	}
}

static void names_as_python_writes_them(void **state)
{
	static const struct {
		const char *name, *crypto;
	} cases[] = {
		{"SHA512", "SHA512"},       {"sha384", "SHA384"},         {"sha224", "SHA224"},
		{"sha3_512", "SHA3-512"},   {"sha3-384", "SHA3-384"},     {"blake2b", "BLAKE2B-512"},
		{"blake2s", "BLAKE2S-256"}, {"sha512_256", "SHA512-256"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(digest_free_p) struct digest *d = open_digest(cases[i].name);
		struct digest_result result;

		digest_update(d, "octets", 6);
		assert_int_equal(digest_final(d, &result, NULL), 0);
		expect(cases[i].crypto, "octets", 6, result.hash);
	}
}

static void unknown_algorithms(void **state)
{
	static const char *const names[] = {
		"",          "sha513",
		"shake_128", "shake256",
		"md5 ",      "provider=default",
		"../sha512", "a-name-that-is-longer-than-any-that-the-library-could-ever-know-about",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct digest *d = NULL;
		struct err err = {0};

		assert_int_equal(digest_new(names[i], &d, &err), ERR_INVALID);
		assert_null(d);
		assert_non_null(strstr(err.text, names[i]));
	}
}

/* A machine's policy forbids the configured hash, never the checksum. */
static void md5_in_spite_of_fips(void **state)
{
	AUTO(digest_free_p) struct digest *both = NULL;
	struct digest *d = NULL;
	struct err err = {0};
	int r, r_md5;

	assert_true(EVP_set_default_properties(NULL, "fips=yes"));
	r = digest_new("sha512", &d, &err);
	r_md5 = digest_new("md5", &both, NULL);
	assert_true(EVP_set_default_properties(NULL, ""));
	assert_int_equal(r, ERR_INVALID);
	assert_non_null(strstr(err.text, "sha512"));
	assert_int_equal(r_md5, 0);
}

static void odd_lengths(void **state)
{
	static const size_t lengths[] = {
		0,   1,   55,  56,      63,  64,      65,          111,         112,
		127, 128, 129, MIB - 1, MIB, MIB + 1, 2 * MIB + 1, 5 * MIB + 3,
	};
	static const size_t steps[] = {997, 65536, 262144, 8 * MIB};
	unsigned char *data = noise(5 * MIB + 3);

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		for (size_t j = 0; j < ARRAY_LEN(steps); j++) {
			AUTO(digest_free_p) struct digest *d = open_digest(*state);
			struct digest_result result;

			feed(d, data, lengths[i], steps[j]);
			assert_int_equal(digest_final(d, &result, NULL), 0);
			expect("MD5", data, lengths[i], result.md5);
			expect(*state, data, lengths[i], result.hash);
		}
	}
	free(data);
}

static void nothing_and_empty_pieces(void **state)
{
	AUTO(digest_free_p) struct digest *none = open_digest("sha256");
	AUTO(digest_free_p) struct digest *empty = open_digest("sha256");
	struct digest_result result;

	assert_int_equal(digest_final(none, &result, NULL), 0);
	expect("SHA256", "", 0, result.hash);
	digest_wait(empty, 0);
	digest_wait(empty, digest_update(empty, NULL, 0));
	digest_update(empty, "x", 1);
	digest_update(empty, NULL, 0);
	assert_int_equal(digest_final(empty, &result, NULL), 0);
	expect("SHA256", "x", 1, result.hash);
}

/* The ring of buffers the tickets are for: each is overwritten as soon as its ticket is through,
 * so a piece that is not hashed by then spoils the result. */
static void hash_through_ring(const char *algorithm, const unsigned char *data, size_t n, size_t step,
			      struct digest_result *ret)
{
	AUTO(digest_free_p) struct digest *d = open_digest(algorithm);
	uint64_t tickets[3] = {0};
	unsigned char *ring[3];
	size_t i = 0;

	for (size_t b = 0; b < ARRAY_LEN(ring); b++)
		assert_non_null(ring[b] = malloc(step));
	for (size_t at = 0; at < n; at += step, i = (i + 1) % ARRAY_LEN(ring)) {
		size_t len = n - at < step ? n - at : step;

		digest_wait(d, tickets[i]);
		memset(ring[i], 0xff, step);
		memcpy(ring[i], data + at, len);
		tickets[i] = digest_update(d, ring[i], len);
	}
	assert_int_equal(digest_final(d, ret, NULL), 0);
	for (size_t b = 0; b < ARRAY_LEN(ring); b++)
		free(ring[b]);
}

static void tickets_free_buffers(void **state)
{
	unsigned char *data = noise(9 * MIB);
	struct digest_result result;

	hash_through_ring(*state, data, 9 * MIB, 100000, &result);
	expect("MD5", data, 9 * MIB, result.md5);
	expect(*state, data, 9 * MIB, result.hash);
	free(data);
}

static void tickets_grow(void **state)
{
	AUTO(digest_free_p) struct digest *d = open_digest(*state);
	uint64_t a = digest_update(d, "a", 1), b = digest_update(d, "b", 1);

	assert_true(a > 0 && b > a);
}

/* How many companions this process has: threads by their name. */
static unsigned n_companions(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned n = 0;

	assert_non_null(tasks);
	for (struct dirent *e = readdir(tasks); e; e = readdir(tasks)) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "re");
		if (f && fgets(name, sizeof(name), f))
			n += strcmp(name, "digest\n") == 0;
		if (f)
			fclose(f);
	}
	closedir(tasks);
	return n;
}

/* Nobody tells when a thread is gone; one that stays runs into the time limit of the test. */
static void await_no_companions(void)
{
	const struct timespec moment = {0, 5000000};

	while (n_companions() > 0)
		nanosleep(&moment, NULL);
}

/* They leave while the client says nothing, and come back with the data. */
static void companions_come_and_go(void **state)
{
	AUTO(digest_free_p) struct digest *d = open_digest(*state);
	unsigned char *data = noise(9 * MIB);
	struct digest_result result;

	for (size_t at = 0; at < 9 * MIB; at += 3 * MIB) {
		feed(d, data + at, 3 * MIB, 65536);
		await_no_companions();
	}
	assert_int_equal(digest_final(d, &result, NULL), 0);
	expect("MD5", data, 9 * MIB, result.md5);
	expect(*state, data, 9 * MIB, result.hash);
	free(data);
}

static void short_streams_start_no_thread(void **state)
{
	AUTO(digest_free_p) struct digest *d = open_digest(*state);
	unsigned char *data = noise(MIB);

	await_no_companions(); /* a joined thread can be listed for a moment longer */
	feed(d, data, MIB, 65536);
	assert_int_equal(n_companions(), 0);
	free(data);
}

/* After digest_free() nobody reads the buffer any more: ASan and TSan look at the free(). */
static void freed_in_the_middle(void **state)
{
	for (size_t n = 0; n < 20; n++) {
		struct digest *d = open_digest(*state);
		unsigned char *data = noise(3 * MIB);

		feed(d, data, 3 * MIB, 65536);
		digest_free(d);
		free(data);
	}
	digest_free(NULL);
}

struct hasher {
	const char *algorithm;
	unsigned char *data; /* 3 MIB */
	struct digest_result result;
};

static void *hash_noise(void *arg)
{
	struct hasher *h = arg;

	hash_through_ring(h->algorithm, h->data, 3 * MIB, 30000, &h->result);
	return NULL;
}

static void many_at_once(void **state)
{
	struct hasher hashers[8];
	pthread_t threads[8];

	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		hashers[i] = (struct hasher){.algorithm = *state, .data = malloc(3 * MIB)};
		assert_non_null(hashers[i].data);
		memset(hashers[i].data, (int)i, 3 * MIB);
		assert_int_equal(pthread_create(&threads[i], NULL, hash_noise, &hashers[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		pthread_join(threads[i], NULL);
		expect("MD5", hashers[i].data, 3 * MIB, hashers[i].result.md5);
		expect(*state, hashers[i].data, 3 * MIB, hashers[i].result.hash);
		free(hashers[i].data);
	}
}

/* SHA-512 shares a lane with MD5 where that pays; SHA-384 never does. */
#define BOTH_WAYS(name)                                                                                      \
	cmocka_unit_test_prestate(name, (void *)"sha512"), cmocka_unit_test_prestate(name, (void *)"sha384")

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_vectors),
		cmocka_unit_test(names_as_python_writes_them),
		cmocka_unit_test(unknown_algorithms),
		cmocka_unit_test(md5_in_spite_of_fips),
		BOTH_WAYS(odd_lengths),
		cmocka_unit_test(nothing_and_empty_pieces),
		BOTH_WAYS(tickets_free_buffers),
		BOTH_WAYS(tickets_grow),
		BOTH_WAYS(short_streams_start_no_thread),
		BOTH_WAYS(companions_come_and_go),
		BOTH_WAYS(freed_in_the_middle),
		BOTH_WAYS(many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

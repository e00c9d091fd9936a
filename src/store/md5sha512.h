/* SPDX-License-Identifier: Apache-2.0
 * store/md5sha512.h -- MD5 and SHA-512 of one stream in one pass, on one processor.
 *
 * Each of the two is a chain: every step waits for the one before, and a wide processor has most of
 * its units idle. Step by step in turn, one fills the gaps of the other: both together take hardly
 * longer than MD5 alone, and the processor time of the shorter one is saved. */
#pragma once

#include "base/util.h"

#define MD5SHA512_GROUP 1024 /* octets that go through at once: eight blocks of SHA-512 */

struct md5sha512 {
	uint32_t md5[4];
	uint64_t sha512[8];
	uint64_t n; /* octets so far */
	unsigned char rest[MD5SHA512_GROUP]; /* the last n % MD5SHA512_GROUP of them */
};

/* Is it any faster here than libcrypto's? It needs AVX-512 for the message schedule. The functions
 * below work everywhere. */
bool md5sha512_pays(void);

void md5sha512_init(struct md5sha512 *h);
void md5sha512_update(struct md5sha512 *h, const void *data, size_t n);
/* To be called once. */
void md5sha512_final(struct md5sha512 *h, unsigned char ret_md5[16], unsigned char ret_sha512[64]);

/* SPDX-License-Identifier: Apache-2.0
 * store/digest.h -- the hashes of the bytes that pass: MD5 (the checksum clients know) and the
 * configured os_hash_algo, side by side on two threads once the stream is long enough to pay, or
 * on one where both can be had in one pass.
 *
 * One thread at a time feeds a digest and frees it; any thread may wait. Pieces of 256 KiB and more
 * come through at the full speed of the slower hash; a handover costs some microseconds. */
#pragma once

#include "base/util.h"

struct digest;
struct err;

#define DIGEST_MD5_HEX 32
#define DIGEST_HEX_MAX 128

struct digest_result {
	char md5[DIGEST_MD5_HEX + 1];
	char hash[DIGEST_HEX_MAX + 1];
};

/* @algorithm as OpenSSL and Python name it: sha512, sha256, sha384, sha1, sha3_512 ...
 * ERR_INVALID if unknown. */
int digest_new(const char *algorithm, struct digest **ret, struct err *err);
void digest_free(struct digest *d);
void digest_free_p(struct digest **d);

/* Hash @n octets. Returns before they are hashed (it waits only when 64 pieces are under way): the
 * octets at @data must stay as they are until digest_wait() has returned with a ticket at or past
 * the one given out here, or digest_free() has. Ticket 0 is always through. */
uint64_t digest_update(struct digest *d, const void *data, size_t n);
void digest_wait(struct digest *d, uint64_t ticket);

/* Waits for all of it. To be called once; only digest_free() may follow. */
int digest_final(struct digest *d, struct digest_result *ret, struct err *err);

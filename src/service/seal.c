/* SPDX-License-Identifier: Apache-2.0
 * service/seal.c -- see seal.h. The cipher gives no integrity; whoever can write the database can do
 * worse. It is there because installations have it switched on. */
#include "service/seal.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/err.h"

#define BLOCK 16

static const EVP_CIPHER *cipher_for(const char *key)
{
	switch (strlen(key)) {
	case 16:
		return EVP_aes_128_cbc();
	case 24:
		return EVP_aes_192_cbc();
	case 32:
		return EVP_aes_256_cbc();
	default:
		return NULL;
	}
}

int seal_check_key(const char *key, struct err *err)
{
	if (!key || cipher_for(key))
		return 0;
	return err_set(err, ERR_INVALID, "metadata_encryption_key has to have 16, 24 or 32 characters");
}

static void translate(char *text, char from, char to)
{
	for (; *text; text++)
		if (*text == from)
			*text = to;
}

/* One pass of the cipher over whole blocks, without the padding that OpenSSL would do. */
static bool run_cipher(const char *key, const unsigned char *iv, bool encrypt, const unsigned char *in, int n,
		       unsigned char *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n_out = 0, n_last = 0;
	bool good = ctx &&
		    EVP_CipherInit_ex(ctx, cipher_for(key), NULL, (const unsigned char *)key, iv, encrypt) == 1 &&
		    EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 && EVP_CipherUpdate(ctx, out, &n_out, in, n) == 1 &&
		    EVP_CipherFinal_ex(ctx, out + n_out, &n_last) == 1;

	EVP_CIPHER_CTX_free(ctx);
	return good && n_out + n_last == n;
}

/* The URL, a zero octet, and non-zero octets (which, does not matter) up to a whole block. */
static unsigned char *pad(const char *url, struct arena *a, int *ret_n)
{
	size_t len = strlen(url), n = (len / BLOCK + 1) * BLOCK;
	unsigned char *text = arena_alloc(a, n);

	if (!text)
		return NULL;
	memcpy(text, url, len);
	memset(text + len + 1, 'x', n - len - 1);
	*ret_n = (int)n;
	return text;
}

int seal_close(const char *key, const char *url, struct arena *a, const char **ret, struct err *err)
{
	unsigned char *text, *sealed;
	char *base64;
	int n;

	if (!key) {
		*ret = url;
		return 0;
	}
	text = pad(url, a, &n);
	if (!text)
		return err_nomem(err);
	sealed = arena_alloc(a, BLOCK + (size_t)n);
	base64 = arena_alloc(a, ((size_t)n + BLOCK + 2) / 3 * 4 + 1);
	if (!sealed || !base64)
		return err_nomem(err);
	if (RAND_bytes(sealed, BLOCK) != 1 || !run_cipher(key, sealed, true, text, n, sealed + BLOCK))
		return err_set(err, ERR_INTERNAL, "A location could not be encrypted.");
	EVP_EncodeBlock((unsigned char *)base64, sealed, BLOCK + n);
	translate(base64, '+', '-');
	translate(base64, '/', '_');
	*ret = base64;
	return 0;
}

/* Octets of the decoded text, or -1. OpenSSL counts the padding as data; we do not. */
static int decode(const char *value, struct arena *a, unsigned char **ret)
{
	size_t len = strlen(value);
	char *base64 = arena_strdup(a, value);
	int n;

	*ret = arena_alloc(a, len / 4 * 3 + 4);
	if (!base64 || !*ret || len == 0 || len % 4 != 0 || len > INT32_MAX)
		return -1;
	translate(base64, '-', '+');
	translate(base64, '_', '/');
	n = EVP_DecodeBlock(*ret, (const unsigned char *)base64, (int)len);
	for (; n > 0 && len > 0 && value[len - 1] == '='; len--)
		n--;
	return n;
}

int seal_open(const char *key, const char *value, struct arena *a, const char **ret, struct err *err)
{
	unsigned char *sealed, *text, *end;
	int n;

	if (!key || strstr(value, "://")) {
		*ret = value;
		return 0;
	}
	n = decode(value, a, &sealed);
	text = n > BLOCK && n % BLOCK == 0 ? arena_alloc(a, (size_t)n) : NULL;
	if (!text || !run_cipher(key, sealed, false, sealed + BLOCK, n - BLOCK, text))
		return err_set(err, ERR_INTERNAL, "A location could not be decrypted.");
	end = memrchr(text, '\0', (size_t)(n - BLOCK));
	if (!end)
		return err_set(err, ERR_INTERNAL, "A location could not be decrypted with this key.");
	*ret = (const char *)text; /* up to the zero octet at @end */
	return strlen(*ret) == (size_t)(end - text)
		       ? 0
		       : err_set(err, ERR_INTERNAL, "A location could not be decrypted with this key.");
}

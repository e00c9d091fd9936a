/* SPDX-License-Identifier: Apache-2.0
 * http/tls.c -- the certificate that a server shows, and what TLS it speaks: 1.2 with forward secrecy and
 * authenticated ciphers, and 1.3; HTTP/1.1 and nothing else by ALPN; tickets, but no renegotiation and no
 * compression. */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "http.h"

#define CIPHERS_TLS12 "ECDHE+AESGCM:ECDHE+CHACHA20"

struct tls {
	struct arena arena;
	struct http_tls config;
	pthread_mutex_t lock;
	SSL_CTX *ctx; /* the present one; under the lock */
};

/* What OpenSSL has to say about the last failure. */
static const char *reason(char text[256])
{
	unsigned long code = ERR_get_error(); /* the first: where it began */
	const char *why = ERR_reason_error_string(code);

	if (ERR_SYSTEM_ERROR(code))
		why = strerror(ERR_GET_REASON(code));
	(void)snprintf(text, 256, "%s", why ? why : "OpenSSL does not say why");
	ERR_clear_error();
	return text;
}

static int broken(const char *option, const char *path, struct err *err)
{
	char why[256];

	return err_set(err, ERR_INVALID, "%s %.200s: %s", option, path, reason(why));
}

/* An encrypted key would ask whoever is at the terminal. */
static int no_password(char *out, int n, int is_write, void *cls)
{
	return -1;
}

/* A client that offers protocols without ours would not understand what we say. */
static int choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_n,
			   const unsigned char *offered, unsigned n, void *cls)
{
	static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, ret_n, ours, sizeof(ours) - 1, offered, n) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*ret = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int load_pair(SSL_CTX *ctx, const struct http_tls *c, struct err *err)
{
	const char *key = c->key_file ? c->key_file : c->cert_file;

	SSL_CTX_set_default_passwd_cb(ctx, no_password);
	if (SSL_CTX_use_certificate_chain_file(ctx, c->cert_file) != 1)
		return broken("cert_file", c->cert_file, err);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return broken("key_file", key, err);
	if (SSL_CTX_check_private_key(ctx) != 1)
		return broken("key_file", key, err);
	return 0;
}

/* As with Glance: who has no certificate that these have signed is sent away. */
static int load_authorities(SSL_CTX *ctx, const struct http_tls *c, struct err *err)
{
	STACK_OF(X509_NAME) * names;

	if (!c->ca_file)
		return 0;
	names = SSL_load_client_CA_file(c->ca_file);
	if (!names || SSL_CTX_load_verify_file(ctx, c->ca_file) != 1) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		return broken("ca_file", c->ca_file, err);
	}
	SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return 0;
}

static bool set_protocol(SSL_CTX *ctx, const struct http_tls *c)
{
	static const unsigned char id[] = "glint";

	/* Where a request ends says HTTP; so an end without a goodbye need not be an error here, which would
	 * leave us without a way to say what is missing. */
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
#ifndef OPENSSL_NO_KTLS
	if (c->kernel)
		SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
#endif
	/* Idle connections keep no buffers; what is sent again may have moved meanwhile. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1); /* one recv for the head of a record and the rest */
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_cipher_list(ctx, CIPHERS_TLS12) == 1 &&
	       SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1) == 1;
}

static int make_context(const struct http_tls *c, SSL_CTX **ret, struct err *err)
{
	SSL_CTX *ctx;
	char why[256];
	int r = 0;

	ERR_clear_error();
	ctx = SSL_CTX_new(TLS_server_method());
	if (!ctx || !set_protocol(ctx, c))
		r = err_set(err, ERR_INTERNAL, "setting TLS up: %s", reason(why));
	if (r == 0)
		r = load_pair(ctx, c, err);
	if (r == 0)
		r = load_authorities(ctx, c, err);
	if (r < 0)
		SSL_CTX_free(ctx);
	else
		*ret = ctx;
	return r;
}

static const char *copy(struct tls *t, const char *text)
{
	return text ? arena_strdup(&t->arena, text) : NULL;
}

int tls_new(const struct http_tls *config, struct tls **ret, struct err *err)
{
	struct tls *t = calloc(1, sizeof(*t));
	int r = t ? 0 : err_nomem(err);

	if (r < 0)
		return r;
	(void)pthread_mutex_init(&t->lock, NULL);
	t->config = (struct http_tls){copy(t, config->cert_file), copy(t, config->key_file),
				      copy(t, config->ca_file), config->kernel};
	if (!t->config.cert_file || (config->key_file && !t->config.key_file) ||
	    (config->ca_file && !t->config.ca_file))
		r = err_nomem(err);
	if (r == 0)
		r = tls_reload(t, err);
	if (r < 0) {
		tls_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	(void)pthread_mutex_destroy(&t->lock);
	arena_done(&t->arena);
	free(t);
}

int tls_reload(struct tls *t, struct err *err)
{
	SSL_CTX *ctx, *old;
	int r = make_context(&t->config, &ctx, err);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&t->lock);
	old = t->ctx;
	t->ctx = ctx;
	(void)pthread_mutex_unlock(&t->lock);
	SSL_CTX_free(old);
	return 0;
}

SSL *tls_session(struct tls *t)
{
	SSL_CTX *ctx;
	SSL *ssl;

	(void)pthread_mutex_lock(&t->lock);
	ctx = t->ctx;
	(void)SSL_CTX_up_ref(ctx);
	(void)pthread_mutex_unlock(&t->lock);
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	return ssl;
}

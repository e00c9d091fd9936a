/* SPDX-License-Identifier: Apache-2.0
 * http/tls.h -- the certificate that a server shows, and what TLS it speaks. */
#pragma once

#include "base/util.h"

struct err;
struct http_tls;
struct ssl_st;
struct tls;

/* Reads the files. The texts of @config are copied. */
int tls_new(const struct http_tls *config, struct tls **ret, struct err *err);
void tls_free(struct tls *t); /* connections that are still there keep what they need */

/* Reads the files anew, for connections made from now on. If they are no good, all stays as it was. */
int tls_reload(struct tls *t, struct err *err);

/* For one connection; NULL: no memory. The caller frees it with SSL_free(). */
struct ssl_st *tls_session(struct tls *t);

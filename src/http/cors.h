/* SPDX-License-Identifier: Apache-2.0
 * http/cors.h -- what browsers are told about pages of other origins (CORS): the headers that oslo.middleware
 * sends. Pure. */
#pragma once

#include "base/buf.h"
#include "head.h"
#include "http.h"

/* Lines for the answer to the request, each with its end; none if its origin may nothing. */
void cors_add_headers(const struct http_cors *rules, size_t n, const struct head *h, struct buf *out);

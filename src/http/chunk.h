/* SPDX-License-Identifier: Apache-2.0
 * http/chunk.h -- the chunked transfer coding (RFC 9112 section 7.1). Pure: no I/O. */
#pragma once

#include "base/util.h"

enum chunk_verdict {
	CHUNK_MORE, /* all that was given is used up: more, please */
	CHUNK_DATA, /* the next `left` octets are data: take some, say so with chunk_took() */
	CHUNK_END,  /* the body is complete; what follows belongs to the next request */
	CHUNK_BAD,
};

/* Zeroed memory is a decoder at the begin of a body. */
struct chunk {
	enum {
		CHUNK_AT_SIZE,
		CHUNK_AT_SIZE_LF,
		CHUNK_AT_DATA,
		CHUNK_AT_DATA_CR,
		CHUNK_AT_DATA_LF,
		CHUNK_AT_TRAILER,
		CHUNK_AT_TRAILER_LF,
		CHUNK_AT_END,
		CHUNK_AT_FAULT,
	} at;
	uint64_t left;      /* data octets of this chunk still to come */
	unsigned n_digits;  /* of its size */
	unsigned n_trailer; /* octets of trailer lines so far */
	unsigned line_len;  /* of the trailer line being read */
};

/* Read framing from @in; *ret_used octets of it are done with. */
enum chunk_verdict chunk_next(struct chunk *c, const char *in, size_t n, size_t *ret_used);

/* @n octets of data, at most `left`, have been taken from behind the framing. */
void chunk_took(struct chunk *c, uint64_t n);

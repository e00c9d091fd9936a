/* SPDX-License-Identifier: Apache-2.0
 * service/transfer.h -- bytes from a source through the hashes into one store or several side by side.
 * No transaction is open meanwhile. */
#pragma once

#include <stdatomic.h>

#include "base/err.h"
#include "service/service.h"
#include "store/digest.h"
#include "store/inspect.h"

/* One of the stores that the bytes go to. */
struct sink {
	struct store *store;         /* borrowed */
	struct store_writer *writer; /* while it is being written */
	char *url;                   /* once it is whole and durable; owned */
	bool may_have_name;          /* the store has begun to give the object its name */
	struct err err;              /* why it is out of it; code 0: it is not */
};

struct transfer {
	const char *image_id;
	struct upload_source *source;
	struct sink *sinks;           /* zeroed but for their stores; transfer_close() after it all */
	size_t n_sinks;
	bool all_must_succeed;        /* otherwise one is enough */
	const char *hash_algorithm;   /* NULL: nothing is hashed */
	struct inspect *inspect;      /* owned; NULL: nobody asks what the bytes are */
	int64_t max_octets;
	struct hold *hold;            /* borrowed; NULL: there is no quota */
	size_t n_copies;              /* by which that counts; 0: as many as there are sinks */
	const atomic_bool *stop;      /* ends it with ERR_GONE; NULL: never */
	void (*progress)(void *cls, int64_t n_octets); /* after each piece; NULL: nobody asks */
	void *cls;

	/* What came of it. */
	int64_t size;
	struct digest_result digest;
	struct inspect_result inspected;
};

/* Returns when all sinks that take part are committed: those have a url. On failure nothing is
 * committed any more than a sink's may_have_name says; the caller removes that. */
int transfer_run(struct transfer *t, struct err *err);

/* Lets go of what the sinks and the inspection hold. */
void transfer_close(struct transfer *t);

/* SPDX-License-Identifier: Apache-2.0
 * access/policy_files.h -- the operator's policy files: which there are, and what is in them. */
#pragma once

#include "access/rules.h"
#include "base/buf.h"

struct err;

#define POLICY_MAX_OCTETS ((size_t)1 << 20) /* of one file */
#define POLICY_MAX_FILES 256

/* A file that is not there is an error unless @config says otherwise, and so is one about which nothing can be
 * learnt: rules that nobody can read must not count as rules that nobody has made. */
struct policy_files {
	struct arena arena;
	const char **paths; /* in the order in which they are read */
	bool *empty;        /* of each: there is nothing at all in it */
	size_t n;
	struct buf stamp;   /* differs when anything about any of them differs */
};

int policy_files_find(const struct policy_config *config, struct policy_files *ret, struct err *err);
void policy_files_done(struct policy_files *f); /* a zeroed struct is fine */

/* Sets in @rs what they say; a later file wins over an earlier one. */
int policy_files_read(const struct policy_files *f, struct rules *rs, struct err *err);

/* One of them, from memory; @path is what messages call it. */
int policy_text_read(const char *path, const char *text, size_t n, struct rules *rs, struct err *err);

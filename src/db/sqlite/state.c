/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/state.c -- which state of the database a read transaction sees.
 *
 * The first 48 octets of SQLite's wal-index, the memory that all connections to a file share, name the last
 * commit: a counter, the frame it ended with and a checksum over all frames until then (sqlite.org/walformat,
 * section 2.1). Every commit changes them, whoever makes it; a reader takes its snapshot from them. So when
 * they are the same before and after a snapshot was taken, they name it. There are two copies, written one
 * after the other: when they differ, a commit is being written.
 *
 * PRAGMA data_version is not enough: it tells a connection that somebody has committed, but not whether that
 * was one of our own commits, which happen thousands of times a second. Where the wal-index cannot be had or
 * has another format, nothing has a name, and what goes by names (texts.c) is off. */
#include "db/sqlite/sqlite.h"

#include <stdatomic.h>
#include <string.h>

#define WAL_INDEX_VERSION 3007000
#define WAL_INDEX_PART 32768 /* the size of its first part, as SQLite maps it */

enum { WORD_VERSION = 0, WORD_CHANGE = 2, WORD_FLAGS = 3, WORD_LAST_FRAME = 4 };

void state_source_open(struct state_source *s, struct conn *writer)
{
	sqlite3_file *file = NULL;
	void volatile *part = NULL;

	s->words = NULL;
	if (sqlite3_file_control(writer->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file ||
	    !file->pMethods || file->pMethods->iVersion < 2)
		return;
	if (file->pMethods->xShmMap(file, 0, WAL_INDEX_PART, 0, &part) == SQLITE_OK && part)
		s->words = (const volatile _Atomic uint32_t *)part;
}

static void copy(const struct state_source *s, size_t from, struct db_state *to)
{
	for (size_t i = 0; i < STATE_WORDS; i++)
		to->word[i] = atomic_load_explicit(&s->words[from + i], memory_order_acquire);
}

bool state_read(const struct state_source *s, struct db_state *ret)
{
	struct db_state second;

	if (!s->words)
		return false;
	copy(s, 0, ret); /* written second, read first */
	copy(s, STATE_WORDS, &second);
	return state_equal(ret, &second) && ret->word[WORD_VERSION] == WAL_INDEX_VERSION && ret->word[WORD_FLAGS] != 0;
}

bool state_equal(const struct db_state *a, const struct db_state *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool state_is_next(const struct db_state *before, const struct db_state *after, int last_frame)
{
	return after->word[WORD_CHANGE] == before->word[WORD_CHANGE] + 1 &&
	       after->word[WORD_LAST_FRAME] == (uint32_t)last_frame;
}

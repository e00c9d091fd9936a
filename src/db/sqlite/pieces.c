/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/pieces.c -- digests of the pieces of images whose bytes are elsewhere. */
#include "db/sqlite/sqlite.h"

#include <string.h>

int sqlite_pieces_put(struct db_tx *tx, const char *image_id, int64_t part, const void *digests,
		      size_t n_octets, struct err *err)
{
	static const char sql[] =
		"INSERT OR IGNORE INTO glint_pieces (image_id, part, digests) VALUES (?, ?, ?)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, image_id);
	bind_int(&q, part);
	bind_octets(&q, digests, n_octets);
	return query_run(&q, err);
}

int sqlite_pieces_get(struct db_tx *tx, const char *image_id, int64_t part, void *digests, size_t max,
		      size_t *ret_n, struct err *err)
{
	static const char sql[] = "SELECT digests FROM glint_pieces WHERE image_id = ? AND part = ?";
	AUTO(query_done) struct query q = {0};
	const void *octets;
	size_t n = 0;
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_text(&q, image_id);
	bind_int(&q, part);
	r = query_next(&q, err);
	if (r == 0)
		return err_set(err, ERR_NOT_FOUND, "Image %.64s has no such part.", image_id);
	if (r < 0)
		return r;
	octets = column_octets(&q, 0, &n);
	n = n < max ? n : max;
	if (n > 0)
		memcpy(digests, octets, n);
	*ret_n = n;
	return 0;
}

/* The rows of the images stay, so what is gone is known by them. */
int pieces_purge(struct db_tx *tx, int64_t older_than, int64_t max_rows, int64_t *ret_n, struct err *err)
{
	static const char sql[] =
		"DELETE FROM glint_pieces WHERE id IN (SELECT p.id FROM glint_pieces AS p"
		" JOIN images AS i ON i.id = p.image_id WHERE +i.deleted = 1 AND i.deleted_at < ? LIMIT ?)";
	AUTO(query_done) struct query q = {0};
	int r = query_open(tx_conn(tx), sql, &q, err);

	if (r < 0)
		return r;
	bind_time(&q, older_than);
	bind_int(&q, max_rows);
	r = query_run(&q, err);
	if (r == 0)
		*ret_n = query_changes(&q);
	return r;
}

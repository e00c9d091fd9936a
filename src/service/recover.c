/* SPDX-License-Identifier: Apache-2.0
 * service/recover.c -- uploads that nobody works on any more: after a crash all that are in the table,
 * later those whose failure could not be recorded at once (disk full, say). The bytes go first, then
 * the row, so it can be done again from anywhere. Of whichever node: the database is this process's
 * alone, and a container has another host name whenever it is made anew.
 *
 * An upload enters the list of running ones before its row exists and leaves it after its row is
 * gone. So a row that is seen after the list was found without the upload belongs to nobody; looking
 * in the other order could take a finished image's bytes away. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "service/quota.h"

struct orphan {
	char image_id[UUID_LEN + 1];
	const char *store;
	struct orphan *next;
};

struct orphans {
	struct service *svc;
	struct arena arena;
	struct orphan *first;
};

static int collect(void *cls, const struct db_upload *u, struct err *err)
{
	struct orphans *orphans = cls;
	struct orphan *o;

	o = arena_alloc(&orphans->arena, sizeof(*o));
	if (!o)
		return err_nomem(err);
	memcpy(o->image_id, u->image_id, sizeof(o->image_id));
	o->store = arena_strdup(&orphans->arena, u->store);
	if (!o->store)
		return err_nomem(err);
	o->next = orphans->first;
	orphans->first = o;
	return 0;
}

static int find_orphans(struct orphans *orphans, struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	int r;

	r = db_begin(orphans->svc->db, DB_READ, &tx, err);
	if (r < 0)
		return r;
	return db_upload_list(tx, NULL, collect, orphans, err);
}

/* Not running, and then: the row is (still) there. */
static int is_orphan(struct service *svc, const char *image_id, bool *ret, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct db_upload row;
	int r;

	*ret = false;
	if (uploads_has(svc, image_id))
		return 0;
	r = db_begin(svc->db, DB_READ, &tx, err);
	if (r < 0)
		return r;
	r = db_upload_get(tx, image_id, &a, &row, err);
	if (r == ERR_NOT_FOUND)
		return 0;
	*ret = r == 0;
	return r;
}

/* What a store that is no longer configured holds is out of our reach. */
static int discard(struct service *svc, const struct orphan *o, struct err *err)
{
	struct store *store = stores_find(svc->stores, o->store);

	if (store)
		return upload_discard(svc, o->image_id, store, err);
	log_warning("glint.recover", NULL, "image %s: its interrupted upload went to the store '%s', which is gone",
		    o->image_id, o->store);
	return 0;
}

static int recover_one(struct service *svc, const struct orphan *o, unsigned *n, struct err *err)
{
	AUTO(arena_done) struct arena a = {0};
	struct origin nobody = {0};
	const char *image_id = o->image_id;
	bool orphan;
	int r;

	r = is_orphan(svc, image_id, &orphan, err);
	if (r < 0 || !orphan)
		return r;
	r = discard(svc, o, err);
	if (r == 0)
		r = service_public_rights(svc, &a, &nobody.rights, err);
	if (r < 0)
		return r;
	quota_forgive(svc, image_id);
	r = upload_give_up(svc, image_id, "the upload was interrupted before it was complete.", &nobody, err);
	if (r < 0)
		return r;
	log_warning("glint.recover", NULL, "image %s: its upload was interrupted; it is ready for another one",
		    image_id);
	++*n;
	return 0;
}

int service_recover(struct service *svc, unsigned *ret_n, struct err *err)
{
	struct orphans orphans = {.svc = svc};
	unsigned n = 0;
	int r;

	r = find_orphans(&orphans, err);
	for (struct orphan *o = orphans.first; r == 0 && o; o = o->next)
		r = recover_one(svc, o, &n, err);
	arena_done(&orphans.arena);
	if (r == 0)
		*ret_n = n;
	return r;
}

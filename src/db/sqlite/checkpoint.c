/* SPDX-License-Identifier: Apache-2.0
 * db/sqlite/checkpoint.c -- moves what is in the write-ahead log into the database file.
 *
 * SQLite does that inside the commit that makes the log too long, and everybody who waits for the
 * batch waits for it. Here a thread with a connection of its own does it beside the commits; it
 * starts when there is something to do for the first time. A log can only start over at a moment
 * when all of it has been moved; if commits are so dense that the thread never finds that moment
 * and the log has grown to STEPS_INLINE, the committing thread does the rest, which is then small. */
#include "db/sqlite/sqlite.h"

#include <signal.h>

#define STEP_PAGES 1000 /* of 4 KiB */
#define STEPS_INLINE 8

static void move_pages(sqlite3 *handle)
{
	/* PASSIVE never waits for anybody; what it cannot move now it will the next time. */
	(void)sqlite3_wal_checkpoint_v2(handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

static void *checkpoint_thread(void *arg)
{
	struct checkpointer *cp = arg;
	struct conn *c = NULL;

	(void)pthread_mutex_lock(&cp->lock);
	while (!cp->stop) {
		if (!cp->wanted) {
			(void)pthread_cond_wait(&cp->wake, &cp->lock);
			continue;
		}
		cp->wanted = false;
		(void)pthread_mutex_unlock(&cp->lock);
		if (c || conn_open(cp->path, CONN_CHECKPOINTER, &c, NULL) == 0)
			move_pages(c->handle);
		(void)pthread_mutex_lock(&cp->lock);
	}
	(void)pthread_mutex_unlock(&cp->lock);
	conn_close(c);
	return NULL;
}

/* Signals are for the program's own threads. */
static bool start_thread(struct checkpointer *cp)
{
	sigset_t all, before;
	bool ok;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	ok = pthread_create(&cp->thread, NULL, checkpoint_thread, cp) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ok)
		(void)pthread_setname_np(cp->thread, "checkpoint");
	return ok;
}

static bool ask_thread(struct checkpointer *cp)
{
	(void)pthread_mutex_lock(&cp->lock);
	if (!cp->running)
		cp->running = start_thread(cp);
	cp->wanted = true;
	(void)pthread_cond_signal(&cp->wake);
	(void)pthread_mutex_unlock(&cp->lock);
	return cp->running;
}

/* After each commit that wrote, in the thread that commits. Whatever it returned but OK would look like a
 * failed commit. */
static int on_commit(void *cls, sqlite3 *handle, const char *schema, int n_pages)
{
	struct checkpointer *cp = cls;
	int step = n_pages / STEP_PAGES;
	bool grown = step > cp->last_step;

	cp->writer->last_frame = n_pages;
	cp->last_step = step;
	if (grown && (!ask_thread(cp) || step >= STEPS_INLINE))
		move_pages(handle);
	return SQLITE_OK;
}

void checkpointer_init(struct checkpointer *cp, const char *path)
{
	cp->path = path;
	(void)pthread_mutex_init(&cp->lock, NULL);
	(void)pthread_cond_init(&cp->wake, NULL);
}

void checkpointer_done(struct checkpointer *cp)
{
	(void)pthread_mutex_lock(&cp->lock);
	cp->stop = true;
	(void)pthread_cond_signal(&cp->wake);
	(void)pthread_mutex_unlock(&cp->lock);
	if (cp->running)
		(void)pthread_join(cp->thread, NULL);
	(void)pthread_cond_destroy(&cp->wake);
	(void)pthread_mutex_destroy(&cp->lock);
}

void checkpointer_watch(struct checkpointer *cp, struct writer *w)
{
	cp->writer = w;
	(void)sqlite3_wal_hook(w->conn->handle, on_commit, cp);
}

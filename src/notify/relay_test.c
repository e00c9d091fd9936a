/* SPDX-License-Identifier: Apache-2.0
 * notify/relay_test.c -- relays, the pruner and replays over a real database, with a driver whose
 * answers the test writes beforehand. Nothing sleeps: the driver tells when it was called, and a
 * call can be held until the test lets it go on. */
#include "relay.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/metrics.h"
#include "count.h"
#include "event.h"
#include "notify.h"
#include "prune.h"

#define SECOND INT64_C(1000000)
#define SEEN_MAX 5000
#define SUBJECT "c0ffee00-0000-4000-8000-000000000001"

/* -- the driver -------------------------------------------------------------------------------- */

struct answer {
	enum delivery verdict;
	size_t n_safe;
};

static struct script {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct answer answers[8]; /* one a call; DELIVERED when they are used up */
	size_t n_answers, n_calls, n_idle, n_reopened, n_closed;
	bool hold, holding, open_fails;
	int64_t seen[SEEN_MAX]; /* offsets that the driver kept */
	size_t n_seen;
	char first_id[UUID_LEN + 1]; /* of the first event ever handed over */
	char last_id[UUID_LEN + 1];
} script = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static int fake_open(void *state, const struct notify_driver_config *config, struct err *err)
{
	return script.open_fails ? err_set(err, ERR_UNAVAILABLE, "it is locked") : 0;
}

static void keep(const struct db_event *e)
{
	assert_true(script.n_seen < SEEN_MAX);
	script.seen[script.n_seen++] = e->offset;
	if (!script.first_id[0])
		memcpy(script.first_id, e->message_id, sizeof(e->message_id));
	memcpy(script.last_id, e->message_id, sizeof(e->message_id));
}

static enum delivery fake_deliver(void *state, const struct db_event *batch, size_t n, size_t *ret_n_safe,
				  struct err *err)
{
	struct answer a = {DELIVERY_DELIVERED, n};

	pthread_mutex_lock(&script.lock);
	if (script.n_calls < script.n_answers)
		a = script.answers[script.n_calls];
	script.n_calls++;
	script.holding = script.hold;
	pthread_cond_broadcast(&script.changed);
	while (script.hold)
		pthread_cond_wait(&script.changed, &script.lock);
	script.holding = false;
	*ret_n_safe = a.verdict == DELIVERY_DELIVERED ? n : a.n_safe;
	for (size_t i = 0; i < *ret_n_safe; i++)
		keep(&batch[i]);
	pthread_cond_broadcast(&script.changed);
	pthread_mutex_unlock(&script.lock);
	if (a.verdict != DELIVERY_DELIVERED)
		err_set(err, ERR_UNAVAILABLE, "the broker\nis away");
	return a.verdict;
}

static void fake_idle(void *state)
{
	pthread_mutex_lock(&script.lock);
	script.n_idle++;
	pthread_cond_broadcast(&script.changed);
	pthread_mutex_unlock(&script.lock);
}

static void fake_reopen(void *state)
{
	script.n_reopened++;
}

static void fake_close(void *state)
{
	pthread_mutex_lock(&script.lock);
	script.n_closed++;
	pthread_cond_broadcast(&script.changed);
	pthread_mutex_unlock(&script.lock);
}

static const struct notify_driver fake = {
	.version = NOTIFY_DRIVER_VERSION,
	.name = "fake",
	.summary = "does as the test says",
	.open = fake_open,
	.deliver = fake_deliver,
	.idle = fake_idle,
	.reopen = fake_reopen,
	.close = fake_close,
};

static bool has_seen(size_t n)
{
	return script.n_seen >= n;
}

static bool was_called(size_t n)
{
	return script.n_calls >= n;
}

static bool was_idle(size_t n)
{
	return script.n_idle >= n;
}

static bool is_holding(size_t n)
{
	return script.holding;
}

static bool was_closed(size_t n)
{
	return script.n_closed >= n;
}

/* Until it is so; half a minute is for machines that stand still. */
static void await(bool (*so)(size_t), size_t n)
{
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += 30;
	pthread_mutex_lock(&script.lock);
	while (!so(n))
		assert_int_not_equal(pthread_cond_timedwait(&script.changed, &script.lock, &at), ETIMEDOUT);
	pthread_mutex_unlock(&script.lock);
}

static void set_hold(bool hold)
{
	pthread_mutex_lock(&script.lock);
	script.hold = hold;
	pthread_cond_broadcast(&script.changed);
	pthread_mutex_unlock(&script.lock);
}

static void set_answers(size_t n, const struct answer *answers)
{
	memcpy(script.answers, answers, n * sizeof(*answers));
	script.n_answers = n;
}

/* -- the database ------------------------------------------------------------------------------ */

static char dir[64], events_log[80], own_log[80];
static struct db *db;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	struct err err = {0};
	char url[128];

	(void)snprintf(dir, sizeof(dir), "/tmp/glint-relay-XXXXXX");
	assert_non_null(mkdtemp(dir));
	(void)snprintf(events_log, sizeof(events_log), "%s/events.log", dir);
	(void)snprintf(own_log, sizeof(own_log), "%s/own.log", dir);
	(void)snprintf(url, sizeof(url), "sqlite:///%s/glint.sqlite", dir);
	script = (struct script){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	assert_int_equal(log_open(own_log, LOG_DEBUG_, &err), 0);
	if (db_open(url, &db, &err) < 0)
		fail_msg("%s", err_story(&err));
	return 0;
}

static int teardown(void **state)
{
	db_close(db);
	db = NULL;
	log_close();
	return nftw(dir, remove_one, 4, FTW_DEPTH | FTW_PHYS);
}

static struct db_tx *begin(enum db_mode mode)
{
	struct db_tx *tx = NULL;
	struct err err = {0};

	if (db_begin(db, mode, &tx, &err) < 0)
		fail_msg("%s", err_story(&err));
	return tx;
}

static void commit(struct db_tx *tx)
{
	struct err err = {0};

	if (db_commit(&tx, &err) < 0)
		fail_msg("%s", err_story(&err));
}

static void append_at(size_t n, int64_t timestamp, size_t payload_size)
{
	struct db_tx *tx = begin(DB_WRITE);
	char *payload = malloc(payload_size + 3);
	struct err err = {0};

	assert_non_null(payload);
	memset(payload, 'x', payload_size + 2);
	payload[0] = payload[payload_size + 1] = '"';
	payload[payload_size + 2] = '\0';
	for (size_t i = 0; i < n; i++) {
		struct db_event e = {.subject = SUBJECT,
				     .event_type = "image.update",
				     .timestamp = timestamp,
				     .payload = payload};

		uuid_new(e.message_id);
		if (db_event_insert(tx, &e, &err) < 0)
			fail_msg("%s", err_story(&err));
	}
	free(payload);
	commit(tx);
}

static void append(size_t n)
{
	append_at(n, clock_now_us(), 4);
}

static struct db_cursor cursor_of(const char *driver)
{
	struct db_tx *tx = begin(DB_READ);
	struct db_cursor c;
	struct err err = {0};

	if (db_cursor_get(tx, driver, &c, &err) < 0)
		fail_msg("%s", err_story(&err));
	db_abort(tx);
	return c;
}

static void put_cursor(const char *driver, int64_t offset)
{
	struct db_tx *tx = begin(DB_WRITE);
	struct db_cursor c = {.offset = offset};

	(void)snprintf(c.driver, sizeof(c.driver), "%s", driver);
	assert_int_equal(db_cursor_put(tx, &c, NULL), 0);
	commit(tx);
}

static struct db_journal journal(void)
{
	struct db_tx *tx = begin(DB_READ);
	struct db_journal j;

	assert_int_equal(db_journal(tx, &j, NULL), 0);
	db_abort(tx);
	return j;
}

static size_t own_log_count(const char *what)
{
	char line[4096];
	FILE *file = fopen(own_log, "re");
	size_t n = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, what) != NULL;
	fclose(file);
	return n;
}

/* -- relays ------------------------------------------------------------------------------------ */

static struct relay *new_relay(void)
{
	struct notify_driver_config config = {.publisher_id = "image.localhost"};
	struct err err = {0};
	struct relay *r;

	if (relay_new(db, &fake, &config, &r, &err) < 0)
		fail_msg("%s", err_story(&err));
	return r;
}

static struct relay *started_relay(void)
{
	struct relay *r = new_relay();

	assert_int_equal(relay_start(r, NULL), 0);
	return r;
}

static void end_relay(struct relay *r)
{
	relay_stop(r, clock_mono_us() + 30 * SECOND);
	assert_true(relay_finish(r));
	relay_free(r);
}

static void assert_seen(int64_t first, size_t n)
{
	assert_int_equal(script.n_seen, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(script.seen[i], first + (int64_t)i);
}

static void test_a_new_driver_begins_at_the_end(void **state)
{
	struct relay *r;

	append(3);
	r = new_relay();
	assert_int_equal(cursor_of("fake").offset, 3);
	append(2); /* before the thread runs: not lost */
	assert_int_equal(relay_start(r, NULL), 0);
	await(has_seen, 2);
	end_relay(r);
	assert_seen(4, 2);
	assert_int_equal(cursor_of("fake").offset, 5);
	assert_int_equal(cursor_of("fake").n_delivered, 2);
	assert_int_equal(script.n_closed, 1);
}

static void test_order_over_many_batches(void **state)
{
	struct relay *r = started_relay();

	for (size_t i = 0; i < 20; i++) {
		append(100);
		relay_wake(r);
	}
	append(1500);
	relay_wake(r);
	await(has_seen, 3500);
	end_relay(r);
	assert_seen(1, 3500);
	assert_int_equal(cursor_of("fake").n_delivered, 3500);
}

static void test_batches_are_bounded(void **state)
{
	struct relay *r = new_relay();

	append_at(5, clock_now_us(), 2400 * 1024);
	append(2200);
	assert_int_equal(relay_start(r, NULL), 0);
	await(has_seen, 2205);
	end_relay(r);
	assert_seen(1, 2205);
	assert_int_equal(script.n_calls, 4); /* 2 + 2 large ones, 1 and 2047 more, the rest */
}

/* Ten times; without a wake each would take until the relay looks by itself. */
static void test_wake_is_prompt(void **state)
{
	struct relay *r = started_relay();
	int64_t start = clock_mono_us();

	for (size_t i = 1; i <= 10; i++) {
		append(1);
		relay_wake(r);
		await(has_seen, i);
	}
	assert_true(clock_mono_us() - start < 12 * SECOND);
	end_relay(r);
}

static void test_restart_goes_on_at_the_cursor(void **state)
{
	struct relay *r = started_relay();

	append(3);
	relay_wake(r);
	await(has_seen, 3);
	end_relay(r);
	append(2);
	r = started_relay();
	await(has_seen, 5);
	end_relay(r);
	assert_seen(1, 5);
	assert_int_equal(cursor_of("fake").n_delivered, 5);
}

/* Between here and the next look no one wakes the relay: it looks by itself. */
static void test_looks_by_itself(void **state)
{
	struct relay *r = started_relay();

	append(1);
	relay_wake(r);
	await(has_seen, 1);
	append(1);
	await(has_seen, 2);
	end_relay(r);
	assert_seen(1, 2);
}

static void test_retry_then_delivered(void **state)
{
	static const struct answer answers[] = {
		{DELIVERY_RETRY, 0}, {DELIVERY_RETRY, 2}, {DELIVERY_RETRY, 0}};
	struct relay *r = new_relay();
	struct db_cursor c;

	append(5);
	set_answers(3, answers);
	assert_int_equal(relay_start(r, NULL), 0);
	await(has_seen, 5);
	end_relay(r);
	assert_seen(1, 5);
	c = cursor_of("fake");
	assert_int_equal(c.offset, 5);
	assert_int_equal(c.n_delivered, 5);
	assert_int_equal(c.n_retries, 3);
	assert_int_equal(c.n_set_aside, 0);
	assert_string_equal(c.problem, "");
	assert_int_equal(own_log_count("WARNING"), 1); /* one when it begins, however often it is tried */
	assert_int_equal(own_log_count("is well again"), 1);
}

static void test_problem_is_in_the_cursor(void **state)
{
	static const struct answer answers[] = {{DELIVERY_RETRY, 1}};
	struct relay *r = new_relay();
	struct db_cursor c;

	append(3);
	set_answers(1, answers);
	assert_int_equal(relay_start(r, NULL), 0);
	await(was_called, 1);
	set_hold(true);
	await(is_holding, 0); /* the second attempt; so the first was dealt with */
	c = cursor_of("fake");
	assert_string_equal(c.problem, "the broker\nis away");
	assert_int_equal(c.offset, 1);
	assert_int_equal(c.n_retries, 1);
	set_hold(false);
	await(has_seen, 3);
	end_relay(r);
	assert_string_equal(cursor_of("fake").problem, "");
}

static int describe_set_aside(void *cls, const struct db_set_aside *s, struct err *err)
{
	char *out = cls;
	size_t n = strlen(out);

	assert_true(s->at > 0);
	(void)snprintf(out + n, 256 - n, "%lld: %s;", (long long)s->offset, s->reason);
	return 0;
}

static void assert_set_aside(const char *wanted)
{
	struct db_tx *tx = begin(DB_READ);
	char got[256] = "";

	assert_int_equal(db_set_aside_list(tx, "fake", 0, 10, describe_set_aside, got, NULL), 0);
	db_abort(tx);
	assert_string_equal(got, wanted);
}

static void test_rejected_is_set_aside(void **state)
{
	static const struct answer answers[] = {{DELIVERY_REJECTED, 1}, {DELIVERY_REJECTED, 0}};
	struct relay *r = new_relay();
	struct db_cursor c;

	append(5);
	set_answers(2, answers);
	assert_int_equal(relay_start(r, NULL), 0);
	await(has_seen, 3);
	end_relay(r);
	assert_int_equal(script.seen[0], 1);
	assert_int_equal(script.seen[1], 4);
	assert_int_equal(script.seen[2], 5);
	c = cursor_of("fake");
	assert_int_equal(c.offset, 5);
	assert_int_equal(c.n_delivered, 3);
	assert_int_equal(c.n_set_aside, 2);
	assert_int_equal(own_log_count("set aside"), 2);
	assert_int_equal(own_log_count("ERROR"), 2);
	assert_set_aside("2: the broker\nis away;3: the broker\nis away;");
}

/* A replay hands it out once more: what is taken now is not set aside any more. */
static void test_replay_of_what_was_set_aside(void **state)
{
	static const struct answer at_first[] = {{DELIVERY_REJECTED, 0}, {DELIVERY_REJECTED, 1}};
	static const struct answer later[] = {{DELIVERY_REJECTED, 2}};
	struct relay *r = new_relay();
	int64_t n;

	append(4);
	set_answers(2, at_first);
	assert_int_equal(relay_start(r, NULL), 0);
	await(has_seen, 2);
	end_relay(r);
	assert_set_aside("1: the broker\nis away;3: the broker\nis away;");
	assert_int_equal(notify_replay(db, "fake", 1, 4, &n, NULL), 0);
	script.n_calls = script.n_seen = 0;
	set_answers(1, later);
	r = started_relay();
	await(has_seen, 3);
	end_relay(r);
	assert_set_aside("3: the broker\nis away;");
	assert_int_equal(notify_replay(db, "fake", 3, 3, &n, NULL), 0);
	r = started_relay();
	await(has_seen, 4);
	end_relay(r);
	assert_set_aside("");
	assert_int_equal(cursor_of("fake").n_set_aside, 2); /* ever */
}

/* Comes again at once, with the rest first; a replay waits, and is not torn apart itself. */
static void test_under_way(void **state)
{
	static const struct answer answers[] = {{DELIVERY_UNDER_WAY, 1},
						{DELIVERY_UNDER_WAY, 1},
						{DELIVERY_DELIVERED, 0},
						{DELIVERY_UNDER_WAY, 1},
						{DELIVERY_DELIVERED, 0}};
	static const int64_t order[] = {4, 5, 6, 1, 2, 3};
	struct relay *r = started_relay();
	int64_t n;

	append(3);
	relay_wake(r);
	await(has_seen, 3);
	end_relay(r);
	assert_int_equal(notify_replay(db, "fake", 1, 3, &n, NULL), 0);
	append(3);
	script.n_calls = script.n_seen = 0;
	set_answers(5, answers);
	r = started_relay();
	await(has_seen, 6);
	end_relay(r);
	assert_memory_equal(script.seen, order, sizeof(order));
	assert_int_equal(script.n_calls, 5);
	assert_int_equal(cursor_of("fake").n_delivered, 6);
	assert_int_equal(cursor_of("fake").n_retries, 0);
}

/* It may look after its connection, more than once, without anything to deliver. */
static void test_idle(void **state)
{
	struct relay *r = started_relay();

	await(was_idle, 2);
	end_relay(r);
	assert_int_equal(script.n_calls, 0);
}

static void test_stop_does_not_wait_for_a_sick_driver(void **state)
{
	static const struct answer answers[] = {{DELIVERY_RETRY, 0}, {DELIVERY_RETRY, 0}, {DELIVERY_RETRY, 0},
						{DELIVERY_RETRY, 0}, {DELIVERY_RETRY, 0}, {DELIVERY_RETRY, 0},
						{DELIVERY_RETRY, 0}, {DELIVERY_RETRY, 0}};
	struct relay *r = new_relay();
	int64_t start;

	append(2);
	set_answers(8, answers);
	assert_int_equal(relay_start(r, NULL), 0);
	await(was_called, 1);
	start = clock_mono_us();
	end_relay(r); /* with half a minute to spare, which it does not use */
	assert_true(clock_mono_us() - start < 10 * SECOND);
	assert_int_equal(cursor_of("fake").offset, 0);
	assert_string_equal(cursor_of("fake").problem, "the broker\nis away");
}

static void test_hanging_driver_is_left_behind(void **state)
{
	struct relay *r = new_relay();

	append(1);
	set_hold(true);
	assert_int_equal(relay_start(r, NULL), 0);
	await(is_holding, 0);
	relay_stop(r, clock_mono_us());
	assert_false(relay_finish(r));
	assert_int_equal(script.n_closed, 0);
	set_hold(false);
	await(was_closed, 1); /* by its own thread, which frees the rest; the database it leaves alone */
	assert_int_equal(cursor_of("fake").offset, 0);
}

static void test_failed_open(void **state)
{
	struct relay *r = new_relay();
	struct err err = {0};

	script.open_fails = true;
	assert_int_equal(relay_start(r, &err), ERR_UNAVAILABLE);
	assert_string_equal(err.text, "notification driver 'fake': it is locked");
	relay_free(r);
	assert_int_equal(script.n_closed, 1);
}

static void test_reopen(void **state)
{
	struct relay *r = started_relay();

	relay_reopen(r);
	append(1);
	relay_wake(r);
	await(has_seen, 1);
	append(1);
	relay_wake(r);
	await(has_seen, 2);
	end_relay(r);
	assert_int_equal(script.n_reopened, 1);
}

static void test_gap_is_told(void **state)
{
	struct relay *r;
	int64_t n;
	struct db_tx *tx;

	append(10);
	put_cursor("fake", 2);
	tx = begin(DB_WRITE);
	assert_int_equal(db_event_prune(tx, 6, INT64_MAX, 0, 100, &n, NULL), 0);
	commit(tx);
	r = started_relay();
	await(has_seen, 4);
	end_relay(r);
	assert_seen(7, 4);
	assert_int_equal(own_log_count("4 events of that time are no longer"), 1);
}

/* -- replays ----------------------------------------------------------------------------------- */

static void test_replay(void **state)
{
	static const struct answer answers[] = {{DELIVERY_RETRY, 1}, {DELIVERY_REJECTED, 1}};
	struct relay *r = started_relay();
	struct err err = {0};
	int64_t n = 0;

	append(6);
	relay_wake(r);
	await(has_seen, 6);
	end_relay(r);
	assert_int_equal(notify_replay(db, NULL, 2, 100, &n, &err), 0);
	assert_int_equal(n, 5);
	script.n_seen = script.n_calls = 0;
	memset(script.last_id, 0, sizeof(script.last_id));
	set_answers(2, answers);
	r = started_relay();
	await(has_seen, 4);
	append(1);
	relay_wake(r);
	await(has_seen, 5);
	end_relay(r);
	assert_int_equal(script.seen[0], 2); /* safe, then RETRY */
	assert_int_equal(script.seen[1], 3); /* safe, then 4 rejected */
	assert_int_equal(script.seen[2], 5);
	assert_int_equal(script.seen[3], 6);
	assert_int_equal(script.seen[4], 7);
	assert_int_equal(cursor_of("fake").n_delivered, 7); /* the journal's events, each once */
	script.n_seen = 0;
	r = started_relay();
	append(1);
	relay_wake(r);
	await(has_seen, 1);
	end_relay(r);
	assert_seen(8, 1); /* a replay that is done is gone */
}

static void test_replay_carries_the_same_id(void **state)
{
	struct relay *r = started_relay();
	int64_t n;

	append(1);
	relay_wake(r);
	await(has_seen, 1);
	end_relay(r);
	assert_int_equal(notify_replay(db, "fake", 1, 1, &n, NULL), 0);
	r = started_relay();
	await(has_seen, 2);
	end_relay(r);
	assert_int_equal(strlen(script.last_id), UUID_LEN);
	assert_string_equal(script.first_id, script.last_id);
}

/* What a driver has not had yet it is not given out of order. */
static void test_replay_stays_behind_the_cursor(void **state)
{
	struct relay *r;
	int64_t n = 99;

	append(6);
	put_cursor("fake", 2);
	assert_int_equal(notify_replay(db, "fake", 1, 6, &n, NULL), 0);
	assert_int_equal(n, 2);
	r = started_relay();
	await(has_seen, 6);
	end_relay(r);
	assert_int_equal(script.seen[0], 3);
	assert_int_equal(script.n_seen, 6);
	assert_int_equal(script.seen[4], 1);
	assert_int_equal(script.seen[5], 2);
	assert_int_equal(notify_replay(db, "fake", 7, 9, &n, NULL), 0);
	assert_int_equal(n, 0);
}

/* Even if a row says otherwise. */
static void test_replay_beyond_the_cursor(void **state)
{
	struct db_replay replay = {.driver = "fake", .next = 1, .last = 100};
	struct relay *r;
	struct db_tx *tx;

	append(2);
	put_cursor("fake", 2);
	tx = begin(DB_WRITE);
	assert_int_equal(db_replay_insert(tx, &replay, NULL), 0);
	commit(tx);
	append(1);
	set_hold(true);
	r = started_relay();
	await(is_holding, 0); /* with the third in its hands ... */
	append(1);            /* ... there comes a fourth */
	set_hold(false);
	await(has_seen, 4);
	end_relay(r);
	assert_int_equal(script.n_seen, 5);
	assert_int_equal(script.seen[0], 3);
	assert_int_equal(script.seen[1], 1);
	assert_int_equal(script.seen[2], 2);
	assert_int_equal(script.seen[3], 3);
	assert_int_equal(script.seen[4], 4); /* once, when its turn came */
}

static void test_replay_refused(void **state)
{
	struct err err = {0};
	int64_t n = 7;

	assert_int_equal(notify_replay(db, NULL, 1, 2, &n, &err), ERR_NOT_FOUND);
	put_cursor("fake", 0);
	assert_int_equal(notify_replay(db, "rabbit", 1, 2, &n, &err), ERR_NOT_FOUND);
	assert_non_null(strstr(err.text, "'rabbit'"));
	assert_int_equal(notify_replay(db, "fake", 3, 2, &n, &err), ERR_INVALID);
	assert_int_equal(n, 7);
}

/* -- pruning ----------------------------------------------------------------------------------- */

static int64_t pruned(size_t n_drivers, int64_t max_age, int64_t max_bytes, int64_t now, bool *ret_over)
{
	static const char *const drivers[] = {"fake", "other"};
	struct prune_config config = {drivers, n_drivers, max_age, max_bytes};
	struct err err = {0};
	int64_t n = -1;

	if (prune_journal(db, &config, now, &n, ret_over, &err) < 0)
		fail_msg("%s", err_story(&err));
	return n;
}

static void test_prune_by_age(void **state)
{
	bool over;

	append_at(3, 10 * SECOND, 4);
	append_at(3, 20 * SECOND, 4);
	put_cursor("fake", 6);
	put_cursor("other", 2);
	assert_int_equal(pruned(2, 15 * SECOND, -1, 20 * SECOND, &over), 0); /* none is old enough */
	assert_int_equal(pruned(2, 5 * SECOND, -1, 20 * SECOND, &over), 2);  /* "other" needs the third */
	assert_int_equal(journal().first, 3);
	assert_int_equal(pruned(1, 5 * SECOND, -1, 20 * SECOND, &over),
			 1); /* not configured: holds nothing */
	assert_int_equal(pruned(1, -1, -1, INT64_MAX, &over), 0);
	assert_int_equal(pruned(0, 5 * SECOND, -1, 60 * SECOND, &over), 3);
	assert_int_equal(journal().n_events, 0);
	assert_int_equal(journal().last_ever, 6);
}

static void test_prune_by_size(void **state)
{
	int64_t each;
	bool over = true;

	append_at(10, 10 * SECOND, 1000);
	each = journal().n_bytes / 10;
	put_cursor("fake", 4);
	assert_int_equal(pruned(1, -1, each * 8, 10 * SECOND, &over), 2);
	assert_false(over);
	assert_int_equal(pruned(1, -1, each * 3, 10 * SECOND, &over), 2);
	assert_true(over); /* the others are not delivered: they stay */
	assert_int_equal(journal().first, 5);
	put_cursor("fake", 10);
	assert_int_equal(pruned(1, -1, 0, 10 * SECOND, &over), 6);
	assert_false(over);
}

static void test_prune_waits_for_a_replay(void **state)
{
	int64_t n;
	bool over;

	append_at(6, 10 * SECOND, 4);
	put_cursor("fake", 6);
	assert_int_equal(notify_replay(db, "fake", 3, 4, &n, NULL), 0);
	assert_int_equal(pruned(1, 0, -1, 60 * SECOND, &over), 2);
	assert_int_equal(journal().first, 3);
}

static void test_prune_in_steps(void **state)
{
	bool over;

	append_at(1800, 10 * SECOND, 4);
	put_cursor("fake", 1700);
	assert_int_equal(pruned(1, 0, -1, 60 * SECOND, &over), 1700);
	assert_int_equal(journal().first, 1701);
}

/* -- all together ------------------------------------------------------------------------------ */

static struct notify *new_notify(const char *const *drivers, size_t n_drivers, const char *disabled)
{
	struct notify_config config = {.drivers = drivers,
				       .n_drivers = n_drivers,
				       .disabled = &disabled,
				       .n_disabled = disabled ? 1 : 0,
				       .publisher_id = "image.localhost",
				       .log_path = events_log,
				       .journal_max_age_us = -1,
				       .journal_max_bytes = -1};
	struct err err = {0};
	struct notify *n = NULL;

	if (notify_new(db, &config, &n, &err) < 0)
		fail_msg("%s", err_story(&err));
	return n;
}

static void emit(struct notify *n, enum event_type t)
{
	struct origin who = {"req-1", "1111", "2222"};
	struct db_tx *tx = begin(DB_WRITE);
	struct image img;

	image_init(&img);
	memcpy(img.id, SUBJECT, sizeof(img.id));
	assert_int_equal(event_image(n, tx, t, &img, NULL, &who, NULL), 0);
	commit(tx);
	notify_wake(n);
}

static void test_no_driver_writes_nothing(void **state)
{
	static const char *const noop[] = {"noop", "", "noop"};
	struct notify *n = new_notify(noop, 3, NULL);

	assert_false(notify_has_drivers(n));
	assert_int_equal(notify_start(n, NULL), 0);
	emit(n, EVENT_IMAGE_CREATE);
	notify_stop(n, SECOND);
	notify_free(n);
	n = new_notify(NULL, 0, NULL);
	assert_false(notify_has_drivers(n));
	emit(n, EVENT_IMAGE_CREATE);
	notify_free(n);
	assert_int_equal(journal().last_ever, 0);
}

static void test_unknown_driver(void **state)
{
	static const char *const drivers[] = {"log", "carrier-pigeon"};
	struct notify_config config = {.drivers = drivers, .n_drivers = 2, .publisher_id = "x"};
	struct notify *n = NULL;
	struct err err = {0};

	assert_int_equal(notify_new(db, &config, &n, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "there is no notification driver 'carrier-pigeon'; there are: log, "));
	assert_null(n);
}

static void test_disabled(void **state)
{
	static const char *const drivers[] = {"log"};
	struct notify *n = new_notify(drivers, 1, "image.update");
	struct image_member m = {.image_id = SUBJECT, .member_id = "4444"};
	struct db_tx *tx;

	emit(n, EVENT_IMAGE_UPDATE);
	assert_int_equal(journal().last_ever, 0);
	emit(n, EVENT_IMAGE_CREATE);
	assert_int_equal(journal().last_ever, 1);
	notify_free(n);
	n = new_notify(drivers, 1, "image.member");
	tx = begin(DB_WRITE);
	assert_int_equal(event_member(n, tx, EVENT_IMAGE_MEMBER_CREATE, &m, NULL, NULL), 0);
	commit(tx);
	assert_int_equal(journal().last_ever, 1);
	emit(n, EVENT_IMAGE_UPDATE);
	assert_int_equal(journal().last_ever, 2);
	notify_free(n);
}

struct row {
	size_t n;
	int64_t seq;
	enum event_priority priority;
	char event_type[64], subject[64], payload[1024], user_id[64], message_id[UUID_LEN + 1];
};

static int copy_row(void *cls, const struct db_event *e, struct err *err)
{
	struct row *r = cls;

	r->n++;
	r->seq = e->seq;
	r->priority = e->priority;
	(void)snprintf(r->event_type, sizeof(r->event_type), "%s", e->event_type);
	(void)snprintf(r->subject, sizeof(r->subject), "%s", e->subject);
	(void)snprintf(r->payload, sizeof(r->payload), "%s", e->payload);
	(void)snprintf(r->user_id, sizeof(r->user_id), "%s", e->user_id ? e->user_id : "(none)");
	memcpy(r->message_id, e->message_id, sizeof(r->message_id));
	return 0;
}

static struct row last_row(void)
{
	struct row r = {0};
	struct db_tx *tx = begin(DB_READ);

	assert_int_equal(db_event_read(tx, 0, 100, copy_row, &r, NULL), 0);
	db_abort(tx);
	return r;
}

static void test_rows(void **state)
{
	static const char *const drivers[] = {"log"};
	struct notify *n = new_notify(drivers, 1, NULL);
	struct origin who = {"req-1", "1111", "2222"};
	struct send_report report = {190, SUBJECT, "2222", "4444", "3333", "192.0.2.7"};
	struct db_tx *tx;
	struct row row;

	emit(n, EVENT_IMAGE_CREATE);
	tx = begin(DB_WRITE);
	assert_int_equal(
		event_image_text(n, tx, EVENT_IMAGE_UPLOAD, EVENT_ERROR, SUBJECT, "full", &who, NULL), 0);
	commit(tx);
	row = last_row();
	assert_string_equal(row.event_type, "image.upload");
	assert_int_equal(row.priority, EVENT_ERROR);
	assert_string_equal(row.payload, "\"Image " SUBJECT ": full\"");
	assert_string_equal(row.subject, SUBJECT);
	assert_string_equal(row.user_id, "1111");
	assert_true(uuid_is_canonical(row.message_id));
	assert_int_equal(row.seq, 2);
	tx = begin(DB_WRITE);
	assert_int_equal(event_image_send(n, tx, EVENT_ERROR, &report, NULL, NULL), 0);
	commit(tx);
	row = last_row();
	assert_string_equal(row.event_type, "image.send");
	assert_ptr_equal(strstr(row.payload, "{\"bytes_sent\": 190, "),
			 row.payload); /* an object, also as ERROR */
	assert_string_equal(row.user_id, "(none)");
	tx = begin(DB_WRITE);
	assert_int_equal(event_image_send(n, tx, EVENT_INFO, &report, NULL, NULL), 0);
	db_abort(tx); /* what is not committed never happened */
	assert_int_equal(last_row().n, 3);
	notify_free(n);
}

static size_t lines_in_events_log(void)
{
	FILE *file = fopen(events_log, "re");
	size_t n = 0;
	int c;

	if (!file)
		return 0;
	while ((c = getc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

static void test_stop_delivers_what_is_there(void **state)
{
	static const char *const drivers[] = {"log", "noop", "log"};
	struct notify *n = new_notify(drivers, 3, NULL);

	assert_true(notify_has_drivers(n));
	assert_int_equal(notify_start(n, NULL), 0);
	for (size_t i = 0; i < 50; i++)
		emit(n, EVENT_IMAGE_UPDATE);
	notify_reopen(n);
	notify_stop(n, 30 * SECOND);
	assert_int_equal(lines_in_events_log(), 50); /* once, though the driver was listed twice */
	assert_int_equal(cursor_of("log").offset, 50);
	notify_wake(n); /* late, and harmless */
	notify_free(n);
}

/* A relay that hangs delays no other. */
static void test_blocked_driver_stops_no_other(void **state)
{
	static const char *const drivers[] = {"log"};
	struct notify *n = new_notify(drivers, 1, NULL);
	struct relay *r = started_relay();

	set_hold(true);
	assert_int_equal(notify_start(n, NULL), 0);
	emit(n, EVENT_IMAGE_CREATE);
	relay_wake(r);
	await(is_holding, 0);
	emit(n, EVENT_IMAGE_UPDATE);
	notify_stop(n, 30 * SECOND);
	assert_int_equal(lines_in_events_log(), 2);
	assert_int_equal(cursor_of("fake").offset, 0);
	set_hold(false);
	await(has_seen, 2);
	end_relay(r);
	notify_free(n);
}

static void test_start_fails_clearly(void **state)
{
	static const char *const drivers[] = {"log"};
	struct notify *n;
	struct err err = {0};

	(void)snprintf(events_log, sizeof(events_log), "%s/none/events.log", dir);
	n = new_notify(drivers, 1, NULL);
	assert_int_equal(notify_start(n, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, events_log));
	notify_free(n);
}

static void test_delete_payload_is_id(void **state)
{
	static const char *const drivers[] = {"log"};
	struct notify_config config = {
		.drivers = drivers, .n_drivers = 1, .publisher_id = "x", .delete_payload_is_id = true};
	struct notify *n = NULL;

	assert_int_equal(notify_new(db, &config, &n, NULL), 0);
	emit(n, EVENT_IMAGE_DELETE);
	assert_string_equal(last_row().payload, "\"" SUBJECT "\"");
	notify_free(n);
}

/* -- metrics ----------------------------------------------------------------------------------- */

/* The number behind "@series " in what @m renders. */
static double measured(const struct metrics *m, const char *series)
{
	AUTO(buf_done) struct buf text = {0};
	char line[128];
	const char *at;

	(void)snprintf(line, sizeof(line), "\n%s ", series);
	metrics_render(m, &text);
	at = strstr(buf_cstr(&text), line);
	if (!at)
		fail_msg("there is no %s", series);
	return strtod(at + strlen(line), NULL);
}

static void assert_measured(const struct metrics *m, const char *name, const char *driver, double expected)
{
	char series[128];

	(void)snprintf(series, sizeof(series), "glint_notifications_%s{driver=\"%s\"}", name, driver);
	assert_true(measured(m, series) == expected);
}

static void test_relays_are_measured(void **state)
{
	static const char *const names[] = {"fake"};
	static const struct answer answers[8] = {
		{DELIVERY_REJECTED, 1}, {DELIVERY_RETRY, 2}, {DELIVERY_RETRY, 0}, {DELIVERY_RETRY, 0},
		{DELIVERY_RETRY, 0},    {DELIVERY_RETRY, 0}, {DELIVERY_RETRY, 0}, {DELIVERY_RETRY, 0}};
	AUTO(metrics_free_p) struct metrics *m = NULL;
	struct counters counters = {0};
	struct relay *r = new_relay();
	double oldest;

	assert_int_equal(metrics_new(&m, NULL), 0);
	assert_int_equal(counters_init(&counters, m, db, &r, names, 1, NULL), 0);
	relay_count(r, &counters, 0);
	assert_measured(m, "backlog", "fake", 0);
	assert_measured(m, "oldest_seconds", "fake", 0);
	append_at(6, clock_now_us() - 90 * SECOND, 4);
	set_answers(8, answers);
	assert_int_equal(relay_start(r, NULL), 0);
	await(was_called, 2);
	relay_stop(r, clock_mono_us());
	assert_true(relay_finish(r));
	assert_measured(m, "delivered_total", "fake", 3);
	assert_measured(m, "set_aside_total", "fake", 1);
	assert_measured(m, "retries_total", "fake", (double)cursor_of("fake").n_retries);
	assert_measured(m, "publish_seconds_count", "fake", (double)script.n_calls);
	assert_measured(m, "delay_seconds_count", "fake", 3);
	assert_true(measured(m, "glint_notifications_delay_seconds_sum{driver=\"fake\"}") >= 270);
	assert_true(measured(m, "glint_notifications_delay_seconds_bucket{driver=\"fake\",le=\"60\"}") == 0);
	assert_measured(m, "backlog", "fake", 2);
	oldest = measured(m, "glint_notifications_oldest_seconds{driver=\"fake\"}");
	assert_true(oldest >= 90 && oldest < 300);
	assert_true(measured(m, "glint_journal_events") == 6);
	assert_true(measured(m, "glint_journal_bytes") == (double)journal().n_bytes);
	relay_free(r);
}

static void test_events_are_measured(void **state)
{
	static const char *const drivers[] = {"log", "noop"};
	static const char *const disabled[] = {"image.delete"};
	AUTO(metrics_free_p) struct metrics *m = NULL;
	struct notify_config config = {.drivers = drivers,
				       .n_drivers = 2,
				       .disabled = disabled,
				       .n_disabled = 1,
				       .publisher_id = "image.localhost",
				       .log_path = events_log};
	struct notify *n = NULL;
	struct db_tx *tx;

	assert_int_equal(metrics_new(&m, NULL), 0);
	config.metrics = m;
	assert_int_equal(notify_new(db, &config, &n, NULL), 0);
	for (int i = 0; i < 3; i++)
		emit(n, EVENT_IMAGE_UPDATE);
	emit(n, EVENT_IMAGE_DELETE);
	tx = begin(DB_WRITE);
	assert_int_equal(event_image_text(n, tx, EVENT_IMAGE_UPLOAD, EVENT_ERROR, SUBJECT, "no", NULL, NULL),
			 0);
	commit(tx);
	tx = begin(DB_WRITE);
	assert_int_equal(event_image_text(n, tx, EVENT_IMAGE_UPLOAD, EVENT_WARN, SUBJECT, "no", NULL, NULL),
			 0);
	db_abort(tx);
	assert_true(measured(m, "glint_events_total{type=\"image.update\",priority=\"INFO\"}") == 3);
	assert_true(measured(m, "glint_events_total{type=\"image.delete\",priority=\"INFO\"}") == 0);
	assert_true(measured(m, "glint_events_total{type=\"image.upload\",priority=\"ERROR\"}") == 1);
	assert_true(measured(m, "glint_events_total{type=\"image.upload\",priority=\"WARN\"}") == 0);
	assert_measured(m, "backlog", "log", 4); /* its relay does not run */
	notify_free(n);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_new_driver_begins_at_the_end),
		TEST(test_order_over_many_batches),
		TEST(test_batches_are_bounded),
		TEST(test_wake_is_prompt),
		TEST(test_restart_goes_on_at_the_cursor),
		TEST(test_looks_by_itself),
		TEST(test_retry_then_delivered),
		TEST(test_problem_is_in_the_cursor),
		TEST(test_rejected_is_set_aside),
		TEST(test_replay_of_what_was_set_aside),
		TEST(test_under_way),
		TEST(test_idle),
		TEST(test_stop_does_not_wait_for_a_sick_driver),
		TEST(test_hanging_driver_is_left_behind),
		TEST(test_failed_open),
		TEST(test_reopen),
		TEST(test_gap_is_told),
		TEST(test_replay),
		TEST(test_replay_carries_the_same_id),
		TEST(test_replay_stays_behind_the_cursor),
		TEST(test_replay_beyond_the_cursor),
		TEST(test_replay_refused),
		TEST(test_prune_by_age),
		TEST(test_prune_by_size),
		TEST(test_prune_waits_for_a_replay),
		TEST(test_prune_in_steps),
		TEST(test_no_driver_writes_nothing),
		TEST(test_unknown_driver),
		TEST(test_disabled),
		TEST(test_rows),
		TEST(test_stop_delivers_what_is_there),
		TEST(test_blocked_driver_stops_no_other),
		TEST(test_start_fails_clearly),
		TEST(test_delete_payload_is_id),
		TEST(test_relays_are_measured),
		TEST(test_events_are_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

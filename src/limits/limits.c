/* SPDX-License-Identifier: Apache-2.0
 * limits/limits.c -- the questions: who waits for which, and what becomes of it.
 *
 * One lock guards everything below. It is never held while somebody is called: the source, those who wait,
 * the log.
 *
 * (1) A project that is asked for (`asking`) stays in memory until its answer has come. n_asking counts the
 *     questions until all who waited have heard; limits_close() waits until there is none.
 * (2) Whoever takes a waiter off the list calls it: the answer, the clock (a thread of ours, for those whose
 *     time is over before the answer's) or limits_stop(). So each is called once. */
#include "limits/limits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/metrics.h"
#include "limits/internal.h"

#define RETRY_US INT64_C(2000000) /* between questions that nobody waits for, while there is no answer */
#define SLOW_US INT64_C(1000000)  /* without any answer while some are due */

struct waiter {
	struct waiter *next;
	struct known *known;
	int64_t deadline_us;
	limits_fn *fn;
	void *cls;
};

struct limits {
	struct limits_config config;
	struct limits_source source;

	pthread_mutex_t lock;
	pthread_cond_t clock_changed; /* wake_us is due earlier, or stopping */
	pthread_cond_t answered;      /* n_asking became 0 */
	struct memory memory;
	struct waiter *waiters;
	size_t n_waiting;
	unsigned n_asking, n_threads;
	int64_t quiet_since_us; /* nothing has come since, while n_asking > 0 */
	bool failing;           /* the last answer was none */
	bool stopping;

	pthread_t clock;
	bool has_clock;
	int64_t wake_us; /* when the clock looks again */
	struct metric *answers;
};

enum { ANSWERED, FAILED };

static int unavailable(struct err *err, const char *why)
{
	(void)err_set(err, ERR_UNAVAILABLE,
		      "The limits of the project cannot be asked for now; try again later.");
	err_detail(err, "limits: %s", why);
	if (err)
		err->retriable = true;
	return ERR_UNAVAILABLE;
}

/* -- what is known; lock held ---------------------------------------------------------------------- */

static bool is_fresh(const struct limits *l, const struct known *k, int64_t now)
{
	return k->got_us > 0 && now < k->got_us + l->config.cache_us;
}

/* Better than no answer. */
static bool is_serviceable(const struct limits *l, const struct known *k, int64_t now)
{
	return k->got_us > 0 && now < k->got_us + l->config.cache_us + l->config.stale_us;
}

/* Who need not wait: once Keystone failed to answer, nobody waits for what it would say about an answer that
 * still may serve. */
static bool is_usable(const struct limits *l, const struct known *k, int64_t now)
{
	return is_fresh(l, k, now) || (k->failed && is_serviceable(l, k, now));
}

static bool is_due(const struct limits *l, const struct known *k, int64_t now)
{
	return !k->asking && !l->stopping && l->n_asking < l->config.max_asking && now >= k->retry_us &&
	       now >= k->got_us + l->config.cache_us - l->config.cache_us / 4;
}

static void begin_asking(struct limits *l, struct known *k, int64_t now)
{
	memory_hold(&l->memory, k);
	k->limits = l;
	if (l->n_asking++ == 0)
		l->quiet_since_us = now;
}

/* -- those who wait -------------------------------------------------------------------------------- */

/* Off the list: those of @known (NULL: of any) whose time is over at @now. Lock held. */
static struct waiter *take_waiters(struct limits *l, const struct known *known, int64_t now)
{
	struct waiter *taken = NULL, **at = &l->waiters;

	while (*at) {
		struct waiter *w = *at;

		if ((known && w->known != known) || w->deadline_us > now) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = taken;
		taken = w;
		l->n_waiting--;
	}
	return taken;
}

static void answer_waiters(struct waiter *w, int r, const struct quota *quota, const struct err *err)
{
	while (w) {
		struct waiter *next = w->next;

		w->fn(w->cls, r, r == 0 ? quota : NULL, err);
		free(w);
		w = next;
	}
}

static void add_waiter(struct limits *l, struct waiter *w)
{
	w->next = l->waiters;
	l->waiters = w;
	l->n_waiting++;
	if (w->deadline_us < l->wake_us) {
		l->wake_us = w->deadline_us;
		pthread_cond_signal(&l->clock_changed);
	}
}

static int64_t next_deadline(const struct limits *l)
{
	int64_t first = INT64_MAX;

	for (const struct waiter *w = l->waiters; w; w = w->next)
		first = w->deadline_us < first ? w->deadline_us : first;
	return first;
}

/* Until wake_us, or until that is earlier. Lock held. */
static void clock_wait(struct limits *l)
{
	struct timespec until = {l->wake_us / 1000000, l->wake_us % 1000000 * 1000};

	if (l->wake_us == INT64_MAX)
		pthread_cond_wait(&l->clock_changed, &l->lock);
	else
		pthread_cond_timedwait(&l->clock_changed, &l->lock, &until);
}

static void *clock_main(void *arg)
{
	struct limits *l = arg;
	struct waiter *late;
	struct err err = {0};

	unavailable(&err, "no answer in time");
	pthread_mutex_lock(&l->lock);
	while (!l->stopping) {
		late = take_waiters(l, NULL, clock_mono_us());
		if (late) {
			pthread_mutex_unlock(&l->lock);
			answer_waiters(late, err.code, NULL, &err);
			pthread_mutex_lock(&l->lock);
			continue;
		}
		l->wake_us = next_deadline(l);
		clock_wait(l);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* -- the answer ------------------------------------------------------------------------------------ */

static void note(struct known *k, int r, const struct quota *quota, int64_t now)
{
	k->failed = r < 0;
	k->retry_us = now + (r < 0 ? RETRY_US : 0);
	if (r == 0) {
		k->got_us = now;
		k->quota = *quota;
	}
}

/* Trouble is a line when it begins and one when it ends. */
static void tell(bool was_failing, int r, const struct err *err)
{
	if (r < 0 && !was_failing)
		log_warning("glint.limits", NULL, "Keystone does not say what the limits are: %s",
			    err_story(err));
	else if (r == 0 && was_failing)
		log_info("glint.limits", NULL, "Keystone says again what the limits are");
}

static void end_asking(struct limits *l)
{
	pthread_mutex_lock(&l->lock);
	if (--l->n_asking == 0)
		pthread_cond_broadcast(&l->answered);
	pthread_mutex_unlock(&l->lock);
}

static void on_answer(void *cls, int r, const struct quota *quota, const struct err *err)
{
	struct known *k = cls;
	struct limits *l = k->limits;
	int64_t now = clock_mono_us();
	struct waiter *waiters;
	bool was_failing, stopping, serves;
	struct quota known;
	struct err why = {0};

	if (r < 0)
		unavailable(&why, err_story(err));
	pthread_mutex_lock(&l->lock);
	note(k, r, quota, now);
	was_failing = l->failing;
	stopping = l->stopping;
	l->failing = r < 0;
	l->quiet_since_us = now;
	serves = is_usable(l, k, now);
	known = k->quota;
	waiters = take_waiters(l, k, INT64_MAX);
	memory_release(&l->memory, k); /* from here on the next question is another one */
	pthread_mutex_unlock(&l->lock);

	metric_add(l->answers, r == 0 ? ANSWERED : FAILED, 1);
	if (!stopping)
		tell(was_failing, r, err);
	answer_waiters(waiters, serves ? 0 : why.code, &known, &why);
	end_asking(l);
}

static void ask_source(struct limits *l, struct known *k)
{
	l->source.ask(l->source.cls, k->project, clock_mono_us() + l->config.timeout_us, on_answer, k);
}

/* -- the questions --------------------------------------------------------------------------------- */

bool limits_recall(struct limits *l, const char *project, struct quota *ret)
{
	int64_t now = clock_mono_us();
	bool usable, ask = false;
	struct known *k;

	pthread_mutex_lock(&l->lock);
	k = memory_find(&l->memory, project ? project : "");
	usable = k && is_usable(l, k, now);
	if (usable) {
		*ret = k->quota;
		memory_touch(&l->memory, k);
		ask = is_due(l, k, now);
		if (ask)
			begin_asking(l, k, now);
	}
	pthread_mutex_unlock(&l->lock);
	if (ask)
		ask_source(l, k);
	return usable;
}

enum next { ANSWER, WAIT, ASK };

/* What becomes of a question that memory alone did not answer. Takes *w if it has to wait. Lock held. */
static enum next enqueue(struct limits *l, const char *project, struct waiter **w, int *ret_r,
			 struct quota *ret, struct err *err)
{
	struct known *k = memory_find(&l->memory, project);
	int64_t now = clock_mono_us();
	bool ask;

	if (k && is_usable(l, k, now)) { /* in between */
		*ret = k->quota;
		*ret_r = 0;
		return ANSWER;
	}
	if (l->stopping || (l->n_asking >= l->config.max_asking && !(k && k->asking))) {
		bool serves = k && is_serviceable(l, k, now);

		if (serves)
			*ret = k->quota;
		*ret_r = serves ? 0 : unavailable(err, l->stopping ? "stopping" : "too many are asked for");
		return ANSWER;
	}
	if (!k && !(k = memory_add(&l->memory, project))) {
		*ret_r = err_nomem(err);
		return ANSWER;
	}
	ask = !k->asking;
	if (ask)
		begin_asking(l, k, now);
	(*w)->known = k;
	add_waiter(l, TAKE(*w));
	return ask ? ASK : WAIT;
}

void limits_ask(struct limits *l, const char *project, int64_t deadline_us, limits_fn *fn, void *cls)
{
	AUTO(free_p) struct waiter *w = malloc(sizeof(*w));
	struct known *asked;
	struct err err = {0};
	struct quota quota;
	enum next next;
	int r = 0;

	if (limits_recall(l, project, &quota)) {
		fn(cls, 0, &quota, &err);
		return;
	}
	if (!w) {
		fn(cls, err_nomem(&err), NULL, &err);
		return;
	}
	*w = (struct waiter){.deadline_us = deadline_us, .fn = fn, .cls = cls};
	pthread_mutex_lock(&l->lock);
	next = enqueue(l, project ? project : "", &w, &r, &quota, &err);
	asked = next == ASK ? l->waiters->known
			    : NULL; /* the one that was just added; it stays until on_answer() */
	pthread_mutex_unlock(&l->lock);
	if (next == ASK)
		ask_source(l, asked);
	else if (next == ANSWER)
		fn(cls, r, r == 0 ? &quota : NULL, &err);
}

/* -- and for threads that wait --------------------------------------------------------------------- */

struct wait {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
	int r;
	struct quota quota;
	struct err err;
};

static void on_waited(void *cls, int r, const struct quota *quota, const struct err *err)
{
	struct wait *w = cls;

	pthread_mutex_lock(&w->lock);
	w->done = true;
	w->r = r;
	if (r == 0)
		w->quota = *quota;
	w->err = *err;
	pthread_cond_signal(&w->changed); /* before the unlock: then @w may be gone */
	pthread_mutex_unlock(&w->lock);
}

/* False: Keystone is slow or down, and as many threads as may be wait for it. */
static bool may_wait(struct limits *l)
{
	bool troubled, may;

	pthread_mutex_lock(&l->lock);
	troubled = l->failing || (l->n_asking > 0 && clock_mono_us() - l->quiet_since_us > SLOW_US);
	may = !troubled || l->n_threads < l->config.max_threads;
	l->n_threads += may;
	pthread_mutex_unlock(&l->lock);
	return may;
}

static void waited(struct limits *l)
{
	pthread_mutex_lock(&l->lock);
	l->n_threads--;
	pthread_mutex_unlock(&l->lock);
}

int limits_get(struct limits *l, const char *project, int64_t deadline_us, struct quota *ret, struct err *err)
{
	struct wait w = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

	if (limits_recall(l, project, ret))
		return 0;
	if (!may_wait(l))
		return unavailable(err, "Keystone is slow or down, and enough threads wait for it");
	limits_ask(l, project, deadline_us, on_waited, &w);
	pthread_mutex_lock(&w.lock);
	while (!w.done)
		pthread_cond_wait(&w.changed, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_cond_destroy(&w.changed);
	pthread_mutex_destroy(&w.lock);
	waited(l);
	if (w.r == 0)
		*ret = w.quota;
	else if (err)
		*err = w.err;
	return w.r;
}

/* -- opening and closing --------------------------------------------------------------------------- */

static bool read_waiting(void *cls, size_t row, int64_t *ret)
{
	struct limits *l = cls;

	*ret = 0;
	if (!l)
		return true;
	pthread_mutex_lock(&l->lock);
	*ret = (int64_t)l->n_waiting;
	pthread_mutex_unlock(&l->lock);
	return true;
}

int limits_measure(struct limits *l, struct metrics *m, struct err *err)
{
	const char *labels[] = {[ANSWERED] = metrics_labels(m, NULL, "outcome", "answered"),
				[FAILED] = metrics_labels(m, NULL, "outcome", "failed")};
	const struct metric_spec answers = {.name = "glint_limits_questions_total",
					    .help = "Questions to Keystone about the limits of a project.",
					    .kind = METRIC_COUNTER,
					    .rows = {labels, ARRAY_LEN(labels)}};
	const struct metric_spec waiting = {.name = "glint_limits_waiting",
					    .help = "Requests that wait for the limits of their project.",
					    .kind = METRIC_GAUGE,
					    .read = read_waiting,
					    .cls = l};
	struct metric *nobody;
	int r = metrics_register(m, &answers, l ? &l->answers : &nobody, err);

	return r < 0 ? r : metrics_register(m, &waiting, NULL, err);
}

static int start_clock(struct limits *l, struct err *err)
{
	int r = pthread_create(&l->clock, NULL, clock_main, l);

	if (r != 0)
		return err_set(err, ERR_INTERNAL, "starting a thread: %s", strerror(r));
	l->has_clock = true;
	(void)pthread_setname_np(l->clock, "limits");
	return 0;
}

int limits_new(const struct limits_config *config, const struct limits_source *source, struct limits **ret,
	       struct err *err)
{
	struct limits *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;
	int r;

	if (!l) {
		source->close(source->cls);
		return err_nomem(err);
	}
	l->config = *config;
	l->source = *source;
	l->wake_us = INT64_MAX;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->answered, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->clock_changed, &attr);
	pthread_condattr_destroy(&attr);
	r = memory_init(&l->memory, config->max_projects, err);
	if (r == 0)
		r = start_clock(l, err);
	if (r < 0) {
		limits_close(l);
		return r;
	}
	*ret = l;
	return 0;
}

void limits_stop(struct limits *l)
{
	struct waiter *waiters;
	struct err err = {0};

	if (!l)
		return;
	unavailable(&err, "stopping");
	pthread_mutex_lock(&l->lock);
	l->stopping = true;
	waiters = take_waiters(l, NULL, INT64_MAX);
	pthread_cond_signal(&l->clock_changed);
	pthread_mutex_unlock(&l->lock);
	answer_waiters(waiters, err.code, NULL, &err);
	l->source.stop(l->source.cls);
	if (l->has_clock)
		pthread_join(l->clock, NULL);
	l->has_clock = false;
}

void limits_close(struct limits *l)
{
	if (!l)
		return;
	limits_stop(l);
	pthread_mutex_lock(&l->lock);
	while (l->n_asking > 0)
		pthread_cond_wait(&l->answered, &l->lock);
	pthread_mutex_unlock(&l->lock);
	l->source.close(l->source.cls);
	memory_done(&l->memory);
	pthread_cond_destroy(&l->clock_changed);
	pthread_cond_destroy(&l->answered);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

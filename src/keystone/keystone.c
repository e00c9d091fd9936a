/* SPDX-License-Identifier: Apache-2.0
 * keystone/keystone.c -- questions (whose are these tokens?) and lookups (what does Keystone say of this
 * one?).
 *
 * A question goes through at most three stages, each about one token: the user's; if that is refused and
 * there is a service's, that; if that is a service, the user's once more, expired or not. A stage is answered
 * by the cache or by a lookup, and all who ask the same wait for the same lookup.
 *
 * (1) There is at most one lookup for a key, and no more than max_waiting of them; who waits for one is a
 * request, so the connections bound those. (2) What a lookup finds is in the cache before the lookup is gone,
 * so that nobody begins another one in between. (3) The lock is held neither in callbacks nor for logging. */
#include "keystone/keystone.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "cache.h"

#define LOG_NAME "glint.keystone"
#define SECOND INT64_C(1000000)
#define REFUSED_US (10 * SECOND) /* how long a refusal counts; nobody's token becomes good by waiting */
#define TELL_US (60 * SECOND)
#define MAX_TOKEN 8192
#define MAX_ANSWER 1048576
#define N_TRIES 2 /* the second with another token of ours */

enum stage { STAGE_USER, STAGE_SERVICE, STAGE_EXPIRED };
enum outcome { OUTCOME_VALID, OUTCOME_REFUSED, OUTCOME_FAILED, N_OUTCOMES };

struct question {
	struct question *next; /* who wait for the same lookup */
	struct keystone *keystone;
	enum stage stage;
	int64_t deadline_us; /* of all stages together */
	char *user, *service;
	keystone_fn *fn;
	void *cls;
};

struct lookup {
	struct lookup *next;
	struct keystone *keystone;
	unsigned char key[CACHE_KEY_LEN];
	char *token, *own; /* own: by which it was asked */
	bool expired_too;
	unsigned n_tries;
	int64_t begun_us, deadline_us;
	struct question *questions, **last;
};

struct keystone {
	struct keystone_config config;
	struct transport *transport;
	struct session *session;
	char *challenge;
	unsigned char salt[16];
	struct metric *lookups, *times, *cached;

	pthread_mutex_t lock;
	struct cache *known, *refused;
	struct lookup *under_way;
	unsigned n_lookups, n_waiting;
	bool in_trouble; /* as far as the log says */
	int64_t told_us;
};

/* -- keys ----------------------------------------------------------------------------------------- */

static bool is_token(const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f)
			return false;
	return n > 0 && n <= MAX_TOKEN;
}

static bool make_key(const struct keystone *k, const char *token, bool expired_too,
		     unsigned char key[CACHE_KEY_LEN])
{
	const unsigned char kind = expired_too;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
		  EVP_DigestUpdate(ctx, k->salt, sizeof(k->salt)) == 1 &&
		  EVP_DigestUpdate(ctx, &kind, 1) == 1 && EVP_DigestUpdate(ctx, token, strlen(token)) == 1 &&
		  EVP_DigestFinal_ex(ctx, key, NULL) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

/* -- questions ------------------------------------------------------------------------------------ */

static const char *token_of(const struct question *q)
{
	return q->stage == STAGE_SERVICE ? q->service : q->user;
}

static int refuse(int code, struct err *err)
{
	if (code == ERR_FORBIDDEN)
		return err_set(err, code, "The token is not scoped to a project.");
	return err_set(err, ERR_UNAUTHENTICATED, "Authentication is required.");
}

static bool is_service(const struct keystone *k, const struct identity *i)
{
	return !i->refusal &&
	       (!k->config.service_roles_required || identity_has_role(i, k->config.service_roles));
}

/* What is known of the token of this stage. True: the question is answered; *ret NULL: by @err. */
static bool settle(struct question *q, struct identity *i, struct identity **ret, struct err *err)
{
	*ret = NULL;
	if (q->stage == STAGE_SERVICE && is_service(q->keystone, i)) {
		q->stage = STAGE_EXPIRED;
		return false;
	}
	if (q->stage == STAGE_USER && i->refusal == ERR_UNAUTHENTICATED && q->service) {
		q->stage = STAGE_SERVICE;
		return false;
	}
	if (q->stage != STAGE_SERVICE && !i->refusal)
		*ret = i;
	else
		refuse(q->stage == STAGE_SERVICE ? ERR_UNAUTHENTICATED : i->refusal, err);
	return true;
}

/* Owned by the caller; NULL: nothing. The lock is held. */
static struct identity *recall(struct keystone *k, const unsigned char *key)
{
	int64_t now_us = clock_mono_us();
	struct identity *i = cache_get(k->known, key, now_us);

	if (!i)
		i = cache_get(k->refused, key, now_us);
	return i ? identity_ref(i) : NULL;
}

/* As far as the cache leads. True: answered, *ret is owned by the caller or @err is set. Else the key of the
 * token that Keystone must be asked for is in @key. */
static bool advance(struct question *q, unsigned char key[CACHE_KEY_LEN], struct identity **ret,
		    struct err *err)
{
	struct keystone *k = q->keystone;

	*ret = NULL;
	for (;;) {
		AUTO(identity_unref_p) struct identity *i = NULL;
		bool done;

		if (!make_key(k, token_of(q), q->stage == STAGE_EXPIRED, key)) {
			err_nomem(err);
			return true;
		}
		pthread_mutex_lock(&k->lock);
		i = recall(k, key);
		pthread_mutex_unlock(&k->lock);
		if (!i)
			return false;
		done = settle(q, i, ret, err);
		if (*ret)
			i = NULL; /* it is the caller's now */
		if (done)
			return true;
	}
}

static void question_free(struct question *q)
{
	if (!q)
		return;
	if (q->user)
		explicit_bzero(q->user, strlen(q->user));
	if (q->service)
		explicit_bzero(q->service, strlen(q->service));
	free(q->user);
	free(q->service);
	free(q);
}

static void answer(struct question *q, struct identity *i, const struct err *err)
{
	q->fn(q->cls, i, i ? NULL : err);
	question_free(q);
}

/* -- lookups -------------------------------------------------------------------------------------- */

static void ask_session(struct lookup *l);
static void go_on(struct question *q);

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static void lookup_free(struct lookup *l)
{
	if (!l)
		return;
	wipe(l->token);
	wipe(l->own);
	free(l);
}

/* The lock is held. */
static struct lookup *find_lookup(struct keystone *k, const unsigned char *key)
{
	struct lookup *l = k->under_way;

	while (l && memcmp(l->key, key, CACHE_KEY_LEN) != 0)
		l = l->next;
	return l;
}

/* The lock is held. */
static void remove_lookup(struct keystone *k, const struct lookup *l)
{
	struct lookup **at = &k->under_way;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	k->n_lookups--;
}

/* The lock is held. */
static void remember(struct keystone *k, const struct lookup *l, struct identity *i)
{
	int64_t now_us = clock_mono_us(), us = k->config.cache_us, left_us = i->expires_us - clock_now_us();

	if (i->refusal && us > REFUSED_US)
		us = REFUSED_US;
	if (!i->refusal && !l->expired_too && us > left_us)
		us = left_us;
	cache_drop(i->refusal ? k->known : k->refused, l->key);
	if (us > 0)
		cache_put(i->refusal ? k->refused : k->known, l->key, i, now_us + us);
}

/* One line when trouble begins (and now and then while it lasts), one when it ends. */
static void tell(struct keystone *k, const struct err *err)
{
	int64_t now_us = clock_mono_us();
	bool failed = err != NULL, tell_it;

	pthread_mutex_lock(&k->lock);
	tell_it = failed ? now_us - k->told_us >= TELL_US || k->told_us == 0 : k->in_trouble;
	if (failed && tell_it)
		k->told_us = now_us;
	k->in_trouble = failed ? k->in_trouble || tell_it : false;
	pthread_mutex_unlock(&k->lock);
	if (tell_it && failed)
		log_warning(LOG_NAME, NULL, "Keystone cannot be asked: %s", err_story(err));
	else if (tell_it)
		log_info(LOG_NAME, NULL, "Keystone answers again");
}

static void count(const struct keystone *k, const struct lookup *l, const struct identity *i)
{
	enum outcome outcome = !i ? OUTCOME_FAILED : i->refusal ? OUTCOME_REFUSED : OUTCOME_VALID;

	metric_add(k->lookups, outcome, 1);
	metric_observe(k->times, 0, clock_mono_us() - l->begun_us);
}

/* With what Keystone said, or without: @i NULL, and @err says why. */
static void end_lookup(struct lookup *l, struct identity *i, const struct err *err)
{
	struct keystone *k = l->keystone;
	struct question *all, *next;
	struct identity *found;
	struct err story = {0};

	pthread_mutex_lock(&k->lock);
	if (i)
		remember(k, l, i);
	remove_lookup(k, l);
	all = l->questions;
	for (const struct question *q = all; q; q = q->next)
		k->n_waiting--;
	pthread_mutex_unlock(&k->lock);
	tell(k, i ? NULL : err);
	count(k, l, i);
	if (!i)
		err_set(&story, ERR_UNAVAILABLE, "The identity service cannot be asked at the moment.");
	for (struct question *q = all; q; q = next) {
		next = q->next;
		if (!i)
			answer(q, NULL, &story);
		else if (settle(q, i, &found, &story))
			answer(q, found, &story);
		else
			go_on(q);
	}
	lookup_free(l);
}

static void fail(struct lookup *l, const char *why, int status)
{
	struct err err = {0};

	err_set(&err, ERR_UNAVAILABLE, why, status);
	end_lookup(l, NULL, &err);
}

/* Whether it is about the token that was asked for, and not, by some mix-up, about another one. */
static bool is_same(const struct lookup *l, const struct transport_answer *a)
{
	const char *subject = transport_header(a, "X-Subject-Token");
	size_t n = strlen(l->token);

	return !subject || (strlen(subject) == n && CRYPTO_memcmp(subject, l->token, n) == 0);
}

static void take_answer(struct lookup *l, const struct transport_answer *a)
{
	AUTO(identity_unref_p) struct identity *i = NULL;
	struct err err = {0};
	size_t n;
	const char *text = transport_body(a, &n);

	if (!is_same(l, a)) {
		fail(l, "it answers for another token than it was asked for", 0);
		return;
	}
	if (token_parse(text, n, &i, &err) < 0) {
		end_lookup(l, NULL, &err);
		return;
	}
	if (i->expires_us <= clock_now_us() && !l->expired_too)
		i->refusal = ERR_UNAUTHENTICATED;
	end_lookup(l, i, NULL);
}

static void take_refusal(struct lookup *l)
{
	AUTO(identity_unref_p) struct identity *i = identity_refused(ERR_UNAUTHENTICATED);

	if (i)
		end_lookup(l, i, NULL);
	else
		fail(l, "there is no memory left", 0);
}

/* Our own token was refused: another one may do, but not a third. */
static void try_again(struct lookup *l)
{
	session_refused(l->keystone->session, l->own);
	if (l->n_tries < N_TRIES)
		ask_session(l);
	else
		fail(l, "it refuses the token of the user of [keystone_authtoken]", 0);
}

static void on_answer(void *cls, const struct transport_answer *a, const struct err *err)
{
	struct lookup *l = cls;

	if (err) {
		end_lookup(l, NULL, err);
		return;
	}
	switch (transport_status(a)) {
	case 200:
		take_answer(l, a);
		break;
	case 404:
		take_refusal(l);
		break;
	case 401:
		try_again(l);
		break;
	case 403:
		fail(l,
		     "the user of [keystone_authtoken] may not validate tokens; it needs the role service or "
		     "admin",
		     0);
		break;
	default:
		fail(l, "it answers with status %d", transport_status(a));
	}
}

static int ask_keystone(struct lookup *l, struct err *err)
{
	const struct keystone *k = l->keystone;
	char url[1024], own[MAX_TOKEN + 32], subject[MAX_TOKEN + 32];
	const char *const headers[] = {"Accept: application/json", own, subject, NULL};
	const struct transport_call call = {.method = "GET",
					    .url = url,
					    .headers = headers,
					    .deadline_us = l->deadline_us,
					    .max_octets = MAX_ANSWER,
					    .done = on_answer,
					    .cls = l};
	int n = snprintf(url, sizeof(url), "%s/auth/tokens?nocatalog%s", session_url(k->session),
			 l->expired_too ? "&allow_expired=1" : ""),
	    r;

	if (n < 0 || (size_t)n >= sizeof(url))
		return err_set(err, ERR_INTERNAL, "its URL is too long");
	(void)snprintf(own, sizeof(own), "X-Auth-Token: %s", l->own);
	(void)snprintf(subject, sizeof(subject), "X-Subject-Token: %s", l->token);
	r = transport_start(k->transport, &call, err);
	explicit_bzero(own, sizeof(own));
	explicit_bzero(subject, sizeof(subject));
	return r;
}

static void on_own_token(void *cls, const char *token, const struct err *err)
{
	struct lookup *l = cls;
	struct err own = {0};

	if (err) {
		end_lookup(l, NULL, err);
		return;
	}
	wipe(l->own);
	l->own = strdup(token);
	if (!l->own)
		err_nomem(&own);
	else if (ask_keystone(l, &own) == 0)
		return; /* it may have ended already */
	end_lookup(l, NULL, &own);
}

static void ask_session(struct lookup *l)
{
	l->n_tries++;
	session_token(l->keystone->session, l->deadline_us, on_own_token, l);
}

/* -- from a question to its lookup ------------------------------------------------------------------ */

static struct lookup *lookup_new(struct keystone *k, const unsigned char *key, const struct question *q)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->keystone = k;
	memcpy(l->key, key, CACHE_KEY_LEN);
	l->expired_too = q->stage == STAGE_EXPIRED;
	l->begun_us = clock_mono_us();
	l->deadline_us = q->deadline_us;
	l->last = &l->questions;
	l->token = strdup(token_of(q));
	if (!l->token) {
		lookup_free(l);
		return NULL;
	}
	return l;
}

/* The lock is held. */
static void join(struct lookup *l, struct question *q)
{
	q->next = NULL;
	*l->last = q;
	l->last = &q->next;
	l->keystone->n_waiting++;
}

/* The lookup that @q waits for now. *ret_new: nobody has begun it yet. NULL: there are too many. The lock is
 * held. */
static struct lookup *enter(struct keystone *k, struct question *q, struct lookup *fresh)
{
	struct lookup *l = find_lookup(k, fresh->key);

	if (!l && k->n_lookups >= k->config.max_waiting)
		return NULL;
	if (!l) {
		l = fresh;
		l->next = k->under_way;
		k->under_way = l;
		k->n_lookups++;
	}
	join(l, q);
	return l;
}

static void wait_for(struct question *q, const unsigned char *key)
{
	struct keystone *k = q->keystone;
	struct lookup *fresh = lookup_new(k, key, q), *l;
	struct err err = {0};

	if (!fresh) {
		err_nomem(&err);
		answer(q, NULL, &err);
		return;
	}
	pthread_mutex_lock(&k->lock);
	l = enter(k, q, fresh);
	pthread_mutex_unlock(&k->lock);
	if (l == fresh) {
		ask_session(l);
		return;
	}
	lookup_free(fresh);
	if (l)
		return;
	err_set(&err, ERR_UNAVAILABLE, "Too many requests wait for the identity service.");
	answer(q, NULL, &err);
}

static void go_on(struct question *q)
{
	AUTO(identity_unref_p) struct identity *i = NULL;
	unsigned char key[CACHE_KEY_LEN];
	struct err err = {0};

	if (advance(q, key, &i, &err))
		answer(q, i, &err);
	else
		wait_for(q, key);
}

enum keystone_answer keystone_look(struct keystone *k, const struct keystone_tokens *tokens,
				   struct identity **ret, struct err *err)
{
	struct question q = {.keystone = k, .user = (char *)tokens->user, .service = (char *)tokens->service};
	unsigned char key[CACHE_KEY_LEN];
	bool known;

	if (!is_token(q.user)) {
		refuse(ERR_UNAUTHENTICATED, err);
		return KEYSTONE_REFUSED;
	}
	if (q.service && !is_token(q.service))
		q.service = NULL;
	known = advance(&q, key, ret, err);
	metric_add(k->cached, known ? 0 : 1, 1);
	if (!known)
		return KEYSTONE_UNKNOWN;
	return *ret ? KEYSTONE_KNOWN : KEYSTONE_REFUSED;
}

void keystone_ask(struct keystone *k, const struct keystone_tokens *tokens, keystone_fn *fn, void *cls)
{
	struct question *q = calloc(1, sizeof(*q));
	bool has_service = tokens->service && is_token(tokens->service);
	struct err err = {0};

	if (q) {
		*q = (struct question){.keystone = k, .fn = fn, .cls = cls};
		q->deadline_us = clock_mono_us() + k->config.timeout_us;
		q->user = strdup(tokens->user);
		q->service = has_service ? strdup(tokens->service) : NULL;
	}
	if (q && q->user && (q->service || !has_service)) {
		go_on(q);
		return;
	}
	question_free(q);
	err_nomem(&err);
	fn(cls, NULL, &err);
}

/* -- begin and end --------------------------------------------------------------------------------- */

static bool read_waiting(void *cls, size_t row, int64_t *ret)
{
	struct keystone *k = cls;

	pthread_mutex_lock(&k->lock);
	*ret = k->n_waiting;
	pthread_mutex_unlock(&k->lock);
	return true;
}

static int register_metrics(struct keystone *k, struct err *err)
{
	struct metrics *m = k->config.metrics;
	const char *outcomes[N_OUTCOMES] = {metrics_labels(m, NULL, "outcome", "valid"),
					    metrics_labels(m, NULL, "outcome", "refused"),
					    metrics_labels(m, NULL, "outcome", "failed")};
	const char *found[] = {metrics_labels(m, NULL, "found", "yes"),
			       metrics_labels(m, NULL, "found", "no")};
	const struct metric_spec lookups = {.name = "glint_keystone_lookups_total",
					    .help = "Tokens that Keystone was asked for.",
					    .kind = METRIC_COUNTER,
					    .rows = {outcomes, N_OUTCOMES}};
	const struct metric_spec times = {.name = "glint_keystone_lookup_seconds",
					  .help = "How long such lookups took.",
					  .kind = METRIC_HISTOGRAM,
					  .unit = METRIC_MICROSECONDS,
					  .bounds = metric_short_times,
					  .n_bounds = ARRAY_LEN(metric_short_times)};
	const struct metric_spec cached = {.name = "glint_keystone_cache_total",
					   .help = "Requests with a token, by whether it was known already.",
					   .kind = METRIC_COUNTER,
					   .rows = {found, ARRAY_LEN(found)}};
	const struct metric_spec waiting = {.name = "glint_keystone_waiting",
					    .help = "Requests that wait for Keystone.",
					    .kind = METRIC_GAUGE,
					    .read = read_waiting,
					    .cls = k};
	int r = metrics_register(m, &lookups, &k->lookups, err);

	if (r == 0)
		r = metrics_register(m, &times, &k->times, err);
	if (r == 0)
		r = metrics_register(m, &cached, &k->cached, err);
	return r < 0 ? r : metrics_register(m, &waiting, NULL, err);
}

static void keystone_free_p(struct keystone **k)
{
	keystone_free(*k);
}

int keystone_new(const struct keystone_config *config, struct keystone **ret, struct err *err)
{
	AUTO(keystone_free_p) struct keystone *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return err_nomem(err);
	json_watch_memory();
	k->config = *config;
	pthread_mutex_init(&k->lock, NULL);
	if (getrandom(k->salt, sizeof(k->salt), 0) != sizeof(k->salt))
		return err_set(err, ERR_INTERNAL, "this machine has no random numbers");
	if (asprintf(&k->challenge, "Keystone uri=\"%s\"", config->public_url) < 0) {
		k->challenge = NULL;
		return err_nomem(err);
	}
	if ((r = cache_new(config->cache_tokens, &k->known, err)) < 0 ||
	    (r = cache_new(config->cache_tokens, &k->refused, err)) < 0 ||
	    (r = register_metrics(k, err)) < 0 ||
	    (r = transport_open(&config->transport, &k->transport, err)) < 0 ||
	    (r = session_new(k->transport, &config->session, &k->session, err)) < 0)
		return r;
	*ret = TAKE(k);
	return 0;
}

void keystone_stop(struct keystone *k)
{
	if (k)
		transport_stop(k->transport);
}

void keystone_free(struct keystone *k)
{
	if (!k)
		return;
	transport_close(k->transport);
	session_free(k->session);
	cache_free(k->known);
	cache_free(k->refused);
	pthread_mutex_destroy(&k->lock);
	free(k->challenge);
	free(k);
}

struct transport *keystone_transport(struct keystone *k)
{
	return k->transport;
}

struct session *keystone_session(struct keystone *k)
{
	return k->session;
}

const char *keystone_challenge(const struct keystone *k)
{
	return k->challenge;
}

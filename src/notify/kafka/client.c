/* SPDX-License-Identifier: Apache-2.0
 * notify/kafka/client.c -- librdkafka's producer as this driver uses it.
 *
 * (1) What a partition receives has no gap: the library numbers the messages, the broker takes them
 *     in that order and each once, and when one fails for good the library stops (a fatal error)
 *     instead of going on with the next. No message ever times out by itself.
 * (2) Reports and complaints come out of kafka_client_serve(), so they run on the caller's thread.
 *     Only the log callback runs on the library's threads; it reads nothing that ever changes.
 * (3) No password reaches a log or an error: see scrub().
 * (4) The library's threads have all signals blocked, as it starts them so; a connection that goes
 *     away is an error there and no SIGPIPE. */
#include "client.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "flights.h"

#define LOGGER "glint.kafka"
#define SECOND INT64_C(1000000)
#define PROBE_US (SECOND / 5)    /* the first question to a broker; each may take as long as all before */
#define DOWN_US (SECOND / 2)     /* no use asking longer when all brokers are known to be away */
#define CREATION_US (3 * SECOND) /* a topic that is made by asking for it is not there at once */
#define CLOSE_WAIT_US (1 * SECOND)
#define MESSAGE_MAX "16777216" /* octets; how much less it takes is for the broker to say */
#define STORY_MAX 320

struct topic {
	char *name;
	rd_kafka_topic_t *handle;
	bool known; /* the brokers have it */
};

struct kafka_client {
	rd_kafka_t *rk;
	char *secrets[2]; /* may be NULL; constant */
	struct topic *topics;
	size_t n_topics;
	bool down;
	char complaint[STORY_MAX];

	/* for the end, see kafka_client_free() */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ended, abandoned;
};

/* -- what it says ------------------------------------------------------------------------------- */

static void scrub_one(char *text, const char *secret)
{
	size_t n = secret ? strlen(secret) : 0, n_stars = n < 3 ? n : 3;

	if (n == 0)
		return;
	while ((text = strstr(text, secret))) {
		memset(text, '*', n_stars);
		memmove(text + n_stars, text + n, strlen(text + n) + 1);
		text += n_stars;
	}
}

/* Whatever text comes out of the library: without passwords, and without the part that differs from
 * one attempt to the next. */
static void scrub(const struct kafka_client *c, char *text)
{
	char *after = strstr(text, " (after ");

	if (after)
		*after = '\0';
	for (size_t i = 0; i < ARRAY_LEN(c->secrets); i++)
		scrub_one(text, c->secrets[i]);
}

/* Problems reach the operator through the relay, one line when they begin and one when they end;
 * the library's own running commentary is for debugging. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *message)
{
	const struct kafka_client *c = rd_kafka_opaque(rk);
	char text[1024];

	(void)snprintf(text, sizeof(text), "%s", message);
	scrub(c, text);
	log_debug(LOGGER, NULL, "%s: %s", facility, text);
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *cls)
{
	struct kafka_client *c = cls;

	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
		c->down = true;
		return;
	}
	(void)snprintf(c->complaint, sizeof(c->complaint), "%s", reason);
	scrub(c, c->complaint);
}

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *cls)
{
	struct kafka_client *c = cls;

	if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		c->down = false;
	kafka_flights_end(m->_private, m->err);
}

bool kafka_client_is_down(const struct kafka_client *c)
{
	return c->down;
}

const char *kafka_client_complaint(const struct kafka_client *c)
{
	return c->complaint;
}

bool kafka_client_is_broken(const struct kafka_client *c)
{
	char why[8];

	return rd_kafka_fatal_error(c->rk, why, sizeof(why)) != RD_KAFKA_RESP_ERR_NO_ERROR;
}

void kafka_client_serve(struct kafka_client *c, int64_t timeout_us)
{
	int ms = timeout_us <= 0 ? 0 : (int)((timeout_us + 999) / 1000);

	(void)rd_kafka_poll(c->rk, ms);
}

/* -- settings ----------------------------------------------------------------------------------- */

/* With several requests under way, order after an error rests on the broker refusing what comes out
 * of sequence. One request carries up to a million octets, most often all that the relay has in its
 * hands, so one at a time costs little. */
struct setting {
	const char *name, *value;
};

static const struct setting fixed_settings[] = {
	{"client.id", "glint"},
	{"enable.idempotence", "true"},
	{"enable.gapless.guarantee", "true"},
	{"acks", "all"},
	{"max.in.flight.requests.per.connection", "1"}, /* see above */
	{"message.timeout.ms", "0"},                    /* never: see (1) */
	{"message.max.bytes", MESSAGE_MAX},
	{"partitioner", "murmur2_random"}, /* as Java's producers place the same key */
	{"socket.keepalive.enable", "true"},
	{"socket.nagle.disable", "true"}, /* the end of a batch goes at once */
	{"socket.timeout.ms", "30000"}, /* of a broker that is there and does not answer */
	{"reconnect.backoff.ms", "100"},
	{"reconnect.backoff.max.ms", "1000"}, /* found again soon after its return */
	{"log.connection.close", "false"},
	{"enable.ssl.certificate.verification", "true"},
	{"ssl.endpoint.identification.algorithm", "https"}, /* the host name is checked too */
};

static int set(struct kafka_client *c, rd_kafka_conf_t *conf, const char *name, const char *value,
	       struct err *err)
{
	char why[STORY_MAX];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
		return 0;
	scrub(c, why);
	return err_set(err, ERR_INVALID, "%s", why);
}

static int set_all(struct kafka_client *c, rd_kafka_conf_t *conf, const struct setting *settings, size_t n,
		   struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		if (settings[i].value && settings[i].value[0])
			r = set(c, conf, settings[i].name, settings[i].value, err);
	}
	return r;
}

static int set_number(struct kafka_client *c, rd_kafka_conf_t *conf, const char *name, int64_t value,
		      struct err *err)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRId64, value);
	return set(c, conf, name, text, err);
}

static int configure(struct kafka_client *c, rd_kafka_conf_t *conf, const struct kafka_client_config *config,
		     struct err *err)
{
	const struct setting given[] = {
		{"bootstrap.servers", config->bootstrap},
		{"security.protocol", config->security_protocol},
		{"sasl.mechanism", config->sasl_mechanism},
		{"sasl.username", config->user},
		{"sasl.password", config->password},
		{"ssl.ca.location", config->ssl_cafile},
		{"ssl.certificate.location", config->ssl_cert_file},
		{"ssl.key.location", config->ssl_key_file},
		{"ssl.key.password", config->ssl_key_password},
		{"compression.codec", config->compression},
	};
	int r = set_all(c, conf, fixed_settings, ARRAY_LEN(fixed_settings), err);

	if (r == 0)
		r = set_all(c, conf, given, ARRAY_LEN(given), err);
	if (r == 0)
		r = set_number(c, conf, "batch.num.messages", config->batch_messages, err);
	if (r == 0)
		r = set_number(c, conf, "batch.size", config->batch_bytes, err);
	if (r == 0)
		r = set_number(c, conf, "linger.ms", config->linger_ms, err);
	rd_kafka_conf_set_opaque(conf, c);
	rd_kafka_conf_set_log_cb(conf, on_log);
	rd_kafka_conf_set_error_cb(conf, on_error);
	rd_kafka_conf_set_dr_msg_cb(conf, on_report);
	return r;
}

/* -- its life ----------------------------------------------------------------------------------- */

static void release(struct kafka_client *c)
{
	for (size_t i = 0; i < ARRAY_LEN(c->secrets); i++) {
		if (c->secrets[i])
			explicit_bzero(c->secrets[i], strlen(c->secrets[i]));
		free(c->secrets[i]);
	}
	for (size_t i = 0; i < c->n_topics; i++)
		free(c->topics[i].name);
	free(c->topics);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static void init_lock(struct kafka_client *c)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
}

static int keep_secrets(struct kafka_client *c, const struct kafka_client_config *config, struct err *err)
{
	const char *secrets[] = {config->password, config->ssl_key_password};

	for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
		c->secrets[i] = secrets[i] ? strdup(secrets[i]) : NULL;
		if (secrets[i] && !c->secrets[i])
			return err_nomem(err);
	}
	return 0;
}

static int start(struct kafka_client *c, const struct kafka_client_config *config, struct err *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[STORY_MAX];
	int r = configure(c, conf, config, err);

	if (r == 0)
		c->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why)); /* takes conf if it works */
	if (c->rk)
		return 0;
	rd_kafka_conf_destroy(conf);
	if (r < 0)
		return r;
	scrub(c, why);
	return err_set(err, ERR_INVALID, "%s", why);
}

int kafka_client_new(const struct kafka_client_config *config, struct kafka_client **ret, struct err *err)
{
	struct kafka_client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_nomem(err);
	init_lock(c);
	r = keep_secrets(c, config, err);
	if (r == 0)
		r = start(c, config, err);
	if (r < 0)
		release(c);
	else
		*ret = c;
	return r;
}

/* Ends the library's threads, which may take long where one is looking up a name. */
static void *close_main(void *arg)
{
	struct kafka_client *c = arg;
	bool abandoned;

	rd_kafka_destroy(c->rk);
	pthread_mutex_lock(&c->lock);
	c->ended = true;
	abandoned = c->abandoned;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	if (abandoned)
		release(c);
	return NULL;
}

static bool start_closing(struct kafka_client *c, pthread_t *ret)
{
	sigset_t all, before;
	bool ok;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	ok = pthread_create(ret, NULL, close_main, c) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ok;
}

/* True if it has ended in time; if not, @c belongs to its thread. */
static bool wait_for_close(struct kafka_client *c)
{
	int64_t until = clock_mono_us() + CLOSE_WAIT_US;
	struct timespec at = {.tv_sec = until / SECOND, .tv_nsec = until % SECOND * 1000};
	bool ended;

	pthread_mutex_lock(&c->lock);
	while (!c->ended && pthread_cond_timedwait(&c->changed, &c->lock, &at) != ETIMEDOUT)
		;
	ended = c->ended;
	c->abandoned = !ended;
	pthread_mutex_unlock(&c->lock);
	return ended;
}

void kafka_client_free(struct kafka_client *c)
{
	pthread_t thread;

	if (!c)
		return;
	for (size_t i = 0; i < c->n_topics; i++)
		rd_kafka_topic_destroy(c->topics[i].handle);
	(void)rd_kafka_purge(c->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
					    RD_KAFKA_PURGE_F_NON_BLOCKING);
	if (!start_closing(c, &thread)) {
		rd_kafka_destroy(c->rk);
		release(c);
	} else if (wait_for_close(c)) {
		pthread_join(thread, NULL);
		release(c);
	} else {
		pthread_detach(thread);
	}
}

void kafka_client_free_p(struct kafka_client **c)
{
	kafka_client_free(*c);
}

/* -- topics ------------------------------------------------------------------------------------- */

static struct topic *add_topic(struct kafka_client *c, const char *name, struct err *err)
{
	struct topic *topics = reallocarray(c->topics, c->n_topics + 1, sizeof(*topics));
	struct topic *t;

	if (!topics) {
		err_nomem(err);
		return NULL;
	}
	c->topics = topics;
	t = &topics[c->n_topics];
	*t = (struct topic){.name = strdup(name)};
	t->handle = t->name ? rd_kafka_topic_new(c->rk, name, NULL) : NULL;
	if (!t->handle) {
		err_set(err, t->name ? ERR_UNAVAILABLE : ERR_NO_MEMORY, "Kafka topic '%s': %s", name,
			rd_kafka_err2str(rd_kafka_last_error()));
		free(t->name);
		return NULL;
	}
	c->n_topics++;
	return t;
}

static struct topic *get_topic(struct kafka_client *c, const char *name, struct err *err)
{
	for (size_t i = 0; i < c->n_topics; i++) {
		if (strcmp(c->topics[i].name, name) == 0)
			return &c->topics[i];
	}
	return add_topic(c, name, err);
}

static int not_reached(const struct kafka_client *c, rd_kafka_resp_err_t code, struct err *err)
{
	err_set(err, ERR_UNAVAILABLE, "no Kafka broker answers: %s",
		c->complaint[0] ? c->complaint : rd_kafka_err2str(code));
	if (err)
		err->retriable = true;
	return ERR_UNAVAILABLE;
}

/* One question. *ret_code: what the broker says about the topic. False if none answers in time. */
static bool ask(struct kafka_client *c, const struct topic *t, int64_t timeout_us,
		rd_kafka_resp_err_t *ret_code)
{
	const struct rd_kafka_metadata *md = NULL;
	int ms = timeout_us < 1000 ? 1 : (int)(timeout_us / 1000);

	*ret_code = rd_kafka_metadata(c->rk, 0, t->handle, &md, ms);
	if (*ret_code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	*ret_code = md->topic_cnt == 1 ? md->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	rd_kafka_metadata_destroy(md);
	c->down = false;
	return true;
}

static bool may_be_in_the_making(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
	       code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
}

static int topic_refused(const struct topic *t, rd_kafka_resp_err_t code, struct err *err)
{
	err_set(err, ERR_UNAVAILABLE, "Kafka topic '%s' cannot be used: %s", t->name, rd_kafka_err2str(code));
	if (err)
		err->retriable = true;
	return ERR_UNAVAILABLE;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int find_topic(struct kafka_client *c, struct topic *t, int64_t deadline_us, struct err *err)
{
	int64_t began = clock_mono_us(), now = began;
	rd_kafka_resp_err_t code;

	do {
		int64_t patience = now - began < PROBE_US ? PROBE_US : now - began;
		bool answered = ask(c, t, earlier(patience, deadline_us - now), &code);

		t->known = answered && code == RD_KAFKA_RESP_ERR_NO_ERROR;
		if (t->known)
			return 0;
		kafka_client_serve(c, answered ? PROBE_US / 4 : 0);
		now = clock_mono_us();
		if (answered && (!may_be_in_the_making(code) || now - began >= CREATION_US))
			return topic_refused(t, code, err);
		if (!answered && c->down && now - began >= DOWN_US)
			return not_reached(c, code, err);
	} while (now < deadline_us);
	return may_be_in_the_making(code) ? topic_refused(t, code, err) : not_reached(c, code, err);
}

int kafka_client_topic(struct kafka_client *c, const char *name, int64_t deadline_us, size_t *ret_topic,
		       struct err *err)
{
	struct topic *t = get_topic(c, name, err);
	int r;

	if (!t)
		return ERR_UNAVAILABLE;
	r = t->known && !c->down ? 0 : find_topic(c, t, deadline_us, err);
	if (r == 0)
		*ret_topic = (size_t)(t - c->topics);
	return r;
}

/* -- messages ----------------------------------------------------------------------------------- */

int kafka_client_send(struct kafka_client *c, size_t topic, const char *key, const void *body, size_t n_body,
		      struct flight *flight, struct err *err)
{
	const struct topic *t = &c->topics[topic];
	rd_kafka_resp_err_t code;

	if (rd_kafka_produce(t->handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, (void *)body, n_body, key,
			     strlen(key), flight) == 0)
		return 0;
	code = rd_kafka_last_error();
	if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
		return err_set(err, ERR_TOO_LARGE, "%zu octets are too many for a Kafka message", n_body);
	return topic_refused(t, code, err);
}

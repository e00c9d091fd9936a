/* SPDX-License-Identifier: Apache-2.0
 * notify/kafka/options.c -- options have the names, defaults and meanings that they have for
 * oslo.messaging's Kafka driver. Those of a consumer are not here. */
#include "options.h"

#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "notify/message.h"
#include "notify/transport.h"

#define LOGGER "glint.kafka"
#define SECOND INT64_C(1000000)
#define PORT 9092
#define TOPIC_NAME_MAX 249          /* what Kafka allows */
#define LINGER_MAX_MS 900000        /* what librdkafka allows */
#define ATTEMPT_MAX_US (5 * SECOND) /* nothing is lost by a short one: what is on its way stays so */
#define BATCH_BYTES 1000000         /* below the limit that brokers have by default */

const struct conf_option kafka_options[] = {
	{KAFKA_SECTION, "producer_batch_timeout", CONF_STRING, "0",
	 "Seconds to wait for more messages before a batch is sent; may have a fraction."},
	{KAFKA_SECTION, "producer_batch_size", CONF_INT, "16384", "Messages in a batch at most.", 1, 1000000},
	{KAFKA_SECTION, "compression_codec", CONF_CHOICE, "none", "How batches are compressed.", 0, 0,
	 "none|gzip|snappy|lz4|zstd"},
	{KAFKA_SECTION, "security_protocol", CONF_CHOICE, "PLAINTEXT",
	 "How brokers are spoken to. With SSL their certificate and host name are always verified.", 0, 0,
	 "PLAINTEXT|SASL_PLAINTEXT|SSL|SASL_SSL"},
	{KAFKA_SECTION, "sasl_mechanism", CONF_CHOICE, "PLAIN",
	 "How to log in under SASL, with user and password of the first host of the transport_url.", 0, 0,
	 "PLAIN|SCRAM-SHA-256|SCRAM-SHA-512"},
	{KAFKA_SECTION, "ssl_cafile", CONF_STRING, NULL,
	 "PEM file of the authorities that brokers are verified by; those of the system if unset."},
	{KAFKA_SECTION, "ssl_client_cert_file", CONF_STRING, NULL, "PEM file of our certificate."},
	{KAFKA_SECTION, "ssl_client_key_file", CONF_STRING, NULL, "PEM file of our key."},
	{KAFKA_SECTION, "ssl_client_key_password", CONF_STRING, NULL, "Password of that key."},
	{0},
};

/* -- plain values ------------------------------------------------------------------------------- */

static bool is_set(const char *text)
{
	return text && text[0];
}

/* "1.25" seconds as milliseconds; digits behind the third count for nothing. */
static int parse_linger(const char *text, int64_t *ret_ms, struct err *err)
{
	int64_t ms = 0, unit = 1000;
	bool fraction = false;

	for (const char *p = text; *p && ms <= LINGER_MAX_MS; p++) {
		if (*p == '.' && !fraction) {
			fraction = true;
			continue;
		}
		if (*p < '0' || *p > '9')
			return err_set(err, ERR_INVALID,
				       "[" KAFKA_SECTION "] producer_batch_timeout is no number of seconds");
		unit = fraction ? unit / 10 : unit;
		ms = fraction ? ms + (*p - '0') * unit : ms * 10 + (*p - '0') * unit;
	}
	if (ms > LINGER_MAX_MS)
		return err_set(err, ERR_INVALID,
			       "[" KAFKA_SECTION "] producer_batch_timeout is more than %d seconds",
			       LINGER_MAX_MS / 1000);
	*ret_ms = ms;
	return 0;
}

static int64_t attempt_us(int64_t retry)
{
	return retry >= 0 && (retry + 1) * SECOND < ATTEMPT_MAX_US ? (retry + 1) * SECOND : ATTEMPT_MAX_US;
}

/* -- brokers ------------------------------------------------------------------------------------ */

static int load_brokers(const struct transport *t, struct arena *arena, struct kafka_client_config *c,
			struct err *err)
{
	AUTO(buf_done) struct buf list = {0};

	for (size_t i = 0; i < t->n_hosts; i++) {
		const struct transport_host *h = &t->hosts[i];
		bool v6 = strchr(h->host, ':');

		if (h->is_unnamed)
			return err_set(err, ERR_INVALID, "transport_url: host %zu is missing its name",
				       i + 1);
		buf_addf(&list, v6 ? "%s[%s]:%u" : "%s%s:%u", i ? "," : "", h->host,
			 h->port ? h->port : PORT);
	}
	c->bootstrap = list.failed ? NULL : arena_strdup(arena, buf_cstr(&list));
	return c->bootstrap ? 0 : err_nomem(err);
}

static bool logs_in(const char *security_protocol)
{
	return strncmp(security_protocol, "SASL_", 5) == 0;
}

static int load_login(const struct notify_driver_config *config, struct kafka_client_config *c,
		      struct err *err)
{
	const struct transport_host *first = &config->transport->hosts[0];

	if (!logs_in(c->security_protocol))
		return 0;
	if (!is_set(first->user) || !first->password)
		return err_set(err, ERR_INVALID,
			       "[" KAFKA_SECTION
			       "] security_protocol = %s needs user and password in the first "
			       "host of the transport_url",
			       c->security_protocol);
	c->sasl_mechanism = conf_str(config->conf, KAFKA_SECTION, "sasl_mechanism");
	c->user = first->user;
	c->password = first->password;
	return 0;
}

static int load_tls(const struct conf *conf, struct kafka_client_config *c, struct err *err)
{
	c->ssl_cafile = conf_str(conf, KAFKA_SECTION, "ssl_cafile");
	c->ssl_cert_file = conf_str(conf, KAFKA_SECTION, "ssl_client_cert_file");
	c->ssl_key_file = conf_str(conf, KAFKA_SECTION, "ssl_client_key_file");
	c->ssl_key_password = conf_str(conf, KAFKA_SECTION, "ssl_client_key_password");
	if (is_set(c->ssl_cert_file) != is_set(c->ssl_key_file))
		return err_set(err, ERR_INVALID,
			       "[" KAFKA_SECTION
			       "] ssl_client_cert_file and ssl_client_key_file go together");
	return 0;
}

static int copy_strings(struct kafka_client_config *c, struct arena *arena, struct err *err)
{
	const char **all[] = {&c->security_protocol, &c->sasl_mechanism,   &c->user,
			      &c->password,          &c->ssl_cafile,       &c->ssl_cert_file,
			      &c->ssl_key_file,      &c->ssl_key_password, &c->compression};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (*all[i] && !(*all[i] = arena_strdup(arena, *all[i])))
			return err_nomem(err);
	}
	return 0;
}

static int load_client(const struct notify_driver_config *config, struct arena *arena,
		       struct kafka_client_config *c, struct err *err)
{
	const struct conf *conf = config->conf;
	int r;

	c->security_protocol = conf_str(conf, KAFKA_SECTION, "security_protocol");
	c->compression = conf_str(conf, KAFKA_SECTION, "compression_codec");
	c->batch_messages = conf_int(conf, KAFKA_SECTION, "producer_batch_size");
	c->batch_bytes = BATCH_BYTES;
	r = parse_linger(conf_str(conf, KAFKA_SECTION, "producer_batch_timeout"), &c->linger_ms, err);
	if (r == 0)
		r = load_login(config, c, err);
	if (r == 0 && strstr(c->security_protocol, "SSL"))
		r = load_tls(conf, c, err);
	if (r == 0)
		r = copy_strings(c, arena, err);
	return r < 0 ? r : load_brokers(config->transport, arena, c, err);
}

/* -- topics ------------------------------------------------------------------------------------- */

static const char *lower(enum event_priority p)
{
	static const char *const names[KAFKA_N_PRIORITIES] = {
		[EVENT_INFO] = "info", [EVENT_WARN] = "warn", [EVENT_ERROR] = "error"};

	assert((size_t)p < ARRAY_LEN(names));
	return names[p];
}

static bool is_topic_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	return strlen(name) <= TOPIC_NAME_MAX && name[strspn(name, allowed)] == '\0';
}

static int load_topic(const char *topic, const char *vhost, struct arena *arena, const char **ret,
		      struct err *err)
{
	for (size_t p = 0; p < KAFKA_N_PRIORITIES; p++) {
		ret[p] = arena_printf(arena, "%s.%s%s%s", topic, lower((enum event_priority)p),
				      *vhost ? "." : "", vhost);
		if (!ret[p])
			return err_nomem(err);
		if (!is_topic_name(ret[p]))
			return err_set(
				err, ERR_INVALID,
				"topics and the path of a kafka transport_url may have letters, digits, "
				"'.', '_' and '-' and %d of them together: '%.64s' is no name of a Kafka "
				"topic",
				TOPIC_NAME_MAX, ret[p]);
	}
	return 0;
}

static int load_topics(const struct notify_driver_config *config, struct arena *arena,
		       struct kafka_settings *s, struct err *err)
{
	s->topics = arena_alloc(arena, config->n_topics * KAFKA_N_PRIORITIES * sizeof(*s->topics));
	if (!s->topics)
		return err_nomem(err);
	for (; s->n_topics < config->n_topics; s->n_topics++) {
		int r = load_topic(config->topics[s->n_topics], config->transport->vhost, arena,
				   &s->topics[s->n_topics * KAFKA_N_PRIORITIES], err);

		if (r < 0)
			return r;
	}
	return 0;
}

const char *kafka_topic(const struct kafka_settings *s, size_t i, enum event_priority priority)
{
	assert(i < s->n_topics && (size_t)priority < KAFKA_N_PRIORITIES);
	return s->topics[i * KAFKA_N_PRIORITIES + (size_t)priority];
}

/* -- all of it ---------------------------------------------------------------------------------- */

int kafka_settings_load(const struct notify_driver_config *config, struct arena *arena,
			struct kafka_settings *ret, struct err *err)
{
	struct kafka_settings s = {.attempt_us = attempt_us(config->retry)};
	int r = load_client(config, arena, &s.client, err);

	if (r == 0)
		r = load_topics(config, arena, &s, err);
	if (r == 0)
		*ret = s;
	return r;
}

void kafka_settings_warn(const struct notify_driver_config *config)
{
	const char *protocol = conf_str(config->conf, KAFKA_SECTION, "security_protocol");
	const struct transport *t = config->transport;
	const char *user = t->hosts[0].user;

	if (is_set(user) && !logs_in(protocol))
		log_warning(LOGGER, NULL,
			    "the transport_url has a user, but [" KAFKA_SECTION
			    "] security_protocol = %s does not log in: it is not used",
			    protocol);
	if (strcmp(protocol, "SASL_PLAINTEXT") == 0)
		log_warning(LOGGER, NULL,
			    "[" KAFKA_SECTION
			    "] security_protocol = SASL_PLAINTEXT: nothing is encrypted on the way "
			    "to the brokers");
	for (size_t i = 1; logs_in(protocol) && i < t->n_hosts; i++) {
		if (t->hosts[i].user && strcmp(t->hosts[i].user, user) != 0)
			log_warning(
				LOGGER, NULL,
				"the transport_url has different users; Kafka is logged in to as that of the "
				"first host");
	}
}

/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/options.c -- the options of [oslo_messaging_rabbit] that matter to a publisher, under
 * the names they have there, and those that only we have.
 *
 * Where a setting means in Glance that a TLS peer is not verified, it is refused here, unless the
 * operator says in so many words that this is wanted. */
#include "options.h"

#include <string.h>

#include "base/err.h"

#define SECTION "oslo_messaging_rabbit"
#define SECOND INT64_C(1000000)
#define SHORTSTR_MAX 255 /* of names in AMQP */
#define DEFAULT_PORT 5672

const struct conf_option rabbit_option_table[] = {
	{SECTION, "amqp_durable_queues", CONF_BOOL, "false",
	 "Declare exchange and queues durable; consumers must say the same."},
	{SECTION, "amqp_auto_delete", CONF_BOOL, "false",
	 "Declare exchange and queues auto-delete: the broker removes them with their last consumer, and what "
	 "is in them."},
	{SECTION, "rabbit_quorum_queue", CONF_BOOL, "false",
	 "Declare quorum queues, which are durable. Excludes rabbit_ha_queues."},
	{SECTION, "rabbit_quorum_delivery_limit", CONF_INT, "0",
	 "x-delivery-limit of quorum queues; 0: not declared.", 0, INT64_MAX},
	{SECTION, "rabbit_quorum_max_memory_length", CONF_INT, "0",
	 "x-max-in-memory-length of quorum queues; 0: not declared.", 0, INT64_MAX},
	{SECTION, "rabbit_quorum_max_memory_bytes", CONF_INT, "0",
	 "x-max-in-memory-bytes of quorum queues; 0: not declared.", 0, INT64_MAX, .unit = "octets"},
	{SECTION, "rabbit_quroum_max_memory_length", CONF_INT, "0",
	 "The same as rabbit_quorum_max_memory_length, as older releases spell it.", 0, INT64_MAX},
	{SECTION, "rabbit_quroum_max_memory_bytes", CONF_INT, "0",
	 "The same as rabbit_quorum_max_memory_bytes, as older releases spell it.", 0, INT64_MAX,
	 .unit = "octets"},
	{SECTION, "rabbit_ha_queues", CONF_BOOL, "false", "Declare queues with x-ha-policy: all."},
	{SECTION, "ssl", CONF_BOOL, "false",
	 "Speak TLS with the broker; it is verified, chain and host name."},
	{SECTION, "ssl_version", CONF_STRING, NULL,
	 "The TLS version: TLSv1, TLSv1_1, TLSv1_2, or SSLv23 for the best that both sides know."},
	{SECTION, "ssl_ca_file", CONF_STRING, NULL,
	 "Certificates of the authorities that the broker's has to come from; the system's if unset."},
	{SECTION, "ssl_cert_file", CONF_STRING, NULL,
	 "PEM file of our own certificate; goes with ssl_key_file."},
	{SECTION, "ssl_key_file", CONF_STRING, NULL, "PEM file of its key."},
	{SECTION, "ssl_enforce_hostname_verification", CONF_BOOL, "true",
	 "The broker's certificate has to be for the host of the transport_url."},
	{SECTION, "heartbeat_timeout_threshold", CONF_INT, "60",
	 "Seconds of silence after which the connection counts as broken; 0: no heartbeats.", 0, 65535,
	 .unit = "seconds"},
	{SECTION, "rabbit_login_method", CONF_CHOICE, "AMQPLAIN",
	 "How to log in with user and password of the transport_url, or with the certificate (EXTERNAL).", 0, 0,
	 "AMQPLAIN|PLAIN|EXTERNAL"},
	{SECTION, "rabbit_retry_interval", CONF_INT, "1",
	 "Pause between two rounds of trying to connect, at first.", 0, 3600, .unit = "seconds"},
	{SECTION, "rabbit_retry_backoff", CONF_INT, "2",
	 "By so many seconds the pause between two rounds grows each time.", 0, 3600, .unit = "seconds"},
	{SECTION, "rabbit_interval_max", CONF_INT, "3",
	 "What that pause grows to. Short, so that a broker that is back has everything within seconds.", 1,
	 3600, .unit = "seconds"},
	{SECTION, "kombu_failover_strategy", CONF_CHOICE, "round-robin",
	 "In which order the hosts of the transport_url are tried.", 0, 0, "round-robin|shuffle"},
	{SECTION, "kombu_compression", CONF_CHOICE, "none",
	 "Compress the bodies of messages. gzip is what kombu calls so: a zlib stream.", 0, 0, "none|gzip"},
	{"glint", "rabbit_tls_insecure", CONF_BOOL, "false",
	 "Allow settings of [oslo_messaging_rabbit] by which the broker is not verified."},
	{"glint", "rabbit_queue_max_length", CONF_INT, "0",
	 "x-max-length of the queues; 0: not declared. Must equal what is declared already.", 0, INT64_MAX},
	{"glint", "rabbit_queue_message_ttl", CONF_INT, "0",
	 "x-message-ttl of the queues in milliseconds; 0: not declared. Must equal what is declared already.",
	 0, INT64_MAX, .unit = "milliseconds"},
	{"glint", "rabbit_queue_overflow", CONF_CHOICE, "none",
	 "x-overflow of the queues; none: not declared. Must equal what is declared already.", 0, 0,
	 "none|drop-head|reject-publish|reject-publish-dlx"},
	{"glint", "rabbit_queue_check_interval", CONF_INT, "60",
	 "Seconds between two looks at whether anybody reads the queues; 0: never.", 0, 86400,
	 .unit = "seconds"},
	{0},
};

/* -- copying ------------------------------------------------------------------------------------ */

/* NULL and "" are "not given". False if there is no memory. */
static bool copy_text(struct rabbit_options *o, const char *text, const char **ret)
{
	*ret = text && *text ? arena_strdup(&o->arena, text) : NULL;
	return *ret || !text || !*text;
}

static int copy_name(struct rabbit_options *o, const char *text, const char *what, const char **ret,
		     struct err *err)
{
	if (strlen(text) > SHORTSTR_MAX)
		return err_set(err, ERR_INVALID, "the %s is longer than %d octets", what, SHORTSTR_MAX);
	*ret = arena_strdup(&o->arena, text);
	return *ret ? 0 : err_nomem(err);
}

static int copy_topics(struct rabbit_options *o, const struct notify_driver_config *config, struct err *err)
{
	o->topics = arena_alloc(&o->arena, (config->n_topics + 1) * sizeof(*o->topics));
	if (!o->topics)
		return err_nomem(err);
	for (; o->n_topics < config->n_topics; o->n_topics++) {
		const char *topic = config->topics[o->n_topics];

		if (strlen(topic) + strlen(".error") > SHORTSTR_MAX)
			return err_set(err, ERR_INVALID, "the topic \"%.32s...\" is too long", topic);
		o->topics[o->n_topics] = arena_strdup(&o->arena, topic);
		if (!o->topics[o->n_topics])
			return err_nomem(err);
	}
	return 0;
}

/* No user, or an empty one, is guest, as for Glance. */
static int copy_host(struct rabbit_options *o, const struct transport_host *from, struct err *err)
{
	bool given = from->user && *from->user;
	struct transport_host *to = &o->hosts[o->n_hosts++];

	to->host = arena_strdup(&o->arena, from->host);
	to->user = arena_strdup(&o->arena, given ? from->user : "guest");
	to->password = arena_strdup(&o->arena, from->password ? from->password : given ? "" : "guest");
	to->port = from->port ? from->port : DEFAULT_PORT;
	return to->host && to->user && to->password ? 0 : err_nomem(err);
}

static int copy_transport(struct rabbit_options *o, const struct transport *t, struct err *err)
{
	int r = copy_name(o, *t->vhost ? t->vhost : "/", "virtual host of the transport_url", &o->vhost, err);

	o->hosts = arena_alloc(&o->arena, t->n_hosts * sizeof(*o->hosts));
	if (!o->hosts)
		return err_nomem(err);
	for (size_t i = 0; i < t->n_hosts && r == 0; i++)
		r = copy_host(o, &t->hosts[i], err);
	o->is_mixed = transport_is_mixed(t);
	return r;
}

/* -- queues ------------------------------------------------------------------------------------- */

static int64_t either(const struct conf *c, const char *name, const char *old_name)
{
	int64_t value = conf_int(c, SECTION, name);

	return value ? value : conf_int(c, SECTION, old_name);
}

static int load_queues(struct rabbit_options *o, const struct conf *c, struct err *err)
{
	const char *overflow = conf_str(c, "glint", "rabbit_queue_overflow");

	o->quorum = conf_bool(c, SECTION, "rabbit_quorum_queue");
	o->ha = conf_bool(c, SECTION, "rabbit_ha_queues");
	if (o->quorum && o->ha)
		return err_set(err, ERR_INVALID,
			       "[" SECTION "] rabbit_quorum_queue and rabbit_ha_queues exclude each other");
	o->durable = o->quorum || conf_bool(c, SECTION, "amqp_durable_queues");
	o->auto_delete = conf_bool(c, SECTION, "amqp_auto_delete");
	o->delivery_limit = conf_int(c, SECTION, "rabbit_quorum_delivery_limit");
	o->max_memory_length =
		either(c, "rabbit_quorum_max_memory_length", "rabbit_quroum_max_memory_length");
	o->max_memory_bytes = either(c, "rabbit_quorum_max_memory_bytes", "rabbit_quroum_max_memory_bytes");
	o->max_length = conf_int(c, "glint", "rabbit_queue_max_length");
	o->message_ttl_ms = conf_int(c, "glint", "rabbit_queue_message_ttl");
	o->look_every_us = conf_int(c, "glint", "rabbit_queue_check_interval") * SECOND;
	o->compress = strcmp(conf_str(c, SECTION, "kombu_compression"), "gzip") == 0;
	return copy_name(o, strcmp(overflow, "none") == 0 ? "" : overflow, "overflow", &o->overflow, err);
}

/* -- TLS ---------------------------------------------------------------------------------------- */

static int check_version(const char *version, struct err *err)
{
	static const char *const known[] = {"TLSv1", "TLSv1_1", "TLSv1_2", "SSLv23"};

	for (size_t i = 0; version && i < ARRAY_LEN(known); i++) {
		if (strcmp(version, known[i]) == 0)
			return 0;
	}
	return version ? err_set(err, ERR_INVALID, "[" SECTION "] ssl_version = %.20s is not spoken here",
				 version)
		       : 0;
}

static int refuse_insecure(const char *setting, struct err *err)
{
	return err_set(err, ERR_INVALID,
		       "[" SECTION
		       "] %s would leave the broker unverified; if that is what you want, set [glint] "
		       "rabbit_tls_insecure = true",
		       setting);
}

/* Glance takes a version without authorities for a wish to verify nothing at all. */
static int check_verification(struct rabbit_options *o, bool insecure, struct err *err)
{
	o->tls_check_chain = !(o->tls_version && !o->ca_file && insecure);
	if (!o->tls || insecure)
		return 0;
	if (o->tls_version && !o->ca_file)
		return refuse_insecure("ssl_version without ssl_ca_file", err);
	return o->tls_check_host ? 0 : refuse_insecure("ssl_enforce_hostname_verification = false", err);
}

static int load_tls(struct rabbit_options *o, const struct conf *c, struct err *err)
{
	int r;

	o->tls = conf_bool(c, SECTION, "ssl");
	o->tls_check_host = conf_bool(c, SECTION, "ssl_enforce_hostname_verification");
	if (!copy_text(o, conf_str(c, SECTION, "ssl_version"), &o->tls_version) ||
	    !copy_text(o, conf_str(c, SECTION, "ssl_ca_file"), &o->ca_file) ||
	    !copy_text(o, conf_str(c, SECTION, "ssl_cert_file"), &o->cert_file) ||
	    !copy_text(o, conf_str(c, SECTION, "ssl_key_file"), &o->key_file))
		return err_nomem(err);
	if (!o->cert_file != !o->key_file)
		return err_set(err, ERR_INVALID, "[" SECTION "] ssl_cert_file and ssl_key_file go together");
	r = check_version(o->tls_version, err);
	if (r == 0)
		r = check_verification(o, conf_bool(c, "glint", "rabbit_tls_insecure"), err);
	o->tls_check_host = o->tls_check_host && o->tls_check_chain;
	return r;
}

/* -- the connection ----------------------------------------------------------------------------- */

static void load_connection(struct rabbit_options *o, const struct conf *c, int64_t retry)
{
	const char *login = conf_str(c, SECTION, "rabbit_login_method");

	o->login = strcmp(login, "PLAIN") == 0      ? RABBIT_PLAIN
		   : strcmp(login, "EXTERNAL") == 0 ? RABBIT_EXTERNAL
						    : RABBIT_AMQPLAIN;
	o->heartbeat_s = (int)conf_int(c, SECTION, "heartbeat_timeout_threshold");
	o->pause_us = conf_int(c, SECTION, "rabbit_retry_interval") * SECOND;
	o->pause_more_us = conf_int(c, SECTION, "rabbit_retry_backoff") * SECOND;
	o->pause_max_us = conf_int(c, SECTION, "rabbit_interval_max") * SECOND;
	o->shuffle_always = strcmp(conf_str(c, SECTION, "kombu_failover_strategy"), "shuffle") == 0;
	o->max_connects = retry >= 0 && (size_t)retry < o->n_hosts ? (size_t)retry + 1 : o->n_hosts;
}

static int load(struct rabbit_options *o, const struct notify_driver_config *config, struct err *err)
{
	int r = copy_name(o, config->control_exchange, "control_exchange", &o->exchange, err);

	if (r < 0 || (r = copy_topics(o, config, err)) < 0 ||
	    (r = copy_transport(o, config->transport, err)) < 0 ||
	    (r = load_queues(o, config->conf, err)) < 0 || (r = load_tls(o, config->conf, err)) < 0)
		return r;
	load_connection(o, config->conf, config->retry);
	o->publisher_id = arena_strdup(&o->arena, config->publisher_id);
	return o->publisher_id ? 0 : err_nomem(err);
}

int rabbit_options_load(const struct notify_driver_config *config, struct rabbit_options *ret,
			struct err *err)
{
	struct rabbit_options o = {0};
	int r = load(&o, config, err);

	if (r < 0)
		rabbit_options_done(&o);
	else
		*ret = o;
	return r;
}

void rabbit_options_done(struct rabbit_options *o)
{
	arena_done(&o->arena);
	*o = (struct rabbit_options){0};
}

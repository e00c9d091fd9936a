/* SPDX-License-Identifier: Apache-2.0
 * notify/kafka/kafka_test.c -- the driver against librdkafka's mock cluster: what arrives, under
 * which key and in which order, and what becomes of it when brokers err, answer late, go and come. */
#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/log.h"
#include "flights.h"
#include "notify/driver.h"
#include "notify/message.h"
#include "notify/transport.h"

#define MOMENT INT64_C(1795374571792397) /* 2026-11-22 19:09:31.792397 */
#define SECOND INT64_C(1000000)
#define PRODUCE 0 /* the number of that request */
#define INFO "notifications.info"
#define N_MAX 4096

struct fixture {
	rd_kafka_t *host; /* of the mock cluster */
	rd_kafka_mock_cluster_t *cluster;
	const struct notify_driver *driver;
	void *state;
	struct err err;
	int64_t retry;
	const char *options[4][2]; /* name, value */
};

/* -- the cluster -------------------------------------------------------------------------------- */

static rd_kafka_t *new_client(rd_kafka_type_t type, const char *settings[][2], size_t n)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];
	rd_kafka_t *rk;

	for (size_t i = 0; i < n; i++)
		assert_int_equal(rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof(why)),
				 RD_KAFKA_CONF_OK);
	rk = rd_kafka_new(type, conf, why, sizeof(why));
	assert_non_null(rk);
	return rk;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *quiet[][2] = {{"log_level", "0"}};

	assert_non_null(f);
	(void)signal(SIGPIPE, SIG_DFL); /* nobody shields us from it here */
	f->host = new_client(RD_KAFKA_PRODUCER, quiet, 1);
	f->cluster = rd_kafka_mock_cluster_new(f->host, 3);
	assert_non_null(f->cluster);
	f->driver = notify_driver_find("messagingv2", "kafka");
	assert_non_null(f->driver);
	f->retry = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->state)
		f->driver->close(f->state);
	free(f->state);
	rd_kafka_mock_cluster_destroy(f->cluster);
	rd_kafka_destroy(f->host);
	free(f);
	return 0;
}

static void push_errors(struct fixture *f, size_t n, const rd_kafka_resp_err_t *errors)
{
	rd_kafka_mock_push_request_errors_array(f->cluster, PRODUCE, n, errors);
}

static void push_error(struct fixture *f, size_t n_times, rd_kafka_resp_err_t error)
{
	for (size_t i = 0; i < n_times; i++)
		push_errors(f, 1, &error);
}

/* -- the driver --------------------------------------------------------------------------------- */

static int open_url(struct fixture *f, const char *url, const char *const *topics, size_t n_topics)
{
	AUTO(conf_free_p) struct conf *conf = NULL;
	AUTO(transport_done) struct transport transport = {0};
	struct notify_driver_config config = {.publisher_id = "image.localhost",
					      .transport = &transport,
					      .control_exchange = "glance",
					      .topics = topics,
					      .n_topics = n_topics,
					      .retry = f->retry};
	int r;

	assert_int_equal(conf_new(f->driver->options, &conf, &f->err), 0);
	for (size_t i = 0; i < ARRAY_LEN(f->options) && f->options[i][0]; i++) {
		r = conf_set(conf, f->driver->url_section, f->options[i][0], f->options[i][1], &f->err);
		if (r < 0)
			return r;
	}
	assert_int_equal(transport_parse(url, &transport, &f->err), 0);
	config.conf = conf;
	r = f->driver->check(&config, &f->err);
	if (r < 0)
		return r;
	f->state = calloc(1, f->driver->state_size);
	assert_non_null(f->state);
	return f->driver->open(f->state, &config, &f->err);
}

static void open_to_cluster(struct fixture *f, const char *tail, const char *const *topics, size_t n_topics)
{
	char url[512];

	(void)snprintf(url, sizeof(url), "kafka://%s%s", rd_kafka_mock_cluster_bootstraps(f->cluster), tail);
	if (open_url(f, url, topics, n_topics) < 0)
		fail_msg("%s", err_story(&f->err));
}

static void open_plain(struct fixture *f)
{
	static const char *const topics[] = {"notifications"};

	open_to_cluster(f, "/", topics, 1);
}

static void close_driver(struct fixture *f)
{
	f->driver->close(f->state);
	free(f->state);
	f->state = NULL;
}

static void option(struct fixture *f, size_t i, const char *name, const char *value)
{
	f->options[i][0] = name;
	f->options[i][1] = value;
}

static void one_request_a_batch(struct fixture *f)
{
	option(f, 0, "producer_batch_timeout", "0.1");
}

/* The i-th event; those of a subject are every @n_subjects-th one. */
static struct db_event event(size_t i, size_t n_subjects)
{
	static char subjects[N_MAX][8];
	struct db_event e = {.offset = (int64_t)i + 1,
			     .event_type = "image.update",
			     .timestamp = MOMENT,
			     .payload = "{\"id\": \"c0ff\"}"};
	size_t s = i % n_subjects;

	assert_true(i < N_MAX);
	(void)snprintf(subjects[s], sizeof(subjects[s]), "img-%zu", s);
	e.subject = subjects[s];
	(void)snprintf(e.message_id, sizeof(e.message_id), "7bd6a905-54f2-4d07-a0bd-%012zu", i);
	return e;
}

static enum delivery deliver(struct fixture *f, size_t first, size_t n, size_t n_subjects, size_t *ret_n_safe)
{
	struct db_event *batch = calloc(n, sizeof(*batch));
	enum delivery verdict;

	assert_non_null(batch);
	for (size_t i = 0; i < n; i++)
		batch[i] = event(first + i, n_subjects);
	f->err = (struct err){0};
	*ret_n_safe = n + 1;
	verdict = f->driver->deliver(f->state, batch, n, ret_n_safe, &f->err);
	assert_true(*ret_n_safe <= n);
	free(batch);
	return verdict;
}

static void deliver_ok(struct fixture *f, size_t first, size_t n, size_t n_subjects)
{
	size_t n_safe;

	if (deliver(f, first, n, n_subjects, &n_safe) != DELIVERY_DELIVERED)
		fail_msg("%s", err_story(&f->err));
	assert_int_equal(n_safe, n);
}

/* As a relay does, until all is delivered. Returns how often it had to be tried. */
static unsigned deliver_at_last(struct fixture *f, size_t first, size_t n, size_t n_subjects,
				int64_t within_us)
{
	int64_t deadline = clock_mono_us() + within_us;
	unsigned n_tries = 0;

	while (n > 0) {
		size_t n_safe;

		n_tries++;
		assert_int_not_equal(deliver(f, first, n, n_subjects, &n_safe), DELIVERY_REJECTED);
		first += n_safe;
		n -= n_safe;
		if (n > 0 && clock_mono_us() > deadline)
			fail_msg("%zu events are left: %s", n, err_story(&f->err));
	}
	return n_tries;
}

/* -- what is there ------------------------------------------------------------------------------ */

struct arrived {
	char key[8];
	char topic[64];
	size_t event;
	int32_t partition;
	char *body;
};

struct reading {
	struct arrived all[2 * N_MAX];
	size_t n;
};

static void note(struct reading *r, const rd_kafka_message_t *m)
{
	struct arrived *a = &r->all[r->n++];
	const char *number;

	assert_true(r->n < ARRAY_LEN(r->all) && m->key_len < sizeof(a->key));
	memcpy(a->key, m->key, m->key_len);
	(void)snprintf(a->topic, sizeof(a->topic), "%s", rd_kafka_topic_name(m->rkt));
	a->partition = m->partition;
	a->body = strndup(m->payload, m->len);
	assert_non_null(a->body);
	number = strstr(a->body, "-4d07-a0bd-");
	assert_non_null(number);
	a->event = strtoul(number + strlen("-4d07-a0bd-"), NULL, 10);
}

/* Every partition of @topic from its beginning to its end. */
static rd_kafka_topic_partition_list_t *partitions_of(rd_kafka_t *rk, const char *topic)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
	rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
	const struct rd_kafka_metadata *md;

	assert_int_equal(rd_kafka_metadata(rk, 0, handle, &md, 10000), 0);
	for (int i = 0; i < md->topics[0].partition_cnt; i++)
		rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_metadata_destroy(md);
	rd_kafka_topic_destroy(handle);
	return list;
}

static void read_topic(struct fixture *f, const char *topic, struct reading *r)
{
	const char *settings[][2] = {{"bootstrap.servers", rd_kafka_mock_cluster_bootstraps(f->cluster)},
				     {"group.id", "test"},
				     {"enable.partition.eof", "true"},
				     {"log_level", "0"}};
	rd_kafka_t *rk = new_client(RD_KAFKA_CONSUMER, settings, ARRAY_LEN(settings));
	rd_kafka_topic_partition_list_t *list = partitions_of(rk, topic);
	int64_t deadline = clock_mono_us() + 30 * SECOND;
	int left = list->cnt;

	rd_kafka_poll_set_consumer(rk);
	assert_int_equal(rd_kafka_assign(rk, list), 0);
	while (left > 0) {
		rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);

		assert_true(clock_mono_us() < deadline);
		if (m && m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			left--;
		else if (m && !m->err)
			note(r, m);
		if (m)
			rd_kafka_message_destroy(m);
	}
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
}

static void done_reading(struct reading *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->all[i].body);
	free(r);
}

static struct reading *read_all(struct fixture *f, const char *topic)
{
	struct reading *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	read_topic(f, topic, r);
	return r;
}

/* Every event of [0, n) is in @topic: the events of a subject in one partition, their first copies in
 * order. Returns how many copies there are beyond the first. */
static size_t check_all(struct fixture *f, const char *topic, size_t n, size_t n_subjects)
{
	struct reading *r = read_all(f, topic);
	bool *seen = calloc(n, sizeof(*seen));
	size_t *next = calloc(n_subjects, sizeof(*next)), n_seen = 0, n_again;

	assert_true(seen && next);
	for (size_t i = 0; i < r->n; i++) {
		const struct arrived *a = &r->all[i];
		size_t subject = a->event % n_subjects;

		assert_true(a->event < n);
		assert_string_equal(a->key, event(a->event, n_subjects).subject);
		if (seen[a->event])
			continue;
		assert_int_equal(a->event / n_subjects, next[subject]); /* none is passed over */
		next[subject]++;
		seen[a->event] = true;
		n_seen++;
	}
	assert_int_equal(n_seen, n);
	n_again = r->n - n;
	free(seen);
	free(next);
	done_reading(r);
	return n_again;
}

static void check_once(struct fixture *f, size_t n, size_t n_subjects)
{
	assert_int_equal(check_all(f, INFO, n, n_subjects), 0);
}

/* -- what a consumer finds ---------------------------------------------------------------------- */

static void test_message(void **state)
{
	struct fixture *f = *state;
	AUTO(buf_done) struct buf expected = {0};
	struct db_event e = event(0, 1);
	struct reading *r;
	size_t n_safe;

	e.payload = "{\"name\": \"\\u00dc\"}";
	e.request_id = "req-1";
	e.project_id = "2222";
	open_plain(f);
	assert_int_equal(f->driver->deliver(f->state, &e, 1, &n_safe, &f->err), DELIVERY_DELIVERED);
	r = read_all(f, INFO);
	assert_int_equal(r->n, 1);
	assert_string_equal(r->all[0].key, "img-0");
	assert_string_equal(
		r->all[0].body,
		"{\"oslo.version\": \"2.0\", \"oslo.message\": \"{\\\"message_id\\\": "
		"\\\"7bd6a905-54f2-4d07-a0bd-000000000000\\\", \\\"publisher_id\\\": "
		"\\\"image.localhost\\\", "
		"\\\"event_type\\\": \\\"image.update\\\", \\\"priority\\\": \\\"INFO\\\", \\\"payload\\\": "
		"{\\\"name\\\": \\\"\\\\u00dc\\\"}, \\\"timestamp\\\": \\\"2026-11-22 19:09:31.792397\\\", "
		"\\\"_context\\\": {\\\"request_id\\\": \\\"req-1\\\", \\\"project_id\\\": "
		"\\\"2222\\\"}}\"}");
	done_reading(r);
}

/* Both formats are the same one here. */
static void test_both_names(void **state)
{
	struct fixture *f = *state;
	struct reading *r;

	open_plain(f);
	deliver_ok(f, 0, 1, 1);
	close_driver(f);
	f->driver = notify_driver_find("messaging", "kafka");
	assert_string_equal(f->driver->name, "messaging");
	open_plain(f);
	deliver_ok(f, 0, 1, 1);
	r = read_all(f, INFO);
	assert_int_equal(r->n, 2);
	assert_string_equal(r->all[0].body, r->all[1].body);
	done_reading(r);
}

static void test_topics(void **state)
{
	static const char *const topics[] = {"first", "second"};
	struct fixture *f = *state;
	struct db_event batch[] = {event(0, 1), event(1, 1), event(2, 1)};
	const char *names[] = {"first.info.vh",  "first.warn.vh",  "first.error.vh",
			       "second.info.vh", "second.warn.vh", "second.error.vh"};
	size_t n_safe;

	batch[1].priority = EVENT_WARN;
	batch[2].priority = EVENT_ERROR;
	open_to_cluster(f, "/vh", topics, 2);
	assert_int_equal(f->driver->deliver(f->state, batch, 3, &n_safe, &f->err), DELIVERY_DELIVERED);
	assert_int_equal(n_safe, 3);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct reading *r = read_all(f, names[i]);

		assert_int_equal(r->n, 1);
		assert_int_equal(r->all[0].event, i % 3);
		done_reading(r);
	}
}

static void test_many(void **state)
{
	struct fixture *f = *state;

	open_plain(f);
	for (size_t i = 0; i < 2000; i += 500)
		deliver_ok(f, i, 500, 7);
	check_once(f, 2000, 7);
}

static void test_compression(void **state)
{
	static const char *const codecs[] = {"gzip", "snappy", "lz4", "zstd"};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
		option(f, 0, "compression_codec", codecs[i]);
		open_plain(f);
		deliver_ok(f, i * 50, 50, 3);
		close_driver(f);
	}
	check_once(f, 200, 3);
}

/* What was asked for again comes again, under the same message_id: wherever in the last batch it begins. */
static void test_replay(void **state)
{
	static const size_t ranges[][2] = {{2, 5}, {0, 10}, {9, 1}, {9, 1}, {0, 1}}; /* first, how many */
	struct fixture *f = *state;
	size_t n_again = 0;

	open_plain(f);
	deliver_ok(f, 0, 10, 2);
	for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
		deliver_ok(f, ranges[i][0], ranges[i][1], 2);
		n_again += ranges[i][1];
	}
	assert_int_equal(check_all(f, INFO, 10, 2), n_again);
}

/* -- brokers that err --------------------------------------------------------------------------- */

static const rd_kafka_resp_err_t passing[] = {
	RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
	RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,      RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
	RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,      RD_KAFKA_RESP_ERR__TRANSPORT, /* the connection breaks */
};

static void test_passing_errors(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 7;

	open_plain(f);
	deliver_ok(f, 0, 10, 5);
	for (size_t i = 10; i < 410; i += 50) {
		for (size_t n = 0; n < 6; n++)
			push_error(f, 1, passing[(size_t)rand_r(&seed) % ARRAY_LEN(passing)]);
		deliver_at_last(f, i, 50, 5, 60 * SECOND);
	}
	check_once(f, 410, 5);
}

static const rd_kafka_resp_err_t lasting[] = {
	RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
	RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS,
	RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
};

/* Errors after which the library gives up a batch. */
static void test_lasting_errors(void **state)
{
	struct fixture *f = *state;

	one_request_a_batch(f);
	open_plain(f);
	deliver_ok(f, 0, 1, 2);
	for (size_t i = 0; i < ARRAY_LEN(lasting); i++) {
		push_error(f, 1, lasting[i]);
		assert_true(deliver_at_last(f, 1 + i * 40, 40, 2, 30 * SECOND) > 1);
	}
	(void)check_all(f, INFO, 121, 2);
}

/* The third of many requests is given up: what is behind it is not sent. (One more request is on its
 * way at that moment. A broker refuses it for its number; the mock cluster does not look at numbers.) */
static void test_nothing_overtakes(void **state)
{
	const rd_kafka_resp_err_t errors[] = {0, 0, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED};
	struct fixture *f = *state;
	struct reading *r;
	size_t n_safe;

	one_request_a_batch(f);
	option(f, 1, "producer_batch_size", "3");
	open_plain(f);
	deliver_ok(f, 0, 1, 1);
	push_errors(f, ARRAY_LEN(errors), errors);
	assert_int_equal(deliver(f, 1, 60, 1, &n_safe), DELIVERY_RETRY);
	assert_int_equal(n_safe, 6);
	assert_non_null(strstr(err_story(&f->err), "Topic authorization failed"));
	assert_non_null(strstr(err_story(&f->err), "gap-less guarantee")); /* it stopped by itself */
	r = read_all(f, INFO);
	assert_in_range(r->n, 7, 10);
	done_reading(r);
	deliver_at_last(f, 7, 54, 1, 10 * SECOND);
	deliver_ok(f, 61, 1, 1);
}

static void test_topic_that_is_not_there(void **state)
{
	struct fixture *f = *state;
	size_t n_safe;

	rd_kafka_mock_topic_set_error(f->cluster, INFO, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	open_plain(f);
	assert_int_equal(deliver(f, 0, 5, 2, &n_safe), DELIVERY_RETRY);
	assert_int_equal(n_safe, 0);
	assert_non_null(strstr(err_story(&f->err), "'" INFO "'"));
	assert_non_null(strstr(err_story(&f->err), "Unknown topic"));
	rd_kafka_mock_topic_set_error(f->cluster, INFO, RD_KAFKA_RESP_ERR_NO_ERROR);
	deliver_ok(f, 0, 5, 2);
	check_once(f, 5, 2);
}

/* One topic of two is refused: what has arrived in the other is not sent there again. */
static void test_one_topic_of_two(void **state)
{
	static const char *const topics[] = {"good", "bad"};
	struct fixture *f = *state;
	size_t n_safe;

	open_to_cluster(f, "/", topics, 2);
	rd_kafka_mock_topic_set_error(f->cluster, "bad.info", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	assert_int_equal(deliver(f, 0, 5, 1, &n_safe), DELIVERY_RETRY);
	assert_int_equal(n_safe, 0);
	assert_non_null(strstr(err_story(&f->err), "'bad.info'"));
	assert_int_equal(deliver(f, 0, 5, 1, &n_safe), DELIVERY_RETRY);
	rd_kafka_mock_topic_set_error(f->cluster, "bad.info", RD_KAFKA_RESP_ERR_NO_ERROR);
	deliver_at_last(f, 0, 5, 1, 10 * SECOND);
	assert_int_equal(check_all(f, "good.info", 5, 1), 0);
	assert_int_equal(check_all(f, "bad.info", 5, 1), 0);
}

/* -- messages that are refused ------------------------------------------------------------------ */

static void test_refused_alone(void **state)
{
	/* The batch; then one by one: the first, the second, the third. */
	static const rd_kafka_resp_err_t errors[] = {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 0, 0,
						     RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE};
	struct fixture *f = *state;
	struct reading *r;
	size_t n_safe;

	one_request_a_batch(f);
	open_plain(f);
	deliver_ok(f, 0, 1, 1);
	push_errors(f, ARRAY_LEN(errors), errors);
	assert_int_equal(deliver(f, 1, 6, 1, &n_safe), DELIVERY_REJECTED);
	assert_int_equal(n_safe, 2);
	assert_non_null(strstr(err_story(&f->err), "too large"));
	deliver_at_last(f, 4, 3, 1, 10 * SECOND);
	r = read_all(f, INFO);
	assert_int_equal(r->n, 6);
	for (size_t i = 0; i < r->n; i++)
		assert_int_equal(r->all[i].event, i < 3 ? i : i + 1);
	done_reading(r);
}

/* The batch was too large, none of its messages is. */
static void test_refused_together(void **state)
{
	struct fixture *f = *state;

	one_request_a_batch(f);
	open_plain(f);
	deliver_ok(f, 0, 1, 1);
	push_error(f, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	deliver_at_last(f, 1, 6, 1, 10 * SECOND);
	deliver_ok(f, 7, 20, 1);
	check_once(f, 27, 1);
}

static void test_too_large_for_us(void **state)
{
	struct fixture *f = *state;
	struct db_event batch[] = {event(0, 1), event(1, 1), event(2, 1)};
	size_t n = 17 * 1024 * 1024, n_safe = 9;
	char *huge = malloc(n + 1);
	struct reading *r;

	assert_non_null(huge);
	memset(huge, '1', n);
	huge[n] = '\0';
	batch[1].payload = huge;
	open_plain(f);
	assert_int_equal(f->driver->deliver(f->state, batch, 3, &n_safe, &f->err), DELIVERY_REJECTED);
	assert_int_equal(n_safe, 1);
	assert_non_null(strstr(err_story(&f->err), "octets"));
	assert_int_equal(f->driver->deliver(f->state, batch + 2, 1, &n_safe, &f->err), DELIVERY_DELIVERED);
	r = read_all(f, INFO);
	assert_int_equal(r->n, 2);
	assert_int_equal(r->all[1].event, 2);
	done_reading(r);
	free(huge);
}

/* -- brokers that are away or late -------------------------------------------------------------- */

static void test_down_at_first(void **state)
{
	struct fixture *f = *state;
	size_t n_safe;
	int64_t began;

	rd_kafka_mock_broker_set_down(f->cluster, -1);
	open_plain(f);
	for (int i = 0; i < 3; i++) {
		began = clock_mono_us();
		assert_int_equal(deliver(f, 0, 20, 3, &n_safe), DELIVERY_RETRY);
		assert_int_equal(n_safe, 0);
		assert_true(clock_mono_us() - began < 2 * SECOND);
		assert_true(f->err.retriable);
		assert_non_null(strstr(err_story(&f->err), "no Kafka broker answers: "));
	}
	rd_kafka_mock_broker_set_up(f->cluster, -1);
	began = clock_mono_us();
	deliver_at_last(f, 0, 20, 3, 10 * SECOND);
	assert_true(clock_mono_us() - began < 5 * SECOND);
	check_once(f, 20, 3);
}

static void test_down_in_between(void **state)
{
	struct fixture *f = *state;
	size_t n_safe, done = 100;

	open_plain(f);
	deliver_ok(f, 0, 100, 3);
	for (int round = 0; round < 3; round++) {
		rd_kafka_mock_broker_set_down(f->cluster, -1);
		assert_int_equal(deliver(f, done, 50, 3, &n_safe), DELIVERY_RETRY);
		assert_int_equal(n_safe, 0);
		rd_kafka_mock_broker_set_up(f->cluster, -1);
		deliver_at_last(f, done, 50, 3, 15 * SECOND);
		done += 50;
	}
	check_once(f, done, 3);
}

/* The leader of the partitions goes, others take over. */
static void test_leader_goes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rd_kafka_mock_topic_create(f->cluster, INFO, 1, 3), 0);
	rd_kafka_mock_partition_set_leader(f->cluster, INFO, 0, 1);
	open_plain(f);
	deliver_ok(f, 0, 100, 3);
	rd_kafka_mock_broker_set_down(f->cluster, 1);
	rd_kafka_mock_partition_set_leader(f->cluster, INFO, 0, 2);
	deliver_at_last(f, 100, 100, 3, 20 * SECOND);
	check_once(f, 200, 3);
}

/* What comes late is waited for, and not sent again. */
static void test_late(void **state)
{
	struct fixture *f = *state;
	size_t n_safe;

	f->retry = 0; /* attempts of one second */
	open_plain(f);
	deliver_ok(f, 0, 10, 2);
	rd_kafka_mock_broker_set_rtt(f->cluster, -1, 1800);
	assert_int_equal(deliver(f, 10, 20, 2, &n_safe), DELIVERY_RETRY);
	assert_non_null(strstr(err_story(&f->err), "acknowledged nothing for 1 seconds"));
	assert_true(deliver_at_last(f, 10, 40, 2, 20 * SECOND) >= 2); /* with new ones behind the old */
	rd_kafka_mock_broker_set_rtt(f->cluster, -1, 0);
	check_once(f, 50, 2);
}

/* Everything at once, with a relay's patience. */
static void test_bad_day(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 11;
	size_t done = 0;

	f->retry = 0;
	option(f, 0, "producer_batch_size", "20");
	open_plain(f);
	for (int hour = 0; hour < 6; hour++) {
		size_t n_safe, n = 30 + (size_t)rand_r(&seed) % 100;
		int32_t broker = 1 + rand_r(&seed) % 3;

		push_error(f, (size_t)rand_r(&seed) % 3, passing[(size_t)rand_r(&seed) % ARRAY_LEN(passing)]);
		rd_kafka_mock_broker_set_rtt(f->cluster, broker, rand_r(&seed) % 300);
		if (hour % 3 == 0)
			rd_kafka_mock_broker_set_down(f->cluster, hour % 2 ? -1 : broker);
		(void)deliver(f, done, n, 9, &n_safe);
		done += n_safe;
		n -= n_safe;
		rd_kafka_mock_broker_set_up(f->cluster, -1);
		deliver_at_last(f, done, n, 9, 30 * SECOND);
		done += n;
	}
	(void)check_all(f, INFO, done, 9);
}

/* -- its life ----------------------------------------------------------------------------------- */

static size_t n_open_files(void)
{
	DIR *fds = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(fds);
	while (readdir(fds))
		n++;
	closedir(fds);
	return n;
}

static void close_soon(struct fixture *f)
{
	int64_t began = clock_mono_us();

	close_driver(f);
	assert_true(clock_mono_us() - began < 2 * SECOND);
}

static void test_close(void **state)
{
	struct fixture *f = *state;
	size_t before, n_safe;

	f->retry = 0;
	before = n_open_files();
	open_plain(f);
	close_soon(f);
	assert_int_equal(n_open_files(), before);
	open_plain(f);
	deliver_ok(f, 0, 1, 1);
	rd_kafka_mock_broker_set_rtt(f->cluster, -1, 5000);
	assert_int_equal(deliver(f, 1, 5, 1, &n_safe), DELIVERY_RETRY);
	close_soon(f); /* with messages on their way */
	rd_kafka_mock_broker_set_down(f->cluster, -1);
	open_plain(f);
	assert_int_equal(deliver(f, 1, 5, 1, &n_safe), DELIVERY_RETRY);
	close_soon(f);
}

static void test_no_name(void **state)
{
	static const char *const topics[] = {"notifications"};
	struct fixture *f = *state;
	size_t n_safe;

	assert_int_equal(open_url(f, "kafka://no-such-host.invalid/", topics, 1), 0);
	assert_int_equal(deliver(f, 0, 1, 1, &n_safe), DELIVERY_RETRY);
	assert_non_null(strstr(err_story(&f->err), "no-such-host.invalid:9092"));
	close_soon(f);
}

/* -- settings ----------------------------------------------------------------------------------- */

static void assert_refused(struct fixture *f, const char *url, const char *topic, const char *because)
{
	const char *const topics[] = {topic};

	f->err = (struct err){0};
	assert_int_equal(open_url(f, url, topics, 1), ERR_INVALID);
	if (!strstr(err_story(&f->err), because))
		fail_msg("%s", err_story(&f->err));
	assert_null(strstr(f->err.text, "s3cret"));
	assert_null(strstr(f->err.detail, "s3cret"));
	if (f->state)
		close_driver(f);
	memset(f->options, 0, sizeof(f->options));
}

static void test_wrong_settings(void **state)
{
	struct fixture *f = *state;

	assert_refused(f, "kafka://h/", "not a topic", "no name of a Kafka topic");
	assert_refused(f, "kafka://h/a/b", "notifications", "no name of a Kafka topic");
	assert_refused(f, "kafka://u:s3cret@/", "t", "host 1 is missing its name");
	assert_refused(f, "kafka://h,u:s3cret@:9092/", "t", "host 2 is missing its name");
	option(f, 0, "security_protocol", "SASL_SSL");
	assert_refused(f, "kafka://h/", "t", "needs user and password");
	option(f, 0, "security_protocol", "SASL_SSL");
	option(f, 1, "sasl_mechanism", "GSSAPI");
	assert_refused(f, "kafka://u:s3cret@h/", "t", "sasl_mechanism");
	option(f, 0, "producer_batch_timeout", "1.5s");
	assert_refused(f, "kafka://h/", "t", "producer_batch_timeout");
	option(f, 0, "producer_batch_timeout", "99999999999999999999");
	assert_refused(f, "kafka://h/", "t", "more than 900 seconds");
	option(f, 0, "security_protocol", "SSL");
	option(f, 1, "ssl_client_cert_file", "/nonexistent/cert.pem");
	assert_refused(f, "kafka://h/", "t", "go together");
	option(f, 2, "ssl_client_key_file", "/nonexistent/key.pem");
	option(f, 0, "security_protocol", "SSL");
	option(f, 1, "ssl_client_cert_file", "/nonexistent/cert.pem");
	option(f, 3, "ssl_client_key_password", "s3cret");
	assert_refused(f, "kafka://h/", "t", "cert");
	option(f, 0, "security_protocol", "SSL");
	option(f, 1, "ssl_cafile", "/nonexistent/ca.pem");
	assert_refused(f, "kafka://h/", "t", "ca");
}

/* All that the driver and the library say while a login cannot work. */
static void test_no_password_in_sight(void **state)
{
	static const char *const topics[] = {"notifications"}, *const mechanisms[] = {"PLAIN",
										      "SCRAM-SHA-512"};
	struct fixture *f = *state;
	char path[] = "/tmp/glint-kafka-XXXXXX", url[512], text[8192];
	int fd = mkstemp(path);
	ssize_t n;

	assert_true(fd >= 0);
	assert_int_equal(log_open(path, LOG_DEBUG_, &f->err), 0);
	(void)snprintf(url, sizeof(url), "kafka://us3r:s3cret%%40x@%s/",
		       rd_kafka_mock_cluster_bootstraps(f->cluster));
	for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++) {
		size_t n_safe;

		option(f, 0, "security_protocol", "SASL_PLAINTEXT");
		option(f, 1, "sasl_mechanism", mechanisms[i]);
		assert_int_equal(open_url(f, url, topics, 1), 0);
		assert_int_equal(deliver(f, 0, 1, 1, &n_safe), DELIVERY_RETRY);
		assert_null(strstr(err_story(&f->err), "s3cret"));
		assert_non_null(strstr(err_story(&f->err), "SASL"));
		close_driver(f);
	}
	log_close();
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_null(strstr(text, "s3cret"));
	assert_non_null(strstr(text, "nothing is encrypted"));
	close(fd);
	unlink(path);
}

static void test_flights(void **state)
{
	struct flights t = {0};
	struct flight *one;

	for (int64_t i = 0; i < 200; i++)
		assert_non_null(kafka_flights_begin(&t, (i * 77) % 200, 0));
	assert_int_equal(t.n_airborne, 200);
	for (int64_t i = 0; i < 200; i++)
		assert_int_equal(kafka_flights_find(&t, i, 0)->offset, i);
	assert_null(kafka_flights_find(&t, 7, 1));
	kafka_flights_end(kafka_flights_find(&t, 7, 0), 0);
	kafka_flights_end(kafka_flights_find(&t, 8, 0), 3);
	assert_true(t.has_losses);
	kafka_flights_await_none(&t);
	assert_int_equal(t.n_airborne, 0);
	kafka_flights_await(&t, kafka_flights_find(&t, 9, 0));
	kafka_flights_await(&t, kafka_flights_find(&t, 9, 0));
	assert_int_equal(t.n_airborne, 1);
	kafka_flights_forget(&t, 0);
	assert_null(kafka_flights_find(&t, 7, 0));
	assert_null(kafka_flights_find(&t, 8, 0));
	kafka_flights_restart(&t, 5);
	assert_false(t.has_losses);
	assert_int_equal(t.n_airborne, 0);
	assert_int_equal(kafka_flights_find(&t, 9, 0)->problem, 5);
	one = kafka_flights_begin(&t, 9, 0);
	kafka_flights_cancel(one);
	assert_false(t.has_losses);
	kafka_flights_forget(&t, 0);
	assert_int_equal(t.n, 0);
	kafka_flights_done(&t);
}

int main(void)
{
#define WITH_CLUSTER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flights),
		WITH_CLUSTER(test_message),
		WITH_CLUSTER(test_both_names),
		WITH_CLUSTER(test_topics),
		WITH_CLUSTER(test_many),
		WITH_CLUSTER(test_compression),
		WITH_CLUSTER(test_replay),
		WITH_CLUSTER(test_passing_errors),
		WITH_CLUSTER(test_lasting_errors),
		WITH_CLUSTER(test_nothing_overtakes),
		WITH_CLUSTER(test_topic_that_is_not_there),
		WITH_CLUSTER(test_one_topic_of_two),
		WITH_CLUSTER(test_refused_alone),
		WITH_CLUSTER(test_refused_together),
		WITH_CLUSTER(test_too_large_for_us),
		WITH_CLUSTER(test_down_at_first),
		WITH_CLUSTER(test_down_in_between),
		WITH_CLUSTER(test_leader_goes),
		WITH_CLUSTER(test_late),
		WITH_CLUSTER(test_bad_day),
		WITH_CLUSTER(test_close),
		WITH_CLUSTER(test_no_name),
		WITH_CLUSTER(test_wrong_settings),
		WITH_CLUSTER(test_no_password_in_sight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

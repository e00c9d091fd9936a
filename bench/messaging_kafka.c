/* SPDX-License-Identifier: Apache-2.0
 * bench/messaging_kafka.c -- how fast events get from the journal into Kafka, beside a bare producer
 * that sends the same messages as fast as librdkafka can, in the same run into the same cluster.
 *
 *   bench_kafka [EVENTS [ROUNDS]]
 *
 * The cluster is librdkafka's mock in a process of its own, three brokers that keep what they get in
 * memory. Both producers are idempotent and wait for all replicas; the relay reads its events from a
 * database in the working directory and stores how far it is. Prints the medians as JSON. */
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/err.h"
#include "db/db.h"
#include "notify/driver.h"
#include "notify/message.h"
#include "notify/notify.h"
#include "notify/transport.h"

#define SECOND INT64_C(1000000)
#define DRIVER "messagingv2"
#define N_IMAGES 1000
#define INSERT_AT_ONCE 1000
#define ROUNDS_MAX 9

static _Noreturn void die(const char *what, const struct err *err)
{
	fprintf(stderr, "bench_kafka: %s: %s\n", what, err ? err_story(err) : "it failed");
	exit(1);
}

/* -- the cluster -------------------------------------------------------------------------------- */

/* In the child: tells its address and lives until the parent is gone. */
static _Noreturn void be_cluster(int to_parent, int from_parent)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256], byte;
	rd_kafka_t *host;
	rd_kafka_mock_cluster_t *cluster;
	const char *address;

	(void)rd_kafka_conf_set(conf, "log_level", "0", why, sizeof(why));
	host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	cluster = host ? rd_kafka_mock_cluster_new(host, 3) : NULL;
	address = cluster ? rd_kafka_mock_cluster_bootstraps(cluster) : "";

	if (write(to_parent, address, strlen(address)) < 0)
		_exit(1);
	close(to_parent);
	while (read(from_parent, &byte, 1) > 0)
		;
	_exit(0);
}

/* @address gets "host:port,..."; the cluster lives as long as this process. */
static void start_cluster(char *address, size_t size)
{
	int up[2], down[2];
	ssize_t n;
	pid_t pid;

	if (pipe(up) < 0 || pipe(down) < 0 || (pid = fork()) < 0)
		die("starting the cluster", NULL);
	if (pid == 0) {
		close(up[0]);
		close(down[1]);
		be_cluster(up[1], down[0]);
	}
	close(up[1]);
	close(down[0]);
	n = read(up[0], address, size - 1);
	close(up[0]);
	if (n <= 0)
		die("starting the cluster", NULL);
	address[n] = '\0';
}

/* -- the events --------------------------------------------------------------------------------- */

static const char payload[] =
	"{\"id\": \"c0ffee00-0000-4000-8000-000000000001\", \"name\": \"bench\", \"status\": \"active\", "
	"\"created_at\": \"2026-11-22T19:09:30Z\", \"updated_at\": \"2026-11-22T19:09:31Z\", \"min_disk\": "
	"0, "
	"\"min_ram\": 0, \"protected\": false, \"checksum\": \"8d777f385d3dfec8815d20f7496026dc\", "
	"\"owner\": "
	"\"22222222222222222222222222222222\", \"disk_format\": \"qcow2\", \"container_format\": \"bare\", "
	"\"size\": 1048576, \"virtual_size\": null, \"is_public\": false, \"visibility\": \"shared\", "
	"\"properties\": {\"os_distro\": \"debian\", \"hw_disk_bus\": \"virtio\"}, \"tags\": [\"bench\"], "
	"\"deleted\": false, \"deleted_at\": null}";

static struct db_event event(int64_t i)
{
	static char subject[64];
	struct db_event e = {.subject = subject,
			     .event_type = "image.update",
			     .timestamp = INT64_C(1795374571792397) + i,
			     .payload = payload,
			     .request_id = "req-ef088b4e-dd88-4da8-926c-6bfb906b50a7",
			     .user_id = "11111111111111111111111111111111",
			     .project_id = "22222222222222222222222222222222"};

	(void)snprintf(subject, sizeof(subject), "c0ffee00-0000-4000-8000-%012" PRId64, i % N_IMAGES);
	(void)snprintf(e.message_id, sizeof(e.message_id), "7bd6a905-54f2-4d07-a0bd-%012u", (unsigned)i);
	return e;
}

/* -- the bare producer -------------------------------------------------------------------------- */

static void count_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *cls)
{
	int64_t *n_safe = cls;

	if (m->err)
		die(rd_kafka_err2str(m->err), NULL);
	(*n_safe)++;
}

static rd_kafka_t *new_producer(const char *address, int64_t *n_safe)
{
	const char *settings[][2] = {
		{"bootstrap.servers", address}, {"enable.idempotence", "true"}, {"acks", "all"}};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];
	rd_kafka_t *rk;

	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof(why)) !=
		    RD_KAFKA_CONF_OK)
			die(why, NULL);
	}
	rd_kafka_conf_set_opaque(conf, n_safe);
	rd_kafka_conf_set_dr_msg_cb(conf, count_report);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (!rk)
		die(why, NULL);
	return rk;
}

/* Events a second. The bodies are made beforehand: what counts is the sending. */
static double bare_rate(const char *address, int64_t n)
{
	AUTO(buf_done) struct buf body = {0};
	struct db_event e = event(0);
	int64_t n_safe = 0, began;
	rd_kafka_t *rk = new_producer(address, &n_safe);
	rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, "bare.info", NULL);
	double seconds;

	message_render_kafka(&body, &e, "image.localhost");
	if (!topic || body.failed)
		die("preparing the bare producer", NULL);
	began = clock_mono_us();
	for (int64_t i = 0; i < n; i++) {
		e = event(i);
		while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, body.data,
					body.len, e.subject, strlen(e.subject), NULL) < 0) {
			if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
				die(rd_kafka_err2str(rd_kafka_last_error()), NULL);
			rd_kafka_poll(rk, 10);
		}
		rd_kafka_poll(rk, 0);
	}
	while (n_safe < n)
		rd_kafka_poll(rk, 100);
	seconds = (double)(clock_mono_us() - began) / SECOND;
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	return (double)n / seconds;
}

/* -- the relay ---------------------------------------------------------------------------------- */

static void fill(struct db *db, int64_t n)
{
	struct db_tx *tx = NULL;
	struct err err = {0};

	for (int64_t i = 0; i < n; i++) {
		struct db_event e = event(i);

		if (!tx && db_begin(db, DB_WRITE, &tx, &err) < 0)
			die("filling the journal", &err);
		if (db_event_insert(tx, &e, &err) < 0)
			die("filling the journal", &err);
		if ((i % INSERT_AT_ONCE == INSERT_AT_ONCE - 1 || i == n - 1) && db_commit(&tx, &err) < 0)
			die("filling the journal", &err);
	}
}

static int64_t n_delivered(struct db *db)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct db_cursor cursor = {0};
	struct err err = {0};

	if (db_begin(db, DB_READ, &tx, &err) < 0 || db_cursor_get(tx, DRIVER, &cursor, &err) < 0)
		die("reading the cursor", &err);
	return cursor.n_delivered;
}

/* From the start of the relay until it has delivered all there is and ended. */
static double run_relay(struct db *db, const struct notify_config *config, int64_t n)
{
	AUTO(notify_free_p) struct notify *notify = NULL;
	struct err err = {0};
	int64_t began;
	double seconds;

	if (notify_new(db, config, &notify, &err) < 0)
		die("making the relay", &err);
	fill(db, n);
	began = clock_mono_us();
	if (notify_start(notify, &err) < 0)
		die("starting the relay", &err);
	notify_stop(notify, 300 * SECOND);
	seconds = (double)(clock_mono_us() - began) / SECOND;
	if (n_delivered(db) != n)
		die("the relay has not delivered all", NULL);
	return (double)n / seconds;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static double relay_rate(const char *address, int64_t n)
{
	static const char *const drivers[] = {DRIVER}, *const topics[] = {"notifications"};
	const struct notify_driver *driver = notify_driver_find(DRIVER, "kafka");
	AUTO(conf_free_p) struct conf *conf = NULL;
	AUTO(transport_done) struct transport transport = {0};
	struct notify_config config = {.drivers = drivers,
				       .n_drivers = 1,
				       .publisher_id = "image.localhost",
				       .transport = &transport,
				       .topics = topics,
				       .n_topics = 1,
				       .retry = -1,
				       .journal_max_age_us = -1,
				       .journal_max_bytes = -1};
	char dir[] = "bench-kafka-XXXXXX", url[512];
	struct err err = {0};
	struct db *db;
	double rate;

	(void)snprintf(url, sizeof(url), "kafka://%s/", address);
	if (!driver || conf_new(driver->options, &conf, &err) < 0 ||
	    transport_parse(url, &transport, &err) < 0)
		die("configuring", &err);
	config.conf = conf;
	if (!mkdtemp(dir))
		die("making a directory", NULL);
	(void)snprintf(url, sizeof(url), "sqlite:///%s/journal.sqlite", dir);
	if (db_open(url, &db, &err) < 0)
		die("opening a database", &err);
	rate = run_relay(db, &config, n);
	db_close(db);
	(void)nftw(dir, remove_one, 4, FTW_DEPTH | FTW_PHYS);
	return rate;
}

/* -- the comparison ----------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *rates, size_t n)
{
	qsort(rates, n, sizeof(*rates), ascending);
	return rates[n / 2];
}

static int64_t number(const char *text, int64_t max)
{
	char *end;
	long long n = strtoll(text, &end, 10);

	if (*end || n < 1 || n > max)
		die("usage: bench_kafka [EVENTS [ROUNDS]]", NULL);
	return n;
}

int main(int argc, char **argv)
{
	int64_t n = argc > 1 ? number(argv[1], 1000000) : 30000;
	size_t rounds = argc > 2 ? (size_t)number(argv[2], ROUNDS_MAX) : 3;
	double relay[ROUNDS_MAX], bare[ROUNDS_MAX];
	char address[256];

	start_cluster(address, sizeof(address));
	for (size_t i = 0; i < rounds; i++) {
		bare[i] = bare_rate(address, n);
		relay[i] = relay_rate(address, n);
		fprintf(stderr, "bare %.0f /s, relay %.0f /s\n", bare[i], relay[i]);
	}
	printf("{\"events\": %" PRId64 ", \"bare\": %.0f, \"relay\": %.0f, \"ratio\": %.3f}\n", n,
	       median(bare, rounds), median(relay, rounds), median(relay, rounds) / median(bare, rounds));
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_api.c -- anything as what a client sends, to the whole service: head, headers, body, whatever comes behind.
 * The database and the store are those of every day, in a directory that goes in the end; IMAGE is there from the
 * beginning. Whatever is answered is an answer, and never a fault of ours. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "api/api.h"
#include "base/err.h"
#include "base/log.h"
#include "notify/notify.h"
#include "service/testing.h"
#include "store/stores.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IMAGE "c0ffee00-0000-4000-8000-000000000001"
#define PATIENCE_MS 10000

static struct {
	char dir[64];
	struct db *db;
	struct stores *stores;
	struct notify *notify;
	struct service *service;
	struct api *api;
	struct http_server *http;
} world;

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void open_records(void)
{
	static const char *const drivers[] = {"log"};
	struct notify_config notify = {.drivers = drivers, .n_drivers = 1, .publisher_id = "fuzz", .log_path = "/dev/null"};
	char url[128], images[128], staged[128];
	const struct store_config store = {.id = "fs", .type = "file", .directory = images};
	const struct store_config staging = {.id = STORES_STAGING_ID, .type = "file", .directory = staged};

	strcpy(world.dir, "/dev/shm/glint-fuzz-XXXXXX"); /* memory: no input waits for a disk */
	require(mkdtemp(world.dir));
	(void)snprintf(url, sizeof(url), "sqlite:///%s/db", world.dir);
	(void)snprintf(images, sizeof(images), "%s/images", world.dir);
	(void)snprintf(staged, sizeof(staged), "%s/staging", world.dir);
	require(db_open(url, &world.db, NULL) == 0);
	require(stores_open(&store, 1, "fs", &staging, &world.stores, NULL) == 0);
	require(notify_new(world.db, &notify, &world.notify, NULL) == 0);
}

static void make_image(void)
{
	static const char *const roles[] = {"admin", "member", "reader", NULL};
	const struct who who = {
		.roles = ROLE_ADMIN | ROLE_MEMBER | ROLE_READER, .role_names = roles, .user_id = "u", .project_id = "p"};
	struct image image;
	struct err err;

	image_init(&image);
	strcpy(image.id, IMAGE);
	image.disk_format = "raw";
	image.container_format = "bare";
	require(create_and_wait(world.service, &who, &image, &err) == 0);
}

/* The service is not started: tasks are recorded, and nobody runs them. */
static void open_service(void)
{
	static const char *const formats[] = {"raw", "qcow2", "bare", NULL};
	static const char *const methods[] = {"glance-direct", "web-download", "copy-image", NULL};
	static const struct fetch_rules rules; /* those of a service that was told nothing */
	const struct image_limits limits = {formats, formats, 10, 10, 10};
	const struct service_config config = {
		.limits = limits,
		.max_image_bytes = 100000,
		.hash_algorithm = "sha512",
		.node = "here",
		.import.fetch.rules = &rules};
	const struct api_config api = {.limits = limits,
				       .max_far = 1,
				       .pages = {25, 1000},
				       .stores = world.stores,
				       .import_methods = methods,
				       .allow_task_import = true};
	static const char *const everybody[] = {"0.0.0.0/0", NULL};
	struct http_config http = {.listen = "127.0.0.1:0",
				   .trusted_proxies = everybody,
				   .routes = api_routes,
				   .admit = api_admit,
				   .not_found = api_not_found,
				   .n_loops = 1,
				   .max_workers = 2,
				   .max_streams = 2,
				   .max_body_bytes = 65536};

	require(service_new(world.db, world.stores, world.notify, &config, &world.service, NULL) == 0);
	require(api_new(world.service, &api, &world.api, NULL) == 0);
	http.cls = world.api;
	require(http_new(&http, &world.http, NULL) == 0 && http_start(world.http, NULL) == 0);
	make_image();
}

static void close_world(void)
{
	char command[128];

	http_free(world.http);
	api_free(world.api);
	service_free(world.service);
	notify_free(world.notify);
	stores_close(world.stores);
	db_close(world.db);
	(void)snprintf(command, sizeof(command), "rm -rf %s", world.dir);
	require(system(command) == 0);
}

static void open_world(void)
{
	open_records();
	open_service();
}

static int dial(void)
{
	const char *port = strrchr(http_address(world.http), ':') + 1;
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	require(fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	return fd;
}

/* Until the server closes, which it does soon: nothing more will come. */
static void listen_to(int fd, struct buf *answer)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char piece[65536];
	ssize_t n;

	do {
		while ((n = poll(&p, 1, PATIENCE_MS)) < 0)
			require(errno == EINTR); /* the fuzzer's own alarm */
		require(n == 1);
		n = recv(fd, piece, sizeof(piece), 0);
		if (n > 0)
			buf_add(answer, piece, (size_t)n);
	} while (n > 0);
}

static void check(struct buf *answer)
{
	const char *text = buf_cstr(answer);

	require(answer->len == 0 || strncmp(text, "HTTP/1.1 ", 9) == 0);
	require(strncmp(text, "HTTP/1.1 500", 12) != 0 && !memmem(text, answer->len, "\nHTTP/1.1 500", 13));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	require(log_open("/dev/null", LOG_ERROR_, NULL) == 0);
	/* By a thread that stays: OpenSSL never gives back what the one that makes it ready has in it. */
	require(OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL) == 1);
	open_world();
	(void)atexit(close_world);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned n_inputs;
	struct buf answer = {0};
	int fd;

	if (++n_inputs % 5000 == 0) {
		close_world();
		open_world();
	}
	fd = dial();
	(void)send(fd, data, size, MSG_NOSIGNAL);
	(void)shutdown(fd, SHUT_WR);
	listen_to(fd, &answer);
	(void)close(fd);
	check(&answer);
	buf_done(&answer);
	return 0;
}

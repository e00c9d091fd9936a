/* SPDX-License-Identifier: Apache-2.0
 * notify/notify.c -- puts the parts of this room together: which events are wanted, a relay for
 * each driver that keeps events, the pruner, and replays. */
#include "notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "count.h"
#include "driver.h"
#include "internal.h"
#include "prune.h"
#include "relay.h"
#include "transport.h"

#define REPLAY_READ_MAX 1000

struct notify {
	struct db *db;
	char **disabled;
	size_t n_disabled;
	bool delete_payload_is_id;
	struct relay **relays; /* NULL: given up at the end, hanging in its driver */
	const char **names;    /* of the relays' drivers; borrowed from the drivers */
	size_t n_relays;
	struct counters counters;
	struct prune_config prune;
	struct pruner *pruner;
};

/* -- configuration ----------------------------------------------------------------------------- */

bool notify_has_drivers(const struct notify *n)
{
	return n->n_relays > 0;
}

void notify_count(const struct notify *n, struct db_tx *tx, enum event_type t, enum event_priority priority)
{
	count_event_in(&n->counters, tx, t, priority);
}

bool notify_delete_payload_is_id(const struct notify *n)
{
	return n->delete_payload_is_id;
}

bool notify_wants(const struct notify *n, const char *event_type)
{
	if (n->n_relays == 0)
		return false;
	for (size_t i = 0; i < n->n_disabled; i++) {
		if (event_is_in(event_type, n->disabled[i]))
			return false;
	}
	return true;
}

static int copy_disabled(struct notify *n, const struct notify_config *config, struct err *err)
{
	n->disabled = calloc(config->n_disabled + 1, sizeof(*n->disabled));
	if (!n->disabled)
		return err_nomem(err);
	for (; n->n_disabled < config->n_disabled; n->n_disabled++) {
		n->disabled[n->n_disabled] = strdup(config->disabled[n->n_disabled]);
		if (!n->disabled[n->n_disabled])
			return err_nomem(err);
	}
	return 0;
}

static const char *scheme_of(const struct notify_config *config)
{
	return config->transport ? config->transport->scheme : NULL;
}

static int unknown_driver(const char *name, const struct notify_config *config, struct err *err)
{
	char known[128] = "";

	if (notify_driver_find(name, NULL))
		return err_set(
			err, ERR_INVALID,
			"notification driver '%s' does not know transport_urls that begin with '%.32s://'",
			name, scheme_of(config));
	for (size_t i = 0, len = 0; notify_drivers[i] && len < sizeof(known); i++)
		if (notify_driver_find(notify_drivers[i]->name, NULL) == notify_drivers[i])
			len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", len ? ", " : "",
						notify_drivers[i]->name);
	return err_set(err, ERR_INVALID, "there is no notification driver '%.64s'; there are: %s", name,
		       known);
}

static bool is_listed(const struct notify_config *config, const struct notify_driver *driver)
{
	if (notify_driver_find(driver->name, scheme_of(config)) != driver)
		return false;
	for (size_t i = 0; i < config->n_drivers; i++) {
		if (strcmp(config->drivers[i], driver->name) == 0)
			return true;
	}
	return false;
}

static struct notify_driver_config for_driver(const struct notify_config *config)
{
	return (struct notify_driver_config){
		.publisher_id = config->publisher_id,
		.log_path = config->log_path,
		.transport = config->transport,
		.control_exchange = config->control_exchange,
		.topics = config->topics,
		.n_topics = config->n_topics,
		.retry = config->retry,
		.conf = config->conf,
	};
}

static int check_driver(const char *name, const struct notify_config *config, struct err *err)
{
	const struct notify_driver *driver = notify_driver_find(name, scheme_of(config));
	struct notify_driver_config dc = for_driver(config);

	if (!driver)
		return unknown_driver(name, config, err);
	if (driver->schemes && !config->transport)
		return err_set(err, ERR_INVALID, "notification driver '%s' needs a transport_url", name);
	if (driver->schemes && config->n_topics == 0)
		return err_set(err, ERR_INVALID, "notification driver '%s' needs a topic", name);
	return driver->check ? driver->check(&dc, err) : 0;
}

/* An empty value is how a file says "none". */
int notify_check(const struct notify_config *config, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < config->n_drivers && r == 0; i++) {
		if (config->drivers[i][0])
			r = check_driver(config->drivers[i], config, err);
	}
	return r;
}

static int add_relay(struct notify *n, const struct notify_driver *driver, const struct notify_config *config,
		     struct err *err)
{
	struct notify_driver_config dc = for_driver(config);
	int r = relay_new(n->db, driver, &dc, &n->relays[n->n_relays], err);

	if (r < 0)
		return err_wrap(err, r, "notification driver '%s'", driver->name);
	relay_count(n->relays[n->n_relays], &n->counters, n->n_relays);
	n->names[n->n_relays++] = driver->name;
	return 0;
}

/* In the order of the table, each once, however the configuration lists them. */
static int add_relays(struct notify *n, const struct notify_config *config, struct err *err)
{
	size_t n_known = 0;

	while (notify_drivers[n_known])
		n_known++;
	n->relays = calloc(n_known + 1, sizeof(*n->relays));
	n->names = calloc(n_known + 1, sizeof(*n->names));
	if (!n->relays || !n->names)
		return err_nomem(err);
	for (size_t i = 0; i < n_known; i++) {
		int r;

		if (notify_drivers[i]->discards || !is_listed(config, notify_drivers[i]))
			continue;
		r = add_relay(n, notify_drivers[i], config, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int notify_new(struct db *db, const struct notify_config *config, struct notify **ret, struct err *err)
{
	AUTO(notify_free_p) struct notify *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return err_nomem(err);
	n->db = db;
	n->delete_payload_is_id = config->delete_payload_is_id;
	r = notify_check(config, err);
	if (r == 0)
		r = copy_disabled(n, config, err);
	if (r == 0)
		r = add_relays(n, config, err);
	if (r == 0)
		r = counters_init(&n->counters, config->metrics, db, n->relays, n->names, n->n_relays, err);
	if (r < 0)
		return r;
	n->prune = (struct prune_config){
		.drivers = n->names,
		.n_drivers = n->n_relays,
		.max_age_us = config->journal_max_age_us,
		.max_bytes = config->journal_max_bytes,
	};
	*ret = TAKE(n);
	return 0;
}

void notify_free(struct notify *n)
{
	if (!n)
		return;
	notify_stop(n, 0);
	for (size_t i = 0; i < n->n_relays; i++)
		relay_free(n->relays[i]);
	for (size_t i = 0; i < n->n_disabled; i++)
		free(n->disabled[i]);
	free(n->disabled);
	free(n->relays);
	free(n->names);
	free(n);
}

void notify_free_p(struct notify **n)
{
	notify_free(*n);
}

/* -- the relays -------------------------------------------------------------------------------- */

int notify_start(struct notify *n, struct err *err)
{
	for (size_t i = 0; i < n->n_relays; i++) {
		int r = relay_start(n->relays[i], err);

		if (r < 0)
			return r;
	}
	return pruner_start(n->db, &n->prune, &n->pruner, err);
}

void notify_stop(struct notify *n, int64_t timeout_us)
{
	int64_t deadline = clock_mono_us() + timeout_us;

	for (size_t i = 0; i < n->n_relays; i++) {
		if (n->relays[i])
			relay_stop(n->relays[i], deadline);
	}
	for (size_t i = 0; i < n->n_relays; i++) {
		if (n->relays[i] && !relay_finish(n->relays[i]))
			n->relays[i] = NULL;
	}
	pruner_stop(TAKE(n->pruner));
}

void notify_wake(struct notify *n)
{
	for (size_t i = 0; i < n->n_relays; i++) {
		if (n->relays[i])
			relay_wake(n->relays[i]);
	}
}

void notify_reopen(struct notify *n)
{
	for (size_t i = 0; i < n->n_relays; i++) {
		if (n->relays[i])
			relay_reopen(n->relays[i]);
	}
}

/* -- replays ----------------------------------------------------------------------------------- */

struct replay_request {
	struct db_tx *tx;
	const char *driver; /* NULL: all */
	int64_t from, to;
	int64_t furthest; /* the last offset that some driver is to hand out again */
	size_t n_drivers;
	struct db_cursor *cursors;
};

static int collect_cursor(void *cls, const struct db_cursor *c, struct err *err)
{
	struct replay_request *req = cls;
	struct db_cursor *grown;

	if (req->driver && strcmp(req->driver, c->driver) != 0)
		return 0;
	grown = realloc(req->cursors, (req->n_drivers + 1) * sizeof(*grown));
	if (!grown)
		return err_nomem(err);
	req->cursors = grown;
	grown[req->n_drivers++] = *c;
	return 0;
}

/* What the driver has not passed yet it gets anyway, and in order. */
static int ask_driver(struct replay_request *req, const struct db_cursor *c, struct err *err)
{
	struct db_replay replay = {.next = req->from, .last = req->to < c->offset ? req->to : c->offset};

	if (replay.last < replay.next)
		return 0;
	memcpy(replay.driver, c->driver, sizeof(replay.driver));
	if (replay.last > req->furthest)
		req->furthest = replay.last;
	return db_replay_insert(req->tx, &replay, err);
}

struct count {
	int64_t n, upto, last;
};

static int count_event(void *cls, const struct db_event *e, struct err *err)
{
	struct count *c = cls;

	if (e->offset > c->upto)
		return 1;
	c->last = e->offset;
	c->n++;
	return 0;
}

static int count_events(const struct replay_request *req, int64_t *ret, struct err *err)
{
	struct count c = {.upto = req->furthest, .last = req->from - 1};
	int64_t before;
	int r;

	do {
		before = c.n;
		r = db_event_read(req->tx, c.last, REPLAY_READ_MAX, count_event, &c, err);
	} while (r == 0 && c.n > before);
	if (r < 0)
		return r;
	*ret = c.n;
	return 0;
}

static int ask(struct replay_request *req, int64_t *ret_n_events, struct err *err)
{
	int r = db_cursor_list(req->tx, collect_cursor, req, err);

	if (r == 0 && req->n_drivers == 0)
		return req->driver ? err_set(err, ERR_NOT_FOUND, "driver '%s' has never run", req->driver)
				   : err_set(err, ERR_NOT_FOUND, "no driver has ever run");
	for (size_t i = 0; r == 0 && i < req->n_drivers; i++)
		r = ask_driver(req, &req->cursors[i], err);
	return r < 0 ? r : count_events(req, ret_n_events, err);
}

int notify_replay(struct db *db, const char *driver, int64_t from, int64_t to, int64_t *ret_n_events,
		  struct err *err)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;
	struct replay_request req = {.driver = driver, .from = from < 1 ? 1 : from, .to = to};
	int64_t n = 0;
	int r;

	if (to < req.from)
		return err_set(err, ERR_INVALID, "a replay cannot end before it begins");
	r = db_begin(db, DB_WRITE, &tx, err);
	if (r < 0)
		return r;
	req.tx = tx;
	r = ask(&req, &n, err);
	free(req.cursors);
	if (r == 0)
		r = db_commit(&tx, err);
	if (r == 0)
		*ret_n_events = n;
	return r;
}

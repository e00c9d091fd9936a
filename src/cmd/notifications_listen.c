/* SPDX-License-Identifier: Apache-2.0
 * cmd/notifications_listen.c -- what is on the message queue, for people or as JSON lines.
 *
 * A message leaves the queue only when its line has been written; what is cut short goes back. So
 * SIGINT and SIGTERM are held while connected and looked at between two messages. */
#include "cmd/notifications.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "notify/receive.h"

#define LOOK_MS 1000 /* heartbeats are due now and then; and the pause between two attempts to connect */
#define MAX_UNSETTLED 100
#define WHEN_LEN (sizeof("2026-11-22 19:09:30") - 1)

struct listener {
	const struct receiver *receiver;
	void *state;
	struct receive_config config;
	const struct listen_options *options;
	int signals; /* a signalfd */
	bool colour;
	int64_t n; /* printed */
};

static void say(const char *what, const struct err *err)
{
	fprintf(stderr, "glint: %s%s\n", what, err ? err_story(err) : "");
}

/* -- one message ---------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : otherwise;
}

/* What the notification is about, as far as its payload says. */
static const char *subject_of(const json_t *payload)
{
	static const char *const keys[] = {"image_id", "id", "namespace"};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const char *subject = text_of(payload, keys[i], NULL);

		if (subject)
			return subject;
	}
	return json_is_string(payload) ? "" : "-"; /* a text names it */
}

static void add_text(struct buf *out, const struct listener *l, const json_t *doc)
{
	const json_t *payload = json_object_get(doc, "payload");
	char when[WHEN_LEN + 1];
	const struct notification_line line = {
		.number = l->n + 1, .when = when, .priority = text_of(doc, "priority", "-"),
		.event_type = text_of(doc, "event_type", "-"), .subject = subject_of(payload), .payload = payload};

	snprintf(when, sizeof(when), "%s", text_of(doc, "timestamp", "-"));
	notification_add_line(out, &line, l->colour);
}

/* The same members as those of `tail`, where there are such. */
static json_t *flatten(const struct received *m, const json_t *doc)
{
	static const char *const members[][2] = {
		{"message_id", "message_id"}, {"publisher_id", "publisher_id"}, {"event_type", "event_type"},
		{"priority", "priority"}, {"timestamp", "timestamp"}, {"payload", "payload"},
		{"request_id", "_context_request_id"}, {"user_id", "_context_user_id"},
		{"project_id", "_context_project_id"},
	};
	json_t *out = json_pack("{s:s, s:b}", "routing_key", m->routing_key, "redelivered", (int)m->redelivered);
	int r = out ? 0 : -1;

	for (size_t i = 0; i < ARRAY_LEN(members) && r == 0; i++) {
		json_t *value = json_object_get(doc, members[i][1]);

		r = json_object_set_new(out, members[i][0], value ? json_incref(value) : json_null());
	}
	if (r == 0)
		return out;
	json_decref(out);
	return NULL;
}

static void add_json(struct buf *out, const struct received *m, const json_t *doc)
{
	json_t *flat = flatten(m, doc);
	AUTO(free_p) char *text = flat ? json_dumps(flat, JSON_ENSURE_ASCII | JSON_REAL_PRECISION(17)) : NULL;

	json_decref(flat);
	out->failed = out->failed || !text;
	if (text) {
		buf_adds(out, text);
		buf_addc(out, '\n');
	}
}

static int print_document(struct listener *l, const struct received *m, const json_t *doc, struct err *err)
{
	AUTO(buf_done) struct buf line = {0};

	if (l->options->json)
		add_json(&line, m, doc);
	else
		add_text(&line, l, doc);
	if (line.failed)
		return err_nomem(err);
	if (fwrite(line.data, 1, line.len, stdout) != line.len || fflush(stdout) != 0)
		return err_set(err, ERR_INTERNAL, "writing: %s", strerror(errno));
	l->n++;
	return 0;
}

static int refuse(struct listener *l, const struct received *m, const struct err *why, struct err *err)
{
	fprintf(stderr, "glint: refused a message of %zu octets on %s: %s\n", m->n_bytes, m->routing_key,
		err_story(why));
	return l->receiver->settle(l->state, m->tag, false, err);
}

static int handle(struct listener *l, const struct received *m, bool *ret_ours, struct err *err)
{
	struct err why = {0};
	json_t *doc;
	int r = received_document(m, &doc, &why);

	if (r == ERR_INVALID)
		return refuse(l, m, &why, err);
	*ret_ours = true; /* what fails now is not the queue's fault */
	if (r == 0) {
		r = print_document(l, m, doc, &why);
		json_decref(doc);
	}
	if (r < 0)
		return err_set(err, r, "%s", err_story(&why));
	*ret_ours = false;
	return l->receiver->settle(l->state, m->tag, true, err);
}

/* -- the connection ------------------------------------------------------------------------------- */

static void our_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGTERM);
}

/* Not held while connecting, which can take long and has nothing to lose. */
static void hold_signals(bool hold)
{
	sigset_t set;

	our_signals(&set);
	pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static bool enough(const struct listener *l)
{
	return l->options->count >= 0 && l->n >= l->options->count;
}

static void disconnect(struct listener *l)
{
	if (l->state)
		l->receiver->close(l->state);
	free(TAKE(l->state));
}

static int connect_to_queue(struct listener *l, struct err *err)
{
	int r;

	l->state = calloc(1, l->receiver->state_size);
	if (!l->state)
		return err_nomem(err);
	hold_signals(false);
	r = l->receiver->open(l->state, &l->config, err);
	hold_signals(true);
	if (r < 0)
		disconnect(l);
	return r;
}

/* True if a signal wants us to end. */
static bool wait_for_more(const struct listener *l)
{
	struct pollfd fds[] = {{.fd = l->signals, .events = POLLIN},
			       {.fd = l->state ? l->receiver->fd(l->state) : -1, .events = POLLIN}};

	return poll(fds, ARRAY_LEN(fds), LOOK_MS) > 0 && fds[0].revents;
}

/* Prints what is there. *ret_ours: the failure has nothing to do with the queue. */
static int take_all(struct listener *l, bool *ret_ours, struct err *err)
{
	struct pollfd signal_wait = {.fd = l->signals, .events = POLLIN};
	struct received m;
	int r = 0;

	*ret_ours = false;
	while (!enough(l) && poll(&signal_wait, 1, 0) == 0) {
		r = l->receiver->next(l->state, &m, err);
		if (r <= 0)
			return r;
		r = handle(l, &m, ret_ours, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Tries once a second; 1: a signal wants us to end. */
static int connect_again(struct listener *l, const struct err *why)
{
	struct err err = {0};

	say("the connection is lost, trying again: ", why);
	disconnect(l);
	do {
		if (wait_for_more(l))
			return 1;
	} while (connect_to_queue(l, &err) < 0);
	say("connected again", NULL);
	return 0;
}

static int listen_until_told(struct listener *l, struct err *err)
{
	bool ours;
	int r = 0;

	while (r == 0 && !enough(l)) {
		struct err lost = {0};

		if (take_all(l, &ours, &lost) < 0) {
			if (ours) {
				*err = lost;
				return lost.code;
			}
			r = connect_again(l, &lost);
		} else if (!enough(l)) {
			r = wait_for_more(l);
		}
	}
	return 0;
}

/* -- the command ---------------------------------------------------------------------------------- */

static void announce(const struct listener *l)
{
	fprintf(stderr, "glint: listening to topic %s", l->config.topics[0]);
	for (size_t i = 1; i < l->config.n_topics; i++)
		fprintf(stderr, ", %s", l->config.topics[i]);
	if (l->config.pool)
		fprintf(stderr, ", a copy of everything in queue %s\n", l->config.pool);
	else
		fprintf(stderr, "; what is shown here is taken from the queue (with --pool NAME it is a copy)\n");
}

static int set_up(struct listener *l, struct settings *s, struct err *err)
{
	sigset_t set;
	int r = settings_use_transport(s, l->options->transport_url, err);

	if (r < 0)
		return r;
	l->receiver = receiver_find(s->transport->scheme);
	if (!l->receiver)
		return err_set(err, ERR_INVALID, "nothing here can listen on %s://", s->transport->scheme);
	our_signals(&set);
	l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l->signals < 0)
		return err_set(err, ERR_INTERNAL, "signalfd: %s", strerror(errno));
	l->config = (struct receive_config){
		.transport = s->transport, .exchange = s->notify.control_exchange, .topics = s->notify.topics,
		.n_topics = s->notify.n_topics, .pool = l->options->pool, .max_unsettled = MAX_UNSETTLED,
		.conf = s->conf};
	if (l->options->topic) {
		l->config.topics = &l->options->topic;
		l->config.n_topics = 1;
	}
	if (l->options->count >= 0 && l->options->count < MAX_UNSETTLED)
		l->config.max_unsettled = (uint16_t)l->options->count;
	return 0;
}

int notifications_listen(struct settings *settings, const struct listen_options *options, struct err *err)
{
	struct listener l = {.options = options, .signals = -1, .colour = isatty(STDOUT_FILENO)};
	int r = set_up(&l, settings, err);

	if (r == 0)
		r = connect_to_queue(&l, err);
	if (r == 0) {
		announce(&l);
		r = listen_until_told(&l, err);
	}
	disconnect(&l);
	close_fd_p(&l.signals);
	return r;
}

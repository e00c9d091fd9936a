/* SPDX-License-Identifier: Apache-2.0
 * limits/keystone.c -- the source: one question is a chain of calls to Keystone, each begun by the end of the
 * one before.
 *
 *   services, endpoints, limits/model   which endpoint is ours; known for a while, and found by one question
 *                                       at a time: those that come meanwhile go on, or fail, with it
 *   registered_limits                   what counts for all
 *   limits                              what counts for this project instead
 *
 * A token that Keystone refuses is told to the session, and the call is made once more with another one. All
 * calls of a question share its deadline. The lock is held for the site only, never in a call. */
#include "limits/keystone.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "limits/answer.h"
#include "limits/internal.h"

#define MAX_ANSWER ((size_t)1 << 20)

enum step { FIND_SERVICE, FIND_ENDPOINT, FIND_MODEL, ASK_REGISTERED, ASK_PROJECT, DONE };

struct question {
	struct question *next; /* of those that wait for the site */
	struct site *site;
	const char *project;
	int64_t deadline_us;
	limits_fn *fn;
	void *cls;

	enum step step;
	struct endpoint endpoint;
	struct quota quota;
	char *token;  /* of the call that is under way */
	bool refused; /* one token was; no third one */
};

/* The Keystone that is asked, and which of its endpoints we are. */
struct site {
	const struct limits_keystone *config;
	int64_t find_again_us;
	struct transport *transport;
	struct session *session;

	pthread_mutex_t lock;
	int64_t found_us; /* when; 0: never */
	struct endpoint endpoint;
	bool finding;
	struct question *waiting;
};

static void ask_next(struct question *q);

/* -- the end of a question ------------------------------------------------------------------------ */

static void forget_token(struct question *q)
{
	if (q->token)
		explicit_bzero(q->token, strlen(q->token));
	free(TAKE(q->token));
}

static void answer(struct question *q, const struct err *err)
{
	struct err none = {0};

	forget_token(q);
	q->fn(q->cls, err ? err->code : 0, err ? NULL : &q->quota, err ? err : &none);
	free(q);
}

/* Whoever waited for the site goes on with what was found, or ends for the same reason. */
static void end_finding(struct question *finder, const struct err *err)
{
	struct site *s = finder->site;
	struct question *waiting;

	pthread_mutex_lock(&s->lock);
	if (!err) {
		s->endpoint = finder->endpoint;
		s->found_us = clock_mono_us();
	}
	s->finding = false;
	waiting = TAKE(s->waiting);
	pthread_mutex_unlock(&s->lock);
	while (waiting) {
		struct question *q = waiting;

		waiting = TAKE(q->next);
		q->endpoint = finder->endpoint;
		q->step = ASK_REGISTERED;
		if (err)
			answer(q, err);
		else
			ask_next(q);
	}
}

static void fail(struct question *q, const struct err *err)
{
	if (q->step < ASK_REGISTERED)
		end_finding(q, err);
	answer(q, err);
}

/* -- URLs ----------------------------------------------------------------------------------------- */

static void add_escaped(struct buf *out, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if ((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		    *c == '-' || *c == '.' || *c == '_' || *c == '~')
			buf_addc(out, (char)*c);
		else
			buf_addf(out, "%%%02X", *c);
	}
}

/* One more parameter, if there is something to ask for. */
static void add_param(struct buf *out, const char *name, const char *value)
{
	if (!value || !*value)
		return;
	buf_addf(out, "%s%s=", strchr(buf_cstr(out), '?') ? "&" : "?", name);
	add_escaped(out, value);
}

static void add_endpoint_params(struct buf *out, const struct question *q)
{
	add_param(out, "service_id", q->endpoint.service_id);
	add_param(out, "region_id", q->endpoint.region_id);
}

static void make_url(struct question *q, struct buf *out)
{
	const struct limits_keystone *k = q->site->config;

	buf_addf(out, "%s/", session_url(q->site->session));
	switch (q->step) {
	case FIND_SERVICE:
		buf_adds(out, "services");
		add_param(out, "name", k->service_name);
		add_param(out, "type", k->service_type);
		break;
	case FIND_ENDPOINT:
		buf_adds(out, "endpoints");
		if (k->endpoint_id) {
			buf_addc(out, '/');
			add_escaped(out, k->endpoint_id);
			break;
		}
		add_param(out, "service_id", q->endpoint.service_id);
		add_param(out, "region_id", k->region);
		add_param(out, "interface", k->interface);
		break;
	case FIND_MODEL:
		buf_adds(out, "limits/model");
		break;
	case ASK_REGISTERED:
		buf_adds(out, "registered_limits");
		add_endpoint_params(out, q);
		break;
	default:
		buf_adds(out, "limits");
		add_endpoint_params(out, q);
		add_param(out, "project_id", q->project);
	}
}

/* -- the answers ---------------------------------------------------------------------------------- */

static enum step first_step(const struct site *s)
{
	return s->config->endpoint_id ? FIND_ENDPOINT : FIND_SERVICE;
}

/* What came is of the step that the question is in. */
static int take(struct question *q, const char *text, size_t n, struct err *err)
{
	switch (q->step) {
	case FIND_SERVICE:
		return answer_only_service(text, n, q->endpoint.service_id, err);
	case FIND_ENDPOINT:
		if (q->site->config->endpoint_id)
			return answer_endpoint(text, n, &q->endpoint, err);
		return answer_only_endpoint(text, n, &q->endpoint, err);
	case FIND_MODEL:
		return answer_model(text, n, err);
	case ASK_REGISTERED:
		return answer_registered(text, n, &q->endpoint, &q->quota, err);
	default:
		return answer_project(text, n, &q->endpoint, q->project, &q->quota, err);
	}
}

static void go_on(struct question *q)
{
	q->step++;
	if (q->step == ASK_REGISTERED)
		end_finding(q, NULL);
	if (q->step == ASK_PROJECT && !*q->project)
		q->step = DONE;
	if (q->step == DONE)
		answer(q, NULL);
	else
		ask_next(q);
}

static const char *step_name(enum step step)
{
	static const char *const names[] = {"the service", "the endpoint of [oslo_limit]",
					    "the enforcement model", "the registered limits",
					    "the limits of a project"};

	return names[step];
}

static void on_answer(void *cls, const struct transport_answer *a, const struct err *why)
{
	struct question *q = cls;
	struct err err = {0};
	const char *text;
	size_t n;

	if (!a) {
		fail(q, why);
		return;
	}
	if (transport_status(a) == 401 && !q->refused) {
		session_refused(q->site->session, q->token);
		q->refused = true;
		ask_next(q);
		return;
	}
	text = transport_body(a, &n);
	if (transport_status(a) != 200)
		err_set(&err, ERR_UNAVAILABLE, "Keystone answers %d when it is asked for %s.",
			transport_status(a), step_name(q->step));
	else
		(void)take(q, text, n, &err);
	if (transport_status(a) == 401)
		session_refused(q->site->session, q->token); /* nobody shall try it again */
	if (err.code < 0)
		fail(q, &err);
	else
		go_on(q);
}

/* -- the calls ------------------------------------------------------------------------------------ */

static int start_call(struct question *q, const char *token, struct err *err)
{
	AUTO(buf_done) struct buf url = {0}, header = {0};
	const char *headers[] = {NULL, "Accept: application/json", NULL};
	struct transport_call call = {.method = "GET",
				      .headers = headers,
				      .deadline_us = q->deadline_us,
				      .max_octets = MAX_ANSWER,
				      .done = on_answer,
				      .cls = q};
	int r;

	make_url(q, &url);
	buf_addf(&header, "X-Auth-Token: %s", token);
	forget_token(q);
	q->token = strdup(token);
	if (url.failed || header.failed || !q->token)
		return err_nomem(err);
	headers[0] = buf_cstr(&header);
	call.url = buf_cstr(&url);
	r = transport_start(q->site->transport, &call, err);
	explicit_bzero(header.data, header.len);
	return r;
}

static void on_token(void *cls, const char *token, const struct err *why)
{
	struct question *q = cls;
	struct err err = {0};

	if (!token)
		fail(q, why);
	else if (start_call(q, token, &err) < 0)
		fail(q, &err);
}

static void ask_next(struct question *q)
{
	session_token(q->site->session, q->deadline_us, on_token, q);
}

/* True: @q has to find it; false: it knows it, or waits for whoever finds it (*ret_waits). */
static bool look_for_site(struct site *s, struct question *q, bool *ret_waits)
{
	bool known, finds;

	pthread_mutex_lock(&s->lock);
	known = s->found_us > 0 && clock_mono_us() - s->found_us < s->find_again_us;
	finds = !known && !s->finding;
	*ret_waits = !known && !finds;
	if (known)
		q->endpoint = s->endpoint;
	if (finds)
		s->finding = true;
	if (*ret_waits) {
		q->next = s->waiting;
		s->waiting = q;
	}
	pthread_mutex_unlock(&s->lock);
	return finds;
}

static void ask(void *cls, const char *project, int64_t deadline_us, limits_fn *fn, void *fn_cls)
{
	struct site *s = cls;
	struct question *q = calloc(1, sizeof(*q));
	struct err err = {0};
	bool waits;

	if (!q) {
		fn(fn_cls, err_nomem(&err), NULL, &err);
		return;
	}
	/* The quota begins with nothing: of what no limit is registered, nothing may be had. */
	*q = (struct question){.site = s,
			       .project = project,
			       .deadline_us = deadline_us,
			       .fn = fn,
			       .cls = fn_cls,
			       .step = ASK_REGISTERED};
	if (look_for_site(s, q, &waits))
		q->step = first_step(s);
	else if (waits)
		return; /* and may be gone already */
	ask_next(q);
}

/* -- opening and closing --------------------------------------------------------------------------- */

static void stop(void *cls)
{
	struct site *s = cls;

	transport_stop(s->transport);
}

static void close_site(void *cls)
{
	struct site *s = cls;

	transport_close(s->transport);
	session_free(s->session);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int limits_open(const struct limits_config *config, const struct limits_keystone *keystone,
		struct limits **ret, struct err *err)
{
	struct transport_config transport = keystone->transport;
	struct limits_source source = {.ask = ask, .stop = stop, .close = close_site};
	struct site *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_nomem(err);
	json_watch_memory();
	s->config = keystone;
	s->find_again_us = config->cache_us;
	pthread_mutex_init(&s->lock, NULL);
	transport.max_calls = config->max_asking + 1; /* one of each question, and the login */
	r = transport_open(&transport, &s->transport, err);
	if (r == 0)
		r = session_new(s->transport, &keystone->session, &s->session, err);
	if (r < 0) {
		close_site(s);
		return r;
	}
	source.cls = s;
	return limits_new(config, &source, ret, err);
}

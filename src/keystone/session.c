/* SPDX-License-Identifier: Apache-2.0
 * keystone/session.c -- logs in when a token is needed and there is none that will last.
 *
 * (1) There is at most one login under way, and only then does anybody wait.
 * (2) Callbacks run without the lock, each exactly once.
 * (3) After Keystone has refused our credentials, nobody tries them again for REFUSED_PAUSE_US: a wrong
 * password asked for by every request would lock the account. */
#include "session.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/jsonw.h"
#include "transport.h"

#define SECOND INT64_C(1000000)
#define REFUSED_PAUSE_US (5 * SECOND)
#define MARGIN_US (60 * SECOND) /* a token is not used to its very end */
#define MAX_ANSWER 262144
#define MAX_TOKEN 8192

struct waiter {
	struct waiter *next;
	session_token_fn *fn;
	void *cls;
};

struct session {
	struct transport *transport;
	const char *section;
	char *url, *login_url;
	struct buf login; /* the body */

	pthread_mutex_t lock;
	char *token; /* NULL: none */
	int64_t good_until_us, refused_until_us;
	struct waiter *waiters, **last;
	bool logging_in;
};

/* -- what a login says ----------------------------------------------------------------------------- */

static bool is_set(const char *text)
{
	return text && *text;
}

static int missing(struct err *err, const char *what)
{
	return err_set(err, ERR_INVALID, "[keystone_authtoken] %s is not set", what);
}

int session_check(const struct session_config *c, struct err *err)
{
	bool has_project = is_set(c->project_id) || is_set(c->project_name);

	if (!is_set(c->auth_url))
		return missing(err, "auth_url");
	if (strncmp(c->auth_url, "http://", 7) != 0 && strncmp(c->auth_url, "https://", 8) != 0)
		return err_set(err, ERR_INVALID,
			       "[keystone_authtoken] auth_url is no http:// or https:// URL");
	if (is_set(c->credential_id) || is_set(c->credential_secret)) {
		if (!is_set(c->credential_id))
			return missing(err, "application_credential_id");
		return is_set(c->credential_secret) ? 0 : missing(err, "application_credential_secret");
	}
	if (!is_set(c->user_id) && !is_set(c->username))
		return missing(err, "username");
	if (!is_set(c->password))
		return missing(err, "password");
	if (!is_set(c->user_id) && !is_set(c->user_domain_id) && !is_set(c->user_domain_name))
		return missing(err, "user_domain_name");
	if (!has_project && !is_set(c->system_scope))
		return missing(err, "project_name");
	if (has_project && !is_set(c->project_id) && !is_set(c->project_domain_id) &&
	    !is_set(c->project_domain_name))
		return missing(err, "project_domain_name");
	return 0;
}

static void write_text(struct jsonw *w, const char *key, const char *text)
{
	jsonw_key(w, key);
	jsonw_str(w, text);
}

/* {"id": ... or {"name": ..., "domain": {...}; not closed. */
static void write_named(struct jsonw *w, const char *key, const char *id, const char *name,
			const char *domain_id, const char *domain_name)
{
	jsonw_key(w, key);
	jsonw_object(w);
	if (is_set(id))
		write_text(w, "id", id);
	else
		write_text(w, "name", name);
	if (!is_set(id) && (is_set(domain_id) || is_set(domain_name))) {
		write_named(w, "domain", domain_id, domain_name, NULL, NULL);
		jsonw_object_end(w);
	}
}

static void write_method(struct jsonw *w, const char *method)
{
	jsonw_key(w, "methods");
	jsonw_array(w);
	jsonw_str(w, method);
	jsonw_array_end(w);
	jsonw_key(w, method);
	jsonw_object(w);
}

static void write_identity(struct jsonw *w, const struct session_config *c)
{
	jsonw_key(w, "identity");
	jsonw_object(w);
	if (is_set(c->credential_id)) {
		write_method(w, "application_credential");
		write_text(w, "id", c->credential_id);
		write_text(w, "secret", c->credential_secret);
	} else {
		write_method(w, "password");
		write_named(w, "user", c->user_id, c->username, c->user_domain_id, c->user_domain_name);
		write_text(w, "password", c->password);
		jsonw_object_end(w);
	}
	jsonw_object_end(w);
	jsonw_object_end(w);
}

static void write_scope(struct jsonw *w, const struct session_config *c)
{
	if (is_set(c->credential_id))
		return; /* it has one */
	jsonw_key(w, "scope");
	jsonw_object(w);
	if (is_set(c->project_id) || is_set(c->project_name)) {
		write_named(w, "project", c->project_id, c->project_name, c->project_domain_id,
			    c->project_domain_name);
	} else {
		jsonw_key(w, "system");
		jsonw_object(w);
		jsonw_key(w, "all");
		jsonw_bool(w, true);
	}
	jsonw_object_end(w);
	jsonw_object_end(w);
}

static int write_login(struct session *s, const struct session_config *c, struct err *err)
{
	struct jsonw w = jsonw_to(&s->login);

	jsonw_object(&w);
	jsonw_key(&w, "auth");
	jsonw_object(&w);
	write_identity(&w, c);
	write_scope(&w, c);
	jsonw_object_end(&w);
	jsonw_object_end(&w);
	return s->login.failed ? err_nomem(err) : 0;
}

static bool ends_with(const char *text, size_t n, const char *end)
{
	size_t n_end = strlen(end);

	return n >= n_end && memcmp(text + n - n_end, end, n_end) == 0;
}

/* "http://host:5000", ".../v3", ".../v2.0/": all the same. */
static int make_urls(struct session *s, const char *auth_url, struct err *err)
{
	struct buf url = {0}, login = {0};
	size_t n = strlen(auth_url);

	while (n > 0 && auth_url[n - 1] == '/')
		n--;
	if (ends_with(auth_url, n, "/v3"))
		n -= strlen("/v3");
	else if (ends_with(auth_url, n, "/v2.0"))
		n -= strlen("/v2.0");
	buf_add(&url, auth_url, n);
	buf_adds(&url, "/v3");
	buf_adds(&login, buf_cstr(&url));
	buf_adds(&login, "/auth/tokens?nocatalog");
	s->url = url.data;
	s->login_url = login.data;
	return url.failed || login.failed ? err_nomem(err) : 0;
}

/* -- who waits ------------------------------------------------------------------------------------- */

static void drop_token(struct session *s)
{
	if (s->token)
		explicit_bzero(s->token, strlen(s->token));
	free(TAKE(s->token));
}

/* The login is over; @token is taken. */
static void tell_all(struct session *s, char *token, int64_t good_until_us, const struct err *err)
{
	AUTO(free_p) char *copy = token ? strdup(token) : NULL;
	struct err starved = {0};
	struct waiter *all, *next;

	if (token && !copy) {
		err_nomem(&starved);
		err = &starved;
	}
	pthread_mutex_lock(&s->lock);
	if (token) {
		drop_token(s);
		s->token = token;
		s->good_until_us = good_until_us;
	} else if (err->code == ERR_UNAUTHENTICATED) {
		s->refused_until_us = clock_mono_us() + REFUSED_PAUSE_US;
	}
	all = TAKE(s->waiters);
	s->last = &s->waiters;
	s->logging_in = false;
	pthread_mutex_unlock(&s->lock);

	for (struct waiter *w = all; w; w = next) {
		next = w->next;
		w->fn(w->cls, copy, copy ? NULL : err);
		free(w);
	}
	if (copy)
		explicit_bzero(copy, strlen(copy));
}

/* -- logging in ------------------------------------------------------------------------------------ */

static int refused(const struct session *s, struct err *err)
{
	err_set(err, ERR_UNAUTHENTICATED, "Another service cannot be asked.");
	return err_detail(err, "Keystone refuses the credentials of [%s]", s->section);
}

/* When a token that expires at that time should not be used any more, on the other clock. */
static int64_t good_until(int64_t expires_us)
{
	int64_t left = expires_us - clock_now_us(), margin = left / 10;

	if (margin > MARGIN_US)
		margin = MARGIN_US;
	return clock_mono_us() + left - margin;
}

static int read_expiry(const struct transport_answer *answer, int64_t *ret_us, struct err *err)
{
	size_t n;
	const char *text = transport_body(answer, &n);
	json_t *json = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	const char *expires =
		json_string_value(json_object_get(json_object_get(json, "token"), "expires_at"));
	bool ok = expires && clock_parse(expires, ret_us);

	json_decref(json);
	return ok ? 0
		  : err_set(err, ERR_UNAVAILABLE,
			    "Keystone answers a login with something else than a token.");
}

static bool is_token(const char *text)
{
	size_t n = text ? strlen(text) : 0;

	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f)
			return false;
	return n > 0 && n <= MAX_TOKEN;
}

static int read_login(const struct session *s, const struct transport_answer *answer, char **ret, int64_t *ret_until_us,
		      struct err *err)
{
	const char *token = transport_header(answer, "X-Subject-Token");
	int status = transport_status(answer), r;
	int64_t expires_us;

	if (status == 401)
		return refused(s, err);
	if (status != 201)
		return err_set(err, ERR_UNAVAILABLE, "Keystone answers a login with status %d.", status);
	r = read_expiry(answer, &expires_us, err);
	if (r < 0)
		return r;
	if (!is_token(token))
		return err_set(err, ERR_UNAVAILABLE, "Keystone answers a login without a token.");
	*ret_until_us = good_until(expires_us);
	*ret = strdup(token);
	return *ret ? 0 : err_nomem(err);
}

static void on_login(void *cls, const struct transport_answer *answer, const struct err *err)
{
	struct session *s = cls;
	struct err own = {0};
	char *token = NULL;
	int64_t until_us = 0;

	if (!err && read_login(s, answer, &token, &until_us, &own) < 0)
		err = &own;
	tell_all(s, token, until_us, err);
}

static void log_in(struct session *s, int64_t deadline_us)
{
	static const char *const headers[] = {"Content-Type: application/json", "Accept: application/json",
					      NULL};
	const struct transport_call call = {.method = "POST",
					    .url = s->login_url,
					    .headers = headers,
					    .body = s->login.data,
					    .n_body = s->login.len,
					    .deadline_us = deadline_us,
					    .max_octets = MAX_ANSWER,
					    .done = on_login,
					    .cls = s};
	struct err err = {0};

	if (transport_start(s->transport, &call, &err) < 0)
		tell_all(s, NULL, 0, &err);
}

/* -- what others ask ------------------------------------------------------------------------------- */

static void wait_for_login(struct session *s, struct waiter *w)
{
	*s->last = w;
	s->last = &w->next;
}

void session_token(struct session *s, int64_t deadline_us, session_token_fn *fn, void *cls)
{
	AUTO(free_p) struct waiter *w = calloc(1, sizeof(*w)); /* mostly in vain, but never under the lock */
	AUTO(free_p) char *token = NULL;
	int64_t now_us = clock_mono_us();
	struct err err = {0};
	bool begin = false;

	if (w)
		*w = (struct waiter){.fn = fn, .cls = cls};
	pthread_mutex_lock(&s->lock);
	if (s->token && now_us < s->good_until_us) {
		token = strdup(s->token);
		if (!token)
			err_nomem(&err);
	} else if (now_us < s->refused_until_us) {
		refused(s, &err);
	} else if (!w) {
		err_nomem(&err);
	} else {
		wait_for_login(s, TAKE(w));
		begin = !s->logging_in;
		s->logging_in = true;
	}
	pthread_mutex_unlock(&s->lock);
	if (token || err.code)
		fn(cls, token, token ? NULL : &err);
	else if (begin)
		log_in(s, deadline_us);
	if (token)
		explicit_bzero(token, strlen(token));
}

void session_refused(struct session *s, const char *token)
{
	pthread_mutex_lock(&s->lock);
	if (s->token && strcmp(s->token, token) == 0)
		drop_token(s);
	pthread_mutex_unlock(&s->lock);
}

const char *session_url(const struct session *s)
{
	return s->url;
}

/* -- begin and end --------------------------------------------------------------------------------- */

int session_new(struct transport *transport, const struct session_config *config, struct session **ret,
		struct err *err)
{
	AUTO(session_free_p) struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_nomem(err);
	pthread_mutex_init(&s->lock, NULL);
	s->transport = transport;
	s->section = config->section ? config->section : "keystone_authtoken";
	s->last = &s->waiters;
	r = session_check(config, err);
	if (r == 0)
		r = make_urls(s, config->auth_url, err);
	if (r == 0)
		r = write_login(s, config, err);
	if (r < 0)
		return r;
	*ret = TAKE(s);
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	drop_token(s);
	if (s->login.data)
		explicit_bzero(s->login.data, s->login.len);
	buf_done(&s->login);
	pthread_mutex_destroy(&s->lock);
	free(s->url);
	free(s->login_url);
	free(s);
}

void session_free_p(struct session **s)
{
	session_free(*s);
}

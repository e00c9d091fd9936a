/* SPDX-License-Identifier: Apache-2.0
 * keystone/transport.c -- one thread drives libcurl's multi interface for all calls.
 *
 * A call is in one place at a time: in `arrived` (under the lock) until the thread takes it, then in the
 * thread's list, first waiting and then with curl. Deadlines are ours, not curl's, because curl does not
 * look at the clock of a transfer that waits for its turn.
 *
 * (1) done() of a call that transport_start() took is called once, by the thread, without the lock.
 * (2) n_calls counts the calls of which (1) has not happened yet. */
#include "transport.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#define MAX_CONNECTIONS 16
#define MAX_CALLS 1024
#define MAX_HEADER_OCTETS 65536
#define RETRY_PAUSE_US INT64_C(200000) /* times the number of the attempt */
#define IDLE_MS 60000

struct transport_answer {
	CURL *easy;
	int status;
	const struct buf *body;
};

struct call {
	struct call *next;
	struct transport *transport;
	char *url;
	struct curl_slist *headers;
	char *body; /* NULL: GET */
	size_t n_body;
	int64_t deadline_us, begin_us; /* begin_us: not before */
	size_t max_octets;
	transport_done_fn *done;
	void *cls;

	CURL *easy; /* NULL: it waits */
	unsigned n_tries;
	size_t n_header_octets;
	struct buf answer;
	bool too_long, over;
	CURLcode result;
};

struct transport {
	struct transport_config config;
	char *ca_file, *cert_file, *key_file;
	pthread_t thread;
	bool has_thread;
	CURLM *multi;

	pthread_mutex_t lock;
	struct call *arrived, **arrived_last;
	unsigned n_calls;
	bool stopping;

	struct call *calls, **last; /* the thread's: in order of arrival */
	unsigned n_at_work;
};

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* -- calls ---------------------------------------------------------------------------------------- */

/* Headers and bodies hold tokens and passwords. */
static void wipe(char *text, size_t n)
{
	if (text)
		explicit_bzero(text, n);
}

static void call_free(struct call *c)
{
	if (!c)
		return;
	for (struct curl_slist *h = c->headers; h; h = h->next)
		wipe(h->data, strlen(h->data));
	curl_slist_free_all(c->headers);
	wipe(c->body, c->n_body);
	free(c->body);
	wipe(c->answer.data, c->answer.len);
	buf_done(&c->answer);
	free(c->url);
	free(c);
}

static void call_free_p(struct call **c)
{
	call_free(*c);
}

static int copy_headers(struct call *c, const char *const *headers, struct err *err)
{
	for (; headers && *headers; headers++) {
		struct curl_slist *more = curl_slist_append(c->headers, *headers);

		if (!more)
			return err_nomem(err);
		c->headers = more;
	}
	return 0;
}

static int copy_body(struct call *c, const struct transport_call *from, struct err *err)
{
	if (strcmp(from->method, "POST") != 0)
		return 0;
	c->body = malloc(from->n_body + 1);
	if (!c->body)
		return err_nomem(err);
	if (from->n_body > 0)
		memcpy(c->body, from->body, from->n_body);
	c->n_body = from->n_body;
	return 0;
}

static int call_new(struct transport *t, const struct transport_call *from, struct call **ret,
		    struct err *err)
{
	AUTO(call_free_p) struct call *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_nomem(err);
	c->transport = t;
	c->deadline_us = from->deadline_us;
	c->max_octets = from->max_octets;
	c->done = from->done;
	c->cls = from->cls;
	c->url = strdup(from->url);
	if (!c->url)
		return err_nomem(err);
	r = copy_headers(c, from->headers, err);
	if (r == 0)
		r = copy_body(c, from, err);
	if (r < 0)
		return r;
	*ret = TAKE(c);
	return 0;
}

static int refuse_stopping(struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE, "The service is stopping.");
}

int transport_start(struct transport *t, const struct transport_call *call, struct err *err)
{
	AUTO(call_free_p) struct call *c = NULL;
	int r = call_new(t, call, &c, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&t->lock);
	if (t->stopping) {
		r = refuse_stopping(err);
	} else if (t->n_calls >= t->config.max_calls) {
		r = err_set(err, ERR_UNAVAILABLE, "Too many requests wait for another service.");
	} else {
		t->n_calls++;
		*t->arrived_last = c;
		t->arrived_last = &c->next;
		c = NULL;
	}
	pthread_mutex_unlock(&t->lock);
	if (r == 0)
		(void)curl_multi_wakeup(t->multi);
	return r;
}

/* -- what curl calls ------------------------------------------------------------------------------ */

static size_t on_header(char *line, size_t size, size_t n, void *cls)
{
	struct call *c = cls;

	c->n_header_octets += n;
	c->too_long |= c->n_header_octets > MAX_HEADER_OCTETS;
	return c->too_long ? 0 : n;
}

static size_t on_body(char *data, size_t size, size_t n, void *cls)
{
	struct call *c = cls;

	c->too_long |= n > c->max_octets - c->answer.len;
	if (c->too_long)
		return 0;
	buf_add(&c->answer, data, n);
	return c->answer.failed ? 0 : n;
}

static void set_up_tls(CURL *e, const struct transport *t)
{
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, t->config.insecure ? 0L : 1L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, t->config.insecure ? 0L : 2L);
	if (t->ca_file) { /* these and no others */
		curl_easy_setopt(e, CURLOPT_CAINFO, t->ca_file);
		curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(e, CURLOPT_SSLCERT, t->cert_file);
	curl_easy_setopt(e, CURLOPT_SSLKEY, t->key_file);
}

static void set_up(CURL *e, struct call *c)
{
	const struct transport *t = c->transport;

	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* nobody waits for a resolver that hangs */
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "glint");
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(t->config.connect_timeout_us / 1000));
	curl_easy_setopt(e, CURLOPT_URL, c->url);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
	if (c->body) {
		curl_easy_setopt(e, CURLOPT_POST, 1L);
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->n_body);
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->body);
	}
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(e, CURLOPT_PRIVATE, c);
	set_up_tls(e, t);
}

/* -- the end of a call ---------------------------------------------------------------------------- */

/* What curl says of it. Its own words may hold the URL. */
static void tell_failure(const struct call *c, struct err *err)
{
	if (c->too_long) {
		err_set(err, ERR_UNAVAILABLE, "Another service answered more than is expected of it.");
		return;
	}
	switch (c->result) {
	case CURLE_OUT_OF_MEMORY:
		err_nomem(err);
		return;
	case CURLE_COULDNT_RESOLVE_HOST:
		err_set(err, ERR_UNAVAILABLE, "The name of another service could not be resolved.");
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		err_set(err, ERR_UNAVAILABLE, "The certificate of another service could not be verified.");
		break;
	case CURLE_COULDNT_CONNECT:
		err_set(err, ERR_UNAVAILABLE, "No connection to another service could be made.");
		break;
	case CURLE_OPERATION_TIMEDOUT:
		err_set(err, ERR_UNAVAILABLE, "Another service did not answer in time.");
		break;
	default:
		err_set(err, ERR_UNAVAILABLE, "The connection to another service broke.");
	}
	(void)err_detail(err, "%s (%s)", err->text, curl_easy_strerror(c->result));
}

/* @err NULL: it was answered. The call is not in the list any more. */
static void end_call(struct call *c, const struct err *err)
{
	struct transport *t = c->transport;
	struct transport_answer answer = {.easy = c->easy, .body = &c->answer};
	long status = 0;

	if (c->easy && !err) {
		curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
		answer.status = (int)status;
	}
	c->done(c->cls, err ? NULL : &answer, err);
	if (c->easy) {
		curl_multi_remove_handle(t->multi, c->easy);
		curl_easy_cleanup(c->easy);
		t->n_at_work--;
	}
	call_free(c);
	pthread_mutex_lock(&t->lock);
	t->n_calls--;
	pthread_mutex_unlock(&t->lock);
}

static bool may_retry(const struct call *c)
{
	return (c->result == CURLE_COULDNT_CONNECT || c->result == CURLE_GOT_NOTHING ||
		c->result == CURLE_RECV_ERROR || c->result == CURLE_SEND_ERROR) &&
	       c->n_tries <= c->transport->config.max_retries;
}

/* It goes back to those who wait. */
static void put_off(struct call *c)
{
	struct transport *t = c->transport;

	curl_multi_remove_handle(t->multi, c->easy);
	curl_easy_cleanup(TAKE(c->easy));
	t->n_at_work--;
	buf_reset(&c->answer);
	c->n_header_octets = 0;
	c->over = false;
	c->begin_us = clock_mono_us() + RETRY_PAUSE_US * c->n_tries;
}

static void finish(struct call *c)
{
	struct err err = {0};

	if (c->result != CURLE_OK)
		tell_failure(c, &err);
	end_call(c, c->result == CURLE_OK ? NULL : &err);
}

static void time_out(struct call *c)
{
	struct err err = {0};

	err_set(&err, ERR_UNAVAILABLE, "Another service did not answer in time.");
	end_call(c, &err);
}

/* -- the thread ----------------------------------------------------------------------------------- */

static void begin(struct call *c)
{
	struct transport *t = c->transport;

	c->n_tries++;
	c->easy = curl_easy_init();
	if (c->easy) {
		t->n_at_work++;
		set_up(c->easy, c);
	}
	if (!c->easy || curl_multi_add_handle(t->multi, c->easy) != CURLM_OK) {
		c->result = CURLE_OUT_OF_MEMORY;
		c->over = true;
	}
}

/* False: it is time to stop. */
static bool take_arrived(struct transport *t)
{
	bool stopping;

	pthread_mutex_lock(&t->lock);
	*t->last = t->arrived;
	if (t->arrived)
		t->last = t->arrived_last;
	t->arrived = NULL;
	t->arrived_last = &t->arrived;
	stopping = t->stopping;
	pthread_mutex_unlock(&t->lock);
	return !stopping;
}

static void look_for_ends(struct transport *t)
{
	struct CURLMsg *msg;
	struct call *c;
	int n;

	while ((msg = curl_multi_info_read(t->multi, &n))) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &c);
		c->result = msg->data.result;
		c->over = true;
	}
}

static void unlink_call(struct transport *t, struct call **at)
{
	struct call *c = *at;

	*at = c->next;
	if (t->last == &c->next)
		t->last = at;
	c->next = NULL;
}

/* Each call moves on as far as it can; returns when the next one wants to be looked at. */
static int64_t move_on(struct transport *t)
{
	int64_t now_us = clock_mono_us(), wake_us = INT64_MAX;
	struct call **at = &t->calls, *c;

	while ((c = *at)) {
		if (!c->easy && !c->over && now_us >= c->begin_us && now_us < c->deadline_us &&
		    t->n_at_work < t->config.max_connections)
			begin(c);
		if (c->over && c->easy && may_retry(c))
			put_off(c);
		if (c->over || now_us >= c->deadline_us) {
			unlink_call(t, at);
			(c->over ? finish : time_out)(c);
			continue;
		}
		if (c->deadline_us < wake_us)
			wake_us = c->deadline_us;
		if (!c->easy && c->begin_us > now_us && c->begin_us < wake_us)
			wake_us = c->begin_us;
		at = &c->next;
	}
	return wake_us;
}

static int pause_ms(int64_t wake_us)
{
	int64_t us = wake_us - clock_mono_us();

	if (us <= 0)
		return 0;
	return us > IDLE_MS * INT64_C(1000) ? IDLE_MS : (int)((us + 999) / 1000);
}

static void end_all(struct transport *t)
{
	struct err err = {0};

	refuse_stopping(&err);
	while (t->calls) {
		struct call *c = t->calls;

		unlink_call(t, &t->calls);
		end_call(c, &err);
	}
}

static void *run(void *arg)
{
	struct transport *t = arg;
	int running, before;
	int64_t wake_us;

	while (take_arrived(t)) {
		(void)curl_multi_perform(t->multi, &running);
		look_for_ends(t);
		before = (int)t->n_at_work;
		wake_us = move_on(t);
		/* Whoever has ended may have made room, whoever has begun wants its first step. */
		if ((int)t->n_at_work != before)
			continue;
		(void)curl_multi_poll(t->multi, NULL, 0, pause_ms(wake_us), NULL);
	}
	end_all(t);
	return NULL;
}

/* -- begin and end -------------------------------------------------------------------------------- */

static int start_thread(struct transport *t, struct err *err)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&t->thread, NULL, run, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return err_set(err, ERR_INTERNAL, "starting a thread: %s", strerror(r));
	t->has_thread = true;
	pthread_setname_np(t->thread, "keystone");
	return 0;
}

static bool copy(const char *text, char **ret)
{
	*ret = text && *text ? strdup(text) : NULL;
	return !text || !*text || *ret;
}

int transport_check(const struct transport_config *config, struct err *err)
{
	const char *const files[] = {config->ca_file, config->cert_file, config->key_file};

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (files[i] && access(files[i], R_OK) < 0)
			return err_set(err, ERR_INVALID, "%.200s: %s", files[i], strerror(errno));
	return 0;
}

int transport_open(const struct transport_config *config, struct transport **ret, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	AUTO(transport_close_p) struct transport *t = NULL;
	int r;

	pthread_once(&once, init_curl);
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_nomem(err);
	t->config = *config;
	t->config.max_calls = config->max_calls ? config->max_calls : MAX_CALLS;
	t->config.max_connections = config->max_connections ? config->max_connections : MAX_CONNECTIONS;
	pthread_mutex_init(&t->lock, NULL);
	t->arrived_last = &t->arrived;
	t->last = &t->calls;
	t->multi = curl_multi_init();
	if (!t->multi || !copy(config->ca_file, &t->ca_file) || !copy(config->cert_file, &t->cert_file) ||
	    !copy(config->key_file, &t->key_file))
		return err_nomem(err);
	curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, (long)t->config.max_connections);
	r = start_thread(t, err);
	if (r < 0)
		return r;
	*ret = TAKE(t);
	return 0;
}

void transport_stop(struct transport *t)
{
	pthread_mutex_lock(&t->lock);
	t->stopping = true;
	pthread_mutex_unlock(&t->lock);
	if (t->multi)
		(void)curl_multi_wakeup(t->multi);
}

void transport_close(struct transport *t)
{
	if (!t)
		return;
	transport_stop(t);
	if (t->has_thread)
		pthread_join(t->thread, NULL);
	curl_multi_cleanup(t->multi);
	pthread_mutex_destroy(&t->lock);
	free(t->ca_file);
	free(t->cert_file);
	free(t->key_file);
	free(t);
}

void transport_close_p(struct transport **t)
{
	transport_close(*t);
}

/* -- the answer ----------------------------------------------------------------------------------- */

int transport_status(const struct transport_answer *a)
{
	return a->status;
}

const char *transport_body(const struct transport_answer *a, size_t *ret_n)
{
	*ret_n = a->body->len;
	return buf_cstr(a->body);
}

const char *transport_header(const struct transport_answer *a, const char *name)
{
	struct curl_header *h;

	if (curl_easy_header(a->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK || h->amount != 1)
		return NULL;
	return h->value;
}

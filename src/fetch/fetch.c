/* SPDX-License-Identifier: Apache-2.0
 * fetch/fetch.c -- one download at a time through libcurl's multi interface, driven from inside the calls of
 * its reader: what arrives while the reader is not asking waits in the socket.
 *
 * A connection that breaks is opened again where it stopped, if the source can show by a validator that
 * it still has the same. Redirects are followed here, one request each, because each of them has to pass
 * the rules; and each socket is judged by the address that it is about to be connected to. */
#include "fetch.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "answer.h"
#include "internal.h"

#define READ_MAX CURL_MAX_READ_SIZE
#define BUFFER_MAX (2 * (size_t)READ_MAX) /* what one step may bring, mostly */
#define POLL_MS 500
#define PAUSE_US INT64_C(250000)
#define PROGRESS 65536 /* octets that make a resumed download one that gets on */
#define SECOND INT64_C(1000000)

enum phase { WAITING_FOR_HEAD, READING_BODY, FINISHED };

struct fetch {
	const struct fetch_options *options;
	CURLM *multi;
	CURL *easy;
	CURLU *first, *url;         /* as asked for; where that leads */
	struct curl_slist *headers, *resolved;
	enum phase phase;
	struct answer head;           /* of the answer under way */
	struct err head_err;        /* why it cannot be used; code 0: it can */
	char tag[ANSWER_TAG_MAX], date[ANSWER_DATE_MAX]; /* of the first answer: by which of them the rest is known */
	int64_t size, got;          /* of the whole; -1. `got` counts from its begin, whatever part is asked for */
	int64_t begin, end;         /* of the part that is asked for; end -1: that of the whole */
	int64_t n_skip;             /* octets that come before the part */
	int64_t broke_at;           /* how much there was when a connection broke last */
	unsigned n_redirects, n_resumes;
	bool refused, opened;       /* an address was, by the rules; a socket was */
	bool paused;

	unsigned char *buffer;      /* what came and was not asked for yet */
	size_t n_buffered, buffer_at;

	int64_t window_at, window_got; /* of the rate */
	int64_t left_at;               /* when the reader last went away with something */
	CURLcode result;
};

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* -- what curl calls ------------------------------------------------------------------------------ */

static curl_socket_t open_socket(void *cls, curlsocktype purpose, struct curl_sockaddr *sa)
{
	struct fetch *f = cls;
	struct address a;

	if (purpose != CURLSOCKTYPE_IPCXN || !address_of_socket(&sa->addr, sa->addrlen, &a) ||
	    !rules_allow_address(f->options->rules, &a)) {
		f->refused = true;
		return CURL_SOCKET_BAD;
	}
	f->opened = true;
	return socket(sa->family, sa->socktype | SOCK_CLOEXEC, sa->protocol);
}

static size_t on_header(char *line, size_t size, size_t n, void *cls)
{
	struct fetch *f = cls;

	if (answer_add(&f->head, line, n, &f->head_err) < 0)
		return 0;
	if (f->head.is_done && f->phase == WAITING_FOR_HEAD)
		f->phase = READING_BODY;
	return n;
}

/* The body of an answer that is no image is not read. */
static bool is_wanted(const struct fetch *f)
{
	return f->head.status == 200 || f->head.status == 206;
}

static size_t on_body(char *data, size_t size, size_t n, void *cls)
{
	struct fetch *f = cls;

	if (!is_wanted(f))
		return n;
	if (n > BUFFER_MAX - f->n_buffered) {
		f->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	memcpy(f->buffer + f->n_buffered, data, n); /* it is read from only when curl is not at work */
	f->n_buffered += n;
	return n;
}

/* -- driving -------------------------------------------------------------------------------------- */

static int check_cancelled(const struct fetch *f, struct err *err)
{
	const struct fetch_options *o = f->options;

	if ((o->cancelled && atomic_load(o->cancelled)) || (o->is_cancelled && o->is_cancelled(o->cls)))
		return err_set(err, ERR_GONE, "The download was cancelled.");
	return 0;
}

static void look_for_end(struct fetch *f)
{
	struct CURLMsg *msg;
	int n;

	while ((msg = curl_multi_info_read(f->multi, &n))) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		f->result = msg->data.result;
		f->phase = FINISHED;
	}
}

/* ERR_TIMEOUT after stall_timeout_us in which fewer octets came than min_rate asks for, or none. */
static int check_rate(struct fetch *f, struct err *err)
{
	int64_t now = clock_mono_us(), age = now - f->window_at, least;

	if (age < f->options->stall_timeout_us)
		return 0;
	least = f->options->min_rate * (age / SECOND);
	if (f->got - f->window_got <= 0 || f->got - f->window_got < least)
		return err_set(err, ERR_TIMEOUT, "The source is too slow: %lld octets in %lld seconds.",
			       (long long)(f->got - f->window_got), (long long)(age / SECOND));
	f->window_at = now;
	f->window_got = f->got;
	return 0;
}

/* One step: some octets, or some waiting. */
static int step(struct fetch *f, struct err *err)
{
	int running, r = check_cancelled(f, err);
	CURLMcode rc;

	f->buffer_at = 0;
	if (r == 0)
		r = check_rate(f, err);
	if (r < 0)
		return r;
	if (f->paused) {
		f->paused = false;
		curl_easy_pause(f->easy, CURLPAUSE_CONT);
	}
	rc = curl_multi_perform(f->multi, &running);
	look_for_end(f);
	if (rc == CURLM_OK && f->phase != FINISHED && f->n_buffered == 0)
		rc = curl_multi_poll(f->multi, NULL, 0, POLL_MS, NULL);
	return rc == CURLM_OK ? 0 : err_set(err, ERR_INTERNAL, "The download failed: %s", curl_multi_strerror(rc));
}

/* Longer each time in a row. */
static int wait_a_moment(struct fetch *f, struct err *err)
{
	int64_t until = clock_mono_us() + (PAUSE_US << (f->n_resumes < 5 ? f->n_resumes : 5));
	int r = 0;

	while (r == 0 && clock_mono_us() < until) {
		(void)usleep(50000);
		r = check_cancelled(f, err);
	}
	return r;
}

/* -- one request ---------------------------------------------------------------------------------- */

static bool has_validator(const struct fetch *f)
{
	return *f->tag || *f->date;
}

/* A range request for a part, or for the rest, which a source that has something else now answers with 200. */
static int set_range(struct fetch *f, struct err *err)
{
	char text[ANSWER_TAG_MAX + 32];
	struct curl_slist *more;

	curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(f->easy, CURLOPT_RANGE, NULL);
	curl_slist_free_all(TAKE(f->headers));
	if (f->got == 0 && f->end < 0)
		return 0;
	if (has_validator(f)) {
		snprintf(text, sizeof(text), "If-Range: %s", *f->tag ? f->tag : f->date);
		more = curl_slist_append(NULL, text);
		if (!more)
			return err_nomem(err);
		f->headers = more;
	}
	if (f->end >= 0)
		snprintf(text, sizeof(text), "%lld-%lld", (long long)f->got, (long long)f->end - 1);
	else
		snprintf(text, sizeof(text), "%lld-", (long long)f->got);
	curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, f->headers);
	curl_easy_setopt(f->easy, CURLOPT_RANGE, text);
	return 0;
}

static int begin_request(struct fetch *f, struct err *err)
{
	int r = set_range(f, err);

	if (r < 0)
		return r;
	answer_done(&f->head);
	f->head_err = (struct err){0};
	f->phase = WAITING_FOR_HEAD;
	f->paused = f->refused = f->opened = false;
	f->result = CURLE_OK;
	f->n_buffered = 0;
	curl_easy_setopt(f->easy, CURLOPT_CURLU, f->url);
	if (curl_multi_add_handle(f->multi, f->easy) != CURLM_OK)
		return err_nomem(err);
	return 0;
}

static void end_request(struct fetch *f)
{
	curl_multi_remove_handle(f->multi, f->easy);
}

/* What curl says of a connection that failed. Its own words may hold the URL. */
static int connection_failed(const struct fetch *f, struct err *err)
{
	if (f->refused && !f->opened)
		return rules_refuse(err);
	if (f->head_err.code) {
		if (err)
			*err = f->head_err;
		return f->head_err.code;
	}
	switch (f->result) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return err_set(err, ERR_UNAVAILABLE, "The source's name could not be resolved.");
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		return err_set(err, ERR_UNAVAILABLE, "The source's certificate could not be verified.");
	case CURLE_SSL_CONNECT_ERROR:
		return err_set(err, ERR_UNAVAILABLE, "No TLS connection to the source could be made.");
	case CURLE_OPERATION_TIMEDOUT:
		return err_set(err, ERR_UNAVAILABLE, "The source did not answer in time.");
	case CURLE_OUT_OF_MEMORY:
		return err_nomem(err);
	case CURLE_COULDNT_CONNECT:
		return err_set(err, ERR_UNAVAILABLE, "No connection to the source could be made.");
	default:
		return err_set(err, ERR_UNAVAILABLE, "The connection to the source broke.");
	}
}

/* Until the head of an answer is there. */
static int wait_for_head(struct fetch *f, struct err *err)
{
	int r = begin_request(f, err);

	while (r == 0 && f->phase == WAITING_FOR_HEAD)
		r = step(f, err);
	if (r == 0 && f->phase == FINISHED && !f->head.is_done)
		r = connection_failed(f, err);
	return r;
}

/* -- redirects ------------------------------------------------------------------------------------ */

static bool is_https(CURLU *url)
{
	char *scheme = NULL;
	bool yes = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && strcasecmp(scheme, "https") == 0;

	curl_free(scheme);
	return yes;
}

/* The new URL in full: rules_parse() judges texts. */
static int resolve_location(struct fetch *f, char **ret, struct err *err)
{
	AUTO(url_cleanup_p) CURLU *url = curl_url_dup(f->url);

	if (!url)
		return err_nomem(err);
	if (curl_url_set(url, CURLUPART_URL, f->head.location,
			 CURLU_NON_SUPPORT_SCHEME | CURLU_URLENCODE) != CURLUE_OK ||
	    curl_url_get(url, CURLUPART_URL, ret, 0) != CURLUE_OK)
		return err_set(err, ERR_INVALID, "The source redirects to something that is no URL.");
	return 0;
}

static int follow(struct fetch *f, struct err *err)
{
	bool was_https = is_https(f->url);
	CURLU *next = NULL;
	char *text = NULL;
	int r;

	if (f->n_redirects++ >= f->options->max_redirects)
		return err_set(err, ERR_INVALID, "The source redirects more than %u times.", f->options->max_redirects);
	r = resolve_location(f, &text, err);
	if (r == 0)
		r = rules_parse(f->options->rules, text, &next, err);
	curl_free(text);
	if (r < 0)
		return r;
	if (was_https && !is_https(next)) {
		curl_url_cleanup(next);
		return err_set(err, ERR_INVALID, "The source redirects from https to http.");
	}
	curl_url_cleanup(f->url);
	f->url = next;
	return 0;
}

/* -- opening -------------------------------------------------------------------------------------- */

/* The head of the answer at the end of all redirects. */
static int find_answer(struct fetch *f, struct err *err)
{
	int r;

	curl_url_cleanup(f->url);
	f->url = curl_url_dup(f->first);
	f->n_redirects = 0;
	if (!f->url)
		return err_nomem(err);
	r = wait_for_head(f, err);
	while (r == 0 && answer_is_redirect(&f->head)) {
		end_request(f);
		r = follow(f, err);
		if (r == 0)
			r = wait_for_head(f, err);
	}
	return r;
}

static int64_t announced(const struct answer *h)
{
	return h->has_length && !h->is_chunked ? h->length : -1;
}

/* Of how much the source has, a part is coming: the one that was asked for. */
static int64_t announced_of_part(const struct fetch *f)
{
	return f->head.is_total_known ? f->head.total : -1;
}

static bool is_part(const struct fetch *f)
{
	const struct answer *h = &f->head;

	return f->end >= 0 && h->status == 206 && h->has_range && h->first == f->got && h->last + 1 == f->end;
}

/* A first answer: nothing has been read yet. */
static int take_answer(struct fetch *f, struct err *err)
{
	const struct answer *h = &f->head;
	bool part = is_part(f);
	int64_t size = part ? announced_of_part(f) : announced(h);

	if (h->status != 200 && !part)
		return err_set(err, ERR_INVALID, "The source answered %d.", h->status);
	if (h->is_encoded)
		return err_set(err, ERR_INVALID, "The source sends the data encoded, which was not asked for.");
	if (size > f->options->max_octets)
		return err_set(err, ERR_TOO_LARGE, "The source has more than %lld octets.",
			       (long long)f->options->max_octets);
	f->size = size;
	if (!part) {
		f->n_skip = f->begin;
		f->got = 0;
	}
	memcpy(f->tag, h->tag, sizeof(f->tag));
	memcpy(f->date, h->date, sizeof(f->date));
	return 0;
}

static void set_up(struct fetch *f)
{
	const struct fetch_options *o = f->options;
	CURL *e = f->easy;

	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* nobody waits for a resolver that hangs */
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, o->insecure ? 0L : 1L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, o->insecure ? 0L : 2L);
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (o->ca_file) { /* these and no others */
		curl_easy_setopt(e, CURLOPT_CAINFO, o->ca_file);
		curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(o->connect_timeout_us / 1000));
	curl_easy_setopt(e, CURLOPT_HTTP_CONTENT_DECODING, 0L);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)READ_MAX);
	curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "glint");
	curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, f);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, f);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, f);
	curl_easy_setopt(e, CURLOPT_RESOLVE, f->resolved);
}

static int add_resolved(struct fetch *f, const char *const *resolved, struct err *err)
{
	for (; resolved && *resolved; resolved++) {
		struct curl_slist *more = curl_slist_append(f->resolved, *resolved);

		if (!more)
			return err_nomem(err);
		f->resolved = more;
	}
	return 0;
}

static int open_stream(const struct fetch_options *options, const char *url, const char *const *resolved, int64_t first,
		       int64_t end, struct fetch **ret, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	AUTO(fetch_close_p) struct fetch *f = NULL;
	int r;

	pthread_once(&once, init_curl);
	f = calloc(1, sizeof(*f));
	if (!f)
		return err_nomem(err);
	f->options = options;
	f->size = -1;
	f->begin = f->got = f->broke_at = f->window_got = first;
	f->end = end;
	r = rules_parse(options->rules, url, &f->first, err);
	if (r == 0)
		r = add_resolved(f, resolved, err);
	if (r < 0)
		return r;
	f->buffer = malloc(BUFFER_MAX);
	f->multi = curl_multi_init();
	f->easy = curl_easy_init();
	if (!f->buffer || !f->multi || !f->easy)
		return err_nomem(err);
	set_up(f);
	f->window_at = clock_mono_us();
	r = find_answer(f, err);
	if (r == 0)
		r = take_answer(f, err);
	if (r < 0)
		return r;
	f->left_at = clock_mono_us();
	*ret = TAKE(f);
	return 0;
}

int fetch_open_resolved(const struct fetch_options *options, const char *url, const char *const *resolved,
			struct fetch **ret, struct err *err)
{
	return open_stream(options, url, resolved, 0, -1, ret, err);
}

int fetch_open_part(const struct fetch_options *options, const char *url, int64_t first, int64_t n, struct fetch **ret,
		    struct err *err)
{
	return open_stream(options, url, NULL, first, first + n, ret, err);
}

int fetch_open(const struct fetch_options *options, const char *url, struct fetch **ret, struct err *err)
{
	return fetch_open_resolved(options, url, NULL, ret, err);
}

int64_t fetch_size(const struct fetch *f)
{
	return f->size;
}

void fetch_close(struct fetch *f)
{
	if (!f)
		return;
	if (f->multi && f->easy)
		end_request(f);
	curl_easy_cleanup(f->easy);
	curl_multi_cleanup(f->multi);
	curl_url_cleanup(f->first);
	curl_url_cleanup(f->url);
	answer_done(&f->head);
	curl_slist_free_all(f->headers);
	curl_slist_free_all(f->resolved);
	free(f->buffer);
	free(f);
}

void fetch_close_p(struct fetch **f)
{
	fetch_close(*f);
}

/* -- reading -------------------------------------------------------------------------------------- */

/* The same thing as at first, by the validator that it came with, and from where we are. */
static bool is_rest(const struct fetch *f)
{
	const struct answer *h = &f->head;

	if (h->status != 206 || h->is_encoded || !h->has_range || h->first != f->got)
		return false;
	if (f->end >= 0 && h->last + 1 != f->end)
		return false;
	if (f->end < 0 && f->size >= 0 && (h->last + 1 != f->size || (h->is_total_known && h->total != f->size)))
		return false;
	return *f->tag ? strcmp(h->tag, f->tag) == 0 : strcmp(h->date, f->date) == 0;
}

static bool comes_back_later(int status)
{
	return status >= 500 || status == 429;
}

static int take_rest(struct fetch *f, struct err *err)
{
	if (f->got == 0)
		return take_answer(f, err);
	if (!is_rest(f))
		return err_set(err, ERR_UNAVAILABLE, "The source broke off after %lld octets and has something else now.",
			       (long long)f->got);
	return 0;
}

static bool may_resume(struct fetch *f)
{
	if (f->got >= f->broke_at + PROGRESS)
		f->n_resumes = 0;
	f->broke_at = f->got;
	return (f->got == 0 || has_validator(f)) && f->n_resumes++ < f->options->max_resumes;
}

/* Once more from where it broke; what fails again, but may go well later, is left as broken. */
static int resume(struct fetch *f, struct err *err)
{
	struct err broke = {0};
	int r;

	(void)connection_failed(f, &broke);
	end_request(f);
	if (!may_resume(f))
		return err_set(err, ERR_UNAVAILABLE, "%s It had sent %lld octets.", broke.text, (long long)f->got);
	r = wait_a_moment(f, err);
	if (r == 0)
		r = find_answer(f, err);
	if (r == ERR_UNAVAILABLE || (r == 0 && comes_back_later(f->head.status))) {
		f->phase = FINISHED;
		f->n_buffered = 0;
		f->result = f->result == CURLE_OK ? CURLE_RECV_ERROR : f->result;
		return 0;
	}
	return r < 0 ? r : take_rest(f, err);
}

/* Has all of it come? */
static bool is_whole(const struct fetch *f)
{
	if (f->end >= 0)
		return f->got == f->end;
	return f->result == CURLE_OK && (f->size < 0 || f->got == f->size);
}

static int fill(struct fetch *f, struct err *err)
{
	int r = 0;

	while (r == 0 && f->n_buffered == 0) {
		if (f->end >= 0 && f->got == f->end)
			return 0;
		if (f->phase != FINISHED)
			r = step(f, err);
		else if (is_whole(f))
			return 0;
		else
			r = resume(f, err);
	}
	return r;
}

static int check_amount(const struct fetch *f, size_t n, struct err *err)
{
	if (f->size >= 0 && (int64_t)n > f->size - f->got)
		return err_set(err, ERR_UNAVAILABLE, "The source sends more than it announced.");
	if ((int64_t)n > f->options->max_octets - f->got)
		return err_set(err, ERR_TOO_LARGE, "The source has more than %lld octets.",
			       (long long)f->options->max_octets);
	return 0;
}

static void use_up(struct fetch *f, size_t n)
{
	f->buffer_at += n;
	f->n_buffered -= n;
	f->got += (int64_t)n;
}

/* What comes before the part that is wanted. */
static int skip(struct fetch *f, struct err *err)
{
	int r = 0;

	while (r == 0 && f->got < f->n_skip) {
		size_t n = (size_t)(f->n_skip - f->got);

		r = fill(f, err);
		if (r == 0 && f->n_buffered == 0)
			return err_set(err, ERR_UNAVAILABLE, "The source ends after %lld octets.", (long long)f->got);
		if (r == 0)
			use_up(f, n < f->n_buffered ? n : f->n_buffered);
	}
	return r;
}

static size_t wanted(const struct fetch *f, size_t n)
{
	n = n < f->n_buffered ? n : f->n_buffered;
	return f->end >= 0 && (int64_t)n > f->end - f->got ? (size_t)(f->end - f->got) : n;
}

ssize_t fetch_read(struct fetch *f, void *data, size_t n, struct err *err)
{
	int r;

	if (f->left_at) /* it was the reader who took the time */
		f->window_at += clock_mono_us() - f->left_at;
	r = skip(f, err);
	if (r == 0)
		r = fill(f, err);
	if (r < 0)
		return r;
	n = wanted(f, n);
	if (n == 0)
		return 0;
	r = check_amount(f, n, err);
	if (r < 0)
		return r;
	memcpy(data, f->buffer + f->buffer_at, n);
	use_up(f, n);
	f->left_at = clock_mono_us();
	return (ssize_t)n;
}

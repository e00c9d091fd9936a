/* SPDX-License-Identifier: Apache-2.0
 * http/server.h -- what the files of the server share. Not for other rooms: those read http.h.
 *
 * Ownership is the whole of the locking. At any time exactly one thread owns a connection, and with
 * it everything that hangs on it:
 *
 *   its loop       while octets of a request or of room for an answer are awaited, and while an
 *                  INLINE handler runs;
 *   a pool thread  from submit() until it has pushed the connection into an inbox;
 *   anybody        from http_suspend() until http_resume(); only the request, which leads to it;
 *   a sender       from the push into the sender's inbox until it pushes it into the loop's.
 *
 * An inbox (a list under a mutex, and an eventfd) is the only way from one owner to the next. Four
 * members stay with the loop throughout: the links of its list of connections, `state`, `readable`
 * and `hung_up`. Only the loop opens and closes the descriptor, so it may shutdown(2) one that
 * is elsewhere, which is how http_stop() wakes a handler that waits for its client. */
#pragma once

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/buf.h"
#include "channel.h"
#include "chunk.h"
#include "forwarded.h"
#include "head.h"
#include "http.h"
#include "listen.h"
#include "pace.h"
#include "router.h"
#include "timers.h"

#define LOG_NAME "glint.http"
#define REQUEST_ID_PREFIX "req-"

struct metric;
struct pool;
struct tls;

enum http_conn_state {
	CONN_GREET,  /* TLS: the handshake is not over */
	CONN_IDLE,   /* nothing of a request is there; no memory but the struct */
	CONN_PARSE,  /* unread text is in the buffer */
	CONN_HEAD,   /* a part of a head is there */
	CONN_BODY,   /* a body is read in whole */
	CONN_AWAY,   /* a pool thread or a sender has it */
	CONN_SEND,   /* the socket takes no more of the answer for now */
	CONN_LINGER, /* all is said; wait until the client has heard it */
	CONN_DEAD,   /* closed; freed at the end of this round of the loop */
};

struct http_conn {
	/* always the loop's */
	struct http_conn *prev, *next;
	struct loop *loop; /* never changes */
	enum http_conn_state state;
	bool readable; /* recv() may have something */
	bool hung_up;  /* no edge will tell of the end again */
	bool cut;      /* close it when it comes back */

	/* the owner's */
	struct channel channel;
	bool in_epoll; /* in the owner's */
	bool in_ready; /* in the owner's list of those who could go on at once */
	struct http_conn *ready_next;
	struct http_conn *inbox_next;
	struct timer timer;
	int64_t waits_since_us; /* SEND, BODY and in a sender */
	int64_t linger_until_us, linger_left;
	struct http_request *req; /* NULL while IDLE or LINGER */
	bool is_local;            /* by a UNIX socket */
	char peer[INET6_ADDRSTRLEN]; /* "127.0.0.1" if it is: this machine */
};

static inline struct http_conn *http_conn_of(struct timer *t)
{
	return (struct http_conn *)((char *)t - offsetof(struct http_conn, timer));
}

/* A file on its way. */
struct file_job {
	int fd;
	int64_t offset, length, n_sent;
	int64_t n_acked; /* of these, when the wait for room began */
	bool complete;
	http_sent_fn *sent; /* may be NULL */
	void *cls;
};

struct http_request {
	struct http_conn *conn;
	struct http_server *server;
	struct http_request *next; /* in the loop's list of spare ones */

	char *in; /* the head, then the window in[in_pos..in_len) of octets not looked at yet */
	size_t in_pos, in_len, in_cap;
	struct head head;
	bool head_begun; /* its timeout runs */

	struct arena arena;
	struct router_match match;
	struct forwarded forwarded;
	bool has_forwarded; /* it was looked at */
	struct buf scratch; /* decoded path segments */
	const struct http_pair *query;
	size_t n_query;
	const char *id;
	char own_id[48];

	struct chunk chunk;
	int64_t body_left; /* of a Content-Length */
	bool body_done;    /* nothing of the body is left in the connection */
	bool continue_due; /* the client waits for a 100 */
	struct buf body;   /* INLINE and WORKER */
	struct pace pace, recent; /* `recent`: of late, which counts while others wait */
	int wake_fd;              /* STREAM: readable once nobody wants the body; or -1 */
	bool gave_way;            /* to one that waited for the thread */

	int64_t begun_us; /* when the head was complete; 0: it never was */
	bool answered;
	bool admitting;             /* `admit` has it, or has put it off */
	void *context;
	bool wants_worker, on_pool; /* http_go_to_worker() */
	bool *suspended;            /* of call_handler(), which may not look at us any more once it is set */
	http_resume_fn *resume;     /* the answer, put off until now */
	void *resume_cls;
	bool close;  /* after the answer */
	bool broken; /* the connection can carry no more */
	int64_t body_to_come; /* octets that http_write_body() has not been given yet */
	struct buf extra_headers, out_head, out_body;
	size_t out_pos; /* of both together */
	struct file_job *file;
};

/* -- inbox.c: the way from one owner to the next --------------------------------------------------- */

struct inbox {
	pthread_mutex_t lock;
	struct http_conn *first, **last;
	int event_fd; /* readable while there is something in it */
};

int inbox_init(struct inbox *b, struct err *err);
void inbox_done(struct inbox *b); /* also of zeroed memory with event_fd -1 */
void inbox_push(struct inbox *b, struct http_conn *c);
void inbox_wake(struct inbox *b);              /* wake the reader without giving it anything */
struct http_conn *inbox_take(struct inbox *b); /* all of them, oldest first, linked by inbox_next */

/* Those who could go on at once but have had their turn. */
struct ready_list {
	struct http_conn *first, **last;
};

void ready_init(struct ready_list *l);
void ready_push(struct ready_list *l, struct http_conn *c);
void ready_drop_dead(struct ready_list *l); /* before they are freed */
struct http_conn *ready_take(struct ready_list *l); /* all, linked by ready_next; in_ready stays set */

/* -- loop.c ---------------------------------------------------------------------------------------- */

enum timeout { TIMEOUT_IDLE, TIMEOUT_HEAD, TIMEOUT_BODY, TIMEOUT_ROOM, TIMEOUT_LINGER, N_TIMEOUTS };

struct loop {
	struct http_server *server;
	pthread_t thread;
	bool has_thread;
	int epoll_fd;
	int64_t now_us; /* of this round */
	struct inbox inbox;
	struct timer_list timeouts[N_TIMEOUTS];
	struct ready_list ready;
	struct http_conn *conns, *dead;
	struct http_request *spare;
	unsigned n_spare;

	bool accepting;
	int64_t accept_again_us; /* while it is not */
	int64_t told_full_us;    /* when the log was last told */
};

int loop_init(struct loop *l, struct http_server *s, struct err *err);
void loop_done(struct loop *l);
int loop_start(struct loop *l, struct err *err);

bool loop_watch(struct loop *l, struct http_conn *c);
void loop_unwatch(struct loop *l, struct http_conn *c);
void loop_wait(struct loop *l, struct http_conn *c, enum timeout what);
struct http_request *loop_take_request(struct loop *l, struct http_conn *c);
void loop_give_request(struct loop *l, struct http_request *req);

/* -- conn.c ---------------------------------------------------------------------------------------- */

struct http_conn *http_conn_new(struct loop *l, const struct listener *from, int fd,
				const struct sockaddr_storage *peer);
void http_conn_run(struct http_conn *c);     /* as far as it goes */
void http_conn_back(struct http_conn *c);    /* from a pool thread or a sender */
void http_conn_expired(struct http_conn *c); /* its timer was due */
void http_conn_close(struct http_conn *c);   /* it is freed at the end of the round */
void http_conn_cut(struct http_conn *c);     /* wherever it is */

/* -- request.c ------------------------------------------------------------------------------------- */

struct http_request *request_new(struct http_server *s);
void request_free(struct http_request *req);
void request_reset(struct http_request *req);               /* ready for the next one; the window stays */
bool request_make_room(struct http_request *req, size_t n); /* behind in_len; only before HEAD_DONE is used */
/* The head is complete: id, route, query. 0, or the status to refuse it with. */
int request_begin(struct http_request *req, const char **ret_text);
bool request_is_options(const struct http_request *req); /* a browser asks beforehand, whatever the path is */
void request_make_id(struct http_request *req);

/* -- body.c ---------------------------------------------------------------------------------------- */

enum body_verdict {
	BODY_DATA,
	BODY_END,
	BODY_WAIT, /* nothing there for now */
	BODY_GONE, /* the client is */
	BODY_BAD,  /* broken chunks */
};

/* Up to @n octets of what is there. Never blocks. */
enum body_verdict body_read(struct http_request *req, char *data, size_t n, size_t *ret_n);
/* If the client waits for a 100 and has sent nothing yet. False: the connection is of no use. */
bool body_send_continue(struct http_request *req);

/* -- reply.c --------------------------------------------------------------------------------------- */

bool http_status_is_known(int status); /* has a title */

enum flush_verdict { FLUSH_DONE, FLUSH_BLOCKED, FLUSH_BROKEN };

/* Send what is left of head and body. Never blocks. */
enum flush_verdict reply_flush(struct http_request *req, int send_flags);

/* -- sender.c -------------------------------------------------------------------------------------- */

struct sender {
	struct http_server *server;
	pthread_t thread;
	bool has_thread;
	int epoll_fd;
	int64_t now_us;
	char piece[CHANNEL_PIECE]; /* of the file whose turn it is */
	struct inbox inbox;
	struct ready_list ready;
	struct timer_list timeouts;
	atomic_bool quit;
};

int sender_init(struct sender *s, struct http_server *server, struct err *err);
void sender_done(struct sender *s);
int sender_start(struct sender *s, struct err *err);
void sender_stop(struct sender *s);
/* Tell the one who asked, on a worker thread; takes @job. */
void sender_tell(struct http_server *server, struct file_job *job);

/* -- count.c --------------------------------------------------------------------------------------- */

struct http_counters {
	struct metric *requests, *times, *received, *sent; /* NULL: not counted */
	size_t n_routes, n_columns;
	unsigned char columns[600]; /* of the statuses, from 1 on; 0: that of all others */
};

int http_counters_init(struct http_server *s, struct err *err);
void count_answer(const struct http_request *req, int status); /* it is about to be sent */
void count_end(const struct http_request *req);                /* nothing more of it will be, if there was one */
void count_received(const struct http_server *s, size_t n);
void count_sent(const struct http_server *s, size_t n);

/* -- crowd.c: more uploads than threads ------------------------------------------------------------- */

struct crowd {
	pthread_mutex_t lock;
	unsigned n_threads;
	unsigned n;         /* requests that have a thread, or wait for one */
	unsigned n_leaving; /* of these, those that have agreed to give way */
	int event_fd;       /* readable while somebody waits for whom nobody gives way yet */
};

int crowd_init(struct crowd *c, unsigned n_threads, struct err *err);
void crowd_done(struct crowd *c); /* also of zeroed memory with event_fd -1 */
void crowd_enter(struct crowd *c);
void crowd_leave(struct crowd *c, bool gave_way);
/* True: somebody waits, so go; crowd_leave() is told so. */
bool crowd_give_way(struct crowd *c);
unsigned crowd_waiting(struct crowd *c);

/* -- server.c -------------------------------------------------------------------------------------- */

struct http_server {
	struct http_config config; /* without zeroes where there is a default */
	struct pace_rule pace_rule, crowded_rule;
	struct router *router;
	struct listener *listeners;
	size_t n_listeners;
	struct tls *tls; /* NULL: connections are plain */
	struct proxies proxies;

	struct loop *loops;
	unsigned n_loops;
	struct sender *senders;
	unsigned n_senders;
	struct pool *workers, *files, *streams;
	struct crowd crowd; /* of `streams` */
	struct http_counters counters;

	atomic_uint n_connections;
	atomic_uint next_sender;
	atomic_bool stopping;
	_Atomic int64_t cut_at_us; /* while stopping */
	atomic_bool cutting;       /* it has come, and config.cutting() was told */
	bool started, stopped;
};

/* pthread_create() with all signals blocked and a name. */
int server_thread(pthread_t *ret, const char *name, void *(*run)(void *), void *arg, struct err *err);
struct sender *server_sender(struct http_server *s); /* each in turn */

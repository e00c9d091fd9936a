/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/socket.c -- the socket below a connection, with TLS or without.
 *
 * The checks of a broker's certificate are OpenSSL's own, made within the handshake: the chain, and
 * that the certificate is for the host (a name or an address) that we wanted.
 *
 * librabbitmq gets addresses only: it would wait for a name as long as that takes. */
#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/err.h"

#define SECOND INT64_C(1000000)

struct timeval socket_time_left(int64_t deadline_us)
{
	int64_t left = deadline_us - clock_mono_us();

	if (left < 0)
		left = 0;
	return (struct timeval){.tv_sec = left / SECOND, .tv_usec = left % SECOND};
}

const char *socket_problem(int status)
{
	const char *reason = NULL;

	if (status == AMQP_STATUS_SOCKET_ERROR && errno != 0)
		return strerror(errno);
	if (status <= AMQP_STATUS_SSL_ERROR && status > _AMQP_STATUS_SSL_NEXT_VALUE)
		reason = ERR_reason_error_string(ERR_peek_last_error());
	return reason ? reason : amqp_error_string2(status);
}

/* -- TLS ---------------------------------------------------------------------------------------- */

static int bad_file(const char *option, const char *path, struct err *err)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return err_set(err, ERR_UNAVAILABLE, "[oslo_messaging_rabbit] %s = %s cannot be used: %s", option,
		       path, reason ? reason : "no certificate or key in it");
}

static int bad_key(const struct rabbit_options *o, struct err *err)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return err_set(err, ERR_UNAVAILABLE,
		       "[oslo_messaging_rabbit] ssl_cert_file = %s and ssl_key_file = %s cannot be used: %s",
		       o->cert_file, o->key_file, reason ? reason : "they do not belong together");
}

static bool set_version(SSL_CTX *tls, const char *version)
{
	int number = TLS1_2_VERSION;

	if (!version || strcmp(version, "SSLv23") == 0)
		return SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1;
	if (strcmp(version, "TLSv1") == 0)
		number = TLS1_VERSION;
	else if (strcmp(version, "TLSv1_1") == 0)
		number = TLS1_1_VERSION;
	return SSL_CTX_set_min_proto_version(tls, number) == 1 &&
	       SSL_CTX_set_max_proto_version(tls, number) == 1;
}

static bool is_address(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static bool set_host(SSL_CTX *tls, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(tls);

	if (is_address(host))
		return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
	return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
}

static int load_files(amqp_socket_t *s, SSL_CTX *tls, const struct rabbit_options *o, struct err *err)
{
	ERR_clear_error();
	if (o->ca_file ? SSL_CTX_load_verify_locations(tls, o->ca_file, NULL) != 1
		       : SSL_CTX_set_default_verify_paths(tls) != 1)
		return bad_file("ssl_ca_file", o->ca_file ? o->ca_file : "(the system's)", err);
	if (o->cert_file && amqp_ssl_socket_set_key(s, o->cert_file, o->key_file) != AMQP_STATUS_OK)
		return bad_key(o, err);
	return 0;
}

/* What the callbacks of a handshake need, and find out. */
struct handshake {
	const char *name; /* that we have for the broker; NULL: an address */
	int problem;      /* X509_V_..., why its certificate was not accepted */
};

static struct handshake *handshake_of(const SSL *tls)
{
	return SSL_CTX_get_app_data(SSL_get_SSL_CTX(tls));
}

/* OpenSSL tells only here what it does not like about a certificate. */
static int note_verdict(int ok, X509_STORE_CTX *store)
{
	struct handshake *h =
		handshake_of(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));

	if (!ok && h)
		h->problem = X509_STORE_CTX_get_error(store);
	return ok;
}

/* librabbitmq would tell the broker the address that it was given, for the name that is wanted. */
static void say_name(const SSL *tls, int where, int value)
{
	struct handshake *h = handshake_of(tls);

	if (h && where == SSL_CB_HANDSHAKE_START)
		(void)SSL_set_tlsext_host_name((SSL *)tls, h->name);
}

static int set_up_tls(amqp_socket_t *s, const struct rabbit_options *o, const char *host, struct err *err)
{
	SSL_CTX *tls = amqp_ssl_socket_get_context(s);
	int r = load_files(s, tls, o, err);

	if (r < 0)
		return r;
	amqp_ssl_socket_set_verify_peer(s, o->tls_check_chain);
	amqp_ssl_socket_set_verify_hostname(s, false); /* it knows no addresses; OpenSSL does */
	SSL_CTX_set_verify(tls, o->tls_check_chain ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, note_verdict);
	SSL_CTX_set_info_callback(tls, say_name);
	if (!set_version(tls, o->tls_version) || (o->tls_check_host && !set_host(tls, host)))
		return err_set(err, ERR_UNAVAILABLE, "TLS cannot be set up for '%s'", host);
	return 0;
}

/* -- connecting --------------------------------------------------------------------------------- */

/* The kernel gives up on a peer that takes nothing any more, so that no send lasts for ever. */
static void set_limits(int fd, int heartbeat_s)
{
	unsigned ms = (unsigned)(heartbeat_s > 0 ? heartbeat_s : 60) * 1000;
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static int open_socket(amqp_socket_t *s, const char *address, int port, int64_t deadline_us)
{
	struct timeval left = socket_time_left(deadline_us);

	errno = 0;
	ERR_clear_error();
	return amqp_socket_open_noblock(s, address, port, &left);
}

/* One after the other until one takes us; each gets its share of the time. */
static int open_any(amqp_socket_t *s, const struct addresses *found, int port, int64_t deadline_us)
{
	int status = AMQP_STATUS_SOCKET_ERROR;

	for (size_t i = 0; i < found->n && status != AMQP_STATUS_OK; i++) {
		int64_t now = clock_mono_us(), share = (deadline_us - now) / (int64_t)(found->n - i);

		status = open_socket(s, found->text[i], port, now + share);
	}
	return status;
}

/* The handshake takes place within this call only. */
static int open_with_tls(amqp_socket_t *s, const struct addresses *found, const struct transport_host *host,
			 int64_t deadline_us, int *ret_problem)
{
	SSL_CTX *tls = amqp_ssl_socket_get_context(s);
	struct handshake h = {is_address(host->host) ? NULL : host->host, X509_V_OK};
	int status;

	SSL_CTX_set_app_data(tls, &h);
	status = open_any(s, found, host->port, deadline_us);
	SSL_CTX_set_app_data(tls, NULL); /* does not touch errno */
	*ret_problem = h.problem;
	return status;
}

static int unreachable(int status, int problem, struct err *err)
{
	if (problem != X509_V_OK)
		return err_set(err, ERR_UNAVAILABLE, "its certificate is not accepted: %s",
			       X509_verify_cert_error_string(problem));
	if (status == AMQP_STATUS_SOCKET_ERROR && (errno == EINPROGRESS || errno == 0)) /* it keeps the reason */
		return err_set(err, ERR_UNAVAILABLE,
			       "cannot be reached: nobody listens there, or there is no way to it");
	return err_set(err, ERR_UNAVAILABLE, "cannot be reached: %s", socket_problem(status));
}

static int set_up(amqp_connection_state_t conn, const struct rabbit_options *o, const char *host,
		  amqp_socket_t **ret, struct err *err)
{
	amqp_socket_t *s = o->tls ? amqp_ssl_socket_new(conn) : amqp_tcp_socket_new(conn);

	if (!s)
		return err_nomem(err);
	*ret = s;
	return o->tls ? set_up_tls(s, o, host, err) : 0;
}

int socket_connect(amqp_connection_state_t conn, const struct rabbit_options *o,
		   const struct transport_host *host, struct resolver *resolver, int64_t deadline_us,
		   struct err *err)
{
	struct addresses found = {0};
	amqp_socket_t *s = NULL;
	int r = resolver_ask(resolver, host->host, deadline_us, &found, err);
	int status, problem = X509_V_OK;

	if (r == 0)
		r = set_up(conn, o, host->host, &s, err);
	if (r < 0)
		return r;
	status = o->tls ? open_with_tls(s, &found, host, deadline_us, &problem)
			: open_any(s, &found, host->port, deadline_us);
	if (status != AMQP_STATUS_OK)
		return unreachable(status, problem, err);
	set_limits(amqp_socket_get_sockfd(s), o->heartbeat_s);
	return 0;
}

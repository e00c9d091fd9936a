/* SPDX-License-Identifier: Apache-2.0
 * http/channel.c -- plain and encrypted channels.
 *
 * (1) A record of TLS that the socket did not take whole is in OpenSSL, and the next call has to begin with
 * the same octets. All senders do: what was not sent is sent again from where it begins. Who cannot (100
 * Continue, after which something else comes) gives the connection up. (2) OpenSSL may have read more than it
 * gave. So an encrypted channel is only empty when it says EAGAIN. (3) After the handshake a client has
 * little reason to send messages of that kind (new keys, once in 2^24 records). Each costs us far more than
 * the client, and OpenSSL reads them in one go until there is data; so beyond a number it is given no more.
 * (4) Of such a message OpenSSL wants all before it writes again: who waits to write waits for the rest then,
 * as there is room all the time.
 */
#include "channel.h"

#include <errno.h>
#include <linux/sockios.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"

#define MAX_HANDSHAKE_MESSAGES 100 /* after the handshake, of one connection */
#define RECORD_BYTES 16384

/* -- plain ----------------------------------------------------------------------------------------- */

static ssize_t plain_receive(struct channel *ch, void *data, size_t n)
{
	return recv(ch->fd, data, n, MSG_DONTWAIT);
}

static ssize_t plain_send(struct channel *ch, const struct iovec *iov, int n_iov, int flags)
{
	const struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n_iov};

	return sendmsg(ch->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
}

static ssize_t plain_send_file(struct channel *ch, int fd, off_t offset, size_t n, char piece[CHANNEL_PIECE])
{
	return sendfile(ch->fd, fd, &offset, n);
}

static const struct channel_ops plain_ops = {
	.receive = plain_receive, .send = plain_send, .send_file = plain_send_file};

/* -- TLS ------------------------------------------------------------------------------------------- */

/* What errno and the result are after a call that gave @r. */
static ssize_t failed(struct channel *ch, int r)
{
	switch (SSL_get_error(ch->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_WANT_WRITE:
		ch->waits_for_room = true;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0; /* the client has said that it has no more to say */
	default:
		ch->broken = true;
		errno = ECONNRESET;
		return -1;
	}
}

static ssize_t read_record(struct channel *ch, char *data, size_t n)
{
	size_t got;
	int r;

	if (ch->broken) {
		errno = ECONNRESET;
		return -1;
	}
	ERR_clear_error(); /* SSL_get_error() looks at what is there */
	r = SSL_read_ex(ch->ssl, data, n, &got);
	return r == 1 ? (ssize_t)got : failed(ch, r);
}

static ssize_t tls_receive(struct channel *ch, void *data, size_t n)
{
	size_t total = 0;
	ssize_t got;

	ch->waits_for_room = false;
	do {
		got = read_record(ch, (char *)data + total, n - total);
		total += got > 0 ? (size_t)got : 0;
	} while (got > 0 && total < n && SSL_has_pending(ch->ssl));
	return total ? (ssize_t)total : got; /* what ended it is found again by the next call */
}

static ssize_t write_record(struct channel *ch, const void *data, size_t n)
{
	size_t done;
	int r;

	if (ch->broken) {
		errno = EPIPE;
		return -1;
	}
	ERR_clear_error();
	r = SSL_write_ex(ch->ssl, data, n, &done);
	ch->waits_for_rest = r != 1 && SSL_want_read(ch->ssl);
	if (r == 1)
		return (ssize_t)done;
	if (failed(ch, r) == 0)
		errno = EPIPE;
	return -1;
}

/* A short head and its body make one record. */
static size_t gather(char out[RECORD_BYTES], const struct iovec *iov, int n_iov)
{
	size_t total = 0, n;

	for (int i = 0; i < n_iov && total < RECORD_BYTES; i++) {
		n = iov[i].iov_len < RECORD_BYTES - total ? iov[i].iov_len : RECORD_BYTES - total;
		memcpy(out + total, iov[i].iov_base, n);
		total += n;
	}
	return total;
}

static ssize_t tls_send(struct channel *ch, const struct iovec *iov, int n_iov, int flags)
{
	char record[RECORD_BYTES];

	if (n_iov == 1)
		return write_record(ch, iov[0].iov_base, iov[0].iov_len);
	return write_record(ch, record, gather(record, iov, n_iov));
}

static ssize_t write_records(struct channel *ch, const char *data, size_t n)
{
	size_t total = 0;
	ssize_t done = 1;

	while (total < n && done > 0) {
		done = write_record(ch, data + total, n - total);
		total += done > 0 ? (size_t)done : 0;
	}
	return total ? (ssize_t)total : done;
}

static ssize_t tls_send_file(struct channel *ch, int fd, off_t offset, size_t n, char piece[CHANNEL_PIECE])
{
	ssize_t got;

#ifndef OPENSSL_NO_KTLS
	if (BIO_get_ktls_send(SSL_get_wbio(ch->ssl))) {
		ERR_clear_error();
		got = SSL_sendfile(ch->ssl, fd, offset, n, 0);
		return got < 0 ? failed(ch, (int)got) : got;
	}
#endif
	do
		got = pread(fd, piece, n < CHANNEL_PIECE ? n : CHANNEL_PIECE, offset);
	while (got < 0 && errno == EINTR);
	return got <= 0 ? got : write_records(ch, piece, (size_t)got);
}

static const struct channel_ops tls_ops = {
	.receive = tls_receive, .send = tls_send, .send_file = tls_send_file};

static long refuse_to_read(BIO *bio, int oper, const char *argp, size_t len, int argi, long argl, int ret,
			   size_t *processed)
{
	return oper == BIO_CB_READ ? -1 : ret;
}

static void count_handshake(int is_ours, int version, int type, const void *data, size_t n, SSL *ssl,
			    void *arg)
{
	struct channel *ch = arg;
	/* One that wants to negotiate anew (1.2) is told no before it is a message. */
	bool is_record = type == SSL3_RT_HEADER && n > 0 && *(const unsigned char *)data == SSL3_RT_HANDSHAKE;

	if (is_ours || (type != SSL3_RT_HANDSHAKE && !is_record) || !ch->greeted)
		return;
	if (++ch->n_handshake <= MAX_HANDSHAKE_MESSAGES)
		return;
	BIO_set_callback_ex(SSL_get_rbio(ssl), refuse_to_read);
}

static bool open_tls(struct channel *ch, struct tls *tls)
{
	SSL *ssl = tls_session(tls);

	if (!ssl || SSL_set_fd(ssl, ch->fd) != 1) {
		SSL_free(ssl);
		ERR_clear_error();
		return false;
	}
	SSL_set_accept_state(ssl);
	SSL_set_msg_callback(ssl, count_handshake);
	SSL_set_msg_callback_arg(ssl, ch);
	ch->ssl = ssl;
	ch->ops = &tls_ops;
	ch->greeted = false;
	return true;
}

/* -- both ------------------------------------------------------------------------------------------ */

bool channel_open(struct channel *ch, int fd, struct tls *tls)
{
	*ch = (struct channel){.ops = &plain_ops, .fd = fd, .greeted = true};
	return !tls || open_tls(ch, tls);
}

enum channel_greeting channel_greet(struct channel *ch)
{
	int r;

	if (ch->greeted)
		return CHANNEL_READY;
	ERR_clear_error();
	r = SSL_do_handshake(ch->ssl);
	if (r == 1) {
		ch->greeted = true;
		return CHANNEL_READY;
	}
	return failed(ch, r) < 0 && errno == EAGAIN ? CHANNEL_WAITS : CHANNEL_FAILED;
}

static void say_goodbye(struct channel *ch)
{
	if (!ch->ssl || !ch->greeted || ch->broken)
		return;
	ERR_clear_error();
	(void)SSL_shutdown(ch->ssl);
}

bool channel_end(struct channel *ch)
{
	say_goodbye(ch);
	return shutdown(ch->fd, SHUT_WR) == 0;
}

void channel_release(struct channel *ch)
{
	SSL_free(TAKE(ch->ssl));
}

void channel_close(struct channel *ch, bool orderly)
{
	if (orderly)
		say_goodbye(ch);
	channel_release(ch);
	(void)close(ch->fd);
	ch->fd = -1;
}

size_t channel_waiting(const struct channel *ch)
{
	int n = 0;

	return ioctl(ch->fd, SIOCOUTQ, &n) < 0 || n < 0 ? 0 : (size_t)n;
}

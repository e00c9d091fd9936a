/* SPDX-License-Identifier: Apache-2.0
 * http/channel.h -- how octets get in and out of a connection: as they are, or by TLS. A channel belongs to
 * whoever owns its connection. Nothing here blocks. */
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include "base/util.h"

#define CHANNEL_PIECE                                                                                        \
	65536 /* of a file, at a time, where it cannot go from the disk to the socket by itself */

struct channel;
struct ssl_st;
struct tls;

/* As recv(2), sendmsg(2) and sendfile(2) have it: -1 and errno, which is EAGAIN when one has to wait. */
struct channel_ops {
	ssize_t (*receive)(struct channel *ch, void *data, size_t n);
	ssize_t (*send)(struct channel *ch, const struct iovec *iov, int n_iov, int flags);
	ssize_t (*send_file)(struct channel *ch, int fd, off_t offset, size_t n, char piece[CHANNEL_PIECE]);
};

struct channel {
	const struct channel_ops *ops;
	int fd;
	struct ssl_st *ssl;   /* NULL: plain */
	bool greeted;         /* it may be used */
	bool broken;          /* no goodbye is possible any more */
	bool waits_for_room;  /* to read it has to write before, and could not */
	bool waits_for_rest;  /* to write it has to read before, and there was nothing */
	unsigned n_handshake; /* messages of that kind since it was greeted */
};

/* Takes @fd. With @tls what is said is encrypted. False: no memory, and @fd is still the caller's. */
bool channel_open(struct channel *ch, int fd, struct tls *tls);

enum channel_greeting { CHANNEL_READY, CHANNEL_WAITS, CHANNEL_FAILED };

/* The handshake, as far as it goes now. Before it is ready nothing else may be done but to close it. */
enum channel_greeting channel_greet(struct channel *ch);

/* We have no more to say. False: it is of no use any more. */
bool channel_end(struct channel *ch);
/* @orderly: between two answers, so that the other side may know that it has missed nothing. */
void channel_close(struct channel *ch, bool orderly);

/* Forgets all but the descriptor, which is the caller's again. */
void channel_release(struct channel *ch);

/* Octets that have left us and that the other side has not taken yet, those for the encryption included. */
size_t channel_waiting(const struct channel *ch);

static inline ssize_t channel_receive(struct channel *ch, void *data, size_t n)
{
	return ch->ops->receive(ch, data, n);
}

static inline ssize_t channel_send(struct channel *ch, const struct iovec *iov, int n_iov, int flags)
{
	return ch->ops->send(ch, iov, n_iov, flags);
}

static inline ssize_t channel_send_file(struct channel *ch, int fd, off_t offset, size_t n,
					char piece[CHANNEL_PIECE])
{
	return ch->ops->send_file(ch, fd, offset, n, piece);
}

/* @got octets were received where @room were asked for: may there be more without another event? */
static inline bool channel_may_have_more(const struct channel *ch, size_t got, size_t room)
{
	return ch->ssl || got == room;
}

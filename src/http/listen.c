/* SPDX-License-Identifier: Apache-2.0
 * http/listen.c -- where a server is reached.
 *
 * A UNIX socket outlives a crash as a file that nobody answers, which has to be removed before the next one
 * can be made. Who may do so holds the lock of path.lock, and keeps it as long as it listens: two that start
 * at once cannot take the socket from each other. The lock file stays, as a file that is locked and removed
 * could be locked by two. */
#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "http.h"

#define BACKLOG 4096
#define UNIX_PREFIX "unix:"

/* -- TCP ------------------------------------------------------------------------------------------- */

static bool is_port(const char *s)
{
	unsigned port = 0, n = 0;

	for (; *s >= '0' && *s <= '9' && n < 5; s++, n++)
		port = port * 10 + (unsigned)(*s - '0');
	return n && !*s && port <= 65535;
}

/* "host:port", "[host]:port", ":port" -> both parts. */
static int split_address(const char *text, char host[256], char port[8], struct err *err)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;

	if (colon && len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (!colon || len >= 256 || !is_port(colon + 1))
		return err_set(err, ERR_INVALID, "'%.200s' is not HOST:PORT", text);
	(void)snprintf(host, 256, "%.*s", (int)len, text);
	(void)snprintf(port, 8, "%s", colon + 1);
	return 0;
}

static int listen_on(const struct addrinfo *ai)
{
	AUTO(close_fd_p) int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, off = 0;

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	/* Accepted sockets inherit it. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return -1;
	return TAKE_FD(fd);
}

static int write_address(struct listener *l, struct err *err)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);
	char host[INET6_ADDRSTRLEN], port[8];
	bool is_v6;

	if (getsockname(l->fd, (struct sockaddr *)&sa, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return err_set(err, ERR_INTERNAL, "the address of the listening socket: %s", strerror(errno));
	is_v6 = sa.ss_family == AF_INET6;
	(void)snprintf(l->address, sizeof(l->address), "%s%s%s:%s", is_v6 ? "[" : "", host, is_v6 ? "]" : "",
		       port);
	return 0;
}

static int open_tcp(const char *text, struct listener *l, struct err *err)
{
	const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	char host[256], port[8];
	int r = split_address(text, host, port, err);

	if (r < 0)
		return r;
	r = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
	if (r != 0)
		return err_set(err, ERR_INVALID, "listen on '%s': %s", text, gai_strerror(r));
	for (const struct addrinfo *ai = list; ai && l->fd < 0; ai = ai->ai_next)
		l->fd = listen_on(ai);
	r = errno;
	freeaddrinfo(list);
	if (l->fd < 0)
		return err_set(err, ERR_UNAVAILABLE, "listen on '%s': %s", text, strerror(r));
	return write_address(l, err);
}

/* -- UNIX ------------------------------------------------------------------------------------------ */

static bool is_unix(const char *text)
{
	return strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0;
}

static int fill_path(const char *text, struct sockaddr_un *sa, struct err *err)
{
	const char *path = text + strlen(UNIX_PREFIX);

	if (*path != '/')
		return err_set(err, ERR_INVALID, "'%.200s' is not unix:/absolute/path", text);
	if (strlen(path) >= sizeof(sa->sun_path))
		return err_set(err, ERR_INVALID,
			       "'%.200s': a UNIX socket has a path of at most %zu characters", text,
			       sizeof(sa->sun_path) - 1);
	sa->sun_family = AF_UNIX;
	(void)snprintf(sa->sun_path, sizeof(sa->sun_path), "%s", path);
	return 0;
}

static int failed(const char *path, int code, struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE, "listen on unix:%s: %s", path, strerror(code));
}

static int take_lock(struct listener *l, const char *path, struct err *err)
{
	char lock[LISTEN_ADDRESS_MAX];

	(void)snprintf(lock, sizeof(lock), "%s.lock", path);
	l->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (l->lock_fd < 0)
		return err_set(err, ERR_UNAVAILABLE, "listen on unix:%s: opening %s: %s", path, lock,
			       strerror(errno));
	if (flock(l->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return failed(path, EADDRINUSE, err);
	return 0;
}

/* Somebody may listen there who knows nothing of our lock. */
static bool somebody_answers(const struct sockaddr_un *sa)
{
	AUTO(close_fd_p) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 || connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 || errno != ECONNREFUSED;
}

static int remove_stale(const struct sockaddr_un *sa, struct err *err)
{
	struct stat st;

	if (lstat(sa->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : failed(sa->sun_path, errno, err);
	if (!S_ISSOCK(st.st_mode))
		return failed(sa->sun_path, EEXIST, err); /* somebody's file */
	if (somebody_answers(sa))
		return failed(sa->sun_path, EADDRINUSE, err);
	return unlink(sa->sun_path) == 0 ? 0 : failed(sa->sun_path, errno, err);
}

/* Nobody gets in before the permissions are what they shall be: those of the descriptor bound the file's. */
static int bind_path(struct listener *l, const struct sockaddr_un *sa, mode_t mode, struct err *err)
{
	struct stat st;

	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0 || fchmod(l->fd, mode) < 0 || bind(l->fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0)
		return failed(sa->sun_path, errno, err);
	if (lstat(sa->sun_path, &st) < 0)
		return failed(sa->sun_path, errno, err);
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (chmod(sa->sun_path, mode) < 0 || listen(l->fd, BACKLOG) < 0) /* umask took some away */
		return failed(sa->sun_path, errno, err);
	return 0;
}

static int open_unix(const char *text, mode_t mode, struct listener *l, struct err *err)
{
	struct sockaddr_un sa = {0};
	int r = fill_path(text, &sa, err);

	if (r < 0)
		return r;
	l->is_local = true;
	(void)snprintf(l->address, sizeof(l->address), "%s", text);
	r = take_lock(l, sa.sun_path, err);
	if (r == 0)
		r = remove_stale(&sa, err);
	return r < 0 ? r : bind_path(l, &sa, mode, err);
}

static void remove_socket(struct listener *l)
{
	const char *path = l->address + strlen(UNIX_PREFIX);
	struct stat st;

	if (l->ino && lstat(path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		(void)unlink(path);
	l->ino = 0;
}

/* -- both ------------------------------------------------------------------------------------------ */

int http_check_address(const char *text, struct err *err)
{
	struct sockaddr_un sa;
	char host[256], port[8];

	return is_unix(text) ? fill_path(text, &sa, err) : split_address(text, host, port, err);
}

int listener_open(const char *text, mode_t unix_mode, struct listener *ret, struct err *err)
{
	struct listener l = {.fd = -1, .lock_fd = -1};
	int r = is_unix(text) ? open_unix(text, unix_mode, &l, err) : open_tcp(text, &l, err);

	if (r < 0)
		listener_close(&l);
	else
		*ret = l;
	return r;
}

void listener_stop(struct listener *l)
{
	remove_socket(l);
	if (l->fd >= 0)
		(void)shutdown(l->fd, SHUT_RDWR);
}

void listener_close(struct listener *l)
{
	remove_socket(l);
	close_fd_p(&l->fd);
	l->fd = -1;
	close_fd_p(&l->lock_fd);
	l->lock_fd = -1;
}

/* SPDX-License-Identifier: Apache-2.0
 * convert/child.c -- between fork() and exec() only calls that a threaded program may make there.
 *
 * Without network in two ways, because each may be missing: a namespace of its own, and a filter on system
 * calls that refuses sockets of any kind but local ones. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

#define POLL_MS 250
#define ERRORS_MAX 400
#define NOT_STARTED 127
#define FILES_MAX 64
/* Beyond the CPU time, a process may wait: for a disk, say. */
#define PATIENCE 10

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

extern char **environ;

struct child {
	pid_t pid;
	int out, errors; /* our ends */
	struct buf *output;
	char said[ERRORS_MAX + 1];
	size_t n_said;
	bool flooded;
};

/* -- in the child --------------------------------------------------------------------------------- */

static void limit(int resource, int64_t n)
{
	struct rlimit l = {(rlim_t)n, (rlim_t)n};

	if (setrlimit(resource, &l) < 0)
		_exit(NOT_STARTED);
}

static void refuse_sockets(void)
{
#ifdef ARCH
	static const struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#if defined(__x86_64__)
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* the x32 way in */
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
#endif
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1), /* it can make sockets, too */
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ptrace, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_socket, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
	};
	const struct sock_fprog filter = {sizeof(program) / sizeof(program[0]), (struct sock_filter *)program};

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		_exit(NOT_STARTED);
#endif
}

static void reset_signals(void)
{
	const struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &action, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void set_limits(const struct child_limits *l)
{
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, FILES_MAX);
	limit(RLIMIT_CPU, l->cpu_seconds);
	limit(RLIMIT_AS, l->memory_octets);
	limit(RLIMIT_FSIZE, l->file_octets);
}

static void take_descriptors(int null, int out, int errors)
{
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(errors, 2) < 0)
		_exit(NOT_STARTED);
	if (syscall(SYS_close_range, 3U, ~0U, 0U) < 0)
		for (int fd = 3; fd < 65536; fd++)
			(void)close(fd);
}

static _Noreturn void become(const char *const *argv, int dir_fd, int null, int out, int errors,
			     const struct child_limits *l, pid_t parent)
{
	static char path[] = "PATH=/usr/local/bin:/usr/bin:/bin", locale[] = "LC_ALL=C";
	static char *environment[] = {path, locale, NULL};

	(void)setsid();
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || fchdir(dir_fd) < 0)
		_exit(NOT_STARTED);
	reset_signals();
	take_descriptors(null, out, errors);
	set_limits(l);
	(void)unshare(CLONE_NEWUSER | CLONE_NEWNET);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		_exit(NOT_STARTED);
	refuse_sockets();
	environ = environment;
	execvpe(argv[0], (char *const *)argv, environment);
	_exit(NOT_STARTED);
}

/* -- around it ------------------------------------------------------------------------------------ */

static int open_pipes(int out[2], int errors[2])
{
	if (pipe2(out, O_CLOEXEC) < 0)
		return -1;
	if (pipe2(errors, O_CLOEXEC) == 0)
		return 0;
	close_fd_p(&out[0]);
	close_fd_p(&out[1]);
	return -1;
}

static int start(struct child *c, const char *const *argv, int dir_fd, const struct child_limits *l, struct err *err)
{
	AUTO(close_fd_p) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int out[2], errors[2];
	pid_t parent = getpid();

	if (null < 0 || open_pipes(out, errors) < 0)
		return err_set(err, ERR_UNAVAILABLE, "The conversion could not be started.");
	c->pid = fork();
	if (c->pid == 0)
		become(argv, dir_fd, null, out[1], errors[1], l, parent);
	close_fd_p(&out[1]);
	close_fd_p(&errors[1]);
	c->out = out[0];
	c->errors = errors[0];
	return c->pid < 0 ? err_set(err, ERR_UNAVAILABLE, "The conversion could not be started.") : 0;
}

/* False at the end. */
static bool take_output(struct child *c)
{
	char piece[4096];
	ssize_t n = read(c->out, piece, sizeof(piece));

	if (n <= 0)
		return n < 0 && errno == EINTR;
	if (c->output->len + (size_t)n > CHILD_OUTPUT_MAX)
		c->flooded = true;
	else
		buf_add(c->output, piece, (size_t)n);
	return true;
}

/* The beginning is enough. */
static bool take_errors(struct child *c)
{
	char piece[4096];
	ssize_t n = read(c->errors, piece, sizeof(piece));
	size_t room = ERRORS_MAX - c->n_said;

	if (n <= 0)
		return n < 0 && errno == EINTR;
	room = (size_t)n < room ? (size_t)n : room;
	memcpy(c->said + c->n_said, piece, room);
	c->n_said += room;
	return true;
}

static bool has_to_go(const struct child *c, const struct child_limits *l, int64_t deadline)
{
	return c->flooded || clock_mono_us() > deadline || (l->cancelled && atomic_load(l->cancelled));
}

static void follow(struct child *c, const struct child_limits *l)
{
	int64_t deadline = clock_mono_us() + l->cpu_seconds * PATIENCE * 1000000;
	struct pollfd fds[] = {{.fd = c->out, .events = POLLIN}, {.fd = c->errors, .events = POLLIN}};

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		(void)poll(fds, 2, POLL_MS);
		if (has_to_go(c, l, deadline))
			(void)kill(-c->pid, SIGKILL);
		if (fds[0].fd >= 0 && fds[0].revents && !take_output(c))
			fds[0].fd = -1;
		if (fds[1].fd >= 0 && fds[1].revents && !take_errors(c))
			fds[1].fd = -1;
		fds[0].revents = fds[1].revents = 0;
	}
}

/* A child may close what it writes to and go on. */
static int reap(struct child *c, const struct child_limits *l)
{
	int64_t deadline = clock_mono_us() + l->cpu_seconds * PATIENCE * 1000000;
	int status = 0;

	for (;;) {
		pid_t pid = waitpid(c->pid, &status, WNOHANG);

		if (pid == c->pid)
			break;
		if (pid < 0 && errno != EINTR)
			return -1;
		if (has_to_go(c, l, deadline))
			(void)kill(-c->pid, SIGKILL);
		(void)poll(NULL, 0, 5);
	}
	(void)kill(-c->pid, SIGKILL); /* whoever is left of its group */
	return status;
}

static int judge(struct child *c, const struct child_limits *l, int status, const char *name, struct err *err)
{
	if (l->cancelled && atomic_load(l->cancelled))
		return err_set(err, ERR_GONE, "The conversion was stopped.");
	if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 && !c->flooded)
		return c->output->failed ? err_nomem(err) : 0;
	if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == NOT_STARTED)
		return err_set(err, ERR_UNAVAILABLE, "The conversion could not be started: there is no %.50s.", name);
	if (status >= 0 && WIFSIGNALED(status))
		err_set(err, ERR_INVALID, "The image could not be converted within the limits of time and memory.");
	else
		err_set(err, ERR_INVALID, "The image could not be converted.");
	return err_detail(err, "%s: status %#x: %s", name, (unsigned)status, c->said);
}

int child_run(const char *const *argv, int dir_fd, const struct child_limits *l, struct buf *out, struct err *err)
{
	struct child c = {.out = -1, .errors = -1, .output = out};
	int r = start(&c, argv, dir_fd, l, err);

	if (r == 0) {
		follow(&c, l);
		r = judge(&c, l, reap(&c, l), argv[0], err);
	}
	close_fd_p(&c.out);
	close_fd_p(&c.errors);
	return r;
}

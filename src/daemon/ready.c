/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message goes through the pipe: the whole struct vmofs_err, with code 0 for success. Its size is
 * below PIPE_BUF, so it arrives in one piece.
 */
#include "daemon/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"

enum { REAP_MS = 2000 };

/* The child has gone without a word: tells how. */
static int ready_lost(pid_t child, struct vmofs_err *err)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		return vmofs_err_set(err, -EIO, "the daemon was ended by signal %d (%s)",
				     WTERMSIG(status), strsignal(WTERMSIG(status)));
	return vmofs_err_set(err, -EIO, "the daemon ended with status %d", WEXITSTATUS(status));
}

/*
 * The daemon that could not start tidies up behind itself, and dies with us (see below): it gets the time
 * that this takes, but a command that failed does not hang for it.
 */
static void ready_reap(pid_t child)
{
	struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN };

	if (p.fd < 0)
		return;
	poll(&p, 1, REAP_MS);
	close(p.fd);
	waitpid(child, NULL, WNOHANG);
}

static int ready_wait(int fd, pid_t child, struct vmofs_err *err)
{
	struct vmofs_err said;
	ssize_t n;

	do
		n = read(fd, &said, sizeof said);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof said)
		return ready_lost(child, err);
	if (!said.code)
		return 1;
	ready_reap(child);
	*err = said;
	return err->code;
}

/* Who interrupts a mount that hangs does not want it to appear later on. */
static void die_with_parent(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

void ready_outlive_parent(void)
{
	prctl(PR_SET_PDEATHSIG, 0);
}

int ready_fork(struct ready *r, struct vmofs_err *err)
{
	pid_t parent = getpid();
	pid_t child;
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return vmofs_err_set(err, -errno, "cannot make a pipe");
	child = fork();
	if (child < 0) {
		int e = errno;

		close(p[0]);
		close(p[1]);
		return vmofs_err_set(err, -e, "cannot start the daemon: %s", strerror(e));
	}
	if (child) {
		int ret;

		close(p[1]);
		ret = ready_wait(p[0], child, err);
		close(p[0]);
		return ret;
	}
	close(p[0]);
	r->fd = p[1];
	setsid();
	die_with_parent(parent);
	return 0;
}

static int ready_say(struct ready *r, const struct vmofs_err *err)
{
	ssize_t n;

	if (r->fd < 0)
		return 0;
	do
		n = write(r->fd, err, sizeof *err);
	while (n < 0 && errno == EINTR);
	n = n < 0 ? -errno : 0;
	fd_closep(&r->fd);
	return (int)n;
}

int ready_ok(struct ready *r)
{
	static const struct vmofs_err none;

	return ready_say(r, &none);
}

void ready_fail(struct ready *r, const struct vmofs_err *err)
{
	(void)ready_say(r, err);
}

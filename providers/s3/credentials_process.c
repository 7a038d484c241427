/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys from a program of the user's (credential_process): run by the shell in a process group of its own,
 * with an end to its time and to what it may print. Its standard error is ours; nothing that it prints is
 * in a message. The thread that fetches.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

#include "base/macros.h"
#include "base/secret.h"
#include "s3/credentials_parse.h"
#include "s3/credentials_private.h"

enum { POLL_MS = 100 };

extern char **environ;

struct process {
	struct s3_fetch *f;
	const char *profile;
	pid_t pid;  /* of the group too */
	int pidfd;  /* readable once it has ended */
	int out;    /* what it prints, -1: all has been read */
	char *text; /* secret memory */
	size_t len;
	uint64_t due_ns;
};

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* -- starting --------------------------------------------------------------------------------- */

/* No signal is blocked, or has a handler of ours, in what runs. */
static int set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	posix_spawnattr_setpgroup(attr, 0);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &all);
	return posix_spawnattr_setflags(
		attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int spawn_shell(pid_t *pid, const char *command, int out)
{
	char *const argv[] = { (char *)"sh", (char *)"-c", (char *)command, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int e;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	e = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (e == 0)
		e = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	/* Libraries have some that do not close by themselves. */
	if (e == 0)
		e = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	if (e == 0)
		e = set_attributes(&attr);
	if (e == 0)
		e = posix_spawn(pid, "/bin/sh", &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -e;
}

static int process_start(struct process *p, const char *command)
{
	int fds[2], r;

	p->text = secret_alloc(S3_ANSWER_MAX + 1);
	if (!p->text || pipe2(fds, O_CLOEXEC) < 0)
		return -ENOMEM;
	r = spawn_shell(&p->pid, command, fds[1]);
	close(fds[1]);
	if (r < 0) {
		close(fds[0]);
		return r;
	}
	p->out = fds[0];
	p->pidfd = pidfd_open(p->pid, 0);
	p->due_ns = monotonic_ns() + p->f->c->process_ns;
	return p->pidfd < 0 ? -errno : 0;
}

/* -- running ---------------------------------------------------------------------------------- */

static int process_read(struct process *p)
{
	ssize_t n = read(p->out, p->text + p->len, S3_ANSWER_MAX + 1 - p->len);

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	p->len += (size_t)n;
	if (n == 0) {
		close(p->out);
		p->out = -1;
	}
	return p->len > S3_ANSWER_MAX ? -EFBIG : 0;
}

/* One wait; 1: it has ended and all it printed is read. */
static int process_step(struct process *p)
{
	struct pollfd fds[2] = { { .fd = p->pidfd, .events = POLLIN },
				 { .fd = p->out, .events = POLLIN } };

	if (s3_fetch_cancelled(p->f))
		return -ECANCELED;
	if (monotonic_ns() >= p->due_ns)
		return -ETIMEDOUT;
	if (poll(fds, 2, POLL_MS) < 0)
		return errno == EINTR ? 0 : -errno;
	if (fds[1].revents)
		return process_read(p);
	/* A grandchild may hold the pipe longer; it is not waited for. */
	return fds[0].revents ? 1 : 0;
}

/* Ends it if it runs, and gives its wait status; -1: somebody else has it. */
static int process_end(struct process *p, bool kill_it)
{
	int status = -1;

	if (p->pid > 0 && kill_it)
		kill(-p->pid, SIGKILL);
	if (p->pid > 0)
		while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
			;
	fd_closep(&p->out);
	fd_closep(&p->pidfd);
	return status;
}

static int failed(const struct process *p, int r)
{
	struct vmofs_err *err = p->f->err;

	if (r == -ETIMEDOUT)
		return vmofs_err_set(err, r, "profile '%s': credential_process took more than %u s",
				     p->profile, (unsigned)(p->f->c->process_ns / NSEC_PER_SEC));
	if (r == -EFBIG)
		return vmofs_err_set(err, r,
				     "profile '%s': credential_process printed more than %d bytes",
				     p->profile, S3_ANSWER_MAX);
	return vmofs_err_set(err, r, "profile '%s': cannot run credential_process: %s", p->profile,
			     strerror(-r));
}

static int process_run(struct process *p, const char *command)
{
	int r = process_start(p, command), status;

	while (r == 0)
		r = process_step(p);
	status = process_end(p, r < 0);
	if (r < 0)
		return failed(p, r);
	if (status == 0 || status == -1)
		return 0;
	return vmofs_err_set(p->f->err, -EACCES, "profile '%s': credential_process %s %d",
			     p->profile,
			     WIFSIGNALED(status) ? "was ended by signal" : "ended with status",
			     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* -- the answer ------------------------------------------------------------------------------- */

static int read_answer(struct process *p, struct s3_credentials **out)
{
	static const char *const paths[4] = { "AccessKeyId", "SecretAccessKey", "SessionToken",
					      "Expiration" };
	struct s3_key_texts t = { 0 };
	char *version = NULL;
	int r = s3_json_text(p->text, p->len, "Version", &version);
	bool known = s3_fetch_keep(p->f, version) && !strcmp(version, "1");

	if (r == 0 && !known)
		return vmofs_err_set(p->f->err, -EBADMSG,
				     "profile '%s': credential_process answers in a version "
				     "other than 1",
				     p->profile);
	if (r == 0)
		r = s3_fetch_json_keys(p->f, p->text, p->len, paths, &t);
	if (r < 0)
		return vmofs_err_set(
			p->f->err, -EBADMSG,
			"profile '%s': credential_process printed no JSON of version 1",
			p->profile);
	return s3_fetch_keys(p->f, &t, out, "profile '%s' (process)", p->profile);
}

int s3_from_process(struct s3_fetch *f, const char *profile, const char *command,
		    struct s3_credentials **out)
{
	struct process p = { .f = f, .profile = profile, .out = -1, .pidfd = -1 };
	int r = process_run(&p, command);

	if (r == 0)
		r = read_answer(&p, out);
	secret_free(p.text);
	return r;
}

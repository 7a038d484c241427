/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of the control socket. A connection carries one request and one answer:
 *
 *   reading -> (working, a thread of its own ->) writing -> closed
 *
 * Everything but a long command's own work runs on loop 0, so connections need no lock. A client that
 * hangs up while its command works has it cancelled.
 */
#include "daemon/control.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "daemon/command.h"
#include "daemon/mount.h"
#include "daemon/rundir.h"

enum {
	REQUEST_MAX = 4096 + 1024,
	CONNECTIONS_MAX = 64,
	JOBS_MAX = 8, /* long commands at once */
	JOB_STACK = 256 * 1024,
};

struct control {
	struct mount *mount; /* borrowed */
	struct loop *loop;   /* borrowed; serves everything here */
	struct loop_watch watch;
	struct sockaddr_un address;
	dev_t dev; /* of what was made at the address */
	ino_t ino;
	struct vmofs_list conns; /* loop only */
	unsigned n_conns;        /* loop only */

	struct mutex lock;
	struct cond idle;
	unsigned n_jobs; /* lock: lock; threads that still use the mount */
};

struct conn {
	struct control *control; /* borrowed */
	struct vmofs_list link;  /* in control->conns */
	struct loop_watch watch;
	const struct command *command; /* set while working */
	bool working;                  /* a thread has it; loop only */
	bool gone;                     /* nobody reads the answer; loop only */
	atomic_bool cancelled;
	struct loop_task finished; /* from the thread back to the loop */
	json_t *request;           /* owned */
	char *out;                 /* owned; the answer */
	size_t out_len, out_sent;
	size_t in_len;
	char in[REQUEST_MAX];
};

/* ---- connections, on the loop ---- */

static void conn_free(struct conn *c, struct loop *l)
{
	loop_watch_del(l, &c->watch);
	close(c->watch.fd);
	vmofs_list_del(&c->link);
	c->control->n_conns--;
	json_decref(c->request);
	free(c->out);
	free(c);
}

static void conn_write(struct conn *c, struct loop *l)
{
	while (c->out_sent < c->out_len) {
		ssize_t n = send(c->watch.fd, c->out + c->out_sent, c->out_len - c->out_sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (loop_watch_mod(l, &c->watch, EPOLLOUT) == 0)
				return;
			break;
		}
		if (n < 0)
			break;
		c->out_sent += (size_t)n;
	}
	conn_free(c, l);
}

/* Turns the outcome of a command into the line that goes back. Any thread. */
static void conn_set_answer(struct conn *c, json_t *reply, int r, const struct vmofs_err *err)
{
	json_object_set_new(reply, "ok", json_boolean(!r));
	if (r < 0) {
		json_object_set_new(reply, "code", json_integer(r));
		json_object_set_new(reply, "error", json_string(err->msg));
	}
	c->out = json_dumps(reply, JSON_COMPACT);
	c->out_len = c->out ? strlen(c->out) : 0;
	json_decref(reply);
}

static void conn_run(struct conn *c)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	json_t *reply = json_object();
	int r = c->command->run(c->control->mount, c->request, reply, &c->cancelled, &err);

	conn_set_answer(c, reply, r, &err);
}

static void conn_refuse(struct conn *c, struct loop *l, int code, const char *msg)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	vmofs_err_set(&err, code, "%s", msg);
	conn_set_answer(c, json_object(), code, &err);
	conn_write(c, l);
}

/* ---- long commands ---- */

static void conn_finished(struct loop_task *t, struct loop *l)
{
	struct conn *c = container_of(t, struct conn, finished);

	c->working = false;
	if (c->gone)
		conn_free(c, l);
	else
		conn_write(c, l);
}

static void *job_main(void *arg)
{
	struct conn *c = arg;
	struct control *control = c->control;

	conn_run(c);
	/* The loop may free @c as soon as it is posted; @control waits for n_jobs. */
	loop_post(control->loop, &c->finished);
	mutex_lock(&control->lock);
	control->n_jobs--;
	cond_broadcast(&control->idle);
	mutex_unlock(&control->lock);
	return NULL;
}

static bool job_admit(struct control *control) EXCLUDES(control->lock)
{
	bool ok;

	mutex_lock(&control->lock);
	ok = control->n_jobs < JOBS_MAX;
	control->n_jobs += ok;
	mutex_unlock(&control->lock);
	return ok;
}

static void job_dismiss(struct control *control) EXCLUDES(control->lock)
{
	mutex_lock(&control->lock);
	control->n_jobs--;
	mutex_unlock(&control->lock);
}

static int job_start(struct conn *c)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (!job_admit(c->control))
		return -EBUSY;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, JOB_STACK);
	c->working = true;
	r = pthread_create(&thread, &attr, job_main, c);
	pthread_attr_destroy(&attr);
	if (r) {
		c->working = false;
		job_dismiss(c->control);
	}
	return -r;
}

/* ---- requests ---- */

static void conn_serve(struct conn *c, struct loop *l)
{
	const char *name;
	int r;

	c->request = json_loadb(c->in, c->in_len, 0, NULL);
	name = json_string_value(json_object_get(c->request, "cmd"));
	c->command = name ? command_find(name) : NULL;
	if (!c->command) {
		conn_refuse(c, l, -EINVAL, "no such command");
		return;
	}
	if (!c->command->is_long) {
		conn_run(c);
		conn_write(c, l);
		return;
	}
	r = job_start(c);
	if (r < 0)
		conn_refuse(c, l, r, "too many commands at once");
}

/* The client has hung up, or sent more after its request: neither is of use to anybody. */
static void conn_hung_up(struct conn *c, struct loop *l)
{
	if (!c->working) {
		conn_free(c, l);
		return;
	}
	c->cancelled = true;
	c->gone = true;
	loop_watch_del(l, &c->watch);
}

static void conn_read(struct conn *c, struct loop *l)
{
	ssize_t n = recv(c->watch.fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_free(c, l);
		return;
	}
	c->in_len += (size_t)n;
	if (memchr(c->in, '\n', c->in_len))
		conn_serve(c, l);
	else if (c->in_len == sizeof c->in)
		conn_refuse(c, l, -EMSGSIZE, "the request is too long");
}

static void conn_ready(struct loop_watch *w, struct loop *l, uint32_t events)
{
	struct conn *c = container_of(w, struct conn, watch);

	if (c->working || (events & (EPOLLERR | EPOLLHUP)))
		conn_hung_up(c, l);
	else if (c->out)
		conn_write(c, l);
	else
		conn_read(c, l);
}

/* ---- listening ---- */

static bool peer_is_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
		(peer.uid == 0 || peer.uid == geteuid());
}

static void control_add(struct control *control, struct loop *l, int fd)
{
	struct conn *c = calloc(1, sizeof *c);

	if (!c) {
		close(fd);
		return;
	}
	c->control = control;
	c->finished.run = conn_finished;
	c->watch = (struct loop_watch){ .fd = fd, .events = EPOLLIN, .ready = conn_ready };
	vmofs_list_add_tail(&control->conns, &c->link);
	control->n_conns++;
	if (loop_watch_add(l, &c->watch) < 0)
		conn_free(c, l);
}

static void control_accept(struct loop_watch *w, struct loop *l, uint32_t events UNUSED)
{
	struct control *control = container_of(w, struct control, watch);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (!peer_is_allowed(fd) || control->n_conns >= CONNECTIONS_MAX) {
		close(fd);
		return;
	}
	control_add(control, l, fd);
}

/* What is at the address belongs to a mount that had our device number and is gone. */
static int control_listen(struct control *c, struct vmofs_err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0)
		return vmofs_err_set(err, -errno, "cannot make a socket: %s", strerror(errno));
	c->watch.fd = fd;
	unlink(c->address.sun_path);
	if (bind(fd, (struct sockaddr *)&c->address, sizeof c->address) < 0 ||
	    lstat(c->address.sun_path, &st) < 0 || listen(fd, CONNECTIONS_MAX) < 0)
		return vmofs_err_set(err, -errno, "cannot listen at '%s': %s", c->address.sun_path,
				     strerror(errno));
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	return 0;
}

struct watch_call {
	struct control *control;
	int r;
};

static void control_watch(void *arg, struct loop *l)
{
	struct watch_call *call = arg;

	call->r = loop_watch_add(l, &call->control->watch);
}

static int control_open(struct control *c, struct vmofs_err *err)
{
	struct watch_call call = { .control = c };
	unsigned major, minor;
	int r;

	fs_session_device(c->mount->session, &major, &minor);
	r = rundir_make_address(&c->address, major, minor, err);
	if (!r)
		r = control_listen(c, err);
	if (r < 0)
		return r;
	loop_call(c->loop, control_watch, &call);
	return call.r < 0 ? vmofs_err_set(err, call.r, "cannot watch the control socket") : 0;
}

/* A mount that has got our device number since ours was taken away has its own socket there. */
static void remove_socket(const struct control *c)
{
	struct stat st;

	if (lstat(c->address.sun_path, &st) == 0 && st.st_dev == c->dev && st.st_ino == c->ino)
		unlink(c->address.sun_path);
}

static void control_release(struct control *c)
{
	if (c->watch.fd >= 0) {
		remove_socket(c);
		close(c->watch.fd);
	}
	cond_destroy(&c->idle);
	mutex_destroy(&c->lock);
	free(c);
}

int control_new(struct control **out, struct mount *m, struct vmofs_err *err)
{
	struct control *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return vmofs_err_set(err, -ENOMEM, "no memory for the control socket");
	c->mount = m;
	c->loop = loop_pool_nth(m->loops, 0);
	c->watch = (struct loop_watch){ .fd = -1, .events = EPOLLIN, .ready = control_accept };
	vmofs_list_init(&c->conns);
	mutex_init(&c->lock, LOCK_RANK_MOUNT);
	cond_init(&c->idle);
	r = control_open(c, err);
	if (r < 0) {
		control_release(c);
		return r;
	}
	*out = c;
	return 0;
}

/* ---- the end ---- */

static void control_stop_on_loop(void *arg, struct loop *l)
{
	struct control *c = arg;
	struct vmofs_list *pos, *tmp;

	loop_watch_del(l, &c->watch);
	vmofs_list_for_each_safe(pos, tmp, &c->conns) {
		struct conn *conn = vmofs_list_entry(pos, struct conn, link);

		if (conn->working)
			conn->cancelled = true;
		else
			conn_free(conn, l);
	}
}

void control_stop(struct control *c)
{
	loop_call(c->loop, control_stop_on_loop, c);
}

static void control_free_conns(void *arg, struct loop *l)
{
	struct control *c = arg;

	while (!vmofs_list_empty(&c->conns))
		conn_free(vmofs_list_first(&c->conns, struct conn, link), l);
}

void control_wait(struct control *c)
{
	mutex_lock(&c->lock);
	while (c->n_jobs)
		cond_wait(&c->idle, &c->lock);
	mutex_unlock(&c->lock);
}

void control_free(struct control *c)
{
	if (!c)
		return;
	control_wait(c);
	/* The tasks of finished jobs were posted before this call, so they have run before it. */
	loop_call(c->loop, control_free_conns, c);
	control_release(c);
}

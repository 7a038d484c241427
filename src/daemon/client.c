/* SPDX-License-Identifier: Apache-2.0 */
/* Connects by device number, checks who is on the other end, sends a line, reads to the end. */
#include "daemon/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macros.h"
#include "daemon/rundir.h"
#include "daemon/unmount.h"

#define ANSWER_MAX MIB(16)

int client_find(struct client_target *out, const char *path, struct vmofs_err *err)
{
	int r = unmount_resolve(path, out->path);

	if (r < 0)
		return vmofs_err_set(err, r, "cannot find '%s': %s", path, strerror(-r));
	r = mountinfo_find(out->path, "fuse.vmofs", &out->mount);
	if (r < 0)
		return vmofs_err_set(err, r, "'%s' is not in a mount of vmofs", path);
	out->inside = out->path + strlen(out->mount.mountpoint);
	return 0;
}

int client_target_of(struct client_target *out, const struct mountinfo *m, struct vmofs_err *err)
{
	if (strlen(m->mountpoint) >= sizeof out->path)
		return vmofs_err_set(err, -ENAMETOOLONG, "the mountpoint '%s' is too long",
				     m->mountpoint);
	out->mount = *m;
	strcpy(out->path, m->mountpoint);
	out->inside = out->path + strlen(out->path);
	return 0;
}

/* Somebody else's process may sit at the address in /tmp; it is not believed. */
static int check_peer(int fd, uid_t owner, pid_t *pid)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	if (peer.uid != owner && peer.uid != 0)
		return -EPERM;
	*pid = peer.pid;
	return 0;
}

static int connect_to(const struct sockaddr_un *address, uid_t owner, pid_t *pid)
{
	cleanup(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0)
		return -errno;
	r = check_peer(fd, owner, pid);
	return r < 0 ? r : steal_fd(&fd);
}

int client_connect(const struct client_target *t, pid_t *pid, struct vmofs_err *err)
{
	struct sockaddr_un address;
	int r = -ENOENT;

	for (unsigned n = 0;
	     rundir_nth_address(&address, n, t->mount.owner, t->mount.major, t->mount.minor) == 0;
	     n++) {
		r = connect_to(&address, t->mount.owner, pid);
		if (r >= 0 || r == -EACCES || r == -EPERM)
			break;
	}
	if (r >= 0)
		return r;
	if (r == -EACCES || r == -EPERM)
		return vmofs_err_set(err, r, "'%s' belongs to user %u", t->mount.mountpoint,
				     t->mount.owner);
	return vmofs_err_set(err, r,
			     "the daemon of '%s' does not answer: %s; if it has died, "
			     "`vmofs umount` takes the mount away",
			     t->mount.mountpoint, strerror(-r));
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_request(int fd, const json_t *request)
{
	cleanup(mem_freep) char *text = json_dumps(request, JSON_COMPACT);
	int r = text ? send_all(fd, text, strlen(text)) : -ENOMEM;

	return r ? r : send_all(fd, "\n", 1);
}

static int read_answer(int fd, json_t **reply)
{
	cleanup(mem_freep) char *text = NULL;
	size_t len = 0;

	for (size_t cap = KIB(64);; cap *= 2) {
		char *grown = cap <= ANSWER_MAX ? realloc(text, cap) : NULL;

		if (!grown)
			return -ENOMEM;
		text = grown;
		while (len < cap) {
			ssize_t n = read(fd, text + len, cap - len);

			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return -errno;
			if (n == 0) {
				*reply = json_loadb(text, len, 0, NULL);
				return *reply ? 0 : -ECONNRESET;
			}
			len += (size_t)n;
		}
	}
}

static int check_answer(const json_t *reply, struct vmofs_err *err)
{
	const char *msg = json_string_value(json_object_get(reply, "error"));
	json_int_t code = json_integer_value(json_object_get(reply, "code"));

	if (json_is_true(json_object_get(reply, "ok")))
		return 0;
	return vmofs_err_set(err, code < 0 ? (int)code : -EIO, "%s",
			     msg ? msg : "the daemon refuses");
}

static int daemon_ended(const struct client_target *t, int r, struct vmofs_err *err)
{
	return vmofs_err_set(err, r, "the daemon of '%s' has ended: %s", t->mount.mountpoint,
			     strerror(-r));
}

int client_ask(const struct client_target *t, json_t *request, struct vmofs_err *err)
{
	cleanup(json_decrefp) json_t *req = request;
	cleanup(fd_closep) int fd = -1;
	pid_t pid;
	int r;

	if (!req)
		return vmofs_err_set(err, -EINVAL, "'%s' is not UTF-8", t->path);
	fd = client_connect(t, &pid, err);
	if (fd < 0)
		return fd;
	r = send_request(fd, req);
	return r < 0 ? daemon_ended(t, r, err) : steal_fd(&fd);
}

int client_answer(const struct client_target *t, int fd, json_t **reply, struct vmofs_err *err)
{
	cleanup(json_decrefp) json_t *answer = NULL;
	int r = read_answer(fd, &answer);

	if (r < 0)
		return daemon_ended(t, r, err);
	r = check_answer(answer, err);
	if (!r)
		*reply = steal_ptr(&answer);
	return r;
}

int client_call(const struct client_target *t, json_t *request, json_t **reply,
		struct vmofs_err *err)
{
	cleanup(fd_closep) int fd = client_ask(t, request, err);

	return fd < 0 ? fd : client_answer(t, fd, reply, err);
}

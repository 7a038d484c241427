/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs umount: takes the mount away and waits until its daemon has ended. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/cmd.h"
#include "daemon/client.h"
#include "daemon/unmount.h"

enum { END_MS = 60000 };

static const struct opt umount_opts[] = {
	{ 'l', "lazy", NULL, "detach now, even if in use; do not wait for the daemon" },
	{ 0 },
};

/* A descriptor of the daemon's process, -1 when it does not answer (it may be dead). */
static int open_daemon(const struct client_target *t)
{
	struct vmofs_err unused = VMOFS_ERR_INIT;
	pid_t pid;
	cleanup(fd_closep) int fd = client_connect(t, &pid, &unused);

	return fd < 0 ? -1 : pidfd_open(pid, 0);
}

static int wait_for_end(int pidfd, const struct client_target *t, struct vmofs_err *err)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int r;

	do
		r = poll(&p, 1, END_MS);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return vmofs_err_set(err, -ETIMEDOUT,
				     "'%s' is unmounted, but its daemon has not ended in %d s",
				     t->mount.mountpoint, END_MS / 1000);
	return 0;
}

static int cmd_umount_run(const struct args *a, struct vmofs_err *err)
{
	bool lazy = args_get(a, "lazy") != NULL;
	cleanup(fd_closep) int pidfd = -1;
	struct client_target t;
	int r = client_find(&t, a->pos[0], err);

	if (r < 0)
		return r;
	if (*t.inside)
		return vmofs_err_set(err, -EINVAL,
				     "'%s' is inside of a mount; the mountpoint is '%s'", a->pos[0],
				     t.mount.mountpoint);
	if (!lazy)
		pidfd = open_daemon(&t);
	r = unmount(t.mount.mountpoint, lazy, err);
	if (r < 0 || pidfd < 0)
		return r;
	return wait_for_end(pidfd, &t, err);
}

const struct cmd cmd_umount = {
	.name = "umount",
	.args = "MOUNTPOINT",
	.help = "unmount, and wait until the daemon has ended",
	.opts = umount_opts,
	.min_args = 1,
	.max_args = 1,
	.run = cmd_umount_run,
};

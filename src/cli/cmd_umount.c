/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmofs umount: takes the mount away and waits until its daemon has ended. What was changed in it is stored before, while the mount is still there,
 * so that who gives up has lost nothing.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/cmd.h"
#include "cli/progress.h"
#include "daemon/client.h"
#include "daemon/unmount.h"

enum { END_MS = 60000 };
#define STORE_NS (300 * NSEC_PER_SEC)

static const struct opt umount_opts[] = {
	{ 'l', "lazy", NULL, "detach now, even if in use; do not wait for the daemon" },
	{ 'k', "keep", NULL, "store nothing: what is not stored waits in the journal" },
	{ 't', "timeout", "TIME",
	  "store for at most so long, then as --keep (default 5m; 0: as long as it takes)" },
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

/* How long the daemon may store after the unmount, when there is nobody any more who looks. */
static int set_drain(const struct client_target *t, uint64_t ns, struct vmofs_err *err)
{
	cleanup(json_decrefp) json_t *reply = NULL;

	return client_call(
		t,
		json_pack("{s:s, s:I}", "cmd", "end", "drain_ms", (json_int_t)(ns / NSEC_PER_MSEC)),
		&reply, err);
}

static bool anything_left(const json_t *sums)
{
	return json_integer_value(json_object_get(sums, "files")) ||
		json_integer_value(json_object_get(sums, "conflicts"));
}

struct farewell {
	const struct client_target *t;
	bool keep;
	uint64_t timeout_ns;
	json_t *left; /* owned; what is not stored, NULL: nothing can be */
};

/* What the mount has left after its storing, or without it. */
static int store_first(struct farewell *f, struct vmofs_err *err)
{
	cleanup(json_decrefp) json_t *now = NULL;
	bool journal;
	int r = client_call(f->t, json_pack("{s:s}", "cmd", "writing"), &now, err);

	if (r < 0 || !json_is_true(json_object_get(now, "writable")))
		return r;
	journal = json_is_true(json_object_get(now, "journal"));
	if (f->keep && !journal && anything_left(now))
		return vmofs_err_set(err, -EINVAL,
				     "option '--keep': the mount has no journal, so what is not "
				     "stored would be lost");
	if (f->keep)
		f->left = steal_ptr(&now);
	else
		r = progress_sync(f->t, f->timeout_ns, true, &f->left, err);
	if (r < 0)
		return r;
	if (!anything_left(f->left))
		return set_drain(f->t, f->keep ? 0 : END_MS / 2 * NSEC_PER_MSEC, err);
	if (journal)
		return set_drain(f->t, 0, err);
	progress_print_left(stderr, f->left);
	return vmofs_err_set(err, -EBUSY,
			     "'%s' is still mounted: what is not stored would be lost, as there is "
			     "no journal; `vmofs umount -l` unmounts all the same",
			     f->t->mount.mountpoint);
}

/* It stays mounted, and its end is like any other's again. */
static int not_unmounted(const struct farewell *f, int r)
{
	struct vmofs_err unused = VMOFS_ERR_INIT;
	cleanup(json_decrefp) json_t *reply = NULL;

	if (f->left)
		(void)client_call(f->t, json_pack("{s:s, s:i}", "cmd", "end", "drain_ms", -1),
				  &reply, &unused);
	return r;
}

static int unmount_stored(struct farewell *f, int pidfd, struct vmofs_err *err)
{
	int r = store_first(f, err);

	if (!r)
		r = unmount(f->t->mount.mountpoint, false, err);
	if (r < 0)
		return not_unmounted(f, r);
	r = wait_for_end(pidfd, f->t, err);
	if (r < 0 || !anything_left(f->left))
		return r;
	progress_print_left(stderr, f->left);
	fprintf(stderr,
		"vmofs: '%s' is unmounted; the rest waits in the journal for the next mount\n",
		f->t->mount.mountpoint);
	return !f->keep;
}

static int cmd_umount_run(const struct args *a, struct vmofs_err *err)
{
	bool lazy = args_get(a, "lazy") != NULL;
	cleanup(fd_closep) int pidfd = -1;
	struct client_target t;
	struct farewell f = { .t = &t, .keep = args_get(a, "keep") != NULL };
	int r = progress_timeout(a, STORE_NS, &f.timeout_ns, err);

	if (!r)
		r = client_find(&t, a->pos[0], err);
	if (r < 0)
		return r;
	if (*t.inside)
		return vmofs_err_set(err, -EINVAL,
				     "'%s' is inside of a mount; the mountpoint is '%s'", a->pos[0],
				     t.mount.mountpoint);
	if (!lazy)
		pidfd = open_daemon(&t);
	if (pidfd < 0)
		return unmount(t.mount.mountpoint, lazy, err);
	r = unmount_stored(&f, pidfd, err);
	json_decref(f.left);
	return r;
}

const struct cmd cmd_umount = {
	.name = "umount",
	.args = "MOUNTPOINT",
	.help = "store what was changed, unmount, and wait until the daemon has ended",
	.opts = umount_opts,
	.min_args = 1,
	.max_args = 1,
	.run = cmd_umount_run,
};

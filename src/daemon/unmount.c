/* SPDX-License-Identifier: Apache-2.0 */
/* umount2(2) where that is allowed, else the set-user-ID helper of libfuse. Any thread; blocks. */
#include "daemon/unmount.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/mountinfo.h"

extern char **environ;

/* What the helper prints says more than its status, so it goes to our standard error. */
static int unmount_by_helper(const char *mountpoint, bool lazy, struct vmofs_err *err)
{
	const char *argv[] = { "fusermount3", lazy ? "-uz" : "-u", "--", mountpoint, NULL };
	pid_t pid;
	int status;
	int r = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);

	if (r)
		return vmofs_err_set(err, -r, "cannot run fusermount3: %s", strerror(r));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return vmofs_err_set(err, -errno, "cannot wait for fusermount3");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return vmofs_err_set(err, -EBUSY, "fusermount3 could not unmount '%s'", mountpoint);
	return 0;
}

int unmount(const char *mountpoint, bool lazy, struct vmofs_err *err)
{
	if (!umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)))
		return 0;
	if (errno == EPERM)
		return unmount_by_helper(mountpoint, lazy, err);
	if (errno == EBUSY)
		return vmofs_err_set(err, -EBUSY,
				     "'%s' is in use; `vmofs umount -l` detaches it anyway",
				     mountpoint);
	return vmofs_err_set(err, -errno, "cannot unmount '%s': %s", mountpoint, strerror(errno));
}

static bool is_our_mount(const char *mountpoint)
{
	cleanup(mem_freep) struct mountinfo *m = malloc(sizeof *m);

	return m && !mountinfo_find(mountpoint, "fuse.vmofs", m) &&
		!strcmp(m->mountpoint, mountpoint);
}

/* statfs always asks the daemon; what stat says may come from the kernel's cache. */
static bool is_dead(const char *mountpoint)
{
	struct statfs st;

	return statfs(mountpoint, &st) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

int unmount_if_dead(const char *mountpoint, struct vmofs_err *err)
{
	while (is_dead(mountpoint)) {
		int r;

		if (!is_our_mount(mountpoint))
			return vmofs_err_set(err, -ENOTCONN,
					     "'%s' is a dead mount of another program", mountpoint);
		log_info("taking away the dead mount at '%s'", mountpoint);
		r = unmount(mountpoint, true, err);
		if (r < 0)
			return r;
	}
	if (is_our_mount(mountpoint))
		return vmofs_err_set(err, -EBUSY, "'%s' is mounted already", mountpoint);
	return 0;
}

int unmount_resolve(const char *path, char *out)
{
	char copy[PATH_MAX];
	char dir[PATH_MAX];
	const char *base;

	if (realpath(path, out))
		return 0;
	if ((errno != ENOTCONN && errno != ECONNABORTED) || strlen(path) >= sizeof copy)
		return -errno;
	strcpy(copy, path);
	if (!realpath(dirname(copy), dir))
		return -errno;
	strcpy(copy, path);
	base = basename(copy);
	if (snprintf(out, PATH_MAX, "%s/%s", strcmp(dir, "/") ? dir : "", base) >= PATH_MAX)
		return -ENAMETOOLONG;
	return 0;
}

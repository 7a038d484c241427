/* SPDX-License-Identifier: Apache-2.0 */
/* Finding and making the run directory. A mount is known by its device number, which is unique. */
#include "daemon/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macros.h"

enum { RUNDIR_MAX = 90 };

static int place_of_root(char *out, uid_t owner)
{
	if (owner)
		return -ENOENT;
	snprintf(out, RUNDIR_MAX, "/run/vmofs");
	return 0;
}

static int place_of_environment(char *out, uid_t owner)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	if (!owner || owner != geteuid() || !xdg || *xdg != '/')
		return -ENOENT;
	return snprintf(out, RUNDIR_MAX, "%s/vmofs", xdg) < RUNDIR_MAX ? 0 : -ENOENT;
}

/* What the environment of the owner most likely says, when root asks. */
static int place_of_login(char *out, uid_t owner)
{
	char parent[RUNDIR_MAX];

	snprintf(parent, sizeof parent, "/run/user/%u", owner);
	if (!owner || access(parent, F_OK))
		return -ENOENT;
	snprintf(out, RUNDIR_MAX, "/run/user/%u/vmofs", owner);
	return 0;
}

static int place_of_tmp(char *out, uid_t owner)
{
	snprintf(out, RUNDIR_MAX, "/tmp/vmofs-%u", owner);
	return 0;
}

static int (*const places[])(char *out, uid_t owner) = {
	place_of_root,
	place_of_environment,
	place_of_login,
	place_of_tmp,
};

static void write_address(struct sockaddr_un *out, const char *dir, unsigned major, unsigned minor)
{
	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(out->sun_path, sizeof out->sun_path, "%s/%u-%u", dir, major, minor);
}

int rundir_nth_address(struct sockaddr_un *out, unsigned n, uid_t owner, unsigned major,
		       unsigned minor)
{
	char dir[RUNDIR_MAX];

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (!places[i](dir, owner) && !n--) {
			write_address(out, dir, major, minor);
			return 0;
		}
	return -ENOENT;
}

/* Ours alone: a directory that somebody else has put there is not used. */
static int rundir_make(const char *dir)
{
	struct stat st;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return -EPERM;
	if ((st.st_mode & 0777) != 0700 && chmod(dir, 0700) < 0)
		return -errno;
	return 0;
}

int rundir_make_address(struct sockaddr_un *out, unsigned major, unsigned minor,
			struct vmofs_err *err)
{
	char dir[RUNDIR_MAX];
	int r = -ENOENT;

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (places[i](dir, geteuid()))
			continue;
		r = rundir_make(dir);
		if (!r) {
			write_address(out, dir, major, minor);
			return 0;
		}
	}
	return vmofs_err_set(err, r, "cannot use '%s' for the control socket: %s", dir,
			     strerror(-r));
}

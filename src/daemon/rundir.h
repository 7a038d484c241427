/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the control sockets of a user's mounts are: /run/vmofs for root, else $XDG_RUNTIME_DIR/vmofs,
 * else /tmp/vmofs-UID; with mode 0700 and the right owner, or not at all.
 */
#ifndef DAEMON_RUNDIR_H
#define DAEMON_RUNDIR_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>
#include <vmofs/err.h>

/* For the daemon: makes the directory if need be and writes the address of the mount's socket. */
int rundir_make_address(struct sockaddr_un *out, unsigned major, unsigned minor,
			struct vmofs_err *err);

/*
 * For commands: the @n-th place where the mount of user @owner may have its socket. -ENOENT when
 * there are no more places.
 */
int rundir_nth_address(struct sockaddr_un *out, unsigned n, uid_t owner, unsigned major,
		       unsigned minor);

#endif

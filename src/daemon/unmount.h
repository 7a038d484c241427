/* SPDX-License-Identifier: Apache-2.0 */
/* Taking a mount away from outside its daemon, as root or through fusermount3. */
#ifndef DAEMON_UNMOUNT_H
#define DAEMON_UNMOUNT_H

#include <stdbool.h>
#include <vmofs/err.h>

/* @lazy: off the tree now, gone when the last user has closed it. -EBUSY: somebody uses it. */
int unmount(const char *mountpoint, bool lazy, struct vmofs_err *err);

/* A mount of ours whose daemon has died is taken away; -EBUSY when there is a live one. */
int unmount_if_dead(const char *mountpoint, struct vmofs_err *err);

/*
 * The absolute path of @path, whose last component may be a dead mount. -errno as from realpath(3).
 * @out has PATH_MAX bytes.
 */
int unmount_resolve(const char *path, char *out);

#endif

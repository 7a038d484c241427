/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a mount's life that mount.c puts in order: those about what it shows. */
#ifndef DAEMON_MOUNT_PRIVATE_H
#define DAEMON_MOUNT_PRIVATE_H

#include "daemon/mount.h"

/* Set-up, in this order. The second one makes the tree too. */
int mount_check_mountpoint(struct mount *m, struct vmofs_err *err);
int mount_open_source(struct mount *m, struct vmofs_err *err);

/*
 * The end, in this order: what is asked of the source ends while the session still serves; reads end; everything
 * is freed, of a half-made mount too.
 */
void mount_stop_source(struct mount *m);
void mount_close_objects(struct mount *m);
void mount_free_source(struct mount *m);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a mount's life that mount.c puts in order: those about what it shows, and its disk cache. */
#ifndef DAEMON_MOUNT_PRIVATE_H
#define DAEMON_MOUNT_PRIVATE_H

#include "daemon/mount.h"

/* Set-up, in this order. The second one makes the tree too. */
int mount_check_mountpoint(struct mount *m, struct vmofs_err *err);
int mount_open_source(struct mount *m, struct vmofs_err *err);

/* Without a cache directory it does nothing. Its end: every object is closed; what waits is written. */
int mount_open_cache(struct mount *m, struct vmofs_err *err);
void mount_free_cache(struct mount *m);

/*
 * The end, in this order: what is asked of the source ends while the session still serves; reads end; everything
 * is freed, of a half-made mount too.
 */
void mount_stop_source(struct mount *m);
void mount_close_objects(struct mount *m);
void mount_free_source(struct mount *m);

#endif

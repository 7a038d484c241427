/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The step of a mount with the option `cow`: what it shows becomes the lower part of a source whose upper part is a local directory
 * (cow/cow.h). Set-up path of the main thread.
 */
#ifndef DAEMON_MOUNT_COW_H
#define DAEMON_MOUNT_COW_H

#include <stdbool.h>
#include <vmofs/err.h>
#include <vmofs/source.h>

struct mount;

/* Puts it over m->source; without the option it does nothing. */
int mount_cow_over(struct mount *m, struct vmofs_source_info *info, struct vmofs_err *err);
/* Opens the one object that the source is, as a tree with that alone in it. @name NULL: the object's own. */
int mount_cow_open(struct mount *m, const struct vmofs_provider_ops *ops, const char *name,
		   struct vmofs_source_info *info, struct vmofs_err *err);

#endif

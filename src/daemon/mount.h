/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mount from its options to its end: provider, memory, pages, namespace, kernel, control socket.
 * A daemon has one; everything hangs on this struct, so that more can live side by side later on.
 */
#ifndef DAEMON_MOUNT_H
#define DAEMON_MOUNT_H

#include <stdint.h>
#include <vmofs/err.h>
#include <vmofs/provider.h>

#include "base/config.h"
#include "fs/object.h"
#include "fs/session.h"
#include "fs/tree.h"
#include "vm/pool.h"

struct control;
struct ready;

struct mount_params {
	const struct vmofs_config *config; /* borrowed */
	const char *source;
	const char *mountpoint; /* absolute */
	bool foreground;
};

/* Fixed once the mount is up; the parts have their own locks. */
struct mount {
	struct mount_params p;
	uint64_t start_ns;
	struct loop_pool *loops; /* owned, as all below */
	struct vm_pool *pool;
	struct vmofs_provider *provider;
	struct vmo *vmo;
	struct fs_object object;
	char name[256]; /* of the file in the mounted directory */
	struct fs_tree *tree;
	struct fs_session *session;
	struct control *control; /* NULL: no run directory could be used */
	int ended_fd;            /* eventfd: the kernel has ended the connection */
	int signal_fd;
};

/*
 * Sets everything up, tells @ready, serves until unmounted or signalled, takes everything down.
 * Returns -errno only for what failed before the mount was usable.
 */
int mount_run(const struct mount_params *p, struct ready *ready, struct vmofs_err *err);

#endif

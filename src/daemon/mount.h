/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mount from its options to its end: one object or a tree of them, memory, pages, namespace, kernel,
 * control socket. A daemon has one; everything hangs on this struct, so that more can live side by side later on.
 */
#ifndef DAEMON_MOUNT_H
#define DAEMON_MOUNT_H

#include <stdint.h>
#include <vmofs/err.h>
#include <vmofs/provider.h>

#include "base/config.h"
#include "daemon/mount_write.h"
#include "daemon/pin_set.h"
#include "fs/object.h"
#include "fs/object_cache.h"
#include "fs/session.h"
#include "fs/tree.h"
#include "vm/pool.h"

struct cache;
struct control;
struct ready;

struct mount_params {
	const struct vmofs_config *config; /* borrowed */
	const char *source;
	const char *mountpoint; /* absolute */
	bool foreground;
	/* With cow: what tells this child of the source from others; NULL: it is the only one. */
	const char *cow_name;
};

/* Fixed once the mount is up; the parts have their own locks. */
struct mount {
	struct mount_params p;
	uint64_t start_ns;
	struct loop_pool *loops; /* owned, as all below */
	struct vm_pool *pool;
	char *cache_dir; /* absolute; NULL, and so the next two: there is none */
	struct cache *disk_cache;
	struct disk_io *disk;
	char *url; /* what it shows, without credentials */
	/* One object; a tree has none of these. */
	struct vmofs_provider *provider;
	struct vmo *vmo;
	struct fs_object object;
	char name[256]; /* of the file in the mounted directory */
	bool at_file;   /* the mountpoint is a regular file */
	/* A tree; one object has none of these. */
	struct vmofs_source *source;
	struct object_cache *cache;
	struct mount_write write;
	/* With cow; NULL without: where what is changed is kept, and the memory for what is below that. */
	char *cow_dir;
	struct vm_pool *cow_pool;

	struct fs_tree *tree;
	struct pin_set pins;
	struct fs_session *session;
	struct control *control; /* NULL: no run directory could be used */
	int ended_fd;            /* eventfd: the kernel has ended the connection */
	int signal_fd;
	bool trimmed; /* main thread: memory has gone back since the last request */
};

/*
 * Sets everything up, tells @ready, serves until unmounted or signalled, takes everything down.
 * Returns -errno only for what failed before the mount was usable.
 */
int mount_run(const struct mount_params *p, struct ready *ready, struct vmofs_err *err);

/*
 * Stores what the journal has of p->source, for at most @ns (0: as long as it takes), without mounting anything. @left: what is
 * left then, as the command "writing" tells it, with how many were "found"; the caller owns it.
 */
int mount_recover(const struct mount_params *p, uint64_t ns, const struct mount_write_look *look,
		  json_t **left, struct vmofs_err *err);

/* The counters of the provider, or of the source and all its objects. Any thread. */
void mount_source_stats(struct mount *m, struct vmofs_provider_stats *out);

#endif

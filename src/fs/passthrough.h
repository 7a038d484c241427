/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that the kernel reads itself, from the disk cache: FUSE passthrough. Here it is decided how an
 * open of an inode is answered; nothing here reads.
 *
 * The kernel knows one mode for an inode, from its first open to its last release, and answers EIO to an open that
 * was given the other one. A release comes when the file is closed and, where the mode is cached, no mapping of it
 * is left; so what is counted here are opens and releases.
 *
 *   CLOSED  -> CACHED   an open; the disk cache has not all of it
 *   CLOSED  -> THROUGH  an open; the disk cache lends its file, and the kernel has taken it
 *   CACHED  -> CLOSED   the last release
 *   THROUGH -> CLOSED   the last release: the kernel lets go of the file, then the disk cache gets it back
 *
 *   CLOSED:  opens == 0, and it is about to go
 *   THROUGH: backing > 0, of one file of the cache, which stays whole meanwhile
 *   CACHED:  backing == 0
 *
 * A mapping of a passthrough file is one of the cache's file, and outlives the release, and even the daemon. It stays
 * right because the cache never changes a file that it has once lent: it only unlinks it.
 */
#ifndef FS_PASSTHROUGH_H
#define FS_PASSTHROUGH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/rbtree.h"
#include "base/sync.h"

struct fs_object;

enum pass_state { PASS_CLOSED, PASS_CACHED, PASS_THROUGH, PASS_NSTATES };

/* An inode that is open; lock: passthrough.lock, all of it. */
struct pass_inode {
	struct rb_node node;
	struct fs_object *object; /* borrowed: it is open */
	enum pass_state state;
	int backing; /* the kernel's number for the cache's file */
	unsigned opens;
};

/* Who lends, and who takes. None blocks; called without locks, from the loops. */
struct passthrough_ops {
	/* A descriptor of all of @o's contents until unlend(), or -errno: not now. */
	int (*lend)(struct fs_object *o);
	void (*unlend)(struct fs_object *o);
	/* The kernel takes it: a number > 0, or -errno. */
	int (*take)(void *arg, int fd);
	/* Not called at the end of the connection, which drops all. */
	void (*drop)(void *arg, int backing);
};

struct passthrough {
	const struct passthrough_ops *ops;
	void *arg; /* of take() and drop() */
	bool able; /* fixed before the first open: the kernel knows it, and opens are counted */
	_Atomic bool on;          /* opens try it */
	_Atomic uint64_t n_opens; /* answered so */
	struct mutex lock;
	struct rb_tree inodes; /* lock: lock; by number */
};

void passthrough_init(struct passthrough *p, const struct passthrough_ops *ops, void *arg);
/* No request is under way. What the kernel has left open is given back. */
void passthrough_release(struct passthrough *p);
/* The kernel can do it. Before the first open. */
void passthrough_enable(struct passthrough *p);

/*
 * An open of @o is about to be answered: *backing for the answer, 0: by the page cache. 0, or -ENOMEM: the open
 * fails, and is not counted.
 */
int passthrough_open(struct passthrough *p, struct fs_object *o, int *backing) EXCLUDES(p->lock);
/* A release of it, or the kernel did not want the answer. @o is still the caller's. */
void passthrough_close(struct passthrough *p, struct fs_object *o) EXCLUDES(p->lock);

/* The only function that writes i->state. */
void pass_set_state(struct pass_inode *i, enum pass_state to);

/* A mount's: lent by the object's tier, taken through the FUSE device whose descriptor is *@arg (an int). */
extern const struct passthrough_ops passthrough_kernel;

#endif

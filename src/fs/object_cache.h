/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects of a tree that have pages: those that are open and those that were lately. An object is
 * made at its first open, without asking the origin, and kept after the last close until others
 * need its place (least recently used first, by number and by what they cost), so that it may be opened
 * again with its pages. A file that was never opened costs nothing here.
 *
 * Objects are known by inode number, which stands for one version: a changed file has another number.
 */
#ifndef FS_OBJECT_CACHE_H
#define FS_OBJECT_CACHE_H

#include <vmofs/source.h>

#include "fs/object.h"
#include "vm/pool.h"

struct object_cache;

struct object_cache_params {
	struct vm_pool *pool;        /* borrowed */
	struct vmofs_source *source; /* borrowed */
	struct disk_io *disk;        /* borrowed; keeps contents beyond this process; NULL: none */
	uint64_t readahead_max;      /* see object.h */
	uint64_t keep_behind;
	uint64_t delay_ns;
	unsigned
		idle_max; /* objects that nobody has open; each costs about 2 KiB beside its pages */
};

int object_cache_new(struct object_cache **out, const struct object_cache_params *p,
		     struct vmofs_err *err);
/* Every object closes: parked reads end with -ESHUTDOWN. Later opens give that too. */
void object_cache_close(struct object_cache *c);
/*
 * Closed, and nobody uses an object any more. Those that were never put, because the kernel has gone
 * before it could release them, are freed all the same. NULL is fine.
 */
void object_cache_free(struct object_cache *c);

/*
 * The object @ino, made of @e when there is none. Never waits for the network; not under the tree's
 * lock. One reference, the caller's.
 */
int object_cache_open(struct object_cache *c, uint64_t ino, const struct vmofs_entry *e,
		      struct fs_object **out);
/* The object @ino when there is one, with a reference; else NULL. */
struct fs_object *object_cache_find(struct object_cache *c, uint64_t ino);
void object_cache_put(struct object_cache *c, struct fs_object *o); /* NULL is fine */
/* The inode is gone or another version: an idle object goes at once, an open one at its last put. */
void object_cache_forget(struct object_cache *c, uint64_t ino);
/* The contents of the inode have changed: an idle object goes; who has it open knows of it. */
void object_cache_forget_idle(struct object_cache *c, uint64_t ino);

/*
 * Whoever uses @o may go on; nobody finds it any more, and the next open makes another one. It has a user. For good:
 * see fs_object.retired.
 */
void object_cache_retire(struct object_cache *c, struct fs_object *o);

/* Calls @fn for each that is there at the call; it stays meanwhile, and no lock is held. */
void object_cache_each(struct object_cache *c, void (*fn)(void *arg, struct fs_object *o),
		       void *arg);

/* Idle objects that have lost all their pages go; for idle times. */
void object_cache_trim(struct object_cache *c);

struct object_cache_stats {
	uint64_t open; /* gauges */
	uint64_t idle;
	uint64_t opened; /* made, since the beginning */
	uint64_t reused; /* opens that found one without users */
};
void object_cache_stats(struct object_cache *c, struct object_cache_stats *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of a tree. It tells the kernel of names that stand for something else, looks whether a local source
 * has changed, and gives freed memory back to the system. It serves no requests: telling the kernel waits
 * for requests in the same directory, so whoever answers those must never do it.
 */
#ifndef FS_INVALIDATE_H
#define FS_INVALIDATE_H

#include <stddef.h>
#include <stdint.h>

#include "fs/tree.h"

struct invalidator;
struct loop_pool;

/* @poll is called by the thread every second; NULL: there is nothing to look for. @loops may be NULL. */
struct invalidator *invalidator_new(struct loop_pool *loops, void (*poll)(void *arg), void *arg);
/* The kernel is told all that was asked for, and the thread ends. Not from a loop. */
void invalidator_stop(struct invalidator *v);
void invalidator_free(struct invalidator *v);

/* NULL: nobody is told any more, and nobody is being told when it returns. */
void invalidator_set_notify(struct invalidator *v, const struct fs_tree_notify *n);

/* Any thread, under any lock up to LOCK_RANK_OBJECTS. What cannot be queued is not told: the TTL will. */
void invalidator_add(struct invalidator *v, uint64_t parent, const char *name, size_t len);
void invalidator_trim(struct invalidator *v);

#endif

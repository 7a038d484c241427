/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that a command has pinned: each is held open, or its object could go with its pages, and its
 * inode is held as the kernel would, or its path could come to stand for another one.
 */
#ifndef DAEMON_PIN_SET_H
#define DAEMON_PIN_SET_H

#include <stdint.h>
#include <vmofs/list.h>

#include "base/sync.h"

struct fs_object;
struct fs_tree;

struct pin_set {
	struct mutex lock;
	struct vmofs_list pins; /* lock: lock */
};

void pin_set_init(struct pin_set *s);
/* The objects' owner frees them: they need not be closed any more. */
void pin_set_release(struct pin_set *s);

/* Keeps the file at @path. Waits for its name until @deadline_ns (0: for ever). */
int pin_set_add(struct pin_set *s, struct fs_tree *t, const char *path, uint64_t deadline_ns)
	EXCLUDES(s->lock);
/* Lets go of what is kept of the same origin as @o, whatever its version. */
void pin_set_remove(struct pin_set *s, struct fs_tree *t, struct fs_object *o) EXCLUDES(s->lock);

#endif

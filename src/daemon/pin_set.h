/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a command has pinned: each is held open, or its object could go with its pages. */
#ifndef DAEMON_PIN_SET_H
#define DAEMON_PIN_SET_H

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

/* Keeps @o, which the caller has open (it still has to close it), open. 0 or -ENOMEM. */
int pin_set_add(struct pin_set *s, struct fs_tree *t, struct fs_object *o) EXCLUDES(s->lock);
/* Closes what is kept of the same origin as @o, whatever its version. */
void pin_set_remove(struct pin_set *s, struct fs_tree *t, struct fs_object *o) EXCLUDES(s->lock);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Brings contents in for a command, which waits for them; and of whole directories. Threads of commands. */
#ifndef DAEMON_OBJECT_FETCH_H
#define DAEMON_OBJECT_FETCH_H

#include <stdatomic.h>
#include <stdint.h>
#include <vmofs/err.h>

struct fs_object;
struct mount;
struct vmo;

/* Of what must not be thrown out again while a command goes on. */
uint64_t object_fetch_room(struct mount *m);
/* @each (NULL: nothing) is called for every step that has come, and may fail. */
int object_fetch(struct fs_object *o, uint64_t off, uint64_t end,
		 int (*each)(struct vmo *v, uint64_t off, uint64_t len),
		 const atomic_bool *cancelled, struct vmofs_err *err);

struct object_fetch_sum {
	uint64_t files;
	uint64_t bytes;
};
/*
 * All files below the directory @path, in order. One that cannot be read is passed over, and is
 * what @err tells in the end. -ENOSPC: the next one does not fit.
 */
int object_fetch_dir(struct mount *m, const char *path, uint64_t timeout_ns,
		     const atomic_bool *cancelled, struct object_fetch_sum *sum,
		     struct vmofs_err *err);

#endif

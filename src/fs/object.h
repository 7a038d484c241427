/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One object as the file system shows it: its pages, where it comes from, and the streams that read
 * it. Fixed after fs_object_init(); the parts have their own locks.
 */
#ifndef FS_OBJECT_H
#define FS_OBJECT_H

#include <stdint.h>
#include <vmofs/provider.h>

#include "fs/behind.h"
#include "fs/stream.h"
#include "vm/vmo.h"

struct fs_object {
	struct vmofs_object_info info;
	struct vmofs_provider *provider; /* borrowed */
	struct vmo *vmo;                 /* counted */
	uint64_t ino;                    /* its number in the tree, given by the tree */
	struct stream_set streams;
	struct behind behind;
};

/* Takes a reference to @vmo. @keep_behind: see behind.h; @delay_ns: see stream.h. */
void fs_object_init(struct fs_object *o, const struct vmofs_object_info *info,
		    struct vmofs_provider *provider, struct vmo *vmo, uint64_t readahead_max,
		    uint64_t keep_behind, uint64_t delay_ns);
void fs_object_release(struct fs_object *o);

/* A read has been started: lets go what its stream left behind, asks for what it needs next. */
void fs_object_read_ahead(struct fs_object *o, uint64_t off, uint64_t len, bool missed,
			  uint64_t deadline_ns);

/*
 * The extended attribute @name as text without a final zero. Returns its length and *value, which
 * the caller frees; -ENODATA when there is no such attribute or nothing to say.
 */
int64_t fs_object_xattr(struct fs_object *o, const char *name, char **value);
/* The names of those that have a value, each ended by a zero. Same ownership. */
int64_t fs_object_xattr_list(struct fs_object *o, char **names);

#endif

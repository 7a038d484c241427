/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One object as the file system shows it: its pages, where it comes from, and the streams that read
 * it. Fixed after fs_object_init(); the parts have their own locks. There may be many thousands, so
 * what is long or seldom is kept compact: texts in one piece, read-ahead only where a file is long enough.
 */
#ifndef FS_OBJECT_H
#define FS_OBJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/provider.h>

#include "fs/stream.h"
#include "vm/vmo.h"

/* Objects up to this size have no read-ahead of their own: the kernel asks for them in one piece or two. */
#define FS_OBJECT_SMALL (UINT64_C(64) << 10)

struct disk_io;
struct disk_tier;
struct fs_ahead;

struct fs_object {
	struct vmofs_provider *provider; /* borrowed */
	struct vmo *vmo;                 /* counted */
	uint64_t ino;                    /* its number in the tree, given by the tree */
	uint64_t size;          /* that it was made with; one that is changed: vmo_size() */
	struct timespec mtime;  /* tv_sec 0: not known */
	char *text;             /* owned: URL and validator, each ended by a zero; identity */
	struct fs_ahead *ahead; /* counted; NULL: small */
	/* Owned; NULL: not kept on disk, or not yet: then @disk is where it may be. Set once. */
	struct disk_tier *_Atomic tier;
	struct disk_io *_Atomic disk; /* borrowed */
	bool weak; /* the validator cannot prove that two bytes are of one version */
	bool has_identity;
	bool local;   /* not kept on disk: it is there already */
	bool retired; /* lock: the local's; its VMO is going to be closed (see local.h) */
};

struct fs_object_params {
	uint64_t readahead_max; /* see stream.h */
	uint64_t keep_behind;   /* the same */
	uint64_t delay_ns;      /* how far the origin seems to be; 0: not known */
};

/* Takes a reference to @vmo. 0 or -ENOMEM. */
int fs_object_init(struct fs_object *o, const struct vmofs_object_info *info,
		   struct vmofs_provider *provider, struct vmo *vmo,
		   const struct fs_object_params *p);
/*
 * Keeps its contents on disk too, if @disk is one and the version can be proved later: from the beginning, or from when
 * the origin has told it. A want of memory only means that it is not kept; of the first that cannot be proved the log tells.
 */
void fs_object_use_disk(struct fs_object *o, struct disk_io *disk);
/* An answer has come: perhaps it told the version. */
void fs_object_look_at_version(struct fs_object *o);
/* Also of one that is zeroed. Its VMO is closed with a tier. */
void fs_object_release(struct fs_object *o);

/* Where it comes from, without credentials; and what proves its version, "" when nothing does. */
const char *fs_object_url(const struct fs_object *o);
const char *fs_object_validator(const struct fs_object *o);
/* VMOFS_IDENTITY_LEN bytes; NULL: the URL is the identity. */
const uint8_t *fs_object_identity(const struct fs_object *o);

/*
 * How @o is read, with a reference: once a read has been answered its file may be closed and @o be gone,
 * while this and its VMO stay. NULL: it is small.
 */
struct fs_ahead *fs_ahead_get(struct fs_object *o);
void fs_ahead_put(struct fs_ahead *a);
/* A read has been started: lets go what its stream left behind, asks for what it needs next. */
void fs_ahead_read(struct fs_ahead *a, uint64_t off, uint64_t len, enum stream_how how,
		   uint64_t deadline_ns);
/* A read that missed is being answered, @took_ns after it came. */
void fs_object_served(struct fs_object *o, uint64_t off, uint64_t len, uint64_t took_ns);

/*
 * The extended attribute @name as text without a final zero. Returns its length and *value, which
 * the caller frees; -ENODATA when there is no such attribute or nothing to say.
 */
int64_t fs_object_xattr(struct fs_object *o, const char *name, char **value);
/* The names of those that have a value, each ended by a zero. Same ownership. */
int64_t fs_object_xattr_list(struct fs_object *o, char **names);

#endif

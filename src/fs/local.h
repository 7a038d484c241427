/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are changed here: what joins the namespace (tree.h), the objects (object_cache.h), what the origin can be told
 * (<vmofs/change.h>) and the writer (write/writer.h) of one mount. It knows which inode is which wfile, and
 * what names are at the origin; nothing of FUSE's requests, which are in ops_write.c and ops_names.c.
 *
 * In a mount that can be written every open file of the kernel's is a handle here, also those that only read. An inode that is
 * open or has a wfile has one `struct local_file`:
 *
 *   the first open for writing makes the VMO writable and a wfile of it; the inode is *held* in the tree from then on;
 *   nobody has it open for writing any more, and the origin has all of it: it is *settled*, under the same number;
 *   nobody has it open at all, and it is settled: it rests with its pages, the one that rested longest goes first.
 *
 * The wfile lives as long as the local_file, and the VMO of an object that has had one is closed with it: such an
 * object is then made anew. What changes one file (opens for writing, settling, its names) is done by one thread at a
 * time, who has *entered* it.
 *
 * Locks: local.lock (LOCK_RANK_LOCAL, within the tree's) has the table and the counts. Calls that may block say so.
 */
#ifndef FS_LOCAL_H
#define FS_LOCAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <vmofs/change.h>
#include <vmofs/err.h>
#include <vmofs/source.h>

#include "fs/tree.h"
#include "write/writer.h"

struct local;
struct local_handle;
struct object_cache;

struct local_params {
	struct object_cache *cache;  /* borrowed */
	struct vmofs_source *source; /* borrowed; source->ops->change is not NULL */
	uint64_t timeout_ns;         /* of one change at the origin; 0: none */
	bool links;                  /* symbolic links are shown, so they can be made */
	unsigned can;                /* of the source, as the next: see struct vmofs_source_info */
	unsigned key_max;
	bool fixed; /* the names that there are stay, and no others come: -EPERM */
};

/*
 * The parts need each other, so they are made in this order: local_new(); the tree, with local_attr() and the local; the
 * writer, with local_stored(), local_let_go() and the local; local_set(). Then local_recover(), before the kernel asks.
 */
int local_new(struct local **out, const struct local_params *p, struct vmofs_err *err);
void local_set(struct local *l, struct fs_tree *t, struct writer *w);
/*
 * No request is under way, the writer has been stopped and the VMOs are closed. Before writer_free() and object_cache_free(), for it has
 * wfiles and objects. NULL is fine.
 */
void local_free(struct local *l);

/* No names can be changed; see local_params. */
bool local_is_fixed(const struct local *l);

/* Of fs_tree_source_params: local_attr; local_arg is the local. */
void local_attr(void *local, uint64_t ino, struct stat *st);
/* Of writer_params: stored, let_go; arg is the local. */
void local_stored(void *local, uint64_t ino, const struct vmofs_version *now);
void local_let_go(void *local, void *keep);

/* What the journal has becomes files of the tree. Blocks. 0, or why the journal cannot be read. */
int local_recover(struct local *l);
/*
 * As wfile_resolve(), of the file @ino; afterwards the origin's version is shown where that was decided. -ENOENT: nothing of it was
 * changed here. Blocks.
 */
int local_resolve(struct local *l, uint64_t ino, enum wfile_resolve how, const char *key,
		  struct vmofs_err *err);

/*
 * The wfile of @ino, counted, if what cannot be read of it may be readable when it has been stored (wfile_is_unsettled()); NULL. Never
 * blocks.
 */
struct wfile *local_unsettled(struct local *l, uint64_t ino);

/* ---- open files ---- */

/* A reader of @o, whose reference goes to the handle. Never blocks. -EAGAIN: @o is about to go, open it again. -ENOMEM. */
int local_open_read(struct local *l, struct fs_object *take_o, struct local_handle **out);
/* Blocks. @truncate: to nothing. -ESTALE: the number has no name any more; else what the origin or the VMO says. */
int local_open_write(struct local *l, uint64_t ino, bool truncate, struct local_handle **out);
/*
 * Makes a file, and opens it for writing. Counts one reference of the tree's. Without @excl one that is there already
 * is opened. Blocks.
 */
struct local_create {
	uint64_t parent;
	const char *name;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	bool excl;
	bool truncate;
};
int local_create(struct local *l, const struct local_create *c, struct local_handle **out,
		 struct fs_tree_attr *attr);
/* False: nothing has happened, local_close() has more to do, and may block. */
bool local_close_now(struct local *l, struct local_handle *h);
void local_close(struct local *l, struct local_handle *h);

struct fs_object *local_object(const struct local_handle *h); /* borrowed */
struct wfile *local_wfile(const struct local_handle *h);      /* borrowed; NULL: it only reads */

/*
 * close() waits for a store, so FLUSH is of use. Else the last release of a file that is open for writing has it stored
 * soon: FLUSH comes also for every child that ends with it.
 */
bool local_close_waits(const struct local *l);

/*
 * wfile_fsync() or, @closing, wfile_closed(), with what this handle has been told of: begun while it is open, and going on
 * though it may be closed meanwhile.
 */
struct local_sync {
	struct local_handle *handle; /* counted */
	struct wfile *wfile;         /* counted */
	uint64_t since;
	bool closing;
};
/* Never blocks. False: nothing of it was changed here. */
bool local_sync_begin(struct local *l, struct local_handle *h, bool closing,
		      struct local_sync *out);
/* Blocks. */
int local_sync_wait(struct local *l, struct local_sync *s);
void local_sync_end(struct local *l, struct local_sync *s);

/* ---- extended attributes; both block ---- */

/* The origin keeps them. */
bool local_has_xattrs(const struct local *l);
/* All of the file @ino, counted; also such as are not user.*. */
int local_xattrs(struct local *l, uint64_t ino, struct vmofs_xattrs **out);
/* @a->value NULL: that one goes. As setxattr(2) says, and -EOPNOTSUPP of what is no file. */
int local_set_xattr(struct local *l, uint64_t ino, const struct vmofs_xattr *a,
		    enum vmofs_xattrs_how how);

/* ---- names; all block, 0 or -errno as system calls have it ---- */

int local_unlink(struct local *l, uint64_t parent, const char *name);
int local_mkdir(struct local *l, const struct local_create *c, struct fs_tree_attr *attr);
int local_rmdir(struct local *l, uint64_t parent, const char *name);
int local_symlink(struct local *l, const struct local_create *c, const char *target,
		  struct fs_tree_attr *attr);
/* Mode, owner and time of a directory, by `has`. Of the root nothing changes. */
int local_set_dir_attr(struct local *l, uint64_t ino, const struct vmofs_change_attr *a);
/*
 * A directory with all that is in it, key by key; -EXDEV where that is too much. @no_replace: -EEXIST where @new_name is something. After
 * a failure in between a file may have both names at the origin, never none.
 */
struct local_rename {
	uint64_t parent;
	const char *name;
	uint64_t new_parent;
	const char *new_name;
	bool no_replace;
};
int local_rename(struct local *l, const struct local_rename *rn);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the local share:
 *
 *   local.c        the table, entering, what rests, the life, what the writer tells
 *   local_file.c   opens and closes, settling
 *   local_names.c  names: unlink, mkdir, rmdir, symlink, rename
 *   local_keep.c   what is open when the origin loses it
 *   local_turn.c   whose turn it is to change names
 *   local_xattr.c  extended attributes; local_dir.c: attributes of directories
 *   local_move.c   rename of a directory with something in it; local_keys.c: its keys at the origin
 */
#ifndef FS_LOCAL_PRIVATE_H
#define FS_LOCAL_PRIVATE_H

#include "base/rbtree.h"
#include "base/sync.h"
#include "fs/local.h"
#include "fs/object.h"

enum { LOCAL_REST_MAX = 256 };

/* What the origin still has of a file that was removed while it was open. */
struct local_removal {
	struct vmofs_list link;  /* in local.removals */
	struct local_file *file; /* has it */
	/* lock: local.lock */
	bool taken; /* another file replaces it, and sees to it that it goes */
	bool kept;  /* local_keep_removed() */
	struct vmofs_version version;
	char key[];
};

/* An inode that is open, or has a wfile. lock: local.lock, all but what who entered it may read. */
struct local_file {
	struct rb_node node;
	uint64_t ino;
	struct vmofs_list rest;        /* in local.rest while it rests; else empty */
	unsigned users;                /* handles, and threads that look at it */
	unsigned handles;              /* of the kernel's */
	unsigned writers;              /* of them; changed by who entered it */
	bool entered;                  /* by a thread */
	bool stored;                   /* the writer has told of a store that is not settled yet */
	struct wfile *wfile;           /* counted; set once, by who entered it */
	struct fs_object *object;      /* borrowed from the wfile, which has a reference */
	struct local_removal *removal; /* owned; by who entered it */
	struct vmofs_list open;        /* the handles */
	/* Owned; by who entered it. Was never stored, and the first store replaces this; NULL: nothing. */
	struct vmofs_version *replaces;
	/* Not beside those of the lock: what is asked for together may be read as one word. */
	bool held; /* in the tree; by who entered it, with the lock; local_set_held() */
	bool gone; /* removed, or its contents are given up: it does not rest; by who entered it */
};

struct local_handle {
	struct vmofs_list link; /* lock: local.lock; in file->open */
	struct local_file *file;
	struct fs_object *object; /* counted */
	bool write;
	unsigned refs;  /* lock: local.lock; of syncs, and one while it is open */
	uint64_t since; /* lock: local.lock; of wfile_fsync() */
};

/* Somebody who changes names; see local_turn.c. */
struct local_turn {
	struct vmofs_list link; /* lock: local.lock; in local.turns */
	bool dirs; /* what is at these keys gets another name, with all that is below; else names in them change */
	char key[2][VMOFS_KEY_MAX]; /* of directories */
};

struct local_place {
	uint64_t parent;
	const char *name;
};

/* Extended attributes as the origin told of them. */
struct local_seen {
	uint64_t ino; /* 0: none */
	uint64_t until_ns;
	struct vmofs_xattrs *xattrs; /* counted; NULL: nothing */
};

struct local {
	struct local_params p;
	struct fs_tree *tree; /* borrowed, as the writer */
	struct writer *writer;
	struct mutex lock;
	struct cond left;           /* somebody has left a file */
	struct rb_tree files;       /* lock: lock; by number */
	struct vmofs_list rest;     /* lock: lock; the one that rested longest first */
	struct vmofs_list removals; /* lock: lock */
	struct vmofs_list turns;    /* lock: lock; in the order in which they were asked for */
	unsigned n_rest;            /* lock: lock */
	struct local_seen seen[64]; /* lock: lock */
	unsigned n_xattrs_changed;  /* lock: lock; here */
};

/* ---- local.c ---- */

/* The file @ino, made if need be, with one more user; NULL: no memory. */
struct local_file *local_use(struct local *l, uint64_t ino) EXCLUDES(l->lock);
struct local_file *local_find_locked(struct local *l, uint64_t ino) REQUIRES(l->lock);
struct local_file *local_use_locked(struct local *l, uint64_t ino) REQUIRES(l->lock);
/* One user less: the last one makes it rest, or go. May block where it has a wfile. */
void local_unuse(struct local *l, struct local_file *f) EXCLUDES(l->lock);
/* For one thread at a time; blocks. Not by a callback of the writer's. */
void local_enter(struct local *l, struct local_file *f) EXCLUDES(l->lock);
/* What was stored meanwhile is settled first. */
void local_leave(struct local *l, struct local_file *f) EXCLUDES(l->lock);

struct vmofs_change_wait local_wait(const struct local *l);
uint64_t local_deadline(const struct local *l);

/* The origin's version of what was removed as @key and is still open, if any. @take: the caller replaces it. */
bool local_removal_of(struct local *l, const char *key, bool take, struct vmofs_version *out)
	EXCLUDES(l->lock);

/* ---- local_dir.c ---- */

/* What the directory @ino has of its own. */
int local_dir_attr(struct local *l, uint64_t ino, struct vmofs_change_attr *out);
/* The origin has it so from now on; where it cannot, that is fine. */
int local_tell_dir(struct local *l, const char *key, const struct vmofs_change_attr *a);

/* ---- local_xattr.c ---- */

/* At the end. */
void local_forget_seen(struct local *l);

/* ---- local_turn.c ---- */

/* Names in the two parents (which may be one) are about to change; or, @dirs, a directory becomes the other. Blocks. 0, -errno. */
int local_turn_begin(struct local *l, struct local_turn *t, const struct local_place p[2],
		     bool dirs) EXCLUDES(l->lock);
void local_turn_end(struct local *l, struct local_turn *t) EXCLUDES(l->lock);

/* ---- local_keep.c ---- */

/*
 * @f, entered, is about to be replaced at the origin, where its key is @key: if somebody has it open, all of it comes here, where that
 * is not too much. local_kept() says what became of that.
 */
void local_keep(struct local *l, struct local_file *f, const char *key) EXCLUDES(l->lock);
void local_kept(struct local *l, struct local_file *f, bool gone) EXCLUDES(l->lock);
/* The same of what was removed as @key while it was open: before local_removal_of() takes it. No file is entered. */
void local_keep_removed(struct local *l, const char *key) EXCLUDES(l->lock);
/* What was removed as keys below @dir, a directory's, goes at the origin now. 0, -errno. */
int local_clear_removed(struct local *l, const char *dir) EXCLUDES(l->lock);

/* ---- local_names.c ---- */

/* 0 too when nothing was there. @expect NULL: whatever is there. */
int local_origin_remove(struct local *l, const char *key, const struct vmofs_version *expect);

/* The key of @name in @parent, with what keys of such things end in. */
int local_key_in(struct local *l, uint64_t parent, const char *name, const char *suffix,
		 char key[VMOFS_KEY_MAX]);

/* ---- local_move.c ---- */

/* @from becomes @to, which is not there or, @over, empty. -EXDEV: it is too large for that. */
int local_move_dir(struct local *l, const struct local_rename *rn, const char *from, const char *to,
		   bool over);
/* What a crash has left half done. */
void local_resume_moves(struct local *l);

/* ---- local_file.c; the file is entered ---- */

/* Others look at it who have not entered. */
void local_set_held(struct local *l, struct local_file *f, bool held) EXCLUDES(l->lock);

/* Held in the tree, with a wfile. */
int local_begin(struct local *l, struct local_file *f, const struct vmofs_change_attr *attr);
/* No longer held, if nobody writes it and the origin has it all. */
void local_settle(struct local *l, struct local_file *f, bool again);
/* What was known of it is given up. */
void local_unsettle(struct local *l, struct local_file *f);
/* As wfile_renamed() of one that the origin does not have. */
int local_rename_unstored(struct local *l, struct local_file *f, const char *key,
			  const struct vmofs_version *replaces);
/* As the tree has it. */
int local_version_of(struct local *l, uint64_t ino, char key[VMOFS_KEY_MAX],
		     struct vmofs_version *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A namespace as the kernel asks for it: nodes by number, names below a directory. The operations
 * of the mount (ops.c) know no more than this, so that one object (single.c) and a tree of many
 * (tree_source.c) look the same to them. Called from every loop thread at once.
 *
 * Nothing here blocks. An operation that has to wait for the origin queues the caller's `struct
 * fs_tree_wait` and returns -EINPROGRESS; done() says when it is worth asking again, and the caller
 * repeats the whole operation with the same wait. What has been loaded since the first try counts
 * as fresh for it, however short the TTL is, so every repetition makes progress.
 *
 * An inode number stands for one version of a file: what getattr() and open() say of a number does
 * not change, a changed file has another number at its next lookup.
 */
#ifndef FS_TREE_H
#define FS_TREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <vmofs/err.h>
#include <vmofs/list.h>
#include <vmofs/source.h>

struct fs_object;
struct fs_tree;
struct loop_pool;
struct object_cache;

#define FS_TREE_ROOT UINT64_C(1)
/* Of the directory above a file that is the root; see fs_tree_source_params.root_file. */
#define FS_TREE_ABOVE   UINT64_C(2)
#define FS_TREE_FOREVER UINT64_MAX /* as a time to live: the kernel may keep it */

/* One caller that may wait. Zero but for done() at the first try of an operation. */
struct fs_tree_wait {
	/*
	 * Once for every -EINPROGRESS, from any thread without locks, perhaps before the operation
	 * returns. 0: ask again. Else the operation failed with it.
	 */
	void (*done)(struct fs_tree_wait *w, int status);
	/* The tree's own. */
	struct vmofs_list link;
	uint64_t since_ns; /* what was asked for since counts as fresh; 0: the first try */
	unsigned n_heads;  /* that it has waited for */
	bool queued;
	int status;
};

struct fs_tree_attr {
	struct stat st;  /* st_ino: the number the kernel will use */
	uint64_t ttl_ns; /* how long the name stands for it, or, with -ENOENT, for nothing */
	uint64_t attr_ttl_ns;
};

/* What readdir() hands out. */
struct fs_tree_entry {
	const char *name;
	const struct fs_tree_attr *attr; /* without `whole` only st_ino and the type count */
	bool whole;                      /* all attributes are known */
	uint64_t next;                   /* the cookie to go on from */
};
/*
 * Called with the tree's lock held: it copies and calls nobody back. False: no room, stop. Where it
 * returns true for a whole entry of a readdir() with @plus, the node has one reference more.
 */
typedef bool fs_tree_fill(void *arg, const struct fs_tree_entry *e);

/* A file among its siblings, in the order of the directory. */
struct fs_sibling {
	uint64_t ino;
	uint64_t place;
	uint64_t size;
};

/* Why a key is not shown. */
enum fs_hidden {
	FS_HIDDEN_EMPTY,    /* a part of it is empty: "a//b", "/a" */
	FS_HIDDEN_DOT,      /* a part of it is "." or ".." */
	FS_HIDDEN_NUL,      /* a byte of it is zero */
	FS_HIDDEN_LONG,     /* a part of it has more than 255 bytes, or all of it too many */
	FS_HIDDEN_SHADOWED, /* a directory has its name */
	FS_HIDDEN_MARKER,   /* it ends in "/", and has content that no directory can show */
	FS_HIDDEN_NREASONS
};
extern const char *const fs_hidden_names[]; /* for people: "empty component" ... */

struct fs_tree_stats {
	uint64_t nodes; /* gauges */
	uint64_t dirs;
	uint64_t held;       /* by the kernel */
	uint64_t bytes;      /* of metadata, all of it */
	uint64_t free_bytes; /* of it what the kernel does not hold */
	uint64_t negative;   /* names known not to exist */
	uint64_t waiting;
	uint64_t file_bytes; /* sum of the sizes known */
	uint64_t listings;   /* counters: queries sent, by kind */
	uint64_t flat_listings;
	uint64_t lookups;
	uint64_t heads;
	uint64_t requests; /* that they took, as the source told */
	uint64_t failed;   /* of the queries */
	uint64_t entries;  /* that came */
	uint64_t invalidations;
	uint64_t versions;                   /* files that were seen to change */
	uint64_t evicted;                    /* nodes dropped for the soft limit */
	uint64_t hidden[FS_HIDDEN_NREASONS]; /* gauges: keys not shown, of what is listed now */
	struct vmofs_failure last;           /* of a query */
};

/* What the tree tells the kernel by itself. Never called from a loop, no lock held; may block. */
struct fs_tree_notify {
	/* @name in @parent is another thing or nothing now. */
	void (*entry)(void *arg, uint64_t parent, const char *name, size_t len);
	void *arg;
};

struct fs_tree_ops {
	/*
	 * 0, -ENOENT (ttl_ns is filled), -ENOTDIR, -ENAMETOOLONG, -EINPROGRESS, or the failure of a
	 * query. 0 counts one reference of the kernel, which forget() gives back.
	 */
	int (*lookup)(struct fs_tree *t, uint64_t parent, const char *name, struct fs_tree_wait *w,
		      struct fs_tree_attr *out);
	void (*forget)(struct fs_tree *t, uint64_t ino, uint64_t n);
	int (*getattr)(struct fs_tree *t, uint64_t ino, struct fs_tree_wait *w,
		       struct fs_tree_attr *out);
	/* Text without a final zero: returns its length, at most @cap. */
	int64_t (*readlink)(struct fs_tree *t, uint64_t ino, struct fs_tree_wait *w, char *buf,
			    size_t cap);
	/* Cookies are good between these two. NULL: directories never change. */
	int (*opendir)(struct fs_tree *t, uint64_t ino);
	void (*releasedir)(struct fs_tree *t, uint64_t ino);
	/* From @cookie (0: the beginning) as far as there is room; nothing filled: the end. */
	int (*readdir)(struct fs_tree *t, uint64_t ino, uint64_t cookie, bool plus,
		       struct fs_tree_wait *w, fs_tree_fill *fill, void *arg);
	/*
	 * The object behind a regular file, counted, until close(). Asks nobody but where the size
	 * is not known. -EISDIR, -ELOOP, -ESTALE: it has no name any more and is not open.
	 */
	int (*open)(struct fs_tree *t, uint64_t ino, struct fs_tree_wait *w,
		    struct fs_object **out);
	/* The same when there is one already; else NULL. */
	struct fs_object *(*find)(struct fs_tree *t, uint64_t ino);
	void (*close)(struct fs_tree *t, struct fs_object *o); /* NULL is fine */
	/*
	 * False: done() has been or will be called. True: it will not be, and @w is the caller's.
	 */
	bool (*cancel)(struct fs_tree *t, struct fs_tree_wait *w);

	/*
	 * Where the file stands in its directory, counted over all entries in the order of readdir().
	 * False: the directory is not listed whole. NULL: there are no siblings.
	 */
	bool (*place)(struct fs_tree *t, uint64_t ino, uint64_t *dir, uint64_t *place);
	/* Up to @n regular files at @place and after it. Asks nobody, takes no reference. */
	unsigned (*following)(struct fs_tree *t, uint64_t dir, uint64_t place,
			      struct fs_sibling *out, unsigned n);

	/*
	 * Changes made here; NULL in a namespace that can never be changed, -EROFS in one without `local_attr` or that is
	 * immutable. They work in memory, at once, when the origin has been told of them or will be. What was asked for
	 * before one of them and is answered after it does not count for the names it concerns; what is asked for later does.
	 * The kernel is not told, as its own requests bring them; a directory's time changes with what is in it.
	 */
	/*
	 * @name in @parent is made as @e has it (its key does not count): a file, a directory (PREFIX), a symbolic link. What is
	 * `local` is not at the origin yet: a file is held, see hold(); a directory stays until the source has told of it.
	 * Counts one reference. -EEXIST (but for what is not `local` when the source has told the same meanwhile), -ENOTDIR, -ENOENT (the directory has been removed), -ESTALE, -ENAMETOOLONG, -EINVAL (a
	 * name that could not be shown), -ENOMEM.
	 */
	int (*made)(struct fs_tree *t, uint64_t parent, const char *name,
		    const struct vmofs_entry *e, bool local, struct fs_tree_attr *out);
	/*
	 * The name is gone; who has the node open goes on using its number. Not @told: the origin still has the file, so
	 * whatever it tells of that key does not count until gone(). The directory itself stays, also when the origin has no
	 * key in it any more, until it is removed here. -ENOENT, -ENOMEM.
	 */
	int (*removed)(struct fs_tree *t, uint64_t parent, const char *name, bool told);
	/* The origin has been told of what was removed as @key (from entry()), or it will not be: from now on it is believed. */
	void (*gone)(struct fs_tree *t, const char *key);
	/*
	 * The node has another name, with all that is below it, in place of what had that. What is held keeps its numbers. The
	 * file is better held before the origin is told, or what it tells may come first (-ENOENT). The
	 * cached object of a file that is not held is forgotten, for its provider asks by the old key. A link's key that had
	 * a suffix keeps it: entry() tells. -ENOENT, -ENOTDIR, -EINVAL (into itself), -ENAMETOOLONG, -ENOMEM.
	 */
	int (*moved)(struct fs_tree *t, uint64_t parent, const char *name, uint64_t new_parent,
		     const char *new_name);
	/* While that is so, what the source tells of keys below @key ("dir/") does not count: they are about to be removed. */
	void (*away_below)(struct fs_tree *t, const char *key, bool away);
	/*
	 * From now on what the source tells of the file changes nothing, and its size, times and the like are asked of
	 * p.local_attr, until settled(); one that is removed needs none. -ESTALE: it has no name (any more). -EISDIR.
	 */
	int (*hold)(struct fs_tree *t, uint64_t ino);
	/*
	 * It is at the origin as @e (key and type do not count; its mtime is what is shown; what it does not have of mode and owner stays), and
	 * no longer held. The same number stands for it. A cached object that nobody uses is taken for one of the version
	 * before: the caller uses the right one during the call. @e NULL: what was changed here is given up; the name is asked of
	 * the source anew and will have another number, the kernel is told.
	 */
	void (*settled)(struct fs_tree *t, uint64_t ino, const struct vmofs_entry *e);
	/*
	 * The key of @ino (a directory's ends in "/") and what is known of it; the texts of @e are in @key and @validator. A
	 * file that the origin does not have (made, local) has size 0 and validator "". The length, -ESTALE nameless.
	 */
	int (*entry)(struct fs_tree *t, uint64_t ino, char key[VMOFS_KEY_MAX], char validator[512],
		     struct vmofs_entry *e);
	/* The origin has been told of the mode, owner or time (in @e) of a directory. -EROFS, -ENOENT, -ENOTDIR. */
	int (*dir_attr)(struct fs_tree *t, uint64_t ino, const struct vmofs_entry *e);
	/* The number that @name has, if it is known, without a reference; 0. */
	uint64_t (*number)(struct fs_tree *t, uint64_t parent, const char *name);
	/*
	 * Whether nothing is in the directory: 0, -ENOTEMPTY (also for keys that are not shown), -ENOTDIR, or as readdir(). For 0
	 * it is listed anew.
	 */
	int (*empty)(struct fs_tree *t, uint64_t ino, struct fs_tree_wait *w);
	/*
	 * For what was found after a start: the directories down to @key are made where nothing is known of them, then as made()
	 * with `local`; @e may have the version that the changes are based on.
	 */
	int (*made_key)(struct fs_tree *t, const char *key, const struct vmofs_entry *e,
			struct fs_tree_attr *out);

	/* Every object that has pages or may have. */
	void (*each_object)(struct fs_tree *t, void (*fn)(void *arg, struct fs_object *o),
			    void *arg);
	void (*stats)(struct fs_tree *t, struct fs_tree_stats *out);
	/* Examples of keys that are not shown, a few dozen at most; called without locks. */
	void (*each_hidden)(struct fs_tree *t,
			    void (*fn)(void *arg, enum fs_hidden why, const char *key), void *arg);
	/* NULL: nothing is told any more, and entry() does not run when it has returned. */
	void (*set_notify)(struct fs_tree *t, const struct fs_tree_notify *n);
	/*
	 * The beginning of the end, while the session still serves requests: its own thread ends,
	 * every waiter ends with -ESHUTDOWN, later operations that would wait give it at once. The owner
	 * stops the source right before.
	 */
	void (*stop)(struct fs_tree *t);
	/* No request is under way, every query of the source is done. */
	void (*free)(struct fs_tree *t);
};

struct fs_tree {
	const struct fs_tree_ops *ops;
};

/* A wait of NULL, everywhere: where -EINPROGRESS would be returned it is -EAGAIN, and nobody is asked. */

/*
 * The namespace of one object, borrowed: a directory that holds it as @name, or, with @as_root, a
 * root that is the file itself.
 */
int fs_tree_single_new(struct fs_tree **out, struct fs_object *o, const char *name, bool as_root);

struct fs_tree_source_params {
	struct vmofs_source *source;          /* borrowed */
	const struct vmofs_source_info *info; /* not used after creation */
	struct object_cache *cache;           /* borrowed */
	struct loop_pool *loops;              /* borrowed */
	uint64_t ttl_ns;                      /* of what a listing said */
	uint64_t negative_ttl_ns;
	uint64_t timeout_ns; /* of a query; 0: none */
	uint64_t soft_limit; /* bytes of metadata that the kernel does not hold */
	/* Borrowed; NULL: none. The name of the file that is the root, alone in a directory that nobody sees. */
	const char *root_file;
	bool immutable;       /* nothing changes while the mount lives */
	bool object_metadata; /* one HEAD a file: modes, owners, symbolic links */
	uid_t uid;
	gid_t gid;
	mode_t file_mode; /* permissions only */
	mode_t dir_mode;
	uint64_t (*now_ns)(void); /* NULL: loop_now_ns() */
	/*
	 * Size, times and the like of a file that is held: changes what the tree has filled in. Under the tree's lock. NULL: read
	 * only.
	 */
	void (*local_attr)(void *arg, uint64_t ino, struct stat *st);
	void *local_arg;
};
int fs_tree_source_new(struct fs_tree **out, const struct fs_tree_source_params *p,
		       struct vmofs_err *err);

/*
 * For threads that may block: the node at @path below the root ("" or "/": the root), with a
 * reference that ops->forget(ino, 1) gives back. -ETIMEDOUT after @deadline_ns (0: none).
 */
int fs_tree_resolve_wait(struct fs_tree *t, const char *path, uint64_t deadline_ns,
			 struct fs_tree_attr *out);
/* The same for one name in a directory. */
int fs_tree_lookup_wait(struct fs_tree *t, uint64_t parent, const char *name, uint64_t deadline_ns,
			struct fs_tree_attr *out);
/* As ops->readdir(), without attributes. */
int fs_tree_readdir_wait(struct fs_tree *t, uint64_t ino, uint64_t cookie, uint64_t deadline_ns,
			 fs_tree_fill *fill, void *arg);
/* The object of the regular file there, until ops->close(). */
int fs_tree_open_wait(struct fs_tree *t, const char *path, uint64_t deadline_ns,
		      struct fs_object **out);

/* The same by number. */
int fs_tree_open_ino_wait(struct fs_tree *t, uint64_t ino, uint64_t deadline_ns,
			  struct fs_object **out);
/* As ops->empty(). */
int fs_tree_empty_wait(struct fs_tree *t, uint64_t ino, uint64_t deadline_ns);

/* Regular files, one after the other. */
struct fs_tree_files {
	uint64_t timeout_ns; /* of one look at the tree; 0: none */
	const atomic_bool *cancelled;
	/* @path is below the root, without a first slash; @ino is held for the call. -errno ends it all. */
	int (*file)(void *arg, const char *path, uint64_t ino);
	/* What is at @path cannot be looked up or listed: @code. 0: go on with the next. */
	int (*failed)(void *arg, const char *path, int code);
	void *arg;
};
/*
 * Every regular file below the directory @path: those of a directory in its order, then its
 * sub-directories in the same. 0, what a call said, -EINTR when cancelled, or why there is no such directory.
 */
int fs_tree_files_wait(struct fs_tree *t, const char *path, const struct fs_tree_files *f);

#endif

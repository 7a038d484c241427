/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A namespace as the kernel asks for it: nodes by number, names below a directory. The operations
 * of the mount (ops.c) know no more than this, so that a tree of many objects can take the place of the
 * single one. Called from every loop thread at once; nothing here may wait for the network.
 */
#ifndef FS_TREE_H
#define FS_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct fs_object;
struct fs_tree;

#define FS_TREE_ROOT UINT64_C(1)

/* What readdir() hands out; false from the callback: no more room, stop. */
struct fs_tree_entry {
	const char *name;
	const struct stat *st; /* st_ino and the type count */
	uint64_t next;         /* the cookie to go on from */
};
typedef bool fs_tree_fill(void *arg, const struct fs_tree_entry *e);

struct fs_tree_ops {
	/* 0 or -ENOENT, -ENOTDIR. st_ino is the number the kernel will use. */
	int (*lookup)(struct fs_tree *t, uint64_t parent, const char *name, struct stat *st);
	int (*getattr)(struct fs_tree *t, uint64_t ino, struct stat *st);
	int (*readdir)(struct fs_tree *t, uint64_t ino, uint64_t cookie, fs_tree_fill *fill,
		       void *arg);
	/* The object behind a regular file, borrowed; NULL for anything else. */
	struct fs_object *(*object)(struct fs_tree *t, uint64_t ino);
	/* Every object that has pages or may have. */
	void (*each_object)(struct fs_tree *t, void (*fn)(void *arg, struct fs_object *o),
			    void *arg);
	void (*free)(struct fs_tree *t);
};

struct fs_tree {
	const struct fs_tree_ops *ops;
	uint64_t size;    /* bytes of all files, for statfs */
	uint64_t n_files; /* for statfs */
};

/*
 * The namespace of one object, borrowed: a directory that holds it as @name, or, with @as_root, a
 * root that is the file itself.
 */
int fs_tree_single_new(struct fs_tree **out, struct fs_object *o, const char *name, bool as_root);

/* The object at @path below the root ("" or "/": the root); NULL when there is none. */
struct fs_object *fs_tree_find(struct fs_tree *t, const char *path);

#endif

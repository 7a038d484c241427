/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The builder's tree: names (nodes) and what they name (files). Both are numbered, nothing points: 20 bytes a name, 48 a file.
 *
 * A node stays what it is, only its file is exchanged: a name's later entry. A directory's children go one by one when it becomes
 * something else; what is below those cannot be found any more and is never written.
 */
#ifndef IMAGE_LAYER_BUILD_PRIVATE_H
#define IMAGE_LAYER_BUILD_PRIVATE_H

#include "image/layer_build.h"
#include "image/layer_heap.h"

#define LAYER_NONE UINT32_MAX
/* Of a node's file: a hard link whose target has not been found; the rest is its number among those. */
#define LAYER_PENDING UINT32_C(0x80000000)
/* In a directory's flags, here only: an entry told of it or of something in it, other than whiteouts. */
#define LAYER_REAL (1u << 15)
/* Set while the tree is written: lower layers have no part in the directory, it or one above it is opaque. */
#define LAYER_CLOSED (1u << 14)

struct layer_node {
	uint32_t parent; /* LAYER_NONE: it went */
	uint32_t name;
	uint32_t next_hash;
	uint32_t next_child; /* of its parent */
	uint32_t file;       /* or LAYER_PENDING and a number */
};

struct layer_file {
	uint64_t data; /* as in struct layer_inode */
	uint64_t size;
	int64_t mtime;
	uint32_t mtime_nsec;
	uint16_t mode;
	uint16_t flags;
	uint32_t uid;
	uint32_t gid;
	uint32_t xattrs;
	uint32_t
		link; /* a directory: its first child; else its inode number once it has one, 0 before */
};

struct layer_tree {
	struct layer_node *nodes; /* the root is number 0 */
	size_t n_nodes, nodes_cap;
	struct layer_file *files;
	size_t n_files, files_cap;
	uint32_t *buckets;
	unsigned bucket_bits;
	uint64_t key; /* odd */
	uint32_t limit;
};

/* A hard link to what was not there when it came. */
struct layer_pending {
	uint32_t node;
	uint32_t len;
	uint64_t target; /* where in `targets` */
};

struct layer_build {
	enum layer_layout layout;
	struct layer_limits limits;
	struct layer_heap heap;
	struct layer_tree tree;
	uint32_t entries;
	uint64_t placed; /* PAGES: the end of what has a place */
	struct layer_pending *pending;
	size_t n_pending, pending_cap;
	char *targets;
	size_t targets_len, targets_cap;
	struct layer_span *spans;
	size_t n_spans, spans_cap;
	uint8_t (*digests)[LAYER_DIGEST_LEN];
	size_t n_digests, digests_cap;
	uint8_t *windows;
	size_t windows_len, windows_cap;
	void *zstd; /* the context that packs windows */
};

/* A path's next name; names that are "" or "." are passed over. */
struct layer_path {
	const char *p, *end;
};

/* 1: there is one; 0: the end; -EBADMSG: "..", or too long a name. */
int layer_path_next(struct layer_path *path, const char **name, size_t *len);

int layer_tree_init(struct layer_tree *t, uint32_t limit);
void layer_tree_release(struct layer_tree *t);
/* What finds nodes goes: nothing can be added any more. */
void layer_tree_close(struct layer_tree *t);
/* The child with that text as its name; LAYER_NONE. */
uint32_t layer_tree_find(const struct layer_tree *t, uint32_t parent, uint32_t name);
/* A new child, of @file. 0, -E2BIG, -ENOMEM. */
int layer_tree_add(struct layer_tree *t, uint32_t parent, uint32_t name, uint32_t file,
		   uint32_t *node);
int layer_tree_file(struct layer_tree *t, const struct layer_file *f, uint32_t *file);
/* @node becomes another file's; if it was a directory, its children go. */
void layer_tree_set(struct layer_tree *t, uint32_t node, uint32_t file);
/* NULL: a hard link that is pending. */
struct layer_file *layer_tree_file_of(const struct layer_tree *t, uint32_t node);
bool layer_tree_is_dir(const struct layer_tree *t, uint32_t node);

/* The node at a path that has been checked; LAYER_NONE. */
uint32_t layer_build_find(const struct layer_build *b, const char *path, size_t len);
/* Hard links that came before what they link to. -EBADMSG with @err. */
int layer_build_resolve(struct layer_build *b, struct vmofs_err *err);
/* Spans in their order, digests too; those that overlap or leave the blob are refused. */
int layer_build_sort_spans(struct layer_build *b, const struct layer_id *id, struct vmofs_err *err);
/* Bytes of a name as a message can show them; returns @out. */
const char *layer_build_show(const char *p, size_t len, char out[128]);

#endif

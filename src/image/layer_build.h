/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making the index of a layer (layer_index.h) from its entries, in the order of the layer. The rules of layers are here, so that
 * every format has the same: names are cleaned ("./a", "/a", "a/" are "a"), ".." is refused, parents that no entry tells of are
 * implied, of two entries of one name the later counts, hard links have one inode, ".wh.NAME" is a whiteout and
 * ".wh..wh..opq" an opaque directory, other ".wh..wh.*" are left out, sockets too, and in the root what only eStargz needs
 * (".prefetch.landmark", ".no.prefetch.landmark", "stargz.index.json"). A character device 0:0 is a whiteout. Attributes named
 * "trusted.*" and "user.overlay.*" are left out: they are overlayfs' and the machine's, no image has a say in them. The head of
 * layer_build.c has the rules' corners. The same entries make the same bytes.
 *
 * One thread. Everything is in memory until layer_build_end(); what hostile input can make it take is bounded by the limits.
 */
#ifndef IMAGE_LAYER_BUILD_H
#define IMAGE_LAYER_BUILD_H

#include "image/layer_index.h"

struct layer_build;

struct layer_limits {
	uint32_t entries; /* 0: 16 million */
	uint64_t bytes;   /* of names, targets and attributes; 0: 2 GiB */
	uint64_t data;    /* of the layer's data; 0: 1 TiB */
};

/* One entry of a tar or of a table of contents. Everything is borrowed for the call. */
struct layer_entry {
	const char *name;
	size_t name_len;
	mode_t mode; /* S_IFMT and permissions; 0 as S_IFMT: a hard link */
	uint32_t uid;
	uint32_t gid;
	int64_t mtime;
	uint32_t mtime_nsec;
	const char
		*target; /* of a symbolic link; or of a hard one: a name as above, of this layer */
	size_t target_len;
	uint32_t major; /* of a device */
	uint32_t minor;
	uint64_t size; /* of a regular file */
	uint64_t data; /* where it lies in the data; for LAYOUT_PAGES see layer_build_place() */
	const struct layer_xattr *xattrs;
	unsigned n_xattrs;
};

int layer_build_new(struct layer_build **out, enum layer_layout layout,
		    const struct layer_limits *limits);
void layer_build_free(struct layer_build *b); /* NULL is fine */

/*
 * -EBADMSG: the entry cannot be in a layer ("..", too deep, a hard link to what is not there, ...), and then the layer is
 * refused; -E2BIG: over a limit; -ENOMEM; with @err, which names the entry.
 */
int layer_build_entry(struct layer_build *b, const struct layer_entry *e, struct vmofs_err *err);
/* LAYOUT_PAGES: a place for @size bytes, on pages of their own; for the entry's data and its spans. */
int layer_build_place(struct layer_build *b, uint64_t size, uint64_t *data);
/*
 * In any order; those of files that do not count in the end may be there. @digest NULL: it has none. @window: of DEFLATE,
 * 32 KiB at most, as it is (it is compressed here); NULL: none. `digest`, `window` and `window_len` of @s are set here. What is
 * wrong with a span may be found at the end only. -EBADMSG, -E2BIG, -ENOMEM.
 */
int layer_build_span(struct layer_build *b, const struct layer_span *s,
		     const uint8_t digest[LAYER_DIGEST_LEN], const void *window, size_t window_len);

/*
 * The index: *out of *len bytes, from malloc(), checked. Spans that overlap, hard links to nothing: -EBADMSG. With LAYOUT_TAR, all
 * data is [0, id->data_size); else id->data_size is set here. Whatever comes of it, the builder can only be freed then.
 */
int layer_build_end(struct layer_build *b, struct layer_id *id, void **out, size_t *len,
		    struct vmofs_err *err);

/*
 * The merged tree of @n layers (1,024 at most), the lowest first, with whiteouts and opaque directories applied, as an index of
 * LAYOUT_MERGED: inodes say of which layer they are, and their data is where it is there; hard links are those within one layer,
 * and nlink counts those that are left. No directory is opaque or implied any more.
 */
int layer_merge(const struct layer_index *const *layers, unsigned n, void **out, size_t *len,
		struct vmofs_err *err);

#endif

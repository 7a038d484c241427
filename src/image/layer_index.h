/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of one image layer, or of the merged layers of an image: its files, and where their bytes are. One piece of
 * memory without pointers, made once (layer_build.h), kept in a file, mapped by whoever needs it, and never changed: any thread,
 * no locks.
 *
 * Contents. A layer's files lie in one address space of its own, its *data*: what a VMO of the layer holds. Where they lie there
 * is the *layout*: that of the tar stream, or one in which each file begins on a page of its own, for formats
 * whose chunks can be fetched one by one (two files on one page would have to be fetched together). *Spans* say how data comes
 * about: each is a stretch of data that can be made from a stretch of the blob, by itself.
 *
 * Trees. Inode numbers are the records' numbers, from 1 (the root); what layers say of lower ones stays as overlayfs wants it: a
 * whiteout is a character device 0:0, and an opaque directory is marked. Names are bytes.
 *
 * Bytes come from outside (an index can be pushed to a registry, and a disk decays): layer_index_check() looks at every
 * number before anything else is asked, and after it nothing here fails or leaves the memory.
 *
 *   header     LAYER_HEADER_LEN bytes (layer_format.h), then sections, each 8 byte aligned:
 *   inodes     64 bytes each, number 1 first          dirents   16 bytes each, of one directory together, sorted by name
 *   names      bytes of names, targets and values     xattrs    {u32 n} then n of {u32 name, u32 value, u32 value_len, u32 name_len}
 *   spans      64 bytes each, ascending by data       digests   32 bytes each (SHA-256), one a span that has one
 *   windows    zstd frames: what inflate needs to begin in the middle
 *
 * Little endian, read as such on any machine that vmofs runs on (a static assertion says so).
 */
#ifndef IMAGE_LAYER_INDEX_H
#define IMAGE_LAYER_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <vmofs/err.h>

#define LAYER_ROOT       1u
#define LAYER_NAME_MAX   255u  /* a component */
#define LAYER_PATH_MAX   4096u /* of an entry or a target, without a zero */
#define LAYER_DEPTH_MAX  1024u
#define LAYER_DIGEST_LEN 32u
#define LAYER_WINDOW_MAX 32768u /* what inflate can refer to */

enum layer_layout {
	LAYER_LAYOUT_TAR = 1, /* the uncompressed tar, byte by byte */
	LAYER_LAYOUT_PAGES,   /* each file on pages of its own, in the order of the blob */
	LAYER_LAYOUT_MERGED, /* of several layers: an inode's data is in layer `layer` of the image */
	LAYER_NLAYOUTS
};

enum layer_inode_flag {
	LAYER_OPAQUE = 1u << 0,   /* a directory that hides what lower layers have in it */
	LAYER_WHITEOUT = 1u << 1, /* S_IFCHR, 0:0: what lower layers have under the name is gone */
	LAYER_IMPLIED =
		1u << 2, /* a directory that no entry told of: a lower layer's attributes count */
	LAYER_XATTRS = 1u << 3, /* has some */
};

/* A record as it is in the file. */
struct layer_inode {
	uint64_t
		data; /* a regular file: where it lies in the data. A symbolic link: its target in names. A device: its rdev (makedev) */
	uint64_t size; /* of a link: of its target; else 0 */
	int64_t mtime;
	uint32_t mtime_nsec;
	uint16_t mode;  /* S_IFMT and permissions */
	uint16_t flags; /* enum layer_inode_flag */
	uint32_t uid;
	uint32_t gid;
	uint32_t nlink;
	uint32_t xattrs; /* byte offset in xattrs */
	uint32_t
		first; /* a directory: number of its first dirent; else its place among hard links does not matter: 0 */
	uint32_t n;      /* a directory: how many */
	uint32_t parent; /* a directory: its inode (the root: itself); else 0 */
	uint32_t layer;  /* MERGED: which layer's, 0 is the lowest; else 0 */
};

struct layer_dirent {
	uint32_t ino;
	uint32_t name; /* byte offset in names; a zero follows it */
	uint16_t len;
	uint16_t type; /* S_IFMT bits of its inode, >> 12: DT_* */
	uint32_t pad;
};

enum layer_span_kind {
	LAYER_SPAN_RAW = 1, /* as in the blob */
	LAYER_SPAN_GZIP,    /* a gzip member, or several, from their first byte on */
	LAYER_SPAN_DEFLATE, /* in the middle of a deflate stream: `bits`, `window` */
	LAYER_SPAN_ZSTD,    /* a zstd frame, or several */
	LAYER_SPAN_ZERO,    /* zeros: the blob has nothing worth fetching */
	LAYER_SPAN_NKINDS
};

/* Of what a span's SHA-256 is. */
enum layer_digest_of {
	LAYER_DIGEST_DATA, /* of the data_len bytes that come out */
	LAYER_DIGEST_BLOB, /* of the blob_len bytes at `blob`, which are exact then (SOCI) */
	LAYER_NDIGESTS
};

struct layer_span {
	uint64_t data;
	uint64_t data_len; /* not 0 */
	uint64_t blob;     /* the first byte that is needed (with `bits`: the one that has them) */
	uint64_t
		blob_len; /* as much of it as holds all of it; may reach beyond, never beyond the blob's end */
	uint64_t skip; /* decoded bytes before those that count (small files that share a member) */
	uint64_t window;     /* DEFLATE: byte offset in windows; its length there is window_len */
	uint32_t window_len; /* 0: none is needed */
	uint32_t
		digest; /* number of its SHA-256 among digests (`digest_of`), from 1; 0: it has none */
	uint8_t kind; /* enum layer_span_kind */
	uint8_t bits; /* DEFLATE: how many of the first byte's high bits belong to it, 0 to 7 */
	uint8_t digest_of; /* enum layer_digest_of */
	uint8_t pad[5];
};

/* What the index is of. */
struct layer_id {
	uint8_t diff
		[LAYER_DIGEST_LEN]; /* the uncompressed tar's SHA-256 (diffID); zeros: not known */
	uint8_t blob[LAYER_DIGEST_LEN]; /* the blob's; MERGED: of all diffIDs, lowest first */
	uint64_t blob_size;
	uint64_t data_size; /* end of the last file, in whole pages for LAYOUT_PAGES */
};

struct layer_index {
	/* Borrowed by it: the memory of the index. */
	const uint8_t *p;
	size_t len;
	/* From the header, checked. */
	enum layer_layout layout;
	struct layer_id id;
	const struct layer_inode *inodes; /* [n_inodes], the root first */
	const struct layer_dirent *dirents;
	const char *names;
	const uint8_t *xattrs;
	const struct layer_span *spans;
	const uint8_t (*digests)[LAYER_DIGEST_LEN];
	const uint8_t *windows;
	uint32_t n_inodes;
	uint32_t n_dirents;
	uint32_t n_spans;
	uint32_t n_digests;
	uint32_t n_layers; /* MERGED: of how many, inodes' `layer` is below it; else 1 */
	size_t names_len;
	size_t xattrs_len;
	size_t windows_len;
};

/*
 * Fills @x from the memory [p, p + len), 8 byte aligned, which must stay. Every record is looked at: O(len). -EBADMSG with
 * @err: it is not one, of another version, or damaged; -ENOMEM (a bit for each 4 bytes of xattrs).
 */
int layer_index_check(struct layer_index *x, const void *p, size_t len, struct vmofs_err *err);

/* A file that holds one, mapped; checked. The caller has a reference of its own to none of this: layer_index_unmap(). */
int layer_index_map(struct layer_index *x, int fd, struct vmofs_err *err);
void layer_index_unmap(struct layer_index *x);

/* NULL: there is no such inode. */
static inline const struct layer_inode *layer_inode(const struct layer_index *x, uint64_t ino)
{
	return ino >= 1 && ino <= x->n_inodes ? &x->inodes[ino - 1] : NULL;
}

/* The dirent @name of the directory @dir; NULL: there is none, or @dir is no directory. O(log n). */
const struct layer_dirent *layer_lookup(const struct layer_index *x, uint64_t dir, const char *name,
					size_t len);
/* The inode at a path ("" and "/" are the root, "." says nothing), without following links; 0: there is none. */
uint32_t layer_walk(const struct layer_index *x, const char *path);

static inline const char *layer_name(const struct layer_index *x, const struct layer_dirent *d)
{
	return x->names + d->name;
}

/* The target of a symbolic link: i->size bytes and a zero. */
static inline const char *layer_target(const struct layer_index *x, const struct layer_inode *i)
{
	return x->names + i->data;
}

struct layer_xattr {
	const char *name; /* ends in a zero */
	size_t name_len;
	const void *value;
	size_t len;
};

uint32_t layer_n_xattrs(const struct layer_index *x, const struct layer_inode *i);
/* The k-th, k < layer_n_xattrs(). */
struct layer_xattr layer_xattr(const struct layer_index *x, const struct layer_inode *i,
			       uint32_t k);

/* The span that has the byte at @data, or the first one after it; n_spans: none. O(log n). */
uint32_t layer_span_at(const struct layer_index *x, uint64_t data);
/* Its SHA-256; NULL: it has none. */
const uint8_t *layer_span_digest(const struct layer_index *x, const struct layer_span *s);
/* DEFLATE: unpacks its window to @out. Its length, 0: none is needed; -EBADMSG: it cannot be unpacked; -ENOMEM. */
int layer_span_window(const struct layer_index *x, const struct layer_span *s,
		      uint8_t out[LAYER_WINDOW_MAX]);

#endif

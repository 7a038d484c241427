/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the contents of one VMO live: memory that is mapped, of a file or of none; small.h has the one that
 * many small objects share. Page p of the object is at offset p * VMOFS_PAGE_SIZE. A store knows nothing of page states; its caller's lock
 * (the VMO's) orders its calls, while reads of pages that are pinned by the caller need no lock.
 * Contents of pages never written read as zero (but see `unclean`), and reading them costs memory:
 * callers read only pages they have written.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <vmofs/err.h>

struct store;

/* What stores may keep of memory whose contents are gone, all of them together. Bytes. */
struct store_heat {
	_Atomic uint64_t used;
	uint64_t limit;
};

/* The unit in which memory is kept and reused. */
#define STORE_BLOCK (UINT64_C(2) << 20)

struct store_ops {
	const char *name;
	/* Pages that were not written since creation or the last punch read as anything, not as zero. */
	bool unclean;
	/* resize() can make it larger. */
	bool can_grow;
	/* Address of [off, off+len); contiguous; stays valid until free() even when resized. */
	void *(*addr)(struct store *st, uint64_t off, uint64_t len);
	/* Copies in; @off and @len within the size. Faults are taken in bulk where that is cheaper. */
	void (*write)(struct store *st, uint64_t off, const void *buf, uint64_t len);
	/*
	 * The whole block at @off (a multiple of STORE_BLOCK), of which nothing is present, is
	 * about to be written: memory may be prepared for all of it at once. Until then its pages
	 * read as anything. NULL where that makes no difference.
	 */
	void (*dense)(struct store *st, uint64_t off);
	/* Whether the block at @off has been prepared so, and not been punched whole since. */
	bool (*is_dense)(struct store *st, uint64_t off);
	/*
	 * Gives the memory of whole pages back (or keeps it within the heat allowed). They read as
	 * zero afterwards, but see `unclean`.
	 */
	int (*punch)(struct store *st, uint64_t off, uint64_t len);
	/* @size page aligned. Shrinking gives the memory beyond it back. */
	int (*resize)(struct store *st, uint64_t size);
	void (*free)(struct store *st);
};

struct store {
	const struct store_ops *ops;
	uint64_t size; /* bytes, page aligned */
};

/* A memfd, mapped shared; can be resized. @size page aligned, may be 0. */
int store_memfd_new(struct store **out, uint64_t size, struct vmofs_err *err);
/* Anonymous memory; cannot be resized. @heat is borrowed. */
int store_anon_new(struct store **out, uint64_t size, struct store_heat *heat,
		   struct vmofs_err *err);

static inline void *store_addr(struct store *st, uint64_t off, uint64_t len)
{
	return st->ops->addr(st, off, len);
}

static inline void store_write(struct store *st, uint64_t off, const void *buf, uint64_t len)
{
	st->ops->write(st, off, buf, len);
}

static inline int store_punch(struct store *st, uint64_t off, uint64_t len)
{
	return st->ops->punch(st, off, len);
}

static inline int store_resize(struct store *st, uint64_t size)
{
	return st->ops->resize(st, size);
}

/* NULL is fine. */
static inline void store_free(struct store *st)
{
	if (st)
		st->ops->free(st);
}

#endif

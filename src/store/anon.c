/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in anonymous memory, for objects of a fixed size. What makes it quick is that a block of
 * 2 MiB whose contents have gone can be kept as it is ("hot") and put under another offset of the
 * same object, by mremap(): a stream then overwrites the memory it used a moment ago, instead of
 * having the kernel free it, find other memory, clear it and map it page by page (measured: 0.04
 * against 0.35 to 0.66 CPU seconds a GiB). Hot memory is bounded by `struct store_heat`, which its
 * owner takes out of its budget.
 *
 * The caller's lock orders all calls; addresses of pages that the caller holds never move.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/macros.h"
#include "store/store.h"

/* MADV_POPULATE_WRITE: since Linux 5.14, not in every libc. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { HOT_MAX = 16 };

/*
 *   BLOCK_PLAIN -> BLOCK_DENSE  dense: populated whole
 *   BLOCK_DENSE -> BLOCK_HOT    punched whole, and there is room for its heat
 *   BLOCK_DENSE -> BLOCK_PLAIN  punched whole
 *   BLOCK_HOT   -> BLOCK_DENSE  wanted again as it is
 *   BLOCK_HOT   -> BLOCK_PLAIN  moved to another offset, or cooled
 */
enum block_state { BLOCK_PLAIN, BLOCK_DENSE, BLOCK_HOT, BLOCK_NSTATES };

static const uint8_t block_next[] = {
	[BLOCK_PLAIN] = BIT(BLOCK_DENSE),
	[BLOCK_DENSE] = BIT(BLOCK_HOT) | BIT(BLOCK_PLAIN),
	[BLOCK_HOT] = BIT(BLOCK_DENSE) | BIT(BLOCK_PLAIN),
};
_Static_assert(ARRAY_LEN(block_next) == BLOCK_NSTATES, "one row per state");

struct store_anon {
	struct store base;
	struct store_heat *heat; /* borrowed */
	char *map;               /* of map_len bytes, as the kernel gave it */
	uint64_t map_len;
	char *p;               /* its first block border */
	uint8_t *state;        /* enum block_state of each block */
	uint64_t hot[HOT_MAX]; /* blocks that are BLOCK_HOT */
	unsigned n_hot;
};

static struct store_anon *anon_of(struct store *st)
{
	return container_of(st, struct store_anon, base);
}

static char *block_addr(struct store_anon *a, uint64_t b)
{
	return a->p + b * STORE_BLOCK;
}

static void block_set(struct store_anon *a, uint64_t b, enum block_state to)
{
	assert(block_next[a->state[b]] & BIT(to));
	a->state[b] = (uint8_t)to;
}

static void hot_push(struct store_anon *a, uint64_t b)
{
	block_set(a, b, BLOCK_HOT);
	a->hot[a->n_hot++] = b;
}

/* @b, which is hot, is not any more. */
static void hot_remove(struct store_anon *a, uint64_t b, enum block_state to)
{
	unsigned i = 0;

	while (a->hot[i] != b)
		i++;
	a->hot[i] = a->hot[--a->n_hot];
	block_set(a, b, to);
	atomic_fetch_sub(&a->heat->used, STORE_BLOCK);
}

static bool heat_take(struct store_heat *h)
{
	uint64_t used = atomic_load(&h->used);

	do {
		if (used + STORE_BLOCK > h->limit)
			return false;
	} while (!atomic_compare_exchange_weak(&h->used, &used, used + STORE_BLOCK));
	return true;
}

/* A read of 4 KiB must not cost a huge page; a core file must not hold other people's data. */
static void advise(void *p, uint64_t len)
{
	madvise(p, len, MADV_NOHUGEPAGE);
	madvise(p, len, MADV_DONTDUMP);
}

/*
 * A fresh mapping in place of the block's, without memory. Unlike what mremap() left there it joins
 * its neighbours: pieces would add up to the kernel's limit of mappings.
 */
static int renew(struct store_anon *a, uint64_t b)
{
	void *p = mmap(block_addr(a, b), STORE_BLOCK, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	if (p == MAP_FAILED)
		return madvise(block_addr(a, b), STORE_BLOCK, MADV_DONTNEED) < 0 ? -errno : 0;
	advise(p, STORE_BLOCK);
	return 0;
}

/* Gives the memory of a hot block back. */
static void cool(struct store_anon *a, uint64_t b)
{
	renew(a, b);
	hot_remove(a, b, BLOCK_PLAIN);
}

/* ---- the operations ---- */

static void *anon_addr(struct store *st, uint64_t off, uint64_t len)
{
	assert(off + len <= st->size);
	(void)len;
	return anon_of(st)->p + off;
}

static void anon_write(struct store *st, uint64_t off, const void *buf, uint64_t len)
{
	struct store_anon *a = anon_of(st);

	/* A few pages must not bring the stale memory of a whole block back to life. */
	for (uint64_t b = off / STORE_BLOCK; b * STORE_BLOCK < off + len; b++)
		if (a->state[b] == BLOCK_HOT)
			cool(a, b);
	memcpy(a->p + off, buf, len);
}

/* The memory of the hot block @from becomes that of @to, which has none; false: the kernel refused. */
static bool move(struct store_anon *a, uint64_t from, uint64_t to)
{
	void *r = mremap(block_addr(a, from), STORE_BLOCK, STORE_BLOCK,
			 MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, block_addr(a, to));

	if (r == MAP_FAILED)
		return false;
	renew(a, from);
	return true;
}

static void anon_dense(struct store *st, uint64_t off)
{
	struct store_anon *a = anon_of(st);
	uint64_t b = off / STORE_BLOCK;
	uint64_t from;

	if (a->state[b] == BLOCK_DENSE)
		return;
	if (a->state[b] == BLOCK_HOT) {
		hot_remove(a, b, BLOCK_DENSE);
		return;
	}
	block_set(a, b, BLOCK_DENSE);
	if (a->n_hot) {
		from = a->hot[a->n_hot - 1];
		if (move(a, from, b)) {
			hot_remove(a, from, BLOCK_PLAIN);
			return;
		}
	}
	/* Fresh memory: one call for the block is cheaper than a fault a page. */
	madvise(block_addr(a, b), STORE_BLOCK, MADV_POPULATE_WRITE);
}

static bool anon_is_dense(struct store *st, uint64_t off)
{
	return anon_of(st)->state[off / STORE_BLOCK] == BLOCK_DENSE;
}

static int drop(struct store_anon *a, uint64_t off, uint64_t end)
{
	if (end > off && madvise(a->p + off, end - off, MADV_DONTNEED) < 0)
		return -errno;
	return 0;
}

/* A dense block that lies whole in the punched range is kept hot, or is plain from now on. */
static int punch_dense(struct store_anon *a, uint64_t b)
{
	if (a->n_hot < HOT_MAX && heat_take(a->heat)) {
		hot_push(a, b);
		return 0;
	}
	block_set(a, b, BLOCK_PLAIN);
	return renew(a, b);
}

static int anon_punch(struct store *st, uint64_t off, uint64_t len)
{
	struct store_anon *a = anon_of(st);
	uint64_t end = off + len;
	uint64_t from = off; /* what is to be dropped so far */
	uint64_t b = (off + STORE_BLOCK - 1) / STORE_BLOCK;
	int r = 0;

	for (; r == 0 && (b + 1) * STORE_BLOCK <= end; b++) {
		if (a->state[b] == BLOCK_PLAIN)
			continue;
		r = drop(a, from, b * STORE_BLOCK);
		if (r == 0 && a->state[b] == BLOCK_DENSE)
			r = punch_dense(a, b);
		from = (b + 1) * STORE_BLOCK;
	}
	return r < 0 ? r : drop(a, from, end);
}

static int anon_resize(struct store *st, uint64_t size)
{
	return size == st->size ? 0 : -EOPNOTSUPP;
}

static void anon_free(struct store *st)
{
	struct store_anon *a = anon_of(st);

	atomic_fetch_sub(&a->heat->used, a->n_hot * STORE_BLOCK);
	if (a->map)
		munmap(a->map, a->map_len);
	free(a->state);
	free(a);
}

static const struct store_ops anon_ops = {
	.name = "anon",
	.unclean = true,
	.addr = anon_addr,
	.write = anon_write,
	.dense = anon_dense,
	.is_dense = anon_is_dense,
	.punch = anon_punch,
	.resize = anon_resize,
	.free = anon_free,
};

static int anon_map(struct store_anon *a, uint64_t size)
{
	uint64_t skip;
	void *p;

	a->map_len = size + STORE_BLOCK;
	p = mmap(NULL, a->map_len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	a->map = p;
	skip = (STORE_BLOCK - (uintptr_t)p % STORE_BLOCK) % STORE_BLOCK;
	a->p = a->map + skip;
	advise(p, a->map_len);
	return 0;
}

int store_anon_new(struct store **out, uint64_t size, struct store_heat *heat,
		   struct vmofs_err *err)
{
	uint64_t n_blocks = size / STORE_BLOCK + 1;
	struct store_anon *a = calloc(1, sizeof *a);
	int r;

	if (!a)
		return vmofs_err_set(err, -ENOMEM, "out of memory for a page store");
	a->base.ops = &anon_ops;
	a->base.size = size;
	a->heat = heat;
	a->state = calloc(n_blocks, 1);
	r = a->state ? anon_map(a, n_blocks * STORE_BLOCK) : -ENOMEM;
	if (r < 0) {
		anon_free(&a->base);
		return vmofs_err_set(err, r, "cannot map %llu bytes of memory: %s",
				     (unsigned long long)size, strerror(-r));
	}
	*out = &a->base;
	return 0;
}

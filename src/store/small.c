/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of 1 to 32 pages. A free run is cold (no memory) or hot: its pages have memory with stale
 * contents, which spares the next object of that length a fault a page. Hot memory, also what of it a new
 * object has not written yet, is counted in `struct store_heat`, a page at a time.
 *
 * Lists of free runs are arrays that have room for all runs of their length, so giving back cannot fail.
 */
#include "store/small.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/macros.h"
#include "base/sync.h"

enum { PAGE_LEN = 4096, RUN_MAX = STORE_SMALL_MAX / PAGE_LEN };
#define MAP_LEN MIB(64)

struct runs {
	char **at; /* owned; room for `total` */
	uint32_t n;
};

struct run_class {
	struct runs hot;
	struct runs cold;
	uint32_t total; /* runs of this length, free or not */
};

struct arena_map {
	struct arena_map *next;
	char *p;
};

struct small_arena {
	struct store_heat *heat; /* borrowed */

	struct mutex lock;
	struct run_class of[RUN_MAX + 1]; /* lock: lock; by pages */
	struct arena_map *maps;           /* lock: lock; owned; the first has room left */
	unsigned n_maps;                  /* lock: lock */
	char *slab, *slab_end;            /* lock: lock; not carved yet */
};

struct store_small {
	struct store base;
	struct small_arena *arena; /* borrowed */
	char *p;                   /* its run */
	uint32_t written;          /* bit i: page i has contents */
	uint32_t stale;            /* bit i: page i has memory, but no contents: counted as heat */
};

static struct store_small *small_of(struct store *st)
{
	return container_of(st, struct store_small, base);
}

/* Bits of the pages [first, end). */
static uint32_t page_bits(uint64_t first, uint64_t end)
{
	return end > first ? (uint32_t)(((UINT64_C(1) << (end - first)) - 1) << first) : 0;
}

static uint32_t all_bits(const struct store_small *s)
{
	return page_bits(0, s->base.size / PAGE_LEN);
}

static bool heat_take(struct store_heat *h, uint64_t len)
{
	uint64_t used = atomic_load(&h->used);

	do {
		if (used + len > h->limit)
			return false;
	} while (!atomic_compare_exchange_weak(&h->used, &used, used + len));
	return true;
}

static void heat_give(struct store_heat *h, uint32_t pages)
{
	if (pages)
		atomic_fetch_sub(&h->used, (uint64_t)__builtin_popcount(pages) * PAGE_LEN);
}

/* ---- the arena ---- */

struct small_arena *small_arena_new(struct store_heat *heat)
{
	struct small_arena *a = calloc(1, sizeof *a);

	if (!a)
		return NULL;
	a->heat = heat;
	mutex_init(&a->lock, LOCK_RANK_STORE);
	return a;
}

void small_arena_free(struct small_arena *a)
{
	struct arena_map *m;

	if (!a)
		return;
	for (unsigned n = 1; n <= RUN_MAX; n++) {
		struct run_class *c = &a->of[n];

		assert(c->hot.n + c->cold.n == c->total);
		atomic_fetch_sub(&a->heat->used, (uint64_t)c->hot.n * n * PAGE_LEN);
		free(c->hot.at);
		free(c->cold.at);
	}
	while ((m = a->maps)) {
		a->maps = m->next;
		munmap(m->p, MAP_LEN);
		free(m);
	}
	mutex_destroy(&a->lock);
	free(a);
}

static int map_locked(struct small_arena *a) REQUIRES(a->lock)
{
	struct arena_map *m = malloc(sizeof *m);

	if (!m)
		return -ENOMEM;
	m->p = mmap(NULL, MAP_LEN, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->p == MAP_FAILED) {
		free(m);
		return -errno;
	}
	/* A small file must not cost a huge page; a core file must not hold other people's data. */
	madvise(m->p, MAP_LEN, MADV_NOHUGEPAGE);
	madvise(m->p, MAP_LEN, MADV_DONTDUMP);
	m->next = a->maps;
	a->maps = m;
	a->n_maps++;
	a->slab = m->p;
	a->slab_end = m->p + MAP_LEN;
	return 0;
}

static int make_room(struct runs *r, uint32_t total)
{
	char **at = reallocarray(r->at, total, sizeof *at);

	if (!at)
		return -ENOMEM;
	r->at = at;
	return 0;
}

/* Another slab's worth of runs of @n pages, all cold. */
static int carve_locked(struct small_arena *a, unsigned n) REQUIRES(a->lock)
{
	struct run_class *c = &a->of[n];
	uint32_t more = (uint32_t)(STORE_BLOCK / PAGE_LEN / n);
	int r = a->slab == a->slab_end ? map_locked(a) : 0;

	if (!r)
		r = make_room(&c->hot, c->total + more);
	if (!r)
		r = make_room(&c->cold, c->total + more);
	if (r < 0)
		return r;
	/* The lowest is taken first. */
	for (uint32_t i = more; i > 0; i--)
		c->cold.at[c->cold.n++] = a->slab + (uint64_t)(i - 1) * n * PAGE_LEN;
	c->total += more;
	a->slab += STORE_BLOCK;
	return 0;
}

static int take_locked(struct small_arena *a, struct store_small *s, unsigned n) REQUIRES(a->lock)
{
	struct run_class *c = &a->of[n];
	int r = c->hot.n || c->cold.n ? 0 : carve_locked(a, n);

	if (r < 0)
		return r;
	if (c->hot.n) {
		s->p = c->hot.at[--c->hot.n];
		s->stale = all_bits(s);
	} else {
		s->p = c->cold.at[--c->cold.n];
	}
	return 0;
}

static void give_back(struct store_small *s, bool hot)
{
	struct small_arena *a = s->arena;
	struct run_class *c = &a->of[s->base.size / PAGE_LEN];
	struct runs *to = hot ? &c->hot : &c->cold;

	mutex_lock(&a->lock);
	to->at[to->n++] = s->p;
	mutex_unlock(&a->lock);
}

/* A hot run, taken off its list; NULL: there is none. */
static char *pop_hot(struct small_arena *a, struct run_class *c)
{
	char *p;

	mutex_lock(&a->lock);
	p = c->hot.n ? c->hot.at[--c->hot.n] : NULL;
	mutex_unlock(&a->lock);
	return p;
}

void small_arena_cool(struct small_arena *a)
{
	for (unsigned n = 1; n <= RUN_MAX; n++) {
		struct run_class *c = &a->of[n];
		char *p;

		while ((p = pop_hot(a, c))) {
			madvise(p, (size_t)n * PAGE_LEN, MADV_DONTNEED);
			heat_give(a->heat, page_bits(0, n));
			mutex_lock(&a->lock);
			c->cold.at[c->cold.n++] = p;
			mutex_unlock(&a->lock);
		}
	}
}

unsigned small_arena_n_maps(struct small_arena *a)
{
	unsigned n;

	mutex_lock(&a->lock);
	n = a->n_maps;
	mutex_unlock(&a->lock);
	return n;
}

/* ---- the operations ---- */

static void *small_addr(struct store *st, uint64_t off, uint64_t len)
{
	assert(off + len <= st->size);
	(void)len;
	return small_of(st)->p + off;
}

static void small_write(struct store *st, uint64_t off, const void *buf, uint64_t len)
{
	struct store_small *s = small_of(st);
	uint32_t pages = page_bits(off / PAGE_LEN, (off + len + PAGE_LEN - 1) / PAGE_LEN);

	heat_give(s->arena->heat, s->stale & pages);
	s->stale &= ~pages;
	s->written |= pages;
	memcpy(s->p + off, buf, len);
}

static int small_punch(struct store *st, uint64_t off, uint64_t len)
{
	struct store_small *s = small_of(st);
	uint32_t pages = page_bits(off / PAGE_LEN, (off + len) / PAGE_LEN);

	if (!((s->written | s->stale) & pages))
		return 0;
	if (madvise(s->p + off, len, MADV_DONTNEED) < 0)
		return -errno;
	heat_give(s->arena->heat, s->stale & pages);
	s->stale &= ~pages;
	s->written &= ~pages;
	return 0;
}

static int small_resize(struct store *st, uint64_t size)
{
	return size == st->size ? 0 : -EOPNOTSUPP;
}

/* Whether the run may stay hot: it has all its memory, and there is room for the heat. */
static bool keeps_hot(struct store_small *s)
{
	uint32_t all = all_bits(s);
	uint64_t len = (uint64_t)__builtin_popcount(s->written) * PAGE_LEN;

	return (s->written | s->stale) == all && heat_take(s->arena->heat, len);
}

static void small_free(struct store *st)
{
	struct store_small *s = small_of(st);
	bool hot;

	if (s->p) {
		hot = keeps_hot(s);
		if (!hot)
			small_punch(st, 0, st->size);
		give_back(s, hot);
	}
	free(s);
}

static const struct store_ops small_ops = {
	.name = "small",
	.unclean = true,
	.addr = small_addr,
	.write = small_write,
	.punch = small_punch,
	.resize = small_resize,
	.free = small_free,
};

int store_small_new(struct store **out, uint64_t size, struct small_arena *a, struct vmofs_err *err)
{
	struct store_small *s = calloc(1, sizeof *s);
	int r = 0;

	assert(size % PAGE_LEN == 0 && size <= STORE_SMALL_MAX);
	if (!s)
		return vmofs_err_set(err, -ENOMEM, "out of memory for a page store");
	s->base.ops = &small_ops;
	s->base.size = size;
	s->arena = a;
	if (size) {
		mutex_lock(&a->lock);
		r = take_locked(a, s, (unsigned)(size / PAGE_LEN));
		mutex_unlock(&a->lock);
	}
	if (r < 0) {
		free(s);
		return vmofs_err_set(err, r, "cannot map memory for small objects: %s",
				     strerror(-r));
	}
	*out = &s->base;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eviction and hints on one VMO. A clean page goes unless somebody holds its range or waits on it
 * (a reader whose other pages are still to come, a writer whose grant is); then it counts as used.
 */
#include <assert.h>
#include <errno.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

/* Longest stretch that one visit evicts: the lock is not held longer than that takes. */
enum { EVICT_RUN_MAX = 1024 };

/* The first range in [first, end) that the nearer place has not got yet; false: none. */
static bool next_spared(struct vmo *v, uint64_t first, uint64_t end, struct range *out)
{
	struct vmo_near *near = v->source->near;

	if (!near || v->source->near_off || v->source->detached ||
	    !near->ops->spares(near, &first, &end))
		return false;
	*out = (struct range){ first, end };
	return true;
}

/* The first range that protects something in [first, end); false: none. */
static bool next_protected(struct vmo *v, uint64_t first, uint64_t end, struct range *out)
{
	const struct rb_tree *trees[] = {
		&v->holds,
		&v->source->waiters[VMOFS_REQUEST_READ],
		&v->source->waiters[VMOFS_REQUEST_DIRTY],
	};
	bool found = false;

	for (unsigned i = 0; i < ARRAY_LEN(trees); i++) {
		const struct itree_node *n = itree_first(trees[i], first, end);

		if (!n || (found && n->first >= out->first))
			continue;
		*out = (struct range){ MAX(n->first, first), MIN(n->end, end) };
		found = true;
	}
	return next_spared(v, first, found ? out->first : end, out) || found;
}

/* Evicts a stretch of clean pages that nobody holds. */
static uint64_t evict_run(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock)
{
	uint64_t n = end - first;

	vmo_drop_pages(v, first, end);
	v->n_evicted += n;
	atomic_fetch_add(&v->pool->evicted, n);
	return n;
}

/* Evicts the clean pages [first, end) as far as they are not protected; those are touched. */
static uint64_t evict_unprotected(struct vmo *v, uint64_t first, uint64_t end)
	REQUIRES(v->source->lock)
{
	uint64_t n = 0;

	while (first < end) {
		struct range held = { end, end };

		next_protected(v, first, end, &held);
		if (held.first > first)
			n += evict_run(v, first, held.first);
		if (held.end > held.first)
			page_list_touch(&v->pages, held.first, held.end);
		first = held.end;
	}
	return n;
}

/* ---- for the evictor ---- */

/* After a visit: where the leaf belongs now. */
static void refile(struct vmo *v, uint64_t index)
{
	struct page_leaf *leaf = page_list_leaf(&v->pages, index);
	struct page_queue *q = &v->pool->queue;
	unsigned oldest = 0;
	bool any = false;

	if (!leaf)
		return;
	for (unsigned i = 0; i < PAGE_LEAF_PAGES; i++) {
		uint8_t b = leaf->byte[i];

		if ((b & PAGE_BYTE_STATE) != PAGE_CLEAN)
			continue;
		if (b & PAGE_BYTE_ISOLATED) {
			page_queue_file(q, leaf, PAGE_QUEUE_ISOLATE);
			return;
		}
		any = true;
		oldest = MAX(oldest, page_queue_age(q, b));
	}
	if (any)
		page_queue_file(q, leaf, (unsigned)((q->mru - oldest) % PAGE_QUEUE_GENERATIONS));
	else
		page_queue_unfile(q, leaf);
}

/* The run of isolated clean pages at or after @*lo in the leaf; false: none. */
static bool next_isolated(struct page_leaf *leaf, bool follow_hints, unsigned *lo, unsigned *hi)
{
	uint8_t mask = PAGE_BYTE_STATE | PAGE_BYTE_ISOLATED | (follow_hints ? PAGE_BYTE_KEEP : 0);
	uint8_t want = PAGE_CLEAN | PAGE_BYTE_ISOLATED;

	while (*lo < PAGE_LEAF_PAGES && (leaf->byte[*lo] & mask) != want)
		++*lo;
	for (*hi = *lo; *hi < PAGE_LEAF_PAGES && (leaf->byte[*hi] & mask) == want; ++*hi)
		;
	return *lo < PAGE_LEAF_PAGES;
}

/* Isolated pages that are still there are kept for a reason: they count as used. */
static void touch_isolated(struct vmo *v, struct page_leaf *leaf)
{
	uint64_t base = leaf->index << PAGE_LEAF_SHIFT;

	for (unsigned i = 0; i < PAGE_LEAF_PAGES; i++)
		if (page_queue_of(leaf->byte[i]) == PAGE_QUEUE_ISOLATE)
			page_list_touch(&v->pages, base + i, base + i + 1);
}

/* Whether the whole leaf goes: then it can be one stretch with its neighbours. */
static bool all_isolated(struct page_leaf *leaf, bool follow_hints)
{
	unsigned lo = 0;
	unsigned hi;

	return next_isolated(leaf, follow_hints, &lo, &hi) && lo == 0 && hi == PAGE_LEAF_PAGES;
}

static uint64_t evict_leaf(struct vmo *v, struct page_leaf *leaf, bool follow_hints)
	REQUIRES(v->source->lock)
{
	uint64_t base = leaf->index << PAGE_LEAF_SHIFT;
	uint64_t index = leaf->index;
	uint64_t n = 0;
	unsigned lo = 0;
	unsigned hi;

	while (leaf && next_isolated(leaf, follow_hints, &lo, &hi)) {
		n += evict_unprotected(v, base + lo, base + hi);
		lo = hi;
		leaf = page_list_leaf(&v->pages, index);
	}
	if (leaf)
		touch_isolated(v, leaf);
	refile(v, index);
	return n;
}

uint64_t vmo_evict_isolated(struct vmo *v, uint64_t leaf_index, bool follow_hints)
{
	uint64_t first = leaf_index << PAGE_LEAF_SHIFT;
	uint64_t end = first;
	struct page_leaf *leaf;
	uint64_t n = 0;

	vmo_lock(v);
	while ((leaf = page_list_leaf(&v->pages, end >> PAGE_LEAF_SHIFT)) &&
	       end - first < EVICT_RUN_MAX && all_isolated(leaf, follow_hints))
		end += PAGE_LEAF_PAGES;
	n = evict_unprotected(v, first, end);
	for (uint64_t i = leaf_index; i << PAGE_LEAF_SHIFT < MAX(end, first + 1); i++)
		if ((leaf = page_list_leaf(&v->pages, i)))
			n += evict_leaf(v, leaf, follow_hints);
	/* Not vmo_unlock(): those who wait for memory are who called. */
	mutex_unlock(&v->source->lock);
	return n;
}

void vmo_isolate_leaf(struct vmo *v, uint64_t leaf_index, uint64_t generation)
{
	uint8_t gen = (uint8_t)((generation % PAGE_QUEUE_GENERATIONS) << PAGE_BYTE_GEN_SHIFT);
	uint64_t base = leaf_index << PAGE_LEAF_SHIFT;
	struct page_leaf *leaf;

	vmo_lock(v);
	leaf = page_list_leaf(&v->pages, leaf_index);
	for (unsigned i = 0; leaf && i < PAGE_LEAF_PAGES; i++)
		if ((leaf->byte[i] & PAGE_BYTE_STATE) == PAGE_CLEAN &&
		    (leaf->byte[i] & PAGE_BYTE_GEN) == gen)
			page_list_flag(&v->pages, base + i, base + i + 1, PAGE_CLEAN,
				       PAGE_BYTE_ISOLATED, 0);
	refile(v, leaf_index);
	mutex_unlock(&v->source->lock);
}

/* ---- on request ---- */

/* The end of the run of pages from @page on whose bytes are alike but for their age. */
static uint64_t alike_end(struct vmo *v, uint64_t page, uint64_t end)
{
	const uint8_t mask = PAGE_BYTE_STATE | PAGE_BYTE_KEEP;
	struct page_leaf *leaf = page_list_leaf(&v->pages, page >> PAGE_LEAF_SHIFT);
	uint8_t b = leaf->byte[page % PAGE_LEAF_PAGES];

	for (; page < end; page++) {
		if (page % PAGE_LEAF_PAGES == 0)
			leaf = page_list_leaf(&v->pages, page >> PAGE_LEAF_SHIFT);
		if (!leaf || (leaf->byte[page % PAGE_LEAF_PAGES] ^ b) & mask)
			break;
	}
	return page;
}

uint64_t vmo_evict_clean(struct vmo *v, uint64_t first, uint64_t end, bool ignore_hints)
{
	uint64_t n = 0;

	while ((first = page_list_next_resident(&v->pages, first, end)) < end) {
		struct page_leaf *leaf = page_list_leaf(&v->pages, first >> PAGE_LEAF_SHIFT);
		uint8_t b = leaf->byte[first % PAGE_LEAF_PAGES];
		uint64_t run = alike_end(v, first, end);

		if ((b & PAGE_BYTE_STATE) == PAGE_CLEAN && (ignore_hints || !(b & PAGE_BYTE_KEEP)))
			n += evict_unprotected(v, first, run);
		first = run;
	}
	return n;
}

/* What the nearer place has spared may go when it has it. */
static void unneeded(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock)
{
	struct vmo_near *near = v->source->near;

	if (near && !v->source->near_off && first < end && !v->source->detached)
		near->ops->unneeded(near, first, end);
}

uint64_t vmo_evict(struct vmo *v, uint64_t off, uint64_t len, bool ignore_hints)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	uint64_t end;
	uint64_t n;

	if (v->parent)
		return 0;
	vmo_lock(v);
	end = MIN(page_ceil(off + len), page_ceil(v->size));
	n = vmo_evict_clean(v, page_floor(off), end, ignore_hints);
	unneeded(v, page_floor(off), end);
	vmo_unlock(v, &wake);
	return n;
}

/* The bits that a hint sets and clears in the pages that the VMO sees in the root. */
static const struct {
	uint8_t set;
	uint8_t clear;
} hint_bits[] = {
	[VMO_HINT_DONT_NEED] = { PAGE_BYTE_ISOLATED, 0 },
	[VMO_HINT_ALWAYS_NEED] = { PAGE_BYTE_KEEP, PAGE_BYTE_ISOLATED },
	[VMO_HINT_NORMAL] = { 0, PAGE_BYTE_KEEP },
	[VMO_HINT_PREFETCH] = { 0, 0 },
};

static void hint_apply(struct vmo *v, uint64_t first, uint64_t end, enum vmo_hint hint)
	REQUIRES(v->source->lock)
{
	while (first < end) {
		struct vmo_slot s = vmo_look(v, first, end);

		for (unsigned st = PAGE_CLEAN; s.owner == v->root && st <= PAGE_AWAITING_CLEAN;
		     st++)
			if (hint != VMO_HINT_DONT_NEED || st == PAGE_CLEAN)
				page_list_flag(&s.owner->pages, s.page, s.page + s.n, st,
					       hint_bits[hint].set, hint_bits[hint].clear);
		if (hint == VMO_HINT_ALWAYS_NEED && s.kind < PAGE_NSTATES)
			vmo_touch_slot(&s);
		first += s.n;
	}
}

/* Reads the range in, going on after what fails. */
static void commit_best_effort(struct vmo *v, uint64_t off, uint64_t len,
			       const struct vmo_wait *wait)
{
	uint64_t end = page_ceil(off + len);

	int r = vmo_commit(v, off, len, wait);

	if (r == 0 || r == -ESHUTDOWN || r == -ETIMEDOUT)
		return;
	for (uint64_t p = page_floor(off); p < end; p++)
		vmo_commit(v, page_bytes(p), VMOFS_PAGE_SIZE, wait);
}

int vmo_hint(struct vmo *v, uint64_t off, uint64_t len, enum vmo_hint hint,
	     const struct vmo_wait *wait)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	uint64_t end = page_ceil(off + len);

	if (off + len < off || end > page_ceil(vmo_size(v)))
		return -ERANGE;
	if (hint == VMO_HINT_PREFETCH)
		return vmo_commit(v, off, len, wait);
	if (hint == VMO_HINT_ALWAYS_NEED)
		commit_best_effort(v, off, len, wait);
	vmo_lock(v);
	hint_apply(v, page_floor(off), MIN(end, page_ceil(v->size)), hint);
	vmo_unlock(v, &wake);
	return 0;
}

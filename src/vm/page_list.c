/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves of page bytes and zero intervals; the only place that writes a page's state. */
#include "vm/page_list.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "vm/page_queue.h"

#define BIT64(n) (UINT64_C(1) << (n))

static const uint8_t page_next[] = {
	[PAGE_ABSENT] = BIT(PAGE_CLEAN) | BIT(PAGE_DIRTY) | BIT(PAGE_UNTRACKED),
	[PAGE_CLEAN] = BIT(PAGE_DIRTY) | BIT(PAGE_ABSENT),
	[PAGE_DIRTY] = BIT(PAGE_AWAITING_CLEAN) | BIT(PAGE_ABSENT),
	[PAGE_AWAITING_CLEAN] = BIT(PAGE_CLEAN) | BIT(PAGE_DIRTY) | BIT(PAGE_ABSENT),
	[PAGE_UNTRACKED] = BIT(PAGE_ABSENT),
};
_Static_assert(ARRAY_LEN(page_next) == PAGE_NSTATES, "one row per state");

static const char *const page_names[] = {
	[PAGE_ABSENT] = "absent",         [PAGE_CLEAN] = "clean",
	[PAGE_DIRTY] = "dirty",           [PAGE_AWAITING_CLEAN] = "awaiting-clean",
	[PAGE_UNTRACKED] = "private",     [PAGE_ZERO_CLEAN] = "clean-zero",
	[PAGE_ZERO_DIRTY] = "dirty-zero",
};
_Static_assert(ARRAY_LEN(page_names) == PAGE_NKINDS, "one name per kind");

const char *page_state_name(enum page_state s)
{
	return page_names[s];
}

/* Part of one leaf that a range covers. */
struct leaf_span {
	unsigned lo;
	unsigned hi; /* beyond the last */
};

static struct leaf_span span_of(uint64_t index, uint64_t first, uint64_t end)
{
	uint64_t base = index << PAGE_LEAF_SHIFT;

	return (struct leaf_span){
		.lo = first > base ? (unsigned)(first - base) : 0,
		.hi = end - base < PAGE_LEAF_PAGES ? (unsigned)(end - base) : PAGE_LEAF_PAGES,
	};
}

static struct page_leaf *leaf_of(const struct rb_node *rb)
{
	return rb ? container_of(rb, struct page_leaf, node) : NULL;
}

static struct page_zeros *zeros_of(const struct rb_node *rb)
{
	return rb ? container_of(rb, struct page_zeros, node) : NULL;
}

void page_list_init(struct page_list *pl, struct page_queue *queue, struct vmo *vmo)
{
	*pl = (struct page_list){ .queue = queue, .vmo = vmo };
}

static void leaf_free(struct page_list *pl, struct page_leaf *leaf)
{
	page_queue_unfile(pl->queue, leaf);
	rb_erase(&pl->leaves, &leaf->node);
	if (pl->last == leaf)
		pl->last = NULL;
	pl->n_leaves--;
	free(leaf);
}

static void zeros_free(struct page_list *pl, struct page_zeros *z)
{
	rb_erase(&pl->zeros, &z->node);
	pl->n_zeros--;
	free(z);
}

void page_list_release(struct page_list *pl)
{
	page_list_drop(pl, 0, UINT64_MAX);
	while (pl->leaves.root)
		leaf_free(pl, leaf_of(pl->leaves.root));
	while (pl->zeros.root)
		zeros_free(pl, zeros_of(pl->zeros.root));
	for (unsigned i = 0; i < PAGE_LIST_SPARES; i++)
		mem_freep(&pl->spare[i]);
}

/* ---- leaves ---- */

struct page_leaf *page_list_leaf_from(struct page_list *pl, uint64_t index)
{
	struct rb_node *rb = pl->leaves.root;
	struct page_leaf *best = NULL;

	if (pl->last && pl->last->index == index)
		return pl->last;
	while (rb) {
		struct page_leaf *leaf = leaf_of(rb);

		if (leaf->index == index) {
			pl->last = leaf;
			return leaf;
		}
		if (leaf->index > index)
			best = leaf;
		rb = rb->child[leaf->index < index];
	}
	return best;
}

struct page_leaf *page_list_leaf(struct page_list *pl, uint64_t index)
{
	struct page_leaf *leaf = page_list_leaf_from(pl, index);

	return leaf && leaf->index == index ? leaf : NULL;
}

static struct page_leaf *leaf_next(const struct page_leaf *leaf)
{
	return leaf_of(rb_next(&leaf->node));
}

static struct page_leaf *leaf_new(struct page_list *pl, uint64_t index)
{
	struct rb_node **link = &pl->leaves.root;
	struct rb_node *parent = NULL;
	struct page_leaf *leaf = calloc(1, sizeof *leaf);

	if (!leaf)
		return NULL;
	leaf->index = index;
	leaf->vmo = pl->vmo;
	leaf->queue = PAGE_QUEUE_NONE;
	vmofs_list_init(&leaf->queue_link);
	while (*link) {
		parent = *link;
		link = &parent->child[index > leaf_of(parent)->index];
	}
	rb_insert(&pl->leaves, &leaf->node, parent, link);
	pl->n_leaves++;
	return leaf;
}

int page_list_prepare(struct page_list *pl, uint64_t first, uint64_t end)
{
	for (uint64_t i = first >> PAGE_LEAF_SHIFT; i <= (end - 1) >> PAGE_LEAF_SHIFT; i++) {
		if (page_list_leaf(pl, i) || leaf_new(pl, i))
			continue;
		page_list_trim(pl, first, end);
		return -ENOMEM;
	}
	return 0;
}

void page_list_trim(struct page_list *pl, uint64_t first, uint64_t end)
{
	struct page_leaf *leaf = page_list_leaf_from(pl, first >> PAGE_LEAF_SHIFT);

	while (leaf && leaf->index << PAGE_LEAF_SHIFT < end) {
		struct page_leaf *next = leaf_next(leaf);

		if (!leaf->n_used)
			leaf_free(pl, leaf);
		leaf = next;
	}
}

/* The only function that writes what is fresh. */
static void fresh_set(struct page_list *pl, struct page_leaf *leaf, uint64_t fresh)
{
	pl->n_fresh -= (uint64_t)__builtin_popcountll(leaf->fresh);
	leaf->fresh = fresh;
	pl->n_fresh += (uint64_t)__builtin_popcountll(fresh);
}

static bool can_be_fresh(enum page_state state)
{
	return state == PAGE_DIRTY || state == PAGE_AWAITING_CLEAN;
}

/* The only function that writes a page's state; @bits: generation and flags of the new byte. */
static void page_set(struct page_list *pl, struct page_leaf *leaf, unsigned i, enum page_state to,
		     uint8_t bits)
{
	uint8_t from = leaf->byte[i];
	enum page_state old = from & PAGE_BYTE_STATE;

	assert(page_next[old] & BIT(to));
	leaf->byte[i] = (uint8_t)to | (to == PAGE_ABSENT ? 0 : bits);
	if (old != PAGE_ABSENT)
		pl->n_pages[old]--;
	if (to != PAGE_ABSENT)
		pl->n_pages[to]++;
	leaf->n_used = (uint8_t)(leaf->n_used + (old == PAGE_ABSENT) - (to == PAGE_ABSENT));
	if (leaf->fresh & BIT64(i) && !can_be_fresh(to))
		fresh_set(pl, leaf, leaf->fresh & ~BIT64(i));
	page_queue_count(pl->queue, from, leaf->byte[i], 1);
}

/* page_set() for many absent pages at once. */
static void leaf_fill(struct page_list *pl, struct page_leaf *leaf, struct leaf_span s,
		      uint8_t byte)
{
	unsigned n = s.hi - s.lo;

	for (unsigned i = s.lo; i < s.hi; i++)
		assert(leaf->byte[i] == PAGE_ABSENT);
	memset(leaf->byte + s.lo, byte, n);
	leaf->n_used = (uint8_t)(leaf->n_used + n);
	pl->n_pages[byte & PAGE_BYTE_STATE] += n;
	page_queue_count(pl->queue, PAGE_ABSENT, byte, n);
	/* Older pages of the leaf keep it where it is. */
	if (leaf->queue == PAGE_QUEUE_NONE)
		page_queue_file(pl->queue, leaf, page_queue_of(byte));
}

void page_list_fill(struct page_list *pl, uint64_t first, uint64_t end, enum page_state to)
{
	uint8_t byte = (uint8_t)to | page_queue_mru_bits(pl->queue);

	assert(page_next[PAGE_ABSENT] & BIT(to));
	for (uint64_t i = first >> PAGE_LEAF_SHIFT; i <= (end - 1) >> PAGE_LEAF_SHIFT; i++)
		leaf_fill(pl, page_list_leaf(pl, i), span_of(i, first, end), byte);
}

uint64_t page_list_move(struct page_list *pl, uint64_t first, uint64_t end, enum page_state from,
			enum page_state to)
{
	struct page_leaf *leaf = page_list_leaf_from(pl, first >> PAGE_LEAF_SHIFT);
	uint8_t mru = page_queue_mru_bits(pl->queue);
	uint64_t n = 0;

	assert(to != PAGE_ABSENT);
	for (; leaf && leaf->index << PAGE_LEAF_SHIFT < end; leaf = leaf_next(leaf)) {
		struct leaf_span s = span_of(leaf->index, first, end);

		for (unsigned i = s.lo; i < s.hi; i++) {
			if ((leaf->byte[i] & PAGE_BYTE_STATE) != from)
				continue;
			page_set(pl, leaf, i, to, mru | (leaf->byte[i] & PAGE_BYTE_KEEP));
			n++;
		}
		if (to == PAGE_CLEAN && leaf->queue == PAGE_QUEUE_NONE)
			page_queue_file(pl->queue, leaf, page_queue_of((uint8_t)to | mru));
	}
	return n;
}

uint64_t page_list_drop(struct page_list *pl, uint64_t first, uint64_t end)
{
	struct page_leaf *leaf = page_list_leaf_from(pl, first >> PAGE_LEAF_SHIFT);
	uint64_t n = 0;

	while (leaf && leaf->index << PAGE_LEAF_SHIFT < end) {
		struct page_leaf *next = leaf_next(leaf);
		struct leaf_span s = span_of(leaf->index, first, end);

		for (unsigned i = s.lo; i < s.hi; i++) {
			if (leaf->byte[i] == PAGE_ABSENT)
				continue;
			page_set(pl, leaf, i, PAGE_ABSENT, 0);
			n++;
		}
		if (!leaf->n_used)
			leaf_free(pl, leaf);
		leaf = next;
	}
	return n;
}

/* ---- what is fresh ---- */

static uint64_t span_bits(struct leaf_span s)
{
	return (s.hi == PAGE_LEAF_PAGES ? 0 : BIT64(s.hi)) - BIT64(s.lo);
}

void page_list_set_fresh(struct page_list *pl, uint64_t first, uint64_t end)
{
	struct page_leaf *leaf = page_list_leaf_from(pl, first >> PAGE_LEAF_SHIFT);

	for (; leaf && leaf->index << PAGE_LEAF_SHIFT < end; leaf = leaf_next(leaf)) {
		struct leaf_span s = span_of(leaf->index, first, end);
		uint64_t bits = 0;

		for (unsigned i = s.lo; i < s.hi; i++)
			if (can_be_fresh(leaf->byte[i] & PAGE_BYTE_STATE))
				bits |= BIT64(i);
		fresh_set(pl, leaf, leaf->fresh | bits);
	}
}

void page_list_clear_fresh(struct page_list *pl, uint64_t first, uint64_t end)
{
	struct page_leaf *leaf = page_list_leaf_from(pl, first >> PAGE_LEAF_SHIFT);

	for (; leaf && leaf->index << PAGE_LEAF_SHIFT < end; leaf = leaf_next(leaf))
		fresh_set(pl, leaf, leaf->fresh & ~span_bits(span_of(leaf->index, first, end)));
}

/* The end of the run of fresh pages that begins at @page in @leaf. */
static uint64_t fresh_end(const struct page_leaf *leaf, uint64_t page, uint64_t limit)
{
	while (leaf && leaf->index == page >> PAGE_LEAF_SHIFT && page < limit) {
		uint64_t stale = ~leaf->fresh >> page % PAGE_LEAF_PAGES;
		uint64_t n = stale ? (uint64_t)__builtin_ctzll(stale) : PAGE_LEAF_PAGES;

		page += MIN(n, PAGE_LEAF_PAGES - page % PAGE_LEAF_PAGES);
		if (page % PAGE_LEAF_PAGES)
			break;
		leaf = leaf_next(leaf);
	}
	return MIN(page, limit);
}

bool page_list_next_fresh(struct page_list *pl, uint64_t page, uint64_t limit, struct page_run *out)
{
	struct page_leaf *leaf =
		pl->n_fresh ? page_list_leaf_from(pl, page >> PAGE_LEAF_SHIFT) : NULL;

	for (; leaf && leaf->index << PAGE_LEAF_SHIFT < limit; leaf = leaf_next(leaf)) {
		uint64_t fresh = leaf->fresh & span_bits(span_of(leaf->index, page, limit));

		if (!fresh)
			continue;
		page = (leaf->index << PAGE_LEAF_SHIFT) + (uint64_t)__builtin_ctzll(fresh);
		*out = (struct page_run){ page, fresh_end(leaf, page, limit), PAGE_DIRTY };
		return true;
	}
	return false;
}

/* ---- intervals ---- */

/* The first interval that ends after @page, or NULL. */
static struct page_zeros *zeros_from(struct page_list *pl, uint64_t page)
{
	struct rb_node *rb = pl->zeros.root;
	struct page_zeros *best = NULL;

	while (rb) {
		struct page_zeros *z = zeros_of(rb);

		if (z->end > page)
			best = z;
		rb = rb->child[z->end <= page];
	}
	return best;
}

int page_list_zero_prepare(struct page_list *pl)
{
	for (unsigned i = 0; i < PAGE_LIST_SPARES; i++) {
		if (!pl->spare[i])
			pl->spare[i] = calloc(1, sizeof *pl->spare[i]);
		if (!pl->spare[i])
			return -ENOMEM;
	}
	return 0;
}

static void zeros_insert(struct page_list *pl, uint64_t first, uint64_t end, bool dirty)
{
	struct rb_node **link = &pl->zeros.root;
	struct rb_node *parent = NULL;
	struct page_zeros *z = NULL;

	for (unsigned i = 0; i < PAGE_LIST_SPARES && !z; i++)
		z = steal_ptr(&pl->spare[i]);
	assert(z && "page_list_zero_prepare() comes first");
	z->first = first;
	z->end = end;
	z->dirty = dirty;
	while (*link) {
		parent = *link;
		link = &parent->child[first > zeros_of(parent)->first];
	}
	rb_insert(&pl->zeros, &z->node, parent, link);
	pl->n_zeros++;
}

void page_list_zero_clear(struct page_list *pl, uint64_t first, uint64_t end)
{
	struct page_zeros *z;

	while ((z = zeros_from(pl, first)) && z->first < end) {
		uint64_t z_first = z->first;
		uint64_t z_end = z->end;
		bool dirty = z->dirty;

		/* An end moved down or a start moved up keeps the order of the tree. */
		if (z_first < first)
			z->end = first;
		else if (z_end > end)
			z->first = end;
		else
			zeros_free(pl, z);
		if (z_first < first && z_end > end)
			zeros_insert(pl, end, z_end, dirty);
		if (z_end >= end)
			return;
	}
}

/* Takes the neighbours of the same kind that touch [*first, *end) into it. */
static void zeros_absorb(struct page_list *pl, uint64_t *first, uint64_t *end, bool dirty)
{
	struct page_zeros *z = *first ? zeros_from(pl, *first - 1) : NULL;

	if (z && z->end == *first && z->dirty == dirty) {
		*first = z->first;
		zeros_free(pl, z);
	}
	z = zeros_from(pl, *end);
	if (z && z->first == *end && z->dirty == dirty) {
		*end = z->end;
		zeros_free(pl, z);
	}
}

void page_list_zero_set(struct page_list *pl, uint64_t first, uint64_t end, bool dirty)
{
	page_list_zero_clear(pl, first, end);
	zeros_absorb(pl, &first, &end, dirty);
	zeros_insert(pl, first, end, dirty);
}

/* ---- looking ---- */

uint64_t page_list_next_resident(struct page_list *pl, uint64_t page, uint64_t limit)
{
	struct page_leaf *leaf = page_list_leaf_from(pl, page >> PAGE_LEAF_SHIFT);

	for (; leaf && leaf->index << PAGE_LEAF_SHIFT < limit; leaf = leaf_next(leaf)) {
		struct leaf_span s = span_of(leaf->index, page, limit);

		for (unsigned i = s.lo; i < s.hi; i++)
			if (leaf->byte[i] != PAGE_ABSENT)
				return (leaf->index << PAGE_LEAF_SHIFT) + i;
	}
	return limit;
}

/* The end of the run of @state that begins at @page in @leaf. */
static uint64_t run_end(struct page_leaf *leaf, uint64_t page, uint64_t limit,
			enum page_state state)
{
	while (leaf && page < limit) {
		struct leaf_span s = span_of(leaf->index, page, limit);

		if (leaf->index != page >> PAGE_LEAF_SHIFT)
			return page;
		for (unsigned i = s.lo; i < s.hi; i++, page++)
			if ((leaf->byte[i] & PAGE_BYTE_STATE) != state)
				return page;
		leaf = leaf_next(leaf);
	}
	return page;
}

struct page_run page_list_run(struct page_list *pl, uint64_t page, uint64_t limit)
{
	struct page_leaf *leaf = page_list_leaf(pl, page >> PAGE_LEAF_SHIFT);
	enum page_state state = PAGE_ABSENT;
	struct page_zeros *z;

	if (leaf)
		state = leaf->byte[page % PAGE_LEAF_PAGES] & PAGE_BYTE_STATE;
	if (state != PAGE_ABSENT)
		return (struct page_run){ page, run_end(leaf, page, limit, state), state };
	z = zeros_from(pl, page);
	if (z && z->first <= page)
		return (struct page_run){ page, MIN(z->end, limit),
					  z->dirty ? PAGE_ZERO_DIRTY : PAGE_ZERO_CLEAN };
	if (z && z->first < limit)
		limit = z->first;
	return (struct page_run){ page, page_list_next_resident(pl, page, limit), PAGE_ABSENT };
}

enum page_state page_list_kind(struct page_list *pl, uint64_t page)
{
	return page_list_run(pl, page, page + 1).kind;
}

uint64_t page_list_resident(const struct page_list *pl)
{
	uint64_t n = 0;

	for (unsigned s = PAGE_ABSENT + 1; s < PAGE_NSTATES; s++)
		n += pl->n_pages[s];
	return n;
}

/* ---- age and flags ---- */

static void byte_change(struct page_list *pl, struct page_leaf *leaf, unsigned i, uint8_t byte)
{
	if (leaf->byte[i] == byte)
		return;
	page_queue_count(pl->queue, leaf->byte[i], byte, 1);
	leaf->byte[i] = byte;
}

static void leaf_touch(struct page_list *pl, struct page_leaf *leaf, struct leaf_span s,
		       uint8_t mru)
{
	for (unsigned i = s.lo; i < s.hi; i++) {
		uint8_t b = leaf->byte[i];

		if (b == PAGE_ABSENT)
			continue;
		byte_change(pl, leaf, i, (b & (PAGE_BYTE_STATE | PAGE_BYTE_KEEP)) | mru);
	}
}

void page_list_touch(struct page_list *pl, uint64_t first, uint64_t end)
{
	struct page_leaf *leaf = page_list_leaf_from(pl, first >> PAGE_LEAF_SHIFT);
	uint8_t mru = page_queue_mru_bits(pl->queue);

	for (; leaf && leaf->index << PAGE_LEAF_SHIFT < end; leaf = leaf_next(leaf))
		leaf_touch(pl, leaf, span_of(leaf->index, first, end), mru);
}

void page_list_flag(struct page_list *pl, uint64_t first, uint64_t end, enum page_state state,
		    uint8_t set, uint8_t clear)
{
	struct page_leaf *leaf = page_list_leaf_from(pl, first >> PAGE_LEAF_SHIFT);

	for (; leaf && leaf->index << PAGE_LEAF_SHIFT < end; leaf = leaf_next(leaf)) {
		struct leaf_span s = span_of(leaf->index, first, end);

		for (unsigned i = s.lo; i < s.hi; i++)
			if ((leaf->byte[i] & PAGE_BYTE_STATE) == state)
				byte_change(pl, leaf, i, (leaf->byte[i] & ~clear) | set);
		if (set & PAGE_BYTE_ISOLATED)
			page_queue_file(pl->queue, leaf, PAGE_QUEUE_ISOLATE);
	}
}

uint64_t page_list_overhead(const struct page_list *pl)
{
	return pl->n_leaves * sizeof(struct page_leaf) + pl->n_zeros * sizeof(struct page_zeros);
}

/* ---- checks ---- */

static void check_leaf(struct page_list *pl, const struct page_leaf *leaf,
		       uint64_t counted[PAGE_NSTATES])
{
	unsigned used = 0;

	for (unsigned i = 0; i < PAGE_LEAF_PAGES; i++) {
		enum page_state state = leaf->byte[i] & PAGE_BYTE_STATE;
		uint64_t page = (leaf->index << PAGE_LEAF_SHIFT) + i;
		struct page_zeros *z = zeros_from(pl, page);

		assert(state < PAGE_NSTATES);
		counted[state]++;
		used += state != PAGE_ABSENT;
		assert(state == PAGE_ABSENT || !z || z->first > page);
		assert(can_be_fresh(state) || !(leaf->fresh & BIT64(i)));
	}
	assert(used && used == leaf->n_used);
}

static void check_zeros(struct page_list *pl)
{
	const struct page_zeros *prev = NULL;
	struct rb_node *rb;
	uint64_t n = 0;

	for (rb = rb_first(&pl->zeros); rb; rb = rb_next(rb), n++) {
		const struct page_zeros *z = zeros_of(rb);

		assert(z->first < z->end);
		assert(!prev || prev->end < z->first ||
		       (prev->end == z->first && prev->dirty != z->dirty));
		prev = z;
	}
	assert(n == pl->n_zeros);
}

void page_list_check(struct page_list *pl)
{
	uint64_t counted[PAGE_NSTATES] = { 0 };
	uint64_t fresh = 0;
	struct rb_node *rb;
	uint64_t n = 0;

	for (rb = rb_first(&pl->leaves); rb; rb = rb_next(rb), n++) {
		check_leaf(pl, leaf_of(rb), counted);
		fresh += (uint64_t)__builtin_popcountll(leaf_of(rb)->fresh);
	}
	assert(n == pl->n_leaves && fresh == pl->n_fresh);
	for (unsigned s = PAGE_ABSENT + 1; s < PAGE_NSTATES; s++)
		assert(counted[s] == pl->n_pages[s]);
	check_zeros(pl);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VMO knows of each of its pages: nothing (absent), one byte (a page with memory), or its
 * share of an interval (known zero). Bytes live in leaves of 64 pages, in a tree, so that cost
 * follows what is resident and not the size of the object. A page is in a leaf or in an interval,
 * never in both; intervals are maximal.
 *
 * A page's byte: bits 0-2 enum page_state, 3-5 generation of the last use (modulo 8), 6 keep
 * (ALWAYS_NEED), 7 isolated (first to be evicted).
 *
 * Everything here runs under the VMO's lock.
 */
#ifndef VM_PAGE_LIST_H
#define VM_PAGE_LIST_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/list.h>

#include "base/rbtree.h"
#include "vm/page.h"

enum { PAGE_LEAF_SHIFT = 6, PAGE_LEAF_PAGES = 1 << PAGE_LEAF_SHIFT };

#define PAGE_BYTE_STATE     0x07u
#define PAGE_BYTE_GEN       0x38u
#define PAGE_BYTE_GEN_SHIFT 3u
#define PAGE_BYTE_KEEP      0x40u
#define PAGE_BYTE_ISOLATED  0x80u

struct page_queue;
struct vmo;

struct page_leaf {
	struct rb_node node;
	uint64_t index;               /* page >> PAGE_LEAF_SHIFT */
	struct vmo *vmo;              /* borrowed; NULL: not on a queue, holds nothing evictable */
	struct vmofs_list queue_link; /* lock: the page queue's */
	uint8_t queue;                /* lock: the page queue's */
	uint8_t n_used;
	uint64_t
		fresh; /* bit i: page i is dirty or awaiting, and was written since it was last copied */
	uint8_t byte[PAGE_LEAF_PAGES];
};

struct page_zeros {
	struct rb_node node;
	uint64_t first;
	uint64_t end;
	bool dirty;
};

enum { PAGE_LIST_SPARES = 2 };

struct page_list {
	struct rb_tree leaves;
	struct rb_tree zeros;
	struct page_queue *queue; /* borrowed; counts all pages */
	struct vmo *vmo;          /* borrowed; set: CLEAN pages are evictable */
	struct page_leaf *last;   /* the leaf looked up last, or NULL */
	struct page_zeros *spare[PAGE_LIST_SPARES];
	uint64_t n_leaves;
	uint64_t n_zeros;
	uint64_t n_fresh;
	uint64_t n_pages[PAGE_NSTATES]; /* [PAGE_ABSENT] is not kept */
};

/* A maximal stretch of one kind. */
struct page_run {
	uint64_t first;
	uint64_t end;
	enum page_state kind;
};

void page_list_init(struct page_list *pl, struct page_queue *queue, struct vmo *vmo);
void page_list_release(struct page_list *pl);

/* The run that begins at @page, cut at @limit (> @page). */
struct page_run page_list_run(struct page_list *pl, uint64_t page, uint64_t limit);
enum page_state page_list_kind(struct page_list *pl, uint64_t page);
uint64_t page_list_resident(const struct page_list *pl);

/*
 * Makes the leaves of [first, end), so that page_list_fill() cannot fail. Leaves that stay empty are
 * taken back by page_list_trim().
 */
int page_list_prepare(struct page_list *pl, uint64_t first, uint64_t end);
void page_list_trim(struct page_list *pl, uint64_t first, uint64_t end);

/* Absent pages (no zero interval there either) become @to, used now. The leaves are prepared. */
void page_list_fill(struct page_list *pl, uint64_t first, uint64_t end, enum page_state to);
/* Pages in state @from become @to (checked against the table of moves); others are left. Count. */
uint64_t page_list_move(struct page_list *pl, uint64_t first, uint64_t end, enum page_state from,
			enum page_state to);
/* All pages in the range become absent, whatever their state; returns how many had memory. */
uint64_t page_list_drop(struct page_list *pl, uint64_t first, uint64_t end);

/* Pages of the range that are dirty or awaiting become fresh, or are fresh no more. */
void page_list_set_fresh(struct page_list *pl, uint64_t first, uint64_t end);
void page_list_clear_fresh(struct page_list *pl, uint64_t first, uint64_t end);
/* The first run of fresh pages at or after @page, cut at @limit; false: none. */
bool page_list_next_fresh(struct page_list *pl, uint64_t page, uint64_t limit,
			  struct page_run *out);

/* Makes sure that one zero operation cannot fail. */
int page_list_zero_prepare(struct page_list *pl);
/* The range, which holds no pages, becomes a zero interval. Prepared. */
void page_list_zero_set(struct page_list *pl, uint64_t first, uint64_t end, bool dirty);
/* The range is in no interval any more. Prepared. */
void page_list_zero_clear(struct page_list *pl, uint64_t first, uint64_t end);

/* Used now: newest generation, not isolated. */
void page_list_touch(struct page_list *pl, uint64_t first, uint64_t end);
/* Sets and clears flag bits (KEEP, ISOLATED) of pages that are in @state. */
void page_list_flag(struct page_list *pl, uint64_t first, uint64_t end, enum page_state state,
		    uint8_t set, uint8_t clear);

struct page_leaf *page_list_leaf(struct page_list *pl, uint64_t index);
/* The first leaf at or after @index, or NULL. */
struct page_leaf *page_list_leaf_from(struct page_list *pl, uint64_t index);
/* The first page with memory at or after @page below @limit; @limit when there is none. */
uint64_t page_list_next_resident(struct page_list *pl, uint64_t page, uint64_t limit);

uint64_t page_list_overhead(const struct page_list *pl);
/* Asserts what the comment above says. */
void page_list_check(struct page_list *pl);

#endif

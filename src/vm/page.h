/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page is one VMOFS_PAGE_SIZE unit of a VMO. All of its moves run under the lock of the VMO's
 * hierarchy.
 *
 *               supply             write, grant
 *   PAGE_ABSENT --------> PAGE_CLEAN ----------> PAGE_DIRTY <---------+
 *     ^   ^                 |    ^                  |   ^             |
 *     |   +---- evict ------+    |            begin |   | end(error)  | write, grant
 *     |        detach            |                  v   |             |
 *     |                          +---- end --- PAGE_AWAITING_CLEAN ---+
 *     |
 *     +---- zero, shrink: from every state; dirty data is dropped
 *
 *   PAGE_ABSENT         -> PAGE_CLEAN           supplied by the provider
 *   PAGE_ABSENT         -> PAGE_DIRTY           a write over a known zero page, or of all of a page, or beyond the end
 *   PAGE_ABSENT         -> PAGE_UNTRACKED       a private page of a copy-on-write clone
 *   PAGE_CLEAN          -> PAGE_DIRTY           a write that was granted
 *   PAGE_CLEAN          -> PAGE_ABSENT          evict, detach, zero, shrink
 *   PAGE_DIRTY          -> PAGE_AWAITING_CLEAN  writeback begin
 *   PAGE_DIRTY          -> PAGE_ABSENT          zero, shrink
 *   PAGE_AWAITING_CLEAN -> PAGE_CLEAN           writeback end, not written since begin
 *   PAGE_AWAITING_CLEAN -> PAGE_DIRTY           a write since begin, or the writeback failed
 *   PAGE_AWAITING_CLEAN -> PAGE_ABSENT          zero, shrink
 *   PAGE_UNTRACKED      -> PAGE_ABSENT          zero, shrink
 *
 *   DIRTY, AWAITING_CLEAN, UNTRACKED: never evicted, never overwritten by supply
 *   AWAITING_CLEAN: at least one writeback token covers it
 *   UNTRACKED: only in clones; CLEAN, DIRTY, AWAITING_CLEAN only in the root
 *
 * A page that is absent may still be known to be zero: the page list keeps such ranges as intervals
 * (PAGE_ZERO_CLEAN, PAGE_ZERO_DIRTY), which cost no memory per page.
 */
#ifndef VM_PAGE_H
#define VM_PAGE_H

#include <stdint.h>
#include <vmofs/provider.h>

enum page_state {
	PAGE_ABSENT,
	PAGE_CLEAN,
	PAGE_DIRTY,
	PAGE_AWAITING_CLEAN,
	PAGE_UNTRACKED,
	PAGE_NSTATES,
	/* Kinds of a slot without a page, for look-ups; never stored in a page's byte. */
	PAGE_ZERO_CLEAN = PAGE_NSTATES,
	PAGE_ZERO_DIRTY,
	PAGE_NKINDS
};

const char *page_state_name(enum page_state s);

static inline uint64_t page_floor(uint64_t off)
{
	return off >> VMOFS_PAGE_SHIFT;
}

static inline uint64_t page_ceil(uint64_t off)
{
	return (off >> VMOFS_PAGE_SHIFT) + !!(off & (VMOFS_PAGE_SIZE - 1));
}

static inline uint64_t page_bytes(uint64_t npages)
{
	return npages << VMOFS_PAGE_SHIFT;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order in which clean pages are evicted, over all VMOs: Zircon's page queues. Eight generations
 * by last use, an isolate queue of those that go first, and counts of the pages that never go
 * (dirty, anonymous). A page carries its generation in its byte; what is linked here are leaves,
 * filed under a generation at or before that of their oldest page, and refiled lazily.
 *
 * Lock: LOCK_RANK_PAGE_QUEUE, below the VMO's. Counts are atomic.
 */
#ifndef VM_PAGE_QUEUE_H
#define VM_PAGE_QUEUE_H

#include <stdatomic.h>
#include <stdint.h>
#include <vmofs/list.h>

#include "base/sync.h"
#include "vm/page_list.h"

enum {
	PAGE_QUEUE_GENERATIONS = 8,
	PAGE_QUEUE_ACTIVE = 2, /* the newest ones: evicted only when nothing else is left */
	PAGE_QUEUE_OLDEST = 2, /* what the gentlest eviction takes */
};

enum page_queue_id {
	PAGE_QUEUE_RECLAIM_0, /* generation g is PAGE_QUEUE_RECLAIM_0 + g % 8 */
	PAGE_QUEUE_ISOLATE = PAGE_QUEUE_RECLAIM_0 + PAGE_QUEUE_GENERATIONS,
	PAGE_QUEUE_DIRTY,
	PAGE_QUEUE_ANONYMOUS,
	PAGE_QUEUE_NIDS,
	PAGE_QUEUE_NONE = PAGE_QUEUE_NIDS,
};

struct page_queue {
	struct mutex lock;
	/* lock: lock. Leaves by the oldest generation they hold; [ISOLATE]: with isolated pages. */
	struct vmofs_list leaves[PAGE_QUEUE_ISOLATE + 1];
	_Atomic uint64_t mru; /* newest generation, grows without bound */
	_Atomic uint64_t lru; /* oldest generation that may hold pages; mru - lru < 8 */
	_Atomic int64_t count[PAGE_QUEUE_NIDS]; /* pages */
	_Atomic uint64_t n_filed;               /* leaves on a list */
	_Atomic uint64_t inserted;              /* pages supplied since the last rotation */
};

void page_queue_init(struct page_queue *q);
void page_queue_release(struct page_queue *q);

/* The queue that a page with this byte counts in. */
enum page_queue_id page_queue_of(uint8_t byte);
uint8_t page_queue_mru_bits(struct page_queue *q);
/* Age of a clean page's byte: 0 newest .. 7. */
unsigned page_queue_age(struct page_queue *q, uint8_t byte);

/* Moves @n pages' worth of count. */
void page_queue_count(struct page_queue *q, uint8_t from, uint8_t to, int64_t n);

/* Files a leaf under @id, from wherever it is; a leaf of no VMO is left alone. */
void page_queue_file(struct page_queue *q, struct page_leaf *leaf, unsigned id);
void page_queue_unfile(struct page_queue *q, struct page_leaf *leaf);

/*
 * A new newest generation. When all eight are in use, the oldest first goes to the isolate queue:
 * the caller does that (evictor.h), since it needs VMO locks; -EAGAIN says so.
 */
int page_queue_rotate(struct page_queue *q);

#endif

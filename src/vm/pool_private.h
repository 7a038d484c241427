/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The budget as the VMO layer uses it. Counting is lock-free; only those who have to wait are kept
 * under the lock.
 *
 *   try_reserve -> (request) -> commit (page supplied) -> release (page gone)
 *                          \-> unreserve (not needed, failed, cancelled)
 */
#ifndef VM_POOL_PRIVATE_H
#define VM_POOL_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <vmofs/list.h>

#include "base/sync.h"
#include "store/small.h"
#include "store/store.h"
#include "vm/page_queue.h"
#include "vm/pool.h"

struct vm_pool {
	uint64_t limit;            /* pages; without what stores may keep hot */
	struct store_heat heat;    /* shared by the stores of all VMOs */
	struct small_arena *small; /* owned; where the contents of small VMOs are */
	struct page_queue queue;
	_Atomic uint64_t used;     /* pages: resident + reserved <= limit */
	_Atomic uint64_t resident; /* pages */
	_Atomic uint64_t peak;
	_Atomic uint64_t evicted;
	_Atomic uint64_t waits;
	_Atomic uint64_t failures;
	_Atomic unsigned n_waiting; /* waiting + blocked: a hint read without the lock */

	_Atomic uint64_t gains; /* how often memory came back or became evictable */

	struct mutex lock;
	uint64_t gains_served;     /* lock: lock; those that waiters have been told of */
	struct vmofs_list waiting; /* lock: lock; struct pool_waiter, first come first served */
	unsigned blocked;          /* lock: lock; threads in vm_pool_reserve() */
	struct cond freed;
};

bool vm_pool_try_reserve(struct vm_pool *p, uint64_t n);
void vm_pool_unreserve(struct vm_pool *p, uint64_t n);
void vm_pool_commit(struct vm_pool *p, uint64_t n);
void vm_pool_release(struct vm_pool *p, uint64_t n);

/*
 * Evicts if it must and waits if it must. -ENOMEM: more than the limit; -ETIMEDOUT; -ESHUTDOWN: @gone
 * became true (vm_pool_abort() makes the waiting thread look). No lock held.
 */
int vm_pool_reserve(struct vm_pool *p, uint64_t n, uint64_t deadline_ns, const _Atomic bool *gone);
/* Reserves, evicting if it must, unless others wait already. No lock held. */
bool vm_pool_reserve_in_turn(struct vm_pool *p, uint64_t n);
/*
 * Queues @w, at most the limit; granted() follows. The VMO's lock may be held; vm_pool_dispatch() is
 * called after it.
 */
void vm_pool_queue(struct vm_pool *p, struct pool_waiter *w);
/* Ends those who wait on behalf of @owner with -ESHUTDOWN. No lock held. */
void vm_pool_abort(struct vm_pool *p, const void *owner);
/* Something became evictable: whoever waits for memory may try again at the next dispatch. */
void vm_pool_note_gain(struct vm_pool *p);
/* true: it was queued, granted() will not be called. */
bool vm_pool_cancel(struct vm_pool *p, struct pool_waiter *w);

/* Ends those whose deadline is at or before @now; returns the next deadline, 0: none. */
uint64_t vm_pool_expire(struct vm_pool *p, uint64_t now_ns);
/* Reserves @n pages, evicting if it must, never waiting. No lock held. */
bool vm_pool_reserve_now(struct vm_pool *p, uint64_t n);
/* The same, but only pages that have not been used lately make room for it: for what nobody waits for yet. */
bool vm_pool_reserve_spare(struct vm_pool *p, uint64_t n);

/*
 * Memory came back or pages became evictable: serves those who wait. Cheap when nobody does. No
 * lock held; called at the end of every operation that can free something.
 */
void vm_pool_dispatch(struct vm_pool *p);
/* Rotates the generations when an eighth of the budget has been supplied since the last time. */
void vm_pool_supplied(struct vm_pool *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The memory budget: lock-free counting, a queue for those who have to wait. Any thread. */
#include "vm/pool.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/macros.h"
#include "vm/evictor.h"
#include "vm/page.h"
#include "vm/pool_private.h"

/* What stores may keep of memory that holds nothing: a small part, and nothing of a tiny budget. */
static uint64_t heat_of(uint64_t limit)
{
	return limit < MIB(64) ? 0 : MIN(limit / 8, MIB(32));
}

int vm_pool_new(struct vm_pool **out, uint64_t limit, struct vmofs_err *err)
{
	struct vm_pool *p;

	if (limit < VM_POOL_MIN)
		return vmofs_err_set(err, -EINVAL,
				     "memory budget of %" PRIu64
				     " bytes is too small, give at least %" PRIu64 "M",
				     limit, (uint64_t)VM_POOL_MIN >> 20);
	p = calloc(1, sizeof *p);
	if (!p)
		return vmofs_err_set(err, -ENOMEM, "out of memory for the page pool");
	p->small = small_arena_new(&p->heat);
	if (!p->small) {
		free(p);
		return vmofs_err_set(err, -ENOMEM, "out of memory for the page pool");
	}
	p->heat.limit = heat_of(limit);
	p->limit = page_floor(limit - p->heat.limit);
	page_queue_init(&p->queue);
	mutex_init(&p->lock, LOCK_RANK_BUDGET);
	cond_init(&p->freed);
	vmofs_list_init(&p->waiting);
	*out = p;
	return 0;
}

void vm_pool_free(struct vm_pool *p)
{
	if (!p)
		return;
	assert(p->used == 0 && vmofs_list_empty(&p->waiting));
	small_arena_free(p->small);
	page_queue_release(&p->queue);
	cond_destroy(&p->freed);
	mutex_destroy(&p->lock);
	free(p);
}

void vm_pool_cool(struct vm_pool *p)
{
	small_arena_cool(p->small);
}

/* ---- the default limit ---- */

uint64_t vm_pool_default_limit(void)
{
	uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t quarter = MIN(ram, cgroup_memory_limit("")) / 4;

	return MIN(MAX(quarter, MIB(64)), GIB(1));
}

/* ---- counting ---- */

static void note_peak(struct vm_pool *p, uint64_t used)
{
	uint64_t peak = atomic_load_explicit(&p->peak, memory_order_relaxed);

	while (used > peak && !atomic_compare_exchange_weak(&p->peak, &peak, used))
		;
}

bool vm_pool_try_reserve(struct vm_pool *p, uint64_t n)
{
	uint64_t used = atomic_load(&p->used);

	do {
		if (n > p->limit - used)
			return false;
	} while (!atomic_compare_exchange_weak(&p->used, &used, used + n));
	note_peak(p, used + n);
	return true;
}

void vm_pool_unreserve(struct vm_pool *p, uint64_t n)
{
	uint64_t before UNUSED = atomic_fetch_sub(&p->used, n);

	assert(before >= n);
	if (n)
		vm_pool_note_gain(p);
}

void vm_pool_note_gain(struct vm_pool *p)
{
	/* Ordered before the look at n_waiting in vm_pool_dispatch(). */
	atomic_fetch_add(&p->gains, 1);
}

void vm_pool_commit(struct vm_pool *p, uint64_t n)
{
	atomic_fetch_add(&p->resident, n);
}

void vm_pool_release(struct vm_pool *p, uint64_t n)
{
	uint64_t before UNUSED = atomic_fetch_sub(&p->resident, n);

	assert(before >= n);
	vm_pool_unreserve(p, n);
}

/* ---- waiting ---- */

/* @evict returns how many pages it freed. */
static bool reserve(struct vm_pool *p, uint64_t n,
		    uint64_t (*evict)(struct vm_pool *p, uint64_t pages))
{
	/* Some more than is needed, so that the next one finds room. */
	uint64_t batch = MAX(n, p->limit / 64);

	while (!vm_pool_try_reserve(p, n))
		if (!evict(p, batch))
			return vm_pool_try_reserve(p, n);
	return true;
}

bool vm_pool_reserve_now(struct vm_pool *p, uint64_t n)
{
	return reserve(p, n, vm_pool_evict);
}

static uint64_t evict_unused(struct vm_pool *p, uint64_t pages)
{
	uint64_t freed = evictor_evict_pages(p, pages, EVICT_ONLY_OLDEST);

	return freed ? freed : evictor_evict_pages(p, pages, EVICT_INCLUDE_NEWEST);
}

bool vm_pool_reserve_spare(struct vm_pool *p, uint64_t n)
{
	return reserve(p, n, evict_unused);
}

static bool is_gone(const _Atomic bool *gone)
{
	return gone && atomic_load(gone);
}

/* Sleeps until something has come back since @gains was read; false: the deadline passed. */
static bool wait_for_gain(struct vm_pool *p, uint64_t gains, uint64_t deadline_ns,
			  const _Atomic bool *gone)
{
	bool in_time = true;

	mutex_lock(&p->lock);
	while (in_time && atomic_load(&p->gains) == gains && !is_gone(gone)) {
		if (deadline_ns)
			in_time = cond_wait_until(&p->freed, &p->lock, deadline_ns);
		else
			cond_wait(&p->freed, &p->lock);
	}
	mutex_unlock(&p->lock);
	return in_time;
}

static void count_blocked(struct vm_pool *p, int n)
{
	mutex_lock(&p->lock);
	p->blocked += (unsigned)n;
	atomic_fetch_add(&p->n_waiting, (unsigned)n);
	mutex_unlock(&p->lock);
}

int vm_pool_reserve(struct vm_pool *p, uint64_t n, uint64_t deadline_ns, const _Atomic bool *gone)
{
	int r = -EINPROGRESS;

	if (n > p->limit)
		return -ENOMEM;
	if (vm_pool_reserve_now(p, n))
		return 0;
	sync_assert_none_held();
	atomic_fetch_add(&p->waits, 1);
	count_blocked(p, 1);
	while (r == -EINPROGRESS) {
		/* Read before the attempt: a gain that the attempt missed ends the wait at once. */
		uint64_t gains = atomic_load(&p->gains);

		if (vm_pool_reserve_now(p, n))
			r = 0;
		else if (is_gone(gone))
			r = -ESHUTDOWN;
		else if (!wait_for_gain(p, gains, deadline_ns, gone))
			r = -ETIMEDOUT;
	}
	count_blocked(p, -1);
	/* Eviction may have freed more than this one took. */
	vm_pool_dispatch(p);
	return r;
}

bool vm_pool_reserve_in_turn(struct vm_pool *p, uint64_t n)
{
	return !atomic_load(&p->n_waiting) && vm_pool_reserve_now(p, n);
}

void vm_pool_queue(struct vm_pool *p, struct pool_waiter *w)
{
	atomic_fetch_add(&p->waits, 1);
	mutex_lock(&p->lock);
	vmofs_list_add_tail(&p->waiting, &w->link);
	atomic_fetch_add(&p->n_waiting, 1);
	/* What came back between the caller's attempt and now found nobody to serve. */
	p->gains_served = 0;
	vm_pool_note_gain(p);
	mutex_unlock(&p->lock);
}

bool vm_pool_cancel(struct vm_pool *p, struct pool_waiter *w)
{
	bool queued;

	mutex_lock(&p->lock);
	queued = !vmofs_list_empty(&w->link);
	if (queued) {
		vmofs_list_del(&w->link);
		atomic_fetch_sub(&p->n_waiting, 1);
	}
	mutex_unlock(&p->lock);
	return queued;
}

/*
 * Reserves for the first in the queue and takes it off; NULL when there is none or no room, or when
 * nothing has come back since the last attempt.
 */
static struct pool_waiter *grant_first(struct vm_pool *p, uint64_t *missing)
{
	uint64_t gains = atomic_load(&p->gains);
	struct pool_waiter *w;

	*missing = 0;
	mutex_lock(&p->lock);
	if (gains == p->gains_served) {
		mutex_unlock(&p->lock);
		return NULL;
	}
	w = vmofs_list_first(&p->waiting, struct pool_waiter, link);
	*missing = w ? w->n : 0;
	if (w && vm_pool_try_reserve(p, w->n)) {
		vmofs_list_del(&w->link);
		atomic_fetch_sub(&p->n_waiting, 1);
	} else {
		w = NULL;
		p->gains_served = gains;
	}
	if (p->blocked)
		cond_broadcast(&p->freed);
	mutex_unlock(&p->lock);
	return w;
}

static void serve_waiting(struct vm_pool *p)
{
	uint64_t missing = 0;

	while (atomic_load(&p->n_waiting)) {
		struct pool_waiter *w = grant_first(p, &missing);

		if (w)
			w->granted(w, 0);
		else if (!missing || !vm_pool_evict(p, missing))
			return;
	}
}

void vm_pool_dispatch(struct vm_pool *p)
{
	/* Those who are served free memory in their turn, which the loop that serves them finds. */
	static _Thread_local struct vm_pool *serving;
	struct vm_pool *outer = serving;

	if (!atomic_load(&p->n_waiting) || outer == p)
		return;
	serving = p;
	serve_waiting(p);
	serving = outer;
}

static struct pool_waiter *pop_owned(struct vm_pool *p, const void *owner)
{
	struct pool_waiter *found = NULL;
	struct vmofs_list *pos;

	mutex_lock(&p->lock);
	vmofs_list_for_each(pos, &p->waiting) {
		found = container_of(pos, struct pool_waiter, link);
		if (found->owner == owner)
			break;
		found = NULL;
	}
	if (found) {
		vmofs_list_del(&found->link);
		atomic_fetch_sub(&p->n_waiting, 1);
	} else if (p->blocked) {
		cond_broadcast(&p->freed);
	}
	mutex_unlock(&p->lock);
	return found;
}

void vm_pool_abort(struct vm_pool *p, const void *owner)
{
	struct pool_waiter *w;

	while ((w = pop_owned(p, owner)))
		w->granted(w, -ESHUTDOWN);
}

/* Takes the first waiter off whose deadline has passed; else NULL and the nearest deadline. */
static struct pool_waiter *pop_expired(struct vm_pool *p, uint64_t now_ns, uint64_t *next)
{
	struct pool_waiter *found = NULL;
	struct vmofs_list *pos;

	*next = 0;
	mutex_lock(&p->lock);
	vmofs_list_for_each(pos, &p->waiting) {
		struct pool_waiter *w = container_of(pos, struct pool_waiter, link);

		if (w->deadline_ns && w->deadline_ns <= now_ns) {
			found = w;
			break;
		}
		if (w->deadline_ns && (!*next || w->deadline_ns < *next))
			*next = w->deadline_ns;
	}
	if (found) {
		vmofs_list_del(&found->link);
		atomic_fetch_sub(&p->n_waiting, 1);
	}
	mutex_unlock(&p->lock);
	return found;
}

uint64_t vm_pool_expire(struct vm_pool *p, uint64_t now_ns)
{
	struct pool_waiter *w;
	uint64_t next;

	if (!atomic_load(&p->n_waiting))
		return 0;
	while ((w = pop_expired(p, now_ns, &next)))
		w->granted(w, -ETIMEDOUT);
	return next;
}

void vm_pool_supplied(struct vm_pool *p)
{
	if (atomic_load_explicit(&p->queue.inserted, memory_order_relaxed) > p->limit / 8)
		vm_pool_age(p);
}

/* ---- looking ---- */

void vm_pool_stats(struct vm_pool *p, struct vm_pool_stats *out)
{
	uint64_t used = atomic_load(&p->used);
	uint64_t resident = atomic_load(&p->resident);

	*out = (struct vm_pool_stats){
		.limit = page_bytes(p->limit) + p->heat.limit,
		.resident = page_bytes(resident),
		.reserved = page_bytes(used > resident ? used - resident : 0),
		.peak = page_bytes(atomic_load(&p->peak)),
		.evicted = atomic_load(&p->evicted),
		.waits = atomic_load(&p->waits),
		.failures = atomic_load(&p->failures),
	};
}

void vm_pool_dump(struct vm_pool *p, FILE *out)
{
	struct vm_pool_stats s;

	vm_pool_stats(p, &s);
	fprintf(out,
		"pool limit %" PRIu64 " resident %" PRIu64 " reserved %" PRIu64 " peak %" PRIu64
		" bytes, evicted %" PRIu64 " pages, waits %" PRIu64 ", failures %" PRIu64 "\n",
		s.limit, s.resident, s.reserved, s.peak, s.evicted, s.waits, s.failures);
	for (unsigned i = 0; i < PAGE_QUEUE_GENERATIONS; i++)
		fprintf(out, "  age %u: %" PRId64 " pages\n", i,
			atomic_load(&p->queue.count[(p->queue.mru - i) % PAGE_QUEUE_GENERATIONS]));
	fprintf(out, "  isolated %" PRId64 ", dirty %" PRId64 ", private %" PRId64 "\n",
		atomic_load(&p->queue.count[PAGE_QUEUE_ISOLATE]),
		atomic_load(&p->queue.count[PAGE_QUEUE_DIRTY]),
		atomic_load(&p->queue.count[PAGE_QUEUE_ANONYMOUS]));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all VMOs of a daemon share: one hard memory budget, the page queues and the evictor.
 *
 * The budget counts pages: resident + reserved <= limit, at every moment. A reservation is made
 * before a page is asked for and becomes residency when it is supplied; a reader that cannot be
 * granted one waits in FIFO order until memory comes back. Locks: page_queue > budget, both below
 * the VMO's.
 */
#ifndef VM_POOL_H
#define VM_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <vmofs/err.h>
#include <vmofs/list.h>

struct vm_pool;

/* Somebody who waits for memory; embedded. */
struct pool_waiter {
	struct vmofs_list link; /* lock: pool->lock; empty when not queued */
	uint64_t n;             /* pages */
	uint64_t deadline_ns;   /* CLOCK_MONOTONIC, 0: none */
	const void *owner;      /* for whom: see vm_pool_abort() */
	/* 0: the pages are reserved; -ETIMEDOUT, -ESHUTDOWN: they are not. No lock is held. */
	void (*granted)(struct pool_waiter *w, int status);
};

/* @limit bytes of page contents. At least VM_POOL_MIN. */
#define VM_POOL_MIN (UINT64_C(4) << 20)
int vm_pool_new(struct vm_pool **out, uint64_t limit, struct vmofs_err *err);
/* Every VMO is gone. */
void vm_pool_free(struct vm_pool *p);

/*
 * The default for --memory: a quarter of what the cgroup (v1, v2) or the machine allows, between
 * 64 MiB and 1 GiB.
 */
uint64_t vm_pool_default_limit(void);

struct vm_pool_stats {
	uint64_t limit;    /* bytes */
	uint64_t resident; /* bytes with memory now */
	uint64_t reserved; /* bytes promised to requests under way */
	uint64_t peak;     /* greatest resident + reserved so far */
	uint64_t evicted;  /* pages, since the start */
	uint64_t waits;    /* reads that had to wait for memory */
	uint64_t failures; /* supplies refused for want of memory */
};
void vm_pool_stats(struct vm_pool *p, struct vm_pool_stats *out);

/* Advances the generations by one (5 s of life, or an eighth of the budget supplied, whichever first). */
void vm_pool_age(struct vm_pool *p);

/* Evicts at least @pages clean pages if there are; returns how many. Level: see evictor.h. */
uint64_t vm_pool_evict(struct vm_pool *p, uint64_t pages);

/* Memory that is kept for small objects to come goes back to the system; for idle times. */
void vm_pool_cool(struct vm_pool *p);

void vm_pool_dump(struct vm_pool *p, FILE *out);

#endif

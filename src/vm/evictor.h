/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes memory back from clean pages, oldest generation first, in runs. Works through the page
 * queues: leaves of an old generation have their old pages isolated, isolated pages are evicted
 * unless somebody holds them or waits on their range (then they count as used now).
 */
#ifndef VM_EVICTOR_H
#define VM_EVICTOR_H

#include <stdbool.h>
#include <stdint.h>

struct vm_pool;

enum evict_level {
	EVICT_ONLY_OLDEST,    /* age 6 and more; ALWAYS_NEED is honoured */
	EVICT_INCLUDE_NEWEST, /* everything outside the active generations; hints are ignored */
	EVICT_EVERYTHING,     /* active generations too: memory is at its end */
	EVICT_NLEVELS
};

/* Zircon's EvictionTarget. Pages. */
struct evict_target {
	bool pending;
	uint64_t free_pages;  /* until so many pages of the budget are free */
	uint64_t min_to_free; /* and at least so many have been freed */
	enum evict_level level;
};

/* pending: or; free_pages: max; min_to_free: sum; level: max. */
void evict_target_combine(struct evict_target *t, const struct evict_target *add);

/*
 * Evicts until the target is met or nothing is left to free at its level. Returns the pages freed;
 * what is missing of min_to_free stays in @t for the next call, and pending is cleared when it is
 * met.
 */
uint64_t evictor_evict(struct vm_pool *p, struct evict_target *t);

/* At least @n pages at @level if there are; returns how many. No lock is held. */
uint64_t evictor_evict_pages(struct vm_pool *p, uint64_t n, enum evict_level level);

#endif

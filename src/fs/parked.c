/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of reads. Each loop (and each thread of a ring) has a free list of its own, because a hit takes and gives back on one
 * thread; what one loop takes and another gives back flows through the shared list.
 */
#include "fs/parked.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/macros.h"
#include "fs/uring.h"

enum { PARKED_PER_SLAB = 32 };

struct parked_slab {
	struct vmofs_list link;
	struct parked_read reads[PARKED_PER_SLAB];
};

static const uint8_t parked_next[] = {
	[PARKED_FREE] = BIT(PARKED_HELD),
	[PARKED_HELD] =
		BIT(PARKED_FREE) | BIT(PARKED_EARLY) | BIT(PARKED_WAITING) | BIT(PARKED_ENDING),
	[PARKED_EARLY] = BIT(PARKED_ENDING),
	[PARKED_WAITING] = BIT(PARKED_HELD) | BIT(PARKED_ENDING),
	[PARKED_ENDING] = BIT(PARKED_FREE),
};
_Static_assert(ARRAY_LEN(parked_next) == PARKED_NSTATES, "one row per state");

void parked_set_state(struct parked_read *r, enum parked_state to)
{
	assert(parked_next[r->state] & BIT(to));
	r->state = to;
}

int parked_set_init(struct parked_set *set, struct fs_session *s, unsigned n_loops)
{
	memset(set, 0, sizeof *set);
	set->session = s;
	mutex_init(&set->lock, LOCK_RANK_READ);
	cond_init(&set->idle);
	vmofs_list_init(&set->free);
	vmofs_list_init(&set->slabs);
	set->n_loops = n_loops;
	set->n_local = n_loops + (unsigned)get_nprocs_conf();
	set->local = calloc(set->n_local, sizeof *set->local);
	if (!set->local)
		return -ENOMEM;
	for (unsigned i = 0; i < set->n_local; i++)
		vmofs_list_init(&set->local[i].free);
	return 0;
}

void parked_set_release(struct parked_set *set)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, &set->slabs)
		free(vmofs_list_entry(pos, struct parked_slab, link));
	free(set->local);
	cond_destroy(&set->idle);
	mutex_destroy(&set->lock);
}

static int parked_grow_locked(struct parked_set *set) REQUIRES(set->lock)
{
	struct parked_slab *slab = calloc(1, sizeof *slab);

	if (!slab)
		return -ENOMEM;
	vmofs_list_add(&set->slabs, &slab->link);
	for (unsigned i = 0; i < PARKED_PER_SLAB; i++) {
		slab->reads[i].session = set->session;
		vmofs_list_add(&set->free, &slab->reads[i].link);
	}
	return 0;
}

/* Moves a slab's worth to @c, so that the lock is taken once for many. */
static void parked_refill(struct parked_set *set, struct parked_cache *c) EXCLUDES(set->lock)
{
	mutex_lock(&set->lock);
	if (vmofs_list_empty(&set->free))
		(void)parked_grow_locked(set);
	while (c->n < PARKED_PER_SLAB && !vmofs_list_empty(&set->free)) {
		struct vmofs_list *item = set->free.next;

		vmofs_list_del(item);
		vmofs_list_add(&c->free, item);
		c->n++;
	}
	mutex_unlock(&set->lock);
}

static void parked_spill(struct parked_set *set, struct parked_cache *c) EXCLUDES(set->lock)
{
	mutex_lock(&set->lock);
	while (c->n > PARKED_LOCAL_MAX / 2) {
		struct vmofs_list *item = c->free.next;

		vmofs_list_del(item);
		vmofs_list_add(&set->free, item);
		c->n--;
	}
	mutex_unlock(&set->lock);
}

/* The calling thread's own list; NULL: it has none. */
static struct parked_cache *parked_cache(struct parked_set *set)
{
	struct loop *l = loop_current();
	unsigned i = set->n_local;

	if (l && loop_index(l) < set->n_loops)
		i = loop_index(l);
	else if (!l && uring_on_ring())
		i = set->n_loops + uring_thread();
	return i < set->n_local ? &set->local[i] : NULL;
}

static struct parked_read *parked_take_shared(struct parked_set *set) EXCLUDES(set->lock)
{
	struct parked_read *r;

	mutex_lock(&set->lock);
	if (vmofs_list_empty(&set->free))
		(void)parked_grow_locked(set);
	r = vmofs_list_first(&set->free, struct parked_read, link);
	if (r)
		vmofs_list_del(&r->link);
	mutex_unlock(&set->lock);
	return r;
}

struct parked_read *parked_take(struct parked_set *set)
{
	struct parked_cache *c = parked_cache(set);
	struct parked_read *r;

	if (!c)
		return parked_take_shared(set);
	if (vmofs_list_empty(&c->free))
		parked_refill(set, c);
	r = vmofs_list_first(&c->free, struct parked_read, link);
	if (!r)
		return NULL;
	vmofs_list_del(&r->link);
	c->n--;
	return r;
}

void parked_give_back(struct parked_set *set, struct parked_read *r)
{
	struct parked_cache *c = parked_cache(set);

	if (c) {
		vmofs_list_add(&c->free, &r->link);
		if (++c->n > PARKED_LOCAL_MAX)
			parked_spill(set, c);
		return;
	}
	mutex_lock(&set->lock);
	vmofs_list_add(&set->free, &r->link);
	mutex_unlock(&set->lock);
}

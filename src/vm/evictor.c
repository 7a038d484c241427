/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The evictor: ageing and eviction over the page queues. It picks a leaf under the queue's lock,
 * lets go of it, and works on the leaf under the VMO's lock, where the leaf is looked up anew.
 */
#include "vm/evictor.h"

#include <assert.h>
#include <errno.h>

#include "base/macros.h"
#include "vm/page.h"
#include "vm/pool_private.h"
#include "vm/vmo_private.h"

/* The least age that each level takes, and whether ALWAYS_NEED protects. */
static const struct {
	unsigned min_age;
	bool follow_hints;
} levels[] = {
	[EVICT_ONLY_OLDEST] = { PAGE_QUEUE_GENERATIONS - PAGE_QUEUE_OLDEST, true },
	[EVICT_INCLUDE_NEWEST] = { PAGE_QUEUE_ACTIVE, false },
	[EVICT_EVERYTHING] = { 0, false },
};
_Static_assert(ARRAY_LEN(levels) == EVICT_NLEVELS, "one row per level");

/* A leaf that was picked; the VMO is counted, the leaf itself may be gone by now. */
struct victim {
	struct vmo *vmo;
	uint64_t index;
	uint64_t generation; /* the oldest when it was picked */
};

static bool pick_from(struct page_queue *q, unsigned id, struct victim *v) REQUIRES(q->lock)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &q->leaves[id]) {
		struct page_leaf *leaf = container_of(pos, struct page_leaf, queue_link);

		/* A VMO that is being freed takes its leaves along itself. */
		if (!vmo_get_unless_dead(leaf->vmo))
			continue;
		*v = (struct victim){ leaf->vmo, leaf->index, q->lru };
		return true;
	}
	return false;
}

enum pick { PICK_NONE, PICK_ISOLATED, PICK_OLDEST };

/* The next leaf to work on: isolated, else of the oldest generation that the level allows. */
static enum pick pick(struct page_queue *q, unsigned min_age, struct victim *v)
{
	enum pick what = PICK_NONE;

	mutex_lock(&q->lock);
	if (pick_from(q, PAGE_QUEUE_ISOLATE, v))
		what = PICK_ISOLATED;
	while (what == PICK_NONE && q->mru - q->lru >= min_age) {
		if (pick_from(q, q->lru % PAGE_QUEUE_GENERATIONS, v))
			what = PICK_OLDEST;
		else if (q->lru == q->mru)
			break;
		else
			atomic_fetch_add(&q->lru, 1);
	}
	mutex_unlock(&q->lock);
	return what;
}

uint64_t evictor_evict_pages(struct vm_pool *p, uint64_t n, enum evict_level level)
{
	uint64_t freed = 0;
	uint64_t fruitless = 0;
	struct victim v;
	enum pick what;

	while (freed < n && (what = pick(&p->queue, levels[level].min_age, &v)) != PICK_NONE) {
		uint64_t got = 0;

		if (what == PICK_ISOLATED)
			got = vmo_evict_isolated(v.vmo, v.index, levels[level].follow_hints);
		else
			vmo_isolate_leaf(v.vmo, v.index, v.generation);
		vmo_put(v.vmo);
		freed += got;
		/* Held pages become young again and come round: two rounds without a page are enough. */
		fruitless = got ? 0 : fruitless + 1;
		if (fruitless > 2 * atomic_load(&p->queue.n_filed) + PAGE_QUEUE_GENERATIONS)
			break;
	}
	return freed;
}

void evict_target_combine(struct evict_target *t, const struct evict_target *add)
{
	t->pending |= add->pending;
	t->free_pages = MAX(t->free_pages, add->free_pages);
	t->min_to_free += add->min_to_free;
	t->level = MAX(t->level, add->level);
}

uint64_t evictor_evict(struct vm_pool *p, struct evict_target *t)
{
	uint64_t used = atomic_load(&p->used);
	/* As vm_pool_stats() has it: memory that is kept hot is free. */
	uint64_t free_now = p->limit + page_floor(p->heat.limit) - used;
	uint64_t want = t->min_to_free;
	uint64_t freed;

	if (!t->pending)
		return 0;
	if (t->free_pages > free_now)
		want = MAX(want, t->free_pages - free_now);
	freed = evictor_evict_pages(p, want, t->level);
	t->min_to_free -= MIN(freed, t->min_to_free);
	t->pending = freed < want;
	return freed;
}

uint64_t vm_pool_evict(struct vm_pool *p, uint64_t pages)
{
	uint64_t freed = evictor_evict_pages(p, pages, EVICT_ONLY_OLDEST);

	for (unsigned l = EVICT_INCLUDE_NEWEST; l < EVICT_NLEVELS && freed < pages; l++)
		freed += evictor_evict_pages(p, pages - freed, l);
	return freed;
}

void vm_pool_age(struct vm_pool *p)
{
	struct page_queue *q = &p->queue;
	struct victim v;

	while (page_queue_rotate(q) == -EAGAIN) {
		bool found;

		mutex_lock(&q->lock);
		found = pick_from(q, q->lru % PAGE_QUEUE_GENERATIONS, &v);
		if (!found && q->mru - q->lru == PAGE_QUEUE_GENERATIONS - 1)
			atomic_fetch_add(&q->lru, 1);
		mutex_unlock(&q->lock);
		if (!found)
			continue;
		vmo_isolate_leaf(v.vmo, v.index, v.generation);
		vmo_put(v.vmo);
	}
}

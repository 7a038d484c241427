/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 263 to 285: hints, page queues, the evictor. Zircon's queues hold pages; these count pages,
 * which carry their generation themselves.
 */
#include "conformance/harness.h"
#include "vm/evictor.h"
#include "vm/page_queue.h"
#include "vm/pool_private.h"

static uint64_t evict(struct rig *r, uint64_t page, uint64_t n, bool ignore_hints)
{
	return vmo_evict(r->v, page_bytes(page), page_bytes(n), ignore_hints);
}

static int hint(struct vmo *v, uint64_t page, uint64_t n, enum vmo_hint what)
{
	return vmo_hint(v, page_bytes(page), page_bytes(n), what, soon());
}

static int64_t queued(struct rig *r, unsigned id)
{
	return r->pool->queue.count[id];
}

/* Pages of the given age, 0 the newest. */
static int64_t of_age(struct rig *r, unsigned age)
{
	return queued(r, (unsigned)((r->pool->queue.mru - age) % PAGE_QUEUE_GENERATIONS));
}

static void age_by(struct rig *r, unsigned n)
{
	while (n--)
		vm_pool_age(r->pool);
}

CASE(263, AS_IS, "EvictionHintAlwaysNeed", "")
{
	RIG(r, 20, 0);
	struct op *op = op_hint(r.v, 0, 20, VMO_HINT_ALWAYS_NEED);

	fake_wait_read(r.f, 0, 20);
	rig_supply(&r, 0, 20);
	op_expect(op, 0);
	CHECK_EQ(evict(&r, 0, 20, false), 0);
	CHECK_EQ(evictor_evict_pages(r.pool, 20, EVICT_ONLY_OLDEST), 0);
	CHECK_EQ(vmo_n_resident(r.v), 20);
}

CASE(264, AS_IS, "EvictionHintDontNeed, HintsOpRange", "")
{
	RIG(r, 8, 0);

	CHECK_EQ(hint(r.v, 0, 8, VMO_HINT_DONT_NEED), 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	rig_supply(&r, 0, 8);
	CHECK_EQ(vmo_hint(r.v, 3 * PAGE + 100, 10, VMO_HINT_DONT_NEED, soon()), 0);
	CHECK_EQ(evictor_evict_pages(r.pool, 1, EVICT_ONLY_OLDEST), 1);
	expect_state(r.v, 3, 1, PAGE_ABSENT);
	CHECK_EQ(vmo_n_resident(r.v), 7);
	CHECK_EQ(hint(r.v, 4, 5, VMO_HINT_DONT_NEED), -ERANGE);
	CHECK_EQ(hint(r.v, 9, 1, VMO_HINT_ALWAYS_NEED), -ERANGE);
}

CASE(265, AS_IS, "EvictionHintsWithClones", "")
{
	RIG(r, 8, 0);
	CLONE(c, r.v, 4, 4, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);
	struct op *op;

	rig_supply(&r, 5, 1);
	write_now(c, 1, 1, NEW);
	CHECK_EQ(evict(&r, 5, 1, true), 1);
	op = op_hint(c, 0, 4, VMO_HINT_ALWAYS_NEED);
	fake_wait_read(r.f, 4, 1);
	rig_supply(&r, 4, 1);
	fake_wait_read(r.f, 6, 2);
	rig_supply(&r, 6, 2);
	op_expect(op, 0);
	fake_expect_none(r.f);
	CHECK_EQ(evict(&r, 0, 8, false), 0);
	CHECK_EQ(evict(&r, 0, 8, true), 3);
}

CASE(266, NOT_APPLICABLE, "EvictionHintsVmar, NestedVmar, CloneVmar",
     "there are no address spaces here")
{
}

CASE(267, AS_IS, "vmo_eviction", "")
{
	RIG(r, 1, 0);

	rig_supply(&r, 0, 1);
	CHECK_EQ(vmo_n_evicted(r.v), 0);
	CHECK_EQ(evict(&r, 0, 1, false), 1);
	CHECK_EQ(evict(&r, 0, 1, false), 0);
	expect_state(r.v, 0, 1, PAGE_ABSENT);
	CHECK_EQ(vmo_n_evicted(r.v), 1);
}

CASE(268, AS_IS, "vmo_eviction_hints", "")
{
	RIG(r, 1, 0);

	rig_supply(&r, 0, 1);
	CHECK_EQ(hint(r.v, 0, 1, VMO_HINT_ALWAYS_NEED), 0);
	CHECK_EQ(evict(&r, 0, 1, false), 0);
	CHECK_EQ(evict(&r, 0, 1, true), 1);
}

CASE(269, AS_IS, "vmo_eviction_hints_clone", "")
{
	RIG(r, 2, 0);
	CLONE(c, r.v, 0, 2, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);

	rig_supply(&r, 0, 2);
	write_now(c, 1, 1, NEW);
	CHECK_EQ(hint(c, 0, 2, VMO_HINT_ALWAYS_NEED), 0);
	CHECK_EQ(evict(&r, 0, 1, false), 0);
	CHECK_EQ(evict(&r, 1, 1, false), 1);
}

CASE(270, AS_IS, "Pinned, Dirty, AwaitingClean never evicted", "")
{
	RIG(r, 4, 0);
	struct vmo_pin pin = { 0 };
	struct vmo_token *token;

	rig_dirty(&r, 0, 2, NEW);
	token = begin(r.v, 1, 1, VMO_WRITEBACK_ALL);
	rig_supply(&r, 2, 2);
	CHECK_EQ(vmo_pin(r.v, &pin, 2 * PAGE, PAGE, false, soon()), 0);
	age_by(&r, 20);
	CHECK_EQ(evictor_evict_pages(r.pool, 4, EVICT_EVERYTHING), 1);
	CHECK_EQ(evict(&r, 0, 4, true), 0);
	expect_state(r.v, 0, 1, PAGE_DIRTY);
	expect_state(r.v, 1, 1, PAGE_AWAITING_CLEAN);
	expect_state(r.v, 2, 1, PAGE_CLEAN);
	expect_state(r.v, 3, 1, PAGE_ABSENT);
	vmo_unpin(&pin);
	vmo_writeback_end(token, 0);
	CHECK_EQ(evictor_evict_pages(r.pool, 4, EVICT_EVERYTHING), 2);
}

CASE(271, AS_IS, "Evict, read again", "")
{
	RIG(r, 4, 0);
	struct op *op;

	rig_supply(&r, 0, 4);
	CHECK_EQ(evict(&r, 2, 1, false), 1);
	op = op_read(r.v, 0, 4);
	fake_wait_read(r.f, 2, 1);
	rig_supply(&r, 2, 1);
	op_expect_data(op, KEY);
}

CASE(272, NOT_APPLICABLE, "vmo_high_priority_reclaim",
     "VMOs have no priorities; ALWAYS_NEED is per page")
{
}

CASE(273, IMPROVED, "vmo_pinning_backlink",
     "leaves are filed, not pages: a pinned page is passed over and stays findable")
{
	RIG(r, 200, 0);
	struct vmo_pin pin = { 0 };

	rig_supply(&r, 130, 2);
	CHECK_EQ(vmo_pin(r.v, &pin, 131 * PAGE, PAGE, false, soon()), 0);
	CHECK_EQ(evictor_evict_pages(r.pool, 2, EVICT_EVERYTHING), 1);
	expect_state(r.v, 130, 1, PAGE_ABSENT);
	expect_data(r.v, 131, 1, KEY);
	vmo_unpin(&pin);
	CHECK_EQ(evictor_evict_pages(r.pool, 2, EVICT_EVERYTHING), 1);
	expect_state(r.v, 131, 1, PAGE_ABSENT);
}

CASE(274, AS_IS, "vmo_attribution_evict", "")
{
	RIG(r, 8, 0);
	struct vm_pool_stats stats;

	rig_supply(&r, 0, 8);
	CHECK_EQ(evict(&r, 0, 3, false), 3);
	CHECK_EQ(vmo_n_resident(r.v), 5);
	vm_pool_stats(r.pool, &stats);
	CHECK_EQ(stats.resident, 5 * PAGE);
	CHECK_EQ(stats.evicted, 3);
}

CASE(275, AS_IS, "pq_add_remove", "")
{
	RIG(r, 8, VMO_RESIZABLE);
	CLONE(c, r.v, 0, 8, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);

	rig_supply(&r, 0, 4);
	CHECK_EQ(of_age(&r, 0), 4);
	write_now(r.v, 0, 1, NEW);
	write_now(c, 1, 1, NEW);
	CHECK_EQ(hint(r.v, 2, 1, VMO_HINT_DONT_NEED), 0);
	CHECK_EQ(of_age(&r, 0), 2);
	CHECK_EQ(queued(&r, PAGE_QUEUE_DIRTY), 1);
	CHECK_EQ(queued(&r, PAGE_QUEUE_ANONYMOUS), 1);
	CHECK_EQ(queued(&r, PAGE_QUEUE_ISOLATE), 1);
	rig_resize(&r, 0);
	CHECK_EQ(vmo_resize(c, 0, soon()), 0);
	for (unsigned id = 0; id < PAGE_QUEUE_NIDS; id++)
		CHECK_EQ(queued(&r, id), 0);
}

CASE(276, AS_IS, "pq_move_queues", "")
{
	RIG(r, 1, 0);

	rig_supply(&r, 0, 1);
	CHECK_EQ(of_age(&r, 0), 1);
	CHECK_EQ(hint(r.v, 0, 1, VMO_HINT_DONT_NEED), 0);
	CHECK_EQ(queued(&r, PAGE_QUEUE_ISOLATE), 1);
	CHECK_EQ(of_age(&r, 0), 0);
	write_now(r.v, 0, 1, NEW);
	CHECK_EQ(queued(&r, PAGE_QUEUE_ISOLATE), 0);
	CHECK_EQ(queued(&r, PAGE_QUEUE_DIRTY), 1);
	rig_clean(&r, 0, 1);
	CHECK_EQ(queued(&r, PAGE_QUEUE_DIRTY), 0);
	CHECK_EQ(of_age(&r, 0), 1);
}

CASE(277, AS_IS, "pq_rotate_queue", "")
{
	RIG(r, 1, 0);

	rig_supply(&r, 0, 1);
	for (unsigned age = 0; age < PAGE_QUEUE_GENERATIONS; age++) {
		CHECK_EQ(of_age(&r, age), 1);
		if (age + 1 < PAGE_QUEUE_GENERATIONS)
			vm_pool_age(r.pool);
	}
	expect_data(r.v, 0, 1, KEY);
	CHECK_EQ(of_age(&r, 0), 1);
	/* Nobody uses it any more: it never gets older than the last generation, but it goes first. */
	age_by(&r, 3 * PAGE_QUEUE_GENERATIONS);
	CHECK_EQ(of_age(&r, PAGE_QUEUE_GENERATIONS - 1) + queued(&r, PAGE_QUEUE_ISOLATE), 1);
	expect_data(r.v, 0, 1, KEY);
	CHECK_EQ(of_age(&r, 0), 1);
}

CASE(278, AS_IS, "pq_toggle_dont_need_queue", "")
{
	RIG(r, 4, 0);

	rig_supply(&r, 0, 4);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(hint(r.v, 1, 1, VMO_HINT_DONT_NEED), 0);
		CHECK_EQ(queued(&r, PAGE_QUEUE_ISOLATE), 1);
		expect_data(r.v, 1, 1, KEY);
		CHECK_EQ(queued(&r, PAGE_QUEUE_ISOLATE), 0);
		CHECK_EQ(of_age(&r, 0), 4);
	}
	CHECK_EQ(hint(r.v, 1, 1, VMO_HINT_DONT_NEED), 0);
	CHECK_EQ(evictor_evict_pages(r.pool, 1, EVICT_ONLY_OLDEST), 1);
	expect_state(r.v, 1, 1, PAGE_ABSENT);
}

CASE(279, AS_IS, "evictor_set_target, combine", "")
{
	struct evict_target t = {
		.pending = false, .free_pages = 10, .min_to_free = 3, .level = EVICT_INCLUDE_NEWEST
	};
	struct evict_target add = {
		.pending = true, .free_pages = 7, .min_to_free = 4, .level = EVICT_ONLY_OLDEST
	};

	evict_target_combine(&t, &add);
	CHECK(t.pending);
	CHECK_EQ(t.free_pages, 10);
	CHECK_EQ(t.min_to_free, 7);
	CHECK_EQ(t.level, EVICT_INCLUDE_NEWEST);
	add.pending = false;
	add.free_pages = 20;
	evict_target_combine(&t, &add);
	CHECK(t.pending);
	CHECK_EQ(t.free_pages, 20);
	CHECK_EQ(t.min_to_free, 11);
}

CASE(280, AS_IS, "evictor_pager_backed", "")
{
	RIG(r, 8, 0);
	CLONE(c, r.v, 0, 8, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);

	rig_supply(&r, 0, 8);
	write_now(c, 0, 2, NEW);
	write_now(r.v, 7, 1, NEW);
	CHECK_EQ(evictor_evict_pages(r.pool, 100, EVICT_EVERYTHING), 7);
	CHECK_EQ(vmo_n_resident(r.v), 1);
	CHECK_EQ(vmo_n_resident(c), 2);
	expect_data(c, 0, 2, NEW);
}

static uint64_t pool_free(struct rig *r)
{
	struct vm_pool_stats stats;

	vm_pool_stats(r->pool, &stats);
	return (stats.limit - stats.resident - stats.reserved) / PAGE;
}

CASE(281, IMPROVED, "evictor_free_target, external_target",
     "evicts in runs: at least the target, by whole leaves at most")
{
	RIG(r, 1024, 0);
	struct evict_target t = { .pending = true, .level = EVICT_EVERYTHING };
	uint64_t before;
	uint64_t n;

	rig_supply(&r, 0, 1024);
	before = pool_free(&r);
	t.free_pages = before + 100;
	n = evictor_evict(r.pool, &t);
	CHECK(n >= 100 && n < 100 + PAGE_LEAF_PAGES);
	CHECK_EQ(pool_free(&r), before + n);
	CHECK(!t.pending);
	/* What somebody else asks for has nothing to do with this target. */
	t.pending = true;
	CHECK(evictor_evict_pages(r.pool, 10, EVICT_EVERYTHING) >= 10);
	CHECK_EQ(t.free_pages, before + 100);
	CHECK_EQ(t.min_to_free, 0);
	CHECK_EQ(evictor_evict(r.pool, &t), 0);
	CHECK(!t.pending);
}

CASE(282, AS_IS, "evictor_min_pages carried over", "")
{
	RIG(r, 64, 0);
	struct evict_target t = { .pending = true, .min_to_free = 40, .level = EVICT_EVERYTHING };
	uint64_t n;

	rig_supply(&r, 0, 16);
	CHECK_EQ(evictor_evict(r.pool, &t), 16);
	CHECK_EQ(t.min_to_free, 24);
	CHECK(t.pending);
	rig_supply(&r, 0, 32);
	n = evictor_evict(r.pool, &t);
	CHECK(n >= 24 && n <= 32);
	CHECK_EQ(t.min_to_free, 0);
	CHECK(!t.pending);
}

CASE(283, AS_IS, "Cleaned page is MRU", "")
{
	RIG(r, 200, 0);

	rig_dirty(&r, 0, 1, NEW);
	rig_supply(&r, 128, 1);
	age_by(&r, 7);
	rig_clean(&r, 0, 1);
	CHECK_EQ(evictor_evict_pages(r.pool, 1, EVICT_ONLY_OLDEST), 1);
	expect_state(r.v, 128, 1, PAGE_ABSENT);
	expect_state(r.v, 0, 1, PAGE_CLEAN);
	CHECK_EQ(evictor_evict_pages(r.pool, 1, EVICT_INCLUDE_NEWEST), 0);
}

CASE(284, AS_IS, "Isolate order", "")
{
	RIG(r, 4 * PAGE_LEAF_PAGES, 0);

	for (uint64_t i = 0; i < 4; i++)
		rig_supply(&r, i * PAGE_LEAF_PAGES, 1);
	age_by(&r, 7);
	expect_data(r.v, 0, 1, KEY);
	CHECK_EQ(hint(r.v, 3 * PAGE_LEAF_PAGES, 1, VMO_HINT_DONT_NEED), 0);
	CHECK_EQ(hint(r.v, 1 * PAGE_LEAF_PAGES, 1, VMO_HINT_DONT_NEED), 0);
	CHECK_EQ(evictor_evict_pages(r.pool, 1, EVICT_ONLY_OLDEST), 1);
	expect_state(r.v, 3 * PAGE_LEAF_PAGES, 1, PAGE_ABSENT);
	CHECK_EQ(evictor_evict_pages(r.pool, 1, EVICT_ONLY_OLDEST), 1);
	expect_state(r.v, 1 * PAGE_LEAF_PAGES, 1, PAGE_ABSENT);
	CHECK_EQ(evictor_evict_pages(r.pool, 1, EVICT_ONLY_OLDEST), 1);
	expect_state(r.v, 2 * PAGE_LEAF_PAGES, 1, PAGE_ABSENT);
	expect_state(r.v, 0, 1, PAGE_CLEAN);
}

CASE(285, AS_IS, "Access saves victim", "")
{
	RIG(r, 2 * PAGE_LEAF_PAGES, 0);

	rig_supply(&r, 0, 1);
	rig_supply(&r, PAGE_LEAF_PAGES, 1);
	age_by(&r, 7);
	expect_data(r.v, 0, 1, KEY);
	CHECK_EQ(evictor_evict_pages(r.pool, 2, EVICT_ONLY_OLDEST), 1);
	expect_state(r.v, 0, 1, PAGE_CLEAN);
	expect_state(r.v, PAGE_LEAF_PAGES, 1, PAGE_ABSENT);
}

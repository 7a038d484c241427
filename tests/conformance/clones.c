/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 236 to 262: copy-on-write clones and snapshots. Requests are always in the coordinates of
 * the root; what a clone has written is its own and never dirty.
 */
#include <stdlib.h>

#include "conformance/harness.h"

#define ON_WRITE VMO_SNAPSHOT_AT_LEAST_ON_WRITE
#define MODIFIED VMO_SNAPSHOT_MODIFIED

CASE(236, AS_IS, "CloneReadFromClone", "")
{
	RIG(r, 4, 0);
	CLONE(c, r.v, 2, 2, ON_WRITE);
	struct op *op = op_read(c, 1, 1);

	fake_wait_read(r.f, 3, 1);
	rig_supply(&r, 3, 1);
	op_expect_all(op);
	expect_data(r.v, 3, 1, KEY);
	CHECK_EQ(vmo_n_resident(c), 0);
}

CASE(237, AS_IS, "CloneReadFromParent", "")
{
	RIG(r, 1, 0);
	CLONE(c, r.v, 0, 1, ON_WRITE);
	struct op *op = op_read(r.v, 0, 1);

	fake_wait_read(r.f, 0, 1);
	rig_supply(&r, 0, 1);
	op_expect_data(op, KEY);
	expect_data(c, 0, 1, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(238, AS_IS, "CloneSimultaneousRead", "")
{
	RIG(r, 1, 0);
	CLONE(c, r.v, 0, 1, ON_WRITE);
	struct op *a = op_read(r.v, 0, 1);
	struct op *b = op_read(c, 0, 1);

	fake_wait_blocked(r.f, 2);
	fake_wait_read(r.f, 0, 1);
	fake_expect_none(r.f);
	rig_supply(&r, 0, 1);
	op_expect_data(a, KEY);
	op_expect_data(b, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(239, AS_IS, "CloneSimultaneousChildRead", "")
{
	RIG(r, 1, 0);
	CLONE(c1, r.v, 0, 1, ON_WRITE);
	CLONE(c2, r.v, 0, 1, ON_WRITE);
	struct op *a = op_read(c1, 0, 1);
	struct op *b = op_read(c2, 0, 1);

	fake_wait_blocked(r.f, 2);
	rig_supply(&r, 0, 1);
	op_expect_data(a, KEY);
	op_expect_data(b, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(240, AS_IS, "CloneWriteToClone", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);
	CLONE(c, r.v, 0, 1, ON_WRITE);
	struct op *op = op_write(c, 0, 1, NEW);

	fake_wait_read(r.f, 0, 1);
	rig_supply(&r, 0, 1);
	op_expect_all(op);
	expect_data(c, 0, 1, NEW);
	expect_data(r.v, 0, 1, KEY);
	EXPECT_CLEAN(r.v);
	expect_state(c, 0, 1, PAGE_UNTRACKED);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(241, AS_IS, "CloneCommit", "")
{
	RIG(r, 32, 0);
	CLONE(c, r.v, 0, 32, ON_WRITE);
	struct op *op = op_commit(c, 0, 32);

	fake_wait_read(r.f, 0, 32);
	rig_supply(&r, 0, 32);
	op_expect(op, 0);
	fake_expect_none(r.f);
}

/* Absent pages of the root become pages of @c: supplied, copied, evicted from the root. */
static void fork_pages(struct rig *r, struct vmo *c, uint64_t page, uint64_t n)
{
	rig_supply(r, page, n);
	write_now(c, page, n, NEW);
	CHECK_EQ(vmo_evict(r->v, page_bytes(page), page_bytes(n), true), n);
}

CASE(242, IMPROVED, "CloneChainCommit", "all gaps at once")
{
	RIG(r, 12, 0);
	CLONE(c, r.v, 0, 12, ON_WRITE);
	CLONE(g, c, 0, 12, ON_WRITE);
	struct op *op;

	fork_pages(&r, c, 2, 2);
	fork_pages(&r, g, 7, 1);
	op = op_commit(g, 0, 12);
	fake_wait_read(r.f, 0, 2);
	fake_wait_read(r.f, 4, 3);
	fake_wait_read(r.f, 8, 4);
	fake_expect_none(r.f);
	CHECK_EQ(fake_supply(r.f, 0, 12), 12 * PAGE);
	op_expect(op, 0);
	expect_data(g, 2, 2, NEW);
	expect_data(g, 7, 1, NEW);
	expect_data(g, 8, 4, KEY);
}

CASE(243, IMPROVED, "CloneSplitCommit", "both packets at once")
{
	RIG(r, 8, 0);
	CLONE(c, r.v, 0, 8, ON_WRITE);
	struct op *op;

	fork_pages(&r, c, 4, 1);
	op = op_commit(c, 0, 8);
	fake_wait_read(r.f, 0, 4);
	fake_wait_read(r.f, 5, 3);
	rig_supply(&r, 5, 3);
	rig_supply(&r, 0, 4);
	op_expect(op, 0);
	expect_state(r.v, 4, 1, PAGE_ABSENT);
}

CASE(244, IMPROVED, "CloneResizeCloneHazard", "the read is short, as read(2) is")
{
	RIG(r, 4, 0);
	CLONE(c, r.v, 0, 4, ON_WRITE);
	struct op *op = op_read(c, 2, 1);

	fake_wait_read(r.f, 2, 1);
	CHECK_EQ(vmo_resize(c, PAGE, soon()), 0);
	CHECK_EQ(fake_supply(r.f, 2, 1), PAGE);
	op_expect(op, 0);
	expect_data(r.v, 2, 1, KEY);
}

CASE(245, AS_IS, "CloneResizeParentOK", "")
{
	RIG(r, 4, VMO_RESIZABLE);
	CLONE(c, r.v, 0, 4, ON_WRITE);
	struct op *op = op_read(c, 2, 2);

	fake_wait_read(r.f, 2, 2);
	rig_resize(&r, 0);
	op_expect_zero(op);
	CHECK_EQ(fake_n_owned(r.f), 0);
}

CASE(246, AS_IS, "CloneShrinkGrowParent", "")
{
	RIG(r, 4, VMO_RESIZABLE);
	CLONE(c, r.v, 0, 4, ON_WRITE);

	rig_supply(&r, 0, 4);
	expect_data(c, 0, 4, KEY);
	rig_resize(&r, 2);
	rig_resize(&r, 4);
	write_now(r.v, 2, 2, NEW);
	expect_data(r.v, 2, 2, NEW);
	expect_data(c, 0, 2, KEY);
	expect_zero(c, 2, 2);
}

CASE(247, AS_IS, "DeepHierarchy", "")
{
	enum { DEPTH = 1000 };
	RIG(r, 2, 0);
	struct vmo *at = vmo_get(r.v);
	struct op *op;

	for (int i = 0; i < DEPTH; i++) {
		struct vmo *c = clone_new(at, 0, 2, ON_WRITE);

		vmo_put(at);
		at = c;
	}
	op = op_read(at, 0, 2);
	fake_wait_read(r.f, 0, 2);
	rig_supply(&r, 0, 2);
	op_expect_data(op, KEY);
	write_now(at, 0, 1, NEW);
	expect_data(at, 0, 1, NEW);
	vmo_put(at);
	expect_data(r.v, 0, 2, KEY);
}

CASE(248, AS_IS, "CloneMightSeeIntermediateForks", "")
{
	RIG(r, 2, 0);
	CLONE(c, r.v, 0, 2, ON_WRITE);
	CLONE(g, c, 0, 2, ON_WRITE);

	rig_supply(&r, 0, 2);
	write_now(c, 0, 1, NEW);
	expect_data(g, 0, 1, NEW);
	expect_data(g, 1, 1, KEY);
	write_now(g, 0, 1, NEWER);
	write_now(c, 0, 1, NEW);
	expect_data(g, 0, 1, NEWER);
}

CASE(249, AS_IS, "CloneSeesCorrectParentPages", "")
{
	enum { PAGES = 32 };
	RIG(r, PAGES, 0);
	uint64_t seed = 249;

	rig_supply(&r, 0, PAGES);
	for (int round = 0; round < 100; round++) {
		uint64_t from = rnd(&seed, PAGES);
		uint64_t n = 1 + rnd(&seed, PAGES - from);
		uint64_t inner = rnd(&seed, n);
		CLONE(c, r.v, from, n, ON_WRITE);
		CLONE(g, c, inner, n - inner, ON_WRITE);

		expect_data(c, 0, n, KEY + from * PAGE / 8);
		expect_data(g, 0, n - inner, KEY + (from + inner) * PAGE / 8);
	}
}

CASE(250, IMPROVED, "CloneCommitSingle, Two, Multiple, RandomBatches",
     "all runs are asked for at once")
{
	enum { PAGES = 40 };
	uint64_t seed = 250;

	for (int round = 0; round < 50; round++) {
		RIG(r, PAGES, 0);
		CLONE(c, r.v, 0, PAGES, ON_WRITE);
		CLONE(g, c, 0, PAGES, ON_WRITE);
		bool have[PAGES + 1] = { [PAGES] = true };
		struct op *op;

		for (uint64_t i = 0; i < PAGES; i++) {
			unsigned where = (unsigned)rnd(&seed, 6);

			have[i] = where < 3;
			if (where == 0)
				rig_supply(&r, i, 1);
			else if (where < 3)
				fork_pages(&r, where == 1 ? c : g, i, 1);
		}
		op = op_commit(g, 0, PAGES);
		for (uint64_t i = 0, n; i < PAGES; i += n) {
			for (n = 0; !have[i + n]; n++)
				;
			if (n)
				fake_wait_read(r.f, i, n);
			n += have[i + n];
		}
		CHECK(fake_supply(r.f, 0, PAGES) >= 0);
		op_expect(op, 0);
		fake_expect_none(r.f);
	}
}

CASE(251, AS_IS, "PageRequestBatchingChecksAncestorPages", "")
{
	RIG(r, 6, 0);
	CLONE(c, r.v, 0, 6, ON_WRITE);
	CLONE(g, c, 0, 6, ON_WRITE);
	struct op *op;

	fork_pages(&r, c, 3, 1);
	op = op_read(g, 0, 6);
	fake_wait_read(r.f, 0, 3);
	rig_supply(&r, 0, 3);
	fake_wait_read(r.f, 4, 2);
	rig_supply(&r, 4, 2);
	op_expect_all(op);
	expect_data(g, 3, 1, NEW);
	fake_expect_none(r.f);
}

CASE(252, AS_IS, "EarlyWakeCloneRace", "")
{
	for (int round = 0; round < 50; round++) {
		RIG(r, 8, 0);
		CLONE(c, r.v, 0, 8, ON_WRITE);
		struct op *reader = op_read(c, 0, 8);
		struct op *writer;

		fake_wait_read(r.f, 0, 8);
		rig_supply(&r, 0, 3);
		writer = op_write(c, 2, 1, NEW);
		rig_supply(&r, 3, 5);
		op_expect_all(writer);
		op_expect_all(reader);
		fake_expect_none(r.f);
		CHECK_EQ(fake_n_owned(r.f), 0);
		expect_data(c, 2, 1, NEW);
		expect_data(c, 3, 5, KEY);
	}
}

CASE(253, AS_IS, "NoQueryOnClone", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	CLONE(c, r.v, 0, 2, ON_WRITE);
	struct vmo_token *token = NULL;
	uint8_t *buf = calloc(1, PAGE);

	CHECK_EQ(vmo_query_dirty(c, 0, 2 * PAGE, NULL, 0), -EINVAL);
	CHECK_EQ(vmo_supply(c, 0, buf, PAGE), -EINVAL);
	CHECK_EQ(vmo_supply_zero(c, 0, PAGE), -EINVAL);
	CHECK_EQ(vmo_fail(c, 0, PAGE, -EIO, 1), -EINVAL);
	CHECK_EQ(vmo_dirty(c, 0, PAGE), -EINVAL);
	CHECK_EQ(vmo_writeback_begin(c, 0, PAGE, VMO_WRITEBACK_ALL, &token), -EINVAL);
	CHECK_EQ(vmo_detach(c), -EINVAL);
	CHECK(!token);
	free(buf);
}

CASE(254, IMPROVED, "Smoke", "memory is counted where it lies, not shared out in halves")
{
	RIG(r, 2, 0);
	CLONE(c, r.v, 0, 2, MODIFIED);
	struct op *op = op_write(c, 0, 1, NEW);

	fake_wait_read(r.f, 0, 1);
	rig_supply(&r, 0, 1);
	op_expect_all(op);
	{
		CLONE(s, c, 0, 2, MODIFIED);

		expect_data(c, 0, 1, NEW);
		expect_data(s, 0, 1, NEW);
		write_now(c, 0, 1, NEWER);
		expect_data(c, 0, 1, NEWER);
		expect_data(s, 0, 1, NEW);
		rig_supply(&r, 1, 1);
		write_now(s, 1, 1, NEWER);
		expect_data(s, 1, 1, NEWER);
		expect_data(c, 1, 1, KEY);
	}
	expect_data(c, 0, 1, NEWER);
	expect_data(r.v, 0, 2, KEY);
}

CASE(255, AS_IS, "AtLeastOnWriteAfterSnapshotModified", "")
{
	RIG(r, 2, 0);
	CLONE(c, r.v, 0, 2, MODIFIED);
	struct vmo *s;

	rig_supply(&r, 0, 2);
	write_now(c, 0, 1, NEW);
	s = clone_new(c, 0, 2, MODIFIED);
	{
		CLONE(g, s, 0, 2, ON_WRITE);

		write_now(s, 0, 1, NEWER);
		expect_data(s, 0, 1, NEWER);
		expect_data(g, 0, 1, NEW);
		expect_data(c, 0, 1, NEW);
	}
	vmo_put(s);
}

CASE(256, AS_IS, "SnapshotModifiedAfterAtLeastOnWrite", "")
{
	RIG(r, 2, 0);
	CLONE(a, r.v, 0, 2, ON_WRITE);
	CLONE(b, r.v, 0, 2, ON_WRITE);

	rig_supply(&r, 0, 2);
	write_now(a, 0, 1, NEW);
	{
		CLONE(sa, a, 0, 2, MODIFIED);
		CLONE(sr, r.v, 0, 2, MODIFIED);

		write_now(a, 0, 1, NEWER);
		write_now(sr, 1, 1, NEW);
		expect_data(sa, 0, 1, NEW);
		expect_data(a, 0, 1, NEWER);
		expect_data(b, 0, 2, KEY);
		expect_data(sr, 0, 1, KEY);
		expect_data(sr, 1, 1, NEW);
		expect_data(sa, 1, 1, KEY);
	}
	expect_data(r.v, 0, 2, KEY);
}

static uint64_t pool_pages(struct rig *r)
{
	struct vm_pool_stats stats;

	vm_pool_stats(r->pool, &stats);
	CHECK_EQ(stats.reserved, 0);
	return stats.resident / PAGE;
}

CASE(257, AS_IS, "DropVmos", "")
{
	RIG(r, 4, 0);
	struct vmo *c;
	struct vmo *s1;
	struct vmo *s2;

	rig_supply(&r, 0, 4);
	c = clone_new(r.v, 0, 4, MODIFIED);
	write_now(c, 0, 2, NEW);
	s1 = clone_new(c, 0, 4, MODIFIED);
	write_now(s1, 1, 1, NEWER);
	s2 = clone_new(s1, 0, 4, MODIFIED);
	write_now(s2, 2, 1, NEWER);
	vmo_put(s1);
	expect_data(c, 0, 2, NEW);
	expect_data(s2, 0, 1, NEW);
	expect_data(s2, 1, 1, NEWER);
	expect_data(s2, 2, 1, NEWER);
	expect_data(s2, 3, 1, KEY);
	vmo_put(c);
	expect_data(s2, 0, 1, NEW);
	expect_data(s2, 1, 2, NEWER);
	vmo_check(r.v);
	vmo_put(s2);
	CHECK_EQ(pool_pages(&r), 4);
	expect_data(r.v, 0, 4, KEY);
}

CASE(258, IMPROVED, "ResizeShrinkSnapshot (and with an empty parent)",
     "memory is counted where it lies")
{
	RIG(r, 4, 0);
	CLONE(c, r.v, 0, 4, MODIFIED);

	rig_supply(&r, 0, 4);
	write_now(c, 0, 4, NEW);
	{
		CLONE(s, c, 0, 4, MODIFIED);
		CLONE(empty, r.v, 0, 4, MODIFIED);

		CHECK_EQ(vmo_resize(s, PAGE, soon()), 0);
		expect_data(s, 0, 1, NEW);
		CHECK_EQ(vmo_resize(s, 3 * PAGE, soon()), 0);
		expect_zero(s, 1, 2);
		expect_data(c, 0, 4, NEW);
		CHECK_EQ(vmo_resize(c, 0, soon()), 0);
		expect_data(s, 0, 1, NEW);
		CHECK_EQ(vmo_resize(empty, 0, soon()), 0);
	}
	CHECK_EQ(vmo_size(c), 0);
	expect_data(r.v, 0, 4, KEY);
}

CASE(259, NOT_APPLICABLE, "SnapshotReadOnlyVmo", "there are no handles with rights")
{
}

CASE(260, AS_IS, "ReleaseCowParentPages Left, Right, Both, Hidden", "")
{
	static const struct {
		uint64_t page, n;
	} partial[] = { { 0, 2 }, { 2, 2 }, { 1, 2 } };

	for (unsigned i = 0; i < ARRAY_LEN(partial); i++) {
		RIG(r, 4, 0);
		struct vmo *full = clone_new(r.v, 0, 4, MODIFIED);
		CLONE(part, full, partial[i].page, partial[i].n, MODIFIED);

		rig_supply(&r, 0, 4);
		write_now(full, 0, 1, NEW);
		vmo_put(full);
		expect_data(part, 0, partial[i].n, KEY + partial[i].page * PAGE / 8);
		expect_data(r.v, 0, 4, KEY);
		CHECK_EQ(vmo_n_resident(r.v), 4);
	}
}

CASE(261, AS_IS, "ZeroRange variants", "")
{
	RIG(r, 4, 0);
	CLONE(c, r.v, 0, 4, MODIFIED);

	rig_supply(&r, 0, 4);
	write_now(c, 0, 2, NEW);
	{
		CLONE(s, c, 0, 4, MODIFIED);

		zero_now(s, 0, 1);
		zero_now(s, 3, 1);
		expect_zero(s, 0, 1);
		expect_zero(s, 3, 1);
		expect_data(s, 1, 1, NEW);
		expect_data(c, 0, 2, NEW);
		expect_data(c, 2, 2, KEY);
		zero_now(c, 1, 2);
		expect_zero(c, 1, 2);
		expect_data(s, 1, 1, NEW);
		expect_data(s, 2, 1, KEY);
	}
	expect_data(r.v, 0, 4, KEY);
}

CASE(262, AS_IS, "vmo_snapshot_modified", "")
{
	RIG(r, 2, 0);
	CLONE(c, r.v, 0, 2, MODIFIED);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmo_pin pin = { 0 };
	struct vmo *s = NULL;

	CHECK_EQ(vmo_clone(&s, r.v, 0, 2 * PAGE, VMO_SNAPSHOT, 0, &err), -EOPNOTSUPP);
	CHECK_EQ(vmo_clone(&s, c, 0, 2 * PAGE, VMO_SNAPSHOT, 0, &err), -EOPNOTSUPP);
	CHECK_EQ(vmo_clone(&s, r.v, PAGE, UINT64_MAX - PAGE + 1, ON_WRITE, 0, &err), -EINVAL);
	rig_supply(&r, 0, 2);
	write_now(c, 0, 1, NEW);
	CHECK_EQ(vmo_pin(c, &pin, 0, PAGE, false, soon()), 0);
	CHECK_EQ(vmo_clone(&s, c, 0, 2 * PAGE, MODIFIED, 0, &err), -EBUSY);
	CHECK(!s);
	vmo_unpin(&pin);
	s = clone_new(c, 0, 2, MODIFIED);
	expect_data(s, 0, 1, NEW);
	vmo_put(s);
}

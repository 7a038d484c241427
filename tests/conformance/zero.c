/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 183 to 198: zeroing. Whole pages become dirty zero ranges without any request and without
 * memory; only edges of pages are ordinary writes.
 */
#include "conformance/harness.h"

CASE(183, AS_IS, "OpZero", "")
{
	RIG(r, 6, 0);

	rig_supply(&r, 0, 4);
	zero_now(r.v, 1, 4);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	EXPECT_DIRTY(r.v, Z(1, 4));
	expect_data(r.v, 0, 1, KEY);
	expect_zero(r.v, 1, 4);
}

CASE(184, AS_IS, "OpZeroTrapDirty", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);

	rig_supply(&r, 0, 4);
	zero_now(r.v, 0, 4);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	EXPECT_DIRTY(r.v, Z(0, 4));
}

CASE(185, AS_IS, "OpZeroTail", "")
{
	RIG(r, 4, 0);

	rig_dirty(&r, 0, 4, NEW);
	zero_now(r.v, 2, 2);
	CHECK_EQ(vmo_n_resident(r.v), 2);
	EXPECT_DIRTY(r.v, D(0, 2), Z(2, 2));
}

CASE(186, AS_IS, "OpZeroDecommit", "")
{
	RIG(r, 8, 0);
	struct vm_pool_stats stats;

	rig_supply(&r, 0, 8);
	zero_now(r.v, 0, 8);
	CHECK_EQ(vmo_n_resident(r.v), 0);
	vm_pool_stats(r.pool, &stats);
	CHECK_EQ(stats.resident + stats.reserved, 0);
}

CASE(187, AS_IS, "OpZeroPartialPage", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	uint8_t page[PAGE];
	struct op *op;

	rig_supply(&r, 0, 1);
	op = op_zero(r.v, 100, 200);
	fake_wait_dirty(r.f, 0, 1);
	rig_grant(&r, 0, 1);
	op_expect(op, 0);
	CHECK_EQ(vmo_read(r.v, 0, page, PAGE, soon()), PAGE);
	CHECK_EQ(fake_compare(KEY, 0, page, 100), -1);
	CHECK(reads_as_zero(page + 100, 200));
	CHECK_EQ(fake_compare(KEY, 300, page + 300, PAGE - 300), -1);
	EXPECT_DIRTY(r.v, D(0, 1));

	/* An absent page: READ, then DIRTY. A slot that reads as zero already: nothing. */
	op = op_zero(r.v, PAGE, 16);
	fake_wait_read(r.f, 1, 1);
	rig_supply(&r, 1, 1);
	fake_wait_dirty(r.f, 1, 1);
	rig_grant(&r, 1, 1);
	op_expect(op, 0);
	zero_now(r.v, 1, 1);
	CHECK_EQ(vmo_zero(r.v, PAGE + 8, 16, soon()), 0);
	fake_expect_none(r.f);
}

CASE(188, AS_IS, "OpZeroExpandsTail", "")
{
	RIG(r, 2, VMO_RESIZABLE);

	rig_supply(&r, 0, 2);
	rig_resize(&r, 5);
	EXPECT_DIRTY(r.v, Z(2, 3));
	zero_now(r.v, 1, 1);
	EXPECT_DIRTY(r.v, Z(1, 4));
}

CASE(189, IMPROVED, "OpZeroWriteback", "afterwards the range is known zero and not asked for")
{
	RIG(r, 4, VMO_TRAP_DIRTY);
	struct vmo_token *token;

	rig_supply(&r, 0, 4);
	zero_now(r.v, 0, 4);
	token = begin(r.v, 0, 4, VMO_WRITEBACK_ZEROS);
	vmo_writeback_end(token, 0);
	EXPECT_CLEAN(r.v);
	expect_zero(r.v, 0, 4);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
}

CASE(190, AS_IS, "OpZeroWithMarkers", "")
{
	RIG(r, 6, 0);

	rig_zeros(&r, 2, 2);
	zero_now(r.v, 2, 2);
	EXPECT_CLEAN(r.v);
	expect_state(r.v, 2, 2, PAGE_ZERO_CLEAN);
	zero_now(r.v, 0, 6);
	EXPECT_DIRTY(r.v, Z(0, 2), Z(4, 2));
}

CASE(191, AS_IS, "OpZeroPinned", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };
	struct op *op;

	rig_supply(&r, 0, 2);
	CHECK_EQ(vmo_pin(r.v, &pin, 0, PAGE, false, soon()), 0);
	op = op_zero(r.v, 0, 2 * PAGE);
	fake_wait_dirty(r.f, 0, 1);
	rig_grant(&r, 0, 1);
	op_expect(op, 0);
	expect_zero(r.v, 0, 2);
	expect_state(r.v, 0, 1, PAGE_DIRTY);
	EXPECT_DIRTY(r.v, D(0, 1), Z(1, 1));
	vmo_unpin(&pin);
}

CASE(192, AS_IS, "OpZeroUnblocksReadRequest", "")
{
	RIG(r, 4, 0);
	struct op *op = op_read(r.v, 0, 4);

	fake_wait_read(r.f, 0, 4);
	zero_now(r.v, 0, 4);
	op_expect_zero(op);
	CHECK_EQ(fake_n_owned(r.f), 0);
	EXPECT_DIRTY(r.v, Z(0, 4));
}

CASE(193, AS_IS, "OpZeroClone", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	CLONE(c, r.v, 0, 2, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);

	zero_now(c, 0, 1);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	expect_zero(c, 0, 1);
	rig_supply(&r, 0, 2);
	expect_data(r.v, 0, 2, KEY);
	expect_zero(c, 0, 1);
	expect_data(c, 1, 1, KEY);
	EXPECT_CLEAN(r.v);
}

CASE(194, AS_IS, "OpZeroResize", "")
{
	RIG(r, 6, VMO_RESIZABLE);

	rig_supply(&r, 0, 6);
	zero_now(r.v, 2, 4);
	rig_resize(&r, 3);
	EXPECT_DIRTY(r.v, Z(2, 1));
	rig_resize(&r, 6);
	EXPECT_DIRTY(r.v, Z(2, 4));
	expect_zero(r.v, 2, 4);
	expect_data(r.v, 0, 2, KEY);
	rig_resize(&r, 1);
	rig_resize(&r, 6);
	EXPECT_DIRTY(r.v, Z(1, 5));
	expect_zero(r.v, 1, 5);
}

CASE(195, IMPROVED, "SliceOpZero, SliceWrite, SlicePinWrite",
     "a slice is the same VMO at an offset")
{
	enum { AT = 4 };
	RIG(r, 8, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };
	struct op *op;

	rig_supply(&r, AT, 4);
	zero_now(r.v, AT, 1);
	op = op_write(r.v, AT + 1, 1, NEW);
	fake_wait_dirty(r.f, AT + 1, 1);
	rig_grant(&r, AT + 1, 1);
	op_expect_all(op);
	CHECK(vmo_modified(r.v, true));
	op = op_pin(r.v, AT + 2, 2, true, &pin);
	fake_wait_dirty(r.f, AT + 2, 2);
	rig_grant(&r, AT + 2, 2);
	op_expect(op, 0);
	CHECK(vmo_modified(r.v, true));
	vmo_unpin(&pin);
	EXPECT_DIRTY(r.v, Z(AT, 1), D(AT + 1, 3));
}

CASE(196, IMPROVED, "vmo_zero_pinned",
     "there is no untracked zeroing; what would take a pinned page away is refused")
{
	RIG(r, 2, VMO_RESIZABLE);
	struct vmo_pin pin = { 0 };

	rig_supply(&r, 0, 2);
	CHECK_EQ(vmo_pin(r.v, &pin, PAGE, PAGE, false, soon()), 0);
	zero_now(r.v, 1, 1);
	expect_zero(r.v, 1, 1);
	CHECK_EQ(vmo_resize(r.v, PAGE, soon()), -EBUSY);
	vmo_unpin(&pin);
	rig_resize(&r, 1);
}

CASE(197, AS_IS, "vmo_zero variants", "")
{
	uint64_t seed = 197;

	for (int round = 0; round < 50; round++) {
		RIG(r, 8, VMO_RESIZABLE);
		uint64_t from = rnd(&seed, 8);
		uint64_t n = 1 + rnd(&seed, 8 - from);

		for (uint64_t i = 0; i < 8; i++) {
			unsigned kind = (unsigned)rnd(&seed, 4);

			if (kind == 1)
				rig_supply(&r, i, 1);
			else if (kind == 2)
				rig_zeros(&r, i, 1);
			else if (kind == 3)
				rig_dirty(&r, i, 1, KEY);
		}
		zero_now(r.v, from, n);
		expect_zero(r.v, from, n);
		CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
		CHECK(fake_supply(r.f, 0, 8) >= 0);
		expect_zero(r.v, from, n);
		vmo_check(r.v);
	}
}

CASE(198, AS_IS, "Decommit", "")
{
	RIG(r, 2, 0);
	CLONE(c, r.v, 0, 2, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);

	rig_supply(&r, 0, 2);
	CHECK_EQ(vmo_decommit(r.v, 0, PAGE), -EOPNOTSUPP);
	CHECK_EQ(vmo_decommit(c, 0, PAGE), -EOPNOTSUPP);
	expect_data(r.v, 0, 2, KEY);
}

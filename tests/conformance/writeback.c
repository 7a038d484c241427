/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 137 to 182: writeback, pins, the modified flag. Begin gives a token over what is dirty then;
 * ending it cleans what was not written since, and tokens may overlap. A range that is written back
 * while it reads as zero is known to be zero afterwards, so nobody asks for it again.
 */
#include "conformance/harness.h"
#include "vm/page_queue.h"
#include "vm/pool_private.h"

static void simple_writeback(unsigned flags)
{
	RIG(r, 1, flags);
	struct vmo_token *token;

	rig_dirty(&r, 0, 1, NEW);
	token = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	expect_state(r.v, 0, 1, PAGE_AWAITING_CLEAN);
	EXPECT_DIRTY(r.v, D(0, 1));
	vmo_writeback_end(token, 0);
	expect_state(r.v, 0, 1, PAGE_CLEAN);
	EXPECT_CLEAN(r.v);
	expect_data(r.v, 0, 1, NEW);
	if (!r.trap) {
		write_now(r.v, 0, 1, NEWER);
	} else {
		struct op *op = op_write(r.v, 0, 1, NEWER);

		fake_wait_dirty(r.f, 0, 1);
		rig_grant(&r, 0, 1);
		op_expect_all(op);
	}
	EXPECT_DIRTY(r.v, D(0, 1));
}

CASE(137, AS_IS, "SimpleWriteback (T and N)", "")
{
	simple_writeback(VMO_TRAP_DIRTY);
	simple_writeback(0);
}

/* A write to a page under writeback asks again, and is granted before or after the end. */
static void write_during_writeback(bool one_page_store, bool end_first)
{
	RIG(r, 1, VMO_TRAP_DIRTY);
	struct vmo_token *token;
	struct op *op;

	rig_dirty(&r, 0, 1, NEW);
	token = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	op = one_page_store ? op_write_each(r.v, 0, 1, NEWER) : op_write(r.v, 0, 1, NEWER);
	fake_wait_dirty(r.f, 0, 1);
	if (end_first) {
		vmo_writeback_end(token, 0);
		EXPECT_CLEAN(r.v);
	}
	rig_grant(&r, 0, 1);
	op_expect_all(op);
	if (!end_first)
		vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, D(0, 1));
	expect_state(r.v, 0, 1, PAGE_DIRTY);
	rig_clean(&r, 0, 1);
	EXPECT_CLEAN(r.v);
	expect_data(r.v, 0, 1, NEWER);
}

CASE(138, IMPROVED, "DirtyDuringWriteback (before END)", "begin and end are paired by a token")
{
	write_during_writeback(false, false);
}

CASE(139, IMPROVED, "DirtyDuringWriteback (grant after END)", "begin and end are paired by a token")
{
	write_during_writeback(false, true);
}

CASE(140, AS_IS, "WritebackWithMapping", "")
{
	write_during_writeback(true, false);
	write_during_writeback(true, true);
}

CASE(141, AS_IS, "CannotOverwriteZeroPage", "")
{
	RIG(r, 2, 0);

	rig_zeros(&r, 0, 1);
	zero_now(r.v, 1, 1);
	CHECK_EQ(fake_supply(r.f, 0, 2), 0);
	expect_zero(r.v, 0, 2);
	CHECK_EQ(vmo_n_resident(r.v), 0);
}

CASE(142, IMPROVED, "WritebackDirtyIntervalsZ",
     "the range is known zero afterwards and not asked for")
{
	RIG(r, 1, VMO_TRAP_DIRTY | VMO_RESIZABLE);
	struct vmo_token *token;

	rig_resize(&r, 4);
	EXPECT_DIRTY(r.v, Z(1, 3));
	token = begin(r.v, 1, 3, VMO_WRITEBACK_ZEROS);
	EXPECT_DIRTY(r.v, Z(1, 3));
	vmo_writeback_end(token, 0);
	EXPECT_CLEAN(r.v);
	expect_state(r.v, 1, 3, PAGE_ZERO_CLEAN);
	expect_zero(r.v, 1, 3);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
}

CASE(143, AS_IS, "ResizeWriteback", "")
{
	RIG(r, 2, VMO_RESIZABLE);

	rig_dirty(&r, 0, 2, NEW);
	rig_resize(&r, 5);
	EXPECT_DIRTY(r.v, D(0, 2), Z(2, 3));
	rig_clean(&r, 0, 1);
	EXPECT_DIRTY(r.v, D(1, 1), Z(2, 3));
	rig_clean(&r, 1, 2);
	EXPECT_DIRTY(r.v, Z(3, 2));
	rig_clean(&r, 3, 2);
	EXPECT_CLEAN(r.v);
}

CASE(144, AS_IS, "WritebackIntersectingWrite", "")
{
	RIG(r, 8, 0);
	struct vmo_token *token;

	zero_now(r.v, 0, 8);
	token = begin(r.v, 0, 8, VMO_WRITEBACK_ZEROS);
	write_now(r.v, 3, 1, NEW);
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, D(3, 1));
	expect_zero(r.v, 0, 3);
	expect_zero(r.v, 4, 4);
}

CASE(145, AS_IS, "WritebackNonIntersectingWrite", "")
{
	RIG(r, 8, 0);
	struct vmo_token *token;

	zero_now(r.v, 0, 8);
	token = begin(r.v, 0, 3, VMO_WRITEBACK_ZEROS);
	write_now(r.v, 5, 1, NEW);
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, Z(3, 2), D(5, 1), Z(6, 2));
}

CASE(146, AS_IS, "WritebackIntersectingResize", "")
{
	RIG(r, 2, VMO_RESIZABLE);
	struct vmo_token *token;

	rig_resize(&r, 6);
	token = begin(r.v, 2, 4, VMO_WRITEBACK_ZEROS);
	rig_resize(&r, 4);
	rig_resize(&r, 6);
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, Z(4, 2));
}

CASE(147, AS_IS, "WritebackNonIntersectingResize", "")
{
	RIG(r, 2, VMO_RESIZABLE);
	struct vmo_token *token;

	rig_resize(&r, 4);
	token = begin(r.v, 2, 2, VMO_WRITEBACK_ZEROS);
	rig_resize(&r, 6);
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, Z(4, 2));
}

CASE(148, IMPROVED, "WritebackResizedRangeAfterGap", "exactly what begin covered is cleaned")
{
	RIG(r, 2, VMO_RESIZABLE);

	rig_resize(&r, 8);
	write_now(r.v, 5, 1, NEW);
	rig_clean(&r, 4, 3);
	EXPECT_DIRTY(r.v, Z(2, 2), Z(7, 1));
}

CASE(149, AS_IS, "WritebackMultipleGaps", "")
{
	RIG(r, 2, VMO_RESIZABLE);

	rig_resize(&r, 12);
	write_now(r.v, 3, 1, NEW);
	write_now(r.v, 6, 2, NEW);
	write_now(r.v, 11, 1, NEW);
	rig_clean(&r, 2, 10);
	EXPECT_CLEAN(r.v);
	expect_data(r.v, 6, 2, NEW);
	expect_zero(r.v, 8, 3);
}

CASE(150, AS_IS, "WritebackSequential", "")
{
	RIG(r, 1, VMO_RESIZABLE);

	rig_resize(&r, 7);
	for (uint64_t i = 1; i < 7; i += 2) {
		rig_clean(&r, i, 2);
		if (i < 5) {
			const struct dirty_entry rest = Z(i + 2, 5 - i);

			expect_dirty(__FILE__, __LINE__, r.v, &rest, 1);
		}
	}
	EXPECT_CLEAN(r.v);
}

CASE(151, IMPROVED, "WritebackPartialEnd",
     "a part of a token can be ended, the rest stays under way")
{
	RIG(r, 8, 0);
	struct vmo_token *token;

	zero_now(r.v, 0, 8);
	token = begin(r.v, 0, 8, VMO_WRITEBACK_ZEROS);
	vmo_writeback_end_part(token, 0, 4 * PAGE, 0);
	EXPECT_DIRTY(r.v, Z(4, 4));
	vmo_writeback_end(token, 0);
	EXPECT_CLEAN(r.v);

	rig_clean(&r, 0, 8);
	write_now(r.v, 0, 4, NEW);
	token = begin(r.v, 0, 4, VMO_WRITEBACK_ALL);
	vmo_writeback_end_part(token, PAGE, 2 * PAGE, 0);
	EXPECT_DIRTY(r.v, D(0, 1), D(3, 1));
	vmo_writeback_end(token, -EIO);
	EXPECT_DIRTY(r.v, D(0, 1), D(3, 1));
	expect_state(r.v, 0, 1, PAGE_DIRTY);
}

CASE(152, IMPROVED, "WritebackRepeated", "two tokens over one range end on their own")
{
	RIG(r, 1, 0);
	struct vmo_token *a;
	struct vmo_token *b;

	rig_dirty(&r, 0, 1, NEW);
	a = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	b = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	vmo_writeback_end(a, 0);
	EXPECT_CLEAN(r.v);
	vmo_writeback_end(b, 0);
	EXPECT_CLEAN(r.v);

	/* What the second one has seen and the first one has not is the second one's to clean. */
	write_now(r.v, 0, 1, NEW);
	a = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	write_now(r.v, 0, 1, NEWER);
	b = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	vmo_writeback_end(a, 0);
	EXPECT_DIRTY(r.v, D(0, 1));
	vmo_writeback_end(b, 0);
	EXPECT_CLEAN(r.v);
}

CASE(153, AS_IS, "ResizeWritebackWithMapping", "")
{
	RIG(r, 1, VMO_RESIZABLE);
	struct vmo_token *token;
	struct op *op;

	rig_resize(&r, 5);
	token = begin(r.v, 1, 4, VMO_WRITEBACK_ZEROS);
	op = op_write_each(r.v, 2, 2, NEW);
	op_expect_all(op);
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, D(2, 2));
	expect_data(r.v, 2, 2, NEW);
}

CASE(154, AS_IS, "ResizeInterleavedWriteWithMapping", "")
{
	RIG(r, 1, VMO_RESIZABLE);
	struct vmo_token *token;

	rig_resize(&r, 5);
	EXPECT_DIRTY(r.v, Z(1, 4));
	op_expect_all(op_write_each(r.v, 2, 1, NEW));
	token = begin(r.v, 1, 4, VMO_WRITEBACK_ZEROS);
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, D(2, 1));
}

CASE(155, AS_IS, "DirtyAfterQuery", "")
{
	RIG(r, 4, 0);
	struct vmo_token *token;

	zero_now(r.v, 0, 4);
	EXPECT_DIRTY(r.v, Z(0, 4));
	write_now(r.v, 1, 1, NEW);
	token = begin(r.v, 0, 4, VMO_WRITEBACK_ZEROS);
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, D(1, 1));
}

CASE(156, AS_IS, "BEGIN without flag on written page", "")
{
	RIG(r, 4, 0);

	zero_now(r.v, 0, 4);
	write_now(r.v, 1, 1, NEW);
	rig_clean(&r, 0, 4);
	EXPECT_CLEAN(r.v);
	expect_data(r.v, 1, 1, NEW);
}

CASE(157, IMPROVED, "END without BEGIN",
     "there is no end without a token; one that is too old cleans nothing")
{
	RIG(r, 1, 0);
	struct vmo_token *token = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);

	rig_dirty(&r, 0, 1, NEW);
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, D(0, 1));
	expect_state(r.v, 0, 1, PAGE_DIRTY);
}

CASE(158, AS_IS, "BEGIN on clean", "")
{
	RIG(r, 2, 0);
	struct vmo_token *token;

	rig_supply(&r, 0, 1);
	token = begin(r.v, 0, 2, VMO_WRITEBACK_ALL);
	expect_state(r.v, 0, 1, PAGE_CLEAN);
	expect_state(r.v, 1, 1, PAGE_ABSENT);
	vmo_writeback_end(token, 0);
	expect_state(r.v, 0, 1, PAGE_CLEAN);
	expect_state(r.v, 1, 1, PAGE_ABSENT);
}

CASE(159, AS_IS, "Write protect", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);
	struct vmo_token *token;
	struct op *op;

	rig_dirty(&r, 0, 1, NEW);
	write_now(r.v, 0, 1, NEW);
	token = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	op = op_write(r.v, 0, 1, NEWER);
	fake_wait_dirty(r.f, 0, 1);
	rig_grant(&r, 0, 1);
	op_expect_all(op);
	write_now(r.v, 0, 1, NEWER);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, D(0, 1));
}

CASE(160, IMPROVED, "Interval BEGIN mid", "begin may start anywhere in a zero range")
{
	RIG(r, 8, 0);

	zero_now(r.v, 0, 8);
	rig_clean(&r, 4, 4);
	EXPECT_DIRTY(r.v, Z(0, 4));
	rig_clean(&r, 1, 2);
	EXPECT_DIRTY(r.v, Z(0, 1), Z(3, 1));
	expect_zero(r.v, 0, 8);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
}

CASE(161, AS_IS, "PinForRead", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };

	rig_supply(&r, 0, 2);
	CHECK_EQ(vmo_pin(r.v, &pin, 0, 2 * PAGE, false, soon()), 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	EXPECT_CLEAN(r.v);
	CHECK_EQ(vmo_evict(r.v, 0, 2 * PAGE, true), 0);
	vmo_unpin(&pin);
	CHECK(!vmo_modified(r.v, false));
	CHECK_EQ(vmo_evict(r.v, 0, 2 * PAGE, true), 2);
}

static void pin_for_write(struct rig *r, uint64_t n, struct vmo_pin *pin)
{
	struct op *op = op_pin(r->v, 0, n, true, pin);

	fake_wait_dirty(r->f, 0, n);
	rig_grant(r, 0, n);
	op_expect(op, 0);
}

CASE(162, AS_IS, "PinForWrite", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };

	rig_supply(&r, 0, 2);
	pin_for_write(&r, 2, &pin);
	EXPECT_DIRTY(r.v, D(0, 2));
	CHECK(vmo_modified(r.v, false));
	vmo_unpin(&pin);
}

CASE(163, AS_IS, "PinnedWriteback", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };

	rig_supply(&r, 0, 2);
	pin_for_write(&r, 2, &pin);
	rig_clean(&r, 0, 2);
	EXPECT_DIRTY(r.v, D(0, 2));
	vmo_unpin(&pin);
	rig_clean(&r, 0, 2);
	EXPECT_CLEAN(r.v);
}

CASE(164, AS_IS, "DirtyAfterPin", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };
	struct op *op;

	rig_supply(&r, 0, 1);
	CHECK_EQ(vmo_pin(r.v, &pin, 0, PAGE, false, soon()), 0);
	op = op_write(r.v, 0, 1, NEW);
	fake_wait_dirty(r.f, 0, 1);
	rig_grant(&r, 0, 1);
	op_expect_all(op);
	EXPECT_DIRTY(r.v, D(0, 1));
	vmo_unpin(&pin);
}

CASE(165, AS_IS, "PinAfterDirty", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };

	rig_dirty(&r, 0, 1, NEW);
	CHECK_EQ(vmo_pin(r.v, &pin, 0, PAGE, true, soon()), 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	vmo_unpin(&pin);
}

CASE(166, AS_IS, "PinForWriteUnpopulated", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };
	struct op *op = op_pin(r.v, 0, 2, true, &pin);

	fake_wait_read(r.f, 0, 2);
	rig_supply(&r, 0, 2);
	fake_wait_dirty(r.f, 0, 2);
	rig_grant(&r, 0, 2);
	op_expect(op, 0);
	EXPECT_DIRTY(r.v, D(0, 2));
	vmo_unpin(&pin);
}

CASE(167, AS_IS, "NotModifiedFailedPinWrite", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };
	struct op *op;

	rig_supply(&r, 0, 2);
	op = op_pin(r.v, 0, 2, true, &pin);
	fake_wait_dirty(r.f, 0, 2);
	rig_fail(&r, 0, 2, -ENOSPC);
	op_expect(op, -ENOSPC);
	CHECK(!vmo_modified(r.v, false));
	EXPECT_CLEAN(r.v);
	CHECK_EQ(vmo_evict(r.v, 0, 2 * PAGE, true), 2);
}

CASE(168, AS_IS, "NotModifiedPartialFailedPinWrite", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };
	struct op *op;

	rig_supply(&r, 0, 4);
	op = op_pin(r.v, 0, 4, true, &pin);
	fake_wait_dirty(r.f, 0, 4);
	rig_grant(&r, 0, 2);
	rig_fail(&r, 2, 2, -ENOSPC);
	op_expect(op, -ENOSPC);
	CHECK(!vmo_modified(r.v, false));
	EXPECT_DIRTY(r.v, D(0, 2));
	rig_clean(&r, 0, 4);
	EXPECT_CLEAN(r.v);
}

CASE(169, AS_IS, "ModifiedOnVmoWrite", "")
{
	RIG(r, 1, 0);

	rig_supply(&r, 0, 1);
	CHECK(!vmo_modified(r.v, false));
	write_now(r.v, 0, 1, NEW);
	CHECK(vmo_modified(r.v, true));
	CHECK(!vmo_modified(r.v, true));
}

CASE(170, AS_IS, "ModifiedOnMappingWrite", "")
{
	RIG(r, 1, 0);

	rig_supply(&r, 0, 1);
	op_expect_all(op_write_each(r.v, 0, 1, NEW));
	CHECK(vmo_modified(r.v, false));
}

CASE(171, AS_IS, "ModifiedOnResize", "")
{
	RIG(r, 2, VMO_RESIZABLE);
	RIG(fixed, 2, 0);
	struct vmo_pin pin = { 0 };

	CHECK_EQ(vmo_resize(fixed.v, PAGE, soon()), -EPERM);
	CHECK(!vmo_modified(fixed.v, false));
	rig_supply(&r, 0, 2);
	CHECK_EQ(vmo_pin(r.v, &pin, 0, 2 * PAGE, false, soon()), 0);
	CHECK_EQ(vmo_resize(r.v, PAGE, soon()), -EBUSY);
	CHECK(!vmo_modified(r.v, false));
	vmo_unpin(&pin);
	rig_resize(&r, 1);
	CHECK(vmo_modified(r.v, true));
	rig_resize(&r, 3);
	CHECK(vmo_modified(r.v, true));
}

CASE(172, AS_IS, "ModifiedOnOpZero", "")
{
	RIG(r, 4, 0);

	CHECK_EQ(vmo_zero(r.v, 0, 0, soon()), 0);
	CHECK(!vmo_modified(r.v, false));
	zero_now(r.v, 0, 2);
	CHECK(vmo_modified(r.v, true));
}

CASE(173, AS_IS, "NotModifiedOnVmoRead, MappingRead", "")
{
	RIG(r, 2, 0);
	struct aread a;

	rig_supply(&r, 0, 2);
	expect_data(r.v, 0, 2, KEY);
	CHECK_EQ(aread_start(&a, r.v, 0, 2), 0);
	aread_expect_data(&a, KEY);
	CHECK(!vmo_modified(r.v, false));
}

CASE(174, AS_IS, "NotModifiedOnFailedDirtyRequest", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 1);
	op = op_write(r.v, 0, 1, NEW);
	fake_wait_dirty(r.f, 0, 1);
	rig_fail(&r, 0, 1, -ENOSPC);
	op_expect(op, -ENOSPC);
	CHECK(!vmo_modified(r.v, false));
}

CASE(175, NOT_APPLICABLE, "NotModifiedOnFailedVmoWrite",
     "copies are from the daemon's own memory: they cannot fail")
{
}

CASE(176, AS_IS, "ModifiedOnPartialVmoWrite", "")
{
	RIG(r, 3, VMO_TRAP_DIRTY);
	struct op *op;

	rig_dirty(&r, 0, 1, NEWER);
	rig_supply(&r, 1, 2);
	CHECK(vmo_modified(r.v, true));
	op = op_write(r.v, 0, 3, NEW);
	fake_wait_dirty(r.f, 1, 2);
	rig_fail(&r, 1, 2, -EIO);
	op_expect(op, PAGE);
	CHECK(vmo_modified(r.v, true));
	expect_data(r.v, 0, 1, NEW);
	expect_data(r.v, 1, 2, KEY);
}

CASE(177, AS_IS, "ModifiedNoReset", "")
{
	RIG(r, 1, 0);

	rig_dirty(&r, 0, 1, NEW);
	CHECK(vmo_modified(r.v, false));
	CHECK(vmo_modified(r.v, false));
}

CASE(178, AS_IS, "NotModifiedCloneWrite", "")
{
	RIG(r, 1, 0);
	CLONE(c, r.v, 0, 1, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);

	rig_supply(&r, 0, 1);
	write_now(c, 0, 1, NEW);
	CHECK(!vmo_modified(r.v, false));
}

static int64_t queued(struct rig *r, unsigned id)
{
	return r->pool->queue.count[id];
}

static int64_t reclaimable(struct rig *r)
{
	int64_t n = 0;

	for (unsigned i = 0; i < PAGE_QUEUE_GENERATIONS; i++)
		n += queued(r, PAGE_QUEUE_RECLAIM_0 + i);
	return n;
}

CASE(179, AS_IS, "vmo_dirty_pages", "")
{
	RIG(r, 2, VMO_RESIZABLE);

	rig_supply(&r, 0, 2);
	CHECK_EQ(reclaimable(&r), 2);
	write_now(r.v, 0, 1, NEW);
	CHECK_EQ(reclaimable(&r), 1);
	CHECK_EQ(queued(&r, PAGE_QUEUE_DIRTY), 1);
	CHECK_EQ(vmo_n_dirty(r.v), 1);
	rig_resize(&r, 0);
	CHECK_EQ(queued(&r, PAGE_QUEUE_DIRTY), 0);
	CHECK_EQ(reclaimable(&r), 0);
}

CASE(180, AS_IS, "vmo_dirty_pages_writeback", "")
{
	RIG(r, 1, 0);
	struct vmo_token *token;
	uint64_t mru;

	rig_dirty(&r, 0, 1, NEW);
	token = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	CHECK_EQ(queued(&r, PAGE_QUEUE_DIRTY), 1);
	vmo_writeback_end(token, 0);
	CHECK_EQ(queued(&r, PAGE_QUEUE_DIRTY), 0);
	mru = r.pool->queue.mru % PAGE_QUEUE_GENERATIONS;
	CHECK_EQ(queued(&r, PAGE_QUEUE_RECLAIM_0 + (unsigned)mru), 1);

	write_now(r.v, 0, 1, NEW);
	token = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	write_now(r.v, 0, 1, NEWER);
	vmo_writeback_end(token, 0);
	CHECK_EQ(queued(&r, PAGE_QUEUE_DIRTY), 1);
	CHECK_EQ(reclaimable(&r), 0);
}

CASE(181, AS_IS, "vmo_dirty_pages_with_hints", "")
{
	RIG(r, 1, 0);

	rig_dirty(&r, 0, 1, NEW);
	CHECK_EQ(vmo_hint(r.v, 0, PAGE, VMO_HINT_DONT_NEED, soon()), 0);
	CHECK_EQ(queued(&r, PAGE_QUEUE_ISOLATE), 0);
	CHECK_EQ(queued(&r, PAGE_QUEUE_DIRTY), 1);
	CHECK_EQ(vmo_hint(r.v, 0, PAGE, VMO_HINT_ALWAYS_NEED, soon()), 0);
	rig_clean(&r, 0, 1);
	CHECK_EQ(vmo_evict(r.v, 0, PAGE, false), 0);
	CHECK_EQ(vmo_hint(r.v, 0, PAGE, VMO_HINT_NORMAL, soon()), 0);
	CHECK_EQ(vmo_hint(r.v, 0, PAGE, VMO_HINT_DONT_NEED, soon()), 0);
	CHECK_EQ(queued(&r, PAGE_QUEUE_ISOLATE), 1);
	CHECK_EQ(vmo_evict(r.v, 0, PAGE, false), 1);
}

CASE(182, NOT_APPLICABLE, "vmo_dedup_dirty", "there is no search for pages that happen to be zero")
{
}

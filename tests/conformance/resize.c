/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 199 to 219: growing and shrinking, also under those who wait. There is one size, exact to
 * the byte; a read that finds the size behind it ends there.
 */
#include <stdlib.h>

#include "conformance/harness.h"

CASE(199, IMPROVED, "ReadResize", "a read that the shrinking overtakes is short, as read(2) is")
{
	RIG(r, 4, VMO_RESIZABLE);
	struct op *op = op_read(r.v, 2, 2);

	fake_wait_read(r.f, 2, 2);
	rig_resize(&r, 1);
	op_expect(op, 0);
	CHECK_EQ(fake_n_owned(r.f), 0);
	expect_read_error(r.v, 2, 1, -ERANGE);
}

CASE(200, AS_IS, "ResizeCommit", "")
{
	RIG(r, 3, VMO_RESIZABLE);
	struct op *op = op_commit(r.v, 0, 3);

	fake_wait_read(r.f, 0, 3);
	rig_resize(&r, 1);
	op_expect_blocked(op);
	rig_supply(&r, 0, 1);
	op_expect(op, 0);
	CHECK_EQ(fake_n_owned(r.f), 0);
	rig_resize(&r, 4);
	expect_zero(r.v, 1, 3);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(201, AS_IS, "ResizeNonresizable", "")
{
	RIG(r, 2, 0);

	CHECK_EQ(vmo_resize(r.v, PAGE, soon()), -EPERM);
	CHECK_EQ(vmo_size(r.v), 2 * PAGE);
}

CASE(202, AS_IS, "ResizeBlockedPin", "")
{
	RIG(r, 4, VMO_RESIZABLE);
	struct vmo_pin pin = { 0 };
	struct op *op = op_pin(r.v, 2, 2, false, &pin);

	fake_wait_read(r.f, 2, 2);
	rig_resize(&r, 1);
	op_expect(op, -ERANGE);
	rig_resize(&r, 0);
}

CASE(203, AS_IS, "EvictionHintsWithResize", "")
{
	RIG(r, 4, VMO_RESIZABLE);
	struct op *op = op_hint(r.v, 0, 4, VMO_HINT_ALWAYS_NEED);

	fake_wait_read(r.f, 0, 4);
	rig_resize(&r, 0);
	op_expect(op, 0);
	CHECK_EQ(fake_n_owned(r.f), 0);
}

CASE(204, IMPROVED, "EarlyWakeWithResize", "the read is short")
{
	RIG(r, 8, VMO_RESIZABLE);
	struct op *op = op_read(r.v, 0, 8);

	fake_wait_read(r.f, 0, 8);
	rig_supply(&r, 0, 3);
	rig_resize(&r, 3);
	op_expect(op, 3 * PAGE);
	CHECK_EQ(fake_n_owned(r.f), 0);
}

CASE(205, AS_IS, "ResizeSupplyZero", "")
{
	RIG(r, 1, VMO_RESIZABLE);

	rig_resize(&r, 4);
	CHECK_EQ(fake_supply(r.f, 0, 4), PAGE);
	expect_data(r.v, 0, 1, KEY);
	expect_zero(r.v, 1, 3);
	EXPECT_DIRTY(r.v, Z(1, 3));
}

CASE(206, AS_IS, "ResizeDirtyRequest", "")
{
	RIG(r, 3, VMO_TRAP_DIRTY | VMO_RESIZABLE);
	struct op *op;

	rig_supply(&r, 0, 1);
	rig_dirty(&r, 1, 2, NEW);
	rig_resize(&r, 6);
	rig_grant(&r, 4, 1);
	write_now(r.v, 4, 1, NEW);
	EXPECT_DIRTY(r.v, D(1, 2), Z(3, 1), D(4, 1), Z(5, 1));
	rig_resize(&r, 8);
	op = op_write(r.v, 0, 8, NEWER);
	fake_wait_dirty(r.f, 0, 1);
	rig_grant(&r, 0, 1);
	fake_wait_dirty(r.f, 3, 1);
	rig_grant(&r, 3, 1);
	fake_wait_dirty(r.f, 5, 3);
	rig_grant(&r, 5, 3);
	op_expect_all(op);
	EXPECT_DIRTY(r.v, D(0, 8));
	expect_data(r.v, 0, 8, NEWER);
}

CASE(207, AS_IS, "ResizeWithOutstandingDirtyRequests", "")
{
	RIG(r, 8, VMO_TRAP_DIRTY | VMO_RESIZABLE);
	struct op *beyond;
	struct op *across;

	rig_supply(&r, 0, 8);
	across = op_write(r.v, 2, 4, NEW);
	fake_wait_dirty(r.f, 2, 4);
	beyond = op_write(r.v, 6, 2, NEW);
	fake_wait_dirty(r.f, 6, 2);
	rig_resize(&r, 4);
	op_expect(beyond, -ERANGE);
	CHECK_EQ(page_source_n_waiters(vmo_page_source(r.v), VMOFS_REQUEST_DIRTY), 1);
	op_expect_blocked(across);
	rig_grant(&r, 2, 2);
	op_expect(across, 2 * PAGE);
	EXPECT_DIRTY(r.v, D(2, 2));
	expect_data(r.v, 2, 2, NEW);
}

CASE(208, AS_IS, "ResizeWritebackWithOutstandingDirtyRequests", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY | VMO_RESIZABLE);
	struct op *op;

	rig_resize(&r, 4);
	op = op_write(r.v, 2, 2, NEW);
	fake_wait_dirty(r.f, 2, 2);
	rig_clean(&r, 1, 3);
	EXPECT_CLEAN(r.v);
	rig_grant(&r, 2, 2);
	op_expect_all(op);
	EXPECT_DIRTY(r.v, D(2, 2));
	expect_data(r.v, 2, 2, NEW);
}

CASE(209, IMPROVED, "ResizeWritebackNewDirtyRequests (and interleaved)",
     "zeros that were written back are known: DIRTY alone, no READ")
{
	RIG(r, 1, VMO_TRAP_DIRTY | VMO_RESIZABLE);
	struct op *op;

	rig_resize(&r, 4);
	rig_clean(&r, 1, 3);
	op = op_write_bytes(r.v, 2 * PAGE + 8, 8, NEW);
	fake_wait_dirty(r.f, 2, 1);
	rig_grant(&r, 2, 1);
	op_expect_all(op);
	EXPECT_DIRTY(r.v, D(2, 1));
	op = op_write(r.v, 1, 3, NEW);
	fake_wait_dirty(r.f, 1, 1);
	rig_grant(&r, 1, 1);
	fake_wait_dirty(r.f, 3, 1);
	rig_grant(&r, 3, 1);
	op_expect_all(op);
	CHECK_EQ(fake_pages_asked(r.f, VMOFS_REQUEST_READ), 0);
}

CASE(210, AS_IS, "NotModifiedOnFailedResize", "")
{
	RIG(r, 2, VMO_RESIZABLE);
	struct vmo_pin pin = { 0 };

	rig_supply(&r, 0, 2);
	CHECK_EQ(vmo_pin(r.v, &pin, PAGE, PAGE, false, soon()), 0);
	CHECK_EQ(vmo_resize(r.v, PAGE, soon()), -EBUSY);
	CHECK(!vmo_modified(r.v, false));
	CHECK_EQ(vmo_size(r.v), 2 * PAGE);
	expect_data(r.v, 0, 2, KEY);
	vmo_unpin(&pin);
}

static int64_t commit_loop(void *arg)
{
	struct vmo *v = arg;

	for (int i = 0; i < 500; i++) {
		int r = vmo_commit(v, 0, 8 * PAGE, soon());

		if (r != 0 && r != -ERANGE)
			return r;
	}
	return 0;
}

CASE(211, AS_IS, "CommitResizeRace", "")
{
	RIG(r, 8, VMO_RESIZABLE);
	struct test_thread t;

	fake_start(r.f, FAKE_AT_ONCE, 2, 211);
	thread_run(&t, commit_loop, r.v);
	while (!thread_is_done(&t)) {
		rig_resize(&r, 1);
		rig_resize(&r, 8);
		CHECK_EQ(vmo_evict(r.v, 0, PAGE, true) <= 1, 1);
	}
	CHECK_EQ(thread_join_status(&t), 0);
	vmo_close(r.v);
	fake_stop(r.f);
	CHECK_EQ(fake_n_owned(r.f), 0);
}

CASE(212, IMPROVED, "CreateVmoUnboundedInvalidStreamSize",
     "there are no unbounded VMOs; sizes have a limit")
{
	RIG(r, 1, VMO_RESIZABLE);

	CHECK(vmo_resize(r.v, UINT64_MAX, soon()) < 0);
	CHECK(vmo_resize(r.v, UINT64_MAX - PAGE, soon()) < 0);
	CHECK_EQ(vmo_size(r.v), PAGE);
	CHECK(!vmo_modified(r.v, false));
}

CASE(213, AS_IS, "Grow reports zero", "")
{
	RIG(r, 2, VMO_RESIZABLE);

	rig_resize(&r, 5);
	EXPECT_DIRTY(r.v, Z(2, 3));
	expect_zero(r.v, 2, 3);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
}

CASE(214, AS_IS, "Grow merges", "")
{
	RIG(r, 2, VMO_RESIZABLE);

	rig_resize(&r, 4);
	rig_resize(&r, 6);
	EXPECT_DIRTY(r.v, Z(2, 4));
}

CASE(215, AS_IS, "Shrink drops dirty", "")
{
	RIG(r, 4, VMO_RESIZABLE);

	rig_dirty(&r, 3, 1, NEW);
	rig_resize(&r, 2);
	EXPECT_CLEAN(r.v);
	rig_resize(&r, 4);
	EXPECT_DIRTY(r.v, Z(2, 2));
	expect_zero(r.v, 3, 1);
}

CASE(216, IMPROVED, "Sub-page set_size",
     "the tail is zeroed before the size is published; a failure fails the resize")
{
	enum { SIZE = 6144 };
	RIG(r, 2, VMO_TRAP_DIRTY | VMO_RESIZABLE);
	uint8_t page[PAGE];
	struct op *op;

	rig_supply(&r, 0, 2);
	op = op_resize(r.v, SIZE);
	fake_wait_dirty(r.f, 1, 1);
	rig_fail(&r, 1, 1, -ENOSPC);
	op_expect(op, -ENOSPC);
	CHECK_EQ(vmo_size(r.v), 2 * PAGE);
	expect_data(r.v, 0, 2, KEY);
	op = op_resize(r.v, SIZE);
	fake_wait_dirty(r.f, 1, 1);
	rig_grant(&r, 1, 1);
	op_expect(op, 0);
	CHECK_EQ(vmo_size(r.v), SIZE);
	CHECK_EQ(vmo_read(r.v, PAGE, page, PAGE, soon()), SIZE - PAGE);
	CHECK_EQ(fake_compare(KEY, PAGE, page, SIZE - PAGE), -1);
	rig_resize(&r, 2);
	CHECK_EQ(vmo_read(r.v, PAGE, page, PAGE, soon()), PAGE);
	CHECK_EQ(fake_compare(KEY, PAGE, page, SIZE - PAGE), -1);
	CHECK(reads_as_zero(page + (SIZE - PAGE), 2 * PAGE - SIZE));
	fake_expect_none(r.f);
}

CASE(217, IMPROVED, "Stream size",
     "there is one size, in bytes: nothing beyond it can be read or written")
{
	RIG(r, 1, VMO_RESIZABLE);
	uint8_t byte = 1;
	uint8_t buf[32];

	CHECK_EQ(vmo_resize(r.v, PAGE + 10, soon()), 0);
	EXPECT_DIRTY(r.v, Z(1, 1));
	CHECK_EQ(vmo_read(r.v, PAGE, buf, sizeof buf, soon()), 10);
	CHECK(vmo_write(r.v, PAGE + 10, &byte, 1, soon()) < 0);
	CHECK_EQ(vmo_write(r.v, PAGE + 9, &byte, 1, soon()), 1);
	EXPECT_DIRTY(r.v, D(1, 1));
}

CASE(218, AS_IS, "Shrink clips interval", "")
{
	RIG(r, 2, VMO_RESIZABLE);

	rig_resize(&r, 8);
	EXPECT_DIRTY(r.v, Z(2, 6));
	rig_resize(&r, 4);
	EXPECT_DIRTY(r.v, Z(2, 2));
}

CASE(219, IMPROVED, "Late supply after shrink",
     "-ERANGE inside; the provider's own call is cut to the size, so what is still wanted arrives")
{
	RIG(r, 4, VMO_RESIZABLE);
	struct op *op = op_read(r.v, 0, 4);
	uint8_t *buf = calloc(4, PAGE);

	fake_wait_read(r.f, 0, 4);
	rig_resize(&r, 2);
	CHECK_EQ(vmo_supply(r.v, 0, buf, 4 * PAGE), -ERANGE);
	CHECK_EQ(vmo_supply(r.v, 2 * PAGE, buf, PAGE), -ERANGE);
	CHECK_EQ(fake_supply(r.f, 2, 2), -ERANGE);
	expect_state(r.v, 0, 2, PAGE_ABSENT);
	CHECK_EQ(fake_supply(r.f, 0, 4), 2 * PAGE);
	op_expect(op, 2 * PAGE);
	expect_data(r.v, 0, 2, KEY);
	free(buf);
}

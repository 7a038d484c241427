/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 76 to 102: the end. The COMPLETE packet is the provider's on_detach(), closing the pager is
 * vmo_close(), a packet not yet taken from the port is a request the test has not seen yet.
 */
#include "conformance/harness.h"

CASE(76, AS_IS, "DetachPageComplete", "")
{
	RIG(r, 1, 0);

	CHECK_EQ(vmo_detach(r.v), 0);
	CHECK_EQ(fake_count(r.f, FAKE_DETACH), 1);
	CHECK_EQ(fake_n_events(r.f), 1);
}

CASE(77, AS_IS, "ClosePageComplete", "")
{
	RIG(r, 1, 0);

	vmo_close(r.v);
	CHECK_EQ(fake_count(r.f, FAKE_DETACH), 1);
	CHECK_EQ(fake_count(r.f, FAKE_CLOSE), 1);
	CHECK_EQ(fake_n_events(r.f), 2);
}

CASE(78, AS_IS, "DecommitOnDetach", "")
{
	RIG(r, 4, 0);
	struct vm_pool_stats stats;
	struct aread a;

	rig_supply(&r, 0, 4);
	CHECK_EQ(vmo_n_resident(r.v), 4);
	CHECK_EQ(aread_start(&a, r.v, 1, 1), 0);
	CHECK_EQ(vmo_detach(r.v), 0);
	/* Contents that somebody is looking at do not change under them. */
	aread_expect_data(&a, KEY);
	expect_read_error(r.v, 0, 1, -ESHUTDOWN);
	CHECK_EQ(vmo_evict(r.v, 0, 4 * PAGE, true), vmo_n_resident(r.v));
	CHECK_EQ(vmo_n_resident(r.v), 0);
	vm_pool_stats(r.pool, &stats);
	CHECK_EQ(stats.resident + stats.reserved, 0);
}

CASE(79, AS_IS, "DetachNonMappingAccess", "")
{
	RIG(r, 1, 0);

	CHECK_EQ(vmo_detach(r.v), 0);
	expect_read_error(r.v, 0, 1, -ESHUTDOWN);
	expect_write_error(r.v, 0, 1, -ESHUTDOWN);
	CHECK_EQ(vmo_commit(r.v, 0, PAGE, soon()), -ESHUTDOWN);
}

static void end_while_blocked(struct rig *r, bool seen, bool close)
{
	struct op *op = op_read(r->v, 0, 1);

	if (seen)
		fake_wait_read(r->f, 0, 1);
	else
		fake_wait_blocked(r->f, 1);
	if (close)
		vmo_close(r->v);
	else
		CHECK_EQ(vmo_detach(r->v), 0);
	op_expect(op, -ESHUTDOWN);
	fake_expect_none(r->f);
	CHECK_EQ(fake_count(r->f, FAKE_CLEAR), 1);
	CHECK_EQ(fake_count(r->f, FAKE_DETACH), 1);
	CHECK_EQ(fake_count(r->f, FAKE_CLOSE), close);
}

CASE(80, IMPROVED, "ReadDetachInterruptLate", "the waiter ends with -ESHUTDOWN itself, no retry")
{
	RIG(r, 1, 0);

	end_while_blocked(&r, true, false);
}

CASE(81, IMPROVED, "ReadDetachInterruptEarly", "the waiter ends with -ESHUTDOWN itself, no retry")
{
	RIG(r, 1, 0);

	end_while_blocked(&r, false, false);
}

CASE(82, IMPROVED, "ReadCloseInterruptLate, Early",
     "on_detach() and on_close() are called exactly once on every way out")
{
	RIG(late, 1, 0);
	RIG(early, 1, 0);

	end_while_blocked(&late, true, true);
	end_while_blocked(&early, false, true);
}

CASE(83, AS_IS, "ClosePager", "")
{
	RIG(r, 3, 0);
	struct op *op;

	rig_supply(&r, 1, 1);
	rig_dirty(&r, 2, 1, NEW);
	op = op_read(r.v, 0, 1);
	fake_wait_read(r.f, 0, 1);
	vmo_close(r.v);
	op_expect(op, -ESHUTDOWN);
	expect_data(r.v, 1, 1, KEY);
	expect_data(r.v, 2, 1, NEW);
}

CASE(84, AS_IS, "DetachClosePager", "")
{
	RIG(r, 1, 0);

	CHECK_EQ(vmo_detach(r.v), 0);
	vmo_close(r.v);
	CHECK_EQ(fake_count(r.f, FAKE_DETACH), 1);
	CHECK_EQ(fake_count(r.f, FAKE_CLOSE), 1);
}

CASE(85, AS_IS, "ClosePort", "")
{
	/* A provider that never answers by itself: what others supply still counts. */
	RIG(r, 2, 0);
	struct op *op = op_read(r.v, 0, 1);

	fake_wait_blocked(r.f, 1);
	rig_supply(&r, 1, 1);
	expect_data(r.v, 1, 1, KEY);
	op_expect_blocked(op);
	CHECK_EQ(vmo_detach(r.v), 0);
	op_expect(op, -ESHUTDOWN);
}

CASE(86, AS_IS, "SupplyAfterDetach", "")
{
	RIG(r, 1, 0);

	CHECK_EQ(vmo_detach(r.v), 0);
	CHECK_EQ(fake_supply(r.f, 0, 1), -ESHUTDOWN);
	CHECK_EQ(fake_supply_zero(r.f, 0, 1), -ESHUTDOWN);
	expect_state(r.v, 0, 1, PAGE_ABSENT);
}

CASE(87, AS_IS, "CloneDetach", "")
{
	RIG(r, 3, 0);
	CLONE(c, r.v, 0, 3, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);
	struct op *op;

	rig_supply(&r, 0, 2);
	write_now(c, 0, 1, NEW);
	op = op_read(c, 2, 1);
	fake_wait_read(r.f, 2, 1);
	CHECK_EQ(vmo_detach(r.v), 0);
	op_expect(op, -ESHUTDOWN);
	expect_data(c, 0, 1, NEW);
	expect_read_error(c, 1, 1, -ESHUTDOWN);
}

static int64_t detach_thread(void *arg)
{
	vmo_detach(arg);
	vmo_put(arg);
	return 0;
}

CASE(88, IMPROVED, "ZeroHandlesRace",
     "the last reference and the detach race; closing is its owner's")
{
	for (int i = 0; i < 200; i++) {
		RIG(r, 1, 0);
		struct test_thread t;
		struct aread a;

		CHECK_EQ(aread_start(&a, r.v, 0, 1), -EINPROGRESS);
		thread_run(&t, detach_thread, vmo_get(r.v));
		vmo_close(r.v);
		CHECK_EQ(aread_wait(&a), -ESHUTDOWN);
		vmo_put(r.v);
		r.v = NULL;
		CHECK_EQ(thread_join_status(&t), 0);
	}
}

struct taker {
	struct fake_provider *f;
	_Atomic bool stop;
};

static int64_t take_requests(void *arg)
{
	struct taker *t = arg;
	struct fake_request req;
	int64_t n = 0;

	while (!t->stop)
		n += fake_try_next(t->f, &req);
	return n;
}

CASE(89, AS_IS, "RacyPortDequeue", "")
{
	RIG(r, 64, 0);
	struct taker taker = { .f = r.f };
	struct test_thread t;

	thread_run(&t, take_requests, &taker);
	for (uint64_t i = 0; i < 64; i++) {
		struct aread a;

		CHECK_EQ(aread_start(&a, r.v, i, 1), -EINPROGRESS);
		if (i % 2) {
			CHECK(vmo_read_cancel(&a.r));
		} else {
			rig_supply(&r, i, 1);
			aread_expect_data(&a, KEY);
		}
	}
	taker.stop = true;
	thread_join_status(&t);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 64);
	CHECK_EQ(fake_n_owned(r.f), 0);
}

CASE(90, AS_IS, "ProxyUseAfterFree", "")
{
	/* Nobody takes the request; rig_release() then frees everything under it. */
	RIG(r, 1, 0);
	struct aread a;

	CHECK_EQ(aread_start(&a, r.v, 0, 1), -EINPROGRESS);
	vmo_close(r.v);
	CHECK_EQ(aread_wait(&a), -ESHUTDOWN);
	CHECK_EQ(fake_n_unseen(r.f), 0);
}

CASE(91, AS_IS, "WritebackDirtyPagesAfterDetach", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);

	rig_dirty(&r, 1, 2, NEW);
	CHECK_EQ(vmo_detach(r.v), 0);
	EXPECT_DIRTY(r.v, D(1, 2));
	expect_data(r.v, 1, 2, NEW);
	rig_clean(&r, 0, 4);
	EXPECT_CLEAN(r.v);
}

CASE(92, AS_IS, "WritebackResizedRangeAfterDetach", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY | VMO_RESIZABLE);

	rig_dirty(&r, 0, 1, NEW);
	rig_resize(&r, 5);
	CHECK_EQ(vmo_detach(r.v), 0);
	EXPECT_DIRTY(r.v, D(0, 1), Z(2, 3));
	rig_clean(&r, 0, 1);
	EXPECT_DIRTY(r.v, Z(2, 3));
	rig_clean(&r, 2, 3);
	EXPECT_CLEAN(r.v);
}

CASE(93, AS_IS, "DecommitCleanOnDetach", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);

	rig_dirty(&r, 0, 1, NEW);
	rig_supply(&r, 1, 1);
	rig_zeros(&r, 2, 1);
	CHECK_EQ(vmo_detach(r.v), 0);
	expect_data(r.v, 0, 1, NEW);
	for (uint64_t i = 1; i < 4; i++)
		expect_read_error(r.v, i, 1, -ESHUTDOWN);
	EXPECT_DIRTY(r.v, D(0, 1));
}

CASE(94, AS_IS, "NoDirtyRequestsAfterDetach", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY | VMO_RESIZABLE);
	struct vmo_token *token;

	rig_dirty(&r, 0, 2, NEW);
	rig_resize(&r, 3);
	token = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	CHECK_EQ(vmo_detach(r.v), 0);
	expect_write_error(r.v, 0, 1, -ESHUTDOWN);
	expect_write_error(r.v, 2, 1, -ESHUTDOWN);
	write_now(r.v, 1, 1, NEWER);
	fake_expect_none(r.f);
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, D(1, 1), Z(2, 1));
}

CASE(95, AS_IS, "DetachWithPendingDirtyRequest", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 1);
	op = op_write(r.v, 0, 1, NEW);
	fake_wait_dirty(r.f, 0, 1);
	CHECK_EQ(vmo_detach(r.v), 0);
	op_expect(op, -ESHUTDOWN);
	expect_state(r.v, 0, 1, PAGE_ABSENT);
	EXPECT_CLEAN(r.v);
}

CASE(96, AS_IS, "FailDirtyRequestAfterDetach", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);

	rig_dirty(&r, 0, 1, NEW);
	CHECK_EQ(vmo_detach(r.v), 0);
	CHECK_EQ(fake_fail(r.f, 0, 2, -EIO), -ESHUTDOWN);
	expect_data(r.v, 0, 1, NEW);
	EXPECT_DIRTY(r.v, D(0, 1));
}

CASE(97, AS_IS, "Detach twice", "")
{
	RIG(r, 1, 0);

	CHECK_EQ(vmo_detach(r.v), 0);
	CHECK_EQ(vmo_detach(r.v), 0);
	CHECK_EQ(fake_count(r.f, FAKE_DETACH), 1);
}

CASE(98, AS_IS, "Nothing after COMPLETE", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);

	rig_dirty(&r, 0, 1, NEW);
	CHECK_EQ(vmo_detach(r.v), 0);
	expect_read_error(r.v, 1, 1, -ESHUTDOWN);
	expect_write_error(r.v, 1, 1, -ESHUTDOWN);
	CHECK(vmo_prefetch(r.v, 0, 4 * PAGE, 0) <= 0);
	CHECK(vmo_hint(r.v, 0, 4 * PAGE, VMO_HINT_PREFETCH, soon()) < 0);
	CHECK(vmo_writeback(r.v, 0, 4 * PAGE, soon()) < 0);
	fake_expect_none(r.f);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
}

CASE(99, IMPROVED, "COMPLETE ordering", "every request is cleared before on_detach(), seen or not")
{
	RIG(r, 4, VMO_TRAP_DIRTY);
	struct fake_event e = { 0 };
	struct aread a;
	struct op *op;

	rig_supply(&r, 0, 1);
	CHECK_EQ(aread_start(&a, r.v, 2, 2), -EINPROGRESS);
	op = op_write(r.v, 0, 1, NEW);
	fake_wait_dirty(r.f, 0, 1);
	CHECK_EQ(vmo_detach(r.v), 0);
	op_expect(op, -ESHUTDOWN);
	CHECK_EQ(aread_wait(&a), -ESHUTDOWN);
	CHECK(fake_event(r.f, fake_n_events(r.f) - 1, &e));
	CHECK_EQ(e.kind, FAKE_DETACH);
	CHECK_EQ(fake_count(r.f, FAKE_CLEAR), 2);
}

CASE(100, AS_IS, "Writes keep accumulating", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);
	struct vmo_token *token;

	token = begin(r.v, 0, 1, VMO_WRITEBACK_ALL);
	rig_dirty(&r, 0, 1, NEW);
	CHECK_EQ(vmo_detach(r.v), 0);
	write_now(r.v, 0, 1, NEWER);
	EXPECT_DIRTY(r.v, D(0, 1));
	/* A token from before the page was dirty cleans nothing. */
	vmo_writeback_end(token, 0);
	EXPECT_DIRTY(r.v, D(0, 1));
	expect_data(r.v, 0, 1, NEWER);
}

CASE(101, AS_IS, "OP_DIRTY after detach", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);

	rig_supply(&r, 0, 1);
	CHECK_EQ(vmo_detach(r.v), 0);
	CHECK_EQ(fake_grant(r.f, 0, 1), -ESHUTDOWN);
}

CASE(102, IMPROVED, "COMPLETE waits for clones",
     "closing is explicit; until then a clone keeps the source")
{
	RIG(r, 1, 0);
	CLONE(c, r.v, 0, 1, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);
	struct vmo *root = r.v;
	struct op *op;

	vmo_put(r.v);
	r.v = NULL;
	CHECK_EQ(fake_count(r.f, FAKE_DETACH), 0);
	op = op_read(c, 0, 1);
	fake_wait_read(r.f, 0, 1);
	rig_supply(&r, 0, 1);
	op_expect_data(op, KEY);
	vmo_close(root);
	CHECK_EQ(fake_count(r.f, FAKE_CLOSE), 1);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 42 to 75: what a provider reports as failed, and calls that are refused. A waiter ends with
 * the code of its own first bad page as soon as everything before that page is resolved.
 */
#include "conformance/harness.h"

CASE(42, AS_IS, "FailSinglePage", "")
{
	RIG(r, 1, 0);
	struct op *op = op_read(r.v, 0, 1);

	fake_wait_read(r.f, 0, 1);
	rig_fail(&r, 0, 1, -EIO);
	op_expect(op, -EIO);
	CHECK_EQ(fake_n_owned(r.f), 0);
}

CASE(43, AS_IS, "FailExactRange", "")
{
	RIG(r, 11, 0);
	struct op *op = op_commit(r.v, 0, 11);

	fake_wait_read(r.f, 0, 11);
	rig_fail(&r, 0, 11, -EIO);
	op_expect(op, -EIO);
	expect_state(r.v, 0, 11, PAGE_ABSENT);
	EXPECT_CLEAN(r.v);
}

CASE(44, AS_IS, "FailMultipleCommits", "")
{
	RIG(r, 40, 0);
	struct op *ops[8];

	for (uint64_t i = 0; i < 8; i++) {
		ops[i] = op_commit(r.v, 5 * i, 5);
		fake_wait_read(r.f, 5 * i, 5);
	}
	rig_fail(&r, 0, 40, -EIO);
	for (uint64_t i = 0; i < 8; i++)
		op_expect(ops[i], -EIO);
	CHECK_EQ(fake_n_owned(r.f), 0);
}

CASE(45, AS_IS, "FailMultipleVmos", "")
{
	RIG(a, 1, 0);
	RIG(b, 1, 0);
	struct op *on_a = op_read(a.v, 0, 1);
	struct op *on_b = op_read(b.v, 0, 1);

	fake_wait_read(a.f, 0, 1);
	fake_wait_read(b.f, 0, 1);
	rig_fail(&a, 0, 1, -EIO);
	op_expect(on_a, -EIO);
	CHECK_EQ(n_parked(vmo_page_source(b.v)), 1);
	op_expect_blocked(on_b);
	rig_supply(&b, 0, 1);
	op_expect_data(on_b, KEY);
}

CASE(46, IMPROVED, "FailOverlappingRangeCommit",
     "a waiter ends with its own first bad page; nothing is asked for twice")
{
	RIG(r, 11, 0);
	struct op *t1 = op_commit(r.v, 0, 2);
	struct op *t2 = op_commit(r.v, 9, 2);
	struct op *t3 = op_commit(r.v, 5, 2);

	fake_wait_read(r.f, 0, 2);
	fake_wait_read(r.f, 9, 2);
	fake_wait_read(r.f, 5, 2);
	rig_supply(&r, 0, 1);
	op_expect_blocked(t1);
	rig_fail(&r, 1, 9, -EIO);
	op_expect(t1, -EIO);
	op_expect(t2, -EIO);
	op_expect(t3, -EIO);
	rig_supply(&r, 10, 1);
	CHECK_EQ(fake_n_owned(r.f), 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 3);
	expect_state(r.v, 0, 1, PAGE_CLEAN);
	expect_state(r.v, 1, 9, PAGE_ABSENT);
}

CASE(47, IMPROVED, "FailOverlappingRangeRead",
     "the failure is kept with those who wait, a read ends short of it: nothing is asked twice")
{
	RIG(r, 11, 0);
	struct op *t1 = op_read(r.v, 0, 2);
	struct op *t2 = op_read(r.v, 9, 2);
	struct op *t3 = op_read(r.v, 5, 2);

	fake_wait_read(r.f, 0, 2);
	fake_wait_read(r.f, 9, 2);
	fake_wait_read(r.f, 5, 2);
	rig_fail(&r, 1, 9, -EIO);
	op_expect(t2, -EIO);
	op_expect(t3, -EIO);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
	op_expect_blocked(t1);
	rig_supply(&r, 0, 1);
	op_expect(t1, PAGE);
	rig_supply(&r, 10, 1);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 3);
}

CASE(48, AS_IS, "FailRedundant", "")
{
	RIG(r, 11, 0);
	struct op *op = op_commit(r.v, 0, 11);

	fake_wait_read(r.f, 0, 11);
	for (uint64_t i = 0; i < 11; i++)
		rig_fail(&r, i, 1, -EIO);
	op_expect(op, -EIO);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
	CHECK_EQ(fake_n_owned(r.f), 0);
}

CASE(49, AS_IS, "FailAfterDetach", "")
{
	RIG(r, 1, 0);

	CHECK_EQ(vmo_detach(r.v), 0);
	CHECK_EQ(fake_fail(r.f, 0, 1, -EIO), -ESHUTDOWN);
}

CASE(50, IMPROVED, "FailEarlyWake",
     "whether the reader waits again already does not matter; what came before counts")
{
	RIG(r, 3, 0);
	struct op *op = op_read(r.v, 0, 3);

	fake_wait_read(r.f, 0, 3);
	rig_supply(&r, 0, 1);
	rig_fail(&r, 1, 1, -EIO);
	op_expect(op, PAGE);
	CHECK_EQ(fake_n_owned(r.f), 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(51, IMPROVED, "FailOverlapRequest",
     "who waits for the failed page alone ends at once; the other one when its turn comes")
{
	RIG(r, 4, 0);
	struct op *t1 = op_read(r.v, 0, 4);
	struct op *t2;

	fake_wait_read(r.f, 0, 4);
	t2 = op_read(r.v, 1, 1);
	fake_wait_blocked(r.f, 2);
	fake_expect_none(r.f);
	rig_fail(&r, 1, 1, -EIO);
	op_expect(t2, -EIO);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
	op_expect_blocked(t1);
	rig_supply(&r, 0, 1);
	op_expect(t1, PAGE);
	CHECK_EQ(fake_n_owned(r.f), 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(52, AS_IS, "SupplyAfterFail", "")
{
	RIG(r, 11, 0);
	struct op *op = op_commit(r.v, 0, 11);

	fake_wait_read(r.f, 0, 11);
	rig_fail(&r, 0, 11, -EIO);
	op_expect(op, -EIO);
	op = op_commit(r.v, 0, 11);
	fake_wait_read(r.f, 0, 11);
	rig_supply(&r, 0, 11);
	op_expect(op, 0);
	expect_data(r.v, 0, 11, KEY);
}

CASE(53, AS_IS, "FailErrorCode", "")
{
	static const int codes[] = { -EIO,    -EBADMSG, -ESHUTDOWN, -ENOSPC, -ENOBUFS,
				     -ESTALE, -EACCES,  -ENOENT,    -EDQUOT, -ETIMEDOUT };

	for (unsigned i = 0; i < ARRAY_LEN(codes); i++) {
		RIG(r, 11, 0);
		struct op *first = op_commit(r.v, 0, 11);
		struct op *second;

		fake_wait_read(r.f, 0, 11);
		second = op_read(r.v, 0, 11);
		fake_wait_blocked(r.f, 2);
		rig_fail(&r, 0, 11, codes[i]);
		op_expect(first, codes[i]);
		op_expect(second, codes[i]);
		CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
	}
}

CASE(54, AS_IS, "InvalidFailCode", "")
{
	static const int codes[] = { 0, 1, EIO, -ENOMEM, -EFAULT, -EINTR, -EAGAIN, INT32_MIN };
	RIG(r, 1, 0);
	struct op *op = op_read(r.v, 0, 1);

	fake_wait_read(r.f, 0, 1);
	for (unsigned i = 0; i < ARRAY_LEN(codes); i++) {
		CHECK_EQ(fake_fail(r.f, 0, 1, codes[i]), -EINVAL);
		CHECK(!vmofs_is_failure_code(codes[i]));
		CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
	}
	CHECK(page_source_is_valid_internal_failure_code(-ENOMEM));
	CHECK(!page_source_is_valid_external_failure_code(-ENOMEM));
	rig_supply(&r, 0, 1);
	op_expect_data(op, KEY);
}

CASE(55, NOT_APPLICABLE, "InvalidPagerCreate", "there is no pager object with options")
{
}

CASE(56, IMPROVED, "InvalidPagerCreateVmo", "no handles and rights: flags and sizes are checked")
{
	RIG(r, 1, 0);
	struct fake_provider *f = fake_new(0, KEY);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmo *v = NULL;

	CHECK_EQ(vmo_new(&v, r.pool, fake_base(f), PAGE, 1u << 30, &err), -EINVAL);
	CHECK_EQ(err.code, -EINVAL);
	CHECK(*err.msg);
	/* The provider cannot answer DIRTY. */
	CHECK(vmo_new(&v, r.pool, fake_base(f), PAGE, VMO_TRAP_DIRTY, &err) < 0);
	CHECK(vmo_new(&v, r.pool, fake_base(f), UINT64_MAX, 0, &err) < 0);
	CHECK(vmo_new(&v, r.pool, fake_base(f), UINT64_MAX - 2 * PAGE, 0, &err) < 0);
	CHECK(!v);
	fake_free(f);
}

CASE(57, NOT_APPLICABLE, "InvalidPagerDetach", "no handles: a VMO is always of its own provider")
{
}

CASE(58, AS_IS, "InvalidPagerSupply (misaligned)", "")
{
	RIG(r, 4, 0);
	uint8_t *buf = calloc(2, PAGE);

	CHECK_EQ(vmo_supply(r.v, 1, buf, PAGE), -EINVAL);
	CHECK_EQ(vmo_supply(r.v, PAGE - 1, buf, PAGE), -EINVAL);
	CHECK_EQ(vmo_supply(r.v, 0, buf, PAGE + 1), -EINVAL);
	CHECK_EQ(vmo_supply_zero(r.v, 512, PAGE), -EINVAL);
	CHECK_EQ(vmo_supply_zero(r.v, 0, 512), -EINVAL);
	expect_state(r.v, 0, 4, PAGE_ABSENT);
	free(buf);
}

CASE(59, AS_IS, "InvalidPagerSupply (range)", "")
{
	RIG(r, 4, 0);
	uint8_t *buf = calloc(2, PAGE);

	CHECK_EQ(vmo_supply(r.v, 3 * PAGE, buf, 2 * PAGE), -ERANGE);
	CHECK_EQ(vmo_supply(r.v, 4 * PAGE, buf, PAGE), -ERANGE);
	CHECK_EQ(vmo_supply(r.v, 0 - (uint64_t)PAGE, buf, 2 * PAGE), -ERANGE);
	CHECK_EQ(vmo_supply_zero(r.v, 3 * PAGE, 2 * PAGE), -ERANGE);
	expect_state(r.v, 0, 4, PAGE_ABSENT);
	free(buf);
}

CASE(60, NOT_APPLICABLE, "InvalidPagerSupply (aux kind)", "supply copies from memory of any kind")
{
}

CASE(61, NOT_APPLICABLE, "InvalidPagerSupply (rights)", "there are no handles with rights")
{
}

CASE(62, IMPROVED, "InvalidOpRange",
     "one function per operation; unknown types take the place of unknown operations")
{
	RIG(r, 4, VMO_TRAP_DIRTY);
	struct vmo_token *token = NULL;

	CHECK_EQ(vmo_fail(r.v, 1, PAGE, -EIO, 1), -EINVAL);
	CHECK_EQ(vmo_fail(r.v, 0, 5, -EIO, 1), -EINVAL);
	CHECK_EQ(vmo_fail(r.v, 0, 5 * PAGE, -EIO, 1), -ERANGE);
	CHECK_EQ(vmo_fail(r.v, 0, PAGE, -EIO, VMOFS_TYPE_BIT(VMOFS_REQUEST_NTYPES)), -EINVAL);
	CHECK_EQ(vmo_dirty(r.v, 8, PAGE), -EINVAL);
	CHECK_EQ(vmo_dirty(r.v, 0, 8), -EINVAL);
	CHECK_EQ(vmo_dirty(r.v, 4 * PAGE, PAGE), -ERANGE);
	CHECK_EQ(vmo_writeback_begin(r.v, 8, PAGE, VMO_WRITEBACK_ALL, &token), -EINVAL);
	CHECK_EQ(vmo_writeback_begin(r.v, 0, 5 * PAGE, VMO_WRITEBACK_ALL, &token), -ERANGE);
	CHECK(!token);
}

CASE(63, AS_IS, "FailDirtyRequests", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);

	rig_supply(&r, 0, 2);
	for (uint64_t i = 0; i < 2; i++) {
		struct op *op = op_write(r.v, i, 1, NEW);

		fake_wait_dirty(r.f, i, 1);
		rig_fail(&r, i, 1, -EIO);
		op_expect(op, -EIO);
	}
	EXPECT_CLEAN(r.v);
	expect_state(r.v, 0, 2, PAGE_CLEAN);
	expect_data(r.v, 0, 2, KEY);
	fake_expect_none(r.f);
	CHECK(!vmo_modified(r.v, false));
}

CASE(64, IMPROVED, "PartialFailDirtyRequests (tail)",
     "the writer learns of the failure without asking again and keeps what was granted")
{
	RIG(r, 5, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 5);
	op = op_write(r.v, 0, 5, NEW);
	fake_wait_dirty(r.f, 0, 5);
	rig_grant(&r, 0, 3);
	rig_fail(&r, 3, 2, -ENOSPC);
	op_expect(op, 3 * PAGE);
	EXPECT_DIRTY(r.v, D(0, 3));
	expect_data(r.v, 0, 3, NEW);
	expect_data(r.v, 3, 2, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(65, IMPROVED, "PartialFailDirtyRequests (head)", "the writer ends when its first page fails")
{
	RIG(r, 5, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 5);
	op = op_write(r.v, 0, 5, NEW);
	fake_wait_dirty(r.f, 0, 5);
	rig_fail(&r, 0, 3, -EIO);
	op_expect(op, -EIO);
	CHECK_EQ(fake_n_owned(r.f), 0);
	EXPECT_CLEAN(r.v);
	expect_data(r.v, 0, 5, KEY);
}

CASE(66, AS_IS, "FailDirtyRequestsForZeroPages", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY | VMO_RESIZABLE);

	rig_zeros(&r, 0, 2);
	rig_resize(&r, 4);
	for (uint64_t i = 0; i < 4; i += 3) {
		struct op *op = op_write(r.v, i, 1, NEW);

		fake_wait_dirty(r.f, i, 1);
		rig_fail(&r, i, 1, -EIO);
		op_expect(op, -EIO);
	}
	EXPECT_DIRTY(r.v, Z(2, 2));
	expect_state(r.v, 0, 2, PAGE_ZERO_CLEAN);
	expect_zero(r.v, 0, 4);
	CHECK_EQ(vmo_n_resident(r.v), 0);
}

CASE(67, IMPROVED, "Fail tail only", "the failure is kept with the reader: nothing is asked twice")
{
	RIG(r, 5, 0);
	struct op *op = op_read(r.v, 0, 5);

	fake_wait_read(r.f, 0, 5);
	rig_fail(&r, 3, 2, -EIO);
	op_expect_blocked(op);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
	rig_supply(&r, 0, 3);
	op_expect(op, 3 * PAGE);
	expect_data(r.v, 0, 3, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(68, AS_IS, "Fail does not evict", "")
{
	RIG(r, 2, 0);

	rig_supply(&r, 0, 1);
	rig_fail(&r, 0, 2, -EIO);
	expect_data(r.v, 0, 1, KEY);
	expect_state(r.v, 0, 1, PAGE_CLEAN);
}

CASE(69, AS_IS, "Fail with no waiter is not remembered", "")
{
	RIG(r, 1, 0);
	struct op *op;

	rig_fail(&r, 0, 1, -EIO);
	op = op_read(r.v, 0, 1);
	fake_wait_read(r.f, 0, 1);
	rig_supply(&r, 0, 1);
	op_expect_data(op, KEY);
}

CASE(70, IMPROVED, "Fail hits both types", "the types are an argument: one, or both as there")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct op *reader;
	struct op *writer;

	rig_supply(&r, 1, 1);
	reader = op_read(r.v, 0, 1);
	writer = op_write(r.v, 1, 1, NEW);
	fake_wait_read(r.f, 0, 1);
	fake_wait_dirty(r.f, 1, 1);
	rig_fail(&r, 0, 2, -EIO);
	op_expect(reader, -EIO);
	op_expect(writer, -EIO);

	reader = op_read(r.v, 0, 1);
	writer = op_write(r.v, 1, 1, NEW);
	fake_wait_blocked(r.f, 2);
	CHECK_EQ(vmo_fail(r.v, 0, 2 * PAGE, -EIO, DIRTY_BIT), 0);
	op_expect(writer, -EIO);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
	rig_supply(&r, 0, 1);
	op_expect_data(reader, KEY);
}

CASE(71, IMPROVED, "Lost aux", "the destination is checked before anything is taken")
{
	RIG(r, 2, 0);
	uint8_t *buf = calloc(2, PAGE);

	fake_fill(KEY, 0, buf, 2 * PAGE);
	CHECK_EQ(vmo_supply(r.v, PAGE, buf, 2 * PAGE), -ERANGE);
	CHECK_EQ(fake_compare(KEY, 0, buf, 2 * PAGE), -1);
	expect_state(r.v, 0, 2, PAGE_ABSENT);
	free(buf);
}

static int64_t read_with_deadline(void *arg)
{
	struct vmo_wait wait = { .deadline_ns = test_now_ns() + 20 * NSEC_PER_MSEC };
	uint8_t byte;

	return vmo_read(arg, 0, &byte, 1, &wait);
}

CASE(72, IMPROVED, "Timeout", "a deadline belongs to each request, not to the whole system")
{
	RIG(r, 2, 0);
	struct test_thread t;
	struct aread a = { 0 };

	thread_run(&t, read_with_deadline, r.v);
	CHECK_EQ(thread_join_status(&t), -ETIMEDOUT);
	CHECK_EQ(fake_n_owned(r.f), 0);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 0);

	CHECK_EQ(aread_start(&a, r.v, 1, 1), -EINPROGRESS);
	CHECK_EQ(vmo_expire(r.v, test_now_ns()), 0);
	CHECK(!aread_is_done(&a));
	CHECK(vmo_read_cancel(&a.r));
	CHECK_EQ(aread_start_until(&a, r.v, 1, 1, 1000), -EINPROGRESS);
	CHECK_EQ(vmo_expire(r.v, 999), 1000);
	CHECK(!aread_is_done(&a));
	vmo_expire(r.v, 1000);
	CHECK_EQ(aread_wait(&a), -ETIMEDOUT);
	CHECK_EQ(fake_n_owned(r.f), 0);
	rig_supply(&r, 0, 2);
	expect_data(r.v, 0, 2, KEY);
}

CASE(73, AS_IS, "InvalidDirtyOnNoTrap", "")
{
	RIG(r, 1, 0);

	rig_supply(&r, 0, 1);
	CHECK_EQ(vmo_dirty(r.v, 0, PAGE), -EOPNOTSUPP);
	EXPECT_CLEAN(r.v);
}

CASE(74, IMPROVED, "QueryInvalid", "no foreign VMOs; ranges are checked")
{
	RIG(r, 2, 0);
	struct vmo_dirty_range range;

	CHECK_EQ(vmo_query_dirty(r.v, 2 * PAGE, PAGE, &range, 1), -ERANGE);
	CHECK_EQ(vmo_query_dirty(r.v, PAGE, 2 * PAGE, &range, 1), -ERANGE);
	CHECK_EQ(vmo_query_dirty(r.v, 5, UINT64_MAX - 1, &range, 1), -ERANGE);
}

CASE(75, NOT_APPLICABLE, "StatsInvalid", "vmo_modified() returns a value: no buffer, no options")
{
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 220 to 235: those who want the same pages. What is outstanding is joined, gaps are asked for
 * at once, and each wakes when its own range is resolved.
 */
#include "conformance/harness.h"

CASE(220, AS_IS, "ConcurrentOverlappingAccess", "")
{
	enum { N = 32 };
	RIG(r, 1, 0);
	struct op *ops[N];

	for (int i = 0; i < N; i++)
		ops[i] = op_read(r.v, 0, 1);
	fake_wait_blocked(r.f, N);
	fake_wait_read(r.f, 0, 1);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
	rig_supply(&r, 0, 1);
	for (int i = 0; i < N; i++)
		op_expect_data(ops[i], KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(221, IMPROVED, "OverlapCommit", "both gaps around the neighbour are asked for at once")
{
	RIG(r, 32, 0);
	struct op *t1 = op_commit(r.v, 8, 16);
	struct op *t2;

	fake_wait_read(r.f, 8, 16);
	t2 = op_commit(r.v, 0, 32);
	fake_wait_read(r.f, 0, 8);
	fake_wait_read(r.f, 24, 8);
	rig_supply(&r, 0, 24);
	op_expect(t1, 0);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
	op_expect_blocked(t2);
	rig_supply(&r, 24, 8);
	op_expect(t2, 0);
	fake_expect_none(r.f);
}

CASE(222, IMPROVED, "OverlapCommitSupply",
     "each of them wakes with its own last page, not with a whole request")
{
	enum { PAGES = 105, BIG = 7, N_BIG = 15, SMALL = 5, N_SMALL = 21 };
	RIG(r, PAGES, 0);
	struct op *ops[N_BIG + N_SMALL];
	uint64_t ends[N_BIG + N_SMALL];

	for (uint64_t i = 0; i < N_BIG; i++) {
		ops[i] = op_commit(r.v, BIG * i, BIG);
		ends[i] = BIG * (i + 1);
		fake_wait_read(r.f, BIG * i, BIG);
	}
	for (uint64_t i = 0; i < N_SMALL; i++) {
		ops[N_BIG + i] = op_commit(r.v, SMALL * i, SMALL);
		ends[N_BIG + i] = SMALL * (i + 1);
	}
	fake_wait_blocked(r.f, N_BIG + N_SMALL);
	fake_expect_none(r.f);
	for (uint64_t at = 0; at < PAGES; at += 3) {
		unsigned waiting = 0;

		rig_supply(&r, at, 3);
		for (unsigned i = 0; i < ARRAY_LEN(ends); i++)
			waiting += ends[i] > at + 3;
		CHECK_EQ(n_parked(vmo_page_source(r.v)), waiting);
	}
	for (unsigned i = 0; i < ARRAY_LEN(ops); i++)
		op_expect(ops[i], 0);
	expect_data(r.v, 0, PAGES, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), N_BIG);
}

CASE(223, AS_IS, "EarlyWakeOverlappingRequests", "")
{
	static const struct {
		uint64_t page, n;
	} readers[] = { { 0, 92 }, { 16, 42 }, { 0, 32 }, { 48, 64 }, { 82, 128 } };
	enum { PAGES = 210 };
	RIG(r, PAGES, 0);
	struct op *ops[ARRAY_LEN(readers)];

	for (unsigned i = 0; i < ARRAY_LEN(readers); i++) {
		ops[i] = op_read(r.v, readers[i].page, readers[i].n);
		fake_wait_blocked(r.f, i + 1);
	}
	fake_wait_read(r.f, 0, 92);
	fake_wait_read(r.f, 92, 20);
	fake_wait_read(r.f, 112, 98);
	fake_expect_none(r.f);
	CHECK(fake_owned_are_disjoint(r.f));
	for (uint64_t at = 0; at < PAGES; at += 14)
		rig_supply(&r, at, 14);
	for (unsigned i = 0; i < ARRAY_LEN(readers); i++)
		op_expect_data(ops[i], KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 3);
}

CASE(224, AS_IS, "Dependant inside primary", "")
{
	RIG(r, 10, 0);
	struct op *t1 = op_read(r.v, 0, 10);
	struct op *t2;

	fake_wait_read(r.f, 0, 10);
	t2 = op_read(r.v, 3, 2);
	fake_wait_blocked(r.f, 2);
	fake_expect_none(r.f);
	rig_supply(&r, 3, 2);
	op_expect_data(t2, KEY);
	op_expect_blocked(t1);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
	rig_supply(&r, 5, 5);
	rig_supply(&r, 0, 3);
	op_expect_data(t1, KEY);
}

CASE(225, IMPROVED, "Non-early dependant", "it wakes when its own range is resolved")
{
	RIG(r, 10, 0);
	struct op *t1 = op_commit(r.v, 0, 10);
	struct op *t2;

	fake_wait_read(r.f, 0, 10);
	t2 = op_commit(r.v, 3, 2);
	fake_wait_blocked(r.f, 2);
	rig_supply(&r, 3, 2);
	op_expect(t2, 0);
	op_expect_blocked(t1);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
	rig_supply(&r, 0, 3);
	rig_supply(&r, 5, 5);
	op_expect(t1, 0);
}

CASE(226, IMPROVED, "Truncated at neighbour start", "it waits for both parts at once")
{
	RIG(r, 16, 0);
	struct op *t1 = op_commit(r.v, 8, 8);
	struct op *t2;

	fake_wait_read(r.f, 8, 8);
	t2 = op_commit(r.v, 0, 12);
	fake_wait_read(r.f, 0, 8);
	fake_expect_none(r.f);
	rig_supply(&r, 0, 8);
	op_expect_blocked(t2);
	rig_supply(&r, 8, 4);
	op_expect(t2, 0);
	op_expect_blocked(t1);
	rig_supply(&r, 12, 4);
	op_expect(t1, 0);
}

CASE(227, IMPROVED, "Truncated at neighbour end",
     "what is beyond the neighbour is asked for at once")
{
	RIG(r, 20, 0);
	struct op *t1 = op_commit(r.v, 0, 8);
	struct op *t2;

	fake_wait_read(r.f, 0, 8);
	t2 = op_commit(r.v, 4, 16);
	fake_wait_read(r.f, 8, 12);
	rig_supply(&r, 8, 12);
	rig_supply(&r, 4, 4);
	op_expect(t2, 0);
	op_expect_blocked(t1);
	rig_supply(&r, 0, 4);
	op_expect(t1, 0);
}

CASE(228, AS_IS, "Adjacent not merged", "")
{
	RIG(r, 8, 0);
	struct op *t1 = op_commit(r.v, 0, 4);
	struct op *t2;

	fake_wait_read(r.f, 0, 4);
	t2 = op_commit(r.v, 4, 4);
	fake_wait_read(r.f, 4, 4);
	rig_supply(&r, 0, 8);
	op_expect(t1, 0);
	op_expect(t2, 0);
}

CASE(229, AS_IS, "Supply across primaries", "")
{
	RIG(r, 8, 0);
	struct op *t1 = op_commit(r.v, 0, 4);
	struct op *t2 = op_commit(r.v, 6, 2);

	fake_wait_read(r.f, 0, 4);
	fake_wait_read(r.f, 6, 2);
	rig_supply(&r, 2, 5);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 2);
	CHECK_EQ(fake_n_owned(r.f), 2);
	rig_supply(&r, 7, 1);
	op_expect(t2, 0);
	op_expect_blocked(t1);
	rig_supply(&r, 0, 2);
	op_expect(t1, 0);
}

CASE(230, IMPROVED, "Excess",
     "what is resolved is tracked exactly, and a parked range is not evicted")
{
	RIG(r, 6, 0);
	SOURCE(s, 0, 1024);
	WAITER(w);
	struct op *op = op_commit(r.v, 0, 6);

	fake_wait_read(r.f, 0, 6);
	rig_supply(&r, 0, 4);
	CHECK_EQ(vmo_evict(r.v, 0, 4 * PAGE, true), 0);
	CHECK_EQ(fake_supply(r.f, 0, 2), 0);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
	rig_supply(&r, 4, 2);
	op_expect(op, 0);
	expect_data(r.v, 0, 6, KEY);

	/* The book-keeping alone: told of the same pages twice, it still misses the others. */
	CHECK_EQ(get_pages(&s, 0, 6, &w), -EINPROGRESS);
	supplied(&s, 0, 4);
	supplied(&s, 0, 2);
	CHECK_EQ(n_parked(s.s), 1);
	supplied(&s, 4, 2);
	CHECK_EQ(wait_for(&s, &w), 0);
}

CASE(231, IMPROVED, "Cancel promotes", "the request shrinks to what is still wanted, by swap")
{
	RIG(r, 4, 0);
	struct aread t1;
	struct aread t2;

	CHECK_EQ(aread_start(&t1, r.v, 0, 4), -EINPROGRESS);
	CHECK_EQ(aread_start(&t2, r.v, 1, 2), -EINPROGRESS);
	CHECK(vmo_read_cancel(&t1.r));
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
	CHECK_EQ(fake_count(r.f, FAKE_CLEAR), 0);
	CHECK(fake_owns(r.f, VMOFS_REQUEST_READ, 1, 2));
	rig_supply(&r, 0, 4);
	aread_expect_data(&t2, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_CLEAR), 1);
}

CASE(232, AS_IS, "Cancel dependant", "")
{
	RIG(r, 4, 0);
	struct aread t1;
	struct aread t2;

	CHECK_EQ(aread_start(&t1, r.v, 0, 4), -EINPROGRESS);
	CHECK_EQ(aread_start(&t2, r.v, 1, 2), -EINPROGRESS);
	CHECK(vmo_read_cancel(&t2.r));
	CHECK_EQ(fake_n_events(r.f), 1);
	CHECK(fake_owns(r.f, VMOFS_REQUEST_READ, 0, 4));
	rig_supply(&r, 0, 4);
	aread_expect_data(&t1, KEY);
	CHECK_EQ(t2.n_done, 0);
}

CASE(233, AS_IS, "Cancel lone primary un-dequeued", "")
{
	RIG(r, 4, 0);
	struct aread a;

	CHECK_EQ(aread_start(&a, r.v, 0, 4), -EINPROGRESS);
	CHECK(vmo_read_cancel(&a.r));
	fake_expect_none(r.f);
	CHECK_EQ(fake_n_owned(r.f), 0);
	CHECK_EQ(aread_start(&a, r.v, 0, 4), -EINPROGRESS);
	fake_wait_read(r.f, 0, 4);
	rig_supply(&r, 0, 4);
	aread_expect_data(&a, KEY);
}

CASE(234, AS_IS, "READ and DIRTY independent", "")
{
	SOURCE(s, DIRTY_BIT, 1024);
	WAITER(reader);
	WAITER(writer);

	CHECK_EQ(get_pages(&s, 0, 4, &reader), -EINPROGRESS);
	CHECK_EQ(get_dirty(&s, 0, 4, &writer), -EINPROGRESS);
	fake_wait_read(s.f, 0, 4);
	fake_wait_dirty(s.f, 0, 4);
	supplied(&s, 0, 4);
	CHECK_EQ(wait_for(&s, &reader), 0);
	CHECK_EQ(page_source_n_waiters(s.s, VMOFS_REQUEST_DIRTY), 1);
	page_source_on_pages_dirtied(s.s, 0, 4 * PAGE);
	CHECK_EQ(wait_for(&s, &writer), 0);
	CHECK_EQ(fake_count(s.f, FAKE_CLEAR), 2);
}

CASE(235, AS_IS, "Continuation beyond range", "")
{
	SOURCE(s, 0, 1024);
	WAITER(w);

	w.early = true;
	CHECK_EQ(get_pages(&s, 0, 4, &w), -EINPROGRESS);
	supplied(&s, 0, 2);
	CHECK_EQ(wait_for(&s, &w), 0);
	CHECK_EQ(n_parked(s.s), 1);
	/* Still parked on [2,4), it goes on beyond: the old request is given up. */
	CHECK_EQ(get_pages(&s, 6, 3, &w), -EINPROGRESS);
	CHECK_EQ(n_parked(s.s), 1);
	fake_wait_read(s.f, 6, 3);
	fake_expect_none(s.f);
	CHECK_EQ(fake_n_owned(s.f), 1);
	supplied(&s, 6, 3);
	CHECK_EQ(wait_for(&s, &w), 0);
}

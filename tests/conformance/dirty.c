/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 103 to 136: the trapped move from clean to dirty, its grants, and the query of what is dirty.
 * A store through a mapping is a write of one page here.
 */
#include <sched.h>

#include "conformance/harness.h"

CASE(103, AS_IS, "SimpleTrapDirty", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 1);
	op = op_write(r.v, 0, 1, NEW);
	fake_wait_dirty(r.f, 0, 1);
	EXPECT_CLEAN(r.v);
	expect_data(r.v, 0, 1, KEY);
	rig_grant(&r, 0, 1);
	op_expect_all(op);
	EXPECT_DIRTY(r.v, D(0, 1));
	expect_data(r.v, 0, 1, NEW);
}

CASE(104, AS_IS, "OpDirtyNoWrite", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);

	rig_supply(&r, 0, 1);
	rig_grant(&r, 0, 1);
	EXPECT_DIRTY(r.v, D(0, 1));
	CHECK(!vmo_modified(r.v, false));
	write_now(r.v, 0, 1, NEW);
	CHECK(vmo_modified(r.v, false));
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
}

static void trapped_write(struct rig *r, uint64_t page, uint64_t n)
{
	struct op *op = op_write(r->v, page, n, NEW);

	fake_wait_dirty(r->f, page, n);
	rig_grant(r, page, n);
	op_expect_all(op);
}

CASE(105, AS_IS, "DirtyRequestsOnVmoWrite", "")
{
	static const uint64_t pages[] = { 0, 2, 4, 6, 8, 3 };
	RIG(r, 20, VMO_TRAP_DIRTY);

	rig_supply(&r, 0, 20);
	for (unsigned i = 0; i < ARRAY_LEN(pages); i++)
		trapped_write(&r, pages[i], 1);
	trapped_write(&r, 11, 5);
	EXPECT_DIRTY(r.v, D(0, 1), D(2, 3), D(6, 1), D(8, 1), D(11, 5));
	fake_expect_none(r.f);
}

CASE(106, AS_IS, "DirtyRequestsViaMapping", "")
{
	RIG(r, 10, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 10);
	op = op_write_each(r.v, 0, 5, NEW);
	for (uint64_t i = 0; i < 5; i++) {
		fake_wait_dirty(r.f, i, 1);
		rig_grant(&r, i, 1);
	}
	op_expect_all(op);
	op = op_write_each(r.v, 5, 5, NEW);
	fake_wait_dirty(r.f, 5, 1);
	rig_grant(&r, 5, 5);
	op_expect_all(op);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 6);
	EXPECT_DIRTY(r.v, D(0, 10));
}

CASE(107, AS_IS, "NoDirtyRequestsOnRead", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);
	struct aread a;

	rig_supply(&r, 0, 4);
	expect_data(r.v, 0, 4, KEY);
	CHECK_EQ(aread_start(&a, r.v, 0, 4), 0);
	aread_expect_data(&a, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	EXPECT_CLEAN(r.v);
}

CASE(108, AS_IS, "DirtyRequestsRepeatedWrites", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);

	rig_supply(&r, 0, 1);
	trapped_write(&r, 0, 1);
	write_now(r.v, 0, 1, NEWER);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
	expect_data(r.v, 0, 1, NEWER);
}

CASE(109, AS_IS, "DirtyRequestsWriteAfterRead", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);

	rig_supply(&r, 0, 1);
	expect_data(r.v, 0, 1, KEY);
	trapped_write(&r, 0, 1);
	expect_data(r.v, 0, 1, NEW);
	EXPECT_DIRTY(r.v, D(0, 1));
}

enum { RANDOM_PAGES = 10 };

static uint64_t random_states(struct rig *r, enum page_state *state, uint64_t *seed)
{
	uint64_t n_dirty = 0;

	for (uint64_t i = 0; i < RANDOM_PAGES; i++) {
		static const enum page_state states[] = { PAGE_ABSENT, PAGE_CLEAN, PAGE_DIRTY };

		state[i] = states[rnd(seed, 3)];
		if (state[i] == PAGE_CLEAN)
			rig_supply(r, i, 1);
		else if (state[i] == PAGE_DIRTY)
			rig_dirty(r, i, 1, NEWER);
		n_dirty += state[i] == PAGE_DIRTY;
	}
	return n_dirty;
}

/* One request of a random case: it asks for no page that does not need it. */
static void answer_random(struct rig *r, const struct fake_request *req)
{
	for (uint64_t p = req->page; p < req->page + req->n; p++) {
		enum page_state is = vmo_page_state(r->v, page_bytes(p));

		if (req->type == VMOFS_REQUEST_READ)
			CHECK_EQ(is, PAGE_ABSENT);
		else
			CHECK_EQ(is, PAGE_CLEAN);
	}
	fake_answer(r->f, req);
}

CASE(110, IMPROVED, "DirtyRequestsRandomOffsets",
     "the order of requests is free; no page is asked for twice")
{
	uint64_t seed = 110;

	for (int round = 0; round < 100; round++) {
		RIG(r, RANDOM_PAGES, VMO_TRAP_DIRTY);
		enum page_state state[RANDOM_PAGES];
		uint64_t n_dirty = random_states(&r, state, &seed);
		struct op *op = op_write(r.v, 0, RANDOM_PAGES, NEW);
		struct fake_request req;

		while (!op_is_done(op)) {
			if (fake_try_next(r.f, &req))
				answer_random(&r, &req);
			else
				sched_yield();
		}
		op_expect_all(op);
		EXPECT_DIRTY(r.v, D(0, RANDOM_PAGES));
		expect_data(r.v, 0, RANDOM_PAGES, NEW);
		CHECK_EQ(fake_pages_asked(r.f, VMOFS_REQUEST_DIRTY), RANDOM_PAGES - n_dirty);
	}
}

CASE(111, AS_IS, "DirtyRequestsForZeroPages", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);
	uint8_t page[PAGE];
	struct op *op;

	rig_zeros(&r, 0, 4);
	op = op_write_bytes(r.v, 2 * PAGE + 100, 8, NEW);
	fake_wait_dirty(r.f, 2, 1);
	rig_grant(&r, 2, 1);
	op_expect_all(op);
	EXPECT_DIRTY(r.v, D(2, 1));
	CHECK_EQ(vmo_read(r.v, 2 * PAGE, page, PAGE, soon()), PAGE);
	CHECK(reads_as_zero(page, 100));
	CHECK_EQ(fake_compare(NEW, 2 * PAGE + 100, page + 100, 8), -1);
	CHECK(reads_as_zero(page + 108, PAGE - 108));
	CHECK_EQ(vmo_n_resident(r.v), 1);
}

CASE(112, AS_IS, "DirtyZeroAndNonZeroPages", "")
{
	RIG(r, 8, VMO_TRAP_DIRTY);

	for (uint64_t i = 0; i < 8; i += 2) {
		rig_zeros(&r, i, 1);
		rig_supply(&r, i + 1, 1);
	}
	trapped_write(&r, 0, 8);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
	EXPECT_DIRTY(r.v, D(0, 8));
	expect_data(r.v, 0, 8, NEW);
}

CASE(113, AS_IS, "DirtyRequestsForZeroRanges", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY | VMO_RESIZABLE);

	rig_resize(&r, 8);
	trapped_write(&r, 4, 2);
	EXPECT_DIRTY(r.v, Z(2, 2), D(4, 2), Z(6, 2));
}

CASE(114, AS_IS, "DirtyRequestsOverlap (1)", "")
{
	RIG(r, 20, VMO_TRAP_DIRTY);
	struct op *t1;
	struct op *t2;

	rig_supply(&r, 0, 20);
	t1 = op_write(r.v, 4, 5, NEW);
	fake_wait_dirty(r.f, 4, 5);
	t2 = op_write(r.v, 2, 7, NEWER);
	fake_wait_dirty(r.f, 2, 2);
	rig_grant(&r, 4, 5);
	op_expect_all(t1);
	op_expect_blocked(t2);
	rig_grant(&r, 2, 2);
	op_expect_all(t2);
	fake_expect_none(r.f);
	EXPECT_DIRTY(r.v, D(2, 7));
	expect_data(r.v, 2, 7, NEWER);
}

CASE(115, IMPROVED, "DirtyRequestsOverlap (2)",
     "what nobody has asked for yet is asked for at once")
{
	RIG(r, 20, VMO_TRAP_DIRTY);
	struct op *t3;
	struct op *t4;

	rig_supply(&r, 0, 20);
	t3 = op_write(r.v, 11, 5, NEW);
	fake_wait_dirty(r.f, 11, 5);
	t4 = op_write(r.v, 15, 4, NEWER);
	fake_wait_dirty(r.f, 16, 3);
	rig_grant(&r, 11, 5);
	op_expect_all(t3);
	op_expect_blocked(t4);
	rig_grant(&r, 16, 3);
	op_expect_all(t4);
	fake_expect_none(r.f);
	EXPECT_DIRTY(r.v, D(11, 8));
}

CASE(116, AS_IS, "NoDirtyRequestsOnCommit", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);
	struct op *op = op_commit(r.v, 0, 4);

	fake_wait_read(r.f, 0, 4);
	rig_supply(&r, 0, 4);
	op_expect(op, 0);
	CHECK_EQ(vmo_commit(r.v, 0, 4 * PAGE, soon()), 0);
	fake_expect_none(r.f);
	EXPECT_CLEAN(r.v);
}

CASE(117, IMPROVED, "NoDirtyRequestsOnMapRange",
     "a pinned read is what is nearest to a mapping here")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct aread a;

	rig_supply(&r, 0, 2);
	CHECK_EQ(aread_start(&a, r.v, 0, 2), 0);
	fake_expect_none(r.f);
	trapped_write(&r, 0, 1);
	CHECK_EQ(aread_wait(&a), 0);
	vmo_read_end(&a.r);
	EXPECT_DIRTY(r.v, D(0, 1));
}

CASE(118, IMPROVED, "NoDirtyRequestsOnMapExistingDirty", "a pin for writing stands for the mapping")
{
	RIG(r, 1, VMO_TRAP_DIRTY);
	struct vmo_pin pin = { 0 };

	rig_dirty(&r, 0, 1, NEW);
	CHECK_EQ(vmo_pin(r.v, &pin, 0, PAGE, true, soon()), 0);
	write_now(r.v, 0, 1, NEWER);
	vmo_unpin(&pin);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
}

CASE(119, AS_IS, "NoDirtyRequestsForClones", "")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	CLONE(c, r.v, 0, 2, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);
	struct op *op = op_write_bytes(c, PAGE + 8, 8, NEW);

	fake_wait_read(r.f, 1, 1);
	rig_supply(&r, 1, 1);
	op_expect_all(op);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
	EXPECT_CLEAN(r.v);
	expect_data(r.v, 1, 1, KEY);
	CHECK(!vmo_modified(r.v, false));
}

CASE(120, IMPROVED, "EvictAfterDirtyRequest",
     "pages of an outstanding DIRTY request are not evicted")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 2);
	op = op_write(r.v, 0, 2, NEW);
	fake_wait_dirty(r.f, 0, 2);
	CHECK_EQ(vmo_evict(r.v, PAGE, PAGE, true), 0);
	CHECK_EQ(vm_pool_evict(r.pool, 2), 0);
	expect_state(r.v, 0, 2, PAGE_CLEAN);
	rig_grant(&r, 0, 2);
	op_expect_all(op);
	fake_expect_none(r.f);
	EXPECT_DIRTY(r.v, D(0, 2));
}

CASE(121, AS_IS, "DirtyLargeRange", "")
{
	RIG(r, 100, VMO_TRAP_DIRTY | VMO_RESIZABLE);

	rig_zeros(&r, 0, 100);
	rig_resize(&r, 200);
	rig_grant(&r, 0, 200);
	EXPECT_DIRTY(r.v, D(0, 200));
	expect_zero(r.v, 0, 200);
	CHECK_EQ(vmo_n_resident(r.v), 200);
}

CASE(122, IMPROVED, "CommitExtendedTail",
     "known zeros are present without memory: nothing is asked for")
{
	RIG(r, 1, VMO_TRAP_DIRTY | VMO_RESIZABLE);

	rig_resize(&r, 4);
	CHECK_EQ(vmo_commit(r.v, PAGE, 3 * PAGE, soon()), 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	EXPECT_DIRTY(r.v, Z(1, 3));
	CHECK_EQ(vmo_n_resident(r.v), 0);
}

CASE(123, AS_IS, "OP_DIRTY atomic", "")
{
	RIG(r, 3, VMO_TRAP_DIRTY);

	rig_supply(&r, 0, 1);
	rig_supply(&r, 2, 1);
	CHECK_EQ(fake_grant(r.f, 0, 3), -ENOENT);
	EXPECT_CLEAN(r.v);
	expect_state(r.v, 0, 1, PAGE_CLEAN);
	expect_state(r.v, 2, 1, PAGE_CLEAN);
}

CASE(124, IMPROVED, "OP_DIRTY past end", "a refused grant changes nothing: the writer waits on")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 2);
	op = op_write(r.v, 0, 2, NEW);
	fake_wait_dirty(r.f, 0, 2);
	CHECK_EQ(fake_grant(r.f, 0, 4), -ERANGE);
	EXPECT_CLEAN(r.v);
	answer_until_done(&r, op, 2 * PAGE);
	EXPECT_DIRTY(r.v, D(0, 2));
}

CASE(125, AS_IS, "Run stops at dirty page", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 2);
	rig_dirty(&r, 2, 1, NEWER);
	rig_supply(&r, 3, 1);
	op = op_write(r.v, 0, 4, NEW);
	fake_wait_dirty(r.f, 0, 2);
	rig_grant(&r, 0, 2);
	fake_wait_dirty(r.f, 3, 1);
	rig_grant(&r, 3, 1);
	op_expect_all(op);
	fake_expect_none(r.f);
	EXPECT_DIRTY(r.v, D(0, 4));
}

CASE(126, IMPROVED, "Run stops at gap", "the order of the three requests is free")
{
	RIG(r, 2, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 1);
	op = op_write_bytes(r.v, 8, 2 * PAGE - 16, NEW);
	answer_until_done(&r, op, 2 * PAGE - 16);
	CHECK_EQ(fake_pages_asked(r.f, VMOFS_REQUEST_READ), 1);
	CHECK_EQ(fake_pages_asked(r.f, VMOFS_REQUEST_DIRTY), 2);
	EXPECT_DIRTY(r.v, D(0, 2));
}

CASE(127, AS_IS, "Grant more than asked", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 4);
	op = op_write(r.v, 0, 1, NEW);
	fake_wait_dirty(r.f, 0, 1);
	rig_grant(&r, 0, 4);
	op_expect_all(op);
	write_now(r.v, 1, 3, NEW);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
	EXPECT_DIRTY(r.v, D(0, 4));
}

CASE(128, AS_IS, "Grant before ask", "")
{
	RIG(r, 1, VMO_TRAP_DIRTY);

	rig_supply(&r, 0, 1);
	rig_grant(&r, 0, 1);
	write_now(r.v, 0, 1, NEW);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
}

CASE(129, AS_IS, "Partial grant", "")
{
	RIG(r, 4, VMO_TRAP_DIRTY);
	struct op *op;

	rig_supply(&r, 0, 4);
	op = op_write(r.v, 0, 4, NEW);
	fake_wait_dirty(r.f, 0, 4);
	rig_grant(&r, 0, 2);
	CHECK_EQ(page_source_n_waiters(vmo_page_source(r.v), VMOFS_REQUEST_DIRTY), 1);
	op_expect_blocked(op);
	rig_grant(&r, 2, 2);
	op_expect_all(op);
	fake_expect_none(r.f);
	expect_data(r.v, 0, 4, NEW);
}

CASE(130, AS_IS, "SimpleDirtyNoTrap", "")
{
	RIG(r, 1, 0);

	rig_supply(&r, 0, 1);
	write_now(r.v, 0, 1, NEW);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	EXPECT_DIRTY(r.v, D(0, 1));
}

CASE(131, AS_IS, "DirtyNoTrapRandomOffsets", "")
{
	uint64_t seed = 131;

	for (int round = 0; round < 100; round++) {
		RIG(r, RANDOM_PAGES, 0);
		enum page_state state[RANDOM_PAGES];
		struct op *op;

		random_states(&r, state, &seed);
		op = op_write(r.v, 0, RANDOM_PAGES, NEW);
		answer_until_done(&r, op, RANDOM_PAGES * PAGE);
		EXPECT_DIRTY(r.v, D(0, RANDOM_PAGES));
		expect_data(r.v, 0, RANDOM_PAGES, NEW);
		CHECK_EQ(fake_pages_asked(r.f, VMOFS_REQUEST_DIRTY), 0);
	}
}

CASE(132, IMPROVED, "DirtyAfterMapProtect",
     "a pin for reading and one for writing stand for the mapping")
{
	RIG(t, 1, VMO_TRAP_DIRTY);
	RIG(n, 1, 0);
	struct vmo_pin pin = { 0 };
	struct vmo_pin writing = { 0 };
	struct op *op;

	rig_supply(&t, 0, 1);
	CHECK_EQ(vmo_pin(t.v, &pin, 0, PAGE, false, soon()), 0);
	EXPECT_CLEAN(t.v);
	op = op_pin(t.v, 0, 1, true, &writing);
	fake_wait_dirty(t.f, 0, 1);
	rig_grant(&t, 0, 1);
	op_expect(op, 0);
	EXPECT_DIRTY(t.v, D(0, 1));
	vmo_unpin(&writing);
	vmo_unpin(&pin);

	rig_supply(&n, 0, 1);
	CHECK_EQ(vmo_pin(n.v, &pin, 0, PAGE, true, soon()), 0);
	EXPECT_DIRTY(n.v, D(0, 1));
	vmo_unpin(&pin);
	CHECK_EQ(fake_count(n.f, FAKE_SEND), 0);
}

/* Entries are ascending, disjoint, and no two neighbours could be one. */
static void check_entries(const struct vmo_dirty_range *e, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		CHECK(e[i].len && !(e[i].off % PAGE) && !(e[i].len % PAGE));
		if (!i)
			continue;
		CHECK(e[i].off >= e[i - 1].off + e[i - 1].len);
		CHECK(e[i].off > e[i - 1].off + e[i - 1].len || e[i].is_zero != e[i - 1].is_zero);
	}
}

static void set_random(struct rig *r, uint64_t page, unsigned kind)
{
	if (kind == 1)
		rig_supply(r, page, 1);
	else if (kind == 2)
		rig_dirty(r, page, 1, NEW);
	else if (kind == 3)
		zero_now(r->v, page, 1);
	else if (kind == 4)
		rig_zeros(r, page, 1);
}

CASE(133, AS_IS, "Query ordering", "")
{
	enum { N = 64 };
	uint64_t seed = 133;

	for (int round = 0; round < 50; round++) {
		RIG(r, N, VMO_TRAP_DIRTY);
		struct vmo_dirty_range e[N];
		unsigned kind[N];
		int64_t n;

		for (uint64_t i = 0; i < N; i++) {
			kind[i] = (unsigned)rnd(&seed, 5);
			set_random(&r, i, kind[i]);
		}
		n = vmo_query_dirty(r.v, 0, N * PAGE, e, N);
		CHECK(n >= 0 && n <= N);
		check_entries(e, n);
		for (uint64_t i = 0; i < N; i++) {
			int64_t in = 0;

			while (in < n && e[in].off + e[in].len <= page_bytes(i))
				in++;
			if (in < n && e[in].off <= page_bytes(i))
				CHECK_EQ(kind[i], e[in].is_zero ? 3 : 2);
			else
				CHECK(kind[i] != 2 && kind[i] != 3);
		}
	}
}

CASE(134, AS_IS, "Query paging", "")
{
	RIG(r, 20, 0);
	struct vmo_dirty_range e[3];
	uint64_t from = 0;
	uint64_t seen = 0;
	int64_t n;

	for (uint64_t i = 0; i < 20; i += 2)
		rig_dirty(&r, i, 1, NEW);
	CHECK_EQ(vmo_query_dirty(r.v, 0, 20 * PAGE, e, 3), 10);
	while ((n = vmo_query_dirty(r.v, from, 20 * PAGE - from, e, 3)) > 0) {
		for (int64_t i = 0; i < MIN(n, 3); i++, seen++) {
			CHECK_EQ(e[i].off, page_bytes(2 * seen));
			CHECK_EQ(e[i].len, PAGE);
			from = e[i].off + e[i].len;
		}
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(seen, 10);
}

CASE(135, AS_IS, "Query clip", "")
{
	RIG(r, 10, 0);
	struct vmo_dirty_range e = { 0 };

	rig_dirty(&r, 2, 6, NEW);
	CHECK_EQ(vmo_query_dirty(r.v, 4 * PAGE + 17, PAGE + 5, &e, 1), 1);
	CHECK_EQ(e.off, 4 * PAGE);
	CHECK_EQ(e.len, 2 * PAGE);
	CHECK(!e.is_zero);
}

CASE(136, AS_IS, "Query null buffer", "")
{
	RIG(r, 10, 0);

	rig_dirty(&r, 2, 1, NEW);
	zero_now(r.v, 3, 2);
	rig_dirty(&r, 9, 1, NEW);
	CHECK_EQ(vmo_query_dirty(r.v, 0, 10 * PAGE, NULL, 0), 3);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 1 to 41: reads, commits, supply, prefetch, early wake. A load through a mapping is a read of
 * one page here; suspending a thread is cancelling its read and starting it again.
 */
#include "conformance/harness.h"

CASE(1, AS_IS, "SinglePage", "")
{
	RIG(r, 1, 0);
	struct op *op = op_read(r.v, 0, 1);

	fake_wait_read(r.f, 0, 1);
	rig_supply(&r, 0, 1);
	op_expect_data(op, KEY);
	fake_expect_none(r.f);
}

CASE(2, AS_IS, "Presupply", "")
{
	RIG(r, 1, 0);

	rig_supply(&r, 0, 1);
	expect_data(r.v, 0, 1, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
}

CASE(3, AS_IS, "EarlySupply", "")
{
	RIG(r, 2, 0);
	struct op *a = op_read(r.v, 0, 1);
	struct op *b = op_read(r.v, 1, 1);

	fake_wait_blocked(r.f, 2);
	rig_supply(&r, 1, 1);
	rig_supply(&r, 0, 1);
	op_expect_data(a, KEY);
	op_expect_data(b, KEY);
}

CASE(4, AS_IS, "SequentialMultipage (one call)", "")
{
	RIG(r, 32, 0);
	struct op *op = op_read(r.v, 0, 32);

	fake_wait_read(r.f, 0, 32);
	rig_supply(&r, 0, 32);
	op_expect_data(op, KEY);
	fake_expect_none(r.f);
}

CASE(5, AS_IS, "SequentialMultipage (page by page)", "")
{
	RIG(r, 32, 0);
	struct op *op = op_read_each(r.v, 0, 32);

	for (uint64_t i = 0; i < 32; i++) {
		fake_wait_read(r.f, i, 1);
		rig_supply(&r, i, 1);
	}
	op_expect_data(op, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 32);
}

CASE(6, AS_IS, "ConcurrentMultipageAccess", "")
{
	RIG(r, 2, 0);
	struct op *a = op_read(r.v, 0, 1);
	struct op *b = op_read(r.v, 1, 1);

	fake_wait_read(r.f, 0, 1);
	fake_wait_read(r.f, 1, 1);
	rig_supply(&r, 0, 2);
	op_expect_data(a, KEY);
	op_expect_data(b, KEY);
}

CASE(7, AS_IS, "BulkSingleSupply", "")
{
	RIG(r, 8, 0);
	struct op *op = op_read_each(r.v, 0, 8);

	fake_wait_read(r.f, 0, 1);
	rig_supply(&r, 0, 8);
	op_expect_data(op, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

static const uint64_t odd_runs[] = { 2, 3, 5, 7, 37, 5, 13, 23 };
enum { ODD_PAGES = 95 };

CASE(8, AS_IS, "BulkOddLengthSupply", "")
{
	RIG(r, ODD_PAGES, 0);
	struct op *op = op_read_each(r.v, 0, ODD_PAGES);
	uint64_t page = 0;

	for (unsigned i = 0; i < ARRAY_LEN(odd_runs); page += odd_runs[i++]) {
		fake_wait_read(r.f, page, 1);
		rig_supply(&r, page, odd_runs[i]);
	}
	CHECK_EQ(page, ODD_PAGES);
	op_expect_data(op, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), ARRAY_LEN(odd_runs));
}

CASE(9, AS_IS, "BulkOddOffsetSupply", "")
{
	RIG(r, ODD_PAGES, 0);
	uint64_t page = 0;

	for (unsigned i = 0; i < ARRAY_LEN(odd_runs); page += odd_runs[i++]) {
		struct op *op = op_read(r.v, page + odd_runs[i] / 2, 1);

		fake_wait_read(r.f, page + odd_runs[i] / 2, 1);
		rig_supply(&r, page, odd_runs[i]);
		op_expect_data(op, KEY);
	}
	expect_data(r.v, 0, ODD_PAGES, KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), ARRAY_LEN(odd_runs));
}

CASE(10, AS_IS, "OverlapSupply", "")
{
	RIG(r, 2, 0);

	rig_supply(&r, 0, 1);
	CHECK_EQ(fake_supply_key(r.f, NEW, 0, 2), PAGE);
	expect_data(r.v, 0, 1, KEY);
	expect_data(r.v, 1, 1, NEW);
}

CASE(11, AS_IS, "ManyRequest", "")
{
	enum { N = 257 };
	RIG(r, N, 0);
	struct op *ops[N];

	for (uint64_t i = 0; i < N; i++)
		ops[i] = op_read(r.v, i, 1);
	for (uint64_t i = 0; i < N; i++) {
		struct fake_request req = fake_next(r.f);

		CHECK_EQ(req.n, 1);
		rig_supply(&r, req.page, 1);
	}
	for (uint64_t i = 0; i < N; i++)
		op_expect_data(ops[i], KEY);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), N);
}

CASE(12, IMPROVED, "SuccessiveVmo", "a provider instance serves one object; the pool is shared")
{
	for (int i = 0; i < 64; i++) {
		RIG(r, 1, 0);
		struct op *op = op_read(r.v, 0, 1);

		fake_wait_read(r.f, 0, 1);
		rig_supply(&r, 0, 1);
		op_expect_data(op, KEY);
	}
}

CASE(13, IMPROVED, "MultipleConcurrentVmo", "a provider instance serves one object")
{
	enum { N = 8 };
	struct rig rigs[N];
	struct op *ops[N];

	for (int i = 0; i < N; i++) {
		rigs[i] = rig_new(1, 0);
		ops[i] = op_read(rigs[i].v, 0, 1);
	}
	for (int i = N - 1; i >= 0; i--) {
		fake_wait_read(rigs[i].f, 0, 1);
		CHECK_EQ(fake_supply_key(rigs[i].f, KEY + (uint64_t)i, 0, 1), PAGE);
	}
	for (int i = 0; i < N; i++) {
		op_expect_data(ops[i], KEY + (uint64_t)i);
		rig_release(&rigs[i]);
	}
}

CASE(14, NOT_APPLICABLE, "VmarUnmap", "there are no address spaces here: the kernel owns mappings")
{
}

CASE(15, NOT_APPLICABLE, "VmarRemap", "there are no address spaces here: the kernel owns mappings")
{
}

CASE(16, NOT_APPLICABLE, "VmarMapRange",
     "there are no address spaces here: the kernel owns mappings")
{
}

CASE(17, AS_IS, "SuspendRead", "")
{
	RIG(r, 1, 0);
	struct aread a;

	CHECK_EQ(aread_start(&a, r.v, 0, 1), -EINPROGRESS);
	fake_wait_read(r.f, 0, 1);
	CHECK(vmo_read_cancel(&a.r));
	CHECK_EQ(a.n_done, 0);
	CHECK_EQ(fake_n_owned(r.f), 0);

	CHECK_EQ(aread_start(&a, r.v, 0, 1), -EINPROGRESS);
	fake_wait_read(r.f, 0, 1);
	rig_supply(&r, 0, 1);
	aread_expect_data(&a, KEY);
}

CASE(18, IMPROVED, "VmoInfoPager", "every VMO here is backed; root and clones name the same source")
{
	RIG(r, 1, 0);
	CLONE(c, r.v, 0, 1, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);

	CHECK(vmo_page_source(r.v));
	CHECK(vmo_page_source(c) == vmo_page_source(r.v));
	CHECK_EQ(page_source_get_provider_koid(vmo_page_source(c)), KEY);
}

CASE(19, AS_IS, "UncommittedSupply", "")
{
	RIG(r, 4, 0);
	struct vm_pool_stats stats;

	rig_zeros(&r, 0, 4);
	expect_zero(r.v, 0, 4);
	EXPECT_CLEAN(r.v);
	expect_state(r.v, 0, 4, PAGE_ZERO_CLEAN);
	CHECK_EQ(vmo_n_resident(r.v), 0);
	vm_pool_stats(r.pool, &stats);
	CHECK_EQ(stats.resident, 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
}

CASE(20, AS_IS, "SimpleCommit", "")
{
	RIG(r, 555, 0);
	struct op *op = op_commit(r.v, 0, 555);

	wait_reads(r.f, 0, 555);
	rig_supply(&r, 0, 555);
	op_expect(op, 0);
	fake_expect_none(r.f);
	CHECK_EQ(vmo_n_resident(r.v), 555);
}

CASE(21, IMPROVED, "SplitCommit", "both gaps are asked for at once")
{
	RIG(r, 33, 0);
	struct op *op;

	rig_supply(&r, 16, 1);
	op = op_commit(r.v, 0, 33);
	fake_wait_read(r.f, 0, 16);
	fake_wait_read(r.f, 17, 16);
	rig_supply(&r, 17, 16);
	fake_wait_blocked(r.f, 1);
	rig_supply(&r, 0, 16);
	op_expect(op, 0);
	fake_expect_none(r.f);
}

CASE(22, AS_IS, "MultisupplyCommit", "")
{
	RIG(r, 32, 0);
	struct op *op = op_commit(r.v, 0, 32);

	fake_wait_read(r.f, 0, 32);
	for (uint64_t i = 0; i < 32; i++) {
		CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
		op_expect_blocked(op);
		rig_supply(&r, i, 1);
	}
	op_expect(op, 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(23, AS_IS, "MulticommitSupply", "")
{
	RIG(r, 35, 0);
	struct op *ops[5];

	for (uint64_t i = 0; i < 5; i++) {
		ops[i] = op_commit(r.v, 7 * i, 7);
		fake_wait_read(r.f, 7 * i, 7);
	}
	rig_supply(&r, 0, 35);
	for (uint64_t i = 0; i < 5; i++)
		op_expect(ops[i], 0);
	fake_expect_none(r.f);
}

CASE(24, AS_IS, "CommitRedundantSupply", "")
{
	RIG(r, 8, 0);
	struct op *op = op_commit(r.v, 0, 8);

	fake_wait_read(r.f, 0, 8);
	for (uint64_t n = 1; n <= 8; n++) {
		CHECK_EQ(n_parked(vmo_page_source(r.v)), 1);
		CHECK_EQ(fake_supply(r.f, 0, n), PAGE);
	}
	op_expect(op, 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 1);
}

CASE(25, AS_IS, "SuspendCommit", "")
{
	RIG(r, 8, 0);
	struct aread a;

	CHECK_EQ(aread_start(&a, r.v, 0, 8), -EINPROGRESS);
	fake_wait_read(r.f, 0, 8);
	rig_supply(&r, 0, 3);
	CHECK(vmo_read_cancel(&a.r));
	CHECK_EQ(fake_n_owned(r.f), 0);
	CHECK_EQ(aread_start(&a, r.v, 0, 8), -EINPROGRESS);
	fake_wait_read(r.f, 3, 5);
	rig_supply(&r, 3, 5);
	aread_expect_data(&a, KEY);
}

CASE(26, IMPROVED, "PresentPageSplitsRange", "all gaps are asked for at once")
{
	RIG(r, 20, 0);
	struct op *op;

	rig_supply(&r, 3, 2);
	rig_supply(&r, 9, 1);
	rig_zeros(&r, 10, 1);
	rig_supply(&r, 19, 1);
	op = op_read(r.v, 0, 20);
	fake_wait_read(r.f, 0, 3);
	fake_wait_read(r.f, 5, 4);
	fake_wait_read(r.f, 11, 8);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 3);
	rig_supply(&r, 11, 8);
	rig_supply(&r, 0, 3);
	rig_supply(&r, 5, 4);
	op_expect_all(op);
	expect_data(r.v, 0, 10, KEY);
	expect_zero(r.v, 10, 1);
	expect_data(r.v, 11, 9, KEY);
	fake_expect_none(r.f);
}

CASE(27, IMPROVED, "MappedSupplyPages", "supply copies from memory, which keeps its contents")
{
	RIG(r, 2, 0);
	uint8_t *buf = calloc(2, PAGE);

	fake_fill(KEY, 0, buf, 2 * PAGE);
	CHECK_EQ(vmo_supply(r.v, 0, buf, 2 * PAGE), 2 * PAGE);
	CHECK_EQ(fake_compare(KEY, 0, buf, 2 * PAGE), -1);
	memset(buf, 0, 2 * PAGE);
	expect_data(r.v, 0, 2, KEY);
	free(buf);
}

CASE(28, IMPROVED, "PinnedSupplyPages",
     "supply copies, so pages pinned elsewhere may be its source")
{
	RIG(from, 1, 0);
	RIG(to, 1, 0);
	struct aread a;

	rig_supply(&from, 0, 1);
	CHECK_EQ(aread_start(&a, from.v, 0, 1), 0);
	CHECK_EQ(a.r.n_iov, 1);
	CHECK_EQ(vmo_supply(to.v, 0, a.r.iov[0].iov_base, PAGE), PAGE);
	aread_expect_data(&a, KEY);
	expect_data(to.v, 0, 1, KEY);
	expect_data(from.v, 0, 1, KEY);
}

CASE(29, AS_IS, "EarlyWakeOnSupply", "")
{
	RIG(r, 130, 0);
	SOURCE(s, 0, 1024);
	WAITER(w);
	struct op *op = op_read(r.v, 2, 128);

	wait_reads(r.f, 2, 128);
	for (uint64_t i = 0; i < 4; i++)
		rig_supply(&r, 2 + 32 * i, 32);
	op_expect_data(op, KEY);
	fake_expect_none(r.f);

	/* The same seen from the page source, one step after the other. */
	w.early = true;
	CHECK_EQ(get_pages(&s, 2, 128, &w), -EINPROGRESS);
	fake_wait_read(s.f, 2, 128);
	for (uint64_t i = 1; i <= 4; i++) {
		supplied(&s, 2 + 32 * (i - 1), 32);
		CHECK_EQ(wait_for(&s, &w), 0);
		CHECK_EQ(n_parked(s.s), i < 4);
		if (i < 4)
			CHECK_EQ(get_pages(&s, 2 + 32 * i, 128 - 32 * i, &w), -EINPROGRESS);
	}
	fake_expect_none(s.f);
	CHECK_EQ(fake_n_owned(s.f), 0);
}

CASE(30, AS_IS, "EarlyWakeNonLinearSupply", "")
{
	RIG(r, 130, 0);
	SOURCE(s, 0, 1024);
	WAITER(w);
	struct op *op = op_read(r.v, 2, 128);

	wait_reads(r.f, 2, 128);
	rig_supply(&r, 34, 32);
	op_expect_blocked(op);
	rig_supply(&r, 2, 32);
	rig_supply(&r, 98, 32);
	rig_supply(&r, 66, 32);
	op_expect_data(op, KEY);
	fake_expect_none(r.f);

	/* What lies beyond the awaited page does not wake. */
	w.early = true;
	CHECK_EQ(get_pages(&s, 2, 128, &w), -EINPROGRESS);
	supplied(&s, 34, 32);
	CHECK(!w.signalled);
	supplied(&s, 2, 32);
	CHECK_EQ(wait_for(&s, &w), 0);
	CHECK_EQ(get_pages(&s, 66, 64, &w), -EINPROGRESS);
	CHECK_EQ(fake_count(s.f, FAKE_SEND), 1);
	supplied(&s, 66, 64);
	CHECK_EQ(wait_for(&s, &w), 0);
	CHECK_EQ(n_parked(s.s), 0);
}

CASE(31, AS_IS, "Early wake does not complete", "")
{
	RIG(r, 128, 0);
	struct op *a = op_read(r.v, 0, 128);
	struct op *b;

	wait_reads(r.f, 0, 128);
	rig_supply(&r, 0, 32);
	b = op_read(r.v, 100, 4);
	fake_wait_blocked(r.f, 2);
	fake_expect_none(r.f);
	rig_supply(&r, 32, 96);
	op_expect_data(a, KEY);
	op_expect_data(b, KEY);
}

CASE(32, AS_IS, "Prefetch (root)", "")
{
	RIG(r, 20, 0);
	struct op *op = op_hint(r.v, 0, 20, VMO_HINT_PREFETCH);

	fake_wait_read(r.f, 0, 20);
	rig_supply(&r, 0, 20);
	op_expect(op, 0);
	CHECK_EQ(vmo_evict(r.v, 0, page_bytes(20), false), 20);
}

CASE(33, AS_IS, "Prefetch (slice, clone)", "")
{
	RIG(r, 24, 0);
	CLONE(c, r.v, 4, 20, VMO_SNAPSHOT_AT_LEAST_ON_WRITE);
	struct op *op = op_hint(c, 0, 20, VMO_HINT_PREFETCH);

	fake_wait_read(r.f, 4, 20);
	rig_supply(&r, 4, 20);
	op_expect(op, 0);
	CHECK_EQ(vmo_n_resident(c), 0);
	CHECK_EQ(vmo_n_resident(r.v), 20);
}

CASE(34, AS_IS, "OpCommitVmar", "")
{
	RIG(r, 16, 0);
	struct op *op = op_commit(r.v, 5, 7);

	fake_wait_read(r.f, 5, 7);
	rig_supply(&r, 5, 7);
	op_expect(op, 0);
	fake_expect_none(r.f);
}

CASE(35, IMPROVED, "SuspendInKernel",
     "who copies from a paged VMO has pinned it first, so nothing can block inside the copy")
{
	RIG(from, 1, 0);
	RIG(to, 1, 0);
	struct aread a;
	uint8_t byte = 7;

	CHECK_EQ(aread_start(&a, from.v, 0, 1), -EINPROGRESS);
	CHECK(vmo_read_cancel(&a.r));
	CHECK_EQ(aread_start(&a, from.v, 0, 1), -EINPROGRESS);
	fake_wait_read(from.f, 0, 1);
	rig_supply(&from, 0, 1);
	CHECK_EQ(aread_wait(&a), 0);
	CHECK_EQ(vmo_evict(from.v, 0, PAGE, true), 0);
	rig_supply(&to, 0, 1);
	CHECK_EQ(vmo_write(to.v, 0, a.r.iov[0].iov_base, PAGE, soon()), PAGE);
	CHECK_EQ(vmo_write(to.v, 0, &byte, 1, soon()), 1);
	aread_expect_data(&a, KEY);
}

CASE(36, NOT_APPLICABLE, "SuspendInKernelCaptureFaults",
     "nothing faults inside a copy; see case 35")
{
}

CASE(37, AS_IS, "Empty supply", "")
{
	RIG(r, 1, 0);

	CHECK_EQ(fake_supply(r.f, 0, 0), 0);
	CHECK_EQ(fake_supply_zero(r.f, 0, 0), 0);
	expect_state(r.v, 0, 1, PAGE_ABSENT);
}

CASE(38, IMPROVED, "Write to absent", "what is overwritten whole is not read first")
{
	RIG(r, 4, 0);
	struct op *op = op_write(r.v, 3, 1, NEW);

	op_expect_all(op);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	EXPECT_DIRTY(r.v, D(3, 1));
	op = op_write_bytes(r.v, 2 * PAGE + 8, 16, NEW);
	fake_wait_read(r.f, 2, 1);
	rig_supply(&r, 2, 1);
	op_expect_all(op);
	EXPECT_DIRTY(r.v, D(2, 2));
	CHECK_EQ(fake_pages_asked(r.f, VMOFS_REQUEST_DIRTY), 0);
}

CASE(39, IMPROVED, "Write populate cap",
     "there is no cap, and only what is overwritten in part is asked for, at both ends")
{
	RIG(r, 40, 0);
	struct op *op = op_write_bytes(r.v, PAGE / 2, 39 * PAGE, NEW);

	fake_wait_read(r.f, 0, 1);
	rig_supply(&r, 0, 1);
	fake_wait_read(r.f, 39, 1);
	rig_supply(&r, 39, 1);
	op_expect_all(op);
	EXPECT_DIRTY(r.v, D(0, 40));
	fake_expect_none(r.f);
}

CASE(40, AS_IS, "Unaligned read", "")
{
	RIG(r, 4, 0);
	struct op *op = op_read_bytes(r.v, 2 * PAGE - 5, 10);

	fake_wait_read(r.f, 1, 2);
	rig_supply(&r, 1, 2);
	op_expect_data(op, KEY);
}

CASE(41, IMPROVED, "Read beyond size", "a read that crosses the size is short, as read(2) is")
{
	RIG(r, 2, 0);
	uint8_t buf[16];

	CHECK_EQ(vmo_read(r.v, 2 * PAGE, buf, sizeof buf, soon()), 0);
	CHECK_EQ(vmo_read(r.v, 2 * PAGE + 1, buf, sizeof buf, soon()), -ERANGE);
	CHECK_EQ(vmo_read(r.v, UINT64_MAX - 4, buf, sizeof buf, soon()), -ERANGE);
	CHECK_EQ(vmo_commit(r.v, PAGE, 2 * PAGE, soon()), -ERANGE);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), 0);
	rig_supply(&r, 1, 1);
	CHECK_EQ(vmo_read(r.v, 2 * PAGE - 4, buf, sizeof buf, soon()), 4);
}

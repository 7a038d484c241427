/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases 286 to 300: the provider's side of the contract, and races. The fake provider checks the
 * contract at every call, so the races need only to be run.
 */
#include <stdlib.h>

#include "conformance/harness.h"

CASE(286, IMPROVED, "One packet at a time",
     "the provider gets all requests at once and answers in any order")
{
	RIG(r, 6, 0);
	struct aread a[3];

	for (uint64_t i = 0; i < 3; i++)
		CHECK_EQ(aread_start(&a[i], r.v, 2 * i, 1), -EINPROGRESS);
	CHECK_EQ(fake_n_unseen(r.f), 3);
	for (uint64_t i = 0; i < 3; i++)
		CHECK_EQ(fake_next(r.f).page, 2 * i);
	for (uint64_t i = 3; i-- > 0;) {
		rig_supply(&r, 2 * i, 1);
		aread_expect_data(&a[i], KEY);
	}
}

/* ---- storms ---- */

enum { STORM_PAGES = 64, STORM_ROUNDS = 300, STORM_THREADS = 4 };

struct storm {
	struct vmo *v;
	uint64_t seed;
	bool cancels;
	bool writes;
};

static int64_t storm_read(struct storm *s, uint64_t page, uint64_t n)
{
	uint8_t buf[4 * PAGE];

	for (uint64_t i = 0; i < n; i++) {
		int64_t r = vmo_read(s->v, page_bytes(page + i), buf, PAGE, soon());

		if (r == -EIO || r == -ESHUTDOWN)
			return 0;
		if (r != (int64_t)PAGE)
			return r;
		if (!s->writes)
			CHECK_EQ(fake_compare(KEY, page_bytes(page + i), buf, PAGE), -1);
	}
	return 0;
}

static void storm_cancel(struct storm *s, uint64_t page, uint64_t n)
{
	struct aread a;
	int r = aread_start(&a, s->v, page, n);

	if (r == -EINPROGRESS) {
		for (uint64_t i = rnd(&s->seed, 50); i; i--)
			aread_is_done(&a);
		if (vmo_read_cancel(&a.r)) {
			CHECK_EQ(a.n_done, 0);
			return;
		}
		r = aread_wait(&a);
	}
	if (r == 0)
		vmo_read_end(&a.r);
	else
		CHECK(r == -EIO || r == -ESHUTDOWN || r == -EINTR);
}

static int64_t storm_thread(void *arg)
{
	struct storm *s = arg;
	uint8_t buf[4 * PAGE] = { 0 };
	int64_t r = 0;

	for (int i = 0; i < STORM_ROUNDS && !r; i++) {
		uint64_t page = rnd(&s->seed, STORM_PAGES - 4);
		uint64_t n = 1 + rnd(&s->seed, 4);

		if (s->cancels && rnd(&s->seed, 2)) {
			storm_cancel(s, page, n);
		} else if (s->writes && rnd(&s->seed, 3) == 0) {
			r = vmo_write(s->v, page_bytes(page), buf, page_bytes(n), soon());
			r = r < 0 && r != -EIO && r != -ESHUTDOWN ? r : 0;
		} else {
			r = storm_read(s, page, n);
		}
		vmo_evict(s->v, page_bytes(page), page_bytes(2), true);
	}
	return r;
}

static void storm(struct rig *r, bool cancels, bool writes, unsigned failures, bool detach)
{
	struct test_thread t[STORM_THREADS];
	struct storm s[STORM_THREADS];

	fake_set_failures(r->f, failures);
	fake_start(r->f, FAKE_RANDOM, 2, 7);
	for (unsigned i = 0; i < STORM_THREADS; i++) {
		s[i] = (struct storm){ r->v, 77 + i, cancels, writes };
		thread_run(&t[i], storm_thread, &s[i]);
	}
	if (detach)
		CHECK_EQ(vmo_detach(r->v), 0);
	for (unsigned i = 0; i < STORM_THREADS; i++)
		CHECK_EQ(thread_join_status(&t[i]), 0);
	fake_stop(r->f);
	CHECK_EQ(n_parked(vmo_page_source(r->v)), 0);
	CHECK_EQ(fake_n_owned(r->f), 0);
}

CASE(287, AS_IS, "Clear is mandatory", "")
{
	RIG(r, STORM_PAGES, VMO_TRAP_DIRTY);

	storm(&r, true, true, 10, false);
	CHECK(fake_count(r.f, FAKE_SEND) > 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), fake_count(r.f, FAKE_CLEAR));
}

CASE(288, AS_IS, "No Send after OnDetach; OnDetach before OnClose; each once", "")
{
	for (int i = 0; i < 10; i++) {
		RIG(r, STORM_PAGES, VMO_TRAP_DIRTY);

		storm(&r, true, true, 10, true);
		vmo_close(r.v);
		CHECK_EQ(fake_count(r.f, FAKE_DETACH), 1);
		CHECK_EQ(fake_count(r.f, FAKE_CLOSE), 1);
	}
}

CASE(289, IMPROVED, "Wait after close",
     "the waiter learns of the end itself, without a second look")
{
	SOURCE(s, 0, 1024);
	WAITER(w);

	CHECK_EQ(get_pages(&s, 0, 4, &w), -EINPROGRESS);
	page_source_close(s.s);
	CHECK_EQ(wait_for(&s, &w), -ESHUTDOWN);
	CHECK_EQ(get_pages(&s, 0, 4, &w), -ESHUTDOWN);
}

CASE(290, AS_IS, "Latched signal", "")
{
	SOURCE(s, 0, 1024);
	WAITER(w);

	CHECK_EQ(get_pages(&s, 0, 4, &w), -EINPROGRESS);
	supplied(&s, 0, 4);
	CHECK_EQ(wait_for(&s, &w), 0);
	CHECK_EQ(get_pages(&s, 4, 4, &w), -EINPROGRESS);
	failed(&s, 4, 4, -EBADMSG);
	CHECK_EQ(wait_for(&s, &w), -EBADMSG);
}

CASE(291, AS_IS, "Double signal", "")
{
	SOURCE(s, 0, 1024);
	WAITER(w);

	CHECK_EQ(get_pages(&s, 0, 4, &w), -EINPROGRESS);
	failed(&s, 0, 4, -EIO);
	supplied(&s, 0, 4);
	failed(&s, 0, 4, -EBADMSG);
	CHECK_EQ(wait_for(&s, &w), -EIO);
}

CASE(292, AS_IS, "Supply races evict", "")
{
	RIG(r, 8, 0);

	for (int round = 0; round < 100; round++) {
		struct op *op = op_read(r.v, 0, 8);
		struct fake_request req;

		for (int i = 0; i < 20 && !op_is_done(op); i++) {
			if (fake_try_next(r.f, &req))
				fake_answer(r.f, &req);
			vmo_evict(r.v, 0, 8 * PAGE, true);
		}
		answer_until_done(&r, op, 8 * PAGE);
		vmo_evict(r.v, 0, 8 * PAGE, true);
	}
}

struct supplier {
	struct fake_provider *f;
	uint64_t key;
	int64_t sum;
};

static int64_t supply_all(void *arg)
{
	struct supplier *s = arg;

	for (uint64_t i = 0; i < STORM_PAGES; i += 4) {
		int64_t n = fake_supply_key(s->f, s->key, i, 4);

		if (n < 0)
			return n;
		s->sum += n;
	}
	return 0;
}

CASE(293, AS_IS, "Two pager threads supply the same range", "")
{
	RIG(r, STORM_PAGES, 0);
	struct supplier s[2] = { { .f = r.f, .key = NEW }, { .f = r.f, .key = NEWER } };
	struct test_thread t[2];
	struct aread a;
	uint64_t n_new = 0;

	CHECK_EQ(aread_start(&a, r.v, 0, STORM_PAGES), -EINPROGRESS);
	for (int i = 0; i < 2; i++)
		thread_run(&t[i], supply_all, &s[i]);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(thread_join_status(&t[i]), 0);
	CHECK_EQ(s[0].sum + s[1].sum, page_bytes(STORM_PAGES));
	CHECK_EQ(aread_wait(&a), 0);
	for (uint64_t i = 0; i < STORM_PAGES; i++) {
		uint8_t page[PAGE];
		bool is_new;

		CHECK_EQ(vmo_read(r.v, page_bytes(i), page, PAGE, soon()), PAGE);
		is_new = fake_compare(NEW, page_bytes(i), page, PAGE) < 0;
		n_new += is_new;
		CHECK(is_new || fake_compare(NEWER, page_bytes(i), page, PAGE) < 0);
	}
	CHECK_EQ(page_bytes(n_new), s[0].sum);
	vmo_read_end(&a.r);
}

/* ---- writers against writeback ---- */

enum { WB_PAGES = 8, WB_WRITES = 2000 };

struct writer {
	struct vmo *v;
	_Atomic bool stop;
};

/* Each page counts its writes in its first word. */
static int64_t count_up(void *arg)
{
	struct writer *w = arg;
	uint64_t seed = 294;
	uint64_t counts[WB_PAGES] = { 0 };

	for (int i = 0; i < WB_WRITES; i++) {
		uint64_t p = rnd(&seed, WB_PAGES);
		int64_t r;

		counts[p]++;
		r = vmo_write(w->v, page_bytes(p), &counts[p], sizeof counts[p], soon());
		if (r != (int64_t)sizeof counts[p])
			return r ? r : -EPROTO;
	}
	return 0;
}

static uint64_t word_of(struct vmo *v, uint64_t page)
{
	uint64_t word = 0;

	CHECK_EQ(vmo_read(v, page_bytes(page), &word, sizeof word, soon()), sizeof word);
	return word;
}

/* Stores what is dirty as an origin would: read after begin, then end. */
static void write_back(struct vmo *v, uint64_t *stored)
{
	struct vmo_dirty_range e[WB_PAGES];
	int64_t n = vmo_query_dirty(v, 0, page_bytes(WB_PAGES), e, WB_PAGES);

	for (int64_t i = 0; i < n; i++) {
		uint64_t first = page_floor(e[i].off);
		uint64_t end = first + page_floor(e[i].len);
		struct vmo_token *token = begin(v, first, end - first, VMO_WRITEBACK_ALL);

		for (uint64_t p = first; p < end; p++)
			stored[p] = word_of(v, p);
		vmo_writeback_end(token, 0);
	}
}

static void write_against_writeback(unsigned flags)
{
	RIG(r, WB_PAGES, flags);
	struct writer w = { .v = r.v };
	uint64_t stored[WB_PAGES] = { 0 };
	struct test_thread t;

	rig_zeros(&r, 0, WB_PAGES);
	fake_start(r.f, FAKE_AT_ONCE, 1, 1);
	thread_run(&t, count_up, &w);
	while (!thread_is_done(&t)) {
		write_back(r.v, stored);
		/* What is clean now has been stored as it is, or is written right now. */
	}
	CHECK_EQ(thread_join_status(&t), 0);
	for (uint64_t p = 0; p < WB_PAGES; p++) {
		struct vmo_dirty_range e;
		bool dirty = vmo_query_dirty(r.v, page_bytes(p), PAGE, &e, 1) > 0;

		CHECK(dirty || stored[p] == word_of(r.v, p));
	}
	write_back(r.v, stored);
	EXPECT_CLEAN(r.v);
	for (uint64_t p = 0; p < WB_PAGES; p++)
		CHECK_EQ(stored[p], word_of(r.v, p));
	fake_stop(r.f);
}

CASE(294, AS_IS, "Writer vs END race", "")
{
	write_against_writeback(0);
}

CASE(295, AS_IS, "Query vs write race", "")
{
	write_against_writeback(VMO_TRAP_DIRTY);
}

enum { KILL_READS = 32, KILL_ROUNDS = 100 };

struct killer {
	struct aread *a;
	uint64_t seed;
	bool killed[KILL_READS];
};

static int64_t kill_all(void *arg)
{
	struct killer *k = arg;

	for (uint64_t n = KILL_READS, i = rnd(&k->seed, KILL_READS); n;
	     n--, i = (i + 1) % KILL_READS)
		if (k->a[i].start == -EINPROGRESS)
			k->killed[i] = vmo_read_cancel(&k->a[i].r);
	return 0;
}

/* Each is killed and hears nothing, or hears once. */
static void kill_round(struct rig *r, uint64_t *seed)
{
	struct aread a[KILL_READS];
	struct killer k = { .a = a, .seed = rnd(seed, UINT64_MAX) | 1 };
	struct test_thread t;

	for (int i = 0; i < KILL_READS; i++) {
		uint64_t page = rnd(seed, STORM_PAGES);

		aread_start(&a[i], r->v, page, 1 + rnd(seed, STORM_PAGES - page));
	}
	thread_run(&t, kill_all, &k);
	CHECK_EQ(vmo_evict(r->v, 0, page_bytes(STORM_PAGES), true) <= STORM_PAGES, 1);
	CHECK_EQ(thread_join_status(&t), 0);
	for (int i = 0; i < KILL_READS; i++) {
		int status = k.killed[i] ? -EINTR : aread_wait(&a[i]);

		CHECK(!k.killed[i] || !a[i].n_done);
		CHECK(status == 0 || status == -EINTR || status == -EIO);
		if (status == 0)
			aread_expect_data(&a[i], KEY);
	}
}

CASE(296, AS_IS, "Kill storm", "")
{
	RIG(r, STORM_PAGES, 0);
	uint64_t seed = 296;

	fake_set_failures(r.f, 4);
	fake_start(r.f, FAKE_RANDOM, 2, 296);
	for (int i = 0; i < KILL_ROUNDS; i++)
		kill_round(&r, &seed);
	fake_stop(r.f);
	CHECK_EQ(n_parked(vmo_page_source(r.v)), 0);
	CHECK_EQ(page_source_n_requests(vmo_page_source(r.v), VMOFS_REQUEST_READ), 0);
	CHECK_EQ(fake_n_owned(r.f), 0);
	CHECK_EQ(fake_count(r.f, FAKE_SEND), fake_count(r.f, FAKE_CLEAR));
}

CASE(297, AS_IS, "Lock order", "")
{
	RIG(r, STORM_PAGES, VMO_TRAP_DIRTY);

	fake_start(r.f, FAKE_RENDEZVOUS, 2, 1);
	for (uint64_t i = 0; i < STORM_PAGES; i += 4)
		expect_data(r.v, i, 4, KEY);
	for (uint64_t i = 0; i < STORM_PAGES; i += 8)
		write_now(r.v, i, 8, NEW);
	expect_data(r.v, 0, STORM_PAGES, NEW);
	CHECK_EQ(vmo_writeback(r.v, 0, page_bytes(STORM_PAGES), soon()), 0);
	EXPECT_CLEAN(r.v);
	fake_stop(r.f);
	CHECK_EQ(fake_n_owned(r.f), 0);
}

CASE(298, AS_IS, "Unsupported type", "")
{
	SOURCE(s, 0, 1024);
	WAITER(w);

	CHECK_EQ(get_dirty(&s, 0, 1, &w), -EOPNOTSUPP);
	CHECK_EQ(w.state, PAGE_WAITER_IDLE);
	CHECK_EQ(page_source_request_writeback(s.s, 0, PAGE, &w), -EOPNOTSUPP);
	CHECK(!page_source_supports_request_type(s.s, VMOFS_REQUEST_DIRTY));
	CHECK(!page_source_should_trap_dirty_transitions(s.s));
	CHECK_EQ(fake_n_events(s.f), 0);
	CHECK_EQ(get_pages(&s, 0, 1, &w), -EINPROGRESS);
	CHECK(page_source_cancel(s.s, &w));
}

CASE(299, AS_IS, "Request after detach", "")
{
	SOURCE(s, DIRTY_BIT, 1024);
	WAITER(w);

	page_source_detach(s.s);
	CHECK(page_source_is_detached(s.s));
	CHECK_EQ(get_pages(&s, 0, 1, &w), -ESHUTDOWN);
	CHECK_EQ(get_dirty(&s, 0, 1, &w), -ESHUTDOWN);
	CHECK_EQ(w.state, PAGE_WAITER_IDLE);
	CHECK_EQ(fake_count(s.f, FAKE_SEND), 0);
	supplied(&s, 0, 1);
	failed(&s, 0, 1, -EIO);
	CHECK(!page_source_cancel(s.s, &w));
}

struct failer {
	struct fake_provider *f;
	struct page_source *s;
};

static int64_t fail_next(void *arg)
{
	struct failer *x = arg;
	struct fake_request req = fake_next(x->f);

	page_source_on_pages_failed(x->s, page_bytes(req.page), page_bytes(req.n), -EIO,
				    VMOFS_TYPE_BIT(req.type));
	return 0;
}

CASE(300, AS_IS, "Provider immediate failure", "")
{
	SOURCE(s, 0, 1024);

	for (int i = 0; i < 100; i++) {
		struct failer x = { s.f, s.s };
		struct test_thread t;
		WAITER(w);

		thread_run(&t, fail_next, &x);
		CHECK_EQ(get_pages(&s, 0, 4, &w), -EINPROGRESS);
		if (i % 2)
			CHECK_EQ(thread_join_status(&t), 0);
		CHECK_EQ(wait_for(&s, &w), -EIO);
		if (i % 2 == 0)
			CHECK_EQ(thread_join_status(&t), 0);
		CHECK_EQ(w.state, PAGE_WAITER_IDLE);
		page_waiter_release(&w);
	}
}

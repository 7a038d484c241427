/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page source alone, without a VMO: what is asked for, joined, split, narrowed and cleared; who
 * wakes when and with what. Ends with random operations against a naive model that keeps everything
 * per page. The cases of Zircon itself are in tests/conformance.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/fake_provider.h"
#include "lib/prng.h"
#include "lib/source_rig.h"
#include "vm/page.h"
#include "vm/page_source.h"

#define READ      VMOFS_REQUEST_READ
#define DIRTY     VMOFS_REQUEST_DIRTY
#define WRITEBACK VMOFS_REQUEST_WRITEBACK
#define TYPES     (VMOFS_TYPE_BIT(DIRTY) | VMOFS_TYPE_BIT(WRITEBACK)) /* besides READ */

#define RIG(name, max_pages) SOURCE(name, TYPES, max_pages)

/* A waiter with a callback. */
struct call {
	struct page_waiter w;
	int status;
	unsigned n;
};

static void call_done(struct page_waiter *w, int status)
{
	struct call *c = container_of(w, struct call, w);

	c->status = status;
	c->n++;
}

static void call_init(struct call *c)
{
	memset(c, 0, sizeof *c);
	page_waiter_init(&c->w);
	c->w.done = call_done;
}

static void call_get(struct source_rig *r, struct call *c, uint64_t page, uint64_t n)
{
	call_init(c);
	assert_int_equal(get_pages(r, page, n, &c->w), -EINPROGRESS);
}

/* ---- requests ---- */

static void test_long_request_is_split(void **state)
{
	RIG(r, 8);
	struct call c;

	(void)state;
	call_get(&r, &c, 3, 20);
	fake_wait_read(r.f, 3, 8);
	fake_wait_read(r.f, 11, 8);
	fake_wait_read(r.f, 19, 4);
	assert_int_equal(page_source_n_requests(r.s, READ), 3);
	supplied(&r, 11, 8);
	assert_int_equal(fake_n_owned(r.f), 2);
	supplied(&r, 3, 8);
	assert_int_equal(c.n, 0);
	supplied(&r, 19, 4);
	assert_int_equal(c.n, 1);
	assert_int_equal(c.status, 0);
}

static void test_gaps_between_islands(void **state)
{
	RIG(r, 100);
	struct call a, b, c;

	(void)state;
	call_get(&r, &a, 4, 2);
	call_get(&r, &b, 8, 2);
	call_get(&r, &c, 0, 12);
	fake_wait_read(r.f, 4, 2);
	fake_wait_read(r.f, 8, 2);
	fake_wait_read(r.f, 0, 4);
	fake_wait_read(r.f, 6, 2);
	fake_wait_read(r.f, 10, 2);
	fake_expect_none(r.f);
	assert_true(fake_owned_are_disjoint(r.f));
	supplied(&r, 0, 12);
	assert_int_equal(a.n + b.n + c.n, 3);
	assert_int_equal(fake_n_owned(r.f), 0);
}

static void test_cancel_narrows(void **state)
{
	RIG(r, 100);
	struct call all, left, right;

	(void)state;
	call_get(&r, &all, 0, 20);
	call_get(&r, &left, 3, 2);
	call_get(&r, &right, 10, 4);
	assert_true(page_source_cancel(r.s, &all.w));
	/* One request covers both, from the first wanted page to the last. */
	assert_int_equal(fake_n_owned(r.f), 1);
	assert_true(fake_owns(r.f, READ, 3, 11));
	assert_int_equal(fake_count(r.f, FAKE_SWAP), 1);
	assert_true(page_source_cancel(r.s, &right.w));
	assert_true(fake_owns(r.f, READ, 3, 2));
	supplied(&r, 3, 2);
	assert_int_equal(left.n, 1);
	assert_int_equal(all.n + right.n, 0);
	assert_int_equal(fake_count(r.f, FAKE_CLEAR), 1);
	assert_int_equal(fake_count(r.f, FAKE_SEND), 1);
}

static void test_nobody_wants_the_middle(void **state)
{
	RIG(r, 100);
	struct call all, left, right;

	(void)state;
	call_get(&r, &all, 0, 5);
	call_get(&r, &left, 0, 2);
	call_get(&r, &right, 3, 2);
	assert_true(page_source_cancel(r.s, &all.w));
	supplied(&r, 0, 2);
	assert_int_equal(left.n, 1);
	supplied(&r, 3, 2);
	assert_int_equal(right.n, 1);
	/* Page 2 is still pending, but there is nobody left who waits for anything. */
	assert_int_equal(fake_n_owned(r.f), 0);
	assert_int_equal(page_source_n_requests(r.s, READ), 0);
}

static void test_cancel_twice_is_harmless(void **state)
{
	RIG(r, 100);
	struct call c;

	(void)state;
	call_get(&r, &c, 0, 4);
	assert_true(page_source_cancel(r.s, &c.w));
	assert_false(page_source_cancel(r.s, &c.w));
	assert_int_equal(fake_n_owned(r.f), 0);
	/* The same waiter serves again. */
	assert_int_equal(get_pages(&r, 7, 1, &c.w), -EINPROGRESS);
	supplied(&r, 7, 1);
	assert_int_equal(c.n, 1);
	assert_false(page_source_cancel(r.s, &c.w));
}

static void test_what_was_given_up_is_asked_again(void **state)
{
	RIG(r, 100);
	struct call all, left, again;

	(void)state;
	call_get(&r, &all, 0, 10);
	call_get(&r, &left, 0, 2);
	assert_true(page_source_cancel(r.s, &all.w));
	call_get(&r, &again, 4, 2);
	fake_wait_read(r.f, 4, 2);
	supplied(&r, 4, 2);
	assert_int_equal(again.n, 1);
	supplied(&r, 0, 2);
	assert_int_equal(left.n, 1);
}

static void test_asked_again_after_supply(void **state)
{
	RIG(r, 100);
	struct call all, again;

	(void)state;
	call_get(&r, &all, 0, 8);
	supplied(&r, 2, 2);
	/* Its pages came and went (eviction): the request that is out does not bring them again. */
	call_get(&r, &again, 2, 2);
	fake_wait_read(r.f, 0, 8);
	fake_wait_read(r.f, 2, 2);
	supplied(&r, 4, 4);
	supplied(&r, 0, 2);
	assert_int_equal(fake_n_owned(r.f), 1);
	/* Whoever waits across them waits for them too. */
	assert_int_equal(all.n + again.n, 0);
	supplied(&r, 2, 2);
	assert_int_equal(all.n + again.n, 2);
	assert_int_equal(fake_n_owned(r.f), 0);
}

/* ---- classes and deadlines ---- */

static void test_prefetch_is_promoted(void **state)
{
	RIG(r, 100);
	struct call pre, demand;
	struct fake_request req;

	(void)state;
	call_init(&pre);
	pre.w.cls = VMOFS_CLASS_PREFETCH;
	assert_int_equal(get_pages(&r, 0, 8, &pre.w), -EINPROGRESS);
	assert_int_equal(fake_wait(r.f, READ, 0, 8).cls, VMOFS_CLASS_PREFETCH);
	call_get(&r, &demand, 2, 1);
	assert_int_equal(fake_count(r.f, FAKE_SWAP), 1);
	assert_true(fake_owned(r.f, 0, &req));
	assert_int_equal(req.cls, VMOFS_CLASS_DEMAND);
	supplied(&r, 0, 8);
	assert_int_equal(pre.n + demand.n, 2);
}

static void test_latest_deadline_counts(void **state)
{
	RIG(r, 100);
	struct call a, b, c;
	struct fake_request req;

	(void)state;
	call_init(&a);
	a.w.deadline_ns = 100;
	assert_int_equal(get_pages(&r, 0, 4, &a.w), -EINPROGRESS);
	call_init(&b);
	b.w.deadline_ns = 200;
	assert_int_equal(get_pages(&r, 0, 4, &b.w), -EINPROGRESS);
	assert_true(fake_owned(r.f, 0, &req));
	assert_int_equal(req.deadline_ns, 200);
	call_get(&r, &c, 3, 1);
	assert_true(fake_owned(r.f, 0, &req));
	assert_int_equal(req.deadline_ns, 0);
	assert_int_equal(page_source_expire(r.s, 50), 100);
	assert_int_equal(page_source_expire(r.s, 100), 200);
	assert_int_equal(a.status, -ETIMEDOUT);
	assert_int_equal(b.n, 0);
	assert_int_equal(page_source_expire(r.s, UINT64_MAX), 0);
	assert_int_equal(b.status, -ETIMEDOUT);
	assert_int_equal(c.n, 0);
	assert_true(fake_owns(r.f, READ, 3, 1));
	supplied(&r, 3, 1);
	assert_int_equal(c.n, 1);
}

static void test_blocking_wait_times_out(void **state)
{
	RIG(r, 100);
	struct page_waiter w;

	(void)state;
	page_waiter_init(&w);
	w.deadline_ns = test_now_ns() + 10 * NSEC_PER_MSEC;
	assert_int_equal(get_pages(&r, 0, 4, &w), -EINPROGRESS);
	assert_int_equal(page_waiter_wait(r.s, &w), -ETIMEDOUT);
	assert_int_equal(w.state, PAGE_WAITER_IDLE);
	assert_int_equal(fake_n_owned(r.f), 0);
	page_waiter_release(&w);
}

static int64_t interrupt(void *arg)
{
	struct source_rig *r = ((void **)arg)[0];

	page_waiter_interrupt(r->s, ((void **)arg)[1]);
	return 0;
}

static void test_interrupt(void **state)
{
	RIG(r, 100);
	struct page_waiter w;
	struct test_thread t;
	void *args[] = { &r, &w };

	(void)state;
	page_waiter_init(&w);
	assert_int_equal(get_pages(&r, 0, 4, &w), -EINPROGRESS);
	thread_run(&t, interrupt, args);
	assert_int_equal(page_waiter_wait(r.s, &w), -EINTR);
	thread_join_status(&t);
	assert_int_equal(w.state, PAGE_WAITER_IDLE);
	assert_int_equal(fake_n_owned(r.f), 0);
	page_waiter_release(&w);
}

/* ---- failures ---- */

static void test_failure_is_for_the_first_bad_page(void **state)
{
	RIG(r, 100);
	struct call whole, before, after;

	(void)state;
	call_get(&r, &whole, 0, 10);
	call_get(&r, &before, 0, 4);
	call_get(&r, &after, 6, 4);
	failed(&r, 4, 2, -EBADMSG);
	assert_int_equal(whole.n + before.n + after.n, 0);
	/* A failure further on does not count any more, one before does. */
	failed(&r, 8, 1, -EIO);
	supplied(&r, 6, 2);
	assert_int_equal(after.status, -EIO);
	supplied(&r, 0, 2);
	failed(&r, 2, 1, -ENOSPC);
	assert_int_equal(before.status, -ENOSPC);
	assert_int_equal(whole.status, -ENOSPC);
	/* Nobody wants what is left. */
	assert_int_equal(fake_n_owned(r.f), 0);
	assert_int_equal(n_parked(r.s), 0);
}

static void test_failure_drops_what_is_beyond(void **state)
{
	RIG(r, 4);
	struct call c;

	(void)state;
	call_get(&r, &c, 0, 12);
	assert_int_equal(fake_n_owned(r.f), 3);
	failed(&r, 0, 1, -EIO);
	assert_int_equal(c.status, -EIO);
	assert_int_equal(fake_n_owned(r.f), 0);
	assert_int_equal(fake_count(r.f, FAKE_CLEAR), 3);
}

static void test_failure_of_one_type(void **state)
{
	RIG(r, 100);
	struct call reader, writer, stored;

	(void)state;
	call_get(&r, &reader, 0, 2);
	call_init(&writer);
	assert_int_equal(get_dirty(&r, 0, 2, &writer.w), -EINPROGRESS);
	call_init(&stored);
	assert_int_equal(page_source_request_writeback(r.s, 0, page_bytes(2), &stored.w),
			 -EINPROGRESS);
	fake_wait_read(r.f, 0, 2);
	fake_wait_dirty(r.f, 0, 2);
	fake_wait_writeback(r.f, 0, 2);
	page_source_on_pages_failed(r.s, 0, page_bytes(2), -EDQUOT, VMOFS_TYPE_BIT(DIRTY));
	assert_int_equal(writer.status, -EDQUOT);
	assert_int_equal(reader.n + stored.n, 0);
	page_source_on_pages_cleaned(r.s, 0, page_bytes(2));
	assert_int_equal(stored.n, 1);
	assert_int_equal(stored.status, 0);
	supplied(&r, 0, 2);
	assert_int_equal(reader.n, 1);
}

/* ---- waking ---- */

struct again {
	struct page_waiter w;
	struct source_rig *r;
	unsigned left;
	unsigned n_ok;
};

static void again_done(struct page_waiter *w, int status)
{
	struct again *a = container_of(w, struct again, w);

	a->n_ok += status == 0;
	if (!--a->left)
		return;
	/* From the callback, without locks, on the same waiter. */
	assert_int_equal(get_pages(a->r, a->left, 1, &a->w), -EINPROGRESS);
}

static void test_completion_may_ask_again(void **state)
{
	RIG(r, 100);
	struct again a = { .r = &r, .left = 5 };

	(void)state;
	page_waiter_init(&a.w);
	a.w.done = again_done;
	assert_int_equal(get_pages(&r, 5, 1, &a.w), -EINPROGRESS);
	for (uint64_t page = 5; page > 0; page--)
		supplied(&r, page, 1);
	assert_int_equal(a.n_ok, 5);
	assert_int_equal(fake_count(r.f, FAKE_SEND), 5);
}

static void test_detach_ends_everybody(void **state)
{
	RIG(r, 4);
	struct call c[3];
	struct page_waiter w;
	struct fake_event e;

	(void)state;
	for (uint64_t i = 0; i < 3; i++)
		call_get(&r, &c[i], 3 * i, 5);
	page_waiter_init(&w);
	assert_int_equal(get_pages(&r, 1, 1, &w), -EINPROGRESS);
	page_source_detach(r.s);
	for (int i = 0; i < 3; i++)
		assert_int_equal(c[i].status, -ESHUTDOWN);
	assert_int_equal(page_waiter_wait(r.s, &w), -ESHUTDOWN);
	assert_true(fake_event(r.f, fake_n_events(r.f) - 1, &e));
	assert_int_equal(e.kind, FAKE_DETACH);
	assert_int_equal(get_pages(&r, 0, 1, &w), -ESHUTDOWN);
	page_source_detach(r.s);
	assert_int_equal(fake_count(r.f, FAKE_DETACH), 1);
	page_waiter_release(&w);
}

static void test_dump_is_bounded(void **state)
{
	RIG(r, 100);
	struct call c[40];
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	unsigned lines = 0;

	(void)state;
	assert_non_null(out);
	for (uint64_t i = 0; i < ARRAY_LEN(c); i++)
		call_get(&r, &c[i], 2 * i, 1);
	page_source_dump(r.s, out, 1, 5);
	fclose(out);
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	assert_true(lines < 20);
	assert_non_null(strstr(text, "40 requests"));
	assert_non_null(strstr(text, "fake provider"));
	free(text);
	page_source_detach(r.s);
}

/* ---- against a model ---- */

enum { MODEL_PAGES = 64, MODEL_WAITERS = 12, MODEL_STEPS = 60000 };

struct model_waiter {
	struct call c;
	bool parked;
	uint64_t end;
	uint64_t wake; /* pages before it have come: it does not wait for them a second time */
	uint64_t stop; /* the first failed page, or end */
	int code;      /* its failure */
};

struct model {
	struct source_rig r;
	struct prng prng;
	bool asked[MODEL_PAGES]; /* by somebody who still waits, and not resolved since */
	struct model_waiter w[MODEL_WAITERS];
};

/* Whether @w is still owed @page: it wants it, and it was pending when last looked at. */
static bool waits_for(const struct model_waiter *w, uint64_t page)
{
	return w->parked && page >= w->wake && page < w->stop;
}

/* Pages that nobody waits for any more are not asked for any more. */
static void model_trim(struct model *m)
{
	for (uint64_t p = 0; p < MODEL_PAGES; p++) {
		bool wanted = false;

		for (int i = 0; i < MODEL_WAITERS; i++)
			wanted |= m->w[i].parked && p >= m->w[i].wake && p < m->w[i].stop;
		m->asked[p] &= wanted;
	}
}

/* Who is resolved up to its stop must have been told, with the right status; others must not. */
static void model_settle(struct model *m)
{
	for (int i = 0; i < MODEL_WAITERS; i++) {
		struct model_waiter *w = &m->w[i];

		if (!w->parked)
			continue;
		while (w->wake < w->stop && !m->asked[w->wake])
			w->wake++;
		assert_int_equal(w->c.n, w->wake == w->stop);
		if (w->wake < w->stop)
			continue;
		assert_int_equal(w->c.status, w->stop < w->end ? w->code : 0);
		w->parked = false;
	}
	model_trim(m);
}

static void model_park(struct model *m, struct model_waiter *w)
{
	uint64_t page = prng_below(&m->prng, MODEL_PAGES);
	uint64_t n = 1 + prng_below(&m->prng, MODEL_PAGES - page);

	call_get(&m->r, &w->c, page, n);
	w->parked = true;
	w->wake = page;
	w->end = w->stop = page + n;
	for (uint64_t p = page; p < page + n; p++)
		m->asked[p] = true;
}

static void model_cancel(struct model *m, struct model_waiter *w)
{
	assert_true(page_source_cancel(m->r.s, &w->c.w));
	assert_int_equal(w->c.n, 0);
	w->parked = false;
	model_trim(m);
}

static void model_supply(struct model *m, uint64_t page, uint64_t n)
{
	supplied(&m->r, page, n);
	for (uint64_t p = page; p < page + n; p++)
		m->asked[p] = false;
}

static void model_fail(struct model *m, uint64_t page, uint64_t n)
{
	int code = prng_below(&m->prng, 2) ? -EIO : -EBADMSG;

	failed(&m->r, page, n, code);
	for (int i = 0; i < MODEL_WAITERS; i++) {
		for (uint64_t p = page; p < page + n; p++) {
			struct model_waiter *w = &m->w[i];

			if (!m->asked[p] || !waits_for(w, p))
				continue;
			w->stop = p;
			w->code = code;
			break;
		}
	}
	for (uint64_t p = page; p < page + n; p++)
		m->asked[p] = false;
	model_trim(m);
}

/* Every page that is asked for in the model is in an owned request. */
static void model_check(struct model *m)
{
	unsigned n = 0;
	struct fake_request req;
	bool owned[MODEL_PAGES] = { false };

	for (unsigned i = 0; fake_owned(m->r.f, i, &req); i++)
		for (uint64_t p = req.page; p < req.page + req.n; p++)
			owned[p] = true;
	for (uint64_t p = 0; p < MODEL_PAGES; p++)
		if (!owned[p] && m->asked[p])
			test_die("page %" PRIu64 " is waited for, but nobody is asked for it", p);
	for (int i = 0; i < MODEL_WAITERS; i++)
		n += m->w[i].parked;
	assert_int_equal(n_parked(m->r.s), n);
	if (!n && fake_n_owned(m->r.f))
		test_die("requests that nobody waits for");
}

static void model_step(struct model *m)
{
	struct model_waiter *w = &m->w[prng_below(&m->prng, MODEL_WAITERS)];
	uint64_t page = prng_below(&m->prng, MODEL_PAGES);
	uint64_t n = 1 + prng_below(&m->prng, MIN(12, MODEL_PAGES - page));

	switch (prng_below(&m->prng, 8)) {
	case 0:
	case 1:
	case 2:
		if (!w->parked)
			model_park(m, w);
		break;
	case 3:
		if (w->parked)
			model_cancel(m, w);
		break;
	case 4:
		model_fail(m, page, n);
		break;
	default:
		model_supply(m, page, n);
		break;
	}
	model_settle(m);
	model_check(m);
}

static void test_random_against_model(void **state)
{
	const char *seed = getenv("VMOFS_TEST_SEED");
	static struct model m;

	(void)state;
	m.prng.state = seed ? strtoull(seed, NULL, 10) : test_now_ns();
	print_message("VMOFS_TEST_SEED=%" PRIu64 "\n", m.prng.state);
	m.r = source_rig_new(TYPES, 16);
	for (int i = 0; i < MODEL_STEPS; i++)
		model_step(&m);
	page_source_detach(m.r.s);
	source_rig_release(&m.r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_long_request_is_split),
		cmocka_unit_test(test_gaps_between_islands),
		cmocka_unit_test(test_cancel_narrows),
		cmocka_unit_test(test_nobody_wants_the_middle),
		cmocka_unit_test(test_cancel_twice_is_harmless),
		cmocka_unit_test(test_what_was_given_up_is_asked_again),
		cmocka_unit_test(test_asked_again_after_supply),
		cmocka_unit_test(test_prefetch_is_promoted),
		cmocka_unit_test(test_latest_deadline_counts),
		cmocka_unit_test(test_blocking_wait_times_out),
		cmocka_unit_test(test_interrupt),
		cmocka_unit_test(test_failure_is_for_the_first_bad_page),
		cmocka_unit_test(test_failure_drops_what_is_beyond),
		cmocka_unit_test(test_failure_of_one_type),
		cmocka_unit_test(test_completion_may_ask_again),
		cmocka_unit_test(test_detach_ends_everybody),
		cmocka_unit_test(test_dump_is_bounded),
		cmocka_unit_test(test_random_against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

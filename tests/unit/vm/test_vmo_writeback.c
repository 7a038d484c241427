/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The WRITEBACK request, which Zircon reserved and never issued: who waits for it, what ends it, and
 * what a provider hears. Begin, end and dirty ranges by themselves are in tests/conformance.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/fake_provider.h"
#include "vm/page.h"
#include "vm/pool.h"
#include "vm/vmo.h"

#define PAGE          VMOFS_PAGE_SIZE
#define KEY           0x1100000000000000u
#define WRITEBACK_BIT VMOFS_TYPE_BIT(VMOFS_REQUEST_WRITEBACK)

struct rig {
	struct vm_pool *pool;
	struct fake_provider *f;
	struct vmo *v;
};

static struct rig rig_new(uint64_t pages)
{
	struct rig r = { .f = fake_new(WRITEBACK_BIT, KEY) };
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(vm_pool_new(&r.pool, MIB(16), &err), 0);
	assert_int_equal(
		vmo_new(&r.v, r.pool, fake_base(r.f), page_bytes(pages), VMO_RESIZABLE, &err), 0);
	fake_attach(r.f, r.v);
	assert_int_equal(fake_supply(r.f, 0, pages), page_bytes(pages));
	return r;
}

static void rig_release(struct rig *r)
{
	vmo_check(r->v);
	vmo_close(r->v);
	vmo_put(r->v);
	fake_free(r->f);
	vm_pool_free(r->pool);
}

#define RIG(name, pages) cleanup(rig_release) struct rig name = rig_new(pages)

static void write_page(struct rig *r, uint64_t page, uint64_t value)
{
	assert_int_equal(vmo_write(r->v, page_bytes(page), &value, sizeof value, NULL),
			 sizeof value);
}

static int64_t n_dirty(struct rig *r)
{
	return vmo_query_dirty(r->v, 0, vmo_size(r->v), NULL, 0);
}

static struct vmo_token *begin(struct rig *r, uint64_t page, uint64_t n)
{
	struct vmo_token *token = NULL;

	assert_int_equal(vmo_writeback_begin(r->v, page_bytes(page), page_bytes(n),
					     VMO_WRITEBACK_ALL, &token),
			 0);
	return token;
}

static int64_t sync_all(void *arg)
{
	struct vmo *v = arg;

	return vmo_writeback(v, 0, vmo_size(v), NULL);
}

static void test_nothing_dirty(void **state)
{
	RIG(r, 4);

	(void)state;
	assert_int_equal(sync_all(r.v), 0);
	assert_int_equal(fake_count(r.f, FAKE_SEND), 0);
}

static void test_asks_for_what_is_dirty(void **state)
{
	RIG(r, 8);
	struct test_thread t;

	(void)state;
	write_page(&r, 1, 1);
	write_page(&r, 5, 1);
	write_page(&r, 6, 1);
	assert_int_equal(vmo_zero(r.v, 7 * PAGE, PAGE, NULL), 0);
	thread_run(&t, sync_all, r.v);
	fake_wait_writeback(r.f, 1, 1);
	fake_wait_blocked(r.f, 1);
	vmo_writeback_end(begin(&r, 1, 1), 0);
	assert_false(thread_is_done(&t));
	vmo_writeback_end(begin(&r, 0, 8), 0);
	assert_int_equal(thread_join_status(&t), 0);
	assert_int_equal(n_dirty(&r), 0);
	assert_int_equal(fake_n_owned(r.f), 0);
}

static void test_failure_is_reported_and_kept(void **state)
{
	RIG(r, 2);
	struct test_thread t;
	uint64_t since = 0;
	uint64_t other = 0;

	(void)state;
	write_page(&r, 0, 1);
	thread_run(&t, sync_all, r.v);
	fake_wait_writeback(r.f, 0, 1);
	vmo_writeback_end(begin(&r, 0, 1), -ENOSPC);
	assert_int_equal(thread_join_status(&t), -ENOSPC);
	assert_int_equal(n_dirty(&r), 1);
	assert_int_equal(vmo_writeback_error(r.v, &since), -ENOSPC);
	assert_int_equal(vmo_writeback_error(r.v, &since), 0);
	assert_int_equal(vmo_writeback_error(r.v, &other), -ENOSPC);
	/* It can be tried again. */
	thread_run(&t, sync_all, r.v);
	fake_wait_writeback(r.f, 0, 1);
	vmo_writeback_end(begin(&r, 0, 1), 0);
	assert_int_equal(thread_join_status(&t), 0);
	assert_int_equal(n_dirty(&r), 0);
}

static void test_provider_refuses(void **state)
{
	RIG(r, 2);
	struct test_thread t;

	(void)state;
	write_page(&r, 0, 1);
	thread_run(&t, sync_all, r.v);
	fake_wait_writeback(r.f, 0, 1);
	assert_int_equal(vmo_fail(r.v, 0, PAGE, -ESTALE, WRITEBACK_BIT), 0);
	assert_int_equal(thread_join_status(&t), -ESTALE);
	assert_int_equal(n_dirty(&r), 1);
}

static void test_written_again_while_stored(void **state)
{
	RIG(r, 2);
	struct test_thread t;
	struct vmo_token *token;

	(void)state;
	write_page(&r, 0, 1);
	thread_run(&t, sync_all, r.v);
	fake_wait_writeback(r.f, 0, 1);
	token = begin(&r, 0, 1);
	write_page(&r, 0, 2);
	vmo_writeback_end(token, 0);
	/* What was dirty at the call has been stored; what was written since is somebody else's. */
	assert_int_equal(thread_join_status(&t), 0);
	assert_int_equal(n_dirty(&r), 1);
	assert_int_equal(fake_n_owned(r.f), 0);
}

static void test_second_caller_after_begin(void **state)
{
	RIG(r, 2);
	struct test_thread first;
	struct test_thread second;
	struct vmo_token *token;
	struct fake_request req;

	(void)state;
	write_page(&r, 0, 1);
	thread_run(&first, sync_all, r.v);
	fake_wait_writeback(r.f, 0, 1);
	token = begin(&r, 0, 1);
	write_page(&r, 0, 2);
	thread_run(&second, sync_all, r.v);
	fake_wait_blocked(r.f, 2);
	vmo_writeback_end(token, 0);
	/* The token is older than what the second one waits for: the provider must hear of it. */
	req = fake_next(r.f);
	assert_int_equal(req.type, VMOFS_REQUEST_WRITEBACK);
	vmo_writeback_end(begin(&r, 0, 1), 0);
	assert_int_equal(thread_join_status(&first), 0);
	assert_int_equal(thread_join_status(&second), 0);
	assert_int_equal(n_dirty(&r), 0);
	assert_int_equal(fake_n_owned(r.f), 0);
}

static int64_t sync_many_times(void *arg)
{
	for (int i = 0; i < 300; i++) {
		int64_t status = sync_all(arg);

		if (status)
			return status;
	}
	return 0;
}

static void test_many_callers_against_a_writer(void **state)
{
	RIG(r, 4);
	struct test_thread t[3];
	bool running = true;

	(void)state;
	fake_start(r.f, FAKE_AT_ONCE, 1, 1);
	for (int i = 0; i < 3; i++)
		thread_run(&t[i], sync_many_times, r.v);
	for (uint64_t n = 1; running; n++) {
		write_page(&r, n % 4, n);
		running = false;
		for (int i = 0; i < 3; i++)
			running |= !thread_is_done(&t[i]);
		if (n % 100000 == 0 && n > 20000000)
			test_die("those who sync do not end");
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(thread_join_status(&t[i]), 0);
	assert_int_equal(sync_all(r.v), 0);
	assert_int_equal(n_dirty(&r), 0);
	fake_stop(r.f);
}

static void test_what_is_gone_needs_no_writeback(void **state)
{
	RIG(r, 4);
	struct test_thread t;

	(void)state;
	write_page(&r, 1, 1);
	write_page(&r, 3, 1);
	thread_run(&t, sync_all, r.v);
	fake_wait_writeback(r.f, 1, 1);
	fake_wait_writeback(r.f, 3, 1);
	assert_int_equal(vmo_resize(r.v, 2 * PAGE, NULL), 0);
	vmo_writeback_end(begin(&r, 0, 2), 0);
	assert_int_equal(thread_join_status(&t), 0);
	assert_int_equal(fake_n_owned(r.f), 0);
}

static void test_detach_and_deadline(void **state)
{
	RIG(r, 2);
	struct test_thread t;
	struct vmo_wait wait = { .deadline_ns = test_now_ns() + 5 * NSEC_PER_MSEC };

	(void)state;
	write_page(&r, 0, 1);
	assert_int_equal(vmo_writeback(r.v, 0, PAGE, &wait), -ETIMEDOUT);
	assert_int_equal(fake_n_owned(r.f), 0);
	thread_run(&t, sync_all, r.v);
	fake_wait_writeback(r.f, 0, 1);
	assert_int_equal(vmo_detach(r.v), 0);
	assert_int_equal(thread_join_status(&t), -ESHUTDOWN);
	assert_int_equal(n_dirty(&r), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_dirty),
		cmocka_unit_test(test_asks_for_what_is_dirty),
		cmocka_unit_test(test_failure_is_reported_and_kept),
		cmocka_unit_test(test_provider_refuses),
		cmocka_unit_test(test_written_again_while_stored),
		cmocka_unit_test(test_second_caller_after_begin),
		cmocka_unit_test(test_many_callers_against_a_writer),
		cmocka_unit_test(test_what_is_gone_needs_no_writeback),
		cmocka_unit_test(test_detach_and_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

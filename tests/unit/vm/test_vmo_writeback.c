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
#include "lib/vmo_scene.h"
#include "vm/page.h"

#define PAGE          VMOFS_PAGE_SIZE
#define KEY           0x1100000000000000u
#define WRITEBACK_BIT VMOFS_TYPE_BIT(VMOFS_REQUEST_WRITEBACK)

static struct vmo_scene scene_of(uint64_t pages)
{
	struct vmo_scene s = vmo_scene_new(KEY, MIB(16), page_bytes(pages), VMO_RESIZABLE);

	assert_int_equal(fake_supply(s.provider, 0, pages), page_bytes(pages));
	return s;
}

#define SCENE(name, pages) cleanup(vmo_scene_end) struct vmo_scene name = scene_of(pages)

static void write_page(struct vmo_scene *s, uint64_t page, uint64_t value)
{
	assert_int_equal(vmo_write(s->vmo, page_bytes(page), &value, sizeof value, NULL),
			 sizeof value);
}

static int64_t n_dirty(struct vmo_scene *s)
{
	return vmo_query_dirty(s->vmo, 0, vmo_size(s->vmo), NULL, 0);
}

static struct vmo_token *begin(struct vmo_scene *s, uint64_t page, uint64_t n)
{
	struct vmo_token *token = NULL;

	assert_int_equal(vmo_writeback_begin(s->vmo, page_bytes(page), page_bytes(n),
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
	SCENE(s, 4);

	(void)state;
	assert_int_equal(sync_all(s.vmo), 0);
	assert_int_equal(fake_count(s.provider, FAKE_SEND), 0);
}

static void test_asks_for_what_is_dirty(void **state)
{
	SCENE(s, 8);
	struct test_thread t;

	(void)state;
	write_page(&s, 1, 1);
	write_page(&s, 5, 1);
	write_page(&s, 6, 1);
	assert_int_equal(vmo_zero(s.vmo, 7 * PAGE, PAGE, NULL), 0);
	thread_run(&t, sync_all, s.vmo);
	fake_wait_writeback(s.provider, 1, 1);
	fake_wait_blocked(s.provider, 1);
	vmo_writeback_end(begin(&s, 1, 1), 0);
	assert_false(thread_is_done(&t));
	vmo_writeback_end(begin(&s, 0, 8), 0);
	assert_int_equal(thread_join_status(&t), 0);
	assert_int_equal(n_dirty(&s), 0);
	assert_int_equal(fake_n_owned(s.provider), 0);
}

static void test_failure_is_reported_and_kept(void **state)
{
	SCENE(s, 2);
	struct test_thread t;
	uint64_t since = 0;
	uint64_t other = 0;

	(void)state;
	write_page(&s, 0, 1);
	thread_run(&t, sync_all, s.vmo);
	fake_wait_writeback(s.provider, 0, 1);
	vmo_writeback_end(begin(&s, 0, 1), -ENOSPC);
	assert_int_equal(thread_join_status(&t), -ENOSPC);
	assert_int_equal(n_dirty(&s), 1);
	assert_int_equal(vmo_writeback_error(s.vmo, &since), -ENOSPC);
	assert_int_equal(vmo_writeback_error(s.vmo, &since), 0);
	assert_int_equal(vmo_writeback_error(s.vmo, &other), -ENOSPC);
	/* It can be tried again. */
	thread_run(&t, sync_all, s.vmo);
	fake_wait_writeback(s.provider, 0, 1);
	vmo_writeback_end(begin(&s, 0, 1), 0);
	assert_int_equal(thread_join_status(&t), 0);
	assert_int_equal(n_dirty(&s), 0);
}

static void test_provider_refuses(void **state)
{
	SCENE(s, 2);
	struct test_thread t;

	(void)state;
	write_page(&s, 0, 1);
	thread_run(&t, sync_all, s.vmo);
	fake_wait_writeback(s.provider, 0, 1);
	assert_int_equal(vmo_fail(s.vmo, 0, PAGE, -ESTALE, WRITEBACK_BIT), 0);
	assert_int_equal(thread_join_status(&t), -ESTALE);
	assert_int_equal(n_dirty(&s), 1);
}

static void test_written_again_while_stored(void **state)
{
	SCENE(s, 2);
	struct test_thread t;
	struct vmo_token *token;

	(void)state;
	write_page(&s, 0, 1);
	thread_run(&t, sync_all, s.vmo);
	fake_wait_writeback(s.provider, 0, 1);
	token = begin(&s, 0, 1);
	write_page(&s, 0, 2);
	vmo_writeback_end(token, 0);
	/* What was dirty at the call has been stored; what was written since is somebody else's. */
	assert_int_equal(thread_join_status(&t), 0);
	assert_int_equal(n_dirty(&s), 1);
	assert_int_equal(fake_n_owned(s.provider), 0);
}

static void test_second_caller_after_begin(void **state)
{
	SCENE(s, 2);
	struct test_thread first;
	struct test_thread second;
	struct vmo_token *token;
	struct fake_request req;

	(void)state;
	write_page(&s, 0, 1);
	thread_run(&first, sync_all, s.vmo);
	fake_wait_writeback(s.provider, 0, 1);
	token = begin(&s, 0, 1);
	write_page(&s, 0, 2);
	thread_run(&second, sync_all, s.vmo);
	fake_wait_blocked(s.provider, 2);
	vmo_writeback_end(token, 0);
	/* The token is older than what the second one waits for: the provider must hear of it. */
	req = fake_next(s.provider);
	assert_int_equal(req.type, VMOFS_REQUEST_WRITEBACK);
	vmo_writeback_end(begin(&s, 0, 1), 0);
	assert_int_equal(thread_join_status(&first), 0);
	assert_int_equal(thread_join_status(&second), 0);
	assert_int_equal(n_dirty(&s), 0);
	assert_int_equal(fake_n_owned(s.provider), 0);
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
	SCENE(s, 4);
	struct test_thread t[3];
	bool running = true;

	(void)state;
	fake_start(s.provider, FAKE_AT_ONCE, 1, 1);
	for (int i = 0; i < 3; i++)
		thread_run(&t[i], sync_many_times, s.vmo);
	for (uint64_t n = 1; running; n++) {
		write_page(&s, n % 4, n);
		running = false;
		for (int i = 0; i < 3; i++)
			running |= !thread_is_done(&t[i]);
		if (n % 100000 == 0 && n > 20000000)
			test_die("those who sync do not end");
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(thread_join_status(&t[i]), 0);
	assert_int_equal(sync_all(s.vmo), 0);
	assert_int_equal(n_dirty(&s), 0);
	fake_stop(s.provider);
}

static void test_what_is_gone_needs_no_writeback(void **state)
{
	SCENE(s, 4);
	struct test_thread t;

	(void)state;
	write_page(&s, 1, 1);
	write_page(&s, 3, 1);
	thread_run(&t, sync_all, s.vmo);
	fake_wait_writeback(s.provider, 1, 1);
	fake_wait_writeback(s.provider, 3, 1);
	assert_int_equal(vmo_resize(s.vmo, 2 * PAGE, NULL), 0);
	vmo_writeback_end(begin(&s, 0, 2), 0);
	assert_int_equal(thread_join_status(&t), 0);
	assert_int_equal(fake_n_owned(s.provider), 0);
}

static void test_detach_and_deadline(void **state)
{
	SCENE(s, 2);
	struct test_thread t;
	struct vmo_wait wait = { .deadline_ns = test_now_ns() + 5 * NSEC_PER_MSEC };

	(void)state;
	write_page(&s, 0, 1);
	assert_int_equal(vmo_writeback(s.vmo, 0, PAGE, &wait), -ETIMEDOUT);
	assert_int_equal(fake_n_owned(s.provider), 0);
	thread_run(&t, sync_all, s.vmo);
	fake_wait_writeback(s.provider, 0, 1);
	assert_int_equal(vmo_detach(s.vmo), 0);
	assert_int_equal(thread_join_status(&t), -ESHUTDOWN);
	assert_int_equal(n_dirty(&s), 1);
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

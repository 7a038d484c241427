/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bugs of the page cache that were found by reading it, each with the smallest scene that showed it.
 * Mostly about who is told when memory comes back. One thread, except where a case says otherwise.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/aread.h"
#include "lib/vmo_scene.h"
#include "vm/page_queue.h"

#define PAGE VMOFS_PAGE_SIZE
#define KEY  UINT64_C(0x1100000000000000)

/* Pages of the smallest budget: all scenes fill it. */
enum { BUDGET = VM_POOL_MIN / PAGE };

#define SCENE_WITH(name, pages, flags)                 \
	cleanup(vmo_scene_end) struct vmo_scene name = \
		vmo_scene_new(KEY, VM_POOL_MIN, (pages)*PAGE, flags)
#define SCENE(name, pages) SCENE_WITH(name, pages, VMO_RESIZABLE)

/* A read that is parked on the provider, not on memory. */
static bool is_asked(struct aread *a)
{
	return a->n_done == 0 && a->r.state == VMO_READ_PARKED;
}

/* ---- who is told when memory comes back ---- */

/* Of pages that nobody else asks for. */
static void wait_for_memory(struct aread *a, struct vmo *v)
{
	aread_park(a, v, BUDGET, 4);
	assert_int_equal(a->r.state, VMO_READ_QUEUED);
}

/* All memory: one prefetch takes half of it at most. */
static void prefetch_budget(struct vmo *v, uint64_t deadline_ns)
{
	const uint64_t half = BUDGET / 2 * PAGE;

	assert_int_equal(vmo_prefetch(v, 0, half, deadline_ns), half);
	assert_int_equal(vmo_prefetch(v, half, half, deadline_ns), half);
}

static void make_dirty(struct vmo_scene *s, uint64_t page, uint64_t n)
{
	char *buf = calloc(n, PAGE);

	assert_non_null(buf);
	assert_int_equal(fake_supply(s->provider, page, n), n * PAGE);
	assert_int_equal(vmo_write(s->vmo, page * PAGE, buf, n * PAGE, NULL), n * PAGE);
	free(buf);
}

/* All memory is dirty; when it has been stored it can be evicted, and who waits must hear of it. */
static void test_writeback_serves_who_waits_for_memory(void **state UNUSED)
{
	SCENE(s, 2 * BUDGET);
	struct vmo_token *token;
	struct aread a;

	make_dirty(&s, 0, BUDGET);
	wait_for_memory(&a, s.vmo);
	assert_int_equal(vmo_writeback_begin(s.vmo, 0, BUDGET * PAGE, VMO_WRITEBACK_ALL, &token),
			 0);
	vmo_writeback_end(token, 0);
	assert_true(is_asked(&a));
	assert_true(vmo_read_cancel(&a.r));
}

/* The pages of a prefetch are protected until its last one has come. */
static void test_finished_prefetch_serves_who_waits_for_memory(void **state UNUSED)
{
	SCENE(s, 2 * BUDGET);
	struct aread a;

	prefetch_budget(s.vmo, 0);
	wait_for_memory(&a, s.vmo);
	assert_int_equal(fake_supply(s.provider, 0, BUDGET), BUDGET * PAGE);
	assert_true(is_asked(&a));
	assert_true(vmo_read_cancel(&a.r));
}

static void test_expired_prefetch_serves_who_waits_for_memory(void **state UNUSED)
{
	SCENE(s, 2 * BUDGET);
	struct aread a;

	prefetch_budget(s.vmo, 1000);
	wait_for_memory(&a, s.vmo);
	vmo_expire(s.vmo, 1000);
	assert_true(is_asked(&a));
	assert_true(vmo_read_cancel(&a.r));
}

/* A prefetch takes nothing from those who wait for memory already. */
static void test_prefetch_does_not_overtake_who_waits_for_memory(void **state UNUSED)
{
	SCENE(s, 4 * BUDGET);
	struct aread all;
	struct aread a;

	aread_park(&all, s.vmo, 0, BUDGET - 2);
	wait_for_memory(&a, s.vmo);
	assert_int_equal(vmo_prefetch(s.vmo, 2 * BUDGET * PAGE, 2 * PAGE, 0), 0);
	assert_true(vmo_read_cancel(&all.r));
	assert_true(is_asked(&a));
	assert_true(vmo_read_cancel(&a.r));
}

/* ---- the order of eviction ---- */

/*
 * A page takes its generation, then the newest moves on and the evictor, which has emptied all, passes
 * that generation by; then the page's leaf is filed. It must still be found.
 */
static void test_leaf_of_a_generation_left_behind_is_found(void **state UNUSED)
{
	struct page_queue q;
	struct page_leaf leaf = { .vmo = (struct vmo *)&leaf, .queue = PAGE_QUEUE_NONE };
	uint8_t byte;

	page_queue_init(&q);
	vmofs_list_init(&leaf.queue_link);
	byte = PAGE_CLEAN | page_queue_mru_bits(&q);
	assert_int_equal(page_queue_rotate(&q), 0);
	q.lru = q.mru;
	page_queue_file(&q, &leaf, page_queue_of(byte));
	assert_int_equal(q.lru, 0);
	page_queue_unfile(&q, &leaf);
	page_queue_release(&q);
}

/* ---- the stack ---- */

enum { N_CROWD = 40000 };

static struct aread crowd[N_CROWD];

static void crowd_done(struct vmo_read *r, int status UNUSED)
{
	vmo_read_end(r);
	container_of(r, struct aread, r)->n_done++;
}

/* Each read that is given memory finds its page there and frees it for the next: no recursion. */
static void test_crowd_that_waits_for_memory_is_served_in_a_loop(void **state UNUSED)
{
	SCENE(s, 2 * BUDGET);
	struct aread all;

	aread_park(&all, s.vmo, 0, BUDGET);
	for (unsigned i = 0; i < N_CROWD; i++) {
		crowd[i] = (struct aread){
			.r = { .off = BUDGET * PAGE, .len = PAGE, .done = crowd_done }
		};
		assert_int_equal(vmo_read_start(s.vmo, &crowd[i].r), -EINPROGRESS);
		assert_int_equal(crowd[i].r.state, VMO_READ_QUEUED);
	}
	assert_int_equal(vmofs_supply_zero(s.vmo, BUDGET * PAGE, PAGE), PAGE);
	assert_true(vmo_read_cancel(&all.r));
	for (unsigned i = 0; i < N_CROWD; i++)
		assert_int_equal(crowd[i].n_done, 1);
}

/* ---- answers ---- */

/* What was asked for has its memory, whatever else the provider sends along. */
static void test_unasked_neighbours_do_not_keep_an_answer_out(void **state UNUSED)
{
	SCENE(s, 4 * BUDGET);
	struct aread all;
	struct aread a;

	aread_park(&all, s.vmo, 0, BUDGET - 2);
	aread_park(&a, s.vmo, BUDGET + 4, 2);
	assert_true(is_asked(&a));
	assert_int_equal(fake_supply(s.provider, BUDGET, 16), 2 * PAGE);
	assert_int_equal(a.n_done, 1);
	aread_expect_data(&a, KEY);
	assert_true(vmo_read_cancel(&all.r));
}

/* A clone that ends inside a page of its parent does not show the rest of it when it grows. */
static void test_clone_grows_by_zeros(void **state UNUSED)
{
	SCENE(s, 4);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmo *c;
	char buf[PAGE];

	assert_int_equal(fake_supply(s.provider, 0, 2), 2 * PAGE);
	assert_int_equal(
		vmo_clone(&c, s.vmo, 0, 100, VMO_SNAPSHOT_AT_LEAST_ON_WRITE, VMO_RESIZABLE, &err),
		0);
	assert_int_equal(vmo_resize(c, PAGE, NULL), 0);
	assert_int_equal(vmo_read(c, 0, buf, PAGE, NULL), PAGE);
	assert_int_equal(fake_compare(KEY, 0, buf, 100), -1);
	for (unsigned i = 100; i < PAGE; i++)
		assert_int_equal(buf[i], 0);
	vmo_put(c);
}

/* ---- grants ---- */

struct write_call {
	struct test_thread thread;
	struct vmo_scene *s;
	uint64_t page;
};

static int64_t write_word(void *arg)
{
	struct write_call *c = arg;

	return vmo_write(c->s->vmo, c->page * PAGE, "a word..", 8, NULL);
}

/* Each writer over zeros has put its memory aside; who has had its grant leaves the others' alone. */
static void test_writers_over_zeros_keep_their_memory(void **state UNUSED)
{
	SCENE_WITH(s, 2 * BUDGET, VMO_TRAP_DIRTY);
	struct write_call w[] = { { .s = &s, .page = BUDGET }, { .s = &s, .page = BUDGET + 1 } };
	struct aread all;
	struct aread a;

	assert_int_equal(vmofs_supply_zero(s.vmo, BUDGET * PAGE, 2 * PAGE), 2 * PAGE);
	aread_park(&all, s.vmo, 0, BUDGET - 2);
	for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
		thread_run(&w[i].thread, write_word, &w[i]);
		fake_wait_dirty(s.provider, w[i].page, 1);
	}
	assert_int_equal(fake_grant(s.provider, BUDGET, 1), 0);
	assert_int_equal(thread_join_status(&w[0].thread), 8);
	aread_park(&a, s.vmo, BUDGET + 8, 1);
	assert_int_equal(fake_grant(s.provider, BUDGET + 1, 1), 0);
	assert_int_equal(thread_join_status(&w[1].thread), 8);
	assert_true(vmo_read_cancel(&a.r));
	assert_true(vmo_read_cancel(&all.r));
}

/* ---- writeback ---- */

static int64_t write_back_page(void *arg)
{
	struct vmo_scene *s = arg;
	struct vmo_wait wait = { .deadline_ns = test_now_ns() + 2 * NSEC_PER_SEC };

	return vmo_writeback(s->vmo, 0, 2 * PAGE, &wait);
}

/* A page pinned for writing stays dirty, but who asked for its writeback has had it. */
static void test_write_pin_does_not_hang_writeback(void **state UNUSED)
{
	SCENE(s, 4);
	struct test_thread caller;
	struct vmo_token *token;
	struct vmo_pin pin;

	make_dirty(&s, 0, 2);
	assert_int_equal(vmo_pin(s.vmo, &pin, 0, PAGE, true, NULL), 0);
	thread_run(&caller, write_back_page, &s);
	fake_wait_writeback(s.provider, 0, 2);
	assert_int_equal(vmo_writeback_begin(s.vmo, 0, 2 * PAGE, VMO_WRITEBACK_ALL, &token), 0);
	vmo_writeback_end(token, 0);
	assert_int_equal(thread_join_status(&caller), 0);
	assert_int_equal(vmo_page_state(s.vmo, 0), PAGE_DIRTY);
	assert_int_equal(vmo_page_state(s.vmo, PAGE), PAGE_CLEAN);
	vmo_unpin(&pin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writeback_serves_who_waits_for_memory),
		cmocka_unit_test(test_finished_prefetch_serves_who_waits_for_memory),
		cmocka_unit_test(test_expired_prefetch_serves_who_waits_for_memory),
		cmocka_unit_test(test_prefetch_does_not_overtake_who_waits_for_memory),
		cmocka_unit_test(test_leaf_of_a_generation_left_behind_is_found),
		cmocka_unit_test(test_crowd_that_waits_for_memory_is_served_in_a_loop),
		cmocka_unit_test(test_unasked_neighbours_do_not_keep_an_answer_out),
		cmocka_unit_test(test_clone_grows_by_zeros),
		cmocka_unit_test(test_writers_over_zeros_keep_their_memory),
		cmocka_unit_test(test_write_pin_does_not_hang_writeback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A nearer place beside the provider: who is asked for what, how it goes on when the nearer place has not got it, and what it
 * is told. Two providers that the test plays by hand; one thread.
 *
 * LINK: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
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
#include "lib/aread.h"
#include "lib/fail_alloc.h"
#include "lib/vmo_scene.h"

#define PAGE VMOFS_PAGE_SIZE
#define KEY  UINT64_C(0x2200000000000000)

enum { PAGES = 64, BUDGET = VM_POOL_MIN / PAGE };
/* The last page is not a whole one. */
#define SIZE (PAGES * PAGE - 100)

struct scene {
	struct vmo_near near;
	struct vm_pool *pool;
	struct fake_provider *own; /* the VMO's */
	struct fake_provider *by;  /* the nearer place's */
	struct vmo *vmo;
	uint64_t has_first, has_end;     /* what it says to have */
	uint64_t spare_first, spare_end; /* what eviction is to spare */
	uint64_t arrived;                /* pages that it was told of */
	uint64_t arrived_first, arrived_end;
	uint64_t unneeded; /* pages */
	unsigned n_distrusted;
};

static bool clip(uint64_t lo, uint64_t hi, uint64_t *first, uint64_t *end)
{
	uint64_t a = MAX(lo, *first);
	uint64_t b = MIN(hi, *end);

	if (a >= b)
		return false;
	*first = a;
	*end = b;
	return true;
}

static bool scene_has(struct vmo_near *n, uint64_t first, uint64_t *end)
{
	struct scene *s = container_of(n, struct scene, near);
	bool has = first >= s->has_first && first < s->has_end;

	if (has)
		*end = MIN(*end, s->has_end);
	else if (first < s->has_first)
		*end = MIN(*end, s->has_first);
	return has;
}

static void scene_arrived(struct vmo_near *n, uint64_t first, uint64_t end)
{
	struct scene *s = container_of(n, struct scene, near);

	s->arrived += end - first;
	s->arrived_first = first;
	s->arrived_end = end;
}

static bool scene_spares(struct vmo_near *n, uint64_t *first, uint64_t *end)
{
	struct scene *s = container_of(n, struct scene, near);

	return clip(s->spare_first, s->spare_end, first, end);
}

static void scene_unneeded(struct vmo_near *n, uint64_t first, uint64_t end)
{
	container_of(n, struct scene, near)->unneeded += end - first;
}

static void scene_distrust(struct vmo_near *n)
{
	container_of(n, struct scene, near)->n_distrusted++;
}

static const struct vmo_near_ops scene_ops = {
	.has = scene_has,
	.arrived = scene_arrived,
	.spares = scene_spares,
	.unneeded = scene_unneeded,
	.distrust = scene_distrust,
};

/* The nearer place, which has pages [@has_first, @has_end), is not known to the VMO yet. */
static void scene_alone(struct scene *s, uint64_t has_first, uint64_t has_end)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	*s = (struct scene){ .own = fake_new(0, KEY),
			     .by = fake_new(0, KEY),
			     .has_first = has_first,
			     .has_end = has_end };
	s->near = (struct vmo_near){ .ops = &scene_ops, .provider = fake_base(s->by) };
	assert_int_equal(vm_pool_new(&s->pool, VM_POOL_MIN, &err), 0);
	assert_int_equal(vmo_new(&s->vmo, s->pool, fake_base(s->own), SIZE, 0, &err), 0);
	fake_attach(s->own, s->vmo);
	fake_attach(s->by, s->vmo);
}

static void scene_begin(struct scene *s, uint64_t has_first, uint64_t has_end)
{
	scene_alone(s, has_first, has_end);
	assert_int_equal(vmo_set_near(s->vmo, &s->near), 0);
}

static void scene_close(struct scene *s)
{
	vmo_check(s->vmo);
	vmo_close(s->vmo);
}

static void scene_end(struct scene *s)
{
	scene_close(s);
	vmo_put(s->vmo);
	fake_free(s->own);
	fake_free(s->by);
	pool_end(s->pool);
}

static int64_t near_supply(struct scene *s, uint64_t page, uint64_t n)
{
	char *buf = malloc(n * PAGE);
	int64_t r;

	assert_non_null(buf);
	fake_fill(KEY, page * PAGE, buf, n * PAGE);
	r = vmo_supply_near(s->vmo, page * PAGE, buf, n * PAGE);
	free(buf);
	return r;
}

static void elsewhere(struct scene *s, uint64_t page, uint64_t n)
{
	vmo_elsewhere(s->vmo, page * PAGE, n * PAGE);
	vmo_check(s->vmo);
}

/* It has been answered, with the right bytes. */
static void read_end(struct aread *a)
{
	assert_int_equal(a->n_done, 1);
	aread_expect_data(a, KEY);
}

static bool owns(struct fake_provider *f, uint64_t page, uint64_t n)
{
	return fake_owns(f, VMOFS_REQUEST_READ, page, n);
}

static unsigned n_owned(struct scene *s)
{
	return fake_n_owned(s->own) + fake_n_owned(s->by);
}

/* ---- who is asked ---- */

static void test_a_gap_is_split(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct aread a;

	scene_begin(&s, 2, 5);
	aread_park(&a, s.vmo, 0, 8);
	assert_true(owns(s.own, 0, 2) && owns(s.by, 2, 3) && owns(s.own, 5, 3));
	assert_int_equal(n_owned(&s), 3);
	vmo_check(s.vmo);
	assert_int_equal(near_supply(&s, 2, 3), 3 * PAGE);
	assert_int_equal(s.arrived, 0);
	fake_supply(s.own, 5, 3);
	assert_int_equal(s.arrived, 3);
	assert_int_equal(a.n_done, 0);
	fake_supply(s.own, 0, 2);
	assert_int_equal(s.arrived, 5);
	read_end(&a);
	assert_int_equal(n_owned(&s), 0);
}

/* What was asked for before stays where it was asked. */
static void test_it_may_come_later(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct aread a, b;

	scene_alone(&s, 0, PAGES);
	aread_park(&a, s.vmo, 0, 8);
	assert_int_equal(vmo_set_near(s.vmo, &s.near), 0);
	aread_park(&b, s.vmo, 4, 8);
	assert_true(owns(s.own, 0, 8) && owns(s.by, 8, 4));
	elsewhere(&s, 0, PAGES);
	assert_true(owns(s.own, 0, 8) && owns(s.own, 8, 4));
	fake_supply(s.own, 0, 12);
	read_end(&a);
	read_end(&b);
	assert_int_equal(s.arrived, 12);
	/* Too late. */
	scene_close(&s);
	assert_int_equal(vmo_set_near(s.vmo, &s.near), -ESHUTDOWN);
}

static void test_zeros_arrive_too(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, 0, 0);
	assert_int_equal(fake_supply_zero(s.own, 8, 4), 4 * PAGE);
	assert_true(s.arrived_first == 8 && s.arrived_end == 12);
	assert_int_equal(fake_supply_zero(s.own, 8, 4), 0);
	assert_int_equal(s.arrived, 4);
}

static void test_a_prefetch_there_becomes_demand(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct fake_request req;
	struct aread a;

	scene_begin(&s, 0, PAGES);
	assert_int_equal(vmo_prefetch(s.vmo, 0, 8 * PAGE, 0), 8 * PAGE);
	aread_park(&a, s.vmo, 2, 2);
	assert_int_equal(fake_count(s.by, FAKE_SWAP), 1);
	assert_true(fake_owned(s.by, 0, &req));
	assert_int_equal(req.cls, VMOFS_CLASS_DEMAND);
	near_supply(&s, 0, 8);
	read_end(&a);
	assert_int_equal(fake_n_events(s.own), 0);
}

static void test_a_cancel_clears_there(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct aread a, b;

	scene_begin(&s, 4, PAGES);
	aread_park(&a, s.vmo, 0, 12);
	aread_park(&b, s.vmo, 4, 2);
	assert_true(vmo_read_cancel(&a.r));
	vmo_check(s.vmo);
	/* Each heard of its own part: cleared here, narrowed there. */
	assert_int_equal(fake_n_owned(s.own), 0);
	assert_true(owns(s.by, 4, 2));
	near_supply(&s, 4, 2);
	read_end(&b);
}

/* ---- not there after all ---- */

static void test_what_is_missing_goes_on(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct aread a;

	scene_begin(&s, 0, PAGES);
	aread_park(&a, s.vmo, 0, 8);
	assert_int_equal(pool_reserved(s.pool), 8);
	elsewhere(&s, 2, 3);
	assert_true(owns(s.own, 2, 3) && owns(s.by, 0, 8));
	assert_int_equal(pool_reserved(s.pool), 8);
	/* Twice makes no difference. */
	elsewhere(&s, 1, 3);
	assert_true(owns(s.own, 1, 1) && owns(s.own, 2, 3));
	assert_int_equal(fake_n_owned(s.own), 2);
	near_supply(&s, 0, 1);
	near_supply(&s, 5, 3);
	assert_int_equal(fake_n_owned(s.by), 0);
	assert_int_equal(a.n_done, 0);
	fake_supply(s.own, 1, 4);
	read_end(&a);
}

static void test_all_of_it_goes_on(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct fake_request req;
	const uint64_t deadline = test_now_ns() + 1000 * NSEC_PER_SEC;
	struct aread a;

	scene_begin(&s, 0, PAGES);
	assert_int_equal(vmo_prefetch(s.vmo, 16 * PAGE, 8 * PAGE, deadline), 8 * PAGE);
	aread_park(&a, s.vmo, 0, 4);
	elsewhere(&s, 0, PAGES);
	assert_int_equal(fake_n_owned(s.by), 0);
	assert_int_equal(fake_count(s.by, FAKE_CLEAR), 2);
	assert_true(owns(s.own, 0, 4) && owns(s.own, 16, 8));
	for (unsigned i = 0; fake_owned(s.own, i, &req); i++) {
		assert_int_equal(req.cls, req.page ? VMOFS_CLASS_PREFETCH : VMOFS_CLASS_DEMAND);
		assert_int_equal(req.deadline_ns, req.page ? deadline : 0);
	}
	fake_supply(s.own, 0, 24);
	read_end(&a);
}

static void test_its_own_failure_is_the_readers(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct aread a;

	scene_begin(&s, 0, PAGES);
	aread_park(&a, s.vmo, 0, 4);
	elsewhere(&s, 1, 2);
	fake_fail(s.own, 1, 2, -EIO);
	vmo_check(s.vmo);
	/* The first page is still to come: it ends when its first bad page is the next. */
	near_supply(&s, 0, 1);
	assert_int_equal(a.n_done, 1);
	assert_int_equal(a.status, -EIO);
	assert_int_equal(n_owned(&s), 0);
	assert_int_equal(pool_reserved(s.pool), 0);
}

static void test_without_memory_pages_fail(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct aread a, b;

	scene_begin(&s, 0, PAGES);
	aread_park(&a, s.vmo, 0, 4);
	aread_park(&b, s.vmo, 8, 4);
	fail_alloc_arm(1);
	vmo_elsewhere(s.vmo, 0, 4 * PAGE);
	assert_true(fail_alloc_disarm());
	vmo_check(s.vmo);
	assert_int_equal(a.n_done, 1);
	assert_int_equal(a.status, -ENOMEM);
	assert_int_equal(b.n_done, 0);
	assert_int_equal(pool_reserved(s.pool), 4);
	near_supply(&s, 8, 4);
	read_end(&b);
}

/* A request that lost its first waiter has pages in its middle that nobody wants. */
static void test_what_nobody_wants_does_not_go_on(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct aread all, head, tail;

	scene_begin(&s, 0, PAGES);
	aread_park(&all, s.vmo, 0, 12);
	aread_park(&head, s.vmo, 0, 2);
	aread_park(&tail, s.vmo, 10, 2);
	assert_true(vmo_read_cancel(&all.r));
	assert_int_equal(pool_reserved(s.pool), 12);
	elsewhere(&s, 4, 4);
	assert_int_equal(fake_n_owned(s.own), 0);
	assert_int_equal(pool_reserved(s.pool), 8);
	elsewhere(&s, 0, PAGES);
	assert_int_equal(fake_n_owned(s.by), 0);
	fake_supply(s.own, 0, 12);
	read_end(&head);
	read_end(&tail);
}

/* A page came, went and is wanted again while the older request is still out for others. */
static void test_two_requests_there_over_each_other(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct aread a, b, c;

	scene_begin(&s, 0, PAGES);
	aread_park(&a, s.vmo, 0, 12);
	aread_park(&b, s.vmo, 8, 4);
	near_supply(&s, 2, 2);
	assert_true(vmo_read_cancel(&a.r));
	aread_park(&a, s.vmo, 0, 1);
	assert_int_equal(vmo_evict(s.vmo, 2 * PAGE, 2 * PAGE, true), 2);
	aread_park(&c, s.vmo, 2, 2);
	elsewhere(&s, 0, PAGES);
	assert_int_equal(fake_n_owned(s.by), 0);
	fake_supply(s.own, 0, 12);
	read_end(&a);
	read_end(&b);
	read_end(&c);
}

/* ---- the end ---- */

static void test_both_hear_of_the_end(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct aread a;

	scene_begin(&s, 0, 4);
	aread_park(&a, s.vmo, 0, 8);
	scene_close(&s);
	assert_int_equal(a.status, -ESHUTDOWN);
	assert_int_equal(fake_count(s.by, FAKE_CLOSE), 1);
	assert_int_equal(fake_count(s.own, FAKE_CLOSE), 1);
	assert_int_equal(near_supply(&s, 0, 4), -ESHUTDOWN);
	elsewhere(&s, 0, 8);
}

/* ---- what is to be kept ---- */

static void test_eviction_spares(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, 0, 0);
	fake_supply(s.own, 0, 16);
	s.spare_first = 4;
	s.spare_end = 6;
	assert_int_equal(vmo_evict(s.vmo, 0, 16 * PAGE, true), 14);
	assert_int_equal(s.unneeded, 16);
	assert_int_equal(vmo_page_state(s.vmo, 4 * PAGE), PAGE_CLEAN);
	assert_int_equal(vm_pool_evict(s.pool, BUDGET), 0);
	s.spare_end = 4;
	assert_int_equal(vm_pool_evict(s.pool, BUDGET), 2);
	assert_int_equal(vmo_n_resident(s.vmo), 0);
}

/* At the end nothing is spared any more. */
static void test_detach_does_not_spare(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;

	scene_begin(&s, 0, 0);
	fake_supply(s.own, 0, 16);
	s.spare_end = PAGES;
	vmo_detach(s.vmo);
	assert_int_equal(vmo_n_resident(s.vmo), 0);
}

/*
 * What the provider says of all of it counts for what came from both: it goes, but for what a reply is being sent from,
 * which goes after that; whoever waits, or comes later, is told that it is wrong and not that it is gone.
 */
static void test_distrust_takes_all_back(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct aread waits, pinned, late;
	char buf[PAGE];

	scene_begin(&s, 0, 8);
	fake_supply(s.own, 8, 8);
	assert_int_equal(aread_start(&pinned, s.vmo, 8, 4), 0);
	aread_park(&waits, s.vmo, 0, 8);
	near_supply(&s, 0, 4);
	vmofs_distrust(s.vmo);
	assert_true(vmo_is_distrusted(s.vmo));
	assert_int_equal(s.n_distrusted, 1);
	assert_int_equal(n_owned(&s), 0);
	assert_int_equal(aread_wait(&waits), -EBADMSG);
	assert_int_equal(vmo_n_resident(s.vmo), 4);
	aread_expect_data(&pinned, KEY);
	assert_int_equal(vmo_n_resident(s.vmo), 0);
	assert_int_equal(fake_supply(s.own, 0, 1), -EBADMSG);
	assert_int_equal(near_supply(&s, 0, 1), -EBADMSG);
	assert_int_equal(aread_start(&late, s.vmo, 0, 1), -EBADMSG);
	assert_int_equal(vmo_read(s.vmo, 0, buf, PAGE, NULL), -EBADMSG);
	vmofs_distrust(s.vmo);
	assert_int_equal(s.n_distrusted, 1);
}

static void test_present_pages_are_pinned(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct vmo_read r = { .len = PAGES * PAGE };

	scene_begin(&s, 0, 0);
	assert_int_equal(vmo_read_present(s.vmo, &r), -ENODATA);
	fake_supply(s.own, 4, 2);
	fake_supply_zero(s.own, 6, 3);
	fake_supply(s.own, PAGES - 1, 1);
	assert_int_equal(vmo_read_present(s.vmo, &r), 0);
	assert_int_equal(r.off, 4 * PAGE);
	assert_int_equal(r.len, 5 * PAGE);
	assert_int_equal(r.n_iov, 2);
	assert_int_equal(r.iov[0].iov_len, 2 * PAGE);
	assert_int_equal(vmo_evict(s.vmo, 0, PAGES * PAGE, true), 1);
	vmo_read_end(&r);
	assert_int_equal(vmo_evict(s.vmo, 0, PAGES * PAGE, true), 2);
	assert_int_equal(fake_n_events(s.own) + fake_n_events(s.by), 0);
}

static void test_the_tail_is_pinned_to_the_size(void **state UNUSED)
{
	cleanup(scene_end) struct scene s;
	struct vmo_read r = { .off = (PAGES - 2) * PAGE, .len = 2 * PAGE };

	scene_begin(&s, 0, PAGES);
	assert_int_equal(near_supply(&s, PAGES - 2, 1), PAGE);
	assert_int_equal(vmo_read_present(s.vmo, &r), 0);
	assert_int_equal(r.len, PAGE);
	vmo_read_end(&r);
	assert_int_equal(fake_supply(s.own, PAGES - 1, 1), PAGE);
	r = (struct vmo_read){ .off = (PAGES - 2) * PAGE, .len = 2 * PAGE };
	assert_int_equal(vmo_read_present(s.vmo, &r), 0);
	assert_int_equal(r.len, 2 * PAGE - 100);
	vmo_read_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_gap_is_split),
		cmocka_unit_test(test_it_may_come_later),
		cmocka_unit_test(test_zeros_arrive_too),
		cmocka_unit_test(test_a_prefetch_there_becomes_demand),
		cmocka_unit_test(test_a_cancel_clears_there),
		cmocka_unit_test(test_what_is_missing_goes_on),
		cmocka_unit_test(test_all_of_it_goes_on),
		cmocka_unit_test(test_its_own_failure_is_the_readers),
		cmocka_unit_test(test_without_memory_pages_fail),
		cmocka_unit_test(test_what_nobody_wants_does_not_go_on),
		cmocka_unit_test(test_two_requests_there_over_each_other),
		cmocka_unit_test(test_both_hear_of_the_end),
		cmocka_unit_test(test_eviction_spares),
		cmocka_unit_test(test_detach_does_not_spare),
		cmocka_unit_test(test_distrust_takes_all_back),
		cmocka_unit_test(test_present_pages_are_pinned),
		cmocka_unit_test(test_the_tail_is_pinned_to_the_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

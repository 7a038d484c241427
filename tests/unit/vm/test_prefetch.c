/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefetch beside what is there or under way already: that is no reason to ask for less, and it counts as progress.
 * One thread; the test is the provider.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/vmo_scene.h"

#define PAGE VMOFS_PAGE_SIZE
#define KEY  UINT64_C(0x1100000000000000)

/* Pages of the smallest budget; a prefetch takes half of it at most. */
enum { BUDGET = VM_POOL_MIN / PAGE, STEP = BUDGET / 2 };

#define SCENE(name, pages)                             \
	cleanup(vmo_scene_end) struct vmo_scene name = \
		vmo_scene_new(KEY, VM_POOL_MIN, (pages)*PAGE, 0)

/* Pages [first, first + n) are asked for: @fresh of them anew, up to page @end in all. */
static void expect(struct vmo_scene *s, uint64_t first, uint64_t n, uint64_t fresh, uint64_t end)
{
	uint64_t asked;
	uint64_t to = vmo_prefetch_to(s->vmo, first * PAGE, n * PAGE, 0, &asked);

	assert_int_equal(asked, fresh * PAGE);
	assert_int_equal(to, end * PAGE);
}

static void test_what_is_under_way_is_progress(void **state UNUSED)
{
	SCENE(s, BUDGET);

	expect(&s, 0, 8, 8, 8);
	expect(&s, 0, 16, 8, 16);
	expect(&s, 0, 16, 0, 16);
	expect(&s, 12, 8, 4, 20);
	assert_int_equal(pool_reserved(s.pool), 20);
	assert_true(fake_owns(s.provider, VMOFS_REQUEST_READ, 8, 8));
	assert_true(fake_owns(s.provider, VMOFS_REQUEST_READ, 16, 4));
}

static void test_what_lies_between_is_asked_for(void **state UNUSED)
{
	SCENE(s, BUDGET);

	expect(&s, 4, 8, 8, 12);
	expect(&s, 20, 4, 4, 24);
	assert_int_equal(fake_supply(s.provider, 4, 4), 4 * PAGE);
	expect(&s, 0, 32, 4 + 8 + 8, 32);
	assert_int_equal(pool_reserved(s.pool), 4 + 4 + 4 + 8 + 8);
}

/* What is under way takes nothing of the room that is left. */
static void test_as_far_as_there_is_room(void **state UNUSED)
{
	SCENE(s, 4 * BUDGET);

	expect(&s, 0, STEP, STEP, STEP);
	expect(&s, 0, STEP + 16, 16, STEP + 16);
	expect(&s, STEP / 2, 2 * STEP, STEP / 2, STEP + 16 + STEP / 2);
	assert_in_range(pool_reserved(s.pool), STEP, BUDGET);
}

/* None is left: all that is under way counts, and nothing behind it. */
static void test_without_room(void **state UNUSED)
{
	SCENE(s, 4 * BUDGET);

	expect(&s, 0, STEP, STEP, STEP);
	expect(&s, STEP, STEP, STEP, BUDGET);
	expect(&s, 0, 2 * BUDGET, 0, BUDGET);
	expect(&s, BUDGET, 8, 0, BUDGET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_under_way_is_progress),
		cmocka_unit_test(test_what_lies_between_is_asked_for),
		cmocka_unit_test(test_as_far_as_there_is_room),
		cmocka_unit_test(test_without_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the book-keeping costs: it follows what is resident, not the size of the object. 64 MiB in runs
 * of 1 MiB cost the same in an object of 1 TiB as in one of 2 GiB, and about one byte a page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/vmo_scene.h"

#define PAGE     VMOFS_PAGE_SIZE
#define RESIDENT MIB(64)
/* A sanitizer's shadow leaves less room for addresses. */
#ifdef VMOFS_SANITIZED
#define TIB GIB(256)
#else
#define TIB (UINT64_C(1) << 40)
#endif

enum { BYTES_PER_EXTENT = 80, BYTES_PER_ZERO_RANGE = 96, BYTES_FIXED = 4096 };

static struct vmo_scene scene_of(uint64_t size)
{
	return vmo_scene_new(1, 2 * RESIDENT, size, VMO_RESIZABLE);
}

/* Supplies RESIDENT bytes in runs of @run, evenly spread. */
static void spread(struct vmo_scene *s, uint64_t size, uint64_t run)
{
	unsigned char *buf = calloc(1, run);
	uint64_t n = RESIDENT / run;

	assert_non_null(buf);
	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(vmo_supply(s->vmo, i * (size / n), buf, run), run);
	assert_int_equal(vmo_n_resident(s->vmo), RESIDENT / PAGE);
	free(buf);
}

static uint64_t cost_of(uint64_t size, uint64_t run)
{
	struct vmo_scene s = scene_of(size);
	uint64_t cost;

	spread(&s, size, run);
	cost = vmo_overhead_bytes(s.vmo);
	vmo_scene_end(&s);
	return cost;
}

static void the_size_of_the_object_costs_nothing(void **state UNUSED)
{
	uint64_t small = cost_of(GIB(2), MIB(1));
	uint64_t big = cost_of(TIB, MIB(1));

	print_message("  64 MiB in runs of 1 MiB: %ju bytes in 2 GiB, %ju in 1 TiB\n",
		      (uintmax_t)small, (uintmax_t)big);
	assert_true(big <= small);
}

static void a_byte_a_page_and_a_little_an_extent(void **state UNUSED)
{
	static const uint64_t runs[] = { RESIDENT, MIB(1), KIB(256) };
	uint64_t pages = RESIDENT / PAGE;

	for (unsigned i = 0; i < ARRAY_LEN(runs); i++) {
		uint64_t extents = RESIDENT / KIB(256);
		uint64_t cost = cost_of(TIB, runs[i]);

		print_message("  runs of %ju KiB: %.2f bytes a page\n", (uintmax_t)(runs[i] >> 10),
			      (double)cost / (double)pages);
		assert_true(cost <= pages + extents * BYTES_PER_EXTENT + BYTES_FIXED);
	}
}

static void what_is_gone_costs_nothing(void **state UNUSED)
{
	struct vmo_scene s = scene_of(TIB);
	uint64_t empty = vmo_overhead_bytes(s.vmo);

	spread(&s, TIB, MIB(1));
	assert_int_equal(vmo_evict(s.vmo, 0, TIB, true), RESIDENT / PAGE);
	assert_int_equal(vmo_n_resident(s.vmo), 0);
	assert_true(vmo_overhead_bytes(s.vmo) <= empty + BYTES_FIXED);
	vmo_scene_end(&s);
}

static void zeros_cost_by_the_range(void **state UNUSED)
{
	/* Twice this, and the window it had, fit beside a sanitizer's shadow. */
	struct vmo_scene s = scene_of(GIB(256));
	uint64_t empty = vmo_overhead_bytes(s.vmo);

	assert_int_equal(vmo_supply_zero(s.vmo, GIB(1), GIB(100)), GIB(100));
	assert_int_equal(vmo_zero(s.vmo, GIB(150), GIB(50), NULL), 0);
	assert_int_equal(vmo_resize(s.vmo, GIB(512), NULL), 0);
	assert_int_equal(vmo_n_resident(s.vmo), 0);
	assert_true(vmo_overhead_bytes(s.vmo) <= empty + 3 * BYTES_PER_ZERO_RANGE);
	vmo_scene_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_size_of_the_object_costs_nothing),
		cmocka_unit_test(a_byte_a_page_and_a_little_an_extent),
		cmocka_unit_test(what_is_gone_costs_nothing),
		cmocka_unit_test(zeros_cost_by_the_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

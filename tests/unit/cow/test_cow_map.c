/* SPDX-License-Identifier: Apache-2.0 */
/* Extents laid over extents, against a page of letters each; and where contents are, at every offset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "cow/cow_private.h"
#include "lib/prng.h"

enum { PAGES = 24, ROUNDS = 20000, SEED = 7 };
#define PAGE VMOFS_PAGE_SIZE

/* Where each page is: its place in the data, COW_ZEROS, or NONE. */
#define NONE (COW_ZEROS - 1)

static void fill(uint64_t where[PAGES], const struct cow_extent *e, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		for (uint64_t p = 0; p * PAGE < e[i].len; p++)
			where[e[i].off / PAGE + p] =
				e[i].at == COW_ZEROS ? COW_ZEROS : e[i].at + p * PAGE;
}

static void check_order(const struct cow_extent *e, uint64_t n, uint64_t size)
{
	uint64_t end = 0;

	for (uint64_t i = 0; i < n; i++) {
		assert_true(e[i].len > 0 && e[i].off % PAGE == 0 && e[i].off >= end);
		assert_true(e[i].len % PAGE == 0 || e[i].off + e[i].len == size);
		end = e[i].off + e[i].len;
		assert_true(end <= size);
		assert_false(i &&
			     cow_extent_join(&(struct cow_extent){ e[i - 1].off, e[i - 1].len,
								   e[i - 1].at },
					     &e[i]));
	}
}

/* Some changed ranges below @size, in order and not touching; each at a place of its own. */
static uint64_t some(struct prng *r, uint64_t size, uint64_t *place, struct cow_extent *e)
{
	uint64_t n = 0, at = prng_below(r, 4);

	for (; at * PAGE < size && n < 6; n++) {
		uint64_t len = 1 + prng_below(r, 4);

		e[n].off = at * PAGE;
		e[n].len = MIN(len * PAGE, size - e[n].off);
		e[n].at = prng_below(r, 4) ? *place : COW_ZEROS;
		*place += len * PAGE;
		at += len + 1 + prng_below(r, 5);
	}
	return n;
}

static void test_overlay(void **state UNUSED)
{
	struct prng r = { .state = SEED };
	struct cow_extent old[64], now[8], out[64];
	uint64_t want[PAGES], got[PAGES];
	uint64_t n_old = 0, place = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t size = prng_below(&r, PAGES * PAGE + 1), n, n_now;

		if (!prng_below(&r, 20))
			n_old = 0;
		n_now = some(&r, size, &place, now);
		for (unsigned i = 0; i < PAGES; i++)
			want[i] = NONE;
		fill(want, old, n_old);
		for (uint64_t i = (size + PAGE - 1) / PAGE; i < PAGES; i++)
			want[i] = NONE;
		fill(want, now, n_now);
		n = cow_map_overlay(old, n_old, now, n_now, size, out);
		assert_true(n <= n_old + 2 * n_now);
		check_order(out, n, size);
		for (unsigned i = 0; i < PAGES; i++)
			got[i] = NONE;
		fill(got, out, n);
		assert_memory_equal(want, got, sizeof want);
		/* The next version grows only in whole pages here; what ends in one is cut by some(). */
		n_old = size % PAGE ? 0 : n;
		memcpy(old, out, sizeof old);
	}
}

/* An extent that ends with the file in the middle of a page: the next version has that page anew. */
static void test_grown_in_a_page(void **state UNUSED)
{
	struct cow_extent old = { 0, PAGE + 100, 0 };
	struct cow_extent now = { PAGE, 2 * PAGE, 8 * PAGE };
	struct cow_extent out[4];

	assert_int_equal(2, cow_map_overlay(&old, 1, &now, 1, 3 * PAGE, out));
	assert_int_equal(PAGE, out[0].len);
	assert_int_equal(8 * PAGE, out[1].at);
	assert_int_equal(1, cow_map_overlay(&old, 1, NULL, 0, 50, out));
	assert_int_equal(50, out[0].len);
}

static void test_find(void **state UNUSED)
{
	struct cow_map *m = calloc(1, sizeof *m + 2 * sizeof m->e[0]);
	uint64_t end, at = 0;

	m->size = 10 * PAGE;
	m->kept = 5 * PAGE + 7;
	m->n = 2;
	m->e[0] = (struct cow_extent){ PAGE, 2 * PAGE, 40 * PAGE };
	m->e[1] = (struct cow_extent){ 5 * PAGE, PAGE, COW_ZEROS };
	assert_int_equal(COW_BELOW, cow_map_find(m, 0, &end, &at));
	assert_int_equal(PAGE, end);
	assert_int_equal(COW_HERE, cow_map_find(m, 2 * PAGE, &end, &at));
	assert_int_equal(3 * PAGE, end);
	assert_int_equal(41 * PAGE, at);
	assert_int_equal(COW_BELOW, cow_map_find(m, 3 * PAGE, &end, &at));
	assert_int_equal(5 * PAGE, end);
	assert_int_equal(COW_NOWHERE, cow_map_find(m, 5 * PAGE, &end, &at));
	assert_int_equal(COW_NOWHERE, cow_map_find(m, 6 * PAGE, &end, &at));
	assert_int_equal(10 * PAGE, end);
	/* The base to the very end. */
	m->n = 0;
	m->size = m->kept;
	assert_int_equal(COW_BELOW, cow_map_find(m, 5 * PAGE, &end, &at));
	assert_int_equal(5 * PAGE + 7, end);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overlay),
		cmocka_unit_test(test_grown_in_a_page),
		cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

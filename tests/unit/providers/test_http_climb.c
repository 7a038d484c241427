/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many long requests at a time: ways of several kinds are simulated, in told time, and the number has to end
 * where it belongs and stay there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/macros.h"
#include "http/http_climb.h"

#define MS NSEC_PER_MSEC

/* A way that carries @most bytes a second in all, and @each by one connection. */
struct way {
	uint64_t delay_ns;
	double most, each;
	double loss; /* of the whole for each connection beyond @enough */
	unsigned enough;
	struct http_climb climb;
	uint64_t now_ns;
	double total;
	unsigned seed;
};

static double way_rate(struct way *w, unsigned n)
{
	double rate = MIN(n * w->each, w->most);
	unsigned over = n > w->enough ? n - w->enough : 0;

	w->seed = w->seed * 1664525 + 1013904223;
	rate *= MAX(1 - over * w->loss, 0.1);
	return rate * (0.985 + 0.03 * (w->seed >> 8) / (1 << 24)); /* nothing is quite steady */
}

/* @ms with as many requests as are allowed, or with @at_most. */
static void way_run(struct way *w, unsigned ms, unsigned at_most)
{
	for (unsigned i = 0; i < ms; i += 5) {
		unsigned n = MIN(w->climb.n, at_most);

		w->total += way_rate(w, n) / 200;
		w->now_ns += 5 * MS;
		http_climb_change(&w->climb, n, (uint64_t)w->total, w->delay_ns, w->now_ns);
	}
}

static void way_init(struct way *w, uint64_t delay_ns, double most, double each)
{
	*w = (struct way){ .delay_ns = delay_ns, .most = most, .each = each, .enough = 1000 };
	w->now_ns = NSEC_PER_SEC;
	http_climb_init(&w->climb, 16);
}

/* The least and the most in the last @ms of a run. */
static void way_range(struct way *w, unsigned ms, unsigned *least, unsigned *most)
{
	*least = ~0u;
	*most = 0;
	for (unsigned i = 0; i < ms; i += 5) {
		way_run(w, 5, ~0u);
		*least = MIN(*least, w->climb.n);
		*most = MAX(*most, w->climb.n);
	}
}

static void test_near_stays_at_few(void **state UNUSED)
{
	struct way w;
	unsigned least, most;

	way_init(&w, MS / 10, 2.5e9, 1.2e9);
	way_run(&w, 20, ~0u);
	assert_int_equal(w.climb.n, 4);
	way_run(&w, 10000, ~0u);
	way_range(&w, 5000, &least, &most);
	assert_in_range(least, 2, 4);
	assert_in_range(most, 2, 6);
}

static void test_far_uses_what_it_may(void **state UNUSED)
{
	struct way w;
	unsigned least, most;

	way_init(&w, 80 * MS, 1e9, 15e6);
	way_run(&w, 20000, ~0u);
	way_range(&w, 20000, &least, &most);
	assert_int_equal(most, 14); /* of 16: two are left to others */
	assert_in_range(least, 10, 14);
}

/* 100 Mbit/s: a few connections fill it, more only mix up the order. */
static void test_a_narrow_way_gets_fewer(void **state UNUSED)
{
	struct way w;

	way_init(&w, 20 * MS, 12.5e6, 4e6);
	way_run(&w, 120000, ~0u);
	assert_in_range(w.climb.n, 4, 9);
}

static void test_more_than_is_good(void **state UNUSED)
{
	struct way w;

	way_init(&w, 20 * MS, 100e6, 20e6);
	w.enough = 6;
	w.loss = 0.1;
	way_run(&w, 30000, ~0u);
	assert_in_range(w.climb.n, 4, 8);
}

/* The way changes; the number follows. */
static void test_it_is_tried_again(void **state UNUSED)
{
	struct way w;

	way_init(&w, MS / 2, 1e9, 5e8);
	way_run(&w, 10000, ~0u);
	assert_in_range(w.climb.n, 2, 4);
	w.each = 5e7;
	way_run(&w, 60000, ~0u);
	assert_in_range(w.climb.n, 10, 14);
}

/* Who wants little says nothing about what the way can carry. */
static void test_little_demand_changes_nothing(void **state UNUSED)
{
	struct way w;

	way_init(&w, 80 * MS, 1e9, 15e6);
	way_run(&w, 60000, 3);
	assert_int_equal(w.climb.n, 14);
}

static void test_limits(void **state UNUSED)
{
	for (unsigned limit = 1; limit < 70; limit++) {
		struct way w;

		way_init(&w, limit % 2 ? 20 * MS : MS / 10, 1e9, 20e6);
		http_climb_init(&w.climb, limit);
		for (unsigned i = 0; i < 100; i++) {
			way_run(&w, 500, ~0u);
			assert_in_range(w.climb.n, 1, limit);
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_near_stays_at_few),
		cmocka_unit_test(test_far_uses_what_it_may),
		cmocka_unit_test(test_a_narrow_way_gets_fewer),
		cmocka_unit_test(test_more_than_is_good),
		cmocka_unit_test(test_it_is_tried_again),
		cmocka_unit_test(test_little_demand_changes_nothing),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The interval tree against a plain array: every overlap is found, once, in order of its begin. */
#include "base/itree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/prng.h"

enum { N_ITEMS = 60, N_STEPS = 20000, SPACE = 300 };

struct item {
	struct itree_node node;
	bool in;
	bool found;
};

static bool overlaps(const struct itree_node *n, uint64_t first, uint64_t end)
{
	return n->first < end && n->end > first;
}

static void query(const struct rb_tree *t, struct item *items, uint64_t first, uint64_t end)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < N_ITEMS; i++)
		items[i].found = false;
	for (struct itree_node *n = itree_first(t, first, end); n; n = itree_next(n, first, end)) {
		struct item *it = container_of(n, struct item, node);

		assert_true(it->in && !it->found && n->first >= last);
		assert_true(overlaps(n, first, end));
		it->found = true;
		last = n->first;
	}
	for (unsigned i = 0; i < N_ITEMS; i++)
		assert_int_equal(items[i].found,
				 items[i].in && overlaps(&items[i].node, first, end));
}

static void random_ranges(void **state UNUSED)
{
	static struct item items[N_ITEMS];
	struct rb_tree t;
	struct prng r = { 1 };

	itree_init(&t);
	for (unsigned i = 0; i < N_STEPS; i++) {
		struct item *it = &items[prng_below(&r, N_ITEMS)];
		uint64_t first = prng_below(&r, SPACE);

		if (it->in) {
			itree_remove(&t, &it->node);
		} else {
			it->node.first = prng_below(&r, SPACE);
			it->node.end = it->node.first + 1 + prng_below(&r, 30);
			itree_insert(&t, &it->node);
		}
		it->in = !it->in;
		query(&t, items, first, first + 1 + prng_below(&r, 40));
	}
}

static void ranges_of_one_begin(void **state UNUSED)
{
	static struct item items[N_ITEMS];
	struct rb_tree t;

	memset(items, 0, sizeof items);
	itree_init(&t);
	for (unsigned i = 0; i < N_ITEMS; i++) {
		items[i].node.first = 7;
		items[i].node.end = 8 + i;
		items[i].in = true;
		itree_insert(&t, &items[i].node);
	}
	for (uint64_t at = 0; at < 80; at++)
		query(&t, items, at, at + 1);
	query(&t, items, 0, UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_ranges),
		cmocka_unit_test(ranges_of_one_begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

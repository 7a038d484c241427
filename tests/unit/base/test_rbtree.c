/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree against a sorted array: random insertions and erasures, order, balance, and an augmented
 * value (the greatest end below a node) that must be right after every step.
 */
#include "base/rbtree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/prng.h"

struct item {
	struct rb_node node;
	uint64_t key;
	uint64_t end;
	uint64_t subtree_end;
};

static struct item *item_of(const struct rb_node *n)
{
	return n ? container_of(n, struct item, node) : NULL;
}

static uint64_t end_below(const struct rb_node *n)
{
	return n ? item_of(n)->subtree_end : 0;
}

static uint64_t greatest_end(const struct item *it)
{
	return MAX(it->end, MAX(end_below(it->node.child[0]), end_below(it->node.child[1])));
}

static void augment(struct rb_node *n)
{
	item_of(n)->subtree_end = greatest_end(item_of(n));
}

static void insert(struct rb_tree *t, struct item *it)
{
	struct rb_node *parent = NULL;
	struct rb_node **link = &t->root;

	while (*link) {
		parent = *link;
		link = &parent->child[it->key > item_of(parent)->key];
	}
	rb_insert(t, &it->node, parent, link);
}

/* Colours, links, augmented values; returns the number of black nodes on every way down. */
static unsigned check_below(const struct rb_tree *t, const struct rb_node *n)
{
	unsigned black[2];

	if (!n)
		return 1;
	for (int side = 0; side < 2; side++) {
		const struct rb_node *c = n->child[side];

		assert_true(!c || c->parent == n);
		assert_false(c && c->red && n->red);
		black[side] = check_below(t, c);
	}
	assert_int_equal(black[0], black[1]);
	if (t->augment)
		assert_int_equal(item_of(n)->subtree_end, greatest_end(item_of(n)));
	return black[0] + !n->red;
}

static void check(const struct rb_tree *t, struct item *const *sorted, unsigned n)
{
	struct rb_node *forth = rb_first(t);
	struct rb_node *back = rb_last(t);

	assert_true(!t->root || (!t->root->parent && !t->root->red));
	check_below(t, t->root);
	for (unsigned i = 0; i < n; i++) {
		assert_ptr_equal(item_of(forth), sorted[i]);
		assert_ptr_equal(item_of(back), sorted[n - 1 - i]);
		forth = rb_next(forth);
		back = rb_prev(back);
	}
	assert_null(forth);
	assert_null(back);
}

enum { N_ITEMS = 200, N_STEPS = 20000, CHECK_EVERY = 7 };

struct fixture {
	struct prng rng;
	struct rb_tree tree;
	struct item items[N_ITEMS];
	struct item *sorted[N_ITEMS];
	unsigned n;
};

static unsigned sorted_pos(const struct fixture *f, uint64_t key)
{
	unsigned i = 0;

	while (i < f->n && f->sorted[i]->key < key)
		i++;
	return i;
}

static void add_random(struct fixture *f, struct item *it)
{
	unsigned i;

	do
		it->key = prng_below(&f->rng, UINT64_C(1) << 20);
	while (i = sorted_pos(f, it->key), i < f->n && f->sorted[i]->key == it->key);
	it->end = it->key + prng_below(&f->rng, 1000);
	insert(&f->tree, it);
	memmove(&f->sorted[i + 1], &f->sorted[i], (f->n - i) * sizeof f->sorted[0]);
	f->sorted[i] = it;
	f->n++;
}

static void erase_at(struct fixture *f, unsigned i)
{
	struct item *it = f->sorted[i];

	rb_erase(&f->tree, &it->node);
	f->n--;
	memmove(&f->sorted[i], &f->sorted[i + 1], (f->n - i) * sizeof f->sorted[0]);
	it->key = UINT64_MAX;
}

static void step(struct fixture *f)
{
	struct item *it = &f->items[prng_below(&f->rng, N_ITEMS)];

	if (it->key == UINT64_MAX) {
		add_random(f, it);
	} else if (prng_chance(&f->rng, 30)) {
		it->end = it->key + prng_below(&f->rng, 100000);
		rb_augment_up(&f->tree, &it->node);
	} else {
		erase_at(f, sorted_pos(f, it->key));
	}
}

static void run(void (*aug)(struct rb_node *), uint64_t seed)
{
	static struct fixture f;

	memset(&f, 0, sizeof f);
	f.rng.state = seed;
	f.tree.augment = aug;
	for (unsigned i = 0; i < N_ITEMS; i++)
		f.items[i].key = UINT64_MAX;
	for (unsigned i = 0; i < N_STEPS; i++) {
		step(&f);
		if (i % CHECK_EVERY == 0 || f.n < 5)
			check(&f.tree, f.sorted, f.n);
	}
	while (f.n) {
		erase_at(&f, (unsigned)prng_below(&f.rng, f.n));
		check(&f.tree, f.sorted, f.n);
	}
	assert_null(f.tree.root);
}

static void random_against_sorted_array(void **state UNUSED)
{
	run(NULL, 1);
	run(NULL, 2);
}

static void random_with_augmented_values(void **state UNUSED)
{
	run(augment, 3);
	run(augment, 4);
}

/* Ascending and descending insertion are what unbalanced trees suffer from. */
static void sorted_insertion_stays_balanced(void **state UNUSED)
{
	static struct item items[4096];

	for (int down = 0; down < 2; down++) {
		struct rb_tree t = { .augment = augment };

		for (unsigned i = 0; i < ARRAY_LEN(items); i++) {
			items[i].key = down ? ARRAY_LEN(items) - i : i;
			items[i].end = items[i].key + 1;
			insert(&t, &items[i]);
		}
		/* 4096 nodes have at most 2 * log2(4097) levels, half of them black. */
		assert_in_range(check_below(&t, t.root), 1, 14);
		for (unsigned i = 0; i < ARRAY_LEN(items); i++) {
			rb_erase(&t, &items[i].node);
			if (i % 64 == 0)
				check_below(&t, t.root);
		}
		assert_null(t.root);
	}
}

static void empty_tree(void **state UNUSED)
{
	struct rb_tree t = { 0 };

	assert_null(rb_first(&t));
	assert_null(rb_last(&t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_tree),
		cmocka_unit_test(random_against_sorted_array),
		cmocka_unit_test(random_with_augmented_values),
		cmocka_unit_test(sorted_insertion_stays_balanced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The textbook red-black tree (Cormen et al., chapter 13) with parent pointers; children are an
 * array, so that each mirrored pair of cases is written once.
 */
#include "base/rbtree.h"

static void augment(struct rb_tree *t, struct rb_node *n)
{
	if (t->augment && n)
		t->augment(n);
}

void rb_augment_up(struct rb_tree *t, struct rb_node *n)
{
	if (!t->augment)
		return;
	for (; n; n = n->parent)
		t->augment(n);
}

static struct rb_node **link_of(struct rb_tree *t, struct rb_node *n)
{
	if (!n->parent)
		return &t->root;
	return &n->parent->child[n->parent->child[1] == n];
}

/* @x goes down towards @dir, its child of the other side takes its place. */
static void rotate(struct rb_tree *t, struct rb_node *x, int dir)
{
	struct rb_node *y = x->child[!dir];

	x->child[!dir] = y->child[dir];
	if (y->child[dir])
		y->child[dir]->parent = x;
	*link_of(t, x) = y;
	y->parent = x->parent;
	y->child[dir] = x;
	x->parent = y;
	augment(t, x);
	augment(t, y);
}

static bool is_red(const struct rb_node *n)
{
	return n && n->red;
}

static void insert_fixup(struct rb_tree *t, struct rb_node *n)
{
	struct rb_node *parent;

	while (is_red(parent = n->parent)) {
		struct rb_node *grand = parent->parent;
		int side = parent == grand->child[1];
		struct rb_node *uncle = grand->child[!side];

		if (is_red(uncle)) {
			parent->red = false;
			uncle->red = false;
			grand->red = true;
			n = grand;
			continue;
		}
		if (n == parent->child[!side]) {
			rotate(t, parent, side);
			parent = n;
		}
		parent->red = false;
		grand->red = true;
		rotate(t, grand, !side);
		break;
	}
	t->root->red = false;
}

void rb_insert(struct rb_tree *t, struct rb_node *n, struct rb_node *parent, struct rb_node **link)
{
	n->parent = parent;
	n->child[0] = NULL;
	n->child[1] = NULL;
	n->red = true;
	*link = n;
	rb_augment_up(t, n);
	insert_fixup(t, n);
}

/* The subtree at @n (may be NULL), a child of @parent, is one black node short. */
static void erase_fixup(struct rb_tree *t, struct rb_node *n, struct rb_node *parent)
{
	while (n != t->root && !is_red(n)) {
		int side = parent->child[1] == n;
		struct rb_node *s = parent->child[!side];

		if (s->red) {
			s->red = false;
			parent->red = true;
			rotate(t, parent, side);
			s = parent->child[!side];
		}
		if (!is_red(s->child[0]) && !is_red(s->child[1])) {
			s->red = true;
			n = parent;
			parent = n->parent;
			continue;
		}
		if (!is_red(s->child[!side])) {
			s->child[side]->red = false;
			s->red = true;
			rotate(t, s, !side);
			s = parent->child[!side];
		}
		s->red = parent->red;
		parent->red = false;
		s->child[!side]->red = false;
		rotate(t, parent, side);
		n = t->root;
	}
	if (n)
		n->red = false;
}

/* Takes @n, which has at most one child, out; says where a black node may be missing. */
static void unlink_simple(struct rb_tree *t, struct rb_node *n, struct rb_node **child,
			  struct rb_node **parent)
{
	*child = n->child[n->child[0] == NULL];
	*parent = n->parent;
	*link_of(t, n) = *child;
	if (*child)
		(*child)->parent = n->parent;
}

/* Puts @y, which is in no tree, where @n is. */
static void replace_node(struct rb_tree *t, struct rb_node *n, struct rb_node *y)
{
	*link_of(t, n) = y;
	y->parent = n->parent;
	y->red = n->red;
	for (int i = 0; i < 2; i++) {
		y->child[i] = n->child[i];
		if (y->child[i])
			y->child[i]->parent = y;
	}
}

void rb_erase(struct rb_tree *t, struct rb_node *n)
{
	struct rb_node *victim = n;
	struct rb_node *child;
	struct rb_node *parent;
	bool red;

	if (n->child[0] && n->child[1])
		victim = rb_next(n);
	red = victim->red;
	unlink_simple(t, victim, &child, &parent);
	if (victim != n) {
		replace_node(t, n, victim);
		if (parent == n)
			parent = victim;
	}
	rb_augment_up(t, parent);
	if (!red)
		erase_fixup(t, child, parent);
}

static struct rb_node *extreme(struct rb_node *n, int side)
{
	while (n && n->child[side])
		n = n->child[side];
	return n;
}

struct rb_node *rb_first(const struct rb_tree *t)
{
	return extreme(t->root, 0);
}

struct rb_node *rb_last(const struct rb_tree *t)
{
	return extreme(t->root, 1);
}

static struct rb_node *step(const struct rb_node *n, int side)
{
	if (n->child[side])
		return extreme(n->child[side], !side);
	while (n->parent && n == n->parent->child[side])
		n = n->parent;
	return n->parent;
}

struct rb_node *rb_next(const struct rb_node *n)
{
	return step(n, 1);
}

struct rb_node *rb_prev(const struct rb_node *n)
{
	return step(n, 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Interval tree on the augmented red-black tree. */
#include "base/itree.h"

#include <stddef.h>

#include "base/macros.h"

static struct itree_node *node_of(const struct rb_node *rb)
{
	return rb ? container_of(rb, struct itree_node, rb) : NULL;
}

static void itree_augment(struct rb_node *rb)
{
	struct itree_node *n = node_of(rb);

	n->subtree_end = n->end;
	for (int i = 0; i < 2; i++) {
		const struct itree_node *c = node_of(rb->child[i]);

		if (c && c->subtree_end > n->subtree_end)
			n->subtree_end = c->subtree_end;
	}
}

void itree_init(struct rb_tree *t)
{
	t->root = NULL;
	t->augment = itree_augment;
}

void itree_insert(struct rb_tree *t, struct itree_node *n)
{
	struct rb_node **link = &t->root;
	struct rb_node *parent = NULL;

	while (*link) {
		parent = *link;
		link = &parent->child[n->first >= node_of(parent)->first];
	}
	n->subtree_end = n->end;
	rb_insert(t, &n->rb, parent, link);
}

void itree_remove(struct rb_tree *t, struct itree_node *n)
{
	rb_erase(t, &n->rb);
}

/*
 * The leftmost node of the subtree whose end is beyond @first; the caller knows that there is one.
 * If that node begins at or after the range's end, so do all others that end beyond @first.
 */
static struct itree_node *search(struct itree_node *n, uint64_t first, uint64_t end)
{
	for (;;) {
		struct itree_node *left = node_of(n->rb.child[0]);

		if (left && left->subtree_end > first) {
			n = left;
			continue;
		}
		if (n->end > first)
			return n->first < end ? n : NULL;
		n = node_of(n->rb.child[1]);
	}
}

struct itree_node *itree_first(const struct rb_tree *t, uint64_t first, uint64_t end)
{
	struct itree_node *root = node_of(t->root);

	if (!root || root->subtree_end <= first)
		return NULL;
	return search(root, first, end);
}

struct itree_node *itree_next(const struct itree_node *n, uint64_t first, uint64_t end)
{
	const struct rb_node *rb = &n->rb;

	for (;;) {
		struct itree_node *right = node_of(rb->child[1]);
		struct itree_node *up;

		if (right && right->subtree_end > first)
			return search(right, first, end);
		while (rb->parent && rb == rb->parent->child[1])
			rb = rb->parent;
		up = node_of(rb->parent);
		if (!up || up->first >= end)
			return NULL;
		if (up->end > first)
			return up;
		rb = &up->rb;
	}
}

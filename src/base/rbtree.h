/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An intrusive red-black tree. The caller orders the nodes: it walks to the link where a node
 * belongs and inserts it there. An optional augment callback recomputes a node from itself and its
 * children, for interval trees (base/itree.h). No locking.
 */
#ifndef BASE_RBTREE_H
#define BASE_RBTREE_H

#include <stdbool.h>
#include <stddef.h>

struct rb_node {
	struct rb_node *parent;
	struct rb_node *child[2]; /* 0: smaller, 1: greater */
	bool red;
};

struct rb_tree {
	struct rb_node *root;
	/* Recomputes @n from its children and itself; NULL: nothing is kept. */
	void (*augment)(struct rb_node *n);
};

/* Links @n at @link (a NULL child pointer, or &tree->root) below @parent and balances. */
void rb_insert(struct rb_tree *t, struct rb_node *n, struct rb_node *parent, struct rb_node **link);
void rb_erase(struct rb_tree *t, struct rb_node *n);
/* Recomputes the augmented values from @n up to the root, after the key's end has changed. */
void rb_augment_up(struct rb_tree *t, struct rb_node *n);

struct rb_node *rb_first(const struct rb_tree *t);
struct rb_node *rb_last(const struct rb_tree *t);
struct rb_node *rb_next(const struct rb_node *n);
struct rb_node *rb_prev(const struct rb_node *n);

#endif

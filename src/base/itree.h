/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interval tree: half-open ranges [first, end) that may overlap, ordered by first, each subtree
 * knowing its greatest end. Finding the first overlap is O(log n). Intrusive; no locking. Used for
 * everything that is parked on or holds a range: waiters, requests, holds.
 */
#ifndef BASE_ITREE_H
#define BASE_ITREE_H

#include <stdint.h>

#include "base/rbtree.h"

struct itree_node {
	struct rb_node rb;
	uint64_t first;
	uint64_t end;
	uint64_t subtree_end;
};

void itree_init(struct rb_tree *t);
/* @n->first and @n->end are set and do not change while it is in the tree. */
void itree_insert(struct rb_tree *t, struct itree_node *n);
void itree_remove(struct rb_tree *t, struct itree_node *n);
/* The node of smallest first that overlaps [first, end), or NULL. */
struct itree_node *itree_first(const struct rb_tree *t, uint64_t first, uint64_t end);
/* The next overlap in order after @n. */
struct itree_node *itree_next(const struct itree_node *n, uint64_t first, uint64_t end);

#endif

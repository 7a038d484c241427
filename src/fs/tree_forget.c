/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tree remembers and for how long. What the kernel holds stays. The rest is kept up to the soft
 * limit, then whole directories are dropped, the one not used longest first; the numbers of the
 * files in them are not used again.
 */
#include "base/macros.h"
#include "fs/tree_private.h"

/* Freed memory that is worth giving back to the system. */
#define TRIM_BYTES MIB(4)

/* With its place in the table of numbers, its slot and its place in the index. */
static uint64_t cost(const struct node *n)
{
	return node_bytes(n) + 2 * sizeof(void *) + sizeof(uint32_t);
}

void tree_count_node(struct tree *t, const struct node *n, int sign)
{
	uint64_t one = (uint64_t)(int64_t)sign;

	t->st.nodes += one;
	t->st.bytes += one * node_bytes(n);
	if (node_is_dir(n))
		t->st.dirs += one;
	else if (n->size != VMOFS_SIZE_UNKNOWN)
		t->st.file_bytes += one * n->size;
	if (n->n_lookup)
		t->st.held += one;
	else
		t->st.free_bytes += one * cost(n);
}

void tree_hold(struct tree *t, struct node *n)
{
	if (n->n_lookup++)
		return;
	t->st.held++;
	t->st.free_bytes -= cost(n);
}

void tree_touch(struct tree *t, struct dir *d)
{
	vmofs_list_del(&d->lru);
	vmofs_list_add(&t->lru, &d->lru);
}

static bool is_busy(const struct dir *d)
{
	return d->opens || d->pins || d->other || d->state == DIR_LISTING ||
		!vmofs_list_empty(&d->waits);
}

static void drop_dir(struct tree *t, struct node *n) REQUIRES(t->lock)
{
	if (!n->dir)
		return;
	t->st.bytes -= dir_bytes(n->dir);
	tree_unhide(t, n->dir);
	dir_free(n->dir);
	n->dir = NULL;
	n->flags &= (uint16_t)~NODE_HEADED;
}

/* Nobody knows @n any more. */
static void bury(struct tree *t, struct node *n) REQUIRES(t->lock)
{
	tree_unnumber(t, n);
	if (node_is_dir(n))
		drop_dir(t, n);
	if (n->flags & NODE_OPENED) {
		n->hash_next = t->dead;
		t->dead = n;
	} else {
		node_free(n);
	}
}

static bool is_needed(const struct node *n)
{
	if (n->flags & (NODE_HELD | NODE_MADE) && !(n->flags & NODE_NAMELESS))
		return true;
	return n->n_lookup || (node_is_dir(n) && n->dir && (is_busy(n->dir) || n->dir->n_live));
}

void tree_put_away(struct tree *t, struct node *n)
{
	node_free(tree_take_other(n));
	n->flags |= NODE_NAMELESS;
	n->parent = NULL;
	n->slot = NODE_NO_SLOT;
	if (!is_needed(n))
		bury(t, n);
}

/* It stays as fresh as the listing that is forgotten. */
static void keep_entry(struct node *n, uint32_t fresh)
{
	if (!(n->flags & NODE_DOUBT))
		n->fresh = MAX(n->fresh, fresh);
}

/* The entries of @d that nobody needs; whether there were any. */
static bool drop_entries(struct tree *t, struct dir *d) REQUIRES(t->lock)
{
	bool listed = d->state == DIR_LISTED && d->asked_ns;
	uint32_t fresh = listed ? tree_tick(t, d->asked_ns) : 0;
	uint64_t before = dir_bytes(d);
	uint32_t n_live = d->n_live;
	/* Who has waited needs a moment to come. */
	bool awaited = d->answered_ns && tree_now(t) - d->answered_ns < TREE_TICK_NS;

	for (uint32_t i = 0; i < d->n_slots; i++) {
		struct node *n = d->slots[i];

		if (!n)
			continue;
		if (is_needed(n) || (awaited && n->flags & NODE_AWAITED)) {
			keep_entry(n, fresh);
			continue;
		}
		t->evicted_bytes += cost(n);
		d->slots[i] = NULL;
		d->n_live--;
		bury(t, n);
	}
	if (n_live == d->n_live)
		return false;
	dir_compact(d);
	t->st.bytes += dir_bytes(d) - before;
	t->st.evicted += n_live - d->n_live;
	return true;
}

/* False: there is nothing in it that can go. */
static bool evict_dir(struct tree *t, struct dir *d) REQUIRES(t->lock)
{
	struct node *n = d->node;

	if (is_busy(d) || (!drop_entries(t, d) && d->n_live))
		return false;
	if (d->state == DIR_LISTED)
		dir_set_state(d, DIR_UNLISTED);
	d->asked_ns = 0;
	d->whole_ns = 0;
	/* What the kernel has been told of it stays so. */
	if (d->n_live || (n->n_lookup && d->attr.has))
		return true;
	drop_dir(t, n);
	if (n->flags & NODE_NAMELESS && !is_needed(n))
		bury(t, n);
	return true;
}

static void evict_down_to(struct tree *t, uint64_t target) REQUIRES(t->lock)
{
	uint64_t tries = t->st.dirs + 1;

	while (t->st.free_bytes > target && tries-- && !vmofs_list_empty(&t->lru)) {
		struct dir *d = vmofs_list_entry(t->lru.prev, struct dir, lru);

		if (!evict_dir(t, d))
			tree_touch(t, d);
	}
}

/*
 * A pass goes a good way below the limit, and when that cannot be, because what is above it is in
 * use, the next one comes only when there is a good deal more: a pass looks at all entries.
 */
void tree_evict(struct tree *t)
{
	uint64_t limit = t->p.soft_limit;

	if (t->st.free_bytes <= MAX(limit, t->evict_at))
		return;
	evict_down_to(t, limit - limit / 8);
	t->evict_at = t->st.free_bytes > limit ? t->st.free_bytes + limit / 4 : 0;
	if (t->evicted_bytes < TRIM_BYTES)
		return;
	t->evicted_bytes = 0;
	invalidator_trim(t->invalidator);
}

void tree_evict_now(struct tree *t)
{
	t->evict_at = 0;
	tree_evict(t);
}

void tree_forget(struct tree *t, uint64_t ino, uint64_t n_lookup)
{
	struct node *n = tree_find_ino(t, ino);

	if (!n || n == t->root || !n->n_lookup)
		return;
	n->n_lookup -= (uint32_t)MIN(n_lookup, n->n_lookup);
	if (n->n_lookup)
		return;
	t->st.held--;
	t->st.free_bytes += cost(n);
	if (n->flags & NODE_NAMELESS && !is_needed(n))
		bury(t, n);
	tree_evict(t);
}

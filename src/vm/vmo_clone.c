/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copy-on-write clones. A clone sees its parent where it has no page of its own. A snapshot of a
 * clone that has been written puts a hidden node between: the pages written so far move there and
 * are frozen for both.
 *
 *   root <- clone            at least on write: later writes to the root show through
 *   root <- hidden <- clone  after VMO_SNAPSHOT_MODIFIED of the clone:
 *                  <- snapshot
 */
#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

static struct vmo *node_new(struct vmo *parent, uint64_t size, unsigned flags,
			    struct vmofs_err *err)
{
	struct vmo *v = calloc(1, sizeof *v);

	if (!v) {
		vmofs_err_set(err, -ENOMEM, "out of memory for a clone");
		return NULL;
	}
	v->refs = 1;
	v->pool = parent->pool;
	v->source = parent->source;
	v->root = parent->root;
	v->flags = flags;
	v->size = size;
	v->writable = true;
	v->resizable = flags & VMO_RESIZABLE;
	vmofs_list_init(&v->old_stores);
	/* Private pages are never evicted, so no queue needs to find them. */
	page_list_init(&v->pages, &parent->pool->queue, NULL);
	vmofs_list_init(&v->children);
	vmofs_list_init(&v->sibling);
	vmofs_list_init(&v->tokens);
	itree_init(&v->pins);
	itree_init(&v->holds);
	if (store_memfd_new(&v->store, page_bytes(page_ceil(size)), err) < 0)
		mem_freep(&v);
	return v;
}

/* Hangs @v under @parent, which it sees from page @off on; takes a reference. */
static void attach(struct vmo *v, struct vmo *parent, uint64_t off)
{
	uint64_t seen = page_ceil(parent->size);

	v->parent = vmo_get(parent);
	v->parent_off = off;
	v->root_off = parent->root_off + off;
	v->parent_limit = MIN(page_ceil(v->size), seen > off ? seen - off : 0);
	vmofs_list_add_tail(&parent->children, &v->sibling);
}

/*
 * @hidden, fresh and empty, takes @c's pages and place under its parent; @c, empty now, hangs under
 * @hidden. The stores are exchanged with the pages.
 */
static void freeze(struct vmo *c, struct vmo *hidden)
{
	struct page_list pages = hidden->pages;
	struct store *store = hidden->store;

	hidden->pages = c->pages;
	hidden->store = c->store;
	c->pages = pages;
	c->store = store;
	hidden->frozen = true;
	hidden->parent = c->parent; /* with c's reference */
	hidden->parent_off = c->parent_off;
	hidden->parent_limit = c->parent_limit;
	hidden->root_off = c->root_off;
	vmofs_list_replace(&c->sibling, &hidden->sibling);
	c->parent = hidden; /* with the creator's reference */
	c->parent_off = 0;
	c->parent_limit = page_ceil(c->size);
	vmofs_list_add_tail(&hidden->children, &c->sibling);
}

static int check_clone(const struct vmo *parent, uint64_t off, uint64_t len,
		       enum vmo_clone_kind kind, unsigned flags, struct vmofs_err *err)
{
	if (kind == VMO_SNAPSHOT)
		return vmofs_err_set(err, -EOPNOTSUPP,
				     "a paged object cannot be snapshotted in full");
	if (flags & ~(unsigned)VMO_RESIZABLE)
		return vmofs_err_set(err, -EINVAL, "unknown flags %#x for a clone", flags);
	if (off % VMOFS_PAGE_SIZE || off + len < off || off + len > (UINT64_C(1) << 62))
		return vmofs_err_set(err, -EINVAL, "range of a clone is not page aligned or wraps");
	(void)parent;
	return 0;
}

/* Whether the parent's own pages have to be frozen for the new clone. */
static bool needs_freeze(const struct vmo *parent, enum vmo_clone_kind kind)
{
	if (!parent->parent)
		return false;
	/* A clone that was snapshotted once keeps the stronger promise for all that follow. */
	return kind == VMO_SNAPSHOT_MODIFIED || parent->parent->frozen;
}

/* The parent to hang a new clone under: @parent, or the hidden node its pages moved to. */
static int freeze_parent(struct vmo *parent, struct vmo *hidden, struct vmo **under)
	REQUIRES(parent->source->lock)
{
	if (parent->pins.root)
		return -EBUSY;
	/* It was resized since the hidden node was made. */
	if (hidden->size != parent->size)
		return -EAGAIN;
	freeze(parent, hidden);
	*under = hidden;
	return 0;
}

int vmo_clone(struct vmo **out, struct vmo *parent, uint64_t off, uint64_t len,
	      enum vmo_clone_kind kind, unsigned flags, struct vmofs_err *err)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo *under = parent;
	struct vmo *hidden = NULL;
	struct vmo *v;
	bool frozen;
	int r = check_clone(parent, off, len, kind, flags, err);

	if (r < 0)
		return r;
	v = node_new(parent, len, flags, err);
	if (!v)
		return err->code;
	/* A hidden node is made beforehand: memory is not asked for under the lock. */
	hidden = node_new(parent, vmo_size(parent), 0, err);
	if (!hidden) {
		store_free(v->store);
		free(v);
		return err->code;
	}
	vmo_lock(parent);
	frozen = needs_freeze(parent, kind);
	if (frozen)
		r = freeze_parent(parent, hidden, &under);
	if (r == 0)
		attach(v, under, page_floor(off));
	vmo_unlock(parent, &wake);
	if (!frozen || r < 0) {
		store_free(hidden->store);
		free(hidden);
	}
	if (r < 0) {
		store_free(v->store);
		free(v);
		return vmofs_err_set(err, r, "cannot snapshot an object with %s",
				     r == -EBUSY ? "pinned pages" : "a size that is changing");
	}
	*out = v;
	return 0;
}

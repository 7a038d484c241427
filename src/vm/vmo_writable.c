/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a VMO writable in place: the guard of its dirty pages, and memory that can grow. What is read only pays nothing for
 * any of it.
 *
 * Contents move to another store when the one they are in cannot grow, or when somebody reads from it who must go on
 * seeing what was there (the thread that writes a disk cache). Then the old store stays until nobody holds anything.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

/* Clean pages beyond that are dropped, not copied. */
enum { KEEP_PAGES = 8192 };

/* ---- the guard ---- */

int vmo_grant(struct vmo *v, uint64_t n)
{
	int r = 0;

	if (!v->guard || !n)
		return 0;
	r = v->guard->ops->grant(v->guard, n);
	if (r == 0)
		v->charged += n;
	return r;
}

static uint64_t n_dirty(const struct vmo *v)
{
	return v->pages.n_pages[PAGE_DIRTY] + v->pages.n_pages[PAGE_AWAITING_CLEAN];
}

/* The root has the same lock, which the analysis cannot know. */
void vmo_settle_guard(struct vmo *v) NO_TSA
{
	struct vmo *root = v->root;
	uint64_t n;

	if (!root->guard)
		return;
	n = n_dirty(root);
	assert(n <= root->charged);
	if (n < root->charged)
		root->guard->ops->release(root->guard, root->charged - n);
	root->charged = n;
}

void vmo_drop_guard(struct vmo *v)
{
	if (v->guard && v->charged)
		v->guard->ops->release(v->guard, v->charged);
	v->guard = NULL;
	v->charged = 0;
}

/* ---- the store ---- */

void vmo_free_old_stores(struct vmo *v)
{
	struct old_store *o;

	while ((o = vmofs_list_first(&v->old_stores, struct old_store, link))) {
		vmofs_list_del(&o->link);
		store_free(o->store);
		free(o);
	}
}

/* The next run of pages with memory at or after @page; false: none. */
static bool next_present(struct vmo *v, uint64_t page, uint64_t limit, struct page_run *out)
	REQUIRES(v->source->lock)
{
	page = page_list_next_resident(&v->pages, page, limit);
	if (page < limit)
		*out = page_list_run(&v->pages, page, limit);
	return page < limit;
}

/* Contents go to @to; the store before stays as long as anybody may have addresses of it. */
static void move_contents(struct vmo *v, struct store *to, struct old_store *old)
	REQUIRES(v->source->lock)
{
	uint64_t end = page_ceil(v->size);
	struct page_run run;

	for (uint64_t p = 0; next_present(v, p, end, &run); p = run.end) {
		uint64_t off = page_bytes(run.first);
		uint64_t len = page_bytes(run.end - run.first);

		store_write(to, off, store_addr(v->store, off, len), len);
		if (!v->holds.root)
			store_punch(v->store, off, len);
	}
	old->store = v->store;
	vmofs_list_add_tail(&v->old_stores, &old->link);
	v->store = to;
	if (!v->holds.root)
		vmo_free_old_stores(v);
}

static int new_store(struct vmo *v, uint64_t pages, struct store **out)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	uint64_t room = 1;

	while (room < pages)
		room *= 2;
	if (!pages || page_bytes(room) > STORE_SMALL_MAX)
		return store_memfd_new(out, page_bytes(pages), &err);
	return store_small_new(out, page_bytes(room), v->pool->small, &err);
}

/* To a store with room for @pages. */
static int move_store(struct vmo *v, uint64_t pages) REQUIRES(v->source->lock)
{
	struct old_store *old = calloc(1, sizeof *old);
	struct store *to;
	int r;

	if (!old)
		return -ENOMEM;
	vmofs_list_init(&old->link);
	r = new_store(v, pages, &to);
	if (r < 0) {
		free(old);
		return r;
	}
	move_contents(v, to, old);
	return 0;
}

int vmo_store_grow(struct vmo *v, uint64_t pages)
{
	if (page_bytes(pages) <= v->store->size)
		return 0;
	if (v->store->ops->can_grow)
		return store_resize(v->store, page_bytes(pages));
	return v->pins.root ? -EBUSY : move_store(v, pages);
}

/* Large ones at once, while most of what is there can be dropped; small ones when they grow. */
static bool must_move(struct vmo *v) REQUIRES(v->source->lock)
{
	bool small = page_bytes(page_ceil(v->size)) <= STORE_SMALL_MAX;

	return !v->store->ops->can_grow && (!small || v->holds.root);
}

static int prepare_store(struct vmo *v) REQUIRES(v->source->lock)
{
	uint64_t pages = page_ceil(v->size);

	if (!must_move(v))
		return 0;
	if (page_list_resident(&v->pages) > KEEP_PAGES)
		vmo_evict_clean(v, 0, pages, true);
	return move_store(v, pages);
}

/* ---- making it so ---- */

/* What is on the disk is of the version before, and stays so. */
static void leave_near(struct vmo *v, struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	struct vmo_near *near = v->source->near;

	if (v->source->near_off)
		return;
	v->source->near_off = true;
	if (!near)
		return;
	near->ops->written(near);
	page_source_elsewhere_locked(v->source, 0, page_ceil(v->size), wake);
}

static int make_writable(struct vmo *v, struct vmo_guard *guard, struct page_wakeups *wake)
	REQUIRES(v->source->lock)
{
	uint64_t dirty = n_dirty(v);
	int r;

	if (v->source->detached)
		return v->source->gone_status;
	if (v->guard)
		return 0;
	if (must_move(v) && v->pins.root)
		return -EBUSY;
	r = guard && dirty ? guard->ops->grant(guard, dirty) : 0;
	if (r < 0)
		return r;
	leave_near(v, wake);
	r = prepare_store(v);
	if (r < 0) {
		if (guard && dirty)
			guard->ops->release(guard, dirty);
		return r;
	}
	v->guard = guard;
	v->charged = guard ? dirty : 0;
	v->writable = true;
	v->resizable = true;
	return 0;
}

int vmo_make_writable(struct vmo *v, struct vmo_guard *guard)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	int r;

	assert(!v->parent);
	vmo_lock(v);
	r = make_writable(v, guard, &wake);
	vmo_unlock(v, &wake);
	return r;
}

/* ---- what is fresh ---- */

int64_t vmo_fresh_copy(struct vmo *v, uint64_t *off, void *buf, uint64_t cap)
{
	struct page_run run;
	uint64_t n = 0;

	vmo_lock(v);
	if (page_list_next_fresh(&v->pages, page_floor(*off), page_ceil(v->size), &run)) {
		n = MIN(run.end - run.first, page_floor(cap));
		*off = page_bytes(run.first);
		memcpy(buf, store_addr(v->store, *off, page_bytes(n)), page_bytes(n));
		page_list_clear_fresh(&v->pages, run.first, run.first + n);
	}
	mutex_unlock(&v->source->lock);
	return (int64_t)page_bytes(n);
}

void vmo_fresh_again(struct vmo *v, uint64_t off, uint64_t len)
{
	vmo_lock(v);
	page_list_set_fresh(&v->pages, page_floor(off), page_ceil(off + len));
	mutex_unlock(&v->source->lock);
}

/* ---- what is kept ---- */

enum { KEEP_AT_ONCE = 256 }; /* under the lock at once */

int64_t vmo_keep(struct vmo *v, uint64_t *off)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	uint64_t page = page_floor(*off);
	struct page_run run = { 0 };
	uint64_t end;
	int r = 0;

	vmo_lock(v);
	end = page_ceil(v->size);
	while (page < end && (run = page_list_run(&v->pages, page, end)).kind != PAGE_CLEAN)
		page = run.end;
	run.end = MIN(run.end, page + KEEP_AT_ONCE);
	if (page < end)
		r = vmo_make_dirty(v, page, run.end, &wake);
	if (page < end && r == 0) {
		page_list_set_fresh(&v->pages, page, run.end);
		*off = page_bytes(run.end);
	}
	vmo_unlock(v, &wake);
	return r < 0 ? r : page < end ? (int64_t)page_bytes(run.end - page) : 0;
}

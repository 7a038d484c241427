/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing contents from above: write, zero, resize, pin. A write goes run by run: what is absent and overwritten in part is
 * read first, what is clean is asked for (VMO_TRAP_DIRTY), what is dirty is copied into. Clones keep
 * what is written to them for themselves and never ask for DIRTY. Blocking, but for vmo_write_now(); no lock is held while
 * waiting.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

static const char zero_page[VMOFS_PAGE_SIZE];

/*
 * The end of the run of absent pages from @page on that are overwritten whole. What of a page lies beyond the end of the
 * object counts as overwritten.
 */
static uint64_t covered_end(struct vmo *v, const struct vmo_step *w, uint64_t page, uint64_t end)
{
	if (page_bytes(page) < w->from || v->parent || v->flags & VMO_TRAP_DIRTY)
		return page;
	return w->to >= v->size ? end : MAX(page, MIN(end, page_floor(w->to)));
}

/* Where what has to be read from @page on ends at the latest: at pages that are overwritten whole. */
static uint64_t uncovered_end(struct vmo *v, const struct vmo_step *w, uint64_t page, uint64_t end)
{
	uint64_t whole = MAX(page, page_ceil(w->from));

	return whole < end && covered_end(v, w, whole, end) > whole ? whole : end;
}

/* Reads in what is missing from @page on; 0: look again. */
static int writer_read(struct vmo *v, struct vmo_step *w, uint64_t page) REQUIRES(v->source->lock)
{
	uint64_t end = uncovered_end(v, w, page, MIN(w->end, page_ceil(v->size)));
	uint64_t missing = vmo_n_missing(v, page, end);
	uint64_t reserved;
	int r;

	if (v->source->detached)
		return v->source->gone_status;
	if (w->now)
		return -EAGAIN;
	if (w->reserved < missing) {
		if (!vm_pool_try_reserve(v->pool, missing - w->reserved))
			return vmo_step_reserve(v, w, w->end - w->first);
		w->reserved = missing;
	}
	reserved = w->reserved;
	w->reserved = 0;
	r = vmo_ask(v, &w->waiter, page, end, reserved);
	return r < 0 ? r : vmo_step_wait(v, w);
}

/* The end of the run from @page that one DIRTY request covers: everything but absent and dirty. */
static uint64_t grant_end(struct vmo *v, uint64_t page, uint64_t end)
{
	while (page < end) {
		struct page_run run = page_list_run(&v->pages, page, end);

		if (run.kind == PAGE_ABSENT || run.kind == PAGE_DIRTY)
			break;
		page = run.end;
	}
	return page;
}

static int writer_wait_dirty(struct vmo *v, struct vmo_step *w, uint64_t page, uint64_t end)
	REQUIRES(v->source->lock)
{
	int r = page_source_park_locked(v->source, &w->waiter, VMOFS_REQUEST_DIRTY, page, end);

	if (r < 0)
		return r;
	page_list_touch(&v->pages, page, end);
	r = page_source_ask_locked(v->source, &w->waiter, page, end);
	if (r < 0) {
		page_source_unpark_locked(v->source, &w->waiter);
		return r;
	}
	return vmo_step_wait(v, w);
}

/*
 * Memory for the zeros of the run is put aside before the grant is asked for: whoever gives the
 * grant cannot wait for memory, and would not know when to try again.
 */
static int writer_ask_dirty(struct vmo *v, struct vmo_step *w, uint64_t page, uint64_t end)
	REQUIRES(v->source->lock)
{
	uint64_t zeros = vmo_n_zeros(v, page, end);
	uint64_t put;
	int r;

	if (v->source->detached)
		return v->source->gone_status;
	if (w->now)
		return -EAGAIN;
	if (zeros > w->reserved) {
		if (!vm_pool_try_reserve(v->pool, zeros - w->reserved))
			return vmo_step_reserve(v, w, MAX(zeros, w->end - w->first));
		w->reserved = zeros;
	}
	put = w->reserved;
	w->reserved = 0;
	v->put_aside += put;
	v->aside_due += put;
	r = writer_wait_dirty(v, w, page, end);
	v->aside_due -= put;
	/* What no grant has taken, without what the other writers still wait with. */
	if (v->put_aside > v->aside_due) {
		w->reserved = v->put_aside - v->aside_due;
		v->put_aside = v->aside_due;
	}
	return r;
}

/* Without the trap a run becomes dirty by itself; zeros need memory. 0: look again. */
static int writer_dirty_untrapped(struct vmo *v, struct vmo_step *w, uint64_t page, uint64_t end)
	REQUIRES(v->source->lock)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	uint64_t zeros = vmo_n_zeros(v, page, end);
	int r = 0;

	if (zeros > w->reserved) {
		if (!vm_pool_try_reserve(v->pool, zeros - w->reserved))
			return vmo_step_reserve(v, w, MAX(zeros, w->end - w->first));
		w->reserved = zeros;
	}
	r = vmo_make_dirty(v, page, end, &wake);
	if (r == 0)
		w->reserved -= zeros;
	/* Only waiters with callbacks are collected, and none waits for an untrapped DIRTY. */
	assert(vmofs_list_empty(&wake.done));
	return r;
}

void vmo_fill_dirty(struct vmo *v, uint64_t first, uint64_t end, struct page_wakeups *wake)
{
	page_list_fill(&v->pages, first, end, PAGE_DIRTY);
	vm_pool_commit(v->pool, end - first);
	page_source_resolve_locked(v->source, VMOFS_REQUEST_READ, first, end, UINT64_MAX, wake);
}

/* Pages [page, end), absent, become dirty without having been read. 0: look again. */
static int writer_cover(struct vmo *v, struct vmo_step *w, uint64_t page, uint64_t end)
	REQUIRES(v->source->lock)
{
	uint64_t asked = page_source_n_pending_locked(v->source, VMOFS_REQUEST_READ, page, end);
	uint64_t pay = end - page - asked;
	int r;

	if (v->source->detached)
		return v->source->gone_status;
	if (pay > w->reserved) {
		if (!vm_pool_try_reserve(v->pool, pay - w->reserved))
			return vmo_step_reserve(v, w, MAX(pay, w->end - w->first));
		w->reserved = pay;
	}
	if (page_list_prepare(&v->pages, page, end) < 0)
		return -ENOMEM;
	r = vmo_grant(v, end - page);
	if (r < 0) {
		page_list_trim(&v->pages, page, end);
		return r;
	}
	w->reserved -= pay;
	vmo_fill_dirty(v, page, end, &w->wake);
	/* What lies beyond the end of the object. */
	if (page_bytes(end) > v->size)
		store_write(v->store, page_bytes(end - 1), zero_page, VMOFS_PAGE_SIZE);
	return 0;
}

/* ---- copy on write ---- */

/* Copies what the clone sees at @page (present somewhere, or zero) into a page of its own. */
static void fork_copy(struct vmo *v, uint64_t page, const struct vmo_slot *s)
{
	if (s->kind < PAGE_NSTATES)
		store_write(v->store, page_bytes(page), vmo_slot_addr(s), VMOFS_PAGE_SIZE);
}

static int fork_page(struct vmo *v, uint64_t page) REQUIRES(v->source->lock)
{
	struct vmo_slot s = vmo_look(v, page, page + 1);

	if (page_list_prepare(&v->pages, page, page + 1) < 0)
		return -ENOMEM;
	if (page_list_zero_prepare(&v->pages) < 0) {
		page_list_trim(&v->pages, page, page + 1);
		return -ENOMEM;
	}
	fork_copy(v, page, &s);
	page_list_zero_clear(&v->pages, page, page + 1);
	page_list_fill(&v->pages, page, page + 1, PAGE_UNTRACKED);
	vm_pool_commit(v->pool, 1);
	return 0;
}

static int writer_fork(struct vmo *v, struct vmo_step *w, uint64_t page) REQUIRES(v->source->lock)
{
	int r;

	if (!w->reserved) {
		if (!vm_pool_try_reserve(v->pool, 1))
			return vmo_step_reserve(v, w, w->end - w->first);
		w->reserved = 1;
	}
	r = fork_page(v, page);
	if (r == 0)
		w->reserved--;
	return r;
}

/* ---- making writable ---- */

/*
 * One step towards @page being writable. Positive: so many pages from it are; 0: something was
 * waited for, look again; negative: the error.
 */
static int64_t clone_step(struct vmo *v, struct vmo_step *w, uint64_t page)
	REQUIRES(v->source->lock)
{
	struct page_run own = page_list_run(&v->pages, page, w->end);
	struct vmo_slot s;

	if (own.kind == PAGE_UNTRACKED)
		return (int64_t)(own.end - page);
	s = vmo_look(v, page, page + 1);
	if (s.kind == PAGE_ABSENT)
		return writer_read(v, w, page);
	return writer_fork(v, w, page);
}

static int64_t root_step(struct vmo *v, struct vmo_step *w, uint64_t page) REQUIRES(v->source->lock)
{
	uint64_t limit = MIN(w->end, page_ceil(v->size));
	struct page_run run = page_list_run(&v->pages, page, limit);
	uint64_t end;

	if (run.kind == PAGE_DIRTY)
		return (int64_t)(run.end - page);
	if (run.kind == PAGE_ABSENT) {
		end = covered_end(v, w, page, run.end);
		return end > page ? writer_cover(v, w, page, end) : writer_read(v, w, page);
	}
	end = grant_end(v, page, limit);
	if (v->flags & VMO_TRAP_DIRTY)
		return writer_ask_dirty(v, w, page, end);
	return writer_dirty_untrapped(v, w, page, end);
}

int64_t vmo_writable_step(struct vmo *v, struct vmo_step *w, uint64_t page)
{
	if (!v->writable)
		return -EROFS;
	if (page_bytes(page) >= v->size)
		return -ERANGE;
	return v->parent ? clone_step(v, w, page) : root_step(v, w, page);
}

/* Pages from @page on that can be written without asking anybody. */
static uint64_t writable_now(struct vmo *v, uint64_t page, uint64_t end)
{
	struct page_run run = page_list_run(&v->pages, page, end);

	return run.kind == PAGE_DIRTY || run.kind == PAGE_UNTRACKED ? run.end - page : 0;
}

/* ---- write ---- */

void vmo_wrote(struct vmo *v, uint64_t off, uint64_t len)
{
	v->root->modified |= !v->parent;
	if (!v->parent)
		page_list_set_fresh(&v->pages, page_floor(off), page_ceil(off + len));
}

/* Copies into pages that are dirty (or private) already. */
static uint64_t copy_in(struct vmo *v, uint64_t off, const char *buf, uint64_t len, uint64_t page,
			uint64_t npages) REQUIRES(v->source->lock)
{
	uint64_t n = MIN(len, page_bytes(page + npages) - off);

	n = MIN(n, v->size - off);
	store_write(v->store, off, buf, n);
	vmo_wrote(v, off, n);
	return n;
}

static int64_t write_step(struct vmo *v, uint64_t off, const char *buf, uint64_t len, bool now,
			  const struct vmo_wait *wait)
{
	struct vmo_step w;
	uint64_t done = 0;
	int64_t r = 0;

	vmo_step_init(&w, wait, page_floor(off), page_ceil(off + len));
	w.from = off;
	w.to = off + len;
	w.now = now;
	vmo_lock(v);
	vmo_step_begin(v, &w);
	while (done < len) {
		uint64_t page = page_floor(off + done);

		int64_t n;

		r = off + done < v->size ? vmo_writable_step(v, &w, page) : -ERANGE;
		/* What was granted before a failure is written. */
		n = r < 0 && r != -ERANGE ? (int64_t)writable_now(v, page, w.end) : r;
		if (n > 0)
			done += copy_in(v, off + done, buf + done, len - done, page, (uint64_t)n);
		if (r < 0)
			break;
	}
	vmo_step_finish(v, &w);
	vmo_unlock(v, &w.wake);
	page_waiter_release(&w.waiter);
	return done ? (int64_t)done : r;
}

int64_t vmo_write_bounded(struct vmo *v, uint64_t off, const void *buf, uint64_t len, bool now,
			  const struct vmo_wait *wait)
{
	uint64_t step = page_bytes(vmo_step_pages(v)) - VMOFS_PAGE_SIZE;
	uint64_t done = 0;

	if (off + len < off)
		return -ERANGE;
	while (done < len) {
		uint64_t part = MIN(step, len - done);
		int64_t n = write_step(v, off + done, (const char *)buf + done, part, now, wait);

		if (n < 0)
			return done ? (int64_t)done : n;
		done += (uint64_t)n;
		if ((uint64_t)n < part)
			break;
	}
	return (int64_t)done;
}

int64_t vmo_write(struct vmo *v, uint64_t off, const void *buf, uint64_t len,
		  const struct vmo_wait *wait)
{
	return vmo_write_bounded(v, off, buf, len, false, wait);
}

int64_t vmo_write_now(struct vmo *v, uint64_t off, const void *buf, uint64_t len)
{
	return vmo_write_bounded(v, off, buf, len, true, NULL);
}

/* ---- zero ---- */

static bool next_pinned(struct vmo *v, uint64_t first, uint64_t end, struct range *out)
{
	struct itree_node *n = itree_first(&v->pins, first, end);

	if (!n)
		return false;
	*out = (struct range){ MAX(n->first, first), MIN(n->end, end) };
	return true;
}

/* Known clean zeros stay clean: nothing changed. */
static int zero_run(struct vmo *v, struct page_run run, struct page_wakeups *wake)
	REQUIRES(v->source->lock)
{
	if (run.kind == PAGE_ZERO_CLEAN)
		return 0;
	if (page_list_zero_prepare(&v->pages) < 0)
		return -ENOMEM;
	vmo_drop_pages(v, run.first, run.end);
	page_list_zero_set(&v->pages, run.first, run.end, !v->parent);
	v->root->modified |= !v->parent;
	if (!v->parent)
		page_source_forget_locked(v->source, VMOFS_REQUEST_READ, run.first, run.end, wake);
	return 0;
}

/* Whole pages as far as the first pinned one, which is given in @pinned. */
static int zero_pages(struct vmo *v, uint64_t first, uint64_t end, struct range *pinned)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	int r = 0;

	*pinned = (struct range){ end, end };
	vmo_lock(v);
	if (!v->writable)
		r = -EROFS;
	next_pinned(v, first, end, pinned);
	end = MIN(pinned->first, page_ceil(v->size));
	while (r == 0 && first < end) {
		struct page_run run = page_list_run(&v->pages, first, end);

		r = zero_run(v, run, &wake);
		first = run.end;
	}
	vmo_unlock(v, &wake);
	return r;
}

/* Overwrites with zeros where the VMO's own slot does not say zero already; a parent's may change. */
static int zero_bytes(struct vmo *v, uint64_t off, uint64_t end, const struct vmo_wait *wait)
{
	while (off < end) {
		uint64_t n = MIN(end - off, VMOFS_PAGE_SIZE - off % VMOFS_PAGE_SIZE);
		struct vmo_slot s;
		int64_t r = (int64_t)n;

		vmo_lock(v);
		s = vmo_look(v, page_floor(off), page_floor(off) + 1);
		mutex_unlock(&v->source->lock);
		if (s.owner != v || s.kind < PAGE_NSTATES)
			r = vmo_write(v, off, zero_page, n, wait);
		if (r < 0)
			return (int)r;
		off += n;
	}
	return 0;
}

static int zero_whole(struct vmo *v, uint64_t first, uint64_t end, const struct vmo_wait *wait)
{
	int r = 0;

	while (r == 0 && first < end) {
		struct range pinned;

		r = zero_pages(v, first, end, &pinned);
		if (r == 0 && pinned.end > pinned.first)
			r = zero_bytes(v, page_bytes(pinned.first), page_bytes(pinned.end), wait);
		first = pinned.end;
	}
	return r;
}

int vmo_zero(struct vmo *v, uint64_t off, uint64_t len, const struct vmo_wait *wait)
{
	uint64_t size = vmo_size(v);
	uint64_t end = off + len;
	uint64_t first_whole = page_ceil(off);
	uint64_t end_whole = end == size ? page_ceil(end) : page_floor(end);
	int r;

	if (end < off || end > size)
		return -ERANGE;
	if (first_whole >= end_whole)
		return zero_bytes(v, off, end, wait);
	r = zero_bytes(v, off, page_bytes(first_whole), wait);
	if (r == 0)
		r = zero_whole(v, first_whole, end_whole, wait);
	if (r == 0 && page_bytes(end_whole) < end)
		r = zero_bytes(v, page_bytes(end_whole), end, wait);
	return r;
}

int vmo_decommit(struct vmo *v, uint64_t off, uint64_t len)
{
	(void)v;
	(void)off;
	(void)len;
	return -EOPNOTSUPP;
}

/* ---- resize ---- */

/* A clone sees nothing of its parent beyond the shortest that it has been since. */
static void clamp_children(struct vmo *v, uint64_t pages)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &v->children) {
		struct vmo *c = container_of(pos, struct vmo, sibling);
		uint64_t seen = pages > c->parent_off ? pages - c->parent_off : 0;

		c->parent_limit = MIN(c->parent_limit, seen);
	}
}

static int grow(struct vmo *v, uint64_t from, uint64_t to) REQUIRES(v->source->lock)
{
	int r = page_list_zero_prepare(&v->pages);

	if (r == 0)
		r = vmo_store_grow(v, to);
	if (r == 0 && to > from && !v->parent)
		page_list_zero_set(&v->pages, from, to, true);
	return r;
}

/* Everything that can stop a shrink to @to pages; after it, it cannot fail. */
static int shrink_prepare(struct vmo *v, uint64_t from, uint64_t to) REQUIRES(v->source->lock)
{
	if (from > to && itree_first(&v->pins, to, from))
		return -EBUSY;
	return page_list_zero_prepare(&v->pages);
}

static void shrink(struct vmo *v, uint64_t from, uint64_t to, struct page_wakeups *wake)
	REQUIRES(v->source->lock)
{
	if (from == to)
		return;
	vmo_drop_pages(v, to, from);
	page_list_zero_clear(&v->pages, to, from);
	store_resize(v->store, page_bytes(to));
	v->parent_limit = MIN(v->parent_limit, to);
	clamp_children(v, to);
	if (v->parent)
		page_source_release_locked(v->source, VMOFS_REQUEST_READ, to + v->root_off,
					   from + v->root_off, wake);
	else
		page_source_truncate_locked(v->source, to, wake);
}

/*
 * Whether the page of @cut, which is where the shorter of the old and the new size ends, has bytes beyond
 * it that must not come back: those that are cut off now, or those that a clone's parent has there.
 */
static bool has_tail(struct vmo *v, uint64_t size, uint64_t cut)
{
	if (cut % VMOFS_PAGE_SIZE == 0 || size == v->size || (size > v->size && !v->parent))
		return false;
	return page_list_kind(&v->pages, page_floor(cut)) < PAGE_NSTATES;
}

static void zero_tail(struct vmo *v, uint64_t size) REQUIRES(v->source->lock)
{
	uint64_t cut = MIN(size, v->size);
	uint64_t n = page_bytes(page_ceil(cut)) - cut;

	if (has_tail(v, size, cut))
		memset(store_addr(v->store, cut, n), 0, n);
	if (has_tail(v, size, cut))
		vmo_wrote(v, cut, n);
}

/*
 * Makes the page with a tail writable; the lock may be dropped and taken again meanwhile. Nothing has
 * changed when this fails. RESIZED: so it is another page now.
 */
enum { RESIZED = 1 };

static int tail_writable(struct vmo *v, struct vmo_step *w, uint64_t size, uint64_t cut)
	REQUIRES(v->source->lock)
{
	int64_t r = 0;

	while (r == 0 && cut == MIN(size, v->size) && has_tail(v, size, cut))
		r = vmo_writable_step(v, w, page_floor(cut));
	if (r < 0)
		return (int)r;
	return cut == MIN(size, v->size) ? 0 : RESIZED;
}

void vmo_note_size(struct vmo *v, uint64_t size)
{
	struct vmofs_list *pos;

	v->size = size;
	v->origin_size = MIN(v->origin_size, size);
	v->root->modified |= !v->parent;
	vmofs_list_for_each(pos, &v->tokens) {
		struct vmo_token *t = container_of(pos, struct vmo_token, link);

		t->least_size = MIN(t->least_size, size);
	}
}

static int resize_locked(struct vmo *v, uint64_t size, struct page_wakeups *wake)
	REQUIRES(v->source->lock)
{
	uint64_t to = page_ceil(size);
	int r;

	if (size >= v->size)
		r = grow(v, page_ceil(v->size), to);
	else
		r = shrink_prepare(v, page_ceil(v->size), to);
	if (r < 0)
		return r;
	zero_tail(v, size);
	if (size < v->size)
		shrink(v, page_ceil(v->size), to, wake);
	vmo_note_size(v, size);
	return 0;
}

static int try_resize(struct vmo *v, uint64_t size, const struct vmo_wait *wait)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo_step w;
	uint64_t cut;
	int r;

	vmo_lock(v);
	if (!v->writable || !v->resizable) {
		r = v->writable ? -EPERM : -EROFS;
		vmo_unlock(v, &wake);
		return r;
	}
	cut = MIN(size, v->size);
	vmo_step_init(&w, wait, page_floor(cut), page_floor(cut) + 1);
	vmo_step_begin(v, &w);
	r = tail_writable(v, &w, size, cut);
	if (r == 0)
		r = resize_locked(v, size, &wake);
	vmo_step_finish(v, &w);
	vmo_unlock(v, &wake);
	page_waiter_release(&w.waiter);
	return r;
}

int vmo_resize(struct vmo *v, uint64_t size, const struct vmo_wait *wait)
{
	int r;

	if (size > (UINT64_C(1) << 62))
		return -ERANGE;
	do {
		r = try_resize(v, size, wait);
	} while (r == RESIZED);
	return r;
}

/* ---- pins ---- */

static int64_t readable_step(struct vmo *v, struct vmo_step *w, uint64_t page)
	REQUIRES(v->source->lock)
{
	struct vmo_slot s;

	if (page_bytes(page) >= v->size)
		return -ERANGE;
	s = vmo_look(v, page, w->end);
	if (s.kind == PAGE_ABSENT)
		return writer_read(v, w, page);
	return (int64_t)s.n;
}

/* One pass in which nothing had to be waited for: everything is so at this very moment. */
static int64_t pin_pass(struct vmo *v, struct vmo_step *w, bool write) REQUIRES(v->source->lock)
{
	uint64_t page = w->first;
	int64_t r = 1;

	while (r > 0 && page < w->end) {
		r = write ? vmo_writable_step(v, w, page) : readable_step(v, w, page);
		if (r > 0)
			page += (uint64_t)r;
	}
	return r;
}

int vmo_pin(struct vmo *v, struct vmo_pin *pin, uint64_t off, uint64_t len, bool write,
	    const struct vmo_wait *wait)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo_step w;
	int64_t r;

	*pin = (struct vmo_pin){ .write = write };
	if (!len)
		return -EINVAL;
	if (off + len < off || off + len > page_bytes(page_ceil(vmo_size(v))))
		return -ERANGE;
	vmo_step_init(&w, wait, page_floor(off), page_ceil(off + len));
	vmo_lock(v);
	vmo_step_begin(v, &w);
	do {
		r = pin_pass(v, &w, write);
	} while (r == 0);
	if (r > 0) {
		pin->vmo = vmo_get(v);
		pin->range.first = w.first;
		pin->range.end = w.end;
		itree_insert(&v->pins, &pin->range);
		vmo_hold_add(v, &pin->hold, w.first, w.end);
		if (write)
			vmo_wrote(v, page_bytes(w.first), page_bytes(w.end - w.first));
	}
	vmo_step_finish(v, &w);
	vmo_unlock(v, &wake);
	page_waiter_release(&w.waiter);
	return r < 0 ? (int)r : 0;
}

void vmo_unpin(struct vmo_pin *pin)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo *v = pin->vmo;

	if (!v)
		return;
	vmo_lock(v);
	itree_remove(&v->pins, &pin->range);
	vmo_hold_del(v, &pin->hold);
	vmo_unlock(v, &wake);
	pin->vmo = NULL;
	vmo_put(v);
}

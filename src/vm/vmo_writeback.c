/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writeback. A token remembers what was dirty at begin; a write takes its pages out of every token,
 * so the end of a token cleans exactly what is still as it was stored. Tokens may overlap.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

/* ---- what is dirty ---- */

static bool is_dirty(enum page_state kind)
{
	return kind == PAGE_DIRTY || kind == PAGE_AWAITING_CLEAN || kind == PAGE_ZERO_DIRTY;
}

/* The next maximal dirty run of one kind (pages, or zeros); false: none. */
static bool next_dirty(struct vmo *v, uint64_t first, uint64_t end, struct page_run *out)
	REQUIRES(v->source->lock)
{
	while (first < end) {
		*out = page_list_run(&v->pages, first, end);
		if (is_dirty(out->kind))
			break;
		first = out->end;
	}
	while (first < end && out->end < end) {
		struct page_run more = page_list_run(&v->pages, out->end, end);

		if (!is_dirty(more.kind) ||
		    (more.kind == PAGE_ZERO_DIRTY) != (out->kind == PAGE_ZERO_DIRTY))
			break;
		out->end = more.end;
	}
	return first < end;
}

static int64_t query_dirty(struct vmo *v, uint64_t off, uint64_t len,
			   struct vmo_dirty_range *ranges, uint64_t n, uint64_t most)
{
	uint64_t page = page_floor(off);
	uint64_t end = page_ceil(off + len);
	struct page_run run;
	uint64_t found = 0;

	if (v->parent)
		return -EINVAL;
	vmo_lock(v);
	if (off > v->size || off + len < off || end > page_ceil(v->size)) {
		mutex_unlock(&v->source->lock);
		return -ERANGE;
	}
	for (; found < most && next_dirty(v, page, end, &run); page = run.end, found++)
		if (found < n)
			ranges[found] = (struct vmo_dirty_range){
				.off = page_bytes(run.first),
				.len = page_bytes(run.end - run.first),
				.is_zero = run.kind == PAGE_ZERO_DIRTY,
			};
	mutex_unlock(&v->source->lock);
	return (int64_t)found;
}

int64_t vmo_query_dirty(struct vmo *v, uint64_t off, uint64_t len, struct vmo_dirty_range *ranges,
			uint64_t n)
{
	return query_dirty(v, off, len, ranges, n, UINT64_MAX);
}

int64_t vmo_next_dirty(struct vmo *v, uint64_t off, uint64_t len, struct vmo_dirty_range *ranges,
		       uint64_t n)
{
	return query_dirty(v, off, len, ranges, n, n);
}

/* ---- tokens ---- */

static struct vmo_token *token_of(struct vmofs_list *pos)
{
	return container_of(pos, struct vmo_token, link);
}

static void token_free(struct vmo_token *t)
{
	page_bits_release(&t->all_pages);
	range_set_release(&t->all_zeros);
	page_bits_release(&t->pages);
	range_set_release(&t->zeros);
	vmo_put(t->vmo);
	free(t);
}

static bool in_any_token(struct vmo *v, uint64_t page)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &v->tokens)
		if (page_bits_has(&token_of(pos)->pages, page))
			return true;
	return false;
}

/* Pages that no token covers any more are plainly dirty. */
static void orphans_to_dirty(struct vmo *v, struct range lost)
{
	for (uint64_t p = lost.first; p < lost.end; p++)
		if (page_list_kind(&v->pages, p) == PAGE_AWAITING_CLEAN && !in_any_token(v, p))
			page_list_move(&v->pages, p, p + 1, PAGE_AWAITING_CLEAN, PAGE_DIRTY);
}

void vmo_tokens_forget(struct vmo *v, uint64_t first, uint64_t end)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &v->tokens) {
		struct vmo_token *t = token_of(pos);
		struct range lost;

		page_bits_clear(&t->pages, first, end);
		/* No memory for a split: the rest of that range stays dirty, which is safe. */
		range_set_subtract(&t->zeros, first, end, &lost);
	}
}

/* A write pin keeps its pages dirty: somebody may store to them at any moment. */
static uint64_t unpinned_end(struct vmo *v, uint64_t page, uint64_t end, bool *pinned)
{
	struct itree_node *n = itree_first(&v->pins, page, end);

	for (; n; n = itree_next(n, page, end))
		if (container_of(n, struct vmo_pin, range)->write)
			break;
	*pinned = n && n->first <= page;
	if (!n)
		return end;
	return *pinned ? MIN(n->end, end) : n->first;
}

/*
 * Takes the pages of a dirty run. What is pinned for writing stays dirty, but it is stored as it is now,
 * so the token ends the wait of those who asked for it too.
 */
static int token_take_pages(struct vmo *v, struct vmo_token *t, uint64_t first, uint64_t end)
{
	if (page_bits_append(&t->all_pages, first, end) < 0)
		return -ENOMEM;
	while (first < end) {
		bool pinned;
		uint64_t next = unpinned_end(v, first, end, &pinned);

		if (!pinned) {
			if (page_bits_append(&t->pages, first, next) < 0)
				return -ENOMEM;
			page_list_move(&v->pages, first, next, PAGE_DIRTY, PAGE_AWAITING_CLEAN);
		}
		first = next;
	}
	return 0;
}

static int token_take(struct vmo *v, struct vmo_token *t, uint64_t first, uint64_t end,
		      enum vmo_writeback_what what) REQUIRES(v->source->lock)
{
	struct page_run run;
	int r = 0;

	for (; r == 0 && next_dirty(v, first, end, &run); first = run.end) {
		if (run.kind == PAGE_ZERO_DIRTY) {
			r = range_set_append(&t->all_zeros, run.first, run.end);
			if (r == 0)
				r = range_set_append(&t->zeros, run.first, run.end);
		} else if (what == VMO_WRITEBACK_ALL) {
			r = token_take_pages(v, t, run.first, run.end);
		}
	}
	return r;
}

static void uncover_range(struct vmo *v, struct vmo_token *t, uint64_t first, uint64_t end)
{
	struct range hit;
	struct range lost;

	for (uint64_t p = first; page_bits_find(&t->pages, p, end, &hit); p = hit.end) {
		page_bits_clear(&t->pages, hit.first, hit.end);
		orphans_to_dirty(v, hit);
	}
	range_set_subtract(&t->zeros, first, end, &lost);
}

int vmo_writeback_begin(struct vmo *v, uint64_t off, uint64_t len, enum vmo_writeback_what what,
			struct vmo_token **out)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo_token *t = calloc(1, sizeof *t);
	int r;

	if (!t)
		return -ENOMEM;
	t->vmo = vmo_get(v);
	vmo_lock(v);
	if (!off && len == UINT64_MAX)
		len = v->size;
	r = v->parent ? -EINVAL : vmo_check_range(v, off, len);
	if (r == 0) {
		vmofs_list_add_tail(&v->tokens, &t->link);
		t->seq = ++v->source->seq;
		t->size = v->size;
		t->least_size = v->size;
		r = token_take(v, t, page_floor(off), page_ceil(off + len), what);
		if (r < 0) {
			vmofs_list_del(&t->link);
			uncover_range(v, t, 0, UINT64_MAX);
		}
	}
	vmo_unlock(v, &wake);
	if (r < 0) {
		token_free(t);
		return r;
	}
	*out = t;
	return 0;
}

uint64_t vmo_token_size(const struct vmo_token *t)
{
	return t->size;
}

/* What this token still covers in the range becomes clean, for the other tokens too. */
static void clean_range(struct vmo *v, struct vmo_token *t, uint64_t first, uint64_t end)
	REQUIRES(v->source->lock)
{
	struct range hit;

	for (uint64_t p = first; page_bits_find(&t->pages, p, end, &hit); p = hit.end) {
		page_list_move(&v->pages, hit.first, hit.end, PAGE_AWAITING_CLEAN, PAGE_CLEAN);
		vm_pool_note_gain(v->pool);
		vmo_tokens_forget(v, hit.first, hit.end);
	}
	while (range_set_find(&t->zeros, first, end, &hit)) {
		/* Without memory for the split they stay dirty, and are written once more. */
		if (page_list_zero_prepare(&v->pages) == 0)
			page_list_zero_set(&v->pages, hit.first, hit.end, false);
		vmo_tokens_forget(v, hit.first, hit.end);
	}
}

/* Those who asked for writeback of these pages before the token was taken have what they asked for. */
static void settle_range(struct vmo *v, struct vmo_token *t, struct range r, int status,
			 struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	if (status < 0)
		page_source_fail_locked(v->source, r.first, r.end, status,
					VMOFS_TYPE_BIT(VMOFS_REQUEST_WRITEBACK), wake);
	else
		page_source_resolve_locked(v->source, VMOFS_REQUEST_WRITEBACK, r.first, r.end,
					   t->seq, wake);
}

static void settle_waiters(struct vmo *v, struct vmo_token *t, uint64_t first, uint64_t end,
			   int status, struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	struct range hit;

	for (uint64_t p = first; page_bits_find(&t->all_pages, p, end, &hit); p = hit.end)
		settle_range(v, t, hit, status, wake);
	for (uint64_t p = first; range_set_find(&t->all_zeros, p, end, &hit); p = hit.end)
		settle_range(v, t, hit, status, wake);
}

/* Pages that are clean need no writeback, whenever it was asked for. */
static void settle_clean(struct vmo *v, uint64_t first, uint64_t end, struct page_wakeups *wake)
	REQUIRES(v->source->lock)
{
	while (first < end) {
		struct page_run run = page_list_run(&v->pages, first, end);

		if (!is_dirty(run.kind))
			page_source_resolve_locked(v->source, VMOFS_REQUEST_WRITEBACK, run.first,
						   run.end, UINT64_MAX, wake);
		first = run.end;
	}
}

static void end_part_locked(struct vmo *v, struct vmo_token *t, uint64_t first, uint64_t end,
			    int status, struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	if (status == 0) {
		clean_range(v, t, first, end);
		settle_waiters(v, t, first, end, 0, wake);
		settle_clean(v, first, MIN(end, page_ceil(v->size)), wake);
		return;
	}
	uncover_range(v, t, first, end);
	v->writeback_errors++;
	v->writeback_error = status;
	if (!page_source_is_valid_internal_failure_code(status))
		status = -EIO;
	settle_waiters(v, t, first, end, status, wake);
}

/* What has ended is not the token's any more: a later failure says nothing about it. */
static void leave_token(struct vmo *v, struct vmo_token *t, uint64_t first, uint64_t end,
			struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	struct range lost;

	page_bits_clear(&t->all_pages, first, end);
	range_set_subtract(&t->all_zeros, first, end, &lost);
	if (lost.first < lost.end)
		page_source_fail_locked(v->source, lost.first, lost.end, -ENOMEM,
					VMOFS_TYPE_BIT(VMOFS_REQUEST_WRITEBACK), wake);
}

void vmo_writeback_end_part(struct vmo_token *t, uint64_t off, uint64_t len, int status)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo *v = t->vmo;

	vmo_lock(v);
	end_part_locked(v, t, page_floor(off), page_ceil(off + len), status, &wake);
	leave_token(v, t, page_floor(off), page_ceil(off + len), &wake);
	vmo_unlock(v, &wake);
}

void vmo_writeback_end(struct vmo_token *t, int status)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo *v = t->vmo;

	vmo_lock(v);
	if (t->all_pages.n || t->all_zeros.n)
		end_part_locked(v, t, 0, UINT64_MAX, status, &wake);
	vmofs_list_del(&t->link);
	vmo_unlock(v, &wake);
	token_free(t);
}

void vmo_writeback_abandon(struct vmo_token *t)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo *v = t->vmo;

	vmo_lock(v);
	uncover_range(v, t, 0, UINT64_MAX);
	vmofs_list_del(&t->link);
	vmo_unlock(v, &wake);
	token_free(t);
}

int vmo_writeback_error(struct vmo *v, uint64_t *since)
{
	int r = 0;

	vmo_lock(v);
	if (*since != v->writeback_errors)
		r = v->writeback_error;
	*since = v->writeback_errors;
	mutex_unlock(&v->source->lock);
	return r;
}

/* ---- asking for it ---- */

/* Parks @w on everything that is dirty in the range; 0: nothing is. */
static int ask_writeback(struct vmo *v, struct page_waiter *w, uint64_t first, uint64_t end)
	REQUIRES(v->source->lock)
{
	struct page_run run;
	int r;

	if (!next_dirty(v, first, end, &run))
		return 0;
	r = page_source_park_locked(v->source, w, VMOFS_REQUEST_WRITEBACK, run.first, end);
	if (r < 0)
		return r;
	for (; r == 0 && next_dirty(v, first, end, &run); first = run.end)
		r = page_source_ask_locked(v->source, w, run.first, run.end);
	if (r < 0)
		page_source_unpark_locked(v->source, w);
	return r < 0 ? r : -EINPROGRESS;
}

int vmo_writeback(struct vmo *v, uint64_t off, uint64_t len, const struct vmo_wait *wait)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct page_waiter w;
	int r;

	if (v->parent)
		return -EINVAL;
	page_waiter_init(&w);
	w.deadline_ns = wait ? wait->deadline_ns : 0;
	vmo_lock(v);
	r = ask_writeback(v, &w, page_floor(off), MIN(page_ceil(off + len), page_ceil(v->size)));
	vmo_unlock(v, &wake);
	if (r == -EINPROGRESS)
		r = page_waiter_wait(v->source, &w);
	page_waiter_release(&w);
	return r;
}

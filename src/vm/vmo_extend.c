/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing at and beyond the end: the VMO grows and has the new contents under one lock, so that nobody sees zeros that
 * were never there. What lies before the end is an ordinary write.
 */
#include <assert.h>
#include <errno.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

#define SIZE_MAX_VMO (UINT64_C(1) << 62)

/* Grows by at most so much under one lock. */
enum { GROW_PAGES = 1024 };

static const char zero_page[VMOFS_PAGE_SIZE];

/* Pages that the growth to [off, end) makes: [gap, first) of zeros, [first, end) with memory. */
struct growth {
	uint64_t gap;
	uint64_t first;
	uint64_t end;
};

static struct growth growth_of(struct vmo *v, uint64_t off, uint64_t end) REQUIRES(v->source->lock)
{
	struct growth g = { .gap = page_ceil(v->size), .end = page_ceil(end) };

	g.first = MAX(g.gap, page_floor(off));
	return g;
}

/* Everything that can fail, but for the guard and the memory. */
static int prepare(struct vmo *v, const struct growth *g) REQUIRES(v->source->lock)
{
	int r = page_list_zero_prepare(&v->pages);

	if (r == 0)
		r = vmo_store_grow(v, g->end);
	if (r == 0 && g->first < g->end)
		r = page_list_prepare(&v->pages, g->first, g->end);
	return r;
}

/* Bytes of the first and the last new page that are not written read as zero. */
static void clear_edges(struct vmo *v, const struct growth *g, uint64_t off, uint64_t end)
	REQUIRES(v->source->lock)
{
	if (g->first == g->end)
		return;
	if (off > page_bytes(g->first))
		store_write(v->store, page_bytes(g->first), zero_page, VMOFS_PAGE_SIZE);
	if (end < page_bytes(g->end))
		store_write(v->store, page_bytes(g->end - 1), zero_page, VMOFS_PAGE_SIZE);
}

static void grow(struct vmo *v, const struct growth *g, uint64_t off, const char *buf, uint64_t len,
		 struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	if (g->gap < g->first)
		page_list_zero_set(&v->pages, g->gap, g->first, true);
	if (g->first < g->end)
		vmo_fill_dirty(v, g->first, g->end, wake);
	clear_edges(v, g, off, off + len);
	vmo_note_size(v, off + len);
	store_write(v->store, off, buf, len);
	vmo_wrote(v, off, len);
}

/* The page that the end lies in, and that is written to, is dirty. Positive: it is; 0: look again. */
static int64_t edge_step(struct vmo *v, struct vmo_step *w, uint64_t off) REQUIRES(v->source->lock)
{
	if (v->size % VMOFS_PAGE_SIZE == 0 || page_floor(off) > page_floor(v->size))
		return 1;
	return vmo_writable_step(v, w, page_floor(v->size));
}

static int check_grow(struct vmo *v) REQUIRES(v->source->lock)
{
	if (!v->writable)
		return -EROFS;
	return v->resizable ? 0 : -EPERM;
}

/* One try to write [off, off + len), at or beyond the end. Bytes written; 0: look again. */
static int64_t grow_step(struct vmo *v, struct vmo_step *w, uint64_t off, const char *buf,
			 uint64_t len) REQUIRES(v->source->lock)
{
	struct growth g = growth_of(v, off, off + len);
	uint64_t n = g.end > g.first ? g.end - g.first : 0;
	int64_t r = check_grow(v);

	if (r == 0)
		r = edge_step(v, w, off);
	if (r <= 0)
		return r;
	if (n > w->reserved) {
		if (!vm_pool_try_reserve(v->pool, n - w->reserved))
			return vmo_step_reserve(v, w, n);
		w->reserved = n;
	}
	r = prepare(v, &g);
	if (r == 0)
		r = vmo_grant(v, n);
	if (r < 0) {
		if (n)
			page_list_trim(&v->pages, g.first, g.end);
		return r;
	}
	w->reserved -= n;
	grow(v, &g, off, buf, len, &w->wake);
	return (int64_t)len;
}

/* Where the part that is written under one lock ends: at the end of the VMO, or some pages beyond it. */
static int64_t extend_once(struct vmo *v, uint64_t off, const char *buf, uint64_t len, bool now,
			   const struct vmo_wait *wait, bool *before)
{
	struct vmo_step w;
	int64_t r;

	vmo_step_init(&w, wait, page_floor(off), page_ceil(off + len));
	w.now = now;
	vmo_lock(v);
	vmo_step_begin(v, &w);
	do {
		*before = off < v->size;
		r = *before ? 0 : grow_step(v, &w, off, buf, len);
	} while (r == 0 && !*before);
	vmo_step_finish(v, &w);
	vmo_unlock(v, &w.wake);
	page_waiter_release(&w.waiter);
	return r;
}

/* Some of it: what lies before the end, or a piece at the end. */
static int64_t write_some(struct vmo *v, uint64_t off, const char *buf, uint64_t len, bool now,
			  const struct vmo_wait *wait)
{
	bool before = false;
	int64_t r = extend_once(v, off, buf, MIN(len, page_bytes(GROW_PAGES)), now, wait, &before);

	if (r < 0 || !before)
		return r;
	r = vmo_write_bounded(v, off, buf, len, now, wait);
	/* It was cut meanwhile. */
	return r == -ERANGE ? 0 : r;
}

int64_t vmo_write_extend(struct vmo *v, uint64_t off, const void *buf, uint64_t len, bool now,
			 const struct vmo_wait *wait)
{
	uint64_t done = 0;

	assert(!v->parent);
	if (off + len < off || off + len > SIZE_MAX_VMO)
		return -EFBIG;
	while (done < len) {
		int64_t n =
			write_some(v, off + done, (const char *)buf + done, len - done, now, wait);

		if (n < 0)
			return done ? (int64_t)done : n;
		done += (uint64_t)n;
	}
	return (int64_t)done;
}

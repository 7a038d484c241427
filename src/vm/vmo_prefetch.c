/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefetch: asking for pages that nobody waits for yet. It never waits, takes memory only from pages that have not been
 * used lately, and frees itself when the last page has come. Any thread.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

/* One prefetch under way: nobody waits for it, so it frees itself. */
struct prefetch {
	struct page_waiter waiter;
	struct vmo *vmo; /* counted */
};

static void prefetch_done(struct page_waiter *w, int status)
{
	struct prefetch *f = container_of(w, struct prefetch, waiter);

	(void)status;
	page_waiter_release(w);
	vmo_put(f->vmo);
	free(f);
}

/* Pages of [first, end) that are missing and not asked for by anybody. */
static uint64_t n_unasked(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock)
{
	uint64_t n = 0;

	while (first < end) {
		struct vmo_slot s = vmo_look(v, first, end);

		if (s.kind == PAGE_ABSENT)
			n += s.n -
				page_source_n_pending_locked(v->source, VMOFS_REQUEST_READ, s.page,
							     s.page + s.n);
		first += s.n;
	}
	return n;
}

/* The end of the longest prefix of [first, end) with at most @max such pages. */
static uint64_t prefix_with(struct vmo *v, uint64_t first, uint64_t end, uint64_t max)
	REQUIRES(v->source->lock)
{
	uint64_t past = end + 1;
	uint64_t to = first;

	/* [first, to) is short enough, [first, past) is not. */
	while (past - to > 1) {
		uint64_t mid = past == end + 1 ? end : to + (past - to) / 2;

		if (n_unasked(v, first, mid) <= max)
			to = mid;
		else
			past = mid;
	}
	return to;
}

/* Parks @f on as much as @reserved pages allow, *end is where that ends; returns the pages that are new, or -errno. */
static int64_t prefetch_park(struct vmo *v, struct prefetch *f, uint64_t first, uint64_t *end,
			     uint64_t reserved) REQUIRES(v->source->lock)
{
	uint64_t fresh;
	int r;

	*end = MAX(MIN(*end, page_ceil(v->size)), first);
	*end = prefix_with(v, first, *end, reserved);
	fresh = n_unasked(v, first, *end);
	if (!fresh) {
		vm_pool_unreserve(v->pool, reserved);
		return 0;
	}
	r = vmo_ask(v, &f->waiter, first, *end, reserved);
	return r < 0 ? r : (int64_t)fresh;
}

/* With @missing pages at most, or what there is room for. */
static int64_t prefetch_start(struct vmo *v, uint64_t first, uint64_t *end, uint64_t missing,
			      uint64_t deadline_ns)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct prefetch *f = calloc(1, sizeof *f);
	int64_t n;

	if (!f)
		return -ENOMEM;
	while (missing && !vm_pool_reserve_spare(v->pool, missing))
		missing /= 2;
	page_waiter_init(&f->waiter);
	f->waiter.cls = VMOFS_CLASS_PREFETCH;
	f->waiter.deadline_ns = deadline_ns;
	f->waiter.done = prefetch_done;
	f->vmo = vmo_get(v);
	vmo_lock(v);
	n = prefetch_park(v, f, first, end, missing);
	vmo_unlock(v, &wake);
	if (n <= 0)
		prefetch_done(&f->waiter, (int)n);
	return n;
}

/* From page @first on to at most *end; *end becomes how far it came. Pages asked for, or -errno. */
static int64_t prefetch_pages(struct vmo *v, uint64_t first, uint64_t *end, uint64_t deadline_ns)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	uint64_t missing;
	int64_t n;

	vmo_lock(v);
	*end = MIN(*end, page_ceil(v->size));
	missing = first < *end ? n_unasked(v, first, *end) : 0;
	vmo_unlock(v, &wake);
	if (!missing)
		return 0;
	if (atomic_load(&v->pool->n_waiting)) { /* demand that waits for memory goes first */
		*end = first;
		return 0;
	}
	n = prefetch_start(v, first, end, MIN(missing, vmo_step_pages(v)), deadline_ns);
	if (n < 0)
		*end = first;
	return n;
}

int64_t vmo_prefetch(struct vmo *v, uint64_t off, uint64_t len, uint64_t deadline_ns)
{
	uint64_t end = page_ceil(off + len);
	int64_t n = prefetch_pages(v, page_floor(off), &end, deadline_ns);

	return n < 0 ? n : (int64_t)page_bytes((uint64_t)n);
}

uint64_t vmo_prefetch_to(struct vmo *v, uint64_t off, uint64_t len, uint64_t deadline_ns,
			 uint64_t *fresh)
{
	uint64_t end = page_ceil(off + len);
	int64_t n = prefetch_pages(v, page_floor(off), &end, deadline_ns);

	*fresh = n < 0 ? 0 : page_bytes((uint64_t)n);
	return page_bytes(end);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nearer place of a root VMO: putting it there, sending on what it has not, and pinning what is to be kept
 * there. Which requests are its own is decided in page_source.c. Any thread.
 */
#include <assert.h>
#include <errno.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

int vmo_set_near(struct vmo *v, struct vmo_near *near)
{
	int r = -ESHUTDOWN;

	assert(!v->parent);
	vmo_lock(v);
	if (!v->source->detached && !v->source->near_off) {
		assert(!v->source->near);
		v->source->near = near;
		r = 0;
	}
	mutex_unlock(&v->source->lock);
	return r;
}

void vmo_elsewhere(struct vmo *v, uint64_t off, uint64_t len)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);

	assert(off % VMOFS_PAGE_SIZE == 0);
	vmo_lock(v);
	page_source_elsewhere_locked(v->source, page_floor(off), page_ceil(off + len), &wake);
	vmo_unlock(v, &wake);
}

static bool is_clean(enum page_state kind)
{
	return kind == PAGE_CLEAN || kind == PAGE_ZERO_CLEAN;
}

/* The first run of clean pages, whatever their kind, in [*first, *end); false: none. */
static bool find_clean(struct vmo *v, uint64_t *first, uint64_t *end) REQUIRES(v->source->lock)
{
	uint64_t limit = MIN(*end, page_ceil(v->size));
	uint64_t p = *first;

	while (p < limit) {
		struct page_run run = page_list_run(&v->pages, p, limit);

		if (is_clean(run.kind))
			break;
		p = run.end;
	}
	*first = p;
	while (p < limit) {
		struct page_run run = page_list_run(&v->pages, p, limit);

		if (!is_clean(run.kind))
			break;
		p = run.end;
	}
	*end = p;
	return *first < *end;
}

int vmo_read_present(struct vmo *v, struct vmo_read *r)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	uint64_t first = page_floor(r->off);
	uint64_t end = page_ceil(r->off + r->len);
	int rc = -ENODATA;

	assert(!v->parent);
	vmo_read_init(v, r);
	vmo_lock(v);
	if (!v->source->near_off && find_clean(v, &first, &end)) {
		r->off = page_bytes(first);
		r->len = MIN(page_bytes(end), v->size) - r->off;
		rc = vmo_read_pin_untouched(v, r, first, end);
	}
	vmo_unlock(v, &wake);
	if (rc < 0) {
		page_waiter_release(&r->waiter);
		vmo_put(steal_ptr(&r->vmo));
	}
	return rc;
}

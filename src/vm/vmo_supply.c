/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider's side: contents, zeros, failures and grants. Contents are copied in under the lock,
 * page by page of what is absent, so a late or doubled answer can never touch a page that has
 * become somebody's. Everything is checked before anything is taken.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

static const char zero_page[VMOFS_PAGE_SIZE];

/* What makes pages of a run present; the leaves are there and the memory is paid for. */
struct filling {
	const char *buf; /* contents of the page `first` */
	uint64_t first;
	uint64_t off_end; /* bytes: where the contents end */
	bool asked_only;  /* where not all fits */
	bool refused;     /* something did not fit */
	bool from_near;   /* the nearer place has it already */
	struct vmo *name; /* under which who supplies knows the VMO; NULL: no matter */
	uint64_t filled;  /* bytes */
};

/* @name: under which who answers knows the VMO. A provider that was switched away says nothing any more. */
static int check_supply(struct vmo *v, struct vmo *name, uint64_t off, uint64_t len)
	REQUIRES(v->source->lock)
{
	if (v->parent)
		return -EINVAL;
	if (v->source->detached)
		return v->source->gone_status;
	if (name && name != v->source->name)
		return -ESHUTDOWN;
	return vmo_check_range(v, off, len);
}

/*
 * Pays for a run of absent pages: what was asked for has been reserved by those who asked, the rest
 * needs room now.
 */
static bool pay(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock)
{
	uint64_t asked = page_source_n_pending_locked(v->source, VMOFS_REQUEST_READ, first, end);

	return vm_pool_try_reserve(v->pool, end - first - asked);
}

static void copy_run(struct vmo *v, const struct filling *f, uint64_t first, uint64_t end)
{
	uint64_t from = page_bytes(first);
	uint64_t to = MIN(page_bytes(end), MIN(f->off_end, v->size));

	store_write(v->store, from, f->buf + page_bytes(first - f->first), to - from);
	/* The tail of the last page may hold an older, longer life of it. */
	if (to < page_bytes(end))
		memset(store_addr(v->store, to, page_bytes(end) - to), 0, page_bytes(end) - to);
}

/*
 * Blocks of which nothing is here and everything has been asked for are about to be written whole:
 * the store can prepare their memory at once.
 */
static void announce(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock)
{
	const uint64_t block = page_floor(STORE_BLOCK);

	for (uint64_t b = first / block * block; v->store->ops->dense && b < end; b += block) {
		if (page_bytes(b) + STORE_BLOCK > v->store->size ||
		    v->store->ops->is_dense(v->store, page_bytes(b)) ||
		    page_list_next_resident(&v->pages, b, b + block) < b + block)
			continue;
		if (page_source_n_pending_locked(v->source, VMOFS_REQUEST_READ, b, b + block) ==
		    block)
			v->store->ops->dense(v->store, page_bytes(b));
	}
}

/* One run of absent pages becomes clean; 0 or -ENOMEM. */
static int fill_run(struct vmo *v, const struct filling *f, uint64_t first, uint64_t end,
		    struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	if (page_list_prepare(&v->pages, first, end) < 0)
		return -ENOMEM;
	if (!pay(v, first, end)) {
		page_list_trim(&v->pages, first, end);
		return -ENOBUFS;
	}
	announce(v, first, end);
	copy_run(v, f, first, end);
	page_list_fill(&v->pages, first, end, PAGE_CLEAN);
	vm_pool_commit(v->pool, end - first);
	page_source_resolve_locked(v->source, VMOFS_REQUEST_READ, first, end, UINT64_MAX, wake);
	return 0;
}

/* Bytes of an answer that ends at @off_end in the pages of @run. */
static uint64_t bytes_of(struct page_run run, uint64_t off_end)
{
	return MIN(page_bytes(run.end), off_end) - page_bytes(run.first);
}

static int fill_counted(struct vmo *v, struct filling *f, struct page_run run,
			struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	int r = fill_run(v, f, run.first, run.end, wake);

	if (r == 0)
		f->filled += bytes_of(run, f->off_end);
	return r;
}

/* The pages of a run that somebody asked for: their memory is reserved, whatever stands beside them. */
static int fill_asked(struct vmo *v, struct filling *f, struct page_run run,
		      struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	uint64_t p = run.first;
	int r = 0;

	f->refused = true;
	while (r == 0 && p < run.end) {
		p = page_source_next_pending_locked(v->source, VMOFS_REQUEST_READ, p, run.end);
		if (p < run.end)
			r = fill_counted(v, f, (struct page_run){ p, p + 1, run.kind }, wake);
		p++;
	}
	return r;
}

/* Fills what is absent in [*page, end); stops at the first run that fails. */
static int fill_absent(struct vmo *v, struct filling *f, uint64_t *page, uint64_t end,
		       struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	while (*page < end) {
		struct page_run run = page_list_run(&v->pages, *page, end);
		int r = 0;

		if (run.kind == PAGE_ABSENT)
			r = fill_counted(v, f, run, wake);
		if (r == -ENOBUFS && f->asked_only)
			r = fill_asked(v, f, run, wake);
		if (r < 0)
			return r;
		*page = run.end;
	}
	return 0;
}

/* The nearer place may keep pages [first, end), of which some are new. */
static void tell_near(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock)
{
	struct vmo_near *near = v->source->near;

	if (near && !v->source->near_off && first < end)
		near->ops->arrived(near, first, end);
}

static int supply_pass(struct vmo *v, uint64_t off, uint64_t len, struct filling *f, uint64_t *page)
{
	uint64_t first = *page;
	uint64_t before = f->filled;
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	int r;

	vmo_lock(v);
	r = check_supply(v, f->name, off, len);
	/* It has the first version. */
	if (r == 0 && f->from_near && v->source->name != v)
		r = -ESHUTDOWN;
	if (r == 0)
		r = fill_absent(v, f, page, page_ceil(off + len), &wake);
	if (f->filled > before && !f->from_near)
		tell_near(v, first, *page);
	vmo_unlock(v, &wake);
	vm_pool_supplied(v->pool);
	return r;
}

static int64_t supply(struct vmo *v, uint64_t off, uint64_t len, struct filling *f)
{
	uint64_t page = f->first;
	int r = supply_pass(v, off, len, f, &page);

	if (r == -ENOBUFS) {
		/* Nobody asked for some of these pages, so nobody made room for them. */
		vm_pool_evict(v->pool, page_ceil(off + len) - page);
		f->asked_only = true;
		r = supply_pass(v, off, len, f, &page);
	}
	if (f->refused)
		atomic_fetch_add(&v->pool->failures, 1);
	if (r == 0 && f->refused && !f->filled)
		r = -ENOMEM;
	return r < 0 ? r : (int64_t)f->filled;
}

int64_t vmo_supply(struct vmo *v, uint64_t off, const void *buf, uint64_t len)
{
	struct filling f = { .buf = buf, .first = page_floor(off), .off_end = off + len };

	return supply(v, off, len, &f);
}

int64_t vmo_supply_near(struct vmo *v, uint64_t off, const void *buf, uint64_t len)
{
	struct filling f = {
		.buf = buf,
		.first = page_floor(off),
		.off_end = off + len,
		.from_near = true,
	};

	return supply(v, off, len, &f);
}

/* Absent pages of the run become clean zeros. */
static int zero_run(struct vmo *v, struct page_run run, struct page_wakeups *wake)
	REQUIRES(v->source->lock)
{
	if (page_list_zero_prepare(&v->pages) < 0)
		return -ENOMEM;
	page_list_zero_set(&v->pages, run.first, run.end, false);
	page_source_forget_locked(v->source, VMOFS_REQUEST_READ, run.first, run.end, wake);
	return 0;
}

static int64_t supply_zero(struct vmo *v, struct vmo *name, uint64_t off, uint64_t len)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	uint64_t page = page_floor(off);
	uint64_t end = page_ceil(off + len);
	uint64_t filled = 0;
	int r;

	vmo_lock(v);
	r = check_supply(v, name, off, len);
	while (r == 0 && page < end) {
		struct page_run run = page_list_run(&v->pages, page, end);

		if (run.kind == PAGE_ABSENT) {
			r = zero_run(v, run, &wake);
			if (r < 0)
				break;
			filled += bytes_of(run, off + len);
		}
		page = run.end;
	}
	if (filled)
		tell_near(v, page_floor(off), page);
	vmo_unlock(v, &wake);
	return r < 0 ? r : (int64_t)filled;
}

int64_t vmo_supply_zero(struct vmo *v, uint64_t off, uint64_t len)
{
	return supply_zero(v, NULL, off, len);
}

static int fail(struct vmo *v, struct vmo *name, uint64_t off, uint64_t len, int code,
		unsigned types)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	int r;

	if (!page_source_is_valid_external_failure_code(code) ||
	    types >= VMOFS_TYPE_BIT(VMOFS_REQUEST_NTYPES))
		return -EINVAL;
	vmo_lock(v);
	r = check_supply(v, name, off, len);
	/* What was asked for waits for another answer. */
	if (v->source->held)
		types &= ~VMOFS_TYPE_BIT(VMOFS_REQUEST_READ);
	if (r == 0)
		page_source_fail_locked(v->source, page_floor(off), page_ceil(off + len), code,
					types, &wake);
	vmo_unlock(v, &wake);
	return r;
}

int vmo_fail(struct vmo *v, uint64_t off, uint64_t len, int code, unsigned types)
{
	return fail(v, NULL, off, len, code, types);
}

/* ---- grants ---- */

/* Zero pages of the run become pages with memory, which the caller has reserved. */
static void zeros_to_pages(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock)
{
	vmo_tokens_forget(v, first, end);
	page_list_zero_clear(&v->pages, first, end);
	for (uint64_t p = first; v->store->ops->unclean && p < end; p++)
		store_write(v->store, page_bytes(p), zero_page, sizeof zero_page);
	page_list_fill(&v->pages, first, end, PAGE_DIRTY);
	page_list_set_fresh(&v->pages, first, end);
	vm_pool_commit(v->pool, end - first);
}

/*
 * Everything that can fail for the zero runs of the range. Only an interval that reaches beyond both
 * ends of the range is split, so the spares are enough.
 */
static int prepare_zeros(struct vmo *v, uint64_t first, uint64_t end)
{
	int r = page_list_zero_prepare(&v->pages);

	for (uint64_t p = first; r == 0 && p < end;) {
		struct page_run run = page_list_run(&v->pages, p, end);

		if (run.kind >= PAGE_NSTATES)
			r = page_list_prepare(&v->pages, run.first, run.end);
		p = run.end;
	}
	if (r < 0)
		page_list_trim(&v->pages, first, end);
	return r;
}

static void dirty_run(struct vmo *v, struct page_run run) REQUIRES(v->source->lock)
{
	switch (run.kind) {
	case PAGE_CLEAN:
		page_list_move(&v->pages, run.first, run.end, PAGE_CLEAN, PAGE_DIRTY);
		break;
	case PAGE_AWAITING_CLEAN:
		vmo_tokens_forget(v, run.first, run.end);
		page_list_move(&v->pages, run.first, run.end, PAGE_AWAITING_CLEAN, PAGE_DIRTY);
		break;
	case PAGE_ZERO_CLEAN:
	case PAGE_ZERO_DIRTY:
		zeros_to_pages(v, run.first, run.end);
		break;
	default:
		break;
	}
}

/* Pages that are not dirty yet, those of known zeros too. */
static uint64_t n_clean(struct vmo *v, uint64_t first, uint64_t end)
{
	uint64_t n = 0;

	for (uint64_t p = first; p < end;) {
		struct page_run run = page_list_run(&v->pages, p, end);

		if (run.kind == PAGE_CLEAN || run.kind >= PAGE_NSTATES)
			n += run.end - run.first;
		p = run.end;
	}
	return n;
}

int vmo_make_dirty(struct vmo *v, uint64_t first, uint64_t end, struct page_wakeups *wake)
{
	int r = prepare_zeros(v, first, end);

	if (r == 0) {
		r = vmo_grant(v, n_clean(v, first, end));
		if (r < 0)
			page_list_trim(&v->pages, first, end);
	}
	if (r < 0)
		return r;
	for (uint64_t p = first; p < end;) {
		struct page_run run = page_list_run(&v->pages, p, end);

		assert(run.kind != PAGE_ABSENT);
		dirty_run(v, run);
		p = run.end;
	}
	page_source_resolve_locked(v->source, VMOFS_REQUEST_DIRTY, first, end, UINT64_MAX, wake);
	return 0;
}

static int check_grant(struct vmo *v, uint64_t off, uint64_t len, struct page_wakeups *wake)
	REQUIRES(v->source->lock)
{
	uint64_t size_end = page_ceil(v->size);
	uint64_t end = page_ceil(off + len);

	if (v->parent)
		return -EINVAL;
	if (!v->source->props.supports_request_type[VMOFS_REQUEST_DIRTY])
		return -EOPNOTSUPP;
	if (off % VMOFS_PAGE_SIZE || (len % VMOFS_PAGE_SIZE && off + len != v->size))
		return -EINVAL;
	if (page_floor(off) > size_end || off + len < off)
		return -ERANGE;
	if (v->source->detached)
		return v->source->gone_status;
	if (end > size_end) {
		/* Those inside the new size ask again with what is left. */
		page_source_release_locked(v->source, VMOFS_REQUEST_DIRTY, page_floor(off),
					   size_end, wake);
		return -ERANGE;
	}
	return 0;
}

/* All or nothing: a hole in the range sends everybody back to look. */
static int grant_locked(struct vmo *v, uint64_t first, uint64_t end, struct page_wakeups *wake)
	REQUIRES(v->source->lock)
{
	uint64_t zeros = vmo_n_zeros(v, first, end);
	uint64_t aside = MIN(zeros, v->put_aside);
	int r;

	if (vmo_n_missing(v, first, end)) {
		page_source_release_locked(v->source, VMOFS_REQUEST_DIRTY, first, end, wake);
		return -ENOENT;
	}
	if (!vm_pool_try_reserve(v->pool, zeros - aside))
		return -ENOBUFS;
	r = vmo_make_dirty(v, first, end, wake);
	if (r < 0)
		vm_pool_unreserve(v->pool, zeros - aside);
	else
		v->put_aside -= aside;
	return r;
}

int vmo_dirty(struct vmo *v, uint64_t off, uint64_t len)
{
	uint64_t first = page_floor(off);
	uint64_t end = page_ceil(off + len);
	unsigned attempts = 2;
	int r;

	do {
		struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);

		vmo_lock(v);
		r = check_grant(v, off, len, &wake);
		if (r == 0)
			r = grant_locked(v, first, end, &wake);
		vmo_unlock(v, &wake);
	} while (r == -ENOBUFS && --attempts && vm_pool_evict(v->pool, end - first));
	return r == -ENOBUFS ? -ENOMEM : r;
}

/*
 * ---- the public names ----
 *
 * A provider answers for the object as it was when it asked; what has been cut off since is not
 * taken, and no error.
 */

/* What @name stands for. */
static struct vmo *named(struct vmo *name)
{
	return name->stands_for ? name->stands_for : name;
}

/* @len without what lies beyond the size now; 0: all of it does. */
static uint64_t clip(struct vmo *vmo, uint64_t off, uint64_t len)
{
	uint64_t size = vmo_size(vmo);

	return off < size ? MIN(len, size - off) : 0;
}

int64_t vmofs_supply(struct vmo *name, uint64_t off, const void *buf, uint64_t len)
{
	struct vmo *v = named(name);
	int64_t r;

	do {
		struct filling f = {
			.buf = buf,
			.first = page_floor(off),
			.off_end = off + len,
			.name = name,
		};

		r = supply(v, off, len, &f);
	} while (r == -ERANGE && (len = clip(v, off, len)));
	return r;
}

int64_t vmofs_supply_zero(struct vmo *name, uint64_t off, uint64_t len)
{
	struct vmo *v = named(name);
	int64_t r = supply_zero(v, name, off, len);

	while (r == -ERANGE && (len = clip(v, off, len)))
		r = supply_zero(v, name, off, len);
	return r;
}

int vmofs_fail(struct vmo *name, uint64_t off, uint64_t len, int code, unsigned types)
{
	struct vmo *v = named(name);
	int r = fail(v, name, off, len, code, types);

	while (r == -ERANGE && (len = clip(v, off, len)))
		r = fail(v, name, off, len, code, types);
	return r;
}

int vmofs_grant_dirty(struct vmo *name, uint64_t off, uint64_t len)
{
	return vmo_dirty(named(name), off, len);
}

void vmofs_distrust(struct vmo *name)
{
	struct vmo *v = named(name);
	bool counts;

	vmo_lock(v);
	counts = v->source->name == name && !v->source->held;
	mutex_unlock(&v->source->lock);
	if (counts)
		vmo_distrust(v);
}

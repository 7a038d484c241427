/* SPDX-License-Identifier: Apache-2.0 */
/* Life, locking and look-up of VMOs; what the other vmo_*.c files share. */
#include "vm/vmo.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

/* Longer requests are split, so that a part of a big one can complete on its own. */
enum { REQUEST_MAX_PAGES = 2048 };

/* ---- life ---- */

static void vmo_init(struct vmo *v, struct vm_pool *pool, unsigned flags, uint64_t size)
{
	v->refs = 1;
	v->pool = pool;
	v->flags = flags;
	v->size = size;
	v->origin_size = size;
	v->base_size = size;
	v->root = v;
	v->writable = flags;
	v->resizable = flags & VMO_RESIZABLE;
	vmofs_list_init(&v->old_stores);
	page_list_init(&v->pages, &pool->queue, v);
	vmofs_list_init(&v->children);
	vmofs_list_init(&v->sibling);
	vmofs_list_init(&v->tokens);
	itree_init(&v->pins);
	itree_init(&v->holds);
}

static struct page_source_properties properties_of(const struct vmofs_provider *p, unsigned flags)
{
	struct page_source_properties props = {
		.is_user_pager = !p->ops->free_pages,
		.max_request_pages = REQUEST_MAX_PAGES,
	};

	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++)
		props.supports_request_type[t] = p->ops->supports & VMOFS_TYPE_BIT(t);
	props.supports_request_type[VMOFS_REQUEST_DIRTY] = flags & VMO_TRAP_DIRTY;
	return props;
}

static int check_new(const struct vmofs_provider *p, uint64_t size, unsigned flags,
		     struct vmofs_err *err)
{
	if (flags & ~(unsigned)(VMO_TRAP_DIRTY | VMO_RESIZABLE | VMO_WRITABLE))
		return vmofs_err_set(err, -EINVAL, "unknown flags %#x for an object", flags);
	if (size > (UINT64_C(1) << 62))
		return vmofs_err_set(err, -ERANGE, "object of %" PRIu64 " bytes is too large",
				     size);
	if ((flags & VMO_TRAP_DIRTY) && !(p->ops->supports & VMOFS_TYPE_BIT(VMOFS_REQUEST_DIRTY)))
		return vmofs_err_set(err, -EOPNOTSUPP, "provider '%s' cannot grant writes",
				     p->ops->name);
	return 0;
}

static int new_fixed_store(struct vmo *v, uint64_t len, struct vmofs_err *err)
{
	if (len <= STORE_SMALL_MAX)
		return store_small_new(&v->store, len, v->pool->small, err);
	return store_anon_new(&v->store, len, &v->pool->heat, err);
}

/* Where the kernel does not let us map as much without a promise of memory, a memfd will do. */
static int new_store(struct vmo *v, struct vmofs_err *err)
{
	uint64_t len = page_bytes(page_ceil(v->size));

	if (!(v->flags & VMO_RESIZABLE) && new_fixed_store(v, len, err) == 0)
		return 0;
	*err = (struct vmofs_err)VMOFS_ERR_INIT;
	return store_memfd_new(&v->store, len, err);
}

int vmo_new(struct vmo **out, struct vm_pool *pool, struct vmofs_provider *provider, uint64_t size,
	    unsigned flags, struct vmofs_err *err)
{
	struct page_source_properties props;
	struct vmo *v;
	int r = check_new(provider, size, flags, err);

	if (r < 0)
		return r;
	v = calloc(1, sizeof *v);
	if (!v)
		return vmofs_err_set(err, -ENOMEM, "out of memory for an object");
	vmo_init(v, pool, flags, size);
	props = properties_of(provider, flags);
	r = new_store(v, err);
	if (r == 0) {
		r = page_source_new(&v->source, provider, v, &props, pool);
		if (r < 0)
			vmofs_err_set(err, r, "out of memory for a page source");
	}
	if (r < 0) {
		store_free(v->store);
		free(v);
		return r;
	}
	*out = v;
	return 0;
}

struct vmo *vmo_get(struct vmo *v)
{
	atomic_fetch_add(&v->refs, 1);
	return v;
}

bool vmo_get_unless_dead(struct vmo *v)
{
	unsigned refs = atomic_load(&v->refs);

	while (refs)
		if (atomic_compare_exchange_weak(&v->refs, &refs, refs + 1))
			return true;
	return false;
}

/* The last reference is gone; returns the parent, whose reference is now the caller's to drop. */
static struct vmo *vmo_destroy(struct vmo *v)
{
	struct vmo *parent = v->parent;
	struct page_source *source = v->source;
	uint64_t n;

	if (!parent)
		vmo_close(v);
	mutex_lock(&source->lock);
	n = page_list_resident(&v->pages);
	page_list_release(&v->pages);
	vmofs_list_del(&v->sibling);
	vmo_free_old_stores(v);
	mutex_unlock(&source->lock);
	vm_pool_release(v->pool, n);
	store_free(v->store);
	vm_pool_dispatch(v->pool);
	if (!parent)
		page_source_free(source);
	free(v);
	return parent;
}

void vmo_put(struct vmo *v)
{
	while (v && atomic_fetch_sub(&v->refs, 1) == 1)
		v = vmo_destroy(v);
}

struct vmo *vmofs_vmo_get(struct vmo *name)
{
	if (name->stands_for)
		vmo_get(name->stands_for);
	return vmo_get(name);
}

void vmofs_vmo_put(struct vmo *name)
{
	struct vmo *v = name->stands_for;

	if (!v) {
		vmo_put(name);
		return;
	}
	vmo_put_name(name);
	vmo_put(v);
}

void vmo_lock(struct vmo *v)
{
	mutex_lock(&v->source->lock);
}

void vmo_unlock(struct vmo *v, struct page_wakeups *wake)
{
	struct vm_pool *pool = v->pool;

	vmo_settle_guard(v);
	mutex_unlock(&v->source->lock);
	/* A completion may drop the last reference to @v. */
	page_wakeups_run(wake);
	vm_pool_dispatch(pool);
}

static void detach_locked(struct vmo *v, struct page_wakeups *wake) REQUIRES(v->source->lock)
{
	uint64_t end = page_ceil(v->size);
	uint64_t p = 0;

	page_source_detach_locked(v->source, wake);
	/* What a reply is being sent from goes when that ends: see vmo_read_end(). */
	vmo_evict_clean(v, 0, end, true);
	while (p < end) {
		struct page_run run = page_list_run(&v->pages, p, end);

		if (run.kind == PAGE_ZERO_CLEAN && page_list_zero_prepare(&v->pages) == 0)
			page_list_zero_clear(&v->pages, run.first, run.end);
		p = run.end;
	}
}

int vmo_detach(struct vmo *v)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);

	if (v->parent)
		return -EINVAL;
	vmo_lock(v);
	detach_locked(v, &wake);
	vmo_unlock(v, &wake);
	vm_pool_abort(v->pool, v->source);
	return 0;
}

void vmo_distrust(struct vmo *v)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo_near *near;

	assert(!v->parent);
	vmo_lock(v);
	near = v->source->near;
	if (!v->source->detached) {
		v->source->gone_status = -EBADMSG;
		detach_locked(v, &wake);
		if (near)
			near->ops->distrust(near);
	}
	vmo_unlock(v, &wake);
	vm_pool_abort(v->pool, v->source);
}

bool vmo_is_distrusted(struct vmo *v)
{
	bool distrusted;

	vmo_lock(v);
	distrusted = v->source->gone_status == -EBADMSG;
	mutex_unlock(&v->source->lock);
	return distrusted;
}

void vmo_close(struct vmo *v)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);

	vmo_lock(v->root);
	page_source_close_locked(v->root->source, &wake);
	vmo_drop_guard(v->root);
	vmo_unlock(v->root, &wake);
	vm_pool_abort(v->pool, v->source);
}

uint64_t vmo_size(struct vmo *v)
{
	uint64_t size;

	vmo_lock(v);
	size = v->size;
	mutex_unlock(&v->source->lock);
	return size;
}

struct page_source *vmo_page_source(struct vmo *v)
{
	return v->source;
}

void vmo_set_name(struct vmo *v, const char *name)
{
	snprintf(v->name, sizeof v->name, "%s", name);
}

int vmo_check_range(struct vmo *v, uint64_t off, uint64_t len)
{
	bool at_an_end = off + len == v->size || off + len == v->base_size;

	if (off % VMOFS_PAGE_SIZE || (len % VMOFS_PAGE_SIZE && !at_an_end))
		return -EINVAL;
	if (off + len < off || off + len > page_bytes(page_ceil(v->size)))
		return -ERANGE;
	return 0;
}

uint64_t vmo_step_pages(const struct vmo *v)
{
	return v->pool->limit / 2;
}

/* ---- looking through the chain of parents ---- */

struct vmo_slot vmo_look(struct vmo *v, uint64_t page, uint64_t limit)
{
	uint64_t n = limit - page;

	for (;;) {
		struct page_run run = page_list_run(&v->pages, page, page + n);

		n = run.end - run.first;
		if (run.kind != PAGE_ABSENT || !v->parent)
			return (struct vmo_slot){ v, page, n, run.kind };
		if (page >= v->parent_limit)
			return (struct vmo_slot){ v, page, n, PAGE_ZERO_CLEAN };
		n = MIN(n, v->parent_limit - page);
		page += v->parent_off;
		v = v->parent;
	}
}

uint64_t vmo_n_missing(struct vmo *v, uint64_t first, uint64_t end)
{
	uint64_t n = 0;

	while (first < end) {
		struct vmo_slot s = vmo_look(v, first, end);

		if (s.kind == PAGE_ABSENT)
			n += s.n;
		first += s.n;
	}
	return n;
}

uint64_t vmo_n_zeros(struct vmo *v, uint64_t first, uint64_t end)
{
	uint64_t n = 0;

	while (first < end) {
		struct page_run run = page_list_run(&v->pages, first, end);

		if (run.kind == PAGE_ZERO_CLEAN || run.kind == PAGE_ZERO_DIRTY)
			n += run.end - run.first;
		first = run.end;
	}
	return n;
}

void *vmo_slot_addr(const struct vmo_slot *s)
{
	return store_addr(s->owner->store, page_bytes(s->page), page_bytes(s->n));
}

void vmo_touch_slot(const struct vmo_slot *s)
{
	page_list_touch(&s->owner->pages, s->page, s->page + s->n);
}

/* ---- asking ---- */

/* Asks for every gap in [first, end); counts the pages that were not pending before. */
static int ask_gaps(struct vmo *v, struct page_waiter *w, uint64_t first, uint64_t end,
		    uint64_t *asked) REQUIRES(v->source->lock)
{
	while (first < end) {
		struct vmo_slot s = vmo_look(v, first, end);
		uint64_t pending;
		int r;

		first += s.n;
		if (s.kind != PAGE_ABSENT)
			continue;
		pending = page_source_n_pending_locked(v->source, VMOFS_REQUEST_READ, s.page,
						       s.page + s.n);
		r = page_source_ask_locked(v->source, w, s.page, s.page + s.n);
		if (r < 0)
			return r;
		*asked += s.n - pending;
	}
	return 0;
}

int vmo_ask(struct vmo *v, struct page_waiter *w, uint64_t first, uint64_t end, uint64_t reserved)
{
	uint64_t asked = 0;
	int r = page_source_park_locked(v->source, w, VMOFS_REQUEST_READ, first + v->root_off,
					end + v->root_off);

	if (r < 0) {
		vm_pool_unreserve(v->pool, reserved);
		return r;
	}
	r = ask_gaps(v, w, first, end, &asked);
	assert(asked <= reserved);
	atomic_store_explicit(&w->n_fresh, asked, memory_order_relaxed);
	vm_pool_unreserve(v->pool, reserved - asked);
	if (r < 0)
		page_source_unpark_locked(v->source, w);
	return r;
}

uint64_t vmo_read_n_fresh(const struct vmo_read *r)
{
	return atomic_load_explicit(&r->waiter.n_fresh, memory_order_relaxed);
}

void vmo_hold_add(struct vmo *v, struct itree_node *hold, uint64_t first, uint64_t end)
{
	hold->first = first + v->root_off;
	hold->end = end + v->root_off;
	itree_insert(&v->root->holds, hold);
}

/* The root has the same lock, which the analysis cannot know. */
void vmo_hold_del(struct vmo *v, struct itree_node *hold) NO_TSA
{
	itree_remove(&v->root->holds, hold);
	vm_pool_note_gain(v->pool);
	if (!vmofs_list_empty(&v->root->old_stores) && !v->root->holds.root)
		vmo_free_old_stores(v->root);
	/* Detach left what was held. */
	if (v->source->detached)
		vmo_evict_clean(v->root, hold->first, hold->end, true);
}

/* The next stretch without pages in [first, end), which lies in one block. */
static bool next_empty(struct vmo *v, uint64_t first, uint64_t end, struct page_run *out)
{
	for (; first < end; first = out->end) {
		*out = page_list_run(&v->pages, first, end);
		if (out->kind == PAGE_ABSENT || out->kind >= PAGE_NSTATES)
			return true;
	}
	return false;
}

void vmo_trim(struct vmo *v, uint64_t first, uint64_t end)
{
	const uint64_t block = page_floor(STORE_BLOCK);
	struct page_run run;

	end = MIN(end, page_floor(v->store->size));
	for (uint64_t b = first / block * block; v->store->ops->dense && b < end; b += block) {
		uint64_t to = MIN(end, b + block);

		if (!v->store->ops->is_dense(v->store, page_bytes(b)))
			continue;
		for (uint64_t p = MAX(first, b); next_empty(v, p, to, &run); p = run.end)
			store_punch(v->store, page_bytes(run.first),
				    page_bytes(run.end - run.first));
	}
}

void vmo_drop_pages(struct vmo *v, uint64_t first, uint64_t end)
{
	uint64_t n;

	vmo_tokens_forget(v, first, end);
	n = page_list_drop(&v->pages, first, end);
	if (!n)
		return;
	/* What could not be punched is emptied: pages that are not there read as zero in the store. */
	if (store_punch(v->store, page_bytes(first), page_bytes(end - first)) < 0)
		memset(store_addr(v->store, page_bytes(first), page_bytes(end - first)), 0,
		       page_bytes(end - first));
	vm_pool_release(v->pool, n);
}

uint64_t vmo_expire(struct vmo *v, uint64_t now_ns)
{
	uint64_t a;
	uint64_t b;

	/* Those who wait for memory first: else they get what the others leave, and park too late. */
	vm_pool_expire(v->pool, now_ns);
	page_source_expire(v->source, now_ns);
	/* Prefetches that ended leave memory behind; who gets it has a deadline of its own. */
	vm_pool_dispatch(v->pool);
	b = vm_pool_expire(v->pool, now_ns);
	a = page_source_expire(v->source, now_ns);
	if (!a || !b)
		return a + b;
	return MIN(a, b);
}

/* ---- what is known ---- */

enum page_state vmo_page_state(struct vmo *v, uint64_t off)
{
	enum page_state kind;

	vmo_lock(v);
	kind = page_list_kind(&v->pages, page_floor(off));
	mutex_unlock(&v->source->lock);
	return kind;
}

uint64_t vmo_n_resident(struct vmo *v)
{
	uint64_t n;

	vmo_lock(v);
	n = page_list_resident(&v->pages);
	mutex_unlock(&v->source->lock);
	return n;
}

uint64_t vmo_n_absent(struct vmo *v, uint64_t off, uint64_t len)
{
	uint64_t at, limit, n = 0;

	vmo_lock(v);
	limit = page_ceil(MIN(v->size, off + len));
	for (at = page_floor(off); at < limit;) {
		struct page_run run = page_list_run(&v->pages, at, limit);

		n += run.kind == PAGE_ABSENT ? run.end - at : 0;
		at = run.end;
	}
	mutex_unlock(&v->source->lock);
	return page_bytes(n);
}

uint64_t vmo_n_dirty(struct vmo *v)
{
	uint64_t n;

	vmo_lock(v);
	n = v->pages.n_pages[PAGE_DIRTY] + v->pages.n_pages[PAGE_AWAITING_CLEAN];
	mutex_unlock(&v->source->lock);
	return n;
}

uint64_t vmo_overhead_bytes(struct vmo *v)
{
	uint64_t n = sizeof *v + sizeof *v->source;

	vmo_lock(v);
	n += page_list_overhead(&v->pages);
	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++)
		n += v->source->n_requests[t] * sizeof(struct page_request);
	mutex_unlock(&v->source->lock);
	return n;
}

/* The next stretch of pages with memory; false: none. */
static bool next_resident(struct vmo *v, uint64_t *first, uint64_t *end)
{
	uint64_t limit;

	vmo_lock(v);
	limit = page_ceil(v->size);
	*first = *end < limit ? page_list_next_resident(&v->pages, *end, limit) : limit;
	*end = *first;
	while (*end < limit) {
		struct page_run run = page_list_run(&v->pages, *end, limit);

		if (run.kind == PAGE_ABSENT || run.kind >= PAGE_NSTATES)
			break;
		*end = run.end;
	}
	mutex_unlock(&v->source->lock);
	return *first < *end;
}

void vmo_each_resident(struct vmo *v, void (*fn)(void *arg, uint64_t off, uint64_t len), void *arg)
{
	uint64_t first;
	uint64_t end = 0;

	while (next_resident(v, &first, &end))
		fn(arg, page_bytes(first), page_bytes(end - first));
}

bool vmo_modified(struct vmo *v, bool reset)
{
	bool modified;

	vmo_lock(v);
	modified = v->modified;
	if (reset)
		v->modified = false;
	mutex_unlock(&v->source->lock);
	return modified;
}

uint64_t vmo_n_evicted(struct vmo *v)
{
	uint64_t n;

	vmo_lock(v);
	n = v->n_evicted;
	mutex_unlock(&v->source->lock);
	return n;
}

static void dump_runs(struct vmo *v, FILE *out, unsigned max_items) REQUIRES(v->source->lock)
{
	uint64_t end = page_ceil(v->size);
	uint64_t p = 0;

	for (; p < end && max_items; max_items--) {
		struct page_run run = page_list_run(&v->pages, p, end);

		fprintf(out, "  pages [%" PRIu64 ", %" PRIu64 ") %s\n", run.first, run.end,
			page_state_name(run.kind));
		p = run.end;
	}
	if (p < end)
		fprintf(out, "  ...\n");
}

void vmo_dump(struct vmo *v, FILE *out, unsigned max_items)
{
	vmo_lock(v);
	fprintf(out, "vmo '%s' size %" PRIu64 " refs %u", v->name, v->size, atomic_load(&v->refs));
	for (unsigned s = PAGE_CLEAN; s < PAGE_NSTATES; s++)
		fprintf(out, " %s %" PRIu64, page_state_name(s), v->pages.n_pages[s]);
	fprintf(out, " leaves %" PRIu64 " zeros %" PRIu64 "\n", v->pages.n_leaves,
		v->pages.n_zeros);
	dump_runs(v, out, max_items);
	mutex_unlock(&v->source->lock);
	page_source_dump(v->source, out, 1, max_items);
}

static void check_tokens(struct vmo *v)
{
	uint64_t end = page_ceil(v->size);
	uint64_t p = 0;

	while (p < end) {
		struct page_run run = page_list_run(&v->pages, p, end);

		for (uint64_t q = run.first; run.kind == PAGE_AWAITING_CLEAN && q < run.end; q++) {
			struct vmofs_list *pos;
			bool found = false;

			vmofs_list_for_each(pos, &v->tokens)
				found |= page_bits_has(
					&container_of(pos, struct vmo_token, link)->pages, q);
			assert(found && "an awaiting page belongs to a token");
		}
		p = run.end;
	}
}

void vmo_check(struct vmo *v)
{
	vmo_lock(v);
	page_list_check(&v->pages);
	assert(page_list_next_resident(&v->pages, page_ceil(v->size), UINT64_MAX) == UINT64_MAX);
	if (v->parent)
		assert(page_list_resident(&v->pages) == v->pages.n_pages[PAGE_UNTRACKED]);
	else
		assert(!v->pages.n_pages[PAGE_UNTRACKED]);
	page_source_check_locked(v->source);
	check_tokens(v);
	if (v->guard)
		assert(v->charged ==
		       v->pages.n_pages[PAGE_DIRTY] + v->pages.n_pages[PAGE_AWAITING_CLEAN]);
	mutex_unlock(&v->source->lock);
	assert(atomic_load(&v->pool->used) <= v->pool->limit);
}

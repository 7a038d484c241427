/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests and waiters of one hierarchy. The provider's send, clear and swap are called with the
 * lock held, so there is no moment at which a request is tracked and its provider does not know it;
 * completions run after the lock is released. Any thread.
 */
#include "vm/page_source.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "base/range_set.h"
#include "vm/page.h"
#include "vm/page_source_private.h"
#include "vm/pool_private.h"
#include "vm/vmo_private.h"

static const uint8_t page_waiter_next[] = {
	[PAGE_WAITER_IDLE] = BIT(PAGE_WAITER_PARKED),
	[PAGE_WAITER_PARKED] = BIT(PAGE_WAITER_DONE) | BIT(PAGE_WAITER_IDLE),
	[PAGE_WAITER_DONE] = BIT(PAGE_WAITER_IDLE),
};
_Static_assert(ARRAY_LEN(page_waiter_next) == PAGE_WAITER_NSTATES, "one row per state");

void page_waiter_set_state(struct page_waiter *w, enum page_waiter_state to)
{
	assert(page_waiter_next[w->state] & BIT(to));
	w->state = to;
}

static struct page_request *request_of(struct itree_node *n)
{
	return n ? container_of(n, struct page_request, range) : NULL;
}

static struct page_waiter *waiter_of(struct itree_node *n)
{
	return n ? container_of(n, struct page_waiter, range) : NULL;
}

static struct page_request *request_first(struct page_source *s, enum vmofs_request_type type,
					  uint64_t first, uint64_t end)
{
	return request_of(itree_first(&s->requests[type], first, end));
}

static struct page_request *request_next(struct page_request *r, uint64_t first, uint64_t end)
{
	return request_of(itree_next(&r->range, first, end));
}

/* ---- nobody ---- */

/* Requests of a source that is held: they are in its books, and that is all. */
static void nobody_send(struct vmofs_provider *p UNUSED, struct vmofs_request *req UNUSED)
{
}

static void nobody_swap(struct vmofs_provider *p UNUSED, struct vmofs_request *old UNUSED,
			struct vmofs_request *now UNUSED)
{
}

static const struct vmofs_provider_ops nobody_ops = {
	.name = "nobody",
	.send = nobody_send,
	.clear = nobody_send,
	.swap = nobody_swap,
};

/* ---- life ---- */

int page_source_new(struct page_source **out, struct vmofs_provider *provider, struct vmo *vmo,
		    const struct page_source_properties *props, struct vm_pool *pool)
{
	struct page_source *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->provider = provider;
	s->vmo = vmo;
	s->name = vmo;
	s->nobody.ops = &nobody_ops;
	s->pool = pool;
	s->props = *props;
	s->gone_status = -ESHUTDOWN;
	mutex_init(&s->lock, LOCK_RANK_VMO);
	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++) {
		itree_init(&s->requests[t]);
		itree_init(&s->waiters[t]);
	}
	*out = s;
	return 0;
}

void page_source_free(struct page_source *s)
{
	if (!s)
		return;
	assert(s->detached && s->closed);
	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++)
		assert(!s->requests[t].root && !s->waiters[t].root);
	if (s->name != s->vmo)
		vmo_put_name(s->name);
	mutex_destroy(&s->lock);
	free(s);
}

void page_waiter_init(struct page_waiter *w)
{
	*w = (struct page_waiter){ .state = PAGE_WAITER_IDLE };
	cond_init(&w->cond);
	vmofs_list_init(&w->done_link);
}

void page_waiter_release(struct page_waiter *w)
{
	assert(w->state != PAGE_WAITER_PARKED);
	cond_destroy(&w->cond);
}

void page_wakeups_run(struct page_wakeups *wake)
{
	struct page_waiter *w;

	while ((w = vmofs_list_first(&wake->done, struct page_waiter, done_link))) {
		vmofs_list_del(&w->done_link);
		w->done(w, w->status);
	}
}

/* ---- requests ---- */

static void unreserve(struct page_source *s, enum vmofs_request_type type, uint64_t n)
{
	if (s->pool && type == VMOFS_REQUEST_READ && n)
		vm_pool_unreserve(s->pool, n);
}

/* Pages of the range that were asked for will not come. */
static void not_coming(struct page_source *s, enum vmofs_request_type type, uint64_t first,
		       uint64_t end)
{
	if (s->pool && type == VMOFS_REQUEST_READ)
		vmo_trim(s->vmo, first, end);
}

static void request_send(struct page_source *s, struct page_request *r)
{
	enum vmofs_request_type type = r->pub.type;

	r->seq = ++s->seq;
	r->pub.vmo = s->name;
	itree_insert(&s->requests[type], &r->range);
	s->n_requests[type]++;
	s->n_sent++;
	r->to->ops->send(r->to, &r->pub);
}

/* Whatever is still pending in it will not come any more. */
static void request_clear(struct page_source *s, struct page_request *r)
{
	enum vmofs_request_type type = r->pub.type;

	r->to->ops->clear(r->to, &r->pub);
	itree_remove(&s->requests[type], &r->range);
	s->n_requests[type]--;
	s->n_cleared++;
	unreserve(s, type, r->n_pending);
	if (r->n_pending)
		not_coming(s, type, r->range.first, r->range.end);
	page_request_free(r);
}

/* Another request for a part of @r takes its place. false: no memory, @r stays as it is. */
static bool request_narrow(struct page_source *s, struct page_request *r, uint64_t first,
			   uint64_t end)
{
	enum vmofs_request_type type = r->pub.type;
	struct page_request *now = page_request_narrow(r, first, end);

	if (!now)
		return false;
	itree_remove(&s->requests[type], &r->range);
	itree_insert(&s->requests[type], &now->range);
	s->n_swapped++;
	r->to->ops->swap(r->to, &r->pub, &now->pub);
	unreserve(s, type, r->n_pending - now->n_pending);
	not_coming(s, type, r->range.first, first);
	not_coming(s, type, end, r->range.end);
	page_request_free(r);
	return true;
}

/*
 * The hull of what its waiters want of @r. What lies beyond a waiter's first failed page is nothing to
 * it any more. false: nobody wants anything.
 */
static bool request_hull(struct page_source *s, const struct page_request *r, struct range *hull)
{
	uint64_t first = UINT64_MAX;
	uint64_t end = 0;
	struct itree_node *n = itree_first(&s->waiters[r->pub.type], r->range.first, r->range.end);

	for (; n; n = itree_next(n, r->range.first, r->range.end)) {
		struct page_waiter *w = waiter_of(n);

		if (w->stop <= r->range.first)
			continue;
		first = MIN(first, MAX(w->wake, r->range.first));
		end = MAX(end, MIN(w->stop, r->range.end));
	}
	*hull = (struct range){ first, end };
	return first < end && page_request_next_pending(r, first, end) < end;
}

/* Cuts @r down to what is still wanted of it, or clears it. */
static void request_trim(struct page_source *s, struct page_request *r)
{
	struct range hull;

	if (!request_hull(s, r, &hull))
		request_clear(s, r);
	else if (hull.first > r->range.first || hull.end < r->range.end)
		request_narrow(s, r, hull.first, hull.end);
}

static void drop_unwanted(struct page_source *s, enum vmofs_request_type type, uint64_t first,
			  uint64_t end)
{
	struct page_request *r = request_first(s, type, first, end);

	while (r) {
		struct page_request *next = request_next(r, first, end);

		request_trim(s, r);
		r = next;
	}
}

/* Clears the requests in [first, end) of which nobody wants anything; the others stay whole. */
static void drop_orphans(struct page_source *s, enum vmofs_request_type type, uint64_t first,
			 uint64_t end)
{
	struct page_request *r = request_first(s, type, first, end);

	while (r) {
		struct page_request *next = request_next(r, first, end);
		struct range hull;

		if (!request_hull(s, r, &hull))
			request_clear(s, r);
		r = next;
	}
}

/* Somebody more (in a hurry, later) waits for a request that was sent before. */
static void request_join(struct page_source *s, struct page_request *r, const struct page_waiter *w)
{
	/* A writeback that is under way may have begun before what this waiter wants stored. */
	bool changed = r->pub.type == VMOFS_REQUEST_WRITEBACK;

	if (w->cls < r->pub.cls) {
		r->pub.cls = w->cls;
		changed = true;
	}
	if (r->pub.deadline_ns && (!w->deadline_ns || w->deadline_ns > r->pub.deadline_ns)) {
		r->pub.deadline_ns = w->deadline_ns;
		changed = true;
	}
	r->seq = ++s->seq;
	if (changed)
		r->to->ops->swap(r->to, &r->pub, &r->pub);
}

uint64_t page_source_next_pending_locked(struct page_source *s, enum vmofs_request_type type,
					 uint64_t page, uint64_t limit)
{
	struct page_request *r;
	uint64_t best = limit;

	for (r = request_first(s, type, page, limit); r && r->range.first < best;
	     r = request_next(r, page, limit)) {
		uint64_t from = MAX(page, r->range.first);
		uint64_t to = MIN(best, r->range.end);
		uint64_t p = from < to ? page_request_next_pending(r, from, to) : to;

		if (p < to)
			best = p;
	}
	return best;
}

uint64_t page_source_n_pending_locked(struct page_source *s, enum vmofs_request_type type,
				      uint64_t first, uint64_t end)
{
	struct page_request *r;
	uint64_t n = 0;

	for (r = request_first(s, type, first, end); r; r = request_next(r, first, end)) {
		uint64_t to = MIN(end, r->range.end);
		uint64_t p = MAX(first, r->range.first);

		while ((p = page_request_next_pending(r, p, to)) < to) {
			uint64_t settled = page_request_next_settled(r, p, to);

			n += settled - p;
			p = settled;
		}
	}
	return n;
}

/* The end of the pending stretch that begins at @page (which is pending), at most @limit. */
static uint64_t pending_end(struct page_source *s, const struct page_waiter *w, uint64_t page,
			    uint64_t limit) REQUIRES(s->lock)
{
	struct page_request *r = request_first(s, w->type, page, page + 1);

	while (page_request_next_pending(r, page, page + 1) != page)
		r = request_next(r, page, page + 1);
	request_join(s, r, w);
	return page_request_next_settled(r, page, MIN(limit, r->range.end));
}

/* What a request is made after. */
struct asking {
	struct vmofs_provider *to;
	enum vmofs_request_type type;
	enum vmofs_request_class cls;
	uint64_t deadline_ns;
};

/* Builds requests for [first, end) on @list; false: out of memory. */
static bool build_requests(struct page_source *s, const struct asking *a, uint64_t first,
			   uint64_t end, struct vmofs_list *list)
{
	uint64_t max = s->props.max_request_pages;

	while (first < end) {
		uint64_t part = MIN(end - first, max);
		struct page_request *r = page_request_new(a->type, first, first + part);

		if (!r)
			return false;
		r->to = a->to;
		r->pub.cls = a->cls;
		r->pub.deadline_ns = a->deadline_ns;
		vmofs_list_add_tail(list, &r->pub.link);
		first += part;
	}
	return true;
}

/* Who is asked for page @first, and up to where (at most *@end) the same holds. */
static struct vmofs_provider *whom(struct page_source *s, enum vmofs_request_type type,
				   uint64_t first, uint64_t *end)
{
	if (type != VMOFS_REQUEST_READ)
		return s->provider;
	if (s->near && !s->near_off && s->near->ops->has(s->near, first, end))
		return s->near->provider;
	return s->held ? &s->nobody : s->provider;
}

/* The same for a gap that nobody has asked for, at the nearer place where that has it. */
static bool build_gap(struct page_source *s, const struct page_waiter *w, uint64_t first,
		      uint64_t end, struct vmofs_list *list)
{
	struct asking a = { .type = w->type, .cls = w->cls, .deadline_ns = w->deadline_ns };

	while (first < end) {
		uint64_t to = end;

		a.to = whom(s, w->type, first, &to);
		assert(to > first && to <= end);
		if (!build_requests(s, &a, first, to, list))
			return false;
		first = to;
	}
	return true;
}

static struct page_request *pop_request(struct vmofs_list *list)
{
	struct page_request *r = vmofs_list_first(list, struct page_request, pub.link);

	if (r)
		vmofs_list_del(&r->pub.link);
	return r;
}

static void free_requests(struct vmofs_list *list)
{
	struct page_request *r;

	while ((r = pop_request(list)))
		page_request_free(r);
}

int page_source_ask_locked(struct page_source *s, struct page_waiter *w, uint64_t first,
			   uint64_t end)
{
	struct vmofs_list fresh = VMOFS_LIST_INIT(fresh);
	struct page_request *r;
	uint64_t p = first;

	while (p < end) {
		uint64_t pending = page_source_next_pending_locked(s, w->type, p, end);

		if (!build_gap(s, w, p, pending, &fresh)) {
			free_requests(&fresh);
			return -ENOMEM;
		}
		p = pending < end ? pending_end(s, w, pending, end) : end;
	}
	while ((r = pop_request(&fresh)))
		request_send(s, r);
	return 0;
}

/* ---- waiters ---- */

static void timer_insert(struct page_source *s, struct page_waiter *w)
{
	struct rb_node **link = &s->timers.root;
	struct rb_node *parent = NULL;

	while (*link) {
		parent = *link;
		link = &parent->child[w->deadline_ns >=
				      container_of(parent, struct page_waiter, timer_node)
					      ->deadline_ns];
	}
	rb_insert(&s->timers, &w->timer_node, parent, link);
}

int page_source_park_locked(struct page_source *s, struct page_waiter *w,
			    enum vmofs_request_type type, uint64_t first, uint64_t end)
{
	assert(first < end);
	/* A callback waiter has been told by its callback. */
	if (w->state == PAGE_WAITER_DONE)
		page_waiter_set_state(w, PAGE_WAITER_IDLE);
	assert(w->state == PAGE_WAITER_IDLE);
	if (!s->props.supports_request_type[type])
		return -EOPNOTSUPP;
	if (s->detached)
		return s->gone_status;
	w->source = s;
	w->type = type;
	page_waiter_set_state(w, PAGE_WAITER_PARKED);
	w->range.first = first;
	w->range.end = end;
	w->wake = first;
	w->stop = end;
	w->status = 0;
	w->signalled = false;
	itree_insert(&s->waiters[type], &w->range);
	s->n_waiters[type]++;
	if (w->deadline_ns)
		timer_insert(s, w);
	return 0;
}

static void waiter_remove(struct page_source *s, struct page_waiter *w, enum page_waiter_state to)
{
	itree_remove(&s->waiters[w->type], &w->range);
	s->n_waiters[w->type]--;
	if (w->deadline_ns)
		rb_erase(&s->timers, &w->timer_node);
	page_waiter_set_state(w, to);
	/* What it waited on was not evicted. */
	if (s->pool)
		vm_pool_note_gain(s->pool);
}

void page_source_unpark_locked(struct page_source *s, struct page_waiter *w)
{
	waiter_remove(s, w, PAGE_WAITER_IDLE);
	drop_unwanted(s, w->type, w->range.first, w->range.end);
}

static void waiter_signal(struct page_waiter *w, int status)
{
	w->signalled = true;
	w->signal_status = status;
	cond_signal(&w->cond);
}

/* The waiter's end: it is off the books before anybody hears of it. */
void page_source_complete_locked(struct page_source *s, struct page_waiter *w, int status,
				 struct page_wakeups *wake)
{
	bool early = status != 0 || w->stop < w->range.end;

	waiter_remove(s, w, PAGE_WAITER_DONE);
	w->status = status;
	if (early)
		drop_unwanted(s, w->type, w->range.first, w->range.end);
	else
		drop_orphans(s, w->type, w->range.first, w->range.end);
	if (w->done)
		vmofs_list_add_tail(&wake->done, &w->done_link);
	else
		waiter_signal(w, status);
}

/* Something changed in its range: is it done, or has it come further? */
static void waiter_check(struct page_source *s, struct page_waiter *w, struct page_wakeups *wake)
	REQUIRES(s->lock)
{
	uint64_t missing = page_source_next_pending_locked(s, w->type, w->wake, w->stop);

	if (missing == w->stop) {
		page_source_complete_locked(s, w, w->status, wake);
		return;
	}
	if (w->early && missing > w->wake)
		waiter_signal(w, 0);
	w->wake = missing;
}

static void check_waiters(struct page_source *s, enum vmofs_request_type type, uint64_t first,
			  uint64_t end, struct page_wakeups *wake) REQUIRES(s->lock)
{
	struct itree_node *n = itree_first(&s->waiters[type], first, end);

	while (n) {
		struct itree_node *next = itree_next(n, first, end);

		waiter_check(s, waiter_of(n), wake);
		n = next;
	}
}

/* ---- resolving ---- */

/* Clears pending bits; requests that are resolved whole leave the books. */
static uint64_t resolve_requests(struct page_source *s, enum vmofs_request_type type,
				 uint64_t first, uint64_t end, uint64_t before)
{
	struct page_request *r = request_first(s, type, first, end);
	uint64_t n = 0;

	while (r) {
		struct page_request *next = request_next(r, first, end);

		if (r->seq < before)
			n += page_request_resolve(r, first, end);
		if (!r->n_pending)
			request_clear(s, r);
		r = next;
	}
	return n;
}

uint64_t page_source_resolve_locked(struct page_source *s, enum vmofs_request_type type,
				    uint64_t first, uint64_t end, uint64_t before,
				    struct page_wakeups *wake)
{
	uint64_t n;

	if (s->detached || first >= end)
		return 0;
	n = resolve_requests(s, type, first, end, before);
	if (n)
		check_waiters(s, type, first, end, wake);
	return n;
}

void page_source_forget_locked(struct page_source *s, enum vmofs_request_type type, uint64_t first,
			       uint64_t end, struct page_wakeups *wake)
{
	uint64_t n = page_source_resolve_locked(s, type, first, end, UINT64_MAX, wake);

	unreserve(s, type, n);
	if (n)
		not_coming(s, type, first, end);
}

/* The first failed page that each waiter still misses becomes its end. Where the last of them ended. */
static uint64_t mark_failed(struct page_source *s, enum vmofs_request_type type, uint64_t first,
			    uint64_t end, int status) REQUIRES(s->lock)
{
	struct itree_node *n = itree_first(&s->waiters[type], first, end);
	uint64_t reach = end;

	for (; n; n = itree_next(n, first, end)) {
		struct page_waiter *w = waiter_of(n);
		uint64_t from = MAX(first, w->wake);
		uint64_t to = MIN(end, w->stop);
		uint64_t p = from < to ? page_source_next_pending_locked(s, type, from, to) : to;

		if (p < to) {
			reach = MAX(reach, w->stop);
			w->stop = p;
			w->status = status;
		}
	}
	return reach;
}

void page_source_fail_locked(struct page_source *s, uint64_t first, uint64_t end, int status,
			     unsigned types, struct page_wakeups *wake)
{
	assert(page_source_is_valid_internal_failure_code(status));
	if (s->detached)
		return;
	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++) {
		uint64_t reach;

		if (!(types & VMOFS_TYPE_BIT(t)))
			continue;
		reach = mark_failed(s, t, first, end, status);
		page_source_forget_locked(s, t, first, end, wake);
		drop_unwanted(s, t, first, reach);
	}
}

/* ---- from the nearer place to the provider ---- */

static bool is_near(const struct page_source *s, const struct page_request *r)
{
	return s->near && r->to == s->near->provider;
}

/* The first stretch of [*first, *end) that is pending at the nearer place; NULL: none. */
static struct page_request *near_pending(struct page_source *s, uint64_t *first, uint64_t *end)
{
	struct page_request *r = request_first(s, VMOFS_REQUEST_READ, *first, *end);
	struct page_request *found = NULL;
	uint64_t best = *end;

	for (; r; r = request_next(r, *first, *end)) {
		uint64_t to = MIN(best, r->range.end);
		uint64_t p = MAX(*first, r->range.first);

		if (!is_near(s, r) || p >= to)
			continue;
		p = page_request_next_pending(r, p, to);
		if (p == to)
			continue;
		best = p;
		found = r;
	}
	if (found) {
		*first = best;
		*end = page_request_next_settled(found, best, MIN(*end, found->range.end));
	}
	return found;
}

/* Pages [first, end), pending in @r, move to new requests with their reservation. false: no memory. */
static bool reroute(struct page_source *s, struct page_request *r, uint64_t first, uint64_t end)
{
	struct vmofs_list fresh = VMOFS_LIST_INIT(fresh);
	const struct asking a = {
		.to = s->held ? &s->nobody : s->provider,
		.type = VMOFS_REQUEST_READ,
		.cls = r->pub.cls,
		.deadline_ns = r->pub.deadline_ns,
	};
	struct page_request *now;

	if (!build_requests(s, &a, first, end, &fresh)) {
		free_requests(&fresh);
		return false;
	}
	page_request_resolve(r, first, end);
	if (!r->n_pending)
		request_clear(s, r);
	while ((now = pop_request(&fresh)))
		request_send(s, now);
	return true;
}

void page_source_elsewhere_locked(struct page_source *s, uint64_t first, uint64_t end,
				  struct page_wakeups *wake)
{
	uint64_t p = first;
	uint64_t to = end;
	struct page_request *r;

	while (!s->detached && p < end && (r = near_pending(s, &p, &to))) {
		if (!reroute(s, r, p, to))
			page_source_fail_locked(s, p, to, -ENOMEM,
						VMOFS_TYPE_BIT(VMOFS_REQUEST_READ), wake);
		p = to;
		to = end;
	}
	/* Requests may hold pages that nobody wants between those that are wanted. */
	drop_orphans(s, VMOFS_REQUEST_READ, first, end);
}

/* ---- from one provider to another ---- */

/* @r as it is becomes a request to @to. */
static void resend(struct page_source *s, struct page_request *r, struct vmofs_provider *to)
{
	r->to->ops->clear(r->to, &r->pub);
	s->n_cleared++;
	r->to = to;
	r->seq = ++s->seq;
	r->pub.vmo = s->name;
	r->pub.priv = NULL;
	vmofs_list_init(&r->pub.link);
	s->n_sent++;
	to->ops->send(to, &r->pub);
}

/* The same without what has come of it already, where that is its beginning. */
static void move_request(struct page_source *s, struct page_request *r, struct vmofs_provider *to)
{
	uint64_t first = page_request_next_pending(r, r->range.first, r->range.end);
	struct page_request *now = r;

	if (first > r->range.first)
		now = page_request_narrow(r, first, r->range.end);
	if (now && now != r) {
		enum vmofs_request_type type = r->pub.type;

		itree_remove(&s->requests[type], &r->range);
		itree_insert(&s->requests[type], &now->range);
		s->n_swapped++;
		r->to->ops->swap(r->to, &r->pub, &now->pub);
		page_request_free(r);
		r = now;
	}
	resend(s, r, to);
}

/* All requests of the type that @from (NULL: anybody else than @to) has go to @to. */
static void move_requests(struct page_source *s, enum vmofs_request_type type,
			  const struct vmofs_provider *from, struct vmofs_provider *to)
{
	struct page_request *r = request_first(s, type, 0, UINT64_MAX);

	while (r) {
		struct page_request *next = request_next(r, 0, UINT64_MAX);

		if (from ? r->to == from : r->to != to)
			move_request(s, r, to);
		r = next;
	}
}

void page_source_hold_locked(struct page_source *s)
{
	if (s->held)
		return;
	s->held = true;
	move_requests(s, VMOFS_REQUEST_READ, s->provider, &s->nobody);
}

void page_source_switch_locked(struct page_source *s, struct vmofs_provider *to, struct vmo *name)
{
	struct vmofs_provider *old = s->provider;
	struct vmo *old_name = s->name;

	s->held = false;
	s->provider = to;
	s->name = name;
	if (to == old) {
		move_requests(s, VMOFS_REQUEST_READ, &s->nobody, to);
		return;
	}
	s->near_off = true;
	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++)
		move_requests(s, t, NULL, to);
	old->ops->on_detach(old);
	old->ops->on_close(old);
	if (old_name != s->vmo)
		vmo_put_name(old_name);
}

void page_source_release_locked(struct page_source *s, enum vmofs_request_type type, uint64_t first,
				uint64_t end, struct page_wakeups *wake)
{
	struct itree_node *n;

	while ((n = itree_first(&s->waiters[type], first, end))) {
		struct page_waiter *w = waiter_of(n);

		page_source_complete_locked(s, w, 0, wake);
		drop_unwanted(s, type, w->range.first, w->range.end);
	}
}

void page_source_truncate_locked(struct page_source *s, uint64_t page, struct page_wakeups *wake)
{
	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++) {
		struct page_request *r;

		page_source_forget_locked(s, t, page, UINT64_MAX, wake);
		while ((r = request_first(s, t, page, UINT64_MAX)))
			if (!request_narrow(s, r, r->range.first, page))
				break;
	}
}

void page_source_detach_locked(struct page_source *s, struct page_wakeups *wake)
{
	if (s->detached)
		return;
	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++) {
		struct itree_node *n;

		while ((n = itree_first(&s->waiters[t], 0, UINT64_MAX)))
			page_source_complete_locked(s, waiter_of(n), s->gone_status, wake);
		assert(!s->requests[t].root && "every request is wanted by a waiter");
	}
	s->detached = true;
	if (s->near)
		s->near->provider->ops->on_detach(s->near->provider);
	s->provider->ops->on_detach(s->provider);
}

void page_source_close_locked(struct page_source *s, struct page_wakeups *wake)
{
	if (s->closed)
		return;
	page_source_detach_locked(s, wake);
	s->closed = true;
	if (s->near)
		s->near->provider->ops->on_close(s->near->provider);
	s->provider->ops->on_close(s->provider);
}

/* Who was asked; and no page is pending twice. */
static void check_request(struct page_source *s, const struct page_request *r)
{
	enum vmofs_request_type t = r->pub.type;

	assert(r->to == s->provider || (r->to == &s->nobody && s->held) ||
	       (is_near(s, r) && t == VMOFS_REQUEST_READ));
	for (struct page_request *o = request_first(s, t, r->range.first, r->range.end); o;
	     o = request_next(o, r->range.first, r->range.end)) {
		uint64_t p = MAX(r->range.first, o->range.first);
		uint64_t end = MIN(r->range.end, o->range.end);

		for (; o != r && p < end; p++)
			assert(page_request_next_pending(r, p, p + 1) != p ||
			       page_request_next_pending(o, p, p + 1) != p);
	}
}

void page_source_check_locked(struct page_source *s)
{
	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++) {
		struct page_request *r = request_first(s, t, 0, UINT64_MAX);
		struct itree_node *n = itree_first(&s->waiters[t], 0, UINT64_MAX);

		for (; r; r = request_next(r, 0, UINT64_MAX)) {
			uint64_t n_pending =
				page_source_n_pending_locked(s, t, r->range.first, r->range.end);

			assert(r->n_pending && r->n_pending <= n_pending);
			check_request(s, r);
			assert(itree_first(&s->waiters[t], r->range.first, r->range.end));
		}
		for (; n; n = itree_next(n, 0, UINT64_MAX)) {
			struct page_waiter *w = waiter_of(n);

			assert(w->state == PAGE_WAITER_PARKED);
			assert(page_source_next_pending_locked(s, t, w->wake, w->stop) < w->stop);
		}
	}
}

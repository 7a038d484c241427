/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public face of the page source: each function locks, calls its _locked twin, unlocks and then
 * runs the completions. Waiting and dumping are here too.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "base/macros.h"
#include "vm/page.h"
#include "vm/page_source_private.h"

static const char *const type_names[] = {
	[VMOFS_REQUEST_READ] = "READ",
	[VMOFS_REQUEST_DIRTY] = "DIRTY",
	[VMOFS_REQUEST_WRITEBACK] = "WRITEBACK",
};
_Static_assert(ARRAY_LEN(type_names) == VMOFS_REQUEST_NTYPES, "one name per type");

static void assert_range(uint64_t off, uint64_t len)
{
	assert(len > 0 && off % VMOFS_PAGE_SIZE == 0 && len % VMOFS_PAGE_SIZE == 0);
	assert(off + len > off && "the range wraps");
	(void)off;
	(void)len;
}

/* ---- asking ---- */

void page_source_continue_locked(struct page_source *s, struct page_waiter *w, uint64_t page)
{
	uint64_t missing = page_source_next_pending_locked(s, w->type, page, w->stop);

	w->signalled = missing > page;
	w->signal_status = 0;
	w->wake = missing;
}

static int ask_locked(struct page_source *s, enum vmofs_request_type type, uint64_t first,
		      uint64_t end, struct page_waiter *w) REQUIRES(s->lock)
{
	int r;

	if (w->state == PAGE_WAITER_PARKED) {
		assert(w->early && w->type == type);
		if (first >= w->range.first && first < w->range.end) {
			page_source_continue_locked(s, w, first);
			return -EINPROGRESS;
		}
		page_source_unpark_locked(s, w);
	}
	r = page_source_park_locked(s, w, type, first, end);
	if (r < 0)
		return r;
	r = page_source_ask_locked(s, w, first, end);
	if (r < 0) {
		page_source_unpark_locked(s, w);
		return r;
	}
	return -EINPROGRESS;
}

static int ask(struct page_source *s, enum vmofs_request_type type, uint64_t off, uint64_t len,
	       struct page_waiter *w) EXCLUDES(s->lock)
{
	int r;

	assert_range(off, len);
	mutex_lock(&s->lock);
	r = ask_locked(s, type, page_floor(off), page_floor(off + len), w);
	mutex_unlock(&s->lock);
	return r;
}

int page_source_get_pages(struct page_source *s, uint64_t off, uint64_t len, struct page_waiter *w)
{
	return ask(s, VMOFS_REQUEST_READ, off, len, w);
}

int page_source_request_dirty_transition(struct page_source *s, uint64_t off, uint64_t len,
					 struct page_waiter *w)
{
	return ask(s, VMOFS_REQUEST_DIRTY, off, len, w);
}

int page_source_request_writeback(struct page_source *s, uint64_t off, uint64_t len,
				  struct page_waiter *w)
{
	return ask(s, VMOFS_REQUEST_WRITEBACK, off, len, w);
}

/* ---- answering ---- */

static void resolved(struct page_source *s, enum vmofs_request_type type, uint64_t off,
		     uint64_t len) EXCLUDES(s->lock)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);

	assert_range(off, len);
	mutex_lock(&s->lock);
	page_source_forget_locked(s, type, page_floor(off), page_floor(off + len), &wake);
	mutex_unlock(&s->lock);
	page_wakeups_run(&wake);
}

void page_source_on_pages_supplied(struct page_source *s, uint64_t off, uint64_t len)
{
	resolved(s, VMOFS_REQUEST_READ, off, len);
}

void page_source_on_pages_dirtied(struct page_source *s, uint64_t off, uint64_t len)
{
	resolved(s, VMOFS_REQUEST_DIRTY, off, len);
}

void page_source_on_pages_cleaned(struct page_source *s, uint64_t off, uint64_t len)
{
	resolved(s, VMOFS_REQUEST_WRITEBACK, off, len);
}

void page_source_on_pages_failed(struct page_source *s, uint64_t off, uint64_t len, int status,
				 unsigned types)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);

	assert_range(off, len);
	mutex_lock(&s->lock);
	page_source_fail_locked(s, page_floor(off), page_floor(off + len), status, types, &wake);
	mutex_unlock(&s->lock);
	page_wakeups_run(&wake);
}

bool page_source_is_valid_external_failure_code(int code)
{
	switch (code) {
	case -EIO:
	case -EBADMSG:
	case -ESTALE:
	case -EACCES:
	case -ENOENT:
	case -ETIMEDOUT:
	case -ENOSPC:
	case -EDQUOT:
	case -ENOBUFS:
	case -ESHUTDOWN:
		return true;
	default:
		return false;
	}
}

bool page_source_is_valid_internal_failure_code(int code)
{
	return code == -ENOMEM || page_source_is_valid_external_failure_code(code);
}

bool vmofs_is_failure_code(int code)
{
	return page_source_is_valid_external_failure_code(code);
}

/* ---- end of life ---- */

void page_source_detach(struct page_source *s)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);

	mutex_lock(&s->lock);
	page_source_detach_locked(s, &wake);
	mutex_unlock(&s->lock);
	page_wakeups_run(&wake);
}

void page_source_close(struct page_source *s)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);

	mutex_lock(&s->lock);
	page_source_close_locked(s, &wake);
	mutex_unlock(&s->lock);
	page_wakeups_run(&wake);
}

bool page_source_is_detached(struct page_source *s)
{
	bool detached;

	mutex_lock(&s->lock);
	detached = s->detached;
	mutex_unlock(&s->lock);
	return detached;
}

/* ---- waiting ---- */

bool page_source_cancel(struct page_source *s, struct page_waiter *w)
{
	bool parked;

	mutex_lock(&s->lock);
	parked = w->state == PAGE_WAITER_PARKED;
	if (parked)
		page_source_unpark_locked(s, w);
	mutex_unlock(&s->lock);
	return parked;
}

/* The latched signal is consumed; a waiter that failed or was interrupted is off the books. */
static int consume_locked(struct page_source *s, struct page_waiter *w) REQUIRES(s->lock)
{
	int status = w->signal_status;

	w->signalled = false;
	if (w->state == PAGE_WAITER_PARKED && status != 0)
		page_source_unpark_locked(s, w);
	if (w->state == PAGE_WAITER_DONE)
		page_waiter_set_state(w, PAGE_WAITER_IDLE);
	return status;
}

static uint64_t expire_locked(struct page_source *s, uint64_t now_ns, struct page_wakeups *wake)
	REQUIRES(s->lock);

int page_waiter_wait(struct page_source *s, struct page_waiter *w)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	int status;

	sync_assert_none_held();
	mutex_lock(&s->lock);
	while (!w->signalled) {
		assert(w->state == PAGE_WAITER_PARKED);
		if (!w->deadline_ns)
			cond_wait(&w->cond, &s->lock);
		else if (!cond_wait_until(&w->cond, &s->lock, w->deadline_ns))
			expire_locked(s, w->deadline_ns, &wake);
	}
	status = consume_locked(s, w);
	mutex_unlock(&s->lock);
	page_wakeups_run(&wake);
	return status;
}

void page_waiter_interrupt(struct page_source *s, struct page_waiter *w)
{
	mutex_lock(&s->lock);
	w->signalled = true;
	w->signal_status = -EINTR;
	cond_signal(&w->cond);
	mutex_unlock(&s->lock);
}

static uint64_t expire_locked(struct page_source *s, uint64_t now_ns, struct page_wakeups *wake)
{
	struct rb_node *rb;

	while ((rb = rb_first(&s->timers))) {
		struct page_waiter *w = container_of(rb, struct page_waiter, timer_node);

		if (w->deadline_ns > now_ns)
			return w->deadline_ns;
		s->n_timeouts++;
		page_source_complete_locked(s, w, -ETIMEDOUT, wake);
	}
	return 0;
}

uint64_t page_source_expire(struct page_source *s, uint64_t now_ns)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	uint64_t next;

	mutex_lock(&s->lock);
	next = expire_locked(s, now_ns, &wake);
	mutex_unlock(&s->lock);
	page_wakeups_run(&wake);
	return next;
}

/* ---- looking ---- */

bool page_source_supports_request_type(const struct page_source *s, enum vmofs_request_type t)
{
	return s->props.supports_request_type[t];
}

bool page_source_should_trap_dirty_transitions(const struct page_source *s)
{
	return page_source_supports_request_type(s, VMOFS_REQUEST_DIRTY);
}

const struct page_source_properties *page_source_properties(const struct page_source *s)
{
	return &s->props;
}

struct mutex *page_source_paged_vmo_lock(struct page_source *s)
{
	return &s->lock;
}

uint64_t page_source_get_provider_koid(const struct page_source *s)
{
	return s->provider->ops->koid ? s->provider->ops->koid(s->provider) : 0;
}

void page_source_free_pages(struct page_source *s, uint64_t off, uint64_t len)
{
	assert(!s->props.is_user_pager && s->provider->ops->free_pages);
	s->provider->ops->free_pages(s->provider, off, len);
}

bool page_source_debug_is_page_ok(struct page_source *s, const void *page, uint64_t off)
{
	if (!s->provider->ops->debug_is_page_ok)
		return true;
	return s->provider->ops->debug_is_page_ok(s->provider, page, off);
}

unsigned page_source_n_requests(struct page_source *s, enum vmofs_request_type t)
{
	unsigned n;

	mutex_lock(&s->lock);
	n = s->n_requests[t];
	mutex_unlock(&s->lock);
	return n;
}

unsigned page_source_n_waiters(struct page_source *s, enum vmofs_request_type t)
{
	unsigned n;

	mutex_lock(&s->lock);
	n = s->n_waiters[t];
	mutex_unlock(&s->lock);
	return n;
}

static void dump_requests(struct page_source *s, enum vmofs_request_type t, FILE *out,
			  unsigned depth, unsigned max_items) REQUIRES(s->lock)
{
	struct itree_node *n = itree_first(&s->requests[t], 0, UINT64_MAX);

	for (; n && max_items; n = itree_next(n, 0, UINT64_MAX), max_items--) {
		struct page_request *r = container_of(n, struct page_request, range);

		fprintf(out,
			"%*srequest %s pages [%" PRIu64 ", %" PRIu64 ") pending %" PRIu64 " %s%s\n",
			(int)depth * 2, "", type_names[t], n->first, n->end, r->n_pending,
			r->pub.cls == VMOFS_CLASS_DEMAND ? "demand" : "prefetch",
			r->to == s->provider          ? ""
				: r->to == &s->nobody ? " held"
						      : " near");
	}
	if (n)
		fprintf(out, "%*s...\n", (int)depth * 2, "");
}

static void dump_waiters(struct page_source *s, enum vmofs_request_type t, FILE *out,
			 unsigned depth, unsigned max_items) REQUIRES(s->lock)
{
	struct itree_node *n = itree_first(&s->waiters[t], 0, UINT64_MAX);

	for (; n && max_items; n = itree_next(n, 0, UINT64_MAX), max_items--) {
		struct page_waiter *w = container_of(n, struct page_waiter, range);

		fprintf(out,
			"%*swaiter %s pages [%" PRIu64 ", %" PRIu64 ") first missing %" PRIu64 "\n",
			(int)depth * 2, "", type_names[t], n->first, n->end, w->wake);
	}
	if (n)
		fprintf(out, "%*s...\n", (int)depth * 2, "");
}

void page_source_dump_self(struct page_source *s, FILE *out, unsigned depth, unsigned max_items)
{
	mutex_lock(&s->lock);
	fprintf(out,
		"%*spage_source %s%ssent %" PRIu64 " cleared %" PRIu64 " swapped %" PRIu64
		" timeouts %" PRIu64 "\n",
		(int)depth * 2, "", s->detached ? "detached " : "", s->closed ? "closed " : "",
		s->n_sent, s->n_cleared, s->n_swapped, s->n_timeouts);
	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++) {
		fprintf(out, "%*s%s: %u requests, %u waiters\n", (int)depth * 2 + 2, "",
			type_names[t], s->n_requests[t], s->n_waiters[t]);
		dump_requests(s, t, out, depth + 2, max_items);
		dump_waiters(s, t, out, depth + 2, max_items);
	}
	mutex_unlock(&s->lock);
}

void page_source_dump(struct page_source *s, FILE *out, unsigned depth, unsigned max_items)
{
	struct vmofs_provider *p;

	page_source_dump_self(s, out, depth, max_items);
	/* After a switch nobody says how long the provider stays. */
	mutex_lock(&s->lock);
	p = s->name == s->vmo ? s->provider : NULL;
	mutex_unlock(&s->lock);
	if (p && p->ops->dump)
		p->ops->dump(p, out, depth + 1, max_items);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading. The asynchronous read holds its range from the moment it parks, so that what has arrived
 * stays until the last page has; it looks again each time something it waited for is done, and ends
 * pinned. Commit, prefetch and the blocking read are waiters of their own.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "vm/vmo_private.h"

/* What ranges without pages read as; never written, so it stays the kernel's one zero page. */
static char zeros[256 << 10];

/* ---- describing what is present ---- */

static int iov_push(struct vmo_read *r, void *p, size_t len)
{
	struct iovec *last = r->n_iov ? &r->iov[r->n_iov - 1] : NULL;
	struct iovec *grown;

	if (last && p != zeros && (char *)last->iov_base + last->iov_len == p) {
		last->iov_len += len;
		return 0;
	}
	/* Inline first, then doubled at each power of two. */
	if (r->n_iov >= VMO_READ_INLINE_IOV && !(r->n_iov & (r->n_iov - 1))) {
		bool is_inline = r->iov == r->iov_inline;

		grown = realloc(is_inline ? NULL : r->iov, 2 * r->n_iov * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		if (is_inline)
			memcpy(grown, r->iov_inline, sizeof r->iov_inline);
		r->iov = grown;
	}
	r->iov[r->n_iov++] = (struct iovec){ p, len };
	return 0;
}

static int iov_push_zeros(struct vmo_read *r, uint64_t len)
{
	int rc = 0;

	for (; len && rc == 0; len -= MIN(len, sizeof zeros))
		rc = iov_push(r, zeros, MIN(len, sizeof zeros));
	return rc;
}

static void iov_release(struct vmo_read *r)
{
	if (r->iov != r->iov_inline)
		free(r->iov);
	r->iov = r->iov_inline;
	r->n_iov = 0;
}

/* The part of a slot that lies in the byte range, as memory. */
static int iov_push_slot(struct vmo_read *r, const struct vmo_slot *s, uint64_t page)
{
	uint64_t from = MAX(page_bytes(page), r->off);
	uint64_t to = MIN(page_bytes(page + s->n), r->off + r->len);

	if (s->kind >= PAGE_NSTATES)
		return iov_push_zeros(r, to - from);
	return iov_push(r, (char *)vmo_slot_addr(s) + (from - page_bytes(page)), to - from);
}

static int describe(struct vmo *v, struct vmo_read *r, uint64_t first, uint64_t end)
	REQUIRES(v->source->lock)
{
	int rc = 0;

	iov_release(r);
	while (first < end && rc == 0) {
		struct vmo_slot s = vmo_look(v, first, end);

		rc = iov_push_slot(r, &s, first);
		if (r->touches)
			vmo_touch_slot(&s);
		first += s.n;
	}
	return rc;
}

/* ---- the asynchronous read ---- */

static void read_unhold(struct vmo *v, struct vmo_read *r) REQUIRES(v->source->lock)
{
	if (r->held)
		vmo_hold_del(v, &r->hold);
	r->held = false;
}

/* Back to idle: nothing held, nothing reserved. */
static int read_fail(struct vmo *v, struct vmo_read *r, int status) REQUIRES(v->source->lock)
{
	read_unhold(v, r);
	vm_pool_unreserve(v->pool, r->reserved);
	r->reserved = 0;
	r->state = VMO_READ_IDLE;
	iov_release(r);
	return status;
}

static int read_pin(struct vmo *v, struct vmo_read *r, uint64_t first, uint64_t end)
	REQUIRES(v->source->lock)
{
	int rc = describe(v, r, first, end);

	if (rc < 0)
		return read_fail(v, r, rc);
	vm_pool_unreserve(v->pool, r->reserved);
	r->reserved = 0;
	r->state = VMO_READ_PINNED;
	return 0;
}

static int read_park(struct vmo *v, struct vmo_read *r, uint64_t first, uint64_t end)
	REQUIRES(v->source->lock)
{
	uint64_t reserved = r->reserved;
	int rc;

	r->reserved = 0;
	rc = vmo_ask(v, &r->waiter, first, end, reserved);
	if (rc < 0)
		return read_fail(v, r, rc);
	r->state = VMO_READ_PARKED;
	return -EINPROGRESS;
}

static void read_clip(struct vmo_read *r, uint64_t size)
{
	if (r->off >= size)
		r->len = 0;
	else
		r->len = MIN(r->len, size - r->off);
}

/* Enough memory for what is missing? Else everything is given back and all of it is queued for. */
static bool read_reserve(struct vmo *v, struct vmo_read *r, uint64_t missing, uint64_t all)
	REQUIRES(v->source->lock)
{
	if (r->reserved >= missing)
		return true;
	if (vm_pool_try_reserve(v->pool, missing - r->reserved)) {
		r->reserved = missing;
		return true;
	}
	read_fail(v, r, 0);
	r->budget.n = all;
	r->budget.deadline_ns = r->deadline_ns;
	return false;
}

enum { READ_NEEDS_MEMORY = 1 };

/* One look: 0 pinned, -EINPROGRESS parked, READ_NEEDS_MEMORY, or an error. */
static int read_look(struct vmo *v, struct vmo_read *r) REQUIRES(v->source->lock)
{
	uint64_t first;
	uint64_t end;
	uint64_t missing;

	if (r->cancelled)
		return read_fail(v, r, -EINTR);
	read_clip(r, v->size);
	first = page_floor(r->off);
	end = r->len ? page_ceil(r->off + r->len) : first;
	missing = vmo_n_missing(v, first, end);
	if (missing && v->source->detached)
		return read_fail(v, r, v->source->gone_status);
	if (missing && !read_reserve(v, r, missing, end - first))
		return READ_NEEDS_MEMORY;
	if (!r->held && end > first) {
		vmo_hold_add(v, &r->hold, first, end);
		r->held = true;
	}
	return missing ? read_park(v, r, first, end) : read_pin(v, r, first, end);
}

/*
 * Queues for memory under the lock, so that no cancel and no detach comes between the decision and
 * the queue. -EINPROGRESS: queued, @r is not the caller's any more; 0: memory has come at once, or
 * something has changed: look again.
 */
static int read_queue(struct vmo *v, struct vmo_read *r)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	bool queued;

	if (r->budget.n > v->pool->limit)
		return -ENOMEM;
	if (vm_pool_reserve_in_turn(v->pool, r->budget.n)) {
		r->reserved = r->budget.n;
		return 0;
	}
	vmo_lock(v);
	queued = !r->cancelled && !v->source->detached;
	if (queued) {
		r->state = VMO_READ_QUEUED;
		vm_pool_queue(v->pool, &r->budget);
	}
	vmo_unlock(v, &wake);
	return queued ? -EINPROGRESS : 0;
}

/* Looks until the read is pinned, parked, queued or failed. */
static int read_advance(struct vmo_read *r)
{
	struct vmo *v = r->vmo;
	int rc;

	do {
		struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);

		vmo_lock(v);
		rc = read_look(v, r);
		vmo_unlock(v, &wake);
		if (rc != READ_NEEDS_MEMORY)
			return rc;
		rc = read_queue(v, r);
	} while (rc == 0);
	return rc;
}

/*
 * Tells the owner, who may free @r and everything else then, so the reference goes first. @r->vmo stays
 * as it is: a thread that comes too late to cancel reads it without a lock.
 */
static void read_report(struct vmo_read *r, int status)
{
	if (status < 0) {
		page_waiter_release(&r->waiter);
		vmo_put(r->vmo);
	}
	r->done(r, status);
}

static void read_resume(struct vmo_read *r)
{
	int rc = read_advance(r);

	if (rc != -EINPROGRESS)
		read_report(r, rc);
}

static void read_end_failed(struct vmo_read *r, int status)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo *v = r->vmo;

	vmo_lock(v);
	/* The pool only knows that it is gone. */
	status = read_fail(v, r, status == -ESHUTDOWN ? v->source->gone_status : status);
	vmo_unlock(v, &wake);
	read_report(r, status);
}

static void read_granted(struct pool_waiter *w, int status)
{
	struct vmo_read *r = container_of(w, struct vmo_read, budget);

	if (status < 0) {
		read_end_failed(r, status);
		return;
	}
	r->reserved = w->n;
	read_resume(r);
}

static void read_waited(struct page_waiter *w, int status)
{
	struct vmo_read *r = container_of(w, struct vmo_read, waiter);

	if (status == 0)
		read_resume(r);
	else
		read_end_failed(r, status);
}

void vmo_read_init(struct vmo *v, struct vmo_read *r)
{
	page_waiter_init(&r->waiter);
	r->waiter.cls = r->cls;
	r->waiter.deadline_ns = r->deadline_ns;
	r->waiter.done = read_waited;
	vmofs_list_init(&r->budget.link);
	r->budget.granted = read_granted;
	r->budget.owner = v->source;
	r->vmo = vmo_get(v);
	r->held = false;
	r->cancelled = false;
	r->touches = true;
	r->state = VMO_READ_IDLE;
	r->reserved = 0;
	r->iov = r->iov_inline;
	r->n_iov = 0;
}

int vmo_read_pin_untouched(struct vmo *v, struct vmo_read *r, uint64_t first, uint64_t end)
{
	r->touches = false;
	vmo_hold_add(v, &r->hold, first, end);
	r->held = true;
	return read_pin(v, r, first, end);
}

int vmo_read_start(struct vmo *v, struct vmo_read *r)
{
	int rc;

	vmo_read_init(v, r);
	if (r->off + r->len < r->off)
		r->len = UINT64_MAX - r->off;
	rc = read_advance(r);
	if (rc == 0 && !r->len)
		r->state = VMO_READ_IDLE;
	if ((rc < 0 && rc != -EINPROGRESS) || (rc == 0 && !r->len)) {
		page_waiter_release(&r->waiter);
		vmo_put(steal_ptr(&r->vmo));
	}
	return rc;
}

void vmo_read_end(struct vmo_read *r)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo *v = r->vmo;

	/* Failed, cancelled, ended, or there was nothing to pin: the reference is gone. */
	if (r->state != VMO_READ_PINNED)
		return;
	vmo_lock(v);
	read_unhold(v, r);
	r->state = VMO_READ_IDLE;
	vmo_unlock(v, &wake);
	iov_release(r);
	page_waiter_release(&r->waiter);
	vmo_put(v);
}

bool vmo_read_cancel(struct vmo_read *r)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo *v = r->vmo;
	bool ours = false;

	if (!v)
		return false;
	vmo_lock(v);
	r->cancelled = true;
	if (r->state == VMO_READ_PARKED && r->waiter.state == PAGE_WAITER_PARKED) {
		page_source_unpark_locked(v->source, &r->waiter);
		ours = true;
	} else if (r->state == VMO_READ_QUEUED) {
		ours = vm_pool_cancel(v->pool, &r->budget);
	}
	if (ours)
		read_fail(v, r, -EINTR);
	vmo_unlock(v, &wake);
	if (ours) {
		page_waiter_release(&r->waiter);
		vmo_put(v);
	}
	return ours;
}

/* ---- blocking ---- */

/* Parks on [first, end) with memory for what is missing; 1: memory had to be waited for, look again. */
static int step_park(struct vmo *v, struct vmo_step *t, uint64_t first, uint64_t end)
	REQUIRES(v->source->lock)
{
	uint64_t missing = vmo_n_missing(v, first, end);
	uint64_t more = missing > t->reserved ? missing - t->reserved : 0;
	uint64_t reserved;
	int r;

	if (t->waiter.state == PAGE_WAITER_PARKED)
		page_source_unpark_locked(v->source, &t->waiter);
	if (v->source->detached)
		return v->source->gone_status;
	if (more && !vm_pool_try_reserve(v->pool, more)) {
		r = vmo_step_reserve(v, t, t->end - t->first);
		return r < 0 ? r : 1;
	}
	reserved = t->reserved + more;
	t->reserved = 0;
	return vmo_ask(v, &t->waiter, first, end, reserved);
}

/*
 * Called when @first is missing; waits until something in [first, end) has changed, so that the
 * caller looks again. An error ends the operation.
 */
static int step_wait(struct vmo *v, struct vmo_step *t, uint64_t first, uint64_t end)
	REQUIRES(v->source->lock)
{
	uint64_t page = first + v->root_off;
	int r;

	/* It ended after an early wake, before the lock was taken again: that is not to be lost. */
	if (t->waiter.state == PAGE_WAITER_DONE)
		return vmo_step_wait(v, t);
	if (t->waiter.state == PAGE_WAITER_PARKED &&
	    page_source_n_pending_locked(v->source, VMOFS_REQUEST_READ, page, page + 1)) {
		page_source_continue_locked(v->source, &t->waiter, page);
	} else {
		r = step_park(v, t, first, end);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	return vmo_step_wait(v, t);
}

/* Copies what is present at @page; 0: it is missing. */
static uint64_t copy_present(struct vmo *v, uint64_t off, char *buf, uint64_t len)
	REQUIRES(v->source->lock)
{
	uint64_t page = page_floor(off);
	struct vmo_slot s = vmo_look(v, page, page_ceil(off + len));
	uint64_t n = MIN(len, page_bytes(page + s.n) - off);

	if (s.kind == PAGE_ABSENT)
		return 0;
	if (s.kind >= PAGE_NSTATES)
		memset(buf, 0, n);
	else
		memcpy(buf, (char *)vmo_slot_addr(&s) + (off - page_bytes(page)), n);
	vmo_touch_slot(&s);
	return n;
}

/* One step's worth; returns bytes copied (0 at the size) or the error when there were none. */
static int64_t read_step(struct vmo *v, uint64_t off, char *buf, uint64_t len,
			 const struct vmo_wait *wait)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo_step t;
	uint64_t done = 0;
	int r = 0;

	vmo_step_init(&t, wait, page_floor(off), page_ceil(off + len));
	t.waiter.early = true;
	vmo_lock(v);
	vmo_step_begin(v, &t);
	while (done < len && off + done < v->size) {
		uint64_t left = MIN(len - done, v->size - off - done);
		uint64_t n = copy_present(v, off + done, buf + done, left);

		done += n;
		if (n)
			continue;
		/* What came before a failure counts. */
		if (r < 0)
			break;
		r = step_wait(v, &t, page_floor(off + done), page_ceil(off + done + left));
	}
	vmo_step_finish(v, &t);
	vmo_unlock(v, &wake);
	page_waiter_release(&t.waiter);
	return done || r == 0 ? (int64_t)done : r;
}

int64_t vmo_read(struct vmo *v, uint64_t off, void *buf, uint64_t len, const struct vmo_wait *wait)
{
	uint64_t step = page_bytes(vmo_step_pages(v)) - VMOFS_PAGE_SIZE;
	uint64_t done = 0;

	if (off > vmo_size(v))
		return -ERANGE;
	while (done < len) {
		uint64_t part = MIN(step, len - done);
		int64_t n = read_step(v, off + done, (char *)buf + done, part, wait);

		if (n < 0)
			return done ? (int64_t)done : n;
		done += (uint64_t)n;
		if ((uint64_t)n < part)
			break;
	}
	return (int64_t)done;
}

/* The first missing page of [first, end), or end. */
static uint64_t next_missing(struct vmo *v, uint64_t first, uint64_t end) REQUIRES(v->source->lock)
{
	while (first < end) {
		struct vmo_slot s = vmo_look(v, first, end);

		if (s.kind == PAGE_ABSENT)
			break;
		first += s.n;
	}
	return MIN(first, end);
}

static int commit_step(struct vmo *v, uint64_t first, uint64_t end, const struct vmo_wait *wait)
{
	struct page_wakeups wake = PAGE_WAKEUPS_INIT(wake);
	struct vmo_step t;
	int r = 0;

	vmo_step_init(&t, wait, first, end);
	vmo_lock(v);
	vmo_step_begin(v, &t);
	while (r == 0) {
		uint64_t limit = MIN(end, page_ceil(v->size));
		uint64_t p = next_missing(v, first, limit);

		if (p >= limit)
			break;
		r = step_wait(v, &t, p, limit);
	}
	vmo_step_finish(v, &t);
	vmo_unlock(v, &wake);
	page_waiter_release(&t.waiter);
	return r;
}

int vmo_commit(struct vmo *v, uint64_t off, uint64_t len, const struct vmo_wait *wait)
{
	uint64_t first = page_floor(off);
	uint64_t end = page_ceil(off + len);

	if (off + len < off || end > page_ceil(vmo_size(v)))
		return -ERANGE;
	while (first < end) {
		uint64_t part = MIN(vmo_step_pages(v), end - first);
		int r = commit_step(v, first, first + part, wait);

		if (r < 0)
			return r;
		first += part;
	}
	return 0;
}

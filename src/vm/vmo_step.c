/* SPDX-License-Identifier: Apache-2.0 */
/* What blocking reads and writes have in common: holding a range, waiting for memory and for pages. */
#include <errno.h>

#include "vm/vmo_private.h"

void vmo_step_init(struct vmo_step *t, const struct vmo_wait *wait, uint64_t first, uint64_t end)
{
	*t = (struct vmo_step){ .first = first, .end = end };
	page_waiter_init(&t->waiter);
	vmofs_list_init(&t->wake.done);
	if (wait) {
		t->waiter.cls = wait->cls;
		t->waiter.deadline_ns = wait->deadline_ns;
	}
}

void vmo_step_begin(struct vmo *v, struct vmo_step *t)
{
	vmo_hold_add(v, &t->hold, t->first, t->end);
}

int vmo_step_reserve(struct vmo *v, struct vmo_step *t, uint64_t n)
{
	int r;

	if (n <= t->reserved)
		return 0;
	vm_pool_unreserve(v->pool, t->reserved);
	t->reserved = 0;
	vmo_hold_del(v, &t->hold);
	vmo_unlock(v, &t->wake);
	if (t->now)
		r = vm_pool_reserve_in_turn(v->pool, n) ? 0 : -EAGAIN;
	else
		r = vm_pool_reserve(v->pool, n, t->waiter.deadline_ns, &v->source->detached);
	if (r == 0)
		t->reserved = n;
	vmo_lock(v);
	vmo_hold_add(v, &t->hold, t->first, t->end);
	/* The pool only knows that it is gone. */
	return r == -ESHUTDOWN ? v->source->gone_status : r;
}

int vmo_step_wait(struct vmo *v, struct vmo_step *t)
{
	int r;

	vmo_unlock(v, &t->wake);
	r = page_waiter_wait(v->source, &t->waiter);
	vmo_lock(v);
	return r;
}

void vmo_step_finish(struct vmo *v, struct vmo_step *t)
{
	if (t->waiter.state == PAGE_WAITER_PARKED)
		page_source_unpark_locked(v->source, &t->waiter);
	vm_pool_unreserve(v->pool, t->reserved);
	vmo_hold_del(v, &t->hold);
}

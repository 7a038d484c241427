/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The room for dirty pages: how many there may be in all files of a mount, and who waits for more, in order of arrival. Granting and
 * giving back happen under a VMO's lock, so the lock here is a leaf. Contents that are on their way up have a limit of their own.
 *
 * What must not fail for want of room may exceed the limit: a page that was stored to through a mapping exists already, and has
 * no other place. Who writes such says so of his thread, since a VMO asks for its pages on the thread that writes them.
 */
#include <errno.h>

#include "base/macros.h"
#include "write/writer_private.h"

/* Pages beyond the limit that are granted to this thread. */
static _Thread_local uint64_t excess;

uint64_t room_exceed(uint64_t pages)
{
	uint64_t before = excess;

	excess = pages;
	return before;
}

static struct room *room_of(struct vmo_guard *g)
{
	return container_of(g, struct room, guard);
}

static int grant(struct vmo_guard *g, uint64_t n)
{
	struct room *r = room_of(g);
	int code = 0;

	mutex_lock(&r->lock);
	if (r->used + n > r->limit + excess)
		code = -EAGAIN;
	else
		r->used += n;
	mutex_unlock(&r->lock);
	return code;
}

static void wake_first_locked(struct room *r) REQUIRES(r->lock)
{
	struct room_waiter *first = vmofs_list_first(&r->queue, struct room_waiter, link);

	if (first)
		cond_signal(&first->wake);
}

static void release(struct vmo_guard *g, uint64_t n)
{
	struct room *r = room_of(g);

	mutex_lock(&r->lock);
	r->used -= n;
	r->change++;
	wake_first_locked(r);
	mutex_unlock(&r->lock);
}

static const struct vmo_guard_ops room_ops = { .grant = grant, .release = release };

void room_init(struct room *r, uint64_t limit, uint64_t reserve)
{
	*r = (struct room){
		.guard.ops = &room_ops,
		.limit = limit / VMOFS_PAGE_SIZE,
		.reserve = reserve / VMOFS_PAGE_SIZE,
		.pass_limit = MAX(limit / 2, MIB(16)),
	};
	mutex_init(&r->lock, LOCK_RANK_ROOM);
	vmofs_list_init(&r->queue);
}

void room_release(struct room *r)
{
	mutex_destroy(&r->lock);
}

void room_stop(struct room *r)
{
	struct vmofs_list *pos;

	mutex_lock(&r->lock);
	r->stopped = true;
	vmofs_list_for_each(pos, &r->queue)
		cond_signal(&container_of(pos, struct room_waiter, link)->wake);
	mutex_unlock(&r->lock);
}

uint64_t room_used(struct room *r)
{
	uint64_t used;

	mutex_lock(&r->lock);
	used = r->used;
	mutex_unlock(&r->lock);
	return used;
}

bool room_is_tight(struct room *r)
{
	bool tight;

	mutex_lock(&r->lock);
	tight = !vmofs_list_empty(&r->queue) || r->used > r->limit / 2;
	mutex_unlock(&r->lock);
	return tight;
}

bool room_is_full(struct room *r)
{
	bool full;

	mutex_lock(&r->lock);
	/* Who waits, although there is room for the largest piece, has been woken and is about to take it. */
	full = !vmofs_list_empty(&r->queue) && r->used > r->limit / 4;
	mutex_unlock(&r->lock);
	return full;
}

/* ---- turns ---- */

void room_begin(struct room_waiter *me)
{
	me->queued = false;
}

static bool is_first_locked(struct room *r, const struct room_waiter *me) REQUIRES(r->lock)
{
	return vmofs_list_first(&r->queue, struct room_waiter, link) == me;
}

bool room_may_try(struct room *r, struct room_waiter *me)
{
	bool may;

	mutex_lock(&r->lock);
	me->seen = r->change;
	may = me->queued ? is_first_locked(r, me) : vmofs_list_empty(&r->queue);
	/* Its turn is to be told of even if nothing is given back before. */
	if (!may)
		me->seen--;
	mutex_unlock(&r->lock);
	return may;
}

void room_queue(struct room *r, struct room_waiter *me)
{
	if (me->queued)
		return;
	cond_init(&me->wake);
	mutex_lock(&r->lock);
	vmofs_list_add_tail(&r->queue, &me->link);
	r->waits++;
	mutex_unlock(&r->lock);
	me->queued = true;
}

int room_wait(struct room *r, struct room_waiter *me, uint64_t deadline_ns)
{
	int code = 0;

	mutex_lock(&r->lock);
	while (code == 0 && !(is_first_locked(r, me) && me->seen != r->change)) {
		if (r->stopped)
			code = -ESHUTDOWN;
		else if (!deadline_ns)
			cond_wait(&me->wake, &r->lock);
		else if (!cond_wait_until(&me->wake, &r->lock, deadline_ns))
			code = -ENOSPC;
	}
	mutex_unlock(&r->lock);
	return code;
}

void room_end(struct room *r, struct room_waiter *me)
{
	if (!me->queued)
		return;
	mutex_lock(&r->lock);
	vmofs_list_del(&me->link);
	wake_first_locked(r);
	mutex_unlock(&r->lock);
	cond_destroy(&me->wake);
	me->queued = false;
}

/* ---- on their way ---- */

bool room_pass(struct room *r, uint64_t len, bool first)
{
	bool ok;

	mutex_lock(&r->lock);
	ok = first || r->passing + len <= r->pass_limit;
	if (ok)
		r->passing += len;
	mutex_unlock(&r->lock);
	return ok;
}

void room_passed(struct room *r, uint64_t len)
{
	mutex_lock(&r->lock);
	r->passing -= len;
	mutex_unlock(&r->lock);
}

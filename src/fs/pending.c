/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting requests of the namespace. Who holds a request runs its operation; done() and those who give
 * up leave word for the holder, or become it. No lock is held while the tree or libfuse is called.
 */
#include "fs/pending.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fs/session_private.h"

enum { PENDING_PER_SLAB = 32 };

struct pending_slab {
	struct vmofs_list link;
	struct pending requests[PENDING_PER_SLAB];
};

static const uint8_t pending_next[] = {
	[PENDING_FREE] = BIT(PENDING_HELD),
	[PENDING_HELD] = BIT(PENDING_FREE) | BIT(PENDING_EARLY) | BIT(PENDING_WAITING),
	[PENDING_EARLY] = BIT(PENDING_HELD),
	[PENDING_WAITING] = BIT(PENDING_HELD),
};
_Static_assert(ARRAY_LEN(pending_next) == PENDING_NSTATES, "one row per state");

void pending_set_state(struct pending *p, enum pending_state to)
{
	assert(pending_next[p->state] & BIT(to));
	p->state = to;
}

/* ---- memory ---- */

void pending_set_init(struct pending_set *set)
{
	vmofs_list_init(&set->free);
	vmofs_list_init(&set->waiting);
	vmofs_list_init(&set->slabs);
}

void pending_set_release(struct pending_set *set)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, &set->slabs)
		free(vmofs_list_entry(pos, struct pending_slab, link));
}

static void pending_done(struct fs_tree_wait *w, int status);

static void pending_grow_locked(struct fs_session *s) REQUIRES(s->parked.lock)
{
	struct pending_slab *slab = calloc(1, sizeof *slab);

	if (!slab)
		return;
	vmofs_list_add(&s->pending.slabs, &slab->link);
	for (unsigned i = 0; i < PENDING_PER_SLAB; i++) {
		slab->requests[i].session = s;
		vmofs_list_add(&s->pending.free, &slab->requests[i].link);
	}
}

static struct pending *pending_take_locked(struct fs_session *s) REQUIRES(s->parked.lock)
{
	struct pending *p;

	if (vmofs_list_empty(&s->pending.free))
		pending_grow_locked(s);
	p = vmofs_list_first(&s->pending.free, struct pending, link);
	if (!p)
		return NULL;
	vmofs_list_del(&p->link);
	pending_set_state(p, PENDING_HELD);
	p->status = 0;
	p->given_up = 0;
	return p;
}

struct pending *pending_take(struct fs_session *s, struct fuse_req *req)
{
	struct pending *p;

	if (!fs_ring_begin(s, req))
		return NULL;
	mutex_lock(&s->parked.lock);
	p = pending_take_locked(s);
	mutex_unlock(&s->parked.lock);
	if (!p) {
		fuse_reply_err(req, ENOMEM);
		fs_ring_end(s);
		return NULL;
	}
	p->req = req;
	p->wait = (struct fs_tree_wait){ .done = pending_done };
	p->deadline_ns = 0;
	return p;
}

/* ---- answering ---- */

/* What the caller of stat(2), open(2), ... sees; the rest stays in the log and in `vmofs stat`. */
int fs_meta_errno(int status)
{
	switch (status) {
	case -EACCES:
	case -EAGAIN:
	case -EINTR:
	case -EINVAL:
	case -EISDIR:
	case -ELOOP:
	case -ENAMETOOLONG:
	case -ENODATA:
	case -ENOENT:
	case -ENOMEM:
	case -ENOTDIR:
	case -ERANGE:
	case -EROFS:
	case -ESTALE:
	case -ETIMEDOUT:
		return -status;
	default:
		return EIO;
	}
}

/* The request has been answered, or is to be with @status by now: nobody may find it any more. */
static void pending_disarm(struct pending *p)
{
	struct fs_session *s = p->session;

	mutex_lock(&s->parked.lock);
	p->armed = NULL;
	mutex_unlock(&s->parked.lock);
}

static void pending_give_back(struct pending *p, bool waited)
{
	struct fs_session *s = p->session;

	mutex_lock(&s->parked.lock);
	if (waited)
		vmofs_list_del(&p->link);
	p->armed = NULL;
	pending_set_state(p, PENDING_FREE);
	vmofs_list_add(&s->pending.free, &p->link);
	/* Last: the session may be freed once nothing is outstanding. */
	if (waited && --s->parked.n_waiting == 0)
		cond_broadcast(&s->parked.idle);
	mutex_unlock(&s->parked.lock);
}

static void pending_fail(struct pending *p, int status)
{
	struct fs_session *s = p->session;

	pending_disarm(p);
	fuse_reply_err(p->req, fs_meta_errno(status));
	if (status == -EINTR)
		count(&s->n_interrupted, 1);
	if (status == -ETIMEDOUT)
		count(&s->n_timed_out, 1);
}

/* ---- waiting ---- */

/* What the holder is to do next. */
enum pending_step { NEXT_WAIT, NEXT_REPEAT, NEXT_CANCEL, NEXT_FAIL };

static enum pending_step pending_let_go_locked(struct fs_session *s UNUSED, struct pending *p,
					       bool tried, int *status) REQUIRES(s->parked.lock)
{
	bool early = p->state == PENDING_EARLY;

	if (early)
		pending_set_state(p, PENDING_HELD);
	if (early && (p->given_up || p->status < 0)) {
		*status = p->given_up ? p->given_up : p->status;
		return NEXT_FAIL;
	}
	if (early)
		return NEXT_REPEAT;
	if (p->given_up && !tried)
		return NEXT_CANCEL;
	/* Where cancelling came too late, done() finds given_up. */
	pending_set_state(p, PENDING_WAITING);
	return NEXT_WAIT;
}

/*
 * The end of HELD while the wait is queued. True: the operation is to be repeated, which never is so
 * for one that was given up; else it waits, or has been answered.
 */
static bool pending_let_go(struct pending *p)
{
	struct fs_session *s = p->session;
	struct fs_tree *t = s->p.tree;
	enum pending_step step;
	bool tried = false;
	int status = 0;

	do {
		mutex_lock(&s->parked.lock);
		step = pending_let_go_locked(s, p, tried, &status);
		if (step == NEXT_CANCEL)
			status = p->given_up;
		mutex_unlock(&s->parked.lock);
		if (step == NEXT_CANCEL && t->ops->cancel(t, &p->wait))
			step = NEXT_FAIL;
		tried = true;
	} while (step == NEXT_CANCEL);
	if (step == NEXT_FAIL) {
		pending_fail(p, status);
		pending_give_back(p, true);
	}
	return step == NEXT_REPEAT;
}

/* Becomes the holder of one that waits; one that is held is left to its holder. */
static bool pending_give_up_locked(struct fs_session *s UNUSED, struct pending *p, int code)
	REQUIRES(s->parked.lock)
{
	if (!p->given_up)
		p->given_up = code;
	if (p->state != PENDING_WAITING)
		return false;
	pending_set_state(p, PENDING_HELD);
	return true;
}

/*
 * libfuse's handler. @data may be the memory of a request that has just been answered, or even of
 * another one by now: only if it still belongs to @req is it ours.
 */
static void pending_interrupted(fuse_req_t req, void *data)
{
	struct pending *p = data;
	struct fs_session *s = p->session;
	bool held = false;

	mutex_lock(&s->parked.lock);
	if (p->armed == req)
		held = pending_give_up_locked(s, p, -EINTR);
	mutex_unlock(&s->parked.lock);
	if (held)
		pending_let_go(p);
}

/* The first -EINPROGRESS of a request; done() may be running, or have run. */
static void pending_arm(struct pending *p)
{
	struct fs_session *s = p->session;
	uint64_t timeout = s->p.timeout_ns;
	bool start_clock;

	mutex_lock(&s->parked.lock);
	p->deadline_ns = timeout ? loop_now_ns() + timeout : 0;
	p->armed = p->req;
	vmofs_list_add_tail(&s->pending.waiting, &p->link);
	s->parked.n_waiting++;
	if (s->pending.stopped)
		p->given_up = -ESHUTDOWN;
	start_clock = fs_clock_wanted_locked(s);
	mutex_unlock(&s->parked.lock);
	if (start_clock)
		loop_post(loop_pool_nth(s->p.loops, 0), &s->parked.arm);
	fuse_req_interrupt_func(p->req, pending_interrupted, p);
}

static void pending_go(struct pending *p, bool armed)
{
	for (;;) {
		if (p->try(p) != -EINPROGRESS) {
			pending_give_back(p, armed);
			return;
		}
		if (!armed)
			pending_arm(p);
		armed = true;
		if (!pending_let_go(p))
			return;
	}
}

void pending_run(struct pending *p)
{
	struct fs_session *s = p->session;

	pending_go(p, false);
	fs_ring_end(s);
}

/* What was waited for is there (@code 0), or will not be. */
static void pending_resume(struct pending *p, int code)
{
	if (code < 0) {
		pending_fail(p, code);
		pending_give_back(p, true);
	} else {
		pending_go(p, true);
	}
}

static void pending_carried(struct loop_task *t, struct loop *l UNUSED)
{
	struct pending *p = container_of(t, struct pending, task);

	pending_resume(p, p->status);
}

static void pending_done(struct fs_tree_wait *w, int status)
{
	struct pending *p = container_of(w, struct pending, wait);
	struct fs_session *s = p->session;
	bool mine = false;
	int code;

	mutex_lock(&s->parked.lock);
	if (p->state == PENDING_WAITING) {
		pending_set_state(p, PENDING_HELD);
		mine = true;
	} else {
		pending_set_state(p, PENDING_EARLY);
		p->status = status;
	}
	code = p->given_up ? p->given_up : status;
	mutex_unlock(&s->parked.lock);
	if (!mine)
		return;
	if (!uring_on_ring()) {
		pending_resume(p, code);
		return;
	}
	p->status = code;
	p->task.run = pending_carried;
	loop_post(loop_pool_pick(s->p.loops), &p->task);
}

/* ---- giving up ---- */

/* One that waits and is to be given up, held; NULL: no more. */
static struct pending *pending_next_late_locked(struct fs_session *s, uint64_t now_ns, int code)
	REQUIRES(s->parked.lock)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &s->pending.waiting) {
		struct pending *p = vmofs_list_entry(pos, struct pending, link);

		if (!p->given_up && (!now_ns || (p->deadline_ns && p->deadline_ns <= now_ns)) &&
		    pending_give_up_locked(s, p, code))
			return p;
	}
	return NULL;
}

/* @now_ns 0: all of them. */
static void pending_give_up_all(struct fs_session *s, uint64_t now_ns, int code)
{
	struct pending *p;

	do {
		mutex_lock(&s->parked.lock);
		p = pending_next_late_locked(s, now_ns, code);
		mutex_unlock(&s->parked.lock);
		if (p)
			pending_let_go(p);
	} while (p);
}

void pending_expire(struct fs_session *s, uint64_t now_ns)
{
	pending_give_up_all(s, now_ns, -ETIMEDOUT);
}

void pending_stop(struct fs_session *s)
{
	mutex_lock(&s->parked.lock);
	s->pending.stopped = true;
	mutex_unlock(&s->parked.lock);
	pending_give_up_all(s, 0, -ESHUTDOWN);
}

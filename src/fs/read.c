/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FUSE_READ. A hit is answered on the loop that took the request, by a copy from memory, with no
 * lock of this layer taken. A miss parks: the loop goes on, and the thread that brings the last page
 * answers. An interrupt and the deadline end a parked read early.
 *
 * The thread that parks a read registers its handler of interrupts only after vmo_read_start(): by then
 * the read may be done. So done() leaves the answer to a thread that holds the read, until that has
 * let go; see parked.h for the states. No lock is held while the core is called.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fs/object.h"
#include "fs/session_private.h"

/* writev takes 1024 parts, and one is libfuse's header. */
enum { REPLY_IOV_MAX = 1000 };

/* What the caller of read(2) sees; the codes of the core stay in the log and in user.vmofs.error. */
static int read_errno(int status)
{
	switch (status) {
	case -ENOENT:
		return ESTALE; /* gone at the origin, while open here */
	case -ESTALE:
	case -EACCES:
	case -ETIMEDOUT:
	case -EINTR:
	case -ENOMEM:
		return -status;
	default:
		return EIO;
	}
}

static void reply_flat(fuse_req_t req, const struct vmo_read *v)
{
	cleanup(mem_freep) char *flat = malloc(v->len);
	size_t n = 0;

	if (!flat) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	for (unsigned i = 0; i < v->n_iov; i++) {
		memcpy(flat + n, v->iov[i].iov_base, v->iov[i].iov_len);
		n += v->iov[i].iov_len;
	}
	fuse_reply_buf(req, flat, n);
}

static void reply_data(fuse_req_t req, const struct vmo_read *v)
{
	if (!v->len)
		fuse_reply_buf(req, NULL, 0);
	else if (v->n_iov == 1)
		fuse_reply_buf(req, v->iov[0].iov_base, v->iov[0].iov_len);
	else if (v->n_iov <= REPLY_IOV_MAX)
		fuse_reply_iov(req, v->iov, (int)v->n_iov);
	else
		reply_flat(req, v);
}

static void read_count(struct fs_session *s, const struct parked_read *r, int status)
{
	hist_add_ns(&s->latency, loop_now_ns() - r->start_ns);
	if (status == -EINTR)
		count(&s->n_interrupted, 1);
	else if (status < 0)
		count(&s->n_errors, 1);
	if (status == -ETIMEDOUT)
		count(&s->n_timed_out, 1);
}

/* ---- again, after a store ---- */

struct read_again {
	struct wfile *file; /* counted */
	char buf[];
};

static void again_end(struct fs_job *j, int64_t n)
{
	struct read_again *a = (struct read_again *)j->data;

	if (n < 0) {
		count(&j->session->n_errors, 1);
		fuse_reply_err(j->req, read_errno((int)n));
	} else {
		fuse_reply_buf(j->req, a->buf, (size_t)n);
	}
	wfile_put(a->file);
}

static uint64_t again_deadline(const struct fs_session *s)
{
	return s->p.timeout_ns ? loop_now_ns() + s->p.timeout_ns : 0;
}

/* On a thread. Whether the store went through or not: what is known then is the answer. */
static void again_run(struct fs_job *j)
{
	struct read_again *a = (struct read_again *)j->data;
	uint64_t since = wfile_error_mark(a->file);
	struct vmo_wait wait = { VMOFS_CLASS_DEMAND, 0 };
	uint64_t done = 0;
	int64_t n = 1;

	(void)wfile_store_wait(a->file, &since, again_deadline(j->session), NULL);
	wait.deadline_ns = again_deadline(j->session);
	while (n > 0 && done < j->len) {
		n = vmo_read(wfile_vmo(a->file), j->off + done, a->buf + done, j->len - done,
			     &wait);
		done += n > 0 ? (uint64_t)n : 0;
	}
	again_end(j, n < 0 ? n : (int64_t)done);
}

static void again_give_up(struct fs_job *j, int code)
{
	again_end(j, code);
}

/* The version that is here is gone at the origin, maybe for one that is ours. False: it is not; nothing was done. */
static bool read_again(struct parked_read *r)
{
	struct fs_session *s = r->session;
	struct wfile *f = s->p.local ? local_unsettled(s->p.local, r->object->ino) : NULL;
	struct read_again *a = f ? malloc(sizeof *a + r->read.len) : NULL;
	struct fs_job *j;

	if (!a) {
		wfile_put(f);
		return false;
	}
	j = job_take(s, r->req);
	if (!j) { /* it has been answered */
		wfile_put(f);
		free(a);
		return true;
	}
	a->file = f;
	j->data = (char *)a;
	j->run = again_run;
	j->give_up = again_give_up;
	j->off = r->read.off;
	j->len = r->read.len;
	job_post(j);
	return true;
}

/* Sends the answer and lets the pages go. Nobody else knows of @r any more. */
static void read_answer(struct parked_read *r, int status)
{
	if ((status == -ESTALE || status == -ENOENT) && read_again(r))
		return;
	if (status < 0) {
		fuse_reply_err(r->req, read_errno(status));
	} else {
		reply_data(r->req, &r->read);
		vmo_read_end(&r->read);
	}
	read_count(r->session, r, status);
}

static void read_end_parked(struct parked_read *r, int status)
{
	struct parked_set *set = &r->session->parked;

	/* Before the answer: after it the file may be closed, and the object be gone. */
	if (status == 0)
		fs_object_served(r->object, r->read.off, r->read.len, loop_now_ns() - r->start_ns);
	read_answer(r, status);
	/* Not armed any more, so nobody looks at its state. */
	parked_set_state(r, PARKED_FREE);
	parked_give_back(set, r);
	/* Last: the session may be freed once nothing is outstanding. */
	mutex_lock(&set->lock);
	if (--set->n_waiting == 0)
		cond_broadcast(&set->idle);
	mutex_unlock(&set->lock);
}

static bool read_end_locked(struct parked_set *set UNUSED, struct parked_read *r, int status)
	REQUIRES(set->lock)
{
	parked_set_state(r, PARKED_ENDING);
	r->armed = NULL;
	r->status = status;
	return true;
}

static void read_carried(struct loop_task *t, struct loop *l UNUSED)
{
	struct parked_read *r = container_of(t, struct parked_read, task);

	read_end_parked(r, r->status);
}

/* The core's completion. While another thread holds the read, that one answers. */
static void read_done(struct vmo_read *v, int status)
{
	struct parked_read *r = container_of(v, struct parked_read, read);
	struct parked_set *set = &r->session->parked;
	bool mine = false;

	mutex_lock(&set->lock);
	if (r->state == PARKED_WAITING) {
		mine = read_end_locked(set, r, status);
	} else {
		parked_set_state(r, PARKED_EARLY);
		r->status = status;
	}
	mutex_unlock(&set->lock);
	if (mine && uring_on_ring())
		loop_post(loop_pool_pick(r->session->p.loops), &r->task);
	else if (mine)
		read_end_parked(r, status);
}

/* Whether the holder is to answer; otherwise done() will come. */
static bool read_let_go_locked(struct parked_set *set, struct parked_read *r, bool cancelled)
	REQUIRES(set->lock)
{
	if (r->state == PARKED_EARLY)
		return read_end_locked(set, r, r->status);
	if (cancelled)
		return read_end_locked(set, r, -EINTR);
	parked_set_state(r, PARKED_WAITING);
	return false;
}

/* The end of HELD. An interrupt that came meanwhile, or that made us hold it, cancels the read. */
static void read_let_go(struct parked_read *r)
{
	struct parked_set *set = &r->session->parked;
	bool tried = false;
	bool cancelled = false;
	bool mine = false;
	bool again;
	int status;

	do {
		mutex_lock(&set->lock);
		again = r->state == PARKED_HELD && r->interrupted && !tried;
		if (!again)
			mine = read_let_go_locked(set, r, cancelled);
		status = r->status;
		mutex_unlock(&set->lock);
		if (again) {
			tried = true;
			cancelled = vmo_read_cancel(&r->read);
		}
	} while (again);
	if (mine)
		read_end_parked(r, status);
}

/*
 * libfuse's handler. @data may be the memory of a read that has just been answered, or even of
 * another one by now: only if it still belongs to @req is it ours. libfuse holds a lock of @req's
 * meanwhile, which an answer does not need.
 */
static void read_interrupted(fuse_req_t req, void *data)
{
	struct parked_read *r = data;
	struct parked_set *set = &r->session->parked;
	bool held = false;

	mutex_lock(&set->lock);
	if (r->armed == req) {
		r->interrupted = true;
		held = r->state == PARKED_WAITING;
		if (held)
			parked_set_state(r, PARKED_HELD);
	}
	mutex_unlock(&set->lock);
	if (held)
		read_let_go(r);
}

bool fs_clock_wanted_locked(struct fs_session *s)
{
	struct parked_set *set = &s->parked;

	if (!s->p.timeout_ns || set->ticking || set->stopped)
		return false;
	set->ticking = true;
	return true;
}

static void read_arm(struct parked_read *r)
{
	struct fs_session *s = r->session;
	bool start_clock;

	mutex_lock(&s->parked.lock);
	r->armed = r->req;
	r->interrupted = false;
	s->parked.n_waiting++;
	start_clock = fs_clock_wanted_locked(s);
	mutex_unlock(&s->parked.lock);
	if (start_clock)
		loop_post(loop_pool_nth(s->p.loops, 0), &s->parked.arm);
}

/* vmo_read_start() said -EINPROGRESS; done() may be running, or have run. */
static void read_park(struct parked_read *r)
{
	read_arm(r);
	fuse_req_interrupt_func(r->req, read_interrupted, r);
	read_let_go(r);
}

static void read_prepare(struct parked_read *r, fuse_req_t req, struct fs_object *o, uint64_t off,
			 uint64_t len)
{
	struct fs_session *s = r->session;

	r->object = o;
	r->task.run = read_carried;
	r->req = req;
	r->start_ns = loop_now_ns();
	r->read = (struct vmo_read){
		.off = off,
		.len = len,
		.cls = VMOFS_CLASS_DEMAND,
		.deadline_ns = s->p.timeout_ns ? r->start_ns + s->p.timeout_ns : 0,
		.done = read_done,
	};
	parked_set_state(r, PARKED_HELD);
	count(&s->n_reads, 1);
	count(&s->n_bytes_asked, len);
}

/* Before it is let go: then it may be answered and used for another one. */
static enum stream_how read_how(const struct parked_read *r)
{
	return vmo_read_n_fresh(&r->read) ? STREAM_MISS : STREAM_LATE;
}

static void read_run(struct parked_read *r, fuse_req_t req, struct fs_object *o, uint64_t off,
		     uint64_t len)
{
	struct fs_session *s = r->session;
	/* All that is needed of @o once the read may have been answered. */
	struct fs_ahead *ahead = fs_ahead_get(o);
	uint64_t first_of = off == 0 ? o->ino : 0;
	uint64_t size = o->size;
	enum stream_how how = STREAM_HIT;
	uint64_t deadline_ns;
	int status;

	read_prepare(r, req, o, off, len);
	deadline_ns = r->read.deadline_ns;
	status = vmo_read_start(o->vmo, &r->read);
	if (status == -EINPROGRESS) {
		count(&s->n_misses, 1);
		how = read_how(r);
		read_park(r);
	} else {
		count(&s->n_hits, status == 0);
		read_answer(r, status);
		parked_set_state(r, PARKED_FREE);
		parked_give_back(&s->parked, r);
	}
	if (ahead)
		fs_ahead_read(ahead, off, len, how, deadline_ns);
	fs_ahead_put(ahead);
	if (first_of)
		fs_read_siblings(s, first_of, size, deadline_ns);
}

void fs_read(fuse_req_t req, struct fs_object *o, uint64_t off, uint64_t len)
{
	struct fs_session *s = fs_session_of(req);
	struct parked_read *r;

	if (!fs_ring_begin(s, req))
		return;
	r = parked_take(&s->parked);
	if (r)
		read_run(r, req, o, off, len);
	else
		fuse_reply_err(req, ENOMEM);
	fs_ring_end(s);
}

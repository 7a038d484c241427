/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending ahead: of a new file that is written from its beginning to its end, each complete part behind the writer goes to the origin
 * before the store, so that the origin works while the file is being written. The parts are seen by nobody, what is dirty stays dirty, and the
 * store that comes takes the parts that are still true and sends the rest. Where no store can use them they are dropped, and the
 * store is as it would have been without.
 *
 * A part of the file:
 *
 *   AHEAD_NONE    -> AHEAD_SENDING  a thread takes it: all of it has been written, and nobody changes it at that moment
 *   AHEAD_SENDING -> AHEAD_SENT     it has arrived
 *   AHEAD_SENDING -> AHEAD_UNTRUE   it was changed while it was read or sent, or it did not arrive
 *   AHEAD_SENT    -> AHEAD_UNTRUE   it was changed
 *
 * It is never sent ahead again. The store looks at them after it has its token: every change is announced before it is made
 * (wahead_changing()), so what was changed before the token has been marked by then, and what is changed later stays dirty.
 *
 * A wahead is the file's (f->ahead) until a store takes it or it is dropped. It is given back to the source by the store, or, where
 * none can use it, by a thread of the pool, as soon as nobody sends.
 *
 * Threads: the pool's send; what is called by who changes a file never blocks. Everything is under writer.lock but the calls of the source.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "write/writer_private.h"

/* So many complete parts make it likely that more will follow. */
enum { BEGIN_PARTS = 2 };
/* A file whose parts are changed again after they were sent is no such file. */
enum { UNTRUE_MOST = 4 };
/* A send that takes longer is given up; the origin has its own limit below that. */
#define SEND_NS (3600 * NSEC_PER_SEC)

enum ahead_part { AHEAD_NONE, AHEAD_SENDING, AHEAD_SENT, AHEAD_UNTRUE, AHEAD_NSTATES };

struct wahead {
	/* Fixed at creation. */
	struct writer *w;
	uint64_t part; /* bytes */
	unsigned n;    /* parts that there is room for */
	unsigned attr_set;
	struct vmofs_change_attr attr; /* xattrs: counted */
	atomic_bool cancel;            /* of sends */

	/* lock: w->lock, everything below */
	struct vmofs_list link; /* in w->aheads_left */
	struct vmofs_ahead *up; /* owned; NULL: not begun. Set once */
	unsigned parallel;
	unsigned busy; /* threads at it */
	unsigned next; /* the first part that may be NONE */
	unsigned untrue;
	bool over;    /* no part is sent any more */
	bool dropped; /* and nobody wants those that were */
	uint8_t parts[];
};

/* One send. */
struct ahead_job {
	struct vmofs_ahead_send g; /* first */
	struct wfile *f;
};

static const struct vmofs_ahead_ops *ahead_ops(const struct writer *w)
{
	return w->p.source->ops->change->ahead;
}

/* ---- parts ---- */

static const uint8_t ahead_next[] = {
	[AHEAD_NONE] = BIT(AHEAD_SENDING),
	[AHEAD_SENDING] = BIT(AHEAD_SENT) | BIT(AHEAD_UNTRUE),
	[AHEAD_SENT] = BIT(AHEAD_UNTRUE),
	[AHEAD_UNTRUE] = 0,
};
static_assert(ARRAY_LEN(ahead_next) == AHEAD_NSTATES, "one row per state");

static void set_part_locked(struct wfile *f UNUSED, struct wahead *a, uint64_t i,
			    enum ahead_part to) REQUIRES(f->w->lock)
{
	assert(ahead_next[a->parts[i]] & BIT(to));
	a->parts[i] = (uint8_t)to;
	a->untrue += to == AHEAD_UNTRUE;
}

/* ---- changes ---- */

static void spoil_locked(struct wfile *f, uint64_t off, uint64_t end) REQUIRES(f->w->lock)
{
	struct wahead *a = f->ahead;

	end = MIN(end, a->n * a->part);
	for (uint64_t i = off / a->part; i * a->part < end; i++) {
		if (a->parts[i] == AHEAD_SENDING || a->parts[i] == AHEAD_SENT)
			set_part_locked(f, a, i, AHEAD_UNTRUE);
	}
	a->over |= a->untrue > UNTRUE_MOST;
}

void wahead_changing(struct wfile *f, uint64_t off, uint64_t end)
{
	struct writer *w = f->w;

	if (!ahead_ops(w))
		return;
	mutex_lock(&f->w->lock);
	f->changing_from = f->n_changing++ ? MIN(f->changing_from, off) : off;
	if (f->ahead)
		spoil_locked(f, off, end);
	mutex_unlock(&f->w->lock);
}

/* Parts that have been written from end to end, and that nobody is changing. */
static uint64_t complete_locked(const struct wfile *f, uint64_t part) REQUIRES(f->w->lock)
{
	uint64_t end = f->n_changing ? MIN(f->written, f->changing_from) : f->written;

	return end / part;
}

static bool may_begin_locked(const struct wfile *f, uint64_t part) REQUIRES(f->w->lock)
{
	return !f->no_ahead && !f->base.exists && !f->instead && !f->failures && !f->n_given_up &&
		complete_locked(f, part) >= BEGIN_PARTS;
}

/* The next part of it that can go; a->n: none. */
static unsigned next_part_locked(const struct wfile *f, struct wahead *a) REQUIRES(f->w->lock)
{
	uint64_t complete = MIN(complete_locked(f, a->part), a->n);

	if (!a->up || a->over || a->busy >= a->parallel)
		return a->n;
	while (a->next < complete && a->parts[a->next] != AHEAD_NONE)
		a->next++;
	return a->next < complete ? a->next : a->n;
}

/* There is something for a thread to do. Not while a store is due or under way: that sends what is left itself. */
static bool is_wanted_locked(struct wfile *f, uint64_t part) REQUIRES(f->w->lock)
{
	if (f->w->stopping || f->state != WFILE_DIRTY || f->held_back || f->leaving || f->wanted)
		return false;
	return f->ahead ? next_part_locked(f, f->ahead) < f->ahead->n : may_begin_locked(f, part);
}

static void queue_locked(struct wfile *f) REQUIRES(f->w->lock)
{
	if (!f->in_aheads) {
		vmofs_list_add_tail(&f->w->aheads_due, &f->by_ahead);
		f->in_aheads = true;
	}
	workers_call(f->w->aheads);
}

static void unqueue_locked(struct wfile *f) REQUIRES(f->w->lock)
{
	if (f->in_aheads)
		vmofs_list_del(&f->by_ahead);
	f->in_aheads = false;
}

void wahead_changed(struct wfile *f, uint64_t off, uint64_t end, bool written)
{
	struct writer *w = f->w;
	uint64_t part, before;

	if (!ahead_ops(w))
		return;
	part = ahead_ops(w)->part(w->p.source);
	mutex_lock(&f->w->lock);
	f->n_changing--;
	before = f->written / part;
	if (!written)
		f->written = MIN(f->written, off);
	else if (off <= f->written)
		f->written = MAX(f->written, end);
	if (f->written / part > before && is_wanted_locked(f, part))
		queue_locked(f);
	mutex_unlock(&f->w->lock);
}

/* ---- the end of one ---- */

/* Nobody is at it: a thread of the pool gives it back. */
static void leave_locked(struct writer *w, struct wahead *a) REQUIRES(w->lock)
{
	vmofs_list_add_tail(&w->aheads_left, &a->link);
	if (!w->stopping)
		workers_call(w->aheads);
}

static void ahead_free(struct wahead *a)
{
	if (a)
		vmofs_xattrs_put(a->attr.xattrs);
	free(a);
}

static void give_back(struct wahead *a)
{
	if (a->up)
		ahead_ops(a->w)->drop(a->up, &a->w->aheads_end);
	ahead_free(a);
}

void wahead_drop_locked(struct wfile *f)
{
	struct wahead *a = f->ahead;

	unqueue_locked(f);
	if (!a)
		return;
	f->ahead = NULL;
	a->over = a->dropped = true;
	atomic_store(&a->cancel, true);
	if (!a->busy)
		leave_locked(f->w, a);
}

static struct wahead *left_take(struct writer *w)
{
	struct wahead *a;

	mutex_lock(&w->lock);
	a = vmofs_list_first(&w->aheads_left, struct wahead, link);
	if (a)
		vmofs_list_del(&a->link);
	mutex_unlock(&w->lock);
	return a;
}

static void give_back_all(struct writer *w)
{
	struct wahead *a;

	while ((a = left_take(w)))
		give_back(a);
}

/* ---- the threads ---- */

/* The last one that is at it sees to its end. */
static void idle_locked(struct writer *w, struct wahead *a) REQUIRES(w->lock)
{
	if (--a->busy)
		return;
	if (a->dropped)
		leave_locked(w, a);
	else
		cond_broadcast(&w->changed);
}

static struct wahead *wahead_new(struct wfile *f, uint64_t part)
{
	/* All of it is dirty: there can be no more. */
	uint64_t n = page_bytes(f->w->room.limit + f->w->room.reserve) / part + BEGIN_PARTS;
	struct wahead *a = calloc(1, sizeof *a + n);

	if (!a)
		return NULL;
	a->w = f->w;
	a->part = part;
	a->n = (unsigned)n;
	return a;
}

static void begun(struct wfile *f, struct wahead *a, struct vmofs_ahead *up)
{
	mutex_lock(&f->w->lock);
	a->up = up;
	a->over |= !up;
	f->no_ahead |= !up;
	if (up) {
		a->parallel = MAX(up->parallel, 1u);
		a->n = MIN(a->n, up->parts);
	}
	idle_locked(f->w, a);
	mutex_unlock(&f->w->lock);
}

/*
 * Only the stop calls it off: what the origin has begun, and nobody has heard of, nobody can drop. Where no store wants it any more it
 * is dropped when it is there.
 */
static void begin(struct wfile *f, struct wahead *a, const char *key)
{
	struct vmofs_source *s = f->w->p.source;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_ahead_begin b = { .key = key,
				       .attr = &a->attr,
				       .wait = { loop_now_ns() + SEND_NS, &f->w->aheads_end } };
	struct vmofs_ahead *up = NULL;
	int r = ahead_ops(f->w)->begin(s, &b, &up, &err);

	if (r < 0)
		log_debug("nothing of '%s' is sent ahead: %s", key, err.msg);
	begun(f, a, r < 0 ? NULL : up);
}

static int read_part(struct vmofs_ahead_send *g, uint64_t off, void *buf, uint64_t len)
{
	struct ahead_job *job = container_of(g, struct ahead_job, g);
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, g->wait.deadline_ns };
	int64_t n = vmo_read(job->f->vmo, off, buf, len, &wait);

	return n < 0 ? (int)n : (uint64_t)n < len ? -ECANCELED : 0;
}

static void sent(struct wfile *f, struct wahead *a, unsigned i, int r)
{
	mutex_lock(&f->w->lock);
	if (a->parts[i] == AHEAD_SENDING)
		set_part_locked(f, a, i, r < 0 ? AHEAD_UNTRUE : AHEAD_SENT);
	a->over |= r < 0;
	idle_locked(f->w, a);
	mutex_unlock(&f->w->lock);
}

static void send(struct wfile *f, struct wahead *a, unsigned i)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct ahead_job job = { .g.part = i,
				 .g.wait = { loop_now_ns() + SEND_NS, &a->cancel },
				 .g.read = read_part,
				 .f = f };
	int r = ahead_ops(f->w)->send(a->up, &job.g, &err);

	room_passed(&f->w->room, a->part);
	if (r == 0)
		atomic_fetch_add(&f->w->progress, a->part);
	else
		log_debug("a part of '%s' was not sent ahead: %s", f->key, err.msg);
	sent(f, a, i, r);
}

/* What one thread does next. */
struct ahead_turn {
	struct wfile *f;
	struct wahead *a;
	unsigned part; /* a->n: it begins */
	char *key;
};

/* A new one. False: no memory. */
static bool turn_begin_locked(struct ahead_turn *t, uint64_t part) REQUIRES(t->f->w->lock)
{
	struct wfile *f = t->f;

	t->a = wahead_new(f, part);
	t->key = strdup(f->key);
	if (!t->a || !t->key) {
		ahead_free(t->a);
		free(t->key);
		return false;
	}
	t->a->attr = f->attr;
	vmofs_xattrs_get(t->a->attr.xattrs);
	t->a->attr_set = f->attr_set;
	t->part = t->a->n;
	f->ahead = t->a;
	return true;
}

static bool turn_send_locked(struct ahead_turn *t, struct wfile *f) REQUIRES(f->w->lock)
{
	struct wahead *a = t->a = f->ahead;

	t->part = next_part_locked(f, a);
	if (!room_pass(&a->w->room, a->part, false))
		return false;
	set_part_locked(f, a, t->part, AHEAD_SENDING);
	a->next++;
	return true;
}

static bool turn_of_locked(struct ahead_turn *t, struct wfile *f, uint64_t part)
	REQUIRES(f->w->lock) NO_TSA
{
	*t = (struct ahead_turn){ .f = f };
	if (!is_wanted_locked(f, part))
		return false;
	if (!(f->ahead ? turn_send_locked(t, f) : turn_begin_locked(t, part)))
		return false;
	t->a->busy++;
	f->refs++;
	return true;
}

/* The first file that has something to do; those without go, until more of them is written. */
static bool turn_take(struct writer *w, struct ahead_turn *t) NO_TSA
{
	uint64_t part = ahead_ops(w)->part(w->p.source);
	bool found = false;
	struct wfile *f;

	mutex_lock(&w->lock);
	while (!found && (f = vmofs_list_first(&w->aheads_due, struct wfile, by_ahead))) {
		unqueue_locked(f);
		found = turn_of_locked(t, f, part);
		/* The rest of it is another thread's. */
		if (found && is_wanted_locked(f, part))
			queue_locked(f);
	}
	mutex_unlock(&w->lock);
	return found;
}

/* It may have more to do. */
static void turn_end(struct ahead_turn *t)
{
	struct wfile *f = t->f;

	free(t->key);
	mutex_lock(&f->w->lock);
	if (f->ahead && is_wanted_locked(f, f->ahead->part))
		queue_locked(f);
	mutex_unlock(&f->w->lock);
	wfile_unref(f);
}

static void send_some(void *arg, void **own)
{
	struct writer *w = arg;
	struct ahead_turn t;

	(void)own;
	give_back_all(w);
	while (turn_take(w, &t)) {
		if (t.key)
			begin(t.f, t.a, t.key);
		else
			send(t.f, t.a, t.part);
		turn_end(&t);
		give_back_all(w);
	}
}

/* ---- the store ---- */

/* Until nobody sends, or the store is called off. */
static void wait_idle_locked(struct wfile *f, struct wahead *a) REQUIRES(f->w->lock)
{
	while (a->busy && !atomic_load(&f->cancel))
		cond_wait_until(&f->w->changed, &f->w->lock, loop_now_ns() + CANCEL_LOOK_NS);
}

static void holds_of(struct wjob *j, const struct wahead *a)
{
	unsigned n = (unsigned)MIN(j->st.size / a->part, a->n);

	j->ahead_holds = calloc(n + 1, sizeof *j->ahead_holds);
	if (!j->ahead_holds)
		return;
	for (unsigned i = 0; i < n; i++)
		j->ahead_holds[i] = a->parts[i] == AHEAD_SENT;
	j->st.ahead_holds = j->ahead_holds;
	j->st.n_ahead = n;
}

int wahead_take(struct wjob *j)
{
	struct wfile *f = j->f;
	struct wahead *a;

	mutex_lock(&f->w->lock);
	unqueue_locked(f);
	a = f->ahead;
	if (a) {
		a->over = true;
		wait_idle_locked(f, a);
	}
	if (a && (a->busy || !a->up)) {
		bool busy = a->busy;

		wahead_drop_locked(f);
		mutex_unlock(&f->w->lock);
		return busy ? -ECANCELED : 0;
	}
	f->ahead = NULL;
	if (a) {
		holds_of(j, a);
		j->st.ahead = a->up;
		j->attr_old = a->attr_set != f->attr_set;
	}
	mutex_unlock(&f->w->lock);
	ahead_free(a);
	return 0;
}

/* ---- life ---- */

int wahead_start(struct writer *w)
{
	struct workers_params p = {
		.name = "vmofs-ahead", .max = AHEAD_THREADS, .work = send_some, .arg = w
	};

	vmofs_list_init(&w->aheads_due);
	vmofs_list_init(&w->aheads_left);
	return ahead_ops(w) ? workers_new(&w->aheads, &p) : 0;
}

void wahead_cancel_locked(struct wfile *f)
{
	if (f->ahead)
		atomic_store(&f->ahead->cancel, true);
}

void wahead_stop(struct writer *w)
{
	atomic_store(&w->aheads_end, true);
	/* Nobody calls them any more: `stopping` is set. */
	workers_free(w->aheads);
	w->aheads = NULL;
}

void wahead_release(struct writer *w)
{
	give_back_all(w);
}

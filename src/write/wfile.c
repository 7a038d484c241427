/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file that is changed here: life, state, what is told of it, and waiting for it to be stored. Contents are written in
 * wfile_change.c, stored in wstore.c. Any thread; what waits says so in writer.h.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/loop.h"
#include "base/macros.h"
#include "write/writer_private.h"

/* How often changes have somebody look what can be stored, when much is dirty. Who waits for room says so himself. */
#define PRESS_NS (100 * NSEC_PER_MSEC)

/* ---- states ---- */

static const uint8_t wfile_next[] = {
	[WFILE_CLEAN] = BIT(WFILE_DIRTY) | BIT(WFILE_GONE),
	[WFILE_DIRTY] = BIT(WFILE_STORING) | BIT(WFILE_GONE),
	[WFILE_STORING] = BIT(WFILE_CLEAN) | BIT(WFILE_DIRTY) | BIT(WFILE_CONFLICT),
	[WFILE_CONFLICT] = BIT(WFILE_DIRTY) | BIT(WFILE_GONE),
	[WFILE_GONE] = 0,
};
static_assert(ARRAY_LEN(wfile_next) == WFILE_NSTATES, "one row per state");

void wfile_set_state_locked(struct wfile *f, enum wfile_state to)
{
	assert(wfile_next[f->state] & BIT(to));
	if (f->in_table) {
		f->w->n_in[f->state]--;
		f->w->n_in[to]++;
	}
	f->state = to;
	cond_broadcast(&f->w->changed);
}

bool wfile_is_left(enum wfile_state s)
{
	return s == WFILE_DIRTY || s == WFILE_STORING || s == WFILE_CONFLICT;
}

/* ---- life ---- */

static void free_keys(struct wfile *f)
{
	struct old_key *o;

	while ((o = f->old_keys)) {
		f->old_keys = o->next;
		free(o->key);
		free(o);
	}
	free(f->key);
}

static void wfile_free(struct wfile *f)
{
	struct writer *w = f->w;

	if (f->vmo) {
		vmo_close(f->vmo);
		if (f->provider)
			f->provider->ops->free(f->provider);
		vmo_put(f->vmo);
		wlog_close(f);
		if (w->p.let_go)
			w->p.let_go(w->p.arg, f->keep);
	}
	mutex_destroy(&f->log_lock);
	vmofs_xattrs_put(f->attr.xattrs);
	vmofs_xattrs_put(f->log_state.xattrs);
	free(f->instead);
	free(f->msg);
	free_keys(f);
	mutex_lock(&w->lock);
	w->n_files--;
	mutex_unlock(&w->lock);
	free(f);
}

static struct wfile *wfile_alloc(struct writer *w, const struct wfile_params *p)
{
	struct wfile *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	f->w = w;
	f->refs = f->users = 1;
	f->ino = p->ino;
	f->base = p->base;
	f->cut = f->store_cut = UINT64_MAX;
	mutex_init(&f->log_lock, LOCK_RANK_LOG_FILE);
	if (p->attr)
		f->attr = *p->attr;
	vmofs_xattrs_get(f->attr.xattrs);
	mutex_lock(&w->lock);
	w->n_files++;
	mutex_unlock(&w->lock);
	f->key = strdup(p->key);
	return f;
}

/* CLEAN, and in no table yet. */
int wfile_make(struct wfile **out, struct writer *w, const struct wfile_params *p)
{
	struct wfile *f = wfile_alloc(w, p);
	int r;

	if (!f)
		return -ENOMEM;
	r = f->key ? vmo_make_writable(p->vmo, &w->room.guard) : -ENOMEM;
	if (r < 0) {
		wfile_free(f);
		return r;
	}
	f->vmo = vmo_get(p->vmo);
	f->keep = p->keep;
	*out = f;
	return 0;
}

/* What was taken from @p goes back: it stays the caller's. */
static void unmake(struct wfile *f)
{
	vmo_put(f->vmo);
	f->vmo = NULL;
	wfile_free(f);
}

int wfile_new(struct wfile **out, struct writer *w, const struct wfile_params *p)
{
	struct wfile *f;
	int r = wfile_make(&f, w, p);

	if (r < 0)
		return r;
	mutex_lock(&w->lock);
	r = w->stopping ? -ESHUTDOWN : writer_insert_locked(w, f);
	mutex_unlock(&w->lock);
	if (r < 0) {
		unmake(f);
		return r;
	}
	if (!p->base.exists || p->attr)
		wfile_changed(f, p->attr != NULL, false);
	*out = f;
	return 0;
}

struct wfile *wfile_get(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	assert(f->users);
	f->refs++;
	f->users++;
	mutex_unlock(&f->w->lock);
	return f;
}

/* What nobody uses and has nothing to be stored is not found any more: its number may be that of another file at once. */
static void unref(struct wfile *f, bool user)
{
	bool last;

	mutex_lock(&f->w->lock);
	last = --f->refs == 0;
	f->users -= user;
	if (last || (!f->users && !wfile_is_left(f->state)))
		writer_forget_locked(f);
	mutex_unlock(&f->w->lock);
	if (last)
		wfile_free(f);
}

void wfile_hide(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	if (!wfile_is_left(f->state))
		writer_forget_locked(f);
	mutex_unlock(&f->w->lock);
}

void wfile_unref(struct wfile *f)
{
	unref(f, false);
}

void wfile_put(struct wfile *f)
{
	if (f)
		unref(f, true);
}

void wfile_own_locked(struct wfile *f)
{
	f->refs += !f->own;
	f->own = true;
}

bool wfile_disown_locked(struct wfile *f)
{
	bool owned = f->own;

	f->own = false;
	return owned;
}

/* ---- looking ---- */

uint64_t wfile_ino(const struct wfile *f)
{
	return f->ino;
}

struct vmo *wfile_vmo(const struct wfile *f)
{
	return f->vmo;
}

void wfile_stat(struct wfile *f, uint64_t *size, struct vmofs_change_attr *attr)
{
	mutex_lock(&f->w->lock);
	*size = vmo_size(f->vmo);
	*attr = f->attr;
	attr->xattrs = NULL;
	mutex_unlock(&f->w->lock);
}

struct vmofs_xattrs *wfile_xattrs(struct wfile *f)
{
	struct vmofs_xattrs *x;

	mutex_lock(&f->w->lock);
	x = vmofs_xattrs_get(f->attr.xattrs);
	mutex_unlock(&f->w->lock);
	return x;
}

void wfile_base(struct wfile *f, struct vmofs_version *out)
{
	mutex_lock(&f->w->lock);
	*out = f->base;
	mutex_unlock(&f->w->lock);
}

enum wfile_state wfile_state(struct wfile *f)
{
	enum wfile_state s;

	mutex_lock(&f->w->lock);
	s = f->state;
	mutex_unlock(&f->w->lock);
	return s;
}

bool wfile_is_unsettled(struct wfile *f)
{
	bool yes;

	mutex_lock(&f->w->lock);
	yes = f->n_given_up && (f->state == WFILE_DIRTY || f->state == WFILE_STORING);
	mutex_unlock(&f->w->lock);
	return yes;
}

uint64_t wfile_error_mark(struct wfile *f)
{
	uint64_t mark;

	mutex_lock(&f->w->lock);
	mark = f->refusals;
	mutex_unlock(&f->w->lock);
	return mark;
}

/* ---- changes are noted ---- */

static uint64_t age_of(const struct wfile *f)
{
	/* What takes long to store is not stored all the time. */
	return MAX(f->w->p.age_ns, f->took_ns);
}

static void dirtied_locked(struct wfile *f, uint64_t now) REQUIRES(f->w->lock)
{
	if (f->state == WFILE_CLEAN) {
		f->since_ns = now;
		wfile_own_locked(f);
		wfile_set_state_locked(f, WFILE_DIRTY);
		writer_due_locked(f, now + age_of(f));
	} else if (f->state == WFILE_STORING && !f->again_ns) {
		f->again_ns = now;
	}
	f->changed_ns = now;
	if (f->state != WFILE_GONE && f->w->p.commit_ns && !f->in_commits) {
		f->commit_since_ns = now;
		writer_commit_due_locked(f, now + f->w->p.commit_ns);
	}
}

void wfile_changed(struct wfile *f, bool attr, bool mtime)
{
	struct writer *w = f->w;
	bool press = room_is_tight(&w->room);
	uint64_t now;

	mutex_lock(&f->w->lock);
	now = writer_now(w);
	f->change_seq++;
	if (mtime)
		clock_gettime(CLOCK_REALTIME, &f->attr.mtime);
	f->attr_seq += attr || mtime;
	/* What came too late for the journal is only here. */
	if (!w->retiring)
		dirtied_locked(f, now);
	/* Not for each page of a file that is being written, which is left alone anyway. */
	press = press && now - w->pressed_ns >= PRESS_NS;
	if (press)
		w->pressed_ns = now;
	mutex_unlock(&f->w->lock);
	if (press)
		writer_press(w);
}

static bool is_refusal(int code)
{
	static const int lasting[] = { -ESTALE, -EACCES,     -EFBIG, -ENAMETOOLONG, -ENOSPC,
				       -EDQUOT, -EOPNOTSUPP, -EPERM, -ENOENT,       -E2BIG };

	for (unsigned i = 0; i < ARRAY_LEN(lasting); i++)
		if (code == lasting[i])
			return true;
	return false;
}

void wfile_fail_locked(struct wfile *f, int code, const char *msg)
{
	char *copy = msg && *msg ? strdup(msg) : NULL;

	free(f->msg);
	f->msg = copy;
	f->error = code;
	f->failures++;
	f->n_failures++;
	if (is_refusal(code)) {
		f->refusals++;
		f->refusal = code;
	}
	f->w->stats.store_failures++;
	cond_broadcast(&f->w->changed);
}

/* ---- one at a time ---- */

static int enter(struct wfile *f, bool now, bool conflict)
{
	struct writer *w = f->w;
	int r = 0;

	mutex_lock(&f->w->lock);
	f->n_turns++;
	while (f->turn && !now && !w->stopping)
		cond_wait(&w->changed, &f->w->lock);
	f->n_turns--;
	if (w->stopping)
		r = -ESHUTDOWN;
	else if (f->turn)
		r = -EAGAIN;
	else if (f->state == WFILE_CONFLICT && !conflict)
		r = -ESTALE;
	if (r == 0) {
		f->turn = true;
		w->n_turns++;
	}
	mutex_unlock(&f->w->lock);
	return r;
}

int wfile_enter(struct wfile *f, bool now)
{
	return enter(f, now, false);
}

int wfile_enter_any(struct wfile *f)
{
	return enter(f, false, true);
}

void wfile_leave(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	f->turn = false;
	f->w->n_turns--;
	if (f->n_turns || f->w->stopping)
		cond_broadcast(&f->w->changed);
	mutex_unlock(&f->w->lock);
}

void wfile_hold_back(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	f->held_back++;
	mutex_unlock(&f->w->lock);
}

void wfile_let_store(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	if (--f->held_back == 0 && f->in_due)
		writer_due_locked(f, f->due_ns);
	mutex_unlock(&f->w->lock);
}

/* ---- waiting ---- */

struct wait {
	uint64_t deadline_ns;
	bool slides;                 /* with every byte that is stored */
	const atomic_bool *cancel;   /* may be NULL */
	unsigned long long progress; /* when it was looked at last */
};

static bool is_over(struct writer *w, struct wait *t)
{
	unsigned long long progress = atomic_load(&w->progress);

	if (t->slides && progress != t->progress)
		t->deadline_ns = writer_deadline(w);
	t->progress = progress;
	return t->deadline_ns && loop_now_ns() >= t->deadline_ns;
}

/* One sleep, until something changes or it is time to look: 0, -ETIMEDOUT, -EINTR, -ESHUTDOWN. */
static int wait_some_locked(struct writer *w, struct wait *t) REQUIRES(w->lock)
{
	uint64_t look = loop_now_ns() + CANCEL_LOOK_NS;

	if (w->stopping)
		return -ESHUTDOWN;
	if (t->cancel && atomic_load(t->cancel))
		return -EINTR;
	if (is_over(w, t))
		return -ETIMEDOUT;
	if (t->cancel)
		cond_wait_until(&w->changed, &w->lock,
				t->deadline_ns ? MIN(look, t->deadline_ns) : look);
	else if (t->deadline_ns)
		cond_wait_until(&w->changed, &w->lock, t->deadline_ns);
	else
		cond_wait(&w->changed, &w->lock);
	return 0;
}

/* It is stored next. */
static void hurry_locked(struct wfile *f) REQUIRES(f->w->lock)
{
	if (f->in_due)
		writer_due_locked(f, 0);
}

/* Until the origin has all changes up to @seq; the first failure from now on ends it. */
static int wait_stored_locked(struct wfile *f, uint64_t seq, struct wait *t) REQUIRES(f->w->lock)
{
	uint64_t failures = f->n_failures;
	int r = 0;

	t->progress = atomic_load(&f->w->progress);
	f->wanted++;
	hurry_locked(f);
	while (r == 0 && f->stored_seq < seq && f->state != WFILE_GONE) {
		if (f->state == WFILE_CONFLICT)
			r = -ESTALE;
		else if (f->n_failures != failures && f->error)
			r = f->error;
		else /* nothing has failed, or it has been mended since */
			r = wait_some_locked(f->w, t);
	}
	f->wanted--;
	return r;
}

static int wait_stored(struct wfile *f, uint64_t *since, struct wait *t)
{
	int r;

	mutex_lock(&f->w->lock);
	r = wait_stored_locked(f, f->change_seq, t);
	*since = f->refusals;
	mutex_unlock(&f->w->lock);
	return r;
}

static int fsync_remote(struct wfile *f, uint64_t *since)
{
	struct wait t = { .deadline_ns = writer_deadline(f->w), .slides = true };

	return wait_stored(f, since, &t);
}

static int fsync_local(struct wfile *f, uint64_t *since)
{
	int r = wlog_commit(f, true);

	/* Where the journal cannot keep it, the origin can. */
	if (r < 0)
		return fsync_remote(f, since) < 0 ? r : 0;
	mutex_lock(&f->w->lock);
	if (*since != f->refusals)
		r = f->refusal;
	*since = f->refusals;
	mutex_unlock(&f->w->lock);
	return r;
}

int wfile_fsync(struct wfile *f, uint64_t *since)
{
	return f->w->p.fsync == WRITER_FSYNC_LOCAL ? fsync_local(f, since) : fsync_remote(f, since);
}

int wfile_store_wait(struct wfile *f, uint64_t *since, uint64_t deadline_ns,
		     const atomic_bool *cancel)
{
	struct wait t = { .deadline_ns = deadline_ns, .cancel = cancel };

	return wait_stored(f, since, &t);
}

int wfile_closed(struct wfile *f, uint64_t *since)
{
	uint64_t now;

	if (f->w->p.close_sync)
		return wfile_fsync(f, since);
	mutex_lock(&f->w->lock);
	now = writer_now(f->w);
	if (f->in_due && f->due_ns > now && !f->failures)
		writer_due_locked(f, now);
	if (wfile_is_left(f->state) && f->committed_seq < f->change_seq)
		writer_commit_now_locked(f);
	mutex_unlock(&f->w->lock);
	return 0;
}

int wfile_settle(struct wfile *f, uint64_t deadline_ns)
{
	struct wait t = { .deadline_ns = deadline_ns };
	uint64_t failures;
	int r = 0;

	mutex_lock(&f->w->lock);
	failures = f->n_failures;
	t.progress = atomic_load(&f->w->progress);
	if (f->stuck)
		hurry_locked(f);
	while (r == 0 && f->state == WFILE_STORING) {
		if (f->stuck && f->n_failures != failures)
			r = f->error;
		else
			r = wait_some_locked(f->w, &t);
	}
	mutex_unlock(&f->w->lock);
	return r;
}

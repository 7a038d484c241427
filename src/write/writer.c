/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of a mount: its files by number, when each is stored and committed to the journal, the threads that do it, and the
 * end. Nothing here blocks but drain, stop and the threads' own work.
 */
#include "write/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "write/wmove.h"
#include "write/writer_private.h"

/* Files that are looked at when room is needed: the largest of the oldest ones goes first. */
enum { PRESS_LOOK = 64 };

/* A file that is written all the time is in the journal after so many times commit_ns. */
enum { COMMIT_MOST = 5 };

/* Who writes again within that time has not finished. */
#define BUSY_NS NSEC_PER_SEC

/* What is being written when the writer stops has so long to come to its end. */
#define STOP_WAIT_NS (5 * NSEC_PER_SEC)

uint64_t writer_now(struct writer *w)
{
	return w->p.now_ns ? w->p.now_ns() : loop_now_ns();
}

uint64_t writer_deadline(struct writer *w)
{
	return w->p.timeout_ns ? loop_now_ns() + w->p.timeout_ns : 0;
}

/* ---- trees ---- */

static struct wfile *of_ino(struct rb_node *n)
{
	return n ? container_of(n, struct wfile, by_ino) : NULL;
}

static struct wfile *of_due(struct rb_node *n)
{
	return n ? container_of(n, struct wfile, by_due) : NULL;
}

static struct wfile *of_commit(struct rb_node *n)
{
	return n ? container_of(n, struct wfile, by_commit) : NULL;
}

static bool due_before(const struct wfile *a, const struct wfile *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->ino < b->ino;
}

static bool commit_before(const struct wfile *a, const struct wfile *b)
{
	return a->commit_ns != b->commit_ns ? a->commit_ns < b->commit_ns : a->ino < b->ino;
}

int writer_insert_locked(struct writer *w, struct wfile *f)
{
	struct rb_node **link = &w->files.root;
	struct rb_node *parent = NULL;

	while (*link) {
		struct wfile *other = of_ino(*link);

		parent = *link;
		if (other->ino == f->ino)
			return -EEXIST;
		link = &parent->child[f->ino > other->ino];
	}
	rb_insert(&w->files, &f->by_ino, parent, link);
	f->in_table = true;
	w->n_in[f->state]++;
	return 0;
}

void writer_forget_locked(struct wfile *f)
{
	if (f->in_table) {
		rb_erase(&f->w->files, &f->by_ino);
		f->w->n_in[f->state]--;
	}
	f->in_table = false;
	writer_not_due_locked(f);
	if (f->in_commits)
		rb_erase(&f->w->commits, &f->by_commit);
	f->in_commits = false;
}

/* The first one of a number that is not less. */
static struct wfile *file_from_locked(struct writer *w, uint64_t ino) REQUIRES(w->lock)
{
	struct rb_node *n = w->files.root;
	struct wfile *found = NULL;

	while (n) {
		struct wfile *f = of_ino(n);

		if (f->ino >= ino)
			found = f;
		n = n->child[f->ino < ino];
	}
	return found;
}

struct wfile *writer_find(struct writer *w, uint64_t ino)
{
	struct wfile *f;

	mutex_lock(&w->lock);
	f = file_from_locked(w, ino);
	if (f && f->ino == ino) {
		f->refs++;
		f->users++;
	} else {
		f = NULL;
	}
	mutex_unlock(&w->lock);
	return f;
}

/* ---- when ---- */

void writer_not_due_locked(struct wfile *f)
{
	if (f->in_due)
		rb_erase(&f->w->due, &f->by_due);
	f->in_due = false;
}

void writer_due_locked(struct wfile *f, uint64_t when_ns)
{
	struct writer *w = f->w;
	struct rb_node **link = &w->due.root;
	struct rb_node *parent = NULL;

	writer_not_due_locked(f);
	f->due_ns = when_ns;
	while (*link) {
		parent = *link;
		link = &parent->child[due_before(of_due(parent), f)];
	}
	rb_insert(&w->due, &f->by_due, parent, link);
	f->in_due = true;
	if (w->stopping)
		return;
	if (when_ns <= writer_now(w) || w->draining)
		workers_call(w->storers);
	else
		workers_call_at(w->storers, when_ns);
}

void writer_commit_due_locked(struct wfile *f, uint64_t when_ns)
{
	struct writer *w = f->w;
	struct rb_node **link = &w->commits.root;
	struct rb_node *parent = NULL;

	if (!w->committer || w->stopping || (f->in_commits && f->commit_ns <= when_ns))
		return;
	if (f->in_commits)
		rb_erase(&w->commits, &f->by_commit);
	f->commit_ns = when_ns;
	while (*link) {
		parent = *link;
		link = &parent->child[commit_before(of_commit(parent), f)];
	}
	rb_insert(&w->commits, &f->by_commit, parent, link);
	f->in_commits = true;
	workers_call_at(w->committer, when_ns);
}

void writer_commit_now_locked(struct wfile *f)
{
	f->changed_ns = 0;
	writer_commit_due_locked(f, writer_now(f->w));
}

void writer_press(struct writer *w)
{
	mutex_lock(&w->lock);
	if (!w->stopping)
		workers_call(w->storers);
	mutex_unlock(&w->lock);
}

/* ---- the threads ---- */

/* Not while it is being cut, or after a failure before its time. What became of a store may always be asked. */
static bool can_begin(const struct wfile *f, uint64_t now)
{
	bool free_now = f->stuck || !(f->cutting || f->held_back);

	return free_now && (!f->failures || f->due_ns <= now);
}

/*
 * It is being written. What is stored of it now the origin would have to copy in each store that follows, so it is left alone
 * until nobody can write any more.
 */
static bool is_busy(const struct wfile *f, uint64_t now)
{
	return f->changed_ns + BUSY_NS > now;
}

/* Room is needed, or all is to be stored: whatever its age. */
static struct wfile *pressed_locked(struct writer *w, uint64_t now) REQUIRES(w->lock)
{
	bool any = w->draining || room_is_full(&w->room);
	struct wfile *best = NULL;
	uint64_t most = 0;
	unsigned looked = 0;

	for (struct rb_node *n = rb_first(&w->due); n && looked < PRESS_LOOK; n = rb_next(n)) {
		struct wfile *f = of_due(n);
		uint64_t dirty = vmo_n_dirty(f->vmo);

		looked++;
		if (can_begin(f, now) && (any || !is_busy(f, now)) && (!best || dirty > most)) {
			best = f;
			most = dirty;
		}
	}
	return best;
}

static struct wfile *pick_locked(struct writer *w, uint64_t now) REQUIRES(w->lock)
{
	struct rb_node *n = rb_first(&w->due);

	for (; n && of_due(n)->due_ns <= now; n = rb_next(n))
		if (can_begin(of_due(n), now))
			return of_due(n);
	return w->draining || room_is_tight(&w->room) ? pressed_locked(w, now) : NULL;
}

static void set_alarm_locked(struct writer *w, uint64_t now) REQUIRES(w->lock)
{
	for (struct rb_node *n = rb_first(&w->due); n; n = rb_next(n))
		if (of_due(n)->due_ns > now) {
			workers_call_at(w->storers, of_due(n)->due_ns);
			return;
		}
}

/* The file's lock is the writer's, which the analysis cannot know; here and below. */
static struct wfile *take_due_locked(struct writer *w) REQUIRES(w->lock) NO_TSA
{
	/* What is not due yet at this moment the alarm is for, however soon it is. */
	uint64_t now = writer_now(w);
	struct wfile *f = pick_locked(w, now);

	if (!f) {
		set_alarm_locked(w, now);
		return NULL;
	}
	writer_not_due_locked(f);
	f->refs++;
	if (!f->stuck)
		wfile_set_state_locked(f, WFILE_STORING);
	/* This one may take long: the next one is another thread's. */
	if (pick_locked(w, now))
		workers_call(w->storers);
	else
		set_alarm_locked(w, now);
	return f;
}

/* The next one to be stored, with a reference. */
static struct wfile *take_due(struct writer *w)
{
	struct wfile *f;

	mutex_lock(&w->lock);
	f = w->stopping ? NULL : take_due_locked(w);
	mutex_unlock(&w->lock);
	return f;
}

static void store_some(void *arg, void **own)
{
	struct writer *w = arg;
	struct wfile *f;

	(void)own;
	while ((f = take_due(w))) {
		wstore_run(f);
		wfile_unref(f);
	}
}

/*
 * A file that is written all the time is committed less often: most of it will have been stored by then, and need not be
 * written to the disk as well. Its due time comes when nothing was written for a while.
 */
static uint64_t quiet_at_locked(const struct wfile *f) REQUIRES(f->w->lock)
{
	uint64_t ns = f->w->p.commit_ns;

	return MIN(f->changed_ns + ns, f->commit_since_ns + COMMIT_MOST * ns);
}

static struct wfile *first_commit_locked(struct writer *w) REQUIRES(w->lock) NO_TSA
{
	uint64_t now = writer_now(w);
	struct wfile *f;

	while ((f = of_commit(rb_first(&w->commits))) && f->commit_ns <= now &&
	       quiet_at_locked(f) > now) {
		rb_erase(&w->commits, &f->by_commit);
		f->in_commits = false;
		writer_commit_due_locked(f, quiet_at_locked(f));
	}
	return f;
}

static struct wfile *take_commit(struct writer *w)
{
	struct wfile *f;

	mutex_lock(&w->lock);
	f = w->stopping ? NULL : first_commit_locked(w);
	if (f && f->commit_ns > writer_now(w)) {
		workers_call_at(w->committer, f->commit_ns);
		f = NULL;
	}
	if (f) {
		rb_erase(&w->commits, &f->by_commit);
		f->in_commits = false;
		f->refs++;
	}
	mutex_unlock(&w->lock);
	return f;
}

/* The disk may have room again: after 2 commit times, 4 ... 64. */
static void commit_again(struct wfile *f)
{
	struct writer *w = f->w;

	mutex_lock(&f->w->lock);
	if (wfile_is_left(f->state) && w->p.commit_ns)
		writer_commit_due_locked(
			f, writer_now(w) + (w->p.commit_ns << MIN(f->commit_failures, 6u)));
	mutex_unlock(&f->w->lock);
}

static void commit_some(void *arg, void **own)
{
	struct writer *w = arg;
	struct wfile *f;

	(void)own;
	while ((f = take_commit(w))) {
		if (wlog_commit(f, false) < 0)
			commit_again(f);
		wfile_unref(f);
	}
}

/* ---- life ---- */

static int start_threads(struct writer *w, struct vmofs_err *err)
{
	struct workers_params store = {
		.name = "vmofs-store", .max = w->p.threads, .work = store_some, .arg = w
	};
	struct workers_params commit = {
		.name = "vmofs-commit", .max = 1, .work = commit_some, .arg = w
	};
	int r = workers_new(&w->storers, &store);

	if (r == 0 && w->p.journal)
		r = workers_new(&w->committer, &commit);
	if (r == 0)
		r = wahead_start(w);
	return r < 0
		? vmofs_err_set(err, r, "cannot start the threads that store: %s", strerror(-r))
		: 0;
}

bool writer_close_waits(const struct writer *w)
{
	return w->p.close_sync;
}

int writer_new(struct writer **out, const struct writer_params *p, struct vmofs_err *err)
{
	struct writer *w;
	int r;

	if (p->dirty_limit < KIB(64))
		return vmofs_err_set(err, -EINVAL,
				     "a dirty limit of %llu bytes is too small, at least 64K",
				     (unsigned long long)p->dirty_limit);
	w = calloc(1, sizeof *w);
	if (!w)
		return vmofs_err_set(err, -ENOMEM, "no memory for the writer");
	w->p = *p;
	w->p.threads = MAX(p->threads, 1u);
	mutex_init(&w->lock, LOCK_RANK_WRITER);
	cond_init(&w->changed);
	room_init(&w->room, p->dirty_limit, p->reserve);
	r = start_threads(w, err);
	if (r < 0) {
		w->stopped = true;
		writer_free(w);
		return r;
	}
	*out = w;
	return 0;
}

void writer_free(struct writer *w)
{
	if (!w)
		return;
	assert(w->stopped && !w->n_files);
	workers_free(w->storers);
	workers_free(w->committer);
	workers_free(w->aheads);
	wmove_drop_all(w);
	room_release(&w->room);
	cond_destroy(&w->changed);
	mutex_destroy(&w->lock);
	free(w);
}

/* ---- draining ---- */

static unsigned count_left_locked(struct writer *w, unsigned *conflicts) REQUIRES(w->lock)
{
	*conflicts = w->n_in[WFILE_CONFLICT];
	return w->n_in[WFILE_DIRTY] + w->n_in[WFILE_STORING];
}

/* What failed before is tried at once, once. */
static void all_due_locked(struct writer *w) REQUIRES(w->lock) NO_TSA
{
	uint64_t now = writer_now(w);

	for (struct rb_node *i = rb_first(&w->files); i; i = rb_next(i)) {
		struct wfile *f = of_ino(i);

		if (f->in_due && f->due_ns > now)
			writer_due_locked(f, now);
	}
}

unsigned writer_drain(struct writer *w, uint64_t deadline_ns, const atomic_bool *cancel,
		      unsigned *conflicts)
{
	unsigned unused, left;

	if (!conflicts)
		conflicts = &unused;
	mutex_lock(&w->lock);
	w->draining++;
	all_due_locked(w);
	while ((left = count_left_locked(w, conflicts)) && !w->stopping) {
		uint64_t look = loop_now_ns() + CANCEL_LOOK_NS;

		if (cancel && atomic_load(cancel))
			break;
		if (deadline_ns && loop_now_ns() >= deadline_ns)
			break;
		cond_wait_until(&w->changed, &w->lock, deadline_ns ? MIN(look, deadline_ns) : look);
	}
	w->draining--;
	mutex_unlock(&w->lock);
	return left;
}

/* ---- the end ---- */

static struct wfile *next_left(struct writer *w, uint64_t *ino)
{
	struct wfile *f;

	mutex_lock(&w->lock);
	f = file_from_locked(w, *ino);
	while (f && !wfile_is_left(f->state))
		f = of_ino(rb_next(&f->by_ino));
	if (f) {
		f->refs++;
		*ino = f->ino + 1;
	}
	mutex_unlock(&w->lock);
	return f;
}

/* Nobody is at it any more: what is dirty stays in the journal only. */
static void retire(struct wfile *f)
{
	struct wjob *j;
	bool own;

	if (wlog_commit(f, true) < 0)
		log_error("what was written to '%s' could not be kept in the journal", f->key);
	mutex_lock(&f->w->lock);
	j = f->job;
	f->job = NULL;
	writer_not_due_locked(f);
	wahead_drop_locked(f);
	own = wfile_disown_locked(f);
	mutex_unlock(&f->w->lock);
	if (j)
		wstore_free(j);
	if (own)
		wfile_unref(f);
}

static void begin_stop_locked(struct wfile *f) REQUIRES(f->w->lock)
{
	atomic_store(&f->cancel, true);
	wahead_cancel_locked(f);
}

static void begin_stop(struct writer *w) NO_TSA
{
	mutex_lock(&w->lock);
	w->stopping = true;
	for (struct rb_node *i = rb_first(&w->files); i; i = rb_next(i))
		begin_stop_locked(of_ino(i));
	cond_broadcast(&w->changed);
	mutex_unlock(&w->lock);
	room_stop(&w->room);
}

/*
 * Who was at a write when it began has been told that it would be done, so it is waited for: what it wrote belongs into the journal.
 * No longer than that, for what waits for a page may wait for an origin that does not answer.
 */
static void wait_turns(struct writer *w)
{
	uint64_t until = loop_now_ns() + STOP_WAIT_NS;

	mutex_lock(&w->lock);
	while (w->n_turns && cond_wait_until(&w->changed, &w->lock, until))
		;
	w->retiring = true;
	mutex_unlock(&w->lock);
}

void writer_stop(struct writer *w)
{
	struct wfile *f;
	uint64_t ino = 0;

	if (w->stopped)
		return;
	begin_stop(w);
	workers_free(w->storers);
	workers_free(w->committer);
	/* Nobody calls them any more: `stopping` is set. Who is at a write still looks. */
	mutex_lock(&w->lock);
	w->storers = w->committer = NULL;
	mutex_unlock(&w->lock);
	wahead_stop(w);
	wait_turns(w);
	while ((f = next_left(w, &ino))) {
		retire(f);
		wfile_unref(f);
	}
	wahead_release(w);
	w->stopped = true;
}

/* ---- looking ---- */

static uint64_t dirty_bytes(struct wfile *f)
{
	return page_bytes(vmo_n_dirty(f->vmo));
}

/* The key is copied: it may change meanwhile. NULL: no memory. */
static char *status_locked(struct wfile *f, struct wfile_status *s) REQUIRES(f->w->lock)
{
	uint64_t now = writer_now(f->w);

	*s = (struct wfile_status){
		.ino = f->ino,
		.state = f->state,
		.size = vmo_size(f->vmo),
		.dirty_bytes = dirty_bytes(f),
		.stored_bytes = f->state == WFILE_STORING ? f->stored_bytes : 0,
		.age_ns = f->since_ns ? now - MIN(f->since_ns, now) : 0,
		.failures = f->failures,
		.error = f->failures || f->state == WFILE_CONFLICT ? f->error : 0,
		.durable = f->durable_seq >= f->change_seq && f->durable_seq,
	};
	if (s->error && f->msg)
		snprintf(s->msg, sizeof s->msg, "%s", f->msg);
	return strdup(f->key);
}

int writer_each(struct writer *w, int (*fn)(void *arg, const struct wfile_status *s), void *arg)
{
	struct wfile *f;
	uint64_t ino = 0;
	int r = 0;

	while (r == 0 && (f = next_left(w, &ino))) {
		struct wfile_status s;
		char *key;

		mutex_lock(&f->w->lock);
		key = status_locked(f, &s);
		mutex_unlock(&f->w->lock);
		s.key = key;
		if (key && wfile_is_left(s.state))
			r = fn(arg, &s);
		free(key);
		wfile_unref(f);
	}
	return r;
}

void writer_stats(struct writer *w, struct writer_stats *out)
{
	unsigned conflicts;

	mutex_lock(&w->lock);
	*out = w->stats;
	out->dirty_files = count_left_locked(w, &conflicts) + conflicts;
	out->conflicts = conflicts;
	mutex_unlock(&w->lock);
	mutex_lock(&w->room.lock);
	out->dirty_bytes = page_bytes(w->room.used);
	out->waits = w->room.waits;
	mutex_unlock(&w->room.lock);
	out->journal_bytes = w->p.journal ? journal_bytes(w->p.journal) : 0;
}
